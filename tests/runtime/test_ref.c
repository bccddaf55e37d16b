/* test_ref.c -- contract of the ops (kernel_abi.h), as ref defines them
 *
 * Expected values are worked out by hand or by another formula than ref's.
 * - linear multiplies by the transposed weight, whatever type the activations have
 * - linear on quantized activations is linear on codes times scales
 * - reduce adds the parts in their order
 * - quantize: largest is 127, even where the scale is denormal; halves go to the even code, zeros
 *   stay zeros, sums are of 16
 * - embed scales a row, and gives zeros for an id that is none
 * - rmsnorm divides by the root of the mean square, per head, in place too
 * - rope turns pairs and halves by the angle of their position, copies the rest, fills the cache
 * - attention weighs by exp of the scores, over the window, by kv head
 * - a split attention leaves parts of equal runs of positions, empty ones too; combine joins them
 * - gather takes columns by index, and gives zeros for an index that is none
 * - glu knows SiLU and GELU by tanh, and survives large inputs
 * - add adds to the residual
 * - sample: arg max with ties to the first; draws follow softmax; min_p cuts; NaN never wins
 */
#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "helpers.h"
#include "numeric.h"
#include "tiny_model.h"

static qrt *rt;
static qrt_device *ref;

static int open_ref(void **state)
{
    (void)state;
    return qrt_open(NULL, &rt) != QRT_OK || qrt_device_open(rt, "ref", &ref) != QRT_OK;
}

static int close_ref(void **state)
{
    (void)state;
    qrt_device_close(ref);
    qrt_close(rt);
    return 0;
}

static void launch(const char *request, const union op_args *args)
{
    struct op_desc desc;
    assert_int_equal(op_desc_parse(request, &desc), QRT_OK);
    assert_int_equal(ref->ops->launch(ref, NULL, &desc, args), QRT_OK);
}

#define assert_near(got, want, bound)                                                    \
    do {                                                                                 \
        const double got_ = (got), want_ = (want);                                       \
        if (!(fabs(got_ - want_) <= (bound))) fail_msg("%.9g is not %.9g", got_, want_); \
    } while (0)

static const struct scheme dense = {.code = CODE_F32, .bits = 32, .group = GROUP_ROW};

/* A dense weight with W[n, k] = n + 10 k, in the x86 layout. */
static struct packed counting_weight(int N, int K)
{
    struct packed p = packed_random(FAMILY_X86, &dense, N, K, 1);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            const float value = (float)(n + 10 * k);
            layout_put_dense(FAMILY_X86, &dense, K, p.section[SECTION_CODES], n, k, 1, &value);
        }
    return p;
}

static void linear_multiplies(void **state)
{
    (void)state;
    struct packed p = counting_weight(3, 2);
    const float x[] = {1, 2, -99, 0.5f, 4, -99};
    const uint16_t half[] = {f32_to_f16(1), f32_to_f16(2), f32_to_f16(0.5f), f32_to_f16(4)};
    float y[2][4] = {{7, 7, 7, 7}, {7, 7, 7, 7}};
    union op_args args = {
        .linear = {.w = p.w, .x = x, .y = y, .ldx = 3, .ldy = 4, .M = 2, .split = 1}};
    launch("linear.f32.f32.f32", &args);
    for (int n = 0; n < 3; n++) {
        assert_near(y[0][n], n + 2 * (n + 10), 0);
        assert_near(y[1][n], 0.5 * n + 4 * (n + 10), 0);
    }
    assert_near(y[0][3], 7, 0);
    uint16_t bf[2][3];
    args.linear.x = half;
    args.linear.y = bf;
    args.linear.ldx = 2;
    args.linear.ldy = 3;
    launch("linear.f32.f16.bf16", &args);
    assert_near(bf16_to_f32(bf[1][2]), 0.5 * 2 + 4 * 12, 0);
    packed_free(&p);
}

