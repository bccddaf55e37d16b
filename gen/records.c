/* records.c -- measurements as other commands left them */
#include "records.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "error.h"
#include "file.h"
#include "layout.h"

#define MOST_BYTES ((size_t)256 << 20)

/* ---- fields ---- */

static void read_text(const json_t *o, const char *key, char *out, size_t bytes)
{
    const char *text = json_string_value(json_object_get(o, key));
    snprintf(out, bytes, "%s", text ? text : "");
}

/* A finite number from 0 up; else 0. */
static double read_number(const json_t *o, const char *key)
{
    const double v = json_number_value(json_object_get(o, key));
    return isfinite(v) && v > 0 ? v : 0;
}

static int read_int(const json_t *o, const char *key)
{
    const double v = read_number(o, key);
    return v < 2e9 ? (int)v : 0;
}

/* What a linear moves at least: packed W, x and y; and does. */
static void count_work(struct record *r)
{
    struct op_desc d;
    size_t section[SECTION_COUNT];
    const struct arch *arch = arch_find(r->arch);
    if (!arch || op_desc_parse(r->request, &d) != QRT_OK || d.op != OP_LINEAR) return;
    if (layout_bytes(arch->family, &d.weight, r->N, r->K, section) != QRT_OK) return;
    double bytes = (double)r->M * r->K * (double)elem_bytes(d.act) +
                   (double)r->M * r->N * (double)elem_bytes(d.out);
    for (int i = 0; i < SECTION_COUNT; i++) bytes += (double)section[i];
    r->bytes = bytes;
    r->ops = 2.0 * r->M * r->N * r->K;
}

static void read_sizes(const json_t *o, struct record *r)
{
    read_text(o, "request", r->request, sizeof r->request);
    r->N = read_int(o, "n");
    r->K = read_int(o, "k");
    r->M = read_int(o, "m");
}

static void read_trial(const json_t *o, struct record *r)
{
    r->kind = RECORD_TRIAL;
    read_text(o, "device", r->device, sizeof r->device);
    read_text(o, "arch", r->arch, sizeof r->arch);
    read_text(o, "template", r->template_, sizeof r->template_);
    read_text(o, "tune", r->tune, sizeof r->tune);
    read_text(o, "key", r->key, sizeof r->key);
    read_text(o, "outcome", r->outcome, sizeof r->outcome);
    read_text(o, "text", r->text, sizeof r->text);
    read_sizes(o, r);
    r->place = json_is_integer(json_object_get(o, "place")) ? read_int(o, "place") : -1;
    r->repeats = read_int(o, "repeats");
    r->median_s = read_number(o, "median_s");
    r->low_s = read_number(o, "low_s");
    r->high_s = read_number(o, "high_s");
    r->default_median_s = read_number(o, "default_median_s");
    r->ratio = read_number(o, "ratio");
    r->ratio_error = read_number(o, "ratio_error");
    if (strcmp(r->outcome, "measured") != 0) r->median_s = 0;
    count_work(r);
}

static void read_bench(const json_t *o, const json_t *device, struct record *r)
{
    r->kind = RECORD_BENCH;
    r->place = -1;
    read_text(device, "name", r->device, sizeof r->device);
    read_text(device, "arch", r->arch, sizeof r->arch);
    read_text(o, "what", r->what, sizeof r->what);
    strcpy(r->outcome, "measured");
    read_sizes(o, r);
    r->median_s = read_number(o, "median");
    r->low_s = read_number(o, "low");
    r->high_s = read_number(o, "high");
    r->bytes = read_number(o, "bytes");
    r->ops = read_number(o, "ops");
    if (r->bytes == 0 && r->ops == 0) count_work(r);
}

/* ---- files ---- */

static qrt_status add_record(struct records *r, struct record **out)
{
    if (r->count == r->capacity) {
        const size_t capacity = r->capacity ? 2 * r->capacity : 256;
        struct record *items = realloc(r->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "no memory for %zu records", capacity);
        r->items = items;
        r->capacity = capacity;
    }
    *out = &r->items[r->count++];
    memset(*out, 0, sizeof **out);
    (*out)->file = r->file_count - 1;
    r->files[r->file_count - 1].records++;
    return QRT_OK;
}

static qrt_status add_file(struct records *r, const char *path, struct record_file **out)
{
    struct record_file *files = realloc(r->files, (r->file_count + 1) * sizeof *files);
    if (!files) return error_set(QRT_E_MEMORY, "no memory for a file");
    r->files = files;
    *out = &files[r->file_count];
    **out = (struct record_file){.path = strdup(path)};
    if (!(*out)->path) return error_set(QRT_E_MEMORY, "no memory for a path");
    r->file_count++;
    struct stat st;
    struct tm day;
    if (stat(path, &st) == 0 && gmtime_r(&st.st_mtime, &day))
        strftime((*out)->date, sizeof(*out)->date, "%Y-%m-%d", &day);
    return QRT_OK;
}

static int has_schema(const json_t *o, const char *kind)
{
    const char *schema = json_string_value(json_object_get(o, "schema"));
    const size_t length = strlen(kind);
    return schema && strncmp(schema, "qgen.", 5) == 0 && strncmp(schema + 5, kind, length) == 0 &&
           strcmp(schema + 5 + length, "/1") == 0;
}

int record_file_is(const struct record_file *f, const char *kind)
{
    return has_schema(f->whole, kind);
}

