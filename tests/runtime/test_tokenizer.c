/* test_tokenizer.c -- contract of tokenizer.h
 *
 * - BPE: the earliest merge of the list goes first, inside the words of the rule
 * - BPE: a byte without token is dropped; bytes that are no UTF-8 count as U+FFFD
 * - BPE: with TOKENIZER_WHOLE_WORDS a word that is a token needs no merges
 * - SPM: the best score goes first, of equals the leftmost; spaces become U+2581
 * - SPM: what is no token becomes its bytes; without byte tokens the unknown token
 * - SPM: a prefix space stands at the start and after specials
 * - specials: the longest first; control tokens when asked for, user-defined ones always
 * - the count does not depend on the capacity, and no more than that is written
 * - a token's bytes are what it stands for; control tokens and ids without token have none
 * - encoding and decoding give the text back
 * - a blob cut anywhere is refused
 * - a blob with any bit flipped is refused or used without harm
 * - one word of a million letters takes time like n log n
 */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "helpers.h"
#include "vocabularies.h"

#define N    TOKEN_NORMAL
#define C    TOKEN_CONTROL
#define U    TOKEN_USER_DEFINED
#define B    TOKEN_BYTE
#define MARK "\xE2\x96\x81"             /* U+2581 */
#define DOT  "\xC4\xA0"                 /* how GPT-2's alphabet writes a space */
#define BAD  "\xC3\xAF\xC2\xBF\xC2\xBD" /* and the bytes of U+FFFD */

/* ids:                             0            1            2            3            4 */
static const struct toy_token bpe[] = {
    {"a", N, 0},
    {"b", N, 0},
    {"c", N, 0},
    {DOT, N, 0},
    {"ab", N, 0},
    /*  5                6              7                  8              9 */
    {"bc", N, 0},
    {"abc", N, 0},
    {DOT "ab", N, 0},
    {"<s>", C, 0},
    {"aa", N, 0},
    /* 10                  11               12              13 */
    {"aaaa", N, 0},
    {"<s><s>", C, 0},
    {"cab", U, 0},
    {BAD, N, 0},
    {"\xC3\xAF", N, 0},
    /* 15                16                     17            18 */
    {"\xC2\xBF", N, 0},
    {"\xC2\xBD", N, 0},
    {"\xC3\xAF\xC2\xBF", N, 0},
    {"cb", N, 0},
    {NULL, 0, 0}};
static const char *const bpe_merges[] = {
    "b c", "a b",   DOT " ab",           "a bc",
    "a a", "aa aa", "\xC3\xAF \xC2\xBF", "\xC3\xAF\xC2\xBF \xC2\xBD",
    NULL};

/* ids:                             0             1             2              3 */
static const struct toy_token spm[] = {
    {"<unk>", TOKEN_UNKNOWN, 0},
    {"<s>", C, 0},
    {"a", N, -10},
    {"b", N, -11},
    /*   4                 5               6                7                   8 */
    {MARK, N, -12},
    {MARK "a", N, -2},
    {"ab", N, -1},
    {MARK "ab", N, -3},
    {"aa", N, -4},
    /*   9                 10                11                12              13 */
    {"<0xC3>", B, 0},
    {"<0xA9>", B, 0},
    {"\n\n", U, 0},
    {"\n", U, 0},
    {"[x]", U, 0},
    {NULL, 0, 0}};

struct fixture {
    qrt *rt;
    void *blob;
    size_t bytes;
    struct tokenizer t;
    int vocab;
};

static int open_fixture(struct fixture *f)
{
    assert_int_equal(qrt_open(NULL, &f->rt), QRT_OK);
    assert_int_equal(tokenizer_open(f->blob, f->bytes, f->vocab, &f->t), QRT_OK);
    return 0;
}

static struct fixture open_bpe(unsigned flags)
{
    struct fixture f = {.vocab = 24};
    f.bytes = toy_build(TOKENIZER_BPE, PRETOKEN_GPT2, flags, -1, bpe, bpe_merges, &f.blob);
    open_fixture(&f);
    return f;
}

