/* test_bundle_write.c -- contract of writing bundles (bundle_write.h)
 *
 * - what was written opens, and every part comes out as it went in; PTX and source only when asked
 * - name, version, counter, winners and devices come out as they went in
 * - tables are ordered by arch, request, rows, key, whatever the order of the kernels
 * - the same kernels and winners in any order, and more than once, give the same bytes
 * - bytes that repeat are packed, noise is stored as it is; neither needs more room than it has
 * - no kernels at all make a bundle too
 * - names that are none, kernels that are none and winners without their kernel are refused
 * - limits: as many kernels as bundle.h says, and not one more; of winners and texts the same
 * - a signature is put, replaced and taken out; one that is too long or no text changes nothing
 */
#include "bundle_write.h"

#include <stdlib.h>
#include <string.h>

#include "bundles.h"
#include "helpers.h"
#include "rt.h"

static qrt *rt;
static const qrt_bundle_options vouched = {.size = sizeof vouched, .trust = QRT_TRUST_CALLER};

static int open_rt(void **state)
{
    (void)state;
    return qrt_open(NULL, &rt) != QRT_OK;
}

static int close_rt(void **state)
{
    (void)state;
    qrt_close(rt);
    return 0;
}

static qrt_bundle *open_bytes(const void *bytes, size_t count)
{
    qrt_bundle *b;
    if (qrt_bundle_open_memory(rt, bytes, count, &vouched, &b) != QRT_OK)
        fail_msg("%s", qrt_message());
    return b;
}

/* ---- what comes out ---- */

enum { KERNELS = 7, WINNERS = 5 };

/* In an order that is not a bundle's. */
static void make_kernels(struct entry e[KERNELS])
{
    static const char ptx[] = ".version 9.0", source[] = "__global__ void kernel() {}";
    e[0] = bundles_entry("sm_89", "linear.w4g128.f16.f16", 9, 64, 3, 5000);
    e[1] = bundles_entry("x86-64-v3", "add.f32", 1, 64, 9, 700);
    e[2] = bundles_entry("sm_89", "linear.w4g128.f16.f16", 1, 8, 2, 3000);
    e[3] = bundles_entry("sm_80", "add.f16", 1, 64, 4, 1);
    e[4] = bundles_entry("sm_89", "add.f16", 1, 64, 6, 0);
    e[5] = bundles_entry("sm_89", "linear.w4g128.f16.f16", 1, 8, 1, 3000);
    e[6] = bundles_entry("sm_89", "linear.w4g128.f16.f16", 1, 16, 0, 200);
    for (int i = 0; i < KERNELS; i++) {
        e[i].part[ENTRY_PTX].data = ptx;
        e[i].part[ENTRY_PTX].bytes = sizeof ptx;
        e[i].part[ENTRY_SOURCE].data = source;
        e[i].part[ENTRY_SOURCE].bytes = strlen(source);
    }
}

static const int expected_order[KERNELS] = {3, 5, 2, 6, 0, 4, 1};

static const struct bundle_write_winner winners[WINNERS] = {
    {.entry = 2, .N = 4096, .K = 4096, .m_lo = 1, .m_hi = 8, .device = "NVIDIA_L40S"},
    {.entry = 0, .m_lo = 9, .m_hi = 64},
    {.entry = 5, .N = 4096, .K = 14336, .m_lo = 1, .m_hi = 4, .device = "NVIDIA_A10"},
    {.entry = 2, .N = 4096, .K = 4096, .m_lo = 1, .m_hi = 8, .device = ""},
    {.entry = 1, .m_lo = 1, .m_hi = INT32_MAX},
};

static void check_part(const struct entry *got, const struct entry *want, int part, int kept)
{
    assert_int_equal(got->part[part].bytes, kept ? want->part[part].bytes : 0);
    if (got->part[part].bytes)
        assert_memory_equal(got->part[part].data, want->part[part].data, got->part[part].bytes);
}

static void parts_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct entry e[KERNELS];
    make_kernels(e);
    for (int kept = 0; kept < 4; kept++) {
        const struct bundle_write_options options = {
            .name = "n", .version = "v", .with_ptx = kept & 1, .with_source = kept >> 1};
        size_t count;
        uint8_t *bytes = bundles_write(&options, e, KERNELS, NULL, 0, &count);
        qrt_bundle *b = open_bytes(bytes, count);
        for (uint32_t i = 0; i < KERNELS; i++) {
            struct entry got;
            void *block;
            const struct entry *want = &e[expected_order[i]];
            assert_int_equal(bundle_read_kernel(b, i, 1, &got, &block), QRT_OK);
            assert_memory_equal(&got.record, &want->record, sizeof got.record);
            assert_memory_equal(got.key, want->key, sizeof got.key);
            check_part(&got, want, ENTRY_IMAGE, 1);
            check_part(&got, want, ENTRY_PTX, options.with_ptx);
            check_part(&got, want, ENTRY_SOURCE, options.with_source);
            assert_int_equal((uintptr_t)got.part[ENTRY_IMAGE].data % 16, 0);
            rt_free(rt, block);
            assert_int_equal(bundle_read_kernel(b, i, 0, &got, &block), QRT_OK);
            assert_null(got.part[ENTRY_SOURCE].data);
            rt_free(rt, block);
        }
        qrt_bundle_close(b);
        free(bytes);
    }
}

