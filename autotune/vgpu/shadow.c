/* shadow.c -- who touched which byte of shared memory last, and whether that is behind who comes now */
#include "shadow.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

/* ---- memory ---- */

void shadow_close(struct shadow *h)
{
    void *columns[] = {h->flags,   h->write_epoch, h->write_lanes, h->read_epoch, h->read_lanes,
                       h->readers, h->writer,      h->cell,        h->reader};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) free(columns[i]);
    memset(h, 0, sizeof *h);
}

static int make_room(struct shadow *h, uint32_t words)
{
    shadow_close(h);
    h->flags = calloc(words, 1);
    h->writer = calloc(words, 1);
    uint32_t **columns[] = {&h->write_epoch, &h->write_lanes, &h->read_epoch, &h->read_lanes,
                            &h->readers};
    int ok = h->flags && h->writer;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        *columns[i] = calloc(words, sizeof(uint32_t));
        ok &= *columns[i] != NULL;
    }
    if (ok)
        h->room = words;
    else
        shadow_close(h);
    return ok;
}

void shadow_forget(struct shadow *h)
{
    if (!h->room) return;
    memset(h->write_epoch, 0, h->room * sizeof(uint32_t));
    memset(h->read_epoch, 0, h->room * sizeof(uint32_t));
    h->special = 0;
}

int shadow_begin(struct shadow *h, uint32_t words)
{
    words = (words + 3) / 4 * 4; /* whole vectors */
    if (words > h->room && !make_room(h, words)) return 0;
    if (h->special) shadow_forget(h);
    h->words = words;
    if (words) memset(h->flags, 0, words);
    h->cells = h->reader_count = 1;
    h->free_cell = h->free_reader = 0;
    return 1;
}

static uint32_t take_cell(struct shadow *h)
{
    uint32_t at = h->free_cell;
    if (at) {
        h->free_cell = h->cell[at].next_free;
        return at;
    }
    struct cell *grown = shared_grow(h->cell, &h->cells_room, h->cells + 1, sizeof *grown);
    if (!grown) return 0;
    h->cell = grown;
    return h->cells++;
}

static uint32_t take_reader(struct shadow *h)
{
    uint32_t at = h->free_reader;
    if (at) {
        h->free_reader = h->reader[at].next;
        return at;
    }
    struct reader *grown =
        shared_grow(h->reader, &h->readers_room, h->reader_count + 1, sizeof *grown);
    if (!grown) return 0;
    h->reader = grown;
    return h->reader_count++;
}

static void drop_list(struct shadow *h, uint32_t head)
{
    while (head) {
        const uint32_t next = h->reader[head].next;
        h->reader[head].next = h->free_reader;
        h->free_reader = head;
        head = next;
    }
}

/* ---- touches ---- */

static struct touch load(const struct shadow *h, uint32_t word)
{
    return (struct touch){h->write_epoch[word],
                          h->write_lanes[word],
                          h->writer[word],
                          h->read_epoch[word],
                          h->read_lanes[word],
                          h->readers[word],
                          0};
}

static void store(struct shadow *h, uint32_t word, const struct touch *t)
{
    h->write_epoch[word] = t->write_epoch;
    h->write_lanes[word] = t->write_lanes;
    h->writer[word] = (uint8_t)t->writer;
    h->read_epoch[word] = t->read_epoch;
    h->read_lanes[word] = t->read_lanes;
    h->readers[word] = t->readers;
}

static void drop_lists(struct shadow *h, struct touch *t)
{
    if (t->read_epoch == EPOCH_LIST) drop_list(h, t->read_lanes);
    drop_list(h, t->atomics);
    t->read_epoch = t->read_lanes = t->readers = t->atomics = 0;
}

/* Put a reader in front; without memory the checks of the block end. */
static void list_push(struct shared *s, uint32_t *head, struct reader r)
{
    const uint32_t at = take_reader(&s->shadow);
    if (!at) {
        s->checking = 0;
        return;
    }
    s->shadow.special = 1;
    r.next = *head;
    s->shadow.reader[at] = r;
    *head = at;
}

