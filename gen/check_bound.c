/* check_bound.c -- how far a result may lie from ref's, and why
 *
 * Two things cost precision.  Computing in f32: relative to the rms of the outputs, because sums
 * cancel.  Rounding to the output type: relative to the output itself; kernel and ref both round,
 * and beside a boundary they may land on neighbours, one unit in the last place apart.
 */
#include "check.h"

/* What computing costs: by op and type of the inputs.  Attention of f16 and bf16 may round
 * probabilities to that type once; linear has a table of its own. */
static const double computing[OP_COUNT][ELEM_COUNT] = {
    /*                  f32    f16    bf16 */
    [OP_REDUCE] = {1e-6, 1e-6, 1e-6},  [OP_QUANTIZE] = {0, 0, 0}, /* check_coded.h has the rule */
    [OP_EMBED] = {1e-6, 1e-6, 1e-6},   [OP_RMSNORM] = {5e-6, 5e-6, 5e-6},
    [OP_ROPE] = {1e-5, 1e-5, 1e-5},    [OP_ATTENTION] = {2e-5, 2e-3, 1.6e-2},
    [OP_COMBINE] = {5e-6, 5e-6, 5e-6}, [OP_GLU] = {1e-5, 1e-5, 1e-5},
};

/* The unit roundoff u of a type, twice: two roundings that part by one unit in the last place. */
static const double rounding[ELEM_COUNT] = {
    [ELEM_F32] = 0x1p-23,    [ELEM_F16] = 0x1.01p-10,
    [ELEM_BF16] = 0x1.01p-7, [ELEM_I8] = 0x1p-22, /* codes and scales: the f32 value behind them, */
    [ELEM_E4M3] = 0x1p-22,                        /* rounded twice */
};

/* What a linear costs beyond f32 sums.  Kernels multiply codes, which are exact in every type that
 * they meet, and bring scales to f32 sums; so there is one small bound, and these exceptions. */
struct linear_cost {
    double of_rms;  /* of the sum */
    double of_each; /* of one product: all that there is where K is 1 */
};

static struct linear_cost linear_cost(const struct op_desc *d)
{
    static const double sums = 2e-5; /* f32 sums of some thousand products, in any order */
    const enum elem_type act = (enum elem_type)d->act;
    const int is_half = act == ELEM_F16 || act == ELEM_BF16;
    const double u = act == ELEM_F16 ? 0x1p-11 : 0x1p-8;
    const int same = (d->weight.code == CODE_F16 && act == ELEM_F16) ||
                     (d->weight.code == CODE_BF16 && act == ELEM_BF16);
    /* Values become the activations' type, each with its own error of at most u: the sum is off by
     * 0.4 u of its rms, and the worst of many outputs by five times that. */
    if (is_half && (d->weight.code == CODE_NF4 || (scheme_is_dense(&d->weight) && !same)))
        return (struct linear_cost){sums + 2 * u, u};
    /* NF4 beside integers: the table as int8 codes, steps of 1 / 127, at most half of one off. */
    if (act == ELEM_I8 && d->weight.code == CODE_NF4)
        return (struct linear_cost){sums + 2 * 0x1p-8, 0x1p-8};
    /* FP8 tensor cores keep some 13 bits below the largest product of an instruction, and drop
     * the rest; kernels take the sums out after at most 128 columns. */
    if (act == ELEM_E4M3) return (struct linear_cost){1e-3, 0x1p-13};
    return (struct linear_cost){sums, 0};
}

struct check_bound check_bound(const struct op_desc *d)
{
    struct check_bound bound = {.of_rms = computing[d->op][d->act]};
    /* rope and attention write their input's type, and the cache's */
    const enum elem_type writes[] = {(enum elem_type)d->out, (enum elem_type)d->act,
                                     (enum elem_type)d->kv};
    const int is_kept = d->op == OP_ATTENTION || d->op == OP_COMBINE || d->op == OP_ADD ||
                        (d->op == OP_GLU && d->quant == QUANT_NONE);
    const int count = d->op == OP_ROPE ? 3 : is_kept ? 2 : 1;
    for (int i = 0; i < count; i++)
        if (rounding[writes[i]] > bound.relative) bound.relative = rounding[writes[i]];
    if (d->op == OP_LINEAR) {
        const struct linear_cost cost = linear_cost(d);
        bound.of_rms = cost.of_rms;
        bound.relative += cost.of_each;
    }
    return bound;
}
