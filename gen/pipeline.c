/* pipeline.c -- from requests to kernels: decide, render, look up or compile, store */
#include "pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "error.h"
#include "gate.h"
#include "host.h"
#include "workers.h"

enum { MESSAGE_BYTES = 512, MAX_ROUNDS = 12 };

struct pipeline {
    struct pipeline_options options;
    struct template_set *templates;
    struct store *store;
    struct compiler *compiler;
    struct gate *gate; /* NULL until the first request, or ungated */
    struct decider *decider;
};

/* A kernel on its way. */
struct job {
    size_t request; /* index of the request it is for */
    struct candidate candidate;
    struct unit unit;
    uint8_t key[ENTRY_KEY_BYTES];
    struct pipeline_kernel kernel;
    qrt_status status;
    char message[MESSAGE_BYTES];
    char store_problem[256];
};

struct jobs {
    struct job *items;
    size_t count, capacity;
    struct jobs_winner {
        size_t request;
        struct winner row;
        uint8_t key[ENTRY_KEY_BYTES];
    } * winners;
    size_t winner_count;
};

/* ---- opening ---- */

static qrt_status open_decider(struct pipeline *p)
{
    const struct pipeline_options *o = &p->options;
    const struct decide_options how = {
        .ranking = {.templates = o->templates,
                    .gpus = o->gpus,
                    .gpu = o->gpu,
                    .shapes = o->shapes,
                    .shape_count = o->shape_count,
                    .jobs = o->jobs,
                    .progress = o->ranking,
                    .user = o->user},
        .rank = o->offline ? DECIDE_NEVER : o->rank,
        .store = store_folder(p->store),
        .device = o->device,
        .top = o->top,
    };
    return decide_open(&how, p->templates, p->compiler, &p->decider);
}

qrt_status pipeline_open(const struct pipeline_options *options, struct pipeline **out)
{
    struct pipeline *p = calloc(1, sizeof *p);
    if (!p) return error_set(QRT_E_MEMORY, "pipeline: no memory");
    p->options = *options;
    qrt_status status = template_set_open(options->templates, &p->templates);
    if (status == QRT_OK) status = store_open(options->store, &p->store);
    if (status == QRT_OK) status = compile_open(&p->compiler);
    if (status == QRT_OK) status = open_decider(p);
    if (status == QRT_OK)
        *out = p;
    else
        pipeline_close(p);
    return status;
}

void pipeline_close(struct pipeline *p)
{
    if (!p) return;
    decide_close(p->decider);
    compile_close(p->compiler);
    gate_close(p->gate);
    store_close(p->store);
    template_set_close(p->templates);
    free(p);
}

static qrt_status need_compiler(struct pipeline *p, const struct arch *arch)
{
    TRY(compile_need(p->compiler, arch));
    return p->gate || p->options.ungated ? QRT_OK : gate_open(&p->gate);
}

static void jobs_free(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        unit_free(&jobs->items[i].unit);
        free(jobs->items[i].kernel.bytes);
    }
    free(jobs->items);
    free(jobs->winners);
    memset(jobs, 0, sizeof *jobs);
}

/* ---- shares ---- */

/* The first bytes of a key are as good as random. */
static int is_of_part(const struct pipeline_options *o, const uint8_t key[ENTRY_KEY_BYTES])
{
    return o->parts < 2 || (key[0] << 16 | key[1] << 8 | key[2]) % o->parts == o->part;
}

/* Requests may ask for the same kernel twice: the first one stays. */
static void drop_unwanted(const struct pipeline *p, struct jobs *jobs)
{
    size_t kept = 0;
    for (size_t i = 0; i < jobs->count; i++) {
        size_t j = 0;
        while (j < kept && memcmp(jobs->items[j].key, jobs->items[i].key, ENTRY_KEY_BYTES) != 0)
            j++;
        if (j < kept || !is_of_part(&p->options, jobs->items[i].key))
            unit_free(&jobs->items[i].unit);
        else
            jobs->items[kept++] = jobs->items[i];
    }
    jobs->count = kept;
}

/* ---- making one kernel, on a thread ---- */

static qrt_status compile(const struct pipeline *p, struct job *job)
{
    const double start = host_seconds();
    TRY(compile_entry(p->compiler, &job->candidate.record, &job->unit, job->key, &job->kernel.bytes,
                      &job->kernel.count));
    job->kernel.seconds = host_seconds() - start;
    return QRT_OK;
}

