/* op_warp.c -- what lanes of a warp do with each other: shfl, vote, match, redux */
#include "interpret.h"
#include "op_handlers.h"

static const uint32_t *lanes_of(const struct warp *w, const struct insn *i, int operand)
{
    return operand_at(w, i->o[operand]);
}

/* ---- shfl: d|p, a, b, c, mask; c has the segment's mask in bits 8 .. 12 and a bound below ---- */

enum shuffle { UP, DOWN, BFLY, IDX };

/* The lane that lane l reads, or -1: outside of its segment. */
static int source_lane(enum shuffle how, uint32_t l, uint32_t b, uint32_t c)
{
    const uint32_t segment = c >> 8 & 31, bound = c & 31;
    const uint32_t highest = (l & segment) | (bound & ~segment), lowest = l & segment;
    b &= 31;
    switch (how) {
    case UP: return (int)l - (int)b >= (int)highest ? (int)(l - b) : -1;
    case DOWN: return l + b <= highest ? (int)(l + b) : -1;
    case BFLY: return (l ^ b) <= highest ? (int)(l ^ b) : -1;
    default:
        return (int)(lowest | (b & ~segment)) <= (int)highest ? (int)(lowest | (b & ~segment)) : -1;
    }
}

static void shuffle(struct warp *w, const struct insn *i, uint32_t mask, enum shuffle how)
{
    const uint32_t *a = lanes_of(w, i, 2), *b = lanes_of(w, i, 3), *c = lanes_of(w, i, 4);
    uint32_t result[LANES] = {0}, inside = 0, absent = 0;
    EACH_LANE(l, mask)
    {
        const int from = source_lane(how, l, b[l], c[l]);
        result[l] = a[from < 0 ? l : (uint32_t)from];
        inside |= (uint32_t)(from >= 0) << l;
        if (from >= 0 && !(mask >> from & 1)) absent |= 1u << l;
    }
    if (absent && w->block->checks) {
        interpret_place(w, i);
        FAULT(w, VGPU_DIVERGENT, (int)first_lane(absent),
              "lanes %08x read lanes that do not take part (%08x do)", absent, mask);
    }
    blend32(operand_at(w, i->o[0]), result, mask);
    predicate_set(w, i->o[1], inside, mask);
}

void op_shfl_up(struct warp *w, const struct insn *i, uint32_t mask) { shuffle(w, i, mask, UP); }
void op_shfl_down(struct warp *w, const struct insn *i, uint32_t mask)
{
    shuffle(w, i, mask, DOWN);
}
void op_shfl_bfly(struct warp *w, const struct insn *i, uint32_t mask)
{
    shuffle(w, i, mask, BFLY);
}
void op_shfl_idx(struct warp *w, const struct insn *i, uint32_t mask) { shuffle(w, i, mask, IDX); }

/* ---- vote ---- */

static void same_of_all(struct warp *w, uint32_t operand, uint32_t value, uint32_t mask)
{
    uint32_t result[LANES];
    for (int l = 0; l < LANES; l++) result[l] = value;
    blend32(operand_at(w, operand), result, mask);
}

void op_vote_all(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t yes = predicate_at(w, i->o[1]) & mask;
    predicate_set(w, i->o[0], yes == mask ? FULL_MASK : 0, mask);
}

void op_vote_any(struct warp *w, const struct insn *i, uint32_t mask)
{
    predicate_set(w, i->o[0], predicate_at(w, i->o[1]) & mask ? FULL_MASK : 0, mask);
}

void op_vote_uni(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t yes = predicate_at(w, i->o[1]) & mask;
    predicate_set(w, i->o[0], yes == mask || yes == 0 ? FULL_MASK : 0, mask);
}

void op_vote_ballot(struct warp *w, const struct insn *i, uint32_t mask)
{
    same_of_all(w, i->o[0], predicate_at(w, i->o[1]) & mask, mask);
}

void op_activemask(struct warp *w, const struct insn *i, uint32_t mask)
{
    same_of_all(w, i->o[0], mask, mask);
}

void op_elect(struct warp *w, const struct insn *i, uint32_t mask)
{
    same_of_all(w, i->o[0], first_lane(mask), mask);
    predicate_set(w, i->o[1], mask & (0 - mask), mask);
}

/* ---- match ---- */

static uint64_t value_of(const struct warp *w, const struct insn *i, int operand, uint32_t l)
{
    const void *at = operand_at(w, i->o[operand]);
    return i->wide >> operand & 1 ? ((const uint64_t *)at)[l] : ((const uint32_t *)at)[l];
}

static uint32_t equal_lanes(const struct warp *w, const struct insn *i, int operand, uint32_t l,
                            uint32_t mask)
{
    uint32_t equal = 0;
    EACH_LANE(k, mask)
    equal |= (uint32_t)(value_of(w, i, operand, k) == value_of(w, i, operand, l)) << k;
    return equal;
}

void op_match_any(struct warp *w, const struct insn *i, uint32_t mask)
{
    uint32_t result[LANES] = {0};
    EACH_LANE(l, mask) result[l] = equal_lanes(w, i, 1, l, mask);
    blend32(operand_at(w, i->o[0]), result, mask);
}

void op_match_all(struct warp *w, const struct insn *i, uint32_t mask)
{
    const int all = equal_lanes(w, i, 2, first_lane(mask), mask) == mask;
    same_of_all(w, i->o[0], all ? mask : 0, mask);
    predicate_set(w, i->o[1], all ? FULL_MASK : 0, mask);
}

/* ---- redux ---- */

#define REDUX(name, type, start, expression)                                  \
    void op_redux_##name(struct warp *w, const struct insn *i, uint32_t mask) \
    {                                                                         \
        const type *lanes = operand_at(w, i->o[1]);                           \
        type a = start;                                                       \
        EACH_LANE(l, mask)                                                    \
        {                                                                     \
            const type b = lanes[l];                                          \
            a = expression;                                                   \
        }                                                                     \
        same_of_all(w, i->o[0], (uint32_t)a, mask);                           \
    }
REDUX(add, uint32_t, 0, a + b)
REDUX(min_u32, uint32_t, UINT32_MAX, a < b ? a : b)
REDUX(min_s32, int32_t, INT32_MAX, a < b ? a : b)
REDUX(max_u32, uint32_t, 0, a > b ? a : b)
REDUX(max_s32, int32_t, INT32_MIN, a > b ? a : b)
REDUX(and, uint32_t, FULL_MASK, a &b)
REDUX(or, uint32_t, 0, a | b)
REDUX(xor, uint32_t, 0, a ^ b)

void op_warp_sync(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *named = operand_at(w, i->o[0]);
    uint32_t strangers = 0;
    if (!w->block->checks) return;
    EACH_LANE(l, mask) strangers |= (~named[l] >> l & 1) << l;
    if (strangers) {
        interpret_place(w, i);
        FAULT(w, VGPU_DIVERGENT, (int)first_lane(strangers),
              "lanes %08x are not in the mask %08x that they wait with", strangers,
              named[first_lane(strangers)]);
    }
    shared_warp_sync(w->block->shared, w->index, mask & ~strangers);
}
