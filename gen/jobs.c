/* jobs.c -- the work of many machines: requests become lines of text, and lines become kernels */
#include "jobs.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "error.h"
#include "key.h"
#include "points.h"

enum { LINE_BYTES = 1 << 14, HASH_BYTES = 8, TOP_MOST = 64, TUNE_TOP = 8 };

static const char *const kind_names[JOB_KINDS] = {[JOB_BUILD] = "build", [JOB_TUNE] = "tune"};

const char *job_kind_name(enum job_kind kind) { return kind_names[kind]; }

void jobs_free(struct jobs *jobs)
{
    free(jobs->items);
    memset(jobs, 0, sizeof *jobs);
}

static qrt_status add(struct jobs *jobs, const struct job *one)
{
    if (jobs->count == jobs->capacity) {
        const size_t capacity = jobs->capacity ? 2 * jobs->capacity : 64;
        struct job *items = realloc(jobs->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "jobs: no memory for %zu", capacity);
        jobs->items = items;
        jobs->capacity = capacity;
    }
    jobs->items[jobs->count++] = *one;
    return QRT_OK;
}

/* ---- text out ---- */

static void hex(const uint8_t *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) sprintf(out + 2 * i, "%02x", bytes[i]);
}

static char sources[JOB_ID_BYTES];
static pthread_once_t sources_once = PTHREAD_ONCE_INIT;

/* Hash of the program's version and of all that it carries: half a megabyte, read once. */
static void hash_sources(void)
{
    uint8_t hash[ENTRY_KEY_BYTES];
    struct key k;
    key_begin(&k);
    key_add_text(&k, "program", QGEN_VERSION);
    for (const struct embedded_file *f = embedded_files; f->name; f++)
        key_add(&k, f->name, f->text, f->bytes);
    key_end(&k, hash);
    hex(hash, HASH_BYTES, sources);
}

static const char *own_sources(void)
{
    pthread_once(&sources_once, hash_sources);
    return sources;
}

static json_t *shapes_json(const struct job *j)
{
    json_t *shapes = json_array();
    for (size_t i = 0; i < j->shape_count; i++)
        json_array_append_new(shapes, json_sprintf("%dx%d", j->shapes[i].N, j->shapes[i].K));
    return shapes;
}

/* The one spelling of an object; free(). */
static char *dump(const json_t *object)
{
    return json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
}

/* The line of a job, without its end; free().  Sets job->id. */
static char *line_of(struct job *j)
{
    char request[OP_NAME_BYTES];
    uint8_t hash[HASH_BYTES];
    op_desc_name(&j->request.desc, request);
    json_t *object =
        json_pack("{ss ss ss s[ii] ss ss si so ss si}", "arch", j->request.arch->name, "device",
                  j->device, "kind", kind_names[j->kind], "m", j->request.m_lo, j->request.m_hi,
                  "request", request, "rows", j->rows, "seconds", j->seconds, "shapes",
                  shapes_json(j), "sources", own_sources(), "top", j->top);
    char *bare = object ? dump(object) : NULL;
    if (!bare) {
        json_decref(object);
        return NULL;
    }
    blake2b_hash(hash, sizeof hash, bare, strlen(bare));
    hex(hash, sizeof hash, j->id);
    free(bare);
    json_object_set_new(object, "id", json_string(j->id));
    char *line = dump(object);
    json_decref(object);
    return line;
}

qrt_status jobs_text(const struct jobs *jobs, char **text, size_t *bytes)
{
    FILE *f = open_memstream(text, bytes);
    int failed = !f;
    for (size_t i = 0; i < jobs->count && !failed; i++) {
        struct job j = jobs->items[i];
        char *line = line_of(&j);
        failed = !line || fprintf(f, "%s\n", line) < 0;
        free(line);
    }
    if (f && fclose(f) != 0) failed = 1;
    if (!failed) return QRT_OK;
    if (f) free(*text);
    return error_set(QRT_E_MEMORY, "jobs: no memory for their text");
}

/* ---- planning ---- */

/* Add a job and give it its id. */
static qrt_status add_named(struct jobs *jobs, struct job *j)
{
    char *line = line_of(j);
    const qrt_status status =
        line ? add(jobs, j) : error_set(QRT_E_MEMORY, "jobs: no memory for a line");
    free(line);
    return status;
}

static qrt_status plan_builds(const struct asked *asked, const struct jobs_plan *plan,
                              struct jobs *jobs)
{
    for (size_t i = 0; i < asked->set.count; i++) {
        struct job j = {.kind = JOB_BUILD, .request = asked->set.items[i], .top = plan->top};
        if (j.request.desc.op == OP_LINEAR) { /* nothing else looks at them */
            memcpy(j.shapes, asked->shapes, sizeof j.shapes);
            j.shape_count = asked->shape_count;
        }
        TRY(add_named(jobs, &j));
    }
    return QRT_OK;
}

