/* model.c -- what a model file says about its model, checked: sizes, attention, rope, special
 * tokens
 */
#include "model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

enum { MAX_LAYERS = 4096, MAX_SIDE = 1 << 24, MAX_HEADS = 4096, MAX_HEAD = 1024 };
enum { GEMMA3_27B_LAYERS = 62 };

static const struct model_arch archs[] = {
    {"llama", ROPE_PAIRS, GLU_SILU, 0, 0, 0, 0, 0,
     "rope rotates neighbouring pairs: a GGUF llama has the rows of q and k reordered for that"},
    {"gemma3", ROPE_HALVES, GLU_GELU_TANH, 1, 1, 1, 6, 10000,
     "embeddings are scaled by sqrt(hidden), q and k are normalized per head, outputs of attention "
     "and ffn are normalized before they are added; the norm weights hold the 1 that is added to "
     "them"},
};

enum { ARCH_COUNT = sizeof archs / sizeof *archs };

/* Features that would change the result; a file that switches one on is refused. */
static const struct {
    const char *key, *what;
} unsupported[] = {
    {"expert_count", "a mixture of experts"},
    {"attn_logit_softcapping", "soft-capped attention"},
    {"final_logit_softcapping", "soft-capped logits"},
    {"attention.max_alibi_bias", "ALiBi positions"},
    {"attention.clamp_kqv", "clamped q, k and v"},
    {"logit_scale", "scaled logits"},
    {"residual_scale", "scaled residuals"},
    {"embedding_scale", "another scale of the embeddings"},
    {"attention.q_lora_rank", "latent attention"},
};

/* ---- keys of the architecture ---- */

enum { KEY_BYTES = 96 };

static const char *arch_key(const struct model *m, const char *name, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s.%s", m->arch->name, name);
    return key;
}

static qrt_status size_of(const struct model *m, enum gguf_need need, const char *name, int limit,
                          int *out)
{
    char key[KEY_BYTES];
    int64_t value = *out;
    TRY(gguf_int(m->gguf, need, arch_key(m, name, key), 1, limit, &value));
    *out = (int)value;
    return QRT_OK;
}

static qrt_status real_of(const struct model *m, enum gguf_need need, const char *name, double lo,
                          double hi, double *out)
{
    char key[KEY_BYTES];
    return gguf_real(m->gguf, need, arch_key(m, name, key), lo, hi, out);
}

static qrt_status refuse_unsupported(const struct model *m)
{
    char key[KEY_BYTES];
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        const struct gguf_kv *kv = gguf_find(m->gguf, arch_key(m, unsupported[i].key, key));
        if (!kv || kv->type == GGUF_ARRAY || kv->type == GGUF_STRING) continue;
        const int real = kv->type == GGUF_F32 || kv->type == GGUF_F64;
        if (real ? gguf_real_at(kv, 0) != 0 : gguf_int_at(kv, 0) != 0)
            return error_set(QRT_E_MODEL, "%s: '%s' asks for %s, which qgen does not do",
                             m->gguf->path, key, unsupported[i].what);
    }
    return QRT_OK;
}

/* ---- parts of the metadata ---- */

static qrt_status find_arch(struct model *m)
{
    struct gguf_text text = {0};
    char known[128] = "";
    size_t used = 0;
    TRY(gguf_string(m->gguf, GGUF_REQUIRED, "general.architecture", &text));
    for (int i = 0; i < ARCH_COUNT; i++) {
        if (strlen(archs[i].name) == text.bytes &&
            memcmp(archs[i].name, text.data, text.bytes) == 0) {
            m->arch = &archs[i];
            return QRT_OK;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 archs[i].name);
    }
    return error_set(QRT_E_MODEL, "%s: architecture '%.*s' is not known; known are %s",
                     m->gguf->path, (int)(text.bytes < 40 ? text.bytes : 40), text.data, known);
}

/* The printable ASCII of general.name, cut to fit. */
static qrt_status read_name(struct model *m)
{
    struct gguf_text text = {m->arch->name, strlen(m->arch->name)};
    size_t used = 0;
    TRY(gguf_string(m->gguf, GGUF_OPTIONAL, "general.name", &text));
    for (size_t i = 0; i < text.bytes && used + 1 < sizeof m->name; i++)
        if (text.data[i] >= 0x20 && text.data[i] <= 0x7e) m->name[used++] = text.data[i];
    m->name[used] = 0;
    return QRT_OK;
}

static qrt_status read_sizes(struct model *m)
{
    TRY(size_of(m, GGUF_REQUIRED, "block_count", MAX_LAYERS, &m->layers));
    TRY(size_of(m, GGUF_REQUIRED, "embedding_length", MAX_SIDE, &m->hidden));
    TRY(size_of(m, GGUF_REQUIRED, "feed_forward_length", MAX_SIDE, &m->ffn));
    TRY(size_of(m, GGUF_REQUIRED, "context_length", MAX_SIDE, &m->context));
    return real_of(m, GGUF_REQUIRED, "attention.layer_norm_rms_epsilon", 0, 1, &m->eps);
}

