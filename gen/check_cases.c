/* check_cases.c -- the shapes and inputs that each op is checked with
 *
 * One builder per op.  Small integers are the exact inputs: their products with exact weights, and
 * the sums of those, are representable.  Row lengths alternate between aligned and ragged ones.
 */
#include "check_cases.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check_weight.h"
#include "elem.h"
#include "error.h"
#include "sample.h"

/* ---- filling ---- */

/* Rows apart by a multiple of 32 values, as sessions have them, or by an odd number. */
static struct extent rows_of(const struct check_case *c, enum elem_type type, int64_t rows,
                             int64_t width)
{
    const int64_t ld = c->shape % 2 == 0 ? (width + 31) / 32 * 32 : width + 3;
    return (struct extent){type, rows, width, ld};
}

static float number(const struct check_case *c, uint64_t *random)
{
    return c->exact ? (float)check_int(random, -2, 2) : check_unit(random);
}

static void fill(const struct check_case *c, void *contents, struct extent e, float factor,
                 uint64_t *random)
{
    for (int64_t r = 0; contents && r < e.rows; r++)
        for (int64_t i = 0; i < e.width; i++)
            elem_set(e.type, contents, r * e.ld + i, factor * number(c, random));
}

static void *filled_in(struct trial *t, const struct check_case *c, size_t slot, struct extent e,
                       uint64_t *random)
{
    void *contents = trial_in(t, slot, e);
    fill(c, contents, e, 1, random);
    return contents;
}

static struct extent flat(enum elem_type type, int64_t count)
{
    return (struct extent){type, 1, count, count};
}

static void put_int(struct trial *t, size_t slot, int value)
{
    int *contents = trial_raw(t, slot, sizeof value);
    if (contents) *contents = value;
}

/* ---- linear, embed: with weights ---- */

/* Shapes of a weight; K of two-level schemes are multiples of 256. */
static const struct {
    int N, K, K_two_level;
} weight_shapes[] = {
    {17, 64, 256},   {16, 40, 256},    {1, 32, 256},  {33, 200, 512},
    {50, 576, 1280}, {131, 1000, 768}, {64, 37, 512}, {5, 1, 256},
};
enum { WEIGHT_SHAPES = sizeof weight_shapes / sizeof *weight_shapes };

static int is_two_level(const struct scheme *s)
{
    return !scheme_is_dense(s) && s->scale == SCALE_TWO_LEVEL;
}

