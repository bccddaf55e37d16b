/* lz4.h -- unpacking of one LZ4 block, from bytes that nobody vouches for
 *
 * A block is a list of sequences (LZ4 block format, 1.5+):
 *   token: literals 4 bits, match - 4 4 bits | more length: 255 .. | literals | distance u16 | more
 * The last sequence ends behind its literals.  A length of 15 in the token goes on in bytes that
 * are added up, until one is not 255.
 */
#ifndef QRT_LZ4_H
#define QRT_LZ4_H

#include <stddef.h>

#include "qrt.h"

/* No block unpacks to more than so many times its size. */
enum { LZ4_MAX_RATIO = 255 };

/* Unpack all of `from` into exactly `to_bytes` bytes; from and to do not overlap.  QRT_E_FORMAT: it is
 * no block, or of another size; `to` then holds anything. */
qrt_status lz4_unpack(const void *from, size_t from_bytes, void *to, size_t to_bytes);

#endif
