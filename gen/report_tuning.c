/* report_tuning.c -- trials one after another, winners beside defaults, and those that failed */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "noise.h"
#include "report_parts.h"

void report_time(struct html *h, double seconds)
{
    const double us = seconds * 1e6;
    if (us < 1000)
        html_markup(h, "%.*f \xc2\xb5s", us < 10 ? 2 : us < 100 ? 1 : 0, us);
    else
        html_markup(h, "%.*f ms", us < 1e4 ? 2 : us < 1e5 ? 1 : 0, us / 1000);
}

/* ---- histories ---- */

enum { HISTORIES_MOST = 24, TRIALS_LEAST = 2 };

/* A history as it is drawn: times over the default's. */
struct history {
    const struct report_device *d;
    const struct report_points *p;
    const struct report_point *point;
    struct chart chart;
};

static const struct record *trial(const struct history *t, size_t i)
{
    return &t->d->all->items[t->p->order[t->point->first + i]];
}

static void history_frame(struct history *t)
{
    double lo = 0.8, hi = 1.25;
    for (size_t i = 0; i < t->point->trials; i++) {
        const double ratio = report_ratio(trial(t, i));
        if (ratio <= 0) continue;
        lo = fmin(lo, ratio);
        hi = fmax(hi, fmin(ratio, 3));
    }
    t->chart = (struct chart){
        .width = 360,
        .height = 210,
        .x = {0, (double)t->point->trials + 1, 0, 44, 350, "trial", NULL},
        .y = {floor(lo * 10 - 0.5) / 10, ceil(hi * 10) / 10, 0, 164, 26, "time / default's", NULL},
    };
    if (t->chart.y.lo < 0) t->chart.y.lo = 0;
}

/* A step down at each trial that is faster than all before. */
static void best_so_far(struct html *h, const struct history *t)
{
    const struct chart *c = &t->chart;
    double best = 1;
    html_markup(h, "<path class=\"best\" d=\"M%.1f %.1f", c->x.from, chart_at(&c->y, 1));
    for (size_t i = 0; i < t->point->trials; i++) {
        const double ratio = report_ratio(trial(t, i));
        if (ratio <= 0 || ratio >= best) continue;
        best = ratio;
        html_markup(h, "H%.1fV%.1f", chart_at(&c->x, (double)i + 1), chart_at(&c->y, best));
    }
    html_markup(h, "H%.1f\"/>", c->x.to);
}

static void trial_dots(struct html *h, const struct history *t)
{
    const struct chart *c = &t->chart;
    for (size_t i = 0; i < t->point->trials; i++) {
        const struct record *r = trial(t, i);
        const double ratio = report_ratio(r), x = chart_at(&c->x, (double)i + 1);
        if (ratio > 0)
            html_markup(h, "<circle class=\"trial\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>", x,
                        chart_at(&c->y, ratio));
        else
            html_markup(h, "<path class=\"bad\" d=\"M%.1f %.1fl6 6m0 -6l-6 6\"><title>", x - 3,
                        c->y.to);
        html_textf(h, "%s %s\n", r->template_, r->tune);
        if (ratio > 0) {
            report_time(h, r->median_s);
            html_markup(h, ", %.3f of the default's", ratio);
        } else {
            html_textf(h, "%s %s", r->outcome, r->text);
        }
        html_markup(h, "</title>%s", ratio > 0 ? "</circle>" : "</path>");
    }
}

static void draw_history(struct html *h, struct history *t)
{
    const struct record *r = trial(t, 0);
    const struct chart *c = &t->chart;
    history_frame(t);
    html_markup(h, "<figure><figcaption><b>");
    html_text(h, r->request);
    html_markup(h, "</b><br>%d\xc3\x97%d, %d %s</figcaption>", r->N, r->K, r->M,
                r->M == 1 ? "row" : "rows");
    chart_open(h, c, "small", "time of each trial over the default's, and the best so far");
    html_markup(h, "<path class=\"default\" d=\"M%.1f %.1fH%.1f\"/>", c->x.from, chart_at(&c->y, 1),
                c->x.to);
    best_so_far(h, t);
    trial_dots(h, t);
    chart_close(h);
    html_markup(h, "</figure>");
}

