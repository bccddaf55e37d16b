/* bundle_write.c -- kernels and winners become one file: the bytes of a bundle (runtime/bundle.h) */
#include "bundle_write.h"

#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "error.h"

enum { LEVEL = LZ4HC_CLEVEL_MAX };

/* An entry and its place in the caller's list. */
struct source {
    const struct entry *entry;
    uint32_t place;
};

/* What is being written: the tables of the head, and the data behind it. */
struct writer {
    const struct bundle_write_options *options;
    struct source *sources; /* ordered, no two equal */
    uint32_t *kernel_of;    /* by the caller's place */
    struct bundle_arch *archs;
    struct bundle_kernel *kernels;
    struct bundle_winner *winners;
    char (*devices)[BUNDLE_NAME_BYTES];
    size_t source_count, arch_count, winner_count, device_count;
    uint8_t *data;
    size_t data_bytes, data_capacity;
};

static void writer_free(struct writer *w)
{
    void *blocks[] = {w->sources, w->kernel_of, w->archs, w->kernels,
                      w->winners, w->devices,   w->data};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

/* Zeroed; *out is a pointer of any type. */
static qrt_status take(size_t count, size_t bytes, void *out)
{
    void *block = calloc(count ? count : 1, bytes);
    if (!block) return error_set(QRT_E_MEMORY, "bundle: no %zu times %zu bytes", count, bytes);
    memcpy(out, &block, sizeof block);
    return QRT_OK;
}

/* ---- what is given ---- */

static qrt_status check_options(const struct bundle_write_options *o)
{
    static const char rule[] = "1 to 63 of a-z 0-9 . _ -, no dot in front";
    if (!o->name || !bundle_is_name(o->name, 0))
        return error_set(QRT_E_ARGUMENT, "bundle: the name '%.80s' is not %s",
                         o->name ? o->name : "", rule);
    if (!o->version || !bundle_is_name(o->version, 0))
        return error_set(QRT_E_ARGUMENT, "bundle: the version '%.80s' is not %s",
                         o->version ? o->version : "", rule);
    return QRT_OK;
}

static qrt_status check_counts(size_t entry_count, size_t winner_count)
{
    if (entry_count > BUNDLE_MAX_KERNELS)
        return error_set(QRT_E_LIMIT, "bundle: %zu kernels, the limit is %d", entry_count,
                         BUNDLE_MAX_KERNELS);
    if (winner_count > BUNDLE_MAX_WINNERS)
        return error_set(QRT_E_LIMIT, "bundle: %zu winners, the limit is %d", winner_count,
                         BUNDLE_MAX_WINNERS);
    return QRT_OK;
}

/* ---- order ---- */

static int by_order(const void *a, const void *b)
{
    const struct entry *x = ((const struct source *)a)->entry,
                       *y = ((const struct source *)b)->entry;
    const int order = strcmp(x->record.arch, y->record.arch);
    return order ? order : bundle_kernel_order(&x->record, x->key, &y->record, y->key);
}

static int by_winner(const void *a, const void *b) { return bundle_winner_order(a, b); }

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Sort rows and keep one of equal ones. */
static size_t sort_unique(void *rows, size_t count, size_t bytes,
                          int (*order)(const void *, const void *))
{
    char *base = rows;
    size_t kept = 0;
    qsort(rows, count, bytes, order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || order(base + (kept - 1) * bytes, base + i * bytes) != 0)
            memmove(base + kept++ * bytes, base + i * bytes, bytes);
    return kept;
}

static qrt_status order_entries(struct writer *w, const struct entry *entries, size_t count)
{
    TRY(take(count, sizeof *w->sources, &w->sources));
    TRY(take(count, sizeof *w->kernel_of, &w->kernel_of));
    for (size_t i = 0; i < count; i++) {
        TRY(entry_check(&entries[i]));
        w->sources[i] = (struct source){&entries[i], (uint32_t)i};
    }
    qsort(w->sources, count, sizeof *w->sources, by_order);
    for (size_t i = 0; i < count; i++) {
        const size_t n = w->source_count;
        if (n == 0 || by_order(&w->sources[n - 1], &w->sources[i]) != 0)
            w->sources[w->source_count++] = w->sources[i];
        w->kernel_of[w->sources[i].place] = (uint32_t)w->source_count - 1;
    }
    return QRT_OK;
}

/* ---- data ---- */

static qrt_status reserve(struct writer *w, size_t more)
{
    if (more <= w->data_capacity - w->data_bytes) return QRT_OK;
    const size_t capacity = 2 * w->data_capacity + more;
    uint8_t *data = realloc(w->data, capacity);
    if (!data) return error_set(QRT_E_MEMORY, "bundle: no %zu bytes", capacity);
    w->data = data;
    w->data_capacity = capacity;
    return QRT_OK;
}

/* One LZ4 block where that is smaller, else as it is; the place counts from the start of the data. */
static qrt_status put_part(struct writer *w, const void *plain, size_t bytes, struct bundle_part *p)
{
    if (bytes > ENTRY_MAX_BYTES)
        return error_set(QRT_E_LIMIT, "bundle: a part of %zu bytes, the limit is %zu", bytes,
                         ENTRY_MAX_BYTES);
    TRY(reserve(w, bytes));
    uint8_t *to = w->data + w->data_bytes;
    const int packed =
        bytes > 1 ? LZ4_compress_HC(plain, (char *)to, (int)bytes, (int)bytes - 1, LEVEL) : 0;
    if (packed <= 0 && bytes > 0) memcpy(to, plain, bytes);
    *p = (struct bundle_part){.offset = w->data_bytes,
                              .stored_bytes = packed > 0 ? (uint32_t)packed : (uint32_t)bytes,
                              .plain_bytes = (uint32_t)bytes};
    blake2b_hash(p->hash, sizeof p->hash, to, p->stored_bytes);
    w->data_bytes += p->stored_bytes;
    return QRT_OK;
}

static qrt_status put_kernel(struct writer *w, const struct entry *e, struct bundle_kernel *k)
{
    const int wanted[ENTRY_PART_COUNT] = {[ENTRY_IMAGE] = 1,
                                          [ENTRY_PTX] = w->options->with_ptx,
                                          [ENTRY_SOURCE] = w->options->with_source};
    memcpy(k->key, e->key, sizeof k->key);
    k->record = e->record;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        TRY(put_part(w, e->part[i].data, wanted[i] ? e->part[i].bytes : 0, &k->part[i]));
    return QRT_OK;
}

static struct bundle_arch *arch_of(struct writer *w, const char *name, size_t first_kernel)
{
    struct bundle_arch *last = w->arch_count ? &w->archs[w->arch_count - 1] : NULL;
    if (last && strcmp(last->name, name) == 0) return last;
    last = &w->archs[w->arch_count++];
    memcpy(last->name, name, strlen(name));
    last->first_kernel = (uint32_t)first_kernel;
    last->offset = w->data_bytes;
    return last;
}

static qrt_status put_kernels(struct writer *w)
{
    TRY(take(w->source_count, sizeof *w->archs, &w->archs));
    TRY(take(w->source_count, sizeof *w->kernels, &w->kernels));
    for (size_t i = 0; i < w->source_count; i++) {
        const struct entry *e = w->sources[i].entry;
        struct bundle_arch *arch = arch_of(w, e->record.arch, i);
        TRY(put_kernel(w, e, &w->kernels[i]));
        arch->kernel_count++;
        arch->bytes = w->data_bytes - arch->offset;
    }
    return QRT_OK;
}

/* ---- winners ---- */

static int has_device(const struct bundle_write_winner *w) { return w->device && w->device[0]; }

static qrt_status put_devices(struct writer *w, const struct bundle_write_winner *winners,
                              size_t count)
{
    TRY(take(count, sizeof *w->devices, &w->devices));
    for (size_t i = 0; i < count; i++) {
        if (!has_device(&winners[i])) continue;
        if (!bundle_is_name(winners[i].device, 1))
            return error_set(QRT_E_ARGUMENT, "bundle: '%.80s' is no name of a device",
                             winners[i].device);
        strcpy(w->devices[w->device_count++], winners[i].device);
    }
    w->device_count = sort_unique(w->devices, w->device_count, sizeof *w->devices, by_name);
    return QRT_OK;
}

static uint32_t device_of(const struct writer *w, const struct bundle_write_winner *from)
{
    if (!has_device(from)) return 0;
    const char(*found)[BUNDLE_NAME_BYTES] =
        bsearch(from->device, w->devices, w->device_count, sizeof *w->devices, by_name);
    return (uint32_t)(found - w->devices) + 1;
}

static qrt_status put_winners(struct writer *w, const struct bundle_write_winner *winners,
                              size_t count, size_t entry_count)
{
    TRY(put_devices(w, winners, count));
    TRY(take(count, sizeof *w->winners, &w->winners));
    for (size_t i = 0; i < count; i++) {
        const struct bundle_write_winner *from = &winners[i];
        if (from->entry >= entry_count || from->N < 0 || from->K < 0 ||
            (from->N == 0) != (from->K == 0) || from->m_lo < 1 || from->m_hi < from->m_lo)
            return error_set(QRT_E_ARGUMENT,
                             "bundle: winner %zu is kernel %u of %zu for %dx%d, rows %d..%d", i,
                             from->entry, entry_count, from->N, from->K, from->m_lo, from->m_hi);
        w->winners[i] = (struct bundle_winner){.kernel = w->kernel_of[from->entry],
                                               .device = device_of(w, from),
                                               .N = from->N,
                                               .K = from->K,
                                               .m_lo = from->m_lo,
                                               .m_hi = from->m_hi};
    }
    w->winner_count = sort_unique(w->winners, count, sizeof *w->winners, by_winner);
    return QRT_OK;
}

/* ---- the file ---- */

/* Places count from byte 0 of the file from here on. */
static void move_data(struct writer *w, uint64_t by)
{
    for (size_t i = 0; i < w->arch_count; i++) w->archs[i].offset += by;
    for (size_t i = 0; i < w->source_count; i++)
        for (int p = 0; p < ENTRY_PART_COUNT; p++) w->kernels[i].part[p].offset += by;
}

struct table {
    const void *rows;
    size_t bytes;
};

static void put_tables(const struct table *tables, size_t count, uint8_t *to)
{
    for (size_t i = 0; i < count; i++) {
        memcpy(to, tables[i].rows, tables[i].bytes);
        to += tables[i].bytes;
    }
}

static struct bundle_about about_of(const struct writer *w)
{
    struct bundle_about about = {.counter = w->options->counter,
                                 .arch_count = (uint32_t)w->arch_count,
                                 .kernel_count = (uint32_t)w->source_count,
                                 .winner_count = (uint32_t)w->winner_count,
                                 .device_count = (uint32_t)w->device_count};
    strcpy(about.name, w->options->name); /* check_options(): they fit */
    strcpy(about.version, w->options->version);
    return about;
}

static qrt_status assemble(struct writer *w, void **bytes, size_t *count)
{
    struct bundle_start start = {.magic = BUNDLE_MAGIC, .version = BUNDLE_VERSION};
    const struct bundle_about about = about_of(w);
    const struct table tables[] = {
        {&start, sizeof start},
        {&about, sizeof about},
        {w->archs, w->arch_count * sizeof *w->archs},
        {w->kernels, w->source_count * sizeof *w->kernels},
        {w->winners, w->winner_count * sizeof *w->winners},
        {w->devices, w->device_count * sizeof *w->devices},
    };
    enum { TABLES = sizeof tables / sizeof *tables };
    size_t hashed = 0;
    for (int i = 0; i < TABLES; i++) hashed += tables[i].bytes;
    const size_t head = hashed + BUNDLE_HASH_BYTES, data = head + BUNDLE_SIGNATURE_BYTES;
    if (head > BUNDLE_MAX_HEAD_BYTES)
        return error_set(QRT_E_LIMIT, "bundle: a head of %zu bytes, the limit is %d", head,
                         BUNDLE_MAX_HEAD_BYTES);
    start.head_bytes = head;
    start.total_bytes = data + w->data_bytes;
    move_data(w, data);
    uint8_t *file = NULL;
    TRY(take(start.total_bytes, 1, &file));
    put_tables(tables, TABLES, file);
    blake2b_hash(file + hashed, BUNDLE_HASH_BYTES, file, hashed);
    if (w->data_bytes) memcpy(file + data, w->data, w->data_bytes);
    *bytes = file;
    *count = start.total_bytes;
    return bundle_set_signature(file, *count, "", 0);
}

qrt_status bundle_write(const struct bundle_write_options *options, const struct entry *entries,
                        size_t entry_count, const struct bundle_write_winner *winners,
                        size_t winner_count, void **bytes, size_t *count)
{
    struct writer w = {.options = options};
    qrt_status status;
    TRY(check_options(options));
    TRY(check_counts(entry_count, winner_count));
    TRY_DONE(order_entries(&w, entries, entry_count));
    TRY_DONE(put_kernels(&w));
    TRY_DONE(put_winners(&w, winners, winner_count, entry_count));
    TRY_DONE(assemble(&w, bytes, count));
done:
    writer_free(&w);
    return status;
}

qrt_status bundle_set_signature(void *bytes, size_t count, const char *text, size_t text_bytes)
{
    size_t head;
    TRY(bundle_head_bytes(bytes, count, &head));
    if (text_bytes > BUNDLE_SIGNATURE_MAX || strnlen(text, text_bytes) != text_bytes)
        return error_set(QRT_E_LIMIT, "bundle: a signature of %zu bytes, the room has %d for text",
                         text_bytes, BUNDLE_SIGNATURE_MAX);
    uint8_t *room = (uint8_t *)bytes + head;
    memset(room, 0, BUNDLE_SIGNATURE_BYTES);
    memcpy(room, text, text_bytes);
    blake2b_hash(room + BUNDLE_SIGNATURE_MAX, BUNDLE_HASH_BYTES, room, BUNDLE_SIGNATURE_MAX);
    return QRT_OK;
}
