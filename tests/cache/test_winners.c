/* test_winners.c -- contract of winners.h
 *
 * - the text is as drawn; what parses comes out as the same bytes, comments dropped
 * - every field that is no such field is refused, with file, line and field
 * - a file that is cut at any byte, or has any bit flipped, is refused, never half taken
 * - lines out of order, twice, or two of one place and signature are refused; a wrong last line is
 *   answered with the right one
 * - limits: the longest of each field passes, one more does not
 * - add rounds times, gives ends their one form, and refuses what no line can hold
 * - merging is what its definition says, associative, commutative and idempotent
 * - find is what its definition says
 * - device names become fields whatever they are; signatures tell lists of texts apart, and which
 *   part differs
 * - files: missing reads as none; keep merges, sets a damaged file aside, needs no lock to work, and
 *   many processes at a time lose no row; load passes over a bad file with a note
 */
#include "winners.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "guard.h"
#include "helpers.h"

#define MODEL_LINE                                                 \
    "sm_89 - linear.w4g128.f16.f16 4096x4096 2..3 cuda/gemv 2..8 " \
    "stages=3,tiles=2,warps=8 model - 8f0c5f5a3c1d2e4b\n"
#define MEASURED_LINE                                                                \
    "sm_90a NVIDIA_H200 linear.w4g128.f16.f16 4096x4096 9..* cuda/gemm_sm90 9..* - " \
    "measured 12.345~0.100 8f0c5f5a3c1d2e4b\n"
/* Hashes by Python's hashlib.blake2b(digest_size=8). */
#define SAMPLE "qgen-winners 1\n" MODEL_LINE MEASURED_LINE "end 2 7effbfedecdf90f6\n"
#define EMPTY  "qgen-winners 1\nend 0 e4a6a0577479b2b4\n"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-winners-XXXXXX");
    return !mkdtemp(folder);
}

static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static qrt_status parse(const char *text, struct winners *out)
{
    return winners_parse(text, strlen(text), "test.txt", out);
}

static void expect_text(const struct winners *w, const char *expected)
{
    char *text;
    size_t bytes;
    assert_int_equal(winners_text(w, &text, &bytes), QRT_OK);
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(text, expected);
    free(text);
}

static void text_is_as_drawn(void **state)
{
    (void)state;
    struct winners w;
    assert_int_equal(parse(SAMPLE, &w), QRT_OK);
    assert_int_equal(w.count, 2);
    const struct winner *a = &w.items[0], *b = &w.items[1];
    char request[OP_NAME_BYTES];
    op_desc_name(&a->desc, request);
    assert_string_equal(request, "linear.w4g128.f16.f16");
    assert_string_equal(a->arch, "sm_89");
    assert_string_equal(a->device, "");
    assert_int_equal(a->N, 4096);
    assert_int_equal(a->m_lo, 2);
    assert_int_equal(a->m_hi, 3);
    assert_int_equal(a->made_hi, 8);
    assert_string_equal(a->template_, "cuda/gemv");
    assert_string_equal(a->tune, "stages=3 tiles=2 warps=8");
    assert_int_equal(a->how, WINNER_MODEL);
    assert_string_equal(b->device, "NVIDIA_H200");
    assert_string_equal(b->tune, "");
    assert_int_equal(b->m_hi, INT_MAX);
    assert_int_equal(b->made_hi, WINNER_ROWS_END);
    assert_int_equal(b->how, WINNER_MEASURED);
    assert_true(b->us == 12.345 && b->spread_us == 0.1);
    assert_string_equal(b->signature, "8f0c5f5a3c1d2e4b");
    expect_text(&w, SAMPLE);
    winners_free(&w);
    assert_int_equal(parse("qgen-winners 1\n# by hand\n" MODEL_LINE "#\n" MEASURED_LINE
                           "# end\nend 2 7effbfedecdf90f6\n",
                           &w),
                     QRT_OK);
    expect_text(&w, SAMPLE);
    winners_free(&w);
    assert_int_equal(parse(EMPTY, &w), QRT_OK);
    expect_text(&w, EMPTY);
    winners_free(&w);
}

/* ---- fields and lines ---- */

enum { FIELDS = 11 };
static const char *const good[FIELDS] = {
    "sm_89",    "-",        "linear.w4g128.f16.f16", "4096x4096",       "2..3", "cuda/gemv", "2..8",
    "stages=3", "measured", "1.000~0.000",           "8f0c5f5a3c1d2e4b"};
