/* select.c -- from predicted or measured times to winners: which kernel, for which rows */
#include "select.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "error.h"

/* Above 32: multiples of tiles of 8 .. 256 rows and the first row beyond, ever sparser. */
static const int points[] = {
    1,   2,   3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,
    16,  17,  18,   19,   20,   21,   22,   23,   24,   25,   26,   27,   28,   29,   30,
    31,  32,  33,   40,   41,   48,   49,   56,   57,   64,   65,   80,   81,   96,   97,
    112, 113, 128,  129,  144,  145,  160,  161,  192,  193,  224,  225,  256,  257,  288,
    289, 320, 321,  384,  385,  448,  449,  512,  513,  576,  577,  640,  641,  768,  769,
    896, 897, 1024, 1025, 1280, 1281, 1536, 1537, 2048, 2049, 3072, 3073, 4096, 4097, 8192,
};

const int *select_points(size_t *count)
{
    *count = sizeof points / sizeof *points;
    return points;
}

/* A cell is a point of a shape: shape * points + point. */
struct selection {
    const struct select_input *in;
    size_t cells;
    double *best;        /* [cells] */
    double *loss;        /* [candidates][cells], above the best; INFINITY: beyond the tolerance */
    unsigned char *left; /* [cells]: not covered yet */
    size_t *taken;       /* the cover, in the order it was found */
    size_t taken_count;
};

static int is_made(double time) { return time >= 0 && time < INFINITY; }

static double loss_of(const struct selection *s, size_t candidate, size_t cell)
{
    return s->loss[candidate * s->cells + cell];
}

/* ---- what is good enough ---- */

static qrt_status find_best(const struct selection *s, size_t cell)
{
    const struct select_input *in = s->in;
    double best = INFINITY;
    for (size_t c = 0; c < in->candidates; c++) {
        const double time = in->time[c * s->cells + cell];
        if (is_made(time) && time < best) best = time;
    }
    if (!is_made(best))
        return error_set(QRT_E_KERNEL, "no candidate of %zu is made for M = %d of shape %zu",
                         in->candidates, in->M[cell % in->points], cell / in->points);
    s->best[cell] = best;
    return QRT_OK;
}

static void find_loss(const struct selection *s, size_t cell)
{
    const double best = s->best[cell];
    for (size_t c = 0; c < s->in->candidates; c++) {
        const double time = s->in->time[c * s->cells + cell];
        double loss = INFINITY;
        if (is_made(time) && time <= best * (1 + s->in->tolerance))
            loss = best > 0 ? time / best - 1 : 0;
        s->loss[c * s->cells + cell] = loss;
    }
}

/* ---- the cover: few candidates ---- */

/* What a candidate would add: 1 for each cell where it is the best, down to a half where it is at the
 * end of the tolerance.  (With 1 for all, one that is 8 % behind everywhere went before two that are
 * the best of half of the cells each.) */
static double gain_of(const struct selection *s, size_t candidate)
{
    const double tolerance = s->in->tolerance;
    double gain = 0;
    for (size_t i = 0; i < s->cells; i++) {
        const double loss = loss_of(s, candidate, i);
        if (s->left[i] && loss < INFINITY) gain += loss > 0 ? 1 - loss / tolerance / 2 : 1;
    }
    return gain;
}

static void take(struct selection *s, size_t candidate)
{
    for (size_t i = 0; i < s->cells; i++)
        if (loss_of(s, candidate, i) < INFINITY) s->left[i] = 0;
    s->taken[s->taken_count++] = candidate;
}

static void cover(struct selection *s)
{
    for (size_t i = 0; i < s->cells; i++) s->left[i] = 1;
    for (;;) {
        size_t best = 0;
        double most = 0;
        for (size_t c = 0; c < s->in->candidates; c++) {
            const double gain = gain_of(s, c);
            if (gain <= most) continue;
            most = gain;
            best = c;
        }
        if (most == 0) return;
        take(s, best);
    }
}

