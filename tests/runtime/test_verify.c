/* test_verify.c -- contract of qrt_verify.h and minisign.h
 *
 * - a signature that the stock minisign tool made is accepted, under its key as a line, as a text of
 *   two lines and as a file; so is one by any of several trusted keys
 * - forgeries, 18,000 of them, none accepted: each bit of a head of 2 KiB, of the signature, the key
 *   id, the algorithm, the trusted comment and the signature over it; each bit of the text but for
 *   the untrusted comment, which nothing covers; text and head cut and extended by 1 to 64 bytes;
 *   another head's signature, another key under the same id
 * - the refusal says why: unsigned, legacy form, unknown key, revoked key, bad signature, bad comment
 *   signature, malformed line 1 .. 5, each with the ids at hand; within the room given, or nowhere
 * - a revoked key is refused though it is trusted; two keys cannot share an id
 * - Ed25519 as RFC 8032 has it; S + L for S, keys and R of small order and encodings that are not
 *   canonical are refused
 * - a text of 1024 bytes is the longest
 * - nothing is read beyond the texts' ends
 */
#include "qrt_verify.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guard.h"
#include "helpers.h"
#include "minisign.h"

enum { HEAD_BYTES = 2048, WHY_BYTES = 256, CODED_BYTES = 74 };

static uint8_t head[HEAD_BYTES];
static char why[WHY_BYTES];
static size_t forgeries;

/* ---- signing, by the format's definition ---- */

struct signer {
    uint8_t id[8], public_key[32], secret[64];
};

/* What a signature's text is made of, open to changes. */
struct parts {
    uint8_t coded[CODED_BYTES]; /* algorithm, id, signature */
    const char *comment;
    uint8_t global[64];
};

static void make_signer(struct signer *s, uint8_t number)
{
    uint8_t seed[32];
    memset(seed, number, sizeof seed);
    memset(s->id, 0xA0 + number, sizeof s->id);
    crypto_sign_seed_keypair(s->public_key, s->secret, seed);
}

static void key_line(const struct signer *s, char out[57])
{
    uint8_t coded[42] = "Ed";
    memcpy(coded + 2, s->id, 8);
    memcpy(coded + 10, s->public_key, 32);
    sodium_bin2base64(out, 57, coded, sizeof coded, sodium_base64_VARIANT_ORIGINAL);
}

static void sign_global(const struct signer *s, struct parts *p)
{
    uint8_t covered[64 + 256];
    memcpy(covered, p->coded + 10, 64);
    memcpy(covered + 64, p->comment, strlen(p->comment));
    crypto_sign_detached(p->global, NULL, covered, 64 + strlen(p->comment), s->secret);
}

static struct parts sign(const struct signer *s, const void *data, size_t bytes)
{
    struct parts p = {.coded = "ED", .comment = "name:test version:1 counter:1"};
    uint8_t hash[64];
    crypto_generichash(hash, 64, data, bytes, NULL, 0);
    memcpy(p.coded + 2, s->id, 8);
    crypto_sign_detached(p.coded + 10, NULL, hash, 64, s->secret);
    sign_global(s, &p);
    return p;
}

static size_t parts_text(const struct parts *p, char out[MINISIGN_TEXT_BYTES])
{
    char first[128], second[128];
    sodium_bin2base64(first, sizeof first, p->coded, CODED_BYTES, sodium_base64_VARIANT_ORIGINAL);
    sodium_bin2base64(second, sizeof second, p->global, 64, sodium_base64_VARIANT_ORIGINAL);
    return (size_t)snprintf(out, MINISIGN_TEXT_BYTES,
                            "untrusted comment: test\n%s\ntrusted comment: %s\n%s\n", first,
                            p->comment, second);
}

/* ---- checking ---- */

static struct signer alice, bob;
static qrt_verifier *trusts_alice;
static struct guard guard;

