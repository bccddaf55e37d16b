/* html.c -- HTML and SVG written into memory, with everything from outside escaped */
#include "html.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static void append(struct html *h, const char *text, size_t bytes)
{
    if (h->failed) return;
    if (h->bytes + bytes + 1 > h->capacity) {
        const size_t capacity = 2 * (h->bytes + bytes + 1) + 4096;
        char *grown = realloc(h->text, capacity);
        if (!grown) {
            h->failed = 1;
            return;
        }
        h->text = grown;
        h->capacity = capacity;
    }
    memcpy(h->text + h->bytes, text, bytes);
    h->bytes += bytes;
    h->text[h->bytes] = 0;
}

/* Formatted text to free(); NULL and h->failed without memory. */
static char *formatted(struct html *h, const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) >= 0) return text;
    h->failed = 1;
    return NULL;
}

void html_markup(struct html *h, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = formatted(h, format, arguments);
    va_end(arguments);
    if (text) append(h, text, strlen(text));
    free(text);
}

/* Bytes of the UTF-8 character at `text`, 0 when it is none. */
static size_t character_bytes(const unsigned char *text)
{
    static const struct {
        unsigned char mask, lead, bytes;
        unsigned least; /* smaller ones are written shorter */
    } forms[] = {
        {0x80, 0, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};
    for (size_t f = 0; f < 4; f++) {
        if ((text[0] & forms[f].mask) != forms[f].lead) continue;
        unsigned code = text[0] & (unsigned char)~forms[f].mask;
        for (size_t i = 1; i < forms[f].bytes; i++) {
            if ((text[i] & 0xc0) != 0x80) return 0;
            code = code << 6 | (text[i] & 0x3fu);
        }
        const int is_surrogate = code >= 0xd800 && code < 0xe000;
        return code >= forms[f].least && code < 0x110000 && !is_surrogate ? forms[f].bytes : 0;
    }
    return 0;
}

/* What stands for the character at `text` when it may not stand for itself; else NULL. */
static const char *entity(const unsigned char *text, size_t bytes)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const int is_c1 = text[0] == 0xc2 && bytes == 2 && text[1] < 0xa0;
    if (bytes == 0 || is_c1 || text[0] == 0x7f) return replacement;
    switch (text[0]) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\n':
    case '\t': return NULL;
    default: return text[0] < 0x20 ? replacement : NULL;
    }
}

void html_text(struct html *h, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        const size_t bytes = character_bytes(at);
        const char *instead = entity(at, bytes);
        if (instead)
            append(h, instead, strlen(instead));
        else
            append(h, (const char *)at, bytes);
        at += bytes ? bytes : 1;
    }
}

void html_textf(struct html *h, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = formatted(h, format, arguments);
    va_end(arguments);
    if (text) html_text(h, text);
    free(text);
}

qrt_status html_take(struct html *h, char **text, size_t *bytes)
{
    const struct html taken = *h;
    *h = (struct html){.text = NULL};
    if (taken.failed || !taken.text) {
        free(taken.text);
        return error_set(QRT_E_MEMORY, "no memory for a page of more than %zu bytes", taken.bytes);
    }
    *text = taken.text;
    *bytes = taken.bytes;
    return QRT_OK;
}
