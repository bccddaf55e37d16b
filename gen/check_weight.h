/* check_weight.h -- weights for checks: random codes and groups, unpacked and packed
 *
 * Owns: the unpacked arrays, until check_weight_free().
 */
#ifndef QGEN_CHECK_WEIGHT_H
#define QGEN_CHECK_WEIGHT_H

#include "layout.h"

struct check_weight {
    struct scheme scheme;
    int N, K, G;
    uint8_t *q;    /* [N, K] unsigned codes; NULL when dense */
    float *scale;  /* [N, G], times `matrix` */
    float matrix;  /* e4m3 scales: the one f32 of the matrix; else 1 */
    float *zero;   /* [N, G]: 2^(bits-1), zero point, or minimum */
    float *value;  /* [N, K] dense values, as they are after rounding to the scheme's type */
    int8_t *level; /* two-level: [N, G, 2] scale and minimum, over super[] */
    float *super;  /* two-level: [N, K/256, 2] */
};

/* Whether there are weights whose products with small integers add up without rounding in f32: of
 * all but NF4, whose values have as many bits as f32 has. */
static inline int check_weight_has_exact(const struct scheme *s) { return s->code != CODE_NF4; }

/* `exact`: such weights, where the scheme has them. */
qrt_status check_weight_make(const struct scheme *s, int N, int K, int exact, uint64_t seed,
                             struct check_weight *out);
void check_weight_free(struct check_weight *w);

/* Fill zeroed sections of the sizes of layout_bytes(). */
void check_weight_pack(const struct check_weight *w, enum layout_family family,
                       void *const section[SECTION_COUNT]);

/* W[n, k] by the value rule of scheme.h, from the unpacked arrays. */
double check_weight_at(const struct check_weight *w, int n, int k);

/* A fixed-seed generator: a word, a number in [-1, 1), an integer in lo..hi. */
uint64_t check_word(uint64_t *state);
float check_unit(uint64_t *state);
int check_int(uint64_t *state, int lo, int hi);

#endif
