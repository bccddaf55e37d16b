/* test_vgpu_numbers.c -- contract of autotune/vgpu/numbers.h
 *
 * - every code of every type is the number that its formula says; NaN comes out as 0x7fffffff
 * - a number that a type has comes back as its code, in every mode
 * - any other one becomes a neighbour: the nearer one, of two as near the even one; or the one in the
 *   direction of the mode (searched among all numbers of the type, around every midpoint)
 * - beyond the largest: infinity or the largest, as mode and saturate say; fp8 and fp4 saturate
 * - relu makes negative ones +0; NaN becomes the canonical one of the type
 * - e8m0 is a power of two of |v|, down or up
 * - the compiler's own f16 agrees on all codes and at all midpoints
 * - 32 lanes agree with the scalar, on every kind of processor that runs here
 */
#include "numbers.h"

#include <math.h>
#include <string.h>

#include "helpers.h"
#include "simd.h"

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* A type by its definition, and the functions under test. */
struct type {
    const char *name;
    int exponent_bits, mantissa_bits, bias;
    unsigned largest, nan; /* codes without sign; nan of to_ */
    int infinity;          /* its code is largest + 1 */
    int always_saturates;
    float (*from)(unsigned code);
    unsigned (*to)(float v, enum round round, int saturate, int relu);
};

static float from_f16(unsigned c) { return numbers_from_f16((uint16_t)c); }
static float from_bf16(unsigned c) { return numbers_from_bf16((uint16_t)c); }
static float from_e4m3(unsigned c) { return numbers_from_e4m3((uint8_t)c); }
static float from_e5m2(unsigned c) { return numbers_from_e5m2((uint8_t)c); }
static float from_e2m1(unsigned c) { return numbers_from_e2m1((uint8_t)c); }
static unsigned to_f16(float v, enum round r, int s, int relu)
{
    return numbers_to_f16(v, r, s, relu);
}
static unsigned to_bf16(float v, enum round r, int s, int relu)
{
    return numbers_to_bf16(v, r, s, relu);
}
static unsigned to_e4m3(float v, enum round r, int s, int relu)
{
    (void)r, (void)s;
    return numbers_to_e4m3(v, relu);
}
static unsigned to_e5m2(float v, enum round r, int s, int relu)
{
    (void)r, (void)s;
    return numbers_to_e5m2(v, relu);
}
static unsigned to_e2m1(float v, enum round r, int s, int relu)
{
    (void)r, (void)s;
    return numbers_to_e2m1(v, relu);
}

static const struct type types[] = {
    {"f16", 5, 10, 15, 0x7bff, 0x7fff, 1, 0, from_f16, to_f16},
    {"bf16", 8, 7, 127, 0x7f7f, 0x7fff, 1, 0, from_bf16, to_bf16},
    {"e4m3", 4, 3, 7, 0x7e, 0x7f, 0, 1, from_e4m3, to_e4m3},
    {"e5m2", 5, 2, 15, 0x7b, 0x7f, 1, 1, from_e5m2, to_e5m2},
    {"e2m1", 2, 1, 1, 0x7, 0x7, 0, 1, from_e2m1, to_e2m1},
};
enum { TYPES = sizeof types / sizeof *types };

static unsigned sign_of(const struct type *t)
{
    return 1u << (t->exponent_bits + t->mantissa_bits);
}

/* IEEE 754's formula, for codes up to the largest, and beyond as if exponents went on. */
static double value(const struct type *t, unsigned code)
{
    const unsigned exponent = code >> t->mantissa_bits;
    const double fraction = (code & ((1u << t->mantissa_bits) - 1)) / ldexp(1, t->mantissa_bits);
    return exponent ? ldexp(1 + fraction, (int)exponent - t->bias) : ldexp(fraction, 1 - t->bias);
}

static void codes_are_their_numbers(void **state)
{
    (void)state;
    for (const struct type *t = types; t < types + TYPES; t++) {
        const unsigned sign = sign_of(t);
        for (unsigned code = 0; code < 2 * sign; code++) {
            const unsigned magnitude = code & (sign - 1);
            const float v = t->from(code);
            if (magnitude <= t->largest) {
                assert_true((double)v == (code & sign ? -1 : 1) * value(t, magnitude));
                assert_int_equal(!!signbit(v), !!(code & sign));
            } else if (t->infinity && magnitude == t->largest + 1) {
                assert_int_equal(bits_of(v), code & sign ? 0xff800000 : 0x7f800000);
            } else {
                assert_int_equal(bits_of(v), 0x7fffffff);
            }
        }
    }
    for (int v = 0; v < 255; v++) assert_true(numbers_from_e8m0((uint8_t)v) == ldexp(1, v - 127));
    assert_int_equal(bits_of(numbers_from_e8m0(0xff)), 0x7fffffff);
}

