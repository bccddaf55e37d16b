/* mbarrier.c -- mbarrier objects: phases, arrivals, missing bytes
 *
 * A phase ends when no arrival and no byte is missing.  What has been issued and not landed (bulk
 * loads, cp.async with their arrivals) lands when a test finds the phase open and landing the oldest
 * of it ends the phase: as late as a correct program can tell.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

enum { COUNT_MOST = (1 << 20) - 1, OBJECT_BYTES = 8 };

static void fault(struct shared *s, int lane, uint32_t at, const char *what)
{
    report_fault(s->place, VGPU_BARRIER, lane, "mbarrier 0x%x: %s", at, what);
}

/* ---- the block's barriers ---- */

static void forget(struct barrier *b)
{
    bulk_drop(b);
    b->live = 0;
    b->deferreds = 0;
}

void barriers_begin(struct shared *s)
{
    for (uint32_t i = 0; i < s->barriers.count; i++) forget(&s->barriers.item[i]);
    memset(s->barriers.stamp, 0, sizeof s->barriers.stamp);
}

void barriers_close(struct shared *s)
{
    for (uint32_t i = 0; i < s->barriers.count; i++) {
        struct barrier *b = &s->barriers.item[i];
        forget(b);
        free(b->arriving);
        free(b->completed);
        free(b->deferred);
    }
    free(s->barriers.item);
    memset(&s->barriers, 0, sizeof s->barriers);
}

struct barrier *barriers_find(struct shared *s, uint32_t at)
{
    for (uint32_t i = 0; i < s->barriers.count; i++)
        if (s->barriers.item[i].live && s->barriers.item[i].at == at) return &s->barriers.item[i];
    return NULL;
}

static struct barrier *unused(struct shared *s)
{
    struct barriers *all = &s->barriers;
    for (uint32_t i = 0; i < all->count; i++)
        if (!all->item[i].live) return &all->item[i];
    struct barrier *grown = shared_grow(all->item, &all->room, all->count + 1, sizeof *all->item);
    if (!grown) return NULL;
    all->item = grown;
    struct barrier *b = &all->item[all->count];
    memset(b, 0, sizeof *b);
    b->agent = all->count++;
    return b;
}

/* Clocks of a new barrier: nobody has arrived. */
static int make_clocks(struct shared *s, struct barrier *b)
{
    if (b->joined_room < s->clock.size) {
        free(b->arriving);
        free(b->completed);
        b->arriving = clock_new(&s->clock);
        b->completed = clock_new(&s->clock);
        b->joined_room = b->arriving && b->completed ? s->clock.size : 0;
    }
    if (!b->joined_room) return 0;
    memset(b->arriving, 0, s->clock.size * sizeof(uint32_t));
    memset(b->completed, 0, s->clock.size * sizeof(uint32_t));
    return 1;
}

/* Report when another thread initialised the barrier and that is not behind this one. */
static void check_visible(struct shared *s, const struct barrier *b, int warp, int lane)
{
    if (!s->checking ||
        clock_behind(&s->clock, warp, lane, b->init_warp, 1u << b->init_lane, b->init_epoch))
        return;
    report_fault(s->place, VGPU_RACE_SHARED, lane,
                 "mbarrier 0x%x is used; thread %d initialised it and nothing orders the two",
                 b->at, b->init_warp * LANES + b->init_lane);
}

struct barrier *barriers_use(struct shared *s, int warp, int lane, uint32_t at)
{
    struct barrier *b = barriers_find(s, at);
    if (b)
        check_visible(s, b, warp, lane);
    else
        fault(s, lane, at, "nothing initialised it");
    return b;
}

void barriers_fenced(struct shared *s, int warp, uint32_t lanes)
{
    const uint32_t epoch = clock_epoch(&s->clock, warp);
    for (uint32_t i = 0; i < s->barriers.count; i++) {
        struct barrier *b = &s->barriers.item[i];
        if (b->live && b->init_warp == warp && lanes >> b->init_lane & 1 && !b->fence_epoch)
            b->fence_epoch = epoch;
    }
}

void barriers_overwritten(struct actor *a, uint32_t at)
{
    shadow_report(a, VGPU_BARRIER, "mbarrier 0x%x is overwritten",
                  at / OBJECT_BYTES * OBJECT_BYTES);
}

uint32_t barriers_stamp(const struct shared *s, const struct barrier *b)
{
    return s->barriers.stamp[b->agent % BARRIER_AGENTS] + 1;
}

/* ---- phases ---- */

static int over(const struct barrier *b) { return b->pending == 0 && b->tx == 0; }

static void end_phase(struct shared *s, struct barrier *b)
{
    if (b->first)
        report_fault(s->place, VGPU_BARRIER, -1,
                     "mbarrier 0x%x: phase %" PRIu64 " ends with %u bytes of a copy still to come: "
                     "more were issued than expected",
                     b->at, b->phase, bulk_tx(b->first));
    b->phase++;
    b->pending = b->count;
    if (!s->checking) return;
    const uint32_t slot = b->agent % BARRIER_AGENTS;
    b->arriving[clock_of_barrier(&s->clock, b->agent)] = ++s->barriers.stamp[slot];
    memcpy(b->completed, b->arriving, s->clock.size * sizeof(uint32_t));
}

/* 1 when landing the oldest loads and arrivals ends the phase. */
static int can_end(const struct barrier *b)
{
    if (b->pending > b->deferreds) return 0;
    int64_t missing = b->tx;
    for (const struct bulk *bulk = b->first; bulk && missing != 0; bulk = bulk_next(bulk))
        missing -= bulk_tx(bulk);
    return missing == 0;
}