static void tables_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct entry e[KERNELS];
    size_t count;
    make_kernels(e);
    const struct bundle_write_options options = {
        .name = "llama-3", .version = "2026.1_rc", .counter = UINT64_MAX};
    uint8_t *bytes = bundles_write(&options, e, KERNELS, winners, WINNERS, &count);
    qrt_bundle *b = open_bytes(bytes, count);
    qrt_bundle_info info;
    qrt_bundle_info_get(b, &info);
    assert_string_equal(info.name, "llama-3");
    assert_string_equal(info.version, "2026.1_rc");
    assert_true(info.counter == UINT64_MAX && info.bytes == count);
    assert_int_equal(info.kernels, KERNELS);
    assert_int_equal(info.winners, WINNERS);
    assert_int_equal(info.archs, 3);
    static const char *const archs[] = {"sm_80", "sm_89", "x86-64-v3"};
    for (uint32_t i = 0; i < 3; i++) assert_string_equal(bundle_arch_get(b, i).name, archs[i]);
    for (uint32_t i = 0; i < KERNELS; i++)
        assert_memory_equal(bundle_kernel_get(b, i).key, e[expected_order[i]].key, ENTRY_KEY_BYTES);
    /* by kernel, then device */
    static const struct bundle_winner expected[WINNERS] = {{1, 1, 4096, 14336, 1, 4},
                                                           {2, 0, 4096, 4096, 1, 8},
                                                           {2, 2, 4096, 4096, 1, 8},
                                                           {4, 0, 0, 0, 9, 64},
                                                           {6, 0, 0, 0, 1, INT32_MAX}};
    for (uint32_t i = 0; i < WINNERS; i++) {
        const struct bundle_winner w = bundle_winner_get(b, i);
        assert_memory_equal(&w, &expected[i], sizeof w);
    }
    static const char *const devices[] = {"NVIDIA_A10", "NVIDIA_L40S"};
    for (uint32_t i = 0; i < 2; i++) {
        char name[BUNDLE_NAME_BYTES];
        bundle_device_get(b, i, name);
        assert_string_equal(name, devices[i]);
    }
    qrt_bundle_close(b);
    free(bytes);
}

static void order_does_not_matter(void **state)
{
    (void)state;
    struct entry e[KERNELS], mixed[2 * KERNELS];
    struct bundle_write_winner mixed_winners[2 * WINNERS];
    size_t count, again;
    uint64_t random = 17;
    make_kernels(e);
    uint8_t *first = bundles_write(NULL, e, KERNELS, winners, WINNERS, &count);
    for (int round = 0; round < 20; round++) {
        uint32_t place[KERNELS]; /* entry i is mixed[place[i]] */
        const uint32_t from = (uint32_t)(random_word(&random) % KERNELS);
        for (uint32_t i = 0; i < KERNELS; i++) {
            place[i] = (i * 3 + from) % KERNELS;
            mixed[place[i]] = mixed[KERNELS + i] = e[i];
        }
        for (uint32_t i = 0; i < 2 * WINNERS; i++) {
            const struct bundle_write_winner *w = &winners[(i + from) % WINNERS];
            mixed_winners[i] = *w;
            mixed_winners[i].entry = i % 2 ? place[w->entry] : KERNELS + w->entry;
        }
        uint8_t *other =
            bundles_write(NULL, mixed, 2 * KERNELS, mixed_winners, 2 * WINNERS, &again);
        assert_int_equal(again, count);
        assert_memory_equal(other, first, count);
        free(other);
    }
    free(first);
}

