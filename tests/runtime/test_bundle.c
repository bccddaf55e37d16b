/* test_bundle.c -- contract of reading bundles (bundle.h, qrt.h), on bundles that the test spoils
 *
 * - one that nobody vouches for is refused, whatever it holds, before it is read
 * - tables are parsed only after the hook said yes to the head's bytes and the signature's text; its
 *   words reach the message; a damaged head or signature does not reach the hook
 * - another name and an older release are refused, and both sides named
 * - cut at any byte, or made longer, it is refused; also when its size is made to fit
 * - any flipped bit, and many at a time, are refused
 * - whatever a field of the head says, signed or not, the bundle is refused or sound: nothing outside of
 *   it is read, and no memory above 1 MiB is taken before it is refused
 * - names and padding that are none are refused; so are tables out of order, and tables that disagree
 * - every device has a name that is one; names too long differ where the devices' do
 * - limits: a head, a part, kernels and winners above theirs are refused
 * - kernels of an arch that this library does not know do no harm
 * - a file is read piece by piece: what is not wanted may be damaged; what is wanted is checked when it
 *   is read, and named; a file that shrinks is an error; one replaced by rename stays as it was
 * - what is no regular file is refused without waiting; the file is not left open, nor to children
 * - running out of memory at any point is an answer, and nothing is lost
 * QGEN_SOAK=1 tries every byte under sanitizers too, where a usual run tries one of some.
 */
#include "bundle.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "bundles.h"
#include "guard.h"
#include "helpers.h"
#include "rt.h"

enum { KERNELS = 6, FILE_BYTES = 32768 };

static long blocks_held, fail_at;
static size_t largest_block;

static void *count_alloc(void *user, size_t bytes)
{
    (void)user;
    if (--fail_at == 0) return NULL;
    blocks_held++;
    if (bytes > largest_block) largest_block = bytes;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void count_free(void *user, void *block)
{
    (void)user;
    blocks_held--;
    free(block);
}

static qrt *rt;
static uint8_t *bundle; /* a good one of FILE_BYTES */
static struct bundle_start start;
static struct bundle_about about;

static const struct bundle_write_options all_parts = {
    .name = "test", .version = "1.0", .counter = 5, .with_ptx = 1, .with_source = 1};

static void make_kernels(struct entry e[KERNELS])
{
    static const char ptx[] = ".version 9.0\n.version 9.0\n.version 9.0\n", source[] = "source";
    static const char *const archs[KERNELS] = {"sm_80", "sm_80", "sm_89",
                                               "sm_89", "sm_89", "x86-64-v3"};
    for (unsigned i = 0; i < KERNELS; i++)
        e[i] = bundles_entry(archs[i], i % 2 ? "linear.w4g128.f16.f16" : "add.f16", 1, 64, i,
                             1000 + 5000 * i % 7000);
    e[2].part[ENTRY_PTX].data = ptx;
    e[2].part[ENTRY_PTX].bytes = sizeof ptx;
    e[3].part[ENTRY_SOURCE].data = source;
    e[3].part[ENTRY_SOURCE].bytes = sizeof source - 1;
}

static const struct bundle_write_winner winners[] = {
    {.entry = 1, .N = 64, .K = 128, .m_lo = 1, .m_hi = 4, .device = "NVIDIA_A10"},
    {.entry = 3, .N = 64, .K = 128, .m_lo = 1, .m_hi = 4, .device = "NVIDIA_L4"},
    {.entry = 3, .m_lo = 5, .m_hi = 64},
};
enum { WINNERS = sizeof winners / sizeof *winners };

/* The last image is as long as it takes to have FILE_BYTES; noise is not packed. */
static void make_bundle(void)
{
    static uint8_t noise[FILE_BYTES];
    uint64_t random = 3;
    size_t count = 0;
    struct entry e[KERNELS];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)(random_word(&random) >> 56);
    make_kernels(e);
    e[KERNELS - 1].part[ENTRY_IMAGE].data = noise;
    e[KERNELS - 1].part[ENTRY_IMAGE].bytes = 0;
    free(bundles_write(&all_parts, e, KERNELS, winners, WINNERS, &count));
    e[KERNELS - 1].part[ENTRY_IMAGE].bytes = FILE_BYTES - count;
    bundle = bundles_write(&all_parts, e, KERNELS, winners, WINNERS, &count);
    assert_int_equal(count, FILE_BYTES);
    memcpy(&start, bundle, sizeof start);
    memcpy(&about, bundle + sizeof start, sizeof about);
}

static int open_all(void **state)
{
    (void)state;
    const qrt_options options = {.size = sizeof options, .alloc = count_alloc, .free = count_free};
    if (qrt_open(&options, &rt) != QRT_OK) return 1;
    make_bundle();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    free(bundle);
    qrt_close(rt);
    return blocks_held != 0;
}

