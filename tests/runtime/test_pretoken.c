/* test_pretoken.c -- contract of pretoken.h
 *
 * - each rule cuts as its regular expressions do
 * - the pieces are the text, for any clean text and rule, and none is empty
 * - a status from word() ends the work and comes back
 */
#include "pretoken.h"

#include <string.h>

#include "helpers.h"
#include "unicode.h"

/* Joins the pieces with bars between. */
struct joined {
    char text[512];
    size_t bytes, pieces;
};

static qrt_status join(void *user, const uint8_t *bytes, size_t count)
{
    struct joined *j = user;
    assert_true(count > 0);
    if (j->pieces++) j->text[j->bytes++] = '|';
    memcpy(j->text + j->bytes, bytes, count);
    j->bytes += count;
    return QRT_OK;
}

static void rules_cut_like_their_expressions(void **state)
{
    (void)state;
    static const struct {
        enum pretoken_rule rule;
        const char *text, *pieces;
    } known[] = {
        {PRETOKEN_GPT2, "Hello, world", "Hello|,| world"},
        {PRETOKEN_GPT2, "it's we'LL 's", "it|'s| we|'|LL| '|s"},
        {PRETOKEN_GPT2, "a   b", "a|  | b"},
        {PRETOKEN_GPT2, "a \n", "a| \n"},
        {PRETOKEN_GPT2, " 123x4", " 123|x|4"},
        {PRETOKEN_GPT2, "\t\tx", "\t|\t|x"},
        {PRETOKEN_GPT2, "\xC2\xA0\xC3\xA9", "\xC2\xA0|\xC3\xA9"},
        {PRETOKEN_SMOLLM, "in 2024.", "in| |2|0|2|4|."},
        {PRETOKEN_SMOLLM, "a  5", "a|  |5"},
        {PRETOKEN_DEFAULT, "a+b=12345!", "a|+|b|=|123|45|!"},
        {PRETOKEN_DEFAULT, "x 1234", "x| |123|4"},
        {PRETOKEN_LLAMA3, "we'LL (go) 12345", "we|'LL| (|go|)| |123|45"},
        {PRETOKEN_LLAMA3, "a \n\n  b", "a| \n\n| | b"},
        {PRETOKEN_LLAMA3, "x!!\n\ny", "x|!!\n\n|y"},
        {PRETOKEN_LLAMA3, "\tx\r\n", "\tx|\r\n"},
        {PRETOKEN_QWEN2, "no 123", "no| |1|2|3"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct joined j = {.bytes = 0};
        assert_int_equal(pretoken_split(known[i].rule, (const uint8_t *)known[i].text,
                                        strlen(known[i].text), join, &j),
                         QRT_OK);
        assert_string_equal(j.text, known[i].pieces);
    }
}

struct cursor {
    const uint8_t *next;
};

static qrt_status follow(void *user, const uint8_t *bytes, size_t count)
{
    struct cursor *c = user;
    assert_true(count > 0);
    assert_ptr_equal(bytes, c->next);
    c->next += count;
    return QRT_OK;
}

static void pieces_are_the_text(void **state)
{
    (void)state;
    static const char *const alphabet[] = {"a",
                                           "Z",
                                           "7",
                                           " ",
                                           "\n",
                                           "\r",
                                           "\t",
                                           "'",
                                           "s",
                                           "l",
                                           "+",
                                           "!",
                                           "\xC3\xA9",
                                           "\xE4\xB8\xAD",
                                           "\xF0\x9F\x98\x80",
                                           "\xC2\xA0",
                                           "\xC2\xBD"};
    uint64_t seed = 11;
    for (int round = 0; round < 4000; round++) {
        char text[256] = "";
        for (uint64_t n = random_word(&seed) % 40; n > 0; n--)
            strcat(text, alphabet[random_word(&seed) % (sizeof alphabet / sizeof *alphabet)]);
        for (int rule = 0; rule < PRETOKEN_RULE_COUNT; rule++) {
            struct cursor c = {(const uint8_t *)text};
            assert_int_equal(
                pretoken_split((enum pretoken_rule)rule, c.next, strlen(text), follow, &c), QRT_OK);
            assert_ptr_equal(c.next, text + strlen(text));
        }
    }
}

static qrt_status refuse_second(void *user, const uint8_t *bytes, size_t count)
{
    (void)bytes;
    (void)count;
    return ++*(int *)user == 2 ? QRT_E_LIMIT : QRT_OK;
}

static void status_ends_the_work(void **state)
{
    (void)state;
    int calls = 0;
    assert_int_equal(
        pretoken_split(PRETOKEN_GPT2, (const uint8_t *)"a b c d", 7, refuse_second, &calls),
        QRT_E_LIMIT);
    assert_int_equal(calls, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_cut_like_their_expressions),
        cmocka_unit_test(pieces_are_the_text),
        cmocka_unit_test(status_ends_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
