/* sign.c -- minisign's secret keys: making, reading, and signing with them */
#include "sign.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "file.h"

enum { SALT_BYTES = 32, CHECK_BYTES = 32, SEED_BYTES = 32, NAME_BYTES = 4096 };

/* What a password hides. */
struct hidden {
    uint8_t id[MINISIGN_ID_BYTES], secret[SIGN_SECRET_BYTES], check[CHECK_BYTES];
};

/* What base64 in a key file holds. */
struct coded_secret {
    uint8_t algorithm[2], kdf[2], checksum[2], salt[SALT_BYTES], operations[8], memory[8];
    struct hidden hidden;
};

static const struct sign_effort default_effort = {
    crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_SENSITIVE,
    crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_SENSITIVE};

enum { CODED_CHARS = sodium_base64_ENCODED_LEN(sizeof(struct coded_secret), 1) };

static qrt_status start(void)
{
    return sodium_init() < 0 ? error_set(QRT_E_IO, "libsodium cannot start: no random numbers")
                             : QRT_OK;
}

static uint64_t read_u64(const uint8_t bytes[8])
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

static void write_u64(uint8_t bytes[8], uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8) bytes[i] = (uint8_t)value;
}

static void encode(const uint8_t *bytes, size_t count, char *out, size_t out_bytes)
{
    sodium_bin2base64(out, out_bytes, bytes, count, sodium_base64_VARIANT_ORIGINAL);
}

void sign_key_wipe(struct sign_key *key) { sodium_memzero(key, sizeof *key); }

/* ---- passwords ---- */

static void hidden_check(const struct coded_secret *c, uint8_t out[CHECK_BYTES])
{
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, CHECK_BYTES);
    crypto_generichash_update(&hash, c->algorithm, sizeof c->algorithm);
    crypto_generichash_update(&hash, c->hidden.id, sizeof c->hidden.id);
    crypto_generichash_update(&hash, c->hidden.secret, sizeof c->hidden.secret);
    crypto_generichash_final(&hash, out, CHECK_BYTES);
}

/* Hide what is plain, or show what is hidden. */
static qrt_status apply_password(struct coded_secret *c, const char *password)
{
    uint8_t stream[sizeof c->hidden], *hidden = (uint8_t *)&c->hidden;
    if (crypto_pwhash_scryptsalsa208sha256(stream, sizeof stream, password, strlen(password),
                                           c->salt, read_u64(c->operations),
                                           read_u64(c->memory)) != 0)
        return error_set(QRT_E_MEMORY, "a password needs %llu MiB of memory",
                         (unsigned long long)read_u64(c->memory) >> 20);
    for (size_t i = 0; i < sizeof stream; i++) hidden[i] ^= stream[i];
    sodium_memzero(stream, sizeof stream);
    return QRT_OK;
}

static qrt_status ask(const struct sign_password *password, const char *what,
                      char out[SIGN_PASSWORD_BYTES])
{
    if (!password) return error_set(QRT_E_ARGUMENT, "%s: it needs a password", what);
    return password->ask(password->user, what, out);
}

/* More than a new key costs is an attempt to keep this machine busy. */
static qrt_status check_effort(const struct coded_secret *c, const char *path)
{
    const uint64_t operations = read_u64(c->operations), memory = read_u64(c->memory);
    if (operations < crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_MIN ||
        memory < crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_MIN)
        return error_set(QRT_E_FORMAT, "%s: the cost of its password is too low to be true", path);
    if (operations > default_effort.operations || memory > default_effort.memory_bytes)
        return error_set(QRT_E_LIMIT, "%s: its password costs %llu operations and %llu MiB", path,
                         (unsigned long long)operations, (unsigned long long)memory >> 20);
    return QRT_OK;
}

static qrt_status unlock(struct coded_secret *c, const char *path,
                         const struct sign_password *password)
{
    char text[SIGN_PASSWORD_BYTES];
    uint8_t check[CHECK_BYTES];
    TRY(check_effort(c, path));
    TRY(ask(password, path, text));
    const qrt_status status = apply_password(c, text);
    sodium_memzero(text, sizeof text);
    TRY(status);
    hidden_check(c, check);
    if (sodium_memcmp(check, c->hidden.check, sizeof check) != 0)
        return error_set(QRT_E_ARGUMENT, "%s: wrong password", path);
    return QRT_OK;
}

/* ---- reading ---- */

