/* program.c -- a model as the flat list of ops that the runtime executes, and the tensors they read
 */
#include "program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum buffer {
    RESIDUAL,
    NORMED,
    Q,
    K,
    V,
    ATTENDED,
    PROJECTED,
    GATE,
    UP,
    GATED,
    LAST, /* normalized rows whose logits are wanted */
    LOGITS,
    BUFFER_COUNT
};

/* Most ops and tensors of a layer, and those outside of layers. */
enum { LAYER_OPS = 18, OUTER_OPS = 3, LAYER_TENSORS = 13, OUTER_TENSORS = 5 };
enum { NO_LAYER = -1 };

/* The first error stays; every call after it does nothing. */
struct builder {
    const struct model *m;
    struct program *p;
    uint8_t *used; /* [tensors of the file] */
    qrt_status status;
    uint32_t inv_freq[2]; /* tensors: of layers that see all, of those with a window */
    struct qm_op scrap;   /* where ops go after an error */
};

/* ---- tensors ---- */

static uint32_t add_tensor(struct builder *b, const char *name)
{
    struct program_tensor *t = &b->p->tensors[b->p->tensor_count];
    snprintf(t->name, sizeof t->name, "%s", name);
    return (uint32_t)b->p->tensor_count++;
}

static void tensor_name(int layer, const char *part, char name[GGUF_MAX_NAME_BYTES + 1])
{
    if (layer == NO_LAYER)
        snprintf(name, GGUF_MAX_NAME_BYTES + 1, "%s.weight", part);
    else
        snprintf(name, GGUF_MAX_NAME_BYTES + 1, "blk.%d.%s.weight", layer, part);
}

/* The file's tensor of that name and shape, marked as used. */
static qrt_status claim(struct builder *b, const char *name, int N, int width,
                        struct generic_matrix *out)
{
    const struct gguf *g = b->m->gguf;
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    if (!t)
        return error_set(QRT_E_FORMAT, "%s: tensor '%s' [%d, %d] is missing", g->path, name, N,
                         width);
    if (t->N != N || t->K != width)
        return error_set(QRT_E_FORMAT,
                         "%s: tensor '%s' is [%lld, %lld], but the metadata ask for [%d, %d]",
                         g->path, name, (long long)t->N, (long long)t->K, N, width);
    b->used[t - g->tensors] = 1;
    return gguf_matrix(g, t, out);
}

static qrt_status claim_vector(struct builder *b, const char *name, int width, float **out)
{
    struct generic_matrix matrix;
    struct generic_row row;
    TRY(claim(b, name, 1, width, &matrix));
    TRY(generic_alloc(&matrix.scheme, width, &row));
    float *values = malloc((size_t)width * sizeof *values);
    if (values) {
        matrix.row(&matrix, 0, &row);
        generic_dequant(&matrix.scheme, &row, width, values);
    }
    generic_free(&row);
    *out = values;
    return values ? QRT_OK : error_set(QRT_E_MEMORY, "no memory for '%s'", name);
}

static uint32_t matrix(struct builder *b, int layer, const char *part, int N, int width)
{
    char name[GGUF_MAX_NAME_BYTES + 1];
    struct generic_matrix m;
    if (b->status != QRT_OK) return QM_NONE;
    tensor_name(layer, part, name);
    b->status = claim(b, name, N, width, &m);
    if (b->status != QRT_OK) return QM_NONE;
    const uint32_t index = add_tensor(b, name);
    b->p->tensors[index].matrix = m;
    return index;
}

static uint32_t add_vector(struct builder *b, const char *name, float *values, int width)
{
    const uint32_t index = add_tensor(b, name);
    b->p->tensors[index].vector = values;
    b->p->tensors[index].matrix.N = 1;
    b->p->tensors[index].matrix.K = width;
    return index;
}

static uint32_t vector(struct builder *b, int layer, const char *part, int width)
{
    char name[GGUF_MAX_NAME_BYTES + 1];
    float *values;
    if (b->status != QRT_OK) return QM_NONE;
    tensor_name(layer, part, name);
    b->status = claim_vector(b, name, width, &values);
    return b->status == QRT_OK ? add_vector(b, name, values, width) : QM_NONE;
}

/* inv_freq[i] = base^(-2i / rotary) / factor, and over the file's own factors where it has some. */
static uint32_t frequencies(struct builder *b, const char *name, double base, double factor)
{
    const int pairs = b->m->rotary / 2;
    float *own = NULL;
    if (b->status != QRT_OK) return QM_NONE;
    if (gguf_find_tensor(b->m->gguf, "rope_freqs.weight"))
        b->status = claim_vector(b, "rope_freqs.weight", pairs, &own);
    float *values = b->status == QRT_OK ? malloc((size_t)pairs * sizeof *values) : NULL;
    if (b->status == QRT_OK && !values) b->status = error_set(QRT_E_MEMORY, "no memory for rope");
    for (int i = 0; values && i < pairs; i++) {
        const double frequency = pow(base, -2.0 * i / b->m->rotary) / factor;
        values[i] = (float)(own ? frequency / (double)own[i] : frequency);
    }
    free(own);
    return values ? add_vector(b, name, values, pairs) : QM_NONE;
}

