/* sign.h -- minisign's secret keys: making, reading, and signing with them
 *
 *   NAME.key   untrusted comment: TEXT
 *              base64("Ed" kdf[2] "B2" salt[32] ops u64 memory u64 {id[8] secret[64] check[32]})
 *
 *   kdf "Sc"   what is in braces is XORed with scrypt(password, salt, ops, memory); check is
 *              BLAKE2b-256 of "Ed" id secret
 *   kdf 0, 0   no password: nothing is hidden, and check, salt, ops and memory are 0
 *   secret     Ed25519 seed[32] and the public key[32] that follows from it
 *
 * The same files as the `minisign` tool has, so that either can sign and the other verify.
 * Signing has no random number in it: the same head, key and comment give the same text.
 * Owns: struct sign_key holds a secret; sign_key_wipe() when done.
 */
#ifndef QGEN_SIGN_H
#define QGEN_SIGN_H

#include "minisign.h"
#include "qrt.h"

enum { SIGN_SECRET_BYTES = 64, SIGN_PASSWORD_BYTES = 1024 };

struct sign_key {
    uint8_t id[MINISIGN_ID_BYTES];
    uint8_t secret[SIGN_SECRET_BYTES];
};

/* Where passwords come from: fills `out` with one; asked only when a key needs it. */
struct sign_password {
    qrt_status (*ask)(void *user, const char *what, char out[SIGN_PASSWORD_BYTES]);
    void *user;
};

/* How hard a password is to guess: of new keys only.  Zeros: 1 GiB of memory and a few seconds, as
 * the minisign tool has it. */
struct sign_effort {
    uint64_t operations, memory_bytes;
};

qrt_status sign_key_read(const char *path, const struct sign_password *password,
                         struct sign_key *out);
void sign_key_wipe(struct sign_key *key);

/* A new pair: NAME.key (mode 0600) and NAME.pub.  Neither may exist.  password NULL: unprotected. */
qrt_status sign_key_make(const char *name, const struct sign_password *password,
                         const struct sign_effort *effort, struct sign_key *out);

/* The line of base64 that stands for a key's public half. */
enum { SIGN_PUBLIC_CHARS = 56 };
void sign_key_public(const struct sign_key *key, char out[SIGN_PUBLIC_CHARS + 1]);

/* Sign bytes: the text of a signature, NUL-terminated; *text_bytes without the NUL.  QRT_E_LIMIT:
 * the comment is too long. */
qrt_status sign_bytes(const struct sign_key *key, const void *data, size_t bytes,
                      const char *comment, char text[MINISIGN_TEXT_BYTES + 1], size_t *text_bytes);

#endif
