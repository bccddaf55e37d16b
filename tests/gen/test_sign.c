/* test_sign.c -- contract of sign.h
 *
 * - a secret key that minisign made is read, with and without a password, and has the public key that
 *   minisign gave; a wrong password is told
 * - a key made here is read back, is never overwritten, and nobody else may read it, whatever the umask
 * - the seeds of RFC 8032 have its public keys
 * - a signature made here is accepted by libqrt_verify, and is the same text every time
 * - a password that would cost more than minisign's own, or next to nothing, is not asked for; nor is
 *   one of another kind of key
 * - a key file of which a bit is changed, or that is cut, is refused, or still holds the same key
 * - minisign signs with keys made here, and accepts signatures made here; what it signs is accepted
 *   by libqrt_verify, but not in its legacy form (skipped aloud without minisign)
 */
#include "sign.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "qrt_verify.h"

static const char message[] = "the head of a bundle";
static const struct sign_effort little = {crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_MIN,
                                          crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_MIN};
static char folder[64];

static int enter_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-sign-XXXXXX");
    return mkdtemp(folder) ? chdir(folder) : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") || system(command);
}

static void good(qrt_status status)
{
    if (status != QRT_OK) fail_msg("%s", qrt_message());
}

static void write_text(const char *path, const char *text)
{
    good(file_write(path, text, strlen(text)));
}

static qrt_status say(void *user, const char *what, char out[SIGN_PASSWORD_BYTES])
{
    (void)what;
    snprintf(out, SIGN_PASSWORD_BYTES, "%s", (const char *)user);
    return QRT_OK;
}

static struct sign_password saying(const char *text)
{
    return (struct sign_password){say, (void *)(uintptr_t)text};
}

static void expect_public(const struct sign_key *key, const char *line)
{
    char text[SIGN_PUBLIC_CHARS + 1];
    sign_key_public(key, text);
    assert_string_equal(text, line);
}

/* ---- keys of minisign ---- */

/* Made by minisign 0.11: `minisign -G -W`. */
static const char plain_key[] = "untrusted comment: minisign encrypted secret key\n"
                                "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                "AAAAAAdMCJ6Gplrt6frP1iOJUbayRZ"
                                "uRonMkms22bgFEosPBIXqQfHuuyio5FiywJyxHaETW+"
                                "k4leorZ7Q2tOghD4Lsj8TyCyE5WZXAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                "AAAAAAAAAAAAAAA=\n";
static const char plain_public[] = "RWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX";
/* By `minisign -G` with the password "pw". */
static const char locked_key[] = "untrusted comment: minisign encrypted secret key\n"
                                 "RWRTY0IyacG1L3L0r9C7AVMydJ5SZqQnWnNwzizHDlEwTKTQHbQAAAACAAAAAAAAA"
                                 "EAAAAAADk5UvWs5fofcwnhcFRS+N+Z/twc0"
                                 "VBIjmL7/x1wmXVLCrQh1sAKioEt69+DeNJUr9LyUQQMHHWX33G+gldDCLYx8PEFv/"
                                 "xB2wshF5lcrq2RAPH3DSENWpfaQEuto3hDR"
                                 "7M1PC0dfT40=\n";
static const char locked_public[] = "RWRotIP+aBFHn9NJUxOqwDPJDFsXqx9UtDQjNm8TZgro8ZTaetajXr93";

static void keys_of_minisign_are_read(void **state)
{
    (void)state;
    struct sign_key key;
    write_text("plain.key", plain_key);
    good(sign_key_read("plain.key", NULL, &key));
    expect_public(&key, plain_public);

    write_text("locked.key", locked_key);
    const struct sign_password right = saying("pw");
    const qrt_status status = sign_key_read("locked.key", &right, &key);
    if (status == QRT_E_MEMORY) {
        fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
        return;
    }
    good(status);
    expect_public(&key, locked_public);
    assert_int_equal(sign_key_read("locked.key", NULL, &key), QRT_E_ARGUMENT);
}

/* ---- keys made here ---- */

