/* test_session.c -- contract of sessions (qrt.h), on ref
 *
 * - logits do not depend on how a text is cut into runs, nor on max_m
 * - logits of the last rows are those rows of all logits
 * - qrt_step() gives the arg max of the logits, and counts
 * - going back and on again gives the same logits; going forward is refused
 * - running layer after layer by hand gives what a run gives
 * - a window hides old positions
 * - every layout family and scheme of the same weights gives logits; Gemma's shape runs too
 * - two sessions on one device may run on two threads
 * - bad tokens, too many tokens, and bad options are refused, and leave the session as it was
 * - all memory comes from the hook; running takes none; closing gives all of it back
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "qrt.h"
#include "tiny_model.h"

enum { TOKENS = 23 };

static const int ids[TOKENS] = {1,  7, 12, 3,  49, 0, 20, 21, 22, 23, 5, 6,
                                44, 8, 9,  10, 31, 2, 2,  2,  17, 18, 19};

/* An open model with a session on ref. */
struct rig {
    qrt *rt;
    qrt_device *device;
    qrt_model *model;
    qrt_session *session;
};

static atomic_long blocks_held, blocks_taken; /* hooks are called from any thread */

static void *count_alloc(void *user, size_t bytes)
{
    (void)user;
    blocks_held++;
    blocks_taken++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void count_free(void *user, void *block)
{
    (void)user;
    blocks_held--;
    free(block);
}

static struct rig rig_open(const struct tiny_options *tiny, int context, int max_m)
{
    const qrt_options options = {.size = sizeof options, .alloc = count_alloc, .free = count_free};
    const qrt_session_options session_options = {
        .size = sizeof session_options, .context = context, .max_m = max_m};
    struct rig r;
    size_t bytes;
    char path[64];
    uint8_t *file = tiny_model(tiny, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    assert_int_equal(qrt_open(&options, &r.rt), QRT_OK);
    assert_int_equal(qrt_device_open(r.rt, "ref", &r.device), QRT_OK);
    assert_int_equal(qrt_model_open(r.rt, path, &r.model), QRT_OK);
    unlink(path);
    if (qrt_session_open(r.device, r.model, &session_options, &r.session) != QRT_OK)
        fail_msg("%s", qrt_message());
    return r;
}

static void rig_close(struct rig *r)
{
    qrt_session_close(r->session);
    qrt_model_close(r->model);
    qrt_device_close(r->device);
    qrt_close(r->rt);
}

typedef float logits_of_all[TOKENS][TINY_VOCAB];

static void run_all(struct rig *r, logits_of_all logits)
{
    assert_int_equal(qrt_run(r->session, ids, TOKENS, logits[0], TOKENS), QRT_OK);
    for (int i = 0; i < TOKENS; i++)
        for (int j = 0; j < TINY_VOCAB; j++) assert_true(isfinite(logits[i][j]));
}

static void cuts_do_not_matter(void **state)
{
    (void)state;
    logits_of_all whole, cut, one;
    struct rig r = rig_open(NULL, 0, 0);
    run_all(&r, whole);
    rig_close(&r);
    for (int max_m = 1; max_m <= 7; max_m += 3) {
        r = rig_open(NULL, 0, max_m);
        run_all(&r, cut);
        assert_memory_equal(whole, cut, sizeof whole);
        assert_int_equal(qrt_position(r.session), TOKENS);
        rig_close(&r);
    }
    r = rig_open(NULL, 0, 0);
    for (int i = 0; i < TOKENS; i++)
        assert_int_equal(qrt_run(r.session, &ids[i], 1, one[i], 1), QRT_OK);
    assert_memory_equal(whole, one, sizeof whole);
    rig_close(&r);
}

static void last_rows_are_the_last(void **state)
{
    (void)state;
    logits_of_all whole, last;
    struct rig r = rig_open(NULL, 0, 5);
    run_all(&r, whole);
    for (size_t rows = 0; rows <= TOKENS; rows++) {
        assert_int_equal(qrt_rewind(r.session, 0), QRT_OK);
        float *to = rows ? last[TOKENS - rows] : NULL;
        assert_int_equal(qrt_run(r.session, ids, TOKENS, to, rows), QRT_OK);
        if (rows) assert_memory_equal(whole[TOKENS - rows], to, rows * sizeof *whole);
    }
    assert_int_equal(qrt_run(r.session, ids, 1, NULL, 1), QRT_E_ARGUMENT);
    assert_int_equal(qrt_run(r.session, ids, 1, whole[0], 2), QRT_E_ARGUMENT);
    assert_int_equal(qrt_run(r.session, ids, 1, whole[0], 0), QRT_E_ARGUMENT);
    rig_close(&r);
}

static void step_takes_the_largest(void **state)
{
    (void)state;
    logits_of_all whole;
    const qrt_sampling greedy = {0};
    struct rig r = rig_open(NULL, 0, 0);
    run_all(&r, whole);
    qrt_rewind(r.session, 0);
    for (int i = 0; i < TOKENS; i++) {
        int next = -1, best = 0;
        for (int j = 1; j < TINY_VOCAB; j++)
            if (whole[i][j] > whole[i][best]) best = j;
        assert_int_equal(qrt_step(r.session, ids[i], &greedy, &next), QRT_OK);
        assert_int_equal(next, best);
        assert_int_equal(qrt_position(r.session), i + 1);
    }
    rig_close(&r);
}

/* By definition the token that qrt_sample() draws from the same logits. */
static void step_samples_as_defined(void **state)
{
    (void)state;
    logits_of_all whole;
    const qrt_sampling sampling = {.temperature = 1.5f, .min_p = 0.01f, .seed = 42};
    struct rig r = rig_open(NULL, 0, 0);
    run_all(&r, whole);
    qrt_rewind(r.session, 0);
    int other = 0;
    for (int i = 0; i < TOKENS; i++) {
        int next;
        assert_int_equal(qrt_step(r.session, ids[i], &sampling, &next), QRT_OK);
        assert_int_equal(next, qrt_sample(whole[i], TINY_VOCAB, &sampling, (uint32_t)i));
        other += next != qrt_sample(whole[i], TINY_VOCAB, &(qrt_sampling){0}, 0);
    }
    assert_true(other > 3); /* it does draw */
    rig_close(&r);
}

static void rewinding_repeats(void **state)
{
    (void)state;
    logits_of_all whole;
    float again[TINY_VOCAB];
    struct rig r = rig_open(NULL, 0, 4);
    run_all(&r, whole);
    assert_int_equal(qrt_rewind(r.session, 11), QRT_OK);
    for (int i = 11; i < TOKENS; i++) {
        assert_int_equal(qrt_run(r.session, &ids[i], 1, again, 1), QRT_OK);
        assert_memory_equal(whole[i], again, sizeof again);
    }
    assert_int_equal(qrt_rewind(r.session, TOKENS + 1), QRT_E_ARGUMENT);
    assert_int_equal(qrt_rewind(r.session, -1), QRT_E_ARGUMENT);
    rig_close(&r);
}

/* Position advances with the last layer only, so all layers see the same positions. */
static void layers_by_hand(void **state)
{
    (void)state;
    struct rig a = rig_open(NULL, 0, 3), b = rig_open(NULL, 0, 0);
    float x[5][TINY_HIDDEN], y[5][TINY_HIDDEN];
    uint64_t random = 5;
    for (int i = 0; i < 5 * TINY_HIDDEN; i++)
        x[i / TINY_HIDDEN][i % TINY_HIDDEN] = y[i / TINY_HIDDEN][i % TINY_HIDDEN] =
            random_float(&random);
    assert_int_equal(qrt_run_layer(a.session, 0, x[0], 5), QRT_OK);
    assert_int_equal(qrt_position(a.session), 0);
    assert_int_equal(qrt_run_layer(a.session, 1, x[0], 5), QRT_OK);
    assert_int_equal(qrt_position(a.session), 5);
    assert_int_equal(qrt_run_layer(b.session, 0, y[0], 5), QRT_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(qrt_run_layer(b.session, 1, y[i], 1), QRT_OK);
        if (i < 4) assert_int_equal(qrt_position(b.session), i + 1);
    }
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(qrt_run_layer(a.session, 2, x[0], 1), QRT_E_ARGUMENT);
    assert_int_equal(qrt_run_layer(a.session, -1, x[0], 1), QRT_E_ARGUMENT);
    rig_close(&a);
    rig_close(&b);
}

static void window_hides_old_positions(void **state)
{
    (void)state;
    const struct tiny_options one_layer = {.layers = 1, .window = 4};
    struct rig r = rig_open(&one_layer, 0, 0);
    float a[TINY_VOCAB], b[TINY_VOCAB], c[TINY_VOCAB];
    const int near[] = {1, 2, 3, 4, 5, 6, 7}, far_changed[] = {9, 9, 9, 4, 5, 6, 7},
              near_changed[] = {1, 2, 3, 9, 5, 6, 7};
    assert_int_equal(qrt_run(r.session, near, 7, a, 1), QRT_OK);
    qrt_rewind(r.session, 0);
    assert_int_equal(qrt_run(r.session, far_changed, 7, b, 1), QRT_OK);
    qrt_rewind(r.session, 0);
    assert_int_equal(qrt_run(r.session, near_changed, 7, c, 1), QRT_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    rig_close(&r);
}

static void families_agree(void **state)
{
    (void)state;
    logits_of_all x86, mma;
    const struct tiny_options as_x86 = {.families = 1u << FAMILY_X86, .qk_norm = 1},
                              as_mma = {.families = 1u << FAMILY_MMA, .qk_norm = 1};
    struct rig r = rig_open(&as_x86, 0, 0);
    run_all(&r, x86);
    rig_close(&r);
    r = rig_open(&as_mma, 0, 0);
    run_all(&r, mma);
    rig_close(&r);
    assert_memory_equal(x86, mma, sizeof x86);
}

struct runner {
    qrt_session *session;
    logits_of_all logits;
};

static void *run_twice(void *user)
{
    struct runner *r = user;
    for (int i = 0; i < 2; i++) {
        qrt_rewind(r->session, 0);
        qrt_run(r->session, ids, TOKENS, r->logits[0], TOKENS);
    }
    return NULL;
}

static void sessions_share_a_device(void **state)
{
    (void)state;
    static struct runner a, b;
    static logits_of_all alone;
    struct rig r = rig_open(NULL, 0, 4);
    pthread_t other;
    run_all(&r, alone);
    a.session = r.session;
    assert_int_equal(qrt_session_open(r.device, r.model, NULL, &b.session), QRT_OK);
    assert_int_equal(pthread_create(&other, NULL, run_twice, &b), 0);
    run_twice(&a);
    pthread_join(other, NULL);
    assert_memory_equal(a.logits, alone, sizeof alone);
    assert_memory_equal(b.logits, alone, sizeof alone);
    qrt_session_close(b.session);
    rig_close(&r);
}

static void refusals_change_nothing(void **state)
{
    (void)state;
    logits_of_all whole;
    float again[TINY_VOCAB];
    struct rig r = rig_open(NULL, TOKENS, 0);
    run_all(&r, whole);
    qrt_rewind(r.session, TOKENS - 1);
    const int bad[] = {3, TINY_VOCAB}, negative = -1;
    assert_int_equal(qrt_run(r.session, &bad[1], 1, NULL, 0), QRT_E_ARGUMENT);
    assert_int_equal(qrt_run(r.session, &negative, 1, NULL, 0), QRT_E_ARGUMENT);
    assert_int_equal(qrt_run(r.session, ids, 2, NULL, 0), QRT_E_LIMIT);
    assert_int_equal(qrt_position(r.session), TOKENS - 1);
    assert_int_equal(qrt_run(r.session, &ids[TOKENS - 1], 1, again, 1), QRT_OK);
    assert_memory_equal(whole[TOKENS - 1], again, sizeof again);
    int next = -7;
    assert_int_equal(qrt_step(r.session, 1, &(qrt_sampling){0}, &next), QRT_E_LIMIT);
    assert_int_equal(next, -7);
    qrt_session *s = NULL;
    const qrt_session_options options[] = {
        {.size = sizeof *options, .context = TINY_CONTEXT + 1},
        {.size = sizeof *options, .context = -1},
        {.size = sizeof *options, .max_m = -1},
        {.size = 3},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_int_not_equal(qrt_session_open(r.device, r.model, &options[i], &s), QRT_OK);
    assert_null(s);
    rig_close(&r);
}

static void running_takes_no_memory(void **state)
{
    (void)state;
    logits_of_all whole;
    int next;
    const long before = blocks_held;
    struct rig r = rig_open(NULL, 0, 4);
    run_all(&r, whole);
    const long taken = blocks_taken;
    qrt_rewind(r.session, 0);
    run_all(&r, whole);
    assert_int_equal(qrt_step(r.session, 1, &(qrt_sampling){0}, &next), QRT_OK);
    assert_int_equal(blocks_taken, taken);
    assert_true(blocks_held > before);
    rig_close(&r);
    assert_int_equal(blocks_held, before);
}

/* Fail the n-th allocation: an error, nothing lost. */
static long fail_at;

static void *failing_alloc(void *user, size_t bytes)
{
    return --fail_at == 0 ? NULL : count_alloc(user, bytes);
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    const qrt_options options = {
        .size = sizeof options, .alloc = failing_alloc, .free = count_free};
    size_t bytes;
    char path[64];
    uint8_t *file = tiny_model(NULL, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    const long before = blocks_held;
    int done = 0;
    for (long n = 1; !done; n++) {
        struct rig r = {NULL};
        fail_at = n;
        qrt_status status = qrt_open(&options, &r.rt);
        if (status == QRT_OK) status = qrt_device_open(r.rt, "ref", &r.device);
        if (status == QRT_OK) status = qrt_model_open(r.rt, path, &r.model);
        if (status == QRT_OK) status = qrt_session_open(r.device, r.model, NULL, &r.session);
        if (status == QRT_OK) status = qrt_run(r.session, ids, 3, NULL, 0);
        done = status == QRT_OK;
        if (!done) assert_int_equal(status, QRT_E_MEMORY);
        rig_close(&r);
        assert_int_equal(blocks_held, before);
        assert_true(n < 1000);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_do_not_matter),         cmocka_unit_test(last_rows_are_the_last),
        cmocka_unit_test(step_takes_the_largest),     cmocka_unit_test(step_samples_as_defined),
        cmocka_unit_test(rewinding_repeats),          cmocka_unit_test(layers_by_hand),
        cmocka_unit_test(window_hides_old_positions), cmocka_unit_test(families_agree),
        cmocka_unit_test(sessions_share_a_device),    cmocka_unit_test(refusals_change_nothing),
        cmocka_unit_test(running_takes_no_memory),    cmocka_unit_test(no_memory_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
