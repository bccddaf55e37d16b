/* noise.h -- repeated measurements: their median, their spread, and when one kernel beats another
 *
 * Why medians: times scatter to one side, and now and then one is ten times the others; a mean or a
 * minimum follows such values, a median does not.
 * Why ratios of pairs: a processor's clock and its neighbours change the speed of everything by tens
 * of percent for seconds at a time.  Two kernels that take turns meet the same weather, so each pair
 * gives a ratio, and the ratios scatter far less than the times.
 *
 *     spread = 1.4826 * median |x - median|       the standard deviation, if the scatter is normal
 *     error  = 1.2533 * spread / sqrt(count)      that of the median
 *
 * Pure: no clock, no memory.
 */
#ifndef QGEN_NOISE_H
#define QGEN_NOISE_H

#include <stddef.h>

struct noise {
    size_t count;
    double median, spread;
    double low, high; /* a quarter of the values lie below, a quarter above */
    double error;     /* of the median */
};

/* Of `count` >= 1 values, which are put in order. */
struct noise noise_of(double *values, size_t count);

/* How sure a comparison has to be: so many errors, and so much of the time at least.  What is nearer
 * than that is the same. */
#define NOISE_ERRORS 4.0
#define NOISE_LEAST  0.02

/* The half-width of what a ratio may really be. */
double noise_margin(const struct noise *ratio);

/* Whether the ratio candidate / default says that the candidate is faster, beyond the noise. */
int noise_is_faster(const struct noise *ratio);

/* Whether two measurements of a ratio may be of the same value. */
int noise_agrees(const struct noise *a, const struct noise *b);

/* Whether more repeats would tell nothing new: the ratio is known to half of NOISE_LEAST. */
int noise_is_small(const struct noise *ratio);

#endif
