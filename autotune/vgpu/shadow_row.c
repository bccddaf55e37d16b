/* shadow_row.c -- the common access, all of it clean, four words at a time
 *
 * Most instructions touch whole words whose last write and reads are behind everybody, or were made
 * by the same warp before its last synchronisation.  This file knows only these, looks at all lanes,
 * and leaves a trace only when none is doubtful; everything else is for shadow.c, which decides
 * alike.  A lane with fewer than four words goes word by word; a row of neighbouring words does not.
 * Of a read of a part of a word only the check is short.
 */
#include <string.h>

#include "shared_state.h"

typedef int32_t words4 __attribute__((vector_size(16)));

enum { VECTOR = 4, INITIALISED4 = 0x0f0f0f0f, PENDING4 = (int)0xf0f0f0f0u };

/* What is the same for all lanes of an instruction. */
struct row {
    struct shadow *h;
    int32_t floor, synced, epoch, warps; /* warps: the set of this one */
    uint8_t warp;
    int exact;
};

static struct row row_of(const struct actor *a)
{
    const struct clocks *c = &a->s->clock;
    return (struct row){
        &a->s->shadow,     (int32_t)c->floor,        (int32_t)c->warp[a->warp].synced,
        (int32_t)a->epoch, (int32_t)(1u << a->warp), (uint8_t)a->warp,
        c->exact};
}

static inline words4 get(const uint32_t *column)
{
    words4 v;
    memcpy(&v, column, sizeof v);
    return v;
}

static inline void put(uint32_t *column, words4 v) { memcpy(column, &v, sizeof v); }

static inline words4 same(int32_t v) { return (words4){v, v, v, v}; }

static inline int none(words4 v)
{
    int64_t half[2];
    memcpy(half, &v, sizeof half);
    return !(half[0] | half[1]);
}

/* Writers of four words, as masks where it is this warp. */
static inline words4 own_writes(const struct row *r, uint32_t word)
{
    const uint8_t *w = r->h->writer + word;
    return (words4){w[0], w[1], w[2], w[3]} == same(r->warp);
}

/* Not zero where shadow.c must look: the last write is not surely behind these lanes. */
static inline words4 doubtful_write(const struct row *r, uint32_t word, words4 lanes)
{
    const words4 epoch = get(r->h->write_epoch + word), live = epoch > same(r->floor);
    const words4 by_lane = get(r->h->write_lanes + word) == lanes;
    return live & ~(own_writes(r, word) & ((epoch < same(r->synced)) | by_lane));
}

/* The same of reads, for a write. */
static inline words4 doubtful_reads(const struct row *r, uint32_t word, words4 lanes)
{
    const words4 epoch = get(r->h->read_epoch + word), live = epoch > same(r->floor);
    const words4 by_lane = get(r->h->read_lanes + word) == lanes;
    const words4 own = get(r->h->readers + word) == same(r->warps);
    return live & ~(own & ((epoch < same(r->synced)) | by_lane));
}

/* Where the columns cannot hold one more reader. */
static inline words4 crowded(const struct row *r, uint32_t word)
{
    if (!r->exact) return same(0);
    const words4 epoch = get(r->h->read_epoch + word), live = epoch > same(r->floor);
    const words4 fits = (epoch == same(r->epoch)) | (epoch < same(r->synced));
    return live & ~((get(r->h->readers + word) == same(r->warps)) & fits);
}

static inline int32_t flags4(const struct row *r, uint32_t word)
{
    int32_t flags;
    memcpy(&flags, r->h->flags + word, sizeof flags);
    return flags;
}

/* Not zero where a flag is not as it should be, or anything is above the floor: most of the time
 * nothing is, and this is all. */
static inline words4 stirred(const struct row *r, uint32_t word, enum shared_kind kind)
{
    const words4 write = get(r->h->write_epoch + word) > same(r->floor);
    if (kind == SHARED_READ) return same(flags4(r, word) ^ INITIALISED4) | write;
    return same(flags4(r, word) & PENDING4) | write |
           (get(r->h->read_epoch + word) > same(r->floor));
}

static inline words4 doubtful(const struct row *r, uint32_t word, words4 lanes,
                              enum shared_kind kind)
{
    const int32_t flags = flags4(r, word);
    const words4 write = doubtful_write(r, word, lanes);
    if (kind == SHARED_READ) return same(flags ^ INITIALISED4) | write | crowded(r, word);
    return same(flags & PENDING4) | write | doubtful_reads(r, word, lanes);
}