static const char *const names[FIELDS] = {"ARCH", "DEVICE",   "REQUEST",  "SHAPE",
                                          "ROWS", "TEMPLATE", "MADE",     "TUNE",
                                          "HOW",  "TIME",     "SIGNATURE"};

static void line_with(int field, const char *value, char out[2048])
{
    *out = 0;
    for (int f = 0; f < FIELDS; f++) {
        if (f) strcat(out, " ");
        strcat(out, f == field ? value : good[f]);
    }
    strcat(out, "\n");
}

/* A file of one line; its last line is wrong, which is found only when the line is right. */
static qrt_status parse_line(const char *line)
{
    char text[4096];
    struct winners w;
    snprintf(text, sizeof text, "qgen-winners 1\n%send 1 0000000000000000\n", line);
    return parse(text, &w);
}

static void expect_field(int field, const char *value, int is_good)
{
    char line[2048], where[64];
    line_with(field, value, line);
    assert_int_equal(parse_line(line), QRT_E_FORMAT);
    snprintf(where, sizeof where, "test.txt:2: %s", names[field]);
    const int refused = strstr(qrt_message(), where) != NULL;
    const int passed = strstr(qrt_message(), "test.txt:3: `end 1 ") != NULL;
    if (refused == passed || passed != is_good)
        fail_msg("%s '%s': %s", names[field], value, qrt_message());
}

static void fields_are_checked(void **state)
{
    (void)state;
    static const struct {
        int field;
        const char *values[24];
    } bad[] = {
        {0, {"", "sm_", "SM_89", "sm_89a9", "-", "native", "sm_89\t"}},
        {1,
         {"", ".", "..", "../x", "a/b", "_a", "-a", ".a", "--", "a\\b", "a:b", "a\tb", "\xc3\xa4",
          "a\x7f", "a,b", "a\"", "a%"}},
        {2,
         {"", "linear", "linear.w4g128", "LINEAR.w4g128.f16.f16", "linear.w4g128.f16.f16.",
          "linear.w4g7.f16.f16", "linear.w9g128.f16.f16", "-", "linear.w4g128.f16.f16 "}},
        {3,
         {"", "4096", "x", "4096x", "x4096", "0x0", "0x4096", "4096x0", "-1x2", "+1x2", "01x2",
          "1x02", "4096X4096", "1x2x3", "2147483648x1", "1x4294967296", "1x18446744073709551616",
          "1.0x2", "--"}},
        {4,
         {"", "2", "2..", "..3", "2-3", "0..3", "3..2", "02..3", "2..03", "*..3", "2..*3", "2...3",
          "2.. 3", "-2..3", "2..1073741824", "1073741824..*", "2..99999999999999999999", "*"}},
        {5, {"", "/cuda", "cuda/", "a//b", "../cuda", "a.b", "a\\b", "cu da"}},
        {6, {"", "2", "3..8", "2..2", "4..8", "2..", "..", "0..8", "*"}},
        {7, {"", "a b", "a/b", "a;b", "a\nb", "a\x01", "\xff"}},
        {8, {"", "Model", "guessed", "-", "measured "}},
        {9,
         {"",
          "-",
          "1.000",
          "1.000~",
          "~0.000",
          "1.00~0.000",
          "1.0000~0.000",
          "1~0",
          "1.000~0.00",
          "01.000~0.000",
          "0.000~0.000",
          "-1.000~0.000",
          "1.000~-0.000",
          "nan~nan",
          "inf~0.000",
          "1e3~0.000",
          "1.000 ~0.000",
          "1000000000.001~0.000",
          "1.000~99999999999999999999.000",
          "1.000~0.000x",
          "1,000~0,000"}},
        {10,
         {"", "8f0c5f5a3c1d2e4", "8f0c5f5a3c1d2e4b0", "8F0C5F5A3C1D2E4B", "8f0c5f5a3c1d2e4g",
          "0x0c5f5a3c1d2e4b", "8f0c5f5a3c1d2e4b\r", "8f0c5f5a3c1d2e4b "}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_field(bad[i].field, good[bad[i].field], 1);
        for (const char *const *value = bad[i].values; *value; value++) {
            char line[2048];
            line_with(bad[i].field, *value, line);
            assert_int_equal(parse_line(line), QRT_E_FORMAT);
            if (!strstr(qrt_message(), "test.txt:2: "))
                fail_msg("%s '%s': %s", names[bad[i].field], *value, qrt_message());
        }
    }
    expect_field(0, "sm_98", 0);
    expect_field(1, "a/b", 0);
    expect_field(3, "0x4096", 0);
    expect_field(9, "1.00~0.000", 0);
    expect_field(10, "8F0C5F5A3C1D2E4B", 0);
    assert_int_equal(parse_line("sm_89 - linear.w4g128.f16.f16\n"), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "test.txt:2: 3 of 11 fields, no SHAPE"));
    assert_int_equal(parse_line("\n"), QRT_E_FORMAT);
    /* `model` has no time. */
    assert_int_equal(parse_line("sm_89 - add.f16 - 1..2 cuda/add 1..2 - model 1.000~0.000 "
                                "8f0c5f5a3c1d2e4b\n"),
                     QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "TIME '1.000~0.000'"));
}

