/* tuner_winners.c -- verdicts become winners in ranges of rows, and are kept with their kernels */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "select.h"
#include "tuner.h"

/* The points of one weight: verdicts by rows. */
struct column {
    const struct tuner_result *result;
    const struct tuner_verdict **verdicts;
    size_t count;
    int *M;       /* [count] */
    double *time; /* [kernels][count] */
};

static int is_same_weight(const struct tuner_point *a, const struct tuner_point *b)
{
    return a->N == b->N && a->K == b->K && op_desc_equal(&a->desc, &b->desc);
}

static int by_rows(const void *a, const void *b)
{
    const struct tuner_verdict *const *x = a, *const *y = b;
    return (*x)->point.M - (*y)->point.M;
}

/* Verdicts about the weight of verdict `first`, each M once; none when an earlier one has them. */
static void collect_column(struct column *c, size_t first)
{
    const struct tuner_result *r = c->result;
    c->count = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct tuner_verdict *v = &r->verdicts[i];
        if (!is_same_weight(&v->point, &r->verdicts[first].point)) continue;
        if (i < first) return;
        size_t same = 0;
        while (same < c->count && c->verdicts[same]->point.M != v->point.M) same++;
        if (v->winner >= 0 && same == c->count) c->verdicts[c->count++] = v;
    }
    qsort(c->verdicts, c->count, sizeof *c->verdicts, by_rows);
}

/* What selection may choose from: the default, and what beats it beyond the noise. */
static void fill_times(struct column *c)
{
    const size_t kernels = c->result->made.count;
    for (size_t i = 0; i < kernels * c->count; i++) c->time[i] = INFINITY;
    for (size_t p = 0; p < c->count; p++) {
        const struct tuner_verdict *v = c->verdicts[p];
        const double base = v->candidates[v->default_].times.own.median;
        c->M[p] = v->point.M;
        for (int i = 0; i < v->count; i++) {
            const int may_win =
                i == v->default_ || (tuner_counts(c->result, &v->candidates[i]) &&
                                     noise_is_faster(&v->candidates[i].times.ratio));
            if (!may_win || (v->winner == v->default_ && i != v->default_)) continue;
            const double ratio = i == v->default_ ? 1 : v->candidates[i].times.ratio.median;
            c->time[v->candidates[i].kernel * c->count + p] = base * ratio;
        }
    }
}

/* The times of a kernel at the first point of a range. */
static const struct noise *times_at(const struct column *c, const struct select_range *range)
{
    for (size_t p = 0; p < c->count; p++) {
        const struct tuner_verdict *v = c->verdicts[p];
        if (v->point.M < range->m_lo || v->point.M > range->m_hi) continue;
        for (int i = 0; i < v->count; i++)
            if (v->candidates[i].kernel == range->candidate) return &v->candidates[i].times.own;
    }
    return NULL;
}

static int max_of(int a, int b) { return a > b ? a : b; }
static int min_of(int a, int b) { return a < b ? a : b; }

static qrt_status add_winner(const struct column *c, const struct select_range *range,
                             struct winners *out)
{
    const struct tuner_result *r = c->result;
    const struct tuner_point *p = &c->verdicts[0]->point;
    const struct entry_record *record = &r->made.kernels[range->candidate].entry.record;
    const struct noise *times = times_at(c, range);
    const int is_last = range->m_hi == INT_MAX && record->m_hi >= PIPELINE_M_MAX;
    struct winner w = {.desc = p->desc,
                       .N = p->N,
                       .K = p->K,
                       .m_lo = max_of(max_of(range->m_lo, c->M[0]), record->m_lo),
                       .m_hi = is_last ? INT_MAX : min_of(range->m_hi, record->m_hi),
                       .made_lo = record->m_lo,
                       .made_hi = record->m_hi,
                       .how = WINNER_MEASURED};
    if (!times || w.m_lo > w.m_hi) return QRT_OK;
    w.us = times->median * 1e6;
    w.spread_us = times->spread * 1e6;
    memcpy(w.arch, record->arch, sizeof w.arch);
    memcpy(w.device, r->device_name, sizeof w.device);
    memcpy(w.template_, record->template_, sizeof w.template_);
    memcpy(w.tune, record->tune, sizeof w.tune);
    memcpy(w.signature, r->signature, sizeof w.signature);
    return winners_add(out, &w);
}

static qrt_status add_winners(struct column *c, size_t first, struct winners *out)
{
    struct select_range *ranges = NULL;
    size_t count = 0;
    collect_column(c, first);
    if (c->count == 0) return QRT_OK;
    fill_times(c);
    const struct select_input in = {.candidates = c->result->made.count,
                                    .shapes = 1,
                                    .points = c->count,
                                    .M = c->M,
                                    .time = c->time,
                                    .tolerance = NOISE_LEAST};
    TRY(select_ranges(&in, &ranges, &count));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < count && status == QRT_OK; i++) status = add_winner(c, &ranges[i], out);
    free(ranges);
    return status;
}

qrt_status tuner_winners(const struct tuner_result *r, struct winners *out)
{
    struct column c = {.result = r};
    *out = (struct winners){.count = 0};
    c.verdicts = calloc(r->count + 1, sizeof *c.verdicts);
    c.M = calloc(r->count + 1, sizeof *c.M);
    c.time = calloc(r->made.count * r->count + 1, sizeof *c.time);
    qrt_status status =
        c.verdicts && c.M && c.time ? QRT_OK : error_set(QRT_E_MEMORY, "tuning: no memory");
    for (size_t i = 0; i < r->count && status == QRT_OK; i++) status = add_winners(&c, i, out);
    free(c.verdicts);
    free(c.M);
    free(c.time);
    if (status != QRT_OK) winners_free(out);
    return status;
}

/* ---- keeping ---- */

static int is_wanted(const struct entry_record *r, const struct winners *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (op_desc_equal(&w->items[i].desc, &r->desc) && w->items[i].made_lo == r->m_lo &&
            w->items[i].made_hi == r->m_hi && strcmp(w->items[i].tune, r->tune) == 0 &&
            strcmp(w->items[i].template_, r->template_) == 0)
            return 1;
    return 0;
}

static qrt_status store_kernels(const struct tuner_result *r, struct store *store,
                                const struct winners *w)
{
    for (size_t k = 0; k < r->made.count; k++) {
        const struct pipeline_kernel *kernel = &r->made.kernels[k];
        if (r->kernels[k].is_out || !is_wanted(&kernel->entry.record, w)) continue;
        TRY(store_put(store, kernel->entry.key, kernel->bytes, kernel->count));
    }
    return QRT_OK;
}

qrt_status tuner_keep(const struct tuner_result *r, const char *folder, const struct winners *w)
{
    struct store *store;
    if (r->is_virtual)
        return error_set(QRT_E_DEVICE,
                         "%s is simulated: its times say nothing about a GPU, and no "
                         "winner is kept",
                         r->device.name);
    TRY(store_open(folder, &store));
    qrt_status status = store_kernels(r, store, w);
    if (status == QRT_OK) status = winners_keep(store_folder(store), w);
    store_close(store);
    return status;
}