static uint8_t *copy_of(const uint8_t *bytes)
{
    uint8_t *copy = malloc(FILE_BYTES);
    memcpy(copy, bytes, FILE_BYTES);
    return copy;
}

static qrt_status open_with(const void *bytes, size_t count, const qrt_bundle_options *options)
{
    qrt_bundle *b = NULL;
    const qrt_status status = qrt_bundle_open_memory(rt, bytes, count, options, &b);
    assert_int_equal(b != NULL, status == QRT_OK);
    qrt_bundle_close(b);
    return status;
}

static const qrt_bundle_options vouched = {.size = sizeof vouched, .trust = QRT_TRUST_CALLER};

static qrt_status open_vouched(const void *bytes, size_t count)
{
    return open_with(bytes, count, &vouched);
}

/* ---- trust ---- */

static void nobody_vouches(void **state)
{
    (void)state;
    const qrt_bundle_options none = {.size = sizeof none}, bad = {.size = 1};
    qrt_bundle *b = NULL;
    assert_int_equal(open_with(NULL, FILE_BYTES, NULL), QRT_E_TRUST); /* NULL: reading is a crash */
    assert_int_equal(open_with(NULL, FILE_BYTES, &none), QRT_E_TRUST);
    assert_int_equal(open_with(NULL, FILE_BYTES, &bad), QRT_E_ARGUMENT);
    assert_int_equal(qrt_bundle_open(rt, "/nonexistent", &none, &b), QRT_E_TRUST);
    assert_int_equal(open_vouched(bundle, FILE_BYTES), QRT_OK);
    qrt_bundle_close(NULL);
}

struct asked {
    int answer, count;
    const char *why;
    size_t head_bytes;
    uint8_t hash[BUNDLE_HASH_BYTES];
    char signature[BUNDLE_SIGNATURE_BYTES];
};

static int note(void *user, const void *head, size_t head_bytes, const char *signature,
                size_t signature_bytes, char *why, size_t why_bytes)
{
    struct asked *a = user;
    a->count++;
    a->head_bytes = head_bytes;
    blake2b_hash(a->hash, sizeof a->hash, head, head_bytes);
    memset(a->signature, 0, sizeof a->signature);
    memcpy(a->signature, signature, signature_bytes);
    if (a->why) snprintf(why, why_bytes, "%s", a->why);
    return a->answer;
}

static qrt_status ask(struct asked *a, const uint8_t *bytes)
{
    const qrt_bundle_options options = {
        .size = sizeof options, .verify = note, .verify_user = a, .trust = QRT_TRUST_CALLER};
    a->count = 0;
    return open_with(bytes, FILE_BYTES, &options);
}

static void the_hook_comes_first(void **state)
{
    (void)state;
    uint8_t hash[BUNDLE_HASH_BYTES], *copy = copy_of(bundle);
    struct asked a = {.answer = 0};
    assert_int_equal(bundle_set_signature(copy, FILE_BYTES, "signed", 6), QRT_OK);
    assert_int_equal(ask(&a, copy), QRT_OK);
    blake2b_hash(hash, sizeof hash, copy, (size_t)start.head_bytes);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.head_bytes, start.head_bytes);
    assert_memory_equal(a.hash, hash, sizeof hash);
    assert_string_equal(a.signature, "signed");

    /* tables that are garbage: the hook's word counts, nobody parses them */
    memset(copy + sizeof start, 0xee, (size_t)start.head_bytes - sizeof start);
    bundles_rehash(copy);
    a.answer = 1;
    a.why = "not by a key of ours";
    assert_int_equal(ask(&a, copy), QRT_E_TRUST);
    assert_non_null(strstr(qrt_message(), "not by a key of ours"));
    a.why = NULL;
    assert_int_equal(ask(&a, copy), QRT_E_TRUST);
    a.answer = 0;
    assert_int_equal(ask(&a, copy), QRT_E_FORMAT);
    assert_int_equal(a.count, 1);

    copy[start.head_bytes - 1] ^= 1; /* a head that is damaged is not shown to it */
    assert_int_equal(ask(&a, copy), QRT_E_FORMAT);
    assert_int_equal(a.count, 0);
    copy[start.head_bytes - 1] ^= 1;
    copy[start.head_bytes + 7] ^= 1; /* behind the text "signed" */
    assert_int_equal(ask(&a, copy), QRT_E_FORMAT);
    assert_int_equal(a.count, 0);
    uint8_t *room = copy + start.head_bytes; /* its hash made to fit */
    blake2b_hash(room + BUNDLE_SIGNATURE_MAX, BUNDLE_HASH_BYTES, room, BUNDLE_SIGNATURE_MAX);
    assert_int_equal(ask(&a, copy), QRT_E_FORMAT);
    assert_int_equal(a.count, 0);
    free(copy);
}

