/* jobs_do.c -- jobs of a plan are done: kernels and winners into a folder, and a note that they are */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "file.h"
#include "jobs.h"
#include "key.h"
#include "tuner.h"

/* ---- notes ---- */

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

/* `made` NULL: no kernels. */
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
    for (size_t i = 0; made && i < made->count; i++) {
        key_hex(made->kernels[i].entry.key, digits);
        fprintf(f, "%s\n", digits);
    }
    if (fclose(f) != 0) return error_set(QRT_E_MEMORY, "jobs: no memory for a note");
    const qrt_status status = file_write(path, note, bytes);
    free(note);
    return status;
}

/* ---- kernels ---- */

static qrt_status make(const struct job *j, const struct jobs_place *place,
                       struct pipeline_result *result)
{
    const struct pipeline_options how = {.store = place->folder,
                                         .jobs = place->compilers,
                                         .offline = place->offline,
                                         .rank = place->offline ? DECIDE_NEVER : DECIDE_MISSING,
                                         .top = j->top,
                                         .shapes = j->shape_count ? j->shapes : NULL,
                                         .shape_count = j->shape_count};
    struct pipeline *p;
    TRY(pipeline_open(&how, &p));
    const qrt_status status = pipeline_make(p, &j->request, 1, result);
    pipeline_close(p);
    return status;
}

static qrt_status build(const struct job *j, const struct jobs_place *place, struct jobs_made *made)
{
    struct pipeline_result result;
    TRY(make(j, place, &result));
    *made = (struct jobs_made){result.count, result.compiled, result.winner_count};
    /* Elsewhere a store that cannot be written costs time; here it is where the result goes. */
    const qrt_status status = result.store_problem[0]
                                  ? error_set(QRT_E_IO, "%s", result.store_problem)
                                  : note_done(j, place, &result);
    pipeline_result_free(&result);
    return status;
}

/* ---- winners by measuring ---- */

enum { MOST_POINTS = 256, SILENCE_S = 20 };

struct rows {
    const struct job *job;
    struct tuner_point points[MOST_POINTS];
    size_t count;
};

static qrt_status add_row(void *user, const char *text)
{
    struct rows *r = user;
    char *end;
    const long M = strtol(text, &end, 10);
    if (*end || M < 1 || M > PIPELINE_M_MAX || r->count == MOST_POINTS)
        return error_set(QRT_E_FORMAT, "rows '%s': at most %d numbers", text, MOST_POINTS);
    const struct shape *s = &r->job->shapes[0];
    r->points[r->count++] = (struct tuner_point){r->job->request.desc, s->N, s->K, (int)M};
    return QRT_OK;
}

static qrt_status measure(const struct job *j, const struct jobs_place *place,
                          const struct rows *rows, size_t *winners)
{
    const struct tuner_options how = {
        .device = {.name = j->device, .limit_s = SILENCE_S},
        .arch = j->request.arch->name,
        .folder = place->folder,
        .top = j->top,
        .jobs = place->compilers,
        .resume = 1,
        .budget_s = j->seconds,
        .points = rows->points,
        .count = rows->count,
    };
    struct tuner_result result;
    struct winners w = {0};
    TRY(tuner_run(&how, &result));
    qrt_status status = tuner_winners(&result, &w);
    if (status == QRT_OK) status = tuner_keep(&result, place->folder, &w);
    *winners = w.count;
    winners_free(&w);
    tuner_result_free(&result);
    return status;
}

static qrt_status tune(const struct job *j, const struct jobs_place *place, struct jobs_made *made)
{
    struct rows rows = {.job = j};
    if (place->offline) return error_set(QRT_E_KERNEL, "--offline measures nothing");
    if (j->shape_count != 1) return error_set(QRT_E_FORMAT, "a tune job has one weight");
    TRY(cli_list(j->rows, add_row, &rows));
    *made = (struct jobs_made){0};
    TRY(measure(j, place, &rows, &made->winners));
    return note_done(j, place, NULL);
}

static qrt_status (*const doers[JOB_KINDS])(const struct job *j, const struct jobs_place *place,
                                            struct jobs_made *made) = {
    [JOB_BUILD] = build, [JOB_TUNE] = tune};

qrt_status jobs_do(const struct job *job, const struct jobs_place *place, struct jobs_made *made)
{
    return doers[job->kind](job, place, made);
}
