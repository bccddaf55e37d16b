/* test_store_race.c -- contract of store.h with many at work on one folder
 *
 * - many writers of different bytes under the same keys, readers, trimmers, one who deletes folders
 *   and one who kills writers: what a reader gets is whole and one writer's; a put succeeds, or says
 *   why it did not, and its writer keeps what it had; nothing blocks; in the end the store works, and
 *   a trim keeps to its size
 * - threads of one process, on one store
 * - whoever exchanges a shard or an entry for a link to another's files, again and again, has none of
 *   these read or changed
 *
 * QGEN_SOAK=1: a million operations, and 10,000 exchanges, instead of some.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "entries.h"
#include "file.h"
#include "helpers.h"

enum {
    WRITERS = 32,
    READERS = 8,
    TRIMMERS = 2,
    KEYS = 64,
    THREADS = 16,
    IMAGE_BYTES = 1500,
    FOREIGN = WRITERS, /* the fill of files that nobody may get */
};

/* Entries of one number differ in the fill of their image alone, so their length is one. */
static uint64_t cap_bytes;

struct tally {
    atomic_int ends;
    atomic_long operations, puts, failed_puts, reads, misses, bad, kills, deleted, exchanges;
};

static int open_shared(void **state)
{
    struct tally *t =
        mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *bytes;
    size_t count;
    if (t == MAP_FAILED) return -1;
    entries_make(0, 0, IMAGE_BYTES, &bytes, &count);
    free(bytes);
    cap_bytes = count * KEYS / 2;
    *state = t;
    return 0;
}

static int close_shared(void **state) { return munmap(*state, sizeof(struct tally)); }

static int is_soak(void) { return getenv("QGEN_SOAK") != NULL; }

static void count(atomic_long *what, struct tally *t)
{
    atomic_fetch_add(what, 1);
    atomic_fetch_add(&t->operations, 1);
}

/* ---- what each of them does ---- */

static void put_one(struct store *s, struct tally *t, int writer, int number)
{
    uint8_t key[ENTRY_KEY_BYTES];
    void *bytes, *again;
    size_t size, again_size;
    entries_key(number, key);
    entries_make(number, writer, IMAGE_BYTES, &bytes, &size);
    const qrt_status status = store_put(s, key, bytes, size);
    if (status != QRT_OK && status != QRT_E_IO) atomic_fetch_add(&t->bad, 1);
    if (status != QRT_OK && qrt_message()[0] == 0) atomic_fetch_add(&t->bad, 1);
    entries_make(number, writer, IMAGE_BYTES, &again, &again_size);
    if (size != again_size || memcmp(bytes, again, size) != 0) atomic_fetch_add(&t->bad, 1);
    count(status == QRT_OK ? &t->puts : &t->failed_puts, t);
    free(bytes);
    free(again);
}

static int is_of_a_writer(const struct entry *e)
{
    const uint8_t *image = e->part[ENTRY_IMAGE].data;
    if (e->part[ENTRY_IMAGE].bytes != IMAGE_BYTES || image[0] >= WRITERS) return 0;
    for (int i = 1; i < IMAGE_BYTES; i++)
        if (image[i] != image[0]) return 0;
    return 1;
}

static void get_one(struct store *s, struct tally *t, int number)
{
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry e;
    void *bytes = NULL;
    size_t size;
    int found = 0;
    entries_key(number, key);
    if (store_get(s, key, &e, &bytes, &size, &found) != QRT_OK) atomic_fetch_add(&t->bad, 1);
    if (found && (!is_of_a_writer(&e) || e.key[0] != number)) atomic_fetch_add(&t->bad, 1);
    count(found ? &t->reads : &t->misses, t);
    if (found) free(bytes);
}

static void trim_one(struct store *s, struct tally *t)
{
    struct store_trimmed trimmed;
    if (store_trim(s, cap_bytes, &trimmed) != QRT_OK) atomic_fetch_add(&t->bad, 1);
    atomic_fetch_add(&t->operations, 1);
}

/* As `rm -rf` does: files one by one, then the folder. */
static void delete_shard(const char *folder, struct tally *t, int number)
{
    char shard[ENTRIES_PATH];
    entries_shard(folder, number, shard);
    DIR *d = opendir(shard);
    if (!d) return;
    for (const struct dirent *e; (e = readdir(d)) != NULL;) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    if (rmdir(shard) == 0) count(&t->deleted, t);
}

/* ---- processes ---- */

enum role { WRITE, READ, TRIM, DELETE };

