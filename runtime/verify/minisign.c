/* minisign.c -- keys and signatures in minisign's text format: parsing and checking them */
#include "minisign.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char untrusted[] = "untrusted comment: ", trusted[] = "trusted comment: ";

/* What base64 holds: an algorithm, the key's id, and the key or signature. */
struct coded_key {
    uint8_t algorithm[2], id[MINISIGN_ID_BYTES], key[MINISIGN_KEY_BYTES];
};
struct coded_signature {
    uint8_t algorithm[2], id[MINISIGN_ID_BYTES], signature[MINISIGN_SIGNATURE_BYTES];
};

__attribute__((format(printf, 3, 4))) static int refuse(char *why, size_t why_bytes,
                                                        const char *format, ...)
{
    va_list arguments;
    if (!why || why_bytes == 0) return 1;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return 1;
}

/* ---- ids ---- */

void minisign_id_text(const uint8_t id[MINISIGN_ID_BYTES], char out[MINISIGN_ID_CHARS + 1])
{
    for (int i = 0; i < MINISIGN_ID_BYTES; i++) /* a little-endian number */
        snprintf(out + 2 * i, 3, "%02X", id[MINISIGN_ID_BYTES - 1 - i]);
}

int minisign_parse_id(const char *text, uint8_t id[MINISIGN_ID_BYTES])
{
    uint8_t bytes[MINISIGN_ID_BYTES];
    size_t count;
    const char *end;
    if (strlen(text) != MINISIGN_ID_CHARS ||
        sodium_hex2bin(bytes, sizeof bytes, text, MINISIGN_ID_CHARS, NULL, &count, &end) != 0 ||
        count != sizeof bytes)
        return 1;
    for (int i = 0; i < MINISIGN_ID_BYTES; i++) id[i] = bytes[MINISIGN_ID_BYTES - 1 - i];
    return 0;
}

/* ---- lines ---- */

static int is_plain(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return 0;
    return 1;
}

int minisign_split(const char *text, size_t bytes, int count, int open_end,
                   struct minisign_line lines[MINISIGN_LINES])
{
    const char *at = text, *const end = text + bytes;
    for (int i = 0; i < count; i++) {
        const char *newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        const int may_lack = open_end && i == count - 1;
        if (!newline && !may_lack) return i + 1;
        lines[i] = (struct minisign_line){at, (size_t)((newline ? newline : end) - at)};
        if (!is_plain(lines[i].text, lines[i].bytes)) return i + 1;
        at = newline ? newline + 1 : end;
    }
    return at == end ? 0 : count + 1;
}

/* libsodium 1.0.18 reads every byte from 0x80 on as '/'. */
static int is_ascii(const struct minisign_line *line)
{
    for (size_t i = 0; i < line->bytes; i++)
        if ((unsigned char)line->text[i] >= 0x80) return 0;
    return 1;
}

int minisign_decode(const struct minisign_line *line, uint8_t *out, size_t bytes)
{
    size_t count = 0;
    return !is_ascii(line) ||
           sodium_base642bin(out, bytes, line->text, line->bytes, NULL, &count, NULL,
                             sodium_base64_VARIANT_ORIGINAL) != 0 ||
           count != bytes;
}

static int has_prefix(const struct minisign_line *line, const char *prefix)
{
    return line->bytes >= strlen(prefix) && memcmp(line->text, prefix, strlen(prefix)) == 0;
}

/* ---- keys ---- */

static int decode_key(const struct minisign_line *line, int number, struct minisign_key *out,
                      char *why, size_t why_bytes)
{
    struct coded_key coded;
    char id[MINISIGN_ID_CHARS + 1];
    if (minisign_decode(line, (uint8_t *)&coded, sizeof coded))
        return refuse(why, why_bytes, "public key: malformed line %d: not base64 of %zu bytes",
                      number, sizeof coded);
    if (memcmp(coded.algorithm, "Ed", 2) != 0)
        return refuse(why, why_bytes, "public key: malformed line %d: not an Ed25519 key", number);
    minisign_id_text(coded.id, id);
    if (!crypto_core_ed25519_is_valid_point(coded.key))
        return refuse(why, why_bytes, "public key %s is no point of prime order", id);
    memcpy(out->id, coded.id, sizeof out->id);
    memcpy(out->key, coded.key, sizeof out->key);
    return 0;
}

