/* test_x86_emulated.c -- contract of templates/x86 for instructions that this processor may lack
 *
 * The AVX-512 body of every template, and the VNNI paths of both arches, run on SIMDe's emulation:
 * - they agree with ref over check.h's grid
 * The emulation is slow, so the rows go up to where the tiled paths begin and a little further.
 */
#include "helpers.h"
#include "x86_kernel.h"

enum { ROWS = 18 };

static void avx512_linear(void **state)
{
    (void)state;
    x86_check("linear.w5g32m.i8.f32", "x86-64-v4", 0, ROWS, X86_EMULATED);
    x86_check("linear.w8g32.i8.f32", "x86-64-v4", 0, ROWS, X86_EMULATED);
    x86_check("linear.w4g48z.f32.f32", "x86-64-v4", 0, ROWS, X86_EMULATED);
    x86_check("linear.bf16.f32.f32", "x86-64-v4", 0, ROWS, X86_EMULATED);
}

static void vnni(void **state)
{
    (void)state;
    x86_check("linear.w6g16.k.i8.f32", "x86-64-v4", 0, ROWS, X86_EMULATED_FEATURES);
    x86_check("linear.w8gcz.i8.f32", "x86-64-v3", 0, ROWS, X86_EMULATED_FEATURES);
}

static void avx512_other_ops(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "quantize.f32.i8",       "embed.w4g32m.f32", "rmsnorm.f32.f32", "rope.halves.f32.f16.h64",
        "attention.f32.f16.h80", "glu.silu.f32",     "add.f32",         "sample",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        x86_check(requests[i], "x86-64-v4", 0, ROWS, X86_EMULATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(avx512_linear),
        cmocka_unit_test(vnni),
        cmocka_unit_test(avx512_other_ops),
    };
    return cmocka_run_group_tests(tests, x86_setup, x86_teardown);
}
