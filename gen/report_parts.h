/* report_parts.h -- what the sections of a report share */
#ifndef QGEN_REPORT_PARTS_H
#define QGEN_REPORT_PARTS_H

#include "report.h"

/* What was measured on one device: indices of records, in the files' order. */
struct report_device {
    const struct records *all;
    const struct gpu *gpu; /* of the table; NULL: not in it */
    char name[RECORD_NAME_BYTES];
    size_t *records, count;
};

/* A request at a shape and rows: the records of it, and the best of them. */
struct report_point {
    size_t first, count; /* in report_points.order */
    size_t trials;       /* the first of them; the others are rows of a bench */
    size_t best;         /* index of a record; SIZE_MAX: none was measured */
    double best_ratio;   /* of it, over the default's time; 0: there is no default */
    double first_ratio;  /* of the first of the model's ranking; 0: not measured */
};

/* Points sorted by request, N, K, M; order: indices of records, a point's together, trials
 * before rows of a bench, then in files' order. */
struct report_points {
    struct report_point *items;
    size_t count, *order;
};

/* QRT_E_MEMORY; free with report_points_free(). */
qrt_status report_points_make(const struct report_device *d, struct report_points *out);
void report_points_free(struct report_points *p);

/* The ceilings of a device that share a chart: bytes/s, and ops/s by name. */
enum { REPORT_ROOFS_MOST = 6 };
struct report_roofs {
    double bytes_s;
    struct {
        char name[32];
        double ops_s;
    } ops[REPORT_ROOFS_MOST];
    int count;
    char source[RECORD_TEXT_BYTES]; /* "" when there are none */
};
void report_roofs_find(const struct report_device *d, struct report_roofs *out);

/* Time of a measured trial over the default's: as pairs of both said, so that a machine that slows down
 * meanwhile does not matter; alone, it is the default.  0: not a trial, or without a time. */
double report_ratio(const struct record *r);

/* Share of the ceiling that a record reaches; 0: not known. */
double report_share(const struct record *r, const struct report_roofs *roofs);

void report_roofline(struct html *h, const struct report_device *d, const struct report_points *p,
                     const struct report_roofs *roofs);
void report_tuning(struct html *h, const struct report_device *d, const struct report_points *p);
void report_winners(struct html *h, const struct report_device *d, const struct report_points *p,
                    const struct report_roofs *roofs);
void report_failures(struct html *h, const struct report_device *d);
void report_checks(struct html *h, const struct records *r);
void report_files(struct html *h, const struct records *r);

/* Seconds for people: "12.3 us", "4.56 ms". */
void report_time(struct html *h, double seconds);

#endif
