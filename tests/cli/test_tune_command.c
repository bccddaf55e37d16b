/* test_tune_command.c -- contract of the commands tune and bench
 *
 * - tune: JSON with schema, device, counts of what was tuned, kept, tried and lost, first_choice, and
 *   entries[] {request, n, k, m, default, winner, candidates[]}; a table for people
 * - each trial is a line of tuning/DEVICE.jsonl of schema qgen.trial/1; winners are rows of tuned/
 * - --resume measures nothing again; --dry-run keeps no winners; --repeat compares two runs
 * - Ctrl-C: exit 0 with a note, and the trials so far are there
 * - bench: JSON with schema, device, ceilings, version and rows[]; each row's rates and ratio are what
 *   its times and ceiling give; builds take the winners that tune kept
 * - exit codes: 2 for times, rows and options that are none, nothing on stdout; 5 without the device
 * - the help does not tell of `measure`
 */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"

#include "command.h"

#define REQUEST "--request linear.w4g128.f32.f32 --shape 96x256"

static double number_of(const json_t *object, const char *key)
{
    if (!json_is_number(json_object_get(object, key))) fail_msg("no number '%s'", key);
    return json_number_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    if (!json_is_string(json_object_get(object, key))) fail_msg("no text '%s'", key);
    return json_string_value(json_object_get(object, key));
}

/* The text of the only file of a folder of the store that ends so; "": there is none.  free() it. */
static char *text_of_file(const char *where, const char *suffix)
{
    char path[512];
    void *text = NULL;
    size_t count;
    snprintf(path, sizeof path, "%s/store/%s", command_folder, where);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        const size_t length = strlen(e->d_name), tail = strlen(suffix);
        if (e->d_name[0] == '.' || length < tail || strcmp(e->d_name + length - tail, suffix) != 0)
            continue;
        snprintf(path, sizeof path, "%s/store/%s/%s", command_folder, where, e->d_name);
        assert_int_equal(file_read(path, 1 << 20, &text, &count), QRT_OK);
    }
    if (d) closedir(d);
    return text ? text : strdup("");
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

static void check_candidate(const json_t *c)
{
    assert_string_equal(text_of(c, "template"), "x86/linear_f32");
    assert_int_equal(strlen(text_of(c, "key")), 64);
    assert_string_equal(text_of(c, "outcome"), "measured");
    assert_true(number_of(c, "median_s") > 0);
    assert_true(number_of(c, "low_s") <= number_of(c, "median_s"));
    assert_true(number_of(c, "high_s") >= number_of(c, "median_s"));
    assert_true(number_of(c, "ratio") > 0);
    assert_true(command_integer(c, "repeats") >= 3);
}

static void dry_runs_keep_nothing(void **state)
{
    (void)state;
    json_t *json = command_json(0, "qgen.tune/1", "tune --dry-run " REQUEST " --m 1 --budget 10m");
    assert_int_equal(command_integer(json, "winners"), 0);
    json_decref(json);
    char *winners = text_of_file("tuned", ".txt");
    assert_string_equal(winners, "");
    free(winners);
}

static void json_has_all_fields(void **state)
{
    (void)state;
    json_t *json = command_json(0, "qgen.tune/1", "tune " REQUEST " --m 1,16 --budget 10m");
    const json_t *entries = json_object_get(json, "entries"), *entry;
    size_t i, measured = 0;
    assert_int_equal(json_array_size(entries), 2);
    json_array_foreach(entries, i, entry)
    {
        const json_t *candidates = json_object_get(entry, "candidates"), *c;
        size_t j;
        assert_int_equal(command_integer(entry, "n"), 96);
        assert_int_equal(command_integer(entry, "k"), 256);
        assert_int_equal(command_integer(entry, "m"), i == 0 ? 1 : 16);
        assert_int_equal(command_integer(entry, "default"), 0);
        assert_in_range(command_integer(entry, "winner"), 0, json_array_size(candidates) - 1);
        json_array_foreach(candidates, j, c) check_candidate(c);
        measured += json_array_size(candidates);
    }
    assert_int_equal(command_integer(json, "trials"), measured);
    assert_int_equal(command_integer(json, "tuned") + command_integer(json, "kept_default"), 2);
    assert_int_equal(command_integer(json, "wrong") + command_integer(json, "crashed") +
                         command_integer(json, "timed_out") + command_integer(json, "failed"),
                     0);
    assert_true(command_integer(json, "winners") >= 1);
    const json_t *first = json_object_get(json, "first_choice");
    assert_int_equal(command_integer(first, "entries"), 2);
    assert_true(number_of(first, "median") >= 1 &&
                number_of(first, "worst") >= number_of(first, "median"));
    json_decref(json);
}

