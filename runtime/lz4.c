/* lz4.c -- unpacking of one LZ4 block, from bytes that nobody vouches for */
#include "lz4.h"

#include <stdint.h>
#include <string.h>

#include "error.h"

enum { MIN_MATCH = 4, MORE = 15, GOES_ON = 255 };

/* What is left of the block, and what was written. */
struct unpacking {
    const uint8_t *in, *in_end;
    uint8_t *out, *out_start, *out_end;
};

static size_t in_left(const struct unpacking *u) { return (size_t)(u->in_end - u->in); }
static size_t out_left(const struct unpacking *u) { return (size_t)(u->out_end - u->out); }

/* The rest of a length whose nibble says that it goes on; no overflow: at most 255 for each byte that
 * was read. */
static int read_length(struct unpacking *u, size_t nibble, size_t *length)
{
    *length = nibble;
    if (nibble < MORE) return 1;
    for (uint8_t byte = GOES_ON; byte == GOES_ON; *length += byte) {
        if (u->in == u->in_end) return 0;
        byte = *u->in++;
    }
    return 1;
}

static int copy_literals(struct unpacking *u, size_t nibble)
{
    size_t length;
    if (!read_length(u, nibble, &length)) return 0;
    if (length > in_left(u) || length > out_left(u)) return 0;
    if (length == 0) return 1;
    memcpy(u->out, u->in, length);
    u->in += length;
    u->out += length;
    return 1;
}

/* A match may reach into what it writes itself: that repeats the last `distance` bytes. */
static int copy_match(struct unpacking *u, size_t nibble)
{
    if (in_left(u) < 2) return 0;
    const size_t distance = (size_t)u->in[0] | (size_t)u->in[1] << 8;
    u->in += 2;
    size_t length;
    if (!read_length(u, nibble, &length)) return 0;
    length += MIN_MATCH;
    if (distance == 0 || distance > (size_t)(u->out - u->out_start)) return 0;
    if (length > out_left(u)) return 0;
    const uint8_t *from = u->out - distance;
    while (length > 0) {
        const size_t whole = (size_t)(u->out - from), piece = length < whole ? length : whole;
        memcpy(u->out, from, piece);
        u->out += piece;
        length -= piece;
    }
    return 1;
}

static int unpack(struct unpacking *u)
{
    while (u->in < u->in_end) {
        const uint8_t token = *u->in++;
        if (!copy_literals(u, token >> 4)) return 0;
        if (u->in == u->in_end) return u->out == u->out_end;
        if (!copy_match(u, token & 15)) return 0;
    }
    return 0; /* no bytes, or a match at the end */
}

qrt_status lz4_unpack(const void *from, size_t from_bytes, void *to, size_t to_bytes)
{
    struct unpacking u = {.in = from, .out = to, .out_start = to};
    u.in_end = u.in + from_bytes;
    u.out_end = u.out + to_bytes;
    if (unpack(&u)) return QRT_OK;
    return error_set(QRT_E_FORMAT, "not an LZ4 block of %zu bytes for %zu: stopped at %zu and %zu",
                     from_bytes, to_bytes, from_bytes - in_left(&u), to_bytes - out_left(&u));
}
