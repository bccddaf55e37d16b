/* vocabularies.c -- small vocabularies made by hand, as tokenizer blobs */
#include "vocabularies.h"

#include <string.h>

#include "helpers.h"

enum { MOST = 400 };

static struct vocabulary_text as_text(const char *s)
{
    return (struct vocabulary_text){(const uint8_t *)s, strlen(s)};
}

qrt_status toy_try(enum tokenizer_kind kind, enum pretoken_rule rule, unsigned flags, int unknown,
                   const struct toy_token *tokens, const char *const *merges, void **blob,
                   size_t *bytes)
{
    struct vocabulary_token list[MOST];
    struct vocabulary_text merge_list[MOST];
    struct vocabulary v = {.kind = kind,
                           .rule = rule,
                           .flags = flags,
                           .unknown = unknown,
                           .tokens = list,
                           .merges = merge_list};
    for (; tokens[v.count].text; v.count++)
        list[v.count] = (struct vocabulary_token){as_text(tokens[v.count].text),
                                                  tokens[v.count].type, tokens[v.count].score};
    for (; merges && merges[v.merge_count]; v.merge_count++)
        merge_list[v.merge_count] = as_text(merges[v.merge_count]);
    return tokenizer_build(&v, blob, bytes);
}

size_t toy_build(enum tokenizer_kind kind, enum pretoken_rule rule, unsigned flags, int unknown,
                 const struct toy_token *tokens, const char *const *merges, void **blob)
{
    size_t bytes = 0;
    if (toy_try(kind, rule, flags, unknown, tokens, merges, blob, &bytes) != QRT_OK)
        fail_msg("%s", qrt_message());
    return bytes;
}
