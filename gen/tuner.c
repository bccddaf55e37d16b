/* tuner.c -- which of the ranked kernels is the fastest on a device: all of them measured, few believed */
#include "tuner.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gpu_table.h"
#include "host.h"

#define POINT_LEAST_S 0.05 /* of a point's share of the budget */
#define POINT_MOST_S  2.0
#define POINT_SHARE   0.7 /* the rest goes to checks, weights and starting children */
#define VIRTUAL_NAME  "qgen virtual "
#define METHOD        "measured 1" /* changes when times of before cannot be compared any more */

struct tuner {
    const struct tuner_options *options;
    struct tuner_result *result;
    struct store *store;
    char candidates[4096];    /* the folder of unchecked kernels */
    char gpu[GPU_NAME_BYTES]; /* the device in the table of GPUs; "": it is not there */
    struct trials trials;
    double end;           /* of the budget, by the clock */
    size_t done, total;   /* candidates of all points */
    int has_lost_default; /* a point's default turned out wrong: what was timed beside it is void */
};

static void report(const struct tuner *t, const char *what, size_t done, size_t total)
{
    if (t->options->progress) t->options->progress(t->options->user, what, done, total);
}

static int is_told_to_stop(const struct tuner *t)
{
    return t->options->device.stop && *t->options->device.stop;
}

/* ---- kernels, and their order at each point ---- */

static void show_compiled(void *user, size_t done, size_t total)
{
    report(user, "compile", done, total);
}

static void show_ranked(void *user, size_t done, size_t total)
{
    report(user, "rank", done, total);
}

/* One request for each linear, for all rows that points have; on a GPU what adds up parts, too. */
static qrt_status add_request(const struct tuner *t, const struct op_desc *desc,
                              struct request *requests, size_t *count)
{
    struct request r = {.desc = *desc, .arch = t->result->arch, .m_lo = INT_MAX, .m_hi = 1};
    for (size_t i = 0; i < *count; i++)
        if (op_desc_equal(&requests[i].desc, desc)) return QRT_OK;
    for (size_t i = 0; i < t->options->count; i++) {
        const struct tuner_point *p = &t->options->points[i];
        if (desc->op == OP_LINEAR && !op_desc_equal(&p->desc, desc)) continue;
        if (p->M < r.m_lo) r.m_lo = p->M;
        if (p->M > r.m_hi) r.m_hi = p->M;
    }
    requests[(*count)++] = r;
    return QRT_OK;
}

static qrt_status reduce_of(const struct op_desc *linear, struct op_desc *out)
{
    char name[OP_NAME_BYTES];
    snprintf(name, sizeof name, "reduce.%s", elem_name((enum elem_type)linear->out));
    return op_desc_parse(name, out);
}

static qrt_status collect_requests(const struct tuner *t, struct request *requests, size_t *count)
{
    for (size_t i = 0; i < t->options->count; i++) {
        struct op_desc reduce;
        const struct op_desc *desc = &t->options->points[i].desc;
        if (desc->op != OP_LINEAR)
            return error_set(QRT_E_ARGUMENT, "tuning is for linears, not for %s",
                             op_name((enum op)desc->op));
        TRY(add_request(t, desc, requests, count));
        if (t->result->arch->kind != ARCH_SM) continue;
        TRY(reduce_of(desc, &reduce));
        TRY(add_request(t, &reduce, requests, count));
    }
    return QRT_OK;
}

static qrt_status make_with(struct tuner *t, const struct request *requests, size_t count,
                            const struct shape *shapes)
{
    const struct pipeline_options how = {
        .templates = t->options->templates,
        .store = t->candidates,
        .jobs = t->options->jobs,
        .top = t->options->top,
        .ungated = 1, /* the child checks them, and may die of it */
        .shapes = shapes,
        .shape_count = t->options->count,
        .rank = t->options->unranked ? DECIDE_NEVER : DECIDE_ALWAYS,
        .gpu = t->gpu[0] ? t->gpu : NULL,
        .progress = show_compiled,
        .ranking = show_ranked,
        .user = t};
    struct pipeline *p;
    TRY(pipeline_open(&how, &p));
    qrt_status status = pipeline_make(p, requests, count, &t->result->made);
    if (status == QRT_OK && count > 0)
        status = pipeline_sign(p, &requests[0].desc, t->result->arch, METHOD, t->result->signature);
    pipeline_close(p);
    return status;
}

