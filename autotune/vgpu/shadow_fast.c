/* shadow_fast.c -- the common accesses to shared memory: nothing is wrong, whole words, no lists
 *
 * Most of what a warp touches was written before the last barrier and is read by few.  That is seen
 * from the columns alone, four words at a time for accesses of 16 bytes.  Whatever is not, takes the
 * way of shadow.c, which says what is right: this file only answers sooner.
 */
#include <string.h>

#include "shared_state.h"

typedef int32_t quad __attribute__((vector_size(16))); /* epochs are below 2^31 */

enum { QUAD = 4 };
static const uint32_t every_byte = 0x01010101; /* the flags or writers of four words are a number */

/* What the words are compared with. */
struct now {
    struct shadow *h;
    int32_t floor;  /* what is not above it is behind everybody */
    int32_t synced; /* what the warp itself did before it is behind all its lanes */
    int32_t epoch;
    uint32_t warp, warps; /* number, as a set */
    int several;          /* the columns may hold readers of several warps */
};

static struct now now_of(const struct actor *a)
{
    const struct clocks *c = &a->s->clock;
    return (struct now){.h = &a->s->shadow,
                        .floor = (int32_t)c->floor,
                        .synced = (int32_t)c->warp[a->warp].synced,
                        .epoch = (int32_t)a->epoch,
                        .warp = (uint32_t)a->warp,
                        .warps = 1u << a->warp,
                        .several = !c->exact};
}

static quad load(const uint32_t *column)
{
    quad q;
    memcpy(&q, column, sizeof q);
    return q;
}

static void store(uint32_t *column, quad q) { memcpy(column, &q, sizeof q); }

static quad all(int32_t value) { return (quad){0} + value; }

static int is_none(quad q)
{
    uint64_t half[2];
    memcpy(half, &q, sizeof half);
    return (half[0] | half[1]) == 0;
}

static quad choose(quad which, quad yes, quad no) { return (which & yes) | (~which & no); }

/* ---- does a word say that nothing is wrong? ---- */

static int writer_behind(const struct now *n, uint32_t word, uint32_t lane)
{
    const int32_t e = (int32_t)n->h->write_epoch[word];
    if (e <= n->floor) return 1;
    return n->h->writer[word] == n->warp && e < EPOCH_AGENT &&
           (e < n->synced || n->h->write_lanes[word] == lane);
}

static int readers_behind(const struct now *n, uint32_t word, uint32_t lane)
{
    const int32_t e = (int32_t)n->h->read_epoch[word];
    if (e <= n->floor) return 1;
    return n->h->readers[word] == n->warps && e != EPOCH_LIST &&
           (e < n->synced || n->h->read_lanes[word] == lane);
}

/* The columns can take this read without a list. */
static int can_note(const struct now *n, uint32_t word, uint32_t lane)
{
    const int32_t e = (int32_t)n->h->read_epoch[word];
    if (e <= n->floor) return 1;
    if (e == EPOCH_LIST) return 0;
    if (n->several) return 1;
    return n->h->readers[word] == n->warps &&
           (e == n->epoch || e < n->synced || n->h->read_lanes[word] == lane);
}

static int read_fits(const struct now *n, uint32_t word, uint32_t words, uint32_t lane)
{
    for (uint32_t w = word; w < word + words; w++)
        if (n->h->flags[w] != WHOLE || !writer_behind(n, w, lane) || !can_note(n, w, lane))
            return 0;
    return 1;
}

static int write_fits(const struct now *n, uint32_t word, uint32_t words, uint32_t lane)
{
    for (uint32_t w = word; w < word + words; w++)
        if (n->h->flags[w] >> WORD || !writer_behind(n, w, lane) || !readers_behind(n, w, lane))
            return 0;
    return 1;
}

/* Four words at once: zero when all fit because they are behind everybody; else it is not known. */
static quad read_doubt(const struct now *n, uint32_t word)
{
    const quad reads = load(n->h->read_epoch + word), floor = all(n->floor);
    uint32_t flags;
    memcpy(&flags, n->h->flags + word, sizeof flags);
    const quad live = n->several ? reads == all(EPOCH_LIST) : reads > floor;
    return (load(n->h->write_epoch + word) > floor) | live |
           all((int32_t)(flags ^ WHOLE * every_byte));
}

static quad write_doubt(const struct now *n, uint32_t word)
{
    const quad floor = all(n->floor);
    uint32_t flags;
    memcpy(&flags, n->h->flags + word, sizeof flags);
    return (load(n->h->write_epoch + word) > floor) | (load(n->h->read_epoch + word) > floor) |
           all((int32_t)(flags & (WHOLE << WORD) * every_byte));
}

/* ---- notes ---- */

