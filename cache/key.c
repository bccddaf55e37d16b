/* key.c -- the name of a kernel by everything that can change its bytes */
#include "key.h"

#include <string.h>

void key_begin(struct key *k) { blake2b_init(&k->hash, ENTRY_KEY_BYTES); }

static void add_field(struct key *k, const void *bytes, size_t count)
{
    const uint64_t length = count;
    blake2b_update(&k->hash, &length, sizeof length);
    blake2b_update(&k->hash, bytes, count);
}

void key_add(struct key *k, const char *name, const void *bytes, size_t count)
{
    add_field(k, name, strlen(name));
    add_field(k, bytes, count);
}

void key_add_text(struct key *k, const char *name, const char *text)
{
    key_add(k, name, text, strlen(text));
}

void key_end(struct key *k, uint8_t out[ENTRY_KEY_BYTES]) { blake2b_final(&k->hash, out); }

void key_hex(const uint8_t key[ENTRY_KEY_BYTES], char out[KEY_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < ENTRY_KEY_BYTES; i++) {
        out[2 * i] = digits[key[i] >> 4];
        out[2 * i + 1] = digits[key[i] & 15];
    }
    out[2 * ENTRY_KEY_BYTES] = 0;
}
