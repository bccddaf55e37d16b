/* test_select.c -- contract of select.h
 *
 * - points are every M up to 32, then ascend to 8192; the edges of tiles of 8 to 256 rows and the
 *   first row beyond are there, and no step above 32 is wider than half the row it leads to
 * - ranges cover every shape from row 1 to INT_MAX without gap or overlap, shapes in order
 * - at every point a range's candidate is within the tolerance of the best, and the range's loss is
 *   the largest of its points
 * - with no tolerance the winner of every point is a best one, each small M by itself
 * - ranges are as few as any walk over the candidates used allows; candidates are as few as the best
 *   cover has times the bound of a greedy one that takes at least half of the most cells, and none can
 *   be left out (brute force)
 * - of two covers of the same size the one nearer to the best is taken
 * - a candidate used elsewhere is preferred within the tolerance; ties go to the first; scaling all
 *   times changes nothing
 * - what is not made is never chosen; a point where nothing is made is QRT_E_KERNEL with its M
 * - the order is by mean place over the points that stand for the rows asked for
 */
#include "select.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "helpers.h"

enum { MOST_CANDIDATES = 6, MOST_SHAPES = 3, MOST_POINTS = 7 };

static const int rows[MOST_POINTS] = {1, 2, 4, 8, 16, 64, 256};

/* A small table: times[candidate][shape][point] packed as the input wants it. */
struct table {
    struct select_input in;
    double time[MOST_CANDIDATES * MOST_SHAPES * MOST_POINTS];
};

static void table_size(struct table *t, size_t candidates, size_t shapes, size_t points)
{
    t->in = (struct select_input){.candidates = candidates,
                                  .shapes = shapes,
                                  .points = points,
                                  .M = rows,
                                  .time = t->time,
                                  .tolerance = 0.03};
}

static double time_at(const struct table *t, size_t candidate, size_t shape, size_t point)
{
    return t->time[(candidate * t->in.shapes + shape) * t->in.points + point];
}

static double best_at(const struct table *t, size_t shape, size_t point)
{
    double best = INFINITY;
    for (size_t c = 0; c < t->in.candidates; c++) best = fmin(best, time_at(t, c, shape, point));
    return best;
}

static int is_good(const struct table *t, size_t candidate, size_t shape, size_t point)
{
    return time_at(t, candidate, shape, point) <= best_at(t, shape, point) * (1 + t->in.tolerance);
}

static uint32_t random_state;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* Few different times, so that ties and covers are met often; one in eight is not made. */
static void table_random(struct table *t, uint32_t seed)
{
    random_state = seed * 2654435761u + 1;
    table_size(t, 1 + random_below(MOST_CANDIDATES), 1 + random_below(MOST_SHAPES),
               1 + random_below(MOST_POINTS));
    const size_t cells = t->in.shapes * t->in.points;
    for (size_t i = 0; i < t->in.candidates * cells; i++)
        t->time[i] = i >= cells && random_below(8) == 0 ? INFINITY : 1.0 + 0.02 * random_below(5);
}

/* The candidate of a point by the ranges. */
static size_t chosen(const struct select_range *ranges, size_t count, size_t shape, int M)
{
    for (size_t i = 0; i < count; i++)
        if (ranges[i].shape == shape && ranges[i].m_lo <= M && M <= ranges[i].m_hi)
            return ranges[i].candidate;
    fail_msg("shape %zu: no range for M = %d", shape, M);
    return 0;
}

static unsigned used(const struct select_range *ranges, size_t count)
{
    unsigned set = 0;
    for (size_t i = 0; i < count; i++) set |= 1u << ranges[i].candidate;
    return set;
}

static int bits(unsigned set)
{
    int count = 0;
    for (; set; set &= set - 1) count++;
    return count;
}

static struct select_range *select_all(const struct table *t, size_t *count)
{
    struct select_range *ranges;
    assert_int_equal(select_ranges(&t->in, &ranges, count), QRT_OK);
    return ranges;
}

/* ---- the points ---- */

static int has_point(const int *points, size_t count, int M)
{
    for (size_t i = 0; i < count; i++)
        if (points[i] == M) return 1;
    return 0;
}

static void points_are_the_edges_of_tiles(void **state)
{
    (void)state;
    size_t count;
    const int *points = select_points(&count);
    for (int M = 1; M <= 32; M++) assert_int_equal(points[M - 1], M);
    for (size_t i = 1; i < count; i++) {
        assert_true(points[i] > points[i - 1]);
        assert_true(points[i] - points[i - 1] <= points[i] / 2);
    }
    assert_int_equal(points[count - 1], 8192);
    static const int tiles[] = {8, 16, 32, 64, 96, 128, 256};
    for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++)
        for (int edge = tiles[t]; edge <= 2 * tiles[t]; edge += tiles[t]) {
            assert_true(has_point(points, count, edge));
            assert_true(has_point(points, count, edge + 1));
        }
    for (int edge = 256; edge <= 4096; edge *= 2) assert_true(has_point(points, count, edge + 1));
}

