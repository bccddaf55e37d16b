/* coverage.h -- which of the kernels that a model needs are there, and the command that makes the rest */
#ifndef QGEN_COVERAGE_H
#define QGEN_COVERAGE_H

#include "planner.h"

enum { COVERAGE_COMMAND_BYTES = 160, COVERAGE_MISSING_MOST = 64 };

struct coverage {
    int wanted,
        stored;   /* requests of a layer, those with a kernel in the store for all their rows */
    int winners;  /* linears whose kernel was chosen for rows, by model or measurement */
    int measured; /* .. by a measurement on this GPU */
    char missing[COVERAGE_MISSING_MOST][OP_NAME_BYTES]; /* the first of them */
    int missing_count;
    char command[COVERAGE_COMMAND_BYTES]; /* "": nothing is missing */
};

/* Of a model with a scheme on a GPU, rows 1 to m_hi.  A scheme that is "file" or has no kernels gives
 * 0 wanted. */
qrt_status coverage_count(const struct plan_model *m, const struct plan_scheme *s,
                          const struct gpu *gpu, int m_hi, struct coverage *out);

#endif
