/* ref_attention.c -- the ops around the KV cache: rope, attention, combine */
#include <math.h>

#include "elem.h"
#include "ref.h"

#define LOG2_E 1.4426950408889634

static int is_coded(const struct op_desc *d) { return d->kv == ELEM_I8 || d->kv == ELEM_E4M3; }

/* ---- rope ---- */

/* Rotate the head at from[f0 ...] by position `pos`. */
static void rotate_head(const struct op_desc *d, const struct qk_rope *a, int pos, const void *from,
                        qk_i64 f0, float *to)
{
    const int half = a->rotary / 2;
    for (int i = 0; i < half; i++) {
        const int first = d->kind == ROPE_PAIRS ? 2 * i : i;
        const int second = d->kind == ROPE_PAIRS ? 2 * i + 1 : i + half;
        const float angle = (float)pos * a->inv_freq[i]; /* rounded to f32: the kernels' angle */
        const double c = cos((double)angle), s = sin((double)angle);
        const double u = elem_get(d->act, from, f0 + first);
        const double v = elem_get(d->act, from, f0 + second);
        to[first] = (float)(u * c - v * s);
        to[second] = (float)(v * c + u * s);
    }
    for (int i = a->rotary; i < a->head; i++) to[i] = elem_get(d->act, from, f0 + i);
}

void ref_rope_k(const struct op_desc *d, const struct qk_rope *a, int m, int h, float *head)
{
    rotate_head(d, a, a->position[0] + m, a->k, m * a->ldk + (qk_i64)h * a->head, head);
}

void ref_rope_v(const struct op_desc *d, const struct qk_rope *a, int m, int h, float *head)
{
    for (int i = 0; i < a->head; i++)
        head[i] = elem_get(d->act, a->v, m * a->ldv + (qk_i64)h * a->head + i);
}

static void put_head(enum elem_type type, int count, const float *head, void *to, qk_i64 at)
{
    for (int i = 0; i < count; i++) elem_set(type, to, at + i, head[i]);
}

/* Into row `slot` = kv head * context + position of a cache. */
static void put_cached(const struct op_desc *d, const struct qk_rope *a, const float *head,
                       void *cache, float *scales, qk_i64 slot)
{
    const enum elem_type type = (enum elem_type)d->kv;
    if (!is_coded(d)) {
        put_head(type, a->head, head, cache, slot * a->head);
        return;
    }
    const struct ref_scale s = ref_scale_of(type, 0, head, a->head);
    scales[slot] = s.scale;
    for (int i = 0; i < a->head; i++) ref_put_code(type, 0, s, head[i], cache, slot * a->head + i);
}

void ref_rope(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_rope *a = &args->rope;
    for (int m = 0; m < a->M; m++) {
        const int pos = a->position[0] + m;
        for (int h = 0; h < a->heads; h++) {
            const qk_i64 q = m * a->ldq + (qk_i64)h * a->head;
            rotate_head(d, a, pos, a->q, q, row);
            put_head((enum elem_type)d->act, a->head, row, a->q, q);
        }
        for (int h = 0; h < a->kv_heads; h++) {
            const qk_i64 slot = (qk_i64)h * a->context + pos;
            ref_rope_k(d, a, m, h, row);
            put_cached(d, a, row, a->k_cache, a->k_scale, slot);
            ref_rope_v(d, a, m, h, row);
            put_cached(d, a, row, a->v_cache, a->v_scale, slot);
        }
    }
}

/* ---- attention ---- */

/* One row and head; `slot` is where its kv head starts in caches and scales, in positions. */
struct query {
    const struct op_desc *d;
    const struct qk_attention *a;
    qk_i64 q, slot;
};

static double cached_at(const struct query *r, const void *cache, const float *scales, int p, int i)
{
    const qk_i64 row = r->slot + p;
    const double code = elem_get((enum elem_type)r->d->kv, cache, row * r->a->head + i);
    return is_coded(r->d) ? code * scales[row] : code;
}

