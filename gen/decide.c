/* decide.c -- by which winners the kernels of a request are made: tables, or a ranking made now */
#include "decide.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gpu_table.h"
#include "pipeline.h" /* pipeline_ranges */
#include "tuned.h"

enum { MAX_TOP = 64, NOTE_BYTES = 512 };

struct decider {
    struct decide_options options;
    struct template_set *set;
    struct compiler *compiler;
    char profiles[4096];  /* folder */
    struct winners tuned; /* all there are */
    int is_loaded;
    struct ranking *rankings;
    size_t ranking_count;
    char note[NOTE_BYTES];
};

qrt_status decide_open(const struct decide_options *o, struct template_set *set,
                       struct compiler *compiler, struct decider **out)
{
    struct decider *d = calloc(1, sizeof *d);
    if (!d) return error_set(QRT_E_MEMORY, "winners: no memory");
    d->options = *o;
    d->set = set;
    d->compiler = compiler;
    snprintf(d->profiles, sizeof d->profiles, "%s/profiles", o->store);
    d->options.ranking.folder = d->profiles;
    *out = d;
    return QRT_OK;
}

void decide_close(struct decider *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->ranking_count; i++) ranking_free(&d->rankings[i]);
    free(d->rankings);
    winners_free(&d->tuned);
    free(d);
}

const char *decide_note(const struct decider *d) { return d->note; }

struct ranking *decide_rankings(struct decider *d, size_t *count)
{
    struct ranking *all = d->rankings;
    *count = d->ranking_count;
    d->rankings = NULL;
    d->ranking_count = 0;
    return all;
}

/* The first thing that there is to say stays. */
static void say(struct decider *d, const char *text)
{
    if (!d->note[0]) snprintf(d->note, sizeof d->note, "%s", text);
}

static qrt_status load(struct decider *d)
{
    char note[256];
    if (d->is_loaded) return QRT_OK;
    TRY(tuned_load(d->options.store, &d->tuned, note));
    d->is_loaded = 1;
    if (note[0]) say(d, note);
    return QRT_OK;
}

/* ---- rows of tables ---- */

/* What is asked of rows. */
struct wanted {
    const struct request *request;
    char signature[WINNER_SIGNATURE_BYTES];
};

static int is_about(const struct winner *w, const struct request *r)
{
    return strcmp(w->arch, r->arch->name) == 0 && op_desc_equal(&w->desc, &r->desc) &&
           w->m_lo <= r->m_hi && w->m_hi >= r->m_lo;
}

static int is_of_arch(const struct winner *w, const struct wanted *want)
{
    return !w->device[0] && is_about(w, want->request) &&
           strcmp(w->signature, want->signature) == 0;
}

/* Rows of devices were measured: by which GPU's table others were chosen does not matter. */
static int is_of_device(const struct winner *w, const struct wanted *want, const char *device)
{
    if (!device || !w->device[0] || !is_about(w, want->request)) return 0;
    return (strcmp(device, "*") == 0 || strcmp(device, w->device) == 0) &&
           strncmp(w->signature, want->signature, WINNER_MADE_DIGITS) == 0;
}

/* Whether every row of M that is asked for has a winner for the shape. */
static int covers(const struct winners *w, const struct wanted *want, const struct shape *shape)
{
    for (int m = want->request->m_lo;;) {
        size_t i = 0;
        while (i < w->count &&
               !(is_of_arch(&w->items[i], want) && w->items[i].N == shape->N &&
                 w->items[i].K == shape->K && w->items[i].m_lo <= m && w->items[i].m_hi >= m))
            i++;
        if (i == w->count) return 0;
        if (w->items[i].m_hi >= want->request->m_hi) return 1;
        m = w->items[i].m_hi + 1;
    }
}

static const struct shape any_shape = {0, 0};

static int covers_all(const struct decider *d, const struct winners *w, const struct wanted *want)
{
    const struct ranking_options *o = &d->options.ranking;
    if (o->shape_count == 0) return covers(w, want, &any_shape);
    for (size_t i = 0; i < o->shape_count; i++)
        if (!covers(w, want, &o->shapes[i])) return 0;
    return 1;
}

/* With shapes named: rows of these, and where `any` is set of any shape; else all rows. */
static int is_wanted_shape(const struct decider *d, const struct winner *w, int any)
{
    const struct ranking_options *o = &d->options.ranking;
    if (o->shape_count == 0) return 1;
    if (w->N == 0) return any;
    for (size_t i = 0; i < o->shape_count; i++)
        if (o->shapes[i].N == w->N && o->shapes[i].K == w->K) return 1;
    return 0;
}

