/* report_roofline.c -- every measured kernel below the ceilings of its device */
#include <math.h>
#include <string.h>

#include "chart.h"
#include "report_parts.h"

/* Dots are told apart by rows: they set where on the roofline a linear lies. */
static const struct {
    int most;
    const char *class, *text;
} rows_of[] = {{1, "m1", "1 row"},
               {8, "m2", "2 to 8 rows"},
               {64, "m3", "9 to 64 rows"},
               {1 << 30, "m4", "more rows"}};
enum { CLASSES = sizeof rows_of / sizeof *rows_of };

static int class_of(int M)
{
    for (int i = 0; i < CLASSES; i++)
        if (M <= rows_of[i].most) return i;
    return CLASSES - 1;
}

static int is_drawn(const struct record *r)
{
    return r->median_s > 0 && r->bytes > 0 && r->ops > 0;
}

/* ---- the frame ---- */

struct extent {
    double lo, hi;
};

static void widen(struct extent *e, double v)
{
    if (e->lo == 0 || v < e->lo) e->lo = v;
    if (v > e->hi) e->hi = v;
}

/* Around all dots, and far enough to the right for the corner of the highest roof to be seen. */
static int frame(const struct report_device *d, const struct report_roofs *roofs, struct chart *c)
{
    struct extent x = {0}, y = {0};
    for (size_t i = 0; i < d->count; i++) {
        const struct record *r = &d->all->items[d->records[i]];
        if (!is_drawn(r)) continue;
        widen(&x, r->ops / r->bytes * 0.9);
        widen(&x, r->ops / r->bytes * 1.1);
        widen(&y, r->ops / r->median_s * 0.9);
        widen(&y, r->ops / r->median_s * 1.1);
    }
    if (x.hi == 0) return 0;
    for (int i = 0; i < roofs->count; i++) {
        widen(&y, roofs->ops[i].ops_s * 1.2);
        if (roofs->bytes_s > 0) widen(&x, roofs->ops[i].ops_s / roofs->bytes_s * 2);
    }
    chart_decades(&x.lo, &x.hi);
    chart_decades(&y.lo, &y.hi);
    *c = (struct chart){
        .width = 720,
        .height = 440,
        .x = {x.lo, x.hi, 1, 62, 704, "operations per byte", NULL},
        .y = {y.lo, y.hi, 1, 388, 34, "operations per second", NULL},
    };
    return 1;
}

/* ---- roofs ---- */

static void memory_roof(struct html *h, const struct chart *c, const struct report_roofs *roofs)
{
    double highest = 0;
    char rate[24];
    for (int i = 0; i < roofs->count; i++) highest = fmax(highest, roofs->ops[i].ops_s);
    if (roofs->bytes_s <= 0) return;
    /* The slope from where it enters the frame to the highest roof or where it leaves. */
    const double x0 = fmax(c->x.lo, c->y.lo / roofs->bytes_s);
    const double top = highest > 0 ? highest : c->y.hi;
    const double x1 = fmin(c->x.hi, top / roofs->bytes_s);
    const double px = chart_at(&c->x, x0), py = chart_at(&c->y, x0 * roofs->bytes_s);
    const double qx = chart_at(&c->x, x1), qy = chart_at(&c->y, x1 * roofs->bytes_s);
    const double angle = atan2(qy - py, qx - px) * 180 / 3.14159265358979;
    html_markup(h, "<path class=\"roof\" d=\"M%.1f %.1fL%.1f %.1f\"/>", px, py, qx, qy);
    chart_number(roofs->bytes_s, rate);
    html_markup(h,
                "<text class=\"rooflabel\" transform=\"translate(%.1f %.1f) rotate(%.1f)\" "
                "dy=\"-7\" text-anchor=\"middle\">memory %sB/s</text>",
                px + 0.45 * (qx - px), py + 0.45 * (qy - py), angle, rate);
}

static void compute_roofs(struct html *h, const struct chart *c, const struct report_roofs *roofs)
{
    for (int i = 0; i < roofs->count; i++) {
        char rate[24];
        const double ops = roofs->ops[i].ops_s, y = chart_at(&c->y, ops);
        const double corner = roofs->bytes_s > 0 ? fmax(c->x.lo, ops / roofs->bytes_s) : c->x.lo;
        chart_number(ops, rate);
        html_markup(h, "<path class=\"roof\" d=\"M%.1f %.1fH%.1f\"/>", chart_at(&c->x, corner), y,
                    c->x.to);
        html_markup(h, "<text class=\"rooflabel\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">",
                    c->x.to - 4, y - 6);
        html_text(h, roofs->ops[i].name);
        html_markup(h, " %sOP/s</text>", rate);
    }
}