/* Add what a lane did; of the same thread, and of lanes that are behind it, only the newest counts. */
static void list_add(struct shared *s, uint32_t *head, uint32_t warp, uint32_t lanes,
                     uint32_t epoch)
{
    struct reader *pool = s->shadow.reader;
    for (uint32_t *link = head; *link;) {
        struct reader *r = &pool[*link];
        int dead = r->epoch <= s->clock.floor;
        if (!dead && r->warp == warp) {
            if (r->epoch == epoch && r->lanes) {
                r->lanes |= lanes;
                return;
            }
            r->lanes &= ~lanes;
            dead = !r->lanes || r->epoch < s->clock.warp[warp].synced;
        }
        if (!dead) {
            link = &r->next;
            continue;
        }
        const uint32_t gone = *link;
        *link = r->next;
        r->next = s->shadow.free_reader;
        s->shadow.free_reader = gone;
    }
    list_push(s, head, (struct reader){0, warp, lanes, epoch});
}

/* Reads as a list.  When several warps share the columns, their lanes and epochs were not kept. */
static void spread(struct shared *s, struct touch *t)
{
    uint32_t head = 0;
    const int alone = !(t->readers & (t->readers - 1));
    for (uint32_t left = t->readers; left; left &= left - 1)
        list_push(s, &head,
                  (struct reader){0, (uint32_t)__builtin_ctz(left), alone ? t->read_lanes : 0,
                                  alone ? t->read_epoch : s->clock.floor + 1});
    t->read_epoch = EPOCH_LIST;
    t->read_lanes = head;
    t->readers = 0;
}

static void note_read(struct actor *a, struct touch *t)
{
    struct shared *s = a->s;
    const uint32_t lanes = 1u << a->lane, warps = 1u << a->warp;
    const int live = t->read_epoch > s->clock.floor;
    if (!live) {
        *t = (struct touch){t->write_epoch, t->write_lanes, t->writer, a->epoch,
                            lanes,          warps,          t->atomics};
    } else if (t->read_epoch != EPOCH_LIST && t->readers == warps && t->read_epoch == a->epoch) {
        t->read_lanes |= lanes;
    } else if (t->read_epoch != EPOCH_LIST && t->readers == warps &&
               (t->read_epoch < s->clock.warp[a->warp].synced || t->read_lanes == lanes)) {
        t->read_epoch = a->epoch;
        t->read_lanes = lanes;
    } else if (t->read_epoch != EPOCH_LIST && !s->clock.exact) {
        t->readers |= warps;
        t->read_epoch = a->epoch;
    } else {
        if (t->read_epoch != EPOCH_LIST) spread(s, t);
        list_add(s, &t->read_lanes, (uint32_t)a->warp, lanes, a->epoch);
    }
}

/* ---- cells ---- */

static int is_cell(const struct shadow *h, uint32_t word)
{
    return h->write_epoch[word] == EPOCH_CELL;
}

static uint32_t copy_list(struct shared *s, uint32_t head)
{
    uint32_t copy = 0;
    for (; head; head = s->shadow.reader[head].next) {
        const struct reader r = s->shadow.reader[head];
        list_push(s, &copy, (struct reader){0, r.warp, r.lanes, r.epoch});
    }
    return copy;
}

/* One touch of the word becomes four of its bytes; 0 when there is no memory. */
static int split(struct shared *s, uint32_t word)
{
    struct shadow *h = &s->shadow;
    const struct touch whole = load(h, word);
    const uint32_t at = take_cell(h);
    if (!at) return s->checking = 0;
    for (int i = 0; i < WORD; i++) {
        struct touch *t = &h->cell[at].byte[i];
        *t = whole;
        if (i > 0 && t->read_epoch == EPOCH_LIST) t->read_lanes = copy_list(s, whole.read_lanes);
    }
    h->special = 1;
    h->write_epoch[word] = EPOCH_CELL;
    h->write_lanes[word] = at;
    h->read_epoch[word] = EPOCH_LIST; /* nobody may take it for dead, or for a warp's own */
    h->readers[word] = 0;
    h->writer[word] = NOBODY;
    return 1;
}

