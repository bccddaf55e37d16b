/* check_rows.c -- cases of the ops on rows: quantize, rmsnorm, glu, add, gather, sample */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "check_cases.h"
#include "check_coded.h"
#include "check_weight.h"
#include "elem.h"
#include "ref.h"
#include "sample.h"

static const int widths[] = {40, 33, 576, 1000, 1, 2100};
enum { WIDTHS = sizeof widths / sizeof *widths };

static int64_t width_work(const struct op_desc *d, const struct check_case *c)
{
    (void)d;
    return (int64_t)c->M * widths[c->shape];
}

/* ---- quantized outputs ---- */

int64_t check_coded_out(struct trial *t, const struct check_case *c, size_t codes, size_t quantized,
                        struct qk_quantized *q, int K)
{
    const int is_block = t->desc.quant == QUANT_BLOCK;
    const int has_zero = t->desc.quant == QUANT_TOKEN_ZERO;
    const int64_t ld = (K + 63) / 64 * 64 + c->shape % 2 * 64;
    const int64_t width = is_block ? (K + 127) / 128 : 1;
    const struct extent e = {(enum elem_type)t->desc.out, c->M, ld, ld, 1};
    trial_out(t, codes, e, TRIAL_CHECKED);
    q->lds = width + c->shape % 2 * 2;
    if (!is_block && c->shape % 3 == 2) { /* one scale, given */
        float *scale =
            trial_raw(t, quantized + offsetof(struct qk_quantized, static_scale), sizeof *scale);
        if (scale) *scale = c->exact ? 0.5f : 0.0071f;
        if (has_zero) check_put_int(t, quantized + offsetof(struct qk_quantized, static_zero), -5);
        return ld;
    }
    const struct extent numbers = {ELEM_F32, c->M, width, q->lds, 1}; /* zeros are as wide */
    trial_out(t, quantized + offsetof(struct qk_quantized, scale), numbers, TRIAL_CHECKED);
    if (has_zero)
        trial_out(t, quantized + offsetof(struct qk_quantized, zero), numbers, TRIAL_CHECKED);
    return ld;
}

/* Some rows are all zeros, some have one sign only. */
static void vary_signs(enum elem_type type, void *x, struct extent e)
{
    for (int64_t i = 0; x && i < e.rows * e.width; i++) {
        const int64_t m = i / e.width, at = m * e.ld + i % e.width;
        const float v = elem_get(type, x, at);
        if (m % 8 == 5) elem_set(type, x, at, 0);
        if (m % 8 == 2) elem_set(type, x, at, fabsf(v));
        if (m % 8 == 3) elem_set(type, x, at, -fabsf(v));
    }
}

/* Compare all rows whose unquantized values `row_of` gives. */
static int compare_rows(const struct check_coded_output *o, int M,
                        void (*row_of)(const struct op_desc *, const union op_args *, int, float *),
                        char text[CHECK_TEXT_BYTES])
{
    const union op_args args = trial_ref_args(o->trial);
    float *row = malloc((size_t)o->K * sizeof *row);
    int differs = !row;
    if (!row) snprintf(text, CHECK_TEXT_BYTES, "no memory for a row of %d values", o->K);
    for (int m = 0; m < M && !differs; m++) {
        row_of(&o->trial->desc, &args, m, row);
        differs = check_coded_row_differs(o, m, row, text);
    }
    free(row);
    return differs;
}

/* ---- quantize ---- */

static void quantize_row(const struct op_desc *d, const union op_args *args, int m, float *row)
{
    ref_quantize_row(d, &args->quantize, m, row);
}

static int compare_forms(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_quantize *a = &t->args.quantize;
    const struct check_coded_output o = {t, TRIAL_SLOT(quantize, code), TRIAL_SLOT(quantize, q),
                                         a->ldc, a->K};
    return compare_rows(&o, a->M, quantize_row, text);
}

static int sums_differ(const struct trial *t, int64_t m, char text[CHECK_TEXT_BYTES])
{
    const struct qk_quantize *a = &t->args.quantize;
    const int8_t *code =
        (const int8_t *)trial_by_device(t, TRIAL_SLOT(quantize, code)) + m * a->ldc;
    const short *sum =
        (const short *)trial_by_device(t, TRIAL_SLOT(quantize, sum)) + m * (a->ldc / 16);
    for (int64_t i = 0; i < a->ldc / 16; i++) {
        int want = 0;
        for (int j = 0; j < 16; j++) want += code[16 * i + j];
        if (sum[i] == want) continue;
        snprintf(text, CHECK_TEXT_BYTES, "row %lld: sum %lld is %d, the codes add up to %d",
                 (long long)m, (long long)i, sum[i], want);
        return 1;
    }
    return 0;
}

