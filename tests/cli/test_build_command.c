/* test_build_command.c -- contract of the commands build, targets and schemes
 *
 * - build: a table on stdout, or JSON with schema, kernels[] {template, scheme, arch, m, tune, key,
 *   regs, spill_bytes, smem_bytes, image_bytes, source}, compiled, reused, seconds
 * - the second time nothing is compiled, and keys are the same
 * - --out writes an entry that parses, the source, and the image
 * - exit codes: 2 for unknown archs, bits 9, group 7, options that are missing, unknown or exclude
 *   each other, each with numbers and the legal values on stderr and nothing on stdout; 3 offline;
 *   4 a model that is not there
 * - the main job, for a GPU: every rows range of linear and all small ops, no spills (skipped aloud
 *   without NVRTC)
 * - targets and schemes list what the main job takes
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "entry.h"
#include "error.h"
#include "file.h"
#include "helpers.h"
#include "nvrtc.h"

enum { OUTPUT_BYTES = 8 << 20 };
#define TEMPLATES SOURCE_DIR "/tests/gen/templates"
#define ADD       "--arch x86-64-v3 --request add.f32 --m 1..4096 --templates " TEMPLATES

static char folder[64], output[OUTPUT_BYTES], errors[1 << 16];

static int make_folder(void **state)
{
    (void)state;
    char store[96];
    strcpy(folder, "/tmp/qgen-build-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(store, sizeof store, "%s/store", folder);
    return setenv("QGEN_CACHE", store, 1);
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Run qgen; its stdout in `output`, its stderr in `errors`. */
static int qgen(const char *arguments)
{
    char command[1024], path[96];
    void *text;
    size_t count;
    snprintf(path, sizeof path, "%s/errors", folder);
    snprintf(command, sizeof command, "cd %s && %s/qgen %s 2>%s", folder, BINARY_DIR, arguments,
             path);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    output[fread(output, 1, sizeof output - 1, f)] = 0;
    const int code = pclose(f);
    assert_int_equal(file_read(path, sizeof errors - 1, &text, &count), QRT_OK);
    snprintf(errors, sizeof errors, "%s", (char *)text);
    free(text);
    assert_true(WIFEXITED(code));
    return WEXITSTATUS(code);
}

static json_t *qgen_json(const char *arguments, const char *schema)
{
    char full[900];
    snprintf(full, sizeof full, "%s --format json", arguments);
    const int code = qgen(full);
    if (code != 0) fail_msg("%s: exit %d, %s", arguments, code, errors);
    json_error_t error;
    json_t *json = json_loads(output, 0, &error);
    if (!json) fail_msg("%s: %s", arguments, error.text);
    assert_string_equal(json_string_value(json_object_get(json, "schema")), schema);
    return json;
}

static long long integer_of(const json_t *object, const char *key)
{
    if (!json_is_integer(json_object_get(object, key))) fail_msg("no integer '%s'", key);
    return json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    if (!json_is_string(json_object_get(object, key))) fail_msg("no text '%s'", key);
    return json_string_value(json_object_get(object, key));
}

static void json_has_all_fields(void **state)
{
    (void)state;
    json_t *json = qgen_json("build " ADD, "qgen.build/1");
    assert_int_equal(integer_of(json, "compiled"), 1);
    assert_int_equal(integer_of(json, "reused"), 0);
    assert_true(json_is_number(json_object_get(json, "seconds")));
    const json_t *kernels = json_object_get(json, "kernels");
    assert_int_equal(json_array_size(kernels), 1);
    const json_t *k = json_array_get(kernels, 0);
    assert_string_equal(text_of(k, "template"), "x86/add");
    assert_true(json_is_null(json_object_get(k, "scheme")));
    assert_string_equal(text_of(k, "arch"), "x86-64-v3");
    assert_string_equal(text_of(k, "request"), "add.f32");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(k, "m"), 0)), 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(k, "m"), 1)), 4096);
    assert_int_equal(integer_of(json_object_get(k, "tune"), "unroll"), 4);
    assert_int_equal(strlen(text_of(k, "key")), 64);
    assert_int_equal(integer_of(k, "regs"), 0);
    assert_int_equal(integer_of(k, "spill_bytes"), 0);
    assert_int_equal(integer_of(k, "smem_bytes"), 0);
    assert_true(integer_of(k, "image_bytes") > 1000);
    assert_non_null(strstr(text_of(k, "source"), "UNROLL = 4"));

    json_t *again = qgen_json("build " ADD, "qgen.build/1");
    assert_int_equal(integer_of(again, "compiled"), 0);
    assert_int_equal(integer_of(again, "reused"), 1);
    assert_string_equal(text_of(json_array_get(json_object_get(again, "kernels"), 0), "key"),
                        text_of(k, "key"));
    json_decref(again);
    json_decref(json);
}

