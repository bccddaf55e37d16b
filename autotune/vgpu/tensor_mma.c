/* tensor_mma.c -- mma.sync: which there are, and how they become tiles */
#include "simd.h"
#include "tensor.h"

#define IS(type) (1u << TENSOR_##type)

/* a and b are any of `inputs`, the same one unless `mixed`; d is any of `results`, and c as d. */
static const struct shape {
    int m, n, k;
    unsigned inputs, results;
    int mixed;
} shapes[] = {
    {16, 8, 8, IS(F16), IS(F16) | IS(F32), 0},
    {16, 8, 16, IS(F16), IS(F16) | IS(F32), 0},
    {16, 8, 8, IS(BF16), IS(F32), 0},
    {16, 8, 16, IS(BF16), IS(F32), 0},
    {16, 8, 4, IS(TF32), IS(F32), 0},
    {16, 8, 8, IS(TF32), IS(F32), 0},
    {16, 8, 16, IS(E4M3) | IS(E5M2), IS(F16) | IS(F32), 1},
    {16, 8, 32, IS(E4M3) | IS(E5M2), IS(F16) | IS(F32), 1},
    {8, 8, 16, IS(S8) | IS(U8), IS(S32), 1},
    {16, 8, 16, IS(S8) | IS(U8), IS(S32), 1},
    {16, 8, 32, IS(S8) | IS(U8), IS(S32), 1},
};

static const int bytes[] = {
    [TENSOR_F16] = 2, [TENSOR_BF16] = 2, [TENSOR_TF32] = 4, [TENSOR_E4M3] = 1, [TENSOR_E5M2] = 1,
    [TENSOR_S8] = 1,  [TENSOR_U8] = 1,   [TENSOR_F32] = 4,  [TENSOR_S32] = 4,
};

static int fits(const struct shape *s, const struct tensor_mma *op)
{
    const unsigned inputs = 1u << op->a | 1u << op->b;
    return s->m == op->m && s->n == op->n && s->k == op->k && !(inputs & ~s->inputs) &&
           (s->mixed || op->a == op->b) && (1u << op->d & s->results) && op->c == op->d &&
           !(op->saturate && op->d != TENSOR_S32);
}

int tensor_mma_registers(const struct tensor_mma *op, int count[4])
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (!fits(&shapes[i], op)) continue;
        count[0] = op->m * op->n * bytes[op->d] / 128;
        count[1] = op->m * op->k * bytes[op->a] / 128;
        count[2] = op->n * op->k * bytes[op->b] / 128;
        count[3] = op->m * op->n * bytes[op->c] / 128;
        return 0;
    }
    return -1;
}

void tensor_mma(const struct tensor_mma *op, uint32_t *const *d, const uint32_t *const *a,
                const uint32_t *const *b, const uint32_t *const *c)
{
    simd->tile(&(struct tile){
        .row_blocks = op->m / 8,
        .column_blocks = op->n / 8,
        .pieces = op->k * bytes[op->a] / 16,
        .d = op->d,
        .a = op->a,
        .b = op->b,
        .c = op->c,
        .saturate = op->saturate,
        .block_a = (const void *const *)a,
        .block_b = (const void *const *)b,
        .stride_a = 16,
        .stride_b = 16,
        .register_d = d,
        .register_c = c,
    });
}
