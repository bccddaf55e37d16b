/* test_lz4.c -- contract of unpacking LZ4 blocks (lz4.h)
 *
 * - blocks written by hand from the format's description give what they stand for
 * - what liblz4 packs, at any level and of any size, comes out as it went in
 * - a block cut short, or for another size, is refused
 * - damage is refused or gives another text of the same size, the one that liblz4 gives if it takes it
 *   (it also takes distance 0, which the format forbids); nothing outside of both blocks is touched
 */
#include "lz4.h"

#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "helpers.h"

enum { ROOM = 1 << 17 };

static struct guard in, out; /* a byte too far behind either is a crash */

/* Unpack from and to places that end at a guard. */
static qrt_status unpack(const void *block, size_t bytes, size_t to_bytes, uint8_t **to)
{
    *to = out.end - to_bytes;
    if (to_bytes < out.room) (*to)[-1] = 0x5c;
    const qrt_status status = lz4_unpack(guard_copy(&in, block, bytes), bytes, *to, to_bytes);
    if (to_bytes < out.room) assert_int_equal((*to)[-1], 0x5c);
    return status;
}

static void blocks_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t bytes;
        const char *text;
    } known[] = {
        {"\0", 1, ""},
        {"\x50hello", 6, "hello"},
        {"\x14"
         "a\1\0\x10z",
         6, "aaaaaaaaaz"}, /* 4 + 4 of distance 1 */
        {"\x32"
         "abc\3\0\x10z",
         8, "abcabcabcz"}, /* 2 + 4 of distance 3 */
        {"\x1f"
         "a\1\0\0\x10z",
         7, "aaaaaaaaaaaaaaaaaaaaz"}, /* 1 + 15 + 0 + 4 */
        {"\x1f"
         "a\1\0\2\0",
         6, "aaaaaaaaaaaaaaaaaaaaaa"}, /* no literals behind: 1 + 21 */
        {"\xf0\3"
         "abcdefghijklmnopqr",
         20, "abcdefghijklmnopqr"}, /* 15 + 3 literals */
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint8_t *to;
        const size_t length = strlen(known[i].text);
        if (unpack(known[i].block, known[i].bytes, length, &to) != QRT_OK)
            fail_msg("%zu: %s", i, qrt_message());
        assert_memory_equal(to, known[i].text, length);
        assert_int_equal(unpack(known[i].block, known[i].bytes, length + 1, &to), QRT_E_FORMAT);
        if (length)
            assert_int_equal(unpack(known[i].block, known[i].bytes, length - 1, &to), QRT_E_FORMAT);
    }
}

static void wrong_blocks_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t bytes, to_bytes;
    } wrong[] = {
        {"", 0, 0},         /* not even a token */
        {"\x50hell", 5, 5}, /* fewer literals than said */
        {"\x14"
         "a\0\0\x10z",
         6, 10}, /* distance 0 */
        {"\x14"
         "a\2\0\x10z",
         6, 10}, /* from before the start */
        {"\x14"
         "a\1",
         3, 9}, /* half a distance */
        {"\x14"
         "a\1\0",
         4, 9},                        /* ends behind a match */
        {"\xf0", 1, 15},               /* a length without its end */
        {"\xf0\xff\xff", 3, 15 + 510}, /* the same */
        {"\x1f"
         "a\1\0\xff",
         5, 275}, /* the same of a match */
        {"\x10"
         "a\0",
         3, 1}, /* something behind the last literals */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t *to;
        if (unpack(wrong[i].block, wrong[i].bytes, wrong[i].to_bytes, &to) != QRT_E_FORMAT)
            fail_msg("block %zu was taken", i);
    }
}

/* Texts from all zero to all noise, by `noise` of 256. */
static void fill(uint8_t *text, size_t bytes, unsigned noise, uint64_t *random)
{
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t word = random_word(random);
        text[i] = (word >> 8 & 255) < noise ? (uint8_t)(word >> 40) : (uint8_t)(i / 64 % 7);
    }
}

static size_t pack(const uint8_t *text, size_t bytes, int level, uint8_t *block)
{
    const int packed =
        level ? LZ4_compress_HC((const char *)text, (char *)block, (int)bytes, 2 * ROOM, level)
              : LZ4_compress_default((const char *)text, (char *)block, (int)bytes, 2 * ROOM);
    assert_true(packed > 0);
    return (size_t)packed;
}

static uint8_t text[ROOM], block[2 * ROOM];