static void other_releases_are_refused(void **state)
{
    (void)state;
    qrt_bundle_options o = vouched;
    o.min_counter = 5;
    o.name = "test";
    assert_int_equal(open_with(bundle, FILE_BYTES, &o), QRT_OK);
    o.min_counter = 6;
    assert_int_equal(open_with(bundle, FILE_BYTES, &o), QRT_E_TRUST);
    assert_non_null(strstr(qrt_message(), "release 5"));
    assert_non_null(strstr(qrt_message(), "before 6"));
    o.min_counter = UINT64_MAX;
    assert_int_equal(open_with(bundle, FILE_BYTES, &o), QRT_E_TRUST);
    o.min_counter = 0;
    o.name = "tes";
    assert_int_equal(open_with(bundle, FILE_BYTES, &o), QRT_E_TRUST);
    assert_non_null(strstr(qrt_message(), "'test'"));
    assert_non_null(strstr(qrt_message(), "'tes'"));
    o.name = "test2";
    assert_int_equal(open_with(bundle, FILE_BYTES, &o), QRT_E_TRUST);
}

/* ---- damage ---- */

static void set_total(uint8_t *bytes, uint64_t total)
{
    memcpy(bytes + offsetof(struct bundle_start, total_bytes), &total, sizeof total);
    bundles_rehash(bytes);
}

/* Between bytes that are tried one by one: every one, or some where each costs many times as much. */
static size_t stride(void)
{
#ifdef __SANITIZE_ADDRESS__
    return getenv("QGEN_SOAK") ? 1 : 7;
#else
    return 1;
#endif
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct guard g;
    uint8_t longer[FILE_BYTES + 64] = {0}, *copy = copy_of(bundle);
    guard_open(&g, FILE_BYTES);
    assert_int_equal(open_vouched(guard_copy(&g, bundle, FILE_BYTES), FILE_BYTES), QRT_OK);
    for (size_t n = 0; n < FILE_BYTES; n++) {
        assert_int_equal(open_vouched(guard_copy(&g, bundle, n), n), QRT_E_FORMAT);
        if (n < start.head_bytes || n % stride() != 0) continue;
        set_total(copy, n); /* by somebody who signs what is left */
        assert_int_equal(open_vouched(guard_copy(&g, copy, n), n), QRT_E_FORMAT);
    }
    memcpy(longer, bundle, FILE_BYTES);
    for (size_t n = FILE_BYTES + 1; n <= sizeof longer; n++) {
        set_total(longer, FILE_BYTES);
        assert_int_equal(open_vouched(longer, n), QRT_E_FORMAT);
        set_total(longer, n);
        assert_int_equal(open_vouched(longer, n), QRT_E_FORMAT);
    }
    guard_close(&g);
    free(copy);
}

static void every_flip_is_refused(void **state)
{
    (void)state;
    uint8_t *copy = copy_of(bundle);
    uint64_t random = 29;
    for (size_t bit = 0; bit < 8 * 4096; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(open_vouched(copy, FILE_BYTES), QRT_OK);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t byte = 4096; byte < FILE_BYTES; byte += stride()) {
        const uint8_t bit = (uint8_t)(1 << random_word(&random) % 8);
        copy[byte] ^= bit;
        assert_int_equal(bundles_read_all(rt, copy, FILE_BYTES), QRT_E_FORMAT);
        copy[byte] ^= bit;
    }
    for (int round = 0; round < 10000; round++) {
        for (int n = 0; n < 2 + round % 7; n++)
            copy[random_word(&random) % FILE_BYTES] ^= (uint8_t)(1 + random_word(&random) % 255);
        if (memcmp(copy, bundle, FILE_BYTES) != 0)
            assert_int_not_equal(bundles_read_all(rt, copy, FILE_BYTES), QRT_OK);
        memcpy(copy, bundle, FILE_BYTES);
    }
    free(copy);
}

/* ---- lies of somebody who signs them ---- */

static size_t archs_at(void) { return sizeof start + sizeof about; }
static size_t kernels_at(void)
{
    return archs_at() + about.arch_count * sizeof(struct bundle_arch);
}
static size_t winners_at(void)
{
    return kernels_at() + about.kernel_count * sizeof(struct bundle_kernel);
}
static size_t devices_at(void)
{
    return winners_at() + about.winner_count * sizeof(struct bundle_winner);
}

/* Integers of `bytes` bytes at `offset` of a row.  FREE: may say other things too. */
enum freedom { FIXED, FREE };
struct field {
    size_t offset, bytes;
    enum freedom freedom;
};
#define FIELD(type, member, freedom)                                               \
    {                                                                              \
        offsetof(struct type, member), sizeof(((struct type *)0)->member), freedom \
    }

