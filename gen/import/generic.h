/* generic.h -- one row of a weight matrix in the form that every import produces and pack reads
 *
 * Why: importers differ in how they store codes, packers in where they put them; both meet here.
 * Layout, for a row of K weights and G = scheme_groups() groups:
 *   codes   [K] u8, unsigned codes; dense: [K] raw values of 2 or 4 bytes
 *   scales  [G] of the scheme's scale type; two-level: i8
 *   zeros   [G] ZERO_INT: u8; ZERO_FLOAT: minima, of the scale type
 *   supers  [K / 256][2] f16: d, dmin; two-level only
 *   matrix  e4m3 scales: the f32 of the whole matrix, the same in every row
 * Arrays that the scheme lacks are NULL.
 */
#ifndef QGEN_GENERIC_H
#define QGEN_GENERIC_H

#include <stdint.h>

#include "scheme.h"

struct generic_row {
    uint8_t *codes;
    void *scales;
    void *zeros;
    uint16_t *supers;
    float matrix;
    void *block; /* the memory behind all four */
};

/* A matrix that gives its rows one by one, in any order, to many threads. */
struct generic_matrix {
    const char *name;
    int N, K;
    struct scheme scheme;
    const uint8_t *data; /* row n is at n * row_bytes */
    size_t row_bytes;
    const void *origin; /* the importer's */
    void (*row)(const struct generic_matrix *m, int n, const struct generic_row *out);
    /* The memory behind `count` rows from n on may go until they are read again; NULL: stays. */
    void (*release)(const struct generic_matrix *m, int n, int count);
};

/* Room for one row; generic_free() it. K >= 1, scheme checked. */
qrt_status generic_alloc(const struct scheme *s, int K, struct generic_row *out);
void generic_free(struct generic_row *row);

/* The row's weights as float32 [K]: the value rule of scheme.h, each operation rounded to f32. */
void generic_dequant(const struct scheme *s, const struct generic_row *row, int K, float *w);

/* -1 when every scale, minimum, super scale, float code or dense value is finite; else the index along K of the
 * first weight that one touches which is not. */
int64_t generic_not_finite(const struct scheme *s, const struct generic_row *row, int K);

#endif