static void linear_takes_codes(void **state)
{
    (void)state;
    const struct scheme s = {.code = CODE_INT, .bits = 4, .zero = ZERO_FLOAT, .group = 32};
    enum { N = 5, K = 70, LD = 96 };
    struct packed p = packed_random(FAMILY_MMA, &s, N, K, 3);
    int8_t code[2 * LD] = {0};
    float scale[2 * LD / 32], x[2 * K], y[2 * N], want[2 * N];
    uint64_t random = 8;
    for (int b = 0; b < 2 * LD / 32; b++) scale[b] = 1 + random_float(&random) / 2;
    for (int i = 0; i < 2 * K; i++) {
        const int m = i / K, k = i % K;
        code[m * LD + k] = (int8_t)(127 * random_float(&random));
        x[i] = (float)code[m * LD + k] * scale[m * LD / 32 + k / 32];
    }
    union op_args args = {
        .linear = {.w = p.w, .x = x, .y = want, .ldx = K, .ldy = N, .M = 2, .split = 1}};
    launch("linear.w4g32m.f32.f32", &args);
    args.linear.x = code;
    args.linear.x_scale = scale;
    args.linear.y = y;
    args.linear.ldx = LD;
    launch("linear.w4g32m.i8.f32", &args);
    for (int i = 0; i < 2 * N; i++) assert_near(y[i], want[i], 1e-5 * (1 + fabsf(want[i])));
    packed_free(&p);
}

static void reduce_adds_in_order(void **state)
{
    (void)state;
    const float partial[3][2] = {{1e8f, 1}, {1, 2}, {-1e8f, 3}};
    float y[2];
    const union op_args args = {
        .reduce = {.partial = partial[0], .y = y, .ldy = 2, .M = 1, .N = 2, .split = 3}};
    launch("reduce.f32", &args);
    assert_near(y[0], 0, 0); /* 1e8 + 1 is 1e8 in f32 */
    assert_near(y[1], 6, 0);
}

static void quantize_rounds(void **state)
{
    (void)state;
    float x[40] = {127, 0.5f, 1.5f, -2.5f, -127, 3.2f};
    int8_t code[64];
    float scale[2];
    short sum[4];
    x[32] = -0.25f; /* the second block: 8 values, scale 0.25 / 127 */
    x[33] = 0.125f;
    const union op_args args = {.quantize = {.x = x,
                                             .code = code,
                                             .scale = scale,
                                             .sum = sum,
                                             .ldx = 40,
                                             .ldc = 64,
                                             .M = 1,
                                             .K = 40}};
    memset(code, 99, sizeof code);
    launch("quantize.f32.i8", &args);
    static const int expected[] = {127, 0, 2, -2, -127, 3, 0};
    for (int i = 0; i < 7; i++) assert_int_equal(code[i], expected[i]);
    assert_near(scale[0], 1, 0);
    assert_int_equal(sum[0], 3);
    assert_int_equal(sum[1], 0);
    assert_near(scale[1], 0.25 / 127, 1e-9);
    assert_int_equal(code[32], -127);
    assert_int_equal(code[33], 64); /* 63.5 */
    for (int i = 34; i < 64; i++) assert_int_equal(code[i], 0);
    memset(x, 0, sizeof x);
    launch("quantize.f32.i8", &args);
    assert_int_equal(code[0], 0);
    assert_near(scale[0], 0, 0);
    x[0] = 190 * 0x1p-149f; /* the scale rounds to one denormal: 190 of them would wrap */
    x[1] = -x[0];
    launch("quantize.f32.i8", &args);
    assert_int_equal(code[0], 127);
    assert_int_equal(code[1], -127);
}

static void embed_scales_rows(void **state)
{
    (void)state;
    struct packed p = counting_weight(4, 3);
    const int id[] = {2, -1, 4, 3};
    float y[4][3];
    const union op_args args = {
        .embed = {.w = p.w, .id = id, .y = y[0], .ldy = 3, .scale = 0.5f, .M = 4}};
    launch("embed.f32.f32", &args);
    for (int k = 0; k < 3; k++) {
        assert_near(y[0][k], 0.5 * (2 + 10 * k), 0);
        assert_near(y[1][k], 0, 0);
        assert_near(y[2][k], 0, 0);
        assert_near(y[3][k], 0.5 * (3 + 10 * k), 0);
    }
    packed_free(&p);
}

static void rmsnorm_divides(void **state)
{
    (void)state;
    float x[4] = {3, 4, -1, 1}, y[4];
    const float w[2] = {1, 2};
    union op_args args = {
        .rmsnorm = {.x = x, .w = w, .y = y, .ldx = 4, .ldy = 4, .M = 1, .heads = 2, .K = 2}};
    launch("rmsnorm.f32.f32", &args);
    const double rms = sqrt(12.5);
    const double want[4] = {3 / rms, 8 / rms, -1, 2};
    for (int i = 0; i < 4; i++) assert_near(y[i], want[i], 1e-6);
    args.rmsnorm.y = x;
    launch("rmsnorm.f32.f32", &args);
    assert_memory_equal(x, y, sizeof x);
    memset(x, 0, sizeof x);
    args.rmsnorm.eps = 1e-6f;
    launch("rmsnorm.f32.f32", &args);
    for (int i = 0; i < 4; i++) assert_near(x[i], 0, 0);
}

