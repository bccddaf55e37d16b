/* wgmma.h -- matrix instructions of a warpgroup under way: issued now, done at the wait for their group
 *
 * Between an instruction's issue and the wait nobody may touch its accumulators and fragments of A,
 * and their values are not there yet.  Compilers copy accumulators about with mov between two
 * instructions (ptxas gives both the same register): such copies are put off as well, in order.
 *
 *     queue   | wgmma, group 0 | mov | wgmma, group 0 | commit | wgmma, group 1 | ..
 *
 * Registers that wgmma names, and those that mov connects with them, are watched: watch.c.
 */
#ifndef VGPU_WGMMA_H
#define VGPU_WGMMA_H

#include <stdint.h>

struct warp;
struct insn;

struct wgmma_pending {
    const struct insn *i;
    uint32_t group, mask;
    uint64_t a, b; /* descriptors */
    int scale_d;
};

struct wgmma_state { /* of a warp */
    struct wgmma_pending *queue;
    uint32_t count, room;
    uint32_t open; /* number of the group that is not committed yet */
    uint8_t *flag; /* of watched registers */
};

/* A watched register is: */
enum wgmma_flag {
    WGMMA_ACCUMULATOR = 1, /* of an instruction under way */
    WGMMA_FRAGMENT = 2,    /* of A of one */
    WGMMA_WRITTEN = 4,     /* by other instructions since the last fence */
};

/* Before an instruction that names watched registers.  1: it is put off, do not run it. */
int wgmma_touch(struct warp *w, const struct insn *i, uint32_t mask);
/* The warp ends. */
void wgmma_end(struct warp *w);

#endif