static void packed_texts_come_out(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,   1,   2,   12,   13,    15,    16,    19,
                                   255, 270, 271, 4096, 65535, 65536, 65537, ROOM};
    uint64_t random = 3;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (unsigned noise = 0; noise <= 256; noise += 32)
            for (int level = 0; level <= LZ4HC_CLEVEL_MAX; level += 4) {
                uint8_t *to;
                fill(text, sizes[s], noise, &random);
                const size_t packed = pack(text, sizes[s], level, block);
                if (unpack(block, packed, sizes[s], &to) != QRT_OK) fail_msg("%s", qrt_message());
                assert_memory_equal(to, text, sizes[s]);
            }
}

static size_t skip_length(size_t bytes, size_t *at, size_t nibble)
{
    size_t length = nibble;
    for (uint8_t byte = 255; nibble == 15 && byte == 255 && *at < bytes; length += byte)
        byte = block[(*at)++];
    return length;
}

/* Whether a match of the block has distance 0, which the format forbids and liblz4 takes. */
static int has_distance_0(size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        const uint8_t token = block[at++];
        at += skip_length(bytes, &at, token >> 4);
        if (at + 2 > bytes) return 0;
        if (block[at] == 0 && block[at + 1] == 0) return 1;
        at += 2;
        skip_length(bytes, &at, token & 15);
    }
    return 0;
}

/* Ours may take what liblz4 does not (it wants literals at the end); but for distance 0, never the
 * other way round. */
static void compare_with_liblz4(size_t bytes, size_t to_bytes)
{
    static char theirs[ROOM];
    uint8_t *to;
    const int got = LZ4_decompress_safe((const char *)block, theirs, (int)bytes, (int)to_bytes);
    const qrt_status status = unpack(block, bytes, to_bytes, &to);
    if (got == (int)to_bytes && !has_distance_0(bytes)) {
        assert_int_equal(status, QRT_OK);
        assert_memory_equal(to, theirs, to_bytes);
    } else if (status != QRT_OK) {
        assert_int_equal(status, QRT_E_FORMAT);
    }
}

enum { SMALL = 700 };

static void cut_blocks_are_refused(void **state)
{
    (void)state;
    uint64_t random = 11;
    fill(text, SMALL, 40, &random);
    const size_t packed = pack(text, SMALL, 9, block);
    for (size_t bytes = 0; bytes < packed; bytes++) {
        uint8_t *to;
        assert_int_equal(unpack(block, bytes, SMALL, &to), QRT_E_FORMAT);
    }
    for (size_t to_bytes = 0; to_bytes < 2 * SMALL; to_bytes++) {
        uint8_t *to;
        const qrt_status want = to_bytes == SMALL ? QRT_OK : QRT_E_FORMAT;
        assert_int_equal(unpack(block, packed, to_bytes, &to), want);
    }
}

static void every_flipped_bit(void **state)
{
    (void)state;
    uint64_t random = 5;
    fill(text, SMALL, 40, &random);
    const size_t packed = pack(text, SMALL, 9, block);
    for (size_t bit = 0; bit < 8 * packed; bit++) {
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        compare_with_liblz4(packed, SMALL);
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* Noise, and blocks with a few wrong bytes. */
static void random_blocks(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int i = 0; i < 60000; i++) {
        size_t bytes = random_word(&random) % 300;
        if (i % 2) {
            fill(text, SMALL, (unsigned)(i % 200), &random);
            bytes = pack(text, SMALL, 0, block);
            for (int n = 0; n < 3; n++)
                block[random_word(&random) % bytes] = (uint8_t)(random_word(&random) >> 32);
        } else {
            for (size_t b = 0; b < bytes; b++)
                block[b] = (uint8_t)(random_word(&random) >> (i % 4 ? 32 : 34));
        }
        compare_with_liblz4(bytes, i % 8 ? SMALL : random_word(&random) % SMALL);
    }
}

static int open_guards(void **state)
{
    (void)state;
    guard_open(&in, 2 * ROOM);
    guard_open(&out, ROOM);
    return 0;
}

static int close_guards(void **state)
{
    (void)state;
    guard_close(&in);
    guard_close(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_by_hand),        cmocka_unit_test(wrong_blocks_by_hand),
        cmocka_unit_test(packed_texts_come_out), cmocka_unit_test(cut_blocks_are_refused),
        cmocka_unit_test(every_flipped_bit),     cmocka_unit_test(random_blocks),
    };
    return cmocka_run_group_tests(tests, open_guards, close_guards);
}
