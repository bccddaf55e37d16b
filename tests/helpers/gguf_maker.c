/* gguf_maker.c -- GGUF files made in memory, sound by default, with every integer's place noted */
#include "gguf_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"
#include "helpers.h"

enum { ALIGNMENT = 32 };

void maker_raw(struct maker *m, const void *bytes, size_t count)
{
    if (m->count + count > m->capacity) {
        m->capacity = 2 * (m->count + count);
        m->bytes = realloc(m->bytes, m->capacity);
        assert_non_null(m->bytes);
    }
    memcpy(m->bytes + m->count, bytes, count);
    m->count += count;
}

static void field(struct maker *m, const void *value, int bytes)
{
    assert_true(m->field_count < MAKER_MAX_FIELDS);
    m->fields[m->field_count++] = (struct maker_field){m->count, bytes};
    maker_raw(m, value, (size_t)bytes);
}

void maker_u32(struct maker *m, uint32_t value) { field(m, &value, sizeof value); }
void maker_u64(struct maker *m, uint64_t value) { field(m, &value, sizeof value); }

void maker_text(struct maker *m, const char *text)
{
    maker_u64(m, strlen(text));
    maker_raw(m, text, strlen(text));
}

void maker_start(struct maker *m, uint32_t version, uint64_t tensors, uint64_t kvs)
{
    *m = (struct maker){.random = 88172645463325252u};
    maker_raw(m, "GGUF", 4);
    maker_u32(m, version);
    maker_u64(m, tensors);
    maker_u64(m, kvs);
}

void maker_free(struct maker *m)
{
    free(m->bytes);
    *m = (struct maker){0};
}

static void kv(struct maker *m, const char *key, enum gguf_value type)
{
    maker_text(m, key);
    maker_u32(m, type);
}

void maker_kv_u32(struct maker *m, const char *key, uint32_t value)
{
    kv(m, key, GGUF_U32);
    maker_u32(m, value);
}

void maker_kv_f32(struct maker *m, const char *key, float value)
{
    kv(m, key, GGUF_F32);
    field(m, &value, sizeof value);
}

void maker_kv_string(struct maker *m, const char *key, const char *value)
{
    kv(m, key, GGUF_STRING);
    maker_text(m, value);
}

void maker_kv_strings(struct maker *m, const char *key, uint64_t count)
{
    char text[32];
    kv(m, key, GGUF_ARRAY);
    maker_u32(m, GGUF_STRING);
    maker_u64(m, count);
    for (uint64_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "t%llu", (unsigned long long)i);
        maker_text(m, text);
    }
}

void maker_tensor(struct maker *m, const char *name, uint32_t type, int n_dims,
                  const uint64_t *dims)
{
    const struct gguf_type *t = gguf_type_find(type);
    uint64_t elements = 1;
    maker_text(m, name);
    maker_u32(m, (uint32_t)n_dims);
    for (int d = 0; d < n_dims; d++) {
        maker_u64(m, dims[d]);
        elements *= dims[d];
    }
    maker_u32(m, type);
    maker_u64(m, m->data_offset);
    const size_t bytes = t ? (size_t)(elements / t->block * t->bytes) : 0;
    assert_true(m->tensor_count < MAKER_MAX_TENSORS);
    m->tensors[m->tensor_count].type = type;
    m->tensors[m->tensor_count++].bytes = bytes;
    m->data_offset += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Where the f16 scales of a block lie; -1: nowhere. */
static const struct {
    uint32_t type;
    int at[2];
} scales[] = {
    {2, {0, -1}},   {3, {0, 2}},     {6, {0, -1}}, {7, {0, 2}},  {8, {0, -1}},
    {10, {80, 82}}, {11, {108, -1}}, {12, {0, 2}}, {13, {0, 2}}, {14, {208, -1}},
};

static void put_half(struct maker *m, uint8_t *at)
{
    const uint16_t half = (uint16_t)(random_word(&m->random) % 0x7c00u); /* below infinity */
    memcpy(at, &half, sizeof half);
}

/* Dense values: exponents below the highest are finite in all three types. */
static void put_dense(const struct gguf_type *t, uint8_t *value)
{
    uint8_t *top = value + t->bytes - 1;
    *top = (uint8_t)(*top & 0xbf); /* clears a bit of the exponent */
}

void maker_blocks(struct maker *m, uint32_t type, uint8_t *data, size_t bytes)
{
    const struct gguf_type *t = gguf_type_find(type);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)(random_word(&m->random) >> 40);
    for (size_t block = 0; block + t->bytes <= bytes; block += t->bytes) {
        if (t->block == 1) put_dense(t, data + block);
        for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
            for (int j = 0; j < 2 && scales[i].type == type && scales[i].at[j] >= 0; j++)
                put_half(m, data + block + scales[i].at[j]);
    }
}

