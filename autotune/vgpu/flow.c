/* flow.c -- where registers are live, and which reads nothing may have written before
 *
 * Both questions are asked of one thread's way through the code: a lane of a register is written
 * and read by its own thread only, so how a warp diverges does not matter.
 *   live        backward: some way leads to a read before a write
 *   assigned    forward: all ways from the start have a write that no guard can skip
 * A read of a register that is not assigned there is checked when it runs, and so the writes of that
 * register are followed; in compiled code these are few.  A copy (mov) is no read: what it copies is as
 * assigned as its source.
 */
#include <stdlib.h>
#include <string.h>

#include "draft.h"
#include "opcode.h"

struct block {
    uint32_t first, end;  /* instructions */
    uint32_t edge, edges; /* successors */
};

struct graph {
    struct draft *d;
    uint32_t first, end; /* instructions of the function */
    uint32_t first_register, registers, words;
    struct block *block;
    uint32_t blocks;
    uint32_t *block_of; /* by instruction, less `first` */
    uint32_t *edge;
    uint64_t *in, *out; /* sets of registers, `words` a block */
};

static int has(const uint64_t *set, uint32_t r) { return (int)(set[r / 64] >> r % 64 & 1); }
static void put(uint64_t *set, uint32_t r) { set[r / 64] |= 1ull << r % 64; }
static void drop(uint64_t *set, uint32_t r) { set[r / 64] &= ~(1ull << r % 64); }

/* ---- blocks and edges ---- */

static const struct insn *at(const struct graph *g, uint32_t n) { return &g->d->code->insn[n]; }

static int ends_block(const struct insn *i)
{
    return i->field == FIELD_JUMP || i->field == FIELD_TABLE || i->field == FIELD_END;
}

static int falls_through(const struct insn *i) { return !ends_block(i) || i->guard != NO_OPERAND; }

static void mark_leaders(const struct graph *g, uint8_t *leader)
{
    leader[0] = 1;
    for (uint32_t n = g->first; n < g->end; n++) {
        const struct insn *i = at(g, n);
        if (ends_block(i) && n + 1 < g->end) leader[n + 1 - g->first] = 1;
        if (i->field == FIELD_JUMP) leader[i->target - g->first] = 1;
        if (i->field != FIELD_TABLE) continue;
        const uint32_t *table = &g->d->code->table[i->extra];
        for (uint32_t t = 1; t <= table[0]; t++) leader[table[t] - g->first] = 1;
    }
}

static void cut_blocks(struct graph *g, const uint8_t *leader)
{
    for (uint32_t n = g->first; n < g->end; n++) {
        if (leader[n - g->first]) g->block[g->blocks++].first = n;
        g->block_of[n - g->first] = g->blocks - 1;
        g->block[g->blocks - 1].end = n + 1;
    }
}

static uint32_t count_edges(const struct graph *g)
{
    uint32_t count = 0;
    for (uint32_t n = g->first; n < g->end; n++)
        count += at(g, n)->field == FIELD_TABLE ? g->d->code->table[at(g, n)->extra] : 1;
    return count + g->blocks + 1;
}

static void link_blocks(struct graph *g)
{
    uint32_t used = 0;
    for (uint32_t b = 0; b < g->blocks; b++) {
        const struct insn *last = at(g, g->block[b].end - 1);
        g->block[b].edge = used;
        if (falls_through(last) && b + 1 < g->blocks) g->edge[used++] = b + 1;
        if (last->field == FIELD_JUMP) g->edge[used++] = g->block_of[last->target - g->first];
        const uint32_t *table = &g->d->code->table[last->extra];
        for (uint32_t t = 1; last->field == FIELD_TABLE && t <= table[0]; t++)
            g->edge[used++] = g->block_of[table[t] - g->first];
        g->block[b].edges = used - g->block[b].edge;
    }
}

static void graph_close(struct graph *g)
{
    free(g->block);
    free(g->block_of);
    free(g->edge);
    free(g->in);
    free(g->out);
}

static int graph_open(struct graph *g, struct draft *d, size_t function)
{
    const struct code_function *f = &d->code->function[function];
    const struct ptx_function *p = &d->ptx->function[function];
    *g = (struct graph){.d = d,
                        .first = f->first,
                        .end = f->first + f->count,
                        .first_register = p->first_register,
                        .registers = p->registers,
                        .words = p->registers / 64 + 1};
    uint8_t *leader = calloc(f->count + 1, 1);
    g->block = calloc(f->count + 1, sizeof *g->block);
    g->block_of = calloc(f->count + 1, sizeof *g->block_of);
    int good = leader && g->block && g->block_of;
    if (good) {
        mark_leaders(g, leader);
        cut_blocks(g, leader);
        g->edge = calloc(count_edges(g), sizeof *g->edge);
        g->in = calloc((size_t)g->blocks * g->words, sizeof *g->in);
        g->out = calloc((size_t)g->blocks * g->words, sizeof *g->out);
        good = g->edge && g->in && g->out;
    }
    if (good) link_blocks(g);
    free(leader);
    if (!good) graph_close(g);
    return good;
}

