/* check_cases.c -- the shapes and inputs that each op is checked with: what all ops share */
#include "check_cases.h"

#include <stdio.h>
#include <string.h>

#include "check_weight.h"
#include "elem.h"

static const struct check_op *const ops[OP_COUNT] = {
    [OP_LINEAR] = &check_linear,
    [OP_REDUCE] = &check_reduce,
    [OP_QUANTIZE] = &check_quantize,
    [OP_EMBED] = &check_embed,
    [OP_RMSNORM] = &check_rmsnorm,
    [OP_ROPE] = &check_rope,
    [OP_ATTENTION] = &check_attention,
    [OP_GLU] = &check_glu,
    [OP_ADD] = &check_add,
    [OP_SAMPLE] = &check_sample,
    [OP_GATHER] = &check_gather,
    [OP_COMBINE] = &check_combine,
};

int check_shape_count(const struct op_desc *d) { return ops[d->op]->shapes; }

/* Whether weights that are exact in f32 are not in the type that a kernel multiplies in. */
static int weights_are_exact(const struct op_desc *d)
{
    const struct scheme *s = &d->weight;
    if (d->op != OP_LINEAR && d->op != OP_EMBED) return 1;
    return check_weight_has_exact(s);
}

int check_has_exact(const struct op_desc *d)
{
    return ops[d->op]->has_exact && weights_are_exact(d);
}

int64_t check_work(const struct op_desc *d, const struct check_case *c)
{
    return ops[d->op]->work(d, c);
}

uint64_t check_seed(const struct trial *t, const struct check_case *c)
{
    uint64_t seed = (uint64_t)(c->shape * 2 + c->exact) * TRIAL_MAX_BUFFERS;
    seed += (uint64_t)t->buffer_count;
    return check_word(&seed);
}

struct extent check_rows(const struct check_case *c, enum elem_type type, int64_t width)
{
    const int64_t ld = c->shape % 2 == 0 ? (width + 31) / 32 * 32 : width + 3;
    return (struct extent){type, c->M, width, ld, 1};
}

struct extent check_flat(enum elem_type type, int64_t count)
{
    return (struct extent){type, 1, count, count, 0};
}

void *check_in(struct trial *t, const struct check_case *c, size_t slot, struct extent e,
               float factor)
{
    uint64_t random = check_seed(t, c);
    void *contents = trial_in(t, slot, e);
    for (int64_t r = 0; contents && r < e.rows; r++)
        for (int64_t i = 0; i < e.width; i++) {
            const float x = c->exact ? (float)check_int(&random, -2, 2) : check_unit(&random);
            elem_set(e.type, contents, r * e.ld + i, factor * x);
        }
    return contents;
}

void check_put_int(struct trial *t, size_t slot, int value)
{
    int *contents = trial_raw(t, slot, sizeof value);
    if (contents) *contents = value;
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
    *t = (struct trial){.desc = *d};
    if (!c->exact) t->bound = check_bound(d);
    const qrt_status status = ops[d->op]->build(t, c, family);
    name_case(t, c);
    return status;
}