static qrt_status read_lines(struct records *r, struct record_file *f, const char *text)
{
    while (*text) {
        const size_t length = strcspn(text, "\n");
        json_t *o = length ? json_loadb(text, length, 0, NULL) : NULL;
        struct record *one;
        qrt_status status = QRT_OK;
        if (has_schema(o, "trial")) {
            status = add_record(r, &one);
            if (status == QRT_OK) read_trial(o, one);
            if (!f->whole) f->whole = json_incref(o);
        } else if (length) {
            f->damaged_lines++;
        }
        json_decref(o);
        TRY(status);
        text += length + (text[length] == '\n');
    }
    if (f->records > 0) return QRT_OK;
    return error_set(QRT_E_FORMAT,
                     "%s: no object of schema qgen.bench/1 or qgen.check/1, and no line "
                     "of qgen.trial/1",
                     f->path);
}

static qrt_status read_object(struct records *r, struct record_file *f)
{
    size_t i;
    const json_t *row, *device = json_object_get(f->whole, "device");
    json_array_foreach(json_object_get(f->whole, "rows"), i, row)
    {
        struct record *one;
        TRY(add_record(r, &one));
        read_bench(row, device, one);
    }
    const char *date = json_string_value(json_object_get(f->whole, "date"));
    if (date) snprintf(f->date, sizeof f->date, "%s", date);
    return QRT_OK;
}

qrt_status records_add_file(struct records *r, const char *path)
{
    void *text;
    size_t bytes;
    struct record_file *f = NULL;
    TRY(file_read(path, MOST_BYTES, &text, &bytes));
    qrt_status status = add_file(r, path, &f);
    if (status == QRT_OK) {
        json_t *o = json_loadb(text, bytes, 0, NULL);
        if (has_schema(o, "bench") || has_schema(o, "check")) {
            f->whole = json_incref(o);
            status = has_schema(o, "bench") ? read_object(r, f) : QRT_OK;
        } else {
            status = read_lines(r, f, text);
        }
        json_decref(o);
    }
    free(text);
    return status;
}

static int is_lines(const struct dirent *d)
{
    const size_t length = strlen(d->d_name);
    return length > 6 && strcmp(d->d_name + length - 6, ".jsonl") == 0;
}

qrt_status records_add_tuning(struct records *r, const char *folder)
{
    char path[4096];
    struct dirent **files;
    qrt_status status = QRT_OK;
    snprintf(path, sizeof path, "%.3000s/tuning", folder);
    const int count = scandir(path, &files, is_lines, alphasort);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%.3000s/tuning/%.255s", folder, files[i]->d_name);
        if (status == QRT_OK) status = records_add_file(r, path);
        free(files[i]);
    }
    if (count >= 0) free(files);
    return status;
}

void records_free(struct records *r)
{
    for (size_t i = 0; i < r->file_count; i++) {
        free(r->files[i].path);
        json_decref(r->files[i].whole);
    }
    free(r->files);
    free(r->items);
    *r = (struct records){.count = 0};
}

/* ---- efficiency ---- */

/* A measured linear of the scheme on the GPU. */
static int counts(const struct record *r, const struct gpus *table, const struct gpu *gpu,
                  const struct scheme *weight)
{
    struct op_desc d;
    return r->median_s > 0 && r->bytes > 0 && gpus_find(table, r->device) == gpu &&
           op_desc_parse(r->request, &d) == QRT_OK && d.op == OP_LINEAR &&
           scheme_equal(&d.weight, weight);
}

static double allowed_s(const struct record *r, const struct gpu *gpu)
{
    struct op_desc d;
    double peak = gpu->f16_ops_s;
    if (op_desc_parse(r->request, &d) == QRT_OK && d.act == ELEM_I8) peak = gpu->i8_ops_s;
    if (op_desc_parse(r->request, &d) == QRT_OK && d.act == ELEM_E4M3 && gpu->f8_ops_s > 0)
        peak = gpu->f8_ops_s;
    return fmax(r->bytes / gpu->memory_bytes_s, r->ops / peak);
}

/* Whether a record before or after it is a faster one of its shape. */
static int is_best(const struct records *all, size_t i, const char *relevant)
{
    const struct record *r = &all->items[i];
    for (size_t j = 0; j < all->count; j++) {
        const struct record *o = &all->items[j];
        if (j == i || !relevant[j] || o->N != r->N || o->K != r->K || o->M != r->M) continue;
        if (o->median_s < r->median_s || (o->median_s == r->median_s && j < i)) return 0;
    }
    return 1;
}

static int nearest_rows(const struct records *all, const char *relevant, int batch)
{
    int nearest = 0;
    for (size_t i = 0; i < all->count; i++) {
        const int M = all->items[i].M;
        if (relevant[i] && (!nearest || abs(M - batch) < abs(nearest - batch) ||
                            (abs(M - batch) == abs(nearest - batch) && M < nearest)))
            nearest = M;
    }
    return nearest;
}

struct efficiency records_efficiency(const struct records *r, const struct gpus *table,
                                     const struct gpu *gpu, const struct scheme *weight, int batch)
{
    struct efficiency e = {0};
    double allowed = 0, taken = 0;
    char *relevant = calloc(r->count + 1, 1);
    for (size_t i = 0; relevant && i < r->count; i++)
        relevant[i] = (char)counts(&r->items[i], table, gpu, weight);
    if (relevant) e.M = nearest_rows(r, relevant, batch);
    for (size_t i = 0; e.M > 0 && i < r->count; i++) {
        if (!relevant[i] || r->items[i].M != e.M || !is_best(r, i, relevant)) continue;
        allowed += allowed_s(&r->items[i], gpu);
        taken += r->items[i].median_s;
        e.shapes++;
    }
    free(relevant);
    if (taken > 0) e.share = allowed / taken;
    return e;
}