static void note_stale(struct decider *d, const struct wanted *want)
{
    char name[OP_NAME_BYTES], what[64], text[NOTE_BYTES];
    for (size_t i = 0; i < d->tuned.count; i++) {
        const struct winner *w = &d->tuned.items[i];
        if (w->device[0] || !is_about(w, want->request)) continue;
        winners_sign_difference(w->signature, want->signature, what);
        op_desc_name(&w->desc, name);
        snprintf(text, sizeof text,
                 "winners of %s on %s in the tables are for another state of: %s; passed over",
                 name, w->arch, what);
        say(d, text);
        return;
    }
}

/* ---- rankings ---- */

static int may_fall_back(qrt_status status)
{
    return status != QRT_E_MEMORY && status != QRT_E_ARGUMENT;
}

static qrt_status keep(struct decider *d, const struct winners *made)
{
    if (winners_keep(d->options.store, made) != QRT_OK) say(d, qrt_message());
    return winners_merge(&d->tuned, made);
}

static qrt_status rank(struct decider *d, const struct request *r, const struct ranking **out)
{
    struct ranking *more = realloc(d->rankings, (d->ranking_count + 1) * sizeof *more);
    if (!more) return error_set(QRT_E_MEMORY, "no memory for a ranking");
    d->rankings = more;
    struct ranking *made = &more[d->ranking_count];
    TRY(ranking_make(&d->options.ranking, &r->desc, r->arch, made));
    d->ranking_count++;
    *out = made;
    return keep(d, &made->winners);
}

/* A ranking where one is wanted and can be made; else *out stays NULL. */
static qrt_status rank_if_wanted(struct decider *d, const struct wanted *want,
                                 const struct ranking **out)
{
    char text[NOTE_BYTES];
    const struct request *r = want->request;
    if (d->options.rank == DECIDE_NEVER) return QRT_OK;
    if (d->options.rank == DECIDE_MISSING && d->options.top <= 1) {
        if (covers_all(d, &d->tuned, want)) return QRT_OK;
        note_stale(d, want);
    }
    const qrt_status status = rank(d, r, out);
    if (status == QRT_OK || !may_fall_back(status)) return status;
    snprintf(text, sizeof text, "no ranking, kernels are in the order of their templates: %s",
             qrt_message());
    say(d, text);
    *out = NULL;
    return QRT_OK;
}

/* ---- decisions ---- */

void decision_free(struct decision *d)
{
    choices_free(&d->choices);
    free(d->rows);
    memset(d, 0, sizeof *d);
}

/* The number of the choice of this point and rows, which is made when there is none. */
static qrt_status find_choice(struct decider *d, const struct request *made, const char *template,
                              const char *tune, struct choices *choices, size_t *number)
{
    for (size_t i = 0; i < choices->count; i++) {
        const struct entry_record *r = &choices->items[i].candidate.record;
        *number = i;
        if (strcmp(r->template_, template) == 0 && strcmp(r->tune, tune) == 0 &&
            r->m_lo == made->m_lo && r->m_hi == made->m_hi)
            return QRT_OK;
    }
    struct candidate c;
    TRY(template_point(d->set, made, template, tune, &c));
    c.record.m_lo = made->m_lo;
    c.record.m_hi = made->m_hi;
    *number = choices->count;
    return choices_add(choices, d->set, &c);
}

static qrt_status add_row(struct decider *d, const struct winner *w, struct decision *out)
{
    const struct arch *arch = arch_find(w->arch);
    const struct request made = {w->desc, arch, w->made_lo, w->made_hi};
    struct decision_row *rows = realloc(out->rows, (out->row_count + 1) * sizeof *rows);
    if (!rows) return error_set(QRT_E_MEMORY, "no memory for %zu winners", out->row_count + 1);
    out->rows = rows;
    rows[out->row_count].winner = *w;
    TRY(find_choice(d, &made, w->template_, w->tune, &out->choices, &rows[out->row_count].choice));
    out->row_count++;
    return QRT_OK;
}

/* Rows of the arch out of one table, `any`: those of any shape too; rows of devices out of all. */
static qrt_status add_rows(struct decider *d, const struct wanted *want,
                           const struct winners *of_arch, int any, struct decision *out)
{
    for (size_t i = 0; i < of_arch->count; i++)
        if (is_of_arch(&of_arch->items[i], want) && is_wanted_shape(d, &of_arch->items[i], any))
            TRY(add_row(d, &of_arch->items[i], out));
    for (size_t i = 0; i < d->tuned.count; i++)
        if (is_of_device(&d->tuned.items[i], want, d->options.device) &&
            is_wanted_shape(d, &d->tuned.items[i], any))
            TRY(add_row(d, &d->tuned.items[i], out));
    return QRT_OK;
}