/* ---- one instruction's registers ---- */

/* The register of reference k of instruction n, or -1. */
static int64_t register_at(const struct graph *g, uint32_t n, uint32_t k, int role)
{
    const struct draft *d = g->d;
    const uint32_t r = d->first[n] + k;
    if (!(d->role[r] & role) || ref_kind(d->ref[r]) != REF_REGISTER) return -1;
    return (int64_t)ref_index(d->ref[r]) - g->first_register;
}

static int64_t guard_of(const struct graph *g, const struct insn *i)
{
    return i->guard == NO_OPERAND ? -1 : (int64_t)ref_index(i->guard) - g->first_register;
}

static void add_uses(const struct graph *g, uint32_t n, uint64_t *set)
{
    const struct insn *i = at(g, n);
    if (guard_of(g, i) >= 0) put(set, (uint32_t)guard_of(g, i));
    for (uint32_t k = 0; k < i->operands; k++) {
        const int64_t r = register_at(g, n, k, ROLE_USE);
        if (r >= 0) put(set, (uint32_t)r);
    }
}

/* A copy of a register that may not be assigned assigns nothing. */
static int copies_unsure(const struct graph *g, uint32_t n, const uint64_t *set)
{
    if (!(at(g, n)->flags & INSN_COPY)) return 0;
    const int64_t from = register_at(g, n, 1, ROLE_USE);
    return from >= 0 && !has(set, (uint32_t)from);
}

/* Writes that always happen. */
static void each_sure_def(const struct graph *g, uint32_t n, uint64_t *set,
                          void (*change)(uint64_t *set, uint32_t r))
{
    const struct insn *i = at(g, n);
    if (i->guard != NO_OPERAND) return;
    for (uint32_t k = 0; k < i->operands; k++) {
        const int64_t r = register_at(g, n, k, ROLE_DEF);
        if (r >= 0) change(set, (uint32_t)r);
    }
}

/* ---- live ---- */

static int live_block(struct graph *g, uint32_t b, uint64_t *set)
{
    const struct block *block = &g->block[b];
    uint64_t *in = g->in + (size_t)b * g->words, *out = g->out + (size_t)b * g->words;
    for (uint32_t e = 0; e < block->edges; e++) {
        const uint64_t *next = g->in + (size_t)g->edge[block->edge + e] * g->words;
        for (uint32_t w = 0; w < g->words; w++) out[w] |= next[w];
    }
    memcpy(set, out, g->words * sizeof *set);
    for (uint32_t n = block->end; n-- > block->first;) {
        each_sure_def(g, n, set, drop);
        add_uses(g, n, set);
    }
    const int changed = memcmp(in, set, g->words * sizeof *set) != 0;
    memcpy(in, set, g->words * sizeof *set);
    return changed;
}

static void extend(struct live_range *range, uint32_t n)
{
    if (n < range->first) range->first = n;
    if (n > range->last) range->last = n;
}

static void extend_set(const struct graph *g, const uint64_t *set, uint32_t n,
                       struct live_range *range)
{
    for (uint32_t w = 0; w < g->words; w++)
        for (uint64_t left = set[w]; left; left &= left - 1)
            extend(&range[g->first_register + w * 64 + (uint32_t)__builtin_ctzll(left)], n);
}

static void extend_named(const struct graph *g, uint32_t n, struct live_range *range)
{
    const struct insn *i = at(g, n);
    if (guard_of(g, i) >= 0) extend(&range[g->first_register + (uint32_t)guard_of(g, i)], n);
    for (uint32_t k = 0; k < i->operands; k++) {
        const int64_t r = register_at(g, n, k, ROLE_USE | ROLE_DEF);
        if (r >= 0) extend(&range[g->first_register + (uint32_t)r], n);
    }
}

static int live_of(struct draft *d, size_t function, struct live_range *range)
{
    struct graph g;
    if (!graph_open(&g, d, function)) return 0;
    uint64_t *set = calloc(g.words, sizeof *set);
    int changed = set != NULL;
    while (changed) {
        changed = 0;
        for (uint32_t b = g.blocks; b-- > 0;) changed |= live_block(&g, b, set);
    }
    for (uint32_t b = 0; set && b < g.blocks; b++) {
        extend_set(&g, g.in + (size_t)b * g.words, g.block[b].first, range);
        extend_set(&g, g.out + (size_t)b * g.words, g.block[b].end - 1, range);
        for (uint32_t n = g.block[b].first; n < g.block[b].end; n++) extend_named(&g, n, range);
    }
    const int good = set != NULL;
    free(set);
    graph_close(&g);
    return good;
}

