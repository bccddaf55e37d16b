/* simd_body.h -- the bodies of simd.h: a source file made for being compiled for several targets
 *
 * The includer sets the target and defines SIMD_NAME (of the struct) and SIMD_TARGET (a string).
 * Vectors are the compiler's own; intrinsics stand only where it has no words for them: fma and the
 * conversions of f16.  Vectors go by address: by value they would change the ABI with the target.
 */
#include <math.h>
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#include "numbers.h"
#include "simd.h"

typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t s32x8 __attribute__((vector_size(32)));
typedef uint32_t u32x8 __attribute__((vector_size(32)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
/* in memory, anywhere */
typedef f32x8 loose_f32x8 __attribute__((aligned(1), may_alias));
typedef f32x4 loose_f32x4 __attribute__((aligned(1), may_alias));

/* ---- numbers ---- */

/* acc += a * b, rounded once */
static inline void multiply_add(f32x8 *acc, float a, const f32x8 *b)
{
#ifdef __FMA__
    *acc = _mm256_fmadd_ps(_mm256_set1_ps(a), *b, *acc);
#else
    for (int j = 0; j < 8; j++) (*acc)[j] = fmaf(a, (*b)[j], (*acc)[j]);
#endif
}

static inline void from_f16(f32x8 *out, const void *halves)
{
#ifdef __F16C__
    *out = _mm256_cvtph_ps(_mm_loadu_si128(halves));
#else
    uint16_t h[8];
    memcpy(h, halves, sizeof h);
    for (int j = 0; j < 8; j++) (*out)[j] = numbers_from_f16(h[j]);
#endif
}

/* Nearest even; NaN: 0x7fff. */
static inline void to_f16(void *halves, const f32x8 *v)
{
#ifdef __F16C__
    const __m128i rounded = _mm256_cvtps_ph(*v, _MM_FROUND_TO_NEAREST_INT);
    const __m128i magnitude = _mm_and_si128(rounded, _mm_set1_epi16(0x7fff));
    const __m128i is_nan = _mm_cmpgt_epi16(magnitude, _mm_set1_epi16(0x7c00));
    const __m128i nan = _mm_srli_epi16(is_nan, 1);
    _mm_storeu_si128(halves, _mm_or_si128(_mm_andnot_si128(is_nan, rounded), nan));
#else
    uint16_t h[8];
    for (int j = 0; j < 8; j++) h[j] = numbers_to_f16((*v)[j], ROUND_RN, 0, 0);
    memcpy(halves, h, sizeof h);
#endif
}

static inline void canonical_nan(f32x8 *v)
{
    const u32x8 is_nan = (u32x8)(*v != *v);
    *v = (f32x8)(((u32x8)*v & ~is_nan) | (is_nan & 0x7fffffff));
}

static void lanes_from_f16(float out[32], const uint32_t h[32])
{
    for (int l = 0; l < 32; l += 8) {
        u32x8 words;
        memcpy(&words, h + l, sizeof words);
        const u16x8 low = __builtin_convertvector(words, u16x8);
        f32x8 v;
        from_f16(&v, &low);
        canonical_nan(&v);
        *(loose_f32x8 *)(out + l) = v;
    }
}

static void lanes_to_f16(uint32_t out[32], const float v[32])
{
    for (int l = 0; l < 32; l += 8) {
        const f32x8 f = *(const loose_f32x8 *)(v + l);
        u16x8 low;
        to_f16(&low, &f);
        const u32x8 words = __builtin_convertvector(low, u32x8);
        memcpy(out + l, &words, sizeof words);
    }
}

/* ---- operands: 16 bytes of a row to floats ---- */

static inline void row_f16(float *out, const void *in)
{
    f32x8 v;
    from_f16(&v, in);
    *(loose_f32x8 *)out = v;
}

static inline void row_bf16(float *out, const void *in)
{
    u16x8 h;
    memcpy(&h, in, sizeof h);
    *(loose_f32x8 *)out = (f32x8)(__builtin_convertvector(h, u32x8) << 16);
}

static inline void row_tf32(float *out, const void *in)
{
    u32x4 w;
    memcpy(&w, in, sizeof w);
    *(loose_f32x4 *)out = (f32x4)(w & 0xffffe000); /* hardware ignores the low 13 bits */
}

/* e5m2 is the upper half of f16. */
static inline void row_e5m2(float *out, const void *in)
{
    u8x16 b;
    memcpy(&b, in, sizeof b);
    const u16x16 h = __builtin_convertvector(b, u16x16) << 8;
    row_f16(out, &h);
    row_f16(out + 8, (const char *)&h + 16);
}

/* Shifted, e4m3 is an f16 with an exponent 8 too small. */
static inline void row_e4m3(float *out, const void *in)
{
    u8x16 b;
    memcpy(&b, in, sizeof b);
    const u16x16 wide = __builtin_convertvector(b, u16x16);
    const u16x16 h = (wide & 0x80) << 8 | (wide & 0x7f) << 7;
    for (int part = 0; part < 16; part += 8) {
        f32x8 v;
        from_f16(&v, (const uint16_t *)&h + part);
        v *= 256;
        const u32x8 is_nan = (u32x8)(v == 480) | (u32x8)(v == -480); /* 0x7f, 0xff */
        *(loose_f32x8 *)(out + part) = (f32x8)((u32x8)v | (is_nan & 0x7fffffff));
    }
}

static inline void row_s8(float *out, const void *in)
{
    int8_t b[16];
    memcpy(b, in, sizeof b);
    for (int j = 0; j < 16; j++) out[j] = b[j];
}

static inline void row_u8(float *out, const void *in)
{
    uint8_t b[16];
    memcpy(b, in, sizeof b);
    for (int j = 0; j < 16; j++) out[j] = b[j];
}

/* Both numbers of a byte of e2m1. */
#define E2M1_PAIRS(high)                                                                        \
    {0.0f, high}, {0.5f, high}, {1.0f, high}, {1.5f, high}, {2.0f, high}, {3.0f, high},         \
        {4.0f, high}, {6.0f, high}, {-0.0f, high}, {-0.5f, high}, {-1.0f, high}, {-1.5f, high}, \
        {-2.0f, high}, {-3.0f, high}, {-4.0f, high},                                            \
    {                                                                                           \
        -6.0f, high                                                                             \
    }
static const float e2m1_pair[256][2] = {
    E2M1_PAIRS(0.0f),  E2M1_PAIRS(0.5f),  E2M1_PAIRS(1.0f),  E2M1_PAIRS(1.5f),
    E2M1_PAIRS(2.0f),  E2M1_PAIRS(3.0f),  E2M1_PAIRS(4.0f),  E2M1_PAIRS(6.0f),
    E2M1_PAIRS(-0.0f), E2M1_PAIRS(-0.5f), E2M1_PAIRS(-1.0f), E2M1_PAIRS(-1.5f),
    E2M1_PAIRS(-2.0f), E2M1_PAIRS(-3.0f), E2M1_PAIRS(-4.0f), E2M1_PAIRS(-6.0f),
};

static inline void row_e2m1(float *out, const void *in)
{
    const uint8_t *b = in;
    for (int j = 0; j < 16; j++) memcpy(out + 2 * j, e2m1_pair[b[j]], sizeof e2m1_pair[0]);
}

static inline void row_e2m1_byte(float *out, const void *in)
{
    const uint8_t *b = in;
    for (int j = 0; j < 16; j++) out[j] = e2m1_pair[b[j] >> 2 & 15][0];
}

typedef void row_function(float *out, const void *in);

static inline __attribute__((always_inline)) void rows(row_function *row, float *out,
                                                       const char *in, size_t stride)
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) row(out + i * TILE_K, in + (size_t)i * stride);
}

