/* op_atomic.c -- atom and red: read, change and write of a lane after the other
 *
 * Blocks run at the same time: words of global memory are changed by compare and exchange.
 */
#include "access.h"
#include "interpret.h"
#include "numbers.h"
#include "op_handlers.h"

/* New value from the old one and the sources, all in the low bits. */
typedef uint64_t (*change_fn)(uint64_t old, uint64_t b, uint64_t c, enum ptx_type t);

static int64_t as_signed(uint64_t v, enum ptx_type t)
{
    return ptx_type_bytes(t) == 8 ? (int64_t)v : (int32_t)v;
}

static int less(uint64_t a, uint64_t b, enum ptx_type t)
{
    return ptx_type_signed(t) ? as_signed(a, t) < as_signed(b, t) : a < b;
}

static float float_of(uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float f;
    memcpy(&f, &low, sizeof f);
    return f;
}

static uint64_t add_f32(uint64_t a, uint64_t b)
{
    const float sum = float_of(a) + float_of(b);
    uint32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return bits;
}

static uint64_t add_f64(uint64_t a, uint64_t b)
{
    double x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x += y;
    memcpy(&a, &x, sizeof a);
    return a;
}

static uint64_t add_half(uint64_t a, uint64_t b, int is_bf16)
{
    const uint16_t x = (uint16_t)a, y = (uint16_t)b;
    if (is_bf16)
        return numbers_to_bf16(numbers_from_bf16(x) + numbers_from_bf16(y), ROUND_RN, 0, 0);
    return numbers_to_f16(numbers_from_f16(x) + numbers_from_f16(y), ROUND_RN, 0, 0);
}

static uint64_t change_add(uint64_t old, uint64_t b, uint64_t c, enum ptx_type t)
{
    (void)c;
    switch (t) {
    case PTX_F32: return add_f32(old, b);
    case PTX_F64: return add_f64(old, b);
    case PTX_F16: return add_half(old, b, 0);
    case PTX_BF16: return add_half(old, b, 1);
    case PTX_F16X2: return add_half(old >> 16, b >> 16, 0) << 16 | add_half(old, b, 0);
    case PTX_BF16X2: return add_half(old >> 16, b >> 16, 1) << 16 | add_half(old, b, 1);
    default: return old + b;
    }
}

#define CHANGE(name, expression)                                                         \
    static uint64_t change_##name(uint64_t old, uint64_t b, uint64_t c, enum ptx_type t) \
    {                                                                                    \
        (void)old;                                                                       \
        (void)c;                                                                         \
        (void)t;                                                                         \
        return expression;                                                               \
    }
CHANGE(min, less(b, old, t) ? b : old)
CHANGE(max, less(old, b, t) ? b : old)
CHANGE(and, old &b)
CHANGE(or, old | b)
CHANGE(xor, old ^ b)
CHANGE(exch, b)
CHANGE(cas, old == b ? c : old)
CHANGE(inc, old >= b ? 0 : old + 1)
CHANGE(dec, old == 0 || old > b ? b : old - 1)

/* ---- one lane ---- */

#define EXCHANGE(T)                                                                  \
    static uint64_t exchange_##T(void *at, change_fn change, uint64_t b, uint64_t c, \
                                 enum ptx_type t)                                    \
    {                                                                                \
        T old = __atomic_load_n((T *)at, __ATOMIC_RELAXED), now;                     \
        do now = (T)change(old, b, c, t);                                            \
        while (!__atomic_compare_exchange_n((T *)at, &old, now, 0, __ATOMIC_SEQ_CST, \
                                            __ATOMIC_RELAXED));                      \
        return old;                                                                  \
    }
EXCHANGE(uint16_t)
EXCHANGE(uint32_t)
EXCHANGE(uint64_t)

static uint64_t exchange(void *at, change_fn change, uint64_t b, uint64_t c, enum ptx_type t)
{
    switch (ptx_type_bytes(t)) {
    case 2: return exchange_uint16_t(at, change, b, c, t);
    case 4: return exchange_uint32_t(at, change, b, c, t);
    default: return exchange_uint64_t(at, change, b, c, t);
    }
}

static uint64_t lane_of(const struct warp *w, const struct insn *i, uint32_t operand, uint32_t l,
                        uint32_t bytes)
{
    if (operand >= i->operands) return 0;
    const void *at = operand_at(w, i->o[operand]);
    if (i->wide >> operand & 1) return ((const uint64_t *)at)[l];
    const uint32_t value = ((const uint32_t *)at)[l];
    return bytes == 2 ? value & 0xffff : value;
}

/* d, [a], b, c; red has no d */
static void atomic(struct warp *w, const struct insn *i, uint32_t mask, change_fn change,
                   int has_result)
{
    const enum ptx_type t = (enum ptx_type)i->type[0];
    const uint32_t bytes = ptx_type_bytes(t), address = has_result ? 1 : 0;
    struct access a = {.w = w, .i = i, .bytes = bytes, .kind = SHARED_ATOMIC, .strict = 1};
    interpret_place(w, i);
    access_addresses(&a, address, i->imm);
    const uint32_t good = access_resolve(&a, (enum ptx_space)i->space, mask);
    EACH_LANE(l, good)
    {
        const uint64_t old = exchange(a.host[l], change, lane_of(w, i, address + 1, l, bytes),
                                      lane_of(w, i, address + 2, l, bytes), t);
        if (!has_result) continue;
        void *d = operand_at(w, i->o[0]);
        if (i->wide & 1)
            ((uint64_t *)d)[l] = old;
        else
            ((uint32_t *)d)[l] = (uint32_t)old;
    }
    w->block->progress++;
}

#define ATOMIC(name)                                                         \
    void op_atom_##name(struct warp *w, const struct insn *i, uint32_t mask) \
    {                                                                        \
        atomic(w, i, mask, change_##name, 1);                                \
    }                                                                        \
    void op_red_##name(struct warp *w, const struct insn *i, uint32_t mask)  \
    {                                                                        \
        atomic(w, i, mask, change_##name, 0);                                \
    }
ATOMIC(add)
ATOMIC(min)
ATOMIC(max)
ATOMIC(and)
ATOMIC(or)
ATOMIC(xor)
ATOMIC(inc)
ATOMIC(dec)

void op_atom_exch(struct warp *w, const struct insn *i, uint32_t mask)
{
    atomic(w, i, mask, change_exch, 1);
}

void op_atom_cas(struct warp *w, const struct insn *i, uint32_t mask)
{
    atomic(w, i, mask, change_cas, 1);
}
