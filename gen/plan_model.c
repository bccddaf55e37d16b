/* plan_model.c -- the sizes of a model that a plan is made from */
#include "plan_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "embed.h"
#include "error.h"
#include "filekind.h"
#include "model.h"
#include "qm_file.h"

/* ---- the table ---- */

enum { OPTIONAL = 0, REQUIRED = 1 };
#define TEXT(name, field) BLOCK_TEXT_KEY(name, REQUIRED, struct plan_model, field)
#define COUNT(name, field) \
    BLOCK_NUMBER_KEY(name, BLOCK_COUNT, REQUIRED, struct plan_model, field, 0)
#define SIZE(name, field) BLOCK_NUMBER_KEY(name, BLOCK_SIZE, OPTIONAL, struct plan_model, field, 0)

static const struct block_key keys[] = {
    TEXT("model", name), /* opens a block */
    TEXT("title", title),
    COUNT("layers", layers),
    COUNT("hidden", hidden),
    COUNT("ffn", ffn),
    COUNT("heads", heads),
    COUNT("kv_heads", kv_heads),
    COUNT("head", head),
    COUNT("vocab", vocab),
    COUNT("context", context),
    SIZE("tied", tied),
    SIZE("window", window),
    SIZE("pattern", pattern),
    TEXT("rope", rope),
    TEXT("glu", glu),
    BLOCK_NUMBER_KEY("parameters_g", BLOCK_REAL, REQUIRED, struct plan_model, parameters, 1e9),
    TEXT("source", source),
};

static qrt_status check(const void *item)
{
    const struct plan_model *m = item;
    if (m->heads % m->kv_heads == 0) return QRT_OK;
    return error_set(QRT_E_FORMAT, "%d heads over %d heads of keys", m->heads, m->kv_heads);
}

qrt_status plan_models(struct plan_model *out, size_t *count)
{
    static const struct block_format format = {.keys = keys,
                                               .key_count = sizeof keys / sizeof *keys,
                                               .item_bytes = sizeof(struct plan_model),
                                               .most_items = PLAN_MODELS_MOST,
                                               .check = check};
    const struct embedded_file *f = embed_find("gen/plan_models.txt");
    return blocks_parse(&format, f->text, f->bytes, f->name, out, count);
}

/* ---- sizes ---- */

double plan_model_linears(const struct plan_model *m)
{
    const double q = (double)m->heads * m->head, kv = (double)m->kv_heads * m->head;
    const double layer = m->hidden * (2 * q + 2 * kv) + 3.0 * m->hidden * m->ffn;
    return m->layers * layer;
}

double plan_model_head(const struct plan_model *m) { return (double)m->hidden * m->vocab; }

double plan_model_all(const struct plan_model *m)
{
    return plan_model_linears(m) + plan_model_head(m) * (m->tied ? 1 : 2);
}

double plan_model_kv(const struct plan_model *m, double context)
{
    const double token = 2.0 * m->kv_heads * m->head * 2;
    const int global = m->pattern > 0 ? m->layers / m->pattern : m->layers;
    const double seen = m->window > 0 && context > m->window ? m->window : context;
    return token * (global * context + (m->layers - global) * seen);
}

/* ---- a GGUF file ---- */

static void add_stored(struct plan_model *m, const char *name, double bytes)
{
    if (strcmp(name, "token_embd.weight") == 0)
        m->stored_embedding += bytes;
    else if (strcmp(name, "output.weight") == 0)
        m->stored_head += bytes;
    else
        m->stored_linears += bytes;
}

static void from_gguf_model(const struct model *g, struct plan_model *m)
{
    snprintf(m->name, sizeof m->name, "%.63s", g->name);
    m->layers = g->layers;
    m->hidden = g->hidden;
    m->ffn = g->ffn;
    m->heads = g->heads;
    m->kv_heads = g->kv_heads;
    m->head = g->head;
    m->vocab = g->vocab;
    m->context = g->context;
    m->tied = g->tied;
    m->window = g->pattern ? g->window : 0;
    m->pattern = g->window ? g->pattern : 0;
    strcpy(m->rope, g->arch->rope == ROPE_PAIRS ? "pairs" : "halves");
    strcpy(m->glu, g->arch->glu == GLU_SILU ? "silu" : "gelu");
    for (size_t i = 0; i < g->gguf->tensor_count; i++)
        if (g->gguf->tensors[i].N > 1)
            add_stored(m, g->gguf->tensors[i].name, (double)g->gguf->tensors[i].bytes);
    if (m->tied) m->stored_head = m->stored_embedding;
}

