/* test_store_crash.c -- contract of store.h when processes die and power is lost
 *
 * - a process that ends before any file operation of put or of trim leaves the old bytes, the new ones
 *   or, where there was no entry and while trimming, none: whole
 * - the same where what was not synced by then is lost: data dropped, zeroed, cut at 512 bytes or
 *   torn, and names that appear or not, in any order; an entry that there was is never lost, and a
 *   put that has returned is never undone
 * - so does file_write() (file.h), by which tables of winners are written
 * - the next put repairs it, and when that fails too at any operation, the same holds again
 * - writers that are killed at random times: a reader that reads all the while sees each time the
 *   bytes of some writer; nothing is lost, and what they leave behind is swept away
 *
 * The model of lost power is itself tried on writers that do not sync, whose losses it has to find.
 * QGEN_SOAK=1: 10,000 kills instead of some.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "entries.h"
#include "error.h"
#include "fault.h"
#include "file.h"
#include "helpers.h"
#include "key.h"

enum { NUMBER = 1, SECTOR = 512, IMAGE_BYTES = 3000, DAMAGES = 50 };

static char folder[64];
static struct store *store;
static void *old, *new;
static size_t old_bytes, new_bytes;

static int open_all(void **state)
{
    (void)state;
    entries_folder(folder);
    entries_make(NUMBER, 'o', IMAGE_BYTES, &old, &old_bytes);
    entries_make(NUMBER, 'n', 2 * IMAGE_BYTES, &new, &new_bytes);
    return store_open(folder, &store) != QRT_OK;
}

static int close_all(void **state)
{
    (void)state;
    store_close(store);
    entries_remove(folder);
    free(old);
    free(new);
    return 0;
}

/* Zeroed memory that children see too. */
static void *share(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    return at;
}

/* ---- what a disk has of a put ---- */

/* In memory that a child shares: how far its put has got, and how much of that is on the disk. */
struct progress {
    int shard_made, shard_synced; /* mkdirat(), fsync() of the store's folder */
    int written, data_synced;     /* write(), fsync() of the temporary file */
    int renamed, rename_synced;   /* renameat(), fsync() of the shard */
    int file;                     /* the temporary file's descriptor, once it was written to */
    int pending, pending_fd;      /* what is about to happen: enum operation, and to which file */
};
enum operation { NOTHING, MAKE_SHARD, WRITE, SYNC, RENAME };

/* An operation has happened when the next one begins, or the process goes on. */
static void settle(struct progress *p)
{
    switch (p->pending) {
    case MAKE_SHARD: p->shard_made = 1; break;
    case WRITE: p->written = 1, p->data_synced = 0; break;
    case RENAME: p->renamed = 1; break;
    case SYNC:
        if (p->written && p->pending_fd == p->file)
            p->data_synced = 1;
        else if (p->renamed)
            p->rename_synced = 1;
        else if (p->shard_made)
            p->shard_synced = 1;
        break;
    default: break;
    }
    p->pending = NOTHING;
}

static void note(void *user, const struct fault_call *call)
{
    static const struct {
        const char *name;
        enum operation operation;
    } known[] = {{"mkdirat", MAKE_SHARD},
                 {"write", WRITE},
                 {"fsync", SYNC},
                 {"renameat", RENAME},
                 {"rename", RENAME}};
    struct progress *p = user;
    settle(p);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(call->name, known[i].name) == 0) p->pending = (int)known[i].operation;
    if (p->pending == WRITE) p->file = call->fd;
    if (strcmp(call->name, "close") == 0 && call->fd == p->file) p->file = -1; /* a folder's next */
    p->pending_fd = call->fd;
}

/* What is left of bytes that were not synced. */
static size_t lose(uint64_t *random, uint8_t *bytes, size_t count)
{
    const size_t sectors = (count + SECTOR - 1) / SECTOR;
    switch (random_word(random) % 5) {
    case 0: return 0;
    case 1: memset(bytes, 0, count); return count;
    case 2: return (size_t)(random_word(random) % sectors) * SECTOR;
    case 3: /* torn: each sector came or did not */
        for (size_t i = 0; i + SECTOR <= count; i += SECTOR)
            if (random_word(random) % 2) memset(bytes + i, 0, SECTOR);
        return count;
    default: return count;
    }
}

