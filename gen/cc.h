/* cc.h -- the system's C compiler as the compiler of x86 kernels: C in, a shared object out
 *
 * Why: a compiler of our own would be worse, and generation happens where there is one; the runtime
 * needs none.
 * The compiler ($QGEN_CC, else cc) runs in a private temporary folder with relative names, without
 * debug data, build id or random seed: equal units give equal bytes.  Multiply-adds are never
 * contracted; kernels say FMA where they mean it.  The shared object exports the kernel alone.
 * Threads: cc_compile() may be called by any number of threads.
 */
#ifndef QGEN_CC_H
#define QGEN_CC_H

#include "unit.h"

struct cc;

/* Ask the compiler for its version.  QRT_E_COMPILE when there is none. */
qrt_status cc_open(struct cc **out);
void cc_close(struct cc *c);

const char *cc_identity(const struct cc *c); /* "gcc 12.2.0 ..." without its path */
const char *cc_options(void);                /* beside -march, as one text for keys */

/* QRT_E_COMPILE: the first error, at the template's line. */
qrt_status cc_compile(const struct cc *c, const struct unit *u, struct unit_image *out);

#endif