/* ---- ops ---- */

static struct qm_op *add_op(struct builder *b, enum op op, int layer)
{
    struct qm_op *o = b->status == QRT_OK ? &b->p->ops[b->p->op_count++] : &b->scrap;
    *o = (struct qm_op){.op = (uint8_t)op,
                        .layer = layer,
                        .in = {QM_NONE, QM_NONE, QM_NONE},
                        .out = QM_NONE,
                        .tensor = QM_NONE};
    return o;
}

static void embed(struct builder *b, uint32_t table)
{
    struct qm_op *o = add_op(b, OP_EMBED, NO_LAYER);
    o->out = RESIDUAL;
    o->tensor = table;
    o->f0 = b->m->arch->scale_embedding ? sqrtf((float)b->m->hidden) : 1.0f;
}

static struct qm_op *norm(struct builder *b, int layer, enum buffer in, enum buffer out,
                          uint32_t weight, int heads, int head)
{
    struct qm_op *o = add_op(b, OP_RMSNORM, layer);
    o->in[0] = in;
    o->out = out;
    o->tensor = weight;
    o->heads = heads;
    o->head = head;
    o->f0 = (float)b->m->eps;
    return o;
}

static struct qm_op *linear(struct builder *b, int layer, enum buffer in, enum buffer out,
                            uint32_t weight)
{
    struct qm_op *o = add_op(b, OP_LINEAR, layer);
    o->in[0] = in;
    o->out = out;
    o->tensor = weight;
    return o;
}

static void rope(struct builder *b, int layer)
{
    struct qm_op *o = add_op(b, OP_ROPE, layer);
    o->kind = (uint8_t)b->m->arch->rope;
    o->in[0] = Q;
    o->in[1] = K;
    o->in[2] = V;
    o->tensor = b->inv_freq[model_is_local(b->m, layer)];
    o->heads = b->m->heads;
    o->kv_heads = b->m->kv_heads;
    o->head = b->m->head;
    o->rotary = b->m->rotary;
}

static void attention(struct builder *b, int layer)
{
    struct qm_op *o = add_op(b, OP_ATTENTION, layer);
    o->in[0] = Q;
    o->out = ATTENDED;
    o->heads = b->m->heads;
    o->kv_heads = b->m->kv_heads;
    o->head = b->m->head;
    o->window = model_is_local(b->m, layer) ? b->m->window : 0;
    o->f0 = (float)b->m->attention_scale;
}

static void glu(struct builder *b, int layer)
{
    struct qm_op *o = add_op(b, OP_GLU, layer);
    o->kind = (uint8_t)b->m->arch->glu;
    o->in[0] = GATE;
    o->in[1] = UP;
    o->out = GATED;
}

static void add_to_residual(struct builder *b, int layer, const char *post_norm)
{
    const int hidden = b->m->hidden;
    if (b->m->arch->post_norm)
        norm(b, layer, PROJECTED, PROJECTED, vector(b, layer, post_norm, hidden), 1, hidden);
    struct qm_op *o = add_op(b, OP_ADD, layer);
    o->in[0] = PROJECTED;
    o->out = RESIDUAL;
}

static void attention_half(struct builder *b, int layer)
{
    const struct model *m = b->m;
    const int q_width = m->heads * m->head, kv_width = m->kv_heads * m->head;
    norm(b, layer, RESIDUAL, NORMED, vector(b, layer, "attn_norm", m->hidden), 1, m->hidden);
    linear(b, layer, NORMED, Q, matrix(b, layer, "attn_q", q_width, m->hidden));
    linear(b, layer, NORMED, K, matrix(b, layer, "attn_k", kv_width, m->hidden));
    linear(b, layer, NORMED, V, matrix(b, layer, "attn_v", kv_width, m->hidden));
    if (m->arch->qk_norm) {
        norm(b, layer, Q, Q, vector(b, layer, "attn_q_norm", m->head), m->heads, m->head);
        norm(b, layer, K, K, vector(b, layer, "attn_k_norm", m->head), m->kv_heads, m->head);
    }
    rope(b, layer);
    attention(b, layer);
    linear(b, layer, ATTENDED, PROJECTED, matrix(b, layer, "attn_output", m->hidden, q_width));
    add_to_residual(b, layer, "post_attention_norm");
}

