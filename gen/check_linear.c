/* check_linear.c -- cases of the ops with weights and of what completes them: linear, embed, reduce */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check_cases.h"
#include "check_weight.h"
#include "elem.h"
#include "error.h"

/* ---- weights ---- */

/* Tails of every tile of rows (16 to 256) and chunk of columns (16 to 64), and rows long enough to
 * go round the stages of a pipeline.  K of two-level schemes are multiples of 256. */
static const struct {
    int N, K, K_two_level;
} weight_shapes[] = {
    {17, 64, 256},    {16, 40, 256}, {1, 32, 256}, {33, 200, 512},   {50, 576, 1280},
    {131, 1000, 768}, {64, 37, 512}, {5, 1, 256},  {16, 1088, 1792}, {260, 136, 256},
};
enum { WEIGHT_SHAPES = sizeof weight_shapes / sizeof *weight_shapes };

static int outputs_of(const struct check_case *c)
{
    return c->N ? c->N : weight_shapes[c->shape].N;
}

static int columns_of(const struct op_desc *d, const struct check_case *c)
{
    if (c->K) return c->K;
    const int two_level = !scheme_is_dense(&d->weight) && d->weight.scale == SCALE_TWO_LEVEL;
    return two_level ? weight_shapes[c->shape].K_two_level : weight_shapes[c->shape].K;
}

/* Declare the sections of a random weight and pack it into them. */
static qrt_status add_weight(struct trial *t, const struct check_case *c, enum layout_family family,
                             struct qk_weight *w, size_t slot)
{
    const struct scheme *s = &t->desc.weight;
    const int N = outputs_of(c), K = columns_of(&t->desc, c);
    const size_t slots[SECTION_COUNT] = {
        slot + offsetof(struct qk_weight, codes), slot + offsetof(struct qk_weight, scales),
        slot + offsetof(struct qk_weight, zeros), slot + offsetof(struct qk_weight, supers)};
    struct check_weight weight;
    size_t bytes[SECTION_COUNT];
    void *section[SECTION_COUNT] = {NULL};
    TRY(layout_bytes(family, s, N, K, bytes));
    TRY(check_weight_make(s, N, K, c->exact, check_seed(t, c), &weight));
    int have_all = 1;
    for (int i = 0; i < SECTION_COUNT; i++) {
        if (bytes[i] == 0) continue;
        section[i] = trial_raw(t, slots[i], bytes[i]);
        if (section[i]) memset(section[i], 0, bytes[i]);
        have_all = have_all && section[i];
    }
    if (have_all) check_weight_pack(&weight, family, section);
    check_weight_free(&weight);
    *w = (struct qk_weight){.N = N, .K = K, .G = scheme_groups(s, K), .family = (int)family};
    return QRT_OK;
}

static int64_t weight_work(const struct op_desc *d, const struct check_case *c)
{
    return (int64_t)c->M * outputs_of(c) * columns_of(d, c);
}

static int64_t embed_work(const struct op_desc *d, const struct check_case *c)
{
    return (int64_t)c->M * columns_of(d, c);
}

/* What x is multiplied by: in one of the exact shapes, many outputs lie beyond the range of f16. */
static float input_factor(const struct check_case *c)
{
    return c->exact && c->shape == 4 ? 1024 : 1;
}

/* ---- quantized activations ---- */

/* i8 without form: any codes, scales and their sums, as the quantize op would leave them. */
static void add_blocks(struct trial *t, const struct check_case *c)
{
    struct qk_linear *a = &t->args.linear;
    const int64_t M = c->M, ld = (a->w.K + 31) / 32 * 32;
    const int most = c->exact ? 2 : 127;
    uint64_t random = check_seed(t, c);
    a->ldx = ld;
    int8_t *code = trial_in(t, TRIAL_SLOT(linear, x), (struct extent){ELEM_I8, M, ld, ld, 1});
    float *scale = trial_in(t, TRIAL_SLOT(linear, x_scale), check_flat(ELEM_F32, M * ld / 32));
    short *sum = trial_raw(t, TRIAL_SLOT(linear, x_sum), (size_t)(M * ld / 16) * sizeof *sum);
    if (!code || !scale || !sum) return;
    for (int64_t i = 0; i < M * ld; i++) {
        code[i] = (int8_t)(i % ld < a->w.K ? check_int(&random, -most, most) : 0);
        if (i % 16 == 0) sum[i / 16] = 0;
        sum[i / 16] = (short)(sum[i / 16] + code[i]);
        if (i % 32 == 0)
            scale[i / 32] = c->exact ? ldexpf(input_factor(c), -check_int(&random, 0, 1))
                                     : (1.5f + check_unit(&random)) / 127;
    }
}

