/* qm_check.c -- whether the tables of a packed model fit together
 *
 * The program is straight-line: embed, the layers in order, then the `last` ops that end in the
 * logits.  One pass over it follows which buffers have been written and what each layer's cache
 * holds; an op may read only what was written before.
 */
#include <math.h>
#include <string.h>

#include "error.h"
#include "qm_file.h"

/* ---- buffers ---- */

static qrt_status check_buffers(const struct qrt_model *m)
{
    if (m->buffer_count < 2 || m->buffer_count > QM_MAX_BUFFERS)
        return error_set(QRT_E_FORMAT, "%zu buffers: 2 to %d", m->buffer_count, QM_MAX_BUFFERS);
    for (size_t i = 0; i < m->buffer_count; i++) {
        const struct qm_buffer *b = &m->buffers[i];
        if (b->type >= QM_BUFFER_TYPE_COUNT || b->width < 1 || b->width > QM_MAX_WIDTH)
            return error_set(QRT_E_FORMAT, "buffer %zu: type %u, width %u", i, b->type, b->width);
        if ((b->type == QM_RESIDUAL && b->width != m->header->hidden) ||
            (b->type == QM_LOGITS && b->width != m->header->vocab))
            return error_set(QRT_E_FORMAT, "buffer %zu: width %u with hidden %u and vocab %u", i,
                             b->width, m->header->hidden, m->header->vocab);
    }
    if (m->buffers[0].type != QM_RESIDUAL)
        return error_set(QRT_E_FORMAT, "buffer 0 is not the residual stream");
    return QRT_OK;
}

/* ---- tensors ---- */

/* A section of the data part: behind the metadata, inside the file, aligned, of this size. */
static int is_section(const struct qrt_model *m, const struct qm_range *r, uint64_t bytes)
{
    const struct qm_range *metadata = &m->header->metadata;
    return r->bytes == bytes && r->offset % QM_ALIGN == 0 &&
           r->offset >= metadata->offset + metadata->bytes && r->offset <= m->bytes &&
           r->bytes <= m->bytes - r->offset;
}

static qrt_status check_vector(const struct qrt_model *m, size_t i)
{
    const struct qm_tensor *t = &m->tensors[i];
    if (t->K < 1 || t->K > QM_MAX_WIDTH)
        return error_set(QRT_E_FORMAT, "tensor %zu: a vector of %lld", i, (long long)t->K);
    if (!is_section(m, &t->vector, (uint64_t)t->K * sizeof(float)))
        return error_set(QRT_E_FORMAT, "tensor %zu: a vector of %lld at %llu with %llu bytes", i,
                         (long long)t->K, (unsigned long long)t->vector.offset,
                         (unsigned long long)t->vector.bytes);
    return QRT_OK;
}

static int is_packed(const struct qm_tensor *t, int family)
{
    static const struct qm_range none[SECTION_COUNT];
    return memcmp(t->section[family], none, sizeof none) != 0;
}

static qrt_status check_family(const struct qrt_model *m, size_t i, int family)
{
    const struct qm_tensor *t = &m->tensors[i];
    size_t bytes[SECTION_COUNT];
    TRY(layout_bytes((enum layout_family)family, &t->scheme, t->N, t->K, bytes));
    for (int s = 0; s < SECTION_COUNT; s++) {
        const struct qm_range *r = &t->section[family][s];
        if (bytes[s] == 0 ? r->bytes != 0 : !is_section(m, r, bytes[s]))
            return error_set(QRT_E_FORMAT,
                             "tensor %zu: section %d of family %d at %llu with %llu bytes, "
                             "expected %zu inside the data",
                             i, s, family, (unsigned long long)r->offset,
                             (unsigned long long)r->bytes, bytes[s]);
    }
    return QRT_OK;
}

static qrt_status check_matrix(const struct qrt_model *m, size_t i)
{
    const struct qm_tensor *t = &m->tensors[i];
    int packed = 0;
    if (t->N > QM_MAX_WIDTH || t->K > QM_MAX_WIDTH)
        return error_set(QRT_E_FORMAT, "tensor %zu: %lld x %lld, sides are up to %d", i,
                         (long long)t->N, (long long)t->K, QM_MAX_WIDTH);
    for (int family = 0; family < FAMILY_COUNT; family++) {
        if (!is_packed(t, family)) continue;
        if (check_family(m, i, family) != QRT_OK)
            return error_context(QRT_E_FORMAT, "tensor %zu", i);
        packed++;
    }
    if (!packed) return error_set(QRT_E_FORMAT, "tensor %zu is packed for no layout family", i);
    return QRT_OK;
}