static void new_keys_are_private(void **state)
{
    (void)state;
    struct sign_key made, read;
    struct stat info;
    const struct sign_password right = saying("a b\xc3\xa4"), wrong = saying("a b");
    const mode_t before = umask(0);
    good(sign_key_make("mine", &right, &little, &made));
    umask(before);
    assert_int_equal(stat("mine.key", &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(stat("mine.pub", &info), 0);
    assert_int_equal(info.st_mode & 07777, 0644);
    good(sign_key_read("mine.key", &right, &read));
    assert_memory_equal(&made, &read, sizeof made);
    assert_int_equal(sign_key_read("mine.key", &wrong, &read), QRT_E_ARGUMENT);
    assert_non_null(strstr(qrt_message(), "mine.key: wrong password"));

    struct sign_key other;
    assert_int_equal(sign_key_make("mine", NULL, NULL, &other), QRT_E_IO);
    assert_non_null(strstr(qrt_message(), "never overwritten"));
    good(sign_key_read("mine.key", &right, &read));
    assert_memory_equal(&made, &read, sizeof made);

    good(sign_key_make("open", NULL, NULL, &made));
    good(sign_key_read("open.key", NULL, &read));
    assert_memory_equal(&made, &read, sizeof made);
    good(sign_key_make("open2", NULL, NULL, &other));
    assert_memory_not_equal(&made, &other, sizeof made);
}

enum { CODED_BYTES = 158 };

static void write_coded(const char *path, const uint8_t coded[CODED_BYTES])
{
    char line[256], text[400];
    sodium_bin2base64(line, sizeof line, coded, CODED_BYTES, sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof text, "untrusted comment: a seed\n%s\n", line);
    write_text(path, text);
}

/* A key file without password, from its definition. */
static void write_seed(const char *path, const char *seed, const char *public_key)
{
    uint8_t coded[CODED_BYTES] = "Ed";
    size_t count;
    memcpy(coded + 4, "B2", 2);
    memset(coded + 54, 0x5e, 8);
    sodium_hex2bin(coded + 62, 32, seed, 64, NULL, &count, NULL);
    sodium_hex2bin(coded + 94, 32, public_key, 64, NULL, &count, NULL);
    write_coded(path, coded);
}

static void seeds_have_the_keys_of_rfc_8032(void **state)
{
    (void)state;
    static const struct {
        const char *seed, *public_key;
    } vectors[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"},
        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"},
    };
    struct sign_key key;
    for (size_t i = 0; i < 3; i++) {
        write_seed("seed.key", vectors[i].seed, vectors[i].public_key);
        good(sign_key_read("seed.key", NULL, &key));
    }
    write_seed("seed.key", vectors[0].seed, vectors[1].public_key);
    assert_int_equal(sign_key_read("seed.key", NULL, &key), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "halves do not belong together"));
}

static qrt_status never(void *user, const char *what, char out[SIGN_PASSWORD_BYTES])
{
    (void)user;
    (void)what;
    (void)out;
    fail_msg("asked for a password");
    return QRT_E_ARGUMENT;
}

/* Costs of a password that are no key's, or no machine's; other algorithms. */
static void odd_keys_are_refused_unasked(void **state)
{
    (void)state;
    static const struct {
        uint8_t ops[2], memory[2]; /* of the number's bytes: which, and its value */
        qrt_status status;
    } costs[] = {
        {{5, 1}, {3, 0x40}, QRT_E_LIMIT},  {{3, 2}, {4, 2}, QRT_E_LIMIT},
        {{3, 2}, {7, 0x80}, QRT_E_LIMIT},  {{0, 1}, {3, 0x40}, QRT_E_FORMAT},
        {{3, 2}, {1, 0x40}, QRT_E_FORMAT},
    };
    const struct sign_password nobody = {never, NULL};
    struct sign_key key;
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        uint8_t coded[CODED_BYTES] = "EdScB2";
        coded[38 + costs[i].ops[0]] = costs[i].ops[1];
        coded[46 + costs[i].memory[0]] = costs[i].memory[1];
        write_coded("odd.key", coded);
        assert_int_equal(sign_key_read("odd.key", &nobody, &key), costs[i].status);
    }
    static const char *const starts[] = {"EDScB2", "edScB2", "EdScB3", "EdArB2"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        uint8_t coded[CODED_BYTES] = {0};
        memcpy(coded, starts[i], 6);
        coded[38 + 3] = 2, coded[46 + 3] = 0x40;
        write_coded("odd.key", coded);
        assert_int_equal(sign_key_read("odd.key", &nobody, &key), QRT_E_FORMAT);
    }
}

/* Only the first line, and what an unprotected key does not use, may differ. */
static void damaged_keys_are_refused(void **state)
{
    (void)state;
    struct sign_key key, read;
    char text[sizeof plain_key];
    size_t refused = 0;
    write_text("plain.key", plain_key);
    good(sign_key_read("plain.key", NULL, &key));
    for (size_t bit = 0; bit < 8 * (sizeof plain_key - 1); bit++) {
        memcpy(text, plain_key, sizeof text);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        good(file_write("damaged.key", text, sizeof plain_key - 1));
        const qrt_status status = sign_key_read("damaged.key", NULL, &read);
        refused += status != QRT_OK;
        if (status == QRT_OK) assert_memory_equal(read.secret, key.secret, sizeof key.secret);
    }
    assert_true(refused > 1000);
    for (size_t count = 0; count < sizeof plain_key - 2; count++) {
        good(file_write("cut.key", plain_key, count));
        assert_int_equal(sign_key_read("cut.key", NULL, &read), QRT_E_FORMAT);
    }
    assert_int_equal(sign_key_read("nowhere.key", NULL, &read), QRT_E_IO);
}

