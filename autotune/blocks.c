/* blocks.c -- tables as text: blocks of `key value` lines into an array of structs */
#include "blocks.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* The line at hand, and which keys the block has had. */
struct reader {
    const struct block_format *format;
    const char *origin;
    int line;
    uint32_t seen;
    char *items;
    size_t count;
};

static char *item_of(const struct reader *r, size_t i)
{
    return r->items + i * r->format->item_bytes;
}

static qrt_status bad_line(const struct reader *r, const char *what, const char *name)
{
    return error_set(QRT_E_FORMAT, "%s:%d: %s '%s'", r->origin, r->line, what, name);
}

static int find_key(const struct block_format *f, const char *name)
{
    for (size_t i = 0; i < f->key_count; i++)
        if (strcmp(f->keys[i].name, name) == 0) return (int)i;
    return -1;
}

static qrt_status set_text(const struct reader *r, const struct block_key *k, char *to,
                           const char *value)
{
    if (strlen(value) >= k->bytes)
        return error_set(QRT_E_FORMAT, "%s:%d: %s has %zu bytes, at most %zu fit", r->origin,
                         r->line, k->name, strlen(value), k->bytes - 1);
    strcpy(to, value);
    return QRT_OK;
}

static qrt_status set_number(const struct reader *r, const struct block_key *k, char *to,
                             const char *value)
{
    char *end;
    const double number = strtod(value, &end);
    const int is_real = k->type == BLOCK_REAL;
    const int is_whole = number == floor(number) && number <= 1e9;
    if (end == value || *end || !isfinite(number) || number < (k->type == BLOCK_COUNT) ||
        (!is_real && !is_whole))
        return error_set(QRT_E_FORMAT, "%s:%d: %s: '%s' is not a %s", r->origin, r->line, k->name,
                         value, is_real ? "number from 0 up" : "count");
    if (is_real) {
        const double scaled = number * k->unit;
        memcpy(to, &scaled, sizeof scaled);
    } else {
        const int count = (int)number;
        memcpy(to, &count, sizeof count);
    }
    return QRT_OK;
}

/* Whether the block that ends here is whole. */
static qrt_status end_block(const struct reader *r)
{
    if (r->count == 0) return QRT_OK;
    const struct block_format *f = r->format;
    const char *item = item_of(r, r->count - 1), *name = item + f->keys[0].offset;
    for (size_t i = 0; i < f->key_count; i++)
        if (f->keys[i].required && !(r->seen >> i & 1))
            return error_set(QRT_E_FORMAT, "%s:%d: %s %s has no line '%s'", r->origin, r->line,
                             f->keys[0].name, name, f->keys[i].name);
    const qrt_status status = f->check(item);
    if (status == QRT_OK) return QRT_OK;
    return error_context(status, "%s:%d: %s %s", r->origin, r->line, f->keys[0].name, name);
}

static qrt_status start_block(struct reader *r)
{
    TRY(end_block(r));
    if (r->count == r->format->most_items)
        return error_set(QRT_E_FORMAT, "%s:%d: at most %zu blocks", r->origin, r->line,
                         r->format->most_items);
    memset(item_of(r, r->count++), 0, r->format->item_bytes);
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
    const int key = find_key(r->format, line);
    if (key < 0) return bad_line(r, "unknown key", line);
    if (!*value) return bad_line(r, "no value for", line);
    if (key == 0) TRY(start_block(r));
    if (r->count == 0) return bad_line(r, "before the first block, unexpected", line);
    if (r->seen >> key & 1) return bad_line(r, "a second line", line);
    r->seen |= 1u << key;
    const struct block_key *k = &r->format->keys[key];
    char *to = item_of(r, r->count - 1) + k->offset;
    return k->type == BLOCK_TEXT ? set_text(r, k, to, value) : set_number(r, k, to, value);
}

qrt_status blocks_parse(const struct block_format *format, const char *text, size_t bytes,
                        const char *origin, void *items, size_t *count)
{
    enum { LINE_BYTES = 512 };
    struct reader r = {.format = format, .origin = origin, .items = items};
    const char *const end = text + bytes;
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
    *count = r.count;
    if (r.count == 0)
        return error_set(QRT_E_FORMAT, "%s: no block '%s' in it", origin, format->keys[0].name);
    return end_block(&r);
}
