/* test_entry_hostile.c -- contract of entry.h for bytes that are not what was written
 *
 * - cut at every byte of a 32 KiB entry, and longer by 1 to 64: QRT_E_FORMAT, and no byte beyond the
 *   end is read (a page that nobody may touch lies there)
 * - every bit of the first 4 KiB flipped, and 10,000 times some bits anywhere: QRT_E_FORMAT
 * - the same where the hash was made right again: QRT_E_FORMAT, or an entry in which every number and
 *   offset is legal
 * - one byte less than the most an entry may have, and the most: accepted; one more: refused, before
 *   it is read; so by entry_serialize(), whatever the sizes are
 */
#include "entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "error.h"
#include "guard.h"
#include "helpers.h"

enum { ENTRY_BYTES = 32 * 1024, HEADER_BYTES = 4096, FLIPS = 10000, HASH_BYTES = 32 };

static void *sound;
static size_t count;
static struct guard guard;

/* A GPU's entry of exactly `total` bytes. */
static qrt_status make(size_t total, void **bytes, size_t *made)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    assert_int_equal(op_desc_parse("linear.w4g128.f16.f16", &e.record.desc), QRT_OK);
    strcpy(e.record.arch, "sm_89");
    strcpy(e.record.symbol, "kernel");
    strcpy(e.record.template_, "cuda/gemm");
    e.record.m_lo = 1, e.record.m_hi = 8, e.record.split = 1;
    for (int i = 0; i < 3; i++) e.record.grid[i].div = e.record.block[i] = 1;
    e.part[ENTRY_PTX].data = "ptx";
    e.part[ENTRY_PTX].bytes = 4;
    TRY(entry_serialize(&e, bytes, made));
    const size_t around = *made;
    if (total <= around) return QRT_OK;
    free(*bytes);
    char *image = calloc(1, total - around);
    assert_non_null(image);
    memset(image, 0x5a, total - around);
    e.part[ENTRY_IMAGE].data = image;
    e.part[ENTRY_IMAGE].bytes = total - around;
    const qrt_status status = entry_serialize(&e, bytes, made);
    free(image);
    return status;
}

static int open_all(void **state)
{
    (void)state;
    assert_int_equal(make(ENTRY_BYTES, &sound, &count), QRT_OK);
    assert_int_equal(count, ENTRY_BYTES);
    guard_open(&guard, ENTRY_BYTES + 64);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    guard_close(&guard);
    free(sound);
    return 0;
}

static qrt_status parse(const void *bytes, size_t size, struct entry *e)
{
    return entry_parse(guard_copy(&guard, bytes, size), size, e);
}

static void expect_format(const void *bytes, size_t size)
{
    struct entry e;
    assert_int_equal(parse(bytes, size, &e), QRT_E_FORMAT);
    assert_true(qrt_message()[0] != 0);
}

static void lengths_are_checked(void **state)
{
    (void)state;
    struct entry e;
    uint8_t longer[ENTRY_BYTES + 64] = {0};
    memcpy(longer, sound, count);
    assert_int_equal(parse(sound, count, &e), QRT_OK);
    for (size_t cut = 0; cut < count; cut++) expect_format(sound, cut);
    for (size_t more = 1; more <= 64; more++) expect_format(longer, count + more);
    print_message("%zu lengths, 1 accepted\n", count + 65);
}

