/* qm.c -- opening a packed model: map, check the header and its hash, find the tables */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "error.h"
#include "qm_file.h"
#include "rt.h"

enum { TABLE_ALIGN = 8 };

static int is_inside(const struct qm_range *r, uint64_t begin, uint64_t end)
{
    return r->offset >= begin && r->offset <= end && r->bytes <= end - r->offset;
}

/* ---- the header ---- */

static qrt_status check_identity(const struct qm_header *h, size_t file_bytes)
{
    if (memcmp(h->magic, QM_MAGIC, sizeof h->magic) != 0)
        return error_set(QRT_E_FORMAT, "not a packed model: no %s at byte 0", QM_MAGIC);
    if (h->version != QM_VERSION || h->header_bytes != sizeof *h)
        return error_set(QRT_E_FORMAT,
                         "version %u with a header of %u bytes, this library reads version %u with "
                         "%zu; pack the model again",
                         h->version, h->header_bytes, QM_VERSION, sizeof *h);
    if (h->file_bytes != file_bytes)
        return error_set(QRT_E_FORMAT, "%zu bytes, its header says %llu: the file is cut or grown",
                         file_bytes, (unsigned long long)h->file_bytes);
    if (!is_inside(&h->metadata, sizeof *h, file_bytes) || h->metadata.offset % TABLE_ALIGN != 0)
        return error_set(QRT_E_FORMAT, "metadata at %llu with %llu bytes lies outside of %zu",
                         (unsigned long long)h->metadata.offset,
                         (unsigned long long)h->metadata.bytes, file_bytes);
    return QRT_OK;
}

static qrt_status check_hash(const struct qm_header *h, const uint8_t *base)
{
    struct qm_header unhashed = *h;
    memset(unhashed.hash, 0, sizeof unhashed.hash);
    struct blake2b b;
    uint8_t hash[QM_HASH_BYTES];
    blake2b_init(&b, sizeof hash);
    blake2b_update(&b, &unhashed, sizeof unhashed);
    blake2b_update(&b, base + h->metadata.offset, (size_t)h->metadata.bytes);
    blake2b_final(&b, hash);
    if (memcmp(hash, h->hash, sizeof hash) != 0)
        return error_set(QRT_E_FORMAT, "metadata is damaged: its hash does not match");
    return QRT_OK;
}

static qrt_status check_sizes(const struct qm_header *h)
{
    if (!memchr(h->name, 0, sizeof h->name))
        return error_set(QRT_E_FORMAT, "the model's name has no end");
    const struct {
        const char *what;
        uint32_t value, most;
    } limit[] = {
        {"layers", h->layers, QM_MAX_LAYERS},
        {"hidden", h->hidden, QM_MAX_WIDTH},
        {"vocab", h->vocab, QM_MAX_WIDTH},
        {"context", h->context, QM_MAX_WIDTH},
    };
    for (size_t i = 0; i < sizeof limit / sizeof *limit; i++)
        if (limit[i].value < 1 || limit[i].value > limit[i].most)
            return error_set(QRT_E_FORMAT, "%s is %u: 1 to %u", limit[i].what, limit[i].value,
                             limit[i].most);
    const int64_t vocab = h->vocab;
    if (h->bos < -1 || h->bos >= vocab || h->eos < -1 || h->eos >= vocab || h->add_bos < 0 ||
        h->add_bos > 1)
        return error_set(QRT_E_FORMAT, "bos %d, eos %d, add_bos %d with %u tokens", h->bos, h->eos,
                         h->add_bos, h->vocab);
    return QRT_OK;
}

/* ---- the tables ---- */

static qrt_status find_table(const struct qrt_model *m, const char *what, const struct qm_range *r,
                             size_t record_bytes, const void **table, size_t *count)
{
    const struct qm_range *all = &m->header->metadata;
    if (!is_inside(r, all->offset, all->offset + all->bytes) || r->bytes % record_bytes != 0 ||
        (record_bytes > 1 && r->offset % TABLE_ALIGN != 0))
        return error_set(
            QRT_E_FORMAT, "%s at %llu with %llu bytes: records of %zu in metadata of %llu at %llu",
            what, (unsigned long long)r->offset, (unsigned long long)r->bytes, record_bytes,
            (unsigned long long)all->bytes, (unsigned long long)all->offset);
    *table = m->base + r->offset;
    *count = (size_t)(r->bytes / record_bytes);
    return QRT_OK;
}

static qrt_status find_tables(struct qrt_model *m)
{
    const struct qm_header *h = m->header;
    const void *table;
    TRY(find_table(m, "buffers", &h->buffers, sizeof *m->buffers, &table, &m->buffer_count));
    m->buffers = table;
    TRY(find_table(m, "ops", &h->ops, sizeof *m->ops, &table, &m->op_count));
    m->ops = table;
    TRY(find_table(m, "tensors", &h->tensors, sizeof *m->tensors, &table, &m->tensor_count));
    m->tensors = table;
    TRY(find_table(m, "strings", &h->strings, 1, &table, &m->string_bytes));
    m->strings = table;
    return QRT_OK;
}

