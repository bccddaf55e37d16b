/* blocks.h -- tables as text: blocks of `key value` lines into an array of structs
 *
 *     # a comment
 *     gpu h100                 the first key opens a block
 *     memory_gb_s 3350         a number in a unit that its key says
 *
 * Errors: QRT_E_FORMAT with origin:line: unknown keys, missing or doubled ones, bad numbers, texts that
 * do not fit.
 */
#ifndef QGEN_BLOCKS_H
#define QGEN_BLOCKS_H

#include <stddef.h>

#include "qrt.h"

enum block_type {
    BLOCK_TEXT,  /* char[] */
    BLOCK_COUNT, /* int from 1 up; BLOCK_SIZE: from 0 up */
    BLOCK_SIZE,
    BLOCK_REAL, /* double from 0 up, times the unit */
};

/* Where the value of a key goes. */
struct block_key {
    const char *name;
    enum block_type type;
    int required;
    size_t offset, bytes; /* in the item; bytes: of a text */
    double unit;          /* of a real */
};

struct block_format {
    const struct block_key *keys; /* at most 32; the first opens a block and is required */
    size_t key_count, item_bytes, most_items;
    /* Whether a whole item makes sense; its text is about the item, the reader adds the place. */
    qrt_status (*check)(const void *item);
};

/* Keys of a field of struct `type`. */
#define BLOCK_TEXT_KEY(name, required, type, field)                                         \
    {                                                                                       \
        name, BLOCK_TEXT, required, offsetof(type, field), sizeof(((type *)NULL)->field), 0 \
    }
#define BLOCK_NUMBER_KEY(name, kind, required, type, field, unit)                        \
    {                                                                                    \
        name, kind, required, offsetof(type, field), sizeof(((type *)NULL)->field), unit \
    }

/* `items` has room for format->most_items; missing optional fields are zero bytes. */
qrt_status blocks_parse(const struct block_format *format, const char *text, size_t bytes,
                        const char *origin, void *items, size_t *count);

#endif
