/* weight.h -- reading a tile of packed weights: 16 rows, one register (or two halves) wide
 *
 * A template defines what the scheme is before it includes this file (vec.h comes first):
 *   BITS    bits of a code, 2..8
 *   GROUP   weights per scale along K, 0: one scale per row
 *   SCALE   F16, BF16, F32 or TWO_LEVEL
 *   ZERO    NONE, INT or FLOAT
 * so that each function below folds to the few instructions that this scheme needs.
 *
 * Layout: runtime/layout.h.  A chunk is 16 rows x 32 weights in bit planes; step t (0..7) of a
 * chunk is weights 4t..4t+3, byte 4r + b of a step is weight 4t + b of row r.
 *
 * Value of a code q:  scale * q + bias,  where bias is
 *      NONE   -scale * 2^(BITS-1)        INT   -scale * z        FLOAT   the stored minimum
 */
#ifndef QK_WEIGHT_H
#define QK_WEIGHT_H

#define F16       1
#define BF16      2
#define F32       3
#define TWO_LEVEL 4
#define NONE      5
#define INT       6
#define FLOAT     7

enum {
    CHUNK = 32, /* weights along K */
    STEPS = 8,  /* of 4 weights in a chunk */
    CHUNK_BYTES = TILE * CHUNK / 8 * BITS,
    MIDDLE = 1 << (BITS - 1), /* the zero point of a symmetric scheme */
    /* Weights that surely share a scale: all of a chunk, or half of it (groups are multiples of 16
     * and start at multiples of 16). */
    SEGMENT = GROUP % 32 == 0 ? 32 : 16,
    SEGMENTS = CHUNK / SEGMENT,
};

INLINE const uint8_t *weight_chunk(const struct qk_weight *w, int tile, int chunk)
{
    const size_t chunks = ((size_t)w->K + CHUNK - 1) / CHUNK;
    return (const uint8_t *)w->codes + ((size_t)tile * chunks + (size_t)chunk) * CHUNK_BYTES;
}

/* Bits of step t from the plane of `width` bits at `plane`, shifted up by `at` in each byte. */
INLINE vi plane_step(const uint8_t *plane, int width, int t, int half, int at)
{
    const int fields = 8 / width, shift = width * (t % fields) - at;
    const vi bytes = vi_load(plane + 64 * (t / fields) + half * VECTOR_BYTES);
    const vi moved = shift > 0   ? vi_shift_right(bytes, (unsigned)shift)
                     : shift < 0 ? vi_shift_left(bytes, (unsigned)-shift)
                                 : bytes;
    return vi_and(moved, vi_set8(((1 << width) - 1) << at));
}

/* Codes of step t of a chunk, one byte each.  t and half are constants after unrolling. */
INLINE vi weight_step(const uint8_t *chunk, int t, int half)
{
    if (BITS == 8) return vi_load(chunk + 64 * t + half * VECTOR_BYTES);
    vi codes = vi_zero();
    int at = 0;
    for (int width = 4; width; width /= 2) {
        if (!(BITS & width)) continue;
        const vi field = plane_step(chunk, width, t, half, at);
        codes = at ? vi_or(codes, field) : field;
        chunk += 64 * width;
        at += width;
    }
    return codes;
}

/* Group of weight k; the padding at the end of the last chunk counts to the last group. */
INLINE int weight_group(const struct qk_weight *w, int k)
{
    if (GROUP == 0) return 0;
    const int g = k / (GROUP ? GROUP : 1);
    return SEGMENTS == 1 || g < w->G ? g : w->G - 1;
}

/* LANES values of the scale type from a section. */
INLINE vf weight_values(const void *section, size_t index)
{
    if (SCALE == F16) return vf_from_f16((const uint16_t *)section + index);
    if (SCALE == BF16) return vf_from_bf16((const uint16_t *)section + index);
    if (SCALE == F32) return vf_load((const float *)section + index);
    return vf_from_int(vi_from_i8((const int8_t *)section + index));
}