void maker_data(struct maker *m)
{
    static const uint8_t zeros[ALIGNMENT];
    maker_raw(m, zeros, (ALIGNMENT - m->count % ALIGNMENT) % ALIGNMENT);
    for (int i = 0; i < m->tensor_count; i++) {
        const size_t bytes = m->tensors[i].bytes;
        uint8_t *data = malloc(bytes + 1);
        assert_non_null(data);
        maker_blocks(m, m->tensors[i].type, data, bytes);
        maker_raw(m, data, bytes);
        free(data);
        maker_raw(m, zeros, (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT);
    }
}

void maker_llama(struct maker *m, const uint32_t *types, int count, int vocab)
{
    enum { HIDDEN = 256, FFN = 512, KV = 128, F32 = 0 };
    const uint64_t tokens = (uint64_t)vocab;
    const struct {
        const char *name;
        uint64_t dims[2];
        int n_dims;
    } tensors[] = {
        {"token_embd.weight", {HIDDEN, tokens}, 2},
        {"output_norm.weight", {HIDDEN, 0}, 1},
        {"output.weight", {HIDDEN, tokens}, 2},
        {"blk.0.attn_norm.weight", {HIDDEN, 0}, 1},
        {"blk.0.attn_q.weight", {HIDDEN, HIDDEN}, 2},
        {"blk.0.attn_k.weight", {HIDDEN, KV}, 2},
        {"blk.0.attn_v.weight", {HIDDEN, KV}, 2},
        {"blk.0.attn_output.weight", {HIDDEN, HIDDEN}, 2},
        {"blk.0.ffn_norm.weight", {HIDDEN, 0}, 1},
        {"blk.0.ffn_gate.weight", {HIDDEN, FFN}, 2},
        {"blk.0.ffn_up.weight", {HIDDEN, FFN}, 2},
        {"blk.0.ffn_down.weight", {FFN, HIDDEN}, 2},
    };
    enum { TENSORS = sizeof tensors / sizeof *tensors };
    int next = 0;
    maker_start(m, 3, TENSORS, 11);
    maker_kv_string(m, "general.architecture", "llama");
    maker_kv_string(m, "general.name", "made for a test");
    maker_kv_u32(m, "llama.block_count", 1);
    maker_kv_u32(m, "llama.context_length", 128);
    maker_kv_u32(m, "llama.embedding_length", HIDDEN);
    maker_kv_u32(m, "llama.feed_forward_length", FFN);
    maker_kv_u32(m, "llama.attention.head_count", 4);
    maker_kv_u32(m, "llama.attention.head_count_kv", 2);
    maker_kv_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    maker_kv_f32(m, "llama.rope.freq_base", 10000.0f);
    maker_kv_strings(m, "tokenizer.ggml.tokens", tokens);
    for (int i = 0; i < TENSORS; i++)
        maker_tensor(m, tensors[i].name, tensors[i].n_dims == 1 ? F32 : types[next++ % count],
                     tensors[i].n_dims, tensors[i].dims);
    maker_data(m);
}
