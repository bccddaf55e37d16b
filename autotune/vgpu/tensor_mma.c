/* tensor_mma.c -- mma.sync: which there are, and how they become tiles */
#include "numbers.h"
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
    {16, 8, 32, IS(E4M3) | IS(E5M2) | IS(E2M1_BYTE), IS(F16) | IS(F32), 1},
    {8, 8, 16, IS(S8) | IS(U8), IS(S32), 1},
    {16, 8, 16, IS(S8) | IS(U8), IS(S32), 1},
    {16, 8, 32, IS(S8) | IS(U8), IS(S32), 1},
};

static const int bits[] = {
    [TENSOR_F16] = 16, [TENSOR_BF16] = 16,     [TENSOR_TF32] = 32, [TENSOR_E4M3] = 8,
    [TENSOR_E5M2] = 8, [TENSOR_S8] = 8,        [TENSOR_U8] = 8,    [TENSOR_E2M1] = 4,
    [TENSOR_F32] = 32, [TENSOR_E2M1_BYTE] = 8, [TENSOR_S32] = 32,
};

static void count_registers(const struct tensor_mma *op, int count[4])
{
    count[0] = op->m * op->n * bits[op->d] / 1024;
    count[1] = op->m * op->k * bits[op->a] / 1024;
    count[2] = op->n * op->k * bits[op->b] / 1024;
    count[3] = op->m * op->n * bits[op->c] / 1024;
}

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
        count_registers(op, count);
        return 0;
    }
    return -1;
}

static struct tile tile_of(const struct tensor_mma *op, uint32_t *const *d,
                           const uint32_t *const *a, const uint32_t *const *b,
                           const uint32_t *const *c)
{
    return (struct tile){
        .row_blocks = op->m / 8,
        .column_blocks = op->n / 8,
        .pieces = op->k * bits[op->a] / 128,
        .d = op->d,
        .a = op->a,
        .b = op->b,
        .saturate = op->saturate,
        .block_a = (const void *const *)a,
        .block_b = (const void *const *)b,
        .stride_a = 16,
        .stride_b = 16,
        .register_d = d,
        .register_c = c,
    };
}

void tensor_mma(const struct tensor_mma *op, uint32_t *const *d, const uint32_t *const *a,
                const uint32_t *const *b, const uint32_t *const *c)
{
    const struct tile t = tile_of(op, d, a, b, c);
    simd->tile(&t);
}

/* ---- block scales ---- */

static const struct scaled_shape {
    int k;
    unsigned inputs;
    int vector, e4m3;
} scaled_shapes[] = {
    {32, IS(E4M3) | IS(E5M2) | IS(E2M1_BYTE), 1, 0},
    {64, IS(E2M1), 2, 0},
    {64, IS(E2M1), 4, 1},
};

static int scaled_fits(const struct scaled_shape *s, const struct tensor_mma *op,
                       const struct tensor_scale *scale)
{
    const unsigned inputs = 1u << op->a | 1u << op->b;
    return op->m == 16 && op->n == 8 && op->k == s->k && op->d == TENSOR_F32 &&
           op->c == TENSOR_F32 && !op->saturate && !(inputs & ~s->inputs) &&
           scale->vector == s->vector && scale->e4m3 == s->e4m3;
}

/* The scales of a register are aligned bytes of it; lanes of A come in pairs, for rows 8 apart. */
static int selectors_fit(const struct tensor_scale *s)
{
    return !((s->byte_a | s->byte_b) & ~3) && s->byte_a % s->vector == 0 &&
           s->byte_b % s->vector == 0 && !(s->thread_a & ~1) && !(s->thread_b & ~3);
}

int tensor_mma_scaled_registers(const struct tensor_mma *op, const struct tensor_scale *scale,
                                int count[4])
{
    for (size_t i = 0; i < sizeof scaled_shapes / sizeof *scaled_shapes; i++) {
        if (!scaled_fits(&scaled_shapes[i], op, scale) || !selectors_fit(scale)) continue;
        count_registers(op, count);
        return 0;
    }
    return -1;
}

static float scale_at(const struct tensor_scale *scale, uint32_t word, int byte)
{
    const uint8_t code = (uint8_t)(word >> 8 * byte);
    return scale->e4m3 ? numbers_from_e4m3(code & 0x7f) : numbers_from_e8m0(code);
}

void tensor_mma_scaled(const struct tensor_mma *op, const struct tensor_scale *scale,
                       uint32_t *const *d, const uint32_t *const *a, const uint32_t *const *b,
                       const uint32_t *const *c, const uint32_t *scale_a, const uint32_t *scale_b)
{
    float of_a[TILE_SCALES][TILE_ROWS], of_b[TILE_SCALES][8];
    for (int s = 0; s < scale->vector; s++) {
        for (int i = 0; i < 16; i++)
            of_a[s][i] = scale_at(scale, scale_a[4 * (i % 8) + 2 * scale->thread_a + i / 8],
                                  scale->byte_a + s);
        for (int j = 0; j < 8; j++)
            of_b[s][j] = scale_at(scale, scale_b[4 * j + scale->thread_b], scale->byte_b + s);
    }
    struct tile t = tile_of(op, d, a, b, c);
    t.scales = scale->vector;
    t.scale_a = (const float(*)[TILE_ROWS])of_a;
    t.scale_b = (const float(*)[8])of_b;
    simd->tile(&t);
}
