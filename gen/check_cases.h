/* check_cases.h -- the shapes and inputs that each op is checked with
 *
 * Small integers are the exact inputs: their products with exact weights, and the sums of those, are
 * representable.  Row lengths alternate between aligned and ragged ones.  Inputs do not depend on
 * M but for their number of rows, so that trials of one shape share rows.
 */
#ifndef QGEN_CHECK_CASES_H
#define QGEN_CHECK_CASES_H

#include "layout.h"
#include "trial.h"

/* What varies within the cases of an op. */
struct check_case {
    int M;
    int shape; /* index into the op's shapes */
    int exact;
    int split; /* linear, attention */
    int N, K;  /* linear, embed: of the weight; 0, 0: the shape's */
};

int check_shape_count(const struct op_desc *d);
/* Whether the op has inputs that leave nothing to rounding. */
int check_has_exact(const struct op_desc *d);
/* Multiply-adds, or values touched, of a case: what it costs on any device. */
int64_t check_work(const struct op_desc *d, const struct check_case *c);

/* Build the trial of a case.  QRT_E_SCHEME when the family has no layout for the scheme. */
qrt_status check_build(const struct op_desc *d, const struct check_case *c,
                       enum layout_family family, struct trial *t);

/* ---- for the files that build trials ---- */

/* One op: declares the buffers of a case and fills them. */
struct check_op {
    qrt_status (*build)(struct trial *t, const struct check_case *c, enum layout_family family);
    int64_t (*work)(const struct op_desc *d, const struct check_case *c);
    int shapes;
    int has_exact;
};
extern const struct check_op check_linear, check_embed, check_reduce;    /* check_linear.c */
extern const struct check_op check_quantize, check_rmsnorm, check_glu;   /* check_rows.c */
extern const struct check_op check_add, check_gather, check_sample;      /* check_rows.c */
extern const struct check_op check_rope, check_attention, check_combine; /* check_attention.c */

/* The seed of the buffer that is declared next. */
uint64_t check_seed(const struct trial *t, const struct check_case *c);

/* M rows apart by a multiple of 32 values, as sessions have them, or by an odd number. */
struct extent check_rows(const struct check_case *c, enum elem_type type, int64_t width);
/* `count` values that are no rows. */
struct extent check_flat(enum elem_type type, int64_t count);

/* Declare an input and fill its extent with numbers of -1 .. 1, or integers of -2 .. 2, times
 * `factor`.  NULL when there was no memory. */
void *check_in(struct trial *t, const struct check_case *c, size_t slot, struct extent e,
               float factor);
/* Declare an input of one int. */
void check_put_int(struct trial *t, size_t slot, int value);

/* Where a quantized output goes: offsets of the codes and of a struct qk_quantized in the op's
 * arguments.  Declares all its buffers; returns elements from row to row of the codes. */
int64_t check_coded_out(struct trial *t, const struct check_case *c, size_t codes, size_t quantized,
                        struct qk_quantized *q, int K);

#endif
