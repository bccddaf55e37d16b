/* bundle_make.h -- from requests to the bytes of a bundle: kernels by the pipeline, written as one file
 *
 * The same requests, compilers and options give the same bytes, wherever and however many compilers
 * run at a time.
 */
#ifndef QGEN_BUNDLE_MAKE_H
#define QGEN_BUNDLE_MAKE_H

#include "asked.h"
#include "bundle_file.h"
#include "bundle_write.h"

/* Make and write; *out is unsigned.  *compiled: kernels that were not in the store. */
qrt_status bundle_make(const struct asked *asked, const struct pipeline_options *how,
                       const struct bundle_write_options *about, struct bundle_file *out,
                       size_t *compiled);

/* The kernels of some archs of a bundle, and their winners, as a bundle of its own: same name, version
 * and counter, unsigned.  QRT_E_ARCH: it has none for one of them. */
qrt_status bundle_cut(const struct bundle_file *from, const struct arch *const *archs, size_t count,
                      struct bundle_file *out);

#endif