static qrt_status make_kernel(const struct pipeline *p, struct job *job)
{
    struct pipeline_kernel *k = &job->kernel;
    TRY(store_get(p->store, job->key, &k->entry, &k->bytes, &k->count, &k->reused));
    if (k->reused) return QRT_OK;
    if (p->options.offline)
        return error_set(QRT_E_KERNEL,
                         "%s is not in the store %s, and --offline forbids to make it; run the "
                         "same command without --offline",
                         job->candidate.record.symbol, store_folder(p->store));
    TRY(compile(p, job));
    TRY(entry_parse(k->bytes, k->count, &k->entry));
    /* A kernel that spills gives way to another: the last round's are not worth a check. */
    if (p->gate && k->entry.record.stack_bytes == 0) TRY(gate_pass(p->gate, &k->entry));
    /* A store that cannot be written costs the next run time, this one nothing. */
    if (store_put(p->store, job->key, k->bytes, k->count) != QRT_OK)
        snprintf(job->store_problem, sizeof job->store_problem, "%.255s", qrt_message());
    return QRT_OK;
}

/* ---- all kernels, on all processors ---- */

struct round {
    const struct pipeline *pipeline;
    struct jobs *jobs;
};

static void make_job(void *user, size_t number)
{
    const struct round *round = user;
    struct job *job = &round->jobs->items[number];
    if (!job->kernel.bytes) job->status = make_kernel(round->pipeline, job);
    if (job->status != QRT_OK) snprintf(job->message, sizeof job->message, "%s", qrt_message());
}

static void run_jobs(const struct pipeline *p, struct jobs *jobs)
{
    struct round round = {p, jobs};
    const struct workers workers = {.jobs = p->options.jobs,
                                    .task = make_job,
                                    .user = &round,
                                    .progress = p->options.progress,
                                    .progress_user = p->options.user};
    workers_run(&workers, jobs->count);
}

/* The first failure by order, whichever thread met one first in time. */
static qrt_status first_failure(const struct jobs *jobs)
{
    size_t failed = 0;
    const struct job *first = NULL;
    for (size_t i = 0; i < jobs->count; i++) {
        if (jobs->items[i].status == QRT_OK) continue;
        if (failed++ == 0) first = &jobs->items[i];
    }
    if (!first) return QRT_OK;
    if (failed == 1) return error_set(first->status, "%s", first->message);
    return error_set(first->status, "%s [%zu of %zu kernels failed, this is the first]",
                     first->message, failed, jobs->count);
}

static qrt_status hand_out_winners(const struct jobs *jobs, struct pipeline_result *r)
{
    const size_t count = jobs->winner_count ? jobs->winner_count : 1;
    r->winners = calloc(count, sizeof *r->winners);
    r->rows = calloc(count, sizeof *r->rows);
    if (!r->winners || !r->rows) return error_set(QRT_E_MEMORY, "pipeline: no memory for winners");
    for (size_t i = 0; i < jobs->winner_count; i++) {
        const struct winner *w = &jobs->winners[i].row;
        r->rows[i] = *w;
        r->winners[i] = (struct device_winner){
            w->desc, w->N, w->K, w->m_lo, w->m_hi, {0}, w->device[0] ? 0 : 1};
        memcpy(r->winners[i].key, jobs->winners[i].key, sizeof r->winners[i].key);
    }
    r->winner_count = jobs->winner_count;
    return QRT_OK;
}

static qrt_status hand_out(const struct pipeline *p, struct jobs *jobs, struct pipeline_result *out)
{
    struct pipeline_result r = {.count = jobs->count};
    r.kernels = calloc(jobs->count ? jobs->count : 1, sizeof *r.kernels);
    qrt_status status = r.kernels ? hand_out_winners(jobs, &r)
                                  : error_set(QRT_E_MEMORY, "pipeline: no memory for the results");
    if (status != QRT_OK) {
        r.count = 0;
        pipeline_result_free(&r);
        return status;
    }
    for (size_t i = 0; i < jobs->count; i++) {
        struct job *job = &jobs->items[i];
        r.kernels[i] = job->kernel;
        job->kernel.bytes = NULL;
        r.reused += (size_t)r.kernels[i].reused;
        if (!r.store_problem[0] && job->store_problem[0])
            memcpy(r.store_problem, job->store_problem, sizeof r.store_problem);
    }
    r.compiled = r.count - r.reused;
    r.rankings = decide_rankings(p->decider, &r.ranking_count);
    snprintf(r.note, sizeof r.note, "%s", decide_note(p->decider));
    *out = r;
    return QRT_OK;
}

