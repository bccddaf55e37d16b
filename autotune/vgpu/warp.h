/* warp.h -- a warp and its block while they run
 *
 * Lanes that are at the same instruction run together: `active` at `pc`.  The others wait at their own
 * place, lane_pc; the lowest place runs first, so that ways that split meet again where they join.
 * A .sync instruction waits for the lanes that it names: who is there first is parked.
 *
 *     alive    lanes that have not left the kernel
 *     active   of these, the ones that run now
 *     parked   of the others, those that wait at a .sync instruction for more lanes
 *     resting  of the others, those that looked for something in vain: not again in this turn
 *     next_pc  the lowest place of the others that are not parked: where the running lanes look up
 */
#ifndef VGPU_WARP_H
#define VGPU_WARP_H

#include <string.h>

#include "code.h"
#include "launch.h"
#include "memory.h"
#include "report.h"
#include "shared.h"
#include "wgmma.h"

enum { NO_PC = 0xffffffffu, CALL_DEPTH = 16, NAMED_BARRIERS = 16 };

enum warp_state { WARP_READY, WARP_AT_BARRIER, WARP_AT_CLUSTER, WARP_AT_WARPGROUP, WARP_DONE };

struct warp {
    uint8_t *file[2]; /* registers, constants: by the lowest bit of an operand */
    uint32_t active, pc, next_pc, alive, parked, resting;
    uint32_t born;      /* lanes that the block's shape has */
    uint32_t forced_pc; /* a .sync instruction there runs with the lanes it has */
    uint32_t lane_pc[LANES];
    uint32_t *valid;                /* of followed registers: lanes that wrote it */
    uint8_t *local, *local_written; /* bytes of lane 0, lane 1 .. */
    uint32_t depth[LANES], frame[LANES][CALL_DEPTH]; /* places to return to */
    struct block *block;
    int index;
    enum warp_state state;
    const struct insn *reduction; /* bar.red that it waits in, or NULL */
    int barrier;                  /* it waits at, while at a barrier */
    int yielded;                  /* an attempt to wait failed: others first */
    uint64_t failed_at;           /* progress of the block when it did */
    uint32_t failed_pc;
    int failed_times;
    uint32_t cluster_phase; /* it has arrived in */
    uint32_t registers;     /* by setmaxnreg; 0: as it started */
    struct wgmma_state wgmma;
};

struct named_barrier {
    uint32_t arrived; /* warps that wait or have arrived without waiting */
    uint32_t waiting;
    uint32_t expected;       /* warps; 0: nobody is there */
    uint32_t count, threads; /* of bar.red: predicates that are true, and all */
};

/* One worker's block: made once a launch, begun anew for each block. */
struct block {
    const struct launch *launch;
    const struct code *code;
    const struct insn *insn;
    struct shared *shared;
    uint8_t *shared_bytes;
    uint32_t shared_size;
    struct warp *warp;
    int warps;
    struct named_barrier barrier[NAMED_BARRIERS];
    uint32_t cluster_arrived, cluster_phase;
    uint32_t id[3];
    uint32_t tag; /* for memory_touch */
    int checks;
    int ended;         /* a fault ends the block */
    uint64_t progress; /* of what other warps may wait for */
    uint64_t steps;    /* warp instructions of this block */
    struct vgpu_counts counts;
    struct report_place place;
    uint8_t *memory;      /* of all the warps' files */
    int fenced, acquired; /* order.h */
};

static inline void *operand_at(const struct warp *w, uint32_t operand)
{
    return w->file[operand & OPERAND_CONSTANT] + (operand & ~3u);
}

static inline uint32_t predicate_at(const struct warp *w, uint32_t operand)
{
    const uint32_t value = *(const uint32_t *)operand_at(w, operand);
    return operand & OPERAND_NEGATED ? ~value : value;
}

static inline void predicate_set(struct warp *w, uint32_t operand, uint32_t value, uint32_t mask)
{
    uint32_t *to = operand_at(w, operand);
    *to = (*to & ~mask) | (value & mask);
}

/* Results of some lanes into a slot. */
static inline void blend32(uint32_t *to, const uint32_t *from, uint32_t mask)
{
    if (mask == FULL_MASK) {
        memcpy(to, from, sizeof *to * LANES);
        return;
    }
    for (uint32_t l = 0; l < LANES; l++) to[l] = mask >> l & 1 ? from[l] : to[l];
}

static inline void blend64(uint64_t *to, const uint64_t *from, uint32_t mask)
{
    if (mask == FULL_MASK) {
        memcpy(to, from, sizeof *to * LANES);
        return;
    }
    for (uint32_t l = 0; l < LANES; l++) to[l] = mask >> l & 1 ? from[l] : to[l];
}

static inline uint32_t first_lane(uint32_t mask) { return (uint32_t)__builtin_ctz(mask); }

#define EACH_LANE(l, mask)                                                              \
    for (uint32_t left_##l = (mask), l = left_##l ? first_lane(left_##l) : 0; left_##l; \
         left_##l &= left_##l - 1, l = left_##l ? first_lane(left_##l) : 0)

#endif