static void trials_and_winners_are_files(void **state)
{
    (void)state;
    char *trials = text_of_file("tuning", ".jsonl"), *winners = text_of_file("tuned", ".txt");
    char *end = strchr(trials, '\n');
    assert_non_null(end);
    *end = 0;
    json_t *line = json_loads(trials, 0, NULL);
    assert_non_null(line);
    assert_string_equal(text_of(line, "schema"), "qgen.trial/1");
    assert_string_equal(text_of(line, "outcome"), "measured");
    assert_string_equal(text_of(line, "request"), "linear.w4g128.f32.f32");
    assert_int_equal(command_integer(line, "place"), 0);
    assert_true(number_of(line, "median_s") > 0);
    json_decref(line);
    assert_non_null(strstr(winners, " linear.w4g128.f32.f32 96x256 "));
    assert_non_null(strstr(winners, " measured "));
    free(trials);
    free(winners);
}

static void resuming_measures_nothing(void **state)
{
    (void)state;
    json_t *json =
        command_json(0, "qgen.tune/1", "tune " REQUEST " --m 1,16 --budget 10m --resume");
    assert_int_equal(command_integer(json, "trials"), 0);
    assert_true(command_integer(json, "resumed") >= 4);
    json_decref(json);
    assert_int_equal(command_run("tune " REQUEST " --m 1,16 --budget 10m --resume"), 0);
    assert_non_null(strstr(command_output, "96x256"));
    assert_non_null(strstr(command_output, "0 trials"));
    assert_non_null(strstr(command_output, "first choice of the ranking"));
}

static void two_runs_are_compared(void **state)
{
    (void)state;
    json_t *json =
        command_json(0, "qgen.tune/1", "tune --dry-run " REQUEST " --m 2 --budget 10m --repeat");
    const json_t *both = json_object_get(json, "repeat");
    assert_int_equal(command_integer(both, "compared"), 1);
    assert_in_range(command_integer(both, "agree"), 0, 1);
    assert_in_range(command_integer(both, "same_winner"), 0, command_integer(both, "agree"));
    json_decref(json);
}

/* ---- Ctrl-C ---- */

