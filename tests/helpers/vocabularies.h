/* vocabularies.h -- small vocabularies made by hand, as tokenizer blobs */
#ifndef TESTS_VOCABULARIES_H
#define TESTS_VOCABULARIES_H

#include "tokenizer_build.h"

/* A token written as a C string. */
struct toy_token {
    const char *text;
    uint32_t type;
    float score;
};

/* Build; asserts success.  Lists end with a NULL text; merges may be NULL.  Free *blob. */
size_t toy_build(enum tokenizer_kind kind, enum pretoken_rule rule, unsigned flags, int unknown,
                 const struct toy_token *tokens, const char *const *merges, void **blob);
/* The same without asserting. */
qrt_status toy_try(enum tokenizer_kind kind, enum pretoken_rule rule, unsigned flags, int unknown,
                   const struct toy_token *tokens, const char *const *merges, void **blob,
                   size_t *bytes);

#endif
