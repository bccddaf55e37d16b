/* launch.h -- runs a grid: blocks over threads, warps of a block in turns */
#ifndef VGPU_LAUNCH_H
#define VGPU_LAUNCH_H

#include "code.h"

struct launch {
    const struct code *code;
    const struct code_function *function;
    uint32_t grid[3], block[3], cluster[3];
    uint32_t dynamic_shared_bytes;
    const uint8_t *params;
    int processors;
    uint32_t number;   /* of memory_begin_launch */
    int checks;        /* 0: bounds only */
    int timed;         /* count ticks by class */
    int threads;       /* 0: one per processor of the host */
    uint64_t id;       /* %gridid */
    uint8_t *released; /* order.h; made by launch_run() */
};

/* Runs to the end; findings go to report.h, counts are added to `counts`; *kinds gets a bit for each
 * enum vgpu_fault that was found.  0: no memory. */
int launch_run(const struct launch *l, struct vgpu_counts *counts, unsigned *kinds);

#endif