static int is_needed(const struct selection *s, size_t taken)
{
    for (size_t i = 0; i < s->cells; i++) {
        size_t others = 0;
        for (size_t t = 0; t < s->taken_count; t++)
            others += t != taken && loss_of(s, s->taken[t], i) < INFINITY;
        if (others == 0) return 1;
    }
    return 0;
}

/* What a later one made superfluous. */
static void thin(struct selection *s)
{
    for (size_t t = 0; t < s->taken_count;) {
        if (is_needed(s, t)) {
            t++;
            continue;
        }
        for (size_t i = t + 1; i < s->taken_count; i++) s->taken[i - 1] = s->taken[i];
        s->taken_count--;
    }
}

/* ---- the walk over the rows of a shape: few ranges ---- */

/* The best way to have taken[t] at a point. */
struct way {
    size_t ranges;
    double loss; /* of all points so far; INFINITY: no way */
    size_t from; /* which was at the point before */
};

static int is_better_way(const struct way *a, const struct way *b)
{
    if (a->loss == INFINITY || b->loss == INFINITY) return a->loss < b->loss;
    return a->ranges != b->ranges ? a->ranges < b->ranges : a->loss < b->loss;
}

static size_t best_way(const struct way *ways, size_t count)
{
    size_t best = 0;
    for (size_t t = 1; t < count; t++)
        if (is_better_way(&ways[t], &ways[best])) best = t;
    return best;
}

/* ways[point][taken] of a shape, from the first point to the last. */
static void walk(const struct selection *s, size_t shape, struct way *ways)
{
    const size_t n = s->taken_count, first = shape * s->in->points;
    for (size_t t = 0; t < n; t++)
        ways[t] = (struct way){.ranges = 1, .loss = loss_of(s, s->taken[t], first), .from = t};
    for (size_t p = 1; p < s->in->points; p++) {
        const struct way *before = ways + (p - 1) * n;
        struct way *now = ways + p * n;
        const size_t best = best_way(before, n);
        for (size_t t = 0; t < n; t++) {
            const double loss = loss_of(s, s->taken[t], first + p);
            const struct way stay = {before[t].ranges, before[t].loss + loss, t};
            const struct way change = {before[best].ranges + 1, before[best].loss + loss, best};
            now[t] = is_better_way(&change, &stay) ? change : stay;
        }
    }
}

/* Follow a walk back from its end: way[point] is the index of what was taken there. */
static void follow(const struct selection *s, const struct way *ways, size_t *way)
{
    const size_t n = s->taken_count, last = s->in->points - 1;
    way[last] = best_way(ways + last * n, n);
    for (size_t p = last; p > 0; p--) way[p - 1] = ways[p * n + way[p]].from;
}

static size_t write_ranges(const struct selection *s, size_t shape, const size_t *way,
                           struct select_range *out)
{
    const struct select_input *in = s->in;
    size_t count = 0;
    for (size_t p = 0; p < in->points; p++) {
        const size_t candidate = s->taken[way[p]];
        if (p == 0 || way[p] != way[p - 1])
            out[count++] = (struct select_range){
                .shape = shape, .candidate = candidate, .m_lo = p == 0 ? 1 : in->M[p - 1] + 1};
        struct select_range *range = &out[count - 1];
        range->m_hi = p + 1 == in->points ? INT_MAX : in->M[p];
        range->loss = fmax(range->loss, loss_of(s, candidate, shape * in->points + p));
    }
    return count;
}

/* ---- all of it ---- */

static qrt_status no_memory(const struct select_input *in)
{
    return error_set(QRT_E_MEMORY,
                     "no memory to compare %zu candidates at %zu shapes and %zu points",
                     in->candidates, in->shapes, in->points);
}

static void selection_free(struct selection *s)
{
    free(s->best);
    free(s->loss);
    free(s->left);
    free(s->taken);
}

