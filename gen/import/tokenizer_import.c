/* tokenizer_import.c -- reads a GGUF file's tokenizer */
#include "tokenizer_import.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "tokenizer_build.h"

#define KEY(name) "tokenizer.ggml." name

static int equals(struct gguf_text text, const char *name)
{
    return text.bytes == strlen(name) && memcmp(text.data, name, text.bytes) == 0;
}

/* What tokenizer.ggml.pre may say, and what it means for us.  A name stands here only when its
 * regular expressions are those of the rule. */
static const struct {
    const char *name;
    enum pretoken_rule rule;
    unsigned flags;
    int add_bos; /* when the file does not say */
} rules[] = {
    {"default", PRETOKEN_DEFAULT, 0, 0},
    {"gpt-2", PRETOKEN_GPT2, 0, 0},
    {"smollm", PRETOKEN_SMOLLM, 0, 0},
    {"starcoder", PRETOKEN_SMOLLM, 0, 0},
    {"llama-bpe", PRETOKEN_LLAMA3, TOKENIZER_WHOLE_WORDS, 1},
    {"llama3", PRETOKEN_LLAMA3, TOKENIZER_WHOLE_WORDS, 1},
    {"llama-v3", PRETOKEN_LLAMA3, TOKENIZER_WHOLE_WORDS, 1},
    {"qwen2", PRETOKEN_QWEN2, 0, 0},
    {"deepseek-r1-qwen", PRETOKEN_QWEN2, 0, 0},
};

static qrt_status read_bpe(const struct gguf *g, struct vocabulary *v, int *add_bos)
{
    struct gguf_text pre = {"default", 7};
    TRY(gguf_string(g, GGUF_OPTIONAL, KEY("pre"), &pre));
    v->kind = TOKENIZER_BPE;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (!equals(pre, rules[i].name)) continue;
        v->rule = rules[i].rule;
        v->flags = rules[i].flags;
        *add_bos = rules[i].add_bos;
        return QRT_OK;
    }
    return error_set(QRT_E_MODEL,
                     "%s: pre-tokenizer '%.*s' is not known; known are default, gpt-2, smollm, "
                     "starcoder, llama-bpe, qwen2, deepseek-r1-qwen",
                     g->path, (int)(pre.bytes < 40 ? pre.bytes : 40), pre.data);
}

static qrt_status read_spm(const struct gguf *g, struct vocabulary *v, int *add_bos)
{
    int prefix = 1;
    TRY(gguf_bool(g, GGUF_OPTIONAL, KEY("add_space_prefix"), &prefix));
    v->kind = TOKENIZER_SPM;
    v->flags = prefix ? TOKENIZER_SPACE_PREFIX : 0;
    *add_bos = 1;
    return QRT_OK;
}

static qrt_status read_kind(const struct gguf *g, struct vocabulary *v, int *add_bos)
{
    struct gguf_text model;
    TRY(gguf_string(g, GGUF_REQUIRED, KEY("model"), &model));
    if (equals(model, "gpt2")) return read_bpe(g, v, add_bos);
    if (equals(model, "llama")) return read_spm(g, v, add_bos);
    return error_set(QRT_E_MODEL,
                     "%s: tokenizer of kind '%.*s'; known are gpt2 (byte-level BPE) and llama "
                     "(SentencePiece BPE)",
                     g->path, (int)(model.bytes < 40 ? model.bytes : 40), model.data);
}

/* An array with one element per token, or NULL when absent and optional. */
static qrt_status per_token(const struct gguf *g, enum gguf_need need, const char *key,
                            enum gguf_value element, size_t count, const struct gguf_kv **out)
{
    TRY(gguf_array(g, need, key, element, out));
    if (*out && (*out)->count != count)
        return error_set(QRT_E_FORMAT, "%s: key '%s' has %llu elements for %zu tokens", g->path,
                         key, (unsigned long long)(*out)->count, count);
    return QRT_OK;
}