/* Declare the sections of a random weight and pack it into them. */
static qrt_status add_weight(struct trial *t, const struct check_case *c, enum layout_family family,
                             struct qk_weight *w, size_t slot)
{
    const struct scheme *s = &t->desc.weight;
    const int N = weight_shapes[c->shape].N;
    const int K = is_two_level(s) ? weight_shapes[c->shape].K_two_level : weight_shapes[c->shape].K;
    const size_t slots[SECTION_COUNT] = {
        slot + offsetof(struct qk_weight, codes), slot + offsetof(struct qk_weight, scales),
        slot + offsetof(struct qk_weight, zeros), slot + offsetof(struct qk_weight, supers)};
    struct check_weight weight;
    size_t bytes[SECTION_COUNT];
    void *section[SECTION_COUNT] = {NULL};
    TRY(layout_bytes(family, s, N, K, bytes));
    TRY(check_weight_make(s, N, K, c->exact, c->seed, &weight));
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

/* int8 activations: any codes, scales and their sums, as the quantize op would leave them. */
static void add_quantized(struct trial *t, const struct check_case *c, uint64_t *random)
{
    struct qk_linear *a = &t->args.linear;
    const int64_t M = c->M, ld = (a->w.K + 31) / 32 * 32;
    const int most = c->exact ? 2 : 127;
    a->ldx = ld;
    int8_t *code = trial_in(t, TRIAL_SLOT(linear, x), (struct extent){ELEM_I8, M, ld, ld});
    float *scale = trial_in(t, TRIAL_SLOT(linear, x_scale), flat(ELEM_F32, M * ld / 32));
    short *sum = trial_raw(t, TRIAL_SLOT(linear, x_sum), (size_t)(M * ld / 16) * sizeof *sum);
    if (!code || !scale || !sum) return;
    for (int64_t i = 0; i < M * ld; i++) {
        code[i] = (int8_t)(i % ld < a->w.K ? check_int(random, -most, most) : 0);
        if (i % 16 == 0) sum[i / 16] = 0;
        sum[i / 16] = (short)(sum[i / 16] + code[i]);
        if (i % 32 == 0)
            scale[i / 32] =
                c->exact ? ldexpf(1, -check_int(random, 0, 1)) : (1.5f + check_unit(random)) / 127;
    }
}

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
    uint64_t random = c->seed + 1;
    struct qk_linear *a = &t->args.linear;
    TRY(add_weight(t, c, family, &a->w, TRIAL_SLOT(linear, w)));
    a->M = c->M;
    a->split = c->split;
    if (t->desc.act == ELEM_I8) {
        add_quantized(t, c, &random);
    } else {
        const struct extent x = rows_of(c, (enum elem_type)t->desc.act, c->M, a->w.K);
        filled_in(t, c, TRIAL_SLOT(linear, x), x, &random);
        a->ldx = x.ld;
    }
    const struct extent y = rows_of(c, (enum elem_type)t->desc.out, c->M, a->w.N);
    a->ldy = y.ld;
    if (c->split == 1) {
        trial_out(t, TRIAL_SLOT(linear, y), y);
        return QRT_OK;
    }
    trial_in(t, TRIAL_SLOT(linear, y), y);
    trial_out(t, TRIAL_SLOT(linear, partial), flat(ELEM_F32, (int64_t)c->split * c->M * a->w.N));
    t->compare = compare_split;
    return QRT_OK;
}

static qrt_status build_embed(struct trial *t, const struct check_case *c,
                              enum layout_family family)
{
    struct qk_embed *a = &t->args.embed;
    uint64_t random = c->seed + 1;
    TRY(add_weight(t, c, family, &a->w, TRIAL_SLOT(embed, w)));
    int *id = trial_raw(t, TRIAL_SLOT(embed, id), (size_t)c->M * sizeof *id);
    for (int m = 0; id && m < c->M; m++) id[m] = check_int(&random, -1, a->w.N); /* both ends out */
    const struct extent y = rows_of(c, ELEM_F32, c->M, a->w.K);
    trial_out(t, TRIAL_SLOT(embed, y), y);
    a->ldy = y.ld;
    a->scale = c->exact ? 4 : 1.7f;
    a->M = c->M;
    return QRT_OK;
}

/* ---- reduce, quantize ---- */

static const int widths[] = {40, 33, 576, 1000, 1};
enum { WIDTHS = sizeof widths / sizeof *widths };

static qrt_status build_reduce(struct trial *t, const struct check_case *c,
                               enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_reduce *a = &t->args.reduce;
    a->M = c->M;
    a->N = widths[c->shape];
    a->split = 2 + c->shape;
    filled_in(t, c, TRIAL_SLOT(reduce, partial), flat(ELEM_F32, (int64_t)a->split * a->M * a->N),
              &random);
    const struct extent y = rows_of(c, (enum elem_type)t->desc.out, c->M, a->N);
    trial_out(t, TRIAL_SLOT(reduce, y), y);
    a->ldy = y.ld;
    return QRT_OK;
}

