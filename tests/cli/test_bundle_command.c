/* test_bundle_command.c -- contract of the command bundle, and of inspect for bundles
 *
 * - what is made is told as a table and as JSON: name, version, counter, kernels, winners, bytes,
 *   archs[] {arch, kernels, bytes, plain_bytes}, signed_by, hash; bytes and hash are the file's
 * - the same bytes from another folder, umask, time zone, locale, number of compilers and
 *   SOURCE_DATE_EPOCH, signature included
 * - signing later gives the bytes of signing at once
 * - a key's password comes from --password-file or the terminal, which asks twice for a new one (skipped
 *   aloud without script(1), which is a terminal); a wrong one is exit code 2
 * - --verify: 0; another key, no signature, an older release: 1; any damage, a file cut short: 4
 * - minisign signs an extracted head, and checks what was signed here (skipped aloud without it)
 * - --attach refuses what is no signature and, with --key, one of something else; the file stays
 * - --new-key makes a key only its owner reads, and overwrites none
 * - --check: each request counted, gaps of rows named, exit 3 with the command that makes a bundle
 *   without gaps; archs that run each other's kernels share them
 * - --offline: exit 3, and no file is left
 * - inspect lists kernels and who is said to have signed
 * - exit code 2 and a line of usage for what does not go together; 4 for files that are none
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "error.h"
#include "file.h"
#include "helpers.h"
#include "sign.h"

#define ADD "--request add.f32 --m 1..4096 --templates " SOURCE_DIR "/tests/gen/templates"

static void *read_whole(const char *name, size_t *count)
{
    char path[128];
    void *bytes;
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    if (file_read(path, 64 << 20, &bytes, count) != QRT_OK) fail_msg("%s", qrt_message());
    return bytes;
}

static void same_files(const char *a, const char *b)
{
    size_t a_count, b_count;
    void *a_bytes = read_whole(a, &a_count), *b_bytes = read_whole(b, &b_count);
    assert_int_equal(a_count, b_count);
    assert_memory_equal(a_bytes, b_bytes, a_count);
    free(a_bytes);
    free(b_bytes);
}

static void flip(const char *name, size_t at)
{
    size_t count;
    char path[128];
    uint8_t *bytes = read_whole(name, &count);
    assert_true(at < count);
    bytes[at] ^= 1;
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    assert_int_equal(file_write(path, bytes, count), QRT_OK);
    free(bytes);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text) fail_msg("no text '%s'", key);
    return text;
}

/* All tests work on k.qk (x86-64-v3) and the keys mine and other. */
static int make_bundle(void **state)
{
    return command_begin(state) || command_run("bundle --new-key mine --no-password") ||
           command_run("bundle --new-key other --no-password") ||
           command_run("bundle --arch x86-64-v3 " ADD " --counter 5 -o k.qk");
}

static void results_are_told(void **state)
{
    (void)state;
    json_t *json = command_json(0, "qgen.bundle/1",
                                "bundle --arch x86-64-v3,x86-64-v4 " ADD
                                " --name pack --version 2.1 --counter 7 --sign mine.key -o two.qk");
    assert_string_equal(text_of(json, "file"), "two.qk");
    assert_string_equal(text_of(json, "name"), "pack");
    assert_string_equal(text_of(json, "version"), "2.1");
    assert_int_equal(command_integer(json, "counter"), 7);
    assert_int_equal(command_integer(json, "kernels"), 2);
    assert_int_equal(command_integer(json, "winners"), 0);
    assert_int_equal(strlen(text_of(json, "signed_by")), 16);
    const json_t *archs = json_object_get(json, "archs");
    assert_int_equal(json_array_size(archs), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *a = json_array_get(archs, i);
        assert_string_equal(text_of(a, "arch"), i ? "x86-64-v4" : "x86-64-v3");
        assert_int_equal(command_integer(a, "kernels"), 1);
        assert_true(command_integer(a, "bytes") > 0);
        assert_true(command_integer(a, "plain_bytes") >= command_integer(a, "bytes"));
    }
    size_t count;
    free(read_whole("two.qk", &count));
    assert_int_equal(command_integer(json, "bytes"), count);
    assert_int_equal(command_shell("b2sum -l 256 two.qk | grep -q '^%s '", text_of(json, "hash")),
                     0);
    json_decref(json);
    command_expect(0, "counter 7, 2 kernels, 0 winners", "bundle --verify --key mine.pub two.qk");
    command_expect(0, "x86-64-v4", "bundle --verify --key mine.pub two.qk");
}

