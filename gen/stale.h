/* stale.h -- winners that are for other templates or another compiler than this program has
 *
 * They are passed over when kernels are chosen (decide.h); here they are only counted, by their
 * signatures, for whoever asks what a table is worth.
 */
#ifndef QGEN_STALE_H
#define QGEN_STALE_H

#include "pipeline.h"
#include "winners.h"

struct stale {
    size_t rows;     /* stale ones */
    size_t unjudged; /* of archs whose compiler is not here */
    char why[64];    /* of the first stale one: "templates", "compiler", "templates, compiler" */
};

qrt_status stale_count(struct pipeline *p, const struct winners *w, struct stale *out);

#endif
