/* chart.c -- axes and grids of charts in SVG */
#include "chart.h"

#include <math.h>
#include <stdio.h>

double chart_at(const struct chart_axis *a, double value)
{
    const double share = a->is_log ? (log10(value) - log10(a->lo)) / (log10(a->hi) - log10(a->lo))
                                   : (value - a->lo) / (a->hi - a->lo);
    return a->from + fmin(1, fmax(0, share)) * (a->to - a->from);
}

void chart_decades(double *lo, double *hi)
{
    *lo = pow(10, floor(log10(*lo) + 1e-9));
    *hi = pow(10, ceil(log10(*hi) - 1e-9));
    if (*hi <= *lo) *hi = *lo * 10;
}

void chart_number(double value, char out[24])
{
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1e15, " P"}, {1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}, {1, ""}};
    for (int i = 0; i < 6; i++)
        if (value >= units[i].unit * 0.9995) {
            snprintf(out, 24, "%.3g%s", value / units[i].unit, units[i].name);
            return;
        }
    snprintf(out, 24, "%.2g", fabs(value));
}

/* ---- ticks ---- */

/* The first tick at or above lo, and how to go on: times for logarithmic axes, else plus. */
static double tick_step(const struct chart_axis *a)
{
    if (a->is_log) return 10;
    const double raw = (a->hi - a->lo) / 4, unit = pow(10, floor(log10(raw)));
    const double share = raw / unit;
    return unit * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
}

static void x_tick(struct html *h, const struct chart *c, double value)
{
    char label[24];
    const double x = chart_at(&c->x, value);
    chart_number(value, label);
    html_markup(h, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", x, c->y.from, c->y.to);
    html_markup(h, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s%s</text>",
                x, c->y.from + 17, label, c->x.suffix ? c->x.suffix : "");
}

static void y_tick(struct html *h, const struct chart *c, double value)
{
    char label[24];
    const double y = chart_at(&c->y, value);
    chart_number(value, label);
    html_markup(h, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", c->x.from, y, c->x.to);
    html_markup(h, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s%s</text>",
                c->x.from - 6, y + 4, label, c->y.suffix ? c->y.suffix : "");
}

static void ticks(struct html *h, const struct chart *c, const struct chart_axis *a,
                  void (*draw)(struct html *, const struct chart *, double))
{
    const double step = tick_step(a);
    double v = a->is_log ? a->lo : ceil(a->lo / step - 1e-9) * step + 0.0; /* not -0 */
    while (v <= a->hi * (1 + 1e-9)) {
        draw(h, c, v);
        v = a->is_log ? v * step : v + step;
    }
}

/* ---- the frame ---- */

void chart_open(struct html *h, const struct chart *c, const char *class, const char *label)
{
    html_markup(h, "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", class,
                c->width, c->height);
    html_text(h, label);
    html_markup(h, "\">");
    ticks(h, c, &c->x, x_tick);
    ticks(h, c, &c->y, y_tick);
    html_markup(h, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                (c->x.from + c->x.to) / 2, c->y.from + 37, c->x.title);
    html_markup(h, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"start\">%s</text>",
                2.0, c->y.to - 10, c->y.title);
}

void chart_close(struct html *h) { html_markup(h, "</svg>"); }
