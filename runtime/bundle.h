/* bundle.h -- kernels and winners in one read-only, hashed and signed file (.qk): reading it
 *
 *   0    magic "QKBUNDL1"                                 8
 *   8    version u32, zero u32                            8
 *   16   head bytes u64 (from byte 0), total bytes u64   16
 *   32   ---- the rest of the head: tables, read only after it is trusted ----
 *        name, version, counter; archs; kernels {launch record, key, hash, place}; winners; names
 *   ..   BLAKE2b-256 of the head before this hash        32     (ends the head)
 *   ..   room for a signature: text, zero-padded       1024     (minisign's format, over the head)
 *   ..   data: a run for each arch, of parts of kernels, each hashed in the head, LZ4 block or plain
 * Little-endian; fields as on x86-64.
 *
 * Order of trust: sizes in the first 32 bytes, the head's hash, then the verify hook over the head
 * (or QRT_TRUST_CALLER), and only then are its tables parsed; a part of a kernel is read when the
 * kernel is wanted, hashed as stored, and only then unpacked and handed to a loader.
 * Owns: struct qrt_bundle the head, and the file or a borrowed block.
 * Threads: immutable after opening; any.
 */
#ifndef QRT_BUNDLE_H
#define QRT_BUNDLE_H

#include "entry.h"

enum { BUNDLE_SIGNATURE_BYTES = 1024, BUNDLE_NAME_BYTES = 64, BUNDLE_MAX_KERNELS = 65536 };

#endif
