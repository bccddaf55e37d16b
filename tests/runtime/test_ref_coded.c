/* test_ref_coded.c -- contract of quantized activations and caches (kernel_abi.h), as ref defines them
 *
 * - qk_code_index() is the drawing: a lane's two pairs of a 16-wide step lie side by side
 * - form t: scale is the largest over 127 (448), codes are rounded quotients, padding counts as 0
 * - form tz: 0 and both ends are represented; padding is the zero point
 * - form b: a scale per 128 columns, none for columns that are padding
 * - a static scale is used and not written; values beyond it are clamped
 * - a row of zeros has scale, zero point and codes 0
 * - linear on a form is linear on scale * (code - zero)
 * - rmsnorm and glu quantize what they would have stored in f32
 * - rope leaves codes of the rotated k and of v with a scale per head and position
 * - attention over coded caches is attention over scale * code
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "elem.h"
#include "helpers.h"
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

static void code_order_is_as_drawn(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int h = 0; h < 2; h++)
            for (int t = 0; t < 4; t++)
                for (int j = 0; j < 2; j++)
                    assert_int_equal(qk_code_index(16 * i + 8 * h + 2 * t + j),
                                     16 * i + 4 * t + 2 * h + j);
}

static int code_of(const int8_t *codes, int k) { return codes[qk_code_index(k)]; }

static void token_form(void **state)
{
    (void)state;
    const float x[] = {127, 0.5f, 1.5f, -2.5f, -127, 3.2f};
    int8_t code[64];
    float scale[3] = {9, 9, 9};
    union op_args args = {.quantize = {.x = x,
                                       .code = code,
                                       .q = {.scale = scale, .lds = 3},
                                       .ldx = 6,
                                       .ldc = 64,
                                       .M = 1,
                                       .K = 6}};
    static const int expected[] = {127, 0, 2, -2, -127, 3};
    memset(code, 99, sizeof code);
    launch("quantize.f32.i8t", &args);
    for (int k = 0; k < 64; k++) assert_int_equal(code_of(code, k), k < 6 ? expected[k] : 0);
    assert_near(scale[0], 1, 0);
    assert_near(scale[1], 9, 0);
    launch("quantize.f32.e4m3t", &args);
    assert_near(scale[0], 127 / 448.0, 1e-8);
    for (int k = 0; k < 64; k++) {
        const float value = e4m3_to_f32((uint8_t)code_of(code, k)) * scale[0];
        assert_near(value, k < 6 ? x[k] : 0, k < 6 ? fabsf(x[k]) / 16 : 0); /* 4 bits */
    }
    assert_int_equal(code_of(code, 0), 0x7e);
}

static void token_zero_form(void **state)
{
    (void)state;
    const float x[2][4] = {{-1, 0, 3, 4}, {2, 5.1f, 51, 10.2f}};
    int8_t code[2][128];
    float scale[2];
    int zero[2];
    union op_args args = {.quantize = {.x = x,
                                       .code = code[0],
                                       .q = {.scale = scale, .zero = zero, .lds = 1},
                                       .ldx = 4,
                                       .ldc = 128,
                                       .M = 2,
                                       .K = 4}};
    launch("quantize.f32.i8tz", &args);
    assert_near(scale[0], 5 / 255.0, 1e-9);
    assert_int_equal(zero[0], -77); /* -128 + 51 */
    assert_int_equal(code_of(code[0], 0), -128);
    assert_int_equal(code_of(code[0], 1), -77);
    assert_int_equal(code_of(code[0], 2), 76);
    assert_int_equal(code_of(code[0], 3), 127);
    assert_near(scale[1], 0.2, 1e-8); /* the smallest counts as 0 */
    assert_int_equal(zero[1], -128);
    static const int expected[] = {-118, -102, 127, -77}; /* 10, 25.5 (rounded to even), 255, 51 */
    for (int k = 0; k < 4; k++) assert_near(code_of(code[1], k), expected[k], k == 1);
    for (int k = 4; k < 128; k++) {
        assert_int_equal(code_of(code[0], k), -77);
        assert_int_equal(code_of(code[1], k), -128);
    }
}

static void block_form(void **state)
{
    (void)state;
    enum { K = 140 };
    float x[K] = {0}, scale[3] = {9, 9, 9};
    uint8_t code[192];
    x[3] = 448, x[127] = -1.06f, x[128] = 7, x[139] = 0.5f;
    const union op_args args = {.quantize = {.x = x,
                                             .code = (signed char *)code,
                                             .q = {.scale = scale, .lds = 3},
                                             .ldx = K,
                                             .ldc = 192,
                                             .M = 1,
                                             .K = K}};
    launch("quantize.f32.e4m3b", &args);
    assert_near(scale[0], 1, 0);
    assert_near(scale[1], 7 / 448.0, 1e-9);
    assert_near(scale[2], 9, 0);
    assert_near(e4m3_to_f32(code[qk_code_index(127)]), -1.0, 0); /* steps of 1/8 */
    assert_near(e4m3_to_f32(code[qk_code_index(128)]), 448, 0);
    assert_near(e4m3_to_f32(code[qk_code_index(139)]), 32, 0);
    assert_near(e4m3_to_f32(code[qk_code_index(191)]), 0, 0);
}

