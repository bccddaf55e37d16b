/* test_store_faults.c -- contract of store.h when memory, disk or system calls give out
 *
 * - reading: whichever file operation fails in whichever way, once or for ever, get gives the right
 *   bytes or a miss, each gives sound entries only; afterwards the entry is there as before
 * - writing: whichever fails, put succeeds or says why with the file's name; the store then holds the
 *   old bytes, or the new ones, whole, and no temporary file but where its removal failed too
 * - trimming: whichever fails, what is deleted is whole entries, and those that stay are sound
 * - whichever allocation fails: a miss, or QRT_E_MEMORY; a retry succeeds
 * - a file system that is full: put says so, the old entry stays, nothing is left behind
 * - no descriptor stays open on any of these ways
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "entries.h"
#include "fault.h"
#include "file.h"
#include "helpers.h"

enum { KEPT = 1, WRITTEN = 2, IMAGE_BYTES = 3000 };

static char folder[64];
static struct store *store;
static void *kept, *old, *new; /* bytes: KEPT's, and WRITTEN's before and after a put */
static size_t kept_bytes, old_bytes, new_bytes;

static void put(int number, const void *bytes, size_t count)
{
    uint8_t key[ENTRY_KEY_BYTES];
    entries_key(number, key);
    if (store_put(store, key, bytes, count) != QRT_OK) fail_msg("%s", qrt_message());
}

