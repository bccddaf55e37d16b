/* check_attention.c -- cases of the ops around the KV cache: rope, attention, combine */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check_cases.h"
#include "check_coded.h"
#include "check_weight.h"
#include "elem.h"
#include "ref.h"

enum { MOST_ROWS = 160, MOST_HEAD = 1024 };

static const struct {
    int heads, kv_heads, position, window;
} head_shapes[] = {
    {4, 2, 5, 0},   {3, 1, 0, 0},   {9, 3, 41, 7}, {2, 2, 130, 0},
    {1, 1, 63, 64}, {8, 1, 300, 0}, {1, 1, 0, 0}, /* the last: many rows at little cost */
};
enum { HEAD_SHAPES = sizeof head_shapes / sizeof *head_shapes };

static int is_coded(const struct op_desc *d) { return d->kv == ELEM_I8 || d->kv == ELEM_E4M3; }

/* The same for every M, so that caches have the same rows. */
static int context_of(const struct check_case *c)
{
    const int rows = c->M > MOST_ROWS ? c->M : MOST_ROWS;
    return head_shapes[c->shape].position + rows + 3;
}

/* ---- caches ---- */

/* The cache [kv_heads, context, head]: what lies at and behind `first` is NaN, so that a product with
 * 0 gives it away; of i8, where there is none, the scale is. */
static void add_cache(struct trial *t, const struct check_case *c, size_t slot, int kv_heads,
                      int first)
{
    const enum elem_type type = (enum elem_type)t->desc.kv;
    const int context = context_of(c);
    const struct extent e = {type, (int64_t)kv_heads * context, t->desc.head, t->desc.head, 0};
    void *contents = check_in(t, c, slot, e, is_coded(&t->desc) && !c->exact ? 100 : 1);
    for (int64_t i = 0; contents && i < e.rows * e.width; i++)
        if (i / e.width % context >= first)
            elem_set(type, contents, i, type == ELEM_I8 ? 127 : NAN);
}

/* Scales of a coded cache: powers of two where exact, NaN behind `first`, zero now and then. */
static void add_scales(struct trial *t, const struct check_case *c, size_t slot, int kv_heads,
                       int first)
{
    if (!is_coded(&t->desc)) return;
    const int context = context_of(c);
    uint64_t random = check_seed(t, c);
    float *scale = trial_in(t, slot, check_flat(ELEM_F32, (int64_t)kv_heads * context));
    for (int i = 0; scale && i < kv_heads * context; i++) {
        scale[i] =
            c->exact ? ldexpf(1, -check_int(&random, 0, 2)) : (1.5f + check_unit(&random)) / 150;
        if (!c->exact && i % 11 == 10) scale[i] = 0;
        if (i % context >= first) scale[i] = NAN;
    }
}

/* ---- rope ---- */

static int64_t rope_work(const struct op_desc *d, const struct check_case *c)
{
    return (int64_t)c->M * (head_shapes[c->shape].heads + 2) * d->head;
}

/* One of the two coded caches. */
struct coded_cache {
    size_t cache, scale; /* slots */
    void (*head_of)(const struct op_desc *, const struct qk_rope *, int m, int h, float *head);
};

/* Rows that no position of the batch has must be as they were. */
static int is_untouched(const struct trial *t, const struct coded_cache *cache, int64_t slot,
                        char text[CHECK_TEXT_BYTES])
{
    const int64_t head = t->args.rope.head;
    const char *before = trial_start(t, cache->cache), *after = trial_by_device(t, cache->cache);
    const float *scale = trial_start(t, cache->scale),
                *scale_now = trial_by_device(t, cache->scale);
    if (memcmp(before + slot * head, after + slot * head, (size_t)head) == 0 &&
        memcmp(scale + slot, scale_now + slot, sizeof *scale) == 0)
        return 1;
    snprintf(text, CHECK_TEXT_BYTES, "row %lld of the cache is none of the batch, and was written",
             (long long)slot);
    return 0;
}

