/* minisign.h -- keys and signatures in minisign's text format: parsing and checking them
 *
 *   public key                          a signature
 *     untrusted comment: TEXT             untrusted comment: TEXT
 *     base64("Ed" id[8] key[32])          base64("ED" id[8] signature[64])
 *                                         trusted comment: TEXT
 *                                         base64(global[64])
 *
 *   signature   Ed25519 by `key` over BLAKE2b-512 of the signed bytes
 *   global      Ed25519 by `key` over signature || TEXT of the trusted comment
 *
 * Why strict: what a parser forgives, somebody can change.  Lines end with one newline, base64 is
 * canonical, nothing follows the last line.  The untrusted comment alone is covered by nothing, and
 * nothing is done with it.  minisign's older form ("Ed" in a signature) signs the bytes without a
 * hash; it is refused, as one key must not give two meanings to the same bytes.
 * Errors: functions return 0, or 1 with a sentence in `why` (at most why_bytes, NUL-terminated).
 */
#ifndef QRT_VERIFY_MINISIGN_H
#define QRT_VERIFY_MINISIGN_H

#include <stddef.h>
#include <stdint.h>

enum {
    MINISIGN_ID_BYTES = 8,
    MINISIGN_ID_CHARS = 16, /* hexadecimal, as the minisign tool prints it */
    MINISIGN_KEY_BYTES = 32,
    MINISIGN_SIGNATURE_BYTES = 64,
    MINISIGN_HASH_BYTES = 64,
    MINISIGN_TEXT_BYTES = 1024, /* of a signature or a key */
    MINISIGN_LINES = 4,
};

struct minisign_key {
    uint8_t id[MINISIGN_ID_BYTES];
    uint8_t key[MINISIGN_KEY_BYTES];
};

struct minisign_line {
    const char *text; /* without its newline */
    size_t bytes;
};

struct minisign_signature {
    uint8_t id[MINISIGN_ID_BYTES];
    uint8_t signature[MINISIGN_SIGNATURE_BYTES], global[MINISIGN_SIGNATURE_BYTES];
    struct minisign_line comment; /* the trusted one, a piece of the text that was parsed */
};

/* A public key: the two lines of a .pub file, or the second one alone.  Refuses points that sign
 * anything (of small order, not canonical). */
int minisign_parse_key(const char *text, size_t bytes, struct minisign_key *out, char *why,
                       size_t why_bytes);

int minisign_parse_signature(const char *text, size_t bytes, struct minisign_signature *out,
                             char *why, size_t why_bytes);

/* Whether `key` made the signature over data, and over the trusted comment. */
int minisign_check(const struct minisign_signature *signature, const struct minisign_key *key,
                   const void *data, size_t bytes, char *why, size_t why_bytes);

/* "DEAE656AE889C074" for an id, and back; minisign_parse_id() returns 0, or 1 for other text. */
void minisign_id_text(const uint8_t id[MINISIGN_ID_BYTES], char out[MINISIGN_ID_CHARS + 1]);
int minisign_parse_id(const char *text, uint8_t id[MINISIGN_ID_BYTES]);

/* ---- what readers of secret keys share ---- */

/* Cut text of exactly `count` lines, each ended by a newline (the last one may lack it when
 * `open_end` is set), without control characters.  Returns the number of the first bad line, 0: none. */
int minisign_split(const char *text, size_t bytes, int count, int open_end,
                   struct minisign_line lines[MINISIGN_LINES]);

/* Decode canonical base64 of exactly `bytes` bytes; 0, or 1 when it is not that. */
int minisign_decode(const struct minisign_line *line, uint8_t *out, size_t bytes);

#endif
