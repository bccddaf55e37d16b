/* test_signed_bundle.c -- contract of signed bundles, from the file to the driver: forgeries reach neither
 * parser nor driver
 *
 * - a bundle that a trusted key signed opens, and its kernels are given to the driver when wanted: the
 *   driver here counts, so that the zeros below mean something
 * - each bit of a head of 2 KiB changed and hashed again; each bit of the signature's text but for the
 *   untrusted comment, and the text cut and extended by 1 to 64 bytes; no signature, that of another
 *   bundle, the legacy form; an unknown and a revoked key: QRT_E_TRUST, never what a parser would say
 *   of such tables; an older release: QRT_E_TRUST
 * - the same without hashing again, and files cut and extended by 1 to 64 bytes: QRT_E_FORMAT (a head above
 *   the limit: QRT_E_LIMIT)
 * - after all of them the driver was called 0 times
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fake_cuda/fake_cuda.h"
#include "blake2b.h"
#include "bundles.h"
#include "device.h"
#include "helpers.h"
#include "qrt_verify.h"
#include "sign.h"

#define FAKE_PATH BINARY_DIR "/libfake_cuda.so"
enum { KERNELS = 3, WINNERS = 4, HEAD_BYTES = 2048, START_BYTES = sizeof(struct bundle_start) };

static struct fake_cuda *fake;
static qrt *rt;
static qrt_device *gpu;
static qrt_verifier *verifier;
static struct sign_key alice, bob;
static uint8_t *bundle, *copy; /* signed by Alice; [count + 64] */
static size_t count, forgeries;

static struct sign_key make_key(uint8_t number)
{
    char name[] = "/tmp/qgen-signed-XXXXXX", path[64];
    struct sign_key key;
    assert_non_null(mkdtemp(name));
    snprintf(path, sizeof path, "%s/key", name);
    assert_int_equal(sign_key_make(path, NULL, NULL, &key), QRT_OK);
    snprintf(path, sizeof path, "%s/key.key", name);
    unlink(path);
    snprintf(path, sizeof path, "%s/key.pub", name);
    unlink(path);
    rmdir(name);
    memset(key.id, number, sizeof key.id); /* known to the tests */
    return key;
}

static uint8_t *make_bundle(uint64_t counter, size_t *bytes)
{
    const struct bundle_write_options about = {.name = "test", .version = "1", .counter = counter};
    struct bundle_write_winner winners[WINNERS];
    struct entry e[KERNELS];
    for (unsigned i = 0; i < KERNELS; i++)
        e[i] = bundles_entry("sm_80", "add.f16", 1 + 8 * (int)i, 8 + 8 * (int)i, i, 300);
    for (int i = 0; i < WINNERS; i++)
        winners[i] = (struct bundle_write_winner){
            .entry = 0, .m_lo = 1 + i, .m_hi = 1 + i, .device = "NVIDIA_A100"};
    return bundles_write(&about, e, KERNELS, winners, WINNERS, bytes);
}

static size_t sign_with(const struct sign_key *key, const uint8_t *bytes,
                        char text[MINISIGN_TEXT_BYTES + 1])
{
    size_t length;
    assert_int_equal(sign_bytes(key, bytes, HEAD_BYTES, "name:test", text, &length), QRT_OK);
    return length;
}

/* By the layout: any bytes, and the hash that goes with them. */
static void put_signature(uint8_t *bytes, const char *text, size_t length)
{
    uint8_t *room = bytes + HEAD_BYTES;
    memset(room, 0, BUNDLE_SIGNATURE_MAX);
    memcpy(room, text, length);
    blake2b_hash(room + BUNDLE_SIGNATURE_MAX, BUNDLE_HASH_BYTES, room, BUNDLE_SIGNATURE_MAX);
}

static qrt_verifier *trusting(const struct sign_key *key)
{
    qrt_verifier *v;
    char line[SIGN_PUBLIC_CHARS + 1];
    sign_key_public(key, line);
    assert_int_equal(qrt_verify_open(&v), 0);
    assert_int_equal(qrt_verify_trust_key(v, line, NULL, 0), 0);
    return v;
}