enum { HEADS = 4, KV = 2, HEAD = 6, ROTARY = 4, CONTEXT = 9, ROWS = 3 };

/* As multiplication of complex numbers by e^(i angle). */
static void check_turned(int pairs, const float *before, const float *after, int position,
                         const float *inv_freq)
{
    for (int i = 0; i < ROTARY / 2; i++) {
        const int a = pairs ? 2 * i : i, b = pairs ? 2 * i + 1 : i + ROTARY / 2;
        const double complex z =
            (before[a] + before[b] * I) * cexp(I * (double)position * (double)inv_freq[i]);
        assert_near(after[a], creal(z), 1e-6);
        assert_near(after[b], cimag(z), 1e-6);
    }
    for (int i = ROTARY; i < HEAD; i++) assert_near(after[i], before[i], 0);
}

static void rope_turns(void **state)
{
    (void)state;
    for (int pairs = 0; pairs < 2; pairs++) {
        float q[ROWS][HEADS * HEAD], k[ROWS][KV * HEAD], v[ROWS][KV * HEAD],
            turned[ROWS][HEADS * HEAD];
        float k_cache[KV][CONTEXT][HEAD], v_cache[KV][CONTEXT][HEAD];
        const float inv_freq[] = {1, 0.3f};
        const int position = 4;
        uint64_t random = 77;
        for (int i = 0; i < ROWS * HEADS * HEAD; i++)
            q[i / (HEADS * HEAD)][i % (HEADS * HEAD)] = random_float(&random);
        for (int i = 0; i < ROWS * KV * HEAD; i++) {
            k[i / (KV * HEAD)][i % (KV * HEAD)] = random_float(&random);
            v[i / (KV * HEAD)][i % (KV * HEAD)] = random_float(&random);
        }
        memset(k_cache, 0, sizeof k_cache);
        memset(v_cache, 0, sizeof v_cache);
        memcpy(turned, q, sizeof q);
        const union op_args args = {.rope = {.q = turned,
                                             .k = k,
                                             .v = v,
                                             .k_cache = k_cache,
                                             .v_cache = v_cache,
                                             .inv_freq = inv_freq,
                                             .position = &position,
                                             .ldq = HEADS * HEAD,
                                             .ldk = KV * HEAD,
                                             .ldv = KV * HEAD,
                                             .M = ROWS,
                                             .heads = HEADS,
                                             .kv_heads = KV,
                                             .head = HEAD,
                                             .rotary = ROTARY,
                                             .context = CONTEXT}};
        launch(pairs ? "rope.pairs.f32.f32.h6" : "rope.halves.f32.f32.h6", &args);
        for (int m = 0; m < ROWS; m++) {
            for (int h = 0; h < HEADS; h++)
                check_turned(pairs, &q[m][h * HEAD], &turned[m][h * HEAD], position + m, inv_freq);
            for (int h = 0; h < KV; h++) {
                check_turned(pairs, &k[m][h * HEAD], k_cache[h][position + m], position + m,
                             inv_freq);
                assert_memory_equal(&v[m][h * HEAD], v_cache[h][position + m],
                                    HEAD * sizeof(float));
            }
        }
        for (int i = 0; i < HEAD; i++)
            assert_near(k_cache[0][position - 1][i] + v_cache[1][position + ROWS][i], 0, 0);
    }
}

