/* report_points.c -- measurements of a device, grouped by request, shape and rows; its ceilings */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "report_parts.h"

/* ---- points ---- */

/* The order of points; in one trials before rows of a bench, then of files. */
static int compare(const void *a, const void *b, void *user)
{
    const struct records *all = user;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const struct record *r = &all->items[i], *s = &all->items[j];
    const int by_request = strcmp(r->request, s->request);
    if (by_request) return by_request;
    if (r->N != s->N) return r->N < s->N ? -1 : 1;
    if (r->K != s->K) return r->K < s->K ? -1 : 1;
    if (r->M != s->M) return r->M < s->M ? -1 : 1;
    if (r->kind != s->kind) return r->kind == RECORD_TRIAL ? -1 : 1;
    return i < j ? -1 : 1;
}

static int same_point(const struct record *r, const struct record *s)
{
    return strcmp(r->request, s->request) == 0 && r->N == s->N && r->K == s->K && r->M == s->M;
}

double report_ratio(const struct record *r)
{
    if (r->kind != RECORD_TRIAL || r->median_s <= 0) return 0;
    if (r->default_median_s <= 0) return 1;
    return r->ratio > 0 ? r->ratio : r->median_s / r->default_median_s;
}

/* Trials are compared by their ratios, rows of a bench by their times. */
static int is_faster(const struct record *r, const struct record *than)
{
    const double own = report_ratio(r), its = report_ratio(than);
    return own > 0 && its > 0 && own != its ? own < its : r->median_s < than->median_s;
}

/* The fastest of a point, of its trials where there are some, and the ranking's first. */
static void sum_up(const struct records *all, const size_t *order, struct report_point *p)
{
    p->best = SIZE_MAX;
    while (p->trials < p->count && all->items[order[p->first + p->trials]].kind == RECORD_TRIAL)
        p->trials++;
    const size_t count = p->trials ? p->trials : p->count;
    for (size_t i = p->first; i < p->first + count; i++) {
        const struct record *r = &all->items[order[i]];
        if (r->median_s <= 0) continue;
        if (p->best == SIZE_MAX || is_faster(r, &all->items[p->best])) p->best = order[i];
        if (r->place == 0) p->first_ratio = report_ratio(r);
    }
    if (p->best != SIZE_MAX) p->best_ratio = report_ratio(&all->items[p->best]);
}

qrt_status report_points_make(const struct report_device *d, struct report_points *out)
{
    *out = (struct report_points){.count = 0};
    out->order = malloc((d->count + 1) * sizeof *out->order);
    out->items = calloc(d->count + 1, sizeof *out->items);
    if (!out->order || !out->items) return error_set(QRT_E_MEMORY, "%zu records", d->count);
    memcpy(out->order, d->records, d->count * sizeof *out->order);
    qsort_r(out->order, d->count, sizeof *out->order, compare, (void *)d->all);
    for (size_t i = 0; i < d->count; i++) {
        const struct record *r = &d->all->items[out->order[i]];
        if (i == 0 || !same_point(r, &d->all->items[out->order[i - 1]]))
            out->items[out->count++].first = i;
        out->items[out->count - 1].count++;
    }
    for (size_t i = 0; i < out->count; i++) sum_up(d->all, out->order, &out->items[i]);
    return QRT_OK;
}

void report_points_free(struct report_points *p)
{
    free(p->items);
    free(p->order);
    *p = (struct report_points){.count = 0};
}

/* ---- ceilings ---- */

static void add_roof(struct report_roofs *r, const char *name, double ops_s)
{
    if (ops_s <= 0 || r->count == REPORT_ROOFS_MOST) return;
    snprintf(r->ops[r->count].name, sizeof r->ops[r->count].name, "%s", name);
    r->ops[r->count++].ops_s = ops_s;
}

/* ops_per_s: {f32: .., i8: ..} */
static void from_units(const json_t *units, struct report_roofs *out)
{
    const char *unit;
    json_t *value;
    json_object_foreach((json_t *)units, unit, value) add_roof(out, unit, json_number_value(value));
}

/* {bytes_per_s, ops_per_s, i8_ops_per_s ..}: whatever ends so is a roof, or one for each unit. */
static void from_bench(const json_t *ceilings, struct report_roofs *out)
{
    static const char suffix[] = "ops_per_s";
    const char *key;
    json_t *value;
    out->bytes_s = json_number_value(json_object_get(ceilings, "bytes_per_s"));
    json_object_foreach((json_t *)ceilings, key, value)
    {
        const size_t length = strlen(key);
        if (strcmp(key, suffix) == 0 && json_is_object(value)) from_units(value, out);
        if (length < sizeof suffix - 1 || strcmp(key + length - (sizeof suffix - 1), suffix) != 0)
            continue;
        char name[32];
        const int own = (int)(length - (sizeof suffix - 1));
        snprintf(name, sizeof name, "%.*s", own > 0 ? own - 1 : 9, own > 0 ? key : "compute");
        add_roof(out, name, json_number_value(value));
    }
}

static void from_table(const struct gpu *g, struct report_roofs *out)
{
    out->bytes_s = g->memory_bytes_s;
    add_roof(out, "f16", g->f16_ops_s);
    if (g->f8_ops_s > 0 && g->f8_ops_s == g->i8_ops_s) {
        add_roof(out, "f8, i8", g->f8_ops_s);
        return;
    }
    add_roof(out, "f8", g->f8_ops_s);
    add_roof(out, "i8", g->i8_ops_s);
}

void report_roofs_find(const struct report_device *d, struct report_roofs *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < d->count; i++) {
        const struct record *r = &d->all->items[d->records[i]];
        const struct record_file *f = &d->all->files[r->file];
        const json_t *ceilings = json_object_get(f->whole, "ceilings");
        if (r->kind != RECORD_BENCH || !ceilings) continue;
        from_bench(ceilings, out);
        snprintf(out->source, sizeof out->source, "Ceilings measured, %s", f->date);
        return;
    }
    if (!d->gpu) return;
    from_table(d->gpu, out);
    snprintf(out->source, sizeof out->source, "Ceilings of the datasheet: %s", d->gpu->source);
}

/* The roof that a request's products run into: named by its activations, else the first. */
static double roof_of(const struct record *r, const struct report_roofs *roofs)
{
    struct op_desc d;
    const char *type = "f16";
    if (op_desc_parse(r->request, &d) == QRT_OK) type = elem_name(d.act);
    if (strcmp(type, "e4m3") == 0) type = "f8";
    for (int i = 0; i < roofs->count; i++)
        if (strstr(roofs->ops[i].name, type)) return roofs->ops[i].ops_s;
    return roofs->count > 0 ? roofs->ops[0].ops_s : 0;
}

double report_share(const struct record *r, const struct report_roofs *roofs)
{
    if (r->median_s <= 0) return 0;
    const double by_bytes = roofs->bytes_s > 0 ? r->bytes / roofs->bytes_s / r->median_s : 0;
    const double roof = roof_of(r, roofs), by_ops = roof > 0 ? r->ops / roof / r->median_s : 0;
    return by_bytes > by_ops ? by_bytes : by_ops;
}