static void zero_bytes_are_refused(void **state)
{
    (void)state;
    const size_t first = strlen("qgen-winners 1\n");
    for (size_t i = 0; i < strlen(SAMPLE); i++) {
        char text[] = SAMPLE;
        struct winners w;
        char where[16];
        const int line = 1 + (i >= first) + (i >= first + strlen(MODEL_LINE));
        text[i] = 0; /* noticed where it is, not by the hash of all */
        assert_int_equal(winners_parse(text, sizeof text - 1, "test.txt", &w), QRT_E_FORMAT);
        snprintf(where, sizeof where, "test.txt:%d:", line);
        if (i < strlen(SAMPLE) - strlen("end 2 7effbfedecdf90f6\n"))
            assert_memory_equal(qrt_message(), where, strlen(where));
    }
}

static void expect_refused(const char *text, const char *words)
{
    struct winners w;
    assert_int_equal(parse(text, &w), QRT_E_FORMAT);
    if (!strstr(qrt_message(), words)) fail_msg("'%s' lacks '%s'", qrt_message(), words);
}

static void lines_are_checked(void **state)
{
    (void)state;
    expect_refused("", "test.txt:1: the file is cut short");
    expect_refused("qgen-winners 2\nend 0 e4a6a0577479b2b4\n", "test.txt:1: the first line");
    expect_refused("\xef\xbb\xbf" EMPTY, "test.txt:1: the first line");
    expect_refused("qgen-winners 1\n" MEASURED_LINE MODEL_LINE "end 2 0\n",
                   "test.txt:3: lines are");
    expect_refused("qgen-winners 1\n" MODEL_LINE MODEL_LINE "end 2 0\n", "test.txt:3: lines are");
    expect_refused("qgen-winners 1\n"
                   "sm_89 - add.f16 - 1..2 cuda/add 1..2 unroll=2 model - 8f0c5f5a3c1d2e4b\n"
                   "sm_89 - add.f16 - 1..2 cuda/add 1..2 unroll=4 model - 8f0c5f5a3c1d2e4b\nend ",
                   "test.txt:3: a second winner");
    expect_refused("qgen-winners 1\n" MODEL_LINE "end 2 7effbfedecdf90f6\n",
                   "make `end 1 4a92e3818b9b4451`");
    expect_refused(SAMPLE "\n", "bytes behind the last line");
    expect_refused(SAMPLE "# more\n", "bytes behind the last line");
}

