/* occupancy.h -- how many blocks of a kernel a multiprocessor holds, and how many a launch has
 *
 * The rules are those of the occupancy calculator that comes with CUDA (cuda_occupancy.h):
 *     registers      64 Ki, a quarter to each of four parts; a warp's are given in units of 256
 *     shared memory  in units of 128 bytes (sm_75: 256); from sm_80 on each block takes 1 KiB more
 *     blocks         16 to 32 by arch; threads as in arch.h
 * An x86 kernel has the core to itself.
 */
#ifndef QGEN_OCCUPANCY_H
#define QGEN_OCCUPANCY_H

#include <stdint.h>

#include "arch.h"
#include "entry.h"

/* What keeps one more block out. */
enum occupancy_limit {
    OCCUPANCY_BLOCKS,
    OCCUPANCY_THREADS,
    OCCUPANCY_REGISTERS,
    OCCUPANCY_SHARED,
    OCCUPANCY_LIMITS
};

struct occupancy {
    int blocks, warps; /* resident on a multiprocessor; 0: not one block fits */
    double share;      /* warps over the most it holds, 0..1 */
    enum occupancy_limit limit;
};

void occupancy_of(const struct arch *a, const struct entry_record *r, struct occupancy *out);

const char *occupancy_limit_name(enum occupancy_limit limit); /* "registers", "shared memory" .. */

/* Multiprocessors of a common GPU of the arch; 1 for x86. */
int occupancy_processors(const struct arch *a);

/* Blocks of a launch of a linear kernel with M rows on a weight [N, K], K in `split` parts. */
int64_t occupancy_grid(const struct entry_record *r, int64_t M, int64_t N, int64_t K, int split);

#endif
