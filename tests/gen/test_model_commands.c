/* test_model_commands.c -- contract of the commands inspect, dequant and pack
 *
 * - inspect: JSON with schema, format, tensors {name, shape, scheme, bytes}, for GGUF and .qm; the
 *   text form says the same; control characters of a file do not reach the terminal
 * - a model that qgen cannot run is still inspected, and the reason is among the beliefs
 * - dequant: a NumPy file of float32 [N, K]; GGUF and packed model give the same bytes
 * - pack: JSON with tensors, bytes, seconds; the packed model opens
 * - exit codes: 2 wrong usage and unknown archs, schemes or tensors; 4 bad or unreadable files and
 *   models that are not supported; every message is one line and an advice, and nothing is written
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "gguf_maker.h"
#include "helpers.h"

enum { Q4_1 = 3, OUTPUT_BYTES = 1 << 20 };

static char folder[64], output[OUTPUT_BYTES];

static void write_file(const char *name, const void *bytes, size_t count)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    (void)state;
    struct maker m;
    static const uint32_t types[] = {Q4_1};
    snprintf(folder, sizeof folder, "/tmp/test_commands.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    maker_llama(&m, types, 1, 97);
    write_file("model.gguf", m.bytes, m.count);
    write_file("cut.gguf", m.bytes, m.count / 2);
    uint8_t *name = memmem(m.bytes, m.count, "made for", 8), *arch = m.bytes;
    memcpy(name, "\x1b[31mred", 8);
    write_file("loud.gguf", m.bytes, m.count);
    arch = memmem(m.bytes, m.count, "architecture", 12);
    memcpy(arch + 12 + 4 + 8, "yalla", 5);
    write_file("other.gguf", m.bytes, m.count);
    memcpy(arch + 12 + 4 + 8, "\x1b[31m", 5);
    write_file("evil.gguf", m.bytes, m.count);
    maker_free(&m);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"model.gguf", "cut.gguf", "loud.gguf", "other.gguf",
                                        "evil.gguf",  "model.qm", "a.npy",     "b.npy"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

/* Run qgen in the folder; `output` gets what it prints, errors as well when `errors`. */
static int qgen(int errors, const char *arguments)
{
    char command[512];
    snprintf(command, sizeof command, "cd %s && %s/qgen %s %s", folder, BINARY_DIR, arguments,
             errors ? "2>&1" : "2>/dev/null");
    FILE *f = popen(command, "r");
    assert_non_null(f);
    output[fread(output, 1, sizeof output - 1, f)] = 0;
    return WEXITSTATUS(pclose(f));
}

static json_t *qgen_json(const char *arguments, const char *schema)
{
    char with_format[256];
    snprintf(with_format, sizeof with_format, "%s --format json", arguments);
    assert_int_equal(qgen(0, with_format), EXIT_DONE);
    json_t *result = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(result);
    assert_string_equal(json_string_value(json_object_get(result, "schema")), schema);
    return result;
}

/* The member `name` of the tensor of that name. */
static const json_t *member_of(const json_t *result, const char *tensor, const char *name)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(result, "tensors"), i, t)
    {
        if (strcmp(json_string_value(json_object_get(t, "name")), tensor) == 0)
            return json_object_get(t, name);
    }
    fail_msg("no tensor %s", tensor);
    return NULL;
}

static void check_tensor(const json_t *result)
{
    const char *const name = "blk.0.ffn_down.weight";
    const json_t *shape = member_of(result, name, "shape");
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), 256);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), 512);
    assert_string_equal(json_string_value(member_of(result, name, "scheme")), "w4g32m");
    assert_int_equal(json_integer_value(member_of(result, name, "bytes")), 256 * 512 / 32 * 20);
}

static void inspect_tells_what_is_in_a_model(void **state)
{
    (void)state;
    json_t *result = qgen_json("inspect model.gguf", "qgen.inspect/1");
    assert_string_equal(json_string_value(json_object_get(result, "format")), "gguf");
    assert_true(json_is_true(json_object_get(result, "runs")));
    assert_int_equal(json_array_size(json_object_get(result, "tensors")), 12);
    check_tensor(result);
    json_decref(result);
    assert_int_equal(qgen(0, "inspect model.gguf"), EXIT_DONE);
    assert_non_null(strstr(output, "blk.0.ffn_down.weight"));
    assert_non_null(strstr(output, "[256,512]"));
    assert_non_null(strstr(output, "rope rotates neighbouring pairs"));
}