/* Scales (and zero points) of rows of codes; one for all (lds 0) in every third shape of a form that
 * may be static. */
static void add_row_scales(struct trial *t, const struct check_case *c)
{
    struct qk_linear *a = &t->args.linear;
    const int is_block = t->desc.quant == QUANT_BLOCK;
    const int is_static = !is_block && c->shape % 3 == 2;
    const int64_t rows = is_static ? 1 : c->M, width = is_block ? (a->w.K + 127) / 128 : 1;
    const int64_t lds = width + c->shape % 2 * 2;
    const float most = t->desc.act == ELEM_I8 ? 127 : E4M3_MAX;
    uint64_t random = check_seed(t, c);
    const struct extent e = {ELEM_F32, rows, width, lds, 0};
    float *scale = trial_in(t, TRIAL_SLOT(linear, x_scale), e);
    a->lds = is_static ? 0 : lds;
    for (int64_t i = 0; scale && i < rows * width; i++)
        scale[i / width * lds + i % width] =
            c->exact ? ldexpf(input_factor(c), -check_int(&random, 0, 1))
                     : (1.5f + check_unit(&random)) / most;
    if (t->desc.quant != QUANT_TOKEN_ZERO) return;
    random = check_seed(t, c);
    int *zero = trial_in(t, TRIAL_SLOT(linear, x_zero), e);
    for (int64_t m = 0; zero && m < rows; m++)
        zero[m * lds] = c->exact ? check_int(&random, -3, 3) : check_int(&random, -128, 127);
}

/* Codes of forms t, tz and b; rows may be longer than they need. */
static void add_coded(struct trial *t, const struct check_case *c)
{
    struct qk_linear *a = &t->args.linear;
    const enum elem_type type = (enum elem_type)t->desc.act;
    const int has_zero = t->desc.quant == QUANT_TOKEN_ZERO;
    add_row_scales(t, c);
    const int *zero = has_zero ? trial_start(t, TRIAL_SLOT(linear, x_zero)) : NULL;
    const int64_t ld = (a->w.K + 63) / 64 * 64 + c->shape % 2 * 64;
    uint64_t random = check_seed(t, c);
    void *codes = trial_in(t, TRIAL_SLOT(linear, x), (struct extent){type, c->M, ld, ld, 1});
    a->ldx = ld;
    for (int64_t i = 0; codes && i < c->M * ld; i++) {
        const int64_t m = i / ld, k = i % ld;
        const int middle = zero ? zero[m * a->lds] : 0;
        float code = (float)(middle + check_int(&random, -2, 2));
        if (!c->exact)
            code = type == ELEM_I8 ? (float)check_int(&random, has_zero ? -128 : -127, 127)
                                   : E4M3_MAX * check_unit(&random);
        elem_set(type, codes, m * ld + qk_code_index(k), k < a->w.K ? code : (float)middle);
    }
}

/* ---- linear ---- */

/* A split kernel leaves its parts in `partial`: their sum is compared with what ref has in y. */
static int compare_split(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_linear *a = &t->args.linear;
    const float *partial = trial_by_device(t, TRIAL_SLOT(linear, partial));
    const void *y = trial_by_ref(t, TRIAL_SLOT(linear, y));
    double squares = 0;
    for (int64_t i = 0; i < (int64_t)a->M * a->w.N; i++)
        squares += pow(elem_get(t->desc.out, y, i / a->w.N * a->ldy + i % a->w.N), 2);
    const double rms = sqrt(squares / ((double)a->M * a->w.N));
    for (int64_t i = 0; i < (int64_t)a->M * a->w.N; i++) {
        float sum = 0;
        for (int s = 0; s < a->split; s++) sum += partial[s * (int64_t)a->M * a->w.N + i];
        float got;
        elem_set(t->desc.out, &got, 0, sum);
        const double rounded = elem_get(t->desc.out, &got, 0);
        const double ref = elem_get(t->desc.out, y, i / a->w.N * a->ldy + i % a->w.N);
        if (fabs(rounded - ref) <= t->bound.relative * fabs(ref) + t->bound.of_rms * rms ||
            rounded == ref)
            continue;
        snprintf(text, CHECK_TEXT_BYTES, "the parts of value (%lld, %lld) add up to %.9g, not %.9g",
                 (long long)(i / a->w.N), (long long)(i % a->w.N), rounded, ref);
        return 1;
    }
    return 0;
}

