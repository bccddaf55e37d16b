/* unicode.c -- UTF-8, and the classes of characters */
#include "unicode.h"

#include <string.h>

/* class_starts[]: code << 3 | class of the first character of each run of one class, ascending. */
#include "unicode_table.h"

enum { STARTS = sizeof class_starts / sizeof *class_starts };

enum unicode_class unicode_class(uint32_t code)
{
    const uint32_t wanted = code << 3 | 7;
    size_t low = 0, high = STARTS;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (class_starts[middle] <= wanted)
            low = middle;
        else
            high = middle;
    }
    return (enum unicode_class)(class_starts[low] & 7);
}

size_t unicode_lead_bytes(uint8_t lead)
{
    static const uint8_t by_high_bits[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    return by_high_bits[lead >> 4];
}

/* Value of a well-formed sequence of `count` bytes, or UNICODE_LIMIT. */
static uint32_t sequence_value(const uint8_t *text, size_t count)
{
    if (count == 1) return text[0] < 0x80 ? text[0] : UNICODE_LIMIT;
    if (count == 4 && text[0] >= 0xF8) return UNICODE_LIMIT;
    uint32_t value = text[0] & (0x7Fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xC0) != 0x80) return UNICODE_LIMIT;
        value = value << 6 | (text[i] & 0x3F);
    }
    return value;
}

size_t unicode_decode(const uint8_t *text, size_t left, uint32_t *code)
{
    const size_t count = unicode_lead_bytes(text[0]);
    const uint32_t value = count <= left ? sequence_value(text, count) : UNICODE_LIMIT;
    *code = value < UNICODE_LIMIT ? value : UNICODE_REPLACEMENT;
    return value < UNICODE_LIMIT ? count : 1;
}

size_t unicode_encode(uint32_t code, uint8_t *out)
{
    static const uint8_t lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    const size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = count - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (uint8_t)(lead[count] | code);
    return count;
}

int unicode_is_clean(const uint8_t *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint32_t code;
        uint8_t again[4];
        const size_t count = unicode_decode(text + at, bytes - at, &code);
        if (unicode_encode(code, again) != count || memcmp(again, text + at, count) != 0) return 0;
        at += count;
    }
    return 1;
}

size_t unicode_repair(const uint8_t *text, size_t bytes, uint8_t *out)
{
    size_t at = 0, written = 0;
    while (at < bytes) {
        uint32_t code;
        at += unicode_decode(text + at, bytes - at, &code);
        written += unicode_encode(code, out + written);
    }
    return written;
}