/* i8 without form: blocks of 32 in order, and sums of 16. */
static int compare_blocks(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_quantize *a = &t->args.quantize;
    const union op_args args = trial_ref_args(t);
    const float *scale = trial_by_device(t, TRIAL_SLOT(quantize, scale));
    const int8_t *code = trial_by_device(t, TRIAL_SLOT(quantize, code));
    float *row = malloc((size_t)a->K * sizeof *row);
    int differs = !row;
    if (!row) snprintf(text, CHECK_TEXT_BYTES, "no memory for a row of %d values", a->K);
    for (int64_t i = 0; i < a->M * (a->ldc / 32) && !differs; i++) {
        const int64_t m = i / (a->ldc / 32), k = i % (a->ldc / 32) * 32;
        if (k == 0) ref_quantize_row(&t->desc, &args.quantize, (int)m, row);
        const struct check_coded c = {.type = ELEM_I8,
                                      .in_order = 1,
                                      .exact = t->bound.relative == 0,
                                      .value = row + k,
                                      .count = a->K - k < 32 ? a->K - k : 32,
                                      .padded = 32,
                                      .codes = code + m * a->ldc,
                                      .first = k,
                                      .scale = scale[i]};
        differs = check_coded_differs(&c, m, text) || (k == 0 && sums_differ(t, m, text));
    }
    free(row);
    return differs;
}

/* Where a block's largest has to be for a scale of 1. */
static float exact_top(const struct op_desc *d, int k)
{
    if (d->out == ELEM_E4M3) return 448;
    if (d->quant != QUANT_TOKEN_ZERO) return 127;
    return k == 0 ? 155 : -100;
}

static void set_exact(const struct trial *t, const struct check_case *c, void *x, struct extent e)
{
    const struct op_desc *d = &t->desc;
    const int step = d->quant == QUANT_NONE ? 32 : 128;
    for (int64_t i = 0; x && c->exact && i < e.rows * e.width; i++) {
        const int64_t m = i / e.width, k = i % e.width;
        const int is_top = k % step == 0 || (d->quant == QUANT_TOKEN_ZERO && k == 1);
        const float top = d->quant == QUANT_TOKEN_ZERO && e.width == 1 ? 255 : exact_top(d, (int)k);
        if (is_top && (k < 2 || d->quant == QUANT_NONE || d->quant == QUANT_BLOCK))
            elem_set(e.type, x, m * e.ld + k, top);
        if (d->quant == QUANT_NONE && k / 32 == 1) elem_set(e.type, x, m * e.ld + k, 0);
    }
}

static void add_blocks(struct trial *t, struct qk_quantize *a)
{
    a->ldc = (a->K + 31) / 32 * 32;
    const int64_t blocks = a->ldc / 32;
    const struct extent codes = {ELEM_I8, a->M, a->ldc, a->ldc, 1};
    const struct extent scales = {ELEM_F32, a->M, blocks, blocks, 1};
    const struct extent sums = {ELEM_F16, a->M, 2 * blocks, 2 * blocks, 1}; /* shorts are as wide */
    trial_out(t, TRIAL_SLOT(quantize, code), codes, TRIAL_CHECKED);
    trial_out(t, TRIAL_SLOT(quantize, scale), scales, TRIAL_CHECKED);
    trial_out(t, TRIAL_SLOT(quantize, sum), sums, TRIAL_CHECKED);
    t->compare = compare_blocks;
}

static qrt_status build_quantize(struct trial *t, const struct check_case *c,
                                 enum layout_family family)
{
    (void)family;
    struct qk_quantize *a = &t->args.quantize;
    a->M = c->M;
    a->K = widths[c->shape];
    const struct extent e = check_rows(c, (enum elem_type)t->desc.act, a->K);
    void *x = check_in(t, c, TRIAL_SLOT(quantize, x), e, 1);
    a->ldx = e.ld;
    set_exact(t, c, x, e);
    if (!c->exact) vary_signs(e.type, x, e);
    if (t->desc.quant == QUANT_NONE) {
        add_blocks(t, a);
        return QRT_OK;
    }
    a->ldc =
        check_coded_out(t, c, TRIAL_SLOT(quantize, code), TRIAL_SLOT(quantize, q), &a->q, a->K);
    t->compare = compare_forms;
    return QRT_OK;
}

const struct check_op check_quantize = {build_quantize, width_work, WIDTHS, 1};

/* ---- rmsnorm ---- */