static int check_text(qrt_verifier *v, const void *data, size_t bytes, const char *text,
                      size_t count)
{
    why[0] = 0;
    const char *copy = (const char *)guard_copy(&guard, text, count);
    return qrt_verify_signature(v, data, bytes, copy, count, why, sizeof why);
}

static int check(qrt_verifier *v, const void *data, size_t bytes, const struct parts *p)
{
    char text[MINISIGN_TEXT_BYTES];
    return check_text(v, data, bytes, text, parts_text(p, text));
}

static void refused(int code)
{
    forgeries++;
    if (code == 0) fail_msg("forgery %zu was accepted", forgeries);
    if (why[0] == 0) fail_msg("forgery %zu was refused without a reason", forgeries);
}

static void says(const char *words)
{
    if (!strstr(why, words)) fail_msg("'%s' lacks '%s'", why, words);
}

static qrt_verifier *trusting(const struct signer *s)
{
    qrt_verifier *v;
    char line[57];
    key_line(s, line);
    assert_int_equal(qrt_verify_open(&v), 0);
    assert_int_equal(qrt_verify_trust_key(v, line, why, sizeof why), 0);
    return v;
}

static int set_up(void **state)
{
    (void)state;
    uint64_t random = 11;
    if (sodium_init() < 0) return -1;
    for (int i = 0; i < HEAD_BYTES; i++) head[i] = (uint8_t)random_word(&random);
    make_signer(&alice, 1);
    make_signer(&bob, 2);
    guard_open(&guard, 2 * MINISIGN_TEXT_BYTES);
    trusts_alice = trusting(&alice);
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    return check(trusts_alice, head, HEAD_BYTES, &p);
}

static int tear_down(void **state)
{
    (void)state;
    qrt_verify_close(trusts_alice);
    guard_close(&guard);
    return 0;
}

/* ---- what is accepted ---- */

/* Made by minisign 0.11: `minisign -G -W`, and -S over the six bytes "hello\n". */
static const char stock_key[] = "untrusted comment: minisign public key DEAE656AE889C074\n"
                                "RWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX\n";
static const char stock_signature[] =
    "untrusted comment: signature from minisign secret key\n"
    "RUR0wInoamWu3r6vE/nC3Qsol9kLDTS1gvBqOdL02IWr5HF9Vk3ohBr+hYS0MpQZcNV+gELHkOXx3bh5l5qEdKXowQo9n+"
    "RRrA4=\n"
    "trusted comment: name:x version:1 counter:2\n"
    "SShO7P5I5EJSu4B0ZJp2PfOIflouehzKcHIIKcWk9cXQW+tVtEn+eDNtSTob4W8oCV75ahOSIlO9juvtr1wlDA==\n";

static void expect_stock(qrt_verifier *v)
{
    const int code = check_text(v, "hello\n", 6, stock_signature, strlen(stock_signature));
    if (code) fail_msg("%s", why);
    refused(check_text(v, "hello!", 6, stock_signature, strlen(stock_signature)));
    says("bad signature: key DEAE656AE889C074");
    qrt_verify_close(v);
}

static void stock_signature_is_accepted(void **state)
{
    (void)state;
    qrt_verifier *v;
    char path[] = "/tmp/qgen-verify-XXXXXX";
    assert_int_equal(qrt_verify_open(&v), 0);
    assert_int_equal(qrt_verify_trust_key(v, stock_key, why, sizeof why), 0);
    expect_stock(v);

    assert_int_equal(qrt_verify_open(&v), 0);
    const char *line = strchr(stock_key, '\n') + 1;
    assert_int_equal(qrt_verify_trust_key(v, line, why, sizeof why), 0);
    expect_stock(v);

    const int fd = mkstemp(path);
    assert_int_equal(write(fd, stock_key, strlen(stock_key)), strlen(stock_key));
    close(fd);
    assert_int_equal(qrt_verify_open(&v), 0);
    assert_int_equal(qrt_verify_trust_file(v, path, why, sizeof why), 0);
    unlink(path);
    expect_stock(v);
}

