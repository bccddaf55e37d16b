/* test_bundle_session.c -- contract of a whole model that runs out of a bundle, on the device cpu
 *
 * - a session with the kernels of a bundle, in a file or in memory, gives the logits and tokens that the
 *   same kernels give one by one, bit for bit
 * - it loads those that it names and leaves the rest; so do sessions that several threads open at once
 * These need the system's C compiler, and a processor of x86-64-v3: skipped aloud without.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundles.h"
#include "device.h"
#include "helpers.h"
#include "pipeline.h"
#include "tiny_model.h"

enum { TOKENS = 20, STEPS = 10, MAX_M = 16, MAX_NEEDS = 32 };

static qrt *rt;
static qrt_model *model;
static struct pipeline_result kernels;
static const qrt_session_options options = {.size = sizeof options, .max_m = MAX_M};

struct outcome {
    float logits[TOKENS][TINY_VOCAB];
    int tokens[STEPS];
};

struct needs {
    char text[MAX_NEEDS][OP_NAME_BYTES];
    const char *names[MAX_NEEDS];
    size_t count;
};

static int take_need(void *user, const char *request, int have)
{
    struct needs *n = user;
    (void)have;
    strcpy(n->text[n->count], request);
    n->names[n->count] = n->text[n->count];
    return ++n->count == MAX_NEEDS;
}

/* 0: they are in `kernels`. */
static int make_kernels(void)
{
    const struct pipeline_options how = {.store = BINARY_DIR "/test-store"};
    struct needs needs = {.count = 0};
    struct pipeline *p;
    qrt_device *cpu;
    if (qrt_device_open(rt, "cpu", &cpu) != QRT_OK) return 1;
    int failed = qrt_model_needs(model, cpu, &options, take_need, &needs) != QRT_OK ||
                 pipeline_open(&how, &p) != QRT_OK;
    if (!failed) {
        failed = pipeline_ensure(p, &cpu->arch, needs.names, needs.count, 4096, &kernels) != QRT_OK;
        pipeline_close(p);
    }
    qrt_device_close(cpu);
    return failed;
}

static int open_all(void **state)
{
    (void)state;
    size_t count;
    char path[64];
    uint8_t *file = tiny_model(NULL, &count);
    tiny_write(file, count, path);
    free(file);
    if (qrt_open(NULL, &rt) != QRT_OK || qrt_model_open(rt, path, &model) != QRT_OK) return 1;
    if (make_kernels()) print_message("[ SKIP ] no kernels for this CPU: %s\n", qrt_message());
    return unlink(path);
}

static int close_all(void **state)
{
    (void)state;
    pipeline_result_free(&kernels);
    qrt_model_close(model);
    qrt_close(rt);
    return 0;
}

static void run(qrt_device *cpu, struct outcome *out)
{
    qrt_session *s;
    int ids[TOKENS];
    for (int i = 0; i < TOKENS; i++) ids[i] = i * 17 % TINY_VOCAB;
    if (qrt_session_open(cpu, model, &options, &s) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(qrt_run(s, ids, TOKENS, out->logits[0], TOKENS), QRT_OK);
    int next = 5;
    for (int i = 0; i < STEPS; i++) {
        assert_int_equal(qrt_step(s, next, &(qrt_sampling){0}, &next), QRT_OK);
        out->tokens[i] = next;
    }
    qrt_session_close(s);
}

static void run_loose(struct outcome *out)
{
    qrt_device *cpu;
    assert_int_equal(qrt_device_open(rt, "cpu", &cpu), QRT_OK);
    for (size_t i = 0; i < kernels.count; i++)
        assert_int_equal(qrt_kernels_add(cpu, kernels.kernels[i].bytes, kernels.kernels[i].count,
                                         QRT_TRUST_CALLER),
                         QRT_OK);
    run(cpu, out);
    qrt_device_close(cpu);
}

static size_t loaded_count(const qrt_device *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->kernel_count; i++) count += (size_t)d->kernels[i]->is_loaded;
    return count;
}

