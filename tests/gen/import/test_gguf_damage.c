/* test_gguf_damage.c -- contract of gguf.h, model.h and program.h on files that are damaged or lie
 *
 * A whole model, placed so that its last byte is followed by a page that may not be touched.  Each
 * of these is refused with a message, or opens as a file that keeps every promise of gguf.h:
 * - cut at every byte
 * - every single bit of the first 4 KiB flipped, and 10,000 times 1 to 16 random bits
 * - every integer set to each of 24 values that overflow something, and pairs of them for dimensions
 * A file that is cut is always refused.
 */
#include <stdio.h>
#include <string.h>

#include "gguf_maker.h"
#include "guard.h"
#include "helpers.h"
#include "program.h"

enum { Q8_0 = 8, Q4_1 = 3, Q6_K = 14, CUTS = 16384, FLIPPED_BYTES = 4096 };

static struct maker sound;
static struct guard guard;

static int set_up(void **state)
{
    (void)state;
    static const uint32_t types[] = {Q4_1, Q8_0, Q6_K};
    maker_llama(&sound, types, 3, 97);
    guard_open(&guard, sound.count);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    guard_close(&guard);
    maker_free(&sound);
    return 0;
}

/* ---- what an opened file promises ---- */

static volatile unsigned sink; /* keeps reads */

static void touch(const uint8_t *bytes, size_t count)
{
    if (count) sink += bytes[0] + bytes[count - 1];
}

static void walk_values(const struct gguf *g)
{
    for (size_t i = 0; i < g->kv_count; i++) {
        const struct gguf_kv *kv = &g->kvs[i];
        struct gguf_strings it = gguf_strings(kv);
        struct gguf_text text;
        assert_ptr_equal(gguf_find(g, kv->key), kv);
        while (gguf_strings_next(&it, &text)) touch((const uint8_t *)text.data, text.bytes);
        if (kv->element == GGUF_STRING || kv->count == 0) continue;
        sink += (unsigned)gguf_int_at(kv, kv->count - 1);
        (void)gguf_real_at(kv, kv->count - 1);
    }
}

static void walk_rows(const struct gguf *g, const struct gguf_tensor *t)
{
    struct generic_matrix m;
    struct generic_row row;
    if (gguf_matrix(g, t, &m) != QRT_OK) return;
    assert_int_equal(generic_alloc(&m.scheme, m.K, &row), QRT_OK);
    m.row(&m, m.N - 1, &row);
    sink += (unsigned)generic_not_finite(&m.scheme, &row, m.K);
    generic_free(&row);
}

static void walk_tensors(const struct gguf *g)
{
    uint64_t end = 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        assert_ptr_equal(gguf_find_tensor(g, t->name), t);
        assert_true(t->offset >= end && t->offset <= g->size && t->bytes <= g->size - t->offset);
        assert_true(t->N > 0 && t->K > 0);
        end = t->offset + t->bytes;
        touch(t->data, t->bytes);
        walk_rows(g, t);
    }
}

/* As far up as `qgen pack` goes before it writes. */
static void build(const struct gguf *g)
{
    struct model m;
    struct program p;
    if (model_from_gguf(g, &m) != QRT_OK || program_build(&m, &p) != QRT_OK) return;
    assert_true(p.op_count > 2);
    program_free(&p);
}

/* 1 when the bytes opened. */
static int try_bytes(const uint8_t *bytes, size_t count)
{
    struct gguf *g = NULL;
    const qrt_status status = gguf_parse(bytes, count, &g);
    if (status != QRT_OK) {
        assert_true(status == QRT_E_FORMAT || status == QRT_E_LIMIT);
        assert_true(strlen(qrt_message()) > 10);
        return 0;
    }
    walk_values(g);
    walk_tensors(g);
    build(g);
    gguf_close(g);
    return 1;
}

/* ---- the damages ---- */