static void damage_is_noticed(void **state)
{
    (void)state;
    const size_t bytes = strlen(SAMPLE);
    struct guard guard;
    struct winners w;
    guard_open(&guard, bytes);
    for (size_t cut = 0; cut < bytes; cut++) {
        const uint8_t *text = guard_copy(&guard, SAMPLE, cut);
        assert_int_equal(winners_parse((const char *)text, cut, "test.txt", &w), QRT_E_FORMAT);
    }
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        uint8_t *text = guard_copy(&guard, SAMPLE, bytes);
        text[bit / 8] = (uint8_t)(text[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(winners_parse((const char *)text, bytes, "test.txt", &w), QRT_E_FORMAT);
    }
    uint64_t random = 7;
    for (int i = 0; i < 10000; i++) {
        uint8_t *text = guard_copy(&guard, SAMPLE, bytes);
        for (uint64_t flips = 2 + random_word(&random) % 30; flips > 0; flips--) {
            const uint64_t bit = random_word(&random) % (8 * bytes);
            text[bit / 8] = (uint8_t)(text[bit / 8] ^ 1 << bit % 8);
        }
        if (memcmp(text, SAMPLE, bytes) == 0) continue;
        assert_int_equal(winners_parse((const char *)text, bytes, "test.txt", &w), QRT_E_FORMAT);
    }
    guard_close(&guard);
}

static void limits_are_exact(void **state)
{
    (void)state;
    char long_one[300];
    static const struct {
        int field;
        size_t most;
    } lengths[] = {
        {1, WINNER_DEVICE_BYTES - 1}, {5, ENTRY_SYMBOL_BYTES - 1}, {7, ENTRY_TEXT_BYTES - 1}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (size_t length = lengths[i].most - 1; length <= lengths[i].most + 1; length++) {
            memset(long_one, 'a', length);
            long_one[length] = 0;
            expect_field(lengths[i].field, long_one, length <= lengths[i].most);
        }
        memset(long_one, 'a', 256);
        long_one[256] = 0;
        expect_field(lengths[i].field, long_one, 0);
    }
    expect_field(3, "2147483647x2147483647", 1);
    expect_field(3, "2147483648x1", 0);
    expect_field(6, "1..1073741823", 1);
    expect_field(6, "1..1073741824", 0);
    expect_field(6, "1..*", 1);
    expect_field(9, "1000000000.000~0.000", 1);
    expect_field(9, "1000000000.001~0.000", 0);
    expect_field(9, "0.001~0.000", 1);
    struct winners w;
    assert_int_equal(winners_parse(SAMPLE, WINNERS_MAX_BYTES + 1, "test.txt", &w), QRT_E_LIMIT);
}

/* ---- tables ---- */

static struct winner sample(void)
{
    struct winners w;
    assert_int_equal(parse(SAMPLE, &w), QRT_OK);
    const struct winner one = w.items[1];
    winners_free(&w);
    return one;
}

static void expect_added(const struct winner *one, const char *line)
{
    struct winners w = {0};
    char got[WINNER_LINE_BYTES];
    assert_int_equal(winners_add(&w, one), QRT_OK);
    winners_line(&w.items[0], got);
    assert_string_equal(got, line);
    winners_free(&w);
}

static void expect_not_added(const struct winner *one, const char *field)
{
    struct winners w = {0};
    assert_int_equal(winners_add(&w, one), QRT_E_FORMAT);
    if (!strstr(qrt_message(), field)) fail_msg("'%s' lacks '%s'", qrt_message(), field);
    assert_int_equal(w.count, 0);
}

static void add_gives_rows_one_form(void **state)
{
    (void)state;
    struct winner w = sample();
    w.us = 12.3454999;
    w.spread_us = 0.0996;
    w.m_hi = WINNER_ROWS_END;
    w.made_hi = INT_MAX;
    strcpy(w.tune, "a=1,b=2");
    expect_added(&w, "sm_90a NVIDIA_H200 linear.w4g128.f16.f16 4096x4096 9..* cuda/gemm_sm90 9..* "
                     "a=1,b=2 measured 12.345~0.100 8f0c5f5a3c1d2e4b");
    w.how = WINNER_MODEL; /* whose time is nobody's claim */
    expect_added(&w, "sm_90a NVIDIA_H200 linear.w4g128.f16.f16 4096x4096 9..* cuda/gemm_sm90 9..* "
                     "a=1,b=2 model - 8f0c5f5a3c1d2e4b");
#define REFUSED(change, field)         \
    do {                               \
        struct winner bad = sample();  \
        change;                        \
        expect_not_added(&bad, field); \
    } while (0)
    REFUSED(strcpy(bad.arch, "sm_98"), "ARCH");
    REFUSED(strcpy(bad.device, "NVIDIA H200"), "a winner");
    REFUSED(strcpy(bad.device, "../x"), "DEVICE");
    REFUSED(memset(bad.device, 'a', sizeof bad.device), "DEVICE");
    REFUSED(bad.desc.op = OP_COUNT, "REQUEST");
    REFUSED(bad.N = 0, "SHAPE");
    REFUSED(bad.K = -1, "SHAPE");
    REFUSED(bad.m_lo = 0, "ROWS");
    REFUSED(bad.m_hi = 8, "ROWS");
    REFUSED(bad.m_lo = 8, "MADE");
    REFUSED(bad.made_hi = 1 << 20, "MADE");
    REFUSED(strcpy(bad.template_, ""), "TEMPLATE");
    REFUSED(strcpy(bad.tune, "a=1\nb=2"), "TUNE");
    REFUSED(bad.us = 0, "TIME");
    REFUSED(bad.us = NAN, "TIME");
    REFUSED(bad.us = INFINITY, "TIME");
    REFUSED(bad.spread_us = -1, "TIME");
    REFUSED(bad.us = 0.0001, "TIME");
    REFUSED(strcpy(bad.signature, ""), "SIGNATURE");
#undef REFUSED
}

/* A row from small sets of values, so that rows meet. */
static struct winner random_row(uint64_t *random)
{
    static const char *const devices[] = {"", "A", "B"};
    static const char *const requests[] = {"linear.w4g128.f16.f16", "linear.w8g32.f16.f16"};
    static const int shapes[][2] = {{0, 0}, {64, 64}, {64, 128}};
    static const int rows[][2] = {{1, 1}, {1, 8}, {2, 8}, {10, INT_MAX}};
    static const char *const tunes[] = {"", "bm=16", "bm=16 bn=8"};
    struct winner w;
    memset(&w, 0, sizeof w);
    const uint64_t bits = random_word(random);
    strcpy(w.arch, bits & 1 ? "sm_89" : "sm_90");
    strcpy(w.device, devices[bits / 2 % 3]);
    assert_int_equal(op_desc_parse(requests[bits >> 8 & 1], &w.desc), QRT_OK);
    w.N = shapes[(bits >> 10) % 3][0];
    w.K = shapes[(bits >> 10) % 3][1];
    w.m_lo = rows[bits >> 20 & 3][0];
    w.m_hi = rows[bits >> 20 & 3][1];
    w.made_lo = (bits >> 22 & 1) ? 1 : w.m_lo;
    w.made_hi = WINNER_ROWS_END;
    strcpy(w.template_, bits >> 23 & 1 ? "cuda/gemv" : "cuda/gemm");
    strcpy(w.tune, tunes[(bits >> 24) % 3]);
    w.how = bits >> 34 & 1 ? WINNER_MEASURED : WINNER_MODEL;
    if (w.how == WINNER_MEASURED) w.us = (double)(1 + (bits >> 40 & 3)) / 8;
    strcpy(w.signature, bits >> 44 & 1 ? "8f0c5f5a3c1d2e4b" : "8f0c5f5a3c1d2e4c");
    return w;
}

static struct winners random_table(uint64_t *random, size_t rows)
{
    struct winners w = {0};
    for (size_t i = 0; i < rows; i++) {
        const struct winner row = random_row(random);
        assert_int_equal(winners_add(&w, &row), QRT_OK);
    }
    return w;
}

static struct winners merged(const struct winners *a, const struct winners *b)
{
    struct winners w = {0};
    assert_int_equal(winners_merge(&w, a), QRT_OK);
    assert_int_equal(winners_merge(&w, b), QRT_OK);
    return w;
}

static void expect_equal(const struct winners *a, const struct winners *b)
{
    char *text;
    size_t bytes;
    assert_int_equal(winners_text(a, &text, &bytes), QRT_OK);
    expect_text(b, text);
    struct winners again;
    assert_int_equal(winners_parse(text, bytes, "test.txt", &again), QRT_OK);
    expect_text(&again, text);
    winners_free(&again);
    free(text);
}

/* The definition, word by word. */
static int is_rival(const struct winner *a, const struct winner *b)
{
    return strcmp(a->arch, b->arch) == 0 && strcmp(a->device, b->device) == 0 &&
           op_desc_equal(&a->desc, &b->desc) && a->N == b->N && a->K == b->K &&
           a->m_lo == b->m_lo && a->m_hi == b->m_hi && strcmp(a->signature, b->signature) == 0;
}

static int line_order(const void *a, const void *b)
{
    char x[WINNER_LINE_BYTES], y[WINNER_LINE_BYTES];
    winners_line(a, x);
    winners_line(b, y);
    return strcmp(x, y);
}

static int beats(const struct winner *a, const struct winner *b)
{
    if (a->how != b->how) return a->how == WINNER_MEASURED;
    if (a->how == WINNER_MEASURED && a->us != b->us) return a->us < b->us;
    return line_order(a, b) < 0;
}

static void merging_is_as_defined(void **state)
{
    (void)state;
    enum { ROWS = 120 };
    uint64_t random = 11;
    for (int round = 0; round < 20; round++) {
        struct winner rows[ROWS], left[ROWS];
        struct winners w = {0};
        size_t count = 0;
        for (int i = 0; i < ROWS; i++) {
            rows[i] = random_row(&random);
            assert_int_equal(winners_add(&w, &rows[i]), QRT_OK);
        }
        for (int i = 0; i < ROWS; i++) {
            int beaten = 0;
            for (int j = 0; j < ROWS && !beaten; j++)
                beaten =
                    is_rival(&rows[i], &rows[j]) &&
                    (beats(&rows[j], &rows[i]) || (j < i && line_order(&rows[j], &rows[i]) == 0));
            if (!beaten) left[count++] = rows[i];
        }
        qsort(left, count, sizeof *left, line_order);
        assert_int_equal(w.count, count);
        for (size_t i = 0; i < count; i++) assert_int_equal(line_order(&left[i], &w.items[i]), 0);
        winners_free(&w);
    }
}

static void merging_has_its_laws(void **state)
{
    (void)state;
    uint64_t random = 3;
    for (size_t round = 0; round < 40; round++) {
        struct winners a = random_table(&random, round * 3), b = random_table(&random, 60),
                       c = random_table(&random, 30);
        struct winners ab = merged(&a, &b), ba = merged(&b, &a), bc = merged(&b, &c);
        struct winners ab_c = merged(&ab, &c), a_bc = merged(&a, &bc), ab_a = merged(&ab, &a);
        expect_equal(&ab, &ba);
        expect_equal(&ab_c, &a_bc);
        expect_equal(&ab, &ab_a);
        struct winners *all[] = {&a, &b, &c, &ab, &ba, &bc, &ab_c, &a_bc, &ab_a};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) winners_free(all[i]);
    }
}

