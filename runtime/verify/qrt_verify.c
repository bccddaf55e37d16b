/* qrt_verify.c -- a hook that lets bundles pass which a trusted key signed */
#include "qrt_verify.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "minisign.h"

struct revoked {
    uint8_t id[MINISIGN_ID_BYTES];
};

struct qrt_verifier {
    struct minisign_key *keys;
    size_t key_count;
    struct revoked *revoked;
    size_t revoked_count;
};

static int no_memory(char *why, size_t why_bytes)
{
    if (why) snprintf(why, why_bytes, "out of memory");
    return 1;
}

int qrt_verify_open(qrt_verifier **out)
{
    if (sodium_init() < 0) return 1;
    qrt_verifier *v = calloc(1, sizeof *v);
    if (!v) return 1;
    *out = v;
    return 0;
}

void qrt_verify_close(qrt_verifier *verifier)
{
    if (!verifier) return;
    free(verifier->keys);
    free(verifier->revoked);
    free(verifier);
}

/* ---- whom to trust ---- */

static const struct minisign_key *find_key(const qrt_verifier *v,
                                           const uint8_t id[MINISIGN_ID_BYTES])
{
    for (size_t i = 0; i < v->key_count; i++)
        if (memcmp(v->keys[i].id, id, MINISIGN_ID_BYTES) == 0) return &v->keys[i];
    return NULL;
}

static int is_revoked(const qrt_verifier *v, const uint8_t id[MINISIGN_ID_BYTES])
{
    for (size_t i = 0; i < v->revoked_count; i++)
        if (memcmp(v->revoked[i].id, id, MINISIGN_ID_BYTES) == 0) return 1;
    return 0;
}

/* An id is a random number and names one key: two keys under it would make messages, and revoking
 * by id, ambiguous. */
static int add_key(qrt_verifier *v, const struct minisign_key *key, char *why, size_t why_bytes)
{
    char id[MINISIGN_ID_CHARS + 1];
    const struct minisign_key *same = find_key(v, key->id);
    if (same && memcmp(same->key, key->key, MINISIGN_KEY_BYTES) == 0) return 0;
    if (same) {
        minisign_id_text(key->id, id);
        if (why) snprintf(why, why_bytes, "another key has the id %s already", id);
        return 1;
    }
    struct minisign_key *keys = realloc(v->keys, (v->key_count + 1) * sizeof *keys);
    if (!keys) return no_memory(why, why_bytes);
    v->keys = keys;
    v->keys[v->key_count++] = *key;
    return 0;
}

int qrt_verify_trust_key(qrt_verifier *verifier, const char *text, char *why, size_t why_bytes)
{
    struct minisign_key key;
    return minisign_parse_key(text, strlen(text), &key, why, why_bytes) ||
           add_key(verifier, &key, why, why_bytes);
}

int qrt_verify_trust_file(qrt_verifier *verifier, const char *path, char *why, size_t why_bytes)
{
    char text[MINISIGN_TEXT_BYTES + 1];
    struct minisign_key key;
    FILE *f = fopen(path, "re");
    const size_t bytes = f ? fread(text, 1, sizeof text, f) : 0;
    const int unread = !f || ferror(f), reason = errno;
    if (f) fclose(f);
    if (unread || bytes == sizeof text) {
        const char *problem = unread ? strerror(reason) : "too long for a public key";
        if (why) snprintf(why, why_bytes, "%s: %s", path, problem);
        return 1;
    }
    return minisign_parse_key(text, bytes, &key, why, why_bytes) ||
           add_key(verifier, &key, why, why_bytes);
}

int qrt_verify_revoke(qrt_verifier *verifier, const char *id, char *why, size_t why_bytes)
{
    struct revoked one;
    if (minisign_parse_id(id, one.id)) {
        if (why)
            snprintf(why, why_bytes, "'%.40s' is no key id: 16 hexadecimal digits are wanted", id);
        return 1;
    }
    struct revoked *list = realloc(verifier->revoked, (verifier->revoked_count + 1) * sizeof *list);
    if (!list) return no_memory(why, why_bytes);
    verifier->revoked = list;
    verifier->revoked[verifier->revoked_count++] = one;
    return 0;
}

/* ---- the hook ---- */

/* "trusted: 0123456789ABCDEF, .." as far as there is room. */
static void trusted_text(const qrt_verifier *v, char *out, size_t bytes)
{
    char id[MINISIGN_ID_CHARS + 1];
    size_t used = (size_t)snprintf(out, bytes, v->key_count ? "trusted:" : "no key is trusted");
    for (size_t i = 0; i < v->key_count && used < bytes; i++) {
        minisign_id_text(v->keys[i].id, id);
        used += (size_t)snprintf(out + used, bytes - used, "%s %s", i ? "," : "", id);
    }
}

static int unknown_key(const qrt_verifier *v, const char *id, char *why, size_t why_bytes)
{
    char known[128];
    trusted_text(v, known, sizeof known);
    if (why) snprintf(why, why_bytes, "signed by unknown key %s; %s", id, known);
    return 1;
}

int qrt_verify_signature(void *verifier, const void *head, size_t head_bytes, const char *signature,
                         size_t signature_bytes, char *why, size_t why_bytes)
{
    const qrt_verifier *v = verifier;
    struct minisign_signature s;
    char id[MINISIGN_ID_CHARS + 1];
    if (signature_bytes == 0) {
        if (why)
            snprintf(why, why_bytes, "unsigned; `qgen bundle --sign KEY` or `minisign` signs it");
        return 1;
    }
    if (minisign_parse_signature(signature, signature_bytes, &s, why, why_bytes)) return 1;
    minisign_id_text(s.id, id);
    if (is_revoked(v, s.id)) {
        if (why) snprintf(why, why_bytes, "signed by key %s, which is revoked", id);
        return 1;
    }
    const struct minisign_key *key = find_key(v, s.id);
    if (!key) return unknown_key(v, id, why, why_bytes);
    return minisign_check(&s, key, head, head_bytes, why, why_bytes);
}
