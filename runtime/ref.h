/* ref.h -- the device `ref`: the plain-loop definition of every op
 *
 * Written to be read.  One function per op of kernel_abi.h, sums in double, one rounding at the
 * end; every other device is checked against these.  `row` is room for a row
 * (attention: for a score per position).
 *   ref.c            the device
 *   ref_linear.c     linear, reduce, embed
 *   ref_quantize.c   quantize, and how every quantized output is made
 *   ref_attention.c  rope, attention, combine
 *   ref_rows.c       rmsnorm, glu, add, gather, sample
 */
#ifndef QRT_REF_H
#define QRT_REF_H

#include "op.h"

typedef void ref_op(const struct op_desc *d, const union op_args *args, float *row);

ref_op ref_linear, ref_reduce, ref_embed;
ref_op ref_quantize;
ref_op ref_rope, ref_attention, ref_combine;
ref_op ref_rmsnorm, ref_glu, ref_add, ref_gather, ref_sample;

/* The values of row m before they are rounded to an output type or quantized, [K] f32. */
void ref_quantize_row(const struct op_desc *d, const struct qk_quantize *a, int m, float *row);
void ref_rmsnorm_row(const struct op_desc *d, const struct qk_rmsnorm *a, int m, int h, float *row);
void ref_glu_row(const struct op_desc *d, const struct qk_glu *a, int m, float *row);
/* [head]: head h of row m of k after its rotation / of v. */
void ref_rope_k(const struct op_desc *d, const struct qk_rope *a, int m, int h, float *head);
void ref_rope_v(const struct op_desc *d, const struct qk_rope *a, int m, int h, float *head);

/* Scale and zero point of `count` values; type i8 or e4m3.  A quotient is x / scale in f32. */
struct ref_scale {
    float scale;
    int zero;
};
struct ref_scale ref_scale_of(enum elem_type type, int has_zero, const float *x, int count);
/* The code of x; 0 (the zero point) where the scale is 0. */
void ref_put_code(enum elem_type type, int has_zero, struct ref_scale s, float x, void *code,
                  qk_i64 at);

/* Quantize row m, `row` [K], to codes[0 .. ld - 1] of a form of d->quant. */
void ref_put_row(const struct op_desc *d, const struct qk_quantized *q, int m, const float *row,
                 int K, void *codes, qk_i64 ld);

#endif