static int has_history(const struct report_point *p)
{
    return p->trials >= TRIALS_LEAST && p->best_ratio > 0;
}

void report_tuning(struct html *h, const struct report_device *d, const struct report_points *p)
{
    size_t all = 0, drawn = 0;
    for (size_t i = 0; i < p->count; i++) all += (size_t)has_history(&p->items[i]);
    if (all == 0) return;
    html_markup(
        h, "<h3>Tuning history</h3><p class=\"note\">Each dot is a trial in the order they ran, "
           "a cross one that failed; the line is the best so far, from the default at 1. Sizes are "
           "N\xc3\x97K.");
    if (all > HISTORIES_MOST) html_markup(h, " The first %d of %zu.", HISTORIES_MOST, all);
    html_markup(h, "</p><div class=\"histories\">");
    for (size_t i = 0; i < p->count && drawn < HISTORIES_MOST; i++) {
        struct history t = {.d = d, .p = p, .point = &p->items[i]};
        if (!has_history(t.point)) continue;
        draw_history(h, &t);
        drawn++;
    }
    html_markup(h, "</div>");
}

/* ---- winners ---- */

/* Of the points with a default: how many times as fast the fastest is; of those whose ranking's first
 * was measured: what it loses. */
struct sums {
    double *gains, *losses;
    size_t gain_count, loss_count, within; /* within 3 % of the fastest */
};

static void add_point(struct sums *s, const struct report_point *p)
{
    if (p->best_ratio <= 0) return;
    s->gains[s->gain_count++] = 1 / p->best_ratio;
    if (p->first_ratio <= 0) return;
    s->losses[s->loss_count++] = p->first_ratio / p->best_ratio - 1;
    s->within += p->first_ratio <= 1.03 * p->best_ratio;
}

/* How much tuning gave, and how good the ranking was. */
static void sum_up(struct html *h, const struct report_points *p)
{
    struct sums s = {.gains = calloc(p->count + 1, sizeof(double)),
                     .losses = calloc(p->count + 1, sizeof(double))};
    for (size_t i = 0; s.gains && s.losses && i < p->count; i++) add_point(&s, &p->items[i]);
    const double gain = s.gain_count ? noise_of(s.gains, s.gain_count).median : 0;
    const double loss = s.loss_count ? noise_of(s.losses, s.loss_count).median : 0;
    if (s.gain_count > 0)
        html_markup(
            h,
            "<p class=\"note\">%zu points with a default: the fastest kernel is %.2f times as "
            "fast in the median, %.2f at most.",
            s.gain_count, gain, s.gains[s.gain_count - 1]);
    if (s.loss_count > 0)
        html_markup(
            h,
            " The model's first choice takes %.1f %% longer than the fastest in the median and "
            "is within 3 %% at %zu of %zu.",
            100 * loss, s.within, s.loss_count);
    if (s.gain_count > 0) html_markup(h, "</p>");
    free(s.gains);
    free(s.losses);
}

static void cell_time(struct html *h, double seconds)
{
    html_markup(h, "<td class=\"n\">");
    if (seconds > 0) report_time(h, seconds);
    html_markup(h, "</td>");
}

/* How many times as fast as the default, give or take; and the place in the ranking. */
static void cell_gain(struct html *h, const struct record *r, double ratio)
{
    html_markup(h, "<td class=\"n\">");
    if (ratio > 0 && r->default_median_s <= 0)
        html_markup(h, "is the default");
    else if (ratio > 0)
        html_markup(h, "%.2f", 1 / ratio);
    if (ratio > 0 && r->default_median_s > 0 && r->ratio_error > 0)
        html_markup(h, " \xc2\xb1%.2f", r->ratio_error / (ratio * ratio));
    html_markup(h, "</td><td class=\"n\">");
    if (r->place >= 0) html_markup(h, "%d", r->place + 1);
    html_markup(h, "</td>");
}

