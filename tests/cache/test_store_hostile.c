/* test_store_hostile.c -- contract of store.h when others have been at its folders
 *
 * - a link, dangling link, FIFO, folder, socket, device, hard link, file of another user or one that
 *   others may write, in the place of an entry: a miss; in the place of a shard: a miss, and put says
 *   so; in the place of the store: refused.  Nothing blocks, nothing is followed, and what is pointed
 *   to stays as it was
 * - a parent that others may write to is refused, unless its sticky bit is set
 * - names: the store opens names of its own making alone, whatever else lies in its folders; each and
 *   trim pass over the rest
 * - a umask of 000 changes no mode of what the store makes
 *
 * Users and devices need root; without it these cases are skipped aloud.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "entries.h"
#include "error.h"
#include "fault.h"
#include "file.h"
#include "helpers.h"

enum { NUMBER = 7, IMAGE_BYTES = 100, OTHER_USER = 4242, BLOCKED_SECONDS = 300 };

struct place {
    char base[64], folder[80]; /* the store is BASE/store; beside it is what others have */
    char entry[ENTRIES_PATH], shard[ENTRIES_PATH];
    char victim[96], victim_entry[ENTRIES_PATH]; /* a store with a sound entry of the same key */
};

static struct place at;

static qrt_status put_into(const char *folder)
{
    struct store *s;
    uint8_t key[ENTRY_KEY_BYTES];
    void *bytes;
    size_t count;
    entries_key(NUMBER, key);
    TRY(store_open(folder, &s));
    entries_make(NUMBER, 1, IMAGE_BYTES, &bytes, &count);
    const qrt_status status = store_put(s, key, bytes, count);
    free(bytes);
    store_close(s);
    return status;
}

static int is_found_in(const char *folder)
{
    struct store *s;
    size_t count;
    if (store_open(folder, &s) != QRT_OK) return 0;
    void *bytes = entries_get(s, NUMBER, &count);
    free(bytes);
    store_close(s);
    return bytes != NULL;
}

static int make_place(void **state)
{
    (void)state;
    entries_folder(at.base);
    snprintf(at.folder, sizeof at.folder, "%s/store", at.base);
    snprintf(at.victim, sizeof at.victim, "%s/victim", at.base);
    entries_path(at.folder, NUMBER, at.entry);
    entries_shard(at.folder, NUMBER, at.shard);
    entries_path(at.victim, NUMBER, at.victim_entry);
    alarm(BLOCKED_SECONDS); /* ends the program where something blocks */
    return put_into(at.folder) != QRT_OK || put_into(at.victim) != QRT_OK;
}

static int remove_place(void **state)
{
    (void)state;
    alarm(0);
    entries_remove(at.base);
    return 0;
}

/* ---- what may lie there ---- */

typedef void maker(const char *path, const char *victim);

static void make_link(const char *path, const char *victim)
{
    assert_int_equal(symlink(victim, path), 0);
}

static void make_dangling(const char *path, const char *victim)
{
    (void)victim;
    assert_int_equal(symlink("/nowhere/at/all", path), 0);
}

static void make_loop(const char *path, const char *victim)
{
    (void)victim;
    assert_int_equal(symlink(path, path), 0);
}

static void make_fifo(const char *path, const char *victim)
{
    (void)victim;
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void make_folder(const char *path, const char *victim)
{
    (void)victim;
    assert_int_equal(mkdir(path, 0700), 0);
}

static void make_socket(const char *path, const char *victim)
{
    (void)victim;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char there[96], *slash;
    snprintf(there, sizeof there, "%s/socket", at.base); /* a socket's path is short: made, moved */
    slash = name.sun_path;
    snprintf(slash, sizeof name.sun_path, "%s", there);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(rename(there, path), 0);
    close(fd);
}

static void make_device(const char *path, const char *victim)
{
    (void)victim;
    if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) != 0) /* /dev/zero: gives bytes for ever */
        make_fifo(path, victim);
}

static void make_file(const char *path, const char *victim)
{
    (void)victim;
    assert_int_equal(file_write(path, "x", 1), QRT_OK);
}

static void copy(const char *from, const char *to, mode_t mode)
{
    void *bytes;
    size_t count;
    assert_int_equal(file_read(from, 1 << 20, &bytes, &count), QRT_OK);
    assert_int_equal(file_write(to, bytes, count), QRT_OK);
    assert_int_equal(chmod(to, mode), 0);
    free(bytes);
}

static void make_huge(const char *path, const char *victim)
{
    copy(victim, path, 0600);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0); /* a hole: nothing is on the disk */
}

