/* test_cpu_session.c -- a whole model on the device cpu, with kernels made for it on the spot
 *
 * - what qrt_model_needs() names, the pipeline makes, and the session then opens
 * - f32 activations give ref's logits but for the f16 cache; int8 activations stay near them
 * - a run in one chunk and a run token by token give the same logits within rounding
 * - one thread and three threads give the same bits
 * These need the system's C compiler, and a processor of x86-64-v3: skipped aloud without.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "qrt.h"
#include "sessions.h"
#include "tiny_model.h"

enum { TOKENS = 40, MAX_M = 64 };

typedef float all_logits[TOKENS][TINY_VOCAB];

static qrt *rt, *single; /* three threads, one thread */
static qrt_device *cpu;
static qrt_model *model;
static char path[64];

static void add_kernels(qrt_device *device)
{
    for (int exact = 0; exact < 2; exact++) {
        const qrt_session_options session = {
            .size = sizeof session, .max_m = MAX_M, .exact = exact};
        sessions_add_kernels(device, model, &session);
    }
}

static int open_all(void **state)
{
    (void)state;
    const qrt_options three = {.size = sizeof three, .threads = 3},
                      one = {.size = sizeof one, .threads = 1};
    const struct tiny_options gemma = {.qk_norm = 1, .window = 9};
    size_t bytes;
    uint8_t *file = tiny_model(&gemma, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    if (qrt_open(&three, &rt) != QRT_OK || qrt_open(&one, &single) != QRT_OK ||
        qrt_model_open(rt, path, &model) != QRT_OK)
        return 1;
    if (qrt_device_open(rt, "cpu", &cpu) != QRT_OK)
        print_message("[ SKIP ] no cpu device: %s\n", qrt_message());
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    qrt_device_close(cpu);
    qrt_model_close(model);
    qrt_close(single);
    qrt_close(rt);
    return unlink(path);
}

/* Logits of all tokens, `chunk` of them in a run. */
static void run(qrt_device *device, int exact, int chunk, all_logits logits)
{
    const qrt_session_options options = {.size = sizeof options, .max_m = MAX_M, .exact = exact};
    qrt_session *s;
    int ids[TOKENS];
    for (int i = 0; i < TOKENS; i++) ids[i] = i * 17 % TINY_VOCAB;
    if (qrt_session_open(device, model, &options, &s) != QRT_OK) fail_msg("%s", qrt_message());
    for (int i = 0; i < TOKENS; i += chunk)
        assert_int_equal(qrt_run(s, ids + i, (size_t)chunk, logits[i], (size_t)chunk), QRT_OK);
    qrt_session_close(s);
}

static double distance(const all_logits a, const all_logits b)
{
    return sessions_distance(a[0], b[0], (size_t)TOKENS * TINY_VOCAB);
}

static void made_kernels_open_a_session(void **state)
{
    (void)state;
    qrt_session *s = NULL;
    const qrt_session_options options = {.size = sizeof options, .max_m = MAX_M};
    if (!cpu) skip();
    assert_int_equal(qrt_session_open(cpu, model, &options, &s), QRT_E_KERNEL);
    add_kernels(cpu);
    if (qrt_session_open(cpu, model, &options, &s) != QRT_OK) fail_msg("%s", qrt_message());
    qrt_session_close(s);
}

static void logits_are_refs(void **state)
{
    (void)state;
    all_logits want, exact, int8;
    qrt_device *ref;
    if (!cpu) skip();
    assert_int_equal(qrt_device_open(rt, "ref", &ref), QRT_OK);
    run(ref, 0, TOKENS, want);
    qrt_device_close(ref);
    run(cpu, 1, TOKENS, exact);
    run(cpu, 0, TOKENS, int8);
    assert_true(distance(exact, want) < 2e-3);
    assert_true(distance(int8, want) < 5e-2);
    assert_true(distance(int8, exact) > 1e-4); /* they are not the same kernels */
}

static void chunks_agree(void **state)
{
    (void)state;
    all_logits whole, cut;
    if (!cpu) skip();
    run(cpu, 1, TOKENS, whole);
    for (int chunk = 1; chunk <= 8; chunk += 7) {
        run(cpu, 1, chunk, cut);
        assert_true(distance(cut, whole) <
                    1e-3); /* a rounding of the f16 cache may fall otherwise */
    }
}

static void threads_give_the_same_bits(void **state)
{
    (void)state;
    all_logits three, one;
    qrt_device *alone;
    if (!cpu) skip();
    assert_int_equal(qrt_device_open(single, "cpu", &alone), QRT_OK);
    add_kernels(alone);
    for (int exact = 0; exact < 2; exact++) {
        run(cpu, exact, TOKENS, three);
        run(alone, exact, TOKENS, one);
        assert_memory_equal(three, one, sizeof three);
    }
    qrt_device_close(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_kernels_open_a_session),
        cmocka_unit_test(logits_are_refs),
        cmocka_unit_test(chunks_agree),
        cmocka_unit_test(threads_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