static void unsplit(struct shadow *h, uint32_t word)
{
    const uint32_t at = h->write_lanes[word];
    for (int i = 0; i < WORD; i++) drop_lists(h, &h->cell[at].byte[i]);
    h->cell[at].next_free = h->free_cell;
    h->free_cell = at;
    store(h, word, &(struct touch){0});
}

/* ---- checks ---- */

void shadow_report(struct actor *a, enum vgpu_fault fault, const char *format, ...)
{
    if (a->reported >> fault & 1) return;
    a->reported |= 1u << fault;
    char text[160];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    report_fault(a->s->place, fault, a->lane, "%s", text);
}

static const char *does(const struct actor *a)
{
    static const char *const plain[] = {"read", "written", "updated"};
    static const char *const proxy[] = {"read by the async proxy", "written by the async proxy",
                                        "updated by the async proxy"};
    return (a->async_proxy ? proxy : plain)[a->kind];
}

static void race(struct actor *a, uint32_t at, const char *did, uint32_t warp, uint32_t lanes)
{
    if (lanes)
        shadow_report(a, VGPU_RACE_SHARED,
                      "shared 0x%x is %s; thread %u %s it and nothing orders the two", at, does(a),
                      warp * LANES + (uint32_t)__builtin_ctz(lanes), did);
    else
        shadow_report(a, VGPU_RACE_SHARED,
                      "shared 0x%x is %s; warp %u %s it and nothing orders the two", at, does(a),
                      warp, did);
}

static int behind(struct actor *a, uint32_t warp, uint32_t lanes, uint32_t epoch)
{
    return clock_behind(&a->s->clock, a->warp, a->lane, (int)warp, lanes, epoch);
}

static void check_copied(struct actor *a, const struct touch *t, uint32_t at)
{
    struct clocks *c = &a->s->clock;
    const uint32_t component = clock_of_barrier(c, t->writer - AGENT);
    if (clock_known(c, a->warp, a->lane, component) < t->write_epoch - EPOCH_AGENT)
        shadow_report(a, VGPU_RACE_SHARED,
                      "shared 0x%x is %s; an asynchronous copy wrote it and this thread has not "
                      "waited for its mbarrier",
                      at, does(a));
}

static void check_writer(struct actor *a, const struct touch *t, uint32_t at)
{
    if (t->write_epoch <= a->s->clock.born) return;
    if (t->writer >= AGENT)
        check_copied(a, t, at);
    else if (!behind(a, t->writer, t->write_lanes, t->write_epoch))
        race(a, at, "wrote", t->writer, t->write_lanes);
    else if (a->async_proxy && !proxy_fenced(a, (int)t->writer, t->write_lanes, t->write_epoch))
        shadow_report(a, VGPU_FENCE,
                      "shared 0x%x is %s; thread %u wrote it without a fence.proxy.async after", at,
                      does(a), t->writer * LANES + (uint32_t)__builtin_ctz(t->write_lanes));
}

static void check_list(struct actor *a, uint32_t head, uint32_t at, const char *did)
{
    const struct reader *pool = a->s->shadow.reader;
    for (; head; head = pool[head].next)
        if (!behind(a, pool[head].warp, pool[head].lanes, pool[head].epoch))
            race(a, at, did, pool[head].warp, pool[head].lanes);
}

static void check_readers(struct actor *a, const struct touch *t, uint32_t at)
{
    const uint32_t floor = a->s->clock.floor;
    if (t->read_epoch <= floor) return;
    if (t->read_epoch == EPOCH_LIST) {
        check_list(a, t->read_lanes, at, "read");
        return;
    }
    const int alone = !(t->readers & (t->readers - 1));
    for (uint32_t left = t->readers; left; left &= left - 1) {
        const uint32_t warp = (uint32_t)__builtin_ctz(left);
        const uint32_t lanes = alone ? t->read_lanes : 0;
        if (!alone && warp == (uint32_t)a->warp) continue;
        if (!behind(a, warp, lanes, alone ? t->read_epoch : floor + 1))
            race(a, at, "read", warp, lanes);
    }
}