static const struct field start_fields[] = {
    FIELD(bundle_start, version, FIXED), FIELD(bundle_start, zero, FIXED),
    FIELD(bundle_start, head_bytes, FIXED), FIELD(bundle_start, total_bytes, FIXED)};
static const struct field about_fields[] = {
    FIELD(bundle_about, counter, FREE), FIELD(bundle_about, arch_count, FIXED),
    FIELD(bundle_about, kernel_count, FIXED), FIELD(bundle_about, winner_count, FIXED),
    FIELD(bundle_about, device_count, FIXED)};
static const struct field arch_fields[] = {
    FIELD(bundle_arch, first_kernel, FIXED), FIELD(bundle_arch, kernel_count, FIXED),
    FIELD(bundle_arch, offset, FIXED), FIELD(bundle_arch, bytes, FIXED)};
static const struct field kernel_fields[] = {
    FIELD(bundle_kernel, zero, FIXED),
    FIELD(bundle_kernel, record.m_lo, FREE),
    FIELD(bundle_kernel, record.m_hi, FREE),
    FIELD(bundle_kernel, record.split, FREE),
    FIELD(bundle_kernel, record.rank, FREE),
    FIELD(bundle_kernel, record.grid[0].dim, FREE),
    FIELD(bundle_kernel, record.grid[1].div, FREE),
    FIELD(bundle_kernel, record.block[2], FREE),
    FIELD(bundle_kernel, record.smem_bytes, FREE),
    FIELD(bundle_kernel, record.map.rows, FREE),
    FIELD(bundle_kernel, record.desc.weight.group, FREE),
    FIELD(bundle_kernel, part[0].offset, FIXED),
    FIELD(bundle_kernel, part[1].offset, FIXED),
    FIELD(bundle_kernel, part[2].offset, FIXED),
    FIELD(bundle_kernel, part[0].stored_bytes, FIXED),
    FIELD(bundle_kernel, part[1].stored_bytes, FIXED),
    FIELD(bundle_kernel, part[2].stored_bytes, FIXED),
    FIELD(bundle_kernel, part[0].plain_bytes, FIXED), /* found when it is unpacked */
    FIELD(bundle_kernel, part[1].plain_bytes, FIXED),
    FIELD(bundle_kernel, part[2].plain_bytes, FIXED),
};
static const struct field winner_fields[] = {
    FIELD(bundle_winner, kernel, FREE), FIELD(bundle_winner, device, FREE),
    FIELD(bundle_winner, N, FREE),      FIELD(bundle_winner, K, FREE),
    FIELD(bundle_winner, m_lo, FREE),   FIELD(bundle_winner, m_hi, FREE)};

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

static int lies; /* how many were told */

static void tell_lie(uint8_t *copy, size_t at, const struct field *f, uint64_t value)
{
    memcpy(copy + at, &value, f->bytes);
    const uint64_t told = get(copy + at, f->bytes), truth = get(bundle + at, f->bytes);
    struct bundle_start lied;
    memcpy(&lied, copy, sizeof lied);
    if (lied.head_bytes == start.head_bytes) bundles_rehash(copy);
    largest_block = 0;
    const qrt_status opened = open_vouched(copy, FILE_BYTES);
    assert_true(largest_block <= 1 << 20);
    const qrt_status read = opened == QRT_OK ? bundles_read_all(rt, copy, FILE_BYTES) : opened;
    if (told == truth)
        assert_int_equal(read, QRT_OK);
    else if (f->freedom == FIXED && read == QRT_OK)
        fail_msg("byte %zu: %llu instead of %llu is taken", at, (unsigned long long)told,
                 (unsigned long long)truth);
    else if (read != QRT_OK)
        assert_true(read == QRT_E_FORMAT || read == QRT_E_LIMIT || read == QRT_E_SCHEME);
    memcpy(copy + at, bundle + at, f->bytes);
    lies++;
}

static void lie_in_rows(const struct field *fields, size_t field_count, size_t at, size_t row_bytes,
                        size_t rows)
{
    uint8_t *copy = copy_of(bundle);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < field_count; i++) {
            const size_t place = at + r * row_bytes + fields[i].offset;
            const uint64_t truth = get(bundle + place, fields[i].bytes);
            const uint64_t values[] = {0,
                                       1,
                                       2,
                                       truth - 1,
                                       truth + 1,
                                       truth + FILE_BYTES,
                                       truth ^ 0x80000000u,
                                       0x7fffffff,
                                       0x80000000u,
                                       0xffffffffu,
                                       1ull << 32,
                                       INT64_MAX,
                                       1ull << 63,
                                       UINT64_MAX,
                                       FILE_BYTES,
                                       FILE_BYTES - 1,
                                       FILE_BYTES + 1,
                                       start.head_bytes,
                                       UINT64_MAX / sizeof(struct bundle_kernel) + 1};
            for (size_t v = 0; v < sizeof values / sizeof *values; v++)
                tell_lie(copy, place, &fields[i], values[v]);
        }
    free(copy);
}

