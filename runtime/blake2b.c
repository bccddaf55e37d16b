/* blake2b.c -- BLAKE2b hash (RFC 7693), unkeyed */
#include "blake2b.h"

#include <string.h>

static const uint64_t initial[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};

/* RFC 7693, 2.7: message word order of each round; rounds 10 and 11 repeat 0 and 1. */
static const uint8_t sigma[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static uint64_t rotate_right(uint64_t x, int n) { return x >> n | x << (64 - n); }

static void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 63);
}

static void compress(struct blake2b *b, const uint8_t *block, int last)
{
    uint64_t v[16], m[16];
    memcpy(m, block, sizeof m); /* little-endian hosts only, like every format here */
    memcpy(v, b->h, sizeof b->h);
    memcpy(v + 8, initial, sizeof initial);
    v[12] ^= b->count[0];
    v[13] ^= b->count[1];
    if (last) v[14] = ~v[14];
    for (int round = 0; round < 12; round++) {
        const uint8_t *s = sigma[round];
        for (int i = 0; i < 4; i++) /* columns */
            mix(v, i, i + 4, i + 8, i + 12, m[s[2 * i]], m[s[2 * i + 1]]);
        for (int i = 0; i < 4; i++) /* diagonals */
            mix(v, i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12, m[s[2 * i + 8]],
                m[s[2 * i + 9]]);
    }
    for (int i = 0; i < 8; i++) b->h[i] ^= v[i] ^ v[i + 8];
}

static void count_bytes(struct blake2b *b, size_t bytes)
{
    b->count[0] += bytes;
    b->count[1] += b->count[0] < bytes;
}

void blake2b_init(struct blake2b *b, size_t out_bytes)
{
    memset(b, 0, sizeof *b);
    memcpy(b->h, initial, sizeof initial);
    b->h[0] ^= 0x01010000u ^ out_bytes;
    b->out_bytes = out_bytes;
}

void blake2b_update(struct blake2b *b, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes > 0) {
        if (b->filled == sizeof b->buffer) { /* only now: the last block is for final() */
            count_bytes(b, sizeof b->buffer);
            compress(b, b->buffer, 0);
            b->filled = 0;
        }
        const size_t room = sizeof b->buffer - b->filled, take = bytes < room ? bytes : room;
        memcpy(b->buffer + b->filled, at, take);
        b->filled += take;
        at += take;
        bytes -= take;
    }
}

void blake2b_final(struct blake2b *b, uint8_t *out)
{
    count_bytes(b, b->filled);
    memset(b->buffer + b->filled, 0, sizeof b->buffer - b->filled);
    compress(b, b->buffer, 1);
    memcpy(out, b->h, b->out_bytes);
}

void blake2b_hash(uint8_t *out, size_t out_bytes, const void *data, size_t bytes)
{
    struct blake2b b;
    blake2b_init(&b, out_bytes);
    blake2b_update(&b, data, bytes);
    blake2b_final(&b, out);
}