/* How good a row is for a query, larger first; -1: it does not match. */
static long long place(const struct winner *w, const struct winner_query *q)
{
    const int on_device = strcmp(w->device, q->device) == 0;
    const int of_shape = w->N == q->N && w->K == q->K;
    if (strcmp(w->arch, q->arch) != 0 || !op_desc_equal(&w->desc, q->desc)) return -1;
    if (!on_device && strcmp(w->device, "") != 0) return -1;
    if (!of_shape && !(w->N == 0 && w->K == 0)) return -1;
    if (q->M < w->m_lo || q->M > w->m_hi) return -1;
    if (q->signature && memcmp(w->signature, q->signature, strlen(q->signature)) != 0) return -1;
    const long long rows = (long long)w->m_hi - w->m_lo + 1;
    return ((on_device && *w->device) * 4LL + of_shape * 2 + (w->how == WINNER_MEASURED)) *
               (1LL << 40) +
           ((1LL << 32) - rows);
}

static void find_is_as_defined(void **state)
{
    (void)state;
    static const char *const devices[] = {"", "A", "B", "C"};
    static const char *const signatures[] = {NULL, "8f0c5f5a3c1d2e4b", "8f0c5f5a3c", "0"};
    uint64_t random = 5;
    int found = 0;
    for (int round = 0; round < 30; round++) {
        struct winners w = random_table(&random, 150);
        for (int i = 0; i < 100; i++) {
            const struct winner like = random_row(&random);
            const uint64_t bits = random_word(&random);
            const struct winner_query q = {.arch = like.arch,
                                           .device = devices[bits & 3],
                                           .signature = signatures[bits >> 2 & 3],
                                           .desc = &like.desc,
                                           .N = like.N ? like.N : 64,
                                           .K = like.K ? like.K : 32,
                                           .M = (int)(1 + (bits >> 8) % 12)};
            const struct winner *best = NULL;
            for (size_t j = 0; j < w.count; j++) { /* lines ascend: an equal one later loses */
                const long long p = place(&w.items[j], &q);
                if (p >= 0 && (!best || p > place(best, &q))) best = &w.items[j];
            }
            assert_ptr_equal(winners_find(&w, &q), best);
            found += best != NULL;
        }
        winners_free(&w);
    }
    assert_true(found > 500 && found < 2900);
}

