/* explain.h -- a ranking in words and numbers: what was tried, what won, and why */
#ifndef QGEN_EXPLAIN_H
#define QGEN_EXPLAIN_H

#include <jansson.h>

#include "ranking.h"

/* On stdout. */
void explain_print(const struct ranking *r);

/* {request, arch, gpu, candidates, refused, winners: [{shape, m, tune, why, second ..}]} */
json_t *explain_json(const struct ranking *r);

/* "4096x4096", "any"; "17..32", "129..". */
enum { EXPLAIN_NAME_BYTES = 32 };
void explain_shape(int N, int K, char out[EXPLAIN_NAME_BYTES]);
void explain_rows(int m_lo, int m_hi, char out[EXPLAIN_NAME_BYTES]);

#endif