static void make_hard_link(const char *path, const char *victim)
{
    assert_int_equal(link(victim, path), 0);
}

static void make_for_group(const char *path, const char *victim) { copy(victim, path, 0620); }
static void make_for_all(const char *path, const char *victim) { copy(victim, path, 0666); }

static void make_foreign(const char *path, const char *victim)
{
    copy(victim, path, 0600);
    assert_int_equal(chown(path, OTHER_USER, OTHER_USER), 0);
}

static void make_foreign_folder(const char *path, const char *victim)
{
    make_folder(path, victim);
    assert_int_equal(chown(path, OTHER_USER, OTHER_USER), 0);
}

static void make_open_folder(const char *path, const char *victim)
{
    make_folder(path, victim);
    assert_int_equal(chmod(path, 0777), 0);
}

static const struct {
    const char *name;
    maker *make;
    int needs_root;
} in_place_of_an_entry[] =
    {
        {"link", make_link, 0},       {"dangling link", make_dangling, 0},
        {"loop", make_loop, 0},       {"FIFO", make_fifo, 0},
        {"folder", make_folder, 0},   {"socket", make_socket, 0},
        {"device", make_device, 0},   {"hard link", make_hard_link, 0},
        {"0620", make_for_group, 0},  {"0666", make_for_all, 0},
        {"foreign", make_foreign, 1}, {"huge", make_huge, 0},
        {"file", make_file, 0},
},
  in_place_of_a_folder[] = {
      {"link", make_link, 0},
      {"dangling link", make_dangling, 0},
      {"loop", make_loop, 0},
      {"FIFO", make_fifo, 0},
      {"file", make_file, 0},
      {"socket", make_socket, 0},
      {"device", make_device, 0},
      {"0777", make_open_folder, 0},
      {"foreign", make_foreign_folder, 1},
};
enum {
    ENTRY_CASES = sizeof in_place_of_an_entry / sizeof *in_place_of_an_entry,
    FOLDER_CASES = sizeof in_place_of_a_folder / sizeof *in_place_of_a_folder
};

static int is_skipped(const char *name, int needs_root)
{
    if (!needs_root || geteuid() == 0) return 0;
    print_message("SKIP: %s needs root\n", name);
    return 1;
}

