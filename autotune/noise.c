/* noise.c -- repeated measurements: their median, their spread, and when one kernel beats another */
#include "noise.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between two values where the place is. */
static double at_place(const double *sorted, size_t count, double place)
{
    const double index = place * (double)(count - 1);
    const size_t below = (size_t)index;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (index - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* Of sorted values, the distances from the median ascend to both sides: walk outwards to the middle
 * one (the mean of the two, of an even number). */
static double median_distance(const double *sorted, size_t count, double median)
{
    size_t up = 0;
    while (up < count && sorted[up] < median) up++;
    size_t down = up;
    double before = 0, now = 0;
    for (size_t taken = 0; taken < count / 2 + 1; taken++) {
        before = now;
        const int take_up =
            down == 0 || (up < count && sorted[up] - median <= median - sorted[down - 1]);
        now = take_up ? sorted[up++] - median : median - sorted[--down];
    }
    return count % 2 ? now : (before + now) / 2;
}

struct noise noise_of(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    struct noise n = {.count = count,
                      .median = at_place(values, count, 0.5),
                      .low = at_place(values, count, 0.25),
                      .high = at_place(values, count, 0.75)};
    n.spread = 1.4826 * median_distance(values, count, n.median);
    n.error = 1.2533 * n.spread / sqrt((double)count);
    return n;
}

double noise_margin(const struct noise *ratio)
{
    return fmax(NOISE_LEAST, NOISE_ERRORS * ratio->error);
}

int noise_is_faster(const struct noise *ratio) { return ratio->median + noise_margin(ratio) < 1; }

int noise_agrees(const struct noise *a, const struct noise *b)
{
    return fabs(a->median - b->median) <= fmax(noise_margin(a), noise_margin(b));
}

int noise_is_small(const struct noise *ratio)
{
    return NOISE_ERRORS * ratio->error < NOISE_LEAST / 2;
}
