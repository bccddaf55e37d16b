/* test_jobs_command.c -- contract of qgen plan-jobs, qgen work and jobs.h
 *
 * - plan-jobs: a line for each request, the same whenever asked the same; an id is the BLAKE2b-64 of
 *   the line without it; only linears have shapes
 * - --tune adds a job for each linear and weight, with its device, rows and time; a worker without
 *   the device says so, exit code 5, and does the other jobs
 * - a plan that is cut, or has any bit flipped, or is of another program, is refused with its line
 * - work: shares merged are what one machine makes in one go, and what build makes, byte for byte
 * - a second time nothing is done; a kernel or a note that is lost or damaged is made again
 * - a worker that is killed goes on where it was, and its processes end with it
 * - a job that fails, or whose process dies, is named; the others are done
 * - --offline compiles nothing: exit code 3
 * - shares: I/N, and auto as Slurm and Kubernetes number tasks
 * - wrong usage is 2, a plan that cannot be read 4
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blake2b.h"
#include "command.h"
#include "error.h"
#include "file.h"
#include "helpers.h"
#include "jobs.h"

#define REQUESTS "add.f32,glu.silu.f32,quantize.f32.i8"
#define PLAN     "plan-jobs --arch x86-64-v3 --request " REQUESTS

enum { JOBS = 3 };

static void clear(void) { assert_int_equal(command_shell("rm -rf -- *"), 0); }

static char *read_text(const char *name, size_t *bytes)
{
    char path[192];
    void *text;
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    if (file_read(path, 1 << 20, &text, bytes) != QRT_OK) fail_msg("%s", qrt_message());
    return text;
}

/* ---- plans ---- */

/* The id by its definition: a hash of the line's bytes without the member. */
static void check_id(const char *line, size_t length)
{
    static const char member[] = "\"id\":\"";
    char bare[1024], digits[17] = "";
    uint8_t hash[8];
    assert_true(length < sizeof bare);
    const char *id = memmem(line, length, member, sizeof member - 1);
    assert_non_null(id);
    const size_t before = (size_t)(id - line), member_bytes = sizeof member - 1 + 16 + 2;
    memcpy(bare, line, before);
    memcpy(bare + before, id + member_bytes, length - before - member_bytes);
    blake2b_hash(hash, sizeof hash, bare, length - member_bytes);
    for (int i = 0; i < 8; i++) snprintf(digits + 2 * i, 3, "%02x", hash[i]);
    assert_memory_equal(id + sizeof member - 1, digits, 16);
}

static void plans_are_stable(void **state)
{
    (void)state;
    size_t bytes;
    clear();
    command_expect(0, "plan.jsonl: 3 jobs", PLAN " -o plan.jsonl");
    char *text = read_text("plan.jsonl", &bytes);
    command_expect(0, text, PLAN); /* the same on stdout */
    int lines = 0;
    for (const char *at = text, *end; at < text + bytes; at = end + 1, lines++) {
        end = strchr(at, '\n');
        assert_non_null(end);
        check_id(at, (size_t)(end - at));
    }
    assert_int_equal(lines, JOBS);
    assert_null(strstr(text, command_folder));
    free(text);
    command_shell("grep -o '\"id\":\"[0-9a-f]*\"' plan.jsonl | sort -u | wc -l");
    assert_int_equal(atoi(command_output), JOBS);
    command_expect(0, "\"shapes\":[\"64x128\",\"1x1\"]",
                   "plan-jobs --arch sm_89 --request linear.w4g128.f16.f16,add.f16 --shape "
                   "64x128,1x1 --m 2..9 --top 3");
    assert_non_null(strstr(command_output, "\"m\":[2,9]"));
    assert_non_null(strstr(command_output,
                           "\"request\":\"add.f16\",\"rows\":\"\",\"seconds\":0,\"shapes\":[]"));
    assert_non_null(strstr(command_output, "\"top\":3"));
    command_expect(0, "\"arch\":\"sm_90a\"", "plan-jobs --arch sm_80,sm_90a --bits 4 --group 128");
    json_t *json = command_json(0, "qgen.plan-jobs/1", PLAN " -o plan.jsonl");
    assert_int_equal(command_integer(json, "jobs"), JOBS);
    json_decref(json);
}