static void static_scales_are_kept(void **state)
{
    (void)state;
    const float x[] = {1, -0.3f, 100, -100}, scale = 0.1f;
    const int zero = 7;
    int8_t code[64];
    const union op_args args = {.quantize = {.x = x,
                                             .code = code,
                                             .q = {.static_scale = &scale, .static_zero = &zero},
                                             .ldx = 4,
                                             .ldc = 64,
                                             .M = 1,
                                             .K = 4}};
    static const int expected[] = {17, 4, 127, -128, 7, 7};
    launch("quantize.f32.i8tz", &args);
    for (int k = 0; k < 6; k++) assert_int_equal(code_of(code, k), expected[k]);
    launch("quantize.f32.i8t", &args);
    assert_int_equal(code_of(code, 3), -127);
    assert_int_equal(code_of(code, 4), 0);
    launch("quantize.f32.e4m3t", &args);
    assert_near(e4m3_to_f32((uint8_t)code_of(code, 3)), -448, 0);
}

static void zeros_stay_zeros(void **state)
{
    (void)state;
    static const char *const requests[] = {"quantize.f32.i8t", "quantize.f32.i8tz",
                                           "quantize.f32.e4m3t", "quantize.f32.e4m3b"};
    const float x[70] = {0};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int8_t code[128];
        float scale = 9;
        int zero = i == 1 ? 9 : 0;
        const union op_args args = {.quantize = {.x = x,
                                                 .code = code,
                                                 .q = {.scale = &scale, .zero = &zero, .lds = 1},
                                                 .ldx = 70,
                                                 .ldc = 128,
                                                 .M = 1,
                                                 .K = 70}};
        memset(code, 99, sizeof code);
        launch(requests[i], &args);
        assert_near(scale, 0, 0);
        assert_int_equal(zero, 0);
        for (int k = 0; k < 128; k++) assert_int_equal(code[k], 0);
    }
}

/* ---- linear ---- */

enum { N = 5, K = 150, LD = 192, M = 3 };

static void linear_on(const char *form, int is_static)
{
    const struct scheme s = {.code = CODE_INT, .bits = 4, .zero = ZERO_FLOAT, .group = 32};
    struct packed p = packed_random(FAMILY_MMA, &s, N, K, 3);
    const int has_zero = strcmp(form, "i8tz") == 0, is_block = strcmp(form, "e4m3b") == 0;
    const enum elem_type type = form[0] == 'i' ? ELEM_I8 : ELEM_E4M3;
    int8_t code[M][LD] = {{0}};
    float scale[M][2], x[M][K], y[M][N], want[M][N];
    int zero[M][2];
    char request[64];
    uint64_t random = 8;
    for (int m = 0; m < M; m++)
        for (int b = 0; b < 2; b++) {
            scale[m][b] = 1 + random_float(&random) / 2;
            zero[m][b] = (int)(100 * random_float(&random));
        }
    for (int i = 0; i < M * K; i++) {
        const int m = i / K, k = i % K, row = is_static ? 0 : m;
        elem_set(type, code[m], qk_code_index(k), truncf(127 * random_float(&random)));
        x[m][k] = scale[row][is_block ? k / 128 : 0] * (elem_get(type, code[m], qk_code_index(k)) -
                                                        (float)(has_zero ? zero[row][0] : 0));
    }
    union op_args args = {
        .linear = {.w = p.w, .x = x, .y = want, .ldx = K, .ldy = N, .M = M, .split = 1}};
    launch("linear.w4g32m.f32.f32", &args);
    args.linear.x = code;
    args.linear.x_scale = scale[0];
    args.linear.x_zero = has_zero ? zero[0] : NULL;
    args.linear.y = y;
    args.linear.ldx = LD;
    args.linear.lds = is_static ? 0 : 2;
    snprintf(request, sizeof request, "linear.w4g32m.%s.f32", form);
    launch(request, &args);
    for (int i = 0; i < M * N; i++)
        assert_near(y[i / N][i % N], want[i / N][i % N], 1e-5 * (1 + fabsf(want[i / N][i % N])));
    packed_free(&p);
}