static qrt_status decode_file(const char *text, size_t bytes, const char *path,
                              struct coded_secret *c)
{
    struct minisign_line lines[MINISIGN_LINES];
    const int bad = minisign_split(text, bytes, 2, 1, lines);
    if (bad) return error_set(QRT_E_FORMAT, "%s: secret key: malformed line %d", path, bad);
    if (minisign_decode(&lines[1], (uint8_t *)c, sizeof *c))
        return error_set(QRT_E_FORMAT, "%s: secret key: malformed line 2: not base64 of %zu bytes",
                         path, sizeof *c);
    if (memcmp(c->algorithm, "Ed", 2) != 0 || memcmp(c->checksum, "B2", 2) != 0)
        return error_set(QRT_E_FORMAT, "%s: not an Ed25519 secret key of minisign", path);
    return QRT_OK;
}

/* The public half has to follow from the seed: signing with another one gives the seed away. */
static qrt_status check_halves(const struct sign_key *key, const char *path)
{
    uint8_t public_key[MINISIGN_KEY_BYTES], secret[SIGN_SECRET_BYTES];
    crypto_sign_seed_keypair(public_key, secret, key->secret);
    const int differ = sodium_memcmp(secret, key->secret, sizeof secret);
    sodium_memzero(secret, sizeof secret);
    return differ ? error_set(QRT_E_FORMAT, "%s: its halves do not belong together", path) : QRT_OK;
}

static qrt_status open_coded(struct coded_secret *c, const char *path,
                             const struct sign_password *password, struct sign_key *out)
{
    static const uint8_t none[2] = {0, 0};
    if (memcmp(c->kdf, "Sc", 2) == 0)
        TRY(unlock(c, path, password));
    else if (memcmp(c->kdf, none, 2) != 0)
        return error_set(QRT_E_FORMAT, "%s: protected by something other than scrypt", path);
    memcpy(out->id, c->hidden.id, sizeof out->id);
    memcpy(out->secret, c->hidden.secret, sizeof out->secret);
    return check_halves(out, path);
}

qrt_status sign_key_read(const char *path, const struct sign_password *password,
                         struct sign_key *out)
{
    void *text;
    size_t bytes;
    struct coded_secret c;
    struct sign_key key;
    TRY(start());
    TRY(file_read(path, MINISIGN_TEXT_BYTES, &text, &bytes));
    qrt_status status = decode_file(text, bytes, path, &c);
    if (status == QRT_OK) status = open_coded(&c, path, password, &key);
    if (status == QRT_OK) *out = key;
    sodium_memzero(text, bytes);
    sodium_memzero(&c, sizeof c);
    sodium_memzero(&key, sizeof key);
    free(text);
    return status;
}

/* ---- making ---- */

static qrt_status create_file(const char *name, const char *suffix, unsigned mode, const char *text)
{
    char path[NAME_BYTES];
    if (snprintf(path, sizeof path, "%s%s", name, suffix) >= (int)sizeof path)
        return error_set(QRT_E_ARGUMENT, "a name of more than %d bytes", NAME_BYTES - 5);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return error_set(QRT_E_IO, "%s: %s%s", path, strerror(errno),
                         errno == EEXIST ? "; keys are never overwritten" : "");
    const int failed = file_write_all(fd, text, strlen(text)) != 0 || fsync(fd) != 0;
    const int reason = errno;
    if (close(fd) == 0 && !failed) return QRT_OK;
    unlink(path);
    return error_set(QRT_E_IO, "%s: %s", path, strerror(reason));
}

static void code_key(const struct sign_key *key, struct coded_secret *c)
{
    memset(c, 0, sizeof *c);
    memcpy(c->algorithm, "Ed", 2);
    memcpy(c->checksum, "B2", 2);
    memcpy(c->hidden.id, key->id, sizeof key->id);
    memcpy(c->hidden.secret, key->secret, sizeof key->secret);
}

static qrt_status lock(struct coded_secret *c, const char *name,
                       const struct sign_password *password, const struct sign_effort *effort)
{
    char text[SIGN_PASSWORD_BYTES];
    memcpy(c->kdf, "Sc", 2);
    randombytes_buf(c->salt, sizeof c->salt);
    write_u64(c->operations, effort->operations);
    write_u64(c->memory, effort->memory_bytes);
    hidden_check(c, c->hidden.check);
    TRY(ask(password, name, text));
    const qrt_status status = apply_password(c, text);
    sodium_memzero(text, sizeof text);
    return status;
}

static qrt_status write_secret(const char *name, const struct coded_secret *c)
{
    char coded[CODED_CHARS], text[CODED_CHARS + 80];
    encode((const uint8_t *)c, sizeof *c, coded, sizeof coded);
    snprintf(text, sizeof text, "untrusted comment: minisign %ssecret key\n%s\n",
             c->kdf[0] ? "encrypted " : "", coded);
    const qrt_status status = create_file(name, ".key", 0600, text);
    sodium_memzero(coded, sizeof coded);
    sodium_memzero(text, sizeof text);
    return status;
}

