/* report_checks.c -- errors against ref, and where the page comes from */
#include <stdlib.h>
#include <string.h>

#include "report_parts.h"

enum { SHOWN_AT_ONCE = 40 };

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- errors ---- */

/* Failed ones first, then by how near they came. */
static int by_worst(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    const int fx = json_is_true(json_object_get(x, "failed")),
              fy = json_is_true(json_object_get(y, "failed"));
    const double wx = json_number_value(json_object_get(x, "worst")),
                 wy = json_number_value(json_object_get(y, "worst"));
    if (fx != fy) return fy - fx;
    if (wx != wy) return wx < wy ? 1 : -1;
    return strcmp(text_of(x, "kernel"), text_of(y, "kernel"));
}

static void kernel_row(struct html *h, const json_t *k)
{
    const double worst = json_number_value(json_object_get(k, "worst"));
    const int failed = json_is_true(json_object_get(k, "failed"));
    const double shown = worst > 1 ? 1 : worst < 0 ? 0 : worst;
    html_markup(h, "<tr><td>");
    html_text(h, text_of(k, "kernel"));
    html_markup(h, "</td><td class=\"n\">%lld</td><td class=\"n\">%.1f %%</td>",
                (long long)json_integer_value(json_object_get(k, "cases")), 100 * worst);
    html_markup(h,
                "<td><svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" "
                "aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"8\"/><rect "
                "class=\"%s\" width=\"%.1f\" height=\"8\"/></svg></td><td>",
                failed ? "over" : "share", 100 * shown);
    if (failed) html_markup(h, "<b class=\"failed\">wrong</b> ");
    html_text(h, text_of(k, "case"));
    html_markup(h, "</td></tr>");
}

static void kernel_table(struct html *h, json_t *const *kernels, size_t count)
{
    html_markup(
        h,
        "<div class=\"scroll\"><table><thead><tr><th>kernel</th><th class=\"n\">cases</th>"
        "<th class=\"n\">largest error</th><th>of its bound</th><th>case</th></tr></thead><tbody>");
    for (size_t i = 0; i < count; i++) kernel_row(h, kernels[i]);
    html_markup(h, "</tbody></table></div>");
}

static void findings(struct html *h, const json_t *list)
{
    size_t i;
    const json_t *f;
    if (json_array_size(list) == 0) return;
    html_markup(h, "<ul class=\"findings\">");
    json_array_foreach(list, i, f)
    {
        html_markup(h, "<li><b>");
        html_text(h, text_of(f, "kernel"));
        html_markup(h, "</b><br>");
        html_text(h, text_of(f, "text"));
        html_markup(h, "</li>");
    }
    html_markup(h, "</ul>");
}

static void sorted_kernels(struct html *h, const json_t *list)
{
    const size_t count = json_array_size(list);
    json_t **kernels = calloc(count + 1, sizeof *kernels);
    if (!kernels) {
        h->failed = 1;
        return;
    }
    for (size_t i = 0; i < count; i++) kernels[i] = json_array_get(list, i);
    qsort(kernels, count, sizeof *kernels, by_worst);
    const size_t first = count < SHOWN_AT_ONCE ? count : SHOWN_AT_ONCE;
    if (count > 0) kernel_table(h, kernels, first);
    if (count > first) {
        html_markup(h, "<details><summary>%zu more</summary>", count - first);
        kernel_table(h, kernels + first, count - first);
        html_markup(h, "</details>");
    }
    free(kernels);
}

static void check_section(struct html *h, const struct record_file *f)
{
    const json_t *o = f->whole;
    html_markup(
        h,
        "<p class=\"note\">%lld kernels in %lld cases, %lld wrong. 100 %% is the bound that "
        "rounding explains; exact inputs have to agree in every bit. ",
        (long long)json_integer_value(json_object_get(o, "checked")),
        (long long)json_integer_value(json_object_get(o, "cases")),
        (long long)json_integer_value(json_object_get(o, "failed")));
    html_textf(h, "%s.", f->date);
    html_markup(h, "</p>");
    findings(h, json_object_get(o, "findings"));
    sorted_kernels(h, json_object_get(o, "kernels"));
}

void report_checks(struct html *h, const struct records *r)
{
    int any = 0;
    for (size_t i = 0; i < r->file_count; i++) {
        if (!record_file_is(&r->files[i], "check")) continue;
        if (!any) html_markup(h, "<section><h2>Errors against ref</h2>");
        any = 1;
        check_section(h, &r->files[i]);
    }
    if (any) html_markup(h, "</section>");
}

/* ---- files ---- */

/* Fields that say where something comes from, rather than what was measured. */
static int is_about(const char *key)
{
    static const char *const others[] = {"rows",    "kernels", "findings", "families",
                                         "checked", "failed",  "cases",    "schema"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(key, others[i]) == 0) return 0;
    return 1;
}

static void value_text(struct html *h, const char *key, const json_t *value)
{
    char *text = json_is_string(value)
                     ? NULL
                     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    html_markup(h, "<div><dt>");
    html_text(h, key);
    html_markup(h, "</dt><dd>");
    html_text(h, json_is_string(value) ? json_string_value(value) : text ? text : "");
    html_markup(h, "</dd></div>");
    free(text);
}

/* Scalars of an object, those of objects in it under "outer inner". */
static void about(struct html *h, const json_t *o, const char *prefix, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o, key, value)
    {
        char name[160];
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? " " : "", key);
        if (!is_about(key)) continue;
        if (json_is_object(value) && depth < 2)
            about(h, value, name, depth + 1);
        else if (!json_is_array(value) && !json_is_object(value))
            value_text(h, name, value);
    }
}

/* Of trials the lines differ; what they share is the device. */
static void about_trials(struct html *h, const struct record_file *f)
{
    static const char *const keys[] = {"device", "arch", "processors"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(f->whole, keys[i]);
        if (value) value_text(h, keys[i], value);
    }
}

void report_files(struct html *h, const struct records *r)
{
    html_markup(h, "<section><h2>Where this comes from</h2>");
    for (size_t i = 0; i < r->file_count; i++) {
        const struct record_file *f = &r->files[i];
        const char *base = strrchr(f->path, '/');
        html_markup(h, "<h3>");
        html_text(h, base ? base + 1 : f->path);
        html_markup(h, "</h3><dl>");
        value_text(h, "schema", json_object_get(f->whole, "schema"));
        if (f->records > 0) {
            html_markup(h, "<div><dt>measurements</dt><dd>%zu</dd></div>", f->records);
        }
        if (f->damaged_lines > 0)
            html_markup(h, "<div><dt>damaged lines, passed over</dt><dd>%zu</dd></div>",
                        f->damaged_lines);
        if (!json_object_get(f->whole, "date")) {
            html_markup(h, "<div><dt>last written</dt><dd>");
            html_text(h, f->date);
            html_markup(h, "</dd></div>");
        }
        if (record_file_is(f, "trial"))
            about_trials(h, f);
        else
            about(h, f->whole, "", 0);
        html_markup(h, "</dl>");
    }
    html_markup(h, "</section>");
}
