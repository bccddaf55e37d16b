/* clock.c -- what each thread of a block knows of what the others have done: vector clocks */
#include "clock.h"

#include <stdlib.h>
#include <string.h>

static uint32_t largest(uint32_t a, uint32_t b) { return a > b ? a : b; }

static uint32_t thread_of(int warp, int lane) { return (uint32_t)(warp * LANES + lane); }

uint32_t clock_of_barrier(const struct clocks *c, uint32_t agent)
{
    return (uint32_t)(c->warps * LANES) + agent % BARRIER_AGENTS;
}

uint32_t clock_of_warpgroup(const struct clocks *c, uint32_t warpgroup)
{
    return (uint32_t)(c->warps * LANES) + BARRIER_AGENTS + warpgroup;
}

static uint32_t first_agent(const struct clocks *c) { return (uint32_t)(c->warps * LANES); }

uint32_t *clock_new(const struct clocks *c) { return calloc(c->size, sizeof(uint32_t)); }

__attribute__((optimize("O3"))) void clock_join(const struct clocks *c, uint32_t *into,
                                                const uint32_t *from)
{
    for (uint32_t i = 0; i < c->size; i++) into[i] = largest(into[i], from[i]);
}

/* ---- vectors ---- */

static void drop_vectors(struct clocks *c)
{
    for (int w = 0; w < MAX_WARPS; w++) {
        struct clock_warp *warp = &c->warp[w];
        free(warp->base);
        free(warp->news);
        for (int l = 0; l < LANES; l++) free(warp->own[l]);
        memset(warp, 0, sizeof *warp);
    }
}

void clock_begin(struct clocks *c, int warps)
{
    const uint32_t size = (uint32_t)(warps * LANES) + BARRIER_AGENTS + WARPGROUPS;
    if (size > c->room) {
        drop_vectors(c);
        c->room = size;
    }
    c->warps = warps;
    c->size = size;
    c->exact = c->failed = 0;
    c->born = c->floor = c->time;
    c->time++;
    for (int w = 0; w < warps; w++) {
        struct clock_warp *warp = &c->warp[w];
        warp->epoch = warp->synced = c->time;
        warp->released = 0;
        warp->alive = 0xffffffffu;
        warp->apart = warp->heard = 0;
    }
}

void clock_close(struct clocks *c) { drop_vectors(c); }

void clock_exact(struct clocks *c)
{
    if (c->exact || c->failed) return;
    for (int w = 0; w < c->warps; w++) {
        struct clock_warp *warp = &c->warp[w];
        if (!warp->base) warp->base = malloc(c->room * sizeof(uint32_t));
        if (!warp->news) warp->news = malloc(c->room * sizeof(uint32_t));
        if (!warp->base || !warp->news) {
            c->failed = 1;
            return;
        }
        memset(warp->base, 0, c->size * sizeof(uint32_t));
        for (int l = 0; l < LANES; l++) warp->base[thread_of(w, l)] = warp->synced - 1;
    }
    c->exact = 1;
}

/* What a lane knows, as of its last acquire. */
static uint32_t *view(struct clock_warp *warp, int lane)
{
    return warp->apart >> lane & 1 ? warp->own[lane] : warp->base;
}

/* The lane's own clock, made from the warp's; without memory the warp's, which then learns too much. */
static uint32_t *step_apart(struct clocks *c, struct clock_warp *warp, int lane)
{
    if (warp->apart >> lane & 1) return warp->own[lane];
    if (!warp->own[lane]) warp->own[lane] = malloc(c->room * sizeof(uint32_t));
    if (!warp->own[lane]) return warp->base;
    memcpy(warp->own[lane], warp->base, c->size * sizeof(uint32_t));
    warp->apart |= 1u << lane;
    return warp->own[lane];
}

/* Hand out what lanes have acquired: all lanes at once when all of them did. */
static void settle(struct clocks *c, struct clock_warp *warp)
{
    if (!warp->heard) return;
    const int all = (warp->heard & warp->alive) == warp->alive;
    if (all) clock_join(c, warp->base, warp->news);
    for (int l = 0; l < LANES; l++) {
        if (all && !(warp->apart >> l & 1)) continue;
        if (warp->heard >> l & 1) clock_join(c, step_apart(c, warp, l), warp->news);
    }
    warp->heard = 0;
}

uint32_t clock_epoch(struct clocks *c, int warp)
{
    struct clock_warp *w = &c->warp[warp];
    if (w->released) {
        w->epoch = ++c->time;
        w->released = 0;
    }
    return w->epoch;
}

/* ---- what orders ---- */

void clock_exit(struct clocks *c, int warp, uint32_t lanes) { c->warp[warp].alive &= ~lanes; }

/* A new epoch in which all lanes of the warp are behind what they did. */
static void renew(struct clocks *c, struct clock_warp *warp)
{
    warp->epoch = warp->synced = c->time;
    warp->released = 0;
    warp->apart = 0;
}

/* The warp's lanes know the same: what any of them knew, and what all did. */
static void gather(struct clocks *c, int w)
{
    struct clock_warp *warp = &c->warp[w];
    settle(c, warp);
    for (int l = 0; l < LANES; l++)
        if (warp->apart >> l & 1) clock_join(c, warp->base, warp->own[l]);
    warp->apart = 0;
    for (int l = 0; l < LANES; l++) warp->base[thread_of(w, l)] = warp->epoch;
}