static void tuning_is_planned(void **state)
{
    (void)state;
    clear();
    command_expect(0, "4 jobs",
                   "plan-jobs --arch x86-64-v3 --request add.f32,linear.w4g32.f32.f32 --shape "
                   "64x128,32x64 --tune cuda:0 --tune-rows 8,1 --tune-seconds 5 -o plan.jsonl");
    command_shell("grep '\"tune\"' plan.jsonl");
    const char *first = strstr(command_output, "\"shapes\":[\"64x128\"]");
    const char *second = strstr(command_output, "\"shapes\":[\"32x64\"]");
    assert_true(first && second && first < second);
    assert_non_null(strstr(command_output, "\"device\":\"cuda:0\""));
    assert_non_null(strstr(command_output, "\"rows\":\"8,1\",\"seconds\":5"));
    command_expect(5, "2 of 4 jobs failed; the first: job ", "work --jobs plan.jsonl --out out");
    assert_non_null(strstr(command_output, "2 done"));
    command_expect(2, "no linear", "plan-jobs --arch sm_89 --request add.f16 --tune cuda:0");
    command_expect(2, "--m 0",
                   "plan-jobs --arch sm_89 --bits 4 --group 128 --tune cpu --tune-rows 0");
}

static void expect_refused(const char *text, size_t bytes, int line)
{
    struct jobs jobs;
    char where[32];
    assert_int_equal(jobs_parse(text, bytes, "plan", &jobs), QRT_E_FORMAT);
    snprintf(where, sizeof where, "plan:%d: ", line);
    if (strncmp(qrt_message(), where, strlen(where)) != 0)
        fail_msg("'%s' does not open with '%s'", qrt_message(), where);
}

