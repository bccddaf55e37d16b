/* pipeline.c -- from requests to kernels: enumerate, choose, render, look up or compile, store */
#include "pipeline.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cc.h"
#include "cubin.h"
#include "error.h"
#include "gate.h"
#include "key.h"
#include "nvrtc.h"
#include "unit.h"

enum { MAX_JOBS = 64, MESSAGE_BYTES = 512, MAX_ROUNDS = 12 };

struct pipeline {
    struct pipeline_options options;
    struct template_set *templates;
    struct store *store;
    struct nvrtc *nvrtc; /* NULL until the first request for a GPU */
    struct cc *cc;       /* NULL until the first request for x86 */
    struct gate *gate;   /* NULL until the first request, or ungated */
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
};

/* ---- opening ---- */

qrt_status pipeline_open(const struct pipeline_options *options, struct pipeline **out)
{
    struct pipeline *p = calloc(1, sizeof *p);
    if (!p) return error_set(QRT_E_MEMORY, "pipeline: no memory");
    p->options = *options;
    qrt_status status = template_set_open(options->templates, &p->templates);
    if (status == QRT_OK) status = store_open(options->store, &p->store);
    if (status == QRT_OK)
        *out = p;
    else
        pipeline_close(p);
    return status;
}

void pipeline_close(struct pipeline *p)
{
    if (!p) return;
    nvrtc_close(p->nvrtc);
    cc_close(p->cc);
    gate_close(p->gate);
    store_close(p->store);
    template_set_close(p->templates);
    free(p);
}

static qrt_status need_compiler(struct pipeline *p, const struct arch *arch)
{
    if (arch->kind == ARCH_SM && !p->nvrtc) TRY(nvrtc_open(&p->nvrtc));
    if (arch->kind == ARCH_X86 && !p->cc) TRY(cc_open(&p->cc));
    return p->gate || p->options.ungated ? QRT_OK : gate_open(&p->gate);
}

static void jobs_free(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        unit_free(&jobs->items[i].unit);
        free(jobs->items[i].kernel.bytes);
    }
    free(jobs->items);
    memset(jobs, 0, sizeof *jobs);
}

/* ---- keys ---- */

static void make_key(const struct pipeline *p, struct job *job)
{
    const struct unit *u = &job->unit;
    const int is_sm = u->arch->kind == ARCH_SM;
    struct key k;
    key_begin(&k);
    key_add_text(&k, "format", "qgen kernel 1");
    key_add_text(&k, "arch", u->arch->name);
    key_add_text(&k, "compiler", is_sm ? nvrtc_identity(p->nvrtc) : cc_identity(p->cc));
    key_add_text(&k, "options", is_sm ? nvrtc_options() : cc_options());
    key_add(&k, "record", &job->candidate.record, sizeof job->candidate.record);
    key_add(&k, "text", u->rendering.text, u->rendering.bytes);
    for (int i = 0; i < u->includes; i++) key_add_text(&k, u->include_name[i], u->include_text[i]);
    key_end(&k, job->key);
}

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

static qrt_status check_cubin(const struct job *job, const struct cubin *c)
{
    const struct entry_record *r = &job->candidate.record;
    const uint32_t threads = r->block[0] * r->block[1] * r->block[2];
    const size_t arguments = op_args_bytes((enum op)r->desc.op);
    const size_t map = r->map.rows > 0 ? sizeof(struct qk_map) : 0;
    if (c->param_bytes[0] != arguments || c->param_bytes[1] != map || c->param_bytes[2] != 0)
        return error_set(QRT_E_COMPILE,
                         "%s: the kernel takes arguments of %u, %u bytes, the op's struct and its "
                         "map have %zu, %zu",
                         job->unit.origin, c->param_bytes[0], c->param_bytes[1], arguments, map);
    if (c->max_threads > 0 && threads > c->max_threads)
        return error_set(QRT_E_COMPILE, "%s: block gives %u threads, __launch_bounds__ %u",
                         job->unit.origin, threads, c->max_threads);
    if ((uint64_t)c->smem_bytes + r->smem_bytes > (uint64_t)job->unit.arch->smem_sm_bytes)
        return error_set(
            QRT_E_COMPILE, "%s: %u bytes of static and %u of dynamic shared memory, %s has %d",
            job->unit.origin, c->smem_bytes, r->smem_bytes, r->arch, job->unit.arch->smem_sm_bytes);
    return QRT_OK;
}

static qrt_status read_resources(struct job *job, const struct unit_image *image)
{
    struct entry_record *r = &job->candidate.record;
    if (job->unit.arch->kind != ARCH_SM) return QRT_OK;
    struct cubin *c = malloc(sizeof *c);
    if (!c) return error_set(QRT_E_MEMORY, "cubin: no memory");
    qrt_status status = cubin_read(image->image, image->image_bytes, r->symbol, c);
    if (status == QRT_OK) status = check_cubin(job, c);
    if (status == QRT_OK) {
        r->regs = c->regs;
        r->stack_bytes = c->stack_bytes;
        r->smem_static_bytes = c->smem_bytes;
    }
    free(c);
    return status;
}

