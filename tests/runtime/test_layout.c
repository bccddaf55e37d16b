/* test_layout.c -- contract of layout.h
 *
 * - put then get gives every code back, for all bits, families and ragged sizes
 * - every code owns its bits: the sections of all-ones codes have the popcount of N K bits
 * - the positions are the ones drawn in layout.h (hand-computed samples)
 * - dense values come back, and no two share an element
 * - a dequantized row follows the value rules of scheme.h
 * - so does one of looked-up codes or e4m3, under byte scales and the one f32 of a matrix
 * - sections have the sizes of the drawing
 * - sizes that overflow or have no layout are refused
 */
#include "layout.h"

#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "numeric.h"

static const enum layout_family families[] = {FAMILY_X86, FAMILY_MMA};

static struct scheme int_scheme(int bits, int group)
{
    return (struct scheme){.code = CODE_INT, .bits = (uint8_t)bits, .group = group};
}

static void *section(enum layout_family f, const struct scheme *s, int N, int K, enum section which,
                     size_t *bytes)
{
    size_t sizes[SECTION_COUNT];
    assert_int_equal(layout_bytes(f, s, N, K, sizes), QRT_OK);
    *bytes = sizes[which];
    return calloc(1, sizes[which] + 1);
}

static void round_trip(enum layout_family f, int bits, int N, int K)
{
    const struct scheme s = int_scheme(bits, 32);
    size_t bytes;
    uint8_t *codes = section(f, &s, N, K, SECTION_CODES, &bytes);
    uint8_t *q = malloc((size_t)K), *back = malloc((size_t)K);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t random = 1 + (uint64_t)bits;
        for (int n = 0; n < N; n++) {
            for (int k = 0; k < K; k++)
                q[k] = (uint8_t)(random_word(&random) >> 40 & ((1u << bits) - 1));
            if (pass == 0) {
                layout_put_codes(f, &s, K, codes, n, 0, K, q);
                continue;
            }
            layout_get_codes(f, &s, K, codes, n, 0, K, back);
            assert_memory_equal(q, back, (size_t)K);
        }
    }
    free(codes);
    free(q);
    free(back);
}

static void codes_come_back(void **state)
{
    (void)state;
    for (size_t f = 0; f < 2; f++)
        for (int bits = 2; bits <= 8; bits++) {
            round_trip(families[f], bits, 33, 100);
            round_trip(families[f], bits, 16, 64);
            round_trip(families[f], bits, 1, 1);
        }
}

static void every_code_owns_its_bits(void **state)
{
    (void)state;
    enum { N = 35, K = 97 };
    uint8_t ones[K];
    memset(ones, 0xff, sizeof ones);
    for (size_t f = 0; f < 2; f++)
        for (int bits = 2; bits <= 8; bits++) {
            const struct scheme s = int_scheme(bits, 16);
            size_t bytes;
            uint8_t *codes = section(families[f], &s, N, K, SECTION_CODES, &bytes);
            for (int n = 0; n < N; n++) layout_put_codes(families[f], &s, K, codes, n, 0, K, ones);
            int set = 0;
            for (size_t i = 0; i < bytes; i++) set += __builtin_popcount(codes[i]);
            assert_int_equal(set, N * K * bits);
            assert_int_equal(codes[bytes], 0);
            free(codes);
        }
}

/* Put the code 1 at (n, k) and return the bit it sets. */
static long bit_of(enum layout_family f, int bits, int K, int n, int k)
{
    const struct scheme s = int_scheme(bits, 32);
    const uint8_t one = 1;
    size_t bytes;
    uint8_t *codes = section(f, &s, n + 1, K, SECTION_CODES, &bytes);
    layout_put_codes(f, &s, K, codes, n, k, 1, &one);
    long bit = -1;
    for (size_t i = 0; i < bytes * 8; i++)
        if (codes[i / 8] >> i % 8 & 1) bit = (long)i;
    free(codes);
    return bit;
}