static void start_driver(void)
{
    void *library = dlopen(FAKE_PATH, RTLD_NOW | RTLD_NODELETE);
    assert_non_null(library);
    void *found = dlsym(library, "fake_cuda_reset");
    struct fake_cuda *(*reset)(void);
    memcpy(&reset, &found, sizeof reset);
    fake = reset();
    fake->major = 8;
    fake->minor = 0;
}

static int set_up(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES + 1];
    const qrt_options options = {.size = sizeof options, .cuda_library = FAKE_PATH};
    start_driver();
    if (qrt_open(&options, &rt) != QRT_OK || qrt_device_open(rt, "cuda:0", &gpu) != QRT_OK)
        return -1;
    alice = make_key(0xA1);
    bob = make_key(0xB2);
    verifier = trusting(&alice);
    bundle = make_bundle(5, &count);
    put_signature(bundle, text, sign_with(&alice, bundle, text));
    copy = calloc(1, count + 64);
    return copy == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    free(copy);
    free(bundle);
    qrt_verify_close(verifier);
    qrt_device_close(gpu);
    qrt_close(rt);
    return 0;
}

/* ---- opening and loading ---- */

static qrt_bundle_options options_for(qrt_verifier *v)
{
    return (qrt_bundle_options){.size = sizeof(qrt_bundle_options),
                                .verify = qrt_verify_signature,
                                .verify_user = v,
                                .min_counter = 5};
}

/* What a product does: open, offer to the device, load all. */
static qrt_status use(const uint8_t *bytes, size_t length, qrt_verifier *v)
{
    const qrt_bundle_options options = options_for(v);
    qrt_bundle *opened;
    qrt_status status = qrt_bundle_open_memory(rt, bytes, length, &options, &opened);
    if (status != QRT_OK) return status;
    status = qrt_kernels_bundle(gpu, opened);
    for (size_t i = 0; i < gpu->kernel_count && status == QRT_OK; i++)
        status = device_load(gpu, gpu->kernels[i]);
    device_drop_kernels(gpu);
    qrt_bundle_close(opened);
    return status;
}

static void head_has_the_size_that_is_meant(void **state)
{
    (void)state;
    size_t head;
    assert_int_equal(bundle_head_bytes(bundle, count, &head), QRT_OK);
    assert_int_equal(head, HEAD_BYTES);
}

