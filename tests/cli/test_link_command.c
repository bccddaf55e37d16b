/* test_link_command.c -- contract of the command link, of the example product, and of run and eval
 * with bundles
 *
 * - the library is one archive member of data: two symbols, no code, no relocation, no constructor;
 *   its bytes are the bundle's, at a multiple of 64; its header compiles as C and as what it says
 * - equal bundles give equal libraries, wherever; --arch keeps only some archs, with the bytes of a
 *   bundle made for them alone; another arch is refused by name
 * - the example product, linked with libqrt.a, answers what `qgen run` answers, in an empty
 *   environment and folder, and needs libc and libm only
 * - a product whose kernels lack something says what
 * - the example of signed bundles runs what its key signed, names kernels, refuses other keys and
 *   older releases
 * - run and eval take a bundle that --key vouches for or --trust says; else exit 1; compile nothing;
 *   a kernel that it lacks is exit 3
 * - exit code 2 for what does not go together
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "file.h"
#include "gguf_maker.h"
#include "helpers.h"

enum { Q8_0 = 8, VOCAB = 97 };
#define ADD "--request add.f32 --m 1..4096 --templates " SOURCE_DIR "/tests/gen/templates"

static void write_model(void)
{
    char path[128];
    struct maker m;
    static const uint32_t types[] = {Q8_0};
    maker_llama(&m, types, 1, VOCAB);
    snprintf(path, sizeof path, "%s/model.gguf", command_folder);
    assert_int_equal(file_write(path, m.bytes, m.count), QRT_OK);
    maker_free(&m);
}

/* Sanitizers are in libqrt.a too, and then want to be in the product. */
#if defined(__SANITIZE_ADDRESS__)
#define CFLAGS "-fsanitize=address,undefined"
enum { INSTRUMENTED = 1 };
#else
#define CFLAGS ""
enum { INSTRUMENTED = 0 };
#endif

/* add.qk for two archs, the key mine, and model.gguf with product/ made of it. */
static int make_product(void **state)
{
    if (command_begin(state)) return -1;
    write_model();
    return command_run("bundle --new-key mine --no-password") ||
           command_run("bundle --arch x86-64-v3,x86-64-v4 " ADD " --sign mine.key -o add.qk") ||
           command_shell("QRT_CFLAGS='-I%s/runtime '" CFLAGS " QRT_LIBS=%s/libqrt.a "
                         "%s/examples/product/"
                         "build.sh model.gguf product",
                         SOURCE_DIR, BINARY_DIR, SOURCE_DIR);
}

static void ok(int code)
{
    if (code != 0) fail_msg("exit %d: %s%s", code, command_output, command_errors);
}

static void library_is_data_alone(void **state)
{
    (void)state;
    ok(command_run("link add.qk -o libadd.a --header add.h"));
    ok(command_shell("test \"$(nm libadd.a | grep -c ' R add_bundle_')\" = 2"));
    ok(command_shell("test \"$(nm libadd.a | grep -c ' [A-Za-z] ')\" = 2"));
    ok(command_shell("! readelf -SW libadd.a | grep -E '[.](text|data|bss|init|ctors|rel)'"));
    ok(command_shell("readelf -rW libadd.a | grep -q 'no relocations'"));
    ok(command_shell("readelf -sW libadd.a | grep -c HIDDEN | grep -qx 2"));
    ok(command_shell("printf '#include <stdio.h>\\n#include \"add.h\"\\nint main(void) { size_t n; "
                     "const void *b = add_bundle(&n); return (size_t)b %%%% 64 || "
                     "fwrite(b, 1, n, stdout) != n; }' >main.c && "
                     "cc -std=c99 -Wall -Wextra -Werror main.c libadd.a -o main && ./main >out.qk "
                     "&& cmp out.qk add.qk"));
}

static void equal_bundles_give_equal_libraries(void **state)
{
    (void)state;
    ok(command_shell("mkdir -p other && umask 077 && TZ=Asia/Kathmandu SOURCE_DATE_EPOCH=7 $QGEN "
                     "link $PWD/add.qk -o other/libadd.a && cmp other/libadd.a libadd.a"));
}

static void archs_are_cut(void **state)
{
    (void)state;
    ok(command_run("bundle --arch x86-64-v3 " ADD " --name add -o alone.qk"));
    ok(command_run("link alone.qk --prefix add -o alone.a"));
    ok(command_run("link add.qk --prefix add --arch x86-64-v3 -o cut.a"));
    ok(command_shell("cmp alone.a cut.a"));
    json_t *json = command_json(0, "qgen.link/1", "link add.qk --arch x86-64-v4 -o libcut-4.a");
    assert_int_equal(command_integer(json, "kernels"), 1);
    assert_string_equal(json_string_value(json_object_get(json, "symbol")), "cut_4_bundle");
    assert_true(json_is_null(json_object_get(json, "signed_by"))); /* another head */
    json_decref(json);
    command_expect(2, "no kernels for sm_80", "link add.qk --arch x86-64-v3,sm_80 -o x.a");
}