static int quantize_wrong(const struct trial *t, int64_t row, int64_t block,
                          char text[CHECK_TEXT_BYTES])
{
    const struct qk_quantize *a = &t->args.quantize;
    const int64_t b = row * (a->ldc / 32) + block, at = row * a->ldc + block * 32;
    const int8_t *code = (const int8_t *)trial_by_device(t, TRIAL_SLOT(quantize, code)) + at;
    const int8_t *ref_code = (const int8_t *)trial_by_ref(t, TRIAL_SLOT(quantize, code)) + at;
    const float scale = ((const float *)trial_by_device(t, TRIAL_SLOT(quantize, scale)))[b];
    const float ref_scale = ((const float *)trial_by_ref(t, TRIAL_SLOT(quantize, scale)))[b];
    const short *sum = (const short *)trial_by_device(t, TRIAL_SLOT(quantize, sum)) + 2 * b;
    int sums[2] = {0}, most = 0;
    for (int i = 0; i < 32; i++) {
        const int difference =
            code[i] > ref_code[i] ? code[i] - ref_code[i] : ref_code[i] - code[i];
        if (difference > most) most = difference;
        sums[i / 16] += code[i];
    }
    /* A quotient beside a rounding boundary may fall either way. */
    const int allowed = t->bound.of_rms > 0;
    if (most <= allowed && fabsf(scale - ref_scale) <= (float)t->bound.relative * ref_scale &&
        sum[0] == sums[0] && sum[1] == sums[1])
        return 0;
    snprintf(
        text, CHECK_TEXT_BYTES,
        "row %lld block %lld: codes differ by %d, scale %.9g and ref %.9g, sums %d %d of codes "
        "that add up to %d %d",
        (long long)row, (long long)block, most, (double)scale, (double)ref_scale, sum[0], sum[1],
        sums[0], sums[1]);
    return 1;
}

static int compare_quantize(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_quantize *a = &t->args.quantize;
    for (int64_t row = 0; row < a->M; row++)
        for (int64_t block = 0; block < a->ldc / 32; block++)
            if (quantize_wrong(t, row, block, text)) return 1;
    return 0;
}

static qrt_status build_quantize(struct trial *t, const struct check_case *c,
                                 enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_quantize *a = &t->args.quantize;
    a->M = c->M;
    a->K = widths[c->shape];
    a->ldc = (a->K + 31) / 32 * 32;
    const struct extent x = rows_of(c, (enum elem_type)t->desc.act, c->M, a->K);
    void *contents = filled_in(t, c, TRIAL_SLOT(quantize, x), x, &random);
    a->ldx = x.ld;
    /* Exact: the largest is 127, so that the scale is 1.  One block of zeros. */
    for (int64_t i = 0; contents && i < c->M * (int64_t)a->K; i++) {
        const int64_t m = i / a->K, k = i % a->K;
        if (c->exact && k % 32 == 0) elem_set(x.type, contents, m * x.ld + k, 127);
        if (k / 32 == 1) elem_set(x.type, contents, m * x.ld + k, 0);
    }
    const int64_t blocks = c->M * a->ldc / 32;
    trial_out(t, TRIAL_SLOT(quantize, code), flat(ELEM_I8, c->M * a->ldc));
    trial_out(t, TRIAL_SLOT(quantize, scale), flat(ELEM_F32, blocks));
    trial_raw(t, TRIAL_SLOT(quantize, sum), (size_t)blocks * 2 * sizeof(short));
    trial_also_out(t, flat(ELEM_F16, blocks * 2)); /* as pairs of bytes: compared above */
    t->compare = compare_quantize;
    return QRT_OK;
}

/* ---- rmsnorm, rope, attention ---- */

static const struct {
    int heads, K, in_place;
} norm_shapes[] = {
    {1, 40, 0}, {1, 576, 0}, {3, 64, 1}, {2, 33, 0}, {1, 1000, 1}, {1, 1, 0},
};
enum { NORM_SHAPES = sizeof norm_shapes / sizeof *norm_shapes };

static qrt_status build_rmsnorm(struct trial *t, const struct check_case *c,
                                enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_rmsnorm *a = &t->args.rmsnorm;
    a->M = c->M;
    a->heads = norm_shapes[c->shape].heads;
    a->K = norm_shapes[c->shape].K;
    a->eps = 1e-5f;
    const int64_t width = (int64_t)a->heads * a->K;
    const struct extent x = rows_of(c, (enum elem_type)t->desc.act, c->M, width);
    filled_in(t, c, TRIAL_SLOT(rmsnorm, x), x, &random);
    a->ldx = a->ldy = x.ld;
    if (norm_shapes[c->shape].in_place && t->desc.act == t->desc.out) {
        trial_also_at(t, TRIAL_SLOT(rmsnorm, y));
        trial_also_out(t, x);
    } else {
        const struct extent y = rows_of(c, (enum elem_type)t->desc.out, c->M, width);
        trial_out(t, TRIAL_SLOT(rmsnorm, y), y);
        a->ldy = y.ld;
    }
    filled_in(t, c, TRIAL_SLOT(rmsnorm, w), flat(ELEM_F32, a->K), &random);
    return QRT_OK;
}

