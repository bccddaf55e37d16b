/* test_bundle_device.c -- contract of bundles on devices and in sessions (qrt.h, device.h, choice.h), on a
 * driver that only keeps books (tests/fake_cuda)
 *
 * - kernels of the archs that run here are offered, the nearest first, and none is loaded; where none
 *   runs, both sides are named
 * - the driver sees nothing of a bundle that is refused, nor of a kernel that is damaged: the session's
 *   opening fails with the kernel's name
 * - a session loads the kernels that its ranges name, once, and no other; running loads nothing
 * - qrt_prepare() tells what is needed and what is there, and loads it; without all of it nothing, and
 *   the message has the names and the command
 * - a winner takes its rows of its shape, in sessions too: linears of one request and other shapes keep
 *   theirs; scratch fits the largest split
 * - of winners: the shape's, the device's own, the narrower, the first; none of another device, none
 *   whose kernel is missing, for other rows, another request or a farther arch
 * - device_pick() is what its definition says for any kernels and winners, and the same up to the row
 *   that device_pick_until() gives; device_covers() tells whether it has an answer for all rows
 * - running out of memory while a bundle is added is an answer, and adding it again completes it
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fake_cuda/fake_cuda.h"
#include "bundles.h"
#include "helpers.h"
#include "rt.h"
#include "session.h"
#include "tiny_model.h"

#define FAKE_PATH BINARY_DIR "/libfake_cuda.so"

static struct fake_cuda *fake;
static qrt *rt;
static qrt_device *gpu; /* sm_89, "fake GPU 0" or what the driver calls it */
static long fail_at;    /* the allocation that fails, from 1; 0: none */