static qrt_status make_kernels(struct tuner *t)
{
    const size_t points = t->options->count;
    struct request *requests = calloc(2 * points + 1, sizeof *requests);
    struct shape *shapes = calloc(points + 1, sizeof *shapes);
    size_t count = 0;
    qrt_status status = requests && shapes ? collect_requests(t, requests, &count)
                                           : error_set(QRT_E_MEMORY, "tuning: no memory");
    for (size_t i = 0; shapes && i < points; i++)
        shapes[i] = (struct shape){t->options->points[i].N, t->options->points[i].K};
    if (status == QRT_OK) status = make_with(t, requests, count, shapes);
    free(requests);
    free(shapes);
    return status;
}

static int serves(const struct entry_record *r, const struct tuner_point *p)
{
    return r->m_lo <= p->M && p->M <= r->m_hi && op_desc_equal(&r->desc, &p->desc);
}

/* Whether winner `a` says more about a point than `b` does; both are about it. */
static int is_nearer(const struct device_winner *a, const struct device_winner *b)
{
    if (a->order != b->order) return a->order < b->order;
    if ((a->N != 0) != (b->N != 0)) return a->N != 0;
    return a->m_hi - a->m_lo < b->m_hi - b->m_lo;
}

/* The kernel of the nearest winner, or made->count. */
static size_t by_winners(const struct pipeline_result *made, const struct tuner_point *p)
{
    const struct device_winner *best = NULL;
    for (size_t i = 0; i < made->winner_count; i++) {
        const struct device_winner *w = &made->winners[i];
        const int is_shape = w->N == 0 || (w->N == p->N && w->K == p->K);
        const int is_about = is_shape && w->m_lo <= p->M && p->M <= w->m_hi;
        if (!is_about || !op_desc_equal(&w->desc, &p->desc)) continue;
        if (!best || is_nearer(w, best)) best = w;
    }
    for (size_t k = 0; best && k < made->count; k++)
        if (memcmp(made->kernels[k].entry.key, best->key, sizeof best->key) == 0) return k;
    return made->count;
}

size_t tuner_choice(const struct pipeline_result *made, const struct tuner_point *p)
{
    size_t best = by_winners(made, p);
    if (best < made->count) return best;
    for (size_t k = 0; k < made->count; k++) {
        const struct entry_record *r = &made->kernels[k].entry.record;
        if (!serves(r, p)) continue;
        if (best == made->count || r->rank < made->kernels[best].entry.record.rank) best = k;
    }
    return best;
}

/* Before whom a kernel goes: the first choice before all; then in the pipeline's order, where a
 * ranking made it, else by the templates' rank, which ranges of rows may have mixed. */
static int goes_before(const struct pipeline_result *made, size_t first, size_t a, size_t b)
{
    if (first < made->count) return a == first;
    return made->kernels[a].entry.record.rank < made->kernels[b].entry.record.rank;
}

static qrt_status rank_candidates(const struct pipeline_result *made, struct tuner_verdict *v)
{
    const size_t first = by_winners(made, &v->point);
    v->default_ = v->winner = -1;
    v->candidates = calloc(made->count + 1, sizeof *v->candidates);
    if (!v->candidates) return error_set(QRT_E_MEMORY, "tuning: no memory");
    for (size_t k = 0; k < made->count; k++) {
        if (!serves(&made->kernels[k].entry.record, &v->point)) continue;
        int at = v->count++;
        for (; at > 0 && goes_before(made, first, k, v->candidates[at - 1].kernel); at--)
            v->candidates[at] = v->candidates[at - 1];
        v->candidates[at] = (struct tuner_candidate){.kernel = k};
    }
    return QRT_OK;
}

static qrt_status rank_all(struct tuner *t)
{
    struct tuner_result *r = t->result;
    r->kernels = calloc(r->made.count + 1, sizeof *r->kernels);
    r->verdicts = calloc(t->options->count + 1, sizeof *r->verdicts);
    if (!r->kernels || !r->verdicts) return error_set(QRT_E_MEMORY, "tuning: no memory");
    for (size_t k = 0; k < r->made.count; k++)
        key_hex(r->made.kernels[k].entry.key, r->kernels[k].key);
    for (; r->count < t->options->count; r->count++) {
        struct tuner_verdict *v = &r->verdicts[r->count];
        v->point = t->options->points[r->count];
        TRY(rank_candidates(&r->made, v));
        t->total += (size_t)v->count;
    }
    return QRT_OK;
}

/* ---- one kernel, at the points where it has a place ---- */