static const struct {
    int heads, K, in_place;
} norm_shapes[] = {
    {1, 40, 0}, {1, 576, 0}, {3, 64, 1}, {2, 33, 0}, {1, 1000, 1}, {1, 1, 0}, {1, 4100, 0},
};
enum { NORM_SHAPES = sizeof norm_shapes / sizeof *norm_shapes };

static int64_t norm_work(const struct op_desc *d, const struct check_case *c)
{
    (void)d;
    return (int64_t)c->M * norm_shapes[c->shape].heads * norm_shapes[c->shape].K;
}

static void norm_row(const struct op_desc *d, const union op_args *args, int m, float *row)
{
    ref_rmsnorm_row(d, &args->rmsnorm, m, 0, row);
}

static int compare_norm(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_rmsnorm *a = &t->args.rmsnorm;
    const struct check_coded_output o = {t, TRIAL_SLOT(rmsnorm, y), TRIAL_SLOT(rmsnorm, q), a->ldy,
                                         a->K};
    return compare_rows(&o, a->M, norm_row, text);
}

static qrt_status build_rmsnorm(struct trial *t, const struct check_case *c,
                                enum layout_family family)
{
    (void)family;
    struct qk_rmsnorm *a = &t->args.rmsnorm;
    const int is_coded = t->desc.quant != QUANT_NONE;
    a->M = c->M;
    a->heads = is_coded ? 1 : norm_shapes[c->shape].heads;
    a->K = norm_shapes[c->shape].K;
    a->eps = 1e-5f;
    const int64_t width = (int64_t)a->heads * a->K;
    check_in(t, c, TRIAL_SLOT(rmsnorm, w), check_flat(ELEM_F32, a->K), 1);
    const struct extent e = check_rows(c, (enum elem_type)t->desc.act, width);
    void *x = check_in(t, c, TRIAL_SLOT(rmsnorm, x), e, 1);
    vary_signs(e.type, x, e);
    a->ldx = a->ldy = e.ld;
    if (is_coded) {
        a->ldy = check_coded_out(t, c, TRIAL_SLOT(rmsnorm, y), TRIAL_SLOT(rmsnorm, q), &a->q, a->K);
        t->compare = compare_norm;
    } else if (norm_shapes[c->shape].in_place && t->desc.act == t->desc.out) {
        trial_also_at(t, TRIAL_SLOT(rmsnorm, y));
        trial_also_out(t, e, TRIAL_VALUES);
    } else {
        const struct extent y = check_rows(c, (enum elem_type)t->desc.out, width);
        trial_out(t, TRIAL_SLOT(rmsnorm, y), y, TRIAL_VALUES);
        a->ldy = y.ld;
    }
    return QRT_OK;
}

const struct check_op check_rmsnorm = {build_rmsnorm, norm_work, NORM_SHAPES, 0};

/* ---- glu, add, gather ---- */

static void glu_row(const struct op_desc *d, const union op_args *args, int m, float *row)
{
    ref_glu_row(d, &args->glu, m, row);
}

static int compare_glu(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_glu *a = &t->args.glu;
    const struct check_coded_output o = {t, TRIAL_SLOT(glu, y), TRIAL_SLOT(glu, q), a->ldy, a->K};
    return compare_rows(&o, a->M, glu_row, text);
}

static qrt_status build_glu(struct trial *t, const struct check_case *c, enum layout_family family)
{
    (void)family;
    struct qk_glu *a = &t->args.glu;
    a->M = c->M;
    a->K = widths[c->shape];
    const struct extent e = check_rows(c, (enum elem_type)t->desc.act, a->K);
    /* both where exp is tame and where not; once beyond the range of f16 */
    check_in(t, c, TRIAL_SLOT(glu, gate), e, c->shape % 2 ? 8 : 200);
    void *up = check_in(t, c, TRIAL_SLOT(glu, up), e, c->shape == 0 ? 1000 : 1);
    a->ldg = a->ldu = a->ldy = e.ld;
    if (t->desc.quant == QUANT_NONE) {
        trial_out(t, TRIAL_SLOT(glu, y), e, TRIAL_VALUES);
        return QRT_OK;
    }
    vary_signs(e.type, up, e);
    a->ldy = check_coded_out(t, c, TRIAL_SLOT(glu, y), TRIAL_SLOT(glu, q), &a->q, a->K);
    t->compare = compare_glu;
    return QRT_OK;
}

const struct check_op check_glu = {build_glu, width_work, WIDTHS, 0};

