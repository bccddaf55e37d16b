/* test_unicode.c -- contract of unicode.h
 *
 * - classes follow the Unicode Character Database, also at the ends of its range
 * - every code below UNICODE_LIMIT survives encoding and decoding
 * - a byte that belongs to no sequence counts alone as U+FFFD, also at the end of the text
 * - repaired text is clean, and clean text stays as it is
 */
#include "unicode.h"

#include <string.h>

#include "helpers.h"

static void classes_follow_the_database(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        enum unicode_class class;
    } known[] = {
        {'a', UNICODE_LETTER},     {'5', UNICODE_NUMBER},         {' ', UNICODE_SPACE},
        {'\n', UNICODE_SPACE},     {'!', UNICODE_PUNCTUATION},    {'$', UNICODE_OTHER},
        {0, UNICODE_OTHER},        {0xE9, UNICODE_LETTER},        {0xBD, UNICODE_NUMBER},
        {0x2163, UNICODE_NUMBER},  {0x3000, UNICODE_SPACE},       {0x85, UNICODE_SPACE},
        {0x200B, UNICODE_OTHER},   {0x301, UNICODE_OTHER},        {0x4E2D, UNICODE_LETTER},
        {0x1F600, UNICODE_OTHER},  {0x2019, UNICODE_PUNCTUATION}, {0x30000, UNICODE_LETTER},
        {0x10FFFF, UNICODE_OTHER}, {0xAC00, UNICODE_LETTER},      {0x1D7D8, UNICODE_NUMBER},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(unicode_class(known[i].code), known[i].class);
}

static void codes_survive(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < UNICODE_LIMIT; code++) {
        uint8_t bytes[4];
        uint32_t again;
        const size_t count = unicode_encode(code, bytes);
        assert_int_equal(unicode_lead_bytes(bytes[0]), count);
        assert_int_equal(unicode_decode(bytes, count, &again), count);
        assert_int_equal(again, code);
    }
}

static void bad_bytes_count_alone(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80x", "\xC3(", "\xE2\x82", "\xF0\x9F\x98", "\xF8\x88\x80\x80", "\xF4\x90\x80\x80",
        "\xFF"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t code;
        assert_int_equal(unicode_decode((const uint8_t *)bad[i], strlen(bad[i]), &code), 1);
        assert_int_equal(code, UNICODE_REPLACEMENT);
    }
}

static void repair_gives_clean_text(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 2000; round++) {
        uint8_t text[24], once[72], twice[216];
        for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(random_word(&seed) >> 40);
        const size_t count = unicode_repair(text, sizeof text, once);
        assert_true(unicode_is_clean(once, count));
        assert_int_equal(unicode_repair(once, count, twice), count);
        assert_memory_equal(once, twice, count);
    }
    assert_true(unicode_is_clean((const uint8_t *)"h\xC3\xA9 \xF0\x9F\x98\x80", 8));
    assert_false(unicode_is_clean((const uint8_t *)"\xC0\x80", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_follow_the_database),
        cmocka_unit_test(codes_survive),
        cmocka_unit_test(bad_bytes_count_alone),
        cmocka_unit_test(repair_gives_clean_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
