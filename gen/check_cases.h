/* check_cases.h -- the shapes and inputs that each op is checked with */
#ifndef QGEN_CHECK_CASES_H
#define QGEN_CHECK_CASES_H

#include "trial.h"

/* What varies within the cases of an op. */
struct check_case {
    int M;
    int shape; /* index into the op's shapes */
    int exact;
    int split; /* linear */
    uint64_t seed;
};

int check_shape_count(const struct op_desc *d);
/* Whether the op has inputs that leave nothing to rounding. */
int check_has_exact(const struct op_desc *d);

/* Build the trial of a case: buffers filled, arguments set.  The weights are packed for `family`. */
qrt_status check_build(const struct op_desc *d, const struct check_case *c,
                       enum layout_family family, struct trial *t);

#endif