static qrt_status read_tokens(const struct gguf *g, struct vocabulary *v)
{
    const struct gguf_kv *texts, *types = NULL, *scores = NULL;
    TRY(gguf_array(g, GGUF_REQUIRED, KEY("tokens"), GGUF_STRING, &texts));
    v->count = (size_t)texts->count;
    TRY(per_token(g, GGUF_OPTIONAL, KEY("token_type"), GGUF_I32, v->count, &types));
    if (v->kind == TOKENIZER_SPM)
        TRY(per_token(g, GGUF_REQUIRED, KEY("scores"), GGUF_F32, v->count, &scores));
    struct vocabulary_token *tokens = calloc(v->count + 1, sizeof *tokens);
    if (!tokens) return error_set(QRT_E_MEMORY, "%zu bytes", v->count * sizeof *tokens);
    v->tokens = tokens;
    struct gguf_strings strings = gguf_strings(texts);
    struct gguf_text text;
    for (size_t i = 0; i < v->count && gguf_strings_next(&strings, &text); i++) {
        const int64_t type = types ? gguf_int_at(types, i) : TOKEN_NORMAL;
        tokens[i] = (struct vocabulary_token){
            .text = {(const uint8_t *)text.data, text.bytes},
            .type = type < 0 ? TOKEN_TYPE_COUNT : (uint32_t)type,
            .score = scores ? (float)gguf_real_at(scores, i) : 0,
        };
    }
    return QRT_OK;
}

static qrt_status read_merges(const struct gguf *g, struct vocabulary *v)
{
    if (v->kind != TOKENIZER_BPE) return QRT_OK;
    const struct gguf_kv *kv;
    TRY(gguf_array(g, GGUF_REQUIRED, KEY("merges"), GGUF_STRING, &kv));
    v->merge_count = (size_t)kv->count;
    struct vocabulary_text *merges = calloc(v->merge_count + 1, sizeof *merges);
    if (!merges) return error_set(QRT_E_MEMORY, "%zu bytes", v->merge_count * sizeof *merges);
    v->merges = merges;
    struct gguf_strings strings = gguf_strings(kv);
    struct gguf_text text;
    for (size_t i = 0; i < v->merge_count && gguf_strings_next(&strings, &text); i++)
        merges[i] = (struct vocabulary_text){(const uint8_t *)text.data, text.bytes};
    return QRT_OK;
}

/* An optional token id; -1 when the file has none. */
static qrt_status read_id(const struct gguf *g, const char *key, size_t count, int *out)
{
    int64_t id = -1;
    TRY(gguf_int(g, GGUF_OPTIONAL, key, -1, (int64_t)count - 1, &id));
    *out = (int)id;
    return QRT_OK;
}

static qrt_status import(const struct gguf *g, struct vocabulary *v, void **blob, size_t *bytes,
                         struct tokenizer_info *info)
{
    struct tokenizer_info found = {0};
    TRY(read_kind(g, v, &found.add_bos));
    TRY(read_tokens(g, v));
    TRY(read_merges(g, v));
    TRY(read_id(g, KEY("unknown_token_id"), v->count, &v->unknown));
    TRY(read_id(g, KEY("bos_token_id"), v->count, &found.bos));
    TRY(read_id(g, KEY("eos_token_id"), v->count, &found.eos));
    TRY(gguf_bool(g, GGUF_OPTIONAL, KEY("add_bos_token"), &found.add_bos));
    if (found.bos < 0) found.add_bos = 0;
    found.tokens = (int)v->count;
    qrt_status status = tokenizer_build(v, blob, bytes);
    if (status != QRT_OK) return error_context(status, "%s: tokenizer", g->path);
    *info = found;
    return QRT_OK;
}

qrt_status tokenizer_import(const struct gguf *g, void **blob, size_t *bytes,
                            struct tokenizer_info *info)
{
    struct vocabulary v = {.unknown = -1};
    const qrt_status status = import(g, &v, blob, bytes, info);
    free((void *)v.tokens);
    free((void *)v.merges);
    return status;
}
