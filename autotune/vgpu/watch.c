/* watch.c -- which registers take part in wgmma: those it names, and those that mov connects with them
 *
 * They keep their slots from the first of them to the end: what is put off is written late, see
 * wgmma.h.
 */
#include <stdlib.h>
#include <string.h>

#include "draft.h"

static int is_register(const struct draft *d, uint32_t at)
{
    return ref_kind(d->ref[at]) == REF_REGISTER;
}

static void mark_named(const struct draft *d, uint8_t *mark)
{
    const struct code *c = d->code;
    for (uint32_t n = 0; n < c->insns; n++) {
        if (!(c->insn[n].flags & INSN_WGMMA)) continue;
        const struct code_wgmma *m = &c->wgmma[c->insn[n].extra];
        const int count = m->results + (m->fragments ? 4 : 0);
        for (int k = 0; k < count; k++)
            if (is_register(d, d->first[n] + (uint32_t)k))
                mark[ref_index(d->ref[d->first[n] + (uint32_t)k])] = 1;
    }
}

/* 1: a copy brought another register in. */
static int mark_copied(const struct draft *d, uint8_t *mark)
{
    int changed = 0;
    for (uint32_t n = 0; n < d->code->insns; n++) {
        if (!(d->code->insn[n].flags & INSN_COPY)) continue;
        const uint32_t to = d->first[n], from = to + 1;
        if (!is_register(d, to) || !is_register(d, from)) continue;
        uint8_t *a = &mark[ref_index(d->ref[to])], *b = &mark[ref_index(d->ref[from])];
        changed |= *a != *b;
        *a = *b = *a | *b;
    }
    return changed;
}

static int make_lists(struct draft *d, const uint32_t *number)
{
    struct code *c = d->code;
    c->watch = malloc((d->refs + 1) * sizeof *c->watch);
    if (!c->watch) return 0;
    uint32_t used = 0;
    for (uint32_t n = 0; n < c->insns; n++) {
        struct insn *i = &c->insn[n];
        i->watch = used;
        for (uint32_t k = d->first[n]; k < d->first[n] + i->operands; k++)
            if (is_register(d, k) && number[ref_index(d->ref[k])] != NO_OPERAND)
                c->watch[used++] =
                    number[ref_index(d->ref[k])] << 1 | ((d->role[k] & ROLE_DEF) != 0);
        i->watches = (uint16_t)(used - i->watch);
        if (i->watches) i->flags |= INSN_WATCHED;
    }
    return 1;
}

int watch_wgmma(struct draft *d)
{
    if (d->code->wgmmas == 0) return 1;
    uint8_t *mark = calloc(d->ptx->registers + 1, 1);
    uint32_t *number = malloc((d->ptx->registers + 1) * sizeof *number);
    int good = mark && number;
    d->watched = number; /* freed with the draft */
    if (good) {
        mark_named(d, mark);
        while (mark_copied(d, mark)) continue;
        for (size_t r = 0; r < d->ptx->registers; r++)
            number[r] = mark[r] ? d->code->watched++ : NO_OPERAND;
        good = make_lists(d, number);
    }
    free(mark);
    return good;
}

void watch_extend(const struct draft *d, struct live_range *range)
{
    if (!d->watched) return;
    uint32_t first = 0;
    while (!(d->code->insn[first].flags & INSN_WATCHED)) first++;
    for (size_t r = 0; r < d->ptx->registers; r++)
        if (d->watched[r] != NO_OPERAND) range[r] = (struct live_range){first, d->code->insns};
}