static void land(struct shared *s, struct barrier *b)
{
    uint32_t done = 0;
    for (; b->pending > 0; b->pending--) copies_land_on(s, b, &b->deferred[done++]);
    if (done) memmove(b->deferred, b->deferred + done, (b->deferreds - done) * sizeof *b->deferred);
    b->deferreds -= done;
    while (b->tx != 0) bulk_land(s, b);
    end_phase(s, b);
}

int shared_can_progress(const struct shared *s)
{
    for (uint32_t i = 0; i < s->barriers.count; i++)
        if (s->barriers.item[i].live && can_end(&s->barriers.item[i])) return 1;
    return 0;
}

/* ---- instructions ---- */

void shared_mbarrier_init(struct shared *s, int warp, int lane, uint32_t at, uint32_t count)
{
    if (!shared_inside(s, lane, at, OBJECT_BYTES, OBJECT_BYTES)) return;
    if (count < 1 || count > COUNT_MOST) {
        report_fault(s->place, VGPU_BARRIER, lane, "mbarrier 0x%x: count %u is not in 1 .. %d", at,
                     count, COUNT_MOST);
        return;
    }
    struct barrier *b = barriers_find(s, at);
    if (b) {
        fault(s, lane, at, "it is initialised, and has not been invalidated since");
        forget(b);
    } else if (s->checking) {
        struct actor a = shared_actor(s, warp, lane, SHARED_WRITE);
        shadow_check(&a, at, OBJECT_BYTES);
    }
    b = unused(s);
    if (b && s->checking) {
        clock_exact(&s->clock);
        shadow_object(&s->shadow, at);
        s->checking = s->clock.exact && make_clocks(s, b);
    }
    if (!b) return;
    b->live = 1;
    b->at = at;
    b->count = count;
    b->pending = count;
    b->tx = 0;
    b->phase = 0;
    b->init_warp = warp;
    b->init_lane = lane;
    b->init_epoch = clock_epoch(&s->clock, warp);
    b->fence_epoch = 0;
    b->first = b->last = NULL;
}

void shared_mbarrier_invalidate(struct shared *s, int warp, int lane, uint32_t at)
{
    struct barrier *b = barriers_use(s, warp, lane, at);
    if (!b) return;
    if (b->first) fault(s, lane, at, "invalidated while a copy to it is under way");
    forget(b);
    if (!s->checking) return;
    struct actor a = shared_actor(s, warp, lane, SHARED_WRITE);
    shadow_free_object(&a, at);
}

static void expect(struct shared *s, struct barrier *b, int lane, uint32_t tx)
{
    b->tx += tx;
    if (tx > COUNT_MOST || b->tx > COUNT_MOST)
        report_fault(s->place, VGPU_BARRIER, lane,
                     "mbarrier 0x%x: %" PRId64 " bytes expected, the limit is %d", b->at, b->tx,
                     COUNT_MOST);
}

static void arrive(struct shared *s, struct barrier *b, int lane, uint32_t count)
{
    if (count < 1 || count > b->pending) {
        report_fault(s->place, VGPU_BARRIER, lane,
                     "mbarrier 0x%x: %u arrivals, %" PRId64 " of %u are missing in phase %" PRIu64,
                     b->at, count, b->pending, b->count, b->phase);
        return;
    }
    b->pending -= count;
    if (over(b)) end_phase(s, b);
}

uint64_t shared_mbarrier_arrive(struct shared *s, int warp, int lane, uint32_t at, uint32_t count,
                                uint32_t tx)
{
    struct barrier *b = barriers_use(s, warp, lane, at);
    if (!b) return 0;
    const uint64_t state = b->phase;
    if (tx) expect(s, b, lane, tx);
    if (s->checking) clock_release(&s->clock, warp, lane, b->arriving);
    arrive(s, b, lane, count);
    return state;
}

void shared_mbarrier_expect(struct shared *s, int warp, int lane, uint32_t at, uint32_t tx)
{
    struct barrier *b = barriers_use(s, warp, lane, at);
    if (!b) return;
    expect(s, b, lane, tx);
    if (over(b)) end_phase(s, b);
}

static void acquire(struct shared *s, const struct barrier *b, int warp, int lane)
{
    if (s->checking)
        clock_acquire(&s->clock, warp, lane, b->completed, (uint64_t)b->at << 32 | b->phase);
}

int shared_mbarrier_test(struct shared *s, int warp, int lane, uint32_t at, uint32_t parity)
{
    struct barrier *b = barriers_use(s, warp, lane, at);
    if (!b) return 1;
    if ((b->phase & 1) == parity && can_end(b)) land(s, b);
    if ((b->phase & 1) == parity) return 0;
    acquire(s, b, warp, lane);
    return 1;
}

int shared_mbarrier_test_state(struct shared *s, int warp, int lane, uint32_t at, uint64_t state)
{
    struct barrier *b = barriers_use(s, warp, lane, at);
    if (!b) return 1;
    if (b->phase == state && can_end(b)) land(s, b);
    if (b->phase == state) return 0;
    acquire(s, b, warp, lane);
    return 1;
}

void shared_copy_arrive(struct shared *s, int warp, int lane, uint32_t at, int noinc)
{
    struct barrier *b = barriers_use(s, warp, lane, at);
    if (!b) return;
    if (!noinc) b->pending++;
    struct deferred *grown =
        shared_grow(b->deferred, &b->deferreds_room, b->deferreds + 1, sizeof *grown);
    if (!grown) return;
    b->deferred = grown;
    b->deferred[b->deferreds++] = (struct deferred){warp, lane, s->copies[warp].serial};
}
