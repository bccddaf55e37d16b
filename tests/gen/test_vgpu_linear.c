/* test_vgpu_linear.c -- contract of the CUDA linear and embed at the ends of ranges, where the cases
 * of gen/check.h do not go; on the virtual GPU
 *
 * - x the identity gives W: every code under any finite scale, denormal ones and the largest
 *   included, has exactly the value of layout_dequant_row(); in gemv and gemm; beside activations of
 *   16 bits, int8 and e4m3
 * - integer sums of whole rows hold the largest products of 131071 columns, of either sign, and zero
 *   points of activations take off what they put in
 * - embed gives these rows too, and NaN where a code or scale is NaN
 * - an f16 output beyond +-65504 is +-65504, infinite sums too, and NaN is NaN; the reduce op's too;
 *   bf16 outputs are not clamped
 *
 * Needs NVRTC; without it all is skipped aloud.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elem.h"
#include "error.h"
#include "helpers.h"
#include "layout.h"
#include "nvrtc.h"
#include "template.h"
#include "unit.h"
#include "virtual.h"

enum { N = 17, K = 144, K_TWO_LEVEL = 256, MOST_BUFFERS = 8 };

static struct template_set *set;
static struct nvrtc *nvrtc;
static struct virtual_gpu *virtual;
static uint64_t random_state = 7;

static int open_all(void **state)
{
    (void)state;
    if (template_set_open(NULL, &set) != QRT_OK || virtual_open(&virtual) != QRT_OK)
        return print_error("%s\n", qrt_message()), -1;
    if (nvrtc_open(&nvrtc) != QRT_OK) printf("no NVRTC: %s\n", qrt_message());
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    nvrtc_close(nvrtc);
    virtual_close(virtual);
    template_set_close(set);
    return 0;
}

/* ---- kernels ---- */

/* A template's best kernel for rows lo..hi of a request that does not split K, on a device, and its
 * buffers: until it has run. */
struct loaded {
    qrt_device *device;
    struct op_desc desc;
    struct kernel kernel;
    void *buffer[MOST_BUFFERS];
    int buffers;
};

static void load(struct loaded *l, const char *request, const char *arch, const char *template,
                 int lo, int hi)
{
    struct request r = {.arch = arch_find(arch), .m_lo = lo, .m_hi = hi};
    struct candidate *c;
    struct unit unit;
    struct unit_image image = {0};
    size_t count, i = 0;
    if (op_desc_parse(request, &r.desc) != QRT_OK ||
        template_candidates(set, &r, &c, &count) != QRT_OK)
        fail_msg("%s: %s", request, qrt_message());
    while (i < count && (c[i].record.split > 1 || strcmp(c[i].record.template_, template) != 0))
        i++;
    assert_true(i < count);
    if (unit_make(set, &c[i], &unit) != QRT_OK || nvrtc_compile(nvrtc, &unit, &image) != QRT_OK ||
        virtual_device(virtual, r.arch, &l->device) != QRT_OK)
        fail_msg("%s: %s", request, qrt_message());
    const struct entry e = {.record = c[i].record,
                            .part = {[ENTRY_IMAGE] = {image.image, image.image_bytes},
                                     [ENTRY_PTX] = {image.ptx, image.ptx_bytes}}};
    if (l->device->ops->load(l->device, &e, &l->kernel) != QRT_OK)
        fail_msg("%s: %s", request, qrt_message());
    l->desc = r.desc;
    l->buffers = 0;
    l->kernel.record = c[i].record;
    unit_image_free(&image);
    unit_free(&unit);
    free(c);
}

static void *to_device(struct loaded *l, const void *host, size_t bytes)
{
    void *address;
    assert_true(l->buffers < MOST_BUFFERS);
    assert_int_equal(l->device->ops->alloc(l->device, bytes, &address), QRT_OK);
    if (host) assert_int_equal(l->device->ops->upload(l->device, address, host, bytes), QRT_OK);
    l->buffer[l->buffers++] = address;
    return address;
}