static void positions_are_as_drawn(void **state)
{
    (void)state;
    /* x86, 4 bits: row 3, k 2 -> unit 0, byte 4*3+2, low nibble; k 6 -> its high nibble */
    assert_int_equal(bit_of(FAMILY_X86, 4, 64, 3, 2), (4 * 3 + 2) * 8);
    assert_int_equal(bit_of(FAMILY_X86, 4, 64, 3, 6), (4 * 3 + 2) * 8 + 4);
    /* second chunk, unit 1 (k 40 = 32 + 8) */
    assert_int_equal(bit_of(FAMILY_X86, 4, 64, 0, 40), (256 + 64) * 8);
    /* second tile of rows */
    assert_int_equal(bit_of(FAMILY_X86, 4, 64, 16, 0), 512 * 8);
    /* mma, 4 bits: row 9 = g 1 + 8, k 3 -> lane 4*1+1, pair 1 (row + 8), odd half: word 5*4, bit
     * 4+16 */
    assert_int_equal(bit_of(FAMILY_MMA, 4, 128, 9, 3), (5 * 4) * 32 + 4 + 16);
    /* step 2, +8: row 0, k 40 -> lane 0, pair 4*2+2 = 10 -> word 2, field 2 */
    assert_int_equal(bit_of(FAMILY_MMA, 4, 128, 0, 40), 2 * 32 + 8);
    /* 8 bits: row 0, k 32 -> pair 8 -> word 4 -> second half of the plane */
    assert_int_equal(bit_of(FAMILY_MMA, 8, 128, 0, 32), 4 * 32 * 32);
}

static void dense_comes_back(void **state)
{
    (void)state;
    enum { N = 19, K = 70 };
    const struct scheme s = {.code = CODE_F16, .bits = 16, .group = GROUP_ROW};
    for (size_t f = 0; f < 2; f++) {
        size_t bytes;
        void *codes = section(families[f], &s, N, K, SECTION_CODES, &bytes);
        uint16_t row[K], back[K];
        for (int n = 0; n < N; n++) {
            for (int k = 0; k < K; k++) row[k] = (uint16_t)(n * K + k + 1);
            layout_put_dense(families[f], &s, K, codes, n, 0, K, row);
        }
        for (int n = 0; n < N; n++) {
            layout_get_dense(families[f], &s, K, codes, n, 0, K, back);
            for (int k = 0; k < K; k++) assert_int_equal(back[k], n * K + k + 1);
        }
        free(codes);
    }
}

static void row_follows_value_rules(void **state)
{
    (void)state;
    enum { K = 40 };
    uint8_t q[K], codes[16 * 32 * 2] = {0}, zeros[16 * 3] = {0};
    uint16_t scales[16 * 3] = {0};
    float row[K], minima[16 * 3] = {0};
    for (int k = 0; k < K; k++) q[k] = (uint8_t)(k % 16);
    struct scheme s = int_scheme(4, 16);
    layout_put_codes(FAMILY_X86, &s, K, codes, 2, 0, K, q);
    for (int g = 0; g < 3; g++) {
        scales[layout_scale_index(3, 2, g)] = f32_to_f16(0.25f * (float)(g + 1));
        zeros[layout_scale_index(3, 2, g)] = (uint8_t)(g + 5);
    }
    struct qk_weight w = {.codes = codes, .scales = scales, .zeros = zeros, .N = 3, .K = K, .G = 3};
    layout_dequant_row(FAMILY_X86, &s, &w, 2, row);
    for (int k = 0; k < K; k++)
        assert_true(row[k] == 0.25f * (float)(k / 16 + 1) * (float)(k % 16 - 8));
    s.zero = ZERO_INT;
    layout_dequant_row(FAMILY_X86, &s, &w, 2, row);
    for (int k = 0; k < K; k++)
        assert_true(row[k] == 0.25f * (float)(k / 16 + 1) * (float)(k % 16 - (k / 16 + 5)));
    s.zero = ZERO_FLOAT, s.scale = SCALE_F32;
    float wide[16 * 3] = {0};
    for (int g = 0; g < 3; g++) {
        wide[layout_scale_index(3, 2, g)] = 0.5f;
        minima[layout_scale_index(3, 2, g)] = -(float)g;
    }
    w.scales = wide, w.zeros = minima;
    layout_dequant_row(FAMILY_X86, &s, &w, 2, row);
    for (int k = 0; k < K; k++) assert_true(row[k] == 0.5f * (float)(k % 16) - (float)(k / 16));
}