static void bytes_do_not_depend_on_place_or_time(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "umask 0; export TZ=Asia/Kathmandu LC_ALL=C SOURCE_DATE_EPOCH=1; jobs=1",
        "umask 077; export TZ=America/Lima LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=2000000000; jobs=2"};
    for (int i = 0; i < 2; i++)
        if (command_shell("mkdir -p f%d/deep && cd f%d/deep && QGEN_CACHE=$PWD/store && export "
                          "QGEN_CACHE && %s && $QGEN bundle --arch x86-64-v4,x86-64-v3 " ADD
                          " --sign ../../mine.key -j $jobs -o k.qk",
                          i, i, settings[i]))
            fail_msg("%s", command_errors);
    same_files("f0/deep/k.qk", "f1/deep/k.qk");
}

static void signing_later_is_signing_at_once(void **state)
{
    (void)state;
    command_expect(0, "signed by",
                   "bundle --arch x86-64-v3 " ADD
                   " --counter 5 --sign mine.key --name k -o now.qk");
    assert_int_equal(command_shell("cp k.qk later.qk"), 0);
    command_expect(0, "signed by", "bundle --sign mine.key later.qk");
    same_files("now.qk", "later.qk");
    command_expect(0, "signed by", "bundle --sign other.key later.qk");
    command_expect(0, "signed by", "bundle --sign mine.key later.qk");
    same_files("now.qk", "later.qk");
}

static void verify_says_what_is_wrong(void **state)
{
    (void)state;
    size_t count;
    command_expect(1, "unsigned", "bundle --verify --key mine.pub k.qk");
    assert_int_equal(command_shell("cp k.qk s.qk"), 0);
    command_expect(0, "signed by", "bundle --sign mine.key s.qk");
    command_expect(0, "signed by", "bundle --verify --key mine.pub s.qk");
    command_expect(0, "signed by", "bundle --verify --key $(tail -n 1 mine.pub) s.qk");
    command_expect(1, "unknown key", "bundle --verify --key other.pub s.qk");
    command_expect(0, "", "bundle --verify --key mine.pub --min-counter 5 s.qk");
    command_expect(1, "release 5, releases before 6",
                   "bundle --verify --key mine.pub --min-counter 6 s.qk");
    free(read_whole("s.qk", &count));
    for (size_t at = 1; at < count; at += count / 50) {
        flip("s.qk", at);
        assert_int_equal(command_run("bundle --verify --key mine.pub s.qk"), 4);
        flip("s.qk", at);
    }
    assert_int_equal(command_shell("head -c -1 s.qk >cut.qk"), 0);
    command_expect(4, "cut.qk", "bundle --verify --key mine.pub cut.qk");
    command_expect(0, "signed by", "bundle --verify --key mine.pub s.qk");
    command_expect(4, "neither a file nor a public key", "bundle --verify --key nowhere.pub s.qk");
}

static void minisign_signs_and_checks(void **state)
{
    (void)state;
    if (command_shell("minisign -v") != 0) {
        fprintf(stderr, "[  SKIP  ] minisign is not installed\n");
        return;
    }
    assert_int_equal(command_shell("cp k.qk m.qk"), 0);
    command_expect(0, "minisign -S", "bundle --extract-head m.qk -o head");
    assert_int_equal(command_shell("minisign -S -W -s mine.key -m head"), 0);
    command_expect(0, "signed by", "bundle --attach head.minisig --key mine.pub m.qk");
    command_expect(0, "signed by", "bundle --verify --key mine.pub m.qk");

    /* ours: the text behind the head */
    command_expect(0, "signed by", "bundle --sign other.key m.qk");
    assert_int_equal(command_shell("tail -c +$(($(stat -c %%s head) + 1)) m.qk | head -c 992 | "
                                   "tr -d '\\000' >head.minisig && minisign -V -H -Q -p other.pub "
                                   "-m head | grep -x 'name:k version:1 counter:5'"),
                     0);
}

