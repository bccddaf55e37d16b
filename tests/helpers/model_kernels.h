/* model_kernels.h -- kernels as the cost model sees them, written down from their structure
 *
 * Counts of a block over 64 columns of K follow from the tile: bytes of W and x, multiply-adds,
 * ldmatrix wavefronts; issue slots from the figures in the templates' heads.  For tests and for
 * comparisons with published kernels of the same structure.
 */
#ifndef MODEL_KERNELS_H
#define MODEL_KERNELS_H

#include "entry.h"
#include "profile.h"

struct model_kernel {
    struct entry_record record;
    struct profile profile;
    double bytes_per_weight;
};

/* Weights in groups of 128 with f16 scales, f16 activations. */
double model_bytes_per_weight(double bits);

/* Warps that each walk K by themselves: a block makes 16 * tiles columns of `rows` <= 32 rows. */
struct model_kernel model_gemv(int rows, int tiles, int warps, int stages, double bits);

/* Tiles of mma.sync, bm rows by bn columns, `warps` warps, `stages` buffers, `split` parts of K. */
struct model_kernel model_gemm(int bm, int bn, int warps, int stages, int split, double bits);

/* Tiles of wgmma: bm rows by 64 * consumers columns. */
struct model_kernel model_wgmma(int bm, int consumers, int stages, int split, double bits);

/* Both operands in bytes, scales by blocks of 128 x 128, sums promoted to f32 every 128 of K: what
 * Triton makes of such a kernel.  bk columns a stage; wgmma where `warpgroup` and bm allows it. */
struct model_kernel model_bytes(int bm, int bn, int bk, int warps, int stages, int warpgroup,
                                enum elem_type act);

#endif
