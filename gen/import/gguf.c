/* gguf.c -- reader of GGUF files: key-values and tensors, every byte checked */
#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checked.h"
#include "error.h"

/* Least bytes that one entry takes: bounds a count before anything is allocated for it. */
enum { LEAST_KV_BYTES = 8 + 1 + 4 + 1, LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };
enum { DEFAULT_ALIGNMENT = 32, LEAST_ALIGNMENT = 8 };

static const struct {
    const char *name;
    uint8_t bytes; /* 0: of no fixed size */
} value_types[GGUF_VALUE_COUNT] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_value_name(enum gguf_value type)
{
    return (unsigned)type < GGUF_VALUE_COUNT ? value_types[type].name : "?";
}

/* ---- the cursor: the only way to a byte of the file while it is checked ---- */

struct cursor {
    const uint8_t *bytes;
    uint64_t size, at;
    char what[GGUF_MAX_NAME_BYTES + 32]; /* what is being read, for messages */
};

static void reading(struct cursor *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void reading(struct cursor *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->what, sizeof c->what, format, arguments);
    va_end(arguments);
}

static uint64_t left(const struct cursor *c) { return c->size - c->at; }

static qrt_status take(struct cursor *c, uint64_t count, const uint8_t **out)
{
    if (count > left(c))
        return error_set(QRT_E_FORMAT,
                         "byte %llu: %s needs %llu bytes but the file ends after %llu more; it is "
                         "damaged or was cut short: fetch it again",
                         (unsigned long long)c->at, c->what, (unsigned long long)count,
                         (unsigned long long)left(c));
    *out = c->bytes + c->at;
    c->at += count;
    return QRT_OK;
}

static qrt_status take_u32(struct cursor *c, uint32_t *out)
{
    const uint8_t *bytes = NULL;
    TRY(take(c, sizeof *out, &bytes));
    memcpy(out, bytes, sizeof *out);
    return QRT_OK;
}

static qrt_status take_u64(struct cursor *c, uint64_t *out)
{
    const uint8_t *bytes = NULL;
    TRY(take(c, sizeof *out, &bytes));
    memcpy(out, bytes, sizeof *out);
    return QRT_OK;
}

static qrt_status take_text(struct cursor *c, uint64_t limit, struct gguf_text *out)
{
    const uint64_t at = c->at;
    uint64_t count;
    const uint8_t *bytes = NULL;
    TRY(take_u64(c, &count));
    if (count > limit)
        return error_set(QRT_E_LIMIT, "byte %llu: %s is %llu bytes long, over the limit of %llu",
                         (unsigned long long)at, c->what, (unsigned long long)count,
                         (unsigned long long)limit);
    TRY(take(c, count, &bytes));
    *out = (struct gguf_text){(const char *)bytes, (size_t)count};
    return QRT_OK;
}

/* A key or a name: printable ASCII, not empty; *out gets a NUL-terminated copy to free(). */
static qrt_status take_name(struct cursor *c, uint64_t limit, char **out)
{
    const uint64_t at = c->at;
    struct gguf_text text;
    TRY(take_text(c, limit, &text));
    if (text.bytes == 0)
        return error_set(QRT_E_FORMAT, "byte %llu: %s is empty", (unsigned long long)at, c->what);
    for (size_t i = 0; i < text.bytes; i++)
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return error_set(QRT_E_FORMAT,
                             "byte %llu: %s has byte 0x%02x at position %zu, which is not "
                             "printable ASCII",
                             (unsigned long long)at, c->what, (unsigned char)text.data[i], i);
    *out = strndup(text.data, text.bytes);
    return *out ? QRT_OK : error_set(QRT_E_MEMORY, "no memory for %s", c->what);
}

/* ---- header ---- */

