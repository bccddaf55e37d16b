/* test_measure.c -- contract of measure.h and measure_child.h, and that kernels are deterministic
 *
 * - a right kernel is measured, alone and beside another: at least 3 repeats, times above 0, quartiles
 *   around the median; alone its ratio is 1
 * - bytes are those of packed W, x and y; operations 2 M N K
 * - sizes that are no tiles, one row, many rows, quantized activations, and flushed caches work too
 * - problems without rows, and ops that are no linear, are refused
 * - a child answers for the points it was asked, in order; a kernel that is not in the store, a key
 *   that is none, a device that is none: failed, with the reason
 * - a child that is told to stop is gone, and says so
 * - rows come out in the same bits 100 times, at every batch of 1 to 64, with other threads computing
 *   on all processors, and in another process
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_cases.h"
#include "error.h"
#include "helpers.h"
#include "measure_child.h"
#include "store.h"
#include "x86_kernel.h"

static const struct measure_options quickly = {.budget_s = 0.02};

/* A kernel on x86_cpu; each is made once. */
struct made {
    const char *request;
    struct entry entry;
    void *image;
    struct kernel kernel;
};
enum { MOST_MADE = 8 };
static struct made made[MOST_MADE];

static const struct made *make(const char *request)
{
    int i = 0;
    while (i < MOST_MADE && made[i].request && strcmp(made[i].request, request) != 0) i++;
    assert_true(i < MOST_MADE);
    struct made *m = &made[i];
    if (m->request) return m;
    m->request = request;
    x86_kernel(request, "x86-64-v3", 0, 1 << 30, X86_AS_SHIPPED, &m->entry, &m->image);
    m->kernel = (struct kernel){.record = m->entry.record};
    assert_int_equal(x86_cpu->ops->load(x86_cpu, &m->entry, &m->kernel), QRT_OK);
    return m;
}

static void unmake_all(void)
{
    for (int i = 0; i < MOST_MADE && made[i].request; i++) {
        x86_cpu->ops->unload(x86_cpu, &made[i].kernel);
        free(made[i].image);
    }
}

static struct measure_problem problem_of(const struct made *m, int N, int K, int M)
{
    return (struct measure_problem){m->entry.record.desc, N, K, M};
}

static void check_noise(const struct noise *n)
{
    assert_true(n->count >= 3);
    assert_true(n->low > 0 && n->low <= n->median && n->median <= n->high);
}

