/* test_gguf.c -- contract of gguf.h
 *
 * A sound file:
 * - versions 2 and 3 are read: keys, values, tensors, their data
 * - typed values: the type and the range are checked, an absent key is an error or the default
 * - look-ups find every key and tensor, and nothing else
 * - an alignment other than 32 is honoured
 * A file that breaks a rule gives one message that names it:
 * - not GGUF, a version that is not read, the other byte order
 * - counts and lengths that the file cannot hold, or beyond a limit
 * - empty, unprintable and duplicate keys and names
 * - value types, arrays of arrays, bools that are not 0 or 1
 * - dimensions: none, five, zero, negative, products and byte sizes that wrap
 * - types that are unknown or were removed, rows that are no multiple of the block
 * - data that overlap, leave a gap, start elsewhere or end beyond the file
 * - alignments of another type, zero, not a power of two, too large
 * - an empty file, a folder, a pipe, a file that is not there
 */
#include "gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_maker.h"
#include "guard.h"
#include "helpers.h"

/* ---- sound files ---- */

/* Three keys, two tensors. */
static void make_small(struct maker *m, uint32_t version)
{
    maker_start(m, version, 2, 3);
    maker_kv_u32(m, "a.number", 7);
    maker_kv_string(m, "a.text", "hello");
    maker_kv_strings(m, "a.list", 3);
    maker_tensor(m, "x", 0, 1, (uint64_t[]){4});
    maker_tensor(m, "y", 8, 2, (uint64_t[]){64, 3});
    maker_data(m);
}

static void sound_files_are_read(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct maker m;
        struct gguf *g;
        struct gguf_text text;
        make_small(&m, version);
        assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
        assert_int_equal(g->version, version);
        assert_int_equal(g->kv_count, 3);
        assert_int_equal(g->tensor_count, 2);
        const struct gguf_tensor *y = gguf_find_tensor(g, "y");
        assert_non_null(y);
        assert_int_equal(y->N, 3);
        assert_int_equal(y->K, 64);
        assert_int_equal(y->bytes, 3 * 2 * 34);
        assert_string_equal(y->type->name, "Q8_0");
        assert_int_equal(y->offset, g->data_offset + 32);
        assert_ptr_equal(y->data, m.bytes + y->offset);
        assert_int_equal(gguf_string(g, GGUF_REQUIRED, "a.text", &text), QRT_OK);
        assert_int_equal(text.bytes, 5);
        assert_memory_equal(text.data, "hello", 5);
        gguf_close(g);
        maker_free(&m);
    }
}

static void look_ups_find_all_and_nothing_else(void **state)
{
    (void)state;
    struct maker m;
    struct gguf *g;
    char name[16];
    maker_start(&m, 3, 0, 100);
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "k%u", i * 37 % 100);
        maker_kv_u32(&m, name, i);
    }
    assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
    for (uint32_t i = 0; i < 100; i++) {
        int64_t value = -1;
        snprintf(name, sizeof name, "k%u", i * 37 % 100);
        assert_int_equal(gguf_int(g, GGUF_REQUIRED, name, 0, 99, &value), QRT_OK);
        assert_int_equal(value, i);
    }
    assert_null(gguf_find(g, "k"));
    assert_null(gguf_find(g, "k100"));
    assert_null(gguf_find_tensor(g, "k1"));
    gguf_close(g);
    maker_free(&m);
}

