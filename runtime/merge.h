/* merge.h -- joins neighbouring symbols of a text, best pair first, until no pair is a token
 *
 * Owns: a struct merge owns its working memory, which grows with the longest text and is reused.
 * Zero it (with rt and tokenizer set) before the first call, merge_close() it after the last.
 */
#ifndef QRT_MERGE_H
#define QRT_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "qrt.h"
#include "tokenizer.h"

struct merge {
    struct qrt *rt;
    const struct tokenizer *tokenizer;
    struct merge_symbol *symbols; /* [capacity], in text order */
    struct merge_pair *heap;      /* [2 * capacity] */
    size_t capacity;
    size_t symbol_count, heap_count;
};

/* A piece of the text: a token, or a character or byte that is none (id -1). */
struct merge_symbol {
    uint32_t offset, bytes; /* in the text; 0 bytes: merged into the one on its left */
    int32_t previous, next; /* symbols; -1: none */
    int32_t id;
};

/* Merge text[0 .. bytes), 0 < bytes <= 3 * TOKENIZER_MAX_TEXT + 3.  The result is the chain of
 * m->symbols from 0 along `next`. */
qrt_status merge_run(struct merge *m, const uint8_t *text, size_t bytes);
void merge_close(struct merge *m);

#endif