static void flips_are_found(void **state)
{
    (void)state;
    uint64_t random = 3;
    void *entry;
    size_t size;
    assert_int_equal(make(2 * HEADER_BYTES, &entry, &size), QRT_OK);
    uint8_t *bytes = malloc(size);
    memcpy(bytes, entry, size);
    for (size_t bit = 0; bit < 8 * HEADER_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        expect_format(bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (int i = 0; i < FLIPS; i++) {
        const int flips = 1 + (int)(random_word(&random) % 8);
        for (int j = 0; j < flips; j++) {
            const uint64_t bit = random_word(&random) % (8 * size);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        if (memcmp(bytes, entry, size) != 0) expect_format(bytes, size);
        memcpy(bytes, entry, size);
    }
    print_message("%d flips of a bit, %d of some: 0 accepted\n", 8 * HEADER_BYTES, FLIPS);
    free(bytes);
    free(entry);
}

/* What the runtime relies on. */
static void expect_legal(const struct entry *e, const uint8_t *bytes, size_t size)
{
    const struct entry_record *r = &e->record;
    const struct arch *arch = arch_find(r->arch);
    assert_non_null(arch);
    assert_in_range(r->desc.op, 0, OP_COUNT - 1);
    assert_true(memchr(r->symbol, 0, sizeof r->symbol) && memchr(r->tune, 0, sizeof r->tune));
    assert_true(r->m_lo >= 1 && r->m_hi >= r->m_lo && r->split >= 0);
    uint64_t threads = 1;
    for (int i = 0; arch->kind == ARCH_SM && i < 3; i++) {
        assert_true(r->grid[i].dim < DIM_COUNT && r->grid[i].div >= 1);
        threads *= r->block[i];
    }
    assert_in_range(threads, 1, 1024);
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        const uint8_t *part = e->part[i].data;
        assert_true(part >= bytes && part <= bytes + size);
        assert_true(e->part[i].bytes <= (size_t)(bytes + size - part));
    }
    if (e->part[ENTRY_PTX].bytes > 0)
        assert_int_equal(((const char *)e->part[ENTRY_PTX].data)[e->part[ENTRY_PTX].bytes - 1], 0);
}

/* Of an entry as small as can be, so that hashing it thousands of times is quick. */
static void right_hashes_make_nothing_legal(void **state)
{
    (void)state;
    void *small;
    size_t size;
    int accepted = 0, refused = 0;
    assert_int_equal(make(0, &small, &size), QRT_OK);
    const size_t bits = 8 * (size - HASH_BYTES);
    uint8_t *bytes = malloc(size);
    for (size_t bit = 0; bit < bits; bit++) {
        struct entry e;
        memcpy(bytes, small, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        blake2b_hash(bytes + size - HASH_BYTES, HASH_BYTES, bytes, size - HASH_BYTES);
        uint8_t *at = guard_copy(&guard, bytes, size);
        const qrt_status status = entry_parse(at, size, &e);
        if (status == QRT_OK) {
            expect_legal(&e, at, size);
            accepted++;
        } else {
            refused++; /* a scheme or op that there is not says so with its own code */
        }
    }
    print_message("%d flips under a right hash accepted, all legal; %d refused\n", accepted,
                  refused);
    assert_true(refused > 1000);
    free(bytes);
    free(small);
}

static void the_largest_is_the_limit(void **state)
{
    (void)state;
    static const struct {
        size_t total; /* multiples of 16, as entries have */
        qrt_status status;
    } cases[] = {{ENTRY_MAX_BYTES - 16, QRT_OK},
                 {ENTRY_MAX_BYTES, QRT_OK},
                 {ENTRY_MAX_BYTES + 16, QRT_E_LIMIT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *bytes = NULL;
        size_t size = 0;
        struct entry e;
        const qrt_status status = make(cases[i].total, &bytes, &size);
        assert_int_equal(status, cases[i].status);
        if (status != QRT_OK) continue;
        assert_int_equal(size, cases[i].total);
        assert_int_equal(entry_parse(bytes, size, &e), QRT_OK);
        free(bytes);
    }
    struct entry e;
    assert_int_equal(entry_parse(sound, ENTRY_MAX_BYTES + 1, &e),
                     QRT_E_FORMAT); /* not there to read */
    assert_int_equal(entry_parse(sound, SIZE_MAX, &e), QRT_E_FORMAT);
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    static const size_t sizes[] = {ENTRY_MAX_BYTES, (size_t)1 << 32, SIZE_MAX / 2, SIZE_MAX - 15,
                                   SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int part = 0; part < ENTRY_PART_COUNT; part++) {
            struct entry e;
            void *bytes = NULL;
            size_t size;
            memset(&e, 0, sizeof e);
            e.part[part].data = sound;
            e.part[part].bytes = sizes[i];
            assert_int_equal(entry_serialize(&e, &bytes, &size), QRT_E_LIMIT);
            assert_null(bytes);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(flips_are_found),
        cmocka_unit_test(right_hashes_make_nothing_legal),
        cmocka_unit_test(the_largest_is_the_limit),
        cmocka_unit_test(sizes_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