/* Make the store's folder what it may be after power was lost; `had_old`: before the put there was
 * an entry, on the disk. */
static void lose_power(const struct progress *p, int had_old, uint64_t *random)
{
    char shard[ENTRIES_PATH], path[ENTRIES_PATH], temporary[ENTRIES_PATH + 8];
    entries_shard(folder, NUMBER, shard);
    entries_path(folder, NUMBER, path);
    entries_clear(folder, NUMBER);
    const int has_shard =
        had_old || (p->shard_made && (p->shard_synced || random_word(random) % 2));
    if (!has_shard) return;
    assert_int_equal(mkdir(shard, 0700), 0);
    uint8_t *bytes = malloc(new_bytes);
    memcpy(bytes, new, new_bytes);
    const size_t left = p->data_synced ? new_bytes : lose(random, bytes, new_bytes);
    const int has_new_name = p->renamed && (p->rename_synced || random_word(random) % 2);
    if (has_new_name)
        entries_write(folder, NUMBER, bytes, left);
    else if (had_old)
        entries_write(folder, NUMBER, old, old_bytes);
    if (!has_new_name && p->written && random_word(random) % 2) {
        char *name = strrchr(path, '/');
        snprintf(temporary, sizeof temporary, "%.*s/.%s.1.2.3", (int)(name - path), path, name + 1);
        assert_int_equal(file_write(temporary, bytes, left), QRT_OK);
    }
    free(bytes);
}

/* ---- writers ---- */

typedef int writer(const void *bytes, size_t count);

static int put(const void *bytes, size_t count)
{
    uint8_t key[ENTRY_KEY_BYTES];
    entries_key(NUMBER, key);
    return store_put(store, key, bytes, count) != QRT_OK;
}

/* As tables of winners and files of --out are written, which are not the store's. */
static int write_file(const void *bytes, size_t count)
{
    char path[ENTRIES_PATH];
    entries_path(folder, NUMBER, path);
    return file_write(path, bytes, count) != QRT_OK;
}

/* How not to do it: the name before the bytes are synced, or never synced. */
static int careless(const void *bytes, size_t count, int syncs)
{
    char path[ENTRIES_PATH], temporary[ENTRIES_PATH + 8], shard[ENTRIES_PATH];
    entries_path(folder, NUMBER, path);
    entries_shard(folder, NUMBER, shard);
    snprintf(temporary, sizeof temporary, "%s.new", path);
    mkdirat(AT_FDCWD, shard, 0700);
    const int folder_fd = open(shard, O_RDONLY | O_DIRECTORY);
    const int fd = open(temporary, O_WRONLY | O_CREAT, 0600);
    int bad = fd < 0 || file_write_all(fd, bytes, count) != 0;
    bad = bad || renameat(AT_FDCWD, temporary, AT_FDCWD, path) != 0;
    if (syncs) bad = bad || fsync(fd) != 0 || fsync(folder_fd) != 0;
    close(fd);
    close(folder_fd);
    return bad;
}

static int never_syncs(const void *bytes, size_t count) { return careless(bytes, count, 0); }
static int syncs_late(const void *bytes, size_t count) { return careless(bytes, count, 1); }

/* Have a child write `new` and end before its `at`-th operation, 0: go on to its end. */
static int end_early(writer *write_all, long at, struct progress *p)
{
    int code;
    memset(p, 0, sizeof *p);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct fault f = {FAULT_FILES, at, 0, FAULT_EXIT, 0};
        fault_begin(&f, note, p);
        const int bad = write_all(new, new_bytes);
        settle(p);
        _exit(bad);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFEXITED(code));
    if (WEXITSTATUS(code) != FAULT_EXITED) assert_int_equal(WEXITSTATUS(code), 0);
    if (WEXITSTATUS(code) == FAULT_EXITED) settle(p);
    return WEXITSTATUS(code) == FAULT_EXITED;
}

enum found { NONE, OLD, NEW };

