/* test_cache_command.c -- contract of qgen cache
 *
 * - path prints the store's folder; ls says what it holds, by arch and scheme, winners and models,
 *   as text and as JSON, each of them with --each
 * - verify names what is damaged, kernels and winners, and exits with 1; --remove drops it; stale
 *   winners are counted and said why, and no damage
 * - merge: the same files, byte for byte, whatever the order, grouping and number of times; two
 *   kernels of one key that differ are named and the smaller stays; damaged files are named, left
 *   out, and exit code 1; inputs are not changed
 * - gc deletes the oldest kernels down to --max-bytes, and temporary files a day old; --dry-run says
 *   the same and deletes nothing; winners and packed models stay
 * - import takes a file whole; one that cannot be taken is a note, with --strict exit code 4; so are
 *   stale winners, which are taken
 * - wrong usage is 2, a folder or file that is not there 4, and is not made
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "entries.h"
#include "error.h"
#include "file.h"
#include "helpers.h"
#include "pipeline.h"
#include "winners.h"

/* FOLDER of this test with an entry `number` of `fill`. */
static void put(const char *name, int number, int fill, size_t image)
{
    char folder[128];
    uint8_t key[ENTRY_KEY_BYTES];
    struct store *s;
    void *bytes;
    size_t count;
    snprintf(folder, sizeof folder, "%s/%s", command_folder, name);
    entries_key(number, key);
    entries_make(number, fill, image, &bytes, &count);
    assert_int_equal(store_open(folder, &s), QRT_OK);
    assert_int_equal(store_put(s, key, bytes, count), QRT_OK);
    store_close(s);
    free(bytes);
}

static void cut(const char *name, int number)
{
    char folder[128], path[ENTRIES_PATH];
    snprintf(folder, sizeof folder, "%s/%s", command_folder, name);
    entries_path(folder, number, path);
    assert_int_equal(truncate(path, 200), 0);
}

/* Of a winner of add.f32 on x86-64-v3 as this program would sign it; what it was chosen by is open. */
static void sign_now(char out[WINNER_SIGNATURE_BYTES])
{
    struct op_desc desc;
    struct pipeline *p;
    const struct pipeline_options how = {.store = NULL};
    assert_int_equal(op_desc_parse("add.f32", &desc), QRT_OK);
    assert_int_equal(pipeline_open(&how, &p), QRT_OK);
    assert_int_equal(pipeline_sign(p, &desc, arch_find("x86-64-v3"), "a test", out), QRT_OK);
    pipeline_close(p);
}

static void keep(const char *name, int rows, enum winner_how how, double us)
{
    char folder[128];
    struct winners w = {0};
    struct winner one = {.arch = "sm_89",
                         .m_lo = rows,
                         .m_hi = rows,
                         .template_ = "cuda/add",
                         .made_lo = 1,
                         .made_hi = WINNER_ROWS_END,
                         .how = how,
                         .us = us,
                         .signature = "0123456789abcdef"};
    snprintf(folder, sizeof folder, "%s/%s", command_folder, name);
    assert_int_equal(op_desc_parse("add.f16", &one.desc), QRT_OK);
    assert_int_equal(winners_add(&w, &one), QRT_OK);
    assert_int_equal(winners_keep(folder, &w), QRT_OK);
    winners_free(&w);
}

static void clear(void) { assert_int_equal(command_shell("rm -rf -- *"), 0); }

static void write_text(const char *name, const char *text)
{
    char path[192];
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    assert_int_equal(file_write(path, text, strlen(text)), QRT_OK);
}