/* ---- properties of any table ---- */

static void check_coverage(const struct table *t, const struct select_range *r, size_t count)
{
    size_t shape = 0;
    int next = 1;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(r[i].shape, shape);
        assert_int_equal(r[i].m_lo, next);
        assert_true(r[i].m_hi >= r[i].m_lo);
        if (r[i].m_hi == INT_MAX) {
            shape++;
            next = 1;
        } else
            next = r[i].m_hi + 1;
    }
    assert_int_equal(shape, t->in.shapes);
    assert_int_equal(next, 1);
}

static void check_loss(const struct table *t, const struct select_range *r, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double loss = 0;
        for (size_t p = 0; p < t->in.points; p++) {
            if (rows[p] < r[i].m_lo || rows[p] > r[i].m_hi) continue;
            assert_true(is_good(t, r[i].candidate, r[i].shape, p));
            loss = fmax(loss,
                        time_at(t, r[i].candidate, r[i].shape, p) / best_at(t, r[i].shape, p) - 1);
        }
        assert_true(fabs(loss - r[i].loss) < 1e-12);
    }
}

static void ranges_cover_all_rows_within_the_tolerance(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 3000; seed++) {
        struct table t;
        size_t count;
        table_random(&t, seed);
        struct select_range *ranges = select_all(&t, &count);
        check_coverage(&t, ranges, count);
        check_loss(&t, ranges, count);
        free(ranges);
    }
}

static void without_tolerance_the_best_wins_at_each_point(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 1000; seed++) {
        struct table t;
        size_t count;
        table_random(&t, seed);
        t.in.tolerance = 0;
        struct select_range *ranges = select_all(&t, &count);
        for (size_t s = 0; s < t.in.shapes; s++)
            for (size_t p = 0; p < t.in.points; p++)
                assert_true(time_at(&t, chosen(ranges, count, s, rows[p]), s, p) ==
                            best_at(&t, s, p));
        free(ranges);
    }
}

/* ---- brute force ---- */

static int covers(const struct table *t, unsigned set)
{
    for (size_t s = 0; s < t->in.shapes; s++)
        for (size_t p = 0; p < t->in.points; p++) {
            int good = 0;
            for (size_t c = 0; c < t->in.candidates; c++)
                good |= (set >> c & 1) && is_good(t, c, s, p);
            if (!good) return 0;
        }
    return 1;
}

static int smallest_cover(const struct table *t)
{
    int least = INT_MAX;
    for (unsigned set = 1; set < 1u << t->in.candidates; set++)
        if (bits(set) < least && covers(t, set)) least = bits(set);
    return least;
}

/* The fewest ranges of a shape from point p on, when `at` was used before it. */
static size_t fewest_ranges(const struct table *t, unsigned set, size_t s, size_t p, size_t at)
{
    if (p == t->in.points) return 0;
    size_t least = SIZE_MAX;
    for (size_t c = 0; c < t->in.candidates; c++) {
        if (!(set >> c & 1) || !is_good(t, c, s, p)) continue;
        const size_t ranges = fewest_ranges(t, set, s, p + 1, c) + (c != at);
        if (ranges < least) least = ranges;
    }
    return least;
}

static void candidates_and_ranges_are_few(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 300; seed++) {
        struct table t;
        size_t count, least = 0;
        table_random(&t, seed);
        struct select_range *ranges = select_all(&t, &count);
        const unsigned set = used(ranges, count);
        const double harmonic = 1 + log((double)(t.in.shapes * t.in.points));
        assert_true(bits(set) <= 2 * smallest_cover(&t) * harmonic);
        for (size_t c = 0; c < t.in.candidates; c++)
            if (set >> c & 1) assert_false(covers(&t, set & ~(1u << c)));
        for (size_t s = 0; s < t.in.shapes; s++) least += fewest_ranges(&t, set, s, 0, SIZE_MAX);
        assert_int_equal(count, least);
        free(ranges);
    }
}

/* ---- known tables ---- */

static void the_one_used_elsewhere_is_preferred(void **state)
{
    (void)state;
    struct table t = {.time = {
                          1.00, 1.00, 1.02, 1.02, /* all right everywhere */
                          1.50, 1.50, 1.00, 1.00, /* the best of the second shape */
                      }};
    size_t count;
    table_size(&t, 2, 2, 2);
    struct select_range *ranges = select_all(&t, &count);
    assert_int_equal(count, 2);
    assert_int_equal(ranges[1].candidate, 0);
    assert_true(fabs(ranges[1].loss - 0.02) < 1e-12);
    free(ranges);
    t.in.tolerance = 0.01;
    ranges = select_all(&t, &count);
    assert_int_equal(ranges[1].candidate, 1);
    free(ranges);
}