static qrt_status load_gguf(const char *path, struct plan_model *m)
{
    struct gguf *g;
    struct model model;
    TRY(gguf_open(path, &g));
    const qrt_status status = model_from_gguf(g, &model);
    if (status == QRT_OK) from_gguf_model(&model, m);
    gguf_close(g);
    return status;
}

/* ---- a packed model ---- */

static double tensor_bytes(const struct qm_tensor *t)
{
    double most = 0;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        double bytes = 0;
        for (int s = 0; s < SECTION_COUNT; s++) bytes += (double)t->section[f][s].bytes;
        if (bytes > most) most = bytes;
    }
    return most;
}

/* What an op says of the model's sizes. */
static void from_op(const struct qrt_model *q, const struct qm_op *op, struct plan_model *m)
{
    const struct qm_tensor *t = op->tensor == QM_NONE ? NULL : &q->tensors[op->tensor];
    switch (op->op) {
    case OP_EMBED: m->stored_embedding = tensor_bytes(t); break;
    case OP_LINEAR: *(op->last ? &m->stored_head : &m->stored_linears) += tensor_bytes(t); break;
    case OP_GLU:
        m->ffn = (int)q->buffers[op->out].width;
        strcpy(m->glu, op->kind == GLU_SILU ? "silu" : "gelu");
        break;
    case OP_ROPE: strcpy(m->rope, op->kind == ROPE_PAIRS ? "pairs" : "halves"); break;
    case OP_ATTENTION:
        m->heads = op->heads;
        m->kv_heads = op->kv_heads;
        m->head = op->head;
        if (op->window > 0) m->window = op->window;
        break;
    default: break;
    }
}

/* Every how-manieth layer sees all positions; 0: all do. */
static int pattern_of(const struct qrt_model *q)
{
    int global = 0;
    for (size_t i = 0; i < q->op_count; i++)
        global += q->ops[i].op == OP_ATTENTION && q->ops[i].window == 0;
    return global > 0 && global < (int)q->header->layers ? (int)q->header->layers / global : 0;
}

static void from_packed(const struct qrt_model *q, struct plan_model *m)
{
    uint32_t table = QM_NONE;
    snprintf(m->name, sizeof m->name, "%.63s", q->header->name);
    m->layers = (int)q->header->layers;
    m->hidden = (int)q->header->hidden;
    m->vocab = (int)q->header->vocab;
    m->context = (int)q->header->context;
    for (size_t i = 0; i < q->op_count; i++) {
        from_op(q, &q->ops[i], m);
        if (q->ops[i].op == OP_EMBED) table = q->ops[i].tensor;
        if (q->ops[i].op == OP_LINEAR && q->ops[i].last) m->tied = q->ops[i].tensor == table;
    }
    m->pattern = pattern_of(q);
}

static qrt_status load_packed(const char *path, struct plan_model *m)
{
    qrt *rt;
    qrt_model *q;
    TRY(qrt_open(NULL, &rt));
    const qrt_status status = qrt_model_open(rt, path, &q);
    if (status == QRT_OK) {
        from_packed(q, m);
        qrt_model_close(q);
    }
    qrt_close(rt);
    return status;
}

/* ---- either ---- */

static qrt_status load_file(const char *path, struct plan_model *m)
{
    enum filekind kind;
    const char *base = strrchr(path, '/');
    TRY(filekind_of(path, &kind));
    if (kind == FILE_ENTRY) return error_set(QRT_E_FORMAT, "%s is a kernel, not a model", path);
    TRY((kind == FILE_GGUF ? load_gguf : load_packed)(path, m));
    snprintf(m->title, sizeof m->title, "%.120s", base ? base + 1 : path);
    snprintf(m->source, sizeof m->source, "the file %.120s", base ? base + 1 : path);
    return QRT_OK;
}

static int is_path(const char *name) { return strchr(name, '/') || access(name, F_OK) == 0; }

qrt_status plan_model_load(const char *name, struct plan_model *out)
{
    struct plan_model all[PLAN_MODELS_MOST];
    char names[400] = "";
    size_t count, used = 0;
    memset(out, 0, sizeof *out);
    TRY(plan_models(all, &count));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0) *out = all[i];
        if (used < sizeof names - PLAN_NAME_BYTES)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                     all[i].name);
    }
    if (out->layers > 0) return QRT_OK;
    if (is_path(name)) return load_file(name, out);
    return error_set(QRT_E_ARGUMENT, "model '%s' is no file and not one of %s", name, names);
}
