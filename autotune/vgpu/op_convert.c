/* op_convert.c -- conversions between numbers, a lane at a time: all that alu_convert.h has not */
#include <math.h>

#include "interpret.h"
#include "numbers.h"
#include "op_handlers.h"

enum number_kind { NUMBER_UNSIGNED, NUMBER_SIGNED, NUMBER_FLOAT };

static enum number_kind kind_of(enum ptx_type t)
{
    if (t == PTX_F16 || t == PTX_BF16 || t == PTX_F32 || t == PTX_F64) return NUMBER_FLOAT;
    return ptx_type_signed(t) ? NUMBER_SIGNED : NUMBER_UNSIGNED;
}

/* Bits of the lane, extended from its type to 64 bits. */
static uint64_t extend(uint64_t bits, enum ptx_type t)
{
    const uint32_t width = 8 * ptx_type_bytes(t);
    if (width == 64) return bits;
    const uint64_t low = bits & ((1ull << width) - 1);
    return ptx_type_signed(t) && low >> (width - 1) ? low | ~0ull << width : low;
}

static float flushed(float v, int ftz)
{
    return ftz && fpclassify(v) == FP_SUBNORMAL ? copysignf(0, v) : v;
}

static double to_double(uint64_t bits, enum ptx_type t, int ftz)
{
    uint32_t low = (uint32_t)bits;
    float f;
    double d;
    switch (t) {
    case PTX_F16: return (double)numbers_from_f16((uint16_t)bits);
    case PTX_BF16: return (double)numbers_from_bf16((uint16_t)bits);
    case PTX_F32: memcpy(&f, &low, sizeof f); return (double)flushed(f, ftz);
    default: memcpy(&d, &bits, sizeof d); return d;
    }
}

/* ---- rounding ---- */

static double round_whole(double v, enum round round)
{
    switch (round) {
    case ROUND_RZ: return trunc(v);
    case ROUND_RM: return floor(v);
    case ROUND_RP: return ceil(v);
    default: return v - remainder(v, 1.0); /* nearest, ties to even */
    }
}

static int away_from_zero(enum round round, int negative)
{
    return round == ROUND_RP ? !negative : round == ROUND_RM && negative;
}

/* To f32 in any rounding: to nearest, then a step when that went the wrong way. */
static float round_f32(double v, enum round round)
{
    const float nearest = (float)v;
    if (round == ROUND_RN || (double)nearest == v || v != v) return nearest;
    const int grew = fabs((double)nearest) > fabs(v), want = away_from_zero(round, v < 0);
    if (grew == want) return nearest;
    return nextafterf(nearest, want ? copysignf(INFINITY, nearest) : 0);
}