static void ls_says_what_there_is(void **state)
{
    (void)state;
    char store[96];
    clear();
    snprintf(store, sizeof store, "%s/store\n", command_folder);
    command_expect(0, "/store", "cache path");
    assert_string_equal(command_output, store);
    put("store", 1, 1, 1000);
    put("store", 2, 1, 3000);
    keep("store", 4, WINNER_MODEL, 0);
    keep("store", 5, WINNER_MEASURED, 2);
    command_shell("mkdir store/models; head -c 100 /dev/zero > store/models/a.qm");
    json_t *json = command_json(0, "qgen.cache.ls/1", "cache ls");
    const json_t *group = json_array_get(json_object_get(json, "groups"), 0);
    assert_int_equal(json_array_size(json_object_get(json, "groups")), 1);
    assert_string_equal(json_string_value(json_object_get(group, "arch")), "x86-64-v3");
    assert_string_equal(json_string_value(json_object_get(group, "scheme")), "-");
    assert_int_equal(command_integer(group, "kernels"), 2);
    assert_true(command_integer(group, "bytes") > 4000);
    const json_t *table = json_array_get(json_object_get(json, "winners"), 0);
    assert_int_equal(command_integer(table, "winners"), 2);
    assert_int_equal(command_integer(table, "measured"), 1);
    assert_int_equal(command_integer(json_object_get(json, "models"), "files"), 1);
    assert_int_equal(command_integer(json_object_get(json, "models"), "bytes"), 100);
    assert_null(json_object_get(json, "each"));
    json_decref(json);
    command_expect(0, "2 kernels", "cache ls");
    assert_non_null(strstr(command_output, "sm_89.txt: 2 winners, 1 measured"));
    command_expect(0, "015a5a5a", "cache ls --each");
    assert_non_null(
        strstr(command_output, "sm_89 - add.f16 - 5..5 cuda/add 1..* - measured 2.000"));
    json = command_json(0, "qgen.cache.ls/1", "cache ls store --each");
    assert_int_equal(json_array_size(json_object_get(json, "each")), 2);
    json_decref(json);
    cut("store", 2);
    command_expect(0, "1 damaged kernels are not listed", "cache ls");
}

static void verify_names_what_is_damaged(void **state)
{
    (void)state;
    clear();
    put("store", 1, 1, 1000);
    put("store", 2, 1, 1000);
    keep("store", 4, WINNER_MODEL, 0);
    command_expect(0, "2 kernels, 1 tables of winners: 0 damaged", "cache verify");
    cut("store", 2);
    command_shell("sed -i s/4..4/4..5/ store/tuned/sm_89.txt; echo > store/tuned/x.txt.damaged");
    json_t *json = command_json(1, "qgen.cache.verify/1", "cache verify");
    assert_int_equal(json_array_size(json_object_get(json, "damaged")), 3);
    json_decref(json);
    command_expect(1, "store/02/025a5a", "cache verify");
    assert_non_null(strstr(command_output, "sm_89.txt:3: `end 1 "));
    assert_non_null(strstr(command_output, "x.txt.damaged: a damaged file that was set aside"));
    command_expect(1, "removed ", "cache verify --remove");
    command_expect(0, "1 kernels, 0 tables of winners: 0 damaged", "cache verify");
}

/* One winner of each signature into store/tuned; `at`: whose digit is another. */
static void keep_stale(const char *path, const int *at, int count)
{
    struct winners w = {0};
    struct winner one = {.arch = "x86-64-v3",
                         .template_ = "x86/add",
                         .made_lo = 1,
                         .made_hi = WINNER_ROWS_END,
                         .how = WINNER_MODEL};
    assert_int_equal(op_desc_parse("add.f32", &one.desc), QRT_OK);
    for (int i = 0; i < count; i++) {
        one.m_lo = one.m_hi = 1 + i;
        sign_now(one.signature);
        if (at[i] >= 0) one.signature[at[i]] = one.signature[at[i]] == '0' ? '1' : '0';
        assert_int_equal(winners_add(&w, &one), QRT_OK);
    }
    assert_int_equal(winners_write(path, &w), QRT_OK);
    winners_free(&w);
}

static void stale_winners_are_told(void **state)
{
    (void)state;
    static const struct {
        int at[3], count;
        const char *words;
    } cases[] = {
        {{-1, 15, -1}, 3, "0 winners are stale"}, /* 15: what it was chosen by */
        {{-1, 0, -1}, 3, "1 of 3 winners are stale, made with other: templates\n"},
        {{7, -1}, 2, "1 of 2 winners are stale, made with other: compiler\n"},
        {{0, 7}, 2, "2 of 2 winners are stale, made with other: "},
    };
    char path[192];
    snprintf(path, sizeof path, "%s/foreign.txt", command_folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clear();
        keep_stale(path, cases[i].at, cases[i].count);
        command_expect(0, "winners into", "cache import foreign.txt");
        assert_true((i == 0) == (strstr(command_errors, "builds pass over them") == NULL));
        command_expect(0, cases[i].words, "cache verify");
        command_expect(i == 0 ? 0 : 4, "winners", "cache import foreign.txt --strict");
    }
}

