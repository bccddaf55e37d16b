/* value.h -- the numbers that stored codes and scales stand for
 *
 * Why: ref, the importers and the checks read the same bytes; this is the one place that knows them.
 * The value rule that joins both is in scheme.h.
 */
#ifndef QRT_VALUE_H
#define QRT_VALUE_H

#include <stddef.h>

#include "scheme.h"

/* CODE_INT: the code itself; looked up or e4m3: the value of scheme.h, exact in f32. */
float value_of_code(enum code_type type, unsigned code);

/* Scale `index` of an array of the type; e4m3: without the f32 of the matrix. */
float value_of_scale(enum scale_type type, const void *scales, size_t index);

/* What is subtracted from value_of_code() of a scheme that stores no zero points: 2^(bits-1) where
 * int codes are symmetric, else 0. */
static inline int value_middle(const struct scheme *s)
{
    return s->code == CODE_INT && s->zero != ZERO_FLOAT ? 1 << (s->bits - 1) : 0;
}

#endif
