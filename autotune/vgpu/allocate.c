/* allocate.c -- places of registers: a linear scan over their live ranges
 *
 * Thousands of virtual registers of a compiled kernel need a few hundred slots, which keeps a warp's
 * registers in the processor's caches.  Predicates, 32-bit and 64-bit registers have slots of their
 * own, so that two that share one overlap exactly or not at all: handlers may then write a
 * result over a source lane by lane.  A device function's slots are its own, because its caller's are
 * live around it.
 *
 * Source: Poletto and Sarkar, "Linear Scan Register Allocation", TOPLAS 1999.
 */
#include <stdlib.h>
#include <string.h>

#include "draft.h"

enum { READ_AHEAD = 8 }; /* the interpreter takes four sources, however many there are */
enum { SLOT_PREDICATE, SLOT_32, SLOT_64, SLOT_KINDS };
static const uint32_t slot_bytes[SLOT_KINDS] = {4, 4 * LANES, 8 * LANES};

struct interval {
    uint32_t reg, first, last;
};

struct scan {
    struct draft *d;
    struct interval *interval;
    uint32_t *slot;            /* of each register, within its kind */
    uint32_t used[SLOT_KINDS]; /* slots taken so far, by all functions */
    uint32_t *free_slot[SLOT_KINDS];
    uint32_t free_slots[SLOT_KINDS];
    uint32_t *active[SLOT_KINDS]; /* registers */
    uint32_t actives[SLOT_KINDS];
};

static int kind_of(const struct draft *d, uint32_t reg)
{
    const enum ptx_type t = (enum ptx_type)d->ptx->register_type[reg];
    if (t == PTX_PRED) return SLOT_PREDICATE;
    return ptx_type_bytes(t) == 8 ? SLOT_64 : SLOT_32;
}

static int by_first(const void *a, const void *b)
{
    const struct interval *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->reg < y->reg ? -1 : x->reg > y->reg;
}

/* A range that ends where another begins gives its slot away: sources are read before results are
 * written.  One that is only there at that instruction is a result too, and does not. */
static void expire(struct scan *s, const struct live_range *range, int kind, uint32_t now)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < s->actives[kind]; i++) {
        const uint32_t reg = s->active[kind][i];
        const struct live_range *r = &range[reg];
        if (r->last < now || (r->last == now && r->first < now))
            s->free_slot[kind][s->free_slots[kind]++] = s->slot[reg];
        else
            s->active[kind][left++] = reg;
    }
    s->actives[kind] = left;
}

static void scan_function(struct scan *s, const struct live_range *range, size_t function)
{
    const struct ptx_function *f = &s->d->ptx->function[function];
    uint32_t count = 0;
    for (uint32_t r = f->first_register; r < f->first_register + f->registers; r++)
        if (range[r].first <= range[r].last)
            s->interval[count++] = (struct interval){r, range[r].first, range[r].last};
    qsort(s->interval, count, sizeof *s->interval, by_first);
    memset(s->free_slots, 0, sizeof s->free_slots);
    memset(s->actives, 0, sizeof s->actives);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t reg = s->interval[i].reg;
        const int kind = kind_of(s->d, reg);
        expire(s, range, kind, s->interval[i].first);
        s->slot[reg] =
            s->free_slots[kind] ? s->free_slot[kind][--s->free_slots[kind]] : s->used[kind]++;
        s->active[kind][s->actives[kind]++] = reg;
    }
}

/* Device functions first: kernels share what is above them. */
static void scan_all(struct scan *s, const struct live_range *range)
{
    const struct ptx *m = s->d->ptx;
    for (size_t f = 0; f < m->functions; f++)
        if (m->function[f].defined && !m->function[f].entry) scan_function(s, range, f);
    uint32_t base[SLOT_KINDS], most[SLOT_KINDS];
    memcpy(base, s->used, sizeof base);
    memcpy(most, s->used, sizeof most);
    for (size_t f = 0; f < m->functions; f++) {
        if (!m->function[f].defined || !m->function[f].entry) continue;
        memcpy(s->used, base, sizeof base);
        scan_function(s, range, f);
        for (int k = 0; k < SLOT_KINDS; k++)
            if (s->used[k] > most[k]) most[k] = s->used[k];
    }
    memcpy(s->used, most, sizeof most);
}

/* ---- the files ---- */

struct layout {
    uint32_t start[SLOT_KINDS], sink;
    uint32_t *constant; /* offsets */
};