static struct fixture open_spm(unsigned flags, int unknown)
{
    struct fixture f = {.vocab = 14};
    f.bytes = toy_build(TOKENIZER_SPM, PRETOKEN_DEFAULT, flags, unknown, spm, NULL, &f.blob);
    open_fixture(&f);
    return f;
}

static void close_fixture(struct fixture *f)
{
    qrt_close(f->rt);
    free(f->blob);
}

/* Assert that `text` encodes to the ids written "1 2 3". */
static void check_ids(const struct fixture *f, const char *text, int special, const char *expected)
{
    int ids[64];
    size_t count = 0;
    assert_int_equal(tokenizer_encode(&f->t, f->rt, text, strlen(text), special, ids, 64, &count),
                     QRT_OK);
    char found[400] = "";
    size_t at = 0;
    for (size_t i = 0; i < count && i < 64; i++)
        at += (size_t)snprintf(found + at, sizeof found - at, i ? " %d" : "%d", ids[i]);
    assert_string_equal(found, expected);
}

static void earliest_merge_goes_first(void **state)
{
    (void)state;
    struct fixture f = open_bpe(0);
    check_ids(&f, "", 0, "");
    check_ids(&f, "abc", 0, "6"); /* b c before a b */
    check_ids(&f, "ab", 0, "4");
    check_ids(&f, " ab", 0, "7");
    check_ids(&f, "ab ab", 0, "4 7");
    check_ids(&f, "aaa", 0, "9 0"); /* of equals the leftmost */
    check_ids(&f, "aaaaaa", 0, "10 9");
    check_ids(&f, "cb", 0, "2 1"); /* a token, but no merge makes it */
    close_fixture(&f);
}

static void bytes_without_token_are_dropped(void **state)
{
    (void)state;
    struct fixture f = open_bpe(0);
    check_ids(&f, "axxb", 0, "0 1");
    check_ids(&f, "a\xFF", 0, "0 13");
    check_ids(&f, "\xE2\x82", 0, "13 13");
    close_fixture(&f);
}

static void whole_words_need_no_merges(void **state)
{
    (void)state;
    struct fixture f = open_bpe(TOKENIZER_WHOLE_WORDS);
    check_ids(&f, "cb", 0, "18");
    check_ids(&f, "cbc", 0, "2 5");
    close_fixture(&f);
}

static void best_score_goes_first(void **state)
{
    (void)state;
    struct fixture f = open_spm(0, 0);
    check_ids(&f, "ab", 0, "6");
    check_ids(&f, " ab", 0, "7");
    check_ids(&f, "aab", 0, "2 6");
    check_ids(&f, "aaa", 0, "8 2");
    check_ids(&f, "a a", 0, "2 5");
    check_ids(&f, "a" MARK "a", 0, "2 5");
    close_fixture(&f);
}

static void unknown_text_becomes_bytes(void **state)
{
    (void)state;
    struct fixture f = open_spm(0, 0);
    check_ids(&f,
              "a\xC3\xA9"
              "b",
              0, "2 9 10 3");
    check_ids(&f, "z", 0, "0");
    check_ids(&f, "\xC3", 0, "9");
    check_ids(&f, "\xF0\x9F", 0, "0 0");
    close_fixture(&f);
    f = open_spm(0, -1);
    check_ids(&f, "azb", 0, "2 3");
    close_fixture(&f);
}

static void prefix_stands_at_the_start_and_after_specials(void **state)
{
    (void)state;
    struct fixture f = open_spm(TOKENIZER_SPACE_PREFIX, 0);
    check_ids(&f, "a", 1, "5");
    check_ids(&f, "a<s>ab", 1, "5 1 7");
    check_ids(&f, "<s><s>", 1, "1 1");
    check_ids(&f, "", 1, "");
    close_fixture(&f);
}

static void longest_special_goes_first(void **state)
{
    (void)state;
    struct fixture f = open_bpe(0);
    check_ids(&f, "<s>a<s><s><s>b", 1, "8 0 11 8 1");
    check_ids(&f, "<s>cab<s>", 0, "12"); /* '<', 's', '>' have no tokens here */
    check_ids(&f, "cabcab", 0, "12 12");
    close_fixture(&f);
    f = open_spm(0, 0);
    check_ids(&f, "a\n\n\nb", 0, "2 11 12 3");
    check_ids(&f, "[x][x", 0, "13 0 0");
    close_fixture(&f);
}

