/* qrt_verify.h -- the whole interface of libqrt_verify: bundles signed by keys that you trust
 *
 * A ready hook for qrt_bundle_options (qrt.h), on libsodium.  A library of its own, so that libqrt
 * depends on nothing; it in turn needs qrt.h but not libqrt.
 *
 *     qrt_verifier *v;    qrt_verify_open(&v);
 *     qrt_verify_trust_key(v, "RWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX", why, n);
 *     qrt_bundle_options how = {.size = sizeof how, .verify = qrt_verify_signature, .verify_user = v};
 *     qrt_bundle_open(rt, "kernels.qk", &how, &bundle);
 *     qrt_verify_close(v);                 (any time after the bundle is open)
 *
 * Signatures are minisign's, prehashed form only (Ed25519 over BLAKE2b-512): `qgen bundle --sign`
 * and the stock `minisign` tool make them.
 * Rotation: trust the new key beside the old one, ship bundles signed by the new one, then revoke
 * the old one by its id.
 * Errors: functions return 0, or 1 with a sentence in `why` (NUL-terminated within why_bytes; NULL
 * and 0 are allowed).  Nothing here aborts, exits or prints.
 * Threads: a verifier that nobody changes may check in any number of threads.
 * Ownership: qrt_verify_close() frees it; texts are copied.
 */
#ifndef QRT_VERIFY_H
#define QRT_VERIFY_H

#include "qrt.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qrt_verifier qrt_verifier;

/* One that trusts nobody yet.  1: out of memory, or libsodium cannot start. */
QRT_API int qrt_verify_open(qrt_verifier **out);
QRT_API void qrt_verify_close(qrt_verifier *verifier);

/* Trust a public key: the line of base64 that minisign prints, or the text of a .pub file. */
QRT_API int qrt_verify_trust_key(qrt_verifier *verifier, const char *text, char *why,
                                 size_t why_bytes);
/* Trust the key in a .pub file. */
QRT_API int qrt_verify_trust_file(qrt_verifier *verifier, const char *path, char *why,
                                  size_t why_bytes);
/* Refuse what the key with this id signed, 16 hexadecimal digits, even when it is trusted too. */
QRT_API int qrt_verify_revoke(qrt_verifier *verifier, const char *id, char *why, size_t why_bytes);

/* Of type qrt_verify: whether a trusted key signed the head.  `verifier` is a qrt_verifier. */
QRT_API int qrt_verify_signature(void *verifier, const void *head, size_t head_bytes,
                                 const char *signature, size_t signature_bytes, char *why,
                                 size_t why_bytes);

#ifdef __cplusplus
}
#endif
#endif
