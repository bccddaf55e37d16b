/* test_noise.c -- contract of noise.h
 *
 * - median, quartiles and spread of known values, odd and even in number, in any order
 * - of normal scatter the spread is the standard deviation, and the error that of the median
 * - one wild value in ten moves median and spread by less than a third of the spread
 * - faster: only beyond both 4 errors and 2 %; in 1000 seeded trials at any scatter, a kernel against
 *   itself is at most 5 times, and one that takes 15 % less at most 5 times not
 * - agreement is symmetric and reflexive
 */
#include <math.h>
#include <string.h>

#include "helpers.h"
#include "noise.h"

#define assert_near(a, b, within) assert_true(fabs((a) - (b)) <= (within))

static void known_values(void **state)
{
    (void)state;
    double odd[] = {9, 1, 5, 3, 7};
    const struct noise a = noise_of(odd, 5);
    assert_int_equal(a.count, 5);
    assert_near(a.median, 5, 0);
    assert_near(a.low, 3, 0);
    assert_near(a.high, 7, 0);
    assert_near(a.spread, 1.4826 * 2, 1e-12); /* distances 0 2 2 4 4 */
    assert_near(a.error, 1.2533 * a.spread / sqrt(5), 1e-12);
    double even[] = {10, 2, 4, 3};
    const struct noise b = noise_of(even, 4);
    assert_near(b.median, 3.5, 0);
    assert_near(b.spread, 1.4826 * 1, 1e-12); /* distances 0.5 0.5 1.5 6.5 */
    double one[] = {2.5};
    const struct noise c = noise_of(one, 1);
    assert_near(c.median, 2.5, 0);
    assert_near(c.low, 2.5, 0);
    assert_near(c.spread, 0, 0);
    double same[] = {4, 4, 4, 4, 4, 4};
    assert_near(noise_of(same, 6).spread, 0, 0);
}

/* Normal with mean 0 and deviation 1, by the sum of twelve uniform numbers. */
static double normal(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += (double)random_float(state) / 2;
    return sum;
}

static void fill(double *values, size_t count, double mean, double deviation, uint64_t *state)
{
    for (size_t i = 0; i < count; i++) values[i] = mean + deviation * normal(state);
}

static void spread_is_the_deviation(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static double values[COUNT];
    uint64_t seed = 3;
    fill(values, COUNT, 10, 2, &seed);
    const struct noise n = noise_of(values, COUNT);
    assert_near(n.median, 10, 0.06);
    assert_near(n.spread, 2, 0.06);
    double squares = 0;
    for (int i = 0; i < 400; i++) {
        fill(values, 101, 10, 2, &seed);
        const double off = noise_of(values, 101).median - 10;
        squares += off * off;
    }
    assert_near(sqrt(squares / 400), 1.2533 * 2 / sqrt(101), 0.03);
}

static void wild_values_do_not_count(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    double calm[COUNT], wild[COUNT];
    uint64_t seed = 5;
    fill(calm, COUNT, 1, 0.05, &seed);
    memcpy(wild, calm, sizeof wild);
    for (int i = 0; i < COUNT; i += 10) wild[i] *= 30;
    const struct noise a = noise_of(calm, COUNT), b = noise_of(wild, COUNT);
    assert_near(b.median, a.median, 0.3 * a.spread);
    assert_near(b.spread, a.spread, 0.3 * a.spread);
}

static struct noise ratio_of(double ratio, double scatter, size_t count, uint64_t *seed)
{
    double values[64];
    for (size_t i = 0; i < count; i++)
        values[i] = ratio * (1 + scatter * normal(seed)) / (1 + scatter * normal(seed));
    return noise_of(values, count);
}

static void faster_is_beyond_the_noise(void **state)
{
    (void)state;
    const struct noise sure = {.count = 20, .median = 0.97, .error = 0.001},
                       slight = {.count = 20, .median = 0.985, .error = 0.0001},
                       noisy = {.count = 20, .median = 0.9, .error = 0.03};
    assert_true(noise_is_faster(&sure));
    assert_false(noise_is_faster(&slight));
    assert_false(noise_is_faster(&noisy));
    assert_true(noise_is_small(&slight));
    assert_false(noise_is_small(&noisy));
    uint64_t seed = 7;
    int won = 0, lost = 0;
    for (int i = 0; i < 1000; i++) {
        const struct noise same = ratio_of(1, 0.001 * (i % 200), 21, &seed);
        won += noise_is_faster(&same);
        const struct noise better = ratio_of(0.85, 0.03, 40, &seed);
        lost += !noise_is_faster(&better);
    }
    assert_true(won <= 5);
    assert_true(lost <= 5);
}

static void agreement_is_symmetric(void **state)
{
    (void)state;
    uint64_t seed = 9;
    for (int i = 0; i < 1000; i++) {
        const struct noise a = ratio_of(0.9, 0.05, 15, &seed), b = ratio_of(0.95, 0.02, 25, &seed);
        assert_true(noise_agrees(&a, &a));
        assert_int_equal(noise_agrees(&a, &b), noise_agrees(&b, &a));
    }
    const struct noise near = {.median = 0.95, .error = 0.001},
                       far = {.median = 0.9, .error = 0.002};
    assert_false(noise_agrees(&near, &far));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(spread_is_the_deviation),
        cmocka_unit_test(wild_values_do_not_count),
        cmocka_unit_test(faster_is_beyond_the_noise),
        cmocka_unit_test(agreement_is_symmetric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
