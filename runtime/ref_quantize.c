/* ref_quantize.c -- how activations are quantized: the op quantize, and every quantized output */
#include <math.h>

#include "elem.h"
#include "ref.h"

enum { BLOCK_COLUMNS = 128 }; /* form b */

void ref_quantize_row(const struct op_desc *d, const struct qk_quantize *a, int m, float *row)
{
    for (int k = 0; k < a->K; k++) row[k] = elem_get(d->act, a->x, m * a->ldx + k);
}

/* ---- the forms t, tz and b ---- */

static struct ref_scale scale_with_zero(const float *x, int count)
{
    float min = 0, max = 0;
    for (int i = 0; i < count; i++) {
        min = fminf(min, x[i]);
        max = fmaxf(max, x[i]);
    }
    struct ref_scale s = {.scale = (max - min) / 255};
    if (s.scale > 0) s.zero = (int)fminf(fmaxf(rintf(-128 - min / s.scale), -128), 127);
    return s;
}

struct ref_scale ref_scale_of(enum elem_type type, int has_zero, const float *x, int count)
{
    if (has_zero) return scale_with_zero(x, count);
    float max = 0;
    for (int i = 0; i < count; i++) max = fmaxf(max, fabsf(x[i]));
    return (struct ref_scale){.scale = max / (type == ELEM_I8 ? 127 : E4M3_MAX)};
}

/* Clamped also where a denormal scale makes the quotient larger; NaN gives the smallest. */
static int int_code(float quotient, int least)
{
    const float q = rintf(quotient);
    return q > 127 ? 127 : q > (float)least ? (int)q : least;
}

void ref_put_code(enum elem_type type, int has_zero, struct ref_scale s, float x, void *code,
                  qk_i64 at)
{
    const float quotient = s.scale > 0 ? x / s.scale : 0;
    if (type == ELEM_I8)
        ((int8_t *)code)[at] = (int8_t)int_code(quotient + (float)s.zero, has_zero ? -128 : -127);
    else
        elem_set(type, code, at, quotient);
}

/* `count` values and what pads them to `padded` codes, column k0 on. */
static void put_codes(const struct op_desc *d, struct ref_scale s, const float *x, qk_i64 k0,
                      int count, qk_i64 padded, void *codes)
{
    for (int i = 0; i < padded; i++) /* 0 pads: its code is the zero point */
        ref_put_code((enum elem_type)d->out, d->quant == QUANT_TOKEN_ZERO, s, i < count ? x[i] : 0,
                     codes, qk_code_index(k0 + i));
}

static void put_blocks(const struct op_desc *d, const struct qk_quantized *q, int m,
                       const float *row, int K, void *codes, qk_i64 ld)
{
    for (qk_i64 k = 0; k < ld; k += BLOCK_COLUMNS) {
        const qk_i64 padded = ld - k < BLOCK_COLUMNS ? ld - k : BLOCK_COLUMNS;
        const int count = (int)(K - k < padded ? (K > k ? K - k : 0) : padded);
        const struct ref_scale s = ref_scale_of((enum elem_type)d->out, 0, row + k, count);
        if (count > 0) q->scale[m * q->lds + k / BLOCK_COLUMNS] = s.scale;
        put_codes(d, s, row + k, k, count, padded, codes);
    }
}

void ref_put_row(const struct op_desc *d, const struct qk_quantized *q, int m, const float *row,
                 int K, void *codes, qk_i64 ld)
{
    if (d->quant == QUANT_BLOCK) {
        put_blocks(d, q, m, row, K, codes, ld);
        return;
    }
    const int has_zero = d->quant == QUANT_TOKEN_ZERO;
    struct ref_scale s;
    if (q->static_scale) {
        s = (struct ref_scale){q->static_scale[0], has_zero ? q->static_zero[0] : 0};
    } else {
        s = ref_scale_of((enum elem_type)d->out, has_zero, row, K);
        q->scale[m * q->lds] = s.scale;
        if (has_zero) q->zero[m * q->lds] = s.zero;
    }
    put_codes(d, s, row, 0, K, ld, codes);
}

/* ---- i8 without form ---- */

static void quantize_block(const struct qk_quantize *a, int m, int block, const float *row)
{
    const int k0 = block * 32, count = a->K - k0 < 32 ? (a->K > k0 ? a->K - k0 : 0) : 32;
    const struct ref_scale s = ref_scale_of(ELEM_I8, 0, row + k0, count);
    a->scale[m * (a->ldc / 32) + block] = s.scale;
    signed char *code = a->code + m * a->ldc + k0;
    short *sum = a->sum + m * (a->ldc / 16) + block * 2;
    sum[0] = sum[1] = 0;
    for (int i = 0; i < 32; i++) {
        ref_put_code(ELEM_I8, 0, s, i < count ? row[k0 + i] : 0, code, i);
        sum[i / 16] = (short)(sum[i / 16] + code[i]);
    }
}

void ref_quantize(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_quantize *a = &args->quantize;
    for (int m = 0; m < a->M; m++) {
        ref_quantize_row(d, a, m, row);
        if (d->quant != QUANT_NONE)
            ref_put_row(d, &a->q, m, row, a->K, a->code + m * a->ldc, a->ldc);
        for (int block = 0; d->quant == QUANT_NONE && block < a->ldc / 32; block++)
            quantize_block(a, m, block, row);
    }
}
