/* tiny_model.c -- packed models small enough to check by hand, written by the test itself */
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blake2b.h"
#include "helpers.h"
#include "numeric.h"

/* ---- packed matrices ---- */

static void put_scale(const struct scheme *s, void *section, size_t index, float value)
{
    if (s->scale == SCALE_F32) ((float *)section)[index] = value;
    if (s->scale == SCALE_F16) ((uint16_t *)section)[index] = f32_to_f16(value);
    if (s->scale == SCALE_BF16) ((uint16_t *)section)[index] = f32_to_bf16(value);
    if (s->scale == SCALE_TWO_LEVEL) ((int8_t *)section)[index] = (int8_t)(value * 4096);
}

/* Scales around 1 / (2^bits sqrt K), so that sums stay around 1. */
static void put_groups(struct packed *p, int n, uint64_t *random)
{
    const struct scheme *s = &p->scheme;
    const float unit = 2.0f / (float)(1 << s->bits) / sqrtf((float)p->w.K);
    for (int g = 0; g < p->w.G; g++) {
        const size_t index = layout_scale_index(p->w.G, n, g);
        put_scale(s, p->section[SECTION_SCALES], index, unit * (1.5f + random_float(random)));
        if (s->zero == ZERO_INT)
            ((uint8_t *)p->section[SECTION_ZEROS])[index] =
                (uint8_t)(random_word(random) >> 33 & ((1u << s->bits) - 1));
        if (s->zero == ZERO_FLOAT)
            put_scale(s, p->section[SECTION_ZEROS], index,
                      unit * (float)(1 << (s->bits - 1)) * (random_float(random) - 1));
    }
    if (s->scale != SCALE_TWO_LEVEL) return;
    for (int b = 0; b < p->w.K / SUPER_GROUP; b++)
        for (int which = 0; which < 2; which++)
            ((uint16_t *)p->section[SECTION_SUPERS])[layout_super_index(p->w.K, n, b, which)] =
                f32_to_f16((1.5f + random_float(random)) / 4096);
}

static void put_row(struct packed *p, enum layout_family family, int n, uint64_t *random)
{
    const struct scheme *s = &p->scheme;
    for (int k = 0; k < p->w.K; k++) {
        if (scheme_is_dense(s)) {
            const float value = random_float(random) / sqrtf((float)p->w.K);
            const uint16_t half = s->code == CODE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
            layout_put_dense(family, s, p->w.K, p->section[SECTION_CODES], n, k, 1,
                             s->code == CODE_F32 ? (const void *)&value : (const void *)&half);
        } else {
            const uint8_t q = (uint8_t)(random_word(random) >> 40 & ((1u << s->bits) - 1));
            layout_put_codes(family, s, p->w.K, p->section[SECTION_CODES], n, k, 1, &q);
        }
    }
    if (!scheme_is_dense(s)) put_groups(p, n, random);
}

struct packed packed_random(enum layout_family family, const struct scheme *s, int N, int K,
                            uint64_t seed)
{
    struct packed p = {.scheme = *s};
    uint64_t random = seed * 2 + 1;
    assert_int_equal(layout_bytes(family, s, N, K, p.bytes), QRT_OK);
    for (int i = 0; i < SECTION_COUNT; i++)
        p.section[i] = aligned_alloc(128, (p.bytes[i] + 128) / 128 * 128);
    for (int i = 0; i < SECTION_COUNT; i++) memset(p.section[i], 0, p.bytes[i]);
    p.w = (struct qk_weight){.codes = p.section[SECTION_CODES],
                             .scales = p.section[SECTION_SCALES],
                             .zeros = p.section[SECTION_ZEROS],
                             .supers = p.section[SECTION_SUPERS],
                             .N = N,
                             .K = K,
                             .G = scheme_groups(s, K),
                             .family = (int)family};
    for (int n = 0; n < N; n++) put_row(&p, family, n, &random);
    return p;
}

void packed_free(struct packed *p)
{
    for (int i = 0; i < SECTION_COUNT; i++) free(p->section[i]);
}

