/* bulk_copy.c -- bulk copies (TMA): loads that land on an mbarrier, stores that read for a while
 *
 * A load is one block of memory: its pieces, the clock of its issuer, its bytes.  It waits on its
 * barrier's list.  A store reads at once, but what it reads must stay until its group is waited for:
 * then it counts as a read of the thread that issued it.
 */
#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

struct bulk {
    struct bulk *next;
    struct shared_piece *piece; /* `from`: within this block */
    uint32_t count, tx;
    uint32_t *clock; /* of the issuer; NULL without checks */
};

uint32_t bulk_tx(const struct bulk *b) { return b->tx; }

const struct bulk *bulk_next(const struct bulk *b) { return b->next; }

/* ---- loads ---- */

static struct bulk *copied(const struct shared *s, const struct shared_piece *piece, uint32_t count,
                           uint32_t tx)
{
    size_t bytes = sizeof(struct bulk) + count * sizeof *piece + s->clock.size * sizeof(uint32_t);
    for (uint32_t i = 0; i < count; i++) bytes += piece[i].bytes;
    struct bulk *b = malloc(bytes);
    if (!b) return NULL;
    *b = (struct bulk){.piece = (struct shared_piece *)(b + 1), .count = count, .tx = tx};
    uint32_t *clock = (uint32_t *)(b->piece + count);
    uint8_t *data = (uint8_t *)(clock + s->clock.size);
    if (s->checking) b->clock = memset(clock, 0, s->clock.size * sizeof *clock);
    for (uint32_t i = 0; i < count; i++) {
        b->piece[i] = (struct shared_piece){piece[i].to, piece[i].bytes, data};
        if (piece[i].from)
            memcpy(data, piece[i].from, piece[i].bytes);
        else
            memset(data, 0, piece[i].bytes);
        data += piece[i].bytes;
    }
    return b;
}

/* The async proxy must see that the barrier is one. */
static void check_init_fence(struct shared *s, const struct barrier *b, int warp, int lane)
{
    if (b->fence_epoch &&
        clock_behind(&s->clock, warp, lane, b->init_warp, 1u << b->init_lane, b->fence_epoch))
        return;
    report_fault(s->place, VGPU_FENCE, lane,
                 "mbarrier 0x%x is used by a bulk copy; thread %d initialised it without a "
                 "fence.mbarrier_init or fence.proxy.async after",
                 b->at, b->init_warp * LANES + b->init_lane);
}

static void check_pieces(struct shared *s, int warp, int lane, const struct bulk *b)
{
    struct actor a = shared_actor(s, warp, lane, SHARED_WRITE);
    a.async_proxy = 1;
    for (uint32_t i = 0; i < b->count; i++) {
        shadow_check(&a, b->piece[i].to, b->piece[i].bytes);
        shadow_pend(&s->shadow, b->piece[i].to, b->piece[i].bytes);
    }
}

/* Keep the pieces that lie in the block's memory; one finding is enough. */
static void keep_inside(struct shared *s, int lane, struct bulk *b)
{
    uint32_t kept = 0;
    int told = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct shared_piece p = b->piece[i];
        const int inside = (uint64_t)p.to + p.bytes <= s->size;
        if (inside && p.bytes)
            b->piece[kept++] = p;
        else if (!inside && !told++)
            shared_inside(s, lane, p.to, p.bytes, 1);
    }
    b->count = kept;
}

void shared_bulk_load(struct shared *s, int warp, int lane, const struct shared_piece *piece,
                      uint32_t count, uint32_t tx, uint32_t barrier)
{
    struct barrier *at = barriers_use(s, warp, lane, barrier);
    struct bulk *b = copied(s, piece, count, tx);
    if (!b) return;
    keep_inside(s, lane, b);
    if (s->checking) {
        clock_exact(&s->clock);
        if (at) check_init_fence(s, at, warp, lane);
        check_pieces(s, warp, lane, b);
        clock_release(&s->clock, warp, lane, b->clock);
    }
    if (!at) { /* never lands */
        free(b);
        return;
    }
    if (at->last)
        at->last->next = b;
    else
        at->first = b;
    at->last = b;
}

void bulk_land(struct shared *s, struct barrier *at)
{
    struct bulk *b = at->first;
    at->first = b->next;
    if (!at->first) at->last = NULL;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct shared_piece *p = &b->piece[i];
        memcpy(s->bytes + p->to, p->from, p->bytes);
        if (s->checking) shadow_land_agent(s, at->agent, barriers_stamp(s, at), p->to, p->bytes);
    }
    if (s->checking && b->clock) clock_join(&s->clock, at->arriving, b->clock);
    at->tx -= b->tx;
    free(b);
}

void bulk_drop(struct barrier *at)
{
    while (at->first) {
        struct bulk *b = at->first;
        at->first = b->next;
        free(b);
    }
    at->last = NULL;
}

/* ---- stores ---- */

void bulk_begin(struct shared *s)
{
    s->stores.count = 0;
    memset(s->stores.group, 0, sizeof s->stores.group);
}

void bulk_close(struct shared *s)
{
    free(s->stores.item);
    memset(&s->stores, 0, sizeof s->stores);
}

uint32_t shared_bulk_store(struct shared *s, int warp, int lane, uint32_t from, uint32_t bytes)
{
    if (!shared_inside(s, lane, from, bytes, COPY_MOST)) return 0;
    if (!s->checking || !bytes) return 1;
    struct actor a = shared_actor(s, warp, lane, SHARED_READ);
    a.async_proxy = 1;
    shadow_check(&a, from, bytes);
    struct stores *all = &s->stores;
    struct store *grown = shared_grow(all->item, &all->room, all->count + 1, sizeof *grown);
    if (!grown) return 1;
    all->item = grown;
    all->item[all->count++] =
        (struct store){from, bytes, all->group[warp * LANES + lane], warp, lane};
    return 1;
}

void shared_bulk_commit(struct shared *s, int warp, int lane)
{
    s->stores.group[warp * LANES + lane]++;
}

void shared_bulk_wait(struct shared *s, int warp, int lane, int groups_left)
{
    struct stores *all = &s->stores;
    const int64_t limit = (int64_t)all->group[warp * LANES + lane] - groups_left;
    struct actor a = shared_actor(s, warp, lane, SHARED_READ);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct store *store = &all->item[i];
        if (store->warp == warp && store->lane == lane && store->group < limit) {
            if (s->checking) shadow_update(&a, store->from, store->bytes);
        } else {
            all->item[kept++] = *store;
        }
    }
    all->count = kept;
}

void bulk_check_write(struct actor *a, uint32_t at, uint32_t bytes)
{
    const struct stores *all = &a->s->stores;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct store *store = &all->item[i];
        if (at >= store->from + store->bytes || store->from >= at + bytes) continue;
        shadow_report(a, VGPU_PENDING,
                      "shared 0x%x is overwritten while a bulk store of thread %d reads it: its "
                      "group has not been waited for",
                      at, store->warp * LANES + store->lane);
    }
}
