/* test_tuned.c -- contract of tuned.h
 *
 * - what the program carries parses, and is all there is without a folder
 * - rows of the program are added to the user's own
 * - one gives way to an own measured row of the same templates and compiler about some of its rows,
 *   and to nothing else: not to the model's, another device's, shape's, request's, arch's, a stale one
 */
#include "tuned.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "helpers.h"

static struct winner row(const char *line)
{
    char signature[32], how[16], request[64];
    struct winner w;
    memset(&w, 0, sizeof w);
    assert_int_equal(sscanf(line, "%15s %63s %63s %dx%d %d..%d %15s %lf %31s", w.arch, w.device,
                            request, &w.N, &w.K, &w.m_lo, &w.m_hi, how, &w.us, signature),
                     10);
    assert_int_equal(op_desc_parse(request, &w.desc), QRT_OK);
    memcpy(w.signature, signature, sizeof w.signature);
    strcpy(w.template_, "cuda/gemv");
    w.made_lo = 1;
    w.made_hi = WINNER_ROWS_END;
    w.how = strcmp(how, "measured") == 0 ? WINNER_MEASURED : WINNER_MODEL;
    return w;
}

static void the_program_carries_sound_tables(void **state)
{
    (void)state;
    struct winners w;
    char note[256];
    if (tuned_load(NULL, &w, note) != QRT_OK) fail_msg("%s", qrt_message());
    assert_string_equal(note, "");
    winners_free(&w);
}

/* How many rows are left of an own one and one of the program. */
static size_t together(const char *own, const char *shipped)
{
    struct winners w = {0}, s = {0};
    const struct winner a = row(own), b = row(shipped);
    assert_int_equal(winners_add(&w, &a), QRT_OK);
    assert_int_equal(winners_add(&s, &b), QRT_OK);
    assert_int_equal(tuned_add_shipped(&w, &s), QRT_OK);
    const size_t count = w.count;
    assert_true(w.items[0].us == a.us || w.items[count - 1].us == a.us);
    winners_free(&w);
    winners_free(&s);
    return count;
}

static void own_measurements_are_believed(void **state)
{
    (void)state;
    const char *shipped = "sm_89 A linear.w4g128.f16.f16 64x64 2..8 measured 1.0 0123456789abcdef";
    static const char *const stronger[] = {
        "sm_89 A linear.w4g128.f16.f16 64x64 2..8 measured 9.0 0123456789abcdef",
        "sm_89 A linear.w4g128.f16.f16 64x64 8..9 measured 9.0 0123456789abcdef",
        "sm_89 A linear.w4g128.f16.f16 64x64 1..2 measured 9.0 0123456789fedcba",
    };
    static const char *const beside[] = {
        "sm_89 A linear.w4g128.f16.f16 64x64 9..9 measured 9.0 0123456789abcdef",
        "sm_89 A linear.w4g128.f16.f16 64x64 1..1 measured 9.0 0123456789abcdef",
        "sm_89 A linear.w4g128.f16.f16 64x128 2..8 measured 9.0 0123456789abcdef",
        "sm_89 A linear.w4g128.f16.f32 64x64 2..8 measured 9.0 0123456789abcdef",
        "sm_89 B linear.w4g128.f16.f16 64x64 2..8 measured 9.0 0123456789abcdef",
        "sm_80 A linear.w4g128.f16.f16 64x64 2..8 measured 9.0 0123456789abcdef",
        "sm_89 A linear.w4g128.f16.f16 64x64 2..8 measured 9.0 1123456789abcdef",
        "sm_89 A linear.w4g128.f16.f16 64x64 2..9 model 0 0123456789abcdef",
    };
    for (size_t i = 0; i < sizeof stronger / sizeof *stronger; i++)
        assert_int_equal(together(stronger[i], shipped), 1);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
        assert_int_equal(together(beside[i], shipped), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_carries_sound_tables),
        cmocka_unit_test(own_measurements_are_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