static void repetition_is_packed(void **state)
{
    (void)state;
    enum { BYTES = 40000 };
    static uint8_t noise[BYTES], same[BYTES];
    uint64_t random = 23;
    for (int i = 0; i < BYTES; i++) noise[i] = (uint8_t)(random_word(&random) >> 56);
    struct entry e[2] = {bundles_entry("sm_89", "add.f16", 1, 8, 1, 0),
                         bundles_entry("sm_89", "add.f16", 1, 8, 2, 0)};
    e[0].part[ENTRY_IMAGE].data = noise;
    e[1].part[ENTRY_IMAGE].data = same;
    e[0].part[ENTRY_IMAGE].bytes = e[1].part[ENTRY_IMAGE].bytes = BYTES;
    size_t count;
    uint8_t *bytes = bundles_write(NULL, e, 2, NULL, 0, &count);
    qrt_bundle *b = open_bytes(bytes, count);
    assert_int_equal(bundle_kernel_get(b, 0).part[ENTRY_IMAGE].stored_bytes, BYTES);
    assert_in_range(bundle_kernel_get(b, 1).part[ENTRY_IMAGE].stored_bytes, 1, BYTES / 100);
    qrt_bundle_close(b);
    assert_int_equal(bundles_read_all(rt, bytes, count), QRT_OK);
    free(bytes);
}

static void empty_is_a_bundle(void **state)
{
    (void)state;
    size_t count;
    uint8_t *bytes = bundles_write(NULL, NULL, 0, NULL, 0, &count);
    assert_int_equal(bundles_read_all(rt, bytes, count), QRT_OK);
    free(bytes);
}

/* ---- what is refused ---- */

static qrt_status try_write(const char *name, const char *version, const struct entry *e,
                            const struct bundle_write_winner *w)
{
    const struct bundle_write_options options = {.name = name, .version = version};
    void *bytes = NULL;
    size_t count = 0;
    const qrt_status status = bundle_write(&options, e, 1, w, w != NULL, &bytes, &count);
    if (status != QRT_OK) assert_true(!bytes && !count);
    free(bytes);
    return status;
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    const struct entry e = bundles_entry("sm_89", "add.f16", 1, 8, 1, 10);
    char longest[65];
    memset(longest, 'a', sizeof longest);
    longest[64] = 0;
    assert_int_equal(try_write("v", longest, &e, NULL), QRT_E_ARGUMENT);
    assert_int_equal(try_write(longest, "v", &e, NULL), QRT_E_ARGUMENT);
    longest[63] = 0;
    assert_int_equal(try_write(longest, longest, &e, NULL), QRT_OK);
    assert_int_equal(try_write(NULL, "v", &e, NULL), QRT_E_ARGUMENT);
    assert_int_equal(try_write("v", NULL, &e, NULL), QRT_E_ARGUMENT);
    for (int c = 0; c < 256; c++)
        for (size_t at = 0; at < 3; at++) {
            char name[] = "abc";
            name[at] = (char)c;
            const int is_letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                                  c == '-' || (c == '.' && at > 0) || (c == 0 && at > 0);
            const qrt_status want = is_letter ? QRT_OK : QRT_E_ARGUMENT;
            assert_int_equal(try_write(name, "1", &e, NULL), want);
            assert_int_equal(try_write("n", name, &e, NULL), want);
            const struct bundle_write_winner w = {.device = name, .m_lo = 1, .m_hi = 1};
            const int is_device = is_letter || (c >= 'A' && c <= 'Z') || c == 0;
            assert_int_equal(try_write("n", "1", &e, &w), is_device ? QRT_OK : QRT_E_ARGUMENT);
        }
}