static qrt_status build_linear(struct trial *t, const struct check_case *c,
                               enum layout_family family)
{
    struct qk_linear *a = &t->args.linear;
    TRY(add_weight(t, c, family, &a->w, TRIAL_SLOT(linear, w)));
    a->M = c->M;
    a->split = c->split;
    if (t->desc.quant != QUANT_NONE) {
        add_coded(t, c);
    } else if (t->desc.act == ELEM_I8) {
        add_blocks(t, c);
    } else {
        const struct extent x = check_rows(c, (enum elem_type)t->desc.act, a->w.K);
        check_in(t, c, TRIAL_SLOT(linear, x), x, input_factor(c));
        a->ldx = x.ld;
    }
    const struct extent y = check_rows(c, (enum elem_type)t->desc.out, a->w.N);
    a->ldy = y.ld;
    trial_out(t, TRIAL_SLOT(linear, y), y, c->split == 1 ? TRIAL_VALUES : TRIAL_FIXED);
    if (c->split == 1) return QRT_OK;
    const struct extent parts = {ELEM_F32, (int64_t)c->split * c->M, a->w.N, a->w.N, c->split};
    trial_out(t, TRIAL_SLOT(linear, partial), parts, TRIAL_CHECKED);
    t->compare = compare_split;
    return QRT_OK;
}

const struct check_op check_linear = {build_linear, weight_work, WEIGHT_SHAPES, 1};

/* ---- embed, reduce ---- */

static qrt_status build_embed(struct trial *t, const struct check_case *c,
                              enum layout_family family)
{
    struct qk_embed *a = &t->args.embed;
    TRY(add_weight(t, c, family, &a->w, TRIAL_SLOT(embed, w)));
    uint64_t random = check_seed(t, c);
    int *id = trial_raw(t, TRIAL_SLOT(embed, id), (size_t)c->M * sizeof *id);
    for (int m = 0; id && m < c->M; m++) id[m] = check_int(&random, -1, a->w.N); /* both ends out */
    const struct extent y = check_rows(c, ELEM_F32, a->w.K);
    trial_out(t, TRIAL_SLOT(embed, y), y, TRIAL_VALUES);
    a->ldy = y.ld;
    a->scale = c->exact ? 4 : 1.7f;
    a->M = c->M;
    return QRT_OK;
}

const struct check_op check_embed = {build_embed, embed_work, WEIGHT_SHAPES, 1};

static const int reduce_widths[] = {40, 33, 576, 1000, 1};
enum { REDUCE_SHAPES = sizeof reduce_widths / sizeof *reduce_widths };

static int64_t reduce_work(const struct op_desc *d, const struct check_case *c)
{
    (void)d;
    return (int64_t)c->M * reduce_widths[c->shape] * (2 + c->shape);
}

static qrt_status build_reduce(struct trial *t, const struct check_case *c,
                               enum layout_family family)
{
    (void)family;
    struct qk_reduce *a = &t->args.reduce;
    a->M = c->M;
    a->N = reduce_widths[c->shape];
    a->split = 2 + c->shape;
    check_in(t, c, TRIAL_SLOT(reduce, partial),
             check_flat(ELEM_F32, (int64_t)a->split * a->M * a->N), 1);
    struct extent y = check_rows(c, (enum elem_type)t->desc.out, a->N);
    y.sets = 0; /* parts of other M are others */
    trial_out(t, TRIAL_SLOT(reduce, y), y, TRIAL_VALUES);
    a->ldy = y.ld;
    return QRT_OK;
}

const struct check_op check_reduce = {build_reduce, reduce_work, REDUCE_SHAPES, 1};
