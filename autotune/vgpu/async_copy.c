/* async_copy.c -- cp.async: copies of 4 to 16 bytes that land when their thread waits for them
 *
 * What a copy brings is taken when it is issued; where it goes to is pending from then on.  It lands
 * at the lane's wait, as a write of the lane there, or when an mbarrier needs the arrival that comes
 * after it, as a write of that barrier's phase.
 */
#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

void copies_begin(struct shared *s)
{
    for (int w = 0; w < MAX_WARPS; w++) {
        struct copies *c = &s->copies[w];
        c->count = c->serial = 0;
        memset(c->group, 0, sizeof c->group);
        memset(c->landed, 0, sizeof c->landed);
    }
}

void copies_close(struct shared *s)
{
    for (int w = 0; w < MAX_WARPS; w++) free(s->copies[w].item);
    memset(s->copies, 0, sizeof s->copies);
}

/* A place at the end of the queue; NULL when there is no memory. */
static struct copy *append(struct copies *c)
{
    if (c->count == c->room) {
        struct copy *grown = shared_grow(c->item, &c->room, c->count + 1, sizeof *grown);
        if (!grown) return NULL;
        c->item = grown;
    }
    return &c->item[c->count++];
}

static void fill(struct copy *copy, const void *from, uint32_t have, uint32_t size)
{
    if (have >= COPY_MOST && size == COPY_MOST) {
        memcpy(copy->data, from, COPY_MOST);
        return;
    }
    memset(copy->data, 0, COPY_MOST);
    if (have) memcpy(copy->data, from, have < size ? have : size);
}

static void put(struct shared *s, const struct copy *copy)
{
    if (copy->size == COPY_MOST)
        memcpy(s->bytes + copy->to, copy->data, COPY_MOST);
    else
        memcpy(s->bytes + copy->to, copy->data, copy->size);
}

static void pend(struct actor *a, uint32_t to, uint32_t size)
{
    if (size == COPY_MOST && shadow_row_pend(a, to)) return;
    shadow_check(a, to, size);
    shadow_pend(&a->s->shadow, to, size);
}

static void land(struct actor *a, uint32_t to, uint32_t size)
{
    if (size != COPY_MOST || !shadow_row_land(a, to)) shadow_land(a, to, size);
}

void shared_copy_issue(struct shared *s, int warp, int lane, uint32_t to, const void *from,
                       uint32_t have, uint32_t size)
{
    if (!shared_inside(s, lane, to, size, size)) return;
    struct copies *c = &s->copies[warp];
    struct actor a = shared_actor(s, warp, lane, SHARED_WRITE);
    if (s->checking) pend(&a, to, size);
    struct copy now, *copy = append(c);
    if (!copy) copy = &now; /* no memory to be late */
    copy->to = to;
    copy->group = c->group[lane];
    copy->serial = ++c->serial;
    copy->lane = (uint8_t)lane;
    copy->size = (uint8_t)size;
    fill(copy, from, have, size);
    if (copy != &now) return;
    put(s, copy);
    if (s->checking) land(&a, to, size);
}

void shared_copy_commit(struct shared *s, int warp, uint32_t lanes)
{
    for (; lanes; lanes &= lanes - 1) s->copies[warp].group[__builtin_ctz(lanes)]++;
}

void shared_copy_wait(struct shared *s, int warp, uint32_t lanes, int groups_left)
{
    struct copies *c = &s->copies[warp];
    if (groups_left < 0) { /* cp.async.wait_all commits first */
        shared_copy_commit(s, warp, lanes);
        groups_left = 0;
    }
    struct actor a = shared_actor(s, warp, 0, SHARED_WRITE);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct copy *copy = &c->item[i];
        const int due = lanes >> copy->lane & 1 &&
                        (int64_t)copy->group < (int64_t)c->group[copy->lane] - groups_left;
        if (!due) {
            c->item[kept++] = *copy;
            continue;
        }
        put(s, copy);
        a.lane = copy->lane;
        if (s->checking) land(&a, copy->to, copy->size);
        c->landed[copy->lane] = a.epoch;
    }
    c->count = kept;
    s->clock.warp[warp].released |= s->clock.exact; /* `landed` may be told to an mbarrier later */
}

void copies_land_on(struct shared *s, const struct barrier *b, const struct deferred *d)
{
    struct copies *c = &s->copies[d->warp];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct copy *copy = &c->item[i];
        if (copy->lane != d->lane || copy->serial > d->serial) {
            c->item[kept++] = *copy;
            continue;
        }
        put(s, copy);
        if (s->checking) shadow_land_agent(s, b->agent, barriers_stamp(s, b), copy->to, copy->size);
    }
    c->count = kept;
    if (!s->checking) return;
    uint32_t *component = &b->arriving[d->warp * LANES + d->lane];
    if (*component < c->landed[d->lane]) *component = c->landed[d->lane];
}
