/* qm_tables.c -- everything of a packed model but its weights: header, tables, and where data go */
#include "qm_tables.h"

#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "checked.h"
#include "error.h"

enum { TABLE_ALIGN = 8 };

/* Sizes are those of an accepted model: the metadata cannot overflow, data can. */
static struct qm_range append(uint64_t *end, size_t bytes)
{
    const struct qm_range r = {(*end + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN, bytes};
    *end = r.offset + bytes;
    return r;
}

static size_t string_bytes(const struct program *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->tensor_count; i++) bytes += strlen(p->tensors[i].name) + 1;
    return bytes;
}

static void place_tables(struct qm_header *h, const struct program *p, size_t tokenizer_bytes)
{
    uint64_t end = sizeof *h;
    h->buffers = append(&end, p->buffer_count * sizeof *p->buffers);
    h->ops = append(&end, p->op_count * sizeof *p->ops);
    h->tensors = append(&end, p->tensor_count * sizeof(struct qm_tensor));
    h->strings = append(&end, string_bytes(p));
    h->tokenizer = append(&end, tokenizer_bytes);
    h->metadata.offset = sizeof *h;
    h->metadata.bytes = end - sizeof *h;
}

static void describe(struct qm_header *h, const struct model *m)
{
    memcpy(h->magic, QM_MAGIC, sizeof h->magic);
    h->version = QM_VERSION;
    h->header_bytes = sizeof *h;
    memcpy(h->name, m->name, sizeof h->name);
    h->layers = (uint32_t)m->layers;
    h->hidden = (uint32_t)m->hidden;
    h->vocab = (uint32_t)m->vocab;
    h->context = (uint32_t)m->context;
    h->bos = m->bos;
    h->eos = m->eos;
    h->add_bos = m->add_bos && m->bos >= 0;
}

static void copy_tables(uint8_t *bytes, const struct qm_header *h, const struct program *p,
                        const void *tokenizer)
{
    memcpy(bytes + h->buffers.offset, p->buffers, h->buffers.bytes);
    memcpy(bytes + h->ops.offset, p->ops, h->ops.bytes);
    if (h->tokenizer.bytes) memcpy(bytes + h->tokenizer.offset, tokenizer, h->tokenizer.bytes);
    char *at = (char *)bytes + h->strings.offset;
    for (size_t i = 0; i < p->tensor_count; i++) at = stpcpy(at, p->tensors[i].name) + 1;
}

/* A place for data behind everything so far. */
static qrt_status place_data(uint64_t *end, uint64_t bytes, struct qm_range *out)
{
    uint64_t offset;
    if (bytes == 0) return QRT_OK;
    if (!checked_round_up(*end, QM_ALIGN, &offset) || !checked_add(offset, bytes, end) ||
        *end > INT64_MAX)
        return error_set(QRT_E_LIMIT, "the packed model exceeds 2^63 bytes");
    *out = (struct qm_range){offset, bytes};
    return QRT_OK;
}

static qrt_status place_matrix(const struct program_tensor *from, unsigned families, uint64_t *end,
                               struct qm_tensor *t)
{
    t->scheme = from->matrix.scheme;
    for (int family = 0; family < FAMILY_COUNT; family++) {
        size_t bytes[SECTION_COUNT];
        if (!(families >> family & 1)) continue;
        const qrt_status status =
            layout_bytes((enum layout_family)family, &t->scheme, t->N, t->K, bytes);
        if (status != QRT_OK) return error_context(status, "tensor '%s'", from->name);
        for (int s = 0; s < SECTION_COUNT; s++)
            TRY(place_data(end, bytes[s], &t->section[family][s]));
    }
    return QRT_OK;
}

static qrt_status place_tensors(const struct program *p, unsigned families, uint64_t *end,
                                struct qm_tensor *tensors)
{
    uint32_t name = 0;
    for (size_t i = 0; i < p->tensor_count; i++) {
        const struct program_tensor *from = &p->tensors[i];
        struct qm_tensor *t = &tensors[i];
        t->name = name;
        t->N = from->matrix.N;
        t->K = from->matrix.K;
        t->is_vector = from->vector != NULL;
        name += (uint32_t)strlen(from->name) + 1;
        if (t->is_vector)
            TRY(place_data(end, (uint64_t)t->K * sizeof(float), &t->vector));
        else
            TRY(place_matrix(from, families, end, t));
    }
    return QRT_OK;
}

/* The header's hash covers the header without it, and all tables. */
static void seal(uint8_t *bytes, struct qm_header *h)
{
    struct blake2b hash;
    blake2b_init(&hash, sizeof h->hash);
    blake2b_update(&hash, h, sizeof *h);
    blake2b_update(&hash, bytes + h->metadata.offset, h->metadata.bytes);
    blake2b_final(&hash, h->hash);
    memcpy(bytes, h, sizeof *h);
}

qrt_status qm_tables_build(const struct model *m, const struct program *p, unsigned families,
                           const void *tokenizer, size_t tokenizer_bytes, struct qm_tables *out)
{
    struct qm_header h = {0};
    describe(&h, m);
    place_tables(&h, p, tokenizer_bytes);
    uint64_t end = h.metadata.offset + h.metadata.bytes;
    const size_t count = (size_t)end;
    uint8_t *bytes = calloc(1, count);
    if (!bytes) return error_set(QRT_E_MEMORY, "no memory for %zu bytes of tables", count);
    struct qm_tensor *tensors = (struct qm_tensor *)(void *)(bytes + h.tensors.offset);
    copy_tables(bytes, &h, p, tokenizer);
    const qrt_status status = place_tensors(p, families, &end, tensors);
    if (status != QRT_OK) {
        free(bytes);
        return status;
    }
    h.file_bytes = end;
    seal(bytes, &h);
    *out = (struct qm_tables){bytes, count, tensors, end};
    return QRT_OK;
}

void qm_tables_free(struct qm_tables *t)
{
    free(t->bytes);
    *t = (struct qm_tables){0};
}
