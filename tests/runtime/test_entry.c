/* test_entry.c -- contract of entry.h and blake2b.h
 *
 * - BLAKE2b gives the digests of RFC 7693, appendix A, and of the reference vectors at block edges,
 *   however the input is cut
 * - what entry_serialize wrote entry_parse reads back
 * - an entry cut at any byte, or with any bit changed, is refused
 * - a well-hashed entry with a lying field is refused
 */
#include "entry.h"

#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "helpers.h"

static void hex(const uint8_t *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * count] = 0;
}

static void blake2b_gives_known_digests(void **state)
{
    (void)state;
    static const char abc[] = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
                              "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923";
    static const char empty[] = "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419"
                                "d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce";
    uint8_t digest[64];
    char text[129];
    blake2b_hash(digest, 64, "abc", 3);
    hex(digest, 64, text);
    assert_string_equal(text, abc);
    blake2b_hash(digest, 64, "", 0);
    hex(digest, 64, text);
    assert_string_equal(text, empty);
}

static void cuts_do_not_matter(void **state)
{
    (void)state;
    uint8_t data[517], whole[32], parts[32];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + 1);
    for (size_t total = 0; total <= sizeof data; total += total % 128 > 120 ? 1 : 37) {
        blake2b_hash(whole, 32, data, total);
        for (size_t cut = 0; cut <= total; cut += 13) {
            struct blake2b b;
            blake2b_init(&b, 32);
            blake2b_update(&b, data, cut);
            blake2b_update(&b, data + cut, total - cut);
            blake2b_final(&b, parts);
            assert_memory_equal(whole, parts, 32);
        }
    }
}

static struct entry sample_entry(void)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    memset(e.key, 7, sizeof e.key);
    assert_int_equal(op_desc_parse("linear.w4g128z.f16.f16", &e.record.desc), QRT_OK);
    strcpy(e.record.arch, "sm_80");
    strcpy(e.record.symbol, "qk_gemm");
    strcpy(e.record.template_, "cuda/gemm");
    strcpy(e.record.tune, "bm=64");
    e.record.m_lo = 1, e.record.m_hi = 64, e.record.split = 1;
    for (int i = 0; i < 3; i++) e.record.grid[i].div = 1, e.record.block[i] = 1;
    e.record.block[0] = 128;
    e.record.map = (struct entry_map){64, 128};
    e.part[ENTRY_IMAGE].data = "cubin";
    e.part[ENTRY_IMAGE].bytes = 5;
    e.part[ENTRY_PTX].data = ".version 9.0";
    e.part[ENTRY_PTX].bytes = 13;
    return e;
}

static void entry_comes_back(void **state)
{
    (void)state;
    const struct entry e = sample_entry();
    struct entry back;
    void *bytes;
    size_t count;
    assert_int_equal(entry_serialize(&e, &bytes, &count), QRT_OK);
    assert_int_equal(entry_parse(bytes, count, &back), QRT_OK);
    assert_memory_equal(&back.record, &e.record, sizeof e.record);
    assert_memory_equal(back.key, e.key, sizeof e.key);
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        assert_int_equal(back.part[i].bytes, e.part[i].bytes);
        if (e.part[i].bytes)
            assert_memory_equal(back.part[i].data, e.part[i].data, e.part[i].bytes);
    }
    free(bytes);
}

static void damage_is_refused(void **state)
{
    (void)state;
    const struct entry e = sample_entry();
    struct entry back;
    void *bytes;
    size_t count;
    assert_int_equal(entry_serialize(&e, &bytes, &count), QRT_OK);
    for (size_t cut = 0; cut < count; cut++) {
        void *copy = malloc(cut ? cut : 1); /* its own block, so that a sanitizer sees over-reads */
        memcpy(copy, bytes, cut);
        assert_int_equal(entry_parse(copy, cut, &back), QRT_E_FORMAT);
        free(copy);
    }
    for (size_t bit = 0; bit < count * 8; bit++) {
        ((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(entry_parse(bytes, count, &back), QRT_E_FORMAT);
        ((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}

static void refused(struct entry e)
{
    struct entry back;
    void *bytes;
    size_t count;
    assert_int_equal(entry_serialize(&e, &bytes, &count), QRT_OK);
    assert_int_not_equal(entry_parse(bytes, count, &back), QRT_OK);
    free(bytes);
}

static void lies_are_refused(void **state)
{
    (void)state;
#define REFUSED(change)                  \
    do {                                 \
        struct entry e = sample_entry(); \
        change;                          \
        refused(e);                      \
    } while (0)
    REFUSED(e.record.desc.op = OP_COUNT);
    REFUSED(e.record.desc.weight.bits = 9);
    REFUSED(e.record.desc.weight.group = 0);
    REFUSED(e.record.grid[0].div = 0);
    REFUSED(e.record.grid[1].dim = DIM_COUNT);
    REFUSED(e.record.block[0] = 2048);
    REFUSED(e.record.block[1] = 0);
    REFUSED(e.record.m_hi = 0);
    REFUSED(e.record.smem_bytes = 1u << 30);
    REFUSED(e.record.map.rows = 0);
    REFUSED(e.record.map.rows = 257);
    REFUSED(e.record.map.bytes = 96);
    REFUSED(assert_int_equal(op_desc_parse("add.f16", &e.record.desc), QRT_OK));
    REFUSED(assert_int_equal(op_desc_parse("linear.w4g128.f32.f32", &e.record.desc), QRT_OK));
    REFUSED(strcpy(e.record.arch, "sm_70"));
    REFUSED(strcpy(e.record.symbol, "../x"));
    REFUSED(e.record.symbol[0] = 0);
    REFUSED(memset(e.record.tune, 'x', sizeof e.record.tune));
    REFUSED(e.part[ENTRY_PTX].bytes = 12);
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blake2b_gives_known_digests),
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(entry_comes_back),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(lies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