static inline void note_read(const struct row *r, uint32_t word, words4 lanes)
{
    struct shadow *h = r->h;
    const words4 epoch = get(h->read_epoch + word), live = epoch > same(r->floor);
    const words4 old = get(h->read_lanes + word) & (epoch == same(r->epoch));
    put(h->readers + word, (get(h->readers + word) & live) | same(r->warps));
    put(h->read_lanes + word, old | lanes);
    put(h->read_epoch + word, same(r->epoch));
}

static inline void note_write(const struct row *r, uint32_t word, words4 lanes)
{
    struct shadow *h = r->h;
    const words4 together = (get(h->write_epoch + word) == same(r->epoch)) & own_writes(r, word);
    put(h->write_lanes + word, (get(h->write_lanes + word) & together) | lanes);
    put(h->write_epoch + word, same(r->epoch));
    put(h->read_epoch + word, same(0));
    memset(h->writer + word, r->warp, VECTOR);
    memset(h->flags + word, WHOLE, VECTOR);
}

static inline void note(const struct row *r, uint32_t word, words4 lanes, enum shared_kind kind)
{
    if (kind == SHARED_READ)
        note_read(r, word, lanes);
    else
        note_write(r, word, lanes);
}

static const words4 FIRST_LANES = {1, 2, 4, 8};

/* 32 neighbouring words, one a lane. */
static inline int neighbours(const struct row *r, uint32_t word, enum shared_kind kind)
{
    words4 doubt = same(0), lanes = FIRST_LANES;
    for (uint32_t i = 0; i < LANES; i += VECTOR) doubt |= stirred(r, word + i, kind);
    if (!none(doubt) || (r->exact && kind == SHARED_READ)) {
        doubt = same(0);
        for (uint32_t i = 0; i < LANES; i += VECTOR, lanes <<= VECTOR)
            doubt |= doubtful(r, word + i, lanes, kind);
        if (!none(doubt)) return 0;
    }
    lanes = FIRST_LANES;
    for (uint32_t i = 0; i < LANES; i += VECTOR, lanes <<= VECTOR) note(r, word + i, lanes, kind);
    return 1;
}

static inline words4 bit(int lane) { return same((int32_t)(1u << lane)); }

/* 16 bytes a lane. */
static inline int quads(const struct row *r, const uint32_t address[LANES], uint32_t mask,
                        enum shared_kind kind)
{
    words4 doubt = same(0);
    for (int l = 0; l < LANES; l++)
        if (mask >> l & 1) doubt |= stirred(r, address[l] / WORD, kind);
    if (!none(doubt) || (r->exact && kind == SHARED_READ)) {
        doubt = same(0);
        for (int l = 0; l < LANES; l++)
            if (mask >> l & 1) doubt |= doubtful(r, address[l] / WORD, bit(l), kind);
        if (!none(doubt)) return 0;
    }
    for (int l = 0; l < LANES; l++)
        if (mask >> l & 1) note(r, address[l] / WORD, bit(l), kind);
    return 1;
}

static int are_neighbours(const uint32_t address[LANES])
{
    uint32_t off = 0;
    for (uint32_t l = 0; l < LANES; l++) off |= address[l] - address[0] - l * WORD;
    return !off;
}

/* ---- a word by itself ---- */

static inline int behind(const struct row *r, uint32_t word, uint32_t lane)
{
    const int32_t epoch = (int32_t)r->h->write_epoch[word];
    if (epoch <= r->floor) return 1;
    return r->h->writer[word] == r->warp && (epoch < r->synced || r->h->write_lanes[word] == lane);
}

static inline int clean_word(const struct row *r, uint32_t word, uint32_t lane,
                             enum shared_kind kind)
{
    const struct shadow *h = r->h;
    const int32_t epoch = (int32_t)h->read_epoch[word];
    const int alone = (int32_t)h->readers[word] == r->warps;
    if (!behind(r, word, lane)) return 0;
    if (kind == SHARED_WRITE)
        return !(h->flags[word] >> WORD) &&
               (epoch <= r->floor || (alone && (epoch < r->synced || h->read_lanes[word] == lane)));
    return h->flags[word] == WHOLE &&
           (!r->exact || epoch <= r->floor || (alone && (epoch == r->epoch || epoch < r->synced)));
}

static inline void note_word(const struct row *r, uint32_t word, uint32_t lane,
                             enum shared_kind kind)
{
    struct shadow *h = r->h;
    const uint32_t epoch = (uint32_t)r->epoch;
    if (kind == SHARED_READ) {
        if ((int32_t)h->read_epoch[word] <= r->floor) h->readers[word] = 0;
        if (h->read_epoch[word] != epoch) h->read_lanes[word] = 0;
        h->readers[word] |= (uint32_t)r->warps;
        h->read_lanes[word] |= lane;
        h->read_epoch[word] = epoch;
        return;
    }
    if (h->write_epoch[word] != epoch || h->writer[word] != r->warp) h->write_lanes[word] = 0;
    h->write_lanes[word] |= lane;
    h->write_epoch[word] = epoch;
    h->writer[word] = r->warp;
    h->read_epoch[word] = 0;
    h->flags[word] = WHOLE;
}

