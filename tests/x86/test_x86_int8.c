/* test_x86_int8.c -- contract of the x86 linear for int8 activations, on this processor
 *
 * - it agrees with ref over check.h's grid for all bits, and all kinds of groups, scales and zeros
 * - no image asks for a symbol from outside (x86_kernel.c looks at each)
 * x86-64-v3 runs on every processor that runs the tests; x86-64-v4 where there is AVX-512, else
 * test_x86_emulated.c has to do.
 */
#include "helpers.h"
#include "x86_kernel.h"

enum { ROWS = 100 }; /* past the block of rows that a decoded piece of W serves */

static void int_weights_meet_int8(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "linear.w2g64.i8.f32",      "linear.w3g128z.i8.f32",    "linear.w4g32m.i8.f32",
        "linear.w4g32m.k.i8.f32",   "linear.w5g48m.f32.i8.f32", "linear.w6g16.k.i8.f32",
        "linear.w7gcz.bf16.i8.f32", "linear.w8g32.i8.f32",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        x86_check_here(requests[i], ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(int_weights_meet_int8)};
    return cmocka_run_group_tests(tests, x86_setup, x86_teardown);
}