static void any_trusted_key_will_do(void **state)
{
    (void)state;
    char line[57];
    qrt_verifier *v = trusting(&alice);
    const struct parts a = sign(&alice, head, HEAD_BYTES), b = sign(&bob, head, HEAD_BYTES);
    refused(check(v, head, HEAD_BYTES, &b));
    key_line(&bob, line);
    assert_int_equal(qrt_verify_trust_key(v, line, NULL, 0), 0);
    assert_int_equal(qrt_verify_trust_key(v, line, NULL, 0), 0); /* again: no harm */
    assert_int_equal(check(v, head, HEAD_BYTES, &a), 0);
    assert_int_equal(check(v, head, HEAD_BYTES, &b), 0);
    qrt_verify_close(v);
}

/* ---- forgeries ---- */

static void flip(void *bytes, size_t bit)
{
    ((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void each_bit_of_the_head_counts(void **state)
{
    (void)state;
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    for (size_t bit = 0; bit < 8 * HEAD_BYTES; bit++) {
        flip(head, bit);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
        flip(head, bit);
    }
}

static void each_bit_of_the_signature_counts(void **state)
{
    (void)state;
    struct parts p = sign(&alice, head, HEAD_BYTES);
    for (size_t bit = 0; bit < 8 * sizeof p.coded; bit++) {
        flip(p.coded, bit);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
        flip(p.coded, bit);
    }
    for (size_t bit = 0; bit < 8 * sizeof p.global; bit++) {
        flip(p.global, bit);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
        flip(p.global, bit);
    }
    assert_int_equal(check(trusts_alice, head, HEAD_BYTES, &p), 0);
}

static void each_bit_of_the_text_counts(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES];
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    const size_t count = parts_text(&p, text);
    const size_t free_from = strlen("untrusted comment: "), free_to = strcspn(text, "\n");
    for (size_t bit = 0; bit < 8 * count; bit++) {
        const size_t at = bit / 8;
        if (at >= free_from && at < free_to) continue;
        flip(text, bit);
        refused(check_text(trusts_alice, head, HEAD_BYTES, text, count));
        flip(text, bit);
    }
}

static void lengths_count(void **state)
{
    (void)state;
    static const char tails[] = {0, '\n', ' ', 'A', '='};
    static uint8_t longer[HEAD_BYTES + 64];
    char text[MINISIGN_TEXT_BYTES];
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    const size_t count = parts_text(&p, text);
    memcpy(longer, head, HEAD_BYTES);
    for (size_t n = 1; n <= 64; n++) {
        refused(check(trusts_alice, head, HEAD_BYTES - n, &p));
        refused(check(trusts_alice, longer, HEAD_BYTES + n, &p));
        refused(check_text(trusts_alice, head, HEAD_BYTES, text, count - n));
        refused(check_text(trusts_alice, head, HEAD_BYTES, text + n, count - n));
        for (size_t t = 0; t < sizeof tails; t++) {
            memset(text + count, tails[t], n);
            refused(check_text(trusts_alice, head, HEAD_BYTES, text, count + n));
        }
    }
    for (size_t n = 0; n < count; n++) refused(check_text(trusts_alice, head, HEAD_BYTES, text, n));
}

static void signatures_cannot_be_moved(void **state)
{
    (void)state;
    uint8_t other[HEAD_BYTES];
    memcpy(other, head, HEAD_BYTES);
    other[HEAD_BYTES - 1] ^= 1;
    struct parts p = sign(&alice, other, HEAD_BYTES), mine = sign(&alice, head, HEAD_BYTES);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    says("bad signature");
    memcpy(p.coded, mine.coded, sizeof p.coded); /* the comment of another bundle */
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    says("bad comment signature");
    mine.comment = "name:test version:1 counter:2";
    refused(check(trusts_alice, head, HEAD_BYTES, &mine));
    says("bad comment signature");

    struct signer mallory; /* her own key under Alice's id */
    make_signer(&mallory, 3);
    memcpy(mallory.id, alice.id, sizeof alice.id);
    p = sign(&mallory, head, HEAD_BYTES);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    says("bad signature: key A1A1A1A1A1A1A1A1");
}

/* ---- reasons ---- */

static void reasons_name_keys(void **state)
{
    (void)state;
    struct parts p = sign(&bob, head, HEAD_BYTES);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    says("unknown key A2A2A2A2A2A2A2A2");
    says("trusted: A1A1A1A1A1A1A1A1");

    refused(check_text(trusts_alice, head, HEAD_BYTES, "", 0));
    says("unsigned");

    p = sign(&alice, head, HEAD_BYTES);
    p.coded[1] = 'd';
    crypto_sign_detached(p.coded + 10, NULL, head, HEAD_BYTES, alice.secret);
    sign_global(&alice, &p);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    says("legacy");
    says("A1A1A1A1A1A1A1A1");

    qrt_verifier *nobody;
    assert_int_equal(qrt_verify_open(&nobody), 0);
    p = sign(&alice, head, HEAD_BYTES);
    refused(check(nobody, head, HEAD_BYTES, &p));
    says("no key is trusted");
    qrt_verify_close(nobody);
}

static void revoked_keys_are_refused(void **state)
{
    (void)state;
    static const char *const no_ids[] = {"", "A1", "A1A1A1A1A1A1A1A1A1", "A1A1A1A1A1A1A1AG",
                                         " A1A1A1A1A1A1A1A"};
    qrt_verifier *v = trusting(&alice);
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    for (size_t i = 0; i < sizeof no_ids / sizeof *no_ids; i++) {
        assert_int_equal(qrt_verify_revoke(v, no_ids[i], why, sizeof why), 1);
        says("16 hexadecimal digits");
    }
    assert_int_equal(check(v, head, HEAD_BYTES, &p), 0);
    assert_int_equal(qrt_verify_revoke(v, "a1a1a1a1a1a1a1a1", why, sizeof why), 0);
    refused(check(v, head, HEAD_BYTES, &p));
    says("A1A1A1A1A1A1A1A1, which is revoked");
    qrt_verify_close(v);
}

static void lines_are_strict(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES], *line[4];
    static const struct {
        int line;
        const char *from, *to; /* of the same length */
        const char *reason;
    } changes[] = {
        {0, "untrusted", "Untrusted", "malformed line 1"},
        {0, "test", "te\rt", "malformed line 1"},
        {0, "test\n", "testX", "malformed line 4"},
        {1, "RUS", "RU-", "malformed line 2"},
        {1, "=\n", "A\n", "malformed line 2"},
        {2, "trusted", "trusteD", "malformed line 3"},
        {2, "test", "te\x01t", "malformed line 3"},
        {3, "=\n", "A\n", "malformed line 4"},
    };
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const size_t count = parts_text(&p, text);
        line[0] = text;
        for (int n = 1; n < 4; n++) line[n] = strchr(line[n - 1], '\n') + 1;
        char *at = strstr(line[changes[i].line], changes[i].from);
        assert_non_null(at);
        memcpy(at, changes[i].to, strlen(changes[i].to));
        refused(check_text(trusts_alice, head, HEAD_BYTES, text, count));
        says(changes[i].reason);
    }
    const size_t count = parts_text(&p, text);
    strcpy(text + count, "more\n");
    refused(check_text(trusts_alice, head, HEAD_BYTES, text, count + 5));
    says("malformed line 5");
}

