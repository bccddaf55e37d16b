/* check_coded.h -- whether quantized values are right
 *
 * Codes cannot be compared with ref's one by one: beside a rounding boundary the last bit of a
 * quotient decides.  The rule here asks whether codes are those of values that are right:
 *   scale  within 1e-6 of the definition's, and what the values' own error makes of that
 *   zero   the rounding of -128 - min / scale, by the scale at hand
 *   code   the rounding of x / scale + zero, by the scale and zero at hand
 * where a number may be rounded as if it were off by its error: two f32 roundings, 2^-22 of
 * |x / scale| + |zero| (at most 6e-5 of a step), and the `bound` of a value that an op computed
 * before it was quantized.  Where a case is exact nothing of this applies: all must be equal.
 */
#ifndef QGEN_CHECK_CODED_H
#define QGEN_CHECK_CODED_H

#include "trial.h"

/* Values that share one scale, and what a device made of them. */
struct check_coded {
    enum elem_type type; /* i8 or e4m3 */
    int has_zero;        /* form tz */
    int in_order;        /* codes lie at their columns, else at qk_code_index() */
    int is_static;       /* scale and zero were given */
    int exact;
    struct check_bound bound; /* of the values: of_rms is of the rms of these */

    const float *value;    /* [count], as ref has them before they are quantized */
    int64_t count, padded; /* codes from count to padded have to count as 0 */
    const void *codes;
    int64_t first; /* column of value[0] */
    float scale;
    int zero;
};

/* 0 when all is right; else fills `text`, which names row `row`. */
int check_coded_differs(const struct check_coded *c, int64_t row, char text[CHECK_TEXT_BYTES]);

/* The same for row m of an output in form t, tz or b: `q` has offsets as in check_coded_out(). */
struct check_coded_output {
    const struct trial *trial;
    size_t codes, quantized; /* in union op_args: the pointer to codes, and a struct qk_quantized */
    int64_t ld;
    int K;
};
int check_coded_row_differs(const struct check_coded_output *o, int64_t m, const float *value,
                            char text[CHECK_TEXT_BYTES]);

#endif
