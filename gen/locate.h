/* locate.h -- the template line that an instruction of a kernel's PTX came from
 *
 * Why: the PTX that ships has no line table, because one would change and triple it.  When something
 * is found in a kernel, its template is rendered and compiled once more with a table; the n-th
 * statement of the one PTX is the n-th of the other.
 * Owns: compiler, templates, and the last kernel's tables.  Threads: one at a time.
 */
#ifndef QGEN_LOCATE_H
#define QGEN_LOCATE_H

#include "entry.h"

enum { LOCATE_BYTES = 128 };

struct locator;

qrt_status locate_open(struct locator **out); /* QRT_E_COMPILE without NVRTC */
void locate_close(struct locator *l);         /* NULL is allowed */

/* "templates/cuda/gemm.cu.in:95" or "mma_weight.cuh:210" for line `ptx_line` of the entry's PTX.
 * QRT_E_TEMPLATE when today's templates do not make this kernel. */
qrt_status locate_line(struct locator *l, const struct entry *e, int ptx_line,
                       char out[LOCATE_BYTES]);

#endif