static void fill_three_folders(void)
{
    clear();
    for (int i = 0; i < 12; i++) { /* most in two folders, some in one */
        char name[] = {(char)('a' + i % 3), 0}, next[] = {(char)('a' + (i + 1) % 3), 0};
        put(name, i, i, 500);
        if (i % 4) put(next, i, i, 500);
        keep(name, 1 + i % 5, i % 2 ? WINNER_MODEL : WINNER_MEASURED, 1 + i % 3);
    }
    put("a", 100, 1, 500); /* three that differ, by length and by bytes */
    put("b", 100, 2, 500);
    put("c", 100, 3, 400);
    assert_int_equal(command_shell("cp -r a a0; cp -r b b0; cp -r c c0"), 0);
}

static void merging_has_its_laws(void **state)
{
    (void)state;
    fill_three_folders();
    command_expect(0, "conflict: a/64/64", "cache merge c b a -o cba");
    assert_non_null(strstr(command_errors, "conflict: b/64/64"));
    command_expect(0, "0 damaged", "cache merge a b c -o abc");
    command_expect(0, "1 conflicts", "cache merge a b -o ab");
    command_expect(0, "1 conflicts", "cache merge b c -o bc");
    command_expect(0, "0 damaged", "cache merge ab c -o ab_c");
    command_expect(0, "0 damaged", "cache merge a bc -o a_bc");
    /* 21 + 3 entries of three folders and 13 of the fourth; of one key two differ from what is there */
    command_expect(0, "0 kernels added, 35 there already, 2 conflicts",
                   "cache merge a b c abc -o abc");
    for (const char *const *other = (const char *[]){"cba", "ab_c", "a_bc", NULL}; *other; other++)
        if (command_shell("diff -r abc %s", *other)) fail_msg("%s: %s", *other, command_output);
    assert_int_equal(command_shell("diff -r a a0 && diff -r b b0 && diff -r c c0"), 0);
    put("expected", 100, 3, 400);
    assert_int_equal(command_shell("cmp abc/64/64*.qk1 expected/64/64*.qk1"), 0);
    json_t *json = command_json(0, "qgen.cache.ls/1", "cache ls abc");
    assert_int_equal(command_integer(json, "kernels"), 13);
    assert_int_equal(
        command_integer(json_array_get(json_object_get(json, "winners"), 0), "winners"), 5);
    json_decref(json);
}

static void damage_is_left_out(void **state)
{
    (void)state;
    fill_three_folders();
    cut("a", 0);
    put("b", 0, 0, 500);
    command_shell("echo more >> a/tuned/sm_89.txt");
    json_t *json = command_json(1, "qgen.cache.merge/1", "cache merge a b -o ab");
    assert_int_equal(command_integer(json, "damaged"), 2);
    assert_int_equal(json_array_size(json_object_get(json, "notes")), 3);
    json_decref(json);
    assert_non_null(strstr(command_errors, "left out: a/00/00"));
    assert_non_null(strstr(command_errors, "left out: a/tuned/sm_89.txt"));
    command_expect(0, "0 damaged", "cache verify ab");
    cut("ab", 0); /* what is damaged in the result is repaired */
    command_expect(0, "1 kernels added", "cache merge b -o ab");
    command_expect(0, "0 damaged", "cache verify ab");
}