/* One file with the bytes of before, by one name but for a hard link that a case made. */
static void expect_victim_untouched(void)
{
    char shard[ENTRIES_PATH];
    struct stat st;
    int files = 0;
    entries_shard(at.victim, NUMBER, shard);
    DIR *d = opendir(shard);
    assert_non_null(d);
    while (readdir(d)) files++;
    closedir(d);
    assert_int_equal(files, 3); /* with . and .. */
    assert_int_equal(lstat(at.victim_entry, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    if (st.st_nlink == 1) assert_true(is_found_in(at.victim));
}

static void remove_anything(const char *path)
{
    char command[ENTRIES_PATH + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static int count_one(void *user, const struct entry *e)
{
    (void)e;
    ++*(int *)user;
    return 0;
}

/* Neither each nor trim of everything meets or deletes what is there. */
static void expect_passed_over(const char *path)
{
    struct store *s;
    struct store_trimmed trimmed;
    struct stat st;
    int seen = 0;
    assert_int_equal(store_open(at.folder, &s), QRT_OK);
    assert_int_equal(store_each(s, count_one, &seen), QRT_OK);
    assert_int_equal(seen, 0);
    assert_int_equal(store_trim(s, UINT64_MAX, &trimmed), QRT_OK);
    assert_int_equal(lstat(path, &st), 0);
    store_close(s);
}

static void entries_of_others_are_misses(void **state)
{
    (void)state;
    for (int i = 0; i < ENTRY_CASES; i++) {
        if (is_skipped(in_place_of_an_entry[i].name, in_place_of_an_entry[i].needs_root)) continue;
        remove_anything(at.entry);
        in_place_of_an_entry[i].make(at.entry, at.victim_entry);
        if (is_found_in(at.folder)) fail_msg("%s: it was read", in_place_of_an_entry[i].name);
        expect_passed_over(at.entry);
        expect_victim_untouched();
        const qrt_status status = put_into(at.folder); /* replaces all but a folder */
        assert_int_equal(status, in_place_of_an_entry[i].make == make_folder ? QRT_E_IO : QRT_OK);
        assert_int_equal(is_found_in(at.folder), status == QRT_OK);
        expect_victim_untouched();
        assert_true(is_found_in(at.victim));
    }
    remove_anything(at.entry);
}

static void shards_of_others_are_misses(void **state)
{
    (void)state;
    char victim_shard[ENTRIES_PATH];
    entries_shard(at.victim, NUMBER, victim_shard);
    for (int i = 0; i < FOLDER_CASES; i++) {
        if (is_skipped(in_place_of_a_folder[i].name, in_place_of_a_folder[i].needs_root)) continue;
        remove_anything(at.shard);
        in_place_of_a_folder[i].make(at.shard, victim_shard);
        if (is_found_in(at.folder)) fail_msg("%s: it was read", in_place_of_a_folder[i].name);
        assert_int_equal(put_into(at.folder), QRT_E_IO);
        assert_non_null(strstr(qrt_message(), at.folder));
        expect_passed_over(at.shard);
        expect_victim_untouched();
    }
    remove_anything(at.shard);
    assert_int_equal(put_into(at.folder), QRT_OK);
}

static void stores_of_others_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < FOLDER_CASES; i++) {
        if (is_skipped(in_place_of_a_folder[i].name, in_place_of_a_folder[i].needs_root)) continue;
        remove_anything(at.folder);
        in_place_of_a_folder[i].make(at.folder, at.victim);
        assert_int_equal(put_into(at.folder), QRT_E_IO);
        assert_non_null(strstr(qrt_message(), at.folder));
        expect_victim_untouched();
    }
    remove_anything(at.folder);
    assert_int_equal(put_into(at.folder), QRT_OK);
}

static void open_parents_are_refused(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        gid_t group; /* 0: ours */
        int is_refused;
    } cases[] = {{0777, 0, 1},          {0757, 0, 1},          {0702, 0, 1},
                 {01777, 0, 0},         {0755, 0, 0},          {0770, 0, 0},
                 {0770, OTHER_USER, 1}, {0750, OTHER_USER, 0}, {01770, OTHER_USER, 0}};
    for (int depth = 0; depth < 2; depth++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char parent[128], inner[160];
            if (is_skipped("another group", cases[i].group != 0)) continue;
            snprintf(parent, sizeof parent, "%s/parent%d.%zu", at.base, depth, i);
            snprintf(inner, sizeof inner, "%s/%s", parent, depth ? "a/b" : "b");
            assert_int_equal(file_make_folders(parent, 0700), QRT_OK);
            assert_int_equal(chown(parent, geteuid(), cases[i].group ? cases[i].group : getegid()),
                             0);
            assert_int_equal(chmod(parent, cases[i].mode), 0);
            assert_int_equal(put_into(inner), cases[i].is_refused ? QRT_E_IO : QRT_OK);
            if (cases[i].is_refused) assert_non_null(strstr(qrt_message(), "others may write to"));
            /* by way of a link it is the same folder */
            char by_link[160];
            snprintf(by_link, sizeof by_link, "%s/link%d.%zu", at.base, depth, i);
            assert_int_equal(symlink(parent, by_link), 0);
            strcat(by_link, depth ? "/a/b" : "/b");
            assert_int_equal(put_into(by_link), cases[i].is_refused ? QRT_E_IO : QRT_OK);
        }
}

/* ---- names ---- */

static int bad_names, opened;

/* FOLDER/xx, or HEX.qk1 with or without ".", and what is behind a temporary name. */
static void check_name(void *user, const struct fault_call *call)
{
    (void)user;
    static const char digits[] = "0123456789abcdef";
    if (!call->path || strcmp(call->path, ".") == 0) return;
    if (strcmp(call->name, "openat") != 0 && strcmp(call->name, "unlinkat") != 0) return;
    const char *name = call->path + (call->path[0] == '.');
    const size_t hex = strspn(name, digits);
    const int is_shard = name == call->path && hex == 2 && name[2] == 0;
    const int is_entry = hex == 64 && strncmp(name + 64, ".qk1", 4) == 0 && !strchr(name, '/');
    bad_names += !is_shard && !is_entry;
    opened++;
}

/* Names that are none of the store's, `i` of them. */
static int make_name(int i, char name[300])
{
    static const char *const fixed[] = {
        "..",
        "...",
        "a:b",
        "C:",
        "con",
        "nul.qk1",
        "\\",
        "..\\x",
        "07\\..",
        "-rf",
        "~",
        "$HOME",
        "`id`",
        "a b",
        "\n",
        "\x01",
        "\x7f",
        "07 ",
        "07.",
        "7",
        "007",
        "0G",
        "F7",
        "FF",
        "\xff\xfe",
        "\xc3\xa4",
        "\xe2\x80\xae",
        "\xd0\xb0\xd0\xb0",
        "\xef\xbc\x90\xef\xbc\x97",
        ".qk1",
        "%2e%2e",
        "%s%n",
        "07%00",
        "*",
        "?",
        "[0-9]",
    };
    enum { FIXED = sizeof fixed / sizeof *fixed };
    const char *path = strrchr(at.entry, '/') + 1;
    if (i < FIXED) {
        strcpy(name, fixed[i]);
        return strcmp(name, "..") != 0;
    }
    i -= FIXED;
    if (i < 68) { /* the entry's own name, one character of it another */
        strcpy(name, path);
        name[i] = name[i] == 'G' ? 'H' : i < 64 ? (char)(i % 2 ? 'G' : 'A') : '_';
        return 1;
    }
    i -= 68;
    if (i < 67) { /* shorter */
        snprintf(name, 300, "%.*s", i + 1, path);
        return strlen(name) != 2;
    }
    i -= 67;
    if (i < 90) { /* longer */
        snprintf(name, 300, "%s%.*s", path, i + 1,
                 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        return 1;
    }
    return 0;
}

static void other_names_are_passed_over(void **state)
{
    (void)state;
    struct store *s;
    struct store_trimmed trimmed;
    int made = 0, seen = 0;
    char name[300], path[700];
    for (int i = 0; i < 262; i++) {
        if (!make_name(i, name)) continue;
        for (int in_shard = 0; in_shard < 2; in_shard++) {
            snprintf(path, sizeof path, "%s/%s", in_shard ? at.shard : at.folder, name);
            const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
            if (fd < 0) fail_msg("%s: %s", path, strerror(errno));
            close(fd);
            made++;
        }
    }
    bad_names = opened = 0;
    assert_int_equal(store_open(at.folder, &s), QRT_OK);
    fault_begin(&(struct fault){.target = FAULT_FILES}, check_name, NULL);
    assert_int_equal(store_each(s, count_one, &seen), QRT_OK);
    assert_int_equal(store_trim(s, UINT64_MAX, &trimmed), QRT_OK);
    fault_end();
    assert_int_equal(seen, 1);
    assert_int_equal(trimmed.kept, 1);
    assert_int_equal(bad_names, 0);
    assert_in_range(opened, 3, 20);
    store_close(s);
    print_message("%d names made, %d opened\n", made, opened);
    assert_true(made >= 500);
    remove_anything(at.folder);
    assert_int_equal(put_into(at.folder), QRT_OK);
}

/* The key's bytes are all that names depend on. */
static void keys_make_safe_names(void **state)
{
    (void)state;
    struct store *s;
    uint8_t key[ENTRY_KEY_BYTES];
    uint64_t random = 3;
    void *bytes = NULL;
    size_t count;
    int found;
    struct entry e;
    bad_names = opened = 0;
    assert_int_equal(store_open(at.folder, &s), QRT_OK);
    fault_begin(&(struct fault){.target = FAULT_FILES}, check_name, NULL);
    for (int i = 0; i < 1000; i++) {
        for (size_t j = 0; j < sizeof key; j++)
            key[j] = i < 256 ? (uint8_t)i : (uint8_t)random_word(&random); /* '/', '.', 0 too */
        assert_int_equal(store_get(s, key, &e, &bytes, &count, &found), QRT_OK);
        assert_int_equal(found, 0);
    }
    fault_end();
    assert_int_equal(bad_names, 0);
    assert_true(opened >= 1000);
    store_close(s);
}

static void modes_do_not_hang_on_umask(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 0077, 0777};
    struct stat st;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        remove_anything(at.folder);
        const mode_t before = umask(masks[i]);
        const qrt_status status = put_into(at.folder);
        umask(before);
        if (masks[i] == 0777) { /* takes even our own rights: root does not need them */
            if (status != QRT_OK) assert_int_equal(status, QRT_E_IO);
            continue;
        }
        assert_int_equal(status, QRT_OK);
        assert_true(is_found_in(at.folder));
        assert_int_equal(stat(at.entry, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat(at.shard, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(stat(at.folder, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
    }
    remove_anything(at.folder);
    assert_int_equal(put_into(at.folder), QRT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_names_are_passed_over),
        cmocka_unit_test(keys_make_safe_names),
        cmocka_unit_test(entries_of_others_are_misses),
        cmocka_unit_test(shards_of_others_are_misses),
        cmocka_unit_test(stores_of_others_are_refused),
        cmocka_unit_test(open_parents_are_refused),
        cmocka_unit_test(modes_do_not_hang_on_umask),
    };
    return cmocka_run_group_tests(tests, make_place, remove_place);
}
