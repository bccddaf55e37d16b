/* op_mbarrier.c -- mbarriers, and what waits through them */
#include "access.h"
#include "interpret.h"
#include "op_handlers.h"

enum { COUNT_ABSENT = 1 };

static uint32_t word_of(const struct warp *w, const struct insn *i, uint32_t operand, uint32_t l)
{
    return ((const uint32_t *)operand_at(w, i->o[operand]))[l];
}

/* Addresses of the barriers; operand `operand` is their base. */
static void barriers(struct warp *w, const struct insn *i, uint32_t operand, uint32_t at[LANES])
{
    struct access a = {.w = w, .i = i};
    interpret_place(w, i);
    access_addresses(&a, operand, i->imm);
    for (int l = 0; l < LANES; l++) at[l] = access_shared_address(a.address[l]);
}

void op_mbarrier_init(struct warp *w, const struct insn *i, uint32_t mask)
{
    uint32_t at[LANES];
    barriers(w, i, 0, at);
    EACH_LANE(l, mask)
    shared_mbarrier_init(w->block->shared, w->index, (int)l, at[l], word_of(w, i, 1, l));
    w->block->progress++;
}

void op_mbarrier_inval(struct warp *w, const struct insn *i, uint32_t mask)
{
    uint32_t at[LANES];
    barriers(w, i, 0, at);
    EACH_LANE(l, mask) shared_mbarrier_invalidate(w->block->shared, w->index, (int)l, at[l]);
}

/* state, [at], count or bytes; the row's field tells which the last one is */
static void arrive(struct warp *w, const struct insn *i, uint32_t mask, int counts)
{
    uint32_t at[LANES];
    uint64_t *state = operand_at(w, i->o[0]);
    barriers(w, i, 1, at);
    EACH_LANE(l, mask)
    {
        const uint32_t value = i->operands > 2 ? word_of(w, i, 2, l) : COUNT_ABSENT;
        state[l] = shared_mbarrier_arrive(w->block->shared, w->index, (int)l, at[l],
                                          counts ? value : 1, counts ? 0 : value);
    }
    w->block->progress++;
}

void op_mbarrier_arrive(struct warp *w, const struct insn *i, uint32_t mask)
{
    arrive(w, i, mask, 1);
}

void op_mbarrier_arrive_expect(struct warp *w, const struct insn *i, uint32_t mask)
{
    arrive(w, i, mask, 0);
}

void op_mbarrier_expect(struct warp *w, const struct insn *i, uint32_t mask)
{
    uint32_t at[LANES];
    barriers(w, i, 0, at);
    EACH_LANE(l, mask)
    shared_mbarrier_expect(w->block->shared, w->index, (int)l, at[l], word_of(w, i, 1, l));
}

/* A wait that fails lets others run: it can only succeed after they did something. */
static void waited(struct warp *w, const struct insn *i, uint32_t failed)
{
    struct block *b = w->block;
    const uint32_t pc = (uint32_t)(i - b->insn);
    if (!failed) {
        w->failed_pc = NO_PC;
        return;
    }
    if (w->failed_pc == pc && w->failed_at == b->progress)
        w->failed_times++;
    else
        w->failed_times = 1;
    w->failed_pc = pc;
    w->failed_at = b->progress;
    interpret_rest(w);
}

/* p, [at], parity or state */
static void wait(struct warp *w, const struct insn *i, uint32_t mask, int parity)
{
    uint32_t at[LANES], done = 0;
    struct shared *s = w->block->shared;
    barriers(w, i, 1, at);
    EACH_LANE(l, mask)
    {
        const int yes =
            parity ? shared_mbarrier_test(s, w->index, (int)l, at[l], word_of(w, i, 2, l))
                   : shared_mbarrier_test_state(s, w->index, (int)l, at[l],
                                                ((const uint64_t *)operand_at(w, i->o[2]))[l]);
        done |= (uint32_t)(yes != 0) << l;
    }
    predicate_set(w, i->o[0], done, mask);
    waited(w, i, mask & ~done);
}

void op_mbarrier_wait_parity(struct warp *w, const struct insn *i, uint32_t mask)
{
    wait(w, i, mask, 1);
}

void op_mbarrier_wait_state(struct warp *w, const struct insn *i, uint32_t mask)
{
    wait(w, i, mask, 0);
}

static void copies_arrive(struct warp *w, const struct insn *i, uint32_t mask, int noinc)
{
    uint32_t at[LANES];
    barriers(w, i, 0, at);
    EACH_LANE(l, mask) shared_copy_arrive(w->block->shared, w->index, (int)l, at[l], noinc);
    w->block->progress++;
}

void op_copy_arrive(struct warp *w, const struct insn *i, uint32_t mask)
{
    copies_arrive(w, i, mask, 0);
}

void op_copy_arrive_noinc(struct warp *w, const struct insn *i, uint32_t mask)
{
    copies_arrive(w, i, mask, 1);
}

void op_fence_proxy(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    shared_proxy_fence(w->block->shared, w->index, mask);
}

void op_fence_mbarrier_init(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    shared_mbarrier_init_fence(w->block->shared, w->index, mask);
}