/* The untrusted comment is free, but the whole has a limit. */
static void long_texts_are_refused(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES], longer[MINISIGN_TEXT_BYTES + 1];
    const struct parts p = sign(&alice, head, HEAD_BYTES);
    const size_t count = parts_text(&p, text), rest_at = strcspn(text, "\n");
    for (size_t total = MINISIGN_TEXT_BYTES; total <= MINISIGN_TEXT_BYTES + 1; total++) {
        const size_t filling = total - count;
        memcpy(longer, text, rest_at);
        memset(longer + rest_at, 'u', filling);
        memcpy(longer + rest_at + filling, text + rest_at, count - rest_at);
        const int code = check_text(trusts_alice, head, HEAD_BYTES, longer, total);
        assert_int_equal(code, total > MINISIGN_TEXT_BYTES);
    }
    says("at most 1024");
}

static void reasons_stay_in_their_room(void **state)
{
    (void)state;
    char small[8];
    const struct parts p = sign(&bob, head, HEAD_BYTES);
    char text[MINISIGN_TEXT_BYTES];
    const size_t count = parts_text(&p, text);
    memset(small, '#', sizeof small);
    assert_int_equal(qrt_verify_signature(trusts_alice, head, HEAD_BYTES, text, count, small, 4),
                     1);
    assert_string_equal(small, "sig");
    assert_int_equal(small[4], '#');
    assert_int_equal(qrt_verify_signature(trusts_alice, head, HEAD_BYTES, text, count, NULL, 0), 1);
    assert_int_equal(qrt_verify_signature(trusts_alice, head, HEAD_BYTES, "x", 1, NULL, 0), 1);
    assert_int_equal(qrt_verify_signature(trusts_alice, head, HEAD_BYTES, NULL, 0, NULL, 0), 1);
    assert_int_equal(qrt_verify_trust_key(trusts_alice, "x", NULL, 0), 1);
    assert_int_equal(qrt_verify_trust_file(trusts_alice, "/nowhere/key.pub", NULL, 0), 1);
    assert_int_equal(qrt_verify_revoke(trusts_alice, "x", NULL, 0), 1);
    qrt_verify_close(NULL);
}

