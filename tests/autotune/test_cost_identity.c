/* test_cost_identity.c -- contract of cost_identity.h
 *
 * - the same GPU has the same figures, of which there is one for each kernel and launch
 * - each figure that the model reads of a GPU changes them; its price does not
 */
#include "cost_identity.h"

#include <string.h>

#include "helpers.h"

static struct gpu some_gpu(void)
{
    return (struct gpu){.name = "some",
                        .arch = "sm_80",
                        .processors = 100,
                        .clock_hz = 1.5e9,
                        .memory_bytes = 40e9,
                        .memory_bytes_s = 1.5e12,
                        .l2_bytes = 4e7,
                        .l2_bytes_s = 4e12,
                        .f16_ops_s = 3e14,
                        .i8_ops_s = 6e14,
                        .smem_bytes = 164 << 10};
}

static int differs(const struct gpu *g)
{
    const struct arch *a = arch_find("sm_80");
    const struct gpu plain = some_gpu();
    char base[COST_IDENTITY_BYTES], got[COST_IDENTITY_BYTES];
    cost_identity(&plain, a, base);
    cost_identity(g, a, got);
    return strcmp(base, got) != 0;
}

static void figures_are_stable(void **state)
{
    (void)state;
    char text[COST_IDENTITY_BYTES];
    struct gpu g = some_gpu();
    int figures = 0;
    assert_false(differs(&g));
    g.price_hour = 3;
    assert_false(differs(&g));
    cost_identity(&g, arch_find("sm_80"), text);
    for (const char *c = text; *c; c++) figures += *c == ' ';
    assert_int_equal(figures, 3 * 4 * 2);
}

static void what_the_model_reads_changes_them(void **state)
{
    (void)state;
    static const size_t fields[] = {offsetof(struct gpu, clock_hz),
                                    offsetof(struct gpu, memory_bytes_s),
                                    offsetof(struct gpu, l2_bytes_s)};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        struct gpu g = some_gpu();
        *(double *)(void *)((char *)&g + fields[i]) /= 2;
        assert_true(differs(&g));
    }
    struct gpu g = some_gpu();
    g.processors = 50;
    assert_true(differs(&g));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_stable),
        cmocka_unit_test(what_the_model_reads_changes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