static int open_all(void **state)
{
    (void)state;
    entries_folder(folder);
    entries_make(KEPT, 'k', IMAGE_BYTES, &kept, &kept_bytes);
    entries_make(WRITTEN, 'o', IMAGE_BYTES, &old, &old_bytes);
    entries_make(WRITTEN, 'n', 2 * IMAGE_BYTES, &new, &new_bytes);
    assert_int_equal(store_open(folder, &store), QRT_OK);
    put(KEPT, kept, kept_bytes);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    store_close(store);
    entries_remove(folder);
    free(kept);
    free(old);
    free(new);
    return 0;
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

/* What is in a shard that is not an entry. */
static int temporaries(int number)
{
    char shard[ENTRIES_PATH];
    int count = 0;
    entries_shard(folder, number, shard);
    DIR *d = opendir(shard);
    for (const struct dirent *e; d && (e = readdir(d)) != NULL;)
        count += e->d_name[0] == '.' && e->d_name[1] != 0 && e->d_name[1] != '.';
    if (d) closedir(d);
    return count;
}

static void remove_temporaries(int number)
{
    char shard[ENTRIES_PATH], command[ENTRIES_PATH + 16];
    entries_shard(folder, number, shard);
    snprintf(command, sizeof command, "rm -f %s/.??*", shard);
    assert_int_equal(system(command), 0);
}

static int holds(int number, const void *bytes, size_t count)
{
    size_t size;
    void *got = entries_get(store, number, &size);
    const int same = got && size == count && memcmp(got, bytes, count) == 0;
    free(got);
    return same;
}

/* ---- every way to fail ---- */

static const struct way {
    const char *name;
    enum fault_effect effect;
    int error;
} ways[] = {
    {"EIO", FAULT_FAIL, EIO},       {"ENOSPC", FAULT_FAIL, ENOSPC}, {"EDQUOT", FAULT_FAIL, EDQUOT},
    {"EINTR", FAULT_FAIL, EINTR},   {"EACCES", FAULT_FAIL, EACCES}, {"EROFS", FAULT_FAIL, EROFS},
    {"ESTALE", FAULT_FAIL, ESTALE}, {"EMFILE", FAULT_FAIL, EMFILE}, {"half", FAULT_SHORT, 0},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* What is done under a fault, and what must hold afterwards; `failed` is its own verdict. */
struct scenario {
    void (*prepare)(void);
    int (*act)(void); /* whether it failed */
    void (*check)(int failed, const struct fault *f);
};

static long calls; /* of the scenario, when nothing fails */

/* Each operation in each way, once and for ever; returns how many runs that were. */
static int run_all(const struct scenario *s, enum fault_target target)
{
    int runs = 0, failures = 0;
    const int descriptors = open_descriptors();
    const int last_way = target == FAULT_MEMORY ? 1 : WAYS;
    struct fault f = {.target = target};
    s->prepare();
    fault_begin(&f, NULL, NULL);
    const int failed = s->act();
    calls = fault_end();
    s->check(failed, &f);
    assert_int_equal(failed, 0);
    assert_true(calls > 0);
    for (f.at = 1; f.at <= calls; f.at++)
        for (int way = 0; way < last_way; way++)
            for (f.for_ever = 0; f.for_ever < 2; f.for_ever++) {
                f.effect = ways[way].effect;
                f.error = ways[way].error;
                s->prepare();
                fault_begin(&f, NULL, NULL);
                const int bad = s->act();
                fault_end();
                s->check(bad, &f);
                failures += bad;
                runs++;
            }
    assert_int_equal(open_descriptors(), descriptors);
    print_message("%ld operations, %d runs, %d of them failed\n", calls, runs, failures);
    return runs;
}

/* ---- scenarios ---- */

static void no_preparation(void) {}

static int act_get(void)
{
    size_t count = 0;
    void *got = entries_get(store, KEPT, &count);
    const int missed = got == NULL;
    if (got) assert_int_equal(count, kept_bytes);
    if (got) assert_memory_equal(got, kept, kept_bytes);
    free(got);
    return missed;
}

static void check_get(int failed, const struct fault *f)
{
    if (f->effect == FAULT_SHORT) assert_false(failed); /* it reads on */
    assert_true(holds(KEPT, kept, kept_bytes));
}

static int count_sound(void *user, const struct entry *e)
{
    assert_true(e->key[0] == KEPT || e->key[0] == WRITTEN);
    ++*(int *)user;
    return 0;
}

static int act_each(void)
{
    int seen = 0;
    return store_each(store, count_sound, &seen) != QRT_OK || seen == 0;
}

static void prepare_put(void)
{
    remove_temporaries(WRITTEN);
    put(WRITTEN, old, old_bytes);
}

static void prepare_first_put(void) { entries_clear(folder, WRITTEN); }

static int act_put(void)
{
    uint8_t key[ENTRY_KEY_BYTES];
    entries_key(WRITTEN, key);
    const qrt_status status = store_put(store, key, new, new_bytes);
    if (status == QRT_OK) return 0;
    assert_true(status == QRT_E_IO || status == QRT_E_MEMORY);
    assert_non_null(strstr(qrt_message(), folder));
    return 1;
}

static void check_put(int failed, const struct fault *f)
{
    const int is_new = holds(WRITTEN, new, new_bytes);
    const int is_final = f->effect == FAULT_FAIL && f->error != EINTR; /* no second attempt helps */
    if (!failed) assert_true(is_new);
    if (is_final && f->at > 0 && f->at < calls) assert_true(failed); /* the last closes the shard */
    if (!is_new) assert_true(holds(WRITTEN, old, old_bytes));
    if (!f->for_ever) assert_int_equal(temporaries(WRITTEN), 0);
    assert_true(holds(KEPT, kept, kept_bytes));
}

static void check_first_put(int failed, const struct fault *f)
{
    size_t count;
    void *got = entries_get(store, WRITTEN, &count);
    if (!failed) assert_non_null(got);
    if (got) assert_true(count == new_bytes && memcmp(got, new, count) == 0);
    if (!f->for_ever) assert_int_equal(temporaries(WRITTEN), 0);
    free(got);
    assert_int_equal(act_put(), 0); /* a retry succeeds */
    assert_true(holds(WRITTEN, new, new_bytes));
}

static void prepare_trim(void)
{
    put(KEPT, kept, kept_bytes);
    put(WRITTEN, new, new_bytes);
}

static int act_trim(void)
{
    struct store_trimmed t;
    const qrt_status status = store_trim(store, new_bytes, &t);
    assert_true(status == QRT_OK || status == QRT_E_IO || status == QRT_E_MEMORY);
    return status != QRT_OK || t.kept_bytes > new_bytes;
}

/* An older one that cannot be deleted costs a younger one. */
static void check_trim(int failed, const struct fault *f)
{
    size_t count;
    void *got = entries_get(store, WRITTEN, &count);
    if (!failed && f->at == 0) assert_non_null(got);
    if (got) assert_true(count == new_bytes && memcmp(got, new, count) == 0);
    free(got);
    got = entries_get(store, KEPT, &count);
    if (got) assert_true(count == kept_bytes && memcmp(got, kept, count) == 0);
    free(got);
}

static int act_open(void)
{
    struct store *s = NULL;
    const qrt_status status = store_open(folder, &s);
    assert_true(status == QRT_OK || status == QRT_E_IO || status == QRT_E_MEMORY);
    if (status != QRT_OK) assert_null(s);
    store_close(s);
    return status != QRT_OK;
}

static void check_nothing(int failed, const struct fault *f)
{
    (void)failed;
    (void)f;
}

static const struct scenario get = {no_preparation, act_get, check_get},
                             each = {no_preparation, act_each, check_get},
                             replace = {prepare_put, act_put, check_put},
                             first = {prepare_first_put, act_put, check_first_put},
                             trim = {prepare_trim, act_trim, check_trim},
                             opening = {no_preparation, act_open, check_nothing};

/* ---- tests ---- */

static void reading_misses(void **state)
{
    (void)state;
    assert_true(run_all(&get, FAULT_FILES) > 100);
    assert_true(run_all(&each, FAULT_FILES) > 100);
    assert_true(run_all(&opening, FAULT_FILES) > 50);
}

static void writing_leaves_old_or_new(void **state)
{
    (void)state;
    assert_true(run_all(&replace, FAULT_FILES) > 150);
    assert_true(run_all(&first, FAULT_FILES) > 150);
}

static void trimming_deletes_whole_entries(void **state)
{
    (void)state;
    assert_true(run_all(&trim, FAULT_FILES) > 100);
    prepare_trim();
}

static void no_memory_is_no_harm(void **state)
{
    (void)state;
    run_all(&get, FAULT_MEMORY);
    run_all(&each, FAULT_MEMORY);
    run_all(&opening, FAULT_MEMORY);
    prepare_trim();
    run_all(&trim, FAULT_MEMORY);
    prepare_trim();
}

/* In a child: a file system of 64 KiB where mounting is allowed, else a limit on files. */
static int fill_disk(const char *at)
{
    struct rlimit small = {40000, 40000};
    char command[192];
    int is_mounted = unshare(CLONE_NEWNS) == 0 &&
                     mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     mount("qgen", at, "tmpfs", 0, "size=64k,mode=700") == 0;
    if (!is_mounted) signal(SIGXFSZ, SIG_IGN), setrlimit(RLIMIT_FSIZE, &small);
    struct store *s;
    uint8_t key[ENTRY_KEY_BYTES];
    void *small_one, *large_one;
    size_t small_bytes, large_bytes, count;
    entries_make(3, 's', 20000, &small_one, &small_bytes);
    entries_make(3, 'l', 100000, &large_one, &large_bytes);
    entries_key(3, key);
    if (store_open(at, &s) != QRT_OK || store_put(s, key, small_one, small_bytes) != QRT_OK)
        return 1;
    if (store_put(s, key, large_one, large_bytes) != QRT_E_IO) return 2;
    const char *reason = is_mounted ? "No space left on device" : "File too large";
    if (!strstr(qrt_message(), reason) || !strstr(qrt_message(), at)) return 3;
    void *got = entries_get(s, 3, &count);
    if (!got || count != small_bytes || memcmp(got, small_one, count) != 0) return 4;
    snprintf(command, sizeof command, "rm %s/03/* && rmdir %s/03", at,
             at); /* nothing else is in there */
    if (system(command) != 0) return 5;
    store_close(s);
    free(got);
    free(small_one);
    free(large_one);
    return is_mounted ? 0 : 100;
}

static void a_full_disk_is_said(void **state)
{
    (void)state;
    char at[64];
    int code;
    entries_folder(at);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(fill_disk(at));
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFEXITED(code));
    print_message("a full %s\n", WEXITSTATUS(code) == 100 ? "limit on files" : "file system");
    if (WEXITSTATUS(code) != 100) assert_int_equal(WEXITSTATUS(code), 0);
    entries_remove(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_leaves_old_or_new),
        cmocka_unit_test(reading_misses),
        cmocka_unit_test(trimming_deletes_whole_entries),
        cmocka_unit_test(no_memory_is_no_harm),
        cmocka_unit_test(a_full_disk_is_said),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