static void ffn_half(struct builder *b, int layer)
{
    const struct model *m = b->m;
    norm(b, layer, RESIDUAL, NORMED, vector(b, layer, "ffn_norm", m->hidden), 1, m->hidden);
    linear(b, layer, NORMED, GATE, matrix(b, layer, "ffn_gate", m->ffn, m->hidden));
    linear(b, layer, NORMED, UP, matrix(b, layer, "ffn_up", m->ffn, m->hidden));
    glu(b, layer);
    linear(b, layer, GATED, PROJECTED, matrix(b, layer, "ffn_down", m->hidden, m->ffn));
    add_to_residual(b, layer, "post_ffw_norm");
}

static void whole_model(struct builder *b)
{
    const struct model *m = b->m;
    const uint32_t table = matrix(b, NO_LAYER, "token_embd", m->vocab, m->hidden);
    b->inv_freq[0] = frequencies(b, "rope.inv_freq", m->rope_base, m->rope_factor);
    if (m->pattern) b->inv_freq[1] = frequencies(b, "rope.inv_freq.local", m->local_base, 1);
    embed(b, table);
    for (int layer = 0; layer < m->layers && b->status == QRT_OK; layer++) {
        attention_half(b, layer);
        ffn_half(b, layer);
    }
    norm(b, NO_LAYER, RESIDUAL, LAST, vector(b, NO_LAYER, "output_norm", m->hidden), 1, m->hidden)
        ->last = 1;
    linear(b, NO_LAYER, LAST, LOGITS,
           m->tied ? table : matrix(b, NO_LAYER, "output", m->vocab, m->hidden))
        ->last = 1;
}

/* ---- the whole ---- */

static void size_buffers(const struct model *m, struct qm_buffer *buffers)
{
    const uint32_t hidden = (uint32_t)m->hidden, ffn = (uint32_t)m->ffn;
    const uint32_t q_width = (uint32_t)(m->heads * m->head);
    const uint32_t kv_width = (uint32_t)(m->kv_heads * m->head);
    const struct qm_buffer table[BUFFER_COUNT] = {
        [RESIDUAL] = {QM_RESIDUAL, hidden},
        [NORMED] = {QM_ACT, hidden},
        [Q] = {QM_ACT, q_width},
        [K] = {QM_ACT, kv_width},
        [V] = {QM_ACT, kv_width},
        [ATTENDED] = {QM_ACT, q_width},
        [PROJECTED] = {QM_ACT, hidden},
        [GATE] = {QM_ACT, ffn},
        [UP] = {QM_ACT, ffn},
        [GATED] = {QM_ACT, ffn},
        [LAST] = {QM_ACT, hidden},
        [LOGITS] = {QM_LOGITS, (uint32_t)m->vocab},
    };
    memcpy(buffers, table, sizeof table);
}

static qrt_status allocate(const struct model *m, struct program *p)
{
    const size_t layers = (size_t)m->layers;
    p->buffers = calloc(BUFFER_COUNT, sizeof *p->buffers);
    p->ops = calloc(layers * LAYER_OPS + OUTER_OPS, sizeof *p->ops);
    p->tensors = calloc(layers * LAYER_TENSORS + OUTER_TENSORS, sizeof *p->tensors);
    if (!p->buffers || !p->ops || !p->tensors)
        return error_set(QRT_E_MEMORY, "no memory for a program of %d layers", m->layers);
    p->buffer_count = BUFFER_COUNT;
    size_buffers(m, p->buffers);
    return QRT_OK;
}

/* A tensor that the program does not read would silently change the model. */
static qrt_status refuse_unused(const struct model *m, const uint8_t *used)
{
    for (size_t i = 0; i < m->gguf->tensor_count; i++) {
        const char *name = m->gguf->tensors[i].name;
        const size_t length = strlen(name);
        if (used[i]) continue;
        const int bias = length > 5 && strcmp(name + length - 5, ".bias") == 0;
        return error_set(QRT_E_MODEL,
                         "%s: tensor '%s' has no place in qgen's program for architecture %s with "
                         "%d layers%s",
                         m->gguf->path, name, m->arch->name, m->layers,
                         bias ? ": biases are not supported" : "");
    }
    return QRT_OK;
}

qrt_status program_build(const struct model *m, struct program *out)
{
    struct program p = {0};
    struct builder b = {.m = m, .p = &p};
    b.used = calloc(m->gguf->tensor_count + 1, 1);
    b.status = b.used ? allocate(m, &p) : error_set(QRT_E_MEMORY, "no memory");
    if (b.status == QRT_OK) whole_model(&b);
    if (b.status == QRT_OK) b.status = refuse_unused(m, b.used);
    free(b.used);
    if (b.status == QRT_OK)
        *out = p;
    else
        program_free(&p);
    return b.status;
}

void program_free(struct program *p)
{
    for (size_t i = 0; p->tensors && i < p->tensor_count; i++) free(p->tensors[i].vector);
    free(p->tensors);
    free(p->buffers);
    free(p->ops);
    *p = (struct program){0};
}