/* share[p - first] = exp(score - top) for first <= p < end, score = scale * q . k[p] and top the
 * largest of them; their sum.  No positions: top -infinity, sum 0. */
static double attention_shares(const struct query *r, int first, int end, float *share, float *top)
{
    const struct qk_attention *a = r->a;
    *top = -INFINITY;
    for (int p = first; p < end; p++) {
        double dot = 0;
        for (int i = 0; i < a->head; i++)
            dot += (double)elem_get(r->d->act, a->q, r->q + i) *
                   cached_at(r, a->k_cache, a->k_scale, p, i);
        share[p - first] = (float)(dot * (double)a->scale);
        *top = fmaxf(*top, share[p - first]);
    }
    double total = 0;
    for (int p = first; p < end; p++) total += share[p - first] = expf(share[p - first] - *top);
    return total;
}

/* The sum of v weighed by shares, element i of the head. */
static double weighed(const struct query *r, int first, int end, const float *share, int i)
{
    double sum = 0;
    for (int p = first; p < end; p++)
        sum += (double)share[p - first] * cached_at(r, r->a->v_cache, r->a->v_scale, p, i);
    return sum;
}

static void attention_part(const struct query *r, int first, int end, qk_i64 part, float *share)
{
    const struct qk_attention *a = r->a;
    float top;
    a->part_sum[part] = (float)attention_shares(r, first, end, share, &top);
    a->part_top[part] = (float)(top * LOG2_E);
    for (int i = 0; i < a->head; i++)
        a->part[part * a->head + i] = (float)weighed(r, first, end, share, i);
}

static void attention_row(const struct op_desc *d, const struct qk_attention *a, int m, int h,
                          float *share)
{
    const int pos = a->position[0] + m;
    const int first = a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0;
    const struct query r = {d, a, m * a->ldq + (qk_i64)h * a->head,
                            (qk_i64)(h / (a->heads / a->kv_heads)) * a->context};
    if (a->split > 1) {
        const int run = (pos + 1 - first + a->split - 1) / a->split;
        for (int s = 0; s < a->split; s++) {
            const int from = first + s * run, end = from + run;
            attention_part(&r, from, end > pos + 1 ? pos + 1 : end,
                           ((qk_i64)s * a->M + m) * a->heads + h, share);
        }
        return;
    }
    float top;
    const double total = attention_shares(&r, first, pos + 1, share, &top);
    for (int i = 0; i < a->head; i++)
        elem_set(d->act, a->y, m * a->ldy + (qk_i64)h * a->head + i,
                 (float)(weighed(&r, first, pos + 1, share, i) / total));
}

void ref_attention(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_attention *a = &args->attention;
    for (int m = 0; m < a->M; m++)
        for (int h = 0; h < a->heads; h++) attention_row(d, a, m, h, row);
}

/* ---- combine ---- */

static void combine_head(const struct op_desc *d, const struct qk_combine *a, int m, int h)
{
    const qk_i64 step = (qk_i64)a->M * a->heads, first = (qk_i64)m * a->heads + h;
    double top = -INFINITY, total = 0;
    for (int s = 0; s < a->split; s++) top = fmax(top, a->part_top[first + s * step]);
    for (int s = 0; s < a->split; s++)
        total += exp2(a->part_top[first + s * step] - top) * a->part_sum[first + s * step];
    for (int i = 0; i < a->head; i++) {
        double sum = 0;
        for (int s = 0; s < a->split; s++)
            sum += exp2(a->part_top[first + s * step] - top) *
                   a->part[(first + s * step) * a->head + i];
        elem_set(d->act, a->y, m * a->ldy + (qk_i64)h * a->head + i, (float)(sum / total));
    }
}

void ref_combine(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_combine *a = &args->combine;
    for (int m = 0; m < a->M; m++)
        for (int h = 0; h < a->heads; h++) combine_head(d, a, m, h);
}