static int cache_differs(const struct trial *t, const struct coded_cache *cache,
                         char text[CHECK_TEXT_BYTES])
{
    const union op_args args = trial_ref_args(t);
    const struct qk_rope *a = &args.rope;
    const float *scale = trial_by_device(t, cache->scale);
    float value[MOST_HEAD];
    struct check_coded c = {.type = (enum elem_type)t->desc.kv,
                            .in_order = 1,
                            .exact = t->bound.relative == 0,
                            .bound = {.relative = 0x1p-22, .of_rms = t->bound.of_rms},
                            .value = value,
                            .count = a->head,
                            .padded = a->head};
    for (int64_t slot = 0; slot < (int64_t)a->kv_heads * a->context; slot++) {
        const int m = (int)(slot % a->context) - a->position[0];
        if (m < 0 || m >= a->M) {
            if (!is_untouched(t, cache, slot, text)) return 1;
            continue;
        }
        cache->head_of(&t->desc, a, m, (int)(slot / a->context), value);
        c.codes = (const char *)trial_by_device(t, cache->cache) + slot * a->head;
        c.scale = scale[slot];
        if (check_coded_differs(&c, slot, text)) return 1;
    }
    return 0;
}

static int compare_caches(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    static const struct coded_cache caches[] = {
        {TRIAL_SLOT(rope, k_cache), TRIAL_SLOT(rope, k_scale), ref_rope_k},
        {TRIAL_SLOT(rope, v_cache), TRIAL_SLOT(rope, v_scale), ref_rope_v},
    };
    return cache_differs(t, &caches[0], text) || cache_differs(t, &caches[1], text);
}

/* k or v.  Exact: the largest of each head gives a scale of 1; values that are stored as they are lie
 * beyond the range of f16 in one of the shapes. */
static void add_heads(struct trial *t, const struct check_case *c, size_t slot, struct extent e)
{
    const int is_large = c->exact && c->shape == 4 && !is_coded(&t->desc);
    void *contents = check_in(t, c, slot, e, is_large ? 40000 : 1);
    const float top = t->desc.kv == ELEM_I8 ? 127 : E4M3_MAX;
    for (int64_t i = 0; contents && is_coded(&t->desc) && i < e.rows * e.width; i += t->desc.head)
        if (c->exact) elem_set(e.type, contents, i / e.width * e.ld + i % e.width, top);
}

static void add_caches(struct trial *t, const struct check_case *c, const struct qk_rope *a)
{
    const enum trial_role role = is_coded(&t->desc) ? TRIAL_CHECKED : TRIAL_VALUES;
    const int position = head_shapes[c->shape].position;
    const struct extent cache = {(enum elem_type)t->desc.kv, (int64_t)a->kv_heads * a->context,
                                 a->head, a->head, 0};
    const struct extent scales = check_flat(ELEM_F32, (int64_t)a->kv_heads * a->context);
    add_cache(t, c, TRIAL_SLOT(rope, k_cache), a->kv_heads, position);
    trial_also_out(t, cache, role);
    add_cache(t, c, TRIAL_SLOT(rope, v_cache), a->kv_heads, position);
    trial_also_out(t, cache, role);
    if (!is_coded(&t->desc)) return;
    add_scales(t, c, TRIAL_SLOT(rope, k_scale), a->kv_heads, position);
    trial_also_out(t, scales, role);
    add_scales(t, c, TRIAL_SLOT(rope, v_scale), a->kv_heads, position);
    trial_also_out(t, scales, role);
    t->compare = compare_caches;
}

static qrt_status build_rope(struct trial *t, const struct check_case *c, enum layout_family family)
{
    (void)family;
    struct qk_rope *a = &t->args.rope;
    const enum elem_type act = (enum elem_type)t->desc.act;
    const int position = head_shapes[c->shape].position;
    a->M = c->M;
    a->heads = head_shapes[c->shape].heads;
    a->kv_heads = head_shapes[c->shape].kv_heads;
    a->head = t->desc.head;
    a->rotary = c->shape == 1 && a->head % 4 == 0 ? a->head / 2 : a->head;
    a->context = context_of(c);
    const struct extent q = check_rows(c, act, (int64_t)a->heads * a->head);
    const struct extent kv = check_rows(c, act, (int64_t)a->kv_heads * a->head);
    check_in(t, c, TRIAL_SLOT(rope, q), q, 1);
    trial_also_out(t, q, TRIAL_VALUES);
    add_heads(t, c, TRIAL_SLOT(rope, k), kv);
    add_heads(t, c, TRIAL_SLOT(rope, v), kv);
    a->ldq = q.ld;
    a->ldk = a->ldv = kv.ld;
    add_caches(t, c, a);
    float *inv_freq = trial_in(t, TRIAL_SLOT(rope, inv_freq), check_flat(ELEM_F32, a->rotary / 2));
    for (int i = 0; inv_freq && i < a->rotary / 2; i++) /* exact: no rotation */
        inv_freq[i] = c->exact ? 0 : powf(10000.0f, -2.0f * (float)i / (float)a->rotary);
    check_put_int(t, TRIAL_SLOT(rope, position), position);
    return QRT_OK;
}

