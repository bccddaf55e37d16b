/* gpu.h -- the table of GPUs: what a kernel may hope for, from datasheets
 *
 * Why a text file: rates and prices change, and whoever doubts one finds its source beside it.
 * Layout of autotune/gpus.txt (carried inside the program; $QGEN_GPUS or --gpus names another):
 * blocks of `key value` lines, a block per GPU, opened by `gpu NAME`; `#` starts a line of comment.
 * Each block has a `source` line, a price also its date and where it was seen.  The keys, their
 * units and which may be left out are the table in gpu.c.
 * Rates are dense peaks, per second; 0: the GPU has no such unit.
 */
#ifndef QGEN_GPU_H
#define QGEN_GPU_H

#include <stddef.h>

#include "arch.h"

enum { GPU_NAME_BYTES = 32, GPU_TEXT_BYTES = 160, GPU_MAX = 64 };

struct gpu {
    char name[GPU_NAME_BYTES];  /* "h100", "rtx4090": what options take */
    char also[GPU_TEXT_BYTES];  /* other names of it, "4090, NVIDIA GeForce RTX 4090"; may be "" */
    char title[GPU_TEXT_BYTES]; /* "NVIDIA H100 SXM5 80 GB" */
    char arch[ARCH_NAME_BYTES]; /* the best that kernels for it are made for: "sm_90a" */
    int processors;             /* multiprocessors */
    double clock_hz;            /* at which the peaks below are reached */
    double memory_bytes;        /* as the driver reports them */
    double memory_bytes_s;
    double l2_bytes, l2_bytes_s; /* l2_bytes_s: measured by somebody, else an estimate */
    double f16_ops_s, i8_ops_s,
        f8_ops_s;        /* tensor cores, sums in f32 and i32; a multiply-add is two */
    double smem_bytes;   /* of a multiprocessor */
    double price_hour;   /* US dollars; 0: not known */
    char price_date[16]; /* when it was seen: "2026", "2026-03" */
    char price_source[GPU_TEXT_BYTES];
    char source[GPU_TEXT_BYTES];    /* of all above */
    char l2_source[GPU_TEXT_BYTES]; /* who measured l2_bytes_s, or "estimate: .." */
};

/* All of a text, in its order.  QRT_E_FORMAT with origin:line: unknown key, missing key, bad number. */
struct gpus {
    struct gpu items[GPU_MAX];
    size_t count;
};
qrt_status gpus_parse(const char *text, size_t bytes, const char *origin, struct gpus *out);

/* By name or another name, without regard to case, blanks, dashes and the words NVIDIA and GeForce
 * ("RTX 4090", "NVIDIA_H100_80GB_HBM3"); NULL: none. */
const struct gpu *gpus_find(const struct gpus *g, const char *name);

/* The GPU that stands for an arch when none is named: the first of the table with it, else the first
 * that runs its kernels; NULL: none. */
const struct gpu *gpus_of_arch(const struct gpus *g, const struct arch *a);

#endif
