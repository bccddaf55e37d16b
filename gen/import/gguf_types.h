/* gguf_types.h -- the tensor types of GGUF, and their blocks as generic codes and scales
 *
 * Why: every type becomes the codes, scales and zeros of a struct scheme, by one unpacker each;
 * what a code is worth is the scheme's rule (runtime/scheme.h) and is said nowhere here.  The
 * minimum of k-quants is subtracted in GGUF and added in a scheme: the unpacker flips the sign of
 * dmin. Errors: none; the sizes were checked by the reader.
 */
#ifndef QGEN_GGUF_TYPES_H
#define QGEN_GGUF_TYPES_H

#include <stdint.h>

#include "scheme.h"

/* Where the generic form of consecutive weights of one row goes.  Arrays are the caller's; an
 * unpacker fills only those its scheme has. */
struct generic_row {
    void *codes;      /* [K] u8; dense: [K] raw 2- or 4-byte values */
    void *scales;     /* [G] f16 as u16; two-level: i8 */
    void *zeros;      /* [G] minima of the scales' type */
    uint16_t *supers; /* [K / 256][2] f16: d, dmin */
};

struct gguf_type {
    uint32_t id;
    const char *name;   /* "Q4_K" */
    const char *scheme; /* "w4g32m.k"; NULL: its size is known, its values are not read */
    uint16_t block;     /* weights of a block */
    uint16_t bytes;     /* bytes of a block */
    /* Turn `blocks` consecutive blocks into generic form, from index 0 of each array on. */
    void (*unpack)(const uint8_t *data, int64_t blocks, const struct generic_row *out);
};

/* NULL when the number is unknown or was removed from the format. */
const struct gguf_type *gguf_type_find(uint32_t id);

/* The names of all types that can be unpacked: "F32, F16, ...". */
const char *gguf_types_supported(void);

#endif
