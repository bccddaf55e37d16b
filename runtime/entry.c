/* entry.c -- one kernel in one file: launch record, image, and hash of all of it */
#include "entry.h"

#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "error.h"

static const char magic[8] = {'Q', 'K', 'E', 'N', 'T', 'R', 'Y', '1'};
enum {
    VERSION = 2,
    HASH_BYTES = 32,
    PART_ALIGN = 16,
    MAX_THREADS = 1024,
    MAX_BLOCKS_DIV = 1 << 20,
    MAX_MAP_ROWS = 256,
};

struct header {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t total_bytes;
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry_record record;
    struct {
        uint64_t offset, bytes;
    } part[ENTRY_PART_COUNT];
};

static size_t align_up(size_t n) { return (n + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN; }

static int is_terminated(const char *text, size_t capacity)
{
    return memchr(text, 0, capacity) != NULL;
}

/* A symbol is handed to dlsym and the driver: letters, digits and underscores only. */
static int is_symbol(const char *text)
{
    const size_t length =
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return length > 0 && text[length] == 0;
}

static qrt_status check_strings(const struct entry_record *r)
{
    if (!is_terminated(r->arch, sizeof r->arch) || !is_terminated(r->symbol, sizeof r->symbol) ||
        !is_terminated(r->template_, sizeof r->template_) ||
        !is_terminated(r->tune, sizeof r->tune))
        return error_set(QRT_E_FORMAT, "kernel entry: a name has no end");
    if (!is_symbol(r->symbol)) return error_set(QRT_E_FORMAT, "kernel entry: bad symbol name");
    return QRT_OK;
}

static qrt_status check_map(const struct entry_record *r)
{
    const struct entry_map *m = &r->map;
    if (m->rows == 0 && m->bytes == 0) return QRT_OK;
    const int is_swizzle = m->bytes == 32 || m->bytes == 64 || m->bytes == 128;
    const int is_mappable = r->desc.op == OP_LINEAR && elem_bytes((enum elem_type)r->desc.act) <= 2;
    if (is_mappable && is_swizzle && m->rows >= 1 && m->rows <= MAX_MAP_ROWS) return QRT_OK;
    return error_set(QRT_E_FORMAT, "kernel entry: a map of %u rows of %u bytes for op %s", m->rows,
                     m->bytes, op_name((enum op)r->desc.op));
}

static qrt_status check_launch(const struct entry_record *r, const struct arch *arch)
{
    if (r->m_lo < 1 || r->m_hi < r->m_lo || r->split < 0)
        return error_set(QRT_E_FORMAT, "kernel entry: rows %d..%d, split %d", r->m_lo, r->m_hi,
                         r->split);
    if (arch->kind != ARCH_SM) return QRT_OK;
    uint64_t threads = 1;
    for (int i = 0; i < 3; i++) {
        if (r->grid[i].dim >= DIM_COUNT || r->grid[i].div < 1 || r->grid[i].div > MAX_BLOCKS_DIV)
            return error_set(QRT_E_FORMAT, "kernel entry: grid %d is dim %u over %u", i,
                             r->grid[i].dim, r->grid[i].div);
        if (r->block[i] < 1 || r->block[i] > MAX_THREADS)
            return error_set(QRT_E_FORMAT, "kernel entry: block %d is %u", i, r->block[i]);
        threads *= r->block[i];
    }
    if (threads > MAX_THREADS || r->smem_bytes > (uint32_t)arch->smem_bytes)
        return error_set(QRT_E_FORMAT, "kernel entry: %llu threads, %u bytes of shared memory",
                         (unsigned long long)threads, r->smem_bytes);
    return check_map(r);
}

static qrt_status check_record(const struct entry_record *r)
{
    TRY(check_strings(r));
    TRY(op_desc_check(&r->desc));
    const struct arch *arch = arch_find(r->arch);
    if (!arch) return error_set(QRT_E_FORMAT, "kernel entry: unknown arch '%s'", r->arch);
    return check_launch(r, arch);
}

qrt_status entry_check(const struct entry *e)
{
    TRY(check_record(&e->record));
    const char *ptx = e->part[ENTRY_PTX].data;
    const size_t ptx_bytes = e->part[ENTRY_PTX].bytes;
    if (ptx_bytes > 0 && ptx[ptx_bytes - 1] != 0) /* the driver reads it as a string */
        return error_set(QRT_E_FORMAT, "kernel entry: the PTX text has no end");
    return QRT_OK;
}

static qrt_status check_size(const struct header *h, size_t count)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return error_set(QRT_E_FORMAT, "not a kernel entry: no QKENTRY1 at byte 0");
    if (h->version != VERSION || h->header_bytes != sizeof *h)
        return error_set(QRT_E_FORMAT,
                         "kernel entry: version %u with a header of %u bytes, this library reads "
                         "version %d with %zu; build the kernel again",
                         h->version, h->header_bytes, VERSION, sizeof *h);
    if (h->total_bytes != count)
        return error_set(QRT_E_FORMAT, "kernel entry: %zu bytes, its header says %llu", count,
                         (unsigned long long)h->total_bytes);
    return QRT_OK;
}

