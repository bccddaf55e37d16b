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
#include "file.h"
#include "key.h"

enum { LINE_BYTES = 1 << 14, HASH_BYTES = 8, TOP_MOST = 64 };

static const char *const kind_names[JOB_KINDS] = {[JOB_BUILD] = "build"};

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
        json_pack("{ss ss s[ii] ss so ss si}", "arch", j->request.arch->name, "kind",
                  kind_names[j->kind], "m", j->request.m_lo, j->request.m_hi, "request", request,
                  "shapes", shapes_json(j), "sources", own_sources(), "top", j->top);
    char *bare = object ? dump(object) : NULL;
    if (!bare) return NULL;
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

qrt_status jobs_plan(const struct asked *asked, int top, struct jobs *out)
{
    struct jobs jobs = {0};
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < asked->set.count && status == QRT_OK; i++) {
        struct job j = {.kind = JOB_BUILD, .request = asked->set.items[i], .top = top};
        if (j.request.desc.op == OP_LINEAR) { /* nothing else looks at them */
            memcpy(j.shapes, asked->shapes, sizeof j.shapes);
            j.shape_count = asked->shape_count;
        }
        char *line = line_of(&j);
        status = line ? add(&jobs, &j) : error_set(QRT_E_MEMORY, "jobs: no memory for a line");
        free(line);
    }
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
    return error_set(QRT_E_FORMAT, "kind '%.60s': this qgen does `build`", name);
}

/* Members that are right one by one; that there are no others is seen by the spelling. */
static qrt_status parse_members(const json_t *object, struct job *j)
{
    const char *arch, *id, *kind, *request, *planned;
    const json_t *shapes;
    json_error_t error;
    if (json_unpack_ex((json_t *)object, &error, JSON_STRICT, "{ss ss ss s[ii] ss so ss si}",
                       "arch", &arch, "id", &id, "kind", &kind, "m", &j->request.m_lo,
                       &j->request.m_hi, "request", &request, "shapes", &shapes, "sources",
                       &planned, "top", &j->top) != 0)
        return error_set(QRT_E_FORMAT, "%s", error.text);
    if (strcmp(planned, own_sources()) != 0)
        return error_set(QRT_E_FORMAT,
                         "planned by a qgen with other templates (%.16s, this one has %s): plan "
                         "again, and take one program on all machines",
                         planned, own_sources());
    TRY(parse_kind(kind, &j->kind));
    j->request.arch = arch_find(arch);
    if (!j->request.arch) return error_set(QRT_E_FORMAT, "arch '%.30s'", arch);
    TRY(op_desc_parse(request, &j->request.desc));
    if (j->request.m_lo < 1 || j->request.m_hi < j->request.m_lo ||
        j->request.m_hi > PIPELINE_M_MAX || j->top < 1 || j->top > TOP_MOST)
        return error_set(QRT_E_FORMAT, "m %d..%d, top %d", j->request.m_lo, j->request.m_hi,
                         j->top);
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

/* ---- doing ---- */

#define NOTE_LINE "qgen-done 1\n"
enum { NOTE_BYTES = 1 << 20 };

static qrt_status note_path(const struct job *j, const struct jobs_place *place, char out[PATH_MAX])
{
    if (snprintf(out, PATH_MAX, "%s/done/%s", place->folder, j->id) >= PATH_MAX)
        return error_set(QRT_E_IO, "%.200s/done: the path is too long", place->folder);
    return QRT_OK;
}

static int has_kernel(struct store *s, const char *digits)
{
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry e;
    void *bytes = NULL;
    size_t count;
    int found = 0;
    if (strspn(digits, "0123456789abcdef") != 2 * sizeof key || digits[2 * sizeof key] != '\n')
        return 0;
    for (size_t i = 0; i < sizeof key; i++) sscanf(digits + 2 * i, "%2hhx", &key[i]);
    if (store_get(s, key, &e, &bytes, &count, &found) != QRT_OK || !found) return 0;
    free(bytes);
    return 1;
}

static int has_all_kernels(const char *note, const char *folder)
{
    struct store *s;
    const size_t first = sizeof NOTE_LINE - 1;
    if (strncmp(note, NOTE_LINE, first) != 0 || store_open(folder, &s) != QRT_OK) return 0;
    const char *at = note + first;
    while (*at && has_kernel(s, at)) at += 2 * ENTRY_KEY_BYTES + 1;
    store_close(s);
    return *at == 0;
}

int jobs_is_done(const struct job *job, const struct jobs_place *place)
{
    char path[PATH_MAX];
    void *note;
    size_t bytes;
    if (note_path(job, place, path) != QRT_OK) return 0;
    if (file_read(path, NOTE_BYTES, &note, &bytes) != QRT_OK) return 0;
    const int done = has_all_kernels(note, place->folder);
    free(note);
    return done;
}

static qrt_status note_done(const struct job *j, const struct jobs_place *place,
                            const struct pipeline_result *made)
{
    char path[PATH_MAX], folder[PATH_MAX], digits[KEY_HEX_BYTES];
    char *note;
    size_t bytes;
    TRY(note_path(j, place, path));
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    TRY(file_make_folders(folder, 0700));
    FILE *f = open_memstream(&note, &bytes);
    if (!f) return error_set(QRT_E_MEMORY, "jobs: no memory for a note");
    fputs(NOTE_LINE, f);
    for (size_t i = 0; i < made->count; i++) {
        key_hex(made->kernels[i].entry.key, digits);
        fprintf(f, "%s\n", digits);
    }
    if (fclose(f) != 0) return error_set(QRT_E_MEMORY, "jobs: no memory for a note");
    const qrt_status status = file_write(path, note, bytes);
    free(note);
    return status;
}

static qrt_status build(const struct job *j, const struct jobs_place *place,
                        struct pipeline_result *result)
{
    const struct pipeline_options how = {.store = place->folder,
                                         .jobs = place->compilers,
                                         .offline = place->offline,
                                         .top = j->top,
                                         .shapes = j->shape_count ? j->shapes : NULL,
                                         .shape_count = j->shape_count};
    struct pipeline *p;
    TRY(pipeline_open(&how, &p));
    const qrt_status status = pipeline_make(p, &j->request, 1, result);
    pipeline_close(p);
    return status;
}

static qrt_status (*const doers[JOB_KINDS])(const struct job *j, const struct jobs_place *place,
                                            struct pipeline_result *result) = {[JOB_BUILD] = build};

qrt_status jobs_do(const struct job *job, const struct jobs_place *place, struct jobs_made *made)
{
    struct pipeline_result result;
    TRY(doers[job->kind](job, place, &result));
    *made = (struct jobs_made){result.count, result.compiled};
    /* Elsewhere a store that cannot be written costs time; here it is where the result goes. */
    const qrt_status status = result.store_problem[0]
                                  ? error_set(QRT_E_IO, "%s", result.store_problem)
                                  : note_done(job, place, &result);
    pipeline_result_free(&result);
    return status;
}