const struct check_op check_rope = {build_rope, rope_work, HEAD_SHAPES, 1};

/* ---- attention ---- */

/* Products with k and with v, and as much again for all around them; a window may spare some, but not
 * every kernel. */
static int64_t attention_work(const struct op_desc *d, const struct check_case *c)
{
    const int64_t positions = head_shapes[c->shape].position + c->M;
    return 4 * positions * c->M * head_shapes[c->shape].heads * d->head;
}

/* Element i of a head, from the parts of a split attention: the rule of the op combine. */
static double combined(const float *part, const float *top, const float *sum, int split,
                       int64_t step, int64_t row, int head, int i)
{
    double most = -INFINITY, values = 0, total = 0;
    for (int s = 0; s < split; s++) most = fmax(most, top[row + s * step]);
    for (int s = 0; s < split; s++) {
        const double weight = exp2(top[row + s * step] - most);
        values += weight * part[(row + s * step) * head + i];
        total += weight * sum[row + s * step];
    }
    return values / total;
}

/* Where a kernel cuts its sums is its own affair: what counts is what they combine to. */
static int compare_parts(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    const struct qk_attention *a = &t->args.attention;
    const float *part[] = {trial_by_device(t, TRIAL_SLOT(attention, part)),
                           trial_by_ref(t, TRIAL_SLOT(attention, part))};
    const float *top[] = {trial_by_device(t, TRIAL_SLOT(attention, part_top)),
                          trial_by_ref(t, TRIAL_SLOT(attention, part_top))};
    const float *sum[] = {trial_by_device(t, TRIAL_SLOT(attention, part_sum)),
                          trial_by_ref(t, TRIAL_SLOT(attention, part_sum))};
    const int64_t rows = (int64_t)a->M * a->heads;
    double squares = 0, value[2];
    for (int64_t n = 0; n < rows * a->head; n++)
        squares += pow(combined(part[1], top[1], sum[1], a->split, rows, n / a->head, a->head,
                                (int)(n % a->head)),
                       2);
    const double rms = sqrt(squares / (double)(rows * a->head));
    for (int64_t n = 0; n < rows * a->head; n++) {
        for (int which = 0; which < 2; which++)
            value[which] = combined(part[which], top[which], sum[which], a->split, rows,
                                    n / a->head, a->head, (int)(n % a->head));
        if (fabs(value[0] - value[1]) <= t->bound.relative * fabs(value[1]) + t->bound.of_rms * rms)
            continue;
        snprintf(text, CHECK_TEXT_BYTES,
                 "row %lld head %lld element %lld: parts combine to %.9g, ref's to %.9g",
                 (long long)(n / a->head / a->heads), (long long)(n / a->head % a->heads),
                 (long long)(n % a->head), value[0], value[1]);
        return 1;
    }
    return 0;
}

static void add_parts(struct trial *t, const struct check_case *c, const struct qk_attention *a)
{
    const int64_t rows = (int64_t)c->split * c->M, width = (int64_t)a->heads * a->head;
    const struct extent part = {ELEM_F32, rows, width, width, c->split};
    const struct extent numbers = {ELEM_F32, rows, a->heads, a->heads, c->split};
    trial_out(t, TRIAL_SLOT(attention, part), part, TRIAL_CHECKED);
    trial_out(t, TRIAL_SLOT(attention, part_top), numbers, TRIAL_CHECKED);
    trial_out(t, TRIAL_SLOT(attention, part_sum), numbers, TRIAL_CHECKED);
    t->compare = compare_parts;
}