#define LIE(fields, at, type, rows) \
    lie_in_rows(fields, sizeof fields / sizeof *fields, at, sizeof(struct type), rows)

static void lies_are_refused_or_sound(void **state)
{
    (void)state;
    LIE(start_fields, 0, bundle_start, 1);
    LIE(about_fields, sizeof start, bundle_about, 1);
    LIE(arch_fields, archs_at(), bundle_arch, about.arch_count);
    LIE(kernel_fields, kernels_at(), bundle_kernel, about.kernel_count);
    LIE(winner_fields, winners_at(), bundle_winner, about.winner_count);
    assert_true(lies > 3000);
}

/* Any byte of the tables, each value that differs in few bits: refused, or read without harm. */
static void odd_tables_do_no_harm(void **state)
{
    (void)state;
    struct guard g;
    uint8_t *copy = copy_of(bundle);
    uint64_t random = 31;
    guard_open(&g, FILE_BYTES);
    for (int round = 0; round < 28000 / (int)stride(); round++) {
        const size_t tables = (size_t)start.head_bytes - BUNDLE_HASH_BYTES - sizeof start;
        for (int n = 0; n < 1 + round % 3; n++)
            copy[sizeof start + random_word(&random) % tables] ^=
                (uint8_t)(1 << random_word(&random) % 8);
        bundles_rehash(copy);
        (void)bundles_read_all(rt, guard_copy(&g, copy, FILE_BYTES), FILE_BYTES);
        memcpy(copy, bundle, FILE_BYTES);
    }
    guard_close(&g);
    free(copy);
}

static qrt_status open_changed(uint8_t *copy)
{
    bundles_rehash(copy);
    const qrt_status status = open_vouched(copy, FILE_BYTES);
    memcpy(copy, bundle, FILE_BYTES);
    return status;
}

/* A field of a name; that of an arch in its kernels' records too, which have to say the same. */
static void set_name(uint8_t *copy, size_t place, const char *bytes, size_t room)
{
    memcpy(copy + place, bytes, room);
    for (size_t i = 0; i < 2 && place == archs_at(); i++)
        memcpy(copy + kernels_at() + i * sizeof(struct bundle_kernel) +
                   offsetof(struct bundle_kernel, record.arch),
               bytes, room);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      ".",    "..", ".a", "a/b",  "a\\b", "c:", "a b", "a\nb", "\x7f",
        "a\xc3", "TEST", "a*", "~a", "$(x)", "a%2e", "a'", "a\"", "{a}",  "a;b"};
    const size_t places[] = {sizeof start + offsetof(struct bundle_about, name),
                             sizeof start + offsetof(struct bundle_about, version), archs_at(),
                             devices_at()};
    uint8_t *copy = copy_of(bundle);
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        const int is_device = places[p] == devices_at();
        const size_t room = places[p] == archs_at() ? ARCH_NAME_BYTES : BUNDLE_NAME_BYTES;
        char name[BUNDLE_NAME_BYTES] = "a1";
        if (is_device) name[0] = 'A'; /* it stays the first */
        set_name(copy, places[p], name, room);
        assert_int_equal(open_changed(copy), QRT_OK);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            if (is_device && strcmp(bad[i], "TEST") == 0) continue;
            memset(name, 0, sizeof name);
            memcpy(name, bad[i], strlen(bad[i]));
            set_name(copy, places[p], name, room);
            if (open_changed(copy) != QRT_E_FORMAT) fail_msg("%zu: '%s' is taken", p, bad[i]);
        }
        for (int c = 1; c < 256; c++) {
            if (strchr("abcdefghijklmnopqrstuvwxyz0123456789._-", c)) continue;
            if (is_device && c >= 'A' && c <= 'Z') continue;
            memcpy(name, "a?1", 4);
            name[1] = (char)c;
            set_name(copy, places[p], name, room);
            assert_int_equal(open_changed(copy), QRT_E_FORMAT);
        }
        memset(name, 'a', sizeof name); /* without an end */
        set_name(copy, places[p], name, room);
        assert_int_equal(open_changed(copy), QRT_E_FORMAT);
        memset(name + 5, 0, sizeof name - 5);
        name[room - 1] = 'x'; /* not padded with zeros */
        set_name(copy, places[p], name, room);
        assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    }
    free(copy);
}

