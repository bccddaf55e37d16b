/* fake_cuda.h -- what a test may ask of the driver that is none
 *
 * libfake_cuda.so has the functions of cuda_api.h.  Device memory is host memory; a stream is a
 * list of work that is done when an event after it is asked for, as late as a driver may.
 * The state is one per process and not for several threads.
 */
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H

#include <stddef.h>

enum { FAKE_ARGUMENT_BYTES = 256, FAKE_MAP_BYTES = 128, FAKE_L2_BYTES = 3 << 20 };

struct fake_launch {
    void *function;
    unsigned grid[3], block[3], smem_bytes;
    unsigned char argument[FAKE_ARGUMENT_BYTES]; /* the first argument_bytes of parameter 0 */
    unsigned char map[FAKE_MAP_BYTES];           /* parameter 1 when there is one */
};

/* What a tensor map was asked to be; the map itself is bytes 0x77. */
struct fake_map {
    int type, swizzle, fill;
    unsigned rank, box[2], step[2];
    const void *base;
    unsigned long long size[2], stride_bytes;
};

struct fake_cuda {
    /* What the test sets. */
    int device_count, major, minor, smem_bytes, function_threads;
    size_t memory_bytes;   /* allocations beyond it fail */
    size_t argument_bytes; /* of a launch, to be recorded */
    int fail_call;         /* the number of the call that fails, from 1; 0: none */
    int fail_value;
    int fail_sticky;  /* all calls after it fail too */
    int refuse_cubin; /* answer to an image that starts with "\x7f" "ELF" */
    int refuse_ptx;
    int hang;       /* events never happen */
    int refuse_map; /* answer to a map that is to be encoded */

    /* What the test reads. */
    int calls;                    /* all calls so far */
    const char *fail_symbol;      /* the call that failed */
    void *current;                /* context */
    int context_references, live; /* live: blocks, pinned blocks, events, streams, modules */
    size_t used_bytes;
    int cubins_loaded, ptx_loaded, launches;
    int captured;              /* launches of the capture under way, or of the last */
    int capturing;             /* a capture is under way */
    int graph_launches;        /* each makes `captured` launches */
    int smem_opted;            /* the last dynamic shared memory that was opted in */
    int freed_busy;            /* pinned blocks freed while copies were on their way */
    struct fake_launch launch; /* the last */
    struct fake_map map;       /* the last that was encoded */
};

/* The state, with defaults and everything else zero; frees what an earlier test left. */
struct fake_cuda *fake_cuda_reset(void);

#endif