/* Scores are ln 1, ln 2, ln 3 .. at positions 0, 1, 2 ..: weights 1 : 2 : 3 .. */
static void attention_weighs(void **state)
{
    (void)state;
    float q[2][HEADS * HEAD] = {{0}}, y[2][HEADS * HEAD];
    float k_cache[KV][CONTEXT][HEAD] = {{{0}}}, v_cache[KV][CONTEXT][HEAD];
    const int position = 4;
    for (int m = 0; m < 2; m++)
        for (int h = 0; h < HEADS; h++) q[m][h * HEAD] = 2;
    for (int h = 0; h < KV; h++)
        for (int p = 0; p < CONTEXT; p++) {
            k_cache[h][p][0] = logf((float)(p + 1));
            for (int i = 0; i < HEAD; i++) v_cache[h][p][i] = (float)(100 * h + p);
        }
    union op_args args = {.attention = {.q = q,
                                        .k_cache = k_cache,
                                        .v_cache = v_cache,
                                        .y = y,
                                        .position = &position,
                                        .ldq = HEADS * HEAD,
                                        .ldy = HEADS * HEAD,
                                        .scale = 0.5f,
                                        .M = 2,
                                        .heads = HEADS,
                                        .kv_heads = KV,
                                        .head = HEAD,
                                        .context = CONTEXT}};
    launch("attention.f32.f32.h6", &args);
    for (int m = 0; m < 2; m++) {
        double weights = 0, sum = 0;
        for (int p = 0; p <= position + m; p++) weights += p + 1, sum += (p + 1) * p;
        for (int h = 0; h < HEADS; h++)
            assert_near(y[m][h * HEAD + 5], 100 * (h / 2) + sum / weights, 1e-4);
    }
    args.attention.window = 2;
    launch("attention.f32.f32.h6", &args);
    assert_near(y[0][0], (4.0 * 3 + 5.0 * 4) / 9, 1e-5);
    assert_near(y[1][0], (5.0 * 4 + 6.0 * 5) / 11, 1e-5);
}

/* As above, over positions 0 .. 4 cut in four: runs of two, the last one empty. */
static void attention_leaves_parts(void **state)
{
    (void)state;
    float q[HEADS * HEAD] = {0}, y[HEADS * HEAD];
    float k_cache[KV][CONTEXT][HEAD] = {{{0}}}, v_cache[KV][CONTEXT][HEAD];
    float part[4][HEADS][HEAD], top[4][HEADS], sum[4][HEADS];
    const int position = 4;
    for (int h = 0; h < HEADS; h++) q[h * HEAD] = 2;
    for (int h = 0; h < KV; h++)
        for (int p = 0; p < CONTEXT; p++) {
            k_cache[h][p][0] = logf((float)(p + 1));
            for (int i = 0; i < HEAD; i++) v_cache[h][p][i] = (float)(100 * h + p);
        }
    union op_args args = {.attention = {.q = q,
                                        .k_cache = k_cache,
                                        .v_cache = v_cache,
                                        .part = part[0][0],
                                        .part_top = top[0],
                                        .part_sum = sum[0],
                                        .position = &position,
                                        .ldq = HEADS * HEAD,
                                        .scale = 0.5f,
                                        .M = 1,
                                        .heads = HEADS,
                                        .kv_heads = KV,
                                        .head = HEAD,
                                        .context = CONTEXT,
                                        .split = 4}};
    launch("attention.f32.f32.h6", &args);
    for (int s = 0; s < 3; s++) { /* positions 2 s and 2 s + 1; of the third run one is there */
        const int last = s < 2 ? 2 * s + 1 : 4;
        double weights = 0, values = 0;
        for (int p = 2 * s; p <= last; p++)
            weights += (p + 1.0) / (last + 1), values += (p + 1.0) / (last + 1) * p;
        assert_near(top[s][1], log2(last + 1), 1e-6);
        assert_near(sum[s][1], weights, 1e-6);
        assert_near(part[s][1][3], values, 1e-5);
        assert_near(part[s][2][0], values + 100 * weights, 1e-4);
    }
    assert_true(isinf(top[3][0]) && top[3][0] < 0 && sum[3][0] == 0 && part[3][0][0] == 0);
    args = (union op_args){.combine = {.part = part[0][0],
                                       .part_top = top[0],
                                       .part_sum = sum[0],
                                       .y = y,
                                       .ldy = HEADS * HEAD,
                                       .M = 1,
                                       .heads = HEADS,
                                       .head = HEAD,
                                       .split = 4}};
    launch("combine.f32.h6", &args);
    for (int h = 0; h < HEADS; h++) /* (1 * 0 + 2 * 1 + 3 * 2 + 4 * 3 + 5 * 4) / 15 */
        assert_near(y[h * HEAD + 5], 100 * (h / 2) + 40 / 15.0, 1e-4);
}

static void gather_takes_columns(void **state)
{
    (void)state;
    const uint16_t x[2][5] = {{1, 2, 3, 4, 0}, {11, 12, 13, 14, 0}}; /* any bits: all are kept */
    uint16_t y[2][4] = {{0}};
    const int index[] = {3, -1, 0, 4};
    const union op_args args = {
        .gather = {.x = x, .index = index, .y = y, .ldx = 5, .ldy = 4, .M = 2, .K = 4}};
    launch("gather.f16", &args);
    static const uint16_t expected[2][4] = {{4, 0, 1, 0}, {14, 0, 11, 0}};
    assert_memory_equal(y, expected, sizeof y);
}

