/* blake2b.h -- BLAKE2b hash (RFC 7693), unkeyed */
#ifndef QRT_BLAKE2B_H
#define QRT_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

struct blake2b {
    uint64_t h[8], count[2];
    uint8_t buffer[128];
    size_t filled, out_bytes;
};

void blake2b_init(struct blake2b *b, size_t out_bytes); /* 1..64 */
void blake2b_update(struct blake2b *b, const void *data, size_t bytes);
void blake2b_final(struct blake2b *b, uint8_t *out);
void blake2b_hash(uint8_t *out, size_t out_bytes, const void *data, size_t bytes);

#endif