static void table_is_for_people(void **state)
{
    (void)state;
    assert_int_equal(qgen(ADD), 0); /* the command's word may be left out */
    assert_non_null(strstr(output, "add.f32"));
    assert_non_null(strstr(output, "unroll=4"));
    assert_non_null(strstr(output, "1..4096"));
    assert_non_null(strstr(output, "1 kernels for 1 requests"));
    assert_string_equal(errors, "");
}

static void out_writes_files(void **state)
{
    (void)state;
    char path[192];
    void *bytes;
    size_t count;
    struct entry e;
    assert_int_equal(qgen("build " ADD " --out made/here"), 0);
    snprintf(path, sizeof path, "%s/made/here/qk_add_add_f32_unroll4.m1.x86-64-v3.qk1", folder);
    if (file_read(path, 1 << 20, &bytes, &count) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(entry_parse(bytes, count, &e), QRT_OK);
    assert_string_equal(e.record.symbol, "qk_add_add_f32_unroll4");
    strcpy(strrchr(path, '.'), ".c");
    void *source;
    assert_int_equal(file_read(path, 1 << 20, &source, &count), QRT_OK);
    assert_int_equal(count, e.part[ENTRY_SOURCE].bytes);
    assert_memory_equal(source, e.part[ENTRY_SOURCE].data, count);
    strcpy(strrchr(path, '.'), ".so");
    assert_int_equal(access(path, R_OK), 0);
    free(source);
    free(bytes);
    assert_int_equal(qgen("build " ADD " --out errors"), 4); /* a file, not a folder */
}

static void expect_exit(int code, const char *arguments, const char *words)
{
    const int got = qgen(arguments);
    if (got != code) fail_msg("%s: exit %d, expected %d: %s", arguments, got, code, errors);
    if (!strstr(errors, words)) fail_msg("%s: '%s' lacks '%s'", arguments, errors, words);
    assert_string_equal(output, "");
}

static void errors_are_clear(void **state)
{
    (void)state;
    expect_exit(2, "--arch sm_98 --bits 4 --group 128", "did you mean 'sm_90'");
    expect_exit(2, "--arch sm_98 --bits 4 --group 128", "x86-64-v4");
    expect_exit(2, "--arch sm_89 --bits 9 --group 128", "--bits 9: integer weights have 2 to 8");
    expect_exit(2, "--arch sm_89 --bits -4 --group 128", "2 to 8");
    expect_exit(2, "--arch sm_89 --bits 4 --group 7", "group 7: a multiple of 16, or -1");
    expect_exit(2, "--arch sm_89 --bits 4 --group 128 --zero maybe", "none, int or float");
    expect_exit(2, "--arch sm_89 --bits 4 --group 128 --act e4m3", "f16, bf16");
    expect_exit(2, "--arch sm_89 --bits 4", "--group is missing");
    expect_exit(2, "--arch sm_89 --group 64", "--bits is missing");
    expect_exit(2, "--arch sm_89", "--bits and --group, --scheme");
    expect_exit(2, "--bits 4 --group 128", "--arch is missing");
    expect_exit(2, "--arch sm_89 --scheme w4g128 --bits 4 --group 128", "exclude each other");
    expect_exit(2, "--arch sm_89 --scheme w4g128,w4x", "'w4x' is not a name like w4g128");
    expect_exit(2, "--arch sm_89 --scheme w4g128, ", "not a list");
    expect_exit(2, "build " ADD " --m 8..2", "--m 8..2");
    expect_exit(2, "build " ADD " --m 0", "--m 0");
    expect_exit(2, "build " ADD " --shape 64", "--shape 64: outputs x inputs");
    expect_exit(2, "build " ADD " --shape 64x0", "--shape 64x0");
    expect_exit(2, "build " ADD " --jobs 0", "must be 1 to 64");
    expect_exit(2, "build " ADD " --offlin", "did you mean --offline");
    expect_exit(4, "--arch x86-64-v3 --model missing.qm", "missing.qm");
    expect_exit(4, "build " ADD " --templates missing", "missing");
    expect_exit(3, "build " ADD " --top 2 --offline", "without --offline");
}

static void check_gpu_kernel(const json_t *k, int covered[2])
{
    const json_t *m = json_object_get(k, "m");
    assert_int_equal(integer_of(k, "spill_bytes"), 0);
    assert_true(integer_of(k, "regs") > 0 && integer_of(k, "regs") <= 255);
    assert_true(integer_of(k, "smem_bytes") <= 99 * 1024);
    assert_null(strstr(text_of(k, "source"), SOURCE_DIR));
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"linear.w4g128.f16.f16", "linear.w4g128.f16.f32"};
        if (strcmp(text_of(k, "request"), names[i]) != 0) continue;
        assert_int_equal(json_integer_value(json_array_get(m, 0)), covered[i] + 1);
        covered[i] = (int)json_integer_value(json_array_get(m, 1));
        assert_string_equal(text_of(k, "scheme"), "w4g128");
    }
}