static void damaged_plans_are_refused(void **state)
{
    (void)state;
    struct jobs jobs;
    size_t bytes;
    clear();
    command_run("plan-jobs --arch x86-64-v3 --request add.f32,linear.w4g32.i8.f32 --shape 64x64 -o "
                "plan.jsonl");
    char *text = read_text("plan.jsonl", &bytes);
    const size_t first = strcspn(text, "\n") + 1;
    assert_int_equal(jobs_parse(text, bytes, "plan", &jobs), QRT_OK);
    assert_int_equal(jobs.count, 2);
    assert_int_equal(jobs.items[1].shapes[0].K, 64);
    jobs_free(&jobs);
    for (size_t cut = 1; cut < bytes; cut++)
        if (cut != first) expect_refused(text, cut, cut < first ? 1 : 2);
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        expect_refused(text, bytes, bit / 8 < first ? 1 : 2);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
    free(text);
    static const char *const lines[] = {"\n",    "{}\n", "[]\n", "null\n", "{\"kind\":\"build\"}\n",
                                        "\xff\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_refused(lines[i], strlen(lines[i]), 1);
    command_shell("sed -i 's/\"sources\":\"[0-9a-f]*/\"sources\":\"0123456789abcdef/' plan.jsonl");
    command_expect(4, "plan.jsonl:1: planned by a qgen with other templates (0123456789abcdef",
                   "work --jobs plan.jsonl --out out");
    assert_int_equal(command_shell("ls out"), 2); /* nothing was made */
}

/* ---- work ---- */

static void shares_are_the_whole(void **state)
{
    (void)state;
    clear();
    command_run(PLAN " -o plan.jsonl");
    json_t *json = command_json(0, "qgen.work/1", "work --jobs plan.jsonl --out one");
    assert_int_equal(command_integer(json, "jobs"), JOBS);
    assert_int_equal(command_integer(json, "done"), JOBS);
    assert_int_equal(command_integer(json, "compiled"), JOBS);
    json_decref(json);
    for (int i = 1; i <= 2; i++) {
        json = command_json(0, "qgen.work/1",
                            "work --jobs plan.jsonl --shard %d/2 --jobs-at-a-time 1 --out out/%d",
                            i, i);
        assert_int_equal(command_integer(json, "jobs"), i == 1 ? 2 : 1); /* numbers 0 and 2; 1 */
        json_decref(json);
    }
    command_expect(0, "3 kernels added", "cache merge out/2 out/1 -o merged");
    command_expect(0, "0 jobs", "work --jobs plan.jsonl --shard 9/9 --out none");
    if (command_shell("diff -r -x done one merged")) fail_msg("%s", command_output);
    assert_int_equal(command_run("build --arch x86-64-v3 --request " REQUESTS), 0);
    if (command_shell("diff -r store merged")) fail_msg("%s", command_output);
}

static long long compiled_again(void)
{
    json_t *json = command_json(0, "qgen.work/1", "work --jobs plan.jsonl --out one");
    const long long compiled = command_integer(json, "compiled");
    assert_int_equal(command_integer(json, "done") + command_integer(json, "skipped"), JOBS);
    json_decref(json);
    return compiled;
}

static void what_is_done_is_skipped(void **state)
{
    (void)state;
    clear();
    command_run(PLAN " -o plan.jsonl");
    assert_int_equal(compiled_again(), JOBS);
    json_t *json = command_json(0, "qgen.work/1", "work --jobs plan.jsonl --out one");
    assert_int_equal(command_integer(json, "skipped"), JOBS);
    json_decref(json);
    command_shell("cp -r one whole; rm \"$(ls one/*/*.qk1 | head -n 1)\"");
    assert_int_equal(compiled_again(), 1);
    command_shell("truncate -s 100 \"$(ls one/*/*.qk1 | head -n 1)\"");
    assert_int_equal(compiled_again(), 1);
    command_shell(
        "f=$(ls one/done/* | head -n 1); echo > $f; ls one/done/* | tail -n 1 | xargs rm");
    assert_int_equal(compiled_again(), 0); /* the kernels were there */
    if (command_shell("diff -r whole one")) fail_msg("%s", command_output);
}

static void a_killed_worker_goes_on(void **state)
{
    (void)state;
    clear();
    command_run(PLAN " -o plan.jsonl");
    const int code =
        command_shell("$QGEN work --jobs plan.jsonl --out one -j 1 & worker=$!\n"
                      "for i in $(seq 600); do [ -n \"$(ls one/done 2>/dev/null)\" ] && break; "
                      "sleep 0.05; done\n"
                      "kill -9 $worker; wait $worker; ls one/done | wc -l");
    assert_int_equal(code, 0);
    const int before = atoi(command_output);
    assert_in_range(before, 1, JOBS - 1);
    json_t *json = command_json(0, "qgen.work/1", "work --jobs plan.jsonl --out one");
    assert_true(command_integer(json, "skipped") >= before);
    json_decref(json);
    command_expect(0, "3 kernels, 0 tables of winners: 0 damaged", "cache verify one");
}

static void failures_are_named(void **state)
{
    (void)state;
    clear();
    command_run("plan-jobs --arch x86-64-v3 --request rope.halves.f32.f32.h64,add.f32 -o "
                "plan.jsonl");
    command_expect(2, "1 of 2 jobs failed; the first: job ", "work --jobs plan.jsonl --out out");
    assert_non_null(strstr(command_errors, "rope.halves.f32.f32.h64 on x86-64-v3: "));
    assert_non_null(strstr(command_output, "1 done, 0 there already, 1 failed"));
    /* A compiler that takes the process that runs it along. */
    command_shell("printf '#!/bin/sh\\n[ \"$1\" = --version ] && exec cc --version\\nkill -9 "
                  "$PPID\\n' > killer; chmod +x killer");
    command_run(PLAN " -o plan.jsonl");
    const int code = command_shell("QGEN_CC=$PWD/killer $QGEN work --jobs plan.jsonl --out out2");
    assert_int_equal(code, 3);
    assert_non_null(strstr(command_output, "its process ended by signal 9"));
    assert_non_null(strstr(command_output, "0 done, 0 there already, 3 failed"));
}

static void offline_compiles_nothing(void **state)
{
    (void)state;
    clear();
    command_run("plan-jobs --arch x86-64-v3 --request add.f32 -o plan.jsonl");
    command_expect(3, "1 of 1 jobs failed", "work --jobs plan.jsonl --out one --offline");
    assert_int_equal(command_shell("ls one/*/*"), 2);
    command_run("work --jobs plan.jsonl --out one");
    command_shell("rm -r one/done");
    command_expect(0, "1 done", "work --jobs plan.jsonl --out one --offline");
}

/* ---- shares ---- */

static void expect_shard(const char *text, int index, int count)
{
    struct jobs_shard s = {0, 0};
    if (jobs_shard(text, &s) != QRT_OK) fail_msg("%s: %s", text, qrt_message());
    assert_int_equal(s.index, index);
    assert_int_equal(s.count, count);
}

static void expect_no_shard(const char *text)
{
    struct jobs_shard s;
    assert_int_equal(jobs_shard(text, &s), QRT_E_ARGUMENT);
    assert_non_null(strstr(qrt_message(), "--shard "));
}

static void set_slurm(const char *id, const char *first, const char *step, const char *count)
{
    setenv("SLURM_ARRAY_TASK_ID", id, 1);
    setenv("SLURM_ARRAY_TASK_MIN", first, 1);
    setenv("SLURM_ARRAY_TASK_STEP", step, 1);
    setenv("SLURM_ARRAY_TASK_COUNT", count, 1);
}

static void shares_are_read(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "1",     "/2",  "0/2", "3/2",  "-1/2",
                                      "1/0",   "1/2/3", "1/x", "a/2", "1/2 ", "auto",
                                      "auto/", "autox", "2/1", "1//2"};
    expect_shard("1/1", 1, 1);
    expect_shard("2/8", 2, 8);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect_no_shard(bad[i]);
    set_slurm("1", "1", "1", "16");
    expect_shard("auto", 1, 16);
    set_slurm("15", "0", "1", "16");
    expect_shard("auto", 16, 16);
    set_slurm("14", "10", "2", "4");
    expect_shard("auto", 3, 4);
    expect_shard("auto/9", 3, 9);
    set_slurm("7", "1", "1", "2"); /* --array=1,7: not one after the other */
    expect_no_shard("auto");
    set_slurm("x", "1", "1", "2");
    expect_no_shard("auto");
    unsetenv("SLURM_ARRAY_TASK_ID");
    setenv("JOB_COMPLETION_INDEX", "0", 1);
    expect_shard("auto/8", 1, 8);
    expect_no_shard("auto");
    setenv("JOB_COMPLETION_INDEX", "8", 1);
    expect_no_shard("auto/8");
    unsetenv("JOB_COMPLETION_INDEX");
}

