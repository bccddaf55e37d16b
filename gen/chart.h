/* chart.h -- axes and grids of charts in SVG
 *
 * Colours and fonts are the page's style (classes grid, tick, title), so that a chart follows light
 * and dark.
 */
#ifndef QGEN_CHART_H
#define QGEN_CHART_H

#include "html.h"

struct chart_axis {
    double lo, hi; /* values at its ends; logarithmic ones above 0 */
    int is_log;
    double from, to; /* pixels of lo and hi */
    const char *title;
    const char *suffix; /* behind the label of a tick, "x" */
};

struct chart {
    double width, height; /* of the picture, pixels at its natural size */
    struct chart_axis x, y;
};

/* Open <svg>, named for those who cannot see it, with grid, ticks and titles of the axes. */
void chart_open(struct html *h, const struct chart *c, const char *class, const char *label);
void chart_close(struct html *h);

/* Pixel of a value; values beyond the ends lie on them. */
double chart_at(const struct chart_axis *a, double value);

/* Widen [*lo, *hi] to whole decades. */
void chart_decades(double *lo, double *hi);

/* "12.5 T", "640 G", "3.2". */
void chart_number(double value, char out[24]);

#endif