static void check_touch(struct actor *a, const struct touch *t, uint32_t at)
{
    check_writer(a, t, at);
    if (a->kind != SHARED_ATOMIC) check_list(a, t->atomics, at, "updated");
    if (a->kind != SHARED_READ) check_readers(a, t, at);
}

static void check_word(struct actor *a, uint32_t word, uint32_t mask)
{
    struct shadow *h = &a->s->shadow;
    const uint32_t at = word * WORD + (uint32_t)__builtin_ctz(mask), flags = h->flags[word];
    if (flags >> WORD & mask) {
        shadow_report(a, VGPU_PENDING, "shared 0x%x is %s before an asynchronous copy to it landed",
                      at, does(a));
        return;
    }
    if (a->kind != SHARED_WRITE && (flags & mask) != mask)
        shadow_report(a, VGPU_UNINITIALISED, "shared 0x%x is %s, nothing wrote it", at, does(a));
    if (h->write_epoch[word] == EPOCH_OBJECT) {
        if (a->kind != SHARED_READ) barriers_overwritten(a, at);
        return;
    }
    if (is_cell(h, word)) {
        for (uint32_t left = mask; left; left &= left - 1) {
            const int i = __builtin_ctz(left);
            check_touch(a, &h->cell[h->write_lanes[word]].byte[i], word * WORD + (uint32_t)i);
        }
    } else {
        const struct touch t = load(h, word);
        check_touch(a, &t, at);
    }
    if (a->kind != SHARED_READ && a->s->wgmma.used) wgmma_check_write(a, word);
}

/* Bytes of a word within at .. at + bytes. */
static uint32_t mask_of(uint32_t word, uint32_t at, uint32_t bytes)
{
    uint32_t mask = WHOLE;
    if (word == at / WORD) mask &= (uint32_t)WHOLE << at % WORD;
    if (word == (at + bytes - 1) / WORD)
        mask &= (uint32_t)WHOLE >> (WORD - 1 - (at + bytes - 1) % WORD);
    return mask;
}

/* A whole word with the flags and the last write of the one before: a read of it is as right. */
static int is_like_previous(const struct shadow *h, uint32_t word)
{
    return h->flags[word] == WHOLE && h->flags[word - 1] == WHOLE && !is_cell(h, word) &&
           h->write_epoch[word] == h->write_epoch[word - 1] &&
           h->write_lanes[word] == h->write_lanes[word - 1] &&
           h->writer[word] == h->writer[word - 1];
}

void shadow_check(struct actor *a, uint32_t at, uint32_t bytes)
{
    const uint32_t first = at / WORD;
    if (a->kind != SHARED_READ && a->s->stores.count) bulk_check_write(a, at, bytes);
    for (uint32_t word = first; word <= (at + bytes - 1) / WORD; word++) {
        if (a->kind == SHARED_READ && word > first && is_like_previous(&a->s->shadow, word))
            continue;
        check_word(a, word, mask_of(word, at, bytes));
    }
}

/* ---- updates ---- */

/* `by` replaces `old`.  Lanes of one instruction that write one place all count as its writers. */
static void replace(struct shadow *h, struct touch *old, const struct touch *by)
{
    const int together = old->write_epoch == by->write_epoch && old->writer == by->writer;
    const uint32_t lanes = together ? old->write_lanes : 0;
    drop_lists(h, old);
    *old = *by;
    old->write_lanes |= lanes;
}

/* The bytes were written as `by` says; nothing else is left of them. */
static void write_word(struct shared *s, uint32_t word, uint32_t mask, const struct touch *by)
{
    struct shadow *h = &s->shadow;
    h->flags[word] = (uint8_t)((h->flags[word] & ~(mask << WORD)) | mask);
    if (h->write_epoch[word] == EPOCH_OBJECT) return;
    if (s->wgmma.used) wgmma_written(s, word);
    if (mask == WHOLE) {
        if (is_cell(h, word)) unsplit(h, word);
        struct touch t = load(h, word);
        replace(h, &t, by);
        store(h, word, &t);
        return;
    }
    if (!is_cell(h, word) && !split(s, word)) return;
    for (uint32_t left = mask; left; left &= left - 1)
        replace(h, &h->cell[h->write_lanes[word]].byte[__builtin_ctz(left)], by);
}