static void linear_takes_forms(void **state)
{
    (void)state;
    linear_on("i8t", 0);
    linear_on("i8tz", 0);
    linear_on("e4m3t", 0);
    linear_on("e4m3b", 0);
    linear_on("i8t", 1);
    linear_on("i8tz", 1);
}

/* ---- fused outputs ---- */

/* Codes of a row against its values: within half a step, padding 0. */
static void check_row(enum elem_type type, const int8_t *codes, float scale, int zero,
                      const float *value, int count, int ld)
{
    for (int k = 0; k < ld; k++) {
        const double code = elem_get(type, codes, qk_code_index(k)) - (float)zero;
        const double x = k < count ? value[k] : 0;
        const double step = type == ELEM_I8 ? 0.5 : fmax(fabs(x) / scale / 16, 0x1p-10);
        assert_near(scale * code, x, k < count ? scale * step * 1.0001 : 0);
    }
}

static void norms_are_quantized(void **state)
{
    (void)state;
    float x[2][K], w[K], y[2][K], scale[2];
    int8_t code[2][LD];
    int zero[2];
    uint64_t random = 4;
    for (int k = 0; k < K; k++) {
        w[k] = 1 + random_float(&random);
        for (int m = 0; m < 2; m++) x[m][k] = random_float(&random);
    }
    union op_args args = {
        .rmsnorm = {.x = x, .w = w, .y = y, .ldx = K, .ldy = K, .M = 2, .heads = 1, .K = K}};
    launch("rmsnorm.f32.f32", &args);
    args.rmsnorm.y = code;
    args.rmsnorm.ldy = LD;
    args.rmsnorm.q = (struct qk_quantized){.scale = scale, .zero = zero, .lds = 1};
    launch("rmsnorm.f32.i8tz", &args);
    for (int m = 0; m < 2; m++) check_row(ELEM_I8, code[m], scale[m], zero[m], y[m], K, LD);
    launch("rmsnorm.f32.e4m3t", &args);
    for (int m = 0; m < 2; m++) check_row(ELEM_E4M3, code[m], scale[m], 0, y[m], K, LD);
}

static void glu_is_quantized(void **state)
{
    (void)state;
    uint16_t gate[K], up[K];
    float wide_gate[K], wide_up[K], y[K], scale;
    int8_t code[LD];
    uint64_t random = 5;
    for (int k = 0; k < K; k++) {
        gate[k] = f32_to_f16(4 * random_float(&random)), wide_gate[k] = f16_to_f32(gate[k]);
        up[k] = f32_to_f16(random_float(&random)), wide_up[k] = f16_to_f32(up[k]);
    }
    union op_args args = {.glu = {.gate = wide_gate,
                                  .up = wide_up,
                                  .y = y,
                                  .ldg = K,
                                  .ldu = K,
                                  .ldy = K,
                                  .M = 1,
                                  .K = K}};
    launch("glu.silu.f32", &args);
    args.glu.gate = gate;
    args.glu.up = up;
    args.glu.y = code;
    args.glu.ldy = LD;
    args.glu.q = (struct qk_quantized){.scale = &scale, .lds = 1};
    launch("glu.silu.f16.i8t", &args);
    check_row(ELEM_I8, code, scale, 0, y, K, LD);
}

/* ---- caches ---- */

enum { HEADS = 4, KV = 2, HEAD = 8, CONTEXT = 9, ROWS = 3, POSITION = 4 };

static struct qk_rope rope_args(float *q, const float *k, const float *v)
{
    static const float inv_freq[] = {1, 0.3f, 0.1f, 0.01f};
    static const int position = POSITION;
    return (struct qk_rope){.q = q,
                            .k = k,
                            .v = v,
                            .inv_freq = inv_freq,
                            .position = &position,
                            .ldq = HEADS * HEAD,
                            .ldk = KV * HEAD,
                            .ldv = KV * HEAD,
                            .M = ROWS,
                            .heads = HEADS,
                            .kv_heads = KV,
                            .head = HEAD,
                            .rotary = HEAD,
                            .context = CONTEXT};
}

