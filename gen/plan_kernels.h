/* plan_kernels.h -- which of the kernels that a model needs are there, and the command that makes the rest */
#ifndef QGEN_PLAN_KERNELS_H
#define QGEN_PLAN_KERNELS_H

#include "planner.h"
#include "winners.h"

enum { PLAN_KERNELS_COMMAND_BYTES = 320, PLAN_KERNELS_MISSING_MOST = 64 };

/* What this machine has, read once: kernels of the store and winners. */
struct plan_stock {
    struct plan_stored {
        struct op_desc desc;
        const struct arch *arch;
        int m_lo, m_hi;
    } * kernels;
    size_t count, capacity;
    int failed; /* no memory for one */
    struct winners winners;
};
qrt_status plan_stock_read(struct plan_stock *out);
void plan_stock_free(struct plan_stock *s);

/* A model with a scheme on a GPU of the table, at these batches and for prompts of so many rows. */
struct plan_kernels_query {
    const struct plan_model *model;
    const struct plan_scheme *scheme;
    const struct gpus *table;
    const struct gpu *gpu;
    const int *batches;
    int batch_count, rows;
};

struct plan_kernels {
    int wanted,
        stored; /* requests of a layer; those with a kernel in the store for all their rows */
    char missing[PLAN_KERNELS_MISSING_MOST][OP_NAME_BYTES]; /* the first that have none */
    int missing_count;
    char build[PLAN_KERNELS_COMMAND_BYTES]; /* makes them; "": nothing is missing */
    int points;                             /* shapes of the layers' linears, at each batch */
    int measured, chosen; /* .. whose winner was measured on the GPU, by the model */
    char tune[PLAN_KERNELS_COMMAND_BYTES]; /* measures the others, on the GPU; "": all are */
};

/* A scheme that is "file", or has no kernels, gives 0 wanted. */
void plan_kernels_count(const struct plan_stock *stock, const struct plan_kernels_query *q,
                        struct plan_kernels *out);

#endif
