/* clock.h -- what each thread of a block knows of what the others have done: vector clocks
 *
 * Time is one counter of the block.  A warp works in an epoch, a value of that counter; it gets a
 * new one when its lanes are synchronised and after it has told somebody of the old one.  So
 * "thread t knows what thread u did up to epoch e" is one number, and a clock is one number for each
 * component:
 *
 *     0 .. 32 warps - 1      the threads of the block
 *     .. + BARRIER_AGENTS    bulk copies and cp.async that complete on an mbarrier: phases of it
 *     .. + WARPGROUPS        reads by wgmma: groups of the warpgroup that have ended
 *
 * Two shortcuts make the common block cheap.  What was done up to `floor` is behind everybody: a
 * barrier of the whole block only moves it.  What a warp did before `synced` is behind all its
 * lanes: bar.warp.sync of all of them only moves that.  While nothing else orders threads there are
 * no vectors at all; the first mbarrier, barrier of a part of the block or bar.warp.sync of a part
 * of a warp makes them (`exact`).
 *
 * With vectors, the lanes of a warp share one (`base`) until one of them learns or is synchronised
 * alone; then it has a clock of its own up to the next bar.warp.sync of the warp.
 */
#ifndef VGPU_CLOCK_H
#define VGPU_CLOCK_H

#include <stdint.h>

#include "shared.h"

enum { BARRIER_AGENTS = 64, WARPGROUPS = MAX_WARPS / 4 };
enum { CLOCK_ANY_LANE = -1 }; /* whoever of the warp knows best */

struct clock_warp {
    uint32_t epoch;
    uint32_t synced;
    int released;         /* somebody has been told of `epoch` */
    uint32_t alive;       /* lanes that have not exited */
    uint32_t *base;       /* NULL before the first vector */
    uint32_t *own[LANES]; /* kept once made */
    uint32_t apart;       /* lanes whose `own` counts */
    uint32_t *news;       /* what `heard` lanes have just acquired, one after the other */
    uint64_t news_from;   /* which release that was */
    uint32_t heard;
};

struct clocks {
    uint32_t time;
    uint32_t born; /* what is older belongs to another block */
    uint32_t floor;
    int exact;
    int warps;
    uint32_t size; /* components */
    uint32_t room; /* components that the vectors have space for */
    int failed;    /* no memory for a vector: orders are assumed from here on */
    struct clock_warp warp[MAX_WARPS];
};

void clock_begin(struct clocks *c, int warps);
void clock_close(struct clocks *c);
void clock_exact(struct clocks *c);

/* Number of a component. */
uint32_t clock_of_barrier(const struct clocks *c, uint32_t agent);
uint32_t clock_of_warpgroup(const struct clocks *c, uint32_t warpgroup);

/* A clock of this block, all zero; NULL when there is no memory. */
uint32_t *clock_new(const struct clocks *c);
void clock_join(const struct clocks *c, uint32_t *into, const uint32_t *from);

/* The epoch for what `warp` does now. */
uint32_t clock_epoch(struct clocks *c, int warp);

void clock_exit(struct clocks *c, int warp, uint32_t lanes);
void clock_warp_sync(struct clocks *c, int warp, uint32_t lanes);
void clock_barrier(struct clocks *c, uint32_t warps);

/* `into` learns what the lane knows and did. */
void clock_release(struct clocks *c, int warp, int lane, uint32_t *into);
/* The lane learns `from`; `name` tells releases apart. */
void clock_acquire(struct clocks *c, int warp, int lane, const uint32_t *from, uint64_t name);
/* All lanes of the warp learn that a component has reached `value`. */
void clock_learn(struct clocks *c, int warp, uint32_t component, uint32_t value);

uint32_t clock_known(struct clocks *c, int warp, int lane, uint32_t component);
/* 1 when what `lanes` of warp `other` did in `epoch` is behind this lane.  No lanes: it is not known
 * which, one that is behind will do. */
int clock_behind(struct clocks *c, int warp, int lane, int other, uint32_t lanes, uint32_t epoch);

#endif
