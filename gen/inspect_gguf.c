/* inspect_gguf.c -- what a GGUF file holds, and what qgen believes about the model in it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gguf.h"
#include "inspect.h"
#include "program.h"

enum { FIRST_ELEMENTS = 8 };

/* ---- metadata ---- */

static json_t *scalar(const struct gguf_kv *kv, uint64_t i)
{
    switch (kv->element) {
    case GGUF_BOOL: return json_boolean(gguf_int_at(kv, i));
    case GGUF_F32:
    case GGUF_F64: return json_real(gguf_real_at(kv, i));
    default: return json_integer(gguf_int_at(kv, i));
    }
}

static json_t *first_elements(const struct gguf_kv *kv)
{
    json_t *list = json_array();
    struct gguf_strings strings = gguf_strings(kv);
    struct gguf_text text;
    for (uint64_t i = 0; i < kv->count && i < FIRST_ELEMENTS; i++)
        if (kv->element == GGUF_STRING && gguf_strings_next(&strings, &text))
            json_array_append_new(list, inspect_text(text.data, text.bytes));
        else
            json_array_append_new(list, scalar(kv, i));
    return list;
}

static json_t *value_of(const struct gguf_kv *kv)
{
    struct gguf_strings strings = gguf_strings(kv);
    struct gguf_text text;
    if (kv->type == GGUF_ARRAY)
        return json_pack("{ss sI so}", "array", gguf_value_name((enum gguf_value)kv->element),
                         "count", (json_int_t)kv->count, "first", first_elements(kv));
    if (kv->type == GGUF_STRING && gguf_strings_next(&strings, &text))
        return inspect_text(text.data, text.bytes);
    return scalar(kv, 0); /* not a finite number: NULL, which json_object_set_new() ignores */
}

static json_t *metadata_of(const struct gguf *g)
{
    json_t *object = json_object();
    for (size_t i = 0; i < g->kv_count; i++)
        json_object_set_new(object, g->kvs[i].key, value_of(&g->kvs[i]));
    return object;
}

/* ---- tensors ---- */

static json_t *shape_of(const struct gguf_tensor *t)
{
    json_t *shape = json_array();
    for (int d = t->n_dims; d-- > 0;) json_array_append_new(shape, json_integer(t->dims[d]));
    return shape;
}

static json_t *tensors_of(const struct gguf *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->tensor_count; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        json_array_append_new(list, json_pack("{ss so ss ss sI}", "name", t->name, "shape",
                                              shape_of(t), "type", t->type->name, "scheme",
                                              t->type->scheme ? t->type->scheme : "-", "bytes",
                                              (json_int_t)t->bytes));
    }
    return list;
}

/* Tensors and bytes of each type, in order of first use. */
static json_t *types_of(const struct gguf *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->tensor_count; i++) {
        const struct gguf_type *type = g->tensors[i].type;
        uint64_t count = 0, bytes = 0, weights = 0;
        int seen = 0;
        for (size_t j = 0; j < i && !seen; j++) seen = g->tensors[j].type == type;
        for (size_t j = i; j < g->tensor_count && !seen; j++) {
            if (g->tensors[j].type != type) continue;
            count++;
            bytes += g->tensors[j].bytes;
            weights += (uint64_t)g->tensors[j].N * (uint64_t)g->tensors[j].K;
        }
        if (!seen)
            json_array_append_new(list, json_pack("{ss ss sI sI sI}", "type", type->name, "scheme",
                                                  type->scheme ? type->scheme : "-", "tensors",
                                                  (json_int_t)count, "weights", (json_int_t)weights,
                                                  "bytes", (json_int_t)bytes));
    }
    return list;
}

/* ---- the model ---- */

static void add_sentence(void *user, const char *sentence)
{
    json_array_append_new(user, json_string(sentence));
}

static json_t *model_of(const struct model *m)
{
    return json_pack("{ss ss si si si si si si si si si sf sf sb}", "name", m->name, "architecture",
                     m->arch->name, "layers", m->layers, "hidden", m->hidden, "ffn", m->ffn,
                     "heads", m->heads, "kv_heads", m->kv_heads, "head", m->head, "rotary",
                     m->rotary, "vocab", m->vocab, "context", m->context, "rope_base", m->rope_base,
                     "rms_epsilon", m->eps, "tied", m->tied);
}

/* A model that cannot run can still be looked at: why not is one of the beliefs. */
static void describe_model(const struct gguf *g, json_t *result)
{
    struct model m;
    struct program p = {0};
    json_t *believes = json_array();
    qrt_status status = model_from_gguf(g, &m);
    if (status == QRT_OK) {
        json_object_set_new(result, "model", model_of(&m));
        model_explain(&m, add_sentence, believes);
        status = program_build(&m, &p);
    }
    json_object_set_new(result, "runs", json_boolean(status == QRT_OK));
    if (status != QRT_OK) {
        char sentence[600];
        snprintf(sentence, sizeof sentence, "qgen cannot run it: %s", qrt_message());
        json_array_append_new(believes, inspect_text(sentence, strlen(sentence)));
    }
    json_object_set_new(result, "believes", believes);
    program_free(&p);
}

qrt_status inspect_gguf(const char *path, json_t *result)
{
    struct gguf *g;
    TRY(gguf_open(path, &g));
    json_object_set_new(result, "version", json_integer(g->version));
    json_object_set_new(result, "bytes", json_integer((json_int_t)g->size));
    describe_model(g, result);
    json_object_set_new(result, "metadata", metadata_of(g));
    json_object_set_new(result, "types", types_of(g));
    json_object_set_new(result, "tensors", tensors_of(g));
    gguf_close(g);
    return QRT_OK;
}
