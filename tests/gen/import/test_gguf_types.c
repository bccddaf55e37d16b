/* test_gguf_types.c -- contract of gguf_types.h
 *
 * - every quantized type: the bits of element e, found by the format's own rule, land in code e and
 *   nowhere else
 * - scales and minima of every group land in their place; the minimum of a k-quant changes sign
 * - by hand: the worth of one element of each rule
 * - ids that are unknown or were removed have no type; the texts name what is read
 * The gguf package is the wider check (tests/oracle/dequant_oracle.py).
 */
#include "gguf_types.h"

#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "numeric.h"

/* A run of bits of a block. */
struct bits {
    int byte, shift, width;
};

/* Where the format puts the code of element e: low bits first, then high bits (width 0: none). */
struct place {
    struct bits low, high;
};

static struct place q4_0(int e) { return (struct place){{2 + e % 16, e / 16 * 4, 4}, {0, 0, 0}}; }
static struct place q4_1(int e) { return (struct place){{4 + e % 16, e / 16 * 4, 4}, {0, 0, 0}}; }
static struct place q8_0(int e) { return (struct place){{2 + e, 0, 8}, {0, 0, 0}}; }

static struct place q5_0(int e)
{
    return (struct place){{6 + e % 16, e / 16 * 4, 4}, {2 + e / 8, e % 8, 1}};
}

static struct place q5_1(int e)
{
    return (struct place){{8 + e % 16, e / 16 * 4, 4}, {4 + e / 8, e % 8, 1}};
}

static struct place q2_k(int e)
{
    return (struct place){{16 + e / 128 * 32 + e % 32, e / 32 % 4 * 2, 2}, {0, 0, 0}};
}

static struct place q3_k(int e)
{
    return (struct place){{32 + e / 128 * 32 + e % 32, e / 32 % 4 * 2, 2}, {e % 32, e / 32, 1}};
}

static struct place q4_k(int e)
{
    return (struct place){{16 + e / 64 * 32 + e % 32, e / 32 % 2 * 4, 4}, {0, 0, 0}};
}

static struct place q5_k(int e)
{
    return (struct place){{48 + e / 64 * 32 + e % 32, e / 32 % 2 * 4, 4}, {16 + e % 32, e / 32, 1}};
}

static struct place q6_k(int e)
{
    return (struct place){{e / 128 * 64 + e % 64, e / 64 % 2 * 4, 4},
                          {128 + e / 128 * 32 + e % 32, e / 32 % 4 * 2, 2}};
}

static const struct {
    uint32_t id;
    struct place (*place)(int e);
    int bias; /* the code is what the block says plus this, in 8 bits */
} rules[] = {
    {2, q4_0, 0},  {3, q4_1, 0},  {6, q5_0, 0},  {7, q5_1, 0},  {8, q8_0, 128},
    {10, q2_k, 0}, {11, q3_k, 0}, {12, q4_k, 0}, {13, q5_k, 0}, {14, q6_k, 0},
};

static void put(uint8_t *block, struct bits b, int value)
{
    block[b.byte] = (uint8_t)(block[b.byte] | (value & ((1 << b.width) - 1)) << b.shift);
}

static void every_code_has_its_place(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        const struct gguf_type *type = gguf_type_find(rules[r].id);
        struct scheme s;
        struct generic_row row;
        assert_non_null(type);
        assert_int_equal(scheme_parse(type->scheme, &s), QRT_OK);
        assert_int_equal(generic_alloc(&s, 2 * type->block, &row), QRT_OK);
        for (int e = 0; e < type->block; e++) {
            uint8_t blocks[2 * 256] = {0}, *block = blocks + type->bytes;
            const struct place at = rules[r].place(e);
            const int code = (1 << s.bits) - 2 + e % 2;
            put(block, at.low, code);
            if (at.high.width) put(block, at.high, code >> at.low.width);
            gguf_type_unpack(type, blocks, 2, &row);
            for (int k = 0; k < 2 * type->block; k++)
                assert_int_equal((row.codes[k] + rules[r].bias) & 255,
                                 k == type->block + e ? code : 0);
        }
        generic_free(&row);
    }
}

/* ---- scales ---- */

static void unpack_one(uint32_t id, const uint8_t *block, struct generic_row *row)
{
    const struct gguf_type *type = gguf_type_find(id);
    struct scheme s;
    assert_int_equal(scheme_parse(type->scheme, &s), QRT_OK);
    assert_int_equal(generic_alloc(&s, type->block, row), QRT_OK);
    gguf_type_unpack(type, block, 1, row);
}

/* Number j of the 8 scales (which 0) or minima (1) in the 12 bytes of Q4_K and Q5_K. */
static void put_six_bits(uint8_t *packed, int j, int which, int value)
{
    if (j < 4) {
        put(packed, (struct bits){j + 4 * which, 0, 6}, value);
    } else {
        put(packed, (struct bits){j + 4, 4 * which, 4}, value);
        put(packed, (struct bits){j - 4 + 4 * which, 6, 2}, value >> 4);
    }
}

