/* proxy.c -- fence.proxy.async: what a thread wrote before it, the async proxy may touch after it
 *
 * A warp keeps its newest fences.  A write whose fence may have made room for newer ones counts as
 * fenced: no correct program is blamed for a short memory.
 */
#include <string.h>

#include "shared_state.h"

void proxy_begin(struct shared *s) { memset(s->fences, 0, sizeof s->fences); }

static void note(struct fences *f, uint32_t epoch, uint32_t lanes)
{
    const uint32_t newest = (f->next + FENCES - 1) % FENCES;
    if (f->epoch[newest] == epoch) {
        f->lanes[newest] |= lanes;
        return;
    }
    if (f->epoch[f->next]) f->lost = f->epoch[f->next];
    f->epoch[f->next] = epoch;
    f->lanes[f->next] = lanes;
    f->next = (f->next + 1) % FENCES;
}

void shared_proxy_fence(struct shared *s, int warp, uint32_t lanes)
{
    if (!s->checking) return;
    clock_exact(&s->clock);
    note(&s->fences[warp], clock_epoch(&s->clock, warp), lanes);
    s->clock.warp[warp].released = 1; /* what comes next is not fenced */
    barriers_fenced(s, warp, lanes);
}

void shared_mbarrier_init_fence(struct shared *s, int warp, uint32_t lanes)
{
    if (s->checking) barriers_fenced(s, warp, lanes);
}

int proxy_fenced(struct actor *a, int writer, uint32_t lanes, uint32_t epoch)
{
    const struct fences *f = &a->s->fences[writer];
    if (epoch <= f->lost) return 1;
    uint32_t missing = lanes;
    for (int i = 0; i < FENCES && missing; i++) {
        if (f->epoch[i] < epoch) continue;
        const uint32_t here = missing & f->lanes[i];
        if (here && clock_behind(&a->s->clock, a->warp, a->lane, writer, here, f->epoch[i]))
            missing &= ~here;
    }
    return !missing;
}
