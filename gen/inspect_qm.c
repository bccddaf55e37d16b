/* inspect_qm.c -- what a packed model holds */
#include <string.h>

#include "error.h"
#include "inspect.h"
#include "qm_file.h"

static const char *const family_names[FAMILY_COUNT] = {"x86", "mma"};

static uint64_t family_bytes(const struct qm_tensor *t, int family)
{
    uint64_t bytes = 0;
    for (int s = 0; s < SECTION_COUNT; s++) bytes += t->section[family][s].bytes;
    return bytes;
}

static json_t *tensor_of(const qrt_model *m, const struct qm_tensor *t)
{
    char scheme[SCHEME_NAME_BYTES] = "f32", packed[32] = "";
    uint64_t bytes = t->vector.bytes;
    if (!t->is_vector) scheme_name(&t->scheme, scheme);
    for (int f = 0; f < FAMILY_COUNT && !t->is_vector; f++) {
        if (!family_bytes(t, f)) continue;
        strcat(strcat(packed, *packed ? "," : ""), family_names[f]);
        bytes += family_bytes(t, f);
    }
    json_t *shape = json_array();
    if (!t->is_vector) json_array_append_new(shape, json_integer(t->N));
    json_array_append_new(shape, json_integer(t->K));
    const char *name = m->strings + t->name;
    return json_pack("{so so ss ss sI}", "name", inspect_text(name, strlen(name)), "shape", shape,
                     "scheme", scheme, "packed", t->is_vector ? "vector" : packed, "bytes",
                     (json_int_t)bytes);
}

static json_t *model_of(const qrt_model *m)
{
    const struct qm_header *h = m->header;
    return json_pack("{s:o si si si si si si si sI sI sI}", "name",
                     inspect_text(h->name, strnlen(h->name, sizeof h->name)), "layers",
                     (int)h->layers, "hidden", (int)h->hidden, "vocab", (int)h->vocab, "context",
                     (int)h->context, "bos", h->bos, "eos", h->eos, "add_bos", h->add_bos, "ops",
                     (json_int_t)m->op_count, "buffers", (json_int_t)m->buffer_count,
                     "tokenizer_bytes", (json_int_t)h->tokenizer.bytes);
}

static json_t *believes_of(const qrt_model *m)
{
    json_t *list = json_array();
    int packed[FAMILY_COUNT] = {0};
    for (size_t i = 0; i < m->tensor_count; i++)
        for (int f = 0; f < FAMILY_COUNT; f++) packed[f] |= family_bytes(&m->tensors[i], f) != 0;
    json_array_append_new(list, json_string("the metadata are intact: their hash is right; weights "
                                            "are not hashed"));
    json_array_append_new(
        list, json_string(packed[FAMILY_X86]
                              ? "packed for x86: every CPU level runs it"
                              : "not packed for x86: no CPU runs it; pack with --arch native too"));
    json_array_append_new(
        list, json_string(packed[FAMILY_MMA]
                              ? "packed for mma: GPUs from sm_75 on run it"
                              : "not packed for mma: no GPU runs it; pack with --arch sm_89 too"));
    if (!m->has_tokenizer)
        json_array_append_new(list, json_string("there is no tokenizer: it takes and gives token "
                                                "ids only"));
    return list;
}

static void describe(const qrt_model *m, json_t *result)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < m->tensor_count; i++)
        json_array_append_new(tensors, tensor_of(m, &m->tensors[i]));
    json_object_set_new(result, "version", json_integer(m->header->version));
    json_object_set_new(result, "bytes", json_integer((json_int_t)m->bytes));
    json_object_set_new(result, "model", model_of(m));
    json_object_set_new(result, "believes", believes_of(m));
    json_object_set_new(result, "tensors", tensors);
}

qrt_status inspect_qm(const char *path, json_t *result)
{
    qrt *rt;
    qrt_model *m;
    TRY(qrt_open(NULL, &rt));
    const qrt_status status = qrt_model_open(rt, path, &m);
    if (status == QRT_OK) {
        describe(m, result);
        qrt_model_close(m);
    }
    qrt_close(rt);
    return status;
}