static void six_bit_scales_and_minima(void **state)
{
    (void)state;
    for (uint32_t id = 12; id <= 13; id++)
        for (int j = 0; j < 16; j++) {
            uint8_t block[256] = {0};
            struct generic_row row;
            put_six_bits(block + 4, j % 8, j / 8, 0x2d);
            unpack_one(id, block, &row);
            for (int g = 0; g < 8; g++) {
                assert_int_equal(((int8_t *)row.scales)[g], g == j ? 0x2d : 0);
                assert_int_equal(((int8_t *)row.zeros)[g], g + 8 == j ? 0x2d : 0);
            }
            generic_free(&row);
        }
}

static void scales_of_q2_q3_q6(void **state)
{
    (void)state;
    for (int j = 0; j < 16; j++) {
        uint8_t q2[84] = {0}, q3[110] = {0}, q6[210] = {0};
        struct generic_row row;
        q2[j] = 0xa5;
        unpack_one(10, q2, &row);
        for (int g = 0; g < 16; g++) {
            assert_int_equal(((int8_t *)row.scales)[g], g == j ? 5 : 0);
            assert_int_equal(((int8_t *)row.zeros)[g], g == j ? 10 : 0);
        }
        generic_free(&row);
        put(q3 + 96, (struct bits){j % 8, j / 8 * 4, 4}, 0x2d);
        put(q3 + 96, (struct bits){8 + j % 4, j / 4 * 2, 2}, 0x2d >> 4);
        unpack_one(11, q3, &row);
        for (int g = 0; g < 16; g++)
            assert_int_equal(((int8_t *)row.scales)[g], g == j ? 0x2d - 32 : -32);
        generic_free(&row);
        q6[192 + j] = 0x85;
        unpack_one(14, q6, &row);
        for (int g = 0; g < 16; g++)
            assert_int_equal(((int8_t *)row.scales)[g], g == j ? (int8_t)0x85 : 0);
        generic_free(&row);
    }
}

/* ---- worth ---- */

static void put_half(uint8_t *at, float value)
{
    const uint16_t half = f32_to_f16(value);
    memcpy(at, &half, sizeof half);
}

/* The worth of element 0 of a block. */
static float worth(uint32_t id, const uint8_t *block)
{
    const struct gguf_type *type = gguf_type_find(id);
    struct scheme s;
    struct generic_row row;
    float w[256];
    unpack_one(id, block, &row);
    assert_int_equal(scheme_parse(type->scheme, &s), QRT_OK);
    generic_dequant(&s, &row, type->block, w);
    generic_free(&row);
    return w[0];
}

static void worth_by_hand(void **state)
{
    (void)state;
    uint8_t block[256] = {0};
    put_half(block, 0.5f);
    block[2] = 3;
    assert_true(worth(2, block) == -2.5f); /* Q4_0: 0.5 (3 - 8) */
    assert_true(worth(8, block) == 1.5f);  /* Q8_0: 0.5 * 3 */
    block[2] = 0xfd;
    assert_true(worth(8, block) == -1.5f); /* Q8_0: 0.5 * -3 */
    put_half(block + 2, -4.0f);
    block[4] = 7;
    assert_true(worth(3, block) == -0.5f); /* Q4_1: 0.5 * 7 - 4 */
    memset(block, 0, sizeof block);
    put_half(block, 0.5f);
    put_half(block + 2, 0.25f);
    put_six_bits(block + 4, 0, 0, 6);
    put_six_bits(block + 4, 0, 1, 10);
    block[16] = 9;
    assert_true(worth(12, block) == 24.5f); /* Q4_K: 0.5 * 6 * 9 - 0.25 * 10 */
    memset(block, 0, sizeof block);
    put_half(block + 208, 0.5f);
    block[192] = 0xfe;
    block[0] = 5;
    assert_true(worth(14, block) == 27.0f); /* Q6_K: 0.5 * -2 * (5 - 32) */
}

static void only_known_ids_have_a_type(void **state)
{
    (void)state;
    static const uint32_t none[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, UINT32_MAX};
    char text[GGUF_TYPES_TEXT_BYTES];
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_null(gguf_type_find(none[i]));
    gguf_types_supported(text);
    assert_string_equal(text, "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, "
                              "Q5_K, Q6_K");
    assert_null(gguf_type_find(16)->scheme); /* IQ2_XXS: its size is known, its values are not */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_place),   cmocka_unit_test(six_bit_scales_and_minima),
        cmocka_unit_test(scales_of_q2_q3_q6),         cmocka_unit_test(worth_by_hand),
        cmocka_unit_test(only_known_ids_have_a_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