static qrt_status read_heads(struct model *m)
{
    const char *path = m->gguf->path;
    TRY(size_of(m, GGUF_REQUIRED, "attention.head_count", MAX_HEADS, &m->heads));
    m->kv_heads = m->heads;
    TRY(size_of(m, GGUF_OPTIONAL, "attention.head_count_kv", MAX_HEADS, &m->kv_heads));
    if (m->heads % m->kv_heads != 0)
        return error_set(QRT_E_FORMAT, "%s: %d heads cannot share %d kv heads evenly", path,
                         m->heads, m->kv_heads);
    m->head = m->hidden / m->heads;
    TRY(size_of(m, GGUF_OPTIONAL, "attention.key_length", MAX_HEAD, &m->head));
    int value_head = m->head;
    TRY(size_of(m, GGUF_OPTIONAL, "attention.value_length", MAX_HEAD, &value_head));
    if (m->head < 1 || m->head > MAX_HEAD)
        return error_set(QRT_E_FORMAT, "%s: heads of %d / %d = %d elements, expected 1 to %d", path,
                         m->hidden, m->heads, m->head, MAX_HEAD);
    if (value_head != m->head)
        return error_set(QRT_E_MODEL,
                         "%s: keys of %d and values of %d elements, qgen needs them "
                         "equal",
                         path, m->head, value_head);
    m->rotary = m->head;
    TRY(size_of(m, GGUF_OPTIONAL, "rope.dimension_count", m->head, &m->rotary));
    if (m->rotary % 2 != 0)
        return error_set(QRT_E_FORMAT, "%s: rope over %d elements, expected an even number", path,
                         m->rotary);
    return QRT_OK;
}

static qrt_status read_attention(struct model *m)
{
    m->pattern = m->arch->pattern;
    m->attention_scale = 1 / sqrt(m->head);
    if (m->pattern) {
        TRY(size_of(m, GGUF_REQUIRED, "attention.sliding_window", MAX_SIDE, &m->window));
        /* the one published size whose heads are not scaled by their own width */
        if (m->layers == GEMMA3_27B_LAYERS) m->attention_scale = 1 / sqrt(m->hidden / m->heads);
        return QRT_OK;
    }
    TRY(size_of(m, GGUF_OPTIONAL, "attention.sliding_window", MAX_SIDE, &m->window));
    if (m->window)
        return error_set(QRT_E_MODEL,
                         "%s: a sliding window of %d, which qgen does not know for architecture %s",
                         m->gguf->path, m->window, m->arch->name);
    return QRT_OK;
}

static qrt_status read_rope(struct model *m)
{
    char key[KEY_BYTES];
    struct gguf_text type = {"none", 4};
    m->rope_base = 10000;
    m->local_base = m->arch->local_base;
    m->rope_factor = 1;
    TRY(real_of(m, GGUF_OPTIONAL, "rope.freq_base", 1, 1e12, &m->rope_base));
    TRY(real_of(m, GGUF_OPTIONAL, "rope.freq_base_swa", 1, 1e12, &m->local_base));
    TRY(gguf_string(m->gguf, GGUF_OPTIONAL, arch_key(m, "rope.scaling.type", key), &type));
    const int linear = type.bytes == 6 && memcmp(type.data, "linear", 6) == 0;
    const int none = type.bytes == 4 && memcmp(type.data, "none", 4) == 0;
    if (!linear && !none)
        return error_set(QRT_E_MODEL, "%s: '%s' is '%.*s', qgen knows none and linear",
                         m->gguf->path, key, (int)(type.bytes < 40 ? type.bytes : 40), type.data);
    if (linear) TRY(real_of(m, GGUF_REQUIRED, "rope.scaling.factor", 1e-3, 1e6, &m->rope_factor));
    return QRT_OK;
}

static qrt_status read_token(const struct model *m, const char *key, int *out)
{
    int64_t id = *out;
    TRY(gguf_int(m->gguf, GGUF_OPTIONAL, key, 0, m->vocab - 1, &id));
    *out = (int)id;
    return QRT_OK;
}