static void devices_have_names(void **state)
{
    (void)state;
    static const char *const known[][2] = {
        {"NVIDIA H200", "NVIDIA_H200"},
        {"NVIDIA A100-SXM4-80GB", "NVIDIA_A100-SXM4-80GB"},
        {"", "unnamed"},
        {".hidden", "xhidden"},
        {"-a", "xa"},
        {"AMD EPYC(tm) @ 3 GHz", "AMD_EPYC_tm____3_GHz"},
        {"\xc3\xa4.b_c", "x_.b_c"},
        {"a/../b", "a_.._b"},
    };
    char out[BUNDLE_NAME_BYTES], other[BUNDLE_NAME_BYTES], name[100];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        bundle_device_name(known[i][0], out);
        assert_string_equal(out, known[i][1]);
        assert_true(bundle_is_name(out, 1));
    }
    memset(name, 'n', sizeof name);
    name[63] = 0;
    bundle_device_name(name, out);
    assert_string_equal(out, name);
    name[63] = 'n';
    name[80] = 0;
    bundle_device_name(name, out);
    assert_true(bundle_is_name(out, 1));
    assert_memory_equal(out, name, 54);
    name[79] = 'm';
    bundle_device_name(name, other);
    assert_string_not_equal(out, other);
}

static void swap_rows(uint8_t *copy, size_t at, size_t bytes)
{
    memcpy(copy + at, bundle + at + bytes, bytes);
    memcpy(copy + at + bytes, bundle + at, bytes);
}

static void disorder_is_refused(void **state)
{
    (void)state;
    uint8_t *copy = copy_of(bundle);
    swap_rows(copy, archs_at(), sizeof(struct bundle_arch));
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    swap_rows(copy, kernels_at(), sizeof(struct bundle_kernel));
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    swap_rows(copy, winners_at(), sizeof(struct bundle_winner));
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    swap_rows(copy, devices_at(), BUNDLE_NAME_BYTES);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    memcpy(copy + devices_at(), bundle + devices_at() + BUNDLE_NAME_BYTES, BUNDLE_NAME_BYTES);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT); /* twice the same */
    memcpy(copy + kernels_at() + sizeof(struct bundle_kernel), bundle + kernels_at(),
           offsetof(struct bundle_kernel, part)); /* but for its place */
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    memcpy(copy + winners_at(), bundle + winners_at() + sizeof(struct bundle_winner),
           sizeof(struct bundle_winner));
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    free(copy);
}

static struct bundle_kernel kernel_row(uint32_t index)
{
    struct bundle_kernel k;
    memcpy(&k, bundle + kernels_at() + index * sizeof k, sizeof k);
    return k;
}

/* What no flip and no single field shows. */
static void tables_that_disagree_are_refused(void **state)
{
    (void)state;
    uint8_t *copy = copy_of(bundle);
    copy[7] ^= 3; /* another magic, hashed */
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), BUNDLE_MAGIC));

    struct bundle_kernel k = kernel_row(0);
    strcpy(k.record.arch, "sm_86"); /* among those of sm_80 */
    memcpy(copy + kernels_at(), &k, sizeof k);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    k = kernel_row(0);
    k.record.block[0] = 2048; /* no GPU has so many threads */
    memcpy(copy + kernels_at(), &k, sizeof k);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);

    struct bundle_arch a;
    memcpy(&a, bundle + archs_at(), sizeof a);
    a.offset++;
    a.bytes--;
    memcpy(copy + archs_at(), &a, sizeof a);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);

    struct bundle_winner w; /* the last name becomes bytes that no table has */
    memcpy(&w, bundle + winners_at() + 2 * sizeof w, sizeof w);
    assert_int_equal(w.device, 2);
    w.device = 1;
    memcpy(copy + winners_at() + 2 * sizeof w, &w, sizeof w);
    assert_int_equal(open_changed(copy), QRT_OK);
    memcpy(copy + winners_at() + 2 * sizeof w, &w, sizeof w);
    struct bundle_about fewer = about;
    fewer.device_count--;
    memcpy(copy + sizeof start, &fewer, sizeof fewer);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);

    w.kernel = about.kernel_count; /* in order, but there is none */
    memcpy(copy + winners_at() + 2 * sizeof w, &w, sizeof w);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    w.kernel = about.kernel_count - 1;
    w.device = about.device_count + 1;
    memcpy(copy + winners_at() + 2 * sizeof w, &w, sizeof w);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    free(copy);
}

