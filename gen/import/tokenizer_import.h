/* tokenizer_import.h -- a GGUF file's tokenizer as the runtime's tables
 *
 * Reads tokenizer.ggml.*: model (gpt2, llama), pre, tokens, token_type, scores, merges,
 * unknown/bos/eos_token_id, add_bos_token, add_space_prefix.
 * Errors: QRT_E_FORMAT when the file contradicts itself (counts, types, ids outside of the
 * vocabulary, merges of texts that are no tokens), QRT_E_MODEL when the kind is not known.
 */
#ifndef QGEN_TOKENIZER_IMPORT_H
#define QGEN_TOKENIZER_IMPORT_H

#include <stddef.h>

#include "gguf.h"

struct tokenizer_info {
    int tokens;   /* in the vocabulary */
    int bos, eos; /* ids, -1: none */
    int add_bos;  /* 0 without bos */
};

/* Make the blob (tokenizer.h); the caller frees *blob. */
qrt_status tokenizer_import(const struct gguf *g, void **blob, size_t *bytes,
                            struct tokenizer_info *info);

#endif
