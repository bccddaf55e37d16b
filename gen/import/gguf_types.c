/* gguf_types.c -- the tensor types of GGUF, and their blocks as generic codes and scales
 *
 * The layout of a block is drawn above its unpacker: fields in file order, bytes in parentheses.
 * d, m and dmin are f16.  "halves": byte j holds element j in its low nibble and element j + n/2 in
 * its high one.
 */
#include "gguf_types.h"

#include <stdio.h>
#include <string.h>

enum { K_BLOCK = 256 };

static uint16_t half(const uint8_t *bytes)
{
    uint16_t h;
    memcpy(&h, bytes, sizeof h);
    return h;
}

static void set_scale(const struct generic_row *out, int64_t i, const uint8_t *d)
{
    ((uint16_t *)out->scales)[i] = half(d);
}

static void set_minimum(const struct generic_row *out, int64_t i, const uint8_t *m)
{
    ((uint16_t *)out->zeros)[i] = half(m);
}

/* dmin 0: the type has no minimum. Subtracted in GGUF, added in a scheme: its sign is flipped. */
static void set_supers(const struct generic_row *out, int64_t i, const uint8_t *d,
                       const uint8_t *dmin)
{
    out->supers[2 * i] = half(d);
    out->supers[2 * i + 1] = dmin ? half(dmin) ^ 0x8000u : 0;
}

static void nibbles(const uint8_t *bytes, int n, uint8_t *q)
{
    for (int j = 0; j < n / 2; j++) {
        q[j] = bytes[j] & 15;
        q[j + n / 2] = bytes[j] >> 4;
    }
}

/* Bit j of the four bytes is bit 4 of element j. */
static void fifth_bits(const uint8_t *bytes, uint8_t *q)
{
    for (int j = 0; j < 32; j++) q[j] = (uint8_t)(q[j] | (bytes[j / 8] >> j % 8 & 1) << 4);
}

/* Bit b of byte l is bit `to` of element 32 b + l, for 256 elements. */
static void bit_columns(const uint8_t *bytes, int to, uint8_t *q)
{
    for (int e = 0; e < K_BLOCK; e++) q[e] = (uint8_t)(q[e] | (bytes[e % 32] >> e / 32 & 1) << to);
}

/* Per 128 elements 32 bytes: bit pair p of byte l is element 32 p + l. */
static void pair_columns(const uint8_t *bytes, uint8_t *q)
{
    for (int e = 0; e < K_BLOCK; e++) q[e] = bytes[e / 128 * 32 + e % 32] >> 2 * (e % 128 / 32) & 3;
}

/* d (2)  nibbles, halves (16):  w = d (q - 8) */
static void unpack_q4_0(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    set_scale(out, i, block);
    nibbles(block + 2, 32, out->codes + 32 * i);
}

/* d (2)  m (2)  nibbles, halves (16):  w = d q + m */
static void unpack_q4_1(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    set_scale(out, i, block);
    set_minimum(out, i, block + 2);
    nibbles(block + 4, 32, out->codes + 32 * i);
}

/* d (2)  fifth bits (4)  nibbles, halves (16):  w = d (q - 16) */
static void unpack_q5_0(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    set_scale(out, i, block);
    nibbles(block + 6, 32, out->codes + 32 * i);
    fifth_bits(block + 2, out->codes + 32 * i);
}

/* d (2)  m (2)  fifth bits (4)  nibbles, halves (16):  w = d q + m */
static void unpack_q5_1(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    set_scale(out, i, block);
    set_minimum(out, i, block + 2);
    nibbles(block + 8, 32, out->codes + 32 * i);
    fifth_bits(block + 4, out->codes + 32 * i);
}

/* d (2)  q, i8 (32):  w = d q; the code is q + 128 */
static void unpack_q8_0(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    set_scale(out, i, block);
    uint8_t *q = out->codes + 32 * i;
    for (int j = 0; j < 32; j++) q[j] = block[2 + j] ^ 0x80u;
}

/* scale nibble, minimum nibble (16)  pairs (64)  d (2)  dmin (2):  w = d sc q - dmin mn */
static void unpack_q2_k(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    int8_t *scale = (int8_t *)out->scales + 16 * i, *minimum = (int8_t *)out->zeros + 16 * i;
    for (int g = 0; g < 16; g++) {
        scale[g] = (int8_t)(block[g] & 15);
        minimum[g] = (int8_t)(block[g] >> 4);
    }
    pair_columns(block + 16, out->codes + K_BLOCK * i);
    set_supers(out, i, block + 80, block + 82);
}

/* third bits (32)  pairs (64)  16 scales of 6 bits (12)  d (2):  w = d (sc - 32) (q - 4)
 * Scale g: low 4 bits in nibble g / 8 of byte g % 8, high 2 in pair g / 4 of byte 8 + g % 4. */
static void unpack_q3_k(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    const uint8_t *packed = block + 96;
    int8_t *scale = (int8_t *)out->scales + 16 * i;
    for (int g = 0; g < 16; g++) {
        const int low = packed[g % 8] >> 4 * (g / 8) & 15;
        const int high = packed[8 + g % 4] >> 2 * (g / 4) & 3;
        scale[g] = (int8_t)((low | high << 4) - 32);
    }
    pair_columns(block + 32, out->codes + K_BLOCK * i);
    bit_columns(block, 2, out->codes + K_BLOCK * i);
    set_supers(out, i, block + 108, NULL);
}

/* 8 scales and 8 minima of 6 bits in 12 bytes: number j < 4 is byte j, byte 4 + j; number j >= 4
 * has its low 4 bits in the nibbles of byte j + 4, its high 2 on top of bytes j - 4, j. */