static void read_word(struct actor *a, uint32_t word, uint32_t mask)
{
    struct shadow *h = &a->s->shadow;
    if (h->write_epoch[word] == EPOCH_OBJECT) return;
    if (mask == WHOLE && !is_cell(h, word)) {
        struct touch t = load(h, word);
        note_read(a, &t);
        store(h, word, &t);
        return;
    }
    if (!is_cell(h, word) && !split(a->s, word)) return;
    for (uint32_t left = mask; left; left &= left - 1)
        note_read(a, &h->cell[h->write_lanes[word]].byte[__builtin_ctz(left)]);
}

static void update_word(struct actor *a, uint32_t word, uint32_t mask)
{
    struct shadow *h = &a->s->shadow;
    if (h->write_epoch[word] == EPOCH_OBJECT) return;
    if (!is_cell(h, word) && !split(a->s, word)) return;
    for (uint32_t left = mask; left; left &= left - 1) {
        struct touch *t = &h->cell[h->write_lanes[word]].byte[__builtin_ctz(left)];
        list_add(a->s, &t->atomics, (uint32_t)a->warp, 1u << a->lane, a->epoch);
    }
}

static struct touch written_by(const struct actor *a)
{
    return (struct touch){
        .write_epoch = a->epoch, .write_lanes = 1u << a->lane, .writer = (uint32_t)a->warp};
}

void shadow_update(struct actor *a, uint32_t at, uint32_t bytes)
{
    const struct touch by = written_by(a);
    for (uint32_t word = at / WORD; word <= (at + bytes - 1) / WORD; word++) {
        const uint32_t mask = mask_of(word, at, bytes);
        if (a->kind == SHARED_WRITE)
            write_word(a->s, word, mask, &by);
        else if (a->kind == SHARED_READ)
            read_word(a, word, mask);
        else
            update_word(a, word, mask);
    }
}

void shadow_pend(struct shadow *h, uint32_t at, uint32_t bytes)
{
    for (uint32_t word = at / WORD; word <= (at + bytes - 1) / WORD; word++)
        h->flags[word] = (uint8_t)(h->flags[word] | mask_of(word, at, bytes) << WORD);
}

void shadow_land(struct actor *a, uint32_t at, uint32_t bytes)
{
    const struct touch by = written_by(a);
    for (uint32_t word = at / WORD; word <= (at + bytes - 1) / WORD; word++)
        write_word(a->s, word, mask_of(word, at, bytes), &by);
}

void shadow_land_agent(struct shared *s, uint32_t agent, uint32_t phase, uint32_t at,
                       uint32_t bytes)
{
    const struct touch by = {.write_epoch = EPOCH_AGENT + phase,
                             .writer = AGENT + agent % BARRIER_AGENTS};
    s->shadow.special = 1;
    for (uint32_t word = at / WORD; word <= (at + bytes - 1) / WORD; word++)
        write_word(s, word, mask_of(word, at, bytes), &by);
}

void shadow_object(struct shadow *h, uint32_t at)
{
    h->special = 1;
    for (uint32_t word = at / WORD; word < at / WORD + 2; word++) {
        if (is_cell(h, word)) unsplit(h, word);
        struct touch t = load(h, word);
        drop_lists(h, &t);
        h->flags[word] = WHOLE;
        store(h, word, &(struct touch){.write_epoch = EPOCH_OBJECT});
    }
}

void shadow_free_object(struct actor *a, uint32_t at)
{
    const struct touch by = written_by(a);
    for (uint32_t word = at / WORD; word < at / WORD + 2; word++) store(&a->s->shadow, word, &by);
}