static void main_job_covers_a_layer(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
        skip();
    }
    nvrtc_close(nvrtc);
    static const char *const ops[] = {"linear", "reduce",    "embed",   "rmsnorm", "rope",
                                      "glu",    "attention", "combine", "add",     "sample"};
    enum { OPS = sizeof ops / sizeof *ops };
    json_t *json = qgen_json("--arch sm_89 --bits 4 --group 128", "qgen.build/1");
    const json_t *kernels = json_object_get(json, "kernels"), *k;
    int covered[2] = {0, 0}, seen[OPS] = {0};
    size_t i;
    json_array_foreach(kernels, i, k)
    {
        check_gpu_kernel(k, covered);
        for (int op = 0; op < OPS; op++) seen[op] += strcmp(text_of(k, "op"), ops[op]) == 0;
    }
    assert_int_equal(covered[0], 1 << 30);
    assert_int_equal(covered[1], 1 << 30);
    for (int op = 0; op < OPS; op++) assert_true(seen[op] > 0);
    json_t *again = qgen_json("--arch sm_89 --bits 4 --group 128", "qgen.build/1");
    assert_int_equal(integer_of(again, "compiled"), 0);
    assert_int_equal(json_array_size(json_object_get(again, "kernels")), json_array_size(kernels));
    json_array_foreach(kernels, i, k) assert_string_equal(
        text_of(k, "key"), text_of(json_array_get(json_object_get(again, "kernels"), i), "key"));
    json_decref(again);
    json_decref(json);
}

/* The number of blocks of the linear kernel for many rows, on a weight of 1536 x 576 and 129 rows. */
static long long blocks_for(const char *arguments)
{
    json_t *json = qgen_json(arguments, "qgen.build/1");
    const json_t *kernels = json_object_get(json, "kernels");
    const json_t *last = json_array_get(kernels, json_array_size(kernels) - 1);
    const json_t *tune = json_object_get(last, "tune");
    const long long bm = integer_of(tune, "bm"), bn = integer_of(tune, "bn");
    const long long blocks =
        (129 + bm - 1) / bm * ((1536 + bn - 1) / bn) * integer_of(tune, "split");
    json_decref(json);
    return blocks;
}

static void shapes_fill_the_gpu(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) skip();
    nvrtc_close(nvrtc);
    const char *linear = "--arch sm_89 --request linear.w4g128.f16.f16 --m 200";
    char shaped[128];
    snprintf(shaped, sizeof shaped, "%s --shape 1536x576", linear);
    assert_true(blocks_for(linear) < 128);
    assert_true(blocks_for(shaped) >= 128);
}

static int has_name(const json_t *list, const char *name)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) if (strcmp(text_of(item, "name"), name) == 0) return 1;
    return 0;
}

static void lists_name_what_is_taken(void **state)
{
    (void)state;
    json_t *targets = qgen_json("targets", "qgen.targets/1");
    assert_true(has_name(json_object_get(targets, "targets"), "sm_89"));
    assert_true(has_name(json_object_get(targets, "targets"), "x86-64-v3"));
    json_decref(targets);
    json_t *schemes = qgen_json("schemes", "qgen.schemes/1");
    static const char *const names[] = {"w4g128",     "w4g32m",   "w4gcz",
                                        "w8g32.bf16", "w4g32m.k", "f16"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!has_name(json_object_get(schemes, "schemes"), names[i])) fail_msg("no %s", names[i]);
    const json_t *archs =
        json_object_get(json_array_get(json_object_get(schemes, "schemes"), 0), "archs");
    assert_string_equal(json_string_value(json_array_get(json_object_get(archs, "sm_75"), 0)),
                        "f16");
    assert_string_equal(json_string_value(json_array_get(json_object_get(archs, "x86-64-v3"), 0)),
                        "i8");
    json_decref(schemes);
    assert_int_equal(qgen("schemes"), 0);
    assert_non_null(strstr(output, "wBgGz.bf16"));
    assert_int_equal(qgen("targets"), 0);
    assert_non_null(strstr(output, "sm_120"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_all_fields),      cmocka_unit_test(table_is_for_people),
        cmocka_unit_test(out_writes_files),         cmocka_unit_test(errors_are_clear),
        cmocka_unit_test(main_job_covers_a_layer),  cmocka_unit_test(shapes_fill_the_gpu),
        cmocka_unit_test(lists_name_what_is_taken),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