static void count_does_not_depend_on_capacity(void **state)
{
    (void)state;
    struct fixture f = open_bpe(0);
    int ids[3] = {-7, -7, -7};
    size_t count = 0;
    assert_int_equal(tokenizer_encode(&f.t, f.rt, "ab ab abc", 9, 0, NULL, 0, &count), QRT_OK);
    assert_int_equal(count, 4);
    assert_int_equal(tokenizer_encode(&f.t, f.rt, "ab ab abc", 9, 0, ids, 2, &count), QRT_OK);
    assert_int_equal(count, 4);
    assert_int_equal(ids[1], 7);
    assert_int_equal(ids[2], -7);
    close_fixture(&f);
}

static void check_bytes(const struct fixture *f, int id, const char *expected)
{
    const char *bytes;
    size_t count;
    assert_int_equal(tokenizer_bytes(&f->t, id, &bytes, &count), QRT_OK);
    assert_int_equal(count, strlen(expected));
    assert_memory_equal(bytes, expected, count);
}

static void tokens_have_their_bytes(void **state)
{
    (void)state;
    struct fixture f = open_bpe(0);
    check_bytes(&f, 7, " ab");
    check_bytes(&f, 8, "");
    check_bytes(&f, 12, "cab");
    check_bytes(&f, 13, "\xEF\xBF\xBD");
    check_bytes(&f, 23, ""); /* of the model's vocabulary, beyond the tokenizer's */
    const char *bytes = "kept";
    size_t count = 99;
    assert_int_equal(tokenizer_bytes(&f.t, 24, &bytes, &count), QRT_E_ARGUMENT);
    assert_int_equal(tokenizer_bytes(&f.t, -1, &bytes, &count), QRT_E_ARGUMENT);
    assert_string_equal(bytes, "kept");
    close_fixture(&f);
    f = open_spm(0, 0);
    check_bytes(&f, 7, " ab");
    check_bytes(&f, 9, "\xC3");
    check_bytes(&f, 0, "");
    close_fixture(&f);
}

/* Every byte has a token, so that any clean text can come back. */
static struct fixture open_all_bytes(void)
{
    static char texts[256][4];
    static struct toy_token tokens[257];
    static const char *const merges[] = {"a a", "aa aa", "aaaa aaaa", NULL};
    size_t n = 0;
    for (unsigned byte = 0, next = 256; byte < 256; byte++) {
        const int prints = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        const unsigned code = prints ? byte : next++;
        if (code < 128)
            texts[n][0] = (char)code;
        else
            memcpy(texts[n], (char[]){(char)(0xC0 | code >> 6), (char)(0x80 | (code & 63)), 0}, 3);
        tokens[n] = (struct toy_token){texts[n], N, 0};
        n++;
    }
    static struct toy_token all[300];
    memcpy(all, tokens, 256 * sizeof *all);
    all[256] = (struct toy_token){"aa", N, 0};
    all[257] = (struct toy_token){"aaaa", N, 0};
    all[258] = (struct toy_token){"aaaaaaaa", N, 0};
    struct fixture f = {.vocab = 259};
    f.bytes = toy_build(TOKENIZER_BPE, PRETOKEN_LLAMA3, 0, -1, all, merges, &f.blob);
    open_fixture(&f);
    return f;
}

static void text_comes_back(void **state)
{
    (void)state;
    struct fixture f = open_all_bytes();
    static const char text[] =
        "aaa b\xC3\xA9\n\n 12345 don't \xE4\xB8\xAD\xF0\x9F\x98\x80\t  \0 end";
    int ids[sizeof text];
    size_t count, at = 0;
    assert_int_equal(tokenizer_encode(&f.t, f.rt, text, sizeof text, 0, ids, sizeof text, &count),
                     QRT_OK);
    for (size_t i = 0; i < count; i++) {
        const char *bytes;
        size_t n;
        assert_int_equal(tokenizer_bytes(&f.t, ids[i], &bytes, &n), QRT_OK);
        assert_true(at + n <= sizeof text);
        assert_memory_equal(text + at, bytes, n);
        at += n;
    }
    assert_int_equal(at, sizeof text);
    close_fixture(&f);
}

