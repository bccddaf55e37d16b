/* bundle_check.h -- what a bundle lacks for a model or a scheme, and the command that makes it
 *
 * Looks at tables only: no device, no compiler, no kernel is read.
 */
#ifndef QGEN_BUNDLE_CHECK_H
#define QGEN_BUNDLE_CHECK_H

#include "asked.h"
#include "bundle_file.h"

/* Print for each arch (those of the bundle, when `what` names none) how many requests `what` comes to
 * and which are not covered.  QRT_E_KERNEL when there are such. */
qrt_status bundle_check(const struct bundle_file *f, const char *path,
                        const struct asked_options *what, int threads, int json);

#endif