static void product_answers_as_run_does(void **state)
{
    (void)state;
    char ids[256] = "";
    ok(command_shell("echo 1 5 96 7 >ids.txt; mkdir -p empty && cd empty && env -i "
                     "../product/product ../product/model.qm 1 5 96 7 && test -z \"$(ls -A)\""));
    const json_t *token;
    size_t index;
    json_t *run = command_json(0, "qgen.run/1",
                               "run model.gguf --tokens ids.txt -n 8 --greedy --ignore-eos -q "
                               "--kernels product/kernels.qk --trust");
    json_array_foreach(json_object_get(run, "tokens"), index, token)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%lld\n",
                 (long long)json_integer_value(token));
    assert_int_equal(index, 8);
    json_decref(run);
    ok(command_shell("env -i product/product product/model.qm 1 5 96 7"));
    assert_string_equal(command_output, ids);
    if (INSTRUMENTED) return;
    ok(command_shell(
        "! objdump -p product/product | grep NEEDED | grep -vE ' (lib(c|m)|ld-linux.*)[.]so'"));
}

static void product_says_what_is_missing(void **state)
{
    (void)state;
    ok(command_shell("mkdir -p poor && $QGEN link add.qk --prefix kernels -o poor/libkernels.a "
                     "--header poor/kernels.h && cc " CFLAGS " -Ipoor -I%s/runtime "
                     "%s/examples/product/product.c poor/libkernels.a %s/libqrt.a -lm -o "
                     "poor/product",
                     SOURCE_DIR, SOURCE_DIR, BINARY_DIR));
    assert_int_equal(command_shell("poor/product product/model.qm 1 5"), 1);
    assert_non_null(strstr(command_errors, "kernels are missing"));
    assert_non_null(strstr(command_errors, "linear.w8g32"));
}

static void run_and_eval_take_bundles(void **state)
{
    (void)state;
    static const char run[] = "run product/model.qm --tokens ids.txt -n 2 --greedy --ignore-eos";
    ok(command_shell("echo 1 5 96 7 >ids.txt; cp product/kernels.qk signed.qk"));
    ok(command_run("bundle --sign mine.key signed.qk"));
    ok(command_shell("QGEN_CC=/nowhere/cc QGEN_CACHE=$PWD/none $QGEN %s --kernels signed.qk --key "
                     "mine.pub",
                     run));
    ok(command_run(
        "eval product/model.qm --logits l.npy --tokens ids.txt --kernels signed.qk --key "
        "mine.pub"));
    command_expect(1, "say whose with --key", "%s --kernels signed.qk", run);
    command_expect(1, "unsigned", "%s --kernels product/kernels.qk --key mine.pub", run);
    command_expect(3, "add.qk: ", "%s --kernels add.qk --key mine.pub", run);
    command_expect(2, "about a bundle", "%s --trust", run);
}

static void signed_example_asks_its_key(void **state)
{
    (void)state;
    static const char example[] = BINARY_DIR "/example_signed product/model.qm";
    ok(command_shell("cp product/kernels.qk release.qk"));
    ok(command_run("bundle --sign mine.key release.qk"));
    ok(command_shell("%s release.qk mine.pub", example));
    assert_non_null(strstr(command_output, "have     attention.f32.f16.h64"));
    assert_non_null(strstr(command_output, "ready with kernels 1, release 0"));
    assert_int_equal(command_shell("%s release.qk mine.pub 1", example), 1);
    assert_non_null(strstr(command_errors, "release 0, releases before 1 are refused"));
    assert_int_equal(command_shell("%s product/kernels.qk mine.pub", example), 1);
    assert_non_null(strstr(command_errors, "unsigned"));
    assert_int_equal(command_shell("%s add.qk mine.pub", example), 1);
    assert_non_null(strstr(command_output, "MISSING  linear.w8g32"));
}

static void misuse_is_told(void **state)
{
    (void)state;
    command_expect(2, "-o is missing", "link add.qk");
    command_expect(2, "an operand is missing", "link -o libx.a");
    command_expect(2, "a C identifier", "link add.qk -o libx.a --prefix 9x");
    command_expect(2, "a C identifier", "link add.qk -o lib.a");
    command_expect(4, "gone.qk", "link gone.qk -o libx.a");
    command_expect(4, "mine.pub", "link mine.pub -o libx.a");
    ok(command_shell("test ! -e libx.a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(library_is_data_alone),
        cmocka_unit_test(equal_bundles_give_equal_libraries),
        cmocka_unit_test(archs_are_cut),
        cmocka_unit_test(product_answers_as_run_does),
        cmocka_unit_test(product_says_what_is_missing),
        cmocka_unit_test(run_and_eval_take_bundles),
        cmocka_unit_test(signed_example_asks_its_key),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, make_product, command_end);
}