static void bad_kernels_are_refused(void **state)
{
    (void)state;
    struct entry e = bundles_entry("sm_89", "add.f16", 1, 8, 1, 10);
    strcpy(e.record.arch, "sm_1");
    assert_int_equal(try_write("n", "1", &e, NULL), QRT_E_FORMAT);
    e = bundles_entry("sm_89", "add.f16", 1, 8, 1, 10);
    e.part[ENTRY_PTX] = e.part[ENTRY_IMAGE]; /* no text */
    assert_int_equal(try_write("n", "1", &e, NULL), QRT_E_FORMAT);
    e = bundles_entry("sm_89", "add.f16", 1, 8, 1, 10);
    static const struct bundle_write_winner bad[] = {
        {.entry = 1, .m_lo = 1, .m_hi = 1},
        {.N = -1, .K = 1, .m_lo = 1, .m_hi = 1},
        {.N = 5, .m_lo = 1, .m_hi = 1},
        {.K = 5, .m_lo = 1, .m_hi = 1},
        {.N = 1, .K = -1, .m_lo = 1, .m_hi = 1},
        {.m_lo = 0, .m_hi = 1},
        {.m_lo = 3, .m_hi = 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(try_write("n", "1", &e, &bad[i]), QRT_E_ARGUMENT);
}

static void check_counts(const struct entry *e, size_t kernels, const struct bundle_write_winner *w,
                         size_t winner_count)
{
    size_t count;
    uint8_t *written = bundles_write(NULL, e, kernels, w, winner_count, &count);
    qrt_bundle *b = open_bytes(written, count);
    assert_int_equal(bundle_about_get(b).kernel_count, kernels);
    assert_int_equal(bundle_about_get(b).winner_count, winner_count);
    qrt_bundle_close(b);
    free(written);
}

static void limits_are_limits(void **state)
{
    (void)state;
    enum { MOST = BUNDLE_MAX_KERNELS };
    const struct bundle_write_options options = {.name = "n", .version = "1"};
    struct entry *e = calloc(MOST + 1, sizeof *e);
    void *bytes = NULL;
    size_t count;
    for (unsigned i = 0; i <= MOST; i++) e[i] = bundles_entry("sm_89", "add.f16", 1, 8, i, 1);
    check_counts(e, MOST, NULL, 0);
    assert_int_equal(bundle_write(&options, e, MOST + 1, NULL, 0, &bytes, &count), QRT_E_LIMIT);
    assert_int_equal(bundle_write(&options, e, SIZE_MAX, NULL, 0, &bytes, &count), QRT_E_LIMIT);
    struct bundle_write_winner *w = calloc(BUNDLE_MAX_WINNERS + 1, sizeof *w);
    for (int i = 0; i <= BUNDLE_MAX_WINNERS; i++)
        w[i] = (struct bundle_write_winner){.N = 1 + i, .K = 1, .m_lo = 1, .m_hi = 1};
    check_counts(e, 1, w, BUNDLE_MAX_WINNERS);
    assert_int_equal(bundle_write(&options, e, 1, w, BUNDLE_MAX_WINNERS + 1, &bytes, &count),
                     QRT_E_LIMIT);
    e[0].part[ENTRY_IMAGE].bytes = ENTRY_MAX_BYTES + 1;
    assert_int_equal(bundle_write(&options, e, 1, NULL, 0, &bytes, &count), QRT_E_LIMIT);
    assert_null(bytes);
    free(w);
    free(e);
}

/* ---- signatures ---- */

/* Refuses, and tells what it was asked. */
static int note_signature(void *user, const void *head, size_t head_bytes, const char *signature,
                          size_t signature_bytes, char *why, size_t why_bytes)
{
    (void)head;
    (void)head_bytes;
    (void)why;
    (void)why_bytes;
    char *seen = user;
    memcpy(seen, signature, signature_bytes);
    seen[signature_bytes] = 0;
    return 1;
}

static void check_signature(const void *bytes, size_t count, const char *want)
{
    char seen[BUNDLE_SIGNATURE_BYTES] = "none";
    const qrt_bundle_options options = {
        .size = sizeof options, .verify = note_signature, .verify_user = seen};
    qrt_bundle *b = NULL;
    assert_int_equal(qrt_bundle_open_memory(rt, bytes, count, &options, &b), QRT_E_TRUST);
    assert_string_equal(seen, want);
}

static void signatures_are_put_and_replaced(void **state)
{
    (void)state;
    struct entry e[KERNELS];
    char text[BUNDLE_SIGNATURE_MAX + 2];
    size_t count;
    make_kernels(e);
    uint8_t *bytes = bundles_write(NULL, e, KERNELS, NULL, 0, &count);
    uint8_t *before = malloc(count);
    memcpy(before, bytes, count);
    check_signature(bytes, count, "");
    for (size_t length = BUNDLE_SIGNATURE_MAX + 1; length > 0; length -= length > 900 ? 1 : 100) {
        memset(text, 'a' + (int)(length % 26), length);
        text[length] = 0;
        const qrt_status want = length > BUNDLE_SIGNATURE_MAX ? QRT_E_LIMIT : QRT_OK;
        assert_int_equal(bundle_set_signature(bytes, count, text, length), want);
        check_signature(bytes, count, want == QRT_OK ? text : "");
        if (length < 100) break;
    }
    memcpy(text, "a\0b", 4);
    assert_int_equal(bundle_set_signature(bytes, count, text, 3), QRT_E_LIMIT);
    assert_int_equal(bundle_set_signature(bytes, count, "", 0), QRT_OK);
    assert_memory_equal(bytes, before, count);
    assert_int_equal(bundle_set_signature(bytes, count - 1, "a", 1), QRT_E_FORMAT);
    size_t head;
    assert_int_equal(bundle_head_bytes(bytes, count, &head), QRT_OK);
    bytes[head - 1] ^= 1;
    assert_int_equal(bundle_set_signature(bytes, count, "a", 1), QRT_E_FORMAT);
    free(before);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_out_as_they_went_in),
        cmocka_unit_test(tables_come_out_as_they_went_in),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(repetition_is_packed),
        cmocka_unit_test(empty_is_a_bundle),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(bad_kernels_are_refused),
        cmocka_unit_test(limits_are_limits),
        cmocka_unit_test(signatures_are_put_and_replaced),
    };
    return cmocka_run_group_tests(tests, open_rt, close_rt);
}
