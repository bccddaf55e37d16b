/* rank.h -- how full a kernel can make a multiprocessor, from what its cubin says
 *
 * The limits are those of the CUDA programming guide: 64 Ki registers, given to warps in units of
 * 256; 16 to 32 blocks; shared memory and threads as in arch.h.
 */
#ifndef QGEN_RANK_H
#define QGEN_RANK_H

#include <stdint.h>

#include "arch.h"
#include "entry.h"

/* Warps resident on a multiprocessor over the most it holds, 0..1; 0 when not one block fits.
 * An x86 kernel has the core to itself: 1. */
double rank_occupancy(const struct arch *a, const struct entry_record *r);

/* Blocks resident on a multiprocessor. */
int rank_resident_blocks(const struct arch *a, const struct entry_record *r);

/* Multiprocessors of a common GPU of the arch; 1 for x86. */
int rank_processors(const struct arch *a);

/* Blocks of a launch of a linear kernel with M rows on a weight [N, K]. */
int64_t rank_blocks(const struct entry_record *r, int64_t M, int64_t N, int64_t K);

#endif