static qrt_status check_count(const struct cursor *c, const char *what, uint64_t count,
                              uint64_t limit, uint64_t least_bytes)
{
    if (count > limit)
        return error_set(QRT_E_LIMIT, "the header says %llu %s, over the limit of %llu",
                         (unsigned long long)count, what, (unsigned long long)limit);
    if (count > left(c) / least_bytes)
        return error_set(QRT_E_FORMAT,
                         "the header says %llu %s, but %llu bytes hold at most %llu: the file is "
                         "damaged or was cut short",
                         (unsigned long long)count, what, (unsigned long long)left(c),
                         (unsigned long long)(left(c) / least_bytes));
    return QRT_OK;
}

static qrt_status check_version(uint32_t version)
{
    if ((version & 0xffff) == 0)
        return error_set(QRT_E_FORMAT,
                         "version 0x%08x at byte 4 is that of a big-endian file: qgen reads "
                         "little-endian ones; convert the model again on a little-endian machine",
                         version);
    if (version != 2 && version != 3)
        return error_set(QRT_E_FORMAT,
                         "version %u at byte 4 is not supported: qgen reads versions 2 and 3; "
                         "convert the model again with a current tool",
                         version);
    return QRT_OK;
}

static qrt_status read_header(struct cursor *c, struct gguf *g)
{
    const uint8_t *magic = NULL;
    uint64_t tensors = 0, kvs = 0;
    reading(c, "the header");
    TRY(take(c, 4, &magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return error_set(QRT_E_FORMAT,
                         "bytes 0 to 3 are %02x %02x %02x %02x, not \"GGUF\": this is no GGUF file",
                         magic[0], magic[1], magic[2], magic[3]);
    TRY(take_u32(c, &g->version));
    TRY(check_version(g->version));
    TRY(take_u64(c, &tensors));
    TRY(take_u64(c, &kvs));
    TRY(check_count(c, "tensors", tensors, GGUF_MAX_TENSORS, LEAST_TENSOR_BYTES));
    TRY(check_count(c, "key-values", kvs, GGUF_MAX_KEYS, LEAST_KV_BYTES));
    g->tensor_count = (size_t)tensors;
    g->kv_count = (size_t)kvs;
    return QRT_OK;
}

/* ---- key-values ---- */

static qrt_status check_value_type(const struct cursor *c, uint32_t type, int in_array)
{
    if (type >= GGUF_VALUE_COUNT)
        return error_set(QRT_E_FORMAT, "byte %llu: %s has value type %u, known are 0 to %d",
                         (unsigned long long)c->at - 4, c->what, type, GGUF_VALUE_COUNT - 1);
    if (in_array && type == GGUF_ARRAY)
        return error_set(QRT_E_FORMAT, "byte %llu: %s is an array of arrays, which is not allowed",
                         (unsigned long long)c->at - 4, c->what);
    return QRT_OK;
}

/* Step over `count` elements. */
static qrt_status skip_elements(struct cursor *c, enum gguf_value type, uint64_t count)
{
    const uint64_t each = value_types[type].bytes;
    const uint64_t least = each ? each : sizeof(uint64_t); /* a string has a length at least */
    if (count > left(c) / least)
        return error_set(QRT_E_FORMAT,
                         "byte %llu: %s has %llu elements of %s, but only %llu bytes are left",
                         (unsigned long long)c->at, c->what, (unsigned long long)count,
                         gguf_value_name(type), (unsigned long long)left(c));
    if (each) {
        c->at += count * each;
        return QRT_OK;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct gguf_text text;
        TRY(take_text(c, GGUF_MAX_STRING_BYTES, &text));
    }
    return QRT_OK;
}

static qrt_status read_array_head(struct cursor *c, struct gguf_kv *kv)
{
    uint32_t element = 0;
    TRY(take_u32(c, &element));
    TRY(check_value_type(c, element, 1));
    TRY(take_u64(c, &kv->count));
    if (kv->count > GGUF_MAX_ARRAY)
        return error_set(QRT_E_LIMIT, "byte %llu: %s has %llu elements, over the limit of %d",
                         (unsigned long long)c->at - 8, c->what, (unsigned long long)kv->count,
                         GGUF_MAX_ARRAY);
    kv->element = (uint8_t)element;
    return QRT_OK;
}

static qrt_status read_kv(struct cursor *c, size_t index, struct gguf_kv *kv)
{
    uint32_t type = 0;
    reading(c, "the key of key-value %zu", index);
    kv->at = c->at;
    TRY(take_name(c, GGUF_MAX_KEY_BYTES, &kv->key));
    reading(c, "key '%.60s'", kv->key);
    TRY(take_u32(c, &type));
    TRY(check_value_type(c, type, 0));
    kv->type = kv->element = (uint8_t)type;
    kv->count = 1;
    if (type == GGUF_ARRAY) TRY(read_array_head(c, kv));
    kv->data = c->bytes + c->at;
    TRY(skip_elements(c, (enum gguf_value)kv->element, kv->count));
    if (type == GGUF_BOOL && *kv->data > 1)
        return error_set(QRT_E_FORMAT, "byte %llu: %s is a bool of value %u, not 0 or 1",
                         (unsigned long long)c->at - 1, c->what, *kv->data);
    return QRT_OK;
}

/* ---- tensors ---- */

static qrt_status read_dims(struct cursor *c, struct gguf_tensor *t)
{
    uint32_t n_dims = 0;
    uint64_t rows = 1, elements;
    TRY(take_u32(c, &n_dims));
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
        return error_set(QRT_E_FORMAT, "byte %llu: %s has %u dimensions, allowed are 1 to %d",
                         (unsigned long long)c->at - 4, c->what, n_dims, GGUF_MAX_DIMS);
    t->n_dims = (int)n_dims;
    for (int d = 0; d < GGUF_MAX_DIMS; d++) t->dims[d] = 1;
    for (int d = 0; d < t->n_dims; d++) {
        uint64_t dim = 0;
        TRY(take_u64(c, &dim));
        if (dim < 1 || dim > INT64_MAX)
            return error_set(QRT_E_FORMAT, "byte %llu: dimension %d of %s is %lld",
                             (unsigned long long)c->at - 8, d, c->what, (long long)dim);
        t->dims[d] = (int64_t)dim;
        if (d > 0 && (!checked_mul(rows, dim, &rows) || rows > INT64_MAX))
            return error_set(QRT_E_FORMAT, "byte %llu: the rows of %s exceed 2^63",
                             (unsigned long long)c->at - 8, c->what);
    }
    t->K = t->dims[0];
    t->N = (int64_t)rows;
    if (!checked_mul(rows, (uint64_t)t->K, &elements) || elements > INT64_MAX)
        return error_set(QRT_E_FORMAT, "byte %llu: %s has %lld x %lld elements, over 2^63",
                         (unsigned long long)c->at, c->what, (long long)t->N, (long long)t->K);
    return QRT_OK;
}

static qrt_status read_type(struct cursor *c, struct gguf_tensor *t)
{
    uint32_t id = 0;
    TRY(take_u32(c, &id));
    t->type = gguf_type_find(id);
    if (!t->type)
        return error_set(QRT_E_FORMAT,
                         "byte %llu: %s has type %u, which is unknown or was removed from GGUF; "
                         "convert the model again",
                         (unsigned long long)c->at - 4, c->what, id);
    if (t->K % t->type->block != 0)
        return error_set(
            QRT_E_FORMAT, "byte %llu: %s has rows of %lld, no multiple of %s's block of %d",
            (unsigned long long)c->at - 4, c->what, (long long)t->K, t->type->name, t->type->block);
    const uint64_t row = (uint64_t)t->K / t->type->block;
    if (!checked_mul(row, t->type->bytes, &t->bytes) ||
        !checked_mul(t->bytes, (uint64_t)t->N, &t->bytes) || t->bytes > INT64_MAX)
        return error_set(QRT_E_FORMAT, "byte %llu: %s of %lld x %lld %s exceeds 2^63 bytes",
                         (unsigned long long)c->at - 4, c->what, (long long)t->N, (long long)t->K,
                         t->type->name);
    return QRT_OK;
}

/* t->offset is left relative to the data section, as in the file. */
static qrt_status read_tensor(struct cursor *c, size_t index, struct gguf_tensor *t)
{
    reading(c, "the name of tensor %zu", index);
    TRY(take_name(c, GGUF_MAX_NAME_BYTES, &t->name));
    reading(c, "tensor '%s'", t->name);
    TRY(read_dims(c, t));
    TRY(read_type(c, t));
    TRY(take_u64(c, &t->offset));
    return QRT_OK;
}

static qrt_status place_tensor(struct gguf *g, struct gguf_tensor *t, uint64_t expected,
                               uint64_t *next)
{
    uint64_t end;
    if (t->offset != expected)
        return error_set(QRT_E_FORMAT,
                         "%s: tensor '%s' says its data lie at offset %llu, but the tensors before "
                         "it end at %llu: they would overlap or leave a gap",
                         g->path, t->name, (unsigned long long)t->offset,
                         (unsigned long long)expected);
    if (!checked_add(g->data_offset, t->offset, &t->offset) ||
        !checked_add(t->offset, t->bytes, &end) || end > g->size)
        return error_set(
            QRT_E_FORMAT,
            "%s: tensor '%s' takes %llu bytes from byte %llu on, but the file has %zu: "
            "it was cut short; fetch it again",
            g->path, t->name, (unsigned long long)t->bytes, (unsigned long long)t->offset, g->size);
    t->data = g->bytes + t->offset;
    checked_round_up(end - g->data_offset, g->alignment, next); /* end <= size: cannot wrap */
    return QRT_OK;
}

static qrt_status place_tensors(struct gguf *g, uint64_t info_end)
{
    int64_t alignment = DEFAULT_ALIGNMENT;
    uint64_t expected = 0;
    TRY(gguf_int(g, GGUF_OPTIONAL, "general.alignment", LEAST_ALIGNMENT, GGUF_MAX_ALIGNMENT,
                 &alignment));
    if (alignment & (alignment - 1))
        return error_set(QRT_E_FORMAT, "%s: key 'general.alignment' is %lld, not a power of two",
                         g->path, (long long)alignment);
    g->alignment = (uint64_t)alignment;
    checked_round_up(info_end, g->alignment, &g->data_offset); /* info_end <= size */
    for (size_t i = 0; i < g->tensor_count; i++)
        TRY(place_tensor(g, &g->tensors[i], expected, &expected));
    return QRT_OK;
}

/* ---- look-up by name: indices sorted once, so that no choice of names makes it slow ---- */

static int by_key(const void *a, const void *b, void *table)
{
    const struct gguf_kv *kvs = table;
    return strcmp(kvs[*(const uint32_t *)a].key, kvs[*(const uint32_t *)b].key);
}

static int by_name(const void *a, const void *b, void *table)
{
    const struct gguf_tensor *tensors = table;
    return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

static void sort_order(uint32_t *order, size_t count, void *table,
                       int (*compare)(const void *, const void *, void *))
{
    for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    qsort_r(order, count, sizeof *order, compare, table);
}

static qrt_status refuse_duplicates(const uint32_t *order, size_t count, void *table,
                                    int (*compare)(const void *, const void *, void *),
                                    size_t *duplicate)
{
    for (size_t i = 1; i < count; i++)
        if (compare(&order[i - 1], &order[i], table) == 0) {
            *duplicate = order[i];
            return QRT_E_FORMAT;
        }
    return QRT_OK;
}

static qrt_status index_keys(struct gguf *g)
{
    size_t i = 0;
    sort_order(g->kv_order, g->kv_count, g->kvs, by_key);
    if (refuse_duplicates(g->kv_order, g->kv_count, g->kvs, by_key, &i) == QRT_OK) return QRT_OK;
    return error_set(QRT_E_FORMAT, "byte %llu: key '%s' occurs twice",
                     (unsigned long long)g->kvs[i].at, g->kvs[i].key);
}

static qrt_status index_tensors(struct gguf *g)
{
    size_t i = 0;
    sort_order(g->tensor_order, g->tensor_count, g->tensors, by_name);
    if (refuse_duplicates(g->tensor_order, g->tensor_count, g->tensors, by_name, &i) == QRT_OK)
        return QRT_OK;
    return error_set(QRT_E_FORMAT, "tensor '%s' occurs twice", g->tensors[i].name);
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    for (size_t lo = 0, hi = g->kv_count; lo < hi;) {
        const size_t middle = lo + (hi - lo) / 2;
        const struct gguf_kv *kv = &g->kvs[g->kv_order[middle]];
        const int order = strcmp(key, kv->key);
        if (order == 0) return kv;
        if (order < 0) hi = middle;
        if (order > 0) lo = middle + 1;
    }
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    for (size_t lo = 0, hi = g->tensor_count; lo < hi;) {
        const size_t middle = lo + (hi - lo) / 2;
        const struct gguf_tensor *t = &g->tensors[g->tensor_order[middle]];
        const int order = strcmp(name, t->name);
        if (order == 0) return t;
        if (order < 0) hi = middle;
        if (order > 0) lo = middle + 1;
    }
    return NULL;
}

/* ---- opening ---- */

static qrt_status allocate_tables(struct gguf *g)
{
    g->kvs = calloc(g->kv_count + 1, sizeof *g->kvs);
    g->tensors = calloc(g->tensor_count + 1, sizeof *g->tensors);
    g->kv_order = calloc(g->kv_count + 1, sizeof *g->kv_order);
    g->tensor_order = calloc(g->tensor_count + 1, sizeof *g->tensor_order);
    if (!g->kvs || !g->tensors || !g->kv_order || !g->tensor_order)
        return error_set(QRT_E_MEMORY, "no memory for tables of %zu key-values and %zu tensors",
                         g->kv_count, g->tensor_count);
    return QRT_OK;
}

/* Everything in front of the data; *end is where it ends. */
static qrt_status read_tables(struct gguf *g, uint64_t *end)
{
    struct cursor c = {.bytes = g->bytes, .size = g->size};
    TRY(read_header(&c, g));
    TRY(allocate_tables(g));
    for (size_t i = 0; i < g->kv_count; i++) TRY(read_kv(&c, i, &g->kvs[i]));
    TRY(index_keys(g));
    for (size_t i = 0; i < g->tensor_count; i++) TRY(read_tensor(&c, i, &g->tensors[i]));
    TRY(index_tensors(g));
    *end = c.at;
    return QRT_OK;
}

static qrt_status parse_into(struct gguf *g, const char *path, const void *bytes, size_t count)
{
    g->bytes = bytes;
    g->size = count;
    g->path = strdup(path);
    if (!g->path) return error_set(QRT_E_MEMORY, "no memory");
    uint64_t end = 0;
    const qrt_status status = read_tables(g, &end);
    return status == QRT_OK ? place_tensors(g, end) : error_context(status, "%s", path);
}

qrt_status gguf_parse(const void *bytes, size_t count, struct gguf **out)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) return error_set(QRT_E_MEMORY, "no memory");
    const qrt_status status = parse_into(g, "memory", bytes, count);
    if (status == QRT_OK)
        *out = g;
    else
        gguf_close(g);
    return status;
}

static qrt_status map_file(const char *path, void **mapping, size_t *count)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    if (fd < 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    qrt_status status = QRT_OK;
    if (fstat(fd, &info) != 0)
        status = error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = error_set(QRT_E_IO, "%s: not a regular file", path);
    else if (info.st_size == 0)
        status = error_set(QRT_E_FORMAT, "%s: the file is empty", path);
    if (status == QRT_OK) {
        *count = (size_t)info.st_size;
        *mapping = mmap(NULL, *count, PROT_READ, MAP_PRIVATE, fd, 0);
        if (*mapping == MAP_FAILED)
            status =
                error_set(QRT_E_IO, "%s: cannot map %zu bytes: %s", path, *count, strerror(errno));
    }
    close(fd);
    return status;
}

qrt_status gguf_open(const char *path, struct gguf **out)
{
    void *mapping = NULL;
    size_t count = 0;
    TRY(map_file(path, &mapping, &count));
    struct gguf *g = calloc(1, sizeof *g);
    qrt_status status = QRT_E_MEMORY;
    if (!g) {
        munmap(mapping, count);
        return error_set(status, "no memory");
    }
    g->mapping = mapping;
    status = parse_into(g, path, mapping, count);
    if (status == QRT_OK)
        *out = g;
    else
        gguf_close(g);
    return status;
}

void gguf_close(struct gguf *g)
{
    if (!g) return;
    for (size_t i = 0; g->kvs && i < g->kv_count; i++) free(g->kvs[i].key);
    for (size_t i = 0; g->tensors && i < g->tensor_count; i++) free(g->tensors[i].name);
    free(g->kvs);
    free(g->tensors);
    free(g->kv_order);
    free(g->tensor_order);
    free(g->path);
    if (g->mapping) munmap(g->mapping, g->size);
    free(g);
}

/* ---- matrices ---- */

static void unpack_row(const struct generic_matrix *m, int n, const struct generic_row *out)
{
    const struct gguf_type *type = m->origin;
    gguf_type_unpack(type, m->data + (size_t)n * m->row_bytes, m->K / type->block, out);
}

/* Without this the pages of a model stay resident until the file is closed. */
static void release_rows(const struct generic_matrix *m, int n, int count)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)m->data;
    const uintptr_t from = (start + (size_t)n * m->row_bytes + page - 1) / page * page;
    const uintptr_t to = (start + (size_t)(n + count) * m->row_bytes) / page * page;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

