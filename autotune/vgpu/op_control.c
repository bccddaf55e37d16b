/* op_control.c -- branches, calls, ends, predicates, moves that need the warp */
#include <time.h>

#include "interpret.h"
#include "op_handlers.h"
#include "opcode.h"

void op_branch(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_branch(w, mask, i->target);
}

void op_branch_table(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *table = &w->block->code->table[i->extra], *index = operand_at(w, i->o[0]);
    uint32_t place[LANES];
    EACH_LANE(l, mask)
    {
        const int inside = index[l] < table[0];
        place[l] = inside ? table[1 + index[l]] : w->pc;
        if (inside) continue;
        interpret_place(w, i);
        FAULT(w, VGPU_ILLEGAL, (int)l, "branch %u of a table of %u", index[l], table[0]);
    }
    interpret_scatter(w, mask, place);
}

/* ---- calls ---- */

static void move_parameters(struct warp *w, const uint32_t *move, uint32_t moves, uint32_t mask)
{
    const size_t stride = w->block->code->local_bytes;
    for (uint32_t k = 0; k < moves; k++, move += 3) EACH_LANE(l, mask)
        {
            memcpy(w->local + l * stride + move[1], w->local + l * stride + move[0], move[2]);
            memcpy(w->local_written + l * stride + move[1], w->local_written + l * stride + move[0],
                   move[2]);
        }
}

void op_call(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *table = &w->block->code->table[i->extra];
    uint32_t place[LANES];
    move_parameters(w, table + 2, table[0], mask);
    EACH_LANE(l, mask)
    {
        if (w->depth[l] == CALL_DEPTH) {
            interpret_place(w, i);
            FAULT(w, VGPU_ILLEGAL, (int)l, "calls deeper than %d", CALL_DEPTH);
            w->block->ended = 1;
            return;
        }
        w->frame[l][w->depth[l]++] = w->pc;
        place[l] = i->target;
    }
    interpret_scatter(w, mask, place);
}

/* From a function to behind its call, whose results move then; from a kernel it is the end. */
void op_ret(struct warp *w, const struct insn *i, uint32_t mask)
{
    uint32_t place[LANES], back = 0;
    EACH_LANE(l, mask)
    {
        if (w->depth[l] == 0) continue;
        place[l] = w->frame[l][--w->depth[l]];
        back |= 1u << l;
        const struct insn *call = &w->block->insn[place[l] - 1];
        const uint32_t *table = &w->block->code->table[call->extra];
        move_parameters(w, table + 2 + 3 * table[0], table[1], 1u << l);
    }
    if (back) interpret_scatter(w, back, place);
    if (mask & ~back) op_exit(w, i, mask & ~back);
}

void op_exit(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    interpret_exit(w, mask);
}

void op_trap(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    FAULT(w, VGPU_ILLEGAL, (int)first_lane(mask), "trap");
    w->block->ended = 1;
    interpret_exit(w, mask);
}

void op_nothing(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)w;
    (void)i;
    (void)mask;
}

void op_yield(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)i;
    (void)mask;
    w->yielded = 1;
}

/* ---- predicates ---- */

void op_and_pred(struct warp *w, const struct insn *i, uint32_t mask)
{
    predicate_set(w, i->o[0], predicate_at(w, i->o[1]) & predicate_at(w, i->o[2]), mask);
}

void op_or_pred(struct warp *w, const struct insn *i, uint32_t mask)
{
    predicate_set(w, i->o[0], predicate_at(w, i->o[1]) | predicate_at(w, i->o[2]), mask);
}

void op_xor_pred(struct warp *w, const struct insn *i, uint32_t mask)
{
    predicate_set(w, i->o[0], predicate_at(w, i->o[1]) ^ predicate_at(w, i->o[2]), mask);
}

void op_not_pred(struct warp *w, const struct insn *i, uint32_t mask)
{
    predicate_set(w, i->o[0], ~predicate_at(w, i->o[1]), mask);
}

void op_mov_pred(struct warp *w, const struct insn *i, uint32_t mask)
{
    predicate_set(w, i->o[0], predicate_at(w, i->o[1]), mask);
}

/* ---- moves ---- */

static uint64_t lane_of(const struct warp *w, uint32_t operand, int wide, uint32_t l)
{
    const void *at = operand_at(w, operand);
    return wide ? ((const uint64_t *)at)[l] : ((const uint32_t *)at)[l];
}

static void set_lane(struct warp *w, uint32_t operand, int wide, uint32_t l, uint64_t value)
{
    void *at = operand_at(w, operand);
    if (wide)
        ((uint64_t *)at)[l] = value;
    else
        ((uint32_t *)at)[l] = (uint32_t)value;
}

/* {a, b} = c and c = {a, b}: the parts are equal shares of 32 or 64 bits, the first one lowest. */
void op_mov_vector(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t results = i->vector, sources = i->operands - results;
    const uint32_t bits = 8 * (uint32_t)(i->field - FIELD_OTHER);
    const uint32_t in = bits / sources, out = bits / results;
    const uint64_t in_mask = in == 64 ? ~0ull : (1ull << in) - 1;
    const uint64_t out_mask = out == 64 ? ~0ull : (1ull << out) - 1;
    EACH_LANE(l, mask)
    {
        uint64_t all = 0;
        for (uint32_t k = 0; k < sources; k++)
            all |= (lane_of(w, i->o[results + k], i->wide >> (results + k) & 1, l) & in_mask)
                   << k * in;
        for (uint32_t k = 0; k < results; k++)
            set_lane(w, i->o[k], i->wide >> k & 1, l, all >> k * out & out_mask);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Clocks count instructions of the block: the same in every run. */
void op_read_clock(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint64_t steps = w->block->counts.thread_instructions;
    const uint64_t value[] = {
        [PTX_CLOCK - PTX_SPECIAL_STILL] = steps,
        [PTX_CLOCK_HI - PTX_SPECIAL_STILL] = steps >> 32,
        [PTX_CLOCK64 - PTX_SPECIAL_STILL] = steps,
        [PTX_GLOBALTIMER - PTX_SPECIAL_STILL] = now_ns(),
        [PTX_GLOBALTIMER_LO - PTX_SPECIAL_STILL] = now_ns(),
        [PTX_GLOBALTIMER_HI - PTX_SPECIAL_STILL] = now_ns() >> 32,
    };
    EACH_LANE(l, mask) set_lane(w, i->o[0], i->wide & 1, l, value[i->imm - PTX_SPECIAL_STILL]);
}
