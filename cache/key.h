/* key.h -- the name of a kernel by everything that can change its bytes
 *
 * A key is BLAKE2b-256 over fields {length u64, name, length u64, bytes}: no two lists of fields
 * give the same stream.  What goes in is the pipeline's to say: rendered text, the texts it
 * includes, compiler and options, arch, version of the format.
 */
#ifndef QGEN_KEY_H
#define QGEN_KEY_H

#include "blake2b.h"
#include "entry.h"

struct key {
    struct blake2b hash;
};

enum { KEY_HEX_BYTES = 2 * ENTRY_KEY_BYTES + 1 };

void key_begin(struct key *k);
void key_add(struct key *k, const char *name, const void *bytes, size_t count);
void key_add_text(struct key *k, const char *name, const char *text);
void key_end(struct key *k, uint8_t out[ENTRY_KEY_BYTES]);

void key_hex(const uint8_t key[ENTRY_KEY_BYTES], char out[KEY_HEX_BYTES]);

#endif
