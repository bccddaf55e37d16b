/* coverage.h -- whether a bundle has the kernels that requests ask for, without a device
 *
 * A request is covered when each of its rows has a kernel for the same op whose arch runs on the
 * request's (arch_runs_on(): sm_80's run on sm_86, x86-64-v3's on v4).
 */
#ifndef QGEN_COVERAGE_H
#define QGEN_COVERAGE_H

#include "bundle.h"
#include "request_set.h"

/* Rows m_lo .. m_hi of a request, without a kernel. */
struct coverage_gap {
    const struct request *request;
    int m_lo, m_hi;
};

/* The request's first gap; 0: there is none. */
int coverage_gap(const qrt_bundle *bundle, const struct request *request, struct coverage_gap *out);

#endif