static void attach_refuses_others(void **state)
{
    (void)state;
    assert_int_equal(command_shell("cp two.qk x.qk && echo text >text.minisig && "
                                   "head -c 4096 two.qk | tail -c +$(($(od -An -t u8 -j 16 -N 8 "
                                   "two.qk) + 1)) | head -c 992 | tr -d '\\000' >two.minisig"),
                     0);
    command_expect(1, "malformed line", "bundle --attach text.minisig k.qk");
    command_expect(1, "bad signature", "bundle --attach two.minisig --key mine.pub k.qk");
    command_expect(1, "unsigned", "bundle --verify --key mine.pub k.qk");
    command_expect(0, "signed by", "bundle --attach two.minisig --key mine.pub x.qk");
    same_files("two.qk", "x.qk");
}

static void new_keys_are_private(void **state)
{
    (void)state;
    char path[128];
    struct stat info;
    assert_int_equal(command_shell("umask 0; $QGEN bundle --new-key private --no-password"), 0);
    snprintf(path, sizeof path, "%s/private.key", command_folder);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    command_expect(4, "never overwritten", "bundle --new-key private --no-password");
    json_t *json = command_json(0, "qgen.bundle_key/1", "bundle --new-key third --no-password");
    assert_int_equal(command_shell("grep -qx '%s' third.pub && grep -q ' %s$' third.pub",
                                   text_of(json, "public_key"), text_of(json, "id")),
                     0);
    json_decref(json);
    command_expect(2, "no terminal", "bundle --new-key fourth </dev/null");
}

static qrt_status say_secret(void *user, const char *what, char out[SIGN_PASSWORD_BYTES])
{
    (void)user;
    (void)what;
    strcpy(out, "secret");
    return QRT_OK;
}

static void passwords_come_from_file_or_terminal(void **state)
{
    (void)state;
    char path[128];
    struct sign_key key;
    const struct sign_password password = {say_secret, NULL};
    const struct sign_effort little = {32768, 16 << 20};
    snprintf(path, sizeof path, "%s/locked", command_folder);
    assert_int_equal(sign_key_make(path, &password, &little, &key), QRT_OK);
    assert_int_equal(command_shell("cp k.qk l.qk; echo secret >right; echo Secret >wrong"), 0);
    command_expect(0, "signed by", "bundle --sign locked.key --password-file right l.qk");
    command_expect(0, "", "bundle --verify --key locked.pub l.qk");
    command_expect(2, "wrong password", "bundle --sign locked.key --password-file wrong l.qk");
    if (command_shell("command -v script") != 0) {
        fprintf(stderr, "[  SKIP  ] script(1) is not installed\n");
        return;
    }
    assert_int_equal(
        command_shell("cp k.qk t.qk; script -qec '$QGEN bundle --sign locked.key t.qk' "
                      "/dev/null <right"),
        0);
    same_files("l.qk", "t.qk");
    assert_int_equal(command_shell("cat right wrong | script -qec '$QGEN bundle --new-key twice' "
                                   "/dev/null; test ! -e twice.key"),
                     0);
    assert_non_null(strstr(command_output, "passwords differ"));
}

/* ---- coverage ---- */

static void coverage_is_counted(void **state)
{
    (void)state;
    json_t *json =
        command_json(0, "qgen.bundle_check/1", "bundle --check --request add.f32 --m 1..4096 k.qk");
    const json_t *arch = json_array_get(json_object_get(json, "archs"), 0);
    assert_string_equal(text_of(arch, "arch"), "x86-64-v3");
    assert_int_equal(command_integer(arch, "needed"), 1);
    assert_int_equal(command_integer(arch, "missing"), 0);
    assert_true(json_is_null(json_object_get(json, "command")));
    json_decref(json);

    /* v3 runs on v4, and not on a GPU */
    command_expect(0, "x86-64-v4",
                   "bundle --check --request add.f32 --m 1..4096 --arch x86-64-v4 k.qk");
    command_expect(3, "add.f32                       rows 4097..",
                   "bundle --check --request add.f32 k.qk");
    json = command_json(
        3, "qgen.bundle_check/1",
        "bundle --check --request add.f32,sample --m 1..64 --arch x86-64-v3,sm_80 k.qk");
    const json_t *gaps = json_object_get(json, "missing");
    assert_int_equal(json_array_size(gaps), 3);
    assert_string_equal(text_of(json_array_get(gaps, 0), "request"), "add.f32");
    assert_string_equal(text_of(json_array_get(gaps, 0), "arch"), "sm_80");
    assert_int_equal(command_integer(json_array_get(json_object_get(json, "archs"), 1), "missing"),
                     2);
    json_decref(json);
}