static const struct {
    int heads, kv_heads, position, window;
} head_shapes[] = {
    {4, 2, 5, 0}, {3, 1, 0, 0}, {9, 3, 41, 7}, {2, 2, 130, 0}, {1, 1, 63, 64},
};
enum { HEAD_SHAPES = sizeof head_shapes / sizeof *head_shapes };

/* The cache [kv_heads, context, head]: what lies at and behind `first` is large, to be seen. */
static void add_cache(struct trial *t, const struct check_case *c, size_t slot, int kv_heads,
                      int context, int first, uint64_t *random)
{
    const struct extent e = {(enum elem_type)t->desc.kv, (int64_t)kv_heads * context, t->desc.head,
                             t->desc.head};
    void *contents = filled_in(t, c, slot, e, random);
    for (int64_t i = 0; contents && i < e.rows * e.width; i++)
        if (i / e.width % context >= first) elem_set(e.type, contents, i, 1e4f);
}

static qrt_status build_rope(struct trial *t, const struct check_case *c, enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_rope *a = &t->args.rope;
    const enum elem_type act = (enum elem_type)t->desc.act;
    const int position = head_shapes[c->shape].position;
    a->M = c->M;
    a->heads = head_shapes[c->shape].heads;
    a->kv_heads = head_shapes[c->shape].kv_heads;
    a->head = t->desc.head;
    a->rotary = c->shape == 1 && a->head % 4 == 0 ? a->head / 2 : a->head;
    a->context = position + c->M + 3;
    const struct extent q = rows_of(c, act, c->M, (int64_t)a->heads * a->head);
    const struct extent kv = rows_of(c, act, c->M, (int64_t)a->kv_heads * a->head);
    filled_in(t, c, TRIAL_SLOT(rope, q), q, &random);
    trial_also_out(t, q);
    filled_in(t, c, TRIAL_SLOT(rope, k), kv, &random);
    filled_in(t, c, TRIAL_SLOT(rope, v), kv, &random);
    a->ldq = q.ld;
    a->ldk = a->ldv = kv.ld;
    const struct extent cache = {(enum elem_type)t->desc.kv, (int64_t)a->kv_heads * a->context,
                                 a->head, a->head};
    add_cache(t, c, TRIAL_SLOT(rope, k_cache), a->kv_heads, a->context, position, &random);
    trial_also_out(t, cache);
    add_cache(t, c, TRIAL_SLOT(rope, v_cache), a->kv_heads, a->context, position, &random);
    trial_also_out(t, cache);
    float *inv_freq = trial_in(t, TRIAL_SLOT(rope, inv_freq), flat(ELEM_F32, a->rotary / 2));
    for (int i = 0; inv_freq && i < a->rotary / 2; i++) /* exact: no rotation */
        inv_freq[i] = c->exact ? 0 : powf(10000.0f, -2.0f * (float)i / (float)a->rotary);
    put_int(t, TRIAL_SLOT(rope, position), position);
    return QRT_OK;
}