/* What a child is asked, and where its answers go. */
struct task {
    struct tuner *tuner;
    size_t kernel;
    int place;
    struct measure_child_point *points;
    size_t *verdicts; /* of the points */
    size_t count;
};

static const char *default_key(const struct tuner_result *r, const struct tuner_verdict *v)
{
    return v->default_ < 0 ? "" : r->kernels[v->candidates[v->default_].kernel].key;
}

static struct trial_line line_of(const struct task *task, const struct tuner_verdict *v)
{
    const struct tuner_result *r = task->tuner->result;
    struct trial_line line = {.record = r->made.kernels[task->kernel].entry.record,
                              .processors = r->device.processors,
                              .place = task->place};
    snprintf(line.key, sizeof line.key, "%s", r->kernels[task->kernel].key);
    if (!v) return line;
    line.N = v->point.N;
    line.K = v->point.K;
    line.M = v->point.M;
    snprintf(line.default_key, sizeof line.default_key, "%s", default_key(r, v));
    return line;
}

/* Beside a default the ratio decides; the first one that is measured is the default. */
static void take_times(struct tuner_verdict *v, int place, const struct measure_times *times)
{
    v->candidates[place].times = *times;
    v->candidates[place].is_measured = 1;
    if (v->default_ < 0) v->default_ = place;
}

static void take_measured(void *user, size_t point, const struct measure_times *times)
{
    struct task *task = user;
    struct tuner *t = task->tuner;
    struct tuner_verdict *v = &t->result->verdicts[task->verdicts[point]];
    struct trial_line line = line_of(task, v);
    line.times = *times;
    (void)trials_add(&t->trials, &line); /* a full disk costs the record, not the result */
    take_times(v, task->place, times);
    t->result->trials++;
    report(t, "measure", ++t->done, t->total);
}

/* Points of the kernel at the place that no trial tells about. */
static void collect_points(struct task *task)
{
    struct tuner *t = task->tuner;
    const struct tuner_result *r = t->result;
    for (size_t i = 0; i < r->count; i++) {
        struct tuner_verdict *v = &r->verdicts[i];
        if (task->place >= v->count || v->candidates[task->place].kernel != task->kernel ||
            v->candidates[task->place].is_measured)
            continue;
        const struct tuner_point *p = &v->point;
        const struct trial_line *known =
            t->options->resume ? trials_find(&t->trials, r->kernels[task->kernel].key, p->N, p->K,
                                             p->M, default_key(r, v), r->device.processors)
                               : NULL;
        if (known) {
            take_times(v, task->place, &known->times);
            t->result->resumed++;
            t->done++;
            continue;
        }
        struct measure_child_point *point = &task->points[task->count];
        *point = (struct measure_child_point){.N = p->N, .K = p->K, .M = p->M};
        snprintf(point->other, sizeof point->other, "%s", default_key(r, v));
        task->verdicts[task->count++] = i;
    }
}

/* The kernel that adds up parts of this one's y. */
static const char *reduce_key(const struct tuner_result *r, const struct op_desc *linear)
{
    struct op_desc reduce;
    if (r->arch->kind != ARCH_SM || reduce_of(linear, &reduce) != QRT_OK) return "";
    for (size_t k = 0; k < r->made.count; k++)
        if (op_desc_equal(&r->made.kernels[k].entry.record.desc, &reduce)) return r->kernels[k].key;
    return "";
}

static void lose_default(struct tuner *t, size_t kernel)
{
    for (size_t i = 0; i < t->result->count; i++) {
        struct tuner_verdict *v = &t->result->verdicts[i];
        if (v->default_ < 0 || v->candidates[v->default_].kernel != kernel) continue;
        for (int c = 0; c < v->count; c++) v->candidates[c].is_measured = 0;
        v->default_ = -1;
        t->has_lost_default = 1;
    }
}

static void take_end(struct task *task, const struct measure_child_end *end)
{
    struct tuner *t = task->tuner;
    struct tuner_kernel *k = &t->result->kernels[task->kernel];
    k->outcome = end->outcome;
    k->is_checked |= end->is_checked;
    t->result->by_outcome[end->outcome]++;
    if (end->outcome == MEASURE_STOPPED) t->result->is_stopped = 1;
    if (end->outcome == MEASURE_DONE || end->outcome == MEASURE_STOPPED) return;
    k->is_out = 1;
    lose_default(t, task->kernel);
    const int is_at_point = k->is_checked && end->measured < task->count;
    struct trial_line line =
        line_of(task, is_at_point ? &t->result->verdicts[task->verdicts[end->measured]] : NULL);
    line.outcome = end->outcome;
    snprintf(line.text, sizeof line.text, "%s", end->text);
    (void)trials_add(&t->trials, &line);
    t->done += task->count - end->measured;
    report(t, "measure", t->done, t->total);
}

