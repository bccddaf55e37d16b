/* bundle_make.h -- bundles of kernels that were just made, and of some archs of another bundle
 *
 * The same kernels and winners give the same bytes, in whatever order and wherever they were made.
 */
#ifndef QGEN_BUNDLE_MAKE_H
#define QGEN_BUNDLE_MAKE_H

#include "bundle_file.h"
#include "bundle_write.h"
#include "pipeline.h"

/* Kernels and winners of a result as a bundle, unsigned. */
qrt_status bundle_of(const struct pipeline_result *result, const struct bundle_write_options *about,
                     struct bundle_file *out);

/* The kernels of some archs of a bundle, and their winners, as a bundle of its own: same name, version
 * and counter, unsigned.  QRT_E_ARCH: it has none for one of them. */
qrt_status bundle_cut(const struct bundle_file *from, const struct arch *const *archs, size_t count,
                      struct bundle_file *out);

#endif
