/* test_qm.c -- contract of opening a packed model (qm.h, qm_file.h)
 *
 * - a sound file opens and tells its sizes
 * - a file cut anywhere in its first 4 KiB, or missing its last byte, is refused
 * - any flipped bit of the header or the metadata is refused
 * - a field that lies is refused although its hash is right
 * - a missing file, a folder and an endless file are refused
 * - opening costs the same whatever the weights weigh
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"
#include "qm_file.h"
#include "rt.h"
#include "tiny_model.h"

static qrt *rt;
static uint8_t *sound;
static size_t sound_bytes;
static char path[64];

static int open_library(void **state)
{
    (void)state;
    sound = tiny_model(NULL, &sound_bytes);
    tiny_write(sound, sound_bytes, path);
    return qrt_open(NULL, &rt);
}

static int close_library(void **state)
{
    (void)state;
    unlink(path);
    free(sound);
    qrt_close(rt);
    return 0;
}

/* Replace the file's contents and open it. */
static qrt_status open_bytes(const uint8_t *bytes, size_t count)
{
    const int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    close(fd);
    qrt_model *m = NULL;
    const qrt_status status = qrt_model_open(rt, path, &m);
    assert_true((status == QRT_OK) == (m != NULL));
    qrt_model_close(m);
    return status;
}

static void sound_file_opens(void **state)
{
    (void)state;
    qrt_model *m;
    qrt_model_info info;
    assert_int_equal(open_bytes(sound, sound_bytes), QRT_OK);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    qrt_model_info_get(m, &info);
    assert_string_equal(info.name, "tiny");
    assert_int_equal(info.layers, 2);
    assert_int_equal(info.vocab, TINY_VOCAB);
    assert_int_equal(info.bytes, sound_bytes);
    const int per_layer =
        TINY_HIDDEN * (2 * TINY_HEADS + 2 * TINY_KV) * TINY_HEAD + 3 * TINY_HIDDEN * TINY_FFN;
    assert_int_equal(info.weights, 2 * per_layer + 2 * TINY_VOCAB * TINY_HIDDEN);
    qrt_model_close(m);
}

static void cut_file_is_refused(void **state)
{
    (void)state;
    assert_int_equal(open_bytes(sound, sound_bytes), QRT_OK);
    assert_int_equal(truncate(path, (off_t)sound_bytes - 1), 0);
    qrt_model *m;
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_E_FORMAT);
    for (off_t length = 4096; length >= 0; length--) {
        assert_int_equal(truncate(path, length), 0);
        assert_int_equal(qrt_model_open(rt, path, &m), QRT_E_FORMAT);
    }
}

static void flipped_bit_is_refused(void **state)
{
    (void)state;
    const struct qm_header *h = (const struct qm_header *)(const void *)sound;
    const size_t end = (size_t)(h->metadata.offset + h->metadata.bytes);
    assert_int_equal(open_bytes(sound, sound_bytes), QRT_OK);
    const int fd = open(path, O_WRONLY);
    for (size_t i = 0; i < end; i++) {
        const uint8_t flipped = (uint8_t)(sound[i] ^ 1u << i % 8);
        qrt_model *m;
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        if (qrt_model_open(rt, path, &m) != QRT_E_FORMAT) fail_msg("byte %zu", i);
        assert_int_equal(pwrite(fd, &sound[i], 1, (off_t)i), 1);
    }
    close(fd);
}

/* Set one field, hash again, expect a refusal. */
static void expect_lie(size_t offset, size_t bytes, uint64_t value, const char *what)
{
    uint8_t *file = malloc(sound_bytes);
    memcpy(file, sound, sound_bytes);
    memcpy(file + offset, &value, bytes);
    if (memcmp(file, sound, sound_bytes) != 0) {
        tiny_rehash(file);
        if (open_bytes(file, sound_bytes) == QRT_OK)
            fail_msg("%s = %llx was accepted", what, (unsigned long long)value);
    }
    free(file);
}

static const struct qm_header *header(void)
{
    return (const struct qm_header *)(const void *)sound;
}

static void lying_header_is_refused(void **state)
{
    (void)state;
    static const struct {
        size_t offset, bytes;
        const char *what;
    } fields[] = {
#define FIELD(f) {offsetof(struct qm_header, f), sizeof((struct qm_header *)0)->f, #f}
        FIELD(version),       FIELD(header_bytes),   FIELD(file_bytes), FIELD(buffers.offset),
        FIELD(buffers.bytes), FIELD(ops.offset),     FIELD(ops.bytes),  FIELD(tensors.offset),
        FIELD(tensors.bytes), FIELD(strings.offset), FIELD(layers),     FIELD(hidden),
        FIELD(vocab),
#undef FIELD
    };
    static const uint64_t lies[] = {
        0,           3,         0x7fffffff, 0x80000000, 0xffffffff,
        0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 127};
    expect_lie(offsetof(struct qm_header, context), 4, 0, "context");
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t v = 0; v < sizeof lies / sizeof *lies; v++)
            if (fields[f].bytes == 8 || lies[v] <= UINT32_MAX)
                expect_lie(fields[f].offset, fields[f].bytes, lies[v], fields[f].what);
}