static qrt_status build_attention(struct trial *t, const struct check_case *c,
                                  enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_attention *a = &t->args.attention;
    const enum elem_type act = (enum elem_type)t->desc.act;
    const int position = head_shapes[c->shape].position;
    a->M = c->M;
    a->heads = head_shapes[c->shape].heads;
    a->kv_heads = head_shapes[c->shape].kv_heads;
    a->head = t->desc.head;
    a->context = position + c->M + 3;
    a->window = c->exact ? 1 : head_shapes[c->shape].window; /* exact: one position, y = v */
    a->split = 1;
    a->scale = 2 / sqrtf((float)a->head);
    const struct extent q = rows_of(c, act, c->M, (int64_t)a->heads * a->head);
    filled_in(t, c, TRIAL_SLOT(attention, q), q, &random);
    add_cache(t, c, TRIAL_SLOT(attention, k_cache), a->kv_heads, a->context, position + c->M,
              &random);
    add_cache(t, c, TRIAL_SLOT(attention, v_cache), a->kv_heads, a->context, position + c->M,
              &random);
    trial_out(t, TRIAL_SLOT(attention, y), q);
    a->ldq = a->ldy = q.ld;
    put_int(t, TRIAL_SLOT(attention, position), position);
    return QRT_OK;
}

/* ---- glu, add, sample ---- */

static qrt_status build_glu(struct trial *t, const struct check_case *c, enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_glu *a = &t->args.glu;
    a->M = c->M;
    a->K = widths[c->shape];
    const struct extent e = rows_of(c, (enum elem_type)t->desc.act, c->M, a->K);
    void *gate = trial_in(t, TRIAL_SLOT(glu, gate), e);
    fill(c, gate, e, c->shape % 2 ? 8 : 200, &random); /* both where exp is tame and where not */
    filled_in(t, c, TRIAL_SLOT(glu, up), e, &random);
    trial_out(t, TRIAL_SLOT(glu, y), e);
    a->ldg = a->ldu = a->ldy = e.ld;
    return QRT_OK;
}

static qrt_status build_add(struct trial *t, const struct check_case *c, enum layout_family family)
{
    (void)family;
    uint64_t random = c->seed;
    struct qk_add *a = &t->args.add;
    a->M = c->M;
    a->K = widths[c->shape];
    const struct extent x = rows_of(c, ELEM_F32, c->M, a->K);
    const struct extent y = rows_of(c, (enum elem_type)t->desc.act, c->M, a->K);
    filled_in(t, c, TRIAL_SLOT(add, x), x, &random);
    trial_also_out(t, x);
    filled_in(t, c, TRIAL_SLOT(add, y), y, &random);
    a->ldx = x.ld;
    a->ldy = y.ld;
    return QRT_OK;
}

static const struct {
    int N;
    float temperature, min_p;
} sample_shapes[] = {
    {50, 0, 0}, {1, 0.8f, 0.1f}, {1000, 0, 0.5f}, {577, 0.7f, 0}, {40000, 1.3f, 0.05f},
};
enum { SAMPLE_SHAPES = sizeof sample_shapes / sizeof *sample_shapes };

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
    uint64_t random = c->seed;
    struct qk_sample *a = &t->args.sample;
    a->M = c->M;
    a->N = sample_shapes[c->shape].N;
    a->temperature = sample_shapes[c->shape].temperature;
    a->min_p = sample_shapes[c->shape].min_p;
    a->seed = c->seed;
    a->counter = 7;
    const struct extent logit = rows_of(c, ELEM_F32, c->M, a->N);
    /* Exact: integers, so that the largest is there many times and the first one has to win. */
    void *contents = trial_in(t, TRIAL_SLOT(sample, logit), logit);
    fill(c, contents, logit, c->exact ? 1 : 6, &random);
    a->ldl = logit.ld;
    trial_out(t, TRIAL_SLOT(sample, id), flat(ELEM_F32, c->M)); /* 4 bytes each: compared above */
    t->compare = compare_sample;
    return QRT_OK;
}

/* ---- by op ---- */

static const struct {
    qrt_status (*build)(struct trial *t, const struct check_case *c, enum layout_family family);
    int shapes, has_exact;
} ops[OP_COUNT] = {
    [OP_LINEAR] = {build_linear, WEIGHT_SHAPES, 1},
    [OP_REDUCE] = {build_reduce, WIDTHS, 1},
    [OP_QUANTIZE] = {build_quantize, WIDTHS, 1},
    [OP_EMBED] = {build_embed, WEIGHT_SHAPES, 1},
    [OP_RMSNORM] = {build_rmsnorm, NORM_SHAPES, 0},
    [OP_ROPE] = {build_rope, HEAD_SHAPES, 1},
    [OP_ATTENTION] = {build_attention, HEAD_SHAPES, 1},
    [OP_GLU] = {build_glu, WIDTHS, 0},
    [OP_ADD] = {build_add, WIDTHS, 1},
    [OP_SAMPLE] = {build_sample, SAMPLE_SHAPES, 1},
};