static qrt_status new_job(struct jobs *jobs, struct job **out)
{
    if (jobs->count == jobs->capacity) {
        const size_t capacity = jobs->capacity ? 2 * jobs->capacity : 64;
        struct job *items = realloc(jobs->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "pipeline: no memory for %zu kernels", capacity);
        jobs->items = items;
        jobs->capacity = capacity;
    }
    *out = &jobs->items[jobs->count++];
    memset(*out, 0, sizeof **out);
    return QRT_OK;
}

/* Take the units of choices over as jobs. */
static qrt_status add_jobs(const struct pipeline *p, struct jobs *jobs, size_t index,
                           struct choices *choices)
{
    for (size_t i = 0; i < choices->count; i++) {
        struct job *job;
        TRY(new_job(jobs, &job));
        job->request = index;
        job->candidate = choices->items[i].candidate;
        job->unit = choices->items[i].unit;
        memset(&choices->items[i].unit, 0, sizeof choices->items[i].unit);
        compile_key(p->compiler, &job->candidate.record, &job->unit, job->key);
    }
    return QRT_OK;
}

static qrt_status add_winner(struct jobs *jobs, const struct jobs_winner *one)
{
    struct jobs_winner *more = realloc(jobs->winners, (jobs->winner_count + 1) * sizeof *more);
    if (!more) return error_set(QRT_E_MEMORY, "pipeline: no memory for winners");
    jobs->winners = more;
    more[jobs->winner_count++] = *one;
    return QRT_OK;
}

static qrt_status add_decided(const struct pipeline *p, struct jobs *jobs, size_t index,
                              struct decision *d)
{
    const size_t first = jobs->count;
    TRY(add_jobs(p, jobs, index, &d->choices));
    for (size_t i = 0; i < d->row_count; i++) {
        struct jobs_winner one = {.request = index, .row = d->rows[i].winner};
        memcpy(one.key, jobs->items[first + d->rows[i].choice].key, sizeof one.key);
        TRY(add_winner(jobs, &one));
    }
    return QRT_OK;
}

static qrt_status plan_by_order(struct pipeline *p, struct jobs *jobs, size_t index,
                                const struct request *request, const struct rejected *rejected)
{
    struct choices choices = {0};
    const struct choose_options how = {.top = p->options.top, .rejected = rejected};
    qrt_status status = choose(p->templates, request, &how, &choices);
    if (status == QRT_OK) status = add_jobs(p, jobs, index, &choices);
    choices_free(&choices);
    return status;
}

/* A request one of whose winners was rejected goes by its templates' order. */
static qrt_status plan_request(struct pipeline *p, struct jobs *jobs, size_t index,
                               const struct request *request, const struct rejected *rejected)
{
    struct decision decision = {0};
    TRY(need_compiler(p, request->arch));
    if (!rejected_about(rejected, request)) TRY(decide(p->decider, request, &decision));
    if (decision.choices.count == 0) return plan_by_order(p, jobs, index, request, rejected);
    const qrt_status status = add_decided(p, jobs, index, &decision);
    decision_free(&decision);
    return status;
}

/* A kernel that keeps registers in memory is never worth it: note it, so that the next best tune
 * point takes its place. */
static int is_spilling(const struct job *job)
{
    return job->kernel.bytes && job->kernel.entry.record.stack_bytes > 0;
}

static size_t reject_spilling(const struct jobs *jobs, struct rejected *rejected)
{
    size_t count = 0;
    for (size_t i = 0; i < jobs->count; i++)
        if (is_spilling(&jobs->items[i]))
            count += (size_t)rejected_add(rejected, &jobs->items[i].kernel.entry.record);
    return count;
}