/* A block to floats: row i at out + i * TILE_K. */
static void unpack(float *out, enum tensor_type type, const void *in, size_t stride)
{
    switch (type) {
    case TENSOR_F16: rows(row_f16, out, in, stride); break;
    case TENSOR_BF16: rows(row_bf16, out, in, stride); break;
    case TENSOR_TF32: rows(row_tf32, out, in, stride); break;
    case TENSOR_E4M3: rows(row_e4m3, out, in, stride); break;
    case TENSOR_E5M2: rows(row_e5m2, out, in, stride); break;
    case TENSOR_E2M1: rows(row_e2m1, out, in, stride); break;
    case TENSOR_E2M1_BYTE: rows(row_e2m1_byte, out, in, stride); break;
    case TENSOR_S8: rows(row_s8, out, in, stride); break;
    default: rows(row_u8, out, in, stride); break;
    }
}

static int piece_k(enum tensor_type type)
{
    if (type == TENSOR_F16 || type == TENSOR_BF16) return 8;
    return type == TENSOR_TF32 ? 4 : type == TENSOR_E2M1 ? 32 : 16;
}

static void unpack_a(float (*a)[TILE_K], const struct tile *t)
{
    for (int p = 0; p < t->pieces; p++)
        for (int i = 0; i < t->row_blocks; i++)
            unpack(a[8 * i] + p * piece_k(t->a), t->a, t->block_a[p * t->row_blocks + i],
                   t->stride_a);
    if (!t->negate) return;
    for (int i = 0; i < 8 * t->row_blocks; i++)
        for (int k = 0; k < TILE_K; k++) a[i][k] = -a[i][k];
}

