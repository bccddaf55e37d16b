/* bundle_write.h -- kernels and winners become one file: the bytes of a bundle (runtime/bundle.h)
 *
 * Reproducible: kernels are ordered by arch, request, rows and key, winners by their fields; there
 * is no date, host or path in it.  The same kernels and winners in any order, and any of them more
 * than once, give the same bytes with the same liblz4.
 */
#ifndef QGEN_BUNDLE_WRITE_H
#define QGEN_BUNDLE_WRITE_H

#include "bundle.h"
#include "entry.h"

struct bundle_write_options {
    const char *name, *version; /* of the release; [a-z0-9._-]{1,63}, no dot in front */
    uint64_t counter;           /* rises with every release: older ones can be refused */
    int with_ptx;               /* keep PTX beside cubins: larger, runs on the virtual GPU too */
    int with_source;
};

/* A winner by the place of its kernel in `entries`. */
struct bundle_write_winner {
    uint32_t entry;
    int32_t N, K, m_lo, m_hi; /* N, K 0, 0: of any shape */
    const char *device; /* "" or NULL: any of the arch; a name as bundle_device_name() makes it */
};

/* Unsigned, the signature's room empty; free() *bytes.  QRT_E_LIMIT names what is over a limit,
 * QRT_E_ARGUMENT a name that is none or a winner without its kernel. */
qrt_status bundle_write(const struct bundle_write_options *options, const struct entry *entries,
                        size_t entry_count, const struct bundle_write_winner *winners,
                        size_t winner_count, void **bytes, size_t *count);

/* Put a signature over the first bundle_head_bytes() into a bundle's room for it, replacing one; 0
 * bytes of text take it out.  QRT_E_LIMIT: longer than BUNDLE_SIGNATURE_MAX, or with a zero byte. */
qrt_status bundle_set_signature(void *bytes, size_t count, const char *text, size_t text_bytes);

#endif