/* ---- names and signatures ---- */

static void device_names_become_fields(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"NVIDIA H200", "NVIDIA_H200"},
        {"NVIDIA GeForce RTX 4090", "NVIDIA_GeForce_RTX_4090"},
        {"Tesla T4", "Tesla_T4"},
        {"Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel_R__Xeon_R__CPU___2.20GHz"},
        {"a/b\\c:d", "a_b_c_d"},
        {"..", "x."},
        {"-", "x"},
        {".", "x"},
        {"/", "x"},
        {"../../etc/passwd", "x._.._etc_passwd"},
        {"\x01\x1b[2J", "x__2J"},
        {"\xc3\xa4", "x_"},
        {"", "unnamed"},
        {"vgpu-1.0_b", "vgpu-1.0_b"},
    };
    char out[WINNER_DEVICE_BYTES], other[WINNER_DEVICE_BYTES], name[257];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        winners_device_name(pairs[i][0], out);
        assert_string_equal(out, pairs[i][1]);
        expect_field(1, out, 1);
    }
    for (size_t length = 62; length <= 256; length++) {
        memset(name, 'x', length);
        name[length] = 0;
        winners_device_name(name, out);
        expect_field(1, out, 1);
        assert_int_equal(strlen(out), length < 63 ? length : 63);
        assert_true(length > 63 || strcmp(out, name) == 0);
        name[length - 1] = 'y'; /* behind what a field holds */
        winners_device_name(name, other);
        assert_string_not_equal(out, other);
    }
    memset(name, 'x', 256); /* BLAKE2b-32 of 256 x, by Python's hashlib */
    winners_device_name(name, out);
    assert_string_equal(out + 54, "_7714162f");
    for (int c = 1; c < 256; c++) {
        const char one[] = {(char)c, (char)c, 0};
        winners_device_name(one, out);
        expect_field(1, out, 1);
    }
}

