/* vgpu.h -- what the virtual GPU offers beside the CUDA driver's names
 *
 * libqgen_vgpu.so has the functions of the CUDA driver API that libqrt uses (runtime/cuda_api.h) and
 * is opened in place of libcuda.so.1.  It executes the PTX of a module on the CPU, checks what it
 * does and counts.  It has one device per architecture, in the order of vgpu_arch(): cuda:0 is an
 * sm_75, and so on.  Cubins are refused as on a newer device, so that the PTX is taken.
 *
 * The functions below are what a checker asks of it after launches; get them with dlsym().
 * State is one per process; findings and counts belong to the calling thread's last launches in any
 * context.  All functions may be called from any thread.
 */
#ifndef VGPU_H
#define VGPU_H

#include <stddef.h>
#include <stdint.h>

#define VGPU_API __attribute__((visibility("default")))

/* What can be wrong with a kernel. */
enum vgpu_fault {
    VGPU_BOUNDS,        /* access outside of any allocation, or of shared memory */
    VGPU_MISALIGNED,    /* address not a multiple of the access's size */
    VGPU_UNINITIALISED, /* read of a register, shared or global byte that nothing wrote */
    VGPU_RACE_SHARED,   /* two threads, one writes, nothing orders them */
    VGPU_RACE_GLOBAL,   /* two blocks of a launch, one writes, no atomics */
    VGPU_PENDING,       /* read or overwritten while an asynchronous operation still owns it */
    VGPU_FENCE,         /* a proxy or wgmma fence is missing */
    VGPU_DIVERGENT,     /* a barrier or .sync instruction that not all of its threads reach */
    VGPU_DEADLOCK,      /* every living warp waits */
    VGPU_BARRIER,       /* mbarrier misuse: not initialised, too many arrivals, bytes below zero */
    VGPU_ILLEGAL,       /* operands that the hardware refuses: descriptors, sizes, maps */
    VGPU_FAULT_COUNT
};

struct vgpu_finding {
    enum vgpu_fault fault;
    char kernel[64];
    char source[128]; /* "templates/cuda/gemm.cu.in:95", or "" */
    int ptx_line;     /* line in the module's PTX */
    unsigned block[3];
    unsigned thread;          /* linear in the block */
    unsigned long long count; /* how often the same instruction did the same */
    char text[192];           /* what happened, with numbers */
};

/* Sums over launches since the last vgpu_reset(). */
struct vgpu_counts {
    uint64_t launches;
    uint64_t warp_instructions, thread_instructions;
    uint64_t by_class[8];                           /* warp instructions: enum vgpu_class */
    uint64_t global_requests, global_sectors;       /* loads and stores; a sector has 32 bytes */
    uint64_t global_load_bytes, global_store_bytes; /* what lanes asked for */
    uint64_t shared_requests, shared_wavefronts;
    /* What the same bytes need where lanes lie side by side: 32 bytes a sector, 128 a wavefront.
     * More was counted: scattered lanes, bank conflicts.  Less: lanes that read the same bytes. */
    uint64_t global_ideal_sectors, shared_ideal_wavefronts;
    uint64_t tensor_ops;    /* multiply-adds of matrix instructions */
    uint64_t async_bytes;   /* by cp.async and bulk copies */
    uint64_t store_sectors; /* of global_sectors */
    uint64_t bulk_load_bytes,
        bulk_store_bytes; /* of async_bytes; no sectors are counted for them */
    uint64_t barriers;
    uint64_t ticks_by_class[8]; /* the host's time; only after vgpu_time(1) */
};
/* sum += more */
static inline void vgpu_counts_add(struct vgpu_counts *sum, const struct vgpu_counts *more)
{
    uint64_t *to = (uint64_t *)sum; /* nothing but uint64_t in it */
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) to[i] += from[i];
}

enum vgpu_class {
    VGPU_INTEGER,
    VGPU_FLOAT,
    VGPU_MOVE,
    VGPU_CONTROL,
    VGPU_GLOBAL,
    VGPU_SHARED,
    VGPU_TENSOR,
    VGPU_SYNC
};

/* Number of devices; architecture of device i ("sm_90a"), NULL beyond the last. */
VGPU_API int vgpu_arch_count(void);
VGPU_API const char *vgpu_arch(int device);

/* keep_going 1: a launch with findings still answers success and the context stays usable (checkers);
 * 0 (as it starts): it answers as a GPU would, CUDA error 700, 716, 719 ..., and the context is lost.
 * checks 0: no checking, for speed.  threads 0: one per processor. */
VGPU_API void vgpu_configure(int keep_going, int checks, int threads);

/* 1: launches count the host's time too, by class of instruction; they are slower then. */
VGPU_API void vgpu_time(int on);

/* Findings since the last vgpu_reset(), oldest first: fills up to `most`, returns how many there
 * are. */
VGPU_API size_t vgpu_findings(struct vgpu_finding *out, size_t most);
VGPU_API void vgpu_counts(struct vgpu_counts *out);
VGPU_API void vgpu_reset(void);

/* 0 when every instruction of the PTX is known; else fills `text` with the line and the opcode. */
VGPU_API int vgpu_decodes(const char *ptx, char *text, size_t text_bytes);

VGPU_API const char *vgpu_fault_name(enum vgpu_fault fault); /* "bounds", "race-shared", ... */

#endif