/* Launch, read `bytes` of y, and fail for whatever the virtual GPU has found. */
static void run(struct loaded *l, const union op_args *args, const void *y, void *host,
                size_t bytes)
{
    const struct device_ops *ops = l->device->ops;
    struct vgpu_finding finding;
    struct vgpu_counts counts;
    if (ops->launch(l->device, &l->kernel, &l->desc, args) != QRT_OK ||
        ops->download(l->device, host, y, bytes) != QRT_OK)
        fail_msg("%s", qrt_message());
    if (virtual_take(virtual, &finding, &counts) > 0)
        fail_msg("%s: %s", l->kernel.record.symbol, finding.text);
    ops->unload(l->device, &l->kernel);
    for (int i = 0; i < l->buffers; i++) ops->free(l->device, l->buffer[i]);
}

/* ---- weights of any bits ---- */

struct matrix {
    struct qk_weight host, device;
    void *section[SECTION_COUNT];
};

/* Bits of one element of `bytes` bytes that are no infinity and no NaN. */
static void put_finite(enum scale_type type, uint8_t *to)
{
    static const uint32_t exponent[SCALE_COUNT] = {0x7c00, 0x7f80, 0x7f800000, 0, 0xff, 0x7f};
    uint32_t bits = (uint32_t)random_word(&random_state);
    while (exponent[type] && (bits & exponent[type]) == exponent[type])
        bits = (uint32_t)random_word(&random_state);
    memcpy(to, &bits, scale_bytes(type));
}

static void fill_scales(const struct scheme *s, uint8_t *section, size_t bytes)
{
    const enum scale_type type = (enum scale_type)s->scale;
    for (size_t i = 0; i < bytes; i += scale_bytes(type)) put_finite(type, section + i);
}

static void fill_codes(const struct scheme *s, int columns, void *codes, int with_nan)
{
    uint8_t q[K_TWO_LEVEL];
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < columns; k++) {
            q[k] = (uint8_t)(random_word(&random_state) % (1u << s->bits));
            if (s->code == CODE_E4M3 && !with_nan && (q[k] & 0x7f) == 0x7f) q[k] = 0;
        }
        layout_put_codes(FAMILY_MMA, s, columns, codes, n, 0, columns, q);
    }
}

static void make_matrix(struct loaded *l, int with_nan, struct matrix *m)
{
    const struct scheme *s = &l->desc.weight;
    const int columns = s->scale == SCALE_TWO_LEVEL ? K_TWO_LEVEL : K;
    size_t bytes[SECTION_COUNT];
    const void *device[SECTION_COUNT] = {NULL};
    assert_int_equal(layout_bytes(FAMILY_MMA, s, N, columns, bytes), QRT_OK);
    for (int i = 0; i < SECTION_COUNT; i++) m->section[i] = bytes[i] ? calloc(1, bytes[i]) : NULL;
    fill_codes(s, columns, m->section[SECTION_CODES], with_nan);
    fill_scales(s, m->section[SECTION_SCALES], bytes[SECTION_SCALES]);
    if (s->zero == ZERO_FLOAT) fill_scales(s, m->section[SECTION_ZEROS], bytes[SECTION_ZEROS]);
    for (size_t i = 0; s->zero == ZERO_INT && i < bytes[SECTION_ZEROS]; i++)
        ((uint8_t *)m->section[SECTION_ZEROS])[i] =
            (uint8_t)(random_word(&random_state) % (1u << s->bits));
    for (size_t i = 0; s->scale == SCALE_TWO_LEVEL && i < bytes[SECTION_SUPERS]; i += 2)
        put_finite(SCALE_F16, (uint8_t *)m->section[SECTION_SUPERS] + i);
    if (s->scale == SCALE_E4M3) *(float *)m->section[SECTION_SUPERS] = 0x1p-9f;
    if (with_nan)
        memset(m->section[SECTION_SCALES], 0xff, 3 * scale_bytes((enum scale_type)s->scale));
    for (int i = 0; i < SECTION_COUNT; i++)
        if (bytes[i]) device[i] = to_device(l, m->section[i], bytes[i]);
    m->host = (struct qk_weight){.codes = m->section[SECTION_CODES],
                                 .scales = m->section[SECTION_SCALES],
                                 .zeros = m->section[SECTION_ZEROS],
                                 .supers = m->section[SECTION_SUPERS],
                                 .N = N,
                                 .K = columns,
                                 .G = scheme_groups(s, columns),
                                 .family = FAMILY_MMA};
    m->device = m->host;
    m->device.codes = device[SECTION_CODES], m->device.scales = device[SECTION_SCALES];
    m->device.zeros = device[SECTION_ZEROS], m->device.supers = device[SECTION_SUPERS];
}