static void rope_fills_coded_caches(void **state)
{
    (void)state;
    float q[ROWS * HEADS * HEAD] = {0}, k[ROWS * KV * HEAD], v[ROWS * KV * HEAD];
    float k_cache[KV][CONTEXT][HEAD], v_cache[KV][CONTEXT][HEAD];
    int8_t k_code[KV][CONTEXT][HEAD], v_code[KV][CONTEXT][HEAD];
    float k_scale[KV][CONTEXT], v_scale[KV][CONTEXT];
    uint64_t random = 6;
    for (int i = 0; i < ROWS * KV * HEAD; i++)
        k[i] = random_float(&random), v[i] = i < HEAD ? 0 : random_float(&random);
    union op_args args = {.rope = rope_args(q, k, v)};
    args.rope.k_cache = k_cache;
    args.rope.v_cache = v_cache;
    launch("rope.pairs.f32.f32.h8", &args);
    args.rope.k_cache = k_code;
    args.rope.v_cache = v_code;
    args.rope.k_scale = k_scale[0];
    args.rope.v_scale = v_scale[0];
    memset(k_code, 55, sizeof k_code);
    launch("rope.pairs.f32.i8.h8", &args);
    for (int h = 0; h < KV; h++)
        for (int p = POSITION; p < POSITION + ROWS; p++) {
            float most = 0;
            for (int i = 0; i < HEAD; i++) most = fmaxf(most, fabsf(k_cache[h][p][i]));
            assert_near(k_scale[h][p], most / 127, 1e-9);
            for (int i = 0; i < HEAD; i++) {
                assert_near(k_scale[h][p] * (float)k_code[h][p][i], k_cache[h][p][i],
                            0.5001 * k_scale[h][p]);
                assert_near(v_scale[h][p] * (float)v_code[h][p][i], v_cache[h][p][i],
                            0.5001 * v_scale[h][p]);
            }
        }
    assert_near(v_scale[0][POSITION], 0, 0);
    assert_int_equal(k_code[0][POSITION - 1][0], 55);
    assert_int_equal(k_code[1][POSITION + ROWS][0], 55);
    launch("rope.pairs.f32.e4m3.h8", &args);
    for (int i = 0; i < HEAD; i++)
        assert_near(k_scale[1][5] * e4m3_to_f32((uint8_t)k_code[1][5][i]), k_cache[1][5][i],
                    fmax(fabs(k_cache[1][5][i]) / 16, k_scale[1][5] * 0x1p-10) * 1.0001);
}

static void attention_reads_coded_caches(void **state)
{
    (void)state;
    static const enum elem_type types[] = {ELEM_I8, ELEM_E4M3};
    static const char *const requests[] = {"attention.f32.i8.h8", "attention.f32.e4m3.h8"};
    for (int which = 0; which < 2; which++) {
        int8_t k_code[KV * CONTEXT * HEAD], v_code[KV * CONTEXT * HEAD];
        float k[KV * CONTEXT * HEAD], v[KV * CONTEXT * HEAD], q[ROWS * HEADS * HEAD];
        float k_scale[KV * CONTEXT], v_scale[KV * CONTEXT], want[ROWS * HEADS * HEAD],
            y[ROWS * HEADS * HEAD];
        const int position = POSITION;
        uint64_t random = 7;
        for (int i = 0; i < KV * CONTEXT; i++)
            k_scale[i] = 0.02f + 0.01f * random_float(&random),
            v_scale[i] = 0.03f * random_float(&random);
        for (int i = 0; i < KV * CONTEXT * HEAD; i++) {
            elem_set(types[which], k_code, i, truncf(127 * random_float(&random)));
            elem_set(types[which], v_code, i, truncf(127 * random_float(&random)));
            k[i] = k_scale[i / HEAD] * elem_get(types[which], k_code, i);
            v[i] = v_scale[i / HEAD] * elem_get(types[which], v_code, i);
        }
        for (int i = 0; i < ROWS * HEADS * HEAD; i++) q[i] = random_float(&random);
        union op_args args = {.attention = {.q = q,
                                            .k_cache = k,
                                            .v_cache = v,
                                            .y = want,
                                            .position = &position,
                                            .ldq = HEADS * HEAD,
                                            .ldy = HEADS * HEAD,
                                            .scale = 0.5f,
                                            .M = ROWS,
                                            .heads = HEADS,
                                            .kv_heads = KV,
                                            .head = HEAD,
                                            .context = CONTEXT,
                                            .split = 1}};
        launch("attention.f32.f32.h8", &args);
        args.attention.k_cache = k_code;
        args.attention.v_cache = v_code;
        args.attention.k_scale = k_scale;
        args.attention.v_scale = v_scale;
        args.attention.y = y;
        launch(requests[which], &args);
        for (int i = 0; i < ROWS * HEADS * HEAD; i++) assert_near(y[i], want[i], 1e-5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_order_is_as_drawn),
        cmocka_unit_test(token_form),
        cmocka_unit_test(token_zero_form),
        cmocka_unit_test(block_form),
        cmocka_unit_test(static_scales_are_kept),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(linear_takes_forms),
        cmocka_unit_test(norms_are_quantized),
        cmocka_unit_test(glu_is_quantized),
        cmocka_unit_test(rope_fills_coded_caches),
        cmocka_unit_test(attention_reads_coded_caches),
    };
    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