static qrt_status check_tensors(const struct qrt_model *m)
{
    for (size_t i = 0; i < m->tensor_count; i++) {
        const struct qm_tensor *t = &m->tensors[i];
        if (t->name >= m->string_bytes ||
            !memchr(m->strings + t->name, 0, m->string_bytes - t->name))
            return error_set(QRT_E_FORMAT, "tensor %zu: its name at %u of %zu string bytes", i,
                             t->name, m->string_bytes);
        if (t->is_vector > 1)
            return error_set(QRT_E_FORMAT, "tensor %zu: is_vector %u", i, t->is_vector);
        TRY(t->is_vector ? check_vector(m, i) : check_matrix(m, i));
    }
    return QRT_OK;
}

/* ---- the program ---- */

enum written { UNWRITTEN, WRITTEN_FOR_ALL, WRITTEN_FOR_LAST };

struct program {
    const struct qrt_model *m;
    size_t at; /* the op being checked */
    const struct qm_op *op;
    int layer;          /* of the op before */
    int kv_heads, head; /* of this layer's cache; 0: no rope yet */
    uint8_t written[QM_MAX_BUFFERS];
};

static qrt_status refuse(const struct program *p, const char *what, long long got,
                         long long expected)
{
    return error_set(QRT_E_FORMAT, "op %zu (%s, layer %d): %s %lld, expected %lld", p->at,
                     op_name((enum op)p->op->op), p->op->layer, what, got, expected);
}

/* `in[i]` was written before, has one of the types (a bit each) and `width` columns. */
static qrt_status check_in(const struct program *p, int i, unsigned types, int64_t width)
{
    static const char *const names[] = {"in[0] is buffer", "in[1] is buffer", "in[2] is buffer"};
    const uint32_t b = p->op->in[i];
    if (b >= p->m->buffer_count) return refuse(p, names[i], b, (long long)p->m->buffer_count - 1);
    if (p->written[b] == UNWRITTEN) return refuse(p, "reads the unwritten buffer", b, 0);
    if (!(types >> p->m->buffers[b].type & 1)) return refuse(p, "reads the wrong type", b, types);
    if (p->m->buffers[b].width != width)
        return refuse(p, "in width", p->m->buffers[b].width, width);
    if (p->written[b] == WRITTEN_FOR_LAST && !p->op->last)
        return refuse(p, "reads a buffer of last rows", b, 0);
    return QRT_OK;
}

static qrt_status check_out(struct program *p, unsigned types, int64_t width)
{
    const uint32_t b = p->op->out;
    const int rows = p->op->last ? WRITTEN_FOR_LAST : WRITTEN_FOR_ALL;
    if (b >= p->m->buffer_count)
        return refuse(p, "out is buffer", b, (long long)p->m->buffer_count - 1);
    if (!(types >> p->m->buffers[b].type & 1)) return refuse(p, "writes the wrong type", b, types);
    if (p->m->buffers[b].width != width)
        return refuse(p, "out width", p->m->buffers[b].width, width);
    if (p->written[b] != UNWRITTEN && p->written[b] != rows)
        return refuse(p, "mixes all rows and last rows in buffer", b, 0);
    p->written[b] = (uint8_t)rows;
    return QRT_OK;
}

static qrt_status check_unused_in(const struct program *p, int from)
{
    for (int i = from; i < 3; i++)
        if (p->op->in[i] != QM_NONE) return refuse(p, "unused in", p->op->in[i], QM_NONE);
    return QRT_OK;
}

/* The op's tensor; *out is untouched on failure. */
static qrt_status check_tensor(const struct program *p, int is_vector, const struct qm_tensor **out)
{
    if (p->op->tensor >= p->m->tensor_count)
        return refuse(p, "tensor", p->op->tensor, (long long)p->m->tensor_count - 1);
    const struct qm_tensor *t = &p->m->tensors[p->op->tensor];
    if ((int)t->is_vector != is_vector) return refuse(p, "is_vector", t->is_vector, is_vector);
    *out = t;
    return QRT_OK;
}

