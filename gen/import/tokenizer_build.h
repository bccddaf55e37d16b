/* tokenizer_build.h -- makes the tables of runtime/tokenizer.h from a vocabulary
 *
 * Texts are written as GGUF writes them: TOKENIZER_BPE's ordinary tokens and merges in GPT-2's
 * alphabet, where every byte is a printable character; TOKENIZER_SPM's with U+2581 for a space and
 * "<0x0A>" for a byte.  Specials are plain text.
 */
#ifndef QGEN_TOKENIZER_BUILD_H
#define QGEN_TOKENIZER_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "pretoken.h"
#include "tokenizer.h"

struct vocabulary_text {
    const uint8_t *data; /* not NUL-terminated */
    size_t bytes;
};

struct vocabulary_token {
    struct vocabulary_text text;
    uint32_t type; /* enum tokenizer_type */
    float score;   /* TOKENIZER_SPM: highest merges first */
};

struct vocabulary {
    enum tokenizer_kind kind;
    enum pretoken_rule rule;               /* TOKENIZER_BPE */
    unsigned flags;                        /* of enum tokenizer_flag */
    int unknown;                           /* id, or -1 */
    size_t count, merge_count;             /* 1 or more; 0 or more */
    const struct vocabulary_token *tokens; /* [count], by id */
    const struct vocabulary_text *merges;  /* [merge_count]: "left right", first merges first */
};

/* Make the blob; the caller frees *blob.  Equal vocabularies give equal bytes.  QRT_E_FORMAT names
 * the token or merge that contradicts the rest; QRT_E_LIMIT one that is too long.  Of two ordinary
 * tokens with one text the later wins, of two merges of one pair the earlier. */
qrt_status tokenizer_build(const struct vocabulary *v, void **blob, size_t *bytes);

#endif