static void gc_keeps_the_newest(void **state)
{
    (void)state;
    clear();
    for (int i = 0; i < 6; i++) put("store", i, i, 1000);
    keep("store", 4, WINNER_MODEL, 0);
    for (int i = 0; i < 6; i++) /* 3 is the oldest, then 4, 5, 0, 1, 2 */
        command_shell("touch -d '2 days ago + %d hours' store/%02d/*.qk1", (i + 3) % 6, i);
    command_shell("mkdir store/models; echo > store/models/a.qm; echo > store/models/a.qm.12.tmp;"
                  "echo > store/tuned/sm_89.txt.Ab12cD; touch -d '2 days ago' store/models/* "
                  "store/tuned/* store/tuned/.*.lock; echo > store/models/b.qm.13.tmp");
    const char *found = "find store -type f | sort";
    json_t *json = command_json(0, "qgen.cache.gc/1", "cache gc --max-bytes 4KiB --dry-run");
    const long long removed = command_integer(json, "removed");
    assert_int_equal(command_integer(json, "temporary"), 2);
    json_decref(json);
    command_shell("%s | wc -l", found);
    assert_int_equal(atoi(command_output), 6 + 2 + 5 - 1);
    json = command_json(0, "qgen.cache.gc/1", "cache gc --max-bytes 4KiB");
    assert_int_equal(command_integer(json, "removed"), removed);
    assert_int_equal(command_integer(json, "temporary"), 2);
    assert_true(command_integer(json, "kept_bytes") <= 4096);
    assert_true(removed >= 3 && removed <= 4);
    json_decref(json);
    command_shell("ls -d store/*/*.qk1 | cut -c 7-8 | tr -d '\\n'");
    assert_string_equal(command_output, removed == 3 ? "000102" : "0102");
    command_shell("ls -A store/models store/tuned | tr '\\n' ' '");
    assert_string_equal(command_output,
                        "store/models: a.qm b.qm.13.tmp  store/tuned: .sm_89.lock sm_89.txt ");
    command_expect(0, "0 kernels kept", "cache gc --max-bytes 0");
    command_expect(2, "--max-bytes 5Q: a size like", "cache gc --max-bytes 5Q");
    command_expect(2, "a size like", "cache gc --max-bytes 99999999999999TiB");
    command_expect(2, "a size like", "cache gc --max-bytes -1");
}

static void import_is_all_or_a_note(void **state)
{
    (void)state;
    clear();
    keep("from", 4, WINNER_MEASURED, 2);
    keep("store", 5, WINNER_MODEL, 0);
    command_expect(0, "1 winners into", "cache import from/tuned/sm_89.txt");
    json_t *json = command_json(0, "qgen.cache.import/1", "cache import from/tuned/sm_89.txt");
    assert_int_equal(command_integer(json, "winners"), 1);
    json_decref(json);
    command_expect(0, "2 winners, 1 measured", "cache ls");
    write_text("foreign.txt", "{\"BLOCK_SIZE_M\": 16}\n");
    command_expect(0, "note: nothing was imported: foreign.txt:1: the first line",
                   "cache import foreign.txt");
    command_expect(4, "foreign.txt:1: the first line", "cache import foreign.txt --strict");
    command_shell("sed s/sm_89/sm_999/ from/tuned/sm_89.txt > future.txt");
    command_expect(0, "future.txt:2: ARCH 'sm_999'", "cache import future.txt");
    command_expect(0, "2 winners, 1 measured", "cache ls");
}

static void mistakes_are_told(void **state)
{
    (void)state;
    clear();
    command_expect(2, "an operand is missing", "cache");
    command_expect(2, "did you mean verify", "cache verfy");
    command_expect(2, "--out is missing", "cache merge a");
    command_expect(2, "an operand is missing", "cache merge -o a");
    command_expect(2, "one operand too many", "cache path here");
    command_expect(2, "did you mean --remove", "cache verify --remov");
    command_expect(4, "nowhere: no such folder", "cache ls nowhere");
    command_expect(4, "nowhere: no such folder", "cache verify nowhere");
    command_expect(4, "nowhere: no such folder", "cache gc nowhere");
    command_expect(4, "nowhere: no such folder", "cache merge nowhere -o out");
    command_expect(4, "nowhere", "cache import nowhere");
    assert_int_equal(command_shell("ls nowhere"), 2);
    command_expect(0, "qgen cache VERB --help", "cache --help");
    command_expect(0, "the smaller stays", "cache merge --help");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ls_says_what_there_is), cmocka_unit_test(verify_names_what_is_damaged),
        cmocka_unit_test(merging_has_its_laws),  cmocka_unit_test(damage_is_left_out),
        cmocka_unit_test(gc_keeps_the_newest),   cmocka_unit_test(import_is_all_or_a_note),
        cmocka_unit_test(mistakes_are_told),     cmocka_unit_test(stale_winners_are_told),
    };
    return cmocka_run_group_tests(tests, command_begin, command_end);
}
