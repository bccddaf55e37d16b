/* test_x86_linear.c -- contract of the linears of templates/x86, on this processor
 *
 * - a kernel for f32 activations agrees with ref over check.h's grid: int and dense weights
 * - so does every tune point of a linear, not only the best
 * - a row of a linear has the same bits whatever M is and however the work is shared
 * - no image asks for a symbol from outside (x86_kernel.c looks at each)
 * x86-64-v3 runs on every processor that runs the tests; x86-64-v4 where there is AVX-512, else
 * test_x86_emulated.c has to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_weight.h"
#include "helpers.h"
#include "x86_kernel.h"

enum { ROWS = 100 }; /* past the blocks of rows that the linears take */

static void weights_meet_f32(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "linear.w3g16.f32.f32.f32", "linear.w4g128z.f32.f32", "linear.w5g32m.k.f32.f32",
        "linear.f32.f32.f32",       "linear.f16.f32.f32",     "linear.bf16.f32.f32",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        x86_check_here(requests[i], ROWS);
}

static void every_tune_point(void **state)
{
    (void)state;
    static const char *const requests[] = {"linear.w4g32.i8.f32", "linear.w8gcz.f32.f32"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const int points = x86_kernel_points(requests[i], "x86-64-v3");
        for (int point = 1; point < points; point++)
            x86_check(requests[i], "x86-64-v3", point, ROWS, X86_AS_SHIPPED);
    }
}

/* ---- the bits of a row ---- */

enum { N = 100, K = 1000, MOST = 130, BLOCKS = (K + 31) / 32, LD = BLOCKS * 32 };

struct problem {
    struct check_weight plain;
    void *section[SECTION_COUNT];
    struct qk_linear args;
    int8_t code[MOST * LD];
    float scale[MOST * BLOCKS], y[MOST * N], x[MOST * LD];
    short sum[MOST * BLOCKS * 2];
};

static struct problem *make_problem(const struct op_desc *d)
{
    struct problem *p = calloc(1, sizeof *p);
    size_t bytes[SECTION_COUNT];
    uint64_t seed = 7;
    assert_non_null(p);
    assert_int_equal(layout_bytes(FAMILY_X86, &d->weight, N, K, bytes), QRT_OK);
    assert_int_equal(check_weight_make(&d->weight, N, K, 0, 3, &p->plain), QRT_OK);
    for (int i = 0; i < SECTION_COUNT; i++) p->section[i] = calloc(1, bytes[i] + 1);
    check_weight_pack(&p->plain, FAMILY_X86, p->section);
    for (int i = 0; i < MOST * LD; i++) {
        p->code[i] = (int8_t)(i % LD < K ? random_word(&seed) % 255 - 127 : 0);
        p->sum[i / 16] = (short)(p->sum[i / 16] + p->code[i]);
        p->x[i] = random_float(&seed);
    }
    for (int i = 0; i < MOST * BLOCKS; i++) p->scale[i] = random_float(&seed);
    const int i8 = d->act == ELEM_I8;
    p->args = (struct qk_linear){.w = {.codes = p->section[SECTION_CODES],
                                       .scales = p->section[SECTION_SCALES],
                                       .zeros = p->section[SECTION_ZEROS],
                                       .supers = p->section[SECTION_SUPERS],
                                       .N = N,
                                       .K = K,
                                       .G = p->plain.G},
                                 .x = i8 ? (void *)p->code : (void *)p->x,
                                 .x_scale = p->scale,
                                 .x_sum = p->sum,
                                 .y = p->y,
                                 .ldx = LD,
                                 .ldy = N,
                                 .split = 1};
    return p;
}

static void free_problem(struct problem *p)
{
    check_weight_free(&p->plain);
    for (int i = 0; i < SECTION_COUNT; i++) free(p->section[i]);
    free(p);
}

typedef void linear_function(const struct qk_linear *a, const struct qk_cpu *cpu);

static void run_shares(linear_function *f, struct problem *p, int M, int parts)
{
    static _Alignas(64) char scratch[QK_SCRATCH_BYTES];
    p->args.M = M;
    for (int part = 0; part < parts; part++) {
        const struct qk_cpu share = {.part = part, .parts = parts, .scratch = scratch};
        memset(scratch, 0xff, sizeof scratch);
        f(&p->args, &share);
    }
}

static void same_bits(const char *request)
{
    struct entry e;
    void *image;
    struct kernel k = {0};
    linear_function *f;
    static float want[MOST * N];
    x86_kernel(request, "x86-64-v3", 0, ROWS, X86_AS_SHIPPED, &e, &image);
    assert_int_equal(x86_cpu->ops->load(x86_cpu, &e, &k), QRT_OK);
    memcpy(&f, &k.code, sizeof f);
    struct problem *p = make_problem(&e.record.desc);
    run_shares(f, p, MOST, 1);
    memcpy(want, p->y, sizeof want);
    for (int M = 1; M < 20; M++) {
        memset(p->y, 0xff, sizeof p->y);
        run_shares(f, p, M, M % 5 + 1);
        assert_memory_equal(p->y, want, (size_t)(M * N) * sizeof *want);
    }
    free_problem(p);
    x86_cpu->ops->unload(x86_cpu, &k);
    free(image);
}

static void a_row_depends_on_nothing_else(void **state)
{
    (void)state;
    same_bits("linear.w6g16.i8.f32");
    same_bits("linear.w4g128z.f32.f32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_meet_f32),
        cmocka_unit_test(every_tune_point),
        cmocka_unit_test(a_row_depends_on_nothing_else),
    };
    return cmocka_run_group_tests(tests, x86_setup, x86_teardown);
}