/* To f32 with the lost bits kept in the last one, so that a second rounding is right. */
static float round_odd(double v)
{
    const float toward_zero = round_f32(v, ROUND_RZ);
    uint32_t bits;
    memcpy(&bits, &toward_zero, sizeof bits);
    if ((double)toward_zero != v && v == v) bits |= 1;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* An integer as a double rounded to odd: 64 bits do not fit. */
static double integer_double(uint64_t bits, int is_signed)
{
    const int negative = is_signed && (int64_t)bits < 0;
    uint64_t magnitude = negative ? 0 - bits : bits;
    const int lost = magnitude >> 53 ? 64 - 53 - __builtin_clzll(magnitude) : 0;
    const uint64_t rest = magnitude & ((1ull << lost) - 1);
    magnitude = magnitude >> lost | (rest != 0);
    const double v = ldexp((double)magnitude, lost);
    return negative ? -v : v;
}

/* ---- results ---- */

static uint64_t float_bits(float f)
{
    uint32_t bits;
    if (f != f) return 0x7fffffff;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static double round_f64(uint64_t bits, int is_signed, enum round round)
{
    const double nearest = is_signed ? (double)(int64_t)bits : (double)bits;
    const double odd = integer_double(bits, is_signed);
    if (round == ROUND_RN || nearest == odd) return nearest;
    const int grew = fabs(nearest) > fabs(odd), want = away_from_zero(round, odd < 0);
    if (grew == want) return nearest;
    return nextafter(nearest, want ? copysign(INFINITY, nearest) : 0);
}

static uint64_t double_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

/* v, which has all that rounding needs, as a float type. */
static uint64_t to_float(double v, enum ptx_type to, const struct insn *i)
{
    const enum round round = i->mods & MOD_INTEGER ? ROUND_RN : (enum round)i->round;
    const int limit = (i->mods & MOD_SATFINITE) != 0, relu = (i->mods & MOD_RELU) != 0;
    if (i->mods & MOD_INTEGER) v = round_whole(v, (enum round)i->round);
    if (i->mods & MOD_SAT) v = v > 0 ? (v < 1 ? v : 1) : 0;
    switch (to) {
    case PTX_F16: return numbers_to_f16(round_odd(v), round, limit, relu);
    case PTX_BF16: return numbers_to_bf16(round_odd(v), round, limit, relu);
    case PTX_F32: return float_bits(flushed(round_f32(v, round), i->mods & MOD_FTZ));
    default: return double_bits(v);
    }
}

/* The range of an integer type; what lies beyond becomes its end, NaN 0. */
static uint64_t to_integer(double v, enum ptx_type to, enum round round)
{
    const uint32_t width = 8 * ptx_type_bytes(to);
    const int is_signed = ptx_type_signed(to);
    const double top = ldexp(1, (int)width - is_signed), bottom = is_signed ? -top : 0;
    if (v != v) return width == 64 ? 0x8000000000000000ull : 0;
    v = round_whole(v, round);
    if (v >= top) return is_signed ? (1ull << (width - 1)) - 1 : ~0ull >> (64 - width);
    if (v <= bottom) return is_signed ? 1ull << (width - 1) : 0;
    return v < 0 ? (uint64_t)(int64_t)v : (uint64_t)v;
}

static uint64_t limit_integer(uint64_t bits, enum ptx_type from, enum ptx_type to)
{
    const uint32_t width = 8 * ptx_type_bytes(to);
    const int is_signed = ptx_type_signed(to),
              negative = ptx_type_signed(from) && (int64_t)bits < 0;
    const uint64_t top = is_signed ? (1ull << (width - 1)) - 1 : ~0ull >> (64 - width);
    if (!negative) return bits > top ? top : bits;
    if (!is_signed) return 0;
    const int64_t bottom = width == 64 ? INT64_MIN : -(1ll << (width - 1));
    return (int64_t)bits < bottom ? (uint64_t)bottom : bits;
}

static uint64_t convert_lane(uint64_t bits, const struct insn *i)
{
    const enum ptx_type to = (enum ptx_type)i->type[0], from = (enum ptx_type)i->type[1];
    const enum number_kind k = kind_of(to), source = kind_of(from);
    if (source == NUMBER_FLOAT) {
        const double v = to_double(bits, from, i->mods & MOD_FTZ);
        if (k == NUMBER_FLOAT) return to_float(v, to, i);
        return extend(to_integer(v, to, (enum round)i->round), to);
    }
    bits = extend(bits, from);
    if (k == NUMBER_FLOAT) {
        if (to == PTX_F64)
            return double_bits(round_f64(bits, source == NUMBER_SIGNED, (enum round)i->round));
        return to_float(integer_double(bits, source == NUMBER_SIGNED), to, i);
    }
    return extend(i->mods & MOD_SAT ? limit_integer(bits, from, to) : bits, to);
}

void op_convert(struct warp *w, const struct insn *i, uint32_t mask)
{
    void *d = operand_at(w, i->o[0]);
    const void *a = operand_at(w, i->o[1]);
    const int wide_d = i->wide & 1, wide_a = i->wide >> 1 & 1;
    EACH_LANE(l, mask)
    {
        const uint64_t r =
            convert_lane(wide_a ? ((const uint64_t *)a)[l] : ((const uint32_t *)a)[l], i);
        if (wide_d)
            ((uint64_t *)d)[l] = r;
        else
            ((uint32_t *)d)[l] = (uint32_t)r;
    }
}
