/* shared.h -- the shared memory of a block: bytes, who touched them, and what orders the touches
 *
 * Model.  An access is a race when an earlier conflicting one of another thread is not behind it
 * (vector clocks: FastTrack, PLDI 2009).  Bytes are told apart, and so are lanes of a warp; a write
 * must be behind every reader.  Lanes of one instruction do not race with each other, and atomics do
 * not race with atomics.  What orders threads:
 *     bar.warp.sync              the lanes that take part
 *     bar.sync, bar.red          all threads of the warps that take part
 *     mbarrier arrive -> a test  release and acquire, through the barrier's phase
 *       that succeeds
 *     bulk copies (TMA)          the copy is an agent: it starts with its issuer's clock, and is
 *       -> mbarrier              behind those who have acquired the phase it completes in
 *     cp.async -> wait_group     a write of the issuing thread, at its wait
 *     cp.async -> mbarrier       as a bulk copy, and generic
 *     wgmma -> wait_group        reads of the warpgroup; waited for by any of its warps (its four
 *                                warps issue wgmma together: who calls has them meet)
 * Order through atomics and memory fences alone (a flag that is polled) is not known here.
 * Proxies: what the generic proxy wrote, the async proxy (bulk copies, wgmma operands) may read or
 * overwrite only after a fence.proxy.async by the thread that wrote it; else VGPU_FENCE.
 * Asynchronous operations land as late as they legally may: cp.async at the wait, bulk copies when a
 * test of their barrier needs them, wgmma reads at its wait_group; until then their bytes are
 * pending.  A test lands the oldest copies of its barrier only when that ends the phase.
 *
 * All functions report through report.h and go on.  One block, one thread at a time.
 * Memory is kept from block to block and freed at the close.  Where none is left, checks end for the
 * block; bytes stay right.
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

/* One instruction of a warp: lane l of `mask` accesses `bytes` bytes (1, 2, 4, 8, 16) at address[l].
 * Checks bounds, alignment, initialisation, pending, races; returns the mask of lanes that may go on
 * (those within bounds and aligned), and adds the wavefronts to *wavefronts: with 32 banks of 4
 * bytes, 1 for up to 4 bytes a lane, 2 for 8 (half-warps), 4 for 16 (quarter-warps; a matrix of
 * ldmatrix is one) when no two different words meet in a bank. */
uint32_t shared_access(struct shared *s, int warp, const uint32_t address[LANES], uint32_t mask,
                       uint32_t bytes, enum shared_kind kind, uint64_t *wavefronts);

/* ---- what orders ---- */
void shared_warp_sync(struct shared *s, int warp, uint32_t lanes);
void shared_barrier(struct shared *s, uint32_t warps); /* these warps met */
/* These lanes have exited, or never were: nobody waits for them any more.  Not needed for what is
 * found; without it a warp that is not full, or a barrier after an exit, costs vectors. */
void shared_exit(struct shared *s, int warp, uint32_t lanes);
void shared_proxy_fence(struct shared *s, int warp, uint32_t lanes); /* fence.proxy.async */
void shared_mbarrier_init_fence(struct shared *s, int warp, uint32_t lanes);

/* ---- mbarriers: 8-byte objects in shared memory; misuse is VGPU_BARRIER ---- */
void shared_mbarrier_init(struct shared *s, int warp, int lane, uint32_t at, uint32_t count);
void shared_mbarrier_invalidate(struct shared *s, int warp, int lane, uint32_t at);
/* Expect `tx` more bytes, then arrive `count` times; returns the phase's state token. */
uint64_t shared_mbarrier_arrive(struct shared *s, int warp, int lane, uint32_t at, uint32_t count,
                                uint32_t tx);
void shared_mbarrier_expect(struct shared *s, int warp, int lane, uint32_t at, uint32_t tx);
/* 1 when the phase of this parity has completed (then this lane acquires it), else 0.  May land
 * copies.  1 as well, with a finding, where there is no barrier. */
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
/* A bulk load: pieces and their bytes are copied now; counts `tx` bytes on the barrier when it
 * lands. */
void shared_bulk_load(struct shared *s, int warp, int lane, const struct shared_piece *piece,
                      uint32_t count, uint32_t tx, uint32_t barrier);
/* A bulk store reads shared memory by the async proxy: checks now, and until its group is waited for
 * (.read or not) its source must not be overwritten.  0 when it lies outside of the memory. */
uint32_t shared_bulk_store(struct shared *s, int warp, int lane, uint32_t from, uint32_t bytes);
void shared_bulk_commit(struct shared *s, int warp, int lane);
void shared_bulk_wait(struct shared *s, int warp, int lane, int groups_left);

/* ---- wgmma: operands in shared memory are read by the async proxy until the wait ---- */
/* Checks a read of `bytes` at `at` by the async proxy, now, and notes it as under way in the open
 * group of the warp. */
void shared_wgmma_read(struct shared *s, int warp, uint32_t at, uint32_t bytes);
void shared_wgmma_commit(struct shared *s, int warp);
/* The reads of all but the last `groups_left` groups have ended: they happen here. */
void shared_wgmma_wait(struct shared *s, int warp, int groups_left);

/* 1 when landing what is under way would end the phase of some mbarrier. */
int shared_can_progress(const struct shared *s);

#endif