static void free_matrix(struct matrix *m)
{
    for (int i = 0; i < SECTION_COUNT; i++) free(m->section[i]);
}

/* got[k * stride] is W[n, k], to the bit but for the sign of 0 and the bits of NaN. */
static void expect_row(const struct loaded *l, const struct matrix *m, int n, const float *got,
                       int stride)
{
    float row[K_TWO_LEVEL];
    layout_dequant_row(FAMILY_MMA, &l->desc.weight, &m->host, n, row);
    for (int k = 0; k < m->host.K; k++)
        if (got[k * stride] != row[k] && !(isnan(got[k * stride]) && isnan(row[k])))
            fail_msg("%s: W[%d, %d] is %.9g, not %.9g", l->kernel.record.symbol, n, k,
                     (double)got[k * stride], (double)row[k]);
}

/* ---- tests ---- */

/* x[m, k] = (m == k), of as many rows as columns; coded: under a scale of 1. */
static void put_identity(struct loaded *l, struct qk_linear *a)
{
    static const float one[(K_TWO_LEVEL + 127) / 128] = {1, 1};
    const enum elem_type type = (enum elem_type)l->desc.act;
    const int coded = l->desc.quant != QUANT_NONE, rows = a->w.K;
    const int ld = coded ? (rows + 63) / 64 * 64 : rows;
    const size_t bytes = (size_t)rows * (size_t)ld * elem_bytes(type);
    void *x = calloc(1, bytes);
    for (int k = 0; k < rows; k++)
        elem_set(type, x, (int64_t)k * ld + (coded ? qk_code_index(k) : k), 1);
    a->x = to_device(l, x, bytes);
    if (coded) a->x_scale = to_device(l, one, sizeof one); /* lds 0: all rows' */
    a->ldx = ld;
    a->M = rows;
    free(x);
}

static void check_identity(const char *request, const char *arch, const char *template, int lo,
                           int hi)
{
    struct loaded l;
    struct matrix m;
    load(&l, request, arch, template, lo, hi);
    make_matrix(&l, 0, &m);
    const size_t bytes = (size_t)m.host.K * N * sizeof(float);
    float *y = malloc(bytes);
    void *device_y = to_device(&l, NULL, bytes);
    union op_args args = {.linear = {.w = m.device, .y = device_y, .ldy = N, .split = 1}};
    put_identity(&l, &args.linear);
    run(&l, &args, device_y, y, bytes);
    for (int n = 0; n < N; n++) expect_row(&l, &m, n, y + n, N);
    free_matrix(&m);
    free(y);
}