static void measure_at(const struct made *m, int N, int K, int M, const struct measure_options *how)
{
    const struct measure_problem p = problem_of(m, N, K, M);
    const struct measure_subject s = {&m->kernel, NULL};
    struct measure_times t;
    struct measure *measure;
    char text[CHECK_TEXT_BYTES] = "";
    int wrong;
    if (measure_open(x86_cpu, &p, how, &measure) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(measure_run(measure, &s, &s, &t, &wrong, text), QRT_OK);
    if (wrong) fail_msg("%s", text);
    check_noise(&t.own);
    check_noise(&t.other);
    check_noise(&t.ratio);
    assert_int_equal(measure_run(measure, &s, NULL, &t, &wrong, text), QRT_OK);
    assert_int_equal(t.other.count, 0);
    assert_true(t.ratio.median == 1);
    measure_close(measure);
}

static void all_kinds_are_measured(void **state)
{
    (void)state;
    const struct measure_options flushed = {.budget_s = 0.01, .flush = 1};
    static const char *const requests[] = {"linear.w4g128.f32.f32", "linear.w4g32m.i8.f32",
                                           "linear.f16.f32.f32"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const struct made *m = make(requests[i]);
        measure_at(m, 100, 512, 1, &quickly);
        measure_at(m, 17, 256, 33, &quickly);
        measure_at(m, 64, 768, 8, &flushed);
    }
}

static void sizes_are_counted(void **state)
{
    (void)state;
    struct measure *measure;
    const struct made *m = make("linear.w4g128.f32.f32");
    const struct measure_problem p = problem_of(m, 64, 256, 3);
    assert_int_equal(measure_open(x86_cpu, &p, &quickly, &measure), QRT_OK);
    /* codes, f16 scales of 2 groups, x, y */
    const double bytes = 64 * 256 / 2 + 64 * 2 * 2 + 3 * 256 * 4 + 3 * 64 * 4;
    assert_true(measure_bytes(measure) == bytes);
    assert_true(measure_ops(measure) == 2.0 * 64 * 256 * 3);
    measure_close(measure);
    const struct measure_problem none = problem_of(m, 64, 256, 0);
    assert_int_equal(measure_open(x86_cpu, &none, &quickly, &measure), QRT_E_ARGUMENT);
    struct measure_problem add = p;
    assert_int_equal(op_desc_parse("add.f32", &add.desc), QRT_OK);
    assert_int_equal(measure_open(x86_cpu, &add, &quickly, &measure), QRT_E_ARGUMENT);
}

/* ---- children ---- */

static char folder[64];

static void put(const struct made *m, char key[KEY_HEX_BYTES])
{
    struct store *store;
    struct entry e = m->entry;
    void *bytes;
    size_t count;
    memset(e.key, 0x5a, sizeof e.key);
    key_hex(e.key, key);
    assert_int_equal(entry_serialize(&e, &bytes, &count), QRT_OK);
    assert_int_equal(store_open(folder, &store), QRT_OK);
    assert_int_equal(store_put(store, e.key, bytes, count), QRT_OK);
    store_close(store);
    free(bytes);
}

static void count_points(void *user, size_t point, const struct measure_times *t)
{
    size_t *next = user;
    assert_int_equal(point, *next);
    check_noise(&t->own);
    ++*next;
}

static const struct measure_child_device cpu = {
    .program = BINARY_DIR "/qgen", .name = "cpu", .limit_s = 60};

static void children_answer(void **state)
{
    (void)state;
    size_t measured = 0;
    const struct made *m = make("linear.w4g128.f32.f32");
    struct measure_child_point points[] = {{.N = 33, .K = 128, .M = 1},
                                           {.N = 32, .K = 256, .M = 9}};
    struct measure_child_job job = {.store = folder,
                                    .check = 1,
                                    .budget_s = 0.01,
                                    .points = points,
                                    .count = 2,
                                    .measured = count_points,
                                    .user = &measured};
    struct measure_child_end end;
    put(m, job.key);
    snprintf(points[1].other, sizeof points[1].other, "%s", job.key);
    assert_int_equal(measure_child_run(&cpu, &job, &end), QRT_OK);
    if (end.outcome != MEASURE_DONE) fail_msg("%s", end.text);
    assert_int_equal(measured, 2);
    assert_int_equal(end.measured, 2);

    memset(job.key, '0', sizeof job.key - 1);
    assert_int_equal(measure_child_run(&cpu, &job, &end), QRT_OK);
    assert_int_equal(end.outcome, MEASURE_FAILED);
    assert_non_null(strstr(end.text, "not in the store"));
    strcpy(job.key, "key");
    assert_int_equal(measure_child_run(&cpu, &job, &end), QRT_OK);
    assert_int_equal(end.outcome, MEASURE_FAILED);
    struct measure_child_device none = cpu;
    none.name = "cuda:7";
    none.driver = "/nonexistent/libcuda.so";
    assert_int_equal(measure_child_run(&none, &job, &end), QRT_OK);
    assert_int_equal(end.outcome, MEASURE_FAILED);
    assert_non_null(strstr(end.text, "nonexistent"));
}

static void children_stop(void **state)
{
    (void)state;
    const volatile sig_atomic_t now = 1;
    struct measure_child_device device = cpu;
    const struct measure_child_point point = {.N = 4096, .K = 4096, .M = 256};
    struct measure_child_job job = {
        .store = folder, .budget_s = 100, .points = &point, .count = 1, .measured = count_points};
    struct measure_child_end end;
    const struct made *m = make("linear.w4g128.f32.f32");
    put(m, job.key);
    device.stop = &now;
    assert_int_equal(measure_child_run(&device, &job, &end), QRT_OK);
    assert_int_equal(end.outcome, MEASURE_STOPPED);
    assert_int_equal(end.measured, 0);
}

/* ---- the same bits ---- */

enum { MOST_ROWS = 64, ROW_OUTPUTS = 36, LAUNCHES = 100, RIVALS = 2 };

static atomic_int rivals_may_go_on;

static void *compute(void *unused)
{
    volatile double x = 1;
    (void)unused;
    while (atomic_load(&rivals_may_go_on)) x = x * 1.0000001 + 1e-9;
    return NULL;
}

/* Run M rows on x86_cpu; the trial is the caller's to free. */
static void run_rows(const struct made *m, int M, struct trial *t)
{
    const struct check_case c = {.M = M, .N = ROW_OUTPUTS, .K = 288, .split = 1};
    char text[CHECK_TEXT_BYTES] = "";
    int wrong;
    qrt_device *ref;
    assert_int_equal(check_build(&m->entry.record.desc, &c, FAMILY_X86, t), QRT_OK);
    assert_int_equal(qrt_device_open(x86_cpu->rt, "ref", &ref), QRT_OK);
    assert_int_equal(trial_run(t, x86_cpu, &m->kernel, ref, &wrong, text), QRT_OK);
    if (wrong) fail_msg("%s", text);
    qrt_device_close(ref);
}

/* Bits of y at the most rows, after 100 launches of all batches gave the same. */
static uint64_t bits_of(const char *request)
{
    struct trial all, some;
    char text[CHECK_TEXT_BYTES] = "";
    const struct made *m = make(request);
    run_rows(m, MOST_ROWS, &all);
    for (int i = 0; i < LAUNCHES; i++) {
        run_rows(m, 1 + i * 7 % MOST_ROWS, &some);
        if (trial_rows_differ(&all, &some, text)) fail_msg("%s: %s", request, text);
        trial_free(&some);
    }
    const unsigned char *y = trial_by_device(&all, TRIAL_SLOT(linear, y));
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < MOST_ROWS * ROW_OUTPUTS * sizeof(float); i++)
        hash = (hash ^ y[i]) * 1099511628211u;
    trial_free(&all);
    return hash;
}