static int is_same_weight(const struct tuner_point *a, const struct tuner_point *b)
{
    return a->N == b->N && a->K == b->K && op_desc_equal(&a->desc, &b->desc);
}

/* The job of the points from `first` on that are of one linear and weight; *next: behind them. */
static qrt_status plan_weight(const struct points *points, size_t first, const struct arch *arch,
                              const struct jobs_plan *plan, struct jobs *jobs, size_t *next)
{
    const struct tuner_point *p = &points->items[first];
    struct job j = {.kind = JOB_TUNE,
                    .request = {p->desc, arch, 1, PIPELINE_M_MAX},
                    .shapes = {{p->N, p->K}},
                    .shape_count = 1,
                    .top = TUNE_TOP,
                    .seconds = plan->seconds};
    size_t used = 0;
    snprintf(j.device, sizeof j.device, "%s", plan->device);
    for (*next = first; *next < points->count; ++*next) {
        if (!is_same_weight(&points->items[*next], p)) break;
        used += (size_t)snprintf(j.rows + used, sizeof j.rows - used, used ? ",%d" : "%d",
                                 points->items[*next].M);
        if (used >= sizeof j.rows)
            return error_set(QRT_E_LIMIT, "more numbers of rows than %zu characters hold",
                             sizeof j.rows - 1);
    }
    return add_named(jobs, &j);
}

static qrt_status plan_tuning(const struct asked_options *asking, const struct arch *arch,
                              const struct jobs_plan *plan, struct jobs *jobs)
{
    struct asked_options of_arch = *asking;
    struct points points;
    if (strlen(plan->device) >= JOB_DEVICE_BYTES)
        return error_set(QRT_E_ARGUMENT, "device '%.60s': a name like cpu or cuda:0", plan->device);
    TRY(points_collect(&of_arch, plan->rows, arch, &points));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < points.count && status == QRT_OK;)
        status = plan_weight(&points, i, arch, plan, jobs, &i);
    points_free(&points);
    return status;
}

qrt_status jobs_plan(const struct asked_options *asking, const struct jobs_plan *plan,
                     struct jobs *out)
{
    struct asked asked;
    struct jobs jobs = {0};
    TRY(asked_collect(asking, plan->threads, &asked));
    qrt_status status = plan_builds(&asked, plan, &jobs);
    for (size_t i = 0; i < asked.arch_count && plan->device && status == QRT_OK; i++)
        status = plan_tuning(asking, asked.archs[i], plan, &jobs);
    asked_free(&asked);
    if (status == QRT_OK)
        *out = jobs;
    else
        jobs_free(&jobs);
    return status;
}

/* ---- text in ---- */

static qrt_status parse_shapes(const json_t *shapes, struct job *j)
{
    const json_t *shape;
    size_t i;
    json_array_foreach(shapes, i, shape)
    {
        const char *text = json_string_value(shape);
        struct shape s;
        if (j->shape_count == ASKED_MAX_SHAPES || !text ||
            sscanf(text, "%9dx%9d", &s.N, &s.K) != 2 || s.N < 1 || s.K < 1)
            return error_set(QRT_E_FORMAT, "shapes: up to %d like \"4096x4096\"", ASKED_MAX_SHAPES);
        j->shapes[j->shape_count++] = s;
    }
    return QRT_OK;
}

static qrt_status parse_kind(const char *name, enum job_kind *out)
{
    for (int kind = 0; kind < JOB_KINDS; kind++)
        if (strcmp(name, kind_names[kind]) == 0) return *out = (enum job_kind)kind, QRT_OK;
    return error_set(QRT_E_FORMAT, "kind '%.60s': this qgen does build and tune", name);
}

/* Members that are right one by one; that there are no others is seen by the spelling. */
static qrt_status parse_members(const json_t *object, struct job *j)
{
    const char *arch, *device, *id, *kind, *request, *rows, *planned;
    const json_t *shapes;
    json_error_t error;
    if (json_unpack_ex((json_t *)object, &error, JSON_STRICT,
                       "{ss ss ss ss s[ii] ss ss si so ss si}", "arch", &arch, "device", &device,
                       "id", &id, "kind", &kind, "m", &j->request.m_lo, &j->request.m_hi, "request",
                       &request, "rows", &rows, "seconds", &j->seconds, "shapes", &shapes,
                       "sources", &planned, "top", &j->top) != 0)
        return error_set(QRT_E_FORMAT, "%s", error.text);
    if (strcmp(planned, own_sources()) != 0)
        return error_set(QRT_E_FORMAT,
                         "planned by a qgen with other templates (%.16s, this one has %s): plan "
                         "again, and take one program on all machines",
                         planned, own_sources());
    TRY(parse_kind(kind, &j->kind));
    snprintf(j->device, sizeof j->device, "%s", device);
    snprintf(j->rows, sizeof j->rows, "%s", rows);
    j->request.arch = arch_find(arch);
    if (!j->request.arch) return error_set(QRT_E_FORMAT, "arch '%.30s'", arch);
    TRY(op_desc_parse(request, &j->request.desc));
    if (j->request.m_lo < 1 || j->request.m_hi < j->request.m_lo ||
        j->request.m_hi > PIPELINE_M_MAX || j->top < 1 || j->top > TOP_MOST || j->seconds < 0)
        return error_set(QRT_E_FORMAT, "m %d..%d, top %d, %d seconds", j->request.m_lo,
                         j->request.m_hi, j->top, j->seconds);
    return parse_shapes(shapes, j);
}