static void numbers_come_back(void **state)
{
    (void)state;
    for (const struct type *t = types; t < types + TYPES; t++)
        for (unsigned code = 0; code <= (sign_of(t) | t->largest); code++) {
            if ((code & (sign_of(t) - 1)) > t->largest) continue;
            for (enum round r = ROUND_RN; r <= ROUND_RP; r++)
                assert_int_equal(t->to(t->from(code), r, 0, 0), code);
        }
}

/* The largest code whose number is not above v. */
static unsigned below(const struct type *t, double v)
{
    unsigned low = 0, high = t->largest + 1;
    while (low < high) {
        const unsigned middle = (low + high + 1) / 2;
        if (value(t, middle) <= v)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static unsigned expected(const struct type *t, float v, enum round r, int saturate, int relu)
{
    const int negative = !!signbit(v);
    const double magnitude = fabs((double)v);
    if (isnan(v)) return t->nan;
    if (relu && negative) return 0;
    unsigned code = below(t, magnitude);
    const double down = magnitude - value(t, code), up = value(t, code + 1) - magnitude;
    const enum round outwards = negative ? ROUND_RM : ROUND_RP;
    if (down > 0 && code <= t->largest) {
        if (r == ROUND_RN ? up < down || (up == down && code % 2) : r == outwards) code++;
    }
    if (code > t->largest) {
        const int stays = isfinite(v) && r != ROUND_RN && r != outwards;
        code = saturate || t->always_saturates || stays ? t->largest : t->largest + 1;
    }
    return code | (negative ? sign_of(t) : 0);
}

static void check(const struct type *t, float v)
{
    for (int sign = 0; sign < 2; sign++, v = -v)
        for (enum round r = ROUND_RN; r <= (t->always_saturates ? ROUND_RN : ROUND_RP); r++)
            for (int saturate = 0; saturate < 2; saturate++)
                for (int relu = 0; relu < 2; relu++) {
                    const unsigned got = t->to(v, r, saturate, relu);
                    const unsigned want = expected(t, v, r, saturate, relu);
                    if (got != want)
                        fail_msg("%s of %a, mode %d saturate %d relu %d: %#x, not %#x", t->name,
                                 (double)v, (int)r, saturate, relu, got, want);
                }
}

static void around(const struct type *t, double v)
{
    const float f = (float)v;
    check(t, f);
    check(t, nextafterf(f, INFINITY));
    check(t, nextafterf(f, 0));
}

static void others_go_to_a_neighbour(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (const struct type *t = types; t < types + TYPES; t++) {
        for (unsigned code = 0; code < t->largest; code++) {
            around(t, value(t, code));
            around(t, (value(t, code) + value(t, code + 1)) / 2);
        }
        for (int i = 0; i < 100000; i++) {
            const uint32_t bits = (uint32_t)random_word(&seed);
            float v;
            memcpy(&v, &bits, sizeof v);
            if (!isnan(v)) check(t, v);
        }
    }
}

static void the_largest_is_the_end(void **state)
{
    (void)state;
    for (const struct type *t = types; t < types + TYPES; t++) {
        const double largest = value(t, t->largest), next = value(t, t->largest + 1);
        around(t, largest);
        around(t, (largest + next) / 2);
        if (next <= (double)HUGE_VALF && isfinite((float)next)) around(t, next);
        check(t, 0x1.fffffep127f);
        check(t, INFINITY);
    }
    /* known values, beside the search */
    assert_int_equal(numbers_to_f16(65519.996f, ROUND_RN, 0, 0), 0x7bff);
    assert_int_equal(numbers_to_f16(65520, ROUND_RN, 0, 0), 0x7c00);
    assert_int_equal(numbers_to_f16(65520, ROUND_RN, 1, 0), 0x7bff);
    assert_int_equal(numbers_to_f16(1e9f, ROUND_RZ, 0, 0), 0x7bff);
    assert_int_equal(numbers_to_f16(-1e9f, ROUND_RP, 0, 0), 0xfbff);
    assert_int_equal(numbers_to_f16(-1e9f, ROUND_RM, 0, 0), 0xfc00);
    assert_int_equal(numbers_to_e4m3(464, 0), 0x7e);
    assert_int_equal(numbers_to_e4m3(-INFINITY, 0), 0xfe);
    assert_int_equal(numbers_to_e5m2(INFINITY, 0), 0x7b);
    assert_int_equal(numbers_to_e2m1(5, 0), 0x6);
    assert_int_equal(numbers_to_e2m1(-100, 0), 0xf);
}

static void nan_is_canonical(void **state)
{
    (void)state;
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff, 0x7fffffff};
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        float v;
        memcpy(&v, &nans[i], sizeof v);
        for (const struct type *t = types; t < types + TYPES; t++)
            for (int relu = 0; relu < 2; relu++)
                assert_int_equal(t->to(v, ROUND_RN, 1, relu), t->nan);
        assert_int_equal(numbers_to_e8m0(v, ROUND_RP, 1), 0xff);
    }
    assert_int_equal(numbers_to_f16(-0.0f, ROUND_RN, 0, 1), 0);
    assert_int_equal(numbers_to_f16(-1.0f, ROUND_RN, 0, 1), 0);
    assert_int_equal(numbers_to_bf16(-INFINITY, ROUND_RN, 0, 1), 0);
}