/* | predicates | 32-bit slots | 64-bit slots | sink | specials | */
static void lay_registers(struct scan *s, struct layout *l)
{
    struct code *c = s->d->code;
    uint32_t at = 0;
    for (int k = 0; k < SLOT_KINDS; k++) {
        at = (at + 127) / 128 * 128;
        l->start[k] = at;
        at += s->used[k] * slot_bytes[k];
    }
    l->sink = at = (at + 127) / 128 * 128;
    at += slot_bytes[SLOT_64];
    for (int i = 0; i < PTX_SPECIAL_STILL; i++) {
        if (c->special[i] == NO_OPERAND) continue;
        c->special[i] = at;
        at += slot_bytes[SLOT_32];
    }
    c->register_bytes = at;
}

static int lay_constants(const struct draft *d, struct layout *l)
{
    struct code *c = d->code;
    l->constant = malloc((d->constants + 1) * sizeof *l->constant);
    if (!l->constant) return 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < d->constants; i++) {
        l->constant[i] = at;
        at += slot_bytes[d->constant[i].wide ? SLOT_64 : SLOT_32];
    }
    c->constant_bytes = at;
    c->constants = aligned_alloc(128, at + 128);
    if (!c->constants) return 0;
    for (uint32_t i = 0; i < d->constants; i++)
        for (int lane = 0; lane < LANES; lane++) {
            const uint32_t size = d->constant[i].wide ? 8 : 4;
            memcpy(c->constants + l->constant[i] + (uint32_t)lane * size, &d->constant[i].value,
                   size);
        }
    return 1;
}

static uint32_t place_of(const struct scan *s, const struct layout *l, uint32_t ref)
{
    const uint32_t index = ref_index(ref), negated = ref & 1 ? OPERAND_NEGATED : 0;
    switch (ref_kind(ref)) {
    case REF_REGISTER: {
        const int kind = kind_of(s->d, index);
        return (l->start[kind] + s->slot[index] * slot_bytes[kind]) | negated;
    }
    case REF_CONSTANT: return l->constant[index] | OPERAND_CONSTANT;
    case REF_SPECIAL: return s->d->code->special[index];
    default: return l->sink;
    }
}

static void find_specials(const struct draft *d)
{
    memset(d->code->special, 0xff, sizeof d->code->special);
    for (uint32_t i = 0; i < d->refs; i++)
        if (ref_kind(d->ref[i]) == REF_SPECIAL) d->code->special[ref_index(d->ref[i])] = 0;
}

static int rewrite(struct scan *s, const struct layout *l)
{
    struct draft *d = s->d;
    struct code *c = d->code;
    c->operand = calloc(d->refs + READ_AHEAD, sizeof *c->operand);
    if (!c->operand) return 0;
    for (uint32_t i = 0; i < d->refs; i++) c->operand[i] = place_of(s, l, d->ref[i]);
    for (uint32_t n = 0; n < c->insns; n++) {
        c->insn[n].o = c->operand + d->first[n];
        if (c->insn[n].guard != NO_OPERAND) c->insn[n].guard = place_of(s, l, c->insn[n].guard);
    }
    return 1;
}

static int scan_open(struct scan *s, struct draft *d)
{
    const size_t n = d->ptx->registers + 1;
    s->d = d;
    s->interval = calloc(n, sizeof *s->interval);
    s->slot = calloc(n, sizeof *s->slot);
    int good = s->interval && s->slot;
    for (int k = 0; k < SLOT_KINDS; k++) {
        s->free_slot[k] = calloc(n, sizeof *s->free_slot[k]);
        s->active[k] = calloc(n, sizeof *s->active[k]);
        good = good && s->free_slot[k] && s->active[k];
    }
    return good;
}

static void scan_close(struct scan *s)
{
    for (int k = 0; k < SLOT_KINDS; k++) {
        free(s->free_slot[k]);
        free(s->active[k]);
    }
    free(s->interval);
    free(s->slot);
}

int allocate_all(struct draft *d)
{
    struct scan s = {0};
    struct layout l = {.constant = NULL};
    struct live_range *range = calloc(d->ptx->registers + 1, sizeof *range);
    int good = range && scan_open(&s, d) && flow_live(d, range);
    if (good) {
        watch_extend(d, range);
        scan_all(&s, range);
        find_specials(d);
        lay_registers(&s, &l);
        good = lay_constants(d, &l) && rewrite(&s, &l);
    }
    free(l.constant);
    free(range);
    scan_close(&s);
    return good;
}
