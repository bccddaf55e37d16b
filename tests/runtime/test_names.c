/* test_names.c -- contract of the names in scheme.h, op.h and arch.h
 *
 * - parse(name(x)) is x for every scheme and request, and name(parse(t)) is t
 * - malformed names and meaningless combinations are refused
 * - f16 and bf16 conversions are exact both ways for all 65536 patterns, and round to nearest even
 * - a kernel runs on the arches that the cubin rule allows
 */
#include <math.h>
#include <string.h>

#include "arch.h"
#include "helpers.h"
#include "numeric.h"
#include "op.h"

static void scheme_names_round_trip(void **state)
{
    (void)state;
    int tried = 0;
    for (int bits = 2; bits <= 8; bits++)
        for (int scale = 0; scale < SCALE_COUNT; scale++)
            for (int zero = 0; zero < ZERO_COUNT; zero++)
                for (int group = 0; group <= 256; group += 16) {
                    struct scheme s = {CODE_INT, (uint8_t)bits, (uint8_t)scale, (uint8_t)zero,
                                       group == 0 ? GROUP_ROW : group};
                    struct scheme back;
                    char name[SCHEME_NAME_BYTES];
                    if (scheme_check(&s) != QRT_OK) continue;
                    scheme_name(&s, name);
                    assert_int_equal(scheme_parse(name, &back), QRT_OK);
                    assert_true(scheme_equal(&s, &back));
                    tried++;
                }
    assert_true(tried > 1000);
}

/* Names of looked-up codes and floats, and what they stand for. */
static void words_are_schemes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *full;
        struct scheme s;
    } rows[] = {
        {"nf4g64", "nf4g64", {CODE_NF4, 4, SCALE_F16, ZERO_NONE, 64}},
        {"iq4g32.f32", "iq4g32.f32", {CODE_IQ4, 4, SCALE_F32, ZERO_NONE, 32}},
        {"mxfp4", "e2m1g32.e8m0", {CODE_E2M1, 4, SCALE_E8M0, ZERO_NONE, 32}},
        {"nvfp4", "e2m1g16.e4m3", {CODE_E2M1, 4, SCALE_E4M3, ZERO_NONE, 16}},
        {"e4m3gc.f32", "e4m3gc.f32", {CODE_E4M3, 8, SCALE_F32, ZERO_NONE, GROUP_ROW}},
        {"w4g32z.e8m0", "w4g32z.e8m0", {CODE_INT, 4, SCALE_E8M0, ZERO_INT, 32}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scheme s;
        char name[SCHEME_NAME_BYTES];
        assert_int_equal(scheme_parse(rows[i].name, &s), QRT_OK);
        assert_true(scheme_equal(&s, &rows[i].s));
        scheme_name(&s, name);
        assert_string_equal(name, rows[i].full);
    }
}

static void bad_schemes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         "w",           "w4",          "w9g128",     "w1g32",
        "w4g7",     "w4g0",        "w4g128x",     "w4g128zz",   "w4gcz.k",
        "w4g48.k",  "f8",          "w4g-1",       "w4g128.f64", "W4g128",
        "w300g128", "w4g128 ",     "nf4g64z",     "iq4g32m",    "e2m1g32.k",
        "e4m3g7",   "w4g32m.e8m0", "w4g16m.e4m3", "mxfp4g32",   "e4m3"};
    struct scheme s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(scheme_parse(bad[i], &s), QRT_E_SCHEME);
}

static void request_names_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {
        "linear.w4g128z.f16.f16",
        "linear.w6g16.k.i8.f32",
        "linear.f16.bf16.f32",
        "reduce.bf16",
        "quantize.f32.i8",
        "embed.w8g32.f32",
        "rmsnorm.f32.f16",
        "rope.halves.f16.f16.h128",
        "attention.f32.f16.h64",
        "glu.silu.f16",
        "glu.gelu.f32",
        "add.f16",
        "sample",
        "gather.bf16",
        "combine.f16.h128",
        "linear.nf4g64.f16.f16",
        "linear.e2m1g16.e4m3.bf16.bf16",
        "linear.w8gc.i8t.f16",
        "linear.w4g128z.i8tz.bf16",
        "linear.e4m3g128.f32.e4m3b.bf16",
        "quantize.f16.i8tz",
        "quantize.bf16.e4m3b",
        "rmsnorm.f32.i8t",
        "glu.silu.f16.e4m3t",
        "rope.halves.f16.i8.h64",
        "attention.bf16.e4m3.h128",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct op_desc d;
        char name[OP_NAME_BYTES];
        assert_int_equal(op_desc_parse(names[i], &d), QRT_OK);
        assert_int_equal(op_desc_check(&d), QRT_OK);
        op_desc_name(&d, name);
        assert_string_equal(name, names[i]);
    }
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "lin",
                                      "linear",
                                      "linear.w4g128",
                                      "glu.x.f16",
                                      "sample.f16",
                                      "rope.pairs.f16.f16",
                                      "add.f64",
                                      "attention.f16.f16.128",
                                      "linear.w4g128.f16.f16.f16",
                                      "quantize.f16.i8b",
                                      "quantize.f16.e4m3tz",
                                      "quantize.f16.e4m3",
                                      "quantize.i8t.f16",
                                      "linear.w8gc.f16t.f16",
                                      "add.i8t",
                                      "combine.f16",
                                      "gather"};
    struct op_desc d;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(op_desc_parse(bad[i], &d), QRT_E_ARGUMENT);
}

static void halves_convert_exactly(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(f16_to_f32(f32_to_f16(f))));
        else
            assert_int_equal(f32_to_f16(f), h);
        if (isnan(b))
            assert_true(isnan(bf16_to_f32(f32_to_bf16(b))));
        else
            assert_int_equal(f32_to_bf16(b), h);
    }
}

static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++) { /* the midpoint of neighbours goes to the even one */
        const float low = f16_to_f32((uint16_t)h), high = f16_to_f32((uint16_t)(h + 1));
        const float middle = low + (high - low) / 2;
        assert_int_equal(f32_to_f16(middle), h + h % 2);
        assert_int_equal(f32_to_f16(nextafterf(middle, 1e9f)), h + 1);
        assert_int_equal(f32_to_f16(nextafterf(middle, -1e9f)), h);
    }
    assert_int_equal(f32_to_f16(65519.9f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
}

static void arch_rule(void **state)
{
    (void)state;
    static const struct {
        const char *built, *device;
        int runs;
    } rows[] = {
        {"sm_80", "sm_86", 1},     {"sm_86", "sm_80", 0},         {"sm_80", "sm_90", 0},
        {"sm_90a", "sm_90", 1},    {"sm_90", "sm_90a", 1},        {"sm_90a", "sm_100", 0},
        {"sm_89", "sm_89", 1},     {"x86-64-v3", "x86-64-v4", 1}, {"x86-64-v4", "x86-64-v3", 0},
        {"sm_80", "x86-64-v4", 0}, {"sm_100", "sm_120", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(arch_runs_on(arch_find(rows[i].built), arch_find(rows[i].device)),
                         rows[i].runs);
    assert_null(arch_find("sm_70"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scheme_names_round_trip),     cmocka_unit_test(words_are_schemes),
        cmocka_unit_test(bad_schemes_are_refused),     cmocka_unit_test(request_names_round_trip),
        cmocka_unit_test(bad_requests_are_refused),    cmocka_unit_test(halves_convert_exactly),
        cmocka_unit_test(rounding_is_to_nearest_even), cmocka_unit_test(arch_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