int check_shape_count(const struct op_desc *d) { return ops[d->op].shapes; }
int check_has_exact(const struct op_desc *d) { return ops[d->op].has_exact; }

/* What rounding to the output type costs, and what computing may: one row per op and input type,
 * relative to the rms of the outputs.  f16 and bf16 kernels may round weights or probabilities to
 * that type once.  Kernel and ref both round: beside a boundary they may land on neighbours, one
 * unit in the last place apart. */
struct check_bound check_bound(const struct op_desc *d)
{
    static const double computing[OP_COUNT][ELEM_COUNT] = {
        /*                 f32    f16    bf16   i8 */
        [OP_LINEAR] = {2e-5, 2e-3, 1.6e-2, 2e-5},
        [OP_REDUCE] = {1e-6, 1e-6, 1e-6, 0},
        [OP_QUANTIZE] = {1e-6, 1e-6, 1e-6, 0},
        [OP_EMBED] = {1e-6, 1e-6, 1e-6, 0},
        [OP_RMSNORM] = {5e-6, 5e-6, 5e-6, 0},
        [OP_ROPE] = {1e-5, 1e-5, 1e-5, 0},
        [OP_ATTENTION] = {2e-5, 2e-3, 1.6e-2, 0},
        [OP_GLU] = {1e-5, 1e-5, 1e-5, 0},
        [OP_ADD] = {0, 0, 0, 0},
        [OP_SAMPLE] = {0, 0, 0, 0},
    };
    static const double rounding[ELEM_COUNT] = {0x1p-23, 0x1.01p-10, 0x1.01p-7,
                                                0x1p-22 /* scales */};
    /* rope and attention write their input's type, and the cache's */
    const enum elem_type writes[] = {(enum elem_type)d->out, (enum elem_type)d->act,
                                     (enum elem_type)d->kv};
    const int count = d->op == OP_ROPE ? 3 : d->op == OP_ATTENTION || d->op == OP_GLU ? 2 : 1;
    struct check_bound bound = {.of_rms = computing[d->op][d->act]};
    for (int i = 0; i < count; i++)
        if (rounding[writes[i]] > bound.relative) bound.relative = rounding[writes[i]];
    return bound;
}

/* Whether weights that are exact in f32 are not in the type that a kernel multiplies in. */
static int rounds_exact(const struct op_desc *d)
{
    return d->op == OP_LINEAR && d->act == ELEM_BF16 && !scheme_is_dense(&d->weight) &&
           d->weight.bits > 7; /* differences of 8-bit codes have 9 bits, bf16 has 8 */
}

/* "M=3 N=17 K=64 split=3 exact (shape 0)": the sizes that are not 1. */
static void name_case(struct trial *t, const struct check_case *c)
{
    size_t length = 0;
    for (int dim = DIM_M; dim < DIM_COUNT; dim++) {
        const int size = op_dim((enum op)t->desc.op, &t->args, (enum dim)dim);
        if (size == 1 && dim != DIM_M) continue;
        length += (size_t)snprintf(t->name + length, sizeof t->name - length, "%s=%d ",
                                   dim_name((enum dim)dim), size);
    }
    snprintf(t->name + length, sizeof t->name - length, "%s (shape %d)",
             c->exact ? "exact" : "random", c->shape);
}

qrt_status check_build(const struct op_desc *d, const struct check_case *c,
                       enum layout_family family, struct trial *t)
{
    *t = (struct trial){.desc = *d, .bound = check_bound(d)};
    if (c->exact && !rounds_exact(d)) t->bound = (struct check_bound){0, 0};
    const qrt_status status = ops[d->op].build(t, c, family);
    name_case(t, c);
    return status;
}