static void lying_tensor_is_refused(void **state)
{
    (void)state;
    const size_t first = (size_t)header()->tensors.offset;
    static const size_t fields[] = {
        offsetof(struct qm_tensor, name),
        offsetof(struct qm_tensor, is_vector),
        offsetof(struct qm_tensor, N),
        offsetof(struct qm_tensor, K),
        offsetof(struct qm_tensor, scheme),
        offsetof(struct qm_tensor, section[FAMILY_X86][SECTION_CODES].offset),
        offsetof(struct qm_tensor, section[FAMILY_X86][SECTION_CODES].bytes),
        offsetof(struct qm_tensor, section[FAMILY_X86][SECTION_SCALES].offset),
        offsetof(struct qm_tensor, section[FAMILY_X86][SECTION_SCALES].bytes),
        offsetof(struct qm_tensor, section[FAMILY_X86][SECTION_ZEROS].bytes),
        offsetof(struct qm_tensor, section[FAMILY_X86][SECTION_SUPERS].bytes),
    };
    static const uint32_t lies[] = {0x00ff00ff, 0x7fffffff, 0x80000000, 0xffffffff, 0x00fffff1};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t v = 0; v < sizeof lies / sizeof *lies; v++)
            expect_lie(first + fields[f], 4, lies[v], "tensor field");
    expect_lie(first + fields[5], 8, 0, "section over the header");
    expect_lie(first + fields[5], 8, UINT64_MAX - 127, "section that wraps around");
    expect_lie(first + fields[5], 8, sound_bytes / QM_ALIGN * QM_ALIGN, "section behind the end");
}

/* Each op of the program with each of its fields out of range. */
static void lying_op_is_refused(void **state)
{
    (void)state;
    const size_t count = (size_t)(header()->ops.bytes / sizeof(struct qm_op));
    static const size_t fields[] = {
        offsetof(struct qm_op, op),    offsetof(struct qm_op, layer), offsetof(struct qm_op, in[0]),
        offsetof(struct qm_op, in[1]), offsetof(struct qm_op, in[2]), offsetof(struct qm_op, f0),
    };
    for (size_t i = 0; i < count; i++)
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
            expect_lie((size_t)header()->ops.offset + i * sizeof(struct qm_op) + fields[f], 4,
                       0x7fc00fff, "op field"); /* as a float: not a number */
}

static uint32_t width_of(uint32_t buffer)
{
    const struct qm_buffer *b =
        (const struct qm_buffer *)(const void *)(sound + header()->buffers.offset);
    return buffer == QM_NONE ? 0 : b[buffer].width;
}

/* The first tensor of another shape. */
static uint32_t other_tensor(uint32_t index)
{
    const struct qm_tensor *t =
        (const struct qm_tensor *)(const void *)(sound + header()->tensors.offset);
    uint32_t other = 0;
    while (t[other].is_vector == t[index].is_vector && t[other].N == t[index].N &&
           t[other].K == t[index].K)
        other++;
    return other;
}

/* Numbers that are in range but do not fit each other. */
static void mismatched_op_is_refused(void **state)
{
    (void)state;
    const struct qm_op *ops = (const struct qm_op *)(const void *)(sound + header()->ops.offset);
    const size_t count = (size_t)(header()->ops.bytes / sizeof *ops);
    for (size_t i = 0; i < count; i++) {
        const size_t at = (size_t)header()->ops.offset + i * sizeof *ops;
        if (width_of(ops[i].out) != TINY_FFN)
            expect_lie(at + offsetof(struct qm_op, out), 4, 6, "out of another width");
        if (ops[i].tensor != QM_NONE)
            expect_lie(at + offsetof(struct qm_op, tensor), 4, other_tensor(ops[i].tensor),
                       "tensor of another shape");
        if (ops[i].op == OP_ROPE || ops[i].op == OP_ATTENTION) {
            expect_lie(at + offsetof(struct qm_op, heads), 4, 3, "heads");
            expect_lie(at + offsetof(struct qm_op, kv_heads), 4, 4, "kv_heads");
            expect_lie(at + offsetof(struct qm_op, kv_heads), 4, 0, "kv_heads");
            expect_lie(at + offsetof(struct qm_op, head), 4, 32, "head");
        }
        if (ops[i].op == OP_ROPE) expect_lie(at + offsetof(struct qm_op, rotary), 4, 18, "rotary");
        if (ops[i].op == OP_ATTENTION)
            expect_lie(at + offsetof(struct qm_op, window), 4, 0xffffffff, "window");
    }
}

static void other_files_are_refused(void **state)
{
    (void)state;
    qrt_model *m;
    assert_int_equal(qrt_model_open(rt, "/nonexistent/model.qm", &m), QRT_E_IO);
    assert_int_equal(qrt_model_open(rt, "/tmp", &m), QRT_E_IO);
    assert_int_equal(qrt_model_open(rt, "/dev/zero", &m), QRT_E_IO);
    assert_int_equal(qrt_model_open(rt, "/dev/null", &m), QRT_E_IO);
}

/* 1 GiB of weights that no page of is read: a sparse file with a lie that only costs if read. */
static void weights_are_not_read(void **state)
{
    (void)state;
    uint8_t *file = malloc(sound_bytes);
    memcpy(file, sound, sound_bytes);
    ((struct qm_header *)(void *)file)->file_bytes = 1ull << 30;
    tiny_rehash(file);
    open_bytes(file, sound_bytes);
    assert_int_equal(truncate(path, 1 << 30), 0);
    struct timespec from, to;
    qrt_model *m;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    clock_gettime(CLOCK_MONOTONIC, &to);
    qrt_model_close(m);
    const double seconds =
        (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    assert_true(seconds < 0.05);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_file_opens),         cmocka_unit_test(cut_file_is_refused),
        cmocka_unit_test(flipped_bit_is_refused),   cmocka_unit_test(lying_header_is_refused),
        cmocka_unit_test(lying_tensor_is_refused),  cmocka_unit_test(lying_op_is_refused),
        cmocka_unit_test(mismatched_op_is_refused), cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(weights_are_not_read),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