static qrt_status selection_make(const struct select_input *in, struct selection *s)
{
    const size_t cells = in->shapes * in->points, one = 1;
    *s = (struct selection){
        .in = in,
        .cells = cells,
        .best = calloc(cells + one, sizeof *s->best),
        .loss = calloc(in->candidates * cells + one, sizeof *s->loss),
        .left = calloc(cells + one, sizeof *s->left),
        .taken = calloc(in->candidates + one, sizeof *s->taken),
    };
    if (!s->best || !s->loss || !s->left || !s->taken) return no_memory(in);
    for (size_t cell = 0; cell < cells; cell++) {
        TRY(find_best(s, cell));
        find_loss(s, cell);
    }
    cover(s);
    thin(s);
    return QRT_OK;
}

static qrt_status make_ranges(const struct selection *s, struct select_range **out, size_t *count)
{
    const size_t points_count = s->in->points;
    struct way *ways = calloc(points_count * s->taken_count + 1, sizeof *ways);
    size_t *way = calloc(points_count + 1, sizeof *way);
    struct select_range *ranges = calloc(s->cells + 1, sizeof *ranges);
    *count = 0;
    *out = ranges;
    for (size_t shape = 0; ways && way && ranges && s->cells > 0 && shape < s->in->shapes;
         shape++) {
        walk(s, shape, ways);
        follow(s, ways, way);
        *count += write_ranges(s, shape, way, ranges + *count);
    }
    const int made = ways && way && ranges;
    free(ways);
    free(way);
    if (made) return QRT_OK;
    free(ranges);
    *out = NULL;
    return no_memory(s->in);
}

qrt_status select_ranges(const struct select_input *in, struct select_range **out, size_t *count)
{
    struct selection s;
    *out = NULL;
    *count = 0;
    qrt_status status = selection_make(in, &s);
    if (status == QRT_OK) status = make_ranges(&s, out, count);
    selection_free(&s);
    return status;
}

/* ---- the order of candidates ---- */

struct standing {
    double value; /* a time, or a sum of places */
    size_t candidate;
};

static int by_value(const void *a, const void *b)
{
    const struct standing *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->candidate < y->candidate ? -1 : x->candidate > y->candidate;
}

/* Add each candidate's place in one cell; those of equal time share theirs. */
static void add_places(const struct select_input *in, size_t cell, struct standing *cells,
                       struct standing *sums)
{
    const size_t n = in->candidates, stride = in->shapes * in->points;
    for (size_t c = 0; c < n; c++) {
        const double time = in->time[c * stride + cell];
        cells[c] = (struct standing){is_made(time) ? time : INFINITY, c};
    }
    qsort(cells, n, sizeof *cells, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && cells[end].value == cells[i].value;) end++;
        for (size_t j = i; j < end; j++)
            sums[cells[j].candidate].value += (double)(i + end - 1) / 2;
    }
}

/* Whether a point stands for a row of m_lo .. m_hi. */
static int stands_for(const struct select_input *in, size_t point, int m_lo, int m_hi)
{
    const int64_t lo = point == 0 ? 1 : (int64_t)in->M[point - 1] + 1;
    const int64_t hi = point + 1 == in->points ? INT_MAX : in->M[point];
    return lo <= m_hi && hi >= m_lo;
}

qrt_status select_order(const struct select_input *in, int m_lo, int m_hi, size_t **order)
{
    struct standing *cells = calloc(in->candidates + 1, sizeof *cells);
    struct standing *sums = calloc(in->candidates + 1, sizeof *sums);
    *order = calloc(in->candidates + 1, sizeof **order);
    const int made = cells && sums && *order;
    for (size_t c = 0; made && c < in->candidates; c++) sums[c].candidate = c;
    for (size_t cell = 0; made && cell < in->shapes * in->points; cell++)
        if (stands_for(in, cell % in->points, m_lo, m_hi)) add_places(in, cell, cells, sums);
    if (made) qsort(sums, in->candidates, sizeof *sums, by_value);
    for (size_t c = 0; made && c < in->candidates; c++) (*order)[c] = sums[c].candidate;
    free(cells);
    free(sums);
    if (made) return QRT_OK;
    free(*order);
    *order = NULL;
    return no_memory(in);
}