static void signed_kernels_reach_the_driver(void **state)
{
    (void)state;
    const qrt_status status = use(bundle, count, verifier);
    if (status != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(fake->cubins_loaded, KERNELS);
    fake->cubins_loaded = 0;
    fake->calls = 0;
}

/* ---- forgeries ---- */

static void refused(qrt_status expected, const uint8_t *bytes, size_t length, qrt_verifier *v)
{
    const qrt_status status = use(bytes, length, v);
    forgeries++;
    if (status != expected)
        fail_msg("forgery %zu: status %d, expected %d: %s", forgeries, (int)status, (int)expected,
                 status ? qrt_message() : "accepted");
}

/* Sizes that are wrong, or above a limit. */
static void refused_at_start(void)
{
    const qrt_status status = use(copy, count, verifier);
    forgeries++;
    if (status != QRT_E_FORMAT && status != QRT_E_LIMIT)
        fail_msg("forgery %zu: status %d", forgeries, (int)status);
}

static void says(const char *words)
{
    if (!strstr(qrt_message(), words)) fail_msg("'%s' lacks '%s'", qrt_message(), words);
}

static void flip(void *bytes, size_t bit)
{
    ((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void each_bit_of_the_head(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8 * HEAD_BYTES; bit++) {
        const size_t at = bit / 8;
        memcpy(copy, bundle, count);
        flip(copy, bit);
        if (at < START_BYTES) {
            refused_at_start();
            continue;
        }
        refused(QRT_E_FORMAT, copy, count, verifier);
        if (at >= HEAD_BYTES - BUNDLE_HASH_BYTES) continue;
        bundles_rehash(copy);
        refused(QRT_E_TRUST, copy, count, verifier);
        says("bad signature: key A1A1A1A1A1A1A1A1");
    }
}

static void each_bit_of_the_signature(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES + 1];
    const size_t length = sign_with(&alice, bundle, text);
    const size_t free_from = strlen("untrusted comment: "), free_to = strcspn(text, "\n");
    memcpy(copy, bundle, count);
    for (size_t bit = 0; bit < 8 * length; bit++) {
        const size_t at = bit / 8;
        if (at >= free_from && at < free_to) continue;
        flip(text, bit);
        put_signature(copy, text, length);
        refused(text[at] ? QRT_E_TRUST : QRT_E_FORMAT, copy, count, verifier);
        flip(text, bit);
    }
}

static void lengths(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES + 1];
    const size_t length = sign_with(&alice, bundle, text);
    memcpy(copy, bundle, count);
    memset(text + length, '\n', 64);
    for (size_t n = 1; n <= 64; n++) {
        put_signature(copy, text, length - n);
        refused(QRT_E_TRUST, copy, count, verifier);
        put_signature(copy, text + n, length - n);
        refused(QRT_E_TRUST, copy, count, verifier);
        put_signature(copy, text, length + n);
        refused(QRT_E_TRUST, copy, count, verifier);
    }
    memcpy(copy, bundle, count);
    for (size_t n = 1; n <= 64; n++) {
        refused(QRT_E_FORMAT, copy, count - n, verifier);
        refused(QRT_E_FORMAT, copy, count + n, verifier);
    }
}

static void other_signers(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES + 1];
    memcpy(copy, bundle, count);
    put_signature(copy, "", 0);
    refused(QRT_E_TRUST, copy, count, verifier);
    says("unsigned");

    put_signature(copy, text, sign_with(&bob, bundle, text));
    refused(QRT_E_TRUST, copy, count, verifier);
    says("unknown key B2B2B2B2B2B2B2B2");
    struct sign_key mallory = bob;
    memcpy(mallory.id, alice.id, sizeof alice.id);
    put_signature(copy, text, sign_with(&mallory, bundle, text));
    refused(QRT_E_TRUST, copy, count, verifier);
    says("bad signature");

    const size_t length = sign_with(&alice, bundle, text);
    char *coded = strchr(text, '\n') + 1;
    assert_memory_equal(coded, "RU", 2); /* "ED" */
    coded[1] = 'W';                      /* "Ed" */
    put_signature(copy, text, length);
    refused(QRT_E_TRUST, copy, count, verifier);
    says("legacy");

    qrt_verifier *wary = trusting(&alice);
    assert_int_equal(qrt_verify_revoke(wary, "A1A1A1A1A1A1A1A1", NULL, 0), 0);
    refused(QRT_E_TRUST, bundle, count, wary);
    says("revoked");
    qrt_verify_close(wary);
}

static void other_releases(void **state)
{
    (void)state;
    char text[MINISIGN_TEXT_BYTES + 1];
    size_t bytes;
    uint8_t *old = make_bundle(4, &bytes);
    assert_int_equal(bytes, count);
    const size_t length = sign_with(&alice, old, text);
    put_signature(old, text, length);
    refused(QRT_E_TRUST, old, count, verifier);
    says("release 4, releases before 5 are refused");
    memcpy(copy, bundle, count); /* the old one's signature on the new one */
    put_signature(copy, text, length);
    refused(QRT_E_TRUST, copy, count, verifier);
    says("bad signature");
    free(old);
}

static void the_driver_saw_nothing(void **state)
{
    (void)state;
    print_message("%zu forgeries, 0 accepted, %d calls of the driver\n", forgeries, fake->calls);
    assert_true(forgeries >= 18000);
    assert_int_equal(fake->cubins_loaded, 0);
    assert_int_equal(fake->ptx_loaded, 0);
    assert_int_equal(fake->calls, 0);
    assert_int_equal(use(bundle, count, verifier), QRT_OK);
    assert_int_equal(fake->cubins_loaded, KERNELS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_has_the_size_that_is_meant),
        cmocka_unit_test(signed_kernels_reach_the_driver),
        cmocka_unit_test(each_bit_of_the_head),
        cmocka_unit_test(each_bit_of_the_signature),
        cmocka_unit_test(lengths),
        cmocka_unit_test(other_signers),
        cmocka_unit_test(other_releases),
        cmocka_unit_test(the_driver_saw_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