/* Two kernels of one arch: PTX that has no end is seen when it is read, and a kernel of no arch. */
static void small_bundles_are_checked_too(void **state)
{
    (void)state;
    struct entry e[2] = {bundles_entry("sm_89", "add.f16", 1, 8, 1, 100),
                         bundles_entry("sm_89", "add.f16", 1, 8, 2, 0)};
    e[0].part[ENTRY_PTX].data = "ptx"; /* too short to be packed */
    e[0].part[ENTRY_PTX].bytes = 4;
    size_t count;
    uint8_t *bytes = bundles_write(&all_parts, e, 2, NULL, 0, &count);
    assert_int_equal(bundles_read_all(rt, bytes, count), QRT_OK);
    const size_t arch_at = sizeof start + sizeof about,
                 kernel_at = arch_at + sizeof(struct bundle_arch);
    struct bundle_kernel k;
    memcpy(&k, bytes + kernel_at, sizeof k);
    uint8_t *ptx = bytes + k.part[ENTRY_PTX].offset;
    ptx[3] = 'x';
    blake2b_hash(k.part[ENTRY_PTX].hash, BUNDLE_HASH_BYTES, ptx, 4);
    memcpy(bytes + kernel_at, &k, sizeof k);
    bundles_rehash(bytes);
    assert_int_equal(open_vouched(bytes, count), QRT_OK);
    assert_int_equal(bundles_read_all(rt, bytes, count), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "PTX"));
    struct bundle_arch a;
    memcpy(&a, bytes + arch_at, sizeof a);
    a.kernel_count--; /* the second has no bytes that would be missed */
    memcpy(bytes + arch_at, &a, sizeof a);
    bundles_rehash(bytes);
    assert_int_equal(open_vouched(bytes, count), QRT_E_FORMAT);
    free(bytes);
}

/* ---- limits ---- */

static void limits_are_refused(void **state)
{
    (void)state;
    uint8_t *copy = copy_of(bundle);
    struct bundle_start s = start;
    const uint64_t heads[] = {BUNDLE_MAX_HEAD_BYTES + 1ull, 1ull << 32, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        s.head_bytes = heads[i];
        memcpy(copy, &s, sizeof s);
        assert_int_equal(open_vouched(copy, FILE_BYTES), QRT_E_LIMIT);
    }
    s.head_bytes = BUNDLE_MAX_HEAD_BYTES; /* allowed, but not in so short a file */
    memcpy(copy, &s, sizeof s);
    assert_int_equal(open_vouched(copy, FILE_BYTES), QRT_E_FORMAT);
    memcpy(copy, bundle, FILE_BYTES);

    struct bundle_about a = about;
    a.kernel_count = BUNDLE_MAX_KERNELS + 1;
    memcpy(copy + sizeof start, &a, sizeof a);
    assert_int_equal(open_changed(copy), QRT_E_LIMIT);
    a = about;
    a.winner_count = BUNDLE_MAX_WINNERS + 1;
    memcpy(copy + sizeof start, &a, sizeof a);
    assert_int_equal(open_changed(copy), QRT_E_LIMIT);

    struct bundle_kernel k = kernel_row(0);
    k.part[0].plain_bytes = ENTRY_MAX_BYTES + 1;
    memcpy(copy + kernels_at(), &k, sizeof k);
    assert_int_equal(open_changed(copy), QRT_E_LIMIT);
    k.part[0].plain_bytes =
        255 * k.part[0].stored_bytes; /* can be unpacked: by its hash it is not */
    memcpy(copy + kernels_at(), &k, sizeof k);
    assert_int_equal(open_changed(copy), QRT_OK);
    k.part[0].plain_bytes++;
    memcpy(copy + kernels_at(), &k, sizeof k);
    assert_int_equal(open_changed(copy), QRT_E_FORMAT);
    free(copy);
}

/* Kernels of sm_80 become those of an arch of tomorrow, with records of tomorrow. */
static void unknown_archs_do_no_harm(void **state)
{
    (void)state;
    static const char tomorrow[ARCH_NAME_BYTES] = "rvv1.0";
    uint8_t *copy = copy_of(bundle);
    memcpy(copy + archs_at(), tomorrow, sizeof tomorrow);
    for (size_t i = 0; i < 2; i++) {
        uint8_t *record = copy + kernels_at() + i * sizeof(struct bundle_kernel) + ENTRY_KEY_BYTES;
        memcpy(record + offsetof(struct entry_record, arch), tomorrow, sizeof tomorrow);
        record[offsetof(struct entry_record, block) + 3] = 0xff;
    }
    assert_int_equal(open_changed(copy), QRT_OK);
    free(copy);
}

/* ---- files ---- */

static char path[64];

static void put_file(const uint8_t *bytes, size_t count)
{
    strcpy(path, "/tmp/qgen-test-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    close(fd);
}

static qrt_bundle *open_path(void)
{
    qrt_bundle *b = NULL;
    if (qrt_bundle_open(rt, path, &vouched, &b) != QRT_OK) fail_msg("%s", qrt_message());
    return b;
}

static qrt_status read_kernel(const qrt_bundle *b, uint32_t index)
{
    struct entry e;
    void *block = NULL;
    const qrt_status status = bundle_read_kernel(b, index, 1, &e, &block);
    rt_free(rt, block);
    return status;
}

static void unwanted_parts_are_not_read(void **state)
{
    (void)state;
    uint8_t *copy = copy_of(bundle);
    const struct bundle_kernel k = kernel_row(3);
    copy[k.part[0].offset + k.part[0].stored_bytes / 2] ^= 1;
    put_file(copy, FILE_BYTES);
    qrt_bundle *b = open_path();
    unlink(path);
    for (uint32_t i = 0; i < KERNELS; i++)
        assert_int_equal(read_kernel(b, i), i == 3 ? QRT_E_FORMAT : QRT_OK);
    assert_int_equal(read_kernel(b, 3), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "kernel"));
    assert_non_null(strstr(qrt_message(), "test 1.0"));
    assert_non_null(strstr(qrt_message(), "damaged"));
    qrt_bundle_close(b);
    free(copy);
}