int minisign_parse_key(const char *text, size_t bytes, struct minisign_key *out, char *why,
                       size_t why_bytes)
{
    struct minisign_line lines[MINISIGN_LINES];
    const int is_file = bytes >= strlen(untrusted) && !memcmp(text, untrusted, strlen(untrusted));
    const int count = is_file ? 2 : 1;
    const int bad = minisign_split(text, bytes, count, 1, lines);
    if (bad) return refuse(why, why_bytes, "public key: malformed line %d", bad);
    return decode_key(&lines[count - 1], count, out, why, why_bytes);
}

/* ---- signatures ---- */

static int malformed(int line, const char *problem, char *why, size_t why_bytes)
{
    return refuse(why, why_bytes, "signature: malformed line %d: %s", line, problem);
}

static int decode_signature(const struct minisign_line *line, struct minisign_signature *out,
                            char *why, size_t why_bytes)
{
    struct coded_signature coded;
    char id[MINISIGN_ID_CHARS + 1];
    if (minisign_decode(line, (uint8_t *)&coded, sizeof coded))
        return malformed(2, "not base64 of 74 bytes", why, why_bytes);
    minisign_id_text(coded.id, id);
    if (memcmp(coded.algorithm, "Ed", 2) == 0)
        return refuse(why, why_bytes,
                      "signature by key %s has minisign's legacy form, which does not hash; sign "
                      "again without -l",
                      id);
    if (memcmp(coded.algorithm, "ED", 2) != 0)
        return malformed(2, "its algorithm is not ED", why, why_bytes);
    memcpy(out->id, coded.id, sizeof out->id);
    memcpy(out->signature, coded.signature, sizeof out->signature);
    return 0;
}

int minisign_parse_signature(const char *text, size_t bytes, struct minisign_signature *out,
                             char *why, size_t why_bytes)
{
    struct minisign_line lines[MINISIGN_LINES];
    if (bytes > MINISIGN_TEXT_BYTES)
        return refuse(why, why_bytes, "signature: %zu bytes, at most %d are allowed", bytes,
                      MINISIGN_TEXT_BYTES);
    const int bad = minisign_split(text, bytes, MINISIGN_LINES, 0, lines);
    if (bad > MINISIGN_LINES) return malformed(bad, "four lines are the whole", why, why_bytes);
    if (bad) return malformed(bad, "cut off, or a control character", why, why_bytes);
    if (!has_prefix(&lines[0], untrusted))
        return malformed(1, "no untrusted comment", why, why_bytes);
    if (!has_prefix(&lines[2], trusted)) return malformed(3, "no trusted comment", why, why_bytes);
    if (decode_signature(&lines[1], out, why, why_bytes)) return 1;
    if (minisign_decode(&lines[3], out->global, sizeof out->global))
        return malformed(4, "not base64 of 64 bytes", why, why_bytes);
    out->comment =
        (struct minisign_line){lines[2].text + strlen(trusted), lines[2].bytes - strlen(trusted)};
    return 0;
}

int minisign_check(const struct minisign_signature *signature, const struct minisign_key *key,
                   const void *data, size_t bytes, char *why, size_t why_bytes)
{
    uint8_t hash[MINISIGN_HASH_BYTES];
    uint8_t covered[MINISIGN_SIGNATURE_BYTES + MINISIGN_TEXT_BYTES];
    char id[MINISIGN_ID_CHARS + 1];
    minisign_id_text(signature->id, id);
    crypto_generichash(hash, sizeof hash, data, bytes, NULL, 0);
    if (crypto_sign_verify_detached(signature->signature, hash, sizeof hash, key->key) != 0)
        return refuse(why, why_bytes, "bad signature: key %s did not sign these %zu bytes", id,
                      bytes);
    memcpy(covered, signature->signature, MINISIGN_SIGNATURE_BYTES);
    memcpy(covered + MINISIGN_SIGNATURE_BYTES, signature->comment.text, signature->comment.bytes);
    if (crypto_sign_verify_detached(signature->global, covered,
                                    MINISIGN_SIGNATURE_BYTES + signature->comment.bytes,
                                    key->key) != 0)
        return refuse(why, why_bytes,
                      "bad comment signature: key %s did not sign this trusted comment", id);
    return 0;
}