/* The power of two next to |v|, searched. */
static unsigned power_of_two(float v, enum round r)
{
    const double magnitude = fabs((double)v);
    unsigned code = 0;
    while (code < 255 && ldexp(1, (int)code + 1 - 127) <= magnitude) code++;
    if (r == ROUND_RP && ldexp(1, (int)code - 127) < magnitude) code++;
    return code > 255 ? 255 : code;
}

static void e8m0_is_a_power_of_two(void **state)
{
    (void)state;
    for (int e = -150; e < 128; e++) {
        const float power = ldexpf(1, e);
        const float near[] = {power, nextafterf(power, 0), nextafterf(power, INFINITY),
                              1.5f * power};
        for (int i = 0; i < 4; i++)
            for (enum round r = ROUND_RZ; r <= ROUND_RP; r += 2) {
                const unsigned want = power_of_two(near[i], r);
                assert_int_equal(numbers_to_e8m0(near[i], r, 0), want);
                assert_int_equal(numbers_to_e8m0(-near[i], r, 0), want);
                assert_int_equal(numbers_to_e8m0(near[i], r, 1), want == 255 ? 254 : want);
            }
    }
    assert_int_equal(numbers_to_e8m0(0, ROUND_RP, 1), 0);
    assert_int_equal(numbers_to_e8m0(INFINITY, ROUND_RZ, 1), 254);
    assert_int_equal(numbers_to_e8m0(INFINITY, ROUND_RZ, 0), 255);
}

static void the_compiler_agrees(void **state)
{
    (void)state;
#if defined __FLT16_MANT_DIG__ && !defined __clang__
    for (unsigned code = 0; code < 0x10000; code++) {
        const uint16_t h = (uint16_t)code;
        _Float16 theirs;
        memcpy(&theirs, &h, sizeof theirs);
        const float v = numbers_from_f16(h);
        assert_true(v == (float)theirs || (isnan(v) && isnan((float)theirs)));
        if (isnan(v)) continue;
        const float points[] = {v, nextafterf(v, INFINITY), nextafterf(v, -INFINITY),
                                (v + numbers_from_f16((uint16_t)(h + 1))) / 2};
        for (int i = 0; i < 4; i++) {
            if (isnan(points[i])) continue;
            const _Float16 rounded = (_Float16)points[i];
            uint16_t bits;
            memcpy(&bits, &rounded, sizeof bits);
            assert_int_equal(numbers_to_f16(points[i], ROUND_RN, 0, 0), bits);
        }
    }
#else
    skip();
#endif
}

static void lanes_agree(const struct simd *s, uint64_t *seed)
{
    uint32_t h[32], back[32];
    float v[32];
    for (unsigned code = 0; code < 0x10000; code += 32) {
        for (unsigned l = 0; l < 32; l++) h[l] = code + l + ((uint32_t)random_word(seed) << 16);
        s->lanes_from_f16(v, h);
        for (unsigned l = 0; l < 32; l++)
            assert_int_equal(bits_of(v[l]), bits_of(numbers_from_f16((uint16_t)(code + l))));
    }
    for (int i = 0; i < 20000; i++) {
        for (int l = 0; l < 32; l++) {
            const uint32_t w = (uint32_t)random_word(seed);
            const float exact = numbers_from_f16((uint16_t)w);
            const uint32_t near = bits_of(exact) + (l % 4 == 1) * 0x1000u + (l % 4 == 2) * 0xfffu;
            memcpy(&v[l], l % 8 == 7 ? &w : &near, sizeof v[l]);
        }
        s->lanes_to_f16(back, v);
        for (int l = 0; l < 32; l++)
            assert_int_equal(back[l], numbers_to_f16(v[l], ROUND_RN, 0, 0));
    }
}

static void lanes_agree_everywhere(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int i = 0; simd_at(i); i++) lanes_agree(simd_at(i), &seed);
    float v[32];
    uint32_t h[32];
    for (int l = 0; l < 32; l++) v[l] = (float)l / 3;
    numbers_lanes_to_f16(h, v);
    numbers_lanes_from_f16(v, h);
    for (int l = 0; l < 32; l++)
        assert_true(v[l] == numbers_from_f16(numbers_to_f16((float)l / 3, ROUND_RN, 0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_their_numbers),  cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(others_go_to_a_neighbour), cmocka_unit_test(the_largest_is_the_end),
        cmocka_unit_test(nan_is_canonical),         cmocka_unit_test(e8m0_is_a_power_of_two),
        cmocka_unit_test(the_compiler_agrees),      cmocka_unit_test(lanes_agree_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
