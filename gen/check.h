/* check.h -- whether a kernel computes what ref computes
 *
 * Why: no kernel is timed, stored or shipped before it agrees with the plain-loop definition of its
 * op.  A kernel runs over a grid of shapes (odd N, tails of K, groups that do not divide K, both ends
 * of its range of M and what lies around the edges of tiles, rows longer than their data) with two
 * kinds of input:
 *   exact    numbers whose products and sums are representable: results must be equal in every bit
 *   random   results must lie within the bound of check_bound(); codes must be right by the rule of
 *            check_coded.h; and a row must come out in the same bits at every M
 * Outputs start as NaN; every buffer lies between guard bytes, and whatever the op does not write,
 * padding and guards included, must be as it was.
 * Everything goes through the device's table (runtime/device.h), so the same cases run on any
 * device.
 */
#ifndef QGEN_CHECK_H
#define QGEN_CHECK_H

#include "device.h"

enum { CHECK_KERNEL_BYTES = 192, CHECK_TEXT_BYTES = 256 };

/* One disagreement. */
struct check_finding {
    char kernel[CHECK_KERNEL_BYTES]; /* request, arch, tune point */
    char text[CHECK_TEXT_BYTES];     /* the case and its numbers */
};

/* How near a kernel's values came to their bounds. */
struct check_kernel {
    char kernel[CHECK_KERNEL_BYTES];
    int cases, failed;            /* failed: 1 when it has findings */
    double worst;                 /* largest error over its bound; 0: every value was ref's */
    char where[CHECK_TEXT_BYTES]; /* the case of it */
};

struct check_report {
    int checked, failed, cases;   /* kernels, kernels with a finding, cases run */
    struct check_kernel *kernels; /* those that ran, in order */
    size_t kernel_count;
    struct check_finding *findings;
    size_t finding_count;
};

struct checker;

/* How much of the grid is run: cases of more than so many multiply-adds are left out.
 * Quick is meant for simulated devices; it keeps every kind of tail, but few of the larger M. */
enum check_effort { CHECK_NORMAL, CHECK_QUICK };

/* Checks kernels on `device`; both must stay open.  Opens a ref device of its own. */
qrt_status check_open(struct qrt_device *device, enum check_effort effort, struct checker **out);
void check_close(struct checker *c);

/* Called after each case with `user`; 1 with a text: what the device saw is wrong with the kernel,
 * though its results may be right.  The virtual GPU's findings come this way. */
typedef int (*check_observer)(void *user, char *text, size_t text_bytes);
void check_observe(struct checker *c, check_observer observer, void *user);

/* Load the entry's kernel, run its cases, unload it.  Findings are added to the report; a status
 * other than QRT_OK means that the device failed, not that the kernel is wrong. */
qrt_status check_entry(struct checker *c, const struct entry *e, struct check_report *report);

/* Note a kernel that failed before or beside its cases. */
qrt_status check_fail(struct check_report *report, const struct entry *e, const char *where,
                      const char *text);

/* Check ref itself and the layouts: linear and embed over matrices packed for each family, against
 * sums over the unpacked values.  One "kernel" of the report is one op, scheme and family. */
qrt_status check_ref(struct qrt_device *ref, const struct scheme *s, struct check_report *report);

/* Add a disagreement of a kernel at a case. */
qrt_status check_report_add(struct check_report *r, const char *kernel, const char *where,
                            const char *text);
void check_report_free(struct check_report *r);

/* Largest error of one output value: |got - ref| <= relative * |ref| + of_rms * (rms of all ref).
 * The numbers and their reasons are in check_bound.c. */
struct check_bound {
    double relative, of_rms;
};
struct check_bound check_bound(const struct op_desc *desc);

#endif