qrt_status gguf_matrix(const struct gguf *g, const struct gguf_tensor *t,
                       struct generic_matrix *out)
{
    char supported[GGUF_TYPES_TEXT_BYTES];
    if (!t->type->scheme) {
        gguf_types_supported(supported);
        return error_set(QRT_E_MODEL,
                         "%s: tensor '%s' is of type %s; qgen reads %s: quantize the model to one "
                         "of these",
                         g->path, t->name, t->type->name, supported);
    }
    if (t->N > INT32_MAX || t->K > INT32_MAX)
        return error_set(QRT_E_LIMIT, "%s: tensor '%s' is %lld x %lld: sides are limited to 2^31",
                         g->path, t->name, (long long)t->N, (long long)t->K);
    *out = (struct generic_matrix){
        .name = t->name,
        .N = (int)t->N,
        .K = (int)t->K,
        .data = t->data,
        .row_bytes = (size_t)(t->bytes / (uint64_t)t->N),
        .origin = t->type,
        .row = unpack_row,
        .release = g->mapping ? release_rows : NULL,
    };
    return scheme_parse(t->type->scheme, &out->scheme);
}

/* ---- typed values ---- */

/* The key-value, or NULL when it is absent and may be. */
static qrt_status wanted(const struct gguf *g, enum gguf_need need, const char *key,
                         const struct gguf_kv **out)
{
    *out = gguf_find(g, key);
    if (!*out && need == GGUF_REQUIRED)
        return error_set(QRT_E_FORMAT, "%s: key '%s' is missing", g->path, key);
    return QRT_OK;
}