static qrt_status add_top_of(struct decider *d, const struct ranking *r,
                             const struct request *request, const struct pipeline_range *range,
                             struct decision *out)
{
    size_t candidate[MAX_TOP], count, number;
    TRY(ranking_top(r, range->lo, range->hi, d->options.top, candidate, &count));
    for (size_t i = 0; i < count; i++) {
        const struct entry_record *record = &r->search.items[candidate[i]].candidate.record;
        const struct request made = {request->desc, request->arch, record->m_lo, record->m_hi};
        TRY(find_choice(d, &made, record->template_, record->tune, &out->choices, &number));
    }
    return QRT_OK;
}

static qrt_status add_top(struct decider *d, const struct ranking *r, const struct request *request,
                          struct decision *out)
{
    size_t count;
    const struct pipeline_range *ranges = pipeline_ranges(&count);
    for (size_t i = 0; i < count && d->options.top > 1; i++)
        if (ranges[i].lo <= request->m_hi && ranges[i].hi >= request->m_lo)
            TRY(add_top_of(d, r, request, &ranges[i], out));
    return QRT_OK;
}

static qrt_status decide_by(struct decider *d, const struct wanted *want,
                            const struct ranking *ranking, struct decision *out)
{
    if (ranking) {
        TRY(add_rows(d, want, &ranking->winners, 0, out));
        return add_top(d, ranking, want->request, out);
    }
    if (covers_all(d, &d->tuned, want)) return add_rows(d, want, &d->tuned, 0, out);
    if (covers(&d->tuned, want, &any_shape)) return add_rows(d, want, &d->tuned, 1, out);
    note_stale(d, want);
    return QRT_OK;
}

/* Linears that are not ranked go by their templates' order, and by what was measured on the device
 * that is asked for. */
static qrt_status decide_by_device(struct decider *d, const struct request *r, struct decision *out)
{
    static const char *const chosen_by[] = {NULL};
    static const struct winners none = {.count = 0};
    struct wanted want = {.request = r};
    const struct choose_options how = {.top = d->options.top};
    if (!d->options.device || r->desc.op != OP_LINEAR) return QRT_OK;
    TRY(load(d));
    TRY(compile_need(d->compiler, r->arch));
    TRY(ranking_sign_by(d->set, d->compiler, &r->desc, r->arch, chosen_by, want.signature));
    TRY(add_rows(d, &want, &none, 1, out));
    return out->row_count > 0 ? choose(d->set, r, &how, &out->choices) : QRT_OK;
}

/* The GPU that is at hand, if the table has it; "": it has not, or none is. */
static qrt_status gpu_at_hand(const struct decider *d, char name[GPU_NAME_BYTES])
{
    char device[WINNER_DEVICE_BYTES];
    *name = 0;
    if (d->options.rank != DECIDE_NEVER || d->options.ranking.gpu || !d->options.device)
        return QRT_OK;
    snprintf(device, sizeof device, "%s", d->options.device);
    for (char *c = device; *c; c++)
        if (*c == '_') *c = ' ';
    struct gpus *table = malloc(sizeof *table);
    if (!table) return error_set(QRT_E_MEMORY, "no memory for the table of GPUs");
    const qrt_status status = gpu_table_load(d->options.ranking.gpus, table);
    const struct gpu *found = status == QRT_OK ? gpu_table_of_device(table, device) : NULL;
    if (found) memcpy(name, found->name, sizeof found->name);
    free(table);
    return status;
}

static qrt_status sign_for(const struct decider *d, const char *gpu_name, struct wanted *want)
{
    const struct request *r = want->request;
    struct ranking_options o = d->options.ranking;
    struct gpu gpu;
    if (gpu_name) o.gpu = gpu_name;
    TRY(ranking_gpu(&o, r->arch, &gpu));
    return ranking_sign(d->set, d->compiler, &r->desc, r->arch, &gpu, want->signature);
}

/* Rows that were ranked for the GPU at hand, where there are any, else for what stands for the arch. */
static qrt_status sign(const struct decider *d, struct wanted *want)
{
    char name[GPU_NAME_BYTES];
    TRY(gpu_at_hand(d, name));
    if (name[0]) {
        TRY(sign_for(d, name, want));
        if (covers_all(d, &d->tuned, want)) return QRT_OK;
    }
    return sign_for(d, NULL, want);
}

qrt_status decide(struct decider *d, const struct request *r, struct decision *out)
{
    struct wanted want = {.request = r};
    const struct ranking *ranking = NULL;
    memset(out, 0, sizeof *out);
    if (!ranking_serves(&r->desc, r->arch)) return decide_by_device(d, r, out);
    TRY(load(d));
    if (d->options.rank == DECIDE_NEVER && d->tuned.count == 0) return QRT_OK;
    TRY(sign(d, &want));
    TRY(rank_if_wanted(d, &want, &ranking));
    qrt_status status = decide_by(d, &want, ranking, out);
    if (status == QRT_OK) return QRT_OK;
    decision_free(out);
    if (!may_fall_back(status)) return status;
    say(d, qrt_message());
    return QRT_OK;
}
