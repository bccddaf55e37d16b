/* test_store.c -- contract of store.h
 *
 * - what was put is got, by key; put again replaces; folders are 0700 and entries 0600
 * - a missing, cut (at each of its first 4096 bytes and at its end), bit-flipped, misnamed, empty or
 *   unreadable entry is a miss, never an error, and put repairs it
 * - many processes that put and get the same keys see whole entries only
 * - a process that is killed while it puts leaves whole entries only
 * - a full disk is an error of put that leaves the older entry as it was
 * - a folder that others may write to, a link instead of a folder, shard or entry: refused or a miss
 * - each visits sound entries in order of their keys and stops when told
 * - trim deletes the oldest entries until the rest fits, and temporary files of more than a day; other
 *   names stay
 */
#include "store.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "entries.h"
#include "file.h"
#include "helpers.h"
#include "key.h"

static char folder[64];
static struct store *store;

static int make_folder(void **state)
{
    (void)state;
    entries_folder(folder);
    return store_open(folder, &store) != QRT_OK;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[192];
    store_close(store);
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", folder, folder);
    return system(command);
}

static void make_entry(int number, size_t bytes, uint8_t key[ENTRY_KEY_BYTES], void **out,
                       size_t *count)
{
    entries_key(number, key);
    entries_make(number, number, bytes, out, count);
}

static void path_of(const uint8_t key[ENTRY_KEY_BYTES], char out[ENTRIES_PATH])
{
    char hex[KEY_HEX_BYTES];
    key_hex(key, hex);
    snprintf(out, ENTRIES_PATH, "%s/%.2s/%s.qk1", folder, hex, hex);
}

static int is_found(const uint8_t key[ENTRY_KEY_BYTES])
{
    struct entry entry;
    void *bytes = NULL;
    size_t count;
    int found = -1;
    assert_int_equal(store_get(store, key, &entry, &bytes, &count, &found), QRT_OK);
    assert_true(found == 0 || found == 1);
    if (found) free(bytes);
    return found;
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 0777;
}

static void put_is_got(void **state)
{
    (void)state;
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry entry;
    void *bytes, *again;
    size_t count, again_count;
    int found;
    char path[ENTRIES_PATH], shard[80];
    make_entry(1, 1000, key, &bytes, &count);
    assert_int_equal(is_found(key), 0);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
    assert_int_equal(store_get(store, key, &entry, &again, &again_count, &found), QRT_OK);
    assert_int_equal(found, 1);
    assert_int_equal(count, again_count);
    assert_memory_equal(bytes, again, count);
    assert_memory_equal(entry.key, key, sizeof key);
    assert_true((char *)entry.part[ENTRY_IMAGE].data > (char *)again);
    free(again);
    free(bytes);
    path_of(key, path);
    assert_int_equal(mode_of(path), 0600);
    snprintf(shard, sizeof shard, "%s/01", folder);
    assert_int_equal(mode_of(shard), 0700);
}

static void default_folders_are_made_private(void **state)
{
    (void)state;
    struct store *s;
    char base[96], path[128];
    snprintf(base, sizeof base, "%s/a/b", folder);
    setenv("XDG_CACHE_HOME", base, 1);
    char *given = getenv("QGEN_CACHE") ? strdup(getenv("QGEN_CACHE")) : NULL;
    unsetenv("QGEN_CACHE");
    assert_int_equal(store_open(NULL, &s), QRT_OK);
    snprintf(path, sizeof path, "%s/qgen", base);
    assert_string_equal(store_folder(s), path);
    assert_int_equal(mode_of(path), 0700);
    store_close(s);
    unsetenv("XDG_CACHE_HOME");
    if (given) setenv("QGEN_CACHE", given, 1);
    free(given);
}

static void put_raw(const uint8_t key[ENTRY_KEY_BYTES], const void *bytes, size_t count)
{
    char path[ENTRIES_PATH];
    path_of(key, path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, bytes, count), 0);
    close(fd);
}

