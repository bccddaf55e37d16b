/* tensor_wgmma.c -- wgmma.mma_async: which there are, how a warp's quarter becomes a tile, and the
 * matrix descriptor
 *
 * One instruction reads 32 bytes along k: two pieces of 16 bytes of each row.
 */
#include "simd.h"
#include "tensor.h"

enum { ROW_BYTES = 32, PIECE_BYTES = 16, PIECES = 2, MOST_N = 256 };

#define IS(type) (1u << TENSOR_##type)

/* a and b are any of `inputs`, the same ones unless `mixed`; n is a multiple of 8, above n_step too of
 * n_step. */
static const struct kind {
    unsigned inputs, results;
    int k, mixed, n_step;
} kinds[] = {
    {IS(F16), IS(F16) | IS(F32), 16, 0, 8}, {IS(BF16), IS(F32), 16, 0, 8},
    {IS(TF32), IS(F32), 8, 0, 8},           {IS(E4M3) | IS(E5M2), IS(F16) | IS(F32), 32, 1, 8},
    {IS(S8) | IS(U8), IS(S32), 32, 1, 16},
};

/* Integers: 8, 16, 24, 32, then in steps of 16. */
static int n_fits(int n, int step)
{
    if (n < 8 || n > MOST_N || n % 8) return 0;
    return n % step == 0 || n <= 2 * step;
}

static int fits(const struct kind *kind, const struct tensor_wgmma *op)
{
    const unsigned inputs = 1u << op->a | 1u << op->b;
    const int integers = op->d == TENSOR_S32;
    return op->k == kind->k && !(inputs & ~kind->inputs) && (1u << op->d & kind->results) &&
           (kind->mixed || op->a == op->b) && n_fits(op->n, kind->n_step) &&
           (integers ? !op->negate_a && !op->negate_b : !op->saturate);
}

int tensor_wgmma_registers(const struct tensor_wgmma *op)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (fits(&kinds[i], op)) return op->d == TENSOR_F16 ? op->n / 4 : op->n / 2;
    return -1;
}

/* Blocks of the rows at `rows`: block (p, i) to block[p * of_piece + i * of_rows]. */
static void find_blocks(const void **block, const char *rows, int row_blocks, int of_piece,
                        int of_rows)
{
    for (int p = 0; p < PIECES; p++)
        for (int i = 0; i < row_blocks; i++)
            block[p * of_piece + i * of_rows] = rows + i * 8 * ROW_BYTES + p * PIECE_BYTES;
}

void tensor_wgmma(const struct tensor_wgmma *op, uint32_t *const *d, const uint32_t *const *a,
                  const void *a_rows, const void *b_rows)
{
    const void *block_a[4], *block_b[MOST_N / 8 * PIECES];
    if (!a) find_blocks(block_a, a_rows, 2, 2, 1);
    find_blocks(block_b, b_rows, op->n / 8, 1, PIECES);
    simd->tile(&(struct tile){
        .row_blocks = 2,
        .column_blocks = op->n / 8,
        .pieces = PIECES,
        .d = op->d,
        .a = op->a,
        .b = op->b,
        .saturate = op->saturate,
        .negate = op->negate_a != op->negate_b,
        .block_a = a ? (const void *const *)a : block_a,
        .block_b = block_b,
        .stride_a = a ? PIECE_BYTES : ROW_BYTES,
        .stride_b = ROW_BYTES,
        .register_d = d,
        .register_c = op->scale_d ? (const uint32_t *const *)d : NULL,
    });
}

/* ---- the matrix descriptor ----
 *
 *     bits 0-13 start address / 16   16-29 leading offset / 16   32-45 stride offset / 16
 *          49-51 base offset         62-63 swizzle: 0 none, 1 128 bytes, 2 64 bytes, 3 32 bytes
 *
 * K-major.  Without swizzle a core matrix is 8 rows of 16 bytes, 128 bytes in a row; the next one
 * along k is `leading` away, the next 8 rows are `stride` away.
 * With swizzle an atom is 8 rows of 32, 64 or 128 bytes; the next 8 rows are `stride` away, `leading`
 * is unused.  The hardware exchanges pieces by the absolute address: bits 4 .. 6 (4 .. 5, 4) are
 * XORed with bits 7 .. 9 (7 .. 8, 7), counted from where the pattern starts, as the base offset says.
 * So the start address may stand 32 bytes further in the first row, for the next k.
 */
static uint32_t field_bytes(uint64_t descriptor, int from)
{
    return (uint32_t)(descriptor >> from & 0x3fff) << 4;
}

uint32_t tensor_descriptor_base(uint64_t descriptor) { return field_bytes(descriptor, 0); }

uint32_t tensor_descriptor_offset(uint64_t descriptor, int row, int piece)
{
    static const uint32_t row_bytes[4] = {16, 128, 64, 32};
    const uint32_t width = row_bytes[descriptor >> 62], r = (uint32_t)row, p = (uint32_t)piece;
    const uint32_t leading = width == 16 ? field_bytes(descriptor, 16) : PIECE_BYTES;
    const uint32_t base = tensor_descriptor_base(descriptor);
    const uint32_t pattern = (uint32_t)(descriptor >> 49 & 7) << 7;
    const uint32_t at = base + r / 8 * field_bytes(descriptor, 32) + r % 8 * width + p * leading;
    const uint32_t swizzle = (at - pattern) >> 3 & (width - 16);
    return (at ^ swizzle) - base;
}
