/* ref.c -- the device `ref`: the plain-loop definition of every op
 *
 * Written to be read.  One function per op of kernel_abi.h, sums in double, one rounding at the
 * end; every other device is checked against these.  One thread; calls take turns on the row
 * buffer.
 */
#include <math.h>
#include <string.h>

#include "elem.h"
#include "error.h"
#include "host.h"
#include "layout.h"
#include "rt.h"
#include "sample.h"

struct ref {
    float *row; /* one row of weights, or the scores of one attention row: grows to the longest */
    size_t row_floats;
};

/* ---- linear, reduce, quantize, embed ---- */

/* x[m, k], whichever form it has. */
static double input_at(const struct qk_linear *a, enum elem_type act, int m, int k)
{
    const double x = elem_get(act, a->x, m * a->ldx + k);
    return act == ELEM_I8 ? x * a->x_scale[m * (a->ldx / 32) + k / 32] : x;
}

static void ref_linear(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_linear *a = &args->linear;
    for (int n = 0; n < a->w.N; n++) {
        layout_dequant_row((enum layout_family)a->w.family, &d->weight, &a->w, n, row);
        for (int m = 0; m < a->M; m++) {
            double sum = 0;
            for (int k = 0; k < a->w.K; k++) sum += input_at(a, d->act, m, k) * row[k];
            elem_set(d->out, a->y, m * a->ldy + n, (float)sum);
        }
    }
}

static void ref_reduce(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_reduce *a = &args->reduce;
    for (int m = 0; m < a->M; m++)
        for (int n = 0; n < a->N; n++) {
            float sum = 0; /* in the order and precision that the op promises */
            for (int s = 0; s < a->split; s++) sum += a->partial[((qk_i64)s * a->M + m) * a->N + n];
            elem_set(d->out, a->y, m * a->ldy + n, sum);
        }
}

/* -127 .. 127 also where a denormal scale makes the quotient larger; NaN gives -127. */
static int quantize_code(float x, float scale)
{
    const float q = scale > 0 ? rintf(x / scale) : 0;
    return q > 127 ? 127 : q > -127 ? (int)q : -127;
}

static void quantize_block(const struct op_desc *d, const struct qk_quantize *a, int m, int block)
{
    const int k0 = block * 32, count = a->K - k0 < 32 ? (a->K > k0 ? a->K - k0 : 0) : 32;
    float max = 0;
    for (int i = 0; i < count; i++)
        max = fmaxf(max, fabsf(elem_get(d->act, a->x, m * a->ldx + k0 + i)));
    const float scale = max / 127;
    a->scale[m * (a->ldc / 32) + block] = scale;
    short *sum = a->sum + m * (a->ldc / 16) + block * 2;
    sum[0] = sum[1] = 0;
    for (int i = 0; i < 32; i++) {
        const float x = i < count ? elem_get(d->act, a->x, m * a->ldx + k0 + i) : 0;
        const int code = quantize_code(x, scale);
        a->code[m * a->ldc + k0 + i] = (signed char)code;
        sum[i / 16] = (short)(sum[i / 16] + code);
    }
}

static void ref_quantize(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_quantize *a = &args->quantize;
    for (int m = 0; m < a->M; m++)
        for (int block = 0; block < a->ldc / 32; block++) quantize_block(d, a, m, block);
}

static void ref_embed(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_embed *a = &args->embed;
    for (int m = 0; m < a->M; m++) {
        const int id = a->id[m];
        if (id >= 0 && id < a->w.N)
            layout_dequant_row((enum layout_family)a->w.family, &d->weight, &a->w, id, row);
        else
            memset(row, 0, (size_t)a->w.K * sizeof *row);
        for (int k = 0; k < a->w.K; k++) a->y[m * a->ldy + k] = a->scale * row[k];
    }
}

/* ---- rmsnorm, rope, attention ---- */

static void ref_rmsnorm(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_rmsnorm *a = &args->rmsnorm;
    for (int m = 0; m < a->M; m++)
        for (int h = 0; h < a->heads; h++) {
            const qk_i64 x0 = m * a->ldx + (qk_i64)h * a->K, y0 = m * a->ldy + (qk_i64)h * a->K;
            double squares = 0;
            for (int k = 0; k < a->K; k++) {
                const double x = elem_get(d->act, a->x, x0 + k);
                squares += x * x;
            }
            const double factor = 1 / sqrt(squares / a->K + (double)a->eps);
            for (int k = 0; k < a->K; k++) {
                const double x = elem_get(d->act, a->x, x0 + k);
                elem_set(d->out, a->y, y0 + k, (float)(x * factor * (double)a->w[k]));
            }
        }
}