static void sync_some(struct clocks *c, int w, uint32_t lanes)
{
    struct clock_warp *warp = &c->warp[w];
    clock_exact(c);
    if (!c->exact) return;
    settle(c, warp);
    uint32_t *all = NULL;
    for (int l = 0; l < LANES; l++) {
        if (!(lanes >> l & 1)) continue;
        uint32_t *own = step_apart(c, warp, l);
        if (all)
            clock_join(c, all, own);
        else
            all = own;
        all[thread_of(w, l)] = warp->epoch;
    }
    for (int l = 0; l < LANES; l++)
        if (lanes >> l & 1 && view(warp, l) != all)
            memcpy(view(warp, l), all, c->size * sizeof(uint32_t));
    warp->released = 1;
}

void clock_warp_sync(struct clocks *c, int w, uint32_t lanes)
{
    struct clock_warp *warp = &c->warp[w];
    lanes &= warp->alive;
    if (lanes != warp->alive) {
        if (lanes & (lanes - 1)) sync_some(c, w, lanes); /* a lane alone is ordered already */
        return;
    }
    if (c->exact) gather(c, w);
    c->time++;
    renew(c, warp);
}

static uint32_t living(const struct clocks *c)
{
    uint32_t warps = 0;
    for (int w = 0; w < c->warps; w++)
        if (c->warp[w].alive) warps |= 1u << w;
    return warps;
}

/* Everything done so far is behind everybody; left to exchange is what they know of agents. */
static void barrier_of_all(struct clocks *c)
{
    const uint32_t first = first_agent(c);
    uint32_t *all = c->warp[0].base;
    for (int w = 0; c->exact && w < c->warps; w++) {
        gather(c, w);
        for (uint32_t i = first; i < c->size; i++) all[i] = largest(all[i], c->warp[w].base[i]);
    }
    for (int w = 1; c->exact && w < c->warps; w++)
        memcpy(c->warp[w].base + first, all + first, (c->size - first) * sizeof(uint32_t));
    c->floor = c->time++;
    for (int w = 0; w < c->warps; w++) renew(c, &c->warp[w]);
}

static void barrier_of_some(struct clocks *c, uint32_t warps)
{
    clock_exact(c);
    if (!c->exact) return;
    uint32_t *all = NULL;
    for (int w = 0; w < c->warps; w++) {
        if (!(warps >> w & 1)) continue;
        gather(c, w);
        if (all)
            clock_join(c, all, c->warp[w].base);
        else
            all = c->warp[w].base;
    }
    c->time++;
    for (int w = 0; w < c->warps; w++) {
        if (!(warps >> w & 1)) continue;
        if (c->warp[w].base != all) memcpy(c->warp[w].base, all, c->size * sizeof(uint32_t));
        renew(c, &c->warp[w]);
    }
}

void clock_barrier(struct clocks *c, uint32_t warps)
{
    const uint32_t all = living(c);
    if ((warps & all) == all)
        barrier_of_all(c);
    else
        barrier_of_some(c, warps);
}

void clock_release(struct clocks *c, int warp, int lane, uint32_t *into)
{
    struct clock_warp *w = &c->warp[warp];
    if (!c->exact) return;
    settle(c, w);
    clock_join(c, into, view(w, lane));
    into[thread_of(warp, lane)] = w->epoch;
    w->released = 1;
}

void clock_acquire(struct clocks *c, int warp, int lane, const uint32_t *from, uint64_t name)
{
    struct clock_warp *w = &c->warp[warp];
    if (!c->exact) return;
    if (w->heard && (w->news_from != name || w->heard >> lane & 1)) settle(c, w);
    if (!w->heard) memcpy(w->news, from, c->size * sizeof(uint32_t));
    w->news_from = name;
    w->heard |= 1u << lane;
}

void clock_learn(struct clocks *c, int warp, uint32_t component, uint32_t value)
{
    struct clock_warp *w = &c->warp[warp];
    if (!c->exact) return;
    settle(c, w);
    w->base[component] = largest(w->base[component], value);
    for (int l = 0; l < LANES; l++)
        if (w->apart >> l & 1) w->own[l][component] = largest(w->own[l][component], value);
}

/* ---- questions ---- */

uint32_t clock_known(struct clocks *c, int warp, int lane, uint32_t component)
{
    struct clock_warp *w = &c->warp[warp];
    if (!c->exact) return 0;
    settle(c, w);
    if (lane != CLOCK_ANY_LANE) return view(w, lane)[component];
    uint32_t best = w->base[component];
    for (uint32_t left = w->apart; left; left &= left - 1)
        best = largest(best, w->own[__builtin_ctz(left)][component]);
    return best;
}

int clock_behind(struct clocks *c, int warp, int lane, int other, uint32_t lanes, uint32_t epoch)
{
    if (epoch <= c->floor || c->failed) return 1;
    if (other == warp) {
        if (epoch < c->warp[warp].synced) return 1;
        if (lane == CLOCK_ANY_LANE) return 1; /* the whole warp acts: it is behind itself */
        if (lanes == 1u << lane) return 1;
        lanes &= ~(1u << lane);
    }
    if (!c->exact) return 0;
    if (!lanes) {
        for (int l = 0; l < LANES; l++)
            if (clock_known(c, warp, lane, thread_of(other, l)) >= epoch) return 1;
        return 0;
    }
    for (int l = 0; l < LANES; l++)
        if (lanes >> l & 1 && clock_known(c, warp, lane, thread_of(other, l)) < epoch) return 0;
    return 1;
}
