/* shared.h -- the shared memory of a block: bytes, who touched them, and what orders the touches
 *
 * Model.  Each warp has a vector clock; an access is a race when an earlier conflicting one of
 * another warp is not behind this warp's clock (FastTrack, PLDI 2009).  Within a warp, lanes are
 * ordered by bar.warp.sync and by barriers only: a write and a later access by another lane of the
 * same warp without one in between is a race too.  What orders warps:
 *     bar.sync, bar.red, named barriers          all that take part join their clocks
 *     mbarrier arrive -> a wait that succeeds    release and acquire through the barrier's phase
 *     bulk copies (TMA) -> mbarrier              the copy is an agent: it starts with its issuer's
 *                                                clock, its completion joins the phase
 *     cp.async -> wait_group / mbarrier arrive   the issuing thread only, until it releases
 * Proxies: generic accesses before an async-proxy access (TMA store, TMA load over them, wgmma
 * operands) need fence.proxy.async between; else VGPU_FENCE.
 * Asynchronous operations land as late as they legally may: cp.async at the wait, bulk copies when a
 * wait on their barrier needs them, wgmma at its wait_group; until then their bytes are pending.
 *
 * All functions report through report.h and go on.  One block, one thread at a time.
 */
#ifndef VGPU_SHARED_H
#define VGPU_SHARED_H

#include <stdint.h>

#include "report.h"

enum { LANES = 32, MAX_WARPS = 32 };
enum shared_kind { SHARED_READ, SHARED_WRITE, SHARED_ATOMIC };

struct shared;

/* checks 0: only bytes, and bounds. */
struct shared *shared_open(int checks); /* NULL: no memory */
void shared_close(struct shared *s);
/* Start of a block: `bytes` of memory (grows as needed), `warps` warps; nothing initialised, all clocks
 * new. 0 when there is no memory. */
int shared_begin(struct shared *s, uint32_t bytes, int warps, struct report_place *place);
uint8_t *shared_bytes(struct shared *s);

/* One instruction of a warp: lane l of `mask` accesses `bytes` bytes (1..16) at address[l].  Checks
 * bounds, alignment, initialisation, pending, races; returns the mask of lanes that may go on, and
 * adds the wavefronts (bank conflicts) to *wavefronts. */
uint32_t shared_access(struct shared *s, int warp, const uint32_t address[LANES], uint32_t mask,
                       uint32_t bytes, enum shared_kind kind, uint64_t *wavefronts);

/* ---- what orders ---- */
void shared_warp_sync(struct shared *s, int warp, uint32_t lanes);
void shared_barrier(struct shared *s, uint32_t warps); /* these warps met */
void shared_proxy_fence(struct shared *s, int warp);   /* fence.proxy.async */
void shared_mbarrier_init_fence(struct shared *s, int warp);

/* ---- mbarriers: 8-byte objects in shared memory; misuse is VGPU_BARRIER ---- */
void shared_mbarrier_init(struct shared *s, int warp, int lane, uint32_t at, uint32_t count);
void shared_mbarrier_invalidate(struct shared *s, int warp, int lane, uint32_t at);
/* Arrive `count` times and expect `tx` more bytes; returns the phase state token. */
uint64_t shared_mbarrier_arrive(struct shared *s, int warp, int lane, uint32_t at, uint32_t count,
                                uint32_t tx);
void shared_mbarrier_expect(struct shared *s, int warp, int lane, uint32_t at, uint32_t tx);
/* 1 when the phase of this parity has completed (then this warp acquires it), else 0.  May land
 * bulk copies. */
int shared_mbarrier_test(struct shared *s, int warp, int lane, uint32_t at, uint32_t parity);
int shared_mbarrier_test_state(struct shared *s, int warp, int lane, uint32_t at, uint64_t state);

/* ---- cp.async: bytes arrive at the wait ---- */
/* from: host bytes, already checked; NULL when `have` is 0.  `have` bytes of `size` are copied, the
 * rest becomes zero. */
void shared_copy_issue(struct shared *s, int warp, int lane, uint32_t to, const void *from,
                       uint32_t have, uint32_t size);
void shared_copy_commit(struct shared *s, int warp, uint32_t lanes);
void shared_copy_wait(struct shared *s, int warp, uint32_t lanes, int groups_left); /* -1: all */
/* cp.async.mbarrier.arrive[.noinc]: the barrier is arrived at when the lane's copies have landed. */
void shared_copy_arrive(struct shared *s, int warp, int lane, uint32_t at, int noinc);

/* ---- bulk copies (TMA) ---- */
struct shared_piece { /* up to 16 bytes */
    uint32_t to;      /* in shared memory */
    uint32_t bytes;
    const void *from; /* NULL: zeros */
};
/* A bulk load: pieces are copied by shared_bulk_load (it keeps its own list); counts `tx` bytes on the
 * barrier when it lands. */
void shared_bulk_load(struct shared *s, int warp, int lane, const struct shared_piece *piece,
                      uint32_t count, uint32_t tx, uint32_t barrier);
/* A bulk store reads shared memory by the async proxy: checks now, and until its group is waited for
 * (.read) its source must not be overwritten. */
uint32_t shared_bulk_store(struct shared *s, int warp, int lane, uint32_t from, uint32_t bytes);
void shared_bulk_commit(struct shared *s, int warp, int lane);
void shared_bulk_wait(struct shared *s, int warp, int lane, int groups_left);

/* ---- wgmma: operands in shared memory are read by the async proxy until the wait ---- */
/* Checks a read of `bytes` at `at` by the async proxy, now, and notes it as under way. */
void shared_wgmma_read(struct shared *s, int warp, uint32_t at, uint32_t bytes);
void shared_wgmma_commit(struct shared *s, int warp);
/* The reads of all but the last `groups_left` groups have ended: they happen here. */
void shared_wgmma_wait(struct shared *s, int warp, int groups_left);

/* 1 when anything asynchronous could still make a waiting warp go on. */
int shared_can_progress(const struct shared *s);

#endif