/* Rotate the head at from[f0 ...] by position `pos` into to[t0 ...]; the two may be the same. */
static void rotate_head(const struct op_desc *d, const struct qk_rope *a, int pos, const void *from,
                        qk_i64 f0, enum elem_type to_type, void *to, qk_i64 t0)
{
    const int half = a->rotary / 2;
    for (int i = 0; i < half; i++) {
        const int first = d->kind == ROPE_PAIRS ? 2 * i : i;
        const int second = d->kind == ROPE_PAIRS ? 2 * i + 1 : i + half;
        const float angle = (float)pos * a->inv_freq[i]; /* rounded to f32: the kernels' angle */
        const double c = cos((double)angle), s = sin((double)angle);
        const double u = elem_get(d->act, from, f0 + first);
        const double v = elem_get(d->act, from, f0 + second);
        elem_set(to_type, to, t0 + first, (float)(u * c - v * s));
        elem_set(to_type, to, t0 + second, (float)(v * c + u * s));
    }
    for (int i = a->rotary; i < a->head; i++)
        elem_set(to_type, to, t0 + i, elem_get(d->act, from, f0 + i));
}

static void ref_rope(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_rope *a = &args->rope;
    for (int m = 0; m < a->M; m++) {
        const int pos = a->position[0] + m;
        for (int h = 0; h < a->heads; h++) {
            const qk_i64 q = m * a->ldq + (qk_i64)h * a->head;
            rotate_head(d, a, pos, a->q, q, d->act, a->q, q);
        }
        for (int h = 0; h < a->kv_heads; h++) {
            const qk_i64 cached = ((qk_i64)h * a->context + pos) * a->head;
            rotate_head(d, a, pos, a->k, m * a->ldk + (qk_i64)h * a->head, d->kv, a->k_cache,
                        cached);
            for (int i = 0; i < a->head; i++)
                elem_set(d->kv, a->v_cache, cached + i,
                         elem_get(d->act, a->v, m * a->ldv + (qk_i64)h * a->head + i));
        }
    }
}

/* share[p - first] = exp(scale * q . k[p] - the largest of these), for first <= p <= pos; returns
 * their sum. */
static double attention_shares(const struct op_desc *d, const struct qk_attention *a, qk_i64 q,
                               qk_i64 cache, int first, int pos, float *share)
{
    float max = -INFINITY;
    for (int p = first; p <= pos; p++) {
        double dot = 0;
        for (int i = 0; i < a->head; i++)
            dot += (double)elem_get(d->act, a->q, q + i) *
                   (double)elem_get(d->kv, a->k_cache, cache + (qk_i64)p * a->head + i);
        share[p - first] = (float)(dot * (double)a->scale);
        max = fmaxf(max, share[p - first]);
    }
    double total = 0;
    for (int p = first; p <= pos; p++) total += share[p - first] = expf(share[p - first] - max);
    return total;
}

static void attention_row(const struct op_desc *d, const struct qk_attention *a, int m, int h,
                          float *share)
{
    const int pos = a->position[0] + m;
    const int first = a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0;
    const qk_i64 q = m * a->ldq + (qk_i64)h * a->head;
    const qk_i64 y = m * a->ldy + (qk_i64)h * a->head;
    const qk_i64 cache = (qk_i64)(h / (a->heads / a->kv_heads)) * a->context * a->head;
    const double total = attention_shares(d, a, q, cache, first, pos, share);
    for (int i = 0; i < a->head; i++) {
        double sum = 0;
        for (int p = first; p <= pos; p++)
            sum += (double)share[p - first] *
                   (double)elem_get(d->kv, a->v_cache, cache + (qk_i64)p * a->head + i);
        elem_set(d->act, a->y, y + i, (float)(sum / total));
    }
}

static void ref_attention(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_attention *a = &args->attention;
    for (int m = 0; m < a->M; m++)
        for (int h = 0; h < a->heads; h++) attention_row(d, a, m, h, row);
}

/* ---- glu, add, sample ---- */

static double silu(double x) { return x / (1 + exp(-x)); }

static double gelu_tanh(double x)
{
    const double inner = 0.7978845608028654 /* sqrt(2 / pi) */ * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1 + tanh(inner));
}

