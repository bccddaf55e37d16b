/* ref_linear.c -- the ops with weights and what completes them: linear, reduce, embed */
#include <string.h>

#include "elem.h"
#include "layout.h"
#include "ref.h"

/* x[m, k], whichever form it has. */
static double input_at(const struct op_desc *d, const struct qk_linear *a, int m, int k)
{
    const enum elem_type act = (enum elem_type)d->act;
    if (d->quant == QUANT_NONE) {
        const double x = elem_get(act, a->x, m * a->ldx + k);
        return act == ELEM_I8 ? x * a->x_scale[m * (a->ldx / 32) + k / 32] : x;
    }
    const double code = elem_get(act, a->x, m * a->ldx + qk_code_index(k));
    const qk_i64 at = m * a->lds + (d->quant == QUANT_BLOCK ? k / 128 : 0);
    return a->x_scale[at] * (code - (d->quant == QUANT_TOKEN_ZERO ? a->x_zero[at] : 0));
}

void ref_linear(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_linear *a = &args->linear;
    for (int n = 0; n < a->w.N; n++) {
        layout_dequant_row((enum layout_family)a->w.family, &d->weight, &a->w, n, row);
        for (int m = 0; m < a->M; m++) {
            double sum = 0;
            for (int k = 0; k < a->w.K; k++) sum += input_at(d, a, m, k) * row[k];
            elem_set(d->out, a->y, m * a->ldy + n, (float)sum);
        }
    }
}

void ref_reduce(const struct op_desc *d, const union op_args *args, float *row)
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

void ref_embed(const struct op_desc *d, const union op_args *args, float *row)
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
