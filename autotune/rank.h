/* rank.h -- how full a kernel can make a multiprocessor, from what its cubin says
 *
 * The limits are those of the CUDA programming guide: 64 Ki registers, given to warps in units of
 * 256; 16 to 32 blocks; shared memory and threads as in arch.h.
 */
#ifndef QGEN_RANK_H
#define QGEN_RANK_H

#include "arch.h"
#include "entry.h"

/* Warps resident on a multiprocessor over the most it holds, 0..1; 0 when not one block fits.
 * An x86 kernel has the core to itself: 1. */
double rank_occupancy(const struct arch *a, const struct entry_record *r);

/* Blocks resident on a multiprocessor. */
int rank_resident_blocks(const struct arch *a, const struct entry_record *r);

#endif