static void work(enum role role, int index, const char *folder, struct tally *t)
{
    struct store *s;
    uint64_t random = (uint64_t)getpid() * 2654435761u + 1;
    if (store_open(folder, &s) != QRT_OK) _exit(1);
    while (!atomic_load(&t->ends)) {
        const int number = (int)(random_word(&random) % KEYS);
        switch (role) {
        case WRITE: put_one(s, t, index, number); break;
        case READ: get_one(s, t, number); break;
        case TRIM: trim_one(s, t), usleep(2000); break;
        case DELETE: delete_shard(folder, t, number), usleep(500); break;
        }
    }
    store_close(s);
    _exit(0);
}

static pid_t start(enum role role, int index, const char *folder, struct tally *t)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) work(role, index, folder, t);
    return pid;
}

static void wait_for(pid_t pid)
{
    int code;
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(code, 0);
}

/* Kill a writer and start it anew, until there were `wanted` operations. */
static void kill_until(long wanted, pid_t writers[WRITERS], const char *folder, struct tally *t)
{
    uint64_t random = 3;
    while (atomic_load(&t->operations) < wanted) {
        const int victim = (int)(random_word(&random) % WRITERS);
        usleep((useconds_t)(random_word(&random) % 4000));
        assert_int_equal(kill(writers[victim], SIGKILL), 0);
        assert_int_equal(waitpid(writers[victim], NULL, 0), writers[victim]);
        writers[victim] = start(WRITE, victim, folder, t);
        count(&t->kills, t);
    }
}

static void expect_sound(const char *folder, struct tally *t)
{
    struct store *s;
    struct store_trimmed trimmed;
    assert_int_equal(store_open(folder, &s), QRT_OK);
    assert_int_equal(store_trim(s, cap_bytes, &trimmed), QRT_OK);
    assert_true(trimmed.kept_bytes <= cap_bytes);
    const long failed = atomic_load(&t->failed_puts);
    for (int number = 0; number < KEYS; number++) {
        put_one(s, t, 0, number);
        get_one(s, t, number);
    }
    assert_int_equal(atomic_load(&t->failed_puts), failed);
    store_close(s);
}

static void report(const struct tally *t)
{
    print_message(
        "%ld operations: %ld puts, %ld failed ones, %ld reads, %ld misses, %ld kills, %ld "
        "folders deleted; %ld bad\n",
        atomic_load(&t->operations), atomic_load(&t->puts), atomic_load(&t->failed_puts),
        atomic_load(&t->reads), atomic_load(&t->misses), atomic_load(&t->kills),
        atomic_load(&t->deleted), atomic_load(&t->bad));
}

static void processes_see_whole_entries(void **state)
{
    struct tally *t = *state;
    char folder[64];
    pid_t writers[WRITERS], others[READERS + TRIMMERS + 1];
    int started = 0;
    memset(t, 0, sizeof *t);
    entries_folder(folder);
    for (int i = 0; i < WRITERS; i++) writers[i] = start(WRITE, i, folder, t);
    for (int i = 0; i < READERS; i++) others[started++] = start(READ, i, folder, t);
    for (int i = 0; i < TRIMMERS; i++) others[started++] = start(TRIM, i, folder, t);
    others[started++] = start(DELETE, 0, folder, t);
    kill_until(is_soak() ? 1000000 : 30000, writers, folder, t);
    atomic_store(&t->ends, 1);
    for (int i = 0; i < WRITERS; i++) wait_for(writers[i]);
    for (int i = 0; i < started; i++) wait_for(others[i]);
    report(t);
    assert_true(atomic_load(&t->puts) > 0 && atomic_load(&t->reads) > 0);
    expect_sound(folder, t);
    assert_int_equal(atomic_load(&t->bad), 0);
    entries_remove(folder);
}

/* ---- threads ---- */

struct thread {
    pthread_t id;
    int index;
    struct store *store;
    struct tally *tally;
};

static void *run_thread(void *user)
{
    const struct thread *own = user;
    uint64_t random = (uint64_t)own->index + 1;
    for (int i = 0; i < (is_soak() ? 20000 : 200); i++) {
        const int number = (int)(random_word(&random) % KEYS);
        if (own->index % 2 == 0)
            put_one(own->store, own->tally, own->index, number);
        else
            get_one(own->store, own->tally, number);
        if (own->index == 1 && i % 16 == 0) trim_one(own->store, own->tally);
    }
    return NULL;
}

