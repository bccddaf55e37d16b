/* numbers.c -- conversions between floating-point types, from a table of their forms
 *
 * A number of fewer bits is sign, exponent, mantissa, as IEEE 754 has it: exponent 0 is subnormal.
 */
#include "numbers.h"

#include <string.h>

#include "simd.h"

/* Codes without the sign. */
static const struct form {
    int exponent_bits, mantissa_bits, bias;
    uint32_t largest, infinity, nan; /* infinity 0: there is none */
} f16 = {5, 10, 15, 0x7bff, 0x7c00, 0x7fff}, bf16 = {8, 7, 127, 0x7f7f, 0x7f80, 0x7fff},
  e4m3 = {4, 3, 7, 0x7e, 0, 0x7f}, e5m2 = {5, 2, 15, 0x7b, 0x7c, 0x7f}, e2m1 = {2, 1, 1, 7, 0, 7};

enum { F32_MANTISSA = 23, F32_BIAS = 127 };
enum { F32_INFINITY = 0x7f800000, F32_NAN = 0x7fffffff };

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* ---- to f32: exact ---- */

/* mantissa * 2^exponent; 1 <= mantissa < 2^24, a normal number or a multiple of 2^-149 */
static uint32_t compose(uint32_t mantissa, int exponent)
{
    const int up =
        __builtin_clz(mantissa) - (31 - F32_MANTISSA); /* to have the leading one at 23 */
    const int biased = exponent - up + F32_MANTISSA + F32_BIAS;
    if (biased < 1) return mantissa << (exponent + F32_MANTISSA + F32_BIAS - 1);
    return (uint32_t)(biased - 1) * (1u << F32_MANTISSA) + (mantissa << up);
}

static float decode(uint32_t code, const struct form *f)
{
    const int sign_at = f->exponent_bits + f->mantissa_bits;
    const uint32_t sign = code >> sign_at & 1, magnitude = code & ((1u << sign_at) - 1);
    if (magnitude > f->largest)
        return float_of(magnitude == f->infinity ? sign << 31 | F32_INFINITY : F32_NAN);
    const uint32_t fraction = magnitude & ((1u << f->mantissa_bits) - 1);
    const uint32_t biased = magnitude >> f->mantissa_bits;
    const uint32_t mantissa = biased ? fraction | 1u << f->mantissa_bits : fraction;
    const int exponent = (biased ? (int)biased : 1) - f->bias - f->mantissa_bits;
    return float_of(sign << 31 | (mantissa ? compose(mantissa, exponent) : 0));
}

float numbers_from_f16(uint16_t h) { return decode(h, &f16); }
float numbers_from_bf16(uint16_t h) { return decode(h, &bf16); }
float numbers_from_e4m3(uint8_t v) { return decode(v, &e4m3); }
float numbers_from_e5m2(uint8_t v) { return decode(v, &e5m2); }
float numbers_from_e2m1(uint8_t v) { return decode(v, &e2m1); }

float numbers_from_e8m0(uint8_t v)
{
    return v == 0xff ? float_of(F32_NAN) : float_of(compose(1, v - F32_BIAS));
}

/* ---- from f32: rounded ---- */

/* 1 when a magnitude in this mode is rounded away from zero, by its sign. */
static int away(enum round round, int negative)
{
    return round == ROUND_RP ? !negative : round == ROUND_RM && negative;
}

/* value >> shift, rounded */
static uint32_t shift_rounded(uint32_t value, int shift, enum round round, int negative)
{
    if (shift > 31) return value && away(round, negative); /* less than half of the last place */
    const uint32_t kept = value >> shift, rest = value - (kept << shift);
    if (round != ROUND_RN) return kept + (rest && away(round, negative));
    const uint32_t half = shift ? 1u << (shift - 1) : 0;
    return kept + (rest && (rest > half || (rest == half && (kept & 1))));
}

/* Code of a finite magnitude, as if exponents went on beyond the largest. */
static uint32_t round_magnitude(uint32_t magnitude, const struct form *f, enum round round,
                                int negative)
{
    const int biased = (int)(magnitude >> F32_MANTISSA);
    const uint32_t fraction = magnitude & ((1u << F32_MANTISSA) - 1);
    const uint32_t mantissa = biased ? fraction | 1u << F32_MANTISSA : fraction;
    const int exponent = (biased ? biased : 1) - F32_BIAS + f->bias; /* as this form has it */
    const int below = exponent < 1 ? 1 - exponent : 0;               /* subnormal: so many more */
    const int shift = F32_MANTISSA - f->mantissa_bits + below;
    const uint32_t code = shift_rounded(mantissa, shift, round, negative);
    /* The leading one of a normal number adds one to the exponent field. */
    return below ? code : code + ((uint32_t)(exponent - 1) << f->mantissa_bits);
}

static uint32_t encode(float v, const struct form *f, enum round round, int saturate, int relu)
{
    const uint32_t bits = bits_of(v), magnitude = bits & 0x7fffffff;
    const int negative = (int)(bits >> 31);
    if (magnitude > F32_INFINITY) return f->nan;
    if (negative && relu) return 0;
    const uint32_t sign = (uint32_t)negative << (f->exponent_bits + f->mantissa_bits);
    if (magnitude == F32_INFINITY) return sign | (saturate ? f->largest : f->infinity);
    const uint32_t code = round_magnitude(magnitude, f, round, negative);
    if (code <= f->largest) return sign | code;
    const int stays = saturate || (round != ROUND_RN && !away(round, negative));
    return sign | (stays ? f->largest : f->infinity);
}

uint16_t numbers_to_f16(float v, enum round round, int saturate, int relu)
{
    return (uint16_t)encode(v, &f16, round, saturate, relu);
}

uint16_t numbers_to_bf16(float v, enum round round, int saturate, int relu)
{
    return (uint16_t)encode(v, &bf16, round, saturate, relu);
}

uint8_t numbers_to_e4m3(float v, int relu) { return (uint8_t)encode(v, &e4m3, ROUND_RN, 1, relu); }
uint8_t numbers_to_e5m2(float v, int relu) { return (uint8_t)encode(v, &e5m2, ROUND_RN, 1, relu); }
uint8_t numbers_to_e2m1(float v, int relu) { return (uint8_t)encode(v, &e2m1, ROUND_RN, 1, relu); }

uint8_t numbers_to_e8m0(float v, enum round round, int saturate)
{
    const uint32_t magnitude = bits_of(v) & 0x7fffffff;
    if (magnitude > F32_INFINITY) return 0xff;
    uint32_t code = magnitude >> F32_MANTISSA; /* subnormals are between 0 and 2^-126 */
    const uint32_t fraction = magnitude & ((1u << F32_MANTISSA) - 1);
    const uint32_t exact = code ? 0 : 1u << (F32_MANTISSA - 1); /* 2^-127 is a subnormal of f32 */
    if (round == ROUND_RP && fraction > exact) code++;
    return (uint8_t)(saturate && code > 0xfe ? 0xfe : code);
}

/* ---- 32 lanes ---- */

void numbers_lanes_from_f16(float out[32], const uint32_t h[32]) { simd->lanes_from_f16(out, h); }
void numbers_lanes_to_f16(uint32_t out[32], const float v[32]) { simd->lanes_to_f16(out, v); }