static void damage_is_a_miss(void **state)
{
    (void)state;
    uint8_t key[ENTRY_KEY_BYTES], other[ENTRY_KEY_BYTES];
    void *bytes;
    size_t count;
    uint64_t random = 7;
    make_entry(2, 5000, key, &bytes, &count);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
    for (size_t cut = 0; cut < 4096; cut++) {
        put_raw(key, bytes, cut);
        assert_int_equal(is_found(key), 0);
    }
    put_raw(key, bytes, count - 1);
    assert_int_equal(is_found(key), 0);
    uint8_t *flipped = malloc(count);
    for (int i = 0; i < 500; i++) {
        const uint64_t bit = random_word(&random) % (8 * count);
        memcpy(flipped, bytes, count);
        flipped[bit / 8] ^= (uint8_t)(1 << bit % 8);
        put_raw(key, flipped, count);
        assert_int_equal(is_found(key), 0);
    }
    free(flipped);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
    assert_int_equal(is_found(key), 1);
    memcpy(other, key, sizeof other);
    other[31] ^= 1;
    put_raw(other, bytes, count); /* sound, but somebody else's */
    assert_int_equal(is_found(other), 0);
    free(bytes);
}

static void links_and_strangers_are_refused(void **state)
{
    (void)state;
    uint8_t key[ENTRY_KEY_BYTES];
    void *bytes;
    size_t count;
    char path[ENTRIES_PATH], elsewhere[ENTRIES_PATH + 16], shard[80], link_path[96];
    struct store *none = NULL;
    make_entry(3, 100, key, &bytes, &count);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
    path_of(key, path);
    assert_int_equal(chmod(path, 0620), 0); /* the group may write */
    assert_int_equal(is_found(key), 0);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(is_found(key), 1);
    snprintf(elsewhere, sizeof elsewhere, "%s.elsewhere", path);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(is_found(key), 0);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK); /* replaces the link */
    assert_int_equal(is_found(key), 1);
    assert_int_equal(mode_of(path), 0600);

    snprintf(shard, sizeof shard, "%s/03", folder);
    assert_int_equal(chmod(shard, 0777), 0);
    assert_int_equal(is_found(key), 0);
    assert_int_equal(store_put(store, key, bytes, count), QRT_E_IO);
    assert_int_equal(chmod(shard, 0700), 0);

    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not block */
    assert_int_equal(is_found(key), 0);
    assert_int_equal(unlink(path), 0);

    snprintf(link_path, sizeof link_path, "%s/link", folder);
    assert_int_equal(symlink(shard, link_path), 0);
    assert_int_equal(store_open(link_path, &none), QRT_E_IO);
    assert_int_equal(chmod(shard, 0770), 0);
    assert_int_equal(store_open(shard, &none), QRT_E_IO);
    assert_non_null(strstr(qrt_message(), "others"));
    assert_int_equal(store_open("", &none), QRT_E_IO);
    assert_null(none);
    free(bytes);
}

static void put_and_get_all(int rounds)
{
    for (int i = 0; i < rounds; i++)
        for (int number = 16; number < 20; number++) {
            uint8_t key[ENTRY_KEY_BYTES];
            struct entry entry;
            void *bytes, *got = NULL;
            size_t count, got_count;
            int found;
            make_entry(number, 30000, key, &bytes, &count);
            if (store_put(store, key, bytes, count) != QRT_OK) _exit(1);
            if (store_get(store, key, &entry, &got, &got_count, &found) != QRT_OK || !found)
                _exit(2);
            if (got_count != count || memcmp(got, bytes, count) != 0) _exit(3);
            free(got);
            free(bytes);
        }
}

static void processes_see_whole_entries(void **state)
{
    (void)state;
    enum { PROCESSES = 8 };
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            put_and_get_all(4);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int code;
        assert_int_equal(waitpid(pids[i], &code, 0), pids[i]);
        assert_int_equal(code, 0);
    }
}

static void killed_writers_leave_nothing_half(void **state)
{
    (void)state;
    uint64_t random = 11;
    for (int round = 0; round < 30; round++) {
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            put_and_get_all(1 << 20);
            _exit(0);
        }
        usleep((useconds_t)(random_word(&random) % 20000));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        for (int number = 16; number < 20; number++) { /* were all put before, so all are there */
            uint8_t key[ENTRY_KEY_BYTES];
            void *bytes;
            size_t count;
            make_entry(number, 30000, key, &bytes, &count);
            free(bytes);
            assert_int_equal(is_found(key), 1);
        }
    }
}

static void full_disk_keeps_the_old(void **state)
{
    (void)state;
    uint8_t key[ENTRY_KEY_BYTES], new_key[ENTRY_KEY_BYTES];
    void *bytes, *new_bytes;
    size_t count, new_count;
    make_entry(30, 100000, key, &bytes, &count);
    make_entry(31, 100000, new_key, &new_bytes, &new_count);
    assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){50000, old.rlim_max}; /* stands in for a full disk */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const qrt_status again = store_put(store, key, bytes, count);
    const qrt_status fresh = store_put(store, new_key, new_bytes, new_count);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(again, QRT_E_IO);
    assert_int_equal(fresh, QRT_E_IO);
    assert_int_equal(is_found(key), 1);
    assert_int_equal(is_found(new_key), 0);
    char shard[80];
    snprintf(shard, sizeof shard, "%s/1f", folder);
    DIR *d = opendir(shard);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        assert_true(strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    closedir(d);
    free(bytes);
    free(new_bytes);
}