static void *failing_alloc(void *user, size_t bytes)
{
    (void)user;
    return --fail_at == 0 ? NULL : aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void plain_free(void *user, void *block)
{
    (void)user;
    free(block);
}

static int open_gpu(void **state)
{
    (void)state;
    const qrt_options options = {.size = sizeof options,
                                 .alloc = failing_alloc,
                                 .free = plain_free,
                                 .cuda_library = FAKE_PATH};
    void *library = dlopen(FAKE_PATH, RTLD_NOW | RTLD_NODELETE), *found = NULL;
    if (library) found = dlsym(library, "fake_cuda_reset");
    struct fake_cuda *(*reset)(void);
    memcpy(&reset, &found, sizeof reset);
    if (!reset) return 1;
    fake = reset();
    fail_at = 0;
    return qrt_open(&options, &rt) != QRT_OK || qrt_device_open(rt, "cuda:0", &gpu) != QRT_OK;
}

static int close_gpu(void **state)
{
    (void)state;
    qrt_device_close(gpu);
    qrt_close(rt);
    return fake->live != 0;
}

/* ---- bundles ---- */

static qrt_bundle *open_bundle(const uint8_t *bytes, size_t count)
{
    const qrt_bundle_options vouched = {.size = sizeof vouched, .trust = QRT_TRUST_CALLER};
    qrt_bundle *b;
    if (qrt_bundle_open_memory(rt, bytes, count, &vouched, &b) != QRT_OK)
        fail_msg("%s", qrt_message());
    return b;
}

/* What the tiny model needs on a GPU, each for 1..8 rows and for more; keys 2 i + 1 and 2 i + 2. */
static const char *const needed[] = {"embed.w4g32m.f32",
                                     "rmsnorm.f32.f16",
                                     "linear.w4g32m.f16.f16",
                                     "linear.w4g32m.f16.f32",
                                     "rope.halves.f16.f16.h16",
                                     "attention.f16.f16.h16",
                                     "combine.f16.h16",
                                     "glu.silu.f16",
                                     "add.f16",
                                     "reduce.f16",
                                     "reduce.f32",
                                     "sample"};
enum { NEEDED = sizeof needed / sizeof *needed, LINEAR = 2, EXTRA = 4, MOST = 2 * NEEDED + EXTRA };

struct kernels {
    struct entry items[MOST];
    size_t count;
};

static void add_kernel(struct kernels *k, const char *arch, const char *request, int m_lo, int m_hi,
                       unsigned number)
{
    k->items[k->count++] = bundles_entry(arch, request, m_lo, m_hi, number, 600);
}

static struct kernels needed_kernels(const char *arch)
{
    struct kernels k = {.count = 0};
    for (unsigned i = 0; i < NEEDED; i++) {
        add_kernel(&k, arch, needed[i], 1, 8, 2 * i + 1);
        add_kernel(&k, arch, needed[i], 9, 4096, 2 * i + 2);
    }
    return k;
}

static uint8_t *bytes_of(const struct kernels *k, const struct bundle_write_winner *winners,
                         size_t winner_count, size_t *count)
{
    return bundles_write(NULL, k->items, k->count, winners, winner_count, count);
}

/* ---- what is offered ---- */

static unsigned number_of(const struct kernel *k)
{
    unsigned number;
    if (!k) return UINT_MAX;
    memcpy(&number, k->key, sizeof number);
    return number;
}

static unsigned pick(const char *request, int N, int K, int M)
{
    struct op_desc desc;
    assert_int_equal(op_desc_parse(request, &desc), QRT_OK);
    return number_of(device_pick(gpu, &desc, N, K, M));
}

static void kernels_that_run_are_offered(void **state)
{
    (void)state;
    struct kernels k = {.count = 0};
    size_t count;
    add_kernel(&k, "sm_75", "add.f16", 1, 8, 1);
    add_kernel(&k, "sm_80", "add.f16", 1, 8, 2);
    add_kernel(&k, "sm_80", "add.f16", 9, 16, 3);
    add_kernel(&k, "sm_89", "add.f16", 1, 8, 4);
    add_kernel(&k, "sm_90", "add.f16", 1, 16, 5);
    add_kernel(&k, "x86-64-v3", "add.f16", 1, 16, 6);
    uint8_t *bytes = bytes_of(&k, NULL, 0, &count);
    qrt_bundle *b = open_bundle(bytes, count);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
        assert_int_equal(gpu->kernel_count, 3);
    }
    assert_int_equal(pick("add.f16", 0, 0, 1), 4);
    assert_int_equal(pick("add.f16", 0, 0, 9), 3);
    assert_int_equal(pick("add.f16", 0, 0, 17), UINT_MAX);
    assert_int_equal(pick("add.bf16", 0, 0, 1), UINT_MAX);
    assert_int_equal(fake->cubins_loaded, 0);
    device_drop_kernels(gpu);
    qrt_bundle_close(b);
    free(bytes);
}

static void other_archs_are_named(void **state)
{
    (void)state;
    struct kernels k = {.count = 0};
    size_t count;
    qrt_device *ref;
    add_kernel(&k, "sm_75", "add.f16", 1, 8, 1);
    add_kernel(&k, "sm_90a", "add.f16", 1, 8, 2);
    uint8_t *bytes = bytes_of(&k, NULL, 0, &count);
    qrt_bundle *b = open_bundle(bytes, count);
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_E_ARCH);
    static const char *const words[] = {"sm_75, sm_90a", "sm_89", "'test' 1.0"};
    for (int i = 0; i < 3; i++) assert_non_null(strstr(qrt_message(), words[i]));
    assert_int_equal(qrt_device_open(rt, "ref", &ref), QRT_OK);
    assert_int_equal(qrt_kernels_bundle(ref, b), QRT_E_ARCH);
    qrt_device_close(ref);
    qrt_bundle_close(b);
    free(bytes);
}

/* ---- sessions ---- */

static qrt_model *open_model(void)
{
    const struct tiny_options options = {.families = 1u << FAMILY_MMA};
    size_t count;
    char path[64];
    qrt_model *m;
    uint8_t *file = tiny_model(&options, &count);
    tiny_write(file, count, path);
    free(file);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    unlink(path);
    return m;
}