static void mistakes_are_told(void **state)
{
    (void)state;
    clear();
    command_expect(2, "--arch is missing", "plan-jobs --bits 4 --group 128");
    command_expect(2, "exclude each other", PLAN " --bits 4 --group 128");
    command_expect(2, "must be 1 to 64", PLAN " --top 0");
    command_expect(2, "--format json needs --out", PLAN " --format json");
    command_expect(4, "nowhere/plan", PLAN " -o nowhere/plan");
    command_expect(2, "--jobs is missing", "work --out out");
    command_expect(2, "--out is missing", "work --jobs plan.jsonl");
    command_expect(4, "plan.jsonl", "work --jobs plan.jsonl --out out");
    command_run(PLAN " -o plan.jsonl");
    command_expect(2, "--shard 3/2", "work --jobs plan.jsonl --out out --shard 3/2");
    command_expect(4, "plan.jsonl is no folder", "work --jobs plan.jsonl --out plan.jsonl");
    command_expect(2, "did you mean 'plan-jobs'", "plan-job");
    command_expect(0, "plan-jobs", "--help");
    command_expect(0, "seq 4 | parallel qgen work", "plan-jobs --help");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_stable),          cmocka_unit_test(tuning_is_planned),
        cmocka_unit_test(damaged_plans_are_refused), cmocka_unit_test(shares_are_the_whole),
        cmocka_unit_test(what_is_done_is_skipped),   cmocka_unit_test(a_killed_worker_goes_on),
        cmocka_unit_test(failures_are_named),        cmocka_unit_test(offline_compiles_nothing),
        cmocka_unit_test(shares_are_read),           cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, command_begin, command_end);
}