static void ref_glu(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_glu *a = &args->glu;
    for (int m = 0; m < a->M; m++)
        for (int k = 0; k < a->K; k++) {
            const double gate = elem_get(d->act, a->gate, m * a->ldg + k);
            const double up = elem_get(d->act, a->up, m * a->ldu + k);
            const double f = d->kind == GLU_SILU ? silu(gate) : gelu_tanh(gate);
            elem_set(d->act, a->y, m * a->ldy + k, (float)(f * up));
        }
}

static void ref_add(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_add *a = &args->add;
    for (int m = 0; m < a->M; m++)
        for (int k = 0; k < a->K; k++)
            a->x[m * a->ldx + k] += elem_get(d->act, a->y, m * a->ldy + k);
}

static void ref_sample(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)d;
    (void)row;
    const struct qk_sample *a = &args->sample;
    for (int m = 0; m < a->M; m++) {
        const struct sample_rule rule = {.temperature = a->temperature,
                                         .min_p = a->min_p,
                                         .seed = a->seed,
                                         .counter = a->counter + (unsigned)m};
        a->id[m] = sample_row(&rule, a->logit + m * a->ldl, a->N);
    }
}

/* ---- the device ---- */

static void (*const definition[OP_COUNT])(const struct op_desc *, const union op_args *,
                                          float *row) = {
    [OP_LINEAR] = ref_linear,       [OP_REDUCE] = ref_reduce,   [OP_QUANTIZE] = ref_quantize,
    [OP_EMBED] = ref_embed,         [OP_RMSNORM] = ref_rmsnorm, [OP_ROPE] = ref_rope,
    [OP_ATTENTION] = ref_attention, [OP_GLU] = ref_glu,         [OP_ADD] = ref_add,
    [OP_SAMPLE] = ref_sample,
};

/* Floats of the row buffer that the op needs. */
static size_t row_floats(const struct op_desc *d, const union op_args *args)
{
    switch (d->op) {
    case OP_LINEAR: return (size_t)args->linear.w.K;
    case OP_EMBED: return (size_t)args->embed.w.K;
    case OP_ATTENTION: return (size_t)args->attention.context;
    default: return 0;
    }
}

static qrt_status grow_row(struct qrt_device *d, struct ref *ref, size_t floats)
{
    if (floats <= ref->row_floats) return QRT_OK;
    void *row;
    TRY(rt_alloc(d->rt, floats * sizeof(float), &row));
    rt_free(d->rt, ref->row);
    ref->row = row;
    ref->row_floats = floats;
    return QRT_OK;
}

static qrt_status ref_launch(struct qrt_device *d, const struct kernel *k,
                             const struct op_desc *desc, const union op_args *args)
{
    (void)k;
    struct ref *ref = d->impl;
    pthread_mutex_lock(&d->lock);
    const qrt_status status = grow_row(d, ref, row_floats(desc, args));
    if (status == QRT_OK) definition[desc->op](desc, args, ref->row);
    pthread_mutex_unlock(&d->lock);
    return status;
}

static qrt_status ref_load(struct qrt_device *d, const struct entry *e, struct kernel *k)
{
    (void)d;
    (void)k;
    return error_set(QRT_E_ARCH, "kernel %s is for %s; ref runs plain loops and takes no kernels",
                     e->record.symbol, e->record.arch);
}

static void ref_unload(struct qrt_device *d, struct kernel *k)
{
    (void)d;
    (void)k;
}

static qrt_status ref_open(struct qrt_device *d, int index)
{
    if (index != 0) return error_set(QRT_E_DEVICE, "ref:%d: there is one ref device", index);
    TRY(rt_alloc(d->rt, sizeof(struct ref), &d->impl));
    d->act = ELEM_F32;
    d->kv = ELEM_F32;
    d->info = (qrt_device_info){.processors = 1, .memory_bytes = host_memory_bytes()};
    memcpy(d->info.name, "plain loops", sizeof "plain loops");
    return QRT_OK;
}

static void ref_close(struct qrt_device *d)
{
    struct ref *ref = d->impl;
    if (ref) rt_free(d->rt, ref->row);
    rt_free(d->rt, ref);
}

const struct device_ops ref_device = {
    .kind = "ref",
    .open = ref_open,
    .close = ref_close,
    .alloc = host_alloc,
    .free = host_free,
    .place = host_place,
    .unplace = host_unplace,
    .upload = host_upload,
    .download = host_download,
    .load = ref_load,
    .unload = ref_unload,
    .launch = ref_launch,
    .sync = host_sync,
};
