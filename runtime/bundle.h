/* bundle.h -- kernels and winners in one read-only, hashed and signed file (.qk): reading it
 *
 *   0     struct bundle_start                          32   read first: sizes only
 *   32    struct bundle_about                         152   from here on only after it is trusted
 *   184   struct bundle_arch    [arch_count]           40   ascending names
 *   ..    struct bundle_kernel  [kernel_count]        544   by arch, request, rows, key
 *   ..    struct bundle_winner  [winner_count]         24   ascending
 *   ..    char device           [device_count][64]     64   ascending names, zero-padded
 *   H-32  BLAKE2b-256 of bytes 0 .. H-32               32   ends the head of H bytes
 *   H     signature over the head: text, zero-padded  992   all zero: not signed
 *   H+992 BLAKE2b-256 of the 992 bytes before          32
 *   ..    data: the parts of the kernels in the order of the tables, without gaps, to the end
 * Little-endian; fields as on x86-64.  A part is stored as it is (stored_bytes == plain_bytes), or as
 * one LZ4 block (fewer).  docs/bundle-format.md says the same for readers of other hands.
 *
 * Every byte is pinned: the head and the signature's room by their hashes, a part by its hash in the
 * head, the file's size by the start.
 *
 * Order of trust: sizes in the first 32 bytes, the head's hash, then the verify hook over the head
 * (or QRT_TRUST_CALLER), and only then are its tables parsed; a part of a kernel is read when the
 * kernel is wanted, hashed as stored, and only then unpacked and handed to a loader.
 * Owns: struct qrt_bundle the head, and the file or a borrowed block.
 * Errors: QRT_E_FORMAT any damage, QRT_E_TRUST nobody vouches, an older release or another name.
 * Threads: immutable after opening; any.
 */
#ifndef QRT_BUNDLE_H
#define QRT_BUNDLE_H

#include "entry.h"

enum {
    BUNDLE_VERSION = 1,
    BUNDLE_HASH_BYTES = 32,
    BUNDLE_SIGNATURE_BYTES = 1024,                                     /* its room */
    BUNDLE_SIGNATURE_MAX = BUNDLE_SIGNATURE_BYTES - BUNDLE_HASH_BYTES, /* its text */
    BUNDLE_NAME_BYTES = 64,
    BUNDLE_MAX_KERNELS = 65536,
    BUNDLE_MAX_WINNERS = 1 << 20,
    BUNDLE_MAX_HEAD_BYTES = 64 << 20, /* 65,536 kernels take 34 MiB */
};
#define BUNDLE_MAGIC "QKBUNDL1" /* 8 bytes */

struct bundle_start {
    char magic[8];
    uint32_t version, zero;
    uint64_t head_bytes, total_bytes; /* both from byte 0 */
};

struct bundle_about {
    char name[BUNDLE_NAME_BYTES], version[BUNDLE_NAME_BYTES]; /* bundle_is_name(), zero-padded */
    uint64_t counter;
    uint32_t arch_count, kernel_count, winner_count, device_count;
};

/* A run of kernels, and of data. */
struct bundle_arch {
    char name[ARCH_NAME_BYTES];
    uint32_t first_kernel, kernel_count;
    uint64_t offset, bytes;
};

struct bundle_part {
    uint64_t offset; /* of the file */
    uint32_t stored_bytes, plain_bytes;
    uint8_t hash[BUNDLE_HASH_BYTES]; /* BLAKE2b-256 of the stored bytes */
};

struct bundle_kernel {
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry_record record;
    uint32_t zero;
    struct bundle_part part[ENTRY_PART_COUNT]; /* 0 bytes: left out */
};

/* Kernel `kernel` for weights [N, K] (0, 0: of any shape) and rows m_lo .. m_hi. */
struct bundle_winner {
    uint32_t kernel;
    uint32_t device; /* 0: any of the kernel's arch; else 1 + index of a name */
    int32_t N, K, m_lo, m_hi;
};

/* What a name of a bundle, a version or a device is: letters, digits and . _ - only, 1 to 63 of them,
 * no dot in front; of the names of bundles and versions small letters only. */
int bundle_is_name(const char *text, int capitals);

/* How a device is called in a bundle: "NVIDIA H200" -> "NVIDIA_H200".  What is no letter, digit or one of
 * . _ - becomes _, in front x; of a longer name the end becomes _ and 8 digits of its hash. */
void bundle_device_name(const char *name, char out[BUNDLE_NAME_BYTES]);

/* Order of kernels of one arch, and of winners: < 0, 0, > 0. */
int bundle_kernel_order(const struct entry_record *a, const uint8_t a_key[ENTRY_KEY_BYTES],
                        const struct entry_record *b, const uint8_t b_key[ENTRY_KEY_BYTES]);
int bundle_winner_order(const struct bundle_winner *a, const struct bundle_winner *b);

/* Bytes of the head of a bundle in memory: what a signature is over.  Sizes and hash are checked. */
qrt_status bundle_head_bytes(const void *bytes, size_t count, size_t *head_bytes);

/* ---- an open one; index below the counts of bundle_about_get() ---- */

struct bundle_about bundle_about_get(const qrt_bundle *b);
struct bundle_arch bundle_arch_get(const qrt_bundle *b, uint32_t index);
struct bundle_kernel bundle_kernel_get(const qrt_bundle *b, uint32_t index);
struct bundle_winner bundle_winner_get(const qrt_bundle *b, uint32_t index);
void bundle_device_get(const qrt_bundle *b, uint32_t index, char out[BUNDLE_NAME_BYTES]);

/* Read, check and unpack a kernel's image and PTX (and its source when asked): *out points into *block,
 * which rt_free() gives back.  Damage is QRT_E_FORMAT and names the kernel. */
qrt_status bundle_read_kernel(const qrt_bundle *b, uint32_t index, int with_source,
                              struct entry *out, void **block);

#endif
