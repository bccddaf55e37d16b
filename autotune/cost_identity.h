/* cost_identity.h -- what the cost model says of a few fixed kernels: other figures, another model
 *
 * Why: winners chosen by a model are stale when it changes, and nobody has to remember a version.
 */
#ifndef QGEN_COST_IDENTITY_H
#define QGEN_COST_IDENTITY_H

#include "cost.h"

enum { COST_IDENTITY_BYTES = 512 };

/* Figures of four digits, so that a last bit of another libm does not count. */
void cost_identity(const struct gpu *g, const struct arch *a, char out[COST_IDENTITY_BYTES]);

#endif