/* ---- signatures ---- */

static qrt_verifier *trusting(const struct sign_key *key)
{
    qrt_verifier *v;
    char line[SIGN_PUBLIC_CHARS + 1];
    sign_key_public(key, line);
    assert_int_equal(qrt_verify_open(&v), 0);
    assert_int_equal(qrt_verify_trust_key(v, line, NULL, 0), 0);
    return v;
}

static void signatures_are_the_same_every_time(void **state)
{
    (void)state;
    struct sign_key key;
    char text[MINISIGN_TEXT_BYTES + 1], again[MINISIGN_TEXT_BYTES + 1], why[200] = "";
    char comment[MINISIGN_TEXT_BYTES + 2];
    size_t bytes, count;
    write_text("plain.key", plain_key);
    good(sign_key_read("plain.key", NULL, &key));
    good(sign_bytes(&key, message, sizeof message, "name:a version:1 counter:2", text, &bytes));
    good(sign_bytes(&key, message, sizeof message, "name:a version:1 counter:2", again, &count));
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(text, again);
    assert_non_null(strstr(text, "\ntrusted comment: name:a version:1 counter:2\n"));
    qrt_verifier *v = trusting(&key);
    if (qrt_verify_signature(v, message, sizeof message, text, bytes, why, sizeof why))
        fail_msg("%s", why);
    assert_int_equal(qrt_verify_signature(v, message, sizeof message - 1, text, bytes, NULL, 0), 1);
    qrt_verify_close(v);
    memset(comment, 'c', sizeof comment);
    comment[MINISIGN_TEXT_BYTES - 100] = 0;
    assert_int_equal(sign_bytes(&key, message, sizeof message, comment, text, &bytes), QRT_E_LIMIT);
    assert_int_equal(sign_bytes(&key, message, sizeof message, "a\nb", text, &bytes), QRT_E_LIMIT);
}

/* ---- minisign itself ---- */

static void shell(const char *command)
{
    if (system(command) != 0) fail_msg("%s failed", command);
}

static int has_minisign(void)
{
    const int found = system("minisign -v >minisign.log 2>&1") == 0;
    if (!found) fprintf(stderr, "[  SKIP  ] minisign is not installed\n");
    return found;
}

static int verify_file(const struct sign_key *key, const char *path, char why[200])
{
    void *text;
    size_t bytes;
    qrt_verifier *v = trusting(key);
    good(file_read(path, MINISIGN_TEXT_BYTES, &text, &bytes));
    const int code = qrt_verify_signature(v, message, sizeof message, text, bytes, why, 200);
    free(text);
    qrt_verify_close(v);
    return code;
}

static void minisign_understands_both_ways(void **state)
{
    (void)state;
    struct sign_key open, locked, theirs;
    char text[MINISIGN_TEXT_BYTES + 1], why[200] = "";
    size_t bytes;
    const struct sign_password password = saying("secret");
    if (!has_minisign()) return;
    good(file_write("head", message, sizeof message));
    good(sign_key_make("a", NULL, NULL, &open));
    good(sign_key_make("b", &password, &little, &locked));
    shell("minisign -G -W -p c.pub -s c.key >minisign.log");
    good(sign_key_read("c.key", NULL, &theirs));

    good(sign_bytes(&open, message, sizeof message, "by qgen", text, &bytes));
    good(file_write("head.minisig", text, bytes));
    shell("minisign -V -H -q -p a.pub -m head");
    shell("minisign -V -Q -p a.pub -m head | grep -qx 'by qgen'");
    shell("! minisign -V -q -p b.pub -m head 2>minisign.log");
    good(sign_bytes(&theirs, message, sizeof message, "by qgen", text, &bytes));
    good(file_write("head.minisig", text, bytes));
    shell("minisign -V -H -q -p c.pub -m head");

    shell("minisign -S -W -s a.key -m head -t 'name:x version:1 counter:3' >minisign.log");
    if (verify_file(&open, "head.minisig", why)) fail_msg("%s", why);
    shell("echo secret | minisign -S -s b.key -m head >minisign.log 2>&1");
    if (verify_file(&locked, "head.minisig", why)) fail_msg("%s", why);
    shell("minisign -S -l -W -s a.key -m head >minisign.log");
    assert_int_equal(verify_file(&open, "head.minisig", why), 1);
    assert_non_null(strstr(why, "legacy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_minisign_are_read),
        cmocka_unit_test(new_keys_are_private),
        cmocka_unit_test(seeds_have_the_keys_of_rfc_8032),
        cmocka_unit_test(odd_keys_are_refused_unasked),
        cmocka_unit_test(damaged_keys_are_refused),
        cmocka_unit_test(signatures_are_the_same_every_time),
        cmocka_unit_test(minisign_understands_both_ways),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