static void glu_gates(void **state)
{
    (void)state;
    const float gate[] = {1, -1, 0, 1000, -1000}, up[] = {2, 2, 2, 2, 2};
    static const double silu[] = {0.7310585786300049, -0.2689414213699951, 0, 1000, 0};
    static const double gelu[] = {0.8411919906082768, -0.15880800939172324, 0, 1000, 0};
    float y[5];
    const union op_args args = {
        .glu = {.gate = gate, .up = up, .y = y, .ldg = 5, .ldu = 5, .ldy = 5, .M = 1, .K = 5}};
    launch("glu.silu.f32", &args);
    for (int i = 0; i < 5; i++) assert_near(y[i], 2 * silu[i], 1e-6);
    launch("glu.gelu.f32", &args);
    for (int i = 0; i < 5; i++) assert_near(y[i], 2 * gelu[i], 1e-6);
}

static void add_adds(void **state)
{
    (void)state;
    float x[] = {1, 2, 3};
    const uint16_t y[] = {f32_to_bf16(0.5f), f32_to_bf16(-2)};
    const union op_args args = {.add = {.x = x, .y = y, .ldx = 3, .ldy = 2, .M = 1, .K = 2}};
    launch("add.bf16", &args);
    assert_near(x[0], 1.5, 0);
    assert_near(x[1], 0, 0);
    assert_near(x[2], 3, 0);
}

static int draw(const float *logit, int N, float temperature, float min_p, unsigned counter)
{
    int id = -1;
    const union op_args args = {.sample = {.logit = logit,
                                           .id = &id,
                                           .ldl = N,
                                           .seed = 11,
                                           .counter = counter,
                                           .temperature = temperature,
                                           .min_p = min_p,
                                           .M = 1,
                                           .N = N}};
    launch("sample", &args);
    const qrt_sampling same = {.temperature = temperature, .min_p = min_p, .seed = 11};
    assert_int_equal(id, qrt_sample(logit, N, &same, counter));
    return id;
}

static void sample_draws(void **state)
{
    (void)state;
    enum { N = 5, DRAWS = 20000 };
    const float logit[N] = {0, 1, -2, 1, 0.5f};
    double softmax[N], total = 0;
    int drawn[N] = {0};
    assert_int_equal(draw(logit, N, 0, 0, 0), 1); /* tie with 3 */
    for (int i = 0; i < N; i++) total += softmax[i] = exp(logit[i] / 0.8);
    for (unsigned c = 0; c < DRAWS; c++) drawn[draw(logit, N, 0.8f, 0, c)]++;
    for (int i = 0; i < N; i++) /* within 5 standard deviations */
        assert_near(drawn[i], DRAWS * softmax[i] / total, 5 * sqrt(DRAWS * softmax[i] / total));
    memset(drawn, 0, sizeof drawn);
    /* half of the largest probability: exp((x - 1) / 0.8) >= 0.5 keeps 1, 3 and 4 */
    for (unsigned c = 0; c < 2000; c++) drawn[draw(logit, N, 0.8f, 0.5f, c)]++;
    assert_int_equal(drawn[0] + drawn[2], 0);
    assert_true(drawn[1] > 400 && drawn[3] > 400 && drawn[4] > 200);
    const float with_nan[] = {NAN, -3, NAN, -1};
    assert_int_equal(draw(with_nan, 4, 0, 0, 0), 3);
    for (unsigned c = 0; c < 100; c++) assert_int_equal(draw(with_nan, 4, 1, 0, c) % 2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_multiplies),
        cmocka_unit_test(linear_takes_codes),
        cmocka_unit_test(reduce_adds_in_order),
        cmocka_unit_test(quantize_rounds),
        cmocka_unit_test(embed_scales_rows),
        cmocka_unit_test(rmsnorm_divides),
        cmocka_unit_test(rope_turns),
        cmocka_unit_test(attention_weighs),
        cmocka_unit_test(attention_leaves_parts),
        cmocka_unit_test(gather_takes_columns),
        cmocka_unit_test(glu_gates),
        cmocka_unit_test(add_adds),
        cmocka_unit_test(sample_draws),
    };
    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