static qrt_status check_hash(const uint8_t *bytes, size_t count)
{
    uint8_t hash[HASH_BYTES];
    blake2b_hash(hash, sizeof hash, bytes, count - HASH_BYTES);
    if (memcmp(hash, bytes + count - HASH_BYTES, HASH_BYTES) != 0)
        return error_set(QRT_E_FORMAT, "kernel entry: damaged, its hash does not match");
    return QRT_OK;
}

static qrt_status read_parts(const struct header *h, const uint8_t *bytes, size_t count,
                             struct entry *out)
{
    const uint64_t end = count - HASH_BYTES;
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        const uint64_t offset = h->part[i].offset, size = h->part[i].bytes;
        if (offset < sizeof *h || offset > end || size > end - offset || offset % PART_ALIGN != 0)
            return error_set(QRT_E_FORMAT, "kernel entry: part %d at %llu with %llu bytes of %zu",
                             i, (unsigned long long)offset, (unsigned long long)size, count);
        out->part[i].data = bytes + offset;
        out->part[i].bytes = (size_t)size;
    }
    return QRT_OK;
}

qrt_status entry_parse(const void *bytes, size_t count, struct entry *out)
{
    struct header h;
    if (count < sizeof h + HASH_BYTES || count > ENTRY_MAX_BYTES)
        return error_set(QRT_E_FORMAT, "kernel entry: %zu bytes, expected %zu to %zu", count,
                         sizeof h + HASH_BYTES, ENTRY_MAX_BYTES);
    memcpy(&h, bytes, sizeof h);
    TRY(check_size(&h, count));
    TRY(check_hash(bytes, count));
    struct entry e;
    memcpy(e.key, h.key, sizeof e.key);
    e.record = h.record;
    TRY(read_parts(&h, bytes, count, &e));
    TRY(entry_check(&e));
    *out = e;
    return QRT_OK;
}

qrt_status entry_serialize(const struct entry *e, void **bytes, size_t *count)
{
    struct header h;
    memset(&h, 0, sizeof h);
    size_t total = align_up(sizeof h);
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        h.part[i].offset = total;
        h.part[i].bytes = e->part[i].bytes;
        const size_t left = ENTRY_MAX_BYTES - total - HASH_BYTES; /* a multiple of PART_ALIGN */
        if (e->part[i].bytes > left)
            return error_set(QRT_E_LIMIT, "kernel '%s': over the limit of %zu bytes",
                             e->record.symbol, ENTRY_MAX_BYTES);
        total += align_up(e->part[i].bytes);
    }
    total += HASH_BYTES;
    memcpy(h.magic, magic, sizeof magic);
    h.version = VERSION;
    h.header_bytes = sizeof h;
    h.total_bytes = total;
    memcpy(h.key, e->key, sizeof h.key);
    h.record = e->record;

    uint8_t *out = calloc(1, total);
    if (!out) return error_set(QRT_E_MEMORY, "kernel '%s': no %zu bytes", e->record.symbol, total);
    memcpy(out, &h, sizeof h);
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        if (e->part[i].bytes > 0) memcpy(out + h.part[i].offset, e->part[i].data, e->part[i].bytes);
    blake2b_hash(out + total - HASH_BYTES, HASH_BYTES, out, total - HASH_BYTES);
    *bytes = out;
    *count = total;
    return QRT_OK;
}