/* ---- the model ---- */

enum { MAX_BUFFERS = 16, MAX_OPS = 256, MAX_TENSORS = 128, STRING_BYTES = 4096 };

struct builder {
    struct tiny_options o;
    struct qm_buffer buffers[MAX_BUFFERS];
    struct qm_op ops[MAX_OPS];
    struct qm_tensor tensors[MAX_TENSORS];
    char strings[STRING_BYTES];
    uint32_t buffer_count, op_count, tensor_count, string_bytes;
    uint8_t *data; /* behind the metadata; ranges count from its start until the end */
    size_t data_bytes;
    int layer;
};

static uint32_t add_buffer(struct builder *b, enum qm_buffer_type type, uint32_t width)
{
    b->buffers[b->buffer_count] = (struct qm_buffer){.type = type, .width = width};
    return b->buffer_count++;
}

static struct qm_range add_data(struct builder *b, const void *bytes, size_t count)
{
    const struct qm_range r = {b->data_bytes, count};
    const size_t padded = (count + QM_ALIGN - 1) / QM_ALIGN * QM_ALIGN;
    b->data = realloc(b->data, b->data_bytes + padded);
    memset(b->data + b->data_bytes, 0, padded);
    memcpy(b->data + b->data_bytes, bytes, count);
    b->data_bytes += padded;
    return r;
}

static struct qm_tensor *add_tensor(struct builder *b, const char *name)
{
    struct qm_tensor *t = &b->tensors[b->tensor_count++];
    t->name = b->string_bytes;
    b->string_bytes += (uint32_t)snprintf(b->strings + b->string_bytes,
                                          STRING_BYTES - b->string_bytes, "%s.%d", name, b->layer) +
                       1;
    return t;
}

static uint32_t add_matrix(struct builder *b, const char *name, int N, int K)
{
    struct qm_tensor *t = add_tensor(b, name);
    t->N = N;
    t->K = K;
    t->scheme = b->o.weight;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        if (!(b->o.families >> f & 1)) continue;
        struct packed p = packed_random((enum layout_family)f, &b->o.weight, N, K, b->tensor_count);
        for (int s = 0; s < SECTION_COUNT; s++)
            if (p.bytes[s]) t->section[f][s] = add_data(b, p.section[s], p.bytes[s]);
        packed_free(&p);
    }
    return b->tensor_count - 1;
}

static uint32_t add_vector(struct builder *b, const char *name, const float *values, int K)
{
    struct qm_tensor *t = add_tensor(b, name);
    t->is_vector = 1;
    t->K = K;
    t->vector = add_data(b, values, (size_t)K * sizeof *values);
    return b->tensor_count - 1;
}

static uint32_t add_norm_weight(struct builder *b, int K)
{
    float w[TINY_FFN];
    uint64_t random = 99 + b->tensor_count;
    for (int k = 0; k < K; k++) w[k] = 1 + 0.25f * random_float(&random);
    return add_vector(b, "norm", w, K);
}

static struct qm_op *add_op(struct builder *b, enum op op)
{
    struct qm_op *o = &b->ops[b->op_count++];
    *o = (struct qm_op){.op = (uint8_t)op,
                        .layer = b->layer,
                        .in = {QM_NONE, QM_NONE, QM_NONE},
                        .out = QM_NONE,
                        .tensor = QM_NONE};
    return o;
}

static void add_linear(struct builder *b, uint32_t in, uint32_t out)
{
    const uint32_t tensor =
        add_matrix(b, "w", (int)b->buffers[out].width, (int)b->buffers[in].width);
    struct qm_op *o = add_op(b, OP_LINEAR);
    o->in[0] = in;
    o->out = out;
    o->tensor = tensor;
}

static void add_norm(struct builder *b, uint32_t in, uint32_t out, int heads, int head)
{
    const uint32_t tensor = add_norm_weight(b, head);
    struct qm_op *o = add_op(b, OP_RMSNORM);
    o->in[0] = in;
    o->out = out;
    o->tensor = tensor;
    o->heads = heads;
    o->head = head;
    o->f0 = 1e-5f;
}

