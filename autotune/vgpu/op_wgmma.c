/* op_wgmma.c -- wgmma: issue, fence, commit, wait; and what happens to its registers meanwhile */
#include <stdlib.h>

#include "access.h"
#include "interpret.h"
#include "op_handlers.h"
#include "wgmma.h"

enum { WARPGROUP = 4, ROW_BYTES = 32, PIECE = 16, QUARTER_ROWS = 16, MOST_N = 256 };

/* ---- registers ---- */

/* Watched registers of an instruction: index << 1 | it is a result. */
static const uint32_t *watched(const struct warp *w, const struct insn *i)
{
    return w->block->code->watch + i->watch;
}

static void set_flags(struct warp *w, const struct insn *i, int results, uint8_t flag)
{
    const uint32_t *list = watched(w, i);
    for (uint32_t k = 0; k < i->watches; k++)
        if ((int)(list[k] & 1) == results) w->wgmma.flag[list[k] >> 1] |= flag;
}

static uint8_t any_flag(const struct warp *w, const struct insn *i)
{
    const uint32_t *list = watched(w, i);
    uint8_t all = 0;
    for (uint32_t k = 0; k < i->watches; k++) all |= w->wgmma.flag[list[k] >> 1];
    return all;
}

static int enqueue(struct warp *w, const struct wgmma_pending *p)
{
    struct wgmma_state *s = &w->wgmma;
    if (s->count == s->room) {
        const uint32_t room = s->room ? s->room * 2 : 16;
        struct wgmma_pending *more = realloc(s->queue, room * sizeof *more);
        if (!more) return w->block->ended = 1, 0;
        s->queue = more;
        s->room = room;
    }
    s->queue[s->count++] = *p;
    return 1;
}

/* ---- doing what was put off ---- */

/* `rows` rows of 32 bytes from row `first` of the operand that the descriptor describes. */
static void gather(const struct warp *w, uint64_t descriptor, int first, int rows, uint8_t *to)
{
    const uint32_t base = tensor_descriptor_base(descriptor);
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < ROW_BYTES / PIECE; p++) {
            const uint32_t at = base + tensor_descriptor_offset(descriptor, first + r, p);
            if (at + PIECE <= w->block->shared_size)
                memcpy(to + r * ROW_BYTES + p * PIECE, w->block->shared_bytes + at, PIECE);
            else
                memset(to + r * ROW_BYTES + p * PIECE, 0, PIECE);
        }
}

static void multiply(struct warp *w, const struct wgmma_pending *p)
{
    const struct code_wgmma *m = &w->block->code->wgmma[p->i->extra];
    uint8_t a_rows[QUARTER_ROWS * ROW_BYTES] __attribute__((aligned(64)));
    uint8_t b_rows[MOST_N * ROW_BYTES] __attribute__((aligned(64)));
    uint32_t *d[MOST_N / 2];
    const uint32_t *a[WARPGROUP];
    struct tensor_wgmma op = m->op;
    op.scale_d = p->scale_d;
    for (int k = 0; k < m->results; k++) d[k] = operand_at(w, p->i->o[k]);
    for (int k = 0; m->fragments && k < WARPGROUP; k++)
        a[k] = operand_at(w, p->i->o[m->results + k]);
    if (!m->fragments) gather(w, p->a, w->index % WARPGROUP * QUARTER_ROWS, QUARTER_ROWS, a_rows);
    gather(w, p->b, 0, op.n, b_rows);
    tensor_wgmma(&op, d, m->fragments ? a : NULL, a_rows, b_rows);
}

static void move(struct warp *w, const struct wgmma_pending *p)
{
    const uint32_t *from = operand_at(w, p->i->o[1]);
    blend32(operand_at(w, p->i->o[0]), from, p->mask);
}

/* Groups below `end`; what is put off after them keeps its registers. */
static void finish(struct warp *w, uint32_t end)
{
    struct wgmma_state *s = &w->wgmma;
    uint32_t done = 0;
    while (done < s->count && s->queue[done].group < end) {
        const struct wgmma_pending *p = &s->queue[done++];
        if (p->i->kind == KIND_RUN)
            multiply(w, p);
        else
            move(w, p);
    }
    memmove(s->queue, s->queue + done, (s->count - done) * sizeof *s->queue);
    s->count -= done;
    for (uint32_t k = 0; k < w->block->code->watched; k++) s->flag[k] &= WGMMA_WRITTEN;
    for (uint32_t k = 0; k < s->count; k++) {
        set_flags(w, s->queue[k].i, 1, WGMMA_ACCUMULATOR);
        if (s->queue[k].i->kind == KIND_RUN) set_flags(w, s->queue[k].i, 0, WGMMA_FRAGMENT);
    }
}

/* ---- other instructions ---- */

static int is_copy(const struct insn *i) { return i->flags & INSN_COPY; }

static void complain(struct warp *w, const struct insn *i, uint32_t mask, const char *what)
{
    interpret_place(w, i);
    if (w->block->checks)
        FAULT(w, VGPU_PENDING, (int)first_lane(mask),
              "%s of a wgmma that wgmma.wait_group has not waited for", what);
    finish(w, w->wgmma.open + 1);
}