static void the_nearer_cover_is_taken(void **state)
{
    (void)state;
    struct table t = {.time = {
                          1.02, 1.02, 1.02, 1.02, /* all right everywhere, never the best */
                          1.00, 1.00, 1.00, 1.02, /* better in three places */
                          1.00, 1.01, 1.02, 1.00, /* better in three others, by less */
                      }};
    size_t count;
    table_size(&t, 3, 1, 4);
    struct select_range *ranges = select_all(&t, &count);
    assert_int_equal(count, 1);
    assert_int_equal(ranges[0].candidate, 1);
    free(ranges);
}

static void a_crossover_is_met_where_it_is(void **state)
{
    (void)state;
    struct table t = {.time = {
                          1.0, 1.0, 1.0, 2.0, 4.0, /* best up to 4 rows */
                          3.0, 3.0, 3.0, 3.0, 3.0, /* never */
                          2.0, 2.0, 2.0, 1.5, 1.5, /* best from 8 on */
                      }};
    size_t count;
    table_size(&t, 3, 1, 5);
    struct select_range *ranges = select_all(&t, &count);
    assert_int_equal(count, 2);
    assert_int_equal(ranges[0].candidate, 0);
    assert_int_equal(ranges[0].m_hi, 4);
    assert_int_equal(ranges[1].candidate, 2);
    assert_int_equal(ranges[1].m_lo, 5);
    free(ranges);
}

static void ties_go_to_the_first_and_scale_does_not_matter(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 500; seed++) {
        struct table t, twice;
        size_t count, again;
        table_random(&t, seed);
        twice = t;
        twice.in.time = twice.time;
        for (size_t i = 0; i < sizeof t.time / sizeof *t.time; i++) twice.time[i] *= 2;
        struct select_range *a = select_all(&t, &count), *b = select_all(&twice, &again);
        assert_int_equal(count, again);
        for (size_t i = 0; i < count; i++) assert_int_equal(a[i].candidate, b[i].candidate);
        free(a);
        free(b);
    }
    struct table t = {.time = {1, 1, 1, 1, 1, 1}};
    size_t count;
    table_size(&t, 3, 1, 2);
    struct select_range *ranges = select_all(&t, &count);
    assert_int_equal(count, 1);
    assert_int_equal(ranges[0].candidate, 0);
    free(ranges);
}

static void what_is_not_made_is_not_chosen(void **state)
{
    (void)state;
    struct table t = {.time = {INFINITY, NAN, 5.0, 7.0, 6.0, INFINITY}};
    size_t count;
    struct select_range *ranges;
    table_size(&t, 2, 1, 3); /* the second has no time at the last point, the first only there */
    ranges = select_all(&t, &count);
    assert_int_equal(count, 2);
    assert_int_equal(chosen(ranges, count, 0, 1), 1);
    assert_int_equal(chosen(ranges, count, 0, 2), 1);
    assert_int_equal(chosen(ranges, count, 0, 3), 0);
    free(ranges);
    t.time[4] = INFINITY;
    assert_int_equal(select_ranges(&t.in, &ranges, &count), QRT_E_KERNEL);
    assert_null(ranges);
    assert_non_null(strstr(qrt_message(), "M = 2"));
}

static void the_order_is_by_mean_place(void **state)
{
    (void)state;
    struct table t = {.time = {
                          3.0, 1.0, 1.0, /* places 2, 0, 0 at M = 1, 2, 4 */
                          1.0, 2.0, 3.0, /* 0, 1, 2 */
                          2.0, 3.0, 2.0, /* 1, 2, 1 */
                      }};
    size_t *order;
    table_size(&t, 3, 1, 3);
    assert_int_equal(select_order(&t.in, 1, 4, &order), QRT_OK); /* sums 2, 3, 4 */
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 1);
    assert_int_equal(order[2], 2);
    free(order);
    assert_int_equal(select_order(&t.in, 1, 1, &order), QRT_OK);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    free(order);
    assert_int_equal(select_order(&t.in, 3, 3, &order), QRT_OK); /* M = 4 stands for 3 */
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 2);
    free(order);
    t.time[0] = t.time[3] = t.time[6] = 1.0; /* a tie: in their own order */
    assert_int_equal(select_order(&t.in, 1, 1, &order), QRT_OK);
    for (size_t i = 0; i < 3; i++) assert_int_equal(order[i], i);
    free(order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_are_the_edges_of_tiles),
        cmocka_unit_test(ranges_cover_all_rows_within_the_tolerance),
        cmocka_unit_test(without_tolerance_the_best_wins_at_each_point),
        cmocka_unit_test(candidates_and_ranges_are_few),
        cmocka_unit_test(the_one_used_elsewhere_is_preferred),
        cmocka_unit_test(the_nearer_cover_is_taken),
        cmocka_unit_test(a_crossover_is_met_where_it_is),
        cmocka_unit_test(ties_go_to_the_first_and_scale_does_not_matter),
        cmocka_unit_test(what_is_not_made_is_not_chosen),
        cmocka_unit_test(the_order_is_by_mean_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