static void run_bundled(qrt_bundle *b, struct outcome *out)
{
    qrt_device *cpu;
    assert_int_equal(qrt_device_open(rt, "cpu", &cpu), QRT_OK);
    assert_int_equal(qrt_kernels_bundle(cpu, b), QRT_OK);
    run(cpu, out);
    assert_int_equal(cpu->kernel_count, kernels.count + 1);
    assert_int_equal(loaded_count(cpu), kernels.count);
    qrt_device_close(cpu);
}

/* The kernels, and one for so many rows that no session names it. */
static uint8_t *make_bundle(size_t *count)
{
    struct entry *entries = calloc(kernels.count + 1, sizeof *entries);
    for (size_t i = 0; i < kernels.count; i++) entries[i] = kernels.kernels[i].entry;
    struct entry *unnamed = &entries[kernels.count];
    *unnamed = entries[0];
    unnamed->key[0] ^= 1;
    unnamed->record.m_lo = unnamed->record.m_hi = INT32_MAX;
    uint8_t *bytes = bundles_write(NULL, entries, kernels.count + 1, NULL, 0, count);
    free(entries);
    return bytes;
}

static void bundles_give_what_loose_kernels_give(void **state)
{
    (void)state;
    static struct outcome loose, bundled;
    const qrt_bundle_options vouched = {.size = sizeof vouched, .trust = QRT_TRUST_CALLER};
    qrt_bundle *b;
    size_t count;
    char path[64];
    if (!kernels.count) skip();
    uint8_t *bytes = make_bundle(&count);
    run_loose(&loose);
    assert_int_equal(qrt_bundle_open_memory(rt, bytes, count, &vouched, &b), QRT_OK);
    run_bundled(b, &bundled);
    qrt_bundle_close(b);
    assert_memory_equal(&loose, &bundled, sizeof loose);
    memset(&bundled, 0, sizeof bundled);
    tiny_write(bytes, count, path);
    assert_int_equal(qrt_bundle_open(rt, path, &vouched, &b), QRT_OK);
    unlink(path);
    run_bundled(b, &bundled);
    qrt_bundle_close(b);
    assert_memory_equal(&loose, &bundled, sizeof loose);
    free(bytes);
}

struct opener {
    qrt_device *device;
    qrt_bundle *bundle;
    qrt_session *session;
    qrt_status status;
};

static void *open_session(void *user)
{
    struct opener *o = user;
    o->status = qrt_kernels_bundle(o->device, o->bundle);
    if (o->status == QRT_OK) o->status = qrt_session_open(o->device, model, &options, &o->session);
    return NULL;
}

static void threads_may_open_sessions(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    const qrt_bundle_options vouched = {.size = sizeof vouched, .trust = QRT_TRUST_CALLER};
    pthread_t threads[THREADS];
    struct opener o[THREADS];
    qrt_device *cpu;
    qrt_bundle *b;
    size_t count;
    if (!kernels.count) skip();
    uint8_t *bytes = make_bundle(&count);
    assert_int_equal(qrt_bundle_open_memory(rt, bytes, count, &vouched, &b), QRT_OK);
    assert_int_equal(qrt_device_open(rt, "cpu", &cpu), QRT_OK);
    for (int i = 0; i < THREADS; i++) {
        o[i] = (struct opener){.device = cpu, .bundle = b};
        assert_int_equal(pthread_create(&threads[i], NULL, open_session, &o[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(cpu->kernel_count, kernels.count + 1);
    assert_int_equal(loaded_count(cpu), kernels.count);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(o[i].status, QRT_OK);
        qrt_session_close(o[i].session);
    }
    qrt_device_close(cpu);
    qrt_bundle_close(b);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bundles_give_what_loose_kernels_give),
                                       cmocka_unit_test(threads_may_open_sessions)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