/* ---- keys ---- */

static void keys_are_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n",
        "RWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZ",
        "RWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX\n\n",
        "RWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX ",
        "RWR0wInoamWu3pFiywJyxHaETW-k4leorZ7Q2tOghD4Lsj8TyCyE5WZX",
        "RUR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX", /* not "Ed" */
        "untrusted comment: key\n",
        "untrusted comment: key\nRWR0wInoamWu3pFiywJyxHaETW+k4leorZ7Q2tOghD4Lsj8TyCyE5WZX\nmore\n"};
    qrt_verifier *v;
    char line[57];
    assert_int_equal(qrt_verify_open(&v), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (qrt_verify_trust_key(v, bad[i], why, sizeof why) == 0) fail_msg("'%s' passed", bad[i]);
        says("public key: malformed line");
    }
    struct signer twin;
    make_signer(&twin, 3);
    memcpy(twin.id, alice.id, sizeof twin.id);
    key_line(&alice, line);
    assert_int_equal(qrt_verify_trust_key(v, line, why, sizeof why), 0);
    key_line(&twin, line);
    assert_int_equal(qrt_verify_trust_key(v, line, why, sizeof why), 1);
    says("another key has the id A1A1A1A1A1A1A1A1");
    qrt_verify_close(v);
}

/* ---- Ed25519 ---- */

static void unhex(const char *text, uint8_t *out)
{
    size_t count;
    assert_int_equal(sodium_hex2bin(out, strlen(text) / 2, text, strlen(text), NULL, &count, NULL),
                     0);
}