static void add_residual(struct builder *b, uint32_t in)
{
    if (b->o.qk_norm) add_norm(b, in, in, 1, TINY_HIDDEN);
    struct qm_op *o = add_op(b, OP_ADD);
    o->in[0] = in;
    o->out = 0;
}

struct layer_buffers {
    uint32_t norm, q, k, v, mixed, gate, up;
};

static void add_attention(struct builder *b, const struct layer_buffers *l)
{
    if (b->o.qk_norm) {
        add_norm(b, l->q, l->q, TINY_HEADS, TINY_HEAD);
        add_norm(b, l->k, l->k, TINY_KV, TINY_HEAD);
    }
    float inv_freq[TINY_HEAD / 2];
    for (int i = 0; i < TINY_HEAD / 2; i++)
        inv_freq[i] = powf(10000.0f, -2.0f * (float)i / TINY_HEAD);
    const uint32_t freqs = add_vector(b, "inv_freq", inv_freq, TINY_HEAD / 2);
    struct qm_op *rope = add_op(b, OP_ROPE);
    rope->kind = ROPE_HALVES;
    rope->in[0] = l->q;
    rope->in[1] = l->k;
    rope->in[2] = l->v;
    rope->tensor = freqs;
    struct qm_op *attention = add_op(b, OP_ATTENTION);
    attention->in[0] = l->q;
    attention->out = l->mixed;
    attention->f0 = 0.25f;
    attention->window = b->o.window;
    rope->heads = attention->heads = TINY_HEADS;
    rope->kv_heads = attention->kv_heads = TINY_KV;
    rope->head = attention->head = TINY_HEAD;
    rope->rotary = TINY_HEAD;
}

static void add_layer(struct builder *b, const struct layer_buffers *l)
{
    add_norm(b, 0, l->norm, 1, TINY_HIDDEN);
    add_linear(b, l->norm, l->q);
    add_linear(b, l->norm, l->k);
    add_linear(b, l->norm, l->v);
    add_attention(b, l);
    add_linear(b, l->mixed, l->norm);
    add_residual(b, l->norm);
    add_norm(b, 0, l->norm, 1, TINY_HIDDEN);
    add_linear(b, l->norm, l->gate);
    add_linear(b, l->norm, l->up);
    struct qm_op *glu = add_op(b, OP_GLU);
    glu->kind = b->o.qk_norm ? GLU_GELU_TANH : GLU_SILU;
    glu->in[0] = l->gate;
    glu->in[1] = l->up;
    glu->out = l->gate;
    add_linear(b, l->gate, l->norm);
    add_residual(b, l->norm);
}

static void add_program(struct builder *b)
{
    b->layer = -1;
    add_buffer(b, QM_RESIDUAL, TINY_HIDDEN);
    const struct layer_buffers l = {
        .norm = add_buffer(b, QM_ACT, TINY_HIDDEN),
        .q = add_buffer(b, QM_ACT, TINY_HEADS * TINY_HEAD),
        .k = add_buffer(b, QM_ACT, TINY_KV * TINY_HEAD),
        .v = add_buffer(b, QM_ACT, TINY_KV * TINY_HEAD),
        .mixed = add_buffer(b, QM_ACT, TINY_HEADS * TINY_HEAD),
        .gate = add_buffer(b, QM_ACT, TINY_FFN),
        .up = add_buffer(b, QM_ACT, TINY_FFN),
    };
    const uint32_t last_norm = add_buffer(b, QM_ACT, TINY_HIDDEN);
    const uint32_t logits = add_buffer(b, QM_LOGITS, TINY_VOCAB);
    const uint32_t table = add_matrix(b, "embed", TINY_VOCAB, TINY_HIDDEN);
    struct qm_op *embed = add_op(b, OP_EMBED);
    embed->out = 0;
    embed->tensor = table;
    embed->f0 = 4;
    for (b->layer = 0; b->layer < b->o.layers; b->layer++) add_layer(b, &l);
    b->layer = -1;
    const uint32_t first_last = b->op_count;
    add_norm(b, 0, last_norm, 1, TINY_HIDDEN);
    add_linear(b, last_norm, logits);
    for (uint32_t i = first_last; i < b->op_count; i++) b->ops[i].last = 1;
}

