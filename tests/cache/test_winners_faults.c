/* test_winners_faults.c -- contract of winners.h when memory, disk or the process give out
 *
 * - keep: whichever file operation or allocation fails in whichever way, once or for ever, it succeeds
 *   or says why; the table then has the old rows, or these and the new ones, and nothing is set aside
 * - load: all rows, or a note, or an error
 * - keep ended before any of its operations, and killed at any time: old rows, or old and new ones;
 *   what it had reported as kept stays
 * - no descriptor stays open on any of these ways
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "entries.h"
#include "error.h"
#include "fault.h"
#include "helpers.h"
#include "winners.h"

static char folder[64];

static int begin(void **state)
{
    (void)state;
    entries_folder(folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    entries_remove(folder);
    return 0;
}

static void shell(const char *format)
{
    char line[192];
    snprintf(line, sizeof line, format, folder);
    assert_int_equal(system(line), 0);
}

/* A table of one winner, for `rows` rows. */
static struct winners table(int rows)
{
    struct winners w = {0};
    struct winner one = {.arch = "sm_89",
                         .m_lo = rows,
                         .m_hi = rows,
                         .template_ = "cuda/add",
                         .made_lo = 1,
                         .made_hi = WINNER_ROWS_END,
                         .signature = "0123456789abcdef"};
    assert_int_equal(op_desc_parse("add.f16", &one.desc), QRT_OK);
    assert_int_equal(winners_add(&w, &one), QRT_OK);
    return w;
}

static size_t count_kept(void)
{
    struct winners w;
    char note[256];
    if (winners_load(folder, &w, note) != QRT_OK) fail_msg("%s", qrt_message());
    assert_string_equal(note, "");
    const size_t count = w.count;
    winners_free(&w);
    return count;
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

static void prepare(void)
{
    struct winners w = table(1);
    shell("rm -rf %s/tuned");
    assert_int_equal(winners_keep(folder, &w), QRT_OK);
    winners_free(&w);
}

/* ---- every way to fail ---- */

static const struct way {
    enum fault_effect effect;
    int error;
} ways[] = {
    {FAULT_FAIL, EIO},    {FAULT_FAIL, ENOSPC}, {FAULT_FAIL, EDQUOT},
    {FAULT_FAIL, EINTR},  {FAULT_FAIL, EACCES}, {FAULT_FAIL, EROFS},
    {FAULT_FAIL, ESTALE}, {FAULT_FAIL, EMFILE}, {FAULT_SHORT, 0},
};
enum { WAYS = sizeof ways / sizeof *ways };

static void check_keep(const struct fault *f, const struct winners *more)
{
    prepare();
    const int descriptors = open_descriptors();
    fault_begin(f, NULL, NULL);
    const qrt_status status = winners_keep(folder, more);
    fault_end();
    const size_t count = count_kept();
    assert_in_range(count, 1, 2);
    if (status == QRT_OK) assert_int_equal(count, 2);
    assert_true(status == QRT_OK || *qrt_message());
    assert_int_equal(open_descriptors(), descriptors);
    shell("test ! -e %s/tuned/sm_89.txt.damaged");
    assert_int_equal(winners_keep(folder, more), QRT_OK);
    assert_int_equal(count_kept(), 2);
}

static void check_load(const struct fault *f, const struct winners *unused)
{
    struct winners w;
    char note[256];
    (void)unused;
    const int descriptors = open_descriptors();
    fault_begin(f, NULL, NULL);
    const qrt_status status = winners_load(folder, &w, note);
    fault_end();
    assert_int_equal(open_descriptors(), descriptors);
    if (status != QRT_OK) return;
    assert_int_equal(w.count, *note ? 0 : 2);
    winners_free(&w);
}

static long count_calls(enum fault_target target, int is_load, const struct winners *more)
{
    const struct fault none = {.target = target};
    struct winners w;
    char note[256];
    fault_begin(&none, NULL, NULL);
    if (is_load)
        assert_int_equal(winners_load(folder, &w, note), QRT_OK);
    else
        assert_int_equal(winners_keep(folder, more), QRT_OK);
    const long calls = fault_end();
    if (is_load) winners_free(&w);
    return calls;
}

/* Each call, in each way, once and for ever. */
static void fail_all(enum fault_target target, int is_load)
{
    struct winners more = table(2);
    prepare();
    const long calls = count_calls(target, is_load, &more);
    if (is_load) assert_int_equal(winners_keep(folder, &more), QRT_OK);
    assert_true(calls > 2);
    for (long at = 1; at <= calls; at++) {
        for (int i = 0; i < (target == FAULT_MEMORY ? 2 : 2 * WAYS); i++) {
            const struct fault f = {.target = target,
                                    .at = at,
                                    .for_ever = i % 2,
                                    .effect = ways[i / 2].effect,
                                    .error = ways[i / 2].error};
            (is_load ? check_load : check_keep)(&f, &more);
        }
    }
    winners_free(&more);
}

static void files_fail(void **state)
{
    (void)state;
    fail_all(FAULT_FILES, 0);
    fail_all(FAULT_FILES, 1);
}

static void memory_fails(void **state)
{
    (void)state;
    fail_all(FAULT_MEMORY, 0);
    fail_all(FAULT_MEMORY, 1);
}

/* ---- the process ends ---- */

static void ended_before_any_operation(void **state)
{
    (void)state;
    struct winners more = table(2);
    prepare();
    const long calls = count_calls(FAULT_FILES, 0, &more);
    for (long at = 1; at <= calls; at++) {
        const struct fault f = {.target = FAULT_FILES, .at = at, .effect = FAULT_EXIT};
        prepare();
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            fault_begin(&f, NULL, NULL);
            winners_keep(folder, &more);
            _exit(0);
        }
        int code;
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_true(WIFEXITED(code) && WEXITSTATUS(code) == FAULT_EXITED);
        assert_in_range(count_kept(), 1, 2);
        assert_int_equal(winners_keep(folder, &more), QRT_OK);
        assert_int_equal(count_kept(), 2);
    }
    winners_free(&more);
}

static void __attribute__((noreturn)) keep_for_ever(volatile int *kept)
{
    for (int rows = *kept + 1;; rows++) {
        struct winners w = table(rows);
        if (winners_keep(folder, &w) != QRT_OK) _exit(1);
        *kept = rows;
        winners_free(&w);
    }
}

static void killed_at_any_time(void **state)
{
    (void)state;
    enum { ROUNDS = 200 };
    uint64_t random = 9;
    volatile int *kept =
        mmap(NULL, sizeof *kept, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(kept != MAP_FAILED);
    shell("rm -rf %s/tuned");
    for (int round = 0; round < ROUNDS; round++) {
        const struct timespec pause = {0, (long)(random_word(&random) % 3000000)};
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) keep_for_ever(kept);
        nanosleep(&pause, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        int code;
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_true(WIFSIGNALED(code));
        const int count = (int)count_kept(); /* one may be written and not yet reported */
        assert_in_range(count, *kept, *kept + 1);
        *kept = count;
    }
    assert_true(*kept > 0);
    munmap((void *)kept, sizeof *kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_fail),
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(ended_before_any_operation),
        cmocka_unit_test(killed_at_any_time),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