static qrt_status check_number(const struct program *p, const char *what, long long value,
                               long long least, long long most)
{
    return value < least || value > most ? refuse(p, what, value, value < least ? least : most)
                                         : QRT_OK;
}

enum { RESIDUAL = 1 << QM_RESIDUAL, ACT = 1 << QM_ACT, LOGITS = 1 << QM_LOGITS };
enum { MAX_HEADS = 4096, MAX_HEAD = 1024 };

static qrt_status check_embed(struct program *p)
{
    const struct qm_tensor *t;
    const struct qm_header *h = p->m->header;
    if (p->at != 0) return refuse(p, "embed at", (long long)p->at, 0);
    TRY(check_unused_in(p, 0));
    TRY(check_tensor(p, 0, &t));
    if (t->N != h->vocab) return refuse(p, "table rows", t->N, h->vocab);
    if (t->K != h->hidden) return refuse(p, "table width", t->K, h->hidden);
    if (p->op->out != 0) return refuse(p, "out is buffer", p->op->out, 0);
    return check_out(p, RESIDUAL, h->hidden);
}

static qrt_status check_rmsnorm(struct program *p)
{
    const struct qm_op *op = p->op;
    const struct qm_tensor *t;
    TRY(check_number(p, "heads", op->heads, 1, MAX_HEADS));
    TRY(check_number(p, "row length", op->head, 1, QM_MAX_WIDTH));
    TRY(check_tensor(p, 1, &t));
    if (t->K != op->head) return refuse(p, "weight vector", t->K, op->head);
    if (!(op->f0 >= 0)) return refuse(p, "eps below", 0, 0);
    TRY(check_in(p, 0, RESIDUAL | ACT, (int64_t)op->heads * op->head));
    TRY(check_unused_in(p, 1));
    return check_out(p, ACT, (int64_t)op->heads * op->head);
}

static qrt_status check_linear(struct program *p)
{
    const struct qm_tensor *t;
    TRY(check_tensor(p, 0, &t));
    TRY(check_in(p, 0, ACT, t->K));
    TRY(check_unused_in(p, 1));
    if (p->op->in[0] == p->op->out) return refuse(p, "out is in", p->op->out, -1);
    return check_out(p, p->op->last ? ACT | LOGITS : ACT, t->N);
}

static qrt_status check_heads(const struct program *p)
{
    const struct qm_op *op = p->op;
    if (op->last) return refuse(p, "last", op->last, 0);
    TRY(check_number(p, "heads", op->heads, 1, MAX_HEADS));
    TRY(check_number(p, "kv heads", op->kv_heads, 1, op->heads));
    if (op->heads % op->kv_heads != 0)
        return refuse(p, "heads over kv heads", op->heads % op->kv_heads, 0);
    return check_number(p, "head size", op->head, 1, MAX_HEAD);
}

static qrt_status check_rope(struct program *p)
{
    const struct qm_op *op = p->op;
    const struct qm_tensor *t;
    TRY(check_heads(p));
    TRY(check_number(p, "kind", op->kind, ROPE_PAIRS, ROPE_HALVES));
    TRY(check_number(p, "rotary", op->rotary, 2, op->head));
    if (op->rotary % 2 != 0) return refuse(p, "odd rotary", op->rotary, op->rotary - 1);
    TRY(check_tensor(p, 1, &t));
    if (t->K != op->rotary / 2) return refuse(p, "inv_freq", t->K, op->rotary / 2);
    TRY(check_in(p, 0, ACT, (int64_t)op->heads * op->head));
    TRY(check_in(p, 1, ACT, (int64_t)op->kv_heads * op->head));
    TRY(check_in(p, 2, ACT, (int64_t)op->kv_heads * op->head));
    if (op->out != QM_NONE) return refuse(p, "out is buffer", op->out, QM_NONE);
    if (p->head) return refuse(p, "second rope of layer", op->layer, -1);
    p->kv_heads = op->kv_heads;
    p->head = op->head;
    return QRT_OK;
}

static qrt_status check_attention(struct program *p)
{
    const struct qm_op *op = p->op;
    TRY(check_heads(p));
    TRY(check_number(p, "window", op->window, 0, QM_MAX_WIDTH));
    if (op->head != p->head) return refuse(p, "head size of the cache", p->head, op->head);
    if (op->kv_heads != p->kv_heads)
        return refuse(p, "kv heads of the cache", p->kv_heads, op->kv_heads);
    TRY(check_in(p, 0, ACT, (int64_t)op->heads * op->head));
    TRY(check_unused_in(p, 1));
    if (op->in[0] == op->out) return refuse(p, "out is in", op->out, -1);
    return check_out(p, ACT, (int64_t)op->heads * op->head);
}