static qrt_status open_session(const qrt_model *m, int max_m, qrt_session **s)
{
    const qrt_session_options options = {.size = sizeof options, .max_m = max_m};
    *s = NULL;
    return qrt_session_open(gpu, m, &options, s);
}

static int loaded_count(void)
{
    int count = 0;
    for (size_t i = 0; i < gpu->kernel_count; i++) count += gpu->kernels[i]->is_loaded;
    assert_int_equal(count, fake->cubins_loaded);
    return count;
}

static void sessions_load_what_they_name(void **state)
{
    (void)state;
    struct kernels k = needed_kernels("sm_89");
    size_t count;
    qrt_session *few, *many;
    add_kernel(&k, "sm_80", needed[LINEAR], 1, 8, 90);          /* a farther arch */
    add_kernel(&k, "sm_89", "linear.w8g128.f16.f16", 1, 8, 91); /* another scheme */
    uint8_t *bytes = bytes_of(&k, NULL, 0, &count);
    qrt_bundle *b = open_bundle(bytes, count);
    qrt_model *m = open_model();
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
    assert_int_equal(gpu->kernel_count, 2 * NEEDED + 2);
    if (open_session(m, 8, &few) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(loaded_count(), NEEDED);
    assert_int_equal(open_session(m, 9, &many), QRT_OK);
    assert_int_equal(loaded_count(), 2 * NEEDED - 1); /* sample is of one row */
    qrt_session_close(many);
    assert_int_equal(open_session(m, 9, &many), QRT_OK);
    const int ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    float logits[TINY_VOCAB];
    assert_int_equal(qrt_run(many, ids, 11, logits, 1), QRT_OK);
    assert_true(fake->launches > 0);
    assert_int_equal(loaded_count(), 2 * NEEDED - 1);
    qrt_session_close(few);
    qrt_session_close(many);
    device_drop_kernels(gpu);
    qrt_model_close(m);
    qrt_bundle_close(b);
    free(bytes);
}

static void damage_does_not_reach_the_driver(void **state)
{
    (void)state;
    struct kernels k = {.count = 0};
    size_t count;
    qrt_session *s;
    for (unsigned i = 0; i < NEEDED; i++) add_kernel(&k, "sm_89", needed[i], 1, 4096, i + 1);
    uint8_t *bytes = bytes_of(&k, NULL, 0, &count);
    bytes[count - 1] ^= 1; /* of the last kernel: combine */
    qrt_bundle *b = open_bundle(bytes, count);
    qrt_model *m = open_model();
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
    const struct kernel *last = gpu->kernels[NEEDED - 1];
    assert_int_equal(last->record.desc.op, OP_COMBINE);
    assert_int_equal(device_load(gpu, last), QRT_E_FORMAT);
    assert_int_equal(fake->cubins_loaded, 0);
    assert_int_equal(open_session(m, 8, &s), QRT_E_FORMAT);
    static const char *const words[] = {"test 1.0", "kernel", "damaged"};
    for (int i = 0; i < 3; i++) assert_non_null(strstr(qrt_message(), words[i]));
    assert_true(loaded_count() < NEEDED);
    bytes[count - 1] ^= 1;
    assert_int_equal(open_session(m, 8, &s), QRT_OK);
    assert_int_equal(loaded_count(), NEEDED);
    qrt_session_close(s);
    device_drop_kernels(gpu);
    qrt_model_close(m);
    qrt_bundle_close(b);
    free(bytes);
}

static int note_need(void *user, const char *request, int have)
{
    int *counts = user;
    (void)request;
    counts[have]++;
    return counts[2] && --counts[2] == 0;
}

static void prepare_tells_and_loads(void **state)
{
    (void)state;
    struct kernels k = needed_kernels("sm_89");
    size_t count;
    const qrt_session_options options = {.size = sizeof options, .max_m = 8};
    int counts[3] = {0};
    k.count -= 4; /* neither reduce.f32 nor sample */
    uint8_t *bytes = bytes_of(&k, NULL, 0, &count);
    qrt_bundle *b = open_bundle(bytes, count);
    qrt_model *m = open_model();
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
    assert_int_equal(qrt_prepare(gpu, m, &options, note_need, counts), QRT_E_KERNEL);
    static const char *const words[] = {"2 of 12", "reduce.f32", "sample",
                                        "qgen bundle --arch sm_89 --model"};
    for (int i = 0; i < 4; i++)
        if (!strstr(qrt_message(), words[i])) fail_msg("no '%s': %s", words[i], qrt_message());
    assert_int_equal(counts[0], 2);
    assert_int_equal(counts[1], NEEDED - 2);
    assert_int_equal(loaded_count(), 0);
    device_drop_kernels(gpu);
    qrt_bundle_close(b);
    free(bytes);

    k.count += 4;
    bytes = bytes_of(&k, NULL, 0, &count);
    b = open_bundle(bytes, count);
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
    memset(counts, 0, sizeof counts);
    counts[2] = 3; /* stop after three */
    assert_int_equal(qrt_prepare(gpu, m, &options, note_need, counts), QRT_OK);
    assert_int_equal(counts[1], 3);
    assert_int_equal(loaded_count(), NEEDED);
    assert_int_equal(qrt_prepare(gpu, m, &options, NULL, NULL), QRT_OK);
    qrt_session *s;
    assert_int_equal(open_session(m, 8, &s), QRT_OK);
    assert_int_equal(loaded_count(), NEEDED);
    qrt_session_close(s);
    device_drop_kernels(gpu);
    qrt_model_close(m);
    qrt_bundle_close(b);
    free(bytes);
}

/* ---- winners ---- */

/* The kernel that a session runs its n-th linear with, at M rows. */
static unsigned kernel_of_linear(const qrt_session *s, int n, int M)
{
    for (size_t i = 0; i < s->plan.step_count; i++)
        if (s->plan.requests[s->plan.steps[i].request].op == OP_LINEAR && n-- == 0)
            return number_of(choice_kernel(&s->choices, s->choices.by_step[i].own, M));
    return UINT_MAX;
}

/* Device memory of a session with the bundle's kernels and winners too. */
static size_t session_bytes(const qrt_model *m, qrt_bundle *b)
{
    qrt_session *s;
    const size_t before = fake->used_bytes;
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
    if (open_session(m, 16, &s) != QRT_OK) fail_msg("%s", qrt_message());
    const size_t bytes = fake->used_bytes - before;
    qrt_session_close(s);
    return bytes;
}

/* Linears of a layer: q, k, v, o, gate, up, down. */
static void sessions_follow_winners(void **state)
{
    (void)state;
    struct kernels k = needed_kernels("sm_89");
    size_t count;
    qrt_session *s;
    add_kernel(&k, "sm_89", needed[LINEAR], 1, 4096, 90);
    k.items[k.count - 1].record.rank = 7;
    k.items[k.count - 1].record.split = 5;
    const uint32_t other = (uint32_t)k.count - 1;
    const struct bundle_write_winner winners[] = {
        {.entry = other, .N = TINY_HIDDEN, .K = TINY_FFN, .m_lo = 3, .m_hi = 12}, /* down */
        {.entry = other, .N = 64, .K = TINY_HIDDEN, .m_lo = 16, .m_hi = 16},      /* q */
    };
    size_t without_count;
    uint8_t *without = bytes_of(&k, NULL, 0, &without_count);
    uint8_t *bytes = bytes_of(&k, winners, 2, &count);
    qrt_bundle *b_without = open_bundle(without, without_count), *b = open_bundle(bytes, count);
    qrt_model *m = open_model();
    const size_t usual = session_bytes(m, b_without);
    const size_t partial = 5 * 16 * 64 * sizeof(float); /* q at 16 rows is more than down at 12 */
    assert_int_equal(session_bytes(m, b), usual + partial);
    if (open_session(m, 16, &s) != QRT_OK) fail_msg("%s", qrt_message());
    const unsigned few = 2 * LINEAR + 1, many = 2 * LINEAR + 2;
    for (int layer = 0; layer < 2; layer++)
        for (int M = 1; M <= 16; M++)
            for (int n = 0; n < 7; n++) {
                unsigned want = M <= 8 ? few : many;
                if (n == 6 && M >= 3 && M <= 12) want = 90;
                if (n == 0 && M == 16) want = 90;
                assert_int_equal(kernel_of_linear(s, 7 * layer + n, M), want);
            }
    assert_int_equal(loaded_count(), 2 * NEEDED);
    qrt_session_close(s);
    device_drop_kernels(gpu);
    qrt_model_close(m);
    qrt_bundle_close(b_without);
    qrt_bundle_close(b);
    free(without);
    free(bytes);
}

static void other_winners_are_passed_over(void **state)
{
    (void)state;
    struct kernels k = {.count = 0};
    size_t count;
    char device_name[BUNDLE_NAME_BYTES];
    bundle_device_name(gpu->info.name, device_name);
    for (unsigned i = 0; i < 6; i++) add_kernel(&k, "sm_89", "add.f16", 1, 8, i);
    add_kernel(&k, "sm_80", "add.f16", 1, 8, 6);
    add_kernel(&k, "sm_90", "add.f16", 1, 8, 7);
    for (unsigned i = 0; i < 7; i++) k.items[i].record.rank = (int)(i == 0 ? 0 : 10 - i);
    const struct bundle_write_winner winners[] = {
        {.entry = 1, .N = 8, .K = 8, .m_lo = 1, .m_hi = 4, .device = "Another_GPU"},
        {.entry = 2, .N = 8, .K = 8, .m_lo = 1, .m_hi = 4},
        {.entry = 3, .N = 8, .K = 8, .m_lo = 1, .m_hi = 8, .device = device_name},
        {.entry = 4, .N = 8, .K = 8, .m_lo = 2, .m_hi = 3, .device = device_name},
        {.entry = 5, .m_lo = 1, .m_hi = 8, .device = device_name},
        {.entry = 6, .N = 9, .K = 9, .m_lo = 1, .m_hi = 8},
        {.entry = 7, .N = 9, .K = 9, .m_lo = 1, .m_hi = 8},
    };
    uint8_t *bytes = bytes_of(&k, winners, 7, &count);
    qrt_bundle *b = open_bundle(bytes, count);
    assert_int_equal(qrt_kernels_bundle(gpu, b), QRT_OK);
    assert_int_equal(gpu->requests[0].winner_count, 5); /* neither the other GPU's nor sm_90's */
    assert_int_equal(pick("add.f16", 8, 8, 1), 3);      /* the device's before the arch's */
    assert_int_equal(pick("add.f16", 8, 8, 2), 4);      /* the narrower */
    assert_int_equal(pick("add.f16", 8, 8, 4), 3);
    assert_int_equal(pick("add.f16", 8, 9, 4), 5); /* another shape: any shape's */
    assert_int_equal(pick("add.f16", 0, 0, 4), 5);
    assert_int_equal(pick("add.f16", 9, 9, 4), 5); /* sm_80 is farther */

    struct op_desc desc;
    assert_int_equal(op_desc_parse("add.f16", &desc), QRT_OK);
    struct device_winner lies[] = {
        {.desc = desc, .N = 7, .K = 7, .m_lo = 1, .m_hi = 8, .key = {200}}, /* no such kernel */
        {.desc = desc, .N = 7, .K = 7, .m_lo = 1, .m_hi = 8, .key = {201}}, /* of other rows */
        {.desc = desc, .N = 7, .K = 7, .m_lo = 1, .m_hi = 8, .key = {202}}, /* of another op */
        {.desc = desc, .N = 7, .K = 7, .m_lo = 1, .m_hi = 8, .key = {2}, .order = 1},
        {.desc = desc, .N = 7, .K = 7, .m_lo = 1, .m_hi = 8, .key = {1}, .order = 1}, /* later */
    };
    k.count = 0;
    add_kernel(&k, "sm_89", "add.f16", 9, 16, 201);
    add_kernel(&k, "sm_89", "add.bf16", 1, 8, 202);
    size_t more;
    uint8_t *second = bytes_of(&k, NULL, 0, &more);
    qrt_bundle *b2 = open_bundle(second, more);
    assert_int_equal(qrt_kernels_bundle(gpu, b2), QRT_OK);
    assert_int_equal(device_add_winners(gpu, lies, 5), QRT_OK);
    assert_int_equal(pick("add.f16", 7, 7, 4), 2);
    k.items[0] = bundles_entry("sm_89", "add.f16", 1, 8, 200, 600); /* it arrives after all */
    k.count = 1;
    size_t third_bytes;
    uint8_t *third = bytes_of(&k, NULL, 0, &third_bytes);
    qrt_bundle *b3 = open_bundle(third, third_bytes);
    assert_int_equal(qrt_kernels_bundle(gpu, b3), QRT_OK);
    assert_int_equal(pick("add.f16", 7, 7, 4), 200);
    device_drop_kernels(gpu);
    qrt_bundle_close(b);
    qrt_bundle_close(b2);
    qrt_bundle_close(b3);
    free(bytes);
    free(second);
    free(third);
}

/* ---- device_pick() by its definition ---- */

enum { SOME = 40, ROWS = 70 };

struct offered {
    struct kernel *kernels[SOME];
    struct device_winner winners[SOME];
    int kernel_count, winner_count;
};

static int int_below(uint64_t *random, int n) { return (int)(random_word(random) % (uint64_t)n); }

static void offer_random(struct offered *o, uint64_t *random)
{
    struct op_desc desc;
    assert_int_equal(op_desc_parse("add.f16", &desc), QRT_OK);
    o->kernel_count = int_below(random, SOME);
    o->winner_count = int_below(random, SOME);
    for (int i = 0; i < o->kernel_count; i++) {
        void *block;
        assert_int_equal(rt_alloc(rt, sizeof(struct kernel), &block), QRT_OK);
        struct kernel *k = o->kernels[i] = block;
        k->record.desc = desc;
        k->key[0] = (uint8_t)i;
        k->record.m_lo = 1 + int_below(random, ROWS);
        k->record.m_hi = k->record.m_lo + int_below(random, ROWS);
        k->record.rank = int_below(random, 3);
        k->nearness = int_below(random, 2);
        assert_int_equal(device_keep(gpu, k), QRT_OK);
    }
    for (int i = 0; i < o->winner_count; i++) {
        struct device_winner *w = &o->winners[i];
        const int shape = int_below(random, 3); /* any, or one of two */
        *w = (struct device_winner){.desc = desc, .order = int_below(random, 2)};
        w->N = w->K = shape;
        w->m_lo = 1 + int_below(random, ROWS);
        w->m_hi = w->m_lo + int_below(random, 20);
        w->key[0] = (uint8_t)int_below(random, SOME);
    }
    assert_int_equal(device_add_winners(gpu, o->winners, (size_t)o->winner_count), QRT_OK);
}

static int holds(const struct kernel *k, int M)
{
    return k->record.m_lo <= M && M <= k->record.m_hi;
}

/* As device.h says it: one number for each, the smallest wins; ties: the first. */
static const struct kernel *by_definition(const struct offered *o, int N, int M)
{
    const struct kernel *best = NULL, *won = NULL;
    long best_score = LONG_MAX, won_score = LONG_MAX;
    for (int i = 0; i < o->kernel_count; i++) {
        const long score = -1000L * o->kernels[i]->nearness + o->kernels[i]->record.rank;
        if (!holds(o->kernels[i], M) || score >= best_score) continue;
        best = o->kernels[i];
        best_score = score;
    }
    for (int i = 0; i < o->winner_count && best; i++) {
        const struct device_winner *w = &o->winners[i];
        if (w->key[0] >= o->kernel_count || (w->N != 0 && w->N != N)) continue;
        const struct kernel *k = o->kernels[w->key[0]];
        const long score = (w->N == 0) * 1000000L + w->order * 10000L + w->m_hi - w->m_lo;
        if (M < w->m_lo || M > w->m_hi || !holds(k, M) || k->nearness != best->nearness) continue;
        if (score >= won_score) continue;
        won = k;
        won_score = score;
    }
    return won ? won : best;
}

static void picks_are_as_defined(void **state)
{
    (void)state;
    static struct offered o;
    uint64_t random = 41;
    struct op_desc desc;
    assert_int_equal(op_desc_parse("add.f16", &desc), QRT_OK);
    for (int round = 0; round < 200; round++) {
        offer_random(&o, &random);
        for (int N = 0; N <= 3; N++) /* 0: no shape; 3: one that nobody knows */
            for (int M = 1, m_hi = 0; M <= 2 * ROWS + 5; M++) {
                const struct kernel *want = by_definition(&o, N, M);
                static const struct kernel *same; /* up to m_hi */
                assert_ptr_equal(device_pick(gpu, &desc, N, N, M), want);
                if (M > m_hi) same = device_pick_until(gpu, &desc, N, N, M, &m_hi);
                assert_true(m_hi >= M);
                assert_ptr_equal(want, same);
            }
        int covered = 1;
        for (int rows = 1; rows <= 2 * ROWS + 5; rows++) {
            covered = covered && by_definition(&o, 0, rows);
            assert_int_equal(device_covers(gpu, &desc, rows), covered);
        }
        device_drop_kernels(gpu);
    }
}

/* ---- memory ---- */

static void adding_may_run_out_of_memory(void **state)
{
    (void)state;
    struct kernels k = needed_kernels("sm_89");
    size_t count;
    const struct bundle_write_winner winners[] = {{.entry = 4, .m_lo = 1, .m_hi = 8}};
    uint8_t *bytes = bytes_of(&k, winners, 1, &count);
    qrt_bundle *b = open_bundle(bytes, count);
    qrt_model *m = open_model();
    int failures = 0;
    qrt_status status = QRT_E_MEMORY;
    for (long n = 1; status == QRT_E_MEMORY; n++) {
        fail_at = n;
        status = qrt_kernels_bundle(gpu, b);
        fail_at = 0;
        failures += status != QRT_OK;
        const qrt_status again = qrt_kernels_bundle(gpu, b);
        assert_int_equal(again, QRT_OK);
        assert_int_equal(gpu->kernel_count, 2 * NEEDED);
        qrt_session *s;
        assert_int_equal(open_session(m, 8, &s), QRT_OK);
        qrt_session_close(s);
        device_drop_kernels(gpu);
    }
    assert_int_equal(status, QRT_OK);
    assert_true(failures > 2 * NEEDED);
    qrt_model_close(m);
    qrt_bundle_close(b);
    free(bytes);
}

#define ON_GPU(test) cmocka_unit_test_setup_teardown(test, open_gpu, close_gpu)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_GPU(kernels_that_run_are_offered),  ON_GPU(other_archs_are_named),
        ON_GPU(sessions_load_what_they_name),  ON_GPU(damage_does_not_reach_the_driver),
        ON_GPU(prepare_tells_and_loads),       ON_GPU(sessions_follow_winners),
        ON_GPU(other_winners_are_passed_over), ON_GPU(picks_are_as_defined),
        ON_GPU(adding_may_run_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