/* Row 1 of a matrix: codes 0..15, scales in groups of 16. */
static void row_of_looked_up_codes(void **state)
{
    (void)state;
    enum { K = 32 };
    static const float e2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    uint8_t q[K], codes[16 * 64] = {0}, scales[16 * 2] = {0};
    float row[K];
    const float matrix[4] = {0.25f};
    for (int k = 0; k < K; k++) q[k] = (uint8_t)(k % 16);
    struct scheme s = {CODE_E2M1, 4, SCALE_E4M3, ZERO_NONE, 16};
    layout_put_codes(FAMILY_MMA, &s, K, codes, 1, 0, K, q);
    scales[layout_scale_index(2, 1, 0)] = 0x38; /* 1 */
    scales[layout_scale_index(2, 1, 1)] = 0x44; /* 3 */
    struct qk_weight w = {
        .codes = codes, .scales = scales, .supers = matrix, .N = 2, .K = K, .G = 2};
    layout_dequant_row(FAMILY_MMA, &s, &w, 1, row);
    for (int k = 0; k < K; k++) assert_true(row[k] == (k < 16 ? 0.25f : 0.75f) * e2m1[k % 16]);
    s = (struct scheme){CODE_IQ4, 4, SCALE_E8M0, ZERO_NONE, 16};
    scales[layout_scale_index(2, 1, 0)] = 128; /* 2 */
    scales[layout_scale_index(2, 1, 1)] = 120; /* 2^-7 */
    layout_dequant_row(FAMILY_MMA, &s, &w, 1, row);
    assert_true(row[0] == -254 && row[15] == 226 && row[16] == -127 / 128.0f &&
                row[24] == 1 / 128.0f);
    const float wide[16 * 2] = {[1] = 0.5f, [17] = 2};
    s = (struct scheme){CODE_E4M3, 8, SCALE_F32, ZERO_NONE, 16};
    w.scales = wide;
    memset(codes, 0, sizeof codes);
    for (int k = 0; k < K; k++) q[k] = k % 2 ? 0xc4 : 0x38; /* -3, 1 */
    layout_put_codes(FAMILY_X86, &s, K, codes, 1, 0, K, q);
    layout_dequant_row(FAMILY_X86, &s, &w, 1, row);
    for (int k = 0; k < K; k++)
        assert_true(row[k] == (k < 16 ? 0.5f : 2.0f) * (k % 2 ? -3.0f : 1.0f));
}

static void sections_have_their_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t bytes[SECTION_COUNT]; /* of 17 x 100, mma: 32 rows, 128 columns of codes */
    } rows[] = {
        {"w4g32z", {2048, 32 * 4 * 2, 32 * 4, 0}}, {"nf4g64", {2048, 32 * 2 * 2, 0, 0}},
        {"mxfp4", {2048, 32 * 4, 0, 0}},           {"nvfp4", {2048, 32 * 7, 0, 16}},
        {"e4m3gc.f32", {4096, 32 * 4, 0, 0}},      {"w4g32m.f32", {2048, 512, 512, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scheme s;
        size_t bytes[SECTION_COUNT];
        assert_int_equal(scheme_parse(rows[i].name, &s), QRT_OK);
        assert_int_equal(layout_bytes(FAMILY_MMA, &s, 17, 100, bytes), QRT_OK);
        assert_memory_equal(bytes, rows[i].bytes, sizeof bytes);
    }
}

static void bad_sizes_are_refused(void **state)
{
    (void)state;
    size_t bytes[SECTION_COUNT];
    struct scheme s = int_scheme(4, 32);
    assert_int_equal(layout_bytes(FAMILY_X86, &s, 0, 32, bytes), QRT_E_LIMIT);
    assert_int_equal(layout_bytes(FAMILY_X86, &s, 1, (int64_t)1 << 31, bytes), QRT_E_LIMIT);
    s.scale = SCALE_TWO_LEVEL;
    assert_int_equal(layout_bytes(FAMILY_X86, &s, 16, 640, bytes), QRT_E_SCHEME);
    s = (struct scheme){.code = CODE_F32, .bits = 32, .group = GROUP_ROW};
    assert_int_equal(layout_bytes(FAMILY_MMA, &s, 16, 64, bytes), QRT_E_SCHEME);
    s = int_scheme(9, 32);
    assert_int_equal(layout_bytes(FAMILY_X86, &s, 16, 64, bytes), QRT_E_SCHEME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_come_back),           cmocka_unit_test(every_code_owns_its_bits),
        cmocka_unit_test(positions_are_as_drawn),    cmocka_unit_test(dense_comes_back),
        cmocka_unit_test(row_follows_value_rules),   cmocka_unit_test(row_of_looked_up_codes),
        cmocka_unit_test(sections_have_their_sizes), cmocka_unit_test(bad_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