static qrt_status run_child(struct task *task)
{
    struct tuner *t = task->tuner;
    struct tuner_result *r = t->result;
    const struct tuner_kernel *k = &r->kernels[task->kernel];
    const double share = POINT_SHARE * (t->end - host_seconds()) / (double)(t->total - t->done + 1);
    const double most = t->options->point_s > 0 ? t->options->point_s : POINT_MOST_S;
    struct measure_child_job job = {.store = t->candidates,
                                    .check = !k->is_checked,
                                    .quick = r->is_virtual,
                                    .budget_s = fmin(most, fmax(POINT_LEAST_S, share)),
                                    .points = task->points,
                                    .count = task->count,
                                    .measured = take_measured,
                                    .user = task};
    struct measure_child_end end = {.measured = 0};
    snprintf(job.key, sizeof job.key, "%s", k->key);
    snprintf(job.reduce, sizeof job.reduce, "%s",
             reduce_key(r, &r->made.kernels[task->kernel].entry.record.desc));
    TRY(measure_child_run(&t->options->device, &job, &end));
    take_end(task, &end);
    return QRT_OK;
}

/* Kernels that earlier trials found wrong, or deadly. */
static void pass_over_known_bad(struct tuner *t)
{
    for (size_t i = 0; t->options->resume && i < t->result->made.count; i++) {
        struct tuner_kernel *k = &t->result->kernels[i];
        const struct trial_line *bad = trials_find_bad(&t->trials, k->key);
        if (!bad) continue;
        k->is_out = 1;
        k->outcome = bad->outcome;
        t->result->by_outcome[bad->outcome]++;
    }
}

static qrt_status measure_kernel(struct tuner *t, size_t kernel, int place)
{
    struct tuner_result *r = t->result;
    struct task task = {.tuner = t, .kernel = kernel, .place = place};
    if (r->kernels[kernel].is_out) return QRT_OK;
    task.points = calloc(r->count + 1, sizeof *task.points);
    task.verdicts = calloc(r->count + 1, sizeof *task.verdicts);
    qrt_status status =
        task.points && task.verdicts ? QRT_OK : error_set(QRT_E_MEMORY, "tuning: no memory");
    if (status == QRT_OK) collect_points(&task);
    if (status == QRT_OK && task.count > 0) status = run_child(&task);
    free(task.points);
    free(task.verdicts);
    return status;
}

static int most_places(const struct tuner_result *r)
{
    int most = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->verdicts[i].count > most) most = r->verdicts[i].count;
    return most;
}

/* Place by place, so that what the ranking holds for best is known first. */
static qrt_status measure_places(struct tuner *t)
{
    struct tuner_result *r = t->result;
    const int places = most_places(r);
    for (int place = 0; place < places; place++)
        for (size_t k = 0; k < r->made.count; k++) {
            if (is_told_to_stop(t)) r->is_stopped = 1;
            if (host_seconds() > t->end) r->is_out_of_time = 1;
            if (r->is_stopped || r->is_out_of_time) return QRT_OK;
            TRY(measure_kernel(t, k, place));
        }
    return QRT_OK;
}

static qrt_status measure_all(struct tuner *t)
{
    pass_over_known_bad(t);
    report(t, "measure", 0, t->total);
    do {
        t->has_lost_default = 0;
        TRY(measure_places(t));
    } while (t->has_lost_default && !t->result->is_stopped && !t->result->is_out_of_time);
    return QRT_OK;
}

/* ---- verdicts ---- */

static const struct noise *ratio_at(const struct tuner_verdict *v, int candidate)
{
    return &v->candidates[candidate].times.ratio;
}

int tuner_counts(const struct tuner_result *r, const struct tuner_candidate *c)
{
    return c->is_measured && !r->kernels[c->kernel].is_out;
}

static void judge(const struct tuner_result *r, struct tuner_verdict *v)
{
    if (v->default_ < 0 || !tuner_counts(r, &v->candidates[v->default_])) return;
    v->winner = v->default_;
    for (int c = 0; c < v->count; c++) {
        if (c == v->default_ || !tuner_counts(r, &v->candidates[c])) continue;
        if (noise_is_faster(ratio_at(v, c)) &&
            ratio_at(v, c)->median < ratio_at(v, v->winner)->median)
            v->winner = c;
    }
}