static qrt_status build_attention(struct trial *t, const struct check_case *c,
                                  enum layout_family family)
{
    (void)family;
    struct qk_attention *a = &t->args.attention;
    const int position = head_shapes[c->shape].position, end = position + c->M;
    a->M = c->M;
    a->heads = head_shapes[c->shape].heads;
    a->kv_heads = head_shapes[c->shape].kv_heads;
    a->head = t->desc.head;
    a->context = context_of(c);
    a->window = c->exact ? 1 : head_shapes[c->shape].window; /* exact: one position, y = v */
    a->split = c->split;
    a->scale = 2 / sqrtf((float)a->head);
    const struct extent q = check_rows(c, (enum elem_type)t->desc.act, (int64_t)a->heads * a->head);
    check_in(t, c, TRIAL_SLOT(attention, q), q, 1);
    add_cache(t, c, TRIAL_SLOT(attention, k_cache), a->kv_heads, end);
    add_cache(t, c, TRIAL_SLOT(attention, v_cache), a->kv_heads, end);
    add_scales(t, c, TRIAL_SLOT(attention, k_scale), a->kv_heads, end);
    add_scales(t, c, TRIAL_SLOT(attention, v_scale), a->kv_heads, end);
    trial_out(t, TRIAL_SLOT(attention, y), q, c->split == 1 ? TRIAL_VALUES : TRIAL_FIXED);
    if (c->split > 1) add_parts(t, c, a);
    a->ldq = a->ldy = q.ld;
    check_put_int(t, TRIAL_SLOT(attention, position), position);
    return QRT_OK;
}

const struct check_op check_attention = {build_attention, attention_work, HEAD_SHAPES, 1};

/* ---- combine ---- */

static const struct {
    int heads, split;
} combine_shapes[] = {{4, 2}, {3, 3}, {1, 8}, {9, 5}, {2, 32}};
enum { COMBINE_SHAPES = sizeof combine_shapes / sizeof *combine_shapes };

static int64_t combine_work(const struct op_desc *d, const struct check_case *c)
{
    return (int64_t)c->M * combine_shapes[c->shape].heads * combine_shapes[c->shape].split *
           d->head;
}

/* Parts of one row: exact, equal tops and two as the sum of all; random, some are empty, and tops so
 * large that 2^top is beyond f32. */
static void fill_row(const struct check_case *c, int s, int split, uint64_t *random, float *top,
                     float *sum)
{
    const int is_last = s == split - 1;
    *top = c->exact ? 3 : 300 + 20 * check_unit(random);
    *sum = c->exact ? (float)(s == 0) * 2 : 2.5f + check_unit(random);
    if (c->exact || is_last || check_int(random, 0, 3) > 0) return;
    *top = -INFINITY;
    *sum = 0;
}

static qrt_status build_combine(struct trial *t, const struct check_case *c,
                                enum layout_family family)
{
    (void)family;
    struct qk_combine *a = &t->args.combine;
    a->M = c->M;
    a->heads = combine_shapes[c->shape].heads;
    a->split = combine_shapes[c->shape].split;
    a->head = t->desc.head;
    const int64_t rows = (int64_t)a->split * a->M * a->heads;
    float *part =
        check_in(t, c, TRIAL_SLOT(combine, part), check_flat(ELEM_F32, rows * a->head), 1);
    uint64_t random = check_seed(t, c);
    float *top = trial_in(t, TRIAL_SLOT(combine, part_top), check_flat(ELEM_F32, rows));
    float *sum = trial_in(t, TRIAL_SLOT(combine, part_sum), check_flat(ELEM_F32, rows));
    for (int64_t i = 0; part && top && sum && i < rows; i++) {
        fill_row(c, (int)(i / (a->M * a->heads)), a->split, &random, &top[i], &sum[i]);
        if (sum[i] == 0 && !c->exact) memset(part + i * a->head, 0, (size_t)a->head * sizeof *part);
    }
    struct extent y = check_rows(c, (enum elem_type)t->desc.act, (int64_t)a->heads * a->head);
    y.sets = 0; /* parts of other M are others */
    trial_out(t, TRIAL_SLOT(combine, y), y, TRIAL_VALUES);
    a->ldy = y.ld;
    return QRT_OK;
}

const struct check_op check_combine = {build_combine, combine_work, COMBINE_SHAPES, 1};