static void note_read(const struct now *n, uint32_t word, uint32_t lane)
{
    struct shadow *h = n->h;
    const int32_t e = (int32_t)h->read_epoch[word];
    const int live = e > n->floor, alone = h->readers[word] == n->warps;
    if (live && alone && e == n->epoch) {
        h->read_lanes[word] |= lane;
        return;
    }
    const int replaced = !live || (alone && (e < n->synced || h->read_lanes[word] == lane));
    h->read_epoch[word] = (uint32_t)n->epoch;
    if (replaced) h->read_lanes[word] = lane;
    h->readers[word] = replaced ? n->warps : h->readers[word] | n->warps;
}

static void note_read_quad(const struct now *n, uint32_t word, uint32_t lane)
{
    struct shadow *h = n->h;
    const quad e = load(h->read_epoch + word), lanes = load(h->read_lanes + word);
    const quad readers = load(h->readers + word);
    const quad warps = all((int32_t)n->warps), mine = all((int32_t)lane), epoch = all(n->epoch);
    const quad live = e > all(n->floor), alone = readers == warps,
               again = live & alone & (e == epoch);
    const quad stays = live & ~(alone & ((e < all(n->synced)) | (lanes == mine)));
    store(h->read_epoch + word, epoch);
    store(h->read_lanes + word, choose(stays | again, lanes | (again & mine), mine));
    store(h->readers + word, (stays & readers) | warps);
}

static void note_write(const struct now *n, uint32_t word, uint32_t lane)
{
    struct shadow *h = n->h;
    h->flags[word] = WHOLE;
    h->writer[word] = (uint8_t)n->warp;
    h->write_epoch[word] = (uint32_t)n->epoch;
    h->write_lanes[word] = lane;
    h->read_epoch[word] = 0;
}

static void note_write_quad(const struct now *n, uint32_t word, uint32_t lane)
{
    struct shadow *h = n->h;
    const uint32_t flags = WHOLE * every_byte, writer = n->warp * every_byte;
    memcpy(h->flags + word, &flags, sizeof flags);
    memcpy(h->writer + word, &writer, sizeof writer);
    store(h->write_epoch + word, all(n->epoch));
    store(h->write_lanes + word, all((int32_t)lane));
    store(h->read_epoch + word, all(0));
}

/* ---- an instruction ---- */

#define EACH(lane, mask) \
    for (uint32_t left = (mask), lane = left & -left; left; left ^= lane, lane = left & -left)

static uint32_t word_of(const uint32_t *address, uint32_t lane)
{
    return address[__builtin_ctz(lane)] / WORD;
}

static int all_fit(const struct now *n, const uint32_t *address, uint32_t mask, uint32_t words,
                   int is_write)
{
    if (words == QUAD) {
        quad doubt = {0};
        EACH(lane, mask)
        {
            const uint32_t word = word_of(address, lane);
            doubt |= is_write ? write_doubt(n, word) : read_doubt(n, word);
        }
        if (is_none(doubt)) return 1;
    }
    EACH(lane, mask)
    {
        const uint32_t word = word_of(address, lane);
        if (is_write ? !write_fits(n, word, words, lane) : !read_fits(n, word, words, lane))
            return 0;
    }
    return 1;
}

static void note(const struct now *n, uint32_t word, uint32_t words, uint32_t lane, int is_write)
{
    if (words == QUAD) {
        if (is_write)
            note_write_quad(n, word, lane);
        else
            note_read_quad(n, word, lane);
        return;
    }
    for (uint32_t w = word; w < word + words; w++)
        if (is_write)
            note_write(n, w, lane);
        else
            note_read(n, w, lane);
}

int shadow_fast(struct actor *a, const uint32_t address[LANES], uint32_t mask, uint32_t bytes)
{
    const int is_write = a->kind == SHARED_WRITE;
    const uint32_t words = bytes / WORD;
    if (words == 0 || a->kind == SHARED_ATOMIC) return 0;
    if (is_write && (a->s->stores.count || a->s->wgmma.used)) return 0;
    const struct now n = now_of(a);
    if (!all_fit(&n, address, mask, words, is_write)) return 0;
    EACH(lane, mask) note(&n, word_of(address, lane), words, lane, is_write);
    return 1;
}

/* ---- copies ---- */

int shadow_fast_pend(struct actor *a, uint32_t at, uint32_t bytes)
{
    const struct now n = now_of(a);
    const uint32_t word = at / WORD, words = bytes / WORD, lane = 1u << a->lane;
    if (a->s->stores.count || a->s->wgmma.used) return 0;
    if (!(words == QUAD && is_none(write_doubt(&n, word))) && !write_fits(&n, word, words, lane))
        return 0;
    for (uint32_t w = word; w < word + words; w++) n.h->flags[w] |= WHOLE << WORD;
    return 1;
}

int shadow_fast_land(struct actor *a, uint32_t at, uint32_t bytes)
{
    const struct now n = now_of(a);
    const uint32_t word = at / WORD, words = bytes / WORD;
    if (a->s->wgmma.used) return 0;
    for (uint32_t w = word; w < word + words; w++)
        if (n.h->write_epoch[w] >= EPOCH_OBJECT || n.h->read_epoch[w] == EPOCH_LIST) return 0;
    note(&n, word, words, 1u << a->lane, 1);
    return 1;
}
