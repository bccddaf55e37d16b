/* test_key.c -- contract of key.h
 *
 * - equal fields give equal keys; a change of any name or value gives another
 * - bytes moved from one field to the next give another key
 * - the hexadecimal form is 64 lower-case digits, first byte first
 */
#include "key.h"

#include <string.h>

#include "helpers.h"

static void key_of(const char *const texts[][2], uint8_t out[ENTRY_KEY_BYTES])
{
    struct key k;
    key_begin(&k);
    for (int i = 0; texts[i][0]; i++) key_add_text(&k, texts[i][0], texts[i][1]);
    key_end(&k, out);
}

static void fields_decide(void **state)
{
    (void)state;
    uint8_t first[ENTRY_KEY_BYTES], other[ENTRY_KEY_BYTES];
    key_of((const char *const[][2]){{"text", "abc"}, {"arch", "sm_89"}, {0}}, first);
    key_of((const char *const[][2]){{"text", "abc"}, {"arch", "sm_89"}, {0}}, other);
    assert_memory_equal(first, other, sizeof first);
    static const char *const changed[][3][2] = {
        {{"text", "abd"}, {"arch", "sm_89"}, {0}},
        {{"text", "abc"}, {"arch", "sm_90"}, {0}},
        {{"text", "abc"}, {"arc", "hsm_89"}, {0}},
        {{"text", "abcarch"}, {"", "sm_89"}, {0}},
        {{"textabc", ""}, {"arch", "sm_89"}, {0}},
        {{"arch", "sm_89"}, {"text", "abc"}, {0}},
        {{"text", "abc"}, {0}},
    };
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        key_of(changed[i], other);
        assert_memory_not_equal(first, other, sizeof first);
    }
}

static void hex_is_plain(void **state)
{
    (void)state;
    uint8_t key[ENTRY_KEY_BYTES] = {0x01, 0xab};
    char hex[KEY_HEX_BYTES];
    key[31] = 0xf0;
    key_hex(key, hex);
    assert_int_equal(strlen(hex), 64);
    assert_memory_equal(hex, "01ab00", 6);
    assert_string_equal(hex + 60, "00f0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_decide),
        cmocka_unit_test(hex_is_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