/* Columns of B, C and D are kept in the order of the registers: even ones, then odd ones. */
#define SPLIT   0, 2, 4, 6, 1, 3, 5, 7
#define UNSPLIT 0, 4, 1, 5, 2, 6, 3, 7

/* b[k][j] = in[split j][k]: 8 x 8 of rows TILE_K apart */
static inline void transpose(f32x8 *b, const float *in)
{
    const int split[8] = {SPLIT};
    f32x8 r[8], two[8], four[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) r[j] = *(const loose_f32x8 *)(in + split[j] * TILE_K);
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += 2) {
        two[j] = __builtin_shufflevector(r[j], r[j + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        two[j + 1] = __builtin_shufflevector(r[j], r[j + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const f32x8 low = two[(j & 2) * 2 + (j & 1)], high = two[(j & 2) * 2 + (j & 1) + 2];
        four[2 * j] = __builtin_shufflevector(low, high, 0, 1, 8, 9, 4, 5, 12, 13);
        four[2 * j + 1] = __builtin_shufflevector(low, high, 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        b[j] = __builtin_shufflevector(four[j], four[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        b[j + 4] = __builtin_shufflevector(four[j], four[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

static void unpack_b(f32x8 *b, const struct tile *t, int column_block)
{
    float row[8][TILE_K];
    const int k = piece_k(t->b);
    const void *const *block = t->block_b + column_block * t->pieces;
    if (k * t->pieces < 8) memset(row, 0, sizeof row);
    for (int p = 0; p < t->pieces; p++) unpack(row[0] + p * k, t->b, block[p], t->stride_b);
    for (int at = 0; at < k * t->pieces; at += 8) transpose(b + at, row[0] + at);
}

/* ---- accumulators: a row of 8 numbers, from and to registers; `odd` is not used for f16 ---- */

static inline void load_row(f32x8 *c, enum tensor_type type, const uint32_t *even,
                            const uint32_t *odd)
{
    if (type == TENSOR_F16) {
        from_f16(c, even);
        *c = __builtin_shufflevector(*c, *c, SPLIT);
    } else {
        const f32x4 low = *(const loose_f32x4 *)even, high = *(const loose_f32x4 *)odd;
        *c = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    }
}

static inline void store_row(uint32_t *even, uint32_t *odd, enum tensor_type type, const f32x8 *d)
{
    if (type == TENSOR_F16) {
        const f32x8 v = __builtin_shufflevector(*d, *d, UNSPLIT);
        to_f16(even, &v);
    } else {
        *(loose_f32x4 *)even = __builtin_shufflevector(*d, *d, 0, 1, 2, 3);
        *(loose_f32x4 *)odd = __builtin_shufflevector(*d, *d, 4, 5, 6, 7);
    }
}

/* d = c + sum in the bits of integers; `sum` is whole. */
static inline void finish_integer(f32x8 *d, const f32x8 *c, int saturate)
{
    const u32x8 addend = (u32x8)*c, sum = (u32x8) __builtin_convertvector(*d, s32x8);
    const u32x8 wrapped = addend + sum;
    const u32x8 clamped = (u32x8)((s32x8)addend >> 31) ^ 0x7fffffff;
    const u32x8 over = (u32x8)((s32x8)((addend ^ wrapped) & (sum ^ wrapped)) >> 31);
    *d = (f32x8)(saturate ? (over & clamped) | (~over & wrapped) : wrapped);
}

/* ---- the tile ---- */

/* d = 8 rows of A times 8 columns of B, k from .. to; eight chains of fma hide its latency */
static inline void multiply(f32x8 *d, float (*a)[TILE_K], const f32x8 *b, int from, int to)
{
    f32x8 sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) sum[i] = (f32x8){0};
    for (int at = from; at < to; at++) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) multiply_add(&sum[i], a[i][at], &b[at]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) d[i] = sum[i];
}

/* part times the scales of its rows (of A) and columns (of B), rounded once */
static void scale(f32x8 *part, const float *rows_scale, const float *columns_scale)
{
    const int split[8] = {SPLIT};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            part[i][j] = (float)((double)part[i][j] *
                                 ((double)rows_scale[i] * (double)columns_scale[split[j]]));
}

static void multiply_scaled(f32x8 *d, const struct tile *t, float (*a)[TILE_K], const f32x8 *b,
                            int row)
{
    const int k = t->pieces * piece_k(t->a) / t->scales;
    f32x8 part[8];
    for (int s = 0; s < t->scales; s++) {
        multiply(s ? part : d, a, b, s * k, (s + 1) * k);
        scale(s ? part : d, t->scale_a[s] + row, t->scale_b[s]);
        for (int i = 0; i < 8 && s; i++) d[i] += part[i];
    }
}

/* Add C to the sums of block `index` and put them into registers. */
static inline __attribute__((always_inline)) void
finish_as(enum tensor_type type, const struct tile *t, f32x8 *d, int index)
{
    const int each = type == TENSOR_F16 ? 1 : 2;
    uint32_t *even = t->register_d[index * each], *odd = t->register_d[index * each + each - 1];
    const uint32_t *const *c = t->register_c ? t->register_c + index * each : NULL;
    const uint32_t *c_even = c ? c[0] : NULL, *c_odd = c ? c[each - 1] : NULL;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        f32x8 addend = {0};
        if (c) load_row(&addend, type, c_even + 4 * i, c_odd + 4 * i);
        if (type == TENSOR_S32) {
            finish_integer(&d[i], &addend, t->saturate);
        } else {
            d[i] += addend;
            canonical_nan(&d[i]);
        }
        store_row(even + 4 * i, odd + 4 * i, type, &d[i]);
    }
}

static void finish(const struct tile *t, f32x8 *d, int index)
{
    switch (t->d) {
    case TENSOR_F16: finish_as(TENSOR_F16, t, d, index); break;
    case TENSOR_S32: finish_as(TENSOR_S32, t, d, index); break;
    default: finish_as(TENSOR_F32, t, d, index); break;
    }
}

/* D of 8 rows, the block number i of A, and 8 columns, the block number j of B */
static void block(const struct tile *t, float (*a)[TILE_K], const f32x8 *b, int i, int j)
{
    f32x8 d[8];
    if (t->scales)
        multiply_scaled(d, t, a, b, 8 * i);
    else
        multiply(d, a, b, 0, t->pieces * piece_k(t->a));
    finish(t, d, j * t->row_blocks + i);
}

static void tile(const struct tile *t)
{
    _Alignas(32) float a[TILE_ROWS][TILE_K];
    f32x8 b[TILE_K];
    unpack_a(a, t);
    for (int j = 0; j < t->column_blocks; j++) {
        unpack_b(b, t, j);
        for (int i = 0; i < t->row_blocks; i++) block(t, a + 8 * i, b, i, j);
    }
}

extern const struct simd SIMD_NAME;
const struct simd SIMD_NAME = {SIMD_TARGET, tile, lanes_from_f16, lanes_to_f16};