/* The only three there may be. */
static enum found look(void)
{
    size_t count;
    void *got = entries_get(store, NUMBER, &count);
    if (!got) return NONE;
    const int is_new = count == new_bytes && memcmp(got, new, count) == 0;
    if (!is_new) {
        assert_int_equal(count, old_bytes);
        assert_memory_equal(got, old, count);
    }
    free(got);
    return is_new ? NEW : OLD;
}

static void restore(int had_old)
{
    entries_clear(folder, NUMBER);
    if (had_old) assert_int_equal(put(old, old_bytes), 0);
}

/* Crash and lose power at each operation; returns how often the entry that there was is lost, and
 * `undone` how often a write that had returned. */
static int crash_everywhere(writer *write_all, int had_old, int *undone, int *damages)
{
    struct progress *p = share(sizeof *p);
    uint64_t random = 5;
    int lost = 0;
    for (long at = 1, has_ended = 0; !has_ended; at++) {
        restore(had_old);
        has_ended = !end_early(write_all, at, p);
        const enum found at_once = look(); /* the process died, the system did not */
        if (had_old || has_ended) assert_int_not_equal(at_once, NONE);
        if (has_ended) assert_int_equal(at_once, NEW);
        for (int i = 0; i < DAMAGES; i++, ++*damages) {
            lose_power(p, had_old, &random);
            const enum found found = look();
            lost += had_old && found == NONE;
            *undone += has_ended && found != NEW;
        }
    }
    munmap(p, sizeof *p);
    return lost;
}

static void power_loses_nothing(void **state)
{
    (void)state;
    int undone = 0, damages = 0;
    assert_int_equal(crash_everywhere(put, 1, &undone, &damages), 0);
    assert_int_equal(crash_everywhere(put, 0, &undone, &damages), 0);
    assert_int_equal(crash_everywhere(write_file, 1, &undone, &damages), 0);
    assert_int_equal(undone, 0);
    print_message("%d states after a loss of power: 0 damaged, 0 lost, 0 undone\n", damages);
    assert_true(damages >= 20 * DAMAGES);
}

/* Else the test above would prove nothing. */
static void the_model_finds_careless_writers(void **state)
{
    (void)state;
    int undone = 0, damages = 0;
    assert_true(crash_everywhere(never_syncs, 1, &undone, &damages) > 0);
    assert_true(undone > 0);
    undone = 0;
    assert_true(crash_everywhere(syncs_late, 1, &undone, &damages) > 0);
}

/* After power was lost at any operation, a second put that fails at any operation. */
static void a_second_fault_is_borne(void **state)
{
    (void)state;
    struct progress *p = share(sizeof *p);
    uint64_t random = 9;
    int runs = 0;
    for (long at = 1, has_ended = 0; !has_ended; at++)
        for (long second = 1, failed = 1; failed; second++, runs++) {
            restore(1);
            has_ended = !end_early(put, at, p);
            lose_power(p, 1, &random);
            const struct fault f = {FAULT_FILES, second, 0, FAULT_FAIL, EIO};
            fault_begin(&f, NULL, NULL);
            put(new, new_bytes);
            failed = fault_end() >= second;
            assert_int_not_equal(look(), NONE);
            assert_int_equal(put(new, new_bytes), 0);
            assert_int_equal(look(), NEW);
        }
    print_message("%d pairs of faults\n", runs);
    munmap(p, sizeof *p);
}

static void trimming_ends_anywhere(void **state)
{
    (void)state;
    int code = -1;
    for (long at = 1; code != 0; at++) {
        restore(1);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            const struct fault f = {FAULT_FILES, at, 0, FAULT_EXIT, 0};
            struct store_trimmed t;
            fault_begin(&f, NULL, NULL);
            _exit(store_trim(store, 0, &t) != QRT_OK || t.removed != 1);
        }
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_true(code == 0 || WEXITSTATUS(code) == FAULT_EXITED);
        const enum found found = look();
        assert_int_equal(found, code == 0 ? NONE : found);
        assert_int_not_equal(found, NEW);
    }
}

/* ---- kills at random times ---- */

enum { KEYS = 4, VERSIONS = 3 };

struct versions {
    void *bytes[KEYS][VERSIONS];
    size_t count[KEYS][VERSIONS];
};

