/* test_x86_kernels.c -- contract of templates/x86 but the linears, on this processor
 *
 * - every kernel agrees with ref over check.h's grid
 * - no image asks for a symbol from outside (x86_kernel.c looks at each)
 * x86-64-v3 runs on every processor that runs the tests; x86-64-v4 where there is AVX-512, else
 * test_x86_emulated.c has to do.
 */
#include "helpers.h"
#include "x86_kernel.h"

enum { ROWS = 100 };

static void other_ops(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "quantize.f32.i8",
        "embed.w8g32.f32",
        "embed.w6g16.k.f32",
        "embed.w5gcz.bf16.f32",
        "embed.bf16.f32",
        "rmsnorm.f32.f32",
        "rope.pairs.f32.f16.h64",
        "rope.halves.f32.f16.h80",
        "attention.f32.f16.h64",
        "attention.f32.f16.h80",
        "attention.f32.f16.h256",
        "glu.silu.f32",
        "glu.gelu.f32",
        "add.f32",
        "sample",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        x86_check_here(requests[i], ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_ops)};
    return cmocka_run_group_tests(tests, x86_setup, x86_teardown);
}