static qrt_status wrong_type(const struct gguf *g, const struct gguf_kv *kv, const char *expected)
{
    return error_set(
        QRT_E_FORMAT, "%s: byte %llu: key '%s' is of type %s%s%s, expected %s", g->path,
        (unsigned long long)kv->at, kv->key, gguf_value_name((enum gguf_value)kv->type),
        kv->type == GGUF_ARRAY ? " of " : "",
        kv->type == GGUF_ARRAY ? gguf_value_name((enum gguf_value)kv->element) : "", expected);
}

static int is_integer(unsigned type)
{
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static int is_real(unsigned type) { return type == GGUF_F32 || type == GGUF_F64; }

/* The bytes of element i as the low bytes of a word. */
static uint64_t raw_at(const struct gguf_kv *kv, uint64_t i)
{
    const size_t each = value_types[kv->element].bytes;
    uint64_t raw = 0;
    memcpy(&raw, kv->data + i * each, each);
    return raw;
}

int64_t gguf_int_at(const struct gguf_kv *array, uint64_t i)
{
    const uint64_t raw = raw_at(array, i);
    switch (array->element) {
    case GGUF_I8: return (int8_t)raw;
    case GGUF_I16: return (int16_t)raw;
    case GGUF_I32: return (int32_t)raw;
    case GGUF_U64: return raw > INT64_MAX ? INT64_MAX : (int64_t)raw; /* over every legal `hi` */
    default: return (int64_t)raw;
    }
}

double gguf_real_at(const struct gguf_kv *array, uint64_t i)
{
    const uint64_t raw = raw_at(array, i);
    double wide;
    float narrow;
    memcpy(&wide, &raw, sizeof wide);
    memcpy(&narrow, &raw, sizeof narrow);
    return array->element == GGUF_F32 ? (double)narrow : wide;
}

qrt_status gguf_int(const struct gguf *g, enum gguf_need need, const char *key, int64_t lo,
                    int64_t hi, int64_t *out)
{
    const struct gguf_kv *kv;
    TRY(wanted(g, need, key, &kv));
    if (!kv) return QRT_OK;
    if (!is_integer(kv->type)) return wrong_type(g, kv, "an integer");
    const int64_t value = gguf_int_at(kv, 0);
    if (value < lo || value > hi)
        return error_set(QRT_E_FORMAT, "%s: byte %llu: key '%s' is %lld, expected %lld to %lld",
                         g->path, (unsigned long long)kv->at, key, (long long)value, (long long)lo,
                         (long long)hi);
    *out = value;
    return QRT_OK;
}

qrt_status gguf_real(const struct gguf *g, enum gguf_need need, const char *key, double lo,
                     double hi, double *out)
{
    const struct gguf_kv *kv;
    TRY(wanted(g, need, key, &kv));
    if (!kv) return QRT_OK;
    if (!is_real(kv->type)) return wrong_type(g, kv, "f32 or f64");
    const double value = gguf_real_at(kv, 0);
    if (!(value >= lo && value <= hi))
        return error_set(QRT_E_FORMAT, "%s: byte %llu: key '%s' is %g, expected %g to %g", g->path,
                         (unsigned long long)kv->at, key, value, lo, hi);
    *out = value;
    return QRT_OK;
}

qrt_status gguf_bool(const struct gguf *g, enum gguf_need need, const char *key, int *out)
{
    const struct gguf_kv *kv;
    TRY(wanted(g, need, key, &kv));
    if (!kv) return QRT_OK;
    if (kv->type != GGUF_BOOL) return wrong_type(g, kv, "bool");
    *out = *kv->data;
    return QRT_OK;
}

qrt_status gguf_string(const struct gguf *g, enum gguf_need need, const char *key,
                       struct gguf_text *out)
{
    const struct gguf_kv *kv;
    TRY(wanted(g, need, key, &kv));
    if (!kv) return QRT_OK;
    if (kv->type != GGUF_STRING) return wrong_type(g, kv, "string");
    struct gguf_strings it = gguf_strings(kv);
    gguf_strings_next(&it, out);
    return QRT_OK;
}

qrt_status gguf_array(const struct gguf *g, enum gguf_need need, const char *key,
                      enum gguf_value element, const struct gguf_kv **out)
{
    TRY(wanted(g, need, key, out));
    if (!*out) return QRT_OK;
    if ((*out)->type != GGUF_ARRAY || (*out)->element != element) {
        char expected[32];
        snprintf(expected, sizeof expected, "array of %s", gguf_value_name(element));
        return wrong_type(g, *out, expected);
    }
    return QRT_OK;
}

struct gguf_strings gguf_strings(const struct gguf_kv *kv)
{
    return (struct gguf_strings){kv->data, kv->element == GGUF_STRING ? kv->count : 0};
}

int gguf_strings_next(struct gguf_strings *it, struct gguf_text *out)
{
    if (it->left == 0) return 0;
    uint64_t bytes; /* checked when the file was read */
    memcpy(&bytes, it->next, sizeof bytes);
    *out = (struct gguf_text){(const char *)it->next + sizeof bytes, (size_t)bytes};
    it->next += sizeof bytes + bytes;
    it->left--;
    return 1;
}