/* Shared with the processes. */
struct tally {
    atomic_int ends;
    atomic_long puts, reads, bad;
};

static void write_for_ever(const struct versions *v, struct tally *t, uint64_t random)
{
    for (;;) {
        const int k = (int)(random_word(&random) % KEYS),
                  n = (int)(random_word(&random) % VERSIONS);
        uint8_t key[ENTRY_KEY_BYTES];
        entries_key(k, key);
        if (store_put(store, key, v->bytes[k][n], v->count[k][n]) != QRT_OK) _exit(1);
        atomic_fetch_add(&t->puts, 1);
    }
}

static void read_until_the_end(const struct versions *v, struct tally *t)
{
    while (!atomic_load(&t->ends))
        for (int k = 0; k < KEYS; k++) {
            size_t count;
            int same = 0;
            void *got = entries_get(store, k, &count);
            for (int n = 0; got && n < VERSIONS; n++)
                same |= count == v->count[k][n] && memcmp(got, v->bytes[k][n], count) == 0;
            atomic_fetch_add(same ? &t->reads : &t->bad, 1); /* a miss is bad too */
            free(got);
        }
}

static void kill_writers(const struct versions *v, struct tally *t, int rounds)
{
    uint64_t random = 17;
    for (int i = 0; i < rounds; i++) {
        const uint64_t seed = random_word(&random) | 1;
        const struct timespec wait = {.tv_nsec = (long)(random_word(&random) % 1000000)};
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) write_for_ever(v, t, seed);
        nanosleep(&wait, NULL);
        int code;
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_true(WIFSIGNALED(code) && WTERMSIG(code) == SIGKILL); /* it did not fail before */
    }
}

/* Make all files look as old as a day and an hour. */
static void let_a_day_pass(void)
{
    char command[192];
    snprintf(command, sizeof command, "find %s -type f -exec touch -d '25 hours ago' {} +", folder);
    assert_int_equal(system(command), 0);
}

static void killed_writers_harm_nobody(void **state)
{
    (void)state;
    const int rounds = getenv("QGEN_SOAK") ? 10000 : 400;
    struct versions v;
    struct store_trimmed trimmed;
    struct tally *t = share(sizeof *t);
    for (int k = 0; k < KEYS; k++)
        for (int n = 0; n < VERSIONS; n++)
            entries_make(k, 'a' + n, (size_t)(IMAGE_BYTES * (1 + 5 * n)), &v.bytes[k][n],
                         &v.count[k][n]);
    for (int k = 0; k < KEYS; k++) {
        uint8_t key[ENTRY_KEY_BYTES];
        entries_key(k, key);
        assert_int_equal(store_put(store, key, v.bytes[k][0], v.count[k][0]), QRT_OK);
    }
    const pid_t reader = fork();
    assert_true(reader >= 0);
    if (reader == 0) read_until_the_end(&v, t), _exit(0);
    kill_writers(&v, t, rounds);
    atomic_store(&t->ends, 1);
    int code;
    assert_int_equal(waitpid(reader, &code, 0), reader);
    assert_int_equal(code, 0);
    let_a_day_pass();
    assert_int_equal(store_trim(store, UINT64_MAX, &trimmed), QRT_OK);
    print_message("%d kills, %ld puts, %ld reads, %ld bad; %zu temporary files left and removed\n",
                  rounds, atomic_load(&t->puts), atomic_load(&t->reads), atomic_load(&t->bad),
                  trimmed.stale);
    assert_int_equal(atomic_load(&t->bad), 0);
    assert_true(atomic_load(&t->reads) > 0 && atomic_load(&t->puts) > 0);
    assert_int_equal(trimmed.kept, KEYS);
    for (int k = 0; k < KEYS; k++)
        for (int n = 0; n < VERSIONS; n++) free(v.bytes[k][n]);
    munmap(t, sizeof *t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_loses_nothing),
        cmocka_unit_test(the_model_finds_careless_writers),
        cmocka_unit_test(a_second_fault_is_borne),
        cmocka_unit_test(trimming_ends_anywhere),
        cmocka_unit_test(killed_writers_harm_nobody),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
