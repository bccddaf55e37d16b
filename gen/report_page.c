/* report_page.c -- the page of a report: devices one after another, then errors and files */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "error.h"
#include "report_parts.h"

enum { DEVICES_MOST = 64 };

/* ---- devices ---- */

/* File names of measurements have "_" where a device's name has a blank. */
static int same_device(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '_' || *a == ' ') && (*b == '_' || *b == ' '))) return 0;
    return *a == *b;
}

struct devices {
    struct report_device items[DEVICES_MOST];
    size_t count;
};

static qrt_status find_device(struct devices *d, const struct records *r, const struct gpus *table,
                              const char *name, struct report_device **out)
{
    for (size_t i = 0; i < d->count; i++)
        if (same_device(d->items[i].name, name)) {
            *out = &d->items[i];
            return QRT_OK;
        }
    if (d->count == DEVICES_MOST)
        return error_set(QRT_E_LIMIT, "measurements of more than %d devices", DEVICES_MOST);
    struct report_device *one = &d->items[d->count++];
    *one = (struct report_device){.all = r, .gpu = gpus_find(table, name)};
    snprintf(one->name, sizeof one->name, "%s", name);
    for (char *p = one->name; *p; p++)
        if (*p == '_') *p = ' ';
    one->records = malloc((r->count + 1) * sizeof *one->records);
    if (!one->records) return error_set(QRT_E_MEMORY, "%zu records", r->count);
    *out = one;
    return QRT_OK;
}

static qrt_status find_devices(const struct records *r, const struct gpus *table, struct devices *d)
{
    d->count = 0;
    for (size_t i = 0; i < r->count; i++) {
        struct report_device *one = NULL;
        TRY(find_device(d, r, table, r->items[i].device, &one));
        one->records[one->count++] = i;
    }
    return QRT_OK;
}

static void free_devices(struct devices *d)
{
    for (size_t i = 0; i < d->count; i++) free(d->items[i].records);
}

/* ---- the page ---- */

static qrt_status device_section(struct html *h, const struct report_device *d)
{
    struct report_points points;
    struct report_roofs roofs;
    const char *arch = d->all->items[d->records[0]].arch;
    const qrt_status status = report_points_make(d, &points);
    if (status == QRT_OK) {
        report_roofs_find(d, &roofs);
        html_markup(h, "<section><h2>");
        html_text(h, *d->name ? d->name : "unnamed device");
        html_markup(h, "</h2><p class=\"note\">");
        html_textf(h, "%s%s", arch, *arch ? ", " : "");
        html_markup(h, "%zu measurements of %zu points (request, shape, rows).</p>", d->count,
                    points.count);
        report_roofline(h, d, &points, &roofs);
        report_tuning(h, d, &points);
        report_winners(h, d, &points, &roofs);
        report_failures(h, d);
        html_markup(h, "</section>");
    }
    report_points_free(&points);
    return status;
}

static void open_page(struct html *h)
{
    const struct embedded_file *style = embed_find("gen/report.css");
    html_markup(
        h,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        "<title>qgen: measured kernels</title><style>\n%s</style></head>\n<body>"
        "<header><h1>Measured kernels</h1><p class=\"note\">Written by <code>qgen report</code> "
        "from "
        "the files at the end; every figure is measured unless it says otherwise. Dots and bars "
        "tell more when pointed at.</p></header>\n<main>",
        style->text);
}

qrt_status report_page(const struct records *r, const struct gpus *table, char **page,
                       size_t *bytes)
{
    struct html h = {.text = NULL};
    struct devices *devices = calloc(1, sizeof *devices);
    if (!devices) return error_set(QRT_E_MEMORY, "no memory for a report");
    qrt_status status = find_devices(r, table, devices);
    open_page(&h);
    for (size_t i = 0; i < devices->count && status == QRT_OK; i++)
        status = device_section(&h, &devices->items[i]);
    report_checks(&h, r);
    report_files(&h, r);
    html_markup(&h, "</main></body></html>\n");
    free_devices(devices);
    free(devices);
    if (status == QRT_OK) return html_take(&h, page, bytes);
    free(h.text);
    return status;
}