double tuner_first_choice(const struct tuner_verdict *v)
{
    if (v->winner < 0 || v->default_ != 0) return 0;
    return 1 / ratio_at(v, v->winner)->median;
}

/* Whether a result holds two candidates of a point for different, beyond its noise. */
static int tells_apart(const struct tuner_result *r, const struct tuner_verdict *v, int a, int b)
{
    return tuner_counts(r, &v->candidates[a]) && tuner_counts(r, &v->candidates[b]) &&
           !noise_agrees(ratio_at(v, a), ratio_at(v, b));
}

int tuner_agree(const struct tuner_result *a, const struct tuner_result *b, size_t point)
{
    const struct tuner_verdict *x = &a->verdicts[point], *y = &b->verdicts[point];
    if (x->winner < 0 || y->winner < 0) return -1;
    return x->winner == y->winner || !tells_apart(a, x, x->winner, y->winner) ||
           !tells_apart(b, y, x->winner, y->winner);
}

/* ---- all together ---- */

static qrt_status look_at_device(struct tuner *t)
{
    struct tuner_result *r = t->result;
    const struct tuner_options *o = t->options;
    TRY(measure_child_look(&o->device, &r->device));
    winners_device_name(r->device.name, r->device_name);
    r->is_virtual = strncmp(r->device.name, VIRTUAL_NAME, strlen(VIRTUAL_NAME)) == 0;
    r->arch = arch_find(o->arch ? o->arch : r->device.arch);
    const struct arch *own = arch_find(r->device.arch);
    if (!r->arch || !own || !arch_runs_on(r->arch, own))
        return error_set(QRT_E_ARCH, "%s (%s) runs no kernels made for %s", o->device.name,
                         r->device.arch, o->arch ? o->arch : r->device.arch);
    return QRT_OK;
}

/* The device's own row of the table: what it is ranked for. */
static qrt_status find_gpu(struct tuner *t)
{
    const struct tuner_result *r = t->result;
    if (r->arch->kind != ARCH_SM) return QRT_OK;
    struct gpus *table = malloc(sizeof *table);
    if (!table) return error_set(QRT_E_MEMORY, "no memory for the table of GPUs");
    const qrt_status status = gpu_table_load(NULL, table);
    const struct gpu *g = status == QRT_OK ? gpu_table_of_device(table, r->device.name) : NULL;
    if (g) snprintf(t->gpu, sizeof t->gpu, "%s", g->name);
    free(table);
    return status;
}

static qrt_status open_folder(struct tuner *t)
{
    TRY(store_open(t->options->folder, &t->store));
    const char *folder = store_folder(t->store);
    if (snprintf(t->candidates, sizeof t->candidates, "%s/tuning/candidates", folder) >=
        (int)sizeof t->candidates)
        return error_set(QRT_E_LIMIT, "%.80s..: too long a path", folder);
    TRY(trials_open(folder, t->result->device_name, &t->trials));
    return t->options->resume ? trials_read(&t->trials) : QRT_OK;
}

static qrt_status run(struct tuner *t)
{
    struct tuner_result *r = t->result;
    TRY(look_at_device(t));
    TRY(find_gpu(t));
    TRY(open_folder(t));
    TRY(make_kernels(t));
    TRY(rank_all(t));
    t->end = host_seconds() + t->options->budget_s;
    TRY(measure_all(t));
    for (size_t i = 0; i < r->count; i++) judge(r, &r->verdicts[i]);
    return QRT_OK;
}

qrt_status tuner_run(const struct tuner_options *o, struct tuner_result *out)
{
    struct tuner t = {.options = o, .result = out, .trials = {.fd = -1}};
    const double start = host_seconds();
    *out = (struct tuner_result){.count = 0};
    const qrt_status status = run(&t);
    out->seconds = host_seconds() - start;
    trials_close(&t.trials);
    store_close(t.store);
    if (status != QRT_OK) tuner_result_free(out);
    return status;
}

void tuner_result_free(struct tuner_result *r)
{
    for (size_t i = 0; i < r->count; i++) free(r->verdicts[i].candidates);
    free(r->verdicts);
    free(r->kernels);
    pipeline_result_free(&r->made);
    *r = (struct tuner_result){.count = 0};
}
