/* gpu.c -- the table of GPUs: reading its text, finding one */
#include "gpu.h"

#include <ctype.h>
#include <string.h>

#include "blocks.h"
#include "error.h"

/* ---- reading ---- */

enum { OPTIONAL = 0, REQUIRED = 1 };
#define TEXT(name, required, field) BLOCK_TEXT_KEY(name, required, struct gpu, field)
#define REAL(name, required, field, unit) \
    BLOCK_NUMBER_KEY(name, BLOCK_REAL, required, struct gpu, field, unit)

static const struct block_key keys[] = {
    TEXT("gpu", REQUIRED, name), /* opens a block */
    TEXT("also", OPTIONAL, also),
    TEXT("title", REQUIRED, title),
    TEXT("arch", REQUIRED, arch),
    BLOCK_NUMBER_KEY("processors", BLOCK_COUNT, REQUIRED, struct gpu, processors, 0),
    REAL("clock_mhz", REQUIRED, clock_hz, 1e6),
    REAL("memory_mib", REQUIRED, memory_bytes, 1 << 20),
    REAL("memory_gb_s", REQUIRED, memory_bytes_s, 1e9),
    REAL("l2_mib", REQUIRED, l2_bytes, 1 << 20),
    REAL("l2_gb_s", REQUIRED, l2_bytes_s, 1e9),
    TEXT("l2_source", REQUIRED, l2_source),
    REAL("f16_tops", REQUIRED, f16_ops_s, 1e12),
    REAL("i8_tops", REQUIRED, i8_ops_s, 1e12),
    REAL("f8_tops", REQUIRED, f8_ops_s, 1e12),
    REAL("smem_kib", REQUIRED, smem_bytes, 1 << 10),
    REAL("price_hour", OPTIONAL, price_hour, 1),
    TEXT("price_date", OPTIONAL, price_date),
    TEXT("price_source", OPTIONAL, price_source),
    TEXT("source", REQUIRED, source),
};

static qrt_status check(const void *item)
{
    const struct gpu *g = item;
    const struct arch *arch = arch_find(g->arch);
    if (!arch || arch->kind != ARCH_SM)
        return error_set(QRT_E_FORMAT,
                         "'%s' is not an architecture of GPUs; `qgen targets` lists them", g->arch);
    if (g->price_hour > 0 && (!g->price_date[0] || !g->price_source[0]))
        return error_set(QRT_E_FORMAT, "a price needs price_date and price_source");
    if (g->memory_bytes_s <= 0 || g->f16_ops_s <= 0 || g->clock_hz <= 0)
        return error_set(QRT_E_FORMAT, "memory_gb_s, f16_tops and clock_mhz must be above 0");
    return QRT_OK;
}

qrt_status gpus_parse(const char *text, size_t bytes, const char *origin, struct gpus *out)
{
    static const struct block_format format = {.keys = keys,
                                               .key_count = sizeof keys / sizeof *keys,
                                               .item_bytes = sizeof(struct gpu),
                                               .most_items = GPU_MAX,
                                               .check = check};
    TRY(blocks_parse(&format, text, bytes, origin, out->items, &out->count));
    for (size_t i = 0; i < out->count; i++)
        if (gpus_find(out, out->items[i].name) != &out->items[i])
            return error_set(QRT_E_FORMAT, "%s: a second gpu '%s'", origin, out->items[i].name);
    return QRT_OK;
}

/* ---- finding ---- */

/* Small letters and digits of the first `length` bytes, without the maker's words. */
static void plain_name(const char *name, size_t length, char out[GPU_TEXT_BYTES])
{
    static const char *const words[] = {"nvidia", "geforce"};
    size_t n = 0;
    for (size_t i = 0; i < length && name[i] && n + 1 < GPU_TEXT_BYTES; i++)
        if (isalnum((unsigned char)name[i])) out[n++] = (char)tolower((unsigned char)name[i]);
    out[n] = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(out, words[i], strlen(words[i])) == 0)
            memmove(out, out + strlen(words[i]), strlen(out + strlen(words[i])) + 1);
}

static int is_called(const struct gpu *g, const char *wanted)
{
    char plain[GPU_TEXT_BYTES];
    plain_name(g->name, sizeof g->name, plain);
    if (strcmp(plain, wanted) == 0) return 1;
    for (const char *p = g->also; *p; p += strcspn(p, ","), p += *p == ',') {
        plain_name(p, strcspn(p, ","), plain);
        if (strcmp(plain, wanted) == 0) return 1;
    }
    return 0;
}

const struct gpu *gpus_find(const struct gpus *g, const char *name)
{
    char wanted[GPU_TEXT_BYTES];
    plain_name(name, strlen(name), wanted);
    for (size_t i = 0; i < g->count && *wanted; i++)
        if (is_called(&g->items[i], wanted)) return &g->items[i];
    return NULL;
}

const struct gpu *gpus_of_arch(const struct gpus *g, const struct arch *a)
{
    for (size_t i = 0; i < g->count; i++)
        if (strcmp(g->items[i].arch, a->name) == 0) return &g->items[i];
    for (size_t i = 0; i < g->count; i++)
        if (arch_runs_on(a, arch_find(g->items[i].arch))) return &g->items[i];
    return NULL;
}
