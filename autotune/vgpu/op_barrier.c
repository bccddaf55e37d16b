/* op_barrier.c -- barriers of a block, and fences */
#include "interpret.h"
#include "op_handlers.h"
#include "order.h"

static uint32_t living_warps(const struct block *b)
{
    uint32_t living = 0;
    for (int k = 0; k < b->warps; k++) living |= (uint32_t)(b->warp[k].state != WARP_DONE) << k;
    return living;
}

static struct named_barrier *barrier_of(struct warp *w, const struct insn *i, uint32_t operand,
                                        uint32_t mask, int *number)
{
    const uint32_t id = ((const uint32_t *)operand_at(w, i->o[operand]))[first_lane(mask)];
    if (id >= NAMED_BARRIERS)
        FAULT(w, VGPU_ILLEGAL, (int)first_lane(mask), "barrier %u; there are %d", id,
              NAMED_BARRIERS);
    *number = (int)(id % NAMED_BARRIERS);
    return &w->block->barrier[*number];
}

/* Warps that a count of threads means; 0: all of the block. */
static uint32_t warps_of(struct warp *w, uint32_t threads, uint32_t mask)
{
    if (threads % LANES)
        FAULT(w, VGPU_ILLEGAL, (int)first_lane(mask),
              "a barrier of %u threads: not a multiple of %d", threads, LANES);
    return threads / LANES;
}

/* The result of bar.red to all lanes of a warp that waited in it. */
static void give_result(struct warp *w, const struct named_barrier *n)
{
    const struct insn *i = w->reduction;
    uint32_t count[LANES];
    if (!i) return;
    w->reduction = NULL;
    for (int l = 0; l < LANES; l++) count[l] = n->count;
    if (i->run == op_bar_red_popc)
        blend32(operand_at(w, i->o[0]), count, w->alive);
    else
        predicate_set(
            w, i->o[0],
            (i->run == op_bar_red_and ? n->count == n->threads : n->count != 0) ? FULL_MASK : 0,
            w->alive);
}

static void release(struct block *b, struct named_barrier *n)
{
    shared_barrier(b->shared, n->arrived);
    for (int k = 0; k < b->warps; k++) {
        if (!(n->waiting >> k & 1)) continue;
        b->warp[k].state = WARP_READY;
        give_result(&b->warp[k], n);
    }
    b->progress++;
    b->counts.barriers++;
    *n = (struct named_barrier){0};
}

/* When all are there that are expected: the count that was named, or all warps of the block. */
static void release_if_full(struct block *b, struct named_barrier *n)
{
    const uint32_t here = (uint32_t)__builtin_popcount(n->arrived);
    if (n->arrived != 0 && here >= (n->expected ? n->expected : (uint32_t)b->warps)) release(b, n);
}

/* A warp that has ended will not come: those that wait go on without it, which is a finding. */
void barrier_warp_ended(struct warp *w)
{
    struct block *b = w->block;
    for (int k = 0; k < NAMED_BARRIERS; k++) {
        struct named_barrier *n = &b->barrier[k];
        if (n->waiting == 0 || n->expected != 0 || (living_warps(b) & ~n->arrived) != 0) continue;
        if (b->checks)
            FAULT(w, VGPU_DIVERGENT, -1, "the warp ends while others wait at barrier %d", k);
        release(b, n);
    }
}

static void check_all_lanes(struct warp *w, uint32_t mask)
{
    if (!w->block->checks || mask == w->born) return;
    FAULT(w, VGPU_DIVERGENT, (int)first_lane(mask), "only lanes %08x of %08x come to the barrier",
          mask, w->born);
}

/* `count`: index of the operand that has their number, or 0: it is not named. */
static struct named_barrier *arrive(struct warp *w, const struct insn *i, uint32_t operand,
                                    uint32_t count, uint32_t mask, int *number)
{
    interpret_place(w, i);
    check_all_lanes(w, mask);
    struct named_barrier *n = barrier_of(w, i, operand, mask, number);
    const uint32_t threads =
        count ? ((const uint32_t *)operand_at(w, i->o[count]))[first_lane(mask)] : 0;
    const uint32_t warps = warps_of(w, threads, mask);
    if (n->arrived && n->expected != warps)
        FAULT(w, VGPU_ILLEGAL, (int)first_lane(mask), "barrier %d of %u warps, others said %u",
              *number, warps, n->expected);
    if (n->arrived >> w->index & 1)
        FAULT(w, VGPU_DIVERGENT, (int)first_lane(mask), "the warp is at barrier %d already",
              *number);
    n->expected = warps;
    n->arrived |= 1u << w->index;
    w->block->progress++;
    return n;
}

static void wait_at(struct warp *w, struct named_barrier *n, int number)
{
    w->state = WARP_AT_BARRIER;
    w->barrier = number;
    n->waiting |= 1u << w->index;
    release_if_full(w->block, n);
    if (w->state == WARP_AT_BARRIER && n->expected == 0 &&
        (living_warps(w->block) & ~n->arrived) == 0)
        barrier_warp_ended(w); /* the others have ended before */
}

void op_bar_sync(struct warp *w, const struct insn *i, uint32_t mask)
{
    int number;
    struct named_barrier *n = arrive(w, i, 0, 1, mask, &number);
    wait_at(w, n, number);
}

void op_bar_arrive(struct warp *w, const struct insn *i, uint32_t mask)
{
    int number;
    release_if_full(w->block, arrive(w, i, 0, 1, mask, &number));
}

/* result, barrier, (threads,) predicate */
static void reduce(struct warp *w, const struct insn *i, uint32_t mask)
{
    int number;
    struct named_barrier *n = arrive(w, i, 1, i->operands == 4 ? 2 : 0, mask, &number);
    const uint32_t yes = predicate_at(w, i->o[i->operands - 1]) & mask;
    n->count += (uint32_t)__builtin_popcount(yes);
    n->threads += (uint32_t)__builtin_popcount(mask);
    w->reduction = i;
    wait_at(w, n, number);
}

void op_bar_red_popc(struct warp *w, const struct insn *i, uint32_t mask) { reduce(w, i, mask); }
void op_bar_red_and(struct warp *w, const struct insn *i, uint32_t mask) { reduce(w, i, mask); }
void op_bar_red_or(struct warp *w, const struct insn *i, uint32_t mask) { reduce(w, i, mask); }

void op_fence(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)w;
    (void)i;
    (void)mask;
}

void op_fence_gpu(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)i;
    (void)mask;
    order_fence(w->block);
}
