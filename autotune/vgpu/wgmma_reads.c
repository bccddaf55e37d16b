/* wgmma_reads.c -- operands of wgmma in shared memory, read until their group is waited for
 *
 * The four warps of a warpgroup issue wgmma together and count their groups alike, so a read under
 * way is a number for each word and warpgroup: the newest group that reads it.  A wait by any of the
 * four ends it for the warpgroup; that it has ended spreads through clocks like everything else.
 */
#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

void wgmma_begin(struct shared *s)
{
    struct wgmma_reads *m = &s->wgmma;
    for (int g = 0; g < WARPGROUPS; g++) {
        if (m->used >> g & 1) memset(m->group[g], 0, m->room[g] * sizeof(uint32_t));
        m->ended[g] = 0;
    }
    m->used = 0;
    for (int w = 0; w < MAX_WARPS; w++) m->open[w] = 1;
}

void wgmma_close(struct shared *s)
{
    for (int g = 0; g < WARPGROUPS; g++) free(s->wgmma.group[g]);
    memset(&s->wgmma, 0, sizeof s->wgmma);
}

/* The warpgroup's column, as long as the block's memory. */
static uint32_t *column(struct shared *s, int warpgroup)
{
    struct wgmma_reads *m = &s->wgmma;
    if (m->room[warpgroup] < s->shadow.words) {
        free(m->group[warpgroup]);
        m->group[warpgroup] = calloc(s->shadow.words, sizeof(uint32_t));
        m->room[warpgroup] = m->group[warpgroup] ? s->shadow.words : 0;
    }
    if (m->group[warpgroup]) m->used |= 1u << warpgroup;
    return m->group[warpgroup];
}

void shared_wgmma_read(struct shared *s, int warp, uint32_t at, uint32_t bytes)
{
    if (!shared_inside(s, CLOCK_ANY_LANE, at, bytes, COPY_MOST) || !s->checking || !bytes) return;
    clock_exact(&s->clock);
    struct actor a = shared_actor(s, warp, CLOCK_ANY_LANE, SHARED_READ);
    a.async_proxy = 1;
    shadow_check(&a, at, bytes);
    uint32_t *group = column(s, warp / 4);
    if (!group) return;
    for (uint32_t word = at / WORD; word <= (at + bytes - 1) / WORD; word++)
        group[word] = s->wgmma.open[warp];
}

void shared_wgmma_commit(struct shared *s, int warp) { s->wgmma.open[warp]++; }

void shared_wgmma_wait(struct shared *s, int warp, int groups_left)
{
    struct wgmma_reads *m = &s->wgmma;
    const int64_t ended = (int64_t)m->open[warp] - 1 - groups_left;
    if (!s->checking || ended <= 0) return;
    if (ended > m->ended[warp / 4]) m->ended[warp / 4] = (uint32_t)ended;
    clock_learn(&s->clock, warp, clock_of_warpgroup(&s->clock, (uint32_t)warp / 4),
                (uint32_t)ended);
}

void wgmma_check_write(struct actor *a, uint32_t word)
{
    const struct wgmma_reads *m = &a->s->wgmma;
    struct clocks *c = &a->s->clock;
    for (uint32_t left = m->used; left; left &= left - 1) {
        const uint32_t g = (uint32_t)__builtin_ctz(left), group = m->group[g][word];
        if (!group || group <= clock_known(c, a->warp, a->lane, clock_of_warpgroup(c, g))) continue;
        if (group > m->ended[g])
            shadow_report(a, VGPU_PENDING,
                          "shared 0x%x is overwritten while a wgmma of warpgroup %u reads it: its "
                          "group has not been waited for",
                          word * WORD, g);
        else
            shadow_report(a, VGPU_RACE_SHARED,
                          "shared 0x%x is overwritten; a wgmma of warpgroup %u read it and nothing "
                          "orders the two",
                          word * WORD, g);
    }
}

void wgmma_written(struct shared *s, uint32_t word)
{
    for (uint32_t left = s->wgmma.used; left; left &= left - 1)
        s->wgmma.group[__builtin_ctz(left)][word] = 0;
}
