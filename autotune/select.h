/* select.h -- from predicted or measured times to winners: which kernel, for which rows
 *
 * Pure: a table of times in, ranges of M out.
 * Few rows are told apart one by one; above, a winner holds from one crossover to the next.  Of
 * kernels within `tolerance` of the best at a point the one already used elsewhere is taken, so that
 * a shape's ranges, and a bundle's kernels, are few and there is no cliff where nothing is gained.
 */
#ifndef QGEN_SELECT_H
#define QGEN_SELECT_H

#include <stddef.h>

#include "qrt.h"

/* The M at which candidates are compared, ascending: every one up to 32, then the edges of tiles and
 * the first beyond each, up to 8192.  A kernel costs the same up to the edge of its tile, so a point
 * stands for the rows since the point before it too, and the last for all above. */
const int *select_points(size_t *count);

struct select_input {
    size_t candidates, shapes, points;
    const int *M;       /* [points], ascending */
    const double *time; /* [candidates][shapes][points]; INFINITY: not made for those rows */
    double tolerance;   /* 0.03: within 3 % is as good */
};

/* Rows m_lo .. m_hi of a shape go to a candidate. */
struct select_range {
    size_t shape, candidate;
    int m_lo, m_hi; /* the last range's m_hi is INT_MAX */
    double loss;    /* largest share lost to the best candidate at a point of the range */
};

/* Ranges by shape, then by rows, from row 1 on without gaps; free() *out.  As few candidates as a
 * greedy cover of all points finds, near ones first; then as few ranges as those allow, then the
 * least loss; what still ties goes to the first candidate.  QRT_E_KERNEL: a point has no candidate. */
qrt_status select_ranges(const struct select_input *in, struct select_range **out, size_t *count);

/* Candidates by their mean place over all shapes and the points that stand for rows m_lo .. m_hi,
 * best first, ties in their own order; free() *order.  For `--top`. */
qrt_status select_order(const struct select_input *in, int m_lo, int m_hi, size_t **order);

#endif