static int note_key(void *user, const struct entry *e)
{
    int *seen = user;
    assert_true(e->key[0] > seen[0]);
    seen[0] = e->key[0];
    return ++seen[1] == seen[2];
}

static void each_goes_in_order(void **state)
{
    (void)state;
    uint8_t key[ENTRY_KEY_BYTES];
    void *bytes;
    size_t count;
    for (int number = 255; number >= 248; number--) {
        make_entry(number, 50, key, &bytes, &count);
        assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
        free(bytes);
    }
    int all[3] = {-1, 0, -1}, some[3] = {-1, 0, 3};
    assert_int_equal(store_each(store, note_key, all), QRT_OK);
    assert_int_equal(all[0], 255);
    assert_true(all[1] >= 8);
    assert_int_equal(store_each(store, note_key, some), QRT_OK);
    assert_int_equal(some[1], 3);
}

static void age(const char *path, time_t seconds)
{
    const struct timespec times[2] = {{.tv_sec = time(NULL) - seconds},
                                      {.tv_sec = time(NULL) - seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Names beside an entry's: how old, and whether it goes. */
static const struct {
    const char *end;
    time_t seconds;
    int goes;
} beside[] = {
    {".qk1.123.0.000000001", 25 * 3600, 1}, /* of a writer that died */
    {".qk1.123.0.000000002", 23 * 3600, 0}, /* of one that may be writing */
    {".qk1", 25 * 3600, 0},                 /* no temporary name: somebody's */
};

static void path_beside(int number, size_t i, char path[ENTRIES_PATH])
{
    char entry[ENTRIES_PATH];
    entries_path(folder, number, entry);
    const char *name = strrchr(entry, '/');
    snprintf(path, ENTRIES_PATH, "%.*s/.%.64s%s", (int)(name - entry), entry, name + 1,
             beside[i].end);
}

static void trim_takes_the_oldest(void **state)
{
    (void)state;
    enum { FIRST = 100, COUNT = 6, KEEP = 4 };
    struct store_trimmed t;
    uint8_t key[ENTRY_KEY_BYTES];
    char path[ENTRIES_PATH];
    void *bytes;
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) {
        make_entry(FIRST + i, 1000, key, &bytes, &count);
        assert_int_equal(store_put(store, key, bytes, count), QRT_OK);
        free(bytes);
        path_of(key, path);
        age(path, 1000 + 10 * (i * 5 % COUNT)); /* in another order than the keys' */
    }
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        path_beside(FIRST, i, path);
        assert_int_equal(file_write(path, "x", 1), QRT_OK);
        age(path, beside[i].seconds);
    }
    assert_int_equal(store_trim(store, KEEP * count + count / 2, &t), QRT_OK);
    assert_int_equal(t.kept, KEEP);
    assert_int_equal(t.kept_bytes, KEEP * count);
    assert_int_equal(t.removed, COUNT - KEEP);
    assert_int_equal(t.stale, 1);
    for (int i = 0; i < COUNT; i++) {
        entries_key(FIRST + i, key);
        assert_int_equal(is_found(key), i * 5 % COUNT < KEEP);
    }
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        path_beside(FIRST, i, path);
        assert_int_equal(access(path, F_OK), beside[i].goes ? -1 : 0);
        unlink(path);
    }
    assert_int_equal(store_trim(store, 0, &t), QRT_OK);
    assert_int_equal(t.kept + t.kept_bytes + t.stale, 0);
    assert_int_equal(store_trim(store, 0, &t), QRT_OK);
    assert_int_equal(t.removed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trim_takes_the_oldest),
        cmocka_unit_test(put_is_got),
        cmocka_unit_test(default_folders_are_made_private),
        cmocka_unit_test(damage_is_a_miss),
        cmocka_unit_test(links_and_strangers_are_refused),
        cmocka_unit_test(processes_see_whole_entries),
        cmocka_unit_test(killed_writers_leave_nothing_half),
        cmocka_unit_test(full_disk_keeps_the_old),
        cmocka_unit_test(each_goes_in_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
