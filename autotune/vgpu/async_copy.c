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

static struct copy made(struct copies *c, int lane, uint32_t to, const void *from, uint32_t have,
                        uint32_t size)
{
    struct copy copy = {.to = to,
                        .group = c->group[lane],
                        .serial = ++c->serial,
                        .lane = (uint8_t)lane,
                        .size = (uint8_t)size};
    if (have) memcpy(copy.data, from, have < size ? have : size);
    return copy;
}

void shared_copy_issue(struct shared *s, int warp, int lane, uint32_t to, const void *from,
                       uint32_t have, uint32_t size)
{
    if (!shared_inside(s, lane, to, size, size)) return;
    struct copies *c = &s->copies[warp];
    const struct copy copy = made(c, lane, to, from, have, size);
    struct actor a = shared_actor(s, warp, lane, SHARED_WRITE);
    if (s->checking) shadow_check(&a, to, size);
    struct copy *grown = shared_grow(c->item, &c->room, c->count + 1, sizeof *grown);
    if (!grown) { /* no memory to be late */
        memcpy(s->bytes + to, copy.data, size);
        if (s->checking) shadow_land(&a, to, size);
        return;
    }
    c->item = grown;
    c->item[c->count++] = copy;
    if (s->checking) shadow_pend(&s->shadow, to, size);
}

void shared_copy_commit(struct shared *s, int warp, uint32_t lanes)
{
    for (; lanes; lanes &= lanes - 1) s->copies[warp].group[__builtin_ctz(lanes)]++;
}

/* Land what `due` says of the copies, keep the rest in order. */
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
        memcpy(s->bytes + copy->to, copy->data, copy->size);
        a.lane = copy->lane;
        if (s->checking) shadow_land(&a, copy->to, copy->size);
        c->landed[copy->lane] = a.epoch;
    }
    c->count = kept;
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
        memcpy(s->bytes + copy->to, copy->data, copy->size);
        if (s->checking) shadow_land_agent(s, b->agent, barriers_stamp(s, b), copy->to, copy->size);
    }
    c->count = kept;
    if (!s->checking) return;
    uint32_t *component = &b->arriving[d->warp * LANES + d->lane];
    if (*component < c->landed[d->lane]) *component = c->landed[d->lane];
}
