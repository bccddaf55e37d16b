/* profile.h -- what one block of a linear kernel does, counted: the cost model's view of a kernel
 *
 * Counted on the virtual GPU over two lengths of K, so that what a block does once (prologue,
 * epilogue) and what it does for each 64 columns of K come apart:
 *     counts of a block over K columns = once + (K / 64) * step
 * Resources are the cubin's.  All counts are of one block; memory traffic in bytes as the launch
 * moves it (whole sectors).
 */
#ifndef QGEN_PROFILE_H
#define QGEN_PROFILE_H

#include <stdint.h>

struct profile_counts {
    double issue;       /* warp instructions */
    double tensor_ops;  /* multiply-adds of matrix instructions */
    double wavefronts;  /* of shared memory: 128 bytes a clock at best */
    double load_bytes;  /* sectors of global loads and of asynchronous copies, in bytes */
    double store_bytes; /* sectors of global stores */
    double barriers;
};

enum { PROFILE_COUNTS = sizeof(struct profile_counts) / sizeof(double) };

struct profile {
    struct profile_counts once, step;
    int rows, columns; /* of y that a block makes: along M and along N */
    int threads, regs, stack_bytes;
    int64_t smem_bytes; /* static and dynamic */
    int split;          /* parts of K; 0: the runtime's choice */
    int stages; /* chunks of 64 columns under way at a time, 1 without asynchronous copies */
};

#endif
