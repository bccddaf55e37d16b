/* bundle_file.h -- a bundle as commands see it: whole in memory, to be told about, signed, cut
 *
 * The runtime reads pieces of a bundle and changes nothing; here is what makers of bundles do.
 * Nothing here runs or loads a kernel, so a file whose signer nobody knows may be looked at.
 * Owns: struct bundle_file its bytes and what is opened over them; bundle_file_close().
 */
#ifndef QGEN_BUNDLE_FILE_H
#define QGEN_BUNDLE_FILE_H

#include <jansson.h>

#include "bundle.h"
#include "sign.h"

#define BUNDLE_FILE_MAX_BYTES ((size_t)4 << 30)
enum { BUNDLE_FILE_HASH_CHARS = 64 };

struct bundle_file {
    uint8_t *bytes;
    size_t count, head_bytes;
    qrt *rt;
    qrt_bundle *bundle; /* over the bytes */
    qrt_bundle_info info;
};

/* Who has to vouch for a bundle that kernels will be run from. */
struct bundle_trust {
    const char *key;      /* path of a public key, or its line of base64; NULL: none */
    int is_said;          /* --trust: the caller vouches */
    uint64_t min_counter; /* older releases are refused */
};

/* Open as the runtime does.  QRT_E_TRUST: neither a key nor a word. */
qrt_status bundle_file_open_trusted(qrt *rt, const char *path, const struct bundle_trust *trust,
                                    qrt_bundle **out);

/* Read whole, and check start, head and tables; no signature. */
qrt_status bundle_file_read(const char *path, struct bundle_file *out);
/* The same over bytes of malloc, which it takes, also on failure. */
qrt_status bundle_file_adopt(void *bytes, size_t count, struct bundle_file *out);
void bundle_file_close(struct bundle_file *f);

/* The signature's text, NUL-terminated; "" when there is none. */
void bundle_file_signature(const struct bundle_file *f, char out[BUNDLE_SIGNATURE_BYTES + 1]);
/* The id of the key that is said to have signed; "": nobody, "?": the text is no signature. */
void bundle_file_signer(const struct bundle_file *f, char out[MINISIGN_ID_CHARS + 1]);

/* Put a signature into the bytes: one of `key`'s, or a text that was made elsewhere.  QRT_E_TRUST: the
 * text is no signature of minisign's. */
qrt_status bundle_file_sign(struct bundle_file *f, const struct sign_key *key);
qrt_status bundle_file_attach(struct bundle_file *f, const char *text, size_t bytes);

/* Whether the key signed, and every part of every kernel has the hash that the head gives. */
qrt_status bundle_file_verify(const struct bundle_file *f, const struct bundle_trust *trust);

/* BLAKE2b-256 of the file: what `b2sum -l 256` prints. */
void bundle_file_hash(const struct bundle_file *f, char out[BUNDLE_FILE_HASH_CHARS + 1]);

/* Bytes of an arch's kernels in the file, and unpacked, by part. */
struct bundle_sizes {
    uint64_t stored[ENTRY_PART_COUNT], plain[ENTRY_PART_COUNT];
};
struct bundle_sizes bundle_file_sizes(const struct bundle_file *f, const struct bundle_arch *arch);

/* name, version, counter, kernels, winners, bytes, archs[] {arch, kernels, bytes, plain_bytes,
 * image_bytes, ptx_bytes, source_bytes}, signed_by, hash: a new object. */
json_t *bundle_file_json(const struct bundle_file *f);

#endif