static void the_sound_file_opens(void **state)
{
    (void)state;
    struct gguf *g;
    struct model m;
    struct program p;
    assert_int_equal(gguf_parse(sound.bytes, sound.count, &g), QRT_OK);
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    assert_int_equal(program_build(&m, &p), QRT_OK);
    program_free(&p);
    gguf_close(g);
    assert_true(sound.count > CUTS);
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t count = 0; count < CUTS; count++)
        assert_int_equal(try_bytes(guard_copy(&guard, sound.bytes, count), count), 0);
}

static void every_bit_flipped(void **state)
{
    (void)state;
    uint8_t *bytes = guard_copy(&guard, sound.bytes, sound.count);
    for (size_t bit = 0; bit < 8 * FLIPPED_BYTES; bit++) {
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1 << bit % 8);
        try_bytes(bytes, sound.count);
        bytes[bit / 8] = sound.bytes[bit / 8];
    }
}

static void many_bits_flipped(void **state)
{
    (void)state;
    uint64_t random = 20231107;
    uint8_t *bytes = guard_copy(&guard, sound.bytes, sound.count);
    for (int round = 0; round < 10000; round++) {
        size_t at[16];
        const int flips = 1 + (int)(random_word(&random) % 16);
        for (int i = 0; i < flips; i++) {
            at[i] = random_word(&random) % FLIPPED_BYTES;
            bytes[at[i]] = (uint8_t)(bytes[at[i]] ^ 1 << random_word(&random) % 8);
        }
        try_bytes(bytes, sound.count);
        for (int i = 0; i < flips; i++) bytes[at[i]] = sound.bytes[at[i]];
    }
}

/* Values that overflow, wrap to something small, or are next to a size of the file. */
static uint64_t lie(int i, uint64_t honest)
{
    const uint64_t size = sound.count;
    const uint64_t values[] = {
        0,
        1,
        honest - 1,
        honest + 1,
        2 * honest,
        31,
        33,
        255,
        65535,
        65536,
        INT32_MAX,
        1ull << 31,
        UINT32_MAX,
        1ull << 32,
        1ull << 59,
        INT64_MAX,
        1ull << 63,
        UINT64_MAX,
        UINT64_MAX - 31,
        size - 1,
        size,
        size + 1,
        (1ull << 62) + 8,
        (1ull << 60) + 256,
    };
    return values[i];
}
enum { LIES = 24 };

static void put_field(uint8_t *bytes, const struct maker_field *f, uint64_t value)
{
    memcpy(bytes + f->at, &value, (size_t)f->bytes);
}

static uint64_t get_field(const struct maker_field *f)
{
    uint64_t value = 0;
    memcpy(&value, sound.bytes + f->at, (size_t)f->bytes);
    return value;
}

static void every_integer_lies(void **state)
{
    (void)state;
    uint8_t *bytes = guard_copy(&guard, sound.bytes, sound.count);
    for (int i = 0; i < sound.field_count; i++) {
        const struct maker_field *f = &sound.fields[i];
        for (int j = 0; j < LIES; j++) {
            put_field(bytes, f, lie(j, get_field(f)));
            try_bytes(bytes, sound.count);
        }
        put_field(bytes, f, get_field(f));
    }
}

/* The last integers of the tables are {dims, dim, dim, type, offset} of the last tensor. */
static void pairs_of_dimensions_lie(void **state)
{
    (void)state;
    uint8_t *bytes = guard_copy(&guard, sound.bytes, sound.count);
    const struct maker_field *first = &sound.fields[sound.field_count - 4], *second = first + 1;
    assert_int_equal(get_field(first), 512);
    assert_int_equal(get_field(second), 256);
    for (int i = 0; i < LIES; i++)
        for (int j = 0; j < LIES; j++) {
            put_field(bytes, first, lie(i, get_field(first)));
            put_field(bytes, second, lie(j, get_field(second)));
            try_bytes(bytes, sound.count);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sound_file_opens), cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(every_bit_flipped),    cmocka_unit_test(many_bits_flipped),
        cmocka_unit_test(every_integer_lies),   cmocka_unit_test(pairs_of_dimensions_lie),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
