/* shared_state.h -- a block's shared memory as its own files see it
 *
 * shared.c       bytes, bounds, one access
 * shadow.c       who touched what
 * shadow_row.c   the same, for the common access
 * banks.c        bank conflicts
 * clock.c        who knows what
 * mbarrier.c     phases
 * async_copy.c   cp.async
 * bulk_copy.c    TMA loads and stores
 * wgmma_reads.c  operands under way
 * proxy.c        fences between the generic and the async proxy
 */
#ifndef VGPU_SHARED_STATE_H
#define VGPU_SHARED_STATE_H

#include "clock.h"
#include "shadow.h"
#include "shared.h"

/* ---- mbarriers ---- */

struct bulk; /* a bulk load under way (bulk_copy.c) */

/* cp.async.mbarrier.arrive: lane's copies up to `serial` must have landed first. */
struct deferred {
    int warp, lane;
    uint32_t serial;
};

struct barrier {
    int live;
    uint32_t at;
    uint32_t count;  /* arrivals of a phase */
    int64_t pending; /* arrivals missing */
    int64_t tx;      /* bytes missing; below zero when they come before they are expected */
    uint64_t phase;
    uint32_t agent; /* its number among the barriers: clock component of its copies */
    int init_warp, init_lane;
    uint32_t init_epoch;
    uint32_t fence_epoch;      /* 0: the async proxy may not have seen the init */
    uint32_t *arriving;        /* clock of those who arrived */
    uint32_t *completed;       /* the same when the last phase ended: what a wait acquires */
    uint32_t joined_room;      /* components that the two have space for */
    struct bulk *first, *last; /* loads under way, oldest and newest */
    struct deferred *deferred;
    uint32_t deferreds, deferreds_room;
};

struct barriers {
    struct barrier *item;
    uint32_t count, room;
    uint32_t stamp[BARRIER_AGENTS]; /* phases that have ended, by component */
};

/* ---- cp.async ---- */

enum { COPY_MOST = 16 };

struct copy {
    uint32_t to;
    uint32_t group, serial;
    uint8_t lane, size;
    uint8_t data[COPY_MOST];
};

struct copies { /* of a warp; oldest first */
    struct copy *item;
    uint32_t count, room;
    uint32_t serial;
    uint32_t group[LANES];  /* that copies issued now belong to */
    uint32_t landed[LANES]; /* epoch in which the lane last waited copies in */
};

/* ---- bulk stores ---- */

struct store {
    uint32_t from, bytes, group;
    int warp, lane;
};

struct stores { /* whose source is still being read */
    struct store *item;
    uint32_t count, room;
    uint32_t group[MAX_WARPS * LANES];
};

/* ---- fences and wgmma ---- */

enum { FENCES = 16 };

struct fences { /* fence.proxy.async of a warp, the newest few */
    uint32_t epoch[FENCES], lanes[FENCES];
    uint32_t next;
    uint32_t lost; /* newest epoch that made room */
};

struct wgmma_reads {
    uint32_t *group[WARPGROUPS]; /* by word: newest group that reads it; NULL before the first */
    uint32_t room[WARPGROUPS];
    uint32_t ended[WARPGROUPS];
    uint32_t open[MAX_WARPS]; /* group that reads issued now belong to */
    uint32_t used;            /* warpgroups */
};

struct shared {
    int checks;   /* as opened */
    int checking; /* in this block: off after memory ran out */
    uint8_t *bytes;
    uint32_t size, room;
    int warps;
    struct report_place *place;
    struct clocks clock;
    struct shadow shadow;
    struct barriers barriers;
    struct copies copies[MAX_WARPS];
    struct stores stores;
    struct fences fences[MAX_WARPS];
    struct wgmma_reads wgmma;
};

struct actor shared_actor(struct shared *s, int warp, int lane, enum shared_kind kind);
/* 1 when the bytes lie in the block's memory, aligned; else reports. */
int shared_inside(struct shared *s, int lane, uint32_t at, uint64_t bytes, uint32_t align);
/* An array with place for `count` items; NULL when there is no memory, and *array stays. */
void *shared_grow(void *array, uint32_t *room, uint32_t count, size_t item_bytes);

/* Wavefronts of an access: see shared_access(). */
uint64_t banks_wavefronts(const uint32_t address[LANES], uint32_t mask, uint32_t bytes);

void barriers_begin(struct shared *s);
void barriers_close(struct shared *s);
struct barrier *barriers_find(struct shared *s, uint32_t at);
/* Somebody wrote over the object at one of these words. */
void barriers_overwritten(struct actor *a, uint32_t at);
/* The live barrier, its initialisation behind this lane; else reports and NULL. */
struct barrier *barriers_use(struct shared *s, int warp, int lane, uint32_t at);
/* The value that the phase under way will leave in the barrier's component. */
uint32_t barriers_stamp(const struct shared *s, const struct barrier *b);
void barriers_fenced(struct shared *s, int warp, uint32_t lanes);

void copies_begin(struct shared *s);
void copies_close(struct shared *s);
/* Land the lane's copies up to `serial` as writes of the barrier's phase. */
void copies_land_on(struct shared *s, const struct barrier *b, const struct deferred *d);

void bulk_begin(struct shared *s);
void bulk_close(struct shared *s);
uint32_t bulk_tx(const struct bulk *b);
const struct bulk *bulk_next(const struct bulk *b);
/* Land the oldest load of the barrier. */
void bulk_land(struct shared *s, struct barrier *b);
void bulk_drop(struct barrier *b);
/* Report a write to what a bulk store still reads. */
void bulk_check_write(struct actor *a, uint32_t at, uint32_t bytes);

void wgmma_begin(struct shared *s);
void wgmma_close(struct shared *s);
void wgmma_check_write(struct actor *a, uint32_t word);
void wgmma_written(struct shared *s, uint32_t word);

void proxy_begin(struct shared *s);
/* 1 when `lanes` of `writer` fenced what they wrote in `epoch`, and that is behind the actor. */
int proxy_fenced(struct actor *a, int writer, uint32_t lanes, uint32_t epoch);

#endif