int wgmma_touch(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *list = watched(w, i);
    uint8_t *flag = w->wgmma.flag, read = 0, write = 0;
    if (i->flags & INSN_WGMMA) return 0;
    for (uint32_t k = 0; k < i->watches; k++)
        if (list[k] & 1)
            write |= flag[list[k] >> 1];
        else
            read |= flag[list[k] >> 1];
    if (is_copy(i) && read & WGMMA_ACCUMULATOR) {
        set_flags(w, i, 1, WGMMA_ACCUMULATOR);
        return enqueue(w, &(struct wgmma_pending){i, w->wgmma.open, mask, 0, 0, 0});
    }
    if (read & WGMMA_ACCUMULATOR)
        complain(w, i, mask, "reads an accumulator");
    else if (read & WGMMA_FRAGMENT && !is_copy(i))
        complain(w, i, mask, "reads a fragment of A");
    else if (write & (WGMMA_ACCUMULATOR | WGMMA_FRAGMENT))
        complain(w, i, mask,
                 write & WGMMA_ACCUMULATOR ? "writes an accumulator" : "writes a fragment of A");
    if (!is_copy(i)) set_flags(w, i, 1, WGMMA_WRITTEN);
    return 0;
}

void wgmma_end(struct warp *w)
{
    if (w->wgmma.count == 0) return;
    if (w->block->checks)
        FAULT(w, VGPU_PENDING, -1, "the warp ends before its wgmma are waited for");
    finish(w, w->wgmma.open + 1);
}

/* ---- issue ---- */

/* The async proxy reads `rows` rows of an operand until the wait. */
static void note_reads(struct warp *w, uint64_t descriptor, int first, int rows)
{
    const uint32_t base = tensor_descriptor_base(descriptor);
    for (int r = first; r < first + rows; r++) {
        const uint32_t at = base + tensor_descriptor_offset(descriptor, r, 0);
        const uint32_t next = base + tensor_descriptor_offset(descriptor, r, 1);
        if (next == at + PIECE) {
            shared_wgmma_read(w->block->shared, w->index, at, ROW_BYTES);
            continue;
        }
        shared_wgmma_read(w->block->shared, w->index, at, PIECE);
        shared_wgmma_read(w->block->shared, w->index, next, PIECE);
    }
}

/* One warp's part: its rows of A, and a quarter of B's for the warpgroup's checks. */
static void issue(struct warp *w, const struct insn *i)
{
    const struct code_wgmma *m = &w->block->code->wgmma[i->extra];
    const uint32_t a = (uint32_t)m->results, b = a + (m->fragments ? 4 : 1);
    const int quarter = w->index % WARPGROUP;
    struct wgmma_pending p = {.i = i, .group = w->wgmma.open, .mask = FULL_MASK};
    interpret_place(w, i);
    if (!m->fragments) p.a = *(const uint64_t *)operand_at(w, i->o[a]);
    p.b = *(const uint64_t *)operand_at(w, i->o[b]);
    p.scale_d = (int)(predicate_at(w, i->o[b + 1]) & 1);
    if (w->block->checks) {
        if (any_flag(w, i) & WGMMA_WRITTEN)
            FAULT(w, VGPU_FENCE, 0,
                  "registers of the wgmma were written since the last wgmma.fence");
        if (!m->fragments) note_reads(w, p.a, quarter * QUARTER_ROWS, QUARTER_ROWS);
        note_reads(w, p.b, quarter * m->op.n / WARPGROUP,
                   (quarter + 1) * m->op.n / WARPGROUP - quarter * m->op.n / WARPGROUP);
    }
    if (!enqueue(w, &p)) return;
    set_flags(w, i, 1, WGMMA_ACCUMULATOR);
    if (m->fragments) set_flags(w, i, 0, WGMMA_FRAGMENT);
    w->block->counts.tensor_ops += (uint64_t)QUARTER_ROWS * (uint64_t)(m->op.n * m->op.k);
}

/* The four warps of a warpgroup meet here; the last one issues for all. */
void op_wgmma(struct warp *w, const struct insn *i, uint32_t mask)
{
    struct block *b = w->block;
    const int first = w->index / WARPGROUP * WARPGROUP;
    (void)mask;
    w->state = WARP_AT_WARPGROUP;
    if (first + WARPGROUP > b->warps) {
        interpret_place(w, i);
        FAULT(w, VGPU_ILLEGAL, 0, "wgmma in a warpgroup of less than four warps");
        w->state = WARP_READY;
        return;
    }
    for (int k = first; k < first + WARPGROUP; k++)
        if (b->warp[k].state != WARP_AT_WARPGROUP || b->warp[k].pc != w->pc) return;
    for (int k = first; k < first + WARPGROUP; k++) {
        b->warp[k].state = WARP_READY;
        issue(&b->warp[k], i);
    }
    b->progress++;
}

void op_wgmma_fence(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)i;
    (void)mask;
    for (uint32_t k = 0; k < w->block->code->watched; k++)
        w->wgmma.flag[k] &= (uint8_t)~WGMMA_WRITTEN;
}

void op_wgmma_commit(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)mask;
    interpret_place(w, i);
    shared_wgmma_commit(w->block->shared, w->index);
    w->wgmma.open++;
}

void op_wgmma_wait(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t left = (uint32_t)i->imm2, open = w->wgmma.open;
    (void)mask;
    interpret_place(w, i);
    finish(w, open > left ? open - left : 0);
    shared_wgmma_wait(w->block->shared, w->index, (int)left);
}