static void signatures_have_parts(void **state)
{
    (void)state;
    static const char *const lists[][5] = {
        {"templates", "nvrtc 13.0", "model 1", "gpus"}, /* the first is known, by hashlib */
        {"template", "nvrtc 13.0", "model 1", "gpus"},
        {"templates", "nvrtc 13.1", "model 1", "gpus"},
        {"templates", "nvrtc 13.0", "model 1g", "pus"},
        {"templates", "nvrtc 13.0", "model 1gpus"},
        {"templatesnvrtc 13.0", "model 1", "gpus"},
        {"templates", "nvrtc 13.0"},
        {"templates"},
        {"", "", "", ""},
        {NULL},
    };
    enum { LISTS = sizeof lists / sizeof *lists };
    char out[LISTS][WINNER_SIGNATURE_BYTES], why[64];
    for (int i = 0; i < LISTS; i++) {
        winners_sign(lists[i], out[i]);
        expect_field(10, out[i], 1);
        for (int j = 0; j < i; j++) assert_string_not_equal(out[i], out[j]);
    }
    assert_string_equal(out[0], "c161d6e934edf137");
    winners_sign_difference(out[0], out[0], why);
    assert_string_equal(why, "");
    winners_sign_difference(out[0], out[1], why);
    assert_string_equal(why, "templates");
    winners_sign_difference(out[0], out[2], why);
    assert_string_equal(why, "compiler");
    winners_sign_difference(out[0], out[3], why);
    assert_string_equal(why, "what it was chosen by");
    winners_sign_difference("0000000000000000", "1111111111111111", why);
    assert_string_equal(why, "templates, compiler, what it was chosen by");
}

/* ---- files ---- */

static void path_of(const char *name, char out[192])
{
    snprintf(out, 192, "%s/tuned/%s", folder, name);
}

static void remove_tuned(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s/tuned", folder);
    assert_int_equal(system(command), 0);
}

static void files_are_read_and_replaced(void **state)
{
    (void)state;
    char path[192];
    struct winners w = {0}, again;
    snprintf(path, sizeof path, "%s/one.txt", folder);
    assert_int_equal(winners_read(path, &w), QRT_OK);
    assert_int_equal(w.count, 0);
    assert_int_equal(parse(SAMPLE, &w), QRT_OK);
    assert_int_equal(winners_write(path, &w), QRT_OK);
    assert_int_equal(winners_read(path, &again), QRT_OK);
    expect_text(&again, SAMPLE);
    winners_free(&again);
    winners_free(&w);
    assert_int_equal(file_write(path, SAMPLE, 100), QRT_OK);
    assert_int_equal(winners_read(path, &w), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), path));
    assert_int_equal(winners_read(folder, &w), QRT_E_IO);
    char fifo[192];
    snprintf(fifo, sizeof fifo, "%s/fifo.txt", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(winners_read(fifo, &w), QRT_E_IO);
}

static void expect_kept(const char *text)
{
    struct winners w;
    char note[256];
    assert_int_equal(winners_load(folder, &w, note), QRT_OK);
    assert_string_equal(note, "");
    expect_text(&w, text);
    winners_free(&w);
}

