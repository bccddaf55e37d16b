/* unicode.h -- UTF-8, and the classes of characters that pre-tokenizers tell apart
 *
 * Decoding is as lenient as llama.cpp's, so that ids agree for any bytes: a sequence counts when
 * its lead byte and continuation bytes have the right form, even if it is longer than needed or a
 * surrogate; every other byte counts alone as U+FFFD, and so does each byte of a value above
 * U+10FFFF.
 */
#ifndef QRT_UNICODE_H
#define QRT_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* One class a character; UNICODE_END is what stands behind a text. */
enum unicode_class {
    UNICODE_OTHER, /* symbols, marks, controls, unassigned */
    UNICODE_LETTER,
    UNICODE_NUMBER,
    UNICODE_PUNCTUATION,
    UNICODE_SPACE, /* White_Space */
    UNICODE_END
};

#define UNICODE_REPLACEMENT 0xFFFDu
#define UNICODE_LIMIT       0x110000u

enum unicode_class unicode_class(uint32_t code);

/* Bytes of the sequence that a lead byte announces, 1 to 4; a continuation byte: 1. */
size_t unicode_lead_bytes(uint8_t lead);

/* Decode the character at text[0 .. left), left > 0; return its bytes. */
size_t unicode_decode(const uint8_t *text, size_t left, uint32_t *code);
/* Write a code below UNICODE_LIMIT; return its bytes, at most 4. */
size_t unicode_encode(uint32_t code, uint8_t *out);

/* Whether decoding and encoding again gives the same bytes. */
int unicode_is_clean(const uint8_t *text, size_t bytes);
/* Decode and encode again. `out` has room for 3 * bytes; returns the bytes written. */
size_t unicode_repair(const uint8_t *text, size_t bytes, uint8_t *out);

#endif
