/* simd.h -- the arithmetic that is compiled once for each kind of processor
 *
 * simd_body.h holds it; simd_v3.c compiles it for x86-64-v3, simd_any.c for whatever the rest of the
 * program is compiled for; simd.c picks one when the program is loaded.  Both give the same bits.
 *
 * A tile is the common form of mma and wgmma for one warp: D = A B + C.
 *
 *     block     8 rows of 16 bytes along k: a register of A or B (lane l has word l % 4 of row l / 4)
 *     A         row_blocks x pieces blocks       row i of A
 *     B         column_blocks x pieces blocks    row j of a block is column j of B
 *     C, D      row_blocks x column_blocks of 8 x 8 numbers: of 32 bits two registers, even columns
 *               in the first, odd ones in the second; of 16 bits one register
 *
 * Floating point: each number of D is C + sum, where sum is the chain s = fma(a[k], b[k], s) in
 * ascending k from +0, in f32, nearest even; products are exact in it.  NaN comes out as 0x7fffffff
 * (0x7fff in f16).  Hardware instead aligns the products of a few k to the largest and truncates:
 * its error has the same order, its bits differ.  MMA-Sim (arXiv 2511.10909) gives the algorithm of
 * each architecture, for whoever wants them exact.
 * With scales the chain is one of each block of k; times both scales, rounded once, it is added.
 * Integers go the same way: 32 products of 8 bits are below 2^24, hence exact in f32.
 * The rounding mode must be nearest even and subnormals kept, as a C program starts.
 */
#ifndef VGPU_SIMD_H
#define VGPU_SIMD_H

#include <stddef.h>

#include "tensor.h"

enum { TILE_ROWS = 16, TILE_K = 64, TILE_SCALES = 4 }; /* the most of a tile */

struct tile {
    int row_blocks, column_blocks, pieces; /* 1 .. 2, 1 .. 32, 1 .. 2 */
    enum tensor_type d, a, b;              /* C has the type of D */
    int saturate;                          /* S32: clamp instead of wrapping around */
    int negate;                            /* D = C - A B */
    const void *const *block_a;            /* [pieces][row_blocks] */
    const void *const *block_b;            /* [column_blocks][pieces] */
    size_t stride_a, stride_b;             /* bytes from a row of a block to the next */
    uint32_t *const *register_d;           /* [column_blocks][row_blocks][1 or 2]; may be C's */
    const uint32_t *const *register_c;     /* or NULL: zeros */
    /* Blocks of k that have a scale in each row of A and column of B; 0: none have. */
    int scales;
    const float (*scale_a)[TILE_ROWS], (*scale_b)[8]; /* [scales]; one column block only */
};

struct simd {
    const char *target;
    void (*tile)(const struct tile *t);
    void (*lanes_from_f16)(float out[32], const uint32_t h[32]);
    void (*lanes_to_f16)(uint32_t out[32], const float v[32]);
};

/* The best one that this processor runs. */
extern const struct simd *simd;
/* All that this processor runs, best first; NULL beyond the last. */
const struct simd *simd_at(int i);

#endif