/* Trials have a default and a place in the ranking, rows of a bench have neither. */
static void winner_row(struct html *h, const struct report_device *d, const struct report_point *p,
                       const struct report_roofs *roofs, int has_defaults)
{
    const struct record *r = &d->all->items[p->best];
    const double share = report_share(r, roofs);
    html_markup(h, "<tr><td>");
    html_text(h, r->request);
    html_markup(h, "</td><td class=\"n\">%d\xc3\x97%d</td><td class=\"n\">%d</td>", r->N, r->K,
                r->M);
    if (has_defaults) cell_time(h, r->default_median_s > 0 ? r->default_median_s : r->median_s);
    cell_time(h, r->median_s);
    html_markup(h, "<td class=\"n\">");
    if (r->low_s > 0 && r->high_s > 0)
        html_markup(h, "\xc2\xb1%.1f %%", 50 * (r->high_s - r->low_s) / r->median_s);
    html_markup(h, "</td>");
    if (has_defaults) cell_gain(h, r, p->best_ratio);
    if (*roofs->source) html_markup(h, "<td class=\"n\">");
    if (share > 0) html_markup(h, "%.0f %%", 100 * share);
    html_markup(h, *roofs->source ? "</td><td>" : "<td>");
    html_textf(h, "%s %s", *r->template_ ? r->template_ : r->what, r->tune);
    html_markup(h, "</td></tr>");
}

void report_winners(struct html *h, const struct report_device *d, const struct report_points *p,
                    const struct report_roofs *roofs)
{
    int has_defaults = 0;
    for (size_t i = 0; i < p->count; i++) has_defaults |= p->items[i].best_ratio > 0;
    html_markup(h, "<h3>Fastest kernels</h3>");
    sum_up(h, p);
    html_markup(
        h,
        "<div class=\"scroll\"><table><thead><tr><th>request</th><th class=\"n\">N\xc3\x97K</th>"
        "<th class=\"n\">rows</th>%s<th class=\"n\">fastest</th><th class=\"n\">spread</th>%s"
        "%s<th>kernel</th></tr></thead><tbody>",
        has_defaults ? "<th class=\"n\">default</th>" : "",
        has_defaults ? "<th class=\"n\">times as fast</th><th class=\"n\">ranked</th>" : "",
        *roofs->source ? "<th class=\"n\">of ceiling</th>" : "");
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].best != SIZE_MAX) winner_row(h, d, &p->items[i], roofs, has_defaults);
    html_markup(h, "</tbody></table></div>");
}

/* ---- failures ---- */

void report_failures(struct html *h, const struct report_device *d)
{
    size_t failed = 0;
    for (size_t i = 0; i < d->count; i++)
        failed += strcmp(d->all->items[d->records[i]].outcome, "measured") != 0;
    if (failed == 0) return;
    html_markup(
        h,
        "<details><summary>%zu trials that gave no time</summary><div class=\"scroll\"><table>"
        "<thead><tr><th>outcome</th><th>request</th><th>kernel</th><th>what was seen</th></tr>"
        "</thead><tbody>",
        failed);
    for (size_t i = 0; i < d->count; i++) {
        const struct record *r = &d->all->items[d->records[i]];
        if (strcmp(r->outcome, "measured") == 0) continue;
        html_markup(h, "<tr><td>");
        html_text(h, r->outcome);
        html_markup(h, "</td><td>");
        html_text(h, r->request);
        html_markup(h, "</td><td>");
        html_textf(h, "%s %s", r->template_, r->tune);
        html_markup(h, "</td><td>");
        html_text(h, r->text);
        html_markup(h, "</td></tr>");
    }
    html_markup(h, "</tbody></table></div></details>");
}