static void threads_share_a_store(void **state)
{
    struct tally *t = *state;
    struct thread threads[THREADS];
    struct store *s;
    char folder[64];
    memset(t, 0, sizeof *t);
    entries_folder(folder);
    assert_int_equal(store_open(folder, &s), QRT_OK);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.index = i, .store = s, .tally = t};
        assert_int_equal(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i].id, NULL);
    report(t);
    assert_int_equal(atomic_load(&t->failed_puts), 0); /* nobody deletes folders */
    assert_int_equal(atomic_load(&t->bad), 0);
    assert_true(atomic_load(&t->reads) > 0);
    store_close(s);
    expect_sound(folder, t);
    entries_remove(folder);
}

/* ---- exchanges ---- */

/* Somebody else's store, with a sound entry of the same key and bytes of its own, and a link to it. */
struct trap {
    char folder[64], foreign[64];
    char target[ENTRIES_PATH], link[80]; /* exchanged for each other */
    char to[ENTRIES_PATH];               /* what the link points to */
};

static void make_trap(struct trap *p, int of_shard)
{
    struct store *s;
    uint8_t key[ENTRY_KEY_BYTES];
    void *bytes;
    size_t size;
    entries_folder(p->folder);
    entries_folder(p->foreign);
    entries_key(0, key);
    entries_make(0, FOREIGN, IMAGE_BYTES, &bytes, &size);
    assert_int_equal(store_open(p->foreign, &s), QRT_OK);
    assert_int_equal(store_put(s, key, bytes, size), QRT_OK);
    store_close(s);
    free(bytes);
    (of_shard ? entries_shard : entries_path)(p->foreign, 0, p->to);
    (of_shard ? entries_shard : entries_path)(p->folder, 0, p->target);
    snprintf(p->link, sizeof p->link, "%s/link", p->folder);
    assert_int_equal(symlink(p->to, p->link), 0);
}

static int is_link(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* A put replaces a link by its file: then there is a new one. */
static void exchange(const struct trap *p, struct tally *t)
{
    while (!atomic_load(&t->ends)) {
        if (!is_link(p->link) && !is_link(p->target) && unlink(p->link) == 0)
            (void)!symlink(p->to, p->link);
        if (renameat2(AT_FDCWD, p->target, AT_FDCWD, p->link, RENAME_EXCHANGE) == 0)
            atomic_fetch_add(&t->exchanges, 1);
    }
    _exit(0);
}

/* The foreign store is as it was: one file, its bytes. */
static void expect_untouched(const struct trap *p)
{
    struct store *s;
    char shard[ENTRIES_PATH];
    int files = 0;
    size_t size;
    entries_shard(p->foreign, 0, shard);
    DIR *d = opendir(shard);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        files += e->d_name[0] != '.' || e->d_name[1] > '.';
    closedir(d);
    assert_int_equal(files, 1);
    assert_int_equal(store_open(p->foreign, &s), QRT_OK);
    uint8_t *bytes = entries_get(s, 0, &size), *same;
    size_t same_size;
    entries_make(0, FOREIGN, IMAGE_BYTES, (void **)&same, &same_size);
    assert_non_null(bytes);
    assert_int_equal(size, same_size);
    assert_memory_equal(bytes, same, size);
    free(bytes);
    free(same);
    store_close(s);
}

static void play(int of_shard, struct tally *t)
{
    struct trap trap;
    struct store *s;
    const long wanted = is_soak() ? 10000 : 500;
    memset(t, 0, sizeof *t);
    make_trap(&trap, of_shard);
    assert_int_equal(store_open(trap.folder, &s), QRT_OK);
    put_one(s, t, 1, 0);
    if (renameat2(AT_FDCWD, trap.target, AT_FDCWD, trap.link, RENAME_EXCHANGE) != 0) {
        print_message("SKIP: names cannot be exchanged here: %s\n", strerror(errno));
        skip();
    }
    const pid_t other = fork();
    assert_true(other >= 0);
    if (other == 0) exchange(&trap, t);
    while (atomic_load(&t->exchanges) < wanted || atomic_load(&t->puts) < wanted / 10) {
        put_one(s, t, 1, 0);
        get_one(s, t, 0);
    }
    atomic_store(&t->ends, 1);
    wait_for(other);
    print_message("%ld exchanges beside %ld operations, %ld bad\n", atomic_load(&t->exchanges),
                  atomic_load(&t->operations), atomic_load(&t->bad));
    assert_int_equal(atomic_load(&t->bad), 0);
    expect_untouched(&trap);
    store_close(s);
    entries_remove(trap.folder);
    entries_remove(trap.foreign);
}

static void exchanged_names_are_not_followed(void **state)
{
    play(0, *state);
    play(1, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_store),
        cmocka_unit_test(processes_see_whole_entries),
        cmocka_unit_test(exchanged_names_are_not_followed),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
