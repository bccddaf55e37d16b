/* test_value.c -- contract of value.h, of the small floats of numeric.h, and of elem.h's rounding
 *
 * - NF4 values are quantiles of the normal distribution as the paper says, made here from erf
 * - IQ4 values are those of the GGUF files; E2M1 values follow its sign, exponent and mantissa
 * - e4m3: every code is the number that its fields say; every float goes to the nearest code, ties to
 *   the even one, clamped to +-448; NaN stays NaN
 * - e8m0 is 2^(v - 127), 255 is NaN
 * - integer codes stand for themselves; scales of every type are read by their index
 * - stores of f16 are clamped to +-65504, infinities too; NaN stays NaN; other types are not clamped
 */
#include "value.h"

#include <math.h>

#include "code_values.h"
#include "elem.h"
#include "helpers.h"
#include "numeric.h"

/* x with P(X < x) = p, X standard normal. */
static double normal_quantile(double p)
{
    double low = -10, high = 10;
    for (int i = 0; i < 200; i++) {
        const double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Eight quantiles above 0 and seven below, between 1/2 and 1 - (1/32 + 1/30) / 2 of the
 * probability, divided by the largest. */
static void nf4_is_quantiles(void **state)
{
    (void)state;
    const double offset = 1 - (1.0 / 32 + 1.0 / 30) / 2, top = normal_quantile(offset);
    for (int i = 0; i < 7; i++) {
        const double p = offset + (0.5 - offset) * i / 7;
        assert_true(fabs(value_of_code(CODE_NF4, (unsigned)i) + normal_quantile(p) / top) < 2e-6);
    }
    assert_true(value_of_code(CODE_NF4, 7) == 0);
    for (int i = 0; i < 8; i++) {
        const double p = offset + (0.5 - offset) * i / 8;
        const double value = value_of_code(CODE_NF4, (unsigned)(15 - i));
        assert_true(fabs(value - normal_quantile(p) / top) < 2e-6);
    }
    assert_true(value_of_code(CODE_NF4, 0) == -1 && value_of_code(CODE_NF4, 15) == 1);
}

static void iq4_and_e2m1_are_as_specified(void **state)
{
    (void)state;
    static const int iq4[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
    static const int halves[] = {QK_E2M1_HALVES};
    for (unsigned code = 0; code < 16; code++) {
        assert_true(value_of_code(CODE_IQ4, code) == (float)iq4[code]);
        const int exponent = code >> 1 & 3, mantissa = code & 1;
        const double size =
            exponent ? ldexp(1 + mantissa / 2.0, exponent - 1) : ldexp(mantissa / 2.0, 0);
        assert_true(value_of_code(CODE_E2M1, code) == (code & 8 ? -size : size));
        assert_true(halves[code] == 2 * (code & 8 ? -size : size));
    }
    for (unsigned code = 0; code < 256; code++)
        assert_true(value_of_code(CODE_INT, code) == (float)code);
}

/* The number of a code by its fields. */
static double e4m3(unsigned code)
{
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double size = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return code & 0x80 ? -size : size;
}

static void e4m3_codes_are_numbers(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 256; code++) {
        const float value = e4m3_to_f32((uint8_t)code);
        if ((code & 0x7f) == 0x7f) {
            assert_true(isnan(value));
            continue;
        }
        assert_true((double)value == e4m3(code) && !signbit(value) == !(code & 0x80));
        assert_int_equal(f32_to_e4m3(value), code);
        assert_true(value_of_code(CODE_E4M3, code) == value);
    }
}

static void e4m3_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x7e; code++) {
        const float middle = (float)((e4m3(code) + e4m3(code + 1)) / 2);
        assert_int_equal(f32_to_e4m3(middle), code + code % 2);
        assert_int_equal(f32_to_e4m3(-middle), 0x80 | (code + code % 2));
        assert_int_equal(f32_to_e4m3(nextafterf(middle, 1e9f)), code + 1);
        assert_int_equal(f32_to_e4m3(nextafterf(middle, 0)), code);
    }
    static const float beyond[] = {448, 449, 464, 480, 1e30f, INFINITY};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        assert_int_equal(f32_to_e4m3(beyond[i]), 0x7e);
        assert_int_equal(f32_to_e4m3(-beyond[i]), 0xfe);
    }
    assert_int_equal(f32_to_e4m3(1e-30f), 0);
    assert_true(isnan(e4m3_to_f32(f32_to_e4m3(NAN))));
}

static void scales_are_read_by_index(void **state)
{
    (void)state;
    for (int v = 0; v < 255; v++) assert_true((double)e8m0_to_f32((uint8_t)v) == ldexp(1, v - 127));
    assert_true(isnan(e8m0_to_f32(255)));
    const uint8_t e8m0[] = {0, 130}, small[] = {0, 0x41};
    const uint16_t half[] = {0, f32_to_f16(1.5f)}, brain[] = {0, f32_to_bf16(-2.5f)};
    const float wide[] = {0, 0.1f};
    const int8_t level[] = {0, -7};
    assert_true(value_of_scale(SCALE_E8M0, e8m0, 1) == 8);
    assert_true(value_of_scale(SCALE_E4M3, small, 1) == 2.25f);
    assert_true(value_of_scale(SCALE_F16, half, 1) == 1.5f);
    assert_true(value_of_scale(SCALE_BF16, brain, 1) == -2.5f);
    assert_true(value_of_scale(SCALE_F32, wide, 1) == 0.1f);
    assert_true(value_of_scale(SCALE_TWO_LEVEL, level, 1) == -7);
}

static void f16_is_clamped(void **state)
{
    (void)state;
    static const float beyond[] = {65504, 65519, 65520, 1e9f, INFINITY};
    uint16_t half, brain;
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        elem_set(ELEM_F16, &half, 0, beyond[i]);
        assert_int_equal(half, 0x7bff);
        elem_set(ELEM_F16, &half, 0, -beyond[i]);
        assert_int_equal(half, 0xfbff);
    }
    elem_set(ELEM_F16, &half, 0, NAN);
    assert_true(isnan(elem_get(ELEM_F16, &half, 0)));
    elem_set(ELEM_BF16, &brain, 0, INFINITY);
    assert_true(isinf(elem_get(ELEM_BF16, &brain, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nf4_is_quantiles),         cmocka_unit_test(iq4_and_e2m1_are_as_specified),
        cmocka_unit_test(e4m3_codes_are_numbers),   cmocka_unit_test(e4m3_rounds_to_nearest_even),
        cmocka_unit_test(scales_are_read_by_index), cmocka_unit_test(f16_is_clamped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