/* Move a request's jobs from the round before, when none of them spills. */
static qrt_status keep_request(struct jobs *before, struct jobs *jobs, size_t index, int *kept)
{
    *kept = 0;
    for (size_t i = 0; i < before->count; i++)
        if (before->items[i].request == index && is_spilling(&before->items[i])) return QRT_OK;
    for (size_t i = 0; i < before->count; i++) {
        struct job *job;
        if (before->items[i].request != index) continue;
        TRY(new_job(jobs, &job));
        *job = before->items[i];
        memset(&before->items[i].unit, 0, sizeof before->items[i].unit);
        before->items[i].kernel.bytes = NULL;
    }
    for (size_t i = 0; i < before->winner_count; i++)
        if (before->winners[i].request == index) TRY(add_winner(jobs, &before->winners[i]));
    *kept = 1;
    return QRT_OK;
}

/* What an earlier round compiled was not in the store before this call. */
static void remember_compiled(const struct jobs *before, struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++)
        for (size_t j = 0; j < before->count; j++) {
            const struct job *old = &before->items[j];
            struct pipeline_kernel *k = &jobs->items[i].kernel;
            if (memcmp(old->key, jobs->items[i].key, ENTRY_KEY_BYTES) != 0) continue;
            if (!old->kernel.bytes || old->kernel.reused || !k->reused) continue;
            k->reused = 0;
            k->seconds = old->kernel.seconds;
        }
}

/* One round: all requests, without the tune points that were rejected; what the round before made
 * without a rejection is kept. */
static qrt_status make_round(struct pipeline *p, const struct request *requests, size_t count,
                             const struct rejected *rejected, struct jobs *before,
                             struct jobs *jobs)
{
    for (size_t i = 0; i < count; i++) {
        int kept = 0;
        if (rejected->count > 0) TRY(keep_request(before, jobs, i, &kept));
        if (!kept) TRY(plan_request(p, jobs, i, &requests[i], rejected));
    }
    drop_unwanted(p, jobs);
    run_jobs(p, jobs);
    remember_compiled(before, jobs);
    return first_failure(jobs);
}

qrt_status pipeline_make(struct pipeline *p, const struct request *requests, size_t count,
                         struct pipeline_result *out)
{
    struct jobs jobs = {0}, before = {0};
    struct rejected rejected = {0};
    qrt_status status = make_round(p, requests, count, &rejected, &before, &jobs);
    for (int round = 1; status == QRT_OK && round < MAX_ROUNDS; round++) {
        if (reject_spilling(&jobs, &rejected) == 0) break;
        jobs_free(&before);
        before = jobs;
        memset(&jobs, 0, sizeof jobs);
        status = make_round(p, requests, count, &rejected, &before, &jobs);
    }
    if (status == QRT_OK) status = hand_out(p, &jobs, out);
    if (status == QRT_OK && out->compiled > 0) {
        struct store_trimmed trimmed; /* a store that cannot be trimmed stays as it is */
        store_trim(p->store, STORE_MAX_BYTES, &trimmed);
    }
    jobs_free(&before);
    jobs_free(&jobs);
    rejected_free(&rejected);
    return status;
}

void pipeline_result_free(struct pipeline_result *r)
{
    for (size_t i = 0; i < r->count; i++) free(r->kernels[i].bytes);
    for (size_t i = 0; i < r->ranking_count; i++) ranking_free(&r->rankings[i]);
    free(r->kernels);
    free(r->winners);
    free(r->rows);
    free(r->rankings);
    memset(r, 0, sizeof *r);
}

qrt_status pipeline_ensure(struct pipeline *p, const struct arch *arch, const char *const *names,
                           size_t count, int max_m, struct pipeline_result *out)
{
    struct request *requests = calloc(count ? count : 1, sizeof *requests);
    if (!requests) return error_set(QRT_E_MEMORY, "pipeline: no memory for %zu requests", count);
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < count && status == QRT_OK; i++) {
        requests[i] = (struct request){.arch = arch, .m_lo = 1, .m_hi = max_m};
        status = op_desc_parse(names[i], &requests[i].desc);
        if (requests[i].desc.op == OP_SAMPLE) requests[i].m_hi = 1;
    }
    if (status == QRT_OK) status = pipeline_make(p, requests, count, out);
    free(requests);
    return status;
}

qrt_status pipeline_sign(struct pipeline *p, const struct op_desc *desc, const struct arch *arch,
                         const char *how, char out[WINNER_SIGNATURE_BYTES])
{
    const char *const chosen_by[] = {how, NULL};
    TRY(compile_need(p->compiler, arch));
    return ranking_sign_by(p->templates, p->compiler, desc, arch, chosen_by, out);
}