static qrt_status find_tokenizer(struct qrt_model *m)
{
    const void *blob;
    size_t bytes;
    const struct qm_range *r = &m->header->tokenizer;
    if (r->bytes == 0) return QRT_OK;
    TRY(find_table(m, "tokenizer", r, 1, &blob, &bytes));
    if (r->offset % TOKENIZER_ALIGN != 0)
        return error_set(QRT_E_FORMAT, "tokenizer at %llu: a multiple of %d",
                         (unsigned long long)r->offset, TOKENIZER_ALIGN);
    TRY(tokenizer_open(blob, bytes, (int)m->header->vocab, &m->tokenizer));
    m->has_tokenizer = 1;
    return QRT_OK;
}

static qrt_status check_model(struct qrt_model *m)
{
    TRY(check_identity(m->header, m->bytes));
    TRY(check_hash(m->header, m->base));
    TRY(check_sizes(m->header));
    TRY(find_tables(m));
    TRY(find_tokenizer(m));
    return qm_check(m);
}

/* ---- the file ---- */

static qrt_status map_fd(struct qrt_model *m, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(QRT_E_IO, "not a regular file");
    if ((uint64_t)st.st_size < sizeof(struct qm_header))
        return error_set(QRT_E_FORMAT, "%lld bytes: a packed model has at least %zu",
                         (long long)st.st_size, sizeof(struct qm_header));
    m->bytes = (size_t)st.st_size;
    void *base = mmap(NULL, m->bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return error_set(QRT_E_IO, "cannot be mapped: %s", strerror(errno));
    m->base = base;
    m->header = base;
    return QRT_OK;
}

static qrt_status map_file(struct qrt_model *m)
{
    const int fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set(QRT_E_IO, "%s", strerror(errno));
    const qrt_status status = map_fd(m, fd);
    close(fd);
    return status;
}

qrt_status qrt_model_open(qrt *rt, const char *path, qrt_model **out)
{
    void *block;
    TRY(rt_alloc(rt, sizeof(qrt_model), &block));
    qrt_model *m = block;
    m->rt = rt;
    qrt_status status;
    if (snprintf(m->path, sizeof m->path, "%s", path) >= (int)sizeof m->path)
        TRY_DONE(error_set(QRT_E_LIMIT, "the path is longer than %d bytes", QM_PATH_BYTES - 1));
    TRY_DONE(map_file(m));
    TRY_DONE(check_model(m));
    rt_log(rt, RT_INFO, "model %s: %s, %u layers, %zu bytes", path, m->header->name,
           m->header->layers, m->bytes);
    *out = m;
    return QRT_OK;
done:
    qrt_model_close(m);
    return error_context(status, "%.200s", path);
}

void qrt_model_close(qrt_model *model)
{
    if (!model) return;
    if (model->base) munmap((void *)(uintptr_t)model->base, model->bytes);
    rt_free(model->rt, model);
}

void qrt_model_info_get(const qrt_model *model, qrt_model_info *out)
{
    const struct qm_header *h = model->header;
    qrt_model_info info = {
        .layers = (int)h->layers,
        .hidden = (int)h->hidden,
        .vocab = (int)h->vocab,
        .context = (int)h->context,
        .bos = h->bos,
        .eos = h->eos,
        .add_bos = h->add_bos,
        .bytes = model->bytes,
    };
    memcpy(info.name, h->name, sizeof info.name);
    for (size_t i = 0; i < model->tensor_count; i++) {
        const struct qm_tensor *t = &model->tensors[i];
        if (!t->is_vector) info.weights += (uint64_t)t->N * (uint64_t)t->K;
    }
    *out = info;
}

/* ---- text ---- */

static qrt_status need_tokenizer(const qrt_model *m)
{
    if (m->has_tokenizer) return QRT_OK;
    return error_set(QRT_E_MODEL, "%.200s: the model was packed without a tokenizer", m->path);
}

qrt_status qrt_tokenize(const qrt_model *model, const char *text, size_t bytes, int parse_special,
                        int *ids, size_t capacity, size_t *count)
{
    TRY(need_tokenizer(model));
    return tokenizer_encode(&model->tokenizer, model->rt, text, bytes, parse_special, ids, capacity,
                            count);
}

qrt_status qrt_token_bytes(const qrt_model *model, int id, const char **bytes, size_t *count)
{
    TRY(need_tokenizer(model));
    return tokenizer_bytes(&model->tokenizer, id, bytes, count);
}
