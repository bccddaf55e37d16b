/* ref_rows.c -- the ops on rows of activations: rmsnorm, glu, add, gather, sample */
#include <math.h>

#include "elem.h"
#include "ref.h"
#include "sample.h"

void ref_rmsnorm_row(const struct op_desc *d, const struct qk_rmsnorm *a, int m, int h, float *row)
{
    const qk_i64 x0 = m * a->ldx + (qk_i64)h * a->K;
    double squares = 0;
    for (int k = 0; k < a->K; k++) {
        const double x = elem_get(d->act, a->x, x0 + k);
        squares += x * x;
    }
    const double factor = 1 / sqrt(squares / a->K + (double)a->eps);
    for (int k = 0; k < a->K; k++)
        row[k] = (float)(elem_get(d->act, a->x, x0 + k) * factor * (double)a->w[k]);
}

void ref_rmsnorm(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_rmsnorm *a = &args->rmsnorm;
    for (int m = 0; m < a->M; m++)
        for (int h = 0; h < a->heads; h++) {
            ref_rmsnorm_row(d, a, m, h, row);
            if (d->quant != QUANT_NONE)
                ref_put_row(d, &a->q, m, row, a->K, (char *)a->y + m * a->ldy, a->ldy);
            for (int k = 0; d->quant == QUANT_NONE && k < a->K; k++)
                elem_set(d->out, a->y, m * a->ldy + (qk_i64)h * a->K + k, row[k]);
        }
}

static double silu(double x) { return x / (1 + exp(-x)); }

/* x (1 + tanh u) / 2, as x / (1 + e^-2u): that keeps the digits of small results. */
static double gelu_tanh(double x)
{
    const double u = 0.7978845608028654 /* sqrt(2 / pi) */ * (x + 0.044715 * x * x * x);
    return x / (1 + exp(-2 * u));
}

void ref_glu_row(const struct op_desc *d, const struct qk_glu *a, int m, float *row)
{
    for (int k = 0; k < a->K; k++) {
        const double gate = elem_get(d->act, a->gate, m * a->ldg + k);
        const double up = elem_get(d->act, a->up, m * a->ldu + k);
        row[k] = (float)((d->kind == GLU_SILU ? silu(gate) : gelu_tanh(gate)) * up);
    }
}

void ref_glu(const struct op_desc *d, const union op_args *args, float *row)
{
    const struct qk_glu *a = &args->glu;
    for (int m = 0; m < a->M; m++) {
        ref_glu_row(d, a, m, row);
        if (d->quant != QUANT_NONE)
            ref_put_row(d, &a->q, m, row, a->K, (char *)a->y + m * a->ldy, a->ldy);
        for (int k = 0; d->quant == QUANT_NONE && k < a->K; k++)
            elem_set(d->act, a->y, m * a->ldy + k, row[k]);
    }
}

void ref_add(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_add *a = &args->add;
    for (int m = 0; m < a->M; m++)
        for (int k = 0; k < a->K; k++)
            a->x[m * a->ldx + k] += elem_get(d->act, a->y, m * a->ldy + k);
}

void ref_gather(const struct op_desc *d, const union op_args *args, float *row)
{
    (void)row;
    const struct qk_gather *a = &args->gather;
    for (int m = 0; m < a->M; m++)
        for (int k = 0; k < a->K; k++) {
            const int from = a->index[k], there = from >= 0 && from < a->K;
            elem_set(d->act, a->y, m * a->ldy + k,
                     there ? elem_get(d->act, a->x, m * a->ldx + from) : 0);
        }
}

void ref_sample(const struct op_desc *d, const union op_args *args, float *row)
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