static void six_bit_pairs(const uint8_t *packed, int8_t *scale, int8_t *minimum)
{
    for (int j = 0; j < 4; j++) {
        scale[j] = (int8_t)(packed[j] & 63);
        minimum[j] = (int8_t)(packed[j + 4] & 63);
        scale[j + 4] = (int8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        minimum[j + 4] = (int8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

static void k_head(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    set_supers(out, i, block, block + 2);
    six_bit_pairs(block + 4, (int8_t *)out->scales + 8 * i, (int8_t *)out->zeros + 8 * i);
}

/* d (2)  dmin (2)  scales and minima (12)  nibbles, halves of 64 (128):  w = d sc q - dmin mn */
static void unpack_q4_k(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    k_head(block, i, out);
    for (int c = 0; c < 4; c++) nibbles(block + 16 + 32 * c, 64, out->codes + K_BLOCK * i + 64 * c);
}

/* d (2)  dmin (2)  scales and minima (12)  fifth bits (32)  nibbles, halves of 64 (128) */
static void unpack_q5_k(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    k_head(block, i, out);
    uint8_t *q = out->codes + K_BLOCK * i;
    for (int c = 0; c < 4; c++) nibbles(block + 48 + 32 * c, 64, q + 64 * c);
    bit_columns(block + 16, 4, q);
}

/* low nibbles (128)  high pairs (64)  16 scales, i8 (16)  d (2):  w = d sc (q - 32)
 * Per 128 elements 64 bytes of nibbles, halves, and 32 of pairs as pair_columns(). */
static void unpack_q6_k(const uint8_t *block, int64_t i, const struct generic_row *out)
{
    uint8_t *q = out->codes + K_BLOCK * i;
    pair_columns(block + 128, q);
    for (int e = 0; e < K_BLOCK; e++) {
        const int low = block[e / 128 * 64 + e % 64] >> 4 * (e % 128 / 64) & 15;
        q[e] = (uint8_t)(q[e] << 4 | low);
    }
    memcpy((int8_t *)out->scales + 16 * i, block + 192, 16);
    set_supers(out, i, block + 208, NULL);
}

/* The types whose values are read carry a scheme.  Ids 4, 5, 31 to 33 and 36 to 38 were removed. */
static const struct gguf_type types[] = {
    {0, "F32", "f32", 1, 4, NULL},
    {1, "F16", "f16", 1, 2, NULL},
    {30, "BF16", "bf16", 1, 2, NULL},
    {2, "Q4_0", "w4g32", 32, 18, unpack_q4_0},
    {3, "Q4_1", "w4g32m", 32, 20, unpack_q4_1},
    {6, "Q5_0", "w5g32", 32, 22, unpack_q5_0},
    {7, "Q5_1", "w5g32m", 32, 24, unpack_q5_1},
    {8, "Q8_0", "w8g32", 32, 34, unpack_q8_0},
    {10, "Q2_K", "w2g16m.k", 256, 84, unpack_q2_k},
    {11, "Q3_K", "w3g16.k", 256, 110, unpack_q3_k},
    {12, "Q4_K", "w4g32m.k", 256, 144, unpack_q4_k},
    {13, "Q5_K", "w5g32m.k", 256, 176, unpack_q5_k},
    {14, "Q6_K", "w6g16.k", 256, 210, unpack_q6_k},
    {9, "Q8_1", NULL, 32, 36, NULL},
    {15, "Q8_K", NULL, 256, 292, NULL},
    {16, "IQ2_XXS", NULL, 256, 66, NULL},
    {17, "IQ2_XS", NULL, 256, 74, NULL},
    {18, "IQ3_XXS", NULL, 256, 98, NULL},
    {19, "IQ1_S", NULL, 256, 50, NULL},
    {20, "IQ4_NL", NULL, 32, 18, NULL},
    {21, "IQ3_S", NULL, 256, 110, NULL},
    {22, "IQ2_S", NULL, 256, 82, NULL},
    {23, "IQ4_XS", NULL, 256, 136, NULL},
    {24, "I8", NULL, 1, 1, NULL},
    {25, "I16", NULL, 1, 2, NULL},
    {26, "I32", NULL, 1, 4, NULL},
    {27, "I64", NULL, 1, 8, NULL},
    {28, "F64", NULL, 1, 8, NULL},
    {29, "IQ1_M", NULL, 256, 56, NULL},
    {34, "TQ1_0", NULL, 256, 54, NULL},
    {35, "TQ2_0", NULL, 256, 66, NULL},
    {39, "MXFP4", NULL, 32, 17, NULL},
    {40, "NVFP4", NULL, 64, 36, NULL},
    {41, "Q1_0", NULL, 128, 18, NULL},
    {42, "Q2_0", NULL, 64, 18, NULL},
};

enum { TYPE_COUNT = sizeof types / sizeof *types };

const struct gguf_type *gguf_type_find(uint32_t id)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

void gguf_type_unpack(const struct gguf_type *type, const uint8_t *data, int64_t blocks,
                      const struct generic_row *out)
{
    if (!type->unpack) {
        memcpy(out->codes, data, (size_t)blocks * type->bytes);
        return;
    }
    for (int64_t i = 0; i < blocks; i++) type->unpack(data + i * type->bytes, i, out);
}

void gguf_types_supported(char out[GGUF_TYPES_TEXT_BYTES])
{
    int used = 0;
    out[0] = 0;
    for (int i = 0; i < TYPE_COUNT; i++)
        if (types[i].scheme)
            used += snprintf(out + used, GGUF_TYPES_TEXT_BYTES - (size_t)used, "%s%s",
                             used ? ", " : "", types[i].name);
}