static qrt_status write_public(const char *name, const struct sign_key *key)
{
    char line[SIGN_PUBLIC_CHARS + 1], id[MINISIGN_ID_CHARS + 1], text[MINISIGN_TEXT_BYTES];
    sign_key_public(key, line);
    minisign_id_text(key->id, id);
    snprintf(text, sizeof text, "untrusted comment: minisign public key %s\n%s\n", id, line);
    return create_file(name, ".pub", 0644, text);
}

qrt_status sign_key_make(const char *name, const struct sign_password *password,
                         const struct sign_effort *effort, struct sign_key *out)
{
    uint8_t public_key[MINISIGN_KEY_BYTES];
    struct coded_secret c;
    struct sign_key key;
    TRY(start());
    randombytes_buf(key.id, sizeof key.id);
    crypto_sign_keypair(public_key, key.secret);
    code_key(&key, &c);
    qrt_status status =
        password ? lock(&c, name, password, effort ? effort : &default_effort) : QRT_OK;
    if (status == QRT_OK) status = write_secret(name, &c);
    if (status == QRT_OK) status = write_public(name, &key);
    if (status == QRT_OK) *out = key;
    sodium_memzero(&c, sizeof c);
    sodium_memzero(&key, sizeof key);
    return status;
}

void sign_key_public(const struct sign_key *key, char out[SIGN_PUBLIC_CHARS + 1])
{
    uint8_t coded[2 + MINISIGN_ID_BYTES + MINISIGN_KEY_BYTES];
    memcpy(coded, "Ed", 2);
    memcpy(coded + 2, key->id, MINISIGN_ID_BYTES);
    memcpy(coded + 2 + MINISIGN_ID_BYTES, key->secret + SEED_BYTES, MINISIGN_KEY_BYTES);
    encode(coded, sizeof coded, out, SIGN_PUBLIC_CHARS + 1);
}

/* ---- signing ---- */

/* signature[64] of the data, then global[64] of signature || comment. */
static void sign_both(const struct sign_key *key, const void *data, size_t bytes,
                      const char *comment, uint8_t *signature, uint8_t *global)
{
    uint8_t hash[MINISIGN_HASH_BYTES];
    uint8_t covered[MINISIGN_SIGNATURE_BYTES + MINISIGN_TEXT_BYTES];
    const size_t length = strlen(comment);
    crypto_generichash(hash, sizeof hash, data, bytes, NULL, 0);
    crypto_sign_detached(signature, NULL, hash, sizeof hash, key->secret);
    memcpy(covered, signature, MINISIGN_SIGNATURE_BYTES);
    memcpy(covered + MINISIGN_SIGNATURE_BYTES, comment, length);
    crypto_sign_detached(global, NULL, covered, MINISIGN_SIGNATURE_BYTES + length, key->secret);
}

qrt_status sign_bytes(const struct sign_key *key, const void *data, size_t bytes,
                      const char *comment, char text[MINISIGN_TEXT_BYTES + 1], size_t *text_bytes)
{
    enum { START = 2 + MINISIGN_ID_BYTES, CODED = START + MINISIGN_SIGNATURE_BYTES };
    uint8_t coded[CODED], global[MINISIGN_SIGNATURE_BYTES];
    char first[sodium_base64_ENCODED_LEN(CODED, 1)];
    char second[sodium_base64_ENCODED_LEN(MINISIGN_SIGNATURE_BYTES, 1)];
    TRY(start());
    if (strlen(comment) > MINISIGN_TEXT_BYTES || strpbrk(comment, "\r\n"))
        return error_set(QRT_E_LIMIT, "a trusted comment is one line of at most %d bytes",
                         MINISIGN_TEXT_BYTES);
    memcpy(coded, "ED", 2);
    memcpy(coded + 2, key->id, MINISIGN_ID_BYTES);
    sign_both(key, data, bytes, comment, coded + START, global);
    encode(coded, sizeof coded, first, sizeof first);
    encode(global, sizeof global, second, sizeof second);
    const int count = snprintf(text, MINISIGN_TEXT_BYTES + 1,
                               "untrusted comment: signature of the head of a qgen bundle\n%s\n"
                               "trusted comment: %s\n%s\n",
                               first, comment, second);
    if (count > MINISIGN_TEXT_BYTES)
        return error_set(QRT_E_LIMIT, "the signature's text has %d bytes, its room %d", count,
                         MINISIGN_TEXT_BYTES);
    *text_bytes = (size_t)count;
    return QRT_OK;
}
