/* gpu.c -- the table of GPUs: reading its text, finding one */
#include "gpu.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* ---- the keys ---- */

enum value_type { VALUE_TEXT, VALUE_COUNT, VALUE_REAL };
enum { OPTIONAL = 0, REQUIRED = 1 };

/* A line `name value`: where the value goes, in which unit the text says it. */
struct key {
    const char *name;
    enum value_type type;
    int required;
    size_t offset, bytes; /* bytes: of texts */
    double unit;
};
#define TEXT(name, needed, field)                                                                  \
    {                                                                                              \
        name, VALUE_TEXT, needed, offsetof(struct gpu, field), sizeof(((struct gpu *)0)->field), 0 \
    }
#define COUNT(name, needed, field)                                             \
    {                                                                          \
        name, VALUE_COUNT, needed, offsetof(struct gpu, field), sizeof(int), 0 \
    }
#define REAL(name, needed, field, unit)                                             \
    {                                                                               \
        name, VALUE_REAL, needed, offsetof(struct gpu, field), sizeof(double), unit \
    }

static const struct key keys[] = {
    TEXT("gpu", REQUIRED, name), /* opens a block */
    TEXT("also", OPTIONAL, also),
    TEXT("title", REQUIRED, title),
    TEXT("arch", REQUIRED, arch),
    COUNT("processors", REQUIRED, processors),
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
enum { KEYS = sizeof keys / sizeof *keys };

/* ---- reading ---- */

/* The line at hand, and which keys the block has had. */
struct reader {
    const char *origin;
    int line;
    uint32_t seen;
    struct gpus *out;
};

static qrt_status bad_line(const struct reader *r, const char *what, const char *name)
{
    return error_set(QRT_E_FORMAT, "%s:%d: %s '%s'", r->origin, r->line, what, name);
}

static int find_key(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (strcmp(keys[i].name, name) == 0) return i;
    return -1;
}

static qrt_status set_text(const struct reader *r, const struct key *k, char *to, const char *value)
{
    if (strlen(value) >= k->bytes)
        return error_set(QRT_E_FORMAT, "%s:%d: %s has %zu bytes, at most %zu fit", r->origin,
                         r->line, k->name, strlen(value), k->bytes - 1);
    strcpy(to, value);
    return QRT_OK;
}

static qrt_status set_number(const struct reader *r, const struct key *k, char *to,
                             const char *value)
{
    char *end;
    const double number = strtod(value, &end);
    const int is_whole = number == floor(number) && number >= 1 && number <= 1e6;
    if (end == value || *end || !isfinite(number) || number < 0 ||
        (k->type == VALUE_COUNT && !is_whole))
        return error_set(QRT_E_FORMAT, "%s:%d: %s: '%s' is not a %s", r->origin, r->line, k->name,
                         value, k->type == VALUE_COUNT ? "count" : "number from 0 up");
    if (k->type == VALUE_COUNT) {
        const int count = (int)number;
        memcpy(to, &count, sizeof count);
    } else {
        const double scaled = number * k->unit;
        memcpy(to, &scaled, sizeof scaled);
    }
    return QRT_OK;
}

/* Whether the block that ends here is whole. */
static qrt_status end_block(const struct reader *r)
{
    if (r->out->count == 0) return QRT_OK;
    const struct gpu *g = &r->out->items[r->out->count - 1];
    for (int i = 0; i < KEYS; i++)
        if (keys[i].required && !(r->seen >> i & 1))
            return error_set(QRT_E_FORMAT, "%s:%d: gpu %s has no line '%s'", r->origin, r->line,
                             g->name, keys[i].name);
    const struct arch *arch = arch_find(g->arch);
    if (!arch || arch->kind != ARCH_SM)
        return bad_line(r, "no GPU architecture is called", g->arch);
    if (g->price_hour > 0 && (!g->price_date[0] || !g->price_source[0]))
        return bad_line(r, "a price needs price_date and price_source: gpu", g->name);
    if (g->memory_bytes_s <= 0 || g->f16_ops_s <= 0 || g->clock_hz <= 0)
        return bad_line(r, "memory_gb_s, f16_tops and clock_mhz must be above 0: gpu", g->name);
    return QRT_OK;
}

static qrt_status start_block(struct reader *r, const char *name)
{
    TRY(end_block(r));
    if (gpus_find(r->out, name)) return bad_line(r, "a second gpu", name);
    if (r->out->count == GPU_MAX)
        return error_set(QRT_E_FORMAT, "%s:%d: at most %d GPUs", r->origin, r->line, GPU_MAX);
    r->out->items[r->out->count++] = (struct gpu){.processors = 0};
    r->seen = 0;
    return QRT_OK;
}

static qrt_status read_line(struct reader *r, char *line)
{
    line += strspn(line, " \t");
    char *end = line + strlen(line);
    while (end > line && isspace((unsigned char)end[-1])) *--end = 0;
    if (!*line || *line == '#') return QRT_OK;
    char *value = line + strcspn(line, " \t");
    if (*value) *value++ = 0;
    value += strspn(value, " \t");
    const int key = find_key(line);
    if (key < 0) return bad_line(r, "unknown key", line);
    if (!*value) return bad_line(r, "no value for", line);
    if (key == 0) TRY(start_block(r, value));
    if (r->out->count == 0) return bad_line(r, "a block starts with 'gpu', not with", line);
    if (r->seen >> key & 1) return bad_line(r, "a second line", line);
    r->seen |= 1u << key;
    const struct key *k = &keys[key];
    char *to = (char *)&r->out->items[r->out->count - 1] + k->offset;
    return k->type == VALUE_TEXT ? set_text(r, k, to, value) : set_number(r, k, to, value);
}

qrt_status gpus_parse(const char *text, size_t bytes, const char *origin, struct gpus *out)
{
    enum { LINE_BYTES = 512 };
    struct reader r = {.origin = origin, .out = out};
    const char *const end = text + bytes;
    out->count = 0;
    while (text < end) {
        char line[LINE_BYTES];
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const size_t length = (size_t)((newline ? newline : end) - text);
        r.line++;
        if (length >= sizeof line || memchr(text, 0, length))
            return bad_line(&r, "too long or not text:", "line");
        memcpy(line, text, length);
        line[length] = 0;
        TRY(read_line(&r, line));
        text += length + 1;
    }
    if (out->count == 0) return error_set(QRT_E_FORMAT, "%s: no GPU in it", origin);
    return end_block(&r);
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