static struct qm_range put_table(uint8_t *file, uint64_t *at, const void *table, size_t bytes)
{
    const struct qm_range r = {*at, bytes};
    memcpy(file + *at, table, bytes);
    *at += (bytes + 7) / 8 * 8;
    return r;
}

static void move_ranges(struct qm_tensor *t, uint64_t by)
{
    if (t->is_vector) t->vector.offset += by;
    for (int f = 0; f < FAMILY_COUNT; f++)
        for (int s = 0; s < SECTION_COUNT; s++)
            if (t->section[f][s].bytes) t->section[f][s].offset += by;
}

static uint8_t *write_model(struct builder *b, size_t *bytes)
{
    const uint64_t tables = sizeof(struct qm_header) + sizeof b->buffers + sizeof b->ops +
                            sizeof b->tensors + sizeof b->strings;
    const uint64_t data_at = (tables + QM_ALIGN - 1) / QM_ALIGN * QM_ALIGN;
    uint8_t *file = calloc(1, data_at + b->data_bytes);
    struct qm_header h = {.magic = QM_MAGIC,
                          .version = QM_VERSION,
                          .header_bytes = sizeof h,
                          .file_bytes = data_at + b->data_bytes,
                          .name = "tiny",
                          .layers = (uint32_t)b->o.layers,
                          .hidden = TINY_HIDDEN,
                          .vocab = TINY_VOCAB,
                          .context = (uint32_t)b->o.context,
                          .bos = 1,
                          .eos = 2};
    for (uint32_t i = 0; i < b->tensor_count; i++) move_ranges(&b->tensors[i], data_at);
    uint64_t at = sizeof h;
    h.buffers = put_table(file, &at, b->buffers, b->buffer_count * sizeof *b->buffers);
    h.ops = put_table(file, &at, b->ops, b->op_count * sizeof *b->ops);
    h.tensors = put_table(file, &at, b->tensors, b->tensor_count * sizeof *b->tensors);
    h.strings = put_table(file, &at, b->strings, b->string_bytes);
    h.metadata = (struct qm_range){sizeof h, at - sizeof h};
    memcpy(file, &h, sizeof h);
    memcpy(file + data_at, b->data, b->data_bytes);
    tiny_rehash(file);
    *bytes = h.file_bytes;
    return file;
}

uint8_t *tiny_model(const struct tiny_options *options, size_t *bytes)
{
    struct builder *b = calloc(1, sizeof *b);
    if (options) b->o = *options;
    if (b->o.weight.bits == 0)
        b->o.weight = (struct scheme){.code = CODE_INT, .bits = 4, .zero = ZERO_FLOAT, .group = 32};
    if (b->o.families == 0) b->o.families = 1u << FAMILY_X86;
    if (b->o.layers == 0) b->o.layers = 2;
    if (b->o.context == 0) b->o.context = TINY_CONTEXT;
    add_program(b);
    uint8_t *file = write_model(b, bytes);
    free(b->data);
    free(b);
    return file;
}

void tiny_rehash(uint8_t *file)
{
    struct qm_header *h = (struct qm_header *)(void *)file;
    memset(h->hash, 0, sizeof h->hash);
    struct blake2b b;
    blake2b_init(&b, sizeof h->hash);
    blake2b_update(&b, file, sizeof *h);
    blake2b_update(&b, file + h->metadata.offset, (size_t)h->metadata.bytes);
    blake2b_final(&b, h->hash);
}

void tiny_write(const void *bytes, size_t count, char path[64])
{
    strcpy(path, "/tmp/qgen-test-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    close(fd);
}