static uint64_t bits_elsewhere(const char *request)
{
    char command[256], text[64] = "";
    snprintf(command, sizeof command, BINARY_DIR "/test_measure --bits %s", request);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    assert_int_equal(pclose(f), 0);
    return strtoull(text, NULL, 16);
}

static void bits_are_the_same(void **state)
{
    (void)state;
    static const char *const requests[] = {"linear.w4g128.f32.f32", "linear.w4g32m.i8.f32"};
    pthread_t rivals[RIVALS];
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const uint64_t alone = bits_elsewhere(requests[i]);
        atomic_store(&rivals_may_go_on, 1);
        for (int r = 0; r < RIVALS; r++)
            assert_int_equal(pthread_create(&rivals[r], NULL, compute, NULL), 0);
        const uint64_t beside = bits_of(requests[i]);
        atomic_store(&rivals_may_go_on, 0);
        for (int r = 0; r < RIVALS; r++) pthread_join(rivals[r], NULL);
        assert_int_equal(alone, beside);
    }
}

static int set_up(void **state)
{
    strcpy(folder, "/tmp/qgen-measure-XXXXXX");
    return mkdtemp(folder) ? x86_setup(state) : -1;
}

static int tear_down(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    unmake_all();
    return x86_teardown(state) || system(command);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--bits") == 0) {
        x86_setup(NULL);
        printf("%016llx\n", (unsigned long long)bits_of(argv[2]));
        unmake_all();
        return x86_teardown(NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_are_measured), cmocka_unit_test(sizes_are_counted),
        cmocka_unit_test(children_answer),        cmocka_unit_test(children_stop),
        cmocka_unit_test(bits_are_the_same),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