int flow_live(struct draft *d, struct live_range *range)
{
    for (size_t r = 0; r < d->ptx->registers; r++) range[r] = (struct live_range){UINT32_MAX, 0};
    for (size_t f = 0; f < d->ptx->functions; f++)
        if (d->ptx->function[f].defined && !live_of(d, f, range)) return 0;
    return 1;
}

/* ---- assigned ---- */

/* in: what all predecessors have.  Pushed from the block to its successors. */
static int assign_block(struct graph *g, uint32_t b, uint64_t *set)
{
    const struct block *block = &g->block[b];
    int changed = 0;
    memcpy(set, g->in + (size_t)b * g->words, g->words * sizeof *set);
    for (uint32_t n = block->first; n < block->end; n++)
        each_sure_def(g, n, set, copies_unsure(g, n, set) ? drop : put);
    for (uint32_t e = 0; e < block->edges; e++) {
        uint64_t *next = g->in + (size_t)g->edge[block->edge + e] * g->words;
        for (uint32_t w = 0; w < g->words; w++) {
            changed |= (next[w] & ~set[w]) != 0;
            next[w] &= set[w];
        }
    }
    return changed;
}

static void mark_unsure(struct graph *g, uint64_t *set, uint8_t *unsure, uint8_t *followed)
{
    for (uint32_t b = 0; b < g->blocks; b++) {
        memcpy(set, g->in + (size_t)b * g->words, g->words * sizeof *set);
        for (uint32_t n = g->block[b].first; n < g->block[b].end; n++) {
            const struct insn *i = at(g, n);
            for (uint32_t k = 0; k < i->operands; k++) {
                const int64_t r = register_at(g, n, k, ROLE_USE);
                if (r < 0 || has(set, (uint32_t)r)) continue;
                unsure[g->d->first[n] + k] = 1;
                followed[g->first_register + (uint32_t)r] = 1;
            }
            each_sure_def(g, n, set, copies_unsure(g, n, set) ? drop : put);
        }
    }
}

static int assigned_of(struct draft *d, size_t function, uint8_t *unsure, uint8_t *followed)
{
    struct graph g;
    if (!graph_open(&g, d, function)) return 0;
    uint64_t *set = calloc(g.words, sizeof *set);
    const int good = set != NULL;
    memset(g.in, 0xff, (size_t)g.blocks * g.words * sizeof *g.in);
    memset(g.in, 0, g.words * sizeof *g.in);
    int changed = good;
    while (changed) {
        changed = 0;
        for (uint32_t b = 0; b < g.blocks; b++) changed |= assign_block(&g, b, set);
    }
    if (good) mark_unsure(&g, set, unsure, followed);
    free(set);
    graph_close(&g);
    return good;
}

/* ---- lists for the interpreter ---- */

static uint32_t collect(const struct draft *d, uint32_t n, int role, const uint8_t *unsure,
                        const uint32_t *number, uint32_t *out)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < d->code->insn[n].operands; k++) {
        const uint32_t at_ref = d->first[n] + k;
        const uint32_t ref = d->ref[at_ref];
        if (!(d->role[at_ref] & role) || ref_kind(ref) != REF_REGISTER) continue;
        const int copies = d->code->insn[n].flags & INSN_COPY;
        if (role == ROLE_USE && !copies ? unsure[at_ref] : number[ref_index(ref)] != NO_OPERAND)
            out[count++] = number[ref_index(ref)];
    }
    return count;
}

static int make_lists(struct draft *d, const uint8_t *unsure, const uint8_t *followed)
{
    struct code *c = d->code;
    uint32_t *number = malloc((d->ptx->registers + 1) * sizeof *number);
    c->check = malloc(((size_t)d->refs * 2 + 1) * sizeof *c->check);
    if (!number || !c->check) return free(number), 0;
    for (size_t r = 0; r < d->ptx->registers; r++)
        number[r] = followed[r] ? c->followed++ : NO_OPERAND;
    uint32_t used = 0;
    for (uint32_t n = 0; n < c->insns; n++) {
        struct insn *i = &c->insn[n];
        i->check = used;
        i->checked_uses = (uint16_t)collect(d, n, ROLE_USE, unsure, number, c->check + used);
        used += i->checked_uses;
        i->checked_defs = (uint16_t)collect(d, n, ROLE_DEF, unsure, number, c->check + used);
        used += i->checked_defs;
        if (i->checked_uses || i->checked_defs) i->flags |= INSN_CHECKED;
    }
    free(number);
    return 1;
}

int flow_follow(struct draft *d)
{
    uint8_t *unsure = calloc(d->refs + 1, 1), *followed = calloc(d->ptx->registers + 1, 1);
    int good = unsure && followed;
    for (size_t f = 0; good && f < d->ptx->functions; f++)
        if (d->ptx->function[f].defined) good = assigned_of(d, f, unsure, followed);
    if (good) good = make_lists(d, unsure, followed);
    free(unsure);
    free(followed);
    return good;
}