static void the_command_fills_the_gaps(void **state)
{
    (void)state;
    json_t *json = command_json(3, "qgen.bundle_check/1",
                                "bundle --check --request add.f32,sample --arch x86-64-v3 k.qk");
    const char *command = text_of(json, "command");
    assert_string_equal(command, "qgen bundle --arch x86-64-v3 --request add.f32,sample -o K.qk");
    assert_int_equal(command_shell("$QGEN %s", strchr(command, ' ') + 1), 0);
    json_decref(json);
    command_expect(0, "x86-64-v3       2        0",
                   "bundle --check --request add.f32,sample --arch x86-64-v3 K.qk");
}

static void offline_compiles_nothing(void **state)
{
    (void)state;
    command_expect(3, "without --offline",
                   "bundle --arch x86-64-v3 " ADD " --top 2 --offline -o none.qk");
    assert_int_equal(command_shell("test ! -e none.qk"), 0);
    command_expect(0, "1 kernels",
                   "bundle --arch x86-64-v3 " ADD " --offline --name k -o again.qk");
}

static void inspect_lists_kernels(void **state)
{
    (void)state;
    json_t *json = command_json(0, "qgen.inspect/1", "inspect two.qk");
    assert_string_equal(text_of(json, "format"), "bundle");
    assert_string_equal(text_of(json, "name"), "pack");
    const json_t *kernel = json_array_get(json_object_get(json, "kernels"), 1);
    assert_string_equal(text_of(kernel, "arch"), "x86-64-v4");
    assert_string_equal(text_of(kernel, "request"), "add.f32");
    assert_int_equal(json_array_size(json_object_get(json, "winners")), 0);
    json_decref(json);
    command_expect(0, "not signed", "inspect k.qk");
    command_expect(0, "says that key", "inspect two.qk");
}

static void misuse_is_told(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"", "what to generate is missing"},
        {"-o x.qk --arch x86-64-v3", "what to generate is missing"},
        {"--arch x86-64-v3 --request add.f32", "-o is missing"},
        {"--request add.f32 -o x.qk", "--arch is missing"},
        {"k.qk", "nothing to do with it"},
        {"--verify k.qk", "--key is missing"},
        {"--verify --key mine.pub", "K.qk is missing"},
        {"--check k.qk", "what to generate is missing"},
        {"--check --verify k.qk", "exclude each other"},
        {"--extract-head k.qk", "-o is missing"},
        {"--sign mine.key --arch x86-64-v3 k.qk", "--sign K.qk takes no --arch"},
        {"--arch x86-64-v3 " ADD " --name Big -o x.qk", "Big"},
        {"--arch x86-64-v3 " ADD " --version a/b -o x.qk", "a/b"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        command_expect(2, i == 0 ? "-o is missing" : wrong[i][1], "bundle %s", wrong[i][0]);
    command_expect(4, "mine.pub", "bundle --verify --key mine.pub mine.pub");
    command_expect(4, "mine.pub: secret key: malformed line 2", "bundle --sign mine.pub k.qk");
    command_expect(4, "gone.qk", "bundle --check --request add.f32 gone.qk");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_told),
        cmocka_unit_test(bytes_do_not_depend_on_place_or_time),
        cmocka_unit_test(signing_later_is_signing_at_once),
        cmocka_unit_test(verify_says_what_is_wrong),
        cmocka_unit_test(minisign_signs_and_checks),
        cmocka_unit_test(attach_refuses_others),
        cmocka_unit_test(new_keys_are_private),
        cmocka_unit_test(passwords_come_from_file_or_terminal),
        cmocka_unit_test(coverage_is_counted),
        cmocka_unit_test(the_command_fills_the_gaps),
        cmocka_unit_test(offline_compiles_nothing),
        cmocka_unit_test(inspect_lists_kernels),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, make_bundle, command_end);
}
