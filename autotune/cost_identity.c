/* cost_identity.c -- what the cost model says of a few fixed kernels: other figures, another model */
#include "cost_identity.h"

#include <stdio.h>

/* Round figures of a gemv, a gemm and a gemm that splits K, of 4 bits in groups of 128. */
static const struct profile kernels[] = {
    {.once = {.issue = 1000, .wavefronts = 50, .store_bytes = 64, .barriers = 1},
     .step = {.issue = 200, .tensor_ops = 16384, .wavefronts = 20, .load_bytes = 1216},
     .rows = 1,
     .columns = 32,
     .threads = 256,
     .regs = 64,
     .smem_bytes = 33000,
     .split = 1,
     .stages = 16},
    {.once = {.issue = 5000, .store_bytes = 32768},
     .step = {1400, 524288, 300, 12544, 0, 1},
     .rows = 64,
     .columns = 128,
     .threads = 128,
     .regs = 160,
     .smem_bytes = 51000,
     .split = 1,
     .stages = 3},
    {.once = {.issue = 2500, .store_bytes = 8192},
     .step = {900, 131072, 170, 6272, 0, 1},
     .rows = 16,
     .columns = 128,
     .threads = 256,
     .regs = 80,
     .smem_bytes = 19000,
     .split = 4,
     .stages = 3},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static double seconds_of(const struct gpu *g, const struct arch *a, const struct profile *p, int M,
                         int N)
{
    const struct entry_record r = {
        .regs = (uint32_t)p->regs,
        .split = p->split,
        .grid = {{DIM_N, (uint32_t)p->columns}, {DIM_M, (uint32_t)p->rows}, {DIM_SPLIT, 1}},
        .block = {(uint32_t)p->threads, 1, 1},
        .smem_bytes = (uint32_t)p->smem_bytes};
    const double bytes_per_weight = 0.52;
    struct cost cost;
    cost_linear(g, a, &r, p, M, N, 4096, bytes_per_weight, &cost);
    return cost.seconds;
}

void cost_identity(const struct gpu *g, const struct arch *a, char out[COST_IDENTITY_BYTES])
{
    static const int rows[] = {1, 33, 300, 4096}, columns[] = {1024, 28672};
    size_t used = 0;
    for (int i = 0; i < KERNELS; i++)
        for (int m = 0; m < 4; m++)
            for (int n = 0; n < 2; n++)
                used += (size_t)snprintf(out + used, COST_IDENTITY_BYTES - used, "%.3e ",
                                         seconds_of(g, a, &kernels[i], rows[m], columns[n]));
}
