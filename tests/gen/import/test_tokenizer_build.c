/* test_tokenizer_build.c -- contract of tokenizer_build.h
 *
 * - equal vocabularies give equal bytes
 * - a merge whose sides or result are no tokens is refused, and named
 * - a merge that is not two texts of the alphabet is refused
 * - a token of unknown type, of type byte without a byte's name, or too long is refused
 * - an unknown-token id outside of the vocabulary is refused
 * - a token that GPT-2's alphabet cannot write can still be read
 */
#include "tokenizer_build.h"

#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "vocabularies.h"

static const struct toy_token letters[] = {
    {"a", TOKEN_NORMAL, 0}, {"b", TOKEN_NORMAL, 0}, {"ab", TOKEN_NORMAL, 0}, {NULL, 0, 0}};

static void equal_input_gives_equal_bytes(void **state)
{
    (void)state;
    static const char *const merges[] = {"a b", NULL};
    void *first, *second;
    const size_t bytes = toy_build(TOKENIZER_BPE, PRETOKEN_GPT2, 0, -1, letters, merges, &first);
    assert_int_equal(toy_build(TOKENIZER_BPE, PRETOKEN_GPT2, 0, -1, letters, merges, &second),
                     bytes);
    assert_memory_equal(first, second, bytes);
    free(first);
    free(second);
}

static void refuse(const struct toy_token *tokens, const char *merge, enum tokenizer_kind kind,
                   int unknown, qrt_status expected, const char *told)
{
    const char *const merges[] = {merge, NULL};
    void *blob = NULL;
    size_t bytes = 0;
    assert_int_equal(toy_try(kind, PRETOKEN_GPT2, 0, unknown, tokens, merges, &blob, &bytes),
                     expected);
    assert_null(blob);
    if (!strstr(qrt_message(), told)) fail_msg("'%s' is not in '%s'", told, qrt_message());
}

static void merges_of_no_tokens_are_refused(void **state)
{
    (void)state;
    refuse(letters, "x b", TOKENIZER_BPE, -1, QRT_E_FORMAT, "merge 0, 'x b': its left side");
    refuse(letters, "a x", TOKENIZER_BPE, -1, QRT_E_FORMAT, "its right side");
    refuse(letters, "b a", TOKENIZER_BPE, -1, QRT_E_FORMAT, "what it makes");
}

static void malformed_merges_are_refused(void **state)
{
    (void)state;
    refuse(letters, "ab", TOKENIZER_BPE, -1, QRT_E_FORMAT, "not two texts");
    refuse(letters, "abab", TOKENIZER_BPE, -1, QRT_E_FORMAT, "no space");
    refuse(letters, "a \xE4\xB8\xAD", TOKENIZER_BPE, -1, QRT_E_FORMAT, "stands for no byte");
    refuse(letters, "abc ", TOKENIZER_BPE, -1, QRT_E_FORMAT, "merge 0");
}

static void malformed_tokens_are_refused(void **state)
{
    (void)state;
    const struct toy_token odd_type[] = {{"a", 7, 0}, {NULL, 0, 0}};
    const struct toy_token odd_byte[] = {{"<0x-1>", TOKEN_BYTE, 0}, {NULL, 0, 0}};
    const struct toy_token odd_score[] = {{"a", TOKEN_NORMAL, (float)__builtin_nan("")},
                                          {NULL, 0, 0}};
    char *long_text = calloc(1, TOKENIZER_MAX_TOKEN + 2);
    assert_non_null(long_text);
    memset(long_text, 'a', TOKENIZER_MAX_TOKEN + 1);
    const struct toy_token long_token[] = {{long_text, TOKEN_NORMAL, 0}, {NULL, 0, 0}};
    const struct toy_token none[] = {{NULL, 0, 0}};
    refuse(odd_type, NULL, TOKENIZER_SPM, -1, QRT_E_FORMAT, "type 7");
    refuse(odd_byte, NULL, TOKENIZER_SPM, -1, QRT_E_FORMAT, "<0x-1>");
    refuse(odd_score, NULL, TOKENIZER_SPM, -1, QRT_E_FORMAT, "NaN");
    refuse(long_token, NULL, TOKENIZER_SPM, -1, QRT_E_LIMIT, "65536");
    refuse(none, NULL, TOKENIZER_SPM, -1, QRT_E_FORMAT, "0 tokens");
    free(long_text);
}

static void unknown_must_be_a_token(void **state)
{
    (void)state;
    refuse(letters, NULL, TOKENIZER_SPM, 3, QRT_E_FORMAT, "unknown token 3");
    refuse(letters, NULL, TOKENIZER_SPM, -2, QRT_E_FORMAT, "unknown token -2");
}

static void text_outside_the_alphabet_can_be_read(void **state)
{
    (void)state;
    const struct toy_token tokens[] = {{"\xE4\xB8\xAD", TOKEN_NORMAL, 0}, {NULL, 0, 0}};
    void *blob;
    const size_t bytes = toy_build(TOKENIZER_BPE, PRETOKEN_GPT2, 0, -1, tokens, NULL, &blob);
    struct tokenizer t;
    assert_int_equal(tokenizer_open(blob, bytes, 1, &t), QRT_OK);
    const char *text;
    size_t count;
    assert_int_equal(tokenizer_bytes(&t, 0, &text, &count), QRT_OK);
    assert_int_equal(count, 3);
    assert_memory_equal(text, "\xE4\xB8\xAD", 3);
    free(blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_input_gives_equal_bytes),
        cmocka_unit_test(merges_of_no_tokens_are_refused),
        cmocka_unit_test(malformed_merges_are_refused),
        cmocka_unit_test(malformed_tokens_are_refused),
        cmocka_unit_test(unknown_must_be_a_token),
        cmocka_unit_test(text_outside_the_alphabet_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
