/* measure.h -- how long a linear kernel takes on a device, and whether it is right while it does
 *
 * The problem: y[M, N] = x W^T at the sizes asked for, several times over in one block of memory, so
 * that between two uses of the same bytes more than twice the last-level cache is touched:
 *
 *     set 0 {codes, scales, zeros, supers, x, scales and sums of x, y}   set 1 {..}   ...
 *
 * Right: W repeats a matrix of few rows, x repeats few rows, so ref computes in a moment what every
 * value of y has to be.  y is poisoned (NaN) before each launch, outside of the time; after the first
 * launch all of it is compared with ref, by the bounds of check.h, and after every sample the last
 * y written, bit by bit, with the first: a kernel is timed doing its work or not at all.
 * Time: launches are put between two marks of the device (device.h), as many as last some tenths of a
 * millisecond (recorded, where the device can, so that a GPU does not wait for the host); samples of
 * a kernel and of the one it is compared with take turns, A B B A, until
 * their ratio is known well (noise.h) or the budget is spent.
 * A kernel that splits K is timed with the reduce that adds up the parts.
 * Threads: one.
 */
#ifndef QGEN_MEASURE_H
#define QGEN_MEASURE_H

#include "check.h"
#include "noise.h"

enum { MEASURE_MOST = 201 }; /* repeats */

struct measure_problem {
    struct op_desc desc; /* a linear */
    int N, K, M;
};

struct measure_options {
    double budget_s; /* for warming up and all repeats; at least 3 pairs are taken */
    int flush;       /* clear the caches before every launch, instead of going round the sets */
};

struct measure;

/* A kernel loaded on the device, and what adds up its parts of K (NULL: it splits nothing). */
struct measure_subject {
    const struct kernel *kernel, *reduce;
};

struct measure_times {
    struct noise own, other; /* seconds of a launch */
    struct noise ratio;      /* own / other, of pairs */
};

/* Make the problem on `device`; both must stay open.  QRT_E_SCHEME when the device's family has no
 * layout for the scheme, QRT_E_MEMORY when two sets do not fit. */
qrt_status measure_open(struct qrt_device *device, const struct measure_problem *problem,
                        const struct measure_options *options, struct measure **out);
void measure_close(struct measure *m); /* NULL is allowed */

/* Time `own`, beside `other` when it is not NULL.  *wrong gets 1 or 2 when `own` or `other` does not
 * compute what it should, and `text` the first difference; else 0. */
qrt_status measure_run(struct measure *m, const struct measure_subject *own,
                       const struct measure_subject *other, struct measure_times *out, int *wrong,
                       char text[CHECK_TEXT_BYTES]);

/* Bytes that the problem has to move once: packed W, x and y.  Its operations: a multiply-add is
 * two. */
double measure_bytes(const struct measure *m);
double measure_ops(const struct measure *m);

#endif
