/* pretoken.h -- cuts text into the words inside which byte-level BPE merges
 *
 * Each rule stands for the regular expressions that a family of models was trained with; they are
 * matched by hand here.  A rule is a chain of stages: each cuts what the one before left, so what
 * looks ahead sees no further than its own piece.
 */
#ifndef QRT_PRETOKEN_H
#define QRT_PRETOKEN_H

#include <stddef.h>
#include <stdint.h>

#include "qrt.h"

/* The numbers are part of the tokenizer blob: append only. */
enum pretoken_rule {
    PRETOKEN_DEFAULT, /* punctuation runs, then GPT-2's words, then digits in threes */
    PRETOKEN_GPT2,
    PRETOKEN_SMOLLM, /* every digit alone, then GPT-2's words */
    PRETOKEN_LLAMA3, /* words with one leading sign, digits up to three */
    PRETOKEN_QWEN2,  /* the same, digits one by one */
    PRETOKEN_RULE_COUNT
};

/* Call word() for the pieces of a clean UTF-8 text (unicode.h) in order; together they are the
 * text.  Stops at the first status that is not QRT_OK and returns it. */
qrt_status pretoken_split(enum pretoken_rule rule, const uint8_t *text, size_t bytes,
                          qrt_status (*word)(void *user, const uint8_t *bytes, size_t count),
                          void *user);

#endif