static qrt_status parse_line(const char *line, size_t length, struct job *j)
{
    json_error_t error;
    if (length >= LINE_BYTES)
        return error_set(QRT_E_LIMIT, "%zu bytes, at most %d", length, LINE_BYTES - 1);
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (!object) return error_set(QRT_E_FORMAT, "%s", error.text);
    const qrt_status status = parse_members(object, j);
    json_decref(object);
    TRY(status);
    char *own = line_of(j);
    const int same = own && strlen(own) == length && memcmp(own, line, length) == 0;
    free(own);
    return same ? QRT_OK
                : error_set(QRT_E_FORMAT,
                            "not as `qgen plan-jobs` writes it (its id would be %s): damaged or "
                            "edited",
                            j->id);
}

static qrt_status parse_lines(const char *text, size_t bytes, const char *origin, struct jobs *out)
{
    int number = 1;
    for (const char *at = text, *end = text + bytes; at < end; number++) {
        struct job j = {0};
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) return error_set(QRT_E_FORMAT, "%s:%d: the file is cut short", origin, number);
        const qrt_status status = parse_line(at, (size_t)(stop - at), &j);
        if (status != QRT_OK)
            return error_context(status == QRT_E_MEMORY || status == QRT_E_LIMIT ? status
                                                                                 : QRT_E_FORMAT,
                                 "%s:%d", origin, number);
        TRY(add(out, &j));
        at = stop + 1;
    }
    return QRT_OK;
}

qrt_status jobs_parse(const char *text, size_t bytes, const char *origin, struct jobs *out)
{
    struct jobs jobs = {0};
    const qrt_status status = parse_lines(text, bytes, origin, &jobs);
    if (status == QRT_OK)
        *out = jobs;
    else
        jobs_free(&jobs);
    return status;
}

/* ---- shares ---- */

/* A number of 0 up that a scheduler set; -1: it did not. */
static int from_environment(const char *name)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text) return -1;
    const long value = strtol(text, &end, 10);
    return *end == 0 && value >= 0 && value < INT_MAX ? (int)value : -1;
}

/* Slurm numbers tasks as --array says: from any number, by any step. */
static int slurm_index(int *count)
{
    const int id = from_environment("SLURM_ARRAY_TASK_ID");
    const int first = from_environment("SLURM_ARRAY_TASK_MIN");
    const int step = from_environment("SLURM_ARRAY_TASK_STEP");
    *count = from_environment("SLURM_ARRAY_TASK_COUNT");
    if (id < 0 || first < 0 || id < first) return -1;
    return (id - first) / (step > 0 ? step : 1) + 1;
}

static int kubernetes_index(int *count)
{
    const int index = from_environment("JOB_COMPLETION_INDEX");
    *count = -1; /* it is not told */
    return index < 0 ? -1 : index + 1;
}

static qrt_status find_share(struct jobs_shard *out)
{
    static int (*const schedulers[])(int *count) = {slurm_index, kubernetes_index};
    for (size_t i = 0; i < sizeof schedulers / sizeof *schedulers; i++) {
        out->index = schedulers[i](&out->count);
        if (out->index > 0) return QRT_OK;
    }
    return error_set(QRT_E_ARGUMENT, "--shard auto: neither SLURM_ARRAY_TASK_ID nor "
                                     "JOB_COMPLETION_INDEX is set; say I/N");
}

qrt_status jobs_shard(const char *text, struct jobs_shard *out)
{
    static const char word[] = "auto";
    struct jobs_shard s = {0, -1};
    int used = 0, count = -1;
    if (strncmp(text, word, sizeof word - 1) == 0) {
        TRY(find_share(&s));
        used = sizeof word - 1;
    } else if (sscanf(text, "%9d%n", &s.index, &used) != 1) {
        used = 0;
    }
    int more = 0;
    if (used > 0 && text[used] == '/' && sscanf(text + used, "/%9d%n", &count, &more) == 1)
        s.count = count;
    used += more;
    if (used == 0 || text[used] || s.index < 1 || s.count < s.index)
        return error_set(QRT_E_ARGUMENT,
                         "--shard %s: I/N, 1/N to N/N, or auto, or auto/N where the scheduler does "
                         "not tell N (index %d of %d here)",
                         text, s.index, s.count);
    *out = s;
    return QRT_OK;
}