/* d (which = 0) or dmin (1) of the 256 weights that hold group g. */
INLINE vf weight_super(const struct qk_weight *w, int tile, int g, int which, int half)
{
    const size_t blocks = (size_t)w->K / 256, block = (size_t)g * GROUP / 256;
    const size_t index = (((size_t)tile * blocks + block) * 2 + (size_t)which) * TILE;
    return vf_from_f16((const uint16_t *)w->supers + index + (size_t)(half * LANES));
}

INLINE vf weight_scale(const struct qk_weight *w, int tile, int g, int half)
{
    const size_t index = ((size_t)tile * (size_t)w->G + (size_t)g) * TILE + (size_t)(half * LANES);
    const vf scale = weight_values(w->scales, index);
    return SCALE == TWO_LEVEL ? vf_mul(scale, weight_super(w, tile, g, 0, half)) : scale;
}

/* The zero point of group g, for schemes whose value is scale * (q - zero). */
INLINE vi weight_zero(const struct qk_weight *w, int tile, int g, int half)
{
    const size_t index = ((size_t)tile * (size_t)w->G + (size_t)g) * TILE + (size_t)(half * LANES);
    if (ZERO == NONE) return vi_set(MIDDLE);
    if (ZERO == INT) return vi_from_u8((const uint8_t *)w->zeros + index);
    return vi_zero();
}

/* What a code's product with the scale lacks to be the value; needless when ZERO is NONE and the
 * kernel takes MIDDLE off the codes' sums. */
INLINE vf weight_bias(const struct qk_weight *w, int tile, int g, int half, vf scale)
{
    const size_t index = ((size_t)tile * (size_t)w->G + (size_t)g) * TILE + (size_t)(half * LANES);
    if (ZERO != FLOAT)
        return vf_mul(scale, vf_from_int(vi_sub(vi_zero(), weight_zero(w, tile, g, half))));
    const vf minimum = weight_values(w->zeros, index);
    return SCALE == TWO_LEVEL ? vf_mul(minimum, weight_super(w, tile, g, 1, half)) : minimum;
}

/* ---- one row of a tile, for gathering ---- */

/* Codes of step t of row r, the first in the low byte. */
INLINE uint32_t weight_row_step(const uint8_t *chunk, int t, int r)
{
    uint32_t codes = 0;
    int at = 0;
    for (int width = BITS == 8 ? 8 : 4; width; width /= 2) {
        if (!(BITS & width)) continue;
        const int fields = 8 / width;
        uint32_t bytes;
        __builtin_memcpy(&bytes, chunk + 64 * (t / fields) + 4 * r, sizeof bytes);
        const uint32_t mask = ((1u << width) - 1) * 0x01010101u;
        codes |= (bytes >> width * (t % fields) & mask) << at;
        chunk += 64 * width;
        at += width;
    }
    return codes;
}

INLINE float weight_row_value(const void *section, size_t index)
{
    if (SCALE == F16) return _cvtsh_ss(((const uint16_t *)section)[index]);
    if (SCALE == F32) return ((const float *)section)[index];
    if (SCALE == TWO_LEVEL) return ((const int8_t *)section)[index];
    const uint32_t bits = (uint32_t)((const uint16_t *)section)[index] << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/* Scale, zero point and minimum of group g of row n: a value is scale * (q - zero) + minimum. */
struct row_group {
    float scale, minimum;
    int zero;
};

INLINE struct row_group weight_row_group(const struct qk_weight *w, int n, int g)
{
    const size_t index =
        ((size_t)(n / TILE) * (size_t)w->G + (size_t)g) * TILE + (size_t)(n % TILE);
    struct row_group out = {weight_row_value(w->scales, index), 0, MIDDLE};
    if (ZERO == INT) out.zero = ((const uint8_t *)w->zeros)[index];
    if (ZERO == FLOAT) {
        out.zero = 0;
        out.minimum = weight_row_value(w->zeros, index);
    }
    if (SCALE == TWO_LEVEL) {
        const size_t block = (size_t)(n / TILE) * ((size_t)w->K / 256) + (size_t)g * GROUP / 256;
        const uint16_t *super = (const uint16_t *)w->supers + block * 2 * TILE + n % TILE;
        out.scale *= _cvtsh_ss(super[0]);
        out.minimum *= _cvtsh_ss(super[TILE]);
    }
    return out;
}

#endif