static pid_t start_long_run(void)
{
    const pid_t pid = fork();
    if (pid != 0) return pid;
    char path[96], text[1200];
    size_t length = 0;
    for (int m = 1; m <= 200; m++)
        length += (size_t)snprintf(text + length, sizeof text - length, m > 1 ? ",%d" : "%d", m);
    snprintf(path, sizeof path, "%s/long", command_folder);
    if (!freopen(path, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) _exit(1);
    execl(BINARY_DIR "/qgen", "qgen", "tune", "--request", "linear.w4g128.f32.f32", "--shape",
          "64x128", "--m", text, "--budget", "10m", NULL);
    _exit(1);
}

static void stopping_keeps_what_is_known(void **state)
{
    (void)state;
    char *before = text_of_file("tuning", ".jsonl"), *after = strdup("");
    const pid_t pid = start_long_run();
    int code;
    for (int i = 0; i < 1200 && count_lines(after) <= count_lines(before) + 1; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        free(after);
        after = text_of_file("tuning", ".jsonl");
    }
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
    char path[96];
    void *text;
    size_t count;
    snprintf(path, sizeof path, "%s/long", command_folder);
    assert_int_equal(file_read(path, 1 << 20, &text, &count), QRT_OK);
    assert_non_null(strstr(text, "stopped: the best so far is kept"));
    assert_non_null(strstr(text, "without a verdict"));
    free(text);
    free(before);
    free(after);
}

/* ---- bench ---- */

static void check_row(const json_t *r)
{
    const double median = number_of(r, "median"), ceiling = number_of(r, "ceiling");
    const int is_memory = strcmp(text_of(r, "bound"), "memory") == 0;
    const double amount = number_of(r, is_memory ? "bytes" : "ops");
    assert_true(median > 0 && ceiling > 0);
    assert_true(fabs(number_of(r, "bytes_per_s") * median / number_of(r, "bytes") - 1) < 1e-6);
    assert_true(fabs(number_of(r, "ops_per_s") * median / number_of(r, "ops") - 1) < 1e-6);
    assert_true(fabs(number_of(r, "ratio") * ceiling * median / amount - 1) < 1e-6);
    assert_true(number_of(r, "ops") == 2.0 * 96 * 256 * (double)command_integer(r, "m"));
}

static void bench_has_ceilings(void **state)
{
    (void)state;
    json_t *json = command_json(0, "qgen.bench/1", "bench " REQUEST " --m 1,16 --seconds 0.02");
    const json_t *rows = json_object_get(json, "rows"), *row;
    const json_t *ceilings = json_object_get(json, "ceilings");
    size_t i;
    assert_true(command_integer(json_object_get(json, "device"), "processors") >= 1);
    assert_true(number_of(ceilings, "bytes_per_s") > 0);
    assert_true(number_of(json_object_get(ceilings, "ops_per_s"), "f32") > 0);
    text_of(json, "version");
    assert_int_equal(json_array_size(rows), 2);
    json_array_foreach(rows, i, row) check_row(row);
    json_decref(json);
    assert_int_equal(command_run("bench " REQUEST " --m 1 --seconds 0.02 --flush"), 0);
    assert_non_null(strstr(command_output, "linear.w4g128.f32.f32"));
    assert_non_null(strstr(command_output, "GB/s"));
}

static void errors_are_clear(void **state)
{
    (void)state;
    command_expect(2, "--scheme", "tune");
    command_expect(2, "--budget soon: a time like 90s", "tune " REQUEST " --budget soon");
    command_expect(2, "--budget 0", "tune " REQUEST " --budget 0");
    command_expect(2, "--m 1..4: a list of numbers", "tune " REQUEST " --m 1..4");
    command_expect(2, "--m 0", "tune " REQUEST " --m 0");
    command_expect(2, "must be 1 to 64", "tune " REQUEST " --top 0");
    command_expect(2, "no linear", "tune --request add.f32");
    command_expect(2, "sm_80", "tune " REQUEST " --arch sm_80");
    command_expect(5, "abacus", "tune " REQUEST " --device abacus");
    command_expect(5, "nonexistent",
                   "tune --device cuda:0 --driver /nonexistent/libcuda.so --scheme w4g128");
    command_expect(2, "--scheme", "bench");
    command_expect(5, "no kernels", "bench " REQUEST " --device ref");
    assert_int_equal(command_run("--help"), 0);
    assert_non_null(strstr(command_output, "  tune "));
    assert_non_null(strstr(command_output, "  bench "));
    assert_null(strstr(command_output, "\n  measure "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dry_runs_keep_nothing),
        cmocka_unit_test(json_has_all_fields),
        cmocka_unit_test(trials_and_winners_are_files),
        cmocka_unit_test(resuming_measures_nothing),
        cmocka_unit_test(two_runs_are_compared),
        cmocka_unit_test(stopping_keeps_what_is_known),
        cmocka_unit_test(bench_has_ceilings),
        cmocka_unit_test(errors_are_clear),
    };
    return cmocka_run_group_tests(tests, command_begin, command_end);
}
