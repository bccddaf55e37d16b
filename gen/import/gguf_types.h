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

#include "generic.h"

enum { GGUF_TYPES_TEXT_BYTES = 256 };

struct gguf_type {
    uint32_t id;
    const char *name;   /* "Q4_K" */
    const char *scheme; /* "w4g32m.k"; NULL: its size is known, its values are not read */
    uint16_t block;     /* weights of a block */
    uint16_t bytes;     /* bytes of a block */
    /* Write block number i of a row from its bytes; NULL for dense types. */
    void (*unpack)(const uint8_t *block, int64_t i, const struct generic_row *out);
};

/* NULL when the number is unknown or was removed from the format. */
const struct gguf_type *gguf_type_find(uint32_t id);

/* Turn the first `blocks` blocks of a row into generic form; the type has a scheme. */
void gguf_type_unpack(const struct gguf_type *type, const uint8_t *data, int64_t blocks,
                      const struct generic_row *out);

/* The names of all types that can be unpacked: "F32, F16, ...". */
void gguf_types_supported(char out[GGUF_TYPES_TEXT_BYTES]);

#endif