static void typed_values_are_checked(void **state)
{
    (void)state;
    struct maker m;
    struct gguf *g;
    int64_t number = 5;
    double real = 0;
    int flag = 0;
    struct gguf_text text;
    const struct gguf_kv *array;
    make_small(&m, 3);
    assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
    assert_int_equal(gguf_int(g, GGUF_REQUIRED, "a.number", 8, 9, &number), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "'a.number' is 7, expected 8 to 9"));
    assert_int_equal(gguf_int(g, GGUF_REQUIRED, "a.text", 0, 9, &number), QRT_E_FORMAT);
    assert_int_equal(gguf_int(g, GGUF_REQUIRED, "a.none", 0, 9, &number), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "'a.none' is missing"));
    assert_int_equal(gguf_int(g, GGUF_OPTIONAL, "a.none", 0, 9, &number), QRT_OK);
    assert_int_equal(number, 5);
    assert_int_equal(gguf_real(g, GGUF_REQUIRED, "a.number", 0, 9, &real), QRT_E_FORMAT);
    assert_int_equal(gguf_bool(g, GGUF_REQUIRED, "a.number", &flag), QRT_E_FORMAT);
    assert_int_equal(gguf_string(g, GGUF_REQUIRED, "a.list", &text), QRT_E_FORMAT);
    assert_int_equal(gguf_array(g, GGUF_REQUIRED, "a.list", GGUF_F32, &array), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "array of string, expected array of f32"));
    assert_int_equal(gguf_array(g, GGUF_REQUIRED, "a.list", GGUF_STRING, &array), QRT_OK);
    struct gguf_strings it = gguf_strings(array);
    for (int i = 0; i < 3; i++) assert_int_equal(gguf_strings_next(&it, &text), 1);
    assert_memory_equal(text.data, "t2", 2);
    assert_int_equal(gguf_strings_next(&it, &text), 0);
    gguf_close(g);
    maker_free(&m);
}