static inline int words(const struct row *r, const uint32_t address[LANES], uint32_t mask,
                        uint32_t count, enum shared_kind kind)
{
    for (uint32_t left = mask; left; left &= left - 1) {
        const int l = __builtin_ctz(left);
        for (uint32_t i = 0; i < count; i++)
            if (!clean_word(r, address[l] / WORD + i, 1u << l, kind)) return 0;
    }
    for (uint32_t left = mask; left; left &= left - 1) {
        const int l = __builtin_ctz(left);
        for (uint32_t i = 0; i < count; i++) note_word(r, address[l] / WORD + i, 1u << l, kind);
    }
    return 1;
}

static inline int row(const struct row *r, const uint32_t address[LANES], uint32_t mask,
                      uint32_t bytes, enum shared_kind kind)
{
    if (bytes == VECTOR * WORD) return quads(r, address, mask, kind);
    if (bytes == WORD && mask == 0xffffffffu && are_neighbours(address))
        return neighbours(r, address[0] / WORD, kind);
    return words(r, address, mask, bytes / WORD, kind);
}

/* ---- a part of a word ---- */

static inline int is_behind(const struct row *r, uint32_t epoch, uint32_t writer)
{
    return (int32_t)epoch <= r->floor || (writer == r->warp && (int32_t)epoch < r->synced);
}

/* Whether a read of these bytes is clean: by the word's columns, or by its cell's bytes. */
static inline int clean_part(const struct row *r, uint32_t at, uint32_t bytes)
{
    const struct shadow *h = r->h;
    const uint32_t word = at / WORD, part = ((1u << bytes) - 1) << at % WORD;
    if ((h->flags[word] & (part | part << WORD)) != part) return 0;
    if (h->write_epoch[word] != EPOCH_CELL)
        return is_behind(r, h->write_epoch[word], h->writer[word]);
    const struct touch *t = &h->cell[h->write_lanes[word]].byte[at % WORD];
    for (uint32_t i = 0; i < bytes; i++)
        if (!is_behind(r, t[i].write_epoch, t[i].writer) || t[i].atomics) return 0;
    return 1;
}

/* The check is short; the trace is shadow.c's, bytes have no columns. */
static int parts(struct actor *a, const struct row *r, const uint32_t address[LANES], uint32_t mask,
                 uint32_t bytes)
{
    for (uint32_t left = mask; left; left &= left - 1)
        if (!clean_part(r, address[__builtin_ctz(left)], bytes)) return 0;
    for (uint32_t left = mask; left; left &= left - 1) {
        a->lane = __builtin_ctz(left);
        shadow_update(a, address[a->lane], bytes);
    }
    return 1;
}

/* A write that only shadow.c can judge: somebody may read by the async proxy. */
static int has_async_readers(const struct shared *s) { return s->wgmma.used || s->stores.count; }

int shadow_row(struct actor *a, const uint32_t address[LANES], uint32_t mask, uint32_t bytes)
{
    if (a->kind == SHARED_ATOMIC || (bytes < WORD && a->kind == SHARED_WRITE)) return 0;
    const struct row r = row_of(a);
    if (bytes < WORD) return parts(a, &r, address, mask, bytes);
    if (a->kind == SHARED_READ) return row(&r, address, mask, bytes, SHARED_READ);
    return !has_async_readers(a->s) && row(&r, address, mask, bytes, SHARED_WRITE);
}

/* ---- cp.async of 16 bytes ---- */

int shadow_row_pend(struct actor *a, uint32_t at)
{
    const struct row r = row_of(a);
    const uint32_t word = at / WORD;
    if (has_async_readers(a->s) || !none(doubtful(&r, word, bit(a->lane), SHARED_WRITE))) return 0;
    const int32_t flags = flags4(&r, word) | PENDING4;
    memcpy(r.h->flags + word, &flags, sizeof flags);
    return 1;
}

int shadow_row_land(struct actor *a, uint32_t at)
{
    const struct row r = row_of(a);
    const uint32_t word = at / WORD;
    const words4 lane = bit(a->lane);
    if (has_async_readers(a->s)) return 0;
    if (!none(doubtful_write(&r, word, lane) | doubtful_reads(&r, word, lane))) return 0;
    note_write(&r, word, lane);
    return 1;
}