/* A copy that ends where its memory ends, so that a read beyond it is seen. */
static void *exact_copy(const void *blob, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, blob, bytes);
    return copy;
}

static void cut_blobs_are_refused(void **state)
{
    (void)state;
    struct fixture f[2] = {open_bpe(0), open_spm(0, 0)};
    for (int k = 0; k < 2; k++) {
        for (size_t bytes = 0; bytes < f[k].bytes; bytes++) {
            struct tokenizer t;
            void *copy = exact_copy(f[k].blob, bytes);
            assert_int_equal(tokenizer_open(copy, bytes, f[k].vocab, &t), QRT_E_FORMAT);
            free(copy);
        }
        close_fixture(&f[k]);
    }
}

static void use(const struct tokenizer *t, qrt *rt)
{
    static const char text[] = "<s>abc aab\xFF\xC3\xA9 cab\n\n[x]";
    int ids[8];
    size_t count;
    for (int special = 0; special < 2; special++)
        assert_int_equal(tokenizer_encode(t, rt, text, sizeof text, special, ids, 8, &count),
                         QRT_OK);
    for (int id = 0; id < t->vocab; id++) {
        const char *bytes;
        assert_int_equal(tokenizer_bytes(t, id, &bytes, &count), QRT_OK);
        char sum = 0;
        for (size_t i = 0; i < count; i++) sum = (char)(sum ^ bytes[i]);
        ids[0] = sum;
    }
}

static void flipped_blobs_do_no_harm(void **state)
{
    (void)state;
    struct fixture f[2] = {open_bpe(0), open_spm(TOKENIZER_SPACE_PREFIX, 0)};
    for (int k = 0; k < 2; k++) {
        uint8_t *copy = exact_copy(f[k].blob, f[k].bytes);
        size_t opened = 0;
        for (size_t bit = 0; bit < 8 * f[k].bytes; bit++) {
            struct tokenizer t;
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (tokenizer_open(copy, f[k].bytes, f[k].vocab, &t) == QRT_OK) {
                use(&t, f[k].rt);
                opened++;
            }
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_true(opened > 0);
        free(copy);
        close_fixture(&f[k]);
    }
}

/* Seconds of processor time to encode n letters, least of three. */
static double encode_seconds(const struct fixture *f, size_t n)
{
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        size_t count;
        const clock_t start = clock();
        assert_int_equal(tokenizer_encode(&f->t, f->rt, text, n, 0, NULL, 0, &count), QRT_OK);
        const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds < best) best = seconds;
        assert_int_equal(count, n / 8);
    }
    free(text);
    return best;
}

static void long_words_take_no_square_time(void **state)
{
    (void)state;
    struct fixture f = open_all_bytes();
    const double small = encode_seconds(&f, 1 << 16), large = encode_seconds(&f, 1 << 20);
    /* 16 times the letters: n log n gives 20, with caches perhaps 40; a square gives 256. */
    assert_true(large < 100 * small + 0.05);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(earliest_merge_goes_first),
        cmocka_unit_test(bytes_without_token_are_dropped),
        cmocka_unit_test(whole_words_need_no_merges),
        cmocka_unit_test(best_score_goes_first),
        cmocka_unit_test(unknown_text_becomes_bytes),
        cmocka_unit_test(prefix_stands_at_the_start_and_after_specials),
        cmocka_unit_test(longest_special_goes_first),
        cmocka_unit_test(count_does_not_depend_on_capacity),
        cmocka_unit_test(tokens_have_their_bytes),
        cmocka_unit_test(text_comes_back),
        cmocka_unit_test(cut_blobs_are_refused),
        cmocka_unit_test(flipped_blobs_do_no_harm),
        cmocka_unit_test(long_words_take_no_square_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
