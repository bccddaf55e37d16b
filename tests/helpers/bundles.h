/* bundles.h -- bundles for tests: kernels whose images are patterns, and what opens a bundle */
#ifndef TESTS_BUNDLES_H
#define TESTS_BUNDLES_H

#include "bundle_write.h"

/* A kernel `kernel` for a request and rows, with an image of `bytes` bytes that starts like an ELF and
 * is half noise, half repetition; told from others by `number`, which its key holds.  Its image stays
 * in memory. */
struct entry bundles_entry(const char *arch, const char *request, int m_lo, int m_hi,
                           unsigned number, size_t bytes);

/* Write it or fail the test; free() it.  options NULL: "test" 1.0, counter 5. */
uint8_t *bundles_write(const struct bundle_write_options *options, const struct entry *entries,
                       size_t entry_count, const struct bundle_write_winner *winners,
                       size_t winner_count, size_t *count);

/* Hash the head again after a change, as somebody who signs it would. */
void bundles_rehash(uint8_t *bytes);

/* Open as a caller who vouches, and read every part of every kernel. */
qrt_status bundles_read_all(qrt *rt, const void *bytes, size_t count);

#endif