static void keep_merges_by_arch(void **state)
{
    (void)state;
    char path[192];
    struct winners w, one = {0};
    remove_tuned();
    expect_kept(EMPTY);
    assert_int_equal(winners_keep(folder, &one), QRT_OK);
    assert_int_equal(parse(SAMPLE, &w), QRT_OK);
    assert_int_equal(winners_add(&one, &w.items[1]), QRT_OK);
    assert_int_equal(winners_keep(folder, &one), QRT_OK);
    assert_int_equal(winners_keep(folder, &w), QRT_OK);
    expect_kept(SAMPLE);
    path_of("sm_89.txt", path);
    assert_int_equal(access(path, R_OK), 0);
    struct stat before, after;
    path_of("sm_90a.txt", path);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(winners_keep(folder, &w), QRT_OK); /* nothing new: nothing is written */
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    winners_free(&one);
    winners_free(&w);
}

static void damaged_files_are_passed_over(void **state)
{
    (void)state;
    char path[192], aside[192], note[256];
    void *bytes;
    size_t count;
    struct winners w, got;
    keep_merges_by_arch(NULL);
    path_of("sm_89.txt", path);
    path_of("sm_89.txt.damaged", aside);
    assert_int_equal(file_write(path, SAMPLE, 150), QRT_OK);
    assert_int_equal(winners_load(folder, &got, note), QRT_OK);
    assert_int_equal(got.count, 1);
    assert_non_null(strstr(note, "sm_89.txt:"));
    assert_non_null(strstr(note, "passed over"));
    winners_free(&got);
    assert_int_equal(parse(SAMPLE, &w), QRT_OK);
    assert_int_equal(winners_keep(folder, &w), QRT_OK);
    expect_kept(SAMPLE);
    assert_int_equal(file_read(aside, 4096, &bytes, &count), QRT_OK);
    assert_int_equal(count, 150);
    free(bytes);
    winners_free(&w);
}

static void locks_are_not_needed(void **state)
{
    (void)state;
    char path[192], victim[128];
    struct winners w;
    remove_tuned();
    assert_int_equal(parse(SAMPLE, &w), QRT_OK);
    path_of("", path);
    assert_int_equal(mkdir(path, 0700), 0);
    path_of(".sm_89.lock", path);
    assert_int_equal(mkdir(path, 0700), 0); /* a folder cannot be opened for writing */
    path_of(".sm_90a.lock", path);
    snprintf(victim, sizeof victim, "%s/victim", folder);
    assert_int_equal(symlink(victim, path), 0); /* is not followed */
    assert_int_equal(winners_keep(folder, &w), QRT_OK);
    assert_int_equal(access(victim, F_OK), -1);
    expect_kept(SAMPLE);
    winners_free(&w);
    remove_tuned();
}

static void writers_lose_nothing(void **state)
{
    (void)state;
    enum { WRITERS = 8, ROWS = 12 };
    pid_t pids[WRITERS];
    remove_tuned();
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] > 0) continue;
        qrt_status status = QRT_OK;
        struct winner row = sample();
        for (int j = 0; j < ROWS && status == QRT_OK; j++) {
            struct winners w = {0};
            row.m_lo = row.made_lo = 1 + i * ROWS + j;
            status = winners_add(&w, &row);
            if (status == QRT_OK) status = winners_keep(folder, &w);
            winners_free(&w);
        }
        _exit(status == QRT_OK ? 0 : 1);
    }
    for (int i = 0; i < WRITERS; i++) {
        int code;
        assert_int_equal(waitpid(pids[i], &code, 0), pids[i]);
        assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    }
    struct winners w;
    char note[256];
    assert_int_equal(winners_load(folder, &w, note), QRT_OK);
    assert_string_equal(note, "");
    assert_int_equal(w.count, WRITERS * ROWS);
    winners_free(&w);
    char path[192];
    path_of("", path);
    struct dirent **list;
    const int files = scandir(path, &list, NULL, alphasort);
    assert_int_equal(files, 4); /* . .. .sm_90a.lock sm_90a.txt: nothing temporary is left */
    for (int i = 0; i < files; i++) free(list[i]);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_as_drawn),
        cmocka_unit_test(fields_are_checked),
        cmocka_unit_test(zero_bytes_are_refused),
        cmocka_unit_test(lines_are_checked),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(add_gives_rows_one_form),
        cmocka_unit_test(merging_is_as_defined),
        cmocka_unit_test(merging_has_its_laws),
        cmocka_unit_test(find_is_as_defined),
        cmocka_unit_test(device_names_become_fields),
        cmocka_unit_test(signatures_have_parts),
        cmocka_unit_test(files_are_read_and_replaced),
        cmocka_unit_test(keep_merges_by_arch),
        cmocka_unit_test(damaged_files_are_passed_over),
        cmocka_unit_test(locks_are_not_needed),
        cmocka_unit_test(writers_lose_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