/* The width of in[0], which in[1] or out share; the op reads it. */
static qrt_status width_of_in(const struct program *p, int64_t *width)
{
    const uint32_t b = p->op->in[0];
    if (b >= p->m->buffer_count)
        return refuse(p, "in[0] is buffer", b, (long long)p->m->buffer_count - 1);
    *width = p->m->buffers[b].width;
    return check_in(p, 0, ACT, *width);
}

static qrt_status check_glu(struct program *p)
{
    int64_t width;
    TRY(check_number(p, "kind", p->op->kind, GLU_SILU, GLU_GELU_TANH));
    TRY(width_of_in(p, &width));
    TRY(check_in(p, 1, ACT, width));
    TRY(check_unused_in(p, 2));
    return check_out(p, ACT, width);
}

static qrt_status check_add(struct program *p)
{
    int64_t width;
    TRY(width_of_in(p, &width));
    TRY(check_unused_in(p, 1));
    if (p->op->out < p->m->buffer_count && p->written[p->op->out] == UNWRITTEN)
        return refuse(p, "adds to the unwritten buffer", p->op->out, 0);
    return check_out(p, RESIDUAL, width);
}

/* Layers come in order; embed before them, `last` ops after. */
static qrt_status check_layer(struct program *p)
{
    const struct qm_op *op = p->op;
    const int layers = (int)p->m->header->layers;
    if (op->last) {
        if (p->layer != layers - 1) return refuse(p, "last op after layer", p->layer, layers - 1);
        if (op->layer != -1) return refuse(p, "layer of a last op", op->layer, -1);
        return QRT_OK;
    }
    if (p->at > 0 && p->m->ops[p->at - 1].last) return refuse(p, "last", 0, 1);
    if (op->op == OP_EMBED) return op->layer == -1 ? QRT_OK : refuse(p, "layer", op->layer, -1);
    if (op->layer < 0 || op->layer >= layers || op->layer < p->layer || op->layer > p->layer + 1)
        return refuse(p, "layer", op->layer, p->layer);
    if (op->layer != p->layer) p->kv_heads = p->head = 0;
    p->layer = op->layer;
    return QRT_OK;
}

static qrt_status check_op(struct program *p)
{
    static qrt_status (*const check[OP_COUNT])(struct program *) = {
        [OP_EMBED] = check_embed, [OP_RMSNORM] = check_rmsnorm,     [OP_LINEAR] = check_linear,
        [OP_ROPE] = check_rope,   [OP_ATTENTION] = check_attention, [OP_GLU] = check_glu,
        [OP_ADD] = check_add,
    };
    const struct qm_op *op = p->op;
    if (op->op >= OP_COUNT || !check[op->op])
        return error_set(QRT_E_FORMAT, "op %zu: code %u is no op of a program", p->at, op->op);
    if (op->last > 1 || op->pad != 0) return refuse(p, "last or pad", op->last, 0);
    if (!isfinite(op->f0) || !isfinite(op->f1)) return refuse(p, "not a number: f0 or f1", 0, 0);
    TRY(check_layer(p));
    return check[op->op](p);
}

static qrt_status check_program(const struct qrt_model *m)
{
    struct program p = {.m = m, .layer = -1};
    if (m->op_count < 2 || m->ops[0].op != OP_EMBED)
        return error_set(QRT_E_FORMAT, "the program has %zu ops and starts with op %u, not embed",
                         m->op_count, m->op_count ? m->ops[0].op : 0);
    for (p.at = 0; p.at < m->op_count; p.at++) {
        p.op = &m->ops[p.at];
        TRY(check_op(&p));
    }
    const struct qm_op *end = &m->ops[m->op_count - 1];
    if (!end->last || end->op != OP_LINEAR || m->buffers[end->out].type != QM_LOGITS)
        return error_set(QRT_E_FORMAT, "the program does not end in logits");
    return QRT_OK;
}

qrt_status qm_check(const struct qrt_model *m)
{
    TRY(check_buffers(m));
    TRY(check_tensors(m));
    return check_program(m);
}