static void numbers_keep_their_sign_and_width(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        uint8_t bytes[8];
        int count;
        int64_t value;
    } cases[] = {
        {GGUF_I8, {0xff}, 1, -1},
        {GGUF_U8, {0xff}, 1, 255},
        {GGUF_I16, {0xfe, 0xff}, 2, -2},
        {GGUF_I32, {0xfd, 0xff, 0xff, 0xff}, 4, -3},
        {GGUF_U32, {0xff, 0xff, 0xff, 0xff}, 4, UINT32_MAX},
        {GGUF_I64, {0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, -4},
        {GGUF_U64, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct maker m;
        struct gguf *g;
        int64_t value = 0;
        maker_start(&m, 3, 0, 1);
        maker_text(&m, "k");
        maker_u32(&m, cases[i].type);
        maker_raw(&m, cases[i].bytes, (size_t)cases[i].count);
        assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
        assert_int_equal(gguf_int(g, GGUF_REQUIRED, "k", INT64_MIN, INT64_MAX, &value), QRT_OK);
        assert_int_equal(value, cases[i].value);
        gguf_close(g);
        maker_free(&m);
    }
}

static void other_alignments_are_honoured(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    struct maker m;
    struct gguf *g;
    maker_start(&m, 3, 1, 1);
    maker_kv_u32(&m, "general.alignment", 1024);
    maker_tensor(&m, "x", 0, 1, (uint64_t[]){4});
    maker_raw(&m, zeros, 1024 - m.count + 16);
    assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
    assert_int_equal(g->data_offset, 1024);
    gguf_close(g);
    maker_free(&m);
}

/* ---- wrong files ---- */

/* The bytes are refused with this status, and the message has this text. */
static void refused(const struct maker *m, qrt_status status, const char *text)
{
    struct guard guard;
    struct gguf *g = NULL;
    guard_open(&guard, m->count);
    assert_int_equal(gguf_parse(guard_copy(&guard, m->bytes, m->count), m->count, &g), status);
    if (!strstr(qrt_message(), text)) fail_msg("'%s' lacks '%s'", qrt_message(), text);
    guard_close(&guard);
}

static void headers(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        uint64_t tensors, kvs;
        qrt_status status;
        const char *text;
    } cases[] = {
        {1, 0, 0, QRT_E_FORMAT, "version 1"},
        {4, 0, 0, QRT_E_FORMAT, "version 4"},
        {0x03000000, 0, 0, QRT_E_FORMAT, "big-endian"},
        {0, 0, 0, QRT_E_FORMAT, "big-endian"},
        {3, 1, 0, QRT_E_FORMAT, "1 tensors"},
        {3, 0, 1, QRT_E_FORMAT, "1 key-values"},
        {3, 262145, 0, QRT_E_LIMIT, "262145 tensors"},
        {3, 0, 65537, QRT_E_LIMIT, "65537 key-values"},
        {3, UINT64_MAX, 0, QRT_E_LIMIT, "tensors"},
        {3, 0, 1ull << 63, QRT_E_LIMIT, "key-values"},
        {3, (1ull << 61) + 1, 0, QRT_E_LIMIT, "tensors"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct maker m;
        maker_start(&m, cases[i].version, cases[i].tensors, cases[i].kvs);
        refused(&m, cases[i].status, cases[i].text);
        maker_free(&m);
    }
    struct maker m;
    maker_start(&m, 3, 0, 0);
    m.bytes[3] = 'X';
    refused(&m, QRT_E_FORMAT, "not \"GGUF\"");
    maker_free(&m);
}

static void keys(void **state)
{
    (void)state;
    struct maker m;
    maker_start(&m, 3, 0, 1);
    maker_kv_u32(&m, "", 1);
    refused(&m, QRT_E_FORMAT, "is empty");
    maker_free(&m);
    maker_start(&m, 3, 0, 1);
    maker_kv_u32(&m, "a\nb", 1);
    refused(&m, QRT_E_FORMAT, "byte 0x0a at position 1");
    maker_free(&m);
    maker_start(&m, 3, 0, 1);
    maker_kv_u32(&m, "caf\xc3\xa9", 1);
    refused(&m, QRT_E_FORMAT, "byte 0xc3");
    maker_free(&m);
    maker_start(&m, 3, 0, 3);
    maker_kv_u32(&m, "same", 1);
    maker_kv_u32(&m, "other", 1);
    maker_kv_string(&m, "same", "x");
    refused(&m, QRT_E_FORMAT, "key 'same' occurs twice");
    maker_free(&m);
    maker_start(&m, 3, 0, 1);
    maker_u64(&m, 65536);
    maker_raw(&m, "abcdefghijklmnop", 16);
    refused(&m, QRT_E_LIMIT, "65536 bytes long");
    maker_free(&m);
    maker_start(&m, 3, 0, 1);
    maker_u64(&m, UINT64_MAX); /* length + 1 wraps to 0 */
    maker_raw(&m, "abcdefghijklmnop", 16);
    refused(&m, QRT_E_LIMIT, "limit of 65535");
    maker_free(&m);
}

/* A key whose value has this type word and these bytes. */
static void make_value(struct maker *m, uint32_t type, const void *bytes, size_t count)
{
    maker_start(m, 3, 0, 1);
    maker_text(m, "k");
    maker_u32(m, type);
    maker_raw(m, bytes, count);
}

static void values(void **state)
{
    (void)state;
    struct maker m;
    make_value(&m, 13, "\0\0\0\0\0\0\0\0", 8);
    refused(&m, QRT_E_FORMAT, "value type 13");
    maker_free(&m);
    make_value(&m, UINT32_MAX, "\0\0\0\0\0\0\0\0", 8);
    refused(&m, QRT_E_FORMAT, "value type 4294967295");
    maker_free(&m);
    make_value(&m, GGUF_BOOL, "\2", 1);
    refused(&m, QRT_E_FORMAT, "bool of value 2");
    maker_free(&m);
    make_value(&m, GGUF_U64, "\1\2\3\4", 4);
    refused(&m, QRT_E_FORMAT, "only 4 bytes are left");
    maker_free(&m);
    make_value(&m, GGUF_STRING, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    refused(&m, QRT_E_LIMIT, "limit of 16777216");
    maker_free(&m);
    make_value(&m, GGUF_STRING, "\x09\0\0\0\0\0\0\0hello", 13);
    refused(&m, QRT_E_FORMAT, "needs 9 bytes but the file ends after 5");
    maker_free(&m);
}

/* An array's element type, its count, and 64 bytes behind it. */
static void make_array(struct maker *m, uint32_t element, uint64_t count)
{
    static const uint8_t zeros[64];
    make_value(m, GGUF_ARRAY, "", 0);
    maker_u32(m, element);
    maker_u64(m, count);
    maker_raw(m, zeros, sizeof zeros);
}

static void arrays(void **state)
{
    (void)state;
    static const struct {
        uint32_t element;
        uint64_t count;
        qrt_status status;
        const char *text;
    } cases[] = {
        {GGUF_ARRAY, 1, QRT_E_FORMAT, "array of arrays"},
        {13, 1, QRT_E_FORMAT, "value type 13"},
        {GGUF_F64, 9, QRT_E_FORMAT, "only 64 bytes are left"},
        {GGUF_STRING, 9, QRT_E_FORMAT, "only 64 bytes are left"},
        {GGUF_U8, 65, QRT_E_FORMAT, "only 64 bytes are left"},
        {GGUF_U8, (1 << 24) + 1, QRT_E_LIMIT, "limit of 16777216"},
        {GGUF_U32, 1ull << 62, QRT_E_LIMIT, "limit of 16777216"},
        {GGUF_U64, (1ull << 61) + 1, QRT_E_LIMIT, "limit of 16777216"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct maker m;
        make_array(&m, cases[i].element, cases[i].count);
        refused(&m, cases[i].status, cases[i].text);
        maker_free(&m);
    }
}

static void tensor_names(void **state)
{
    (void)state;
    struct maker m;
    char name[65] = "";
    memset(name, 'n', 64);
    maker_start(&m, 3, 1, 0);
    maker_tensor(&m, name, 0, 1, (uint64_t[]){1});
    maker_data(&m);
    refused(&m, QRT_E_LIMIT, "limit of 63");
    maker_free(&m);
    maker_start(&m, 3, 2, 0);
    maker_tensor(&m, "twin", 0, 1, (uint64_t[]){1});
    maker_tensor(&m, "twin", 0, 1, (uint64_t[]){1});
    maker_data(&m);
    refused(&m, QRT_E_FORMAT, "tensor 'twin' occurs twice");
    maker_free(&m);
    maker_start(&m, 3, 1, 0);
    maker_tensor(&m, "", 0, 1, (uint64_t[]){1});
    maker_data(&m);
    refused(&m, QRT_E_FORMAT, "is empty");
    maker_free(&m);
}

/* A tensor entry that lies, and 4 KiB behind it. */
static void make_tensor(struct maker *m, uint32_t type, uint32_t n_dims, const uint64_t *dims,
                        uint64_t offset)
{
    static const uint8_t zeros[4096];
    maker_start(m, 3, 1, 0);
    maker_text(m, "t");
    maker_u32(m, n_dims);
    for (uint32_t d = 0; d < n_dims && d < 8; d++) maker_u64(m, dims[d]);
    maker_u32(m, type);
    maker_u64(m, offset);
    maker_raw(m, zeros, sizeof zeros);
}

static void dimensions_and_types(void **state)
{
    (void)state;
    const uint64_t big = 1ull << 32;
    const struct {
        uint32_t type, n_dims;
        uint64_t dims[5], offset;
        const char *text;
    } cases[] = {
        {0, 0, {0}, 0, "0 dimensions"},
        {0, 5, {1, 1, 1, 1, 1}, 0, "5 dimensions"},
        {0, UINT32_MAX, {1, 1, 1, 1, 1}, 0, "4294967295 dimensions"},
        {0, 2, {4, 0}, 0, "dimension 1 of"},
        {0, 1, {0}, 0, "dimension 0 of"},
        {0, 1, {UINT64_MAX}, 0, "is -1"},
        {0, 2, {4, 1ull << 63}, 0, "dimension 1 of"},
        {0, 4, {1, big, big, 1}, 0, "exceed 2^63"},
        {0, 3, {1, 1ull << 62, 4}, 0, "exceed 2^63"},
        {0, 2, {big, big}, 0, "over 2^63"},
        {0, 2, {1ull << 31, 1ull << 32}, 0, "over 2^63"},
        {0, 2, {1ull << 31, 1ull << 31}, 0, "2^63 bytes"},
        {28, 1, {1ull << 61}, 0, "2^63 bytes"},
        {14, 2, {1ull << 40, 1ull << 20}, 0, "takes"},
        {2, 1, {33}, 0, "no multiple of Q4_0"},
        {12, 1, {640}, 0, "no multiple of Q4_K"},
        {4, 1, {32}, 0, "type 4"},
        {5, 1, {32}, 0, "type 5"},
        {31, 1, {32}, 0, "type 31"},
        {36, 1, {32}, 0, "type 36"},
        {43, 1, {32}, 0, "type 43"},
        {UINT32_MAX, 1, {32}, 0, "type 4294967295"},
        {0, 1, {4}, 32, "offset 32"},
        {0, 1, {4}, UINT64_MAX - 31, "overlap"},
        {0, 1, {1025}, 0, "was cut short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct maker m;
        make_tensor(&m, cases[i].type, cases[i].n_dims, cases[i].dims, cases[i].offset);
        refused(&m, QRT_E_FORMAT, cases[i].text);
        maker_free(&m);
    }
}

static void data_that_overlap(void **state)
{
    (void)state;
    for (uint64_t offset = 0; offset <= 96; offset += 32) {
        static const uint8_t zeros[256];
        struct maker m;
        struct gguf *g;
        maker_start(&m, 3, 2, 0);
        maker_tensor(&m, "first", 0, 1, (uint64_t[]){9}); /* 36 bytes, padded to 64 */
        m.data_offset = offset;
        maker_tensor(&m, "second", 0, 1, (uint64_t[]){9});
        maker_raw(&m, zeros, sizeof zeros);
        if (offset == 64) {
            assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
            gguf_close(g);
        } else {
            refused(&m, QRT_E_FORMAT, "'second' says its data lie at");
        }
        maker_free(&m);
    }
}

static void alignments(void **state)
{
    (void)state;
    static const struct {
        uint32_t alignment;
        const char *text;
    } cases[] = {
        {0, "is 0, expected 8 to 65536"},        {1, "is 1, expected"},
        {24, "is 24, not a power of two"},       {131072, "is 131072, expected"},
        {UINT32_MAX, "is 4294967295, expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct maker m;
        maker_start(&m, 3, 1, 1);
        maker_kv_u32(&m, "general.alignment", cases[i].alignment);
        maker_tensor(&m, "x", 0, 1, (uint64_t[]){4});
        maker_data(&m);
        refused(&m, QRT_E_FORMAT, cases[i].text);
        maker_free(&m);
    }
    struct maker m;
    maker_start(&m, 3, 0, 1);
    maker_kv_string(&m, "general.alignment", "32");
    refused(&m, QRT_E_FORMAT, "of type string, expected an integer");
    maker_free(&m);
}

static void paths(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_gguf.XXXXXX", path[64];
    struct gguf *g;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(gguf_open(folder, &g), QRT_E_IO);
    snprintf(path, sizeof path, "%s/none", folder);
    assert_int_equal(gguf_open(path, &g), QRT_E_IO);
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gguf_open(path, &g), QRT_E_IO);
    unlink(path);
    snprintf(path, sizeof path, "%s/empty", folder);
    FILE *empty = fopen(path, "w");
    assert_non_null(empty);
    fclose(empty);
    assert_int_equal(gguf_open(path, &g), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "/empty: the file is empty"));
    unlink(path);
    rmdir(folder);
    gguf_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_files_are_read),
        cmocka_unit_test(look_ups_find_all_and_nothing_else),
        cmocka_unit_test(typed_values_are_checked),
        cmocka_unit_test(numbers_keep_their_sign_and_width),
        cmocka_unit_test(other_alignments_are_honoured),
        cmocka_unit_test(headers),
        cmocka_unit_test(keys),
        cmocka_unit_test(values),
        cmocka_unit_test(arrays),
        cmocka_unit_test(tensor_names),
        cmocka_unit_test(dimensions_and_types),
        cmocka_unit_test(data_that_overlap),
        cmocka_unit_test(alignments),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