static qrt_status build_add(struct trial *t, const struct check_case *c, enum layout_family family)
{
    (void)family;
    struct qk_add *a = &t->args.add;
    a->M = c->M;
    a->K = widths[c->shape];
    const struct extent x = check_rows(c, ELEM_F32, a->K);
    const struct extent y = check_rows(c, (enum elem_type)t->desc.act, a->K);
    check_in(t, c, TRIAL_SLOT(add, x), x, 1);
    trial_also_out(t, x, TRIAL_VALUES);
    check_in(t, c, TRIAL_SLOT(add, y), y, 1);
    a->ldx = x.ld;
    a->ldy = y.ld;
    return QRT_OK;
}

const struct check_op check_add = {build_add, width_work, WIDTHS, 1};

/* Nothing is computed: both kinds of input must come out in every bit.  Random: some indices are
 * none. */
static qrt_status build_gather(struct trial *t, const struct check_case *c,
                               enum layout_family family)
{
    (void)family;
    struct qk_gather *a = &t->args.gather;
    a->M = c->M;
    a->K = widths[c->shape];
    uint64_t random = check_seed(t, c);
    int *index = trial_raw(t, TRIAL_SLOT(gather, index), (size_t)a->K * sizeof *index);
    for (int k = 0; index && k < a->K; k++)
        index[k] = check_int(&random, c->exact ? 0 : -1, c->exact ? a->K - 1 : a->K);
    const struct extent e = check_rows(c, (enum elem_type)t->desc.act, a->K);
    check_in(t, c, TRIAL_SLOT(gather, x), e, 1);
    trial_out(t, TRIAL_SLOT(gather, y), e, TRIAL_VALUES);
    a->ldx = a->ldy = e.ld;
    t->bound = (struct check_bound){0, 0};
    return QRT_OK;
}

const struct check_op check_gather = {build_gather, width_work, WIDTHS, 1};

/* ---- sample ---- */

static const struct {
    int N;
    float temperature, min_p;
} sample_shapes[] = {
    {50, 0, 0}, {1, 0.8f, 0.1f}, {1000, 0, 0.5f}, {577, 0.7f, 0}, {40000, 1.3f, 0.05f},
};
enum { SAMPLE_SHAPES = sizeof sample_shapes / sizeof *sample_shapes };

static int64_t sample_work(const struct op_desc *d, const struct check_case *c)
{
    (void)d;
    return (int64_t)c->M * sample_shapes[c->shape].N * 20; /* two logarithms for a token */
}

/* The same token, or one that ref finds as good within the noise of f32. */
static int compare_sample(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_sample *a = &t->args.sample;
    const int *got = trial_by_device(t, TRIAL_SLOT(sample, id));
    const int *ref = trial_by_ref(t, TRIAL_SLOT(sample, id));
    const float *logit = trial_by_ref(t, TRIAL_SLOT(sample, logit));
    for (int m = 0; m < a->M; m++) {
        if (got[m] == ref[m]) continue;
        const struct sample_rule rule = {a->temperature, a->min_p, a->seed,
                                         a->counter + (unsigned)m};
        const float *row = logit + m * a->ldl;
        const float max = sample_max(row, a->N);
        const int legal = a->temperature > 0 && got[m] >= 0 && got[m] < a->N;
        const double best = sample_score(&rule, row, max, ref[m]);
        const double score = legal ? sample_score(&rule, row, max, got[m]) : -INFINITY;
        if (best - score <= 1e-4) continue;
        snprintf(text, CHECK_TEXT_BYTES, "row %d: token %d of score %.9g, ref takes %d of %.9g", m,
                 got[m], score, ref[m], best);
        return 1;
    }
    return 0;
}

static qrt_status build_sample(struct trial *t, const struct check_case *c,
                               enum layout_family family)
{
    (void)family;
    struct qk_sample *a = &t->args.sample;
    a->M = c->M;
    a->N = sample_shapes[c->shape].N;
    a->temperature = sample_shapes[c->shape].temperature;
    a->min_p = sample_shapes[c->shape].min_p;
    a->seed = check_seed(t, c);
    a->counter = 7;
    const struct extent logit = check_rows(c, ELEM_F32, a->N);
    /* Exact: integers, so that the largest is there many times and the first one has to win. */
    check_in(t, c, TRIAL_SLOT(sample, logit), logit, c->exact ? 1 : 6);
    a->ldl = logit.ld;
    const struct extent ids = {ELEM_F32, c->M, 1, 1, 1}; /* ints are as wide */
    trial_out(t, TRIAL_SLOT(sample, id), ids, TRIAL_CHECKED);
    t->compare = compare_sample;
    return QRT_OK;
}

const struct check_op check_sample = {build_sample, sample_work, SAMPLE_SHAPES, 1};