/* ---- dots ---- */

static void dot(struct html *h, const struct chart *c, const struct record *r, int is_best,
                const struct report_roofs *roofs)
{
    const double share = report_share(r, roofs);
    char rate[24], bytes[24];
    chart_number(r->ops / r->median_s, rate);
    chart_number(r->bytes / r->median_s, bytes);
    html_markup(h, "<circle class=\"%s%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>",
                rows_of[class_of(r->M)].class, is_best ? "" : " other",
                chart_at(&c->x, r->ops / r->bytes), chart_at(&c->y, r->ops / r->median_s),
                is_best ? "4" : "2.5");
    html_text(h, r->request);
    html_markup(h, ", %d x %d, %d rows", r->N, r->K, r->M);
    if (*r->what) html_textf(h, ", %s", r->what);
    if (*r->template_) html_textf(h, "\n%s %s", r->template_, r->tune);
    html_markup(h, "\n");
    report_time(h, r->median_s);
    html_markup(h, ", %sOP/s, %sB/s", rate, bytes);
    if (share > 0) html_markup(h, ", %.0f %% of the ceiling", 100 * share);
    html_markup(h, "</title></circle>");
}

static void dots(struct html *h, const struct chart *c, const struct report_device *d,
                 const struct report_points *p, const struct report_roofs *roofs, int best)
{
    for (size_t i = 0; i < p->count; i++)
        for (size_t j = 0; j < p->items[i].count; j++) {
            const size_t index = p->order[p->items[i].first + j];
            const struct record *r = &d->all->items[index];
            if (is_drawn(r) && (index == p->items[i].best) == best) dot(h, c, r, best, roofs);
        }
}

/* A share above the ceiling is an error of the one or the other: say so. */
static void note_above(struct html *h, const struct report_device *d,
                       const struct report_roofs *roofs)
{
    size_t above = 0;
    for (size_t i = 0; i < d->count; i++)
        above += report_share(&d->all->items[d->records[i]], roofs) > 1.02;
    if (above > 0)
        html_markup(
            h,
            "<p class=\"note\"><b class=\"failed\">%zu measurements lie above the ceiling</b>: it "
            "is too low, or their bytes came from a cache.</p>",
            above);
}

static void legend(struct html *h, const struct report_device *d)
{
    int used[CLASSES] = {0};
    for (size_t i = 0; i < d->count; i++)
        if (is_drawn(&d->all->items[d->records[i]]))
            used[class_of(d->all->items[d->records[i]].M)] = 1;
    html_markup(h, "<p class=\"legend\">");
    for (int i = 0; i < CLASSES; i++)
        if (used[i])
            html_markup(
                h,
                "<span><svg class=\"key\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><circle "
                "class=\"%s\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>%s</span>",
                rows_of[i].class, rows_of[i].text);
    html_markup(h, "<span>large: the fastest at its shape and rows; small: the others</span></p>");
}

void report_roofline(struct html *h, const struct report_device *d, const struct report_points *p,
                     const struct report_roofs *roofs)
{
    struct chart c;
    html_markup(h, "<h3>Roofline</h3>");
    if (!frame(d, roofs, &c)) {
        html_markup(h, "<p class=\"note\">No linear with known work was measured.</p>");
        return;
    }
    html_markup(h, "<p class=\"note\">");
    html_text(h, *roofs->source ? roofs->source : "No ceiling of this device is known: dots only");
    html_markup(
        h,
        ". Bytes are those a kernel has to move once: weights, x and y.</p><div class=\"chart\">");
    chart_open(h, &c, "wide", "operations per second over operations per byte of every kernel");
    memory_roof(h, &c, roofs);
    compute_roofs(h, &c, roofs);
    dots(h, &c, d, p, roofs, 0);
    dots(h, &c, d, p, roofs, 1);
    chart_close(h);
    html_markup(h, "</div>");
    legend(h, d);
    note_above(h, d, roofs);
}
