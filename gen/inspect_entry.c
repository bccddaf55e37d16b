/* inspect_entry.c -- what a kernel entry holds */
#include <stdio.h>
#include <stdlib.h>

#include "entry.h"
#include "error.h"
#include "file.h"
#include "inspect.h"

static void key_text(const uint8_t *key, char text[2 * ENTRY_KEY_BYTES + 1])
{
    for (int i = 0; i < ENTRY_KEY_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", key[i]);
}

static json_t *kernel_of(const struct entry *e)
{
    const struct entry_record *r = &e->record;
    char request[OP_NAME_BYTES], key[2 * ENTRY_KEY_BYTES + 1];
    op_desc_name(&r->desc, request);
    key_text(e->key, key);
    return json_pack("{ss ss ss ss ss ss si si si si si si si si}", "request", request, "arch",
                     r->arch, "template", r->template_, "tune", r->tune, "symbol", r->symbol, "key",
                     key, "m_lo", r->m_lo, "m_hi", r->m_hi, "split", r->split, "rank", r->rank,
                     "regs", (int)r->regs, "stack_bytes", (int)r->stack_bytes, "smem_bytes",
                     (int)(r->smem_bytes + r->smem_static_bytes), "block",
                     (int)(r->block[0] * r->block[1] * r->block[2]));
}

static json_t *parts_of(const struct entry *e)
{
    static const char *const names[ENTRY_PART_COUNT] = {"image", "ptx", "source"};
    json_t *parts = json_object();
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        json_object_set_new(parts, names[i], json_integer((json_int_t)e->part[i].bytes));
    return parts;
}

qrt_status inspect_entry(const char *path, json_t *result)
{
    void *bytes;
    size_t count;
    struct entry e;
    TRY(file_read(path, ENTRY_MAX_BYTES, &bytes, &count));
    const qrt_status status = entry_parse(bytes, count, &e);
    if (status == QRT_OK) {
        json_object_set_new(result, "bytes", json_integer((json_int_t)count));
        json_object_set_new(result, "kernel", kernel_of(&e));
        json_object_set_new(result, "parts", parts_of(&e));
    }
    free(bytes);
    return status == QRT_OK ? QRT_OK : error_context(status, "%s", path);
}