static void control_characters_are_escaped(void **state)
{
    (void)state;
    assert_int_equal(qgen(1, "inspect loud.gguf"), EXIT_DONE);
    assert_null(strchr(output, '\x1b'));
    assert_non_null(strstr(output, "\\x1b[31mred"));
    json_decref(qgen_json("inspect loud.gguf", "qgen.inspect/1"));
    assert_null(strchr(output, '\x1b'));
    assert_int_equal(qgen(1, "pack evil.gguf -o c.qm"), EXIT_INPUT);
    assert_null(strchr(output, '\x1b'));
    assert_non_null(strstr(output, "architecture '?[31m'"));
}

static void models_that_cannot_run_are_inspected(void **state)
{
    (void)state;
    json_t *result = qgen_json("inspect other.gguf", "qgen.inspect/1");
    assert_true(json_is_false(json_object_get(result, "runs")));
    assert_non_null(strstr(output, "architecture 'yalla' is not known"));
    check_tensor(result);
    json_decref(result);
}

static void pack_makes_a_model_that_opens(void **state)
{
    (void)state;
    json_t *result = qgen_json("pack model.gguf -o model.qm --arch x86-64-v3,sm_89", "qgen.pack/1");
    assert_int_equal(json_integer_value(json_object_get(result, "tensors")), 13);
    assert_true(json_is_integer(json_object_get(result, "bytes")));
    assert_true(json_is_real(json_object_get(result, "seconds")));
    json_decref(result);
    result = qgen_json("inspect model.qm", "qgen.inspect/1");
    assert_string_equal(json_string_value(json_object_get(result, "format")), "qm");
    assert_string_equal(json_string_value(member_of(result, "output.weight", "packed")), "x86,mma");
    json_decref(result);
}

static void dequant_gives_the_same_of_both_files(void **state)
{
    (void)state;
    assert_int_equal(qgen(0, "pack model.gguf -o model.qm"), EXIT_DONE);
    assert_int_equal(qgen(0, "dequant model.gguf blk.0.attn_k.weight -o a.npy"), EXIT_DONE);
    assert_int_equal(qgen(0, "dequant model.qm blk.0.attn_k.weight -o b.npy"), EXIT_DONE);
    assert_int_equal(qgen(0, "--version > /dev/null && cmp a.npy b.npy && head -c 80 a.npy"), 0);
    assert_memory_equal(output, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4'", 25);
    assert_non_null(strstr(output + 10, "'shape': (128, 256)"));
    assert_int_equal(qgen(0, "--version > /dev/null && wc -c < a.npy"), 0);
    assert_int_equal(atoi(output), 128 + 128 * 256 * 4);
}

static void failures_have_their_exit_code(void **state)
{
    (void)state;
    static const struct {
        const char *arguments;
        int code;
        const char *text;
    } cases[] = {
        {"inspect", EXIT_USAGE, "operand is missing"},
        {"inspect none.gguf", EXIT_INPUT, "none.gguf: No such file"},
        {"inspect .", EXIT_INPUT, "not a regular file"},
        {"inspect cut.gguf", EXIT_INPUT, "cut.gguf: tensor '"},
        {"inspect " SOURCE_DIR "/CMakeLists.txt", EXIT_INPUT, "no format that qgen knows"},
        {"dequant model.gguf blk.0.attn_q.weight", EXIT_USAGE, "-o X.npy is missing"},
        {"dequant model.gguf blk.0.attn_r.weight -o a.npy", EXIT_USAGE, "did you mean"},
        {"dequant cut.gguf blk.0.attn_q.weight -o c.npy", EXIT_INPUT, "was cut short"},
        {"dequant model.gguf output.weight -o none/a.npy", EXIT_INPUT, "No such file"},
        {"pack model.gguf", EXIT_USAGE, "-o OUT.qm is missing"},
        {"pack model.gguf -o c.qm --arch sm_17", EXIT_USAGE, "'sm_17' is not an architecture"},
        {"pack other.gguf -o c.qm", EXIT_INPUT, "known are llama, gemma3"},
        {"pack model.gguf -o ./model.gguf", EXIT_USAGE, "is the input itself"},
        {"dequant model.gguf output.weight -o model.gguf", EXIT_USAGE, "is the input itself"},
        {"pack cut.gguf -o c.qm", EXIT_INPUT, "was cut short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(qgen(1, cases[i].arguments), cases[i].code);
        if (!strstr(output, cases[i].text))
            fail_msg("%s: '%s' lacks '%s'", cases[i].arguments, output, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inspect_tells_what_is_in_a_model),
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(models_that_cannot_run_are_inspected),
        cmocka_unit_test(pack_makes_a_model_that_opens),
        cmocka_unit_test(dequant_gives_the_same_of_both_files),
        cmocka_unit_test(failures_have_their_exit_code),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