static qrt_status make_entry(struct job *job, const struct unit_image *image)
{
    TRY(read_resources(job, image));
    struct entry e = {.record = job->candidate.record};
    memcpy(e.key, job->key, sizeof e.key);
    e.part[ENTRY_IMAGE].data = image->image;
    e.part[ENTRY_IMAGE].bytes = image->image_bytes;
    e.part[ENTRY_PTX].data = image->ptx;
    e.part[ENTRY_PTX].bytes = image->ptx_bytes;
    e.part[ENTRY_SOURCE].data = job->unit.rendering.text;
    e.part[ENTRY_SOURCE].bytes = job->unit.rendering.bytes;
    return entry_serialize(&e, &job->kernel.bytes, &job->kernel.count);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static qrt_status compile(const struct pipeline *p, struct job *job)
{
    struct unit_image image = {0};
    const double start = seconds_now();
    if (job->unit.arch->kind == ARCH_SM)
        TRY(nvrtc_compile(p->nvrtc, &job->unit, &image));
    else
        TRY(cc_compile(p->cc, &job->unit, &image));
    const qrt_status status = make_entry(job, &image);
    unit_image_free(&image);
    job->kernel.seconds = seconds_now() - start;
    return status;
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

struct pool {
    const struct pipeline *pipeline;
    struct jobs *jobs;
    pthread_mutex_t lock;
    pthread_cond_t progressed;
    size_t next, done; /* under lock */
};

static void *work(void *user)
{
    struct pool *pool = user;
    pthread_mutex_lock(&pool->lock);
    while (pool->next < pool->jobs->count) {
        struct job *job = &pool->jobs->items[pool->next++];
        pthread_mutex_unlock(&pool->lock);
        if (!job->kernel.bytes) job->status = make_kernel(pool->pipeline, job);
        if (job->status != QRT_OK) snprintf(job->message, sizeof job->message, "%s", qrt_message());
        pthread_mutex_lock(&pool->lock);
        pool->done++;
        pthread_cond_signal(&pool->progressed);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int worker_count(const struct pipeline *p, size_t jobs)
{
    cpu_set_t usable;
    int count = p->options.jobs;
    if (count <= 0) count = sched_getaffinity(0, sizeof usable, &usable) ? 1 : CPU_COUNT(&usable);
    if (count > MAX_JOBS) count = MAX_JOBS;
    return jobs < (size_t)count ? (int)jobs : count;
}

static void report(const struct pipeline *p, size_t done, size_t total)
{
    if (p->options.progress) p->options.progress(p->options.user, done, total);
}

static void run_pool(const struct pipeline *p, struct jobs *jobs)
{
    struct pool pool = {.pipeline = p, .jobs = jobs};
    pthread_t threads[MAX_JOBS];
    int started = 0;
    const int wanted = worker_count(p, jobs->count);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.progressed, NULL);
    report(p, 0, jobs->count);
    while (started < wanted && pthread_create(&threads[started], NULL, work, &pool) == 0) started++;
    if (started == 0) work(&pool);
    pthread_mutex_lock(&pool.lock);
    while (pool.done < jobs->count) {
        pthread_cond_wait(&pool.progressed, &pool.lock);
        const size_t done = pool.done;
        pthread_mutex_unlock(&pool.lock);
        report(p, done, jobs->count);
        pthread_mutex_lock(&pool.lock);
    }
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_cond_destroy(&pool.progressed);
    pthread_mutex_destroy(&pool.lock);
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

static qrt_status hand_out(struct jobs *jobs, struct pipeline_result *out)
{
    struct pipeline_result r = {.count = jobs->count};
    r.kernels = calloc(jobs->count ? jobs->count : 1, sizeof *r.kernels);
    if (!r.kernels) return error_set(QRT_E_MEMORY, "pipeline: no memory for the results");
    for (size_t i = 0; i < jobs->count; i++) {
        struct job *job = &jobs->items[i];
        r.kernels[i] = job->kernel;
        job->kernel.bytes = NULL;
        r.reused += (size_t)r.kernels[i].reused;
        if (!r.store_problem[0] && job->store_problem[0])
            memcpy(r.store_problem, job->store_problem, sizeof r.store_problem);
    }
    r.compiled = r.count - r.reused;
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

static qrt_status plan_request(struct pipeline *p, struct jobs *jobs, size_t index,
                               const struct request *request, const struct rejected *rejected)
{
    struct choices choices = {0};
    const struct choose_options how = {.top = p->options.top,
                                       .shapes = p->options.shapes,
                                       .shape_count = p->options.shape_count,
                                       .rejected = rejected};
    TRY(need_compiler(p, request->arch));
    qrt_status status = choose(p->templates, request, &how, &choices);
    for (size_t i = 0; i < choices.count && status == QRT_OK; i++) {
        struct job *job;
        status = new_job(jobs, &job);
        if (status != QRT_OK) break;
        job->request = index;
        job->candidate = choices.items[i].candidate;
        job->unit = choices.items[i].unit;
        memset(&choices.items[i].unit, 0, sizeof choices.items[i].unit);
        make_key(p, job);
    }
    choices_free(&choices);
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
    run_pool(p, jobs);
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
    if (status == QRT_OK) status = hand_out(&jobs, out);
    jobs_free(&before);
    jobs_free(&jobs);
    rejected_free(&rejected);
    return status;
}

void pipeline_result_free(struct pipeline_result *r)
{
    for (size_t i = 0; i < r->count; i++) free(r->kernels[i].bytes);
    free(r->kernels);
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