static void ed25519_is_that_of_rfc_8032(void **state)
{
    (void)state;
    static const struct {
        const char *key, *message, *signature;
    } vectors[] = {
        {"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
         "cf9b46bd25bf5f0595bbe24655141438e7a100b"},
        {"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
         "0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
        {"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f7609"
         "84dc6594a7c15e9716ed28dc027beceea1ec40a"},
    };
    uint8_t key[32], message[2], signature[64];
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const size_t bytes = strlen(vectors[i].message) / 2;
        unhex(vectors[i].key, key);
        unhex(vectors[i].message, message);
        unhex(vectors[i].signature, signature);
        assert_int_equal(crypto_sign_verify_detached(signature, message, bytes, key), 0);
        for (size_t bit = 0; bit < 8 * sizeof signature; bit++) {
            flip(signature, bit);
            assert_int_not_equal(crypto_sign_verify_detached(signature, message, bytes, key), 0);
            flip(signature, bit);
        }
    }
}

/* The order of the base point; S + L satisfies the same equation as S. */
static const char order_L[] = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/* All encodings of points of order 1, 2, 4 and 8, those that are not canonical included. */
static const char *const small_points[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
};

static void add_order(uint8_t S[32])
{
    uint8_t L[32];
    unsigned carry = 0;
    unhex(order_L, L);
    for (int i = 0; i < 32; i++) {
        carry += (unsigned)S[i] + L[i];
        S[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

static void only_the_least_S_is_accepted(void **state)
{
    (void)state;
    struct parts p = sign(&alice, head, HEAD_BYTES);
    for (int times = 0; times < 7; times++) { /* S + 7 L still fits 256 bits */
        add_order(p.coded + 10 + 32);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
    }
    p = sign(&alice, head, HEAD_BYTES);
    for (int times = 0; times < 7; times++) {
        add_order(p.global + 32);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
        says("bad comment signature");
    }
    p = sign(&alice, head, HEAD_BYTES);
    unhex(order_L, p.coded + 10 + 32);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    memset(p.coded + 10, 0, 64);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
    memset(p.coded + 10, 0xff, 64);
    refused(check(trusts_alice, head, HEAD_BYTES, &p));
}

/* Under a key of small order, R of small order and S = 0 sign one message in eight. */
static void points_of_small_order_are_refused(void **state)
{
    (void)state;
    struct signer s = alice;
    qrt_verifier *v;
    char line[57];
    assert_int_equal(qrt_verify_open(&v), 0);
    for (size_t i = 0; i < sizeof small_points / sizeof *small_points; i++) {
        struct parts p = sign(&alice, head, HEAD_BYTES);
        unhex(small_points[i], p.coded + 10);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
        memset(p.coded + 10 + 32, 0, 32);
        refused(check(trusts_alice, head, HEAD_BYTES, &p));
        unhex(small_points[i], s.public_key);
        key_line(&s, line);
        assert_int_equal(qrt_verify_trust_key(v, line, why, sizeof why), 1);
        says("A1A1A1A1A1A1A1A1 is no point of prime order");
    }
    qrt_verify_close(v);
}

static void enough_was_tried(void **state)
{
    (void)state;
    print_message("%zu forgeries, 0 accepted\n", forgeries);
    assert_true(forgeries >= 18000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stock_signature_is_accepted),
        cmocka_unit_test(any_trusted_key_will_do),
        cmocka_unit_test(each_bit_of_the_head_counts),
        cmocka_unit_test(each_bit_of_the_signature_counts),
        cmocka_unit_test(each_bit_of_the_text_counts),
        cmocka_unit_test(lengths_count),
        cmocka_unit_test(signatures_cannot_be_moved),
        cmocka_unit_test(reasons_name_keys),
        cmocka_unit_test(revoked_keys_are_refused),
        cmocka_unit_test(lines_are_strict),
        cmocka_unit_test(long_texts_are_refused),
        cmocka_unit_test(reasons_stay_in_their_room),
        cmocka_unit_test(keys_are_strict),
        cmocka_unit_test(ed25519_is_that_of_rfc_8032),
        cmocka_unit_test(only_the_least_S_is_accepted),
        cmocka_unit_test(points_of_small_order_are_refused),
        cmocka_unit_test(enough_was_tried),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