static void files_may_be_replaced_not_cut(void **state)
{
    (void)state;
    char other[64];
    put_file(bundle, FILE_BYTES);
    strcpy(other, path);
    put_file((const uint8_t *)"another file", 12);
    char swapped[64];
    strcpy(swapped, path);
    strcpy(path, other);
    qrt_bundle *b = open_path();
    assert_int_equal(rename(swapped, path), 0);
    for (uint32_t i = 0; i < KERNELS; i++) assert_int_equal(read_kernel(b, i), QRT_OK);
    qrt_bundle_close(b);
    assert_int_equal(qrt_bundle_open(rt, path, &vouched, &b), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), path));
    unlink(path);
    put_file(bundle, FILE_BYTES);
    b = open_path();
    assert_int_equal(truncate(path, FILE_BYTES / 2), 0);
    assert_int_equal(read_kernel(b, KERNELS - 1), QRT_E_FORMAT);
    qrt_bundle_close(b);
    unlink(path);
}

static void other_things_are_no_bundles(void **state)
{
    (void)state;
    static const char *const none[] = {"/tmp", "/dev/zero", "/nonexistent/x", ""};
    qrt_bundle *b = NULL;
    strcpy(path, "/tmp/qgen-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    char fifo[80];
    snprintf(fifo, sizeof fifo, "%s/fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(qrt_bundle_open(rt, fifo, &vouched, &b), QRT_E_IO);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(qrt_bundle_open(rt, none[i], &vouched, &b), QRT_E_IO);
    unlink(fifo);
    rmdir(path);
    put_file(bundle, 0);
    assert_int_equal(qrt_bundle_open(rt, path, &vouched, &b), QRT_E_FORMAT);
    unlink(path);
    assert_null(b);
}

/* The descriptor that the next open gets. */
static int next_descriptor(void)
{
    const int fd = open("/dev/null", O_RDONLY);
    close(fd);
    return fd;
}

static void descriptors_are_given_back(void **state)
{
    (void)state;
    uint8_t *copy = copy_of(bundle);
    const int before = next_descriptor();
    put_file(bundle, FILE_BYTES);
    qrt_bundle *b = open_path();
    assert_int_equal(fcntl(before, F_GETFD), FD_CLOEXEC);
    qrt_bundle_close(b);
    unlink(path);
    assert_int_equal(next_descriptor(), before);
    copy[100] ^= 1;
    put_file(copy, FILE_BYTES);
    assert_int_equal(qrt_bundle_open(rt, path, &vouched, &b), QRT_E_FORMAT);
    assert_int_equal(next_descriptor(), before);
    unlink(path);
    free(copy);
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    put_file(bundle, FILE_BYTES);
    const int before = next_descriptor();
    const long held = blocks_held;
    qrt_status status = QRT_E_MEMORY;
    int failures = 0;
    for (long n = 1; status == QRT_E_MEMORY; n++) {
        qrt_bundle *b = NULL;
        fail_at = n;
        status = qrt_bundle_open(rt, path, &vouched, &b);
        if (status == QRT_OK) status = read_kernel(b, 2);
        fail_at = 0;
        failures += status == QRT_E_MEMORY;
        qrt_bundle_close(b);
        assert_int_equal(blocks_held, held);
        assert_int_equal(next_descriptor(), before);
    }
    assert_int_equal(status, QRT_OK);
    assert_int_equal(failures, 3); /* the bundle, its head, a kernel */
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_vouches),
        cmocka_unit_test(the_hook_comes_first),
        cmocka_unit_test(other_releases_are_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_flip_is_refused),
        cmocka_unit_test(lies_are_refused_or_sound),
        cmocka_unit_test(odd_tables_do_no_harm),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(devices_have_names),
        cmocka_unit_test(disorder_is_refused),
        cmocka_unit_test(tables_that_disagree_are_refused),
        cmocka_unit_test(small_bundles_are_checked_too),
        cmocka_unit_test(limits_are_refused),
        cmocka_unit_test(unknown_archs_do_no_harm),
        cmocka_unit_test(unwanted_parts_are_not_read),
        cmocka_unit_test(files_may_be_replaced_not_cut),
        cmocka_unit_test(other_things_are_no_bundles),
        cmocka_unit_test(descriptors_are_given_back),
        cmocka_unit_test(no_memory_is_an_answer),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