static qrt_status read_tokens(struct model *m)
{
    const struct gguf_kv *tokens = NULL;
    struct gguf_text kind = {"", 0};
    m->bos = m->eos = -1;
    TRY(read_token(m, "tokenizer.ggml.bos_token_id", &m->bos));
    TRY(read_token(m, "tokenizer.ggml.eos_token_id", &m->eos));
    TRY(gguf_string(m->gguf, GGUF_OPTIONAL, "tokenizer.ggml.model", &kind));
    m->add_bos = kind.bytes == 5 && memcmp(kind.data, "llama", 5) == 0; /* SentencePiece: yes */
    TRY(gguf_bool(m->gguf, GGUF_OPTIONAL, "tokenizer.ggml.add_bos_token", &m->add_bos));
    TRY(gguf_array(m->gguf, GGUF_OPTIONAL, "tokenizer.ggml.tokens", GGUF_STRING, &tokens));
    if (tokens && tokens->count != (uint64_t)m->vocab)
        return error_set(QRT_E_FORMAT,
                         "%s: the tokenizer has %llu tokens but the embedding table %d rows",
                         m->gguf->path, (unsigned long long)tokens->count, m->vocab);
    return QRT_OK;
}

static qrt_status read_vocabulary(struct model *m)
{
    const struct gguf_tensor *table = gguf_find_tensor(m->gguf, "token_embd.weight");
    if (!table)
        return error_set(QRT_E_FORMAT, "%s: tensor 'token_embd.weight' is missing", m->gguf->path);
    if (table->N > MAX_SIDE)
        return error_set(QRT_E_LIMIT, "%s: a vocabulary of %lld, over the limit of %d",
                         m->gguf->path, (long long)table->N, MAX_SIDE);
    m->vocab = (int)table->N;
    int declared = m->vocab;
    TRY(size_of(m, GGUF_OPTIONAL, "vocab_size", MAX_SIDE, &declared));
    if (declared != m->vocab)
        return error_set(QRT_E_FORMAT,
                         "%s: '%s.vocab_size' is %d but the embedding table has %d "
                         "rows",
                         m->gguf->path, m->arch->name, declared, m->vocab);
    m->tied = gguf_find_tensor(m->gguf, "output.weight") == NULL;
    return QRT_OK;
}

qrt_status model_from_gguf(const struct gguf *g, struct model *out)
{
    struct model m = {.gguf = g};
    TRY(find_arch(&m));
    TRY(refuse_unsupported(&m));
    TRY(read_name(&m));
    TRY(read_sizes(&m));
    TRY(read_heads(&m));
    TRY(read_attention(&m));
    TRY(read_rope(&m));
    TRY(read_vocabulary(&m));
    TRY(read_tokens(&m));
    *out = m;
    return QRT_OK;
}

int model_is_local(const struct model *m, int layer)
{
    return m->pattern != 0 && (layer + 1) % m->pattern != 0;
}

/* ---- what was concluded ---- */

struct speaker {
    void (*say)(void *user, const char *sentence);
    void *user;
};

static void say(const struct speaker *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(const struct speaker *s, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    s->say(s->user, sentence);
}

static void explain_rope(const struct model *m, const struct speaker *s)
{
    if (m->pattern) {
        say(s,
            "every %dth layer sees all positions, with rope base %g; the others see %d, with "
            "rope base %g",
            m->pattern, m->rope_base, m->window, m->local_base);
    } else {
        say(s, "every layer sees all positions, with rope base %g", m->rope_base);
    }
    if (m->rope_factor != 1)
        say(s, "positions are divided by %g (linear rope scaling)", m->rope_factor);
    if (m->rotary != m->head) say(s, "rope rotates %d of a head's %d elements", m->rotary, m->head);
}

/* Groups that people ask for, against the widths that this model has. */
static void explain_groups(const struct model *m, const struct speaker *s)
{
    static const int groups[] = {32, 64, 128};
    const int widths[] = {m->hidden, m->heads * m->head, m->ffn};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
            const int seen = (w > 0 && widths[w] == widths[0]) || (w > 1 && widths[w] == widths[1]);
            if (!seen && widths[w] > groups[i] && widths[w] % groups[i] != 0)
                say(s, "group %d does not divide K = %d: of %d groups the last one is short",
                    groups[i], widths[w], widths[w] / groups[i] + 1);
        }
}

void model_explain(const struct model *m, void (*to)(void *user, const char *sentence), void *user)
{
    const struct speaker s = {to, user};
    say(&s, "%s: %s", m->arch->name, m->arch->why);
    if (m->tied) say(&s, "there is no output.weight: the embedding table makes the logits too");
    if (m->heads != m->kv_heads)
        say(&s, "%d heads share %d kv heads, %d to one", m->heads, m->kv_heads,
            m->heads / m->kv_heads);
    if (m->head * m->heads != m->hidden)
        say(&s, "attention is %d x %d = %d wide, hidden is %d", m->heads, m->head,
            m->heads * m->head, m->hidden);
    explain_rope(m, &s);
    if (m->add_bos && m->bos >= 0) say(&s, "token %d (bos) goes in front of a text", m->bos);
    explain_groups(m, &s);
}
