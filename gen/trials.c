/* trials.c -- what measuring kernels gave: one JSON line a trial, kept so that nothing is done twice */
#include "trials.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "file.h"

#define SCHEMA "qgen.trial/1"

enum { FILE_BYTES = 1 << 30 };

qrt_status trials_open(const char *folder, const char *device, struct trials *out)
{
    *out = (struct trials){.fd = -1};
    const int length = snprintf(out->path, sizeof out->path, "%s/tuning/%s.jsonl", folder, device);
    snprintf(out->device, sizeof out->device, "%s", device);
    if (length >= (int)sizeof out->path)
        return error_set(QRT_E_LIMIT, "%.80s..: a path of %d bytes", folder, length);
    return QRT_OK;
}

void trials_close(struct trials *t)
{
    if (t->fd >= 0) close(t->fd);
    free(t->items);
    *t = (struct trials){.fd = -1};
}

static qrt_status keep(struct trials *t, const struct trial_line *line)
{
    if (t->count == t->capacity) {
        const size_t capacity = t->capacity ? 2 * t->capacity : 64;
        struct trial_line *items = realloc(t->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "no memory for %zu trials", capacity);
        t->items = items;
        t->capacity = capacity;
    }
    t->items[t->count++] = *line;
    return QRT_OK;
}

/* ---- reading ---- */

static void copy(char *to, size_t bytes, const char *from) { snprintf(to, bytes, "%s", from); }

static int parse_outcome(const char *name, enum measure_outcome *out)
{
    for (int o = MEASURE_DONE; o < MEASURE_STOPPED; o++)
        if (strcmp(name, measure_outcome_name((enum measure_outcome)o)) == 0)
            return *out = (enum measure_outcome)o, 1;
    return 0;
}

/* 1 when the line is one of ours. */
static int parse_line(const json_t *json, struct trial_line *l)
{
    const char *schema, *arch, *request, *template_, *tune, *key, *default_key, *outcome, *text;
    json_int_t repeats;
    *l = (struct trial_line){.N = 0};
    struct noise *own = &l->times.own;
    if (json_unpack((json_t *)json,
                    "{ss si ss ss si si si ss s[ii] ss ss ss ss ss sF sF sF sI sF sF sF si}",
                    "schema", &schema, "processors", &l->processors, "arch", &arch, "request",
                    &request, "n", &l->N, "k", &l->K, "m", &l->M, "template", &template_, "made",
                    &l->record.m_lo, &l->record.m_hi, "tune", &tune, "key", &key, "default_key",
                    &default_key, "outcome", &outcome, "text", &text, "median_s", &own->median,
                    "low_s", &own->low, "high_s", &own->high, "repeats", &repeats,
                    "default_median_s", &l->times.other.median, "ratio", &l->times.ratio.median,
                    "ratio_error", &l->times.ratio.error, "place", &l->place) != 0)
        return 0;
    if (strcmp(schema, SCHEMA) != 0 || !parse_outcome(outcome, &l->outcome)) return 0;
    if (op_desc_parse(request, &l->record.desc) != QRT_OK || repeats < 0) return 0;
    own->count = l->times.ratio.count = (size_t)repeats;
    own->spread = (own->high - own->low) / 1.349; /* of a normal scatter */
    copy(l->record.arch, sizeof l->record.arch, arch);
    copy(l->record.template_, sizeof l->record.template_, template_);
    copy(l->record.tune, sizeof l->record.tune, tune);
    copy(l->key, sizeof l->key, key);
    copy(l->default_key, sizeof l->default_key, default_key);
    copy(l->text, sizeof l->text, text);
    return 1;
}

static qrt_status read_lines(struct trials *t, char *at)
{
    for (char *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        struct trial_line line;
        *end = 0;
        json_t *json = json_loads(at, 0, NULL);
        const int is_ours = json && parse_line(json, &line);
        json_decref(json);
        if (is_ours) TRY(keep(t, &line));
    }
    return QRT_OK;
}

qrt_status trials_read(struct trials *t)
{
    void *text;
    size_t bytes;
    if (access(t->path, F_OK) != 0) return QRT_OK;
    TRY(file_read(t->path, FILE_BYTES, &text, &bytes));
    const qrt_status status = read_lines(t, text);
    free(text);
    return status;
}

/* ---- writing ---- */

static char *line_text(const struct trials *t, const struct trial_line *l)
{
    char request[OP_NAME_BYTES];
    const struct entry_record *r = &l->record;
    const struct measure_times *times = &l->times;
    op_desc_name(&r->desc, request);
    json_t *json = json_pack(
        "{ss ss si ss ss si si si ss s[ii] ss ss ss ss ss sf sf sf sI sf sf sf si}", "schema",
        SCHEMA, "device", t->device, "processors", l->processors, "arch", r->arch, "request",
        request, "n", l->N, "k", l->K, "m", l->M, "template", r->template_, "made", r->m_lo,
        r->m_hi, "tune", r->tune, "key", l->key, "default_key", l->default_key, "outcome",
        measure_outcome_name(l->outcome), "text", l->text, "median_s", times->own.median, "low_s",
        times->own.low, "high_s", times->own.high, "repeats", (json_int_t)times->own.count,
        "default_median_s", times->other.median, "ratio", times->ratio.median, "ratio_error",
        times->ratio.error, "place", l->place);
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    return text;
}

static qrt_status open_to_append(struct trials *t)
{
    char folder[sizeof t->path];
    if (t->fd >= 0) return QRT_OK;
    copy(folder, sizeof folder, t->path);
    *strrchr(folder, '/') = 0;
    TRY(file_make_folders(folder, 0700));
    t->fd = open(t->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return t->fd >= 0 ? QRT_OK : error_set(QRT_E_IO, "%s: %s", t->path, strerror(errno));
}

qrt_status trials_add(struct trials *t, const struct trial_line *line)
{
    TRY(keep(t, line));
    TRY(open_to_append(t));
    char *text = line_text(t, line);
    if (!text) return error_set(QRT_E_MEMORY, "no memory for a trial's line");
    const size_t bytes = strlen(text);
    text[bytes] = '\n'; /* in place of the zero byte */
    const int failed = file_write_all(t->fd, text, bytes + 1);
    free(text);
    return failed ? error_set(QRT_E_IO, "%s: %s", t->path, strerror(errno)) : QRT_OK;
}

/* ---- finding ---- */

const struct trial_line *trials_find(const struct trials *t, const char *key, int N, int K, int M,
                                     const char *default_key, int processors)
{
    for (size_t i = t->count; i-- > 0;) {
        const struct trial_line *l = &t->items[i];
        if (l->outcome == MEASURE_DONE && l->N == N && l->K == K && l->M == M &&
            l->processors == processors && strcmp(l->key, key) == 0 &&
            strcmp(l->default_key, default_key) == 0)
            return l;
    }
    return NULL;
}

const struct trial_line *trials_find_bad(const struct trials *t, const char *key)
{
    for (size_t i = t->count; i-- > 0;) {
        const struct trial_line *l = &t->items[i];
        if (strcmp(l->key, key) == 0 && l->outcome != MEASURE_DONE && l->outcome != MEASURE_FAILED)
            return l;
    }
    return NULL;
}