static void identity_gives_the_weights(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    static const struct {
        const char *request, *arch;
    } cases[] = {
        {"linear.w4g128.f16.f32", "sm_80"},
        {"linear.w8g32z.bf16.bf16.f32", "sm_80"},
        {"linear.w3g64m.f16.f32", "sm_75"},
        {"linear.w6g16.k.f16.f32", "sm_80"},
        {"linear.w5g48z.f32.bf16.f32", "sm_120"},
        {"linear.w2g80.f16.f32", "sm_100"},
        {"linear.iq4g32.f16.f32", "sm_75"},
        {"linear.iq4g112.bf16.bf16.f32", "sm_90a"},
        {"linear.mxfp4.f16.f32", "sm_120"},
        {"linear.mxfp4.bf16.f32", "sm_80"},
        {"linear.nvfp4.f16.f32", "sm_86"},
        {"linear.nvfp4.bf16.f32", "sm_120"},
        {"linear.e4m3g32.f16.f32", "sm_75"},
        {"linear.e4m3gc.f32.f16.f32", "sm_89"},
        {"linear.e4m3g64.bf16.f32", "sm_120"},
        {"linear.e4m3g16.e4m3.bf16.f32", "sm_75"},
        {"linear.w8gc.f32.i8t.f32", "sm_80"},
        {"linear.w4g128.bf16.i8t.f32", "sm_75"},
        {"linear.w2gc.i8t.f32", "sm_75"},
        {"linear.w3g64m.i8t.f32", "sm_120"},
        {"linear.w5g48z.f32.i8t.f32", "sm_86"},
        {"linear.w8g32z.i8t.f32", "sm_100"},
        {"linear.w6g16.k.i8t.f32", "sm_80"},
        {"linear.w7gcz.f32.i8t.f32", "sm_120"},
        {"linear.mxfp4.i8t.f32", "sm_120"},
        {"linear.nvfp4.i8t.f32", "sm_75"},
        {"linear.iq4g32.i8t.f32", "sm_100"},
        {"linear.e4m3gc.f32.e4m3t.f32", "sm_89"},
        {"linear.e4m3g128.f32.e4m3b.f32", "sm_120"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_identity(cases[i].request, cases[i].arch, "cuda/gemv", 17, 32);
        check_identity(cases[i].request, cases[i].arch, "cuda/gemm", 129, 256);
    }
}

/* Rows of x of one code and zero point: where both are extreme, sums are the largest there are. */
static const struct {
    int code, zero;
} long_rows[] = {{127, 127}, {-127, -128}, {-127, 127}, {127, -128}, {-128, 127}, {0, -5}};
enum { LONG_ROWS = sizeof long_rows / sizeof *long_rows, LONG_K = 131071, LONG_LD = 131072 };

/* Without zero points codes end at -127. */
static int long_code(const struct loaded *l, int m)
{
    const int code = long_rows[m].code;
    return l->desc.quant != QUANT_TOKEN_ZERO && code == -128 ? -127 : code;
}

/* Codes of weights of -128 (row 0) and 127 (row 1). */
static const void *put_long_weights(struct loaded *l)
{
    const size_t bytes = (size_t)LONG_LD * LAYOUT_ROWS;
    uint8_t *codes = calloc(1, bytes), *q = malloc(LONG_K);
    for (int n = 0; n < 2; n++) {
        memset(q, n == 0 ? 0 : 255, LONG_K);
        layout_put_codes(FAMILY_MMA, &l->desc.weight, LONG_K, codes, n, 0, LONG_K, q);
    }
    const void *address = to_device(l, codes, bytes);
    free(codes);
    free(q);
    return address;
}

static void put_long_rows(struct loaded *l, struct qk_linear *a)
{
    const int has_zero = l->desc.quant == QUANT_TOKEN_ZERO;
    int8_t *x = malloc((size_t)LONG_ROWS * LONG_LD);
    float scale[LONG_ROWS];
    int zero[LONG_ROWS];
    for (int m = 0; m < LONG_ROWS; m++) {
        int8_t *row = x + (size_t)m * LONG_LD;
        scale[m] = 1;
        zero[m] = long_rows[m].zero;
        memset(row, long_code(l, m), LONG_LD);
        row[qk_code_index(LONG_K)] = (int8_t)(has_zero ? zero[m] : 0);
    }
    a->x = to_device(l, x, (size_t)LONG_ROWS * LONG_LD);
    a->x_scale = to_device(l, scale, sizeof scale);
    if (has_zero) a->x_zero = to_device(l, zero, sizeof zero);
    a->ldx = LONG_LD;
    a->lds = 1;
    a->M = LONG_ROWS;
    free(x);
}

/* An overflow is off by 2^32; the sums of codes and of their zero points are rounded once each. */
static void check_long_rows(const char *request, const char *arch, const char *template, int lo,
                            int hi)
{
    struct loaded l;
    float scale[LAYOUT_ROWS], y[LONG_ROWS * 2];
    load(&l, request, arch, template, lo, hi);
    for (int n = 0; n < LAYOUT_ROWS; n++) scale[n] = 1;
    void *device_y = to_device(&l, NULL, sizeof y);
    union op_args args = {.linear = {.w = {.codes = put_long_weights(&l),
                                           .scales = to_device(&l, scale, sizeof scale),
                                           .N = 2,
                                           .K = LONG_K,
                                           .G = 1,
                                           .family = FAMILY_MMA},
                                     .y = device_y,
                                     .ldy = 2,
                                     .split = 1}};
    put_long_rows(&l, &args.linear);
    run(&l, &args, device_y, y, sizeof y);
    for (int i = 0; i < LONG_ROWS * 2; i++) {
        const int code = long_code(&l, i / 2), weight = i % 2 ? 127 : -128;
        const int zero = l.desc.quant == QUANT_TOKEN_ZERO ? long_rows[i / 2].zero : 0;
        const double want = (double)LONG_K * (code - zero) * weight;
        if (fabs(y[i] - want) > 0x1p31 * 0x1p-22)
            fail_msg("%s: codes %d, weights %d: %.9g, not %.9g", l.kernel.record.symbol, code,
                     weight, (double)y[i], want);
    }
}

static void long_rows_do_not_overflow(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    check_long_rows("linear.w8gc.f32.i8t.f32", "sm_80", "cuda/gemv", 2, 8);
    check_long_rows("linear.w8gc.f32.i8t.f32", "sm_75", "cuda/gemm", 33, 64);
    check_long_rows("linear.w8gc.f32.i8tz.f32", "sm_120", "cuda/gemv", 2, 8);
    check_long_rows("linear.w8gc.f32.i8tz.f32", "sm_80", "cuda/gemm", 33, 64);
}

static void check_embed(const char *request, const char *arch)
{
    struct loaded l;
    struct matrix m;
    int id[N];
    load(&l, request, arch, "cuda/embed", 1, 1);
    make_matrix(&l, 1, &m);
    for (int n = 0; n < N; n++) id[n] = n;
    const size_t bytes = (size_t)N * (size_t)m.host.K * sizeof(float);
    float *y = malloc(bytes);
    void *device_y = to_device(&l, NULL, bytes);
    const union op_args args = {.embed = {.w = m.device,
                                          .id = to_device(&l, id, sizeof id),
                                          .y = device_y,
                                          .ldy = m.host.K,
                                          .scale = 1,
                                          .M = N}};
    run(&l, &args, device_y, y, bytes);
    for (int n = 0; n < N; n++) expect_row(&l, &m, n, y + n * m.host.K, 1);
    free_matrix(&m);
    free(y);
}

static void embed_gives_every_bit(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    check_embed("embed.e4m3g48.f32", "sm_80");
    check_embed("embed.e4m3gc.f32.f32", "sm_75");
    check_embed("embed.nf4g64.bf16.f32", "sm_120");
    check_embed("embed.iq4g32.f32", "sm_90a");
    check_embed("embed.mxfp4.f32", "sm_80");
    check_embed("embed.nvfp4.f32", "sm_120");
    check_embed("embed.w5g16m.k.f32", "sm_100");
    check_embed("embed.w7g80z.f32.f32", "sm_86");
}

/* A weight, how often x asks for it, and the sum of an f16 and a bf16 output. */
static const struct {
    float weight, f16, bf16;
} sums[] = {
    {60000, 65504, 120000},         {-60000, -65504, -120000},
    {INFINITY, 65504, INFINITY},    {NAN, NAN, NAN},
    {32752, 65504, 65504},          {3, 6, 6},
    {-INFINITY, -65504, -INFINITY},
};
enum { SUMS = sizeof sums / sizeof *sums };

/* y[m, n] = 2 * weight[n]. */
static void check_sums(const char *request, const char *template, int lo, int hi, int M)
{
    enum { COLUMNS = 64 };
    struct loaded l;
    load(&l, request, "sm_80", template, lo, hi);
    const enum elem_type type = (enum elem_type)l.desc.out;
    uint16_t w[LAYOUT_ROWS * COLUMNS] = {0}, value, got[SUMS];
    uint16_t *x = calloc((size_t)M * COLUMNS, sizeof *x), *y = calloc((size_t)M * SUMS, sizeof *y);
    for (int n = 0; n < SUMS; n++) {
        value = type == ELEM_F16 ? f32_to_f16(sums[n].weight) : f32_to_bf16(sums[n].weight);
        layout_put_dense(FAMILY_MMA, &l.desc.weight, COLUMNS, w, n, 0, 1, &value);
    }
    for (int m = 0; m < M; m++) elem_set(type, x, (int64_t)m * COLUMNS, 2);
    void *device_y = to_device(&l, NULL, (size_t)M * sizeof got);
    const union op_args args = {.linear = {.w = {.codes = to_device(&l, w, sizeof w),
                                                 .N = SUMS,
                                                 .K = COLUMNS,
                                                 .family = FAMILY_MMA},
                                           .x = to_device(&l, x, (size_t)M * COLUMNS * 2),
                                           .y = device_y,
                                           .ldx = COLUMNS,
                                           .ldy = SUMS,
                                           .M = M,
                                           .split = 1}};
    run(&l, &args, device_y, y, (size_t)M * sizeof got);
    for (int i = 0; i < M * SUMS; i++) {
        const float sum = elem_get(type, y, i);
        float want = type == ELEM_F16 ? sums[i % SUMS].f16 : sums[i % SUMS].bf16;
        if (type == ELEM_BF16) want = bf16_to_f32(f32_to_bf16(want));
        if (sum != want && !(isnan(sum) && isnan(want)))
            fail_msg("%s: sum %d is %g, not %g", request, i % SUMS, (double)sum, (double)want);
    }
    free(x);
    free(y);
}

static void outputs_are_clamped(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    check_sums("linear.f16.f16.f16", "cuda/gemv", 1, 1, 3);
    check_sums("linear.f16.f16.f16", "cuda/gemm", 129, 256, 40);
    check_sums("linear.bf16.bf16.bf16", "cuda/gemv", 1, 1, 3);
}

static void reduced_outputs_are_clamped(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    struct loaded l;
    float parts[2][SUMS];
    uint16_t y[SUMS];
    load(&l, "reduce.f16", "sm_120", "cuda/reduce", 1, 1);
    for (int n = 0; n < SUMS; n++) parts[0][n] = parts[1][n] = sums[n].weight;
    void *device_y = to_device(&l, NULL, sizeof y);
    const union op_args args = {.reduce = {.partial = to_device(&l, parts, sizeof parts),
                                           .y = device_y,
                                           .ldy = SUMS,
                                           .M = 1,
                                           .N = SUMS,
                                           .split = 2}};
    run(&l, &args, device_y, y, sizeof y);
    for (int n = 0; n < SUMS; n++) {
        const float sum = f16_to_f32(y[n]);
        assert_true(isnan(sums[n].f16) ? isnan(sum) : sum == sums[n].f16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_gives_the_weights),  cmocka_unit_test(long_rows_do_not_overflow),
        cmocka_unit_test(embed_gives_every_bit),       cmocka_unit_test(outputs_are_clamped),
        cmocka_unit_test(reduced_outputs_are_clamped),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
