/* test_model.c -- contract of model.h and program.h
 *
 * - a llama: sizes and defaults; the program is embed, 14 ops a layer, norm, logits; what each reads
 * - without output.weight the embedding table makes the logits
 * - a gemma3: scaled embeddings, norms of q and k and after both halves, windows and rope bases by
 *   layer, attention scaled by the head's width
 * - rope: frequencies by base, factor, and the file's own factors
 * - refused by name: unknown architectures, features that would be ignored, keys that are missing or
 *   out of range, counts that disagree, tensors that are missing, of another shape or type, or left
 *   over
 * - the explanation says what was concluded
 */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_maker.h"
#include "helpers.h"
#include "program.h"

enum { F32 = 0, IQ2_XXS = 16 };

/* ---- files: a base, and changes to it ---- */

enum kind { END, U32, REAL, TEXT, STRINGS, DROP };
struct item {
    const char *key;
    enum kind kind;
    uint32_t u32; /* STRINGS: how many */
    float real;
    const char *text;
};

struct shape {
    const char *name; /* %d: one for each layer; NULL ends a list */
    uint64_t K, N;    /* N 0: a vector; both 0: dropped */
    uint32_t type;
};

enum { MAX_ITEMS = 40, MAX_SHAPES = 24 };

/* 2 layers, hidden 64, 4 heads of 16, 2 kv heads, ffn 96, 33 tokens. */
static const struct item llama_items[] = {
    {"general.architecture", TEXT, 0, 0, "llama"},
    {"general.name", TEXT, 0, 0, "tiny\x1bllama"},
    {"llama.block_count", U32, 2, 0, NULL},
    {"llama.context_length", U32, 128, 0, NULL},
    {"llama.embedding_length", U32, 64, 0, NULL},
    {"llama.feed_forward_length", U32, 96, 0, NULL},
    {"llama.attention.head_count", U32, 4, 0, NULL},
    {"llama.attention.head_count_kv", U32, 2, 0, NULL},
    {"llama.attention.layer_norm_rms_epsilon", REAL, 0, 0.25f, NULL},
    {"tokenizer.ggml.model", TEXT, 0, 0, "gpt2"},
    {"tokenizer.ggml.tokens", STRINGS, 33, 0, NULL},
    {"tokenizer.ggml.bos_token_id", U32, 1, 0, NULL},
    {"tokenizer.ggml.eos_token_id", U32, 32, 0, NULL},
    {NULL, END, 0, 0, NULL},
};
static const struct shape llama_shapes[] = {
    {"token_embd.weight", 64, 33, F32},
    {"output.weight", 64, 33, F32},
    {"output_norm.weight", 64, 0, F32},
    {"blk.%d.attn_norm.weight", 64, 0, F32},
    {"blk.%d.attn_q.weight", 64, 64, F32},
    {"blk.%d.attn_k.weight", 64, 32, F32},
    {"blk.%d.attn_v.weight", 64, 32, F32},
    {"blk.%d.attn_output.weight", 64, 64, F32},
    {"blk.%d.ffn_norm.weight", 64, 0, F32},
    {"blk.%d.ffn_gate.weight", 64, 96, F32},
    {"blk.%d.ffn_up.weight", 64, 96, F32},
    {"blk.%d.ffn_down.weight", 96, 64, F32},
    {NULL, 0, 0, 0},
};

/* 7 layers, hidden 64, 2 heads of 48 (no divisor of hidden), 1 kv head, window 9. */
static const struct item gemma_items[] = {
    {"general.architecture", TEXT, 0, 0, "gemma3"},
    {"gemma3.block_count", U32, 7, 0, NULL},
    {"gemma3.context_length", U32, 128, 0, NULL},
    {"gemma3.embedding_length", U32, 64, 0, NULL},
    {"gemma3.feed_forward_length", U32, 96, 0, NULL},
    {"gemma3.attention.head_count", U32, 2, 0, NULL},
    {"gemma3.attention.head_count_kv", U32, 1, 0, NULL},
    {"gemma3.attention.key_length", U32, 48, 0, NULL},
    {"gemma3.attention.value_length", U32, 48, 0, NULL},
    {"gemma3.attention.sliding_window", U32, 9, 0, NULL},
    {"gemma3.attention.layer_norm_rms_epsilon", REAL, 0, 1e-6f, NULL},
    {"gemma3.rope.freq_base", REAL, 0, 1e6f, NULL},
    {"tokenizer.ggml.model", TEXT, 0, 0, "llama"},
    {"tokenizer.ggml.bos_token_id", U32, 2, 0, NULL},
    {NULL, END, 0, 0, NULL},
};
static const struct shape gemma_shapes[] = {
    {"token_embd.weight", 64, 33, F32},          {"output_norm.weight", 64, 0, F32},
    {"blk.%d.attn_norm.weight", 64, 0, F32},     {"blk.%d.attn_q.weight", 64, 96, F32},
    {"blk.%d.attn_k.weight", 64, 48, F32},       {"blk.%d.attn_v.weight", 64, 48, F32},
    {"blk.%d.attn_q_norm.weight", 48, 0, F32},   {"blk.%d.attn_k_norm.weight", 48, 0, F32},
    {"blk.%d.attn_output.weight", 96, 64, F32},  {"blk.%d.post_attention_norm.weight", 64, 0, F32},
    {"blk.%d.ffn_norm.weight", 64, 0, F32},      {"blk.%d.ffn_gate.weight", 64, 96, F32},
    {"blk.%d.ffn_up.weight", 64, 96, F32},       {"blk.%d.ffn_down.weight", 96, 64, F32},
    {"blk.%d.post_ffw_norm.weight", 64, 0, F32}, {NULL, 0, 0, 0},
};

/* Replace what has the same key, drop it, or append. */
static int change_items(struct item *items, int count, const struct item *changes)
{
    for (; changes && changes->key; changes++) {
        int i = 0;
        while (i < count && strcmp(items[i].key, changes->key) != 0) i++;
        if (changes->kind == DROP)
            memmove(&items[i], &items[i + 1], sizeof *items * (size_t)(--count - i));
        else
            items[i] = *changes, count += i == count;
    }
    return count;
}

static int change_shapes(struct shape *shapes, int count, const struct shape *changes)
{
    for (; changes && changes->name; changes++) {
        int i = 0;
        while (i < count && strcmp(shapes[i].name, changes->name) != 0) i++;
        if (changes->K == 0)
            memmove(&shapes[i], &shapes[i + 1], sizeof *shapes * (size_t)(--count - i));
        else
            shapes[i] = *changes, count += i == count;
    }
    return count;
}

static void put_item(struct maker *m, const struct item *item)
{
    switch (item->kind) {
    case U32: maker_kv_u32(m, item->key, item->u32); break;
    case REAL: maker_kv_f32(m, item->key, item->real); break;
    case TEXT: maker_kv_string(m, item->key, item->text); break;
    case STRINGS: maker_kv_strings(m, item->key, item->u32); break;
    case END:
    case DROP: break;
    }
}

static int is_per_layer(const struct shape *s) { return strstr(s->name, "%d") != NULL; }

static void put_tensor(struct maker *m, const struct shape *s, int layer)
{
    char name[64], *at;
    snprintf(name, sizeof name, "%s", s->name);
    if ((at = strstr(name, "%d")) != NULL) {
        memmove(at + 1, at + 2, strlen(at + 1));
        *at = (char)('0' + layer);
    }
    maker_tensor(m, name, s->type, s->N ? 2 : 1, (uint64_t[]){s->K, s->N});
}

static struct maker file;

static struct gguf *make(const struct item *items, const struct shape *shapes, int layers,
                         const struct item *item_changes, const struct shape *shape_changes)
{
    struct item all[MAX_ITEMS];
    struct shape tensors[MAX_SHAPES];
    struct gguf *g = NULL;
    uint64_t tensor_count = 0;
    const int item_count = change_items(all, change_items(all, 0, items), item_changes);
    const int count = change_shapes(tensors, change_shapes(tensors, 0, shapes), shape_changes);
    for (int i = 0; i < count; i++)
        tensor_count += is_per_layer(&tensors[i]) ? (uint64_t)layers : 1;
    maker_start(&file, 3, tensor_count, (uint64_t)item_count);
    for (int i = 0; i < item_count; i++) put_item(&file, &all[i]);
    for (int i = 0; i < count; i++)
        for (int layer = 0; layer < (is_per_layer(&tensors[i]) ? layers : 1); layer++)
            put_tensor(&file, &tensors[i], layer);
    maker_data(&file);
    if (gguf_parse(file.bytes, file.count, &g) != QRT_OK) fail_msg("%s", qrt_message());
    return g;
}

static struct gguf *make_llama(const struct item *items, const struct shape *shapes)
{
    return make(llama_items, llama_shapes, 2, items, shapes);
}

static struct gguf *make_gemma(const struct item *items, const struct shape *shapes)
{
    return make(gemma_items, gemma_shapes, 7, items, shapes);
}

static void done(struct gguf *g)
{
    gguf_close(g);
    maker_free(&file);
}

/* ---- sound models ---- */

static const float *vector_named(const struct program *p, const char *name)
{
    for (size_t i = 0; i < p->tensor_count; i++)
        if (strcmp(p->tensors[i].name, name) == 0) return p->tensors[i].vector;
    fail_msg("no tensor %s", name);
    return NULL;
}

static const char *tensor_of(const struct program *p, size_t op)
{
    const uint32_t t = p->ops[op].tensor;
    return t == QM_NONE ? "" : p->tensors[t].name;
}

static void a_llama_becomes_a_program(void **state)
{
    (void)state;
    static const enum op layer[] = {OP_RMSNORM,   OP_LINEAR, OP_LINEAR, OP_LINEAR,  OP_ROPE,
                                    OP_ATTENTION, OP_LINEAR, OP_ADD,    OP_RMSNORM, OP_LINEAR,
                                    OP_LINEAR,    OP_GLU,    OP_LINEAR, OP_ADD};
    enum { EACH = sizeof layer / sizeof *layer };
    struct gguf *g = make_llama(NULL, NULL);
    struct model m;
    struct program p;
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    assert_int_equal(program_build(&m, &p), QRT_OK);
    assert_string_equal(m.name, "tinyllama"); /* no control characters */
    assert_int_equal(m.head, 16);
    assert_int_equal(m.rotary, 16);
    assert_int_equal(m.vocab, 33);
    assert_int_equal(m.add_bos, 0);
    assert_int_equal(m.tied, 0);
    assert_int_equal(p.op_count, 1 + 2 * EACH + 2);
    assert_int_equal(p.ops[0].op, OP_EMBED);
    assert_true(p.ops[0].f0 == 1.0f);
    for (size_t i = 0; i < 2 * EACH; i++) {
        assert_int_equal(p.ops[1 + i].op, layer[i % EACH]);
        assert_int_equal(p.ops[1 + i].layer, i / EACH);
        assert_int_equal(p.ops[1 + i].last, 0);
    }
    assert_string_equal(tensor_of(&p, 2), "blk.0.attn_q.weight");
    assert_string_equal(tensor_of(&p, 5), "rope.inv_freq");
    assert_string_equal(tensor_of(&p, 1 + EACH + 12), "blk.1.ffn_down.weight");
    assert_string_equal(tensor_of(&p, 1 + 2 * EACH + 1), "output.weight");
    assert_int_equal(p.ops[p.op_count - 1].last, 1);
    assert_int_equal(p.ops[5].kind, ROPE_PAIRS);
    assert_true(p.ops[6].f0 == 0.25f); /* 1 / sqrt(16) */
    assert_int_equal(p.ops[6].window, 0);
    assert_true(p.ops[1].f0 == 0.25f); /* eps */
    program_free(&p);
    done(g);
}

static void a_model_may_be_tied(void **state)
{
    (void)state;
    struct gguf *g = make_llama(NULL, (const struct shape[]){{"output.weight", 0, 0, 0}, {0}});
    struct model m;
    struct program p;
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    assert_int_equal(program_build(&m, &p), QRT_OK);
    assert_int_equal(m.tied, 1);
    assert_int_equal(p.ops[p.op_count - 1].tensor, p.ops[0].tensor);
    program_free(&p);
    done(g);
}

static void a_gemma3_becomes_a_program(void **state)
{
    (void)state;
    struct gguf *g = make_gemma(NULL, NULL);
    struct model m;
    struct program p;
    int norms = 0;
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    assert_int_equal(program_build(&m, &p), QRT_OK);
    assert_int_equal(m.add_bos, 1); /* SentencePiece's default */
    assert_true(p.ops[0].f0 == 8.0f);
    for (size_t i = 0; i < p.op_count; i++) {
        const struct qm_op *o = &p.ops[i];
        const int local = o->layer % 6 != 5;
        if (o->op == OP_RMSNORM) norms++;
        if (o->op == OP_GLU) assert_int_equal(o->kind, GLU_GELU_TANH);
        if (o->op == OP_ATTENTION) {
            assert_int_equal(o->window, local ? 9 : 0);
            assert_true(o->f0 == (float)(1 / sqrt(48)));
        }
        if (o->op == OP_ROPE) {
            assert_int_equal(o->kind, ROPE_HALVES);
            assert_string_equal(tensor_of(&p, i), local ? "rope.inv_freq.local" : "rope.inv_freq");
        }
    }
    assert_int_equal(norms, 7 * 6 + 1);
    assert_string_equal(tensor_of(&p, 5), "blk.0.attn_q_norm.weight");
    assert_int_equal(p.ops[5].heads, 2);
    assert_int_equal(p.ops[5].head, 48);
    assert_int_equal(p.ops[5].in[0], p.ops[5].out);
    assert_int_equal(p.ops[6].heads, 1);
    program_free(&p);
    done(g);
}

static void rope_frequencies(void **state)
{
    (void)state;
    const struct item linear[] = {{"gemma3.rope.scaling.type", TEXT, 0, 0, "linear"},
                                  {"gemma3.rope.scaling.factor", REAL, 0, 8, NULL},
                                  {NULL, END, 0, 0, NULL}};
    struct gguf *g = make_gemma(linear, NULL);
    struct model m;
    struct program p;
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    assert_int_equal(program_build(&m, &p), QRT_OK);
    const float *global = vector_named(&p, "rope.inv_freq");
    const float *local = vector_named(&p, "rope.inv_freq.local");
    for (int i = 0; i < 24; i++) {
        assert_true(global[i] == (float)(pow(1e6, -i / 24.0) / 8));
        assert_true(local[i] == (float)pow(1e4, -i / 24.0));
    }
    program_free(&p);
    done(g);
}

static void own_rope_factors_divide(void **state)
{
    (void)state;
    struct gguf *g =
        make_llama(NULL, (const struct shape[]){{"rope_freqs.weight", 8, 0, F32}, {0}});
    struct model m;
    struct program p;
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    assert_int_equal(program_build(&m, &p), QRT_OK);
    const float *got = vector_named(&p, "rope.inv_freq");
    float own[8];
    memcpy(own, gguf_find_tensor(g, "rope_freqs.weight")->data, sizeof own);
    for (int i = 0; i < 8; i++) assert_true(got[i] == (float)(pow(1e4, -i / 8.0) / (double)own[i]));
    program_free(&p);
    done(g);
}

/* ---- refused models ---- */

static void refused(struct gguf *g, qrt_status status, const char *text)
{
    struct model m;
    struct program p;
    qrt_status got = model_from_gguf(g, &m);
    if (got == QRT_OK) got = program_build(&m, &p);
    if (got != status || !strstr(qrt_message(), text))
        fail_msg("status %d, '%s' lacks '%s'", got, qrt_message(), text);
    done(g);
}

static void metadata_that_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct item change;
        qrt_status status;
        const char *text;
    } cases[] = {
        {{"general.architecture", TEXT, 0, 0, "mamba"},
         QRT_E_MODEL,
         "architecture 'mamba' is not known; known are llama, gemma3"},
        {{"general.architecture", DROP, 0, 0, NULL},
         QRT_E_FORMAT,
         "'general.architecture' is miss"},
        {{"llama.block_count", DROP, 0, 0, NULL}, QRT_E_FORMAT, "'llama.block_count' is missing"},
        {{"llama.block_count", U32, 0, 0, NULL}, QRT_E_FORMAT, "is 0, expected 1 to 4096"},
        {{"llama.block_count", U32, 200000000, 0, NULL}, QRT_E_FORMAT, "expected 1 to 4096"},
        {{"llama.block_count", TEXT, 0, 0, "2"}, QRT_E_FORMAT, "of type string"},
        {{"llama.block_count", U32, 1, 0, NULL},
         QRT_E_MODEL,
         "'blk.1.attn_norm.weight' has no place"},
        {{"llama.block_count", U32, 3, 0, NULL},
         QRT_E_FORMAT,
         "'blk.2.attn_norm.weight' [1, 64] is"},
        {{"llama.embedding_length", U32, 80, 0, NULL},
         QRT_E_FORMAT,
         "is [33, 64], but the metadata"},
        {{"llama.embedding_length", U32, 3, 0, NULL}, QRT_E_FORMAT, "heads of 3 / 4 = 0 elements"},
        {{"llama.attention.head_count", U32, 0, 0, NULL}, QRT_E_FORMAT, "is 0, expected 1"},
        {{"llama.attention.head_count_kv", U32, 3, 0, NULL},
         QRT_E_FORMAT,
         "4 heads cannot share 3"},
        {{"llama.attention.value_length", U32, 8, 0, NULL},
         QRT_E_MODEL,
         "keys of 16 and values of 8"},
        {{"llama.rope.dimension_count", U32, 7, 0, NULL}, QRT_E_FORMAT, "rope over 7 elements"},
        {{"llama.rope.dimension_count", U32, 18, 0, NULL}, QRT_E_FORMAT, "expected 1 to 16"},
        {{"llama.rope.freq_base", REAL, 0, 0, NULL}, QRT_E_FORMAT, "expected 1 to 1e+12"},
        {{"llama.rope.scaling.type", TEXT, 0, 0, "yarn"}, QRT_E_MODEL, "knows none and linear"},
        {{"llama.rope.scaling.type", TEXT, 0, 0, "linear"}, QRT_E_FORMAT, "factor' is missing"},
        {{"llama.attention.sliding_window", U32, 64, 0, NULL}, QRT_E_MODEL, "sliding window of 64"},
        {{"llama.expert_count", U32, 8, 0, NULL}, QRT_E_MODEL, "a mixture of experts"},
        {{"llama.attn_logit_softcapping", REAL, 0, 50, NULL}, QRT_E_MODEL, "soft-capped attention"},
        {{"llama.vocab_size", U32, 34, 0, NULL},
         QRT_E_FORMAT,
         "is 34 but the embedding table has 33"},
        {{"tokenizer.ggml.tokens", STRINGS, 32, 0, NULL}, QRT_E_FORMAT, "32 tokens but the"},
        {{"tokenizer.ggml.tokens", U32, 33, 0, NULL}, QRT_E_FORMAT, "expected array of string"},
        {{"tokenizer.ggml.bos_token_id", U32, 33, 0, NULL}, QRT_E_FORMAT, "expected 0 to 32"},
        {{"tokenizer.ggml.eos_token_id", U32, UINT32_MAX, 0, NULL},
         QRT_E_FORMAT,
         "expected 0 to 32"},
        {{"llama.attention.layer_norm_rms_epsilon", REAL, 0, NAN, NULL}, QRT_E_FORMAT, "is nan"},
        {{"llama.attention.layer_norm_rms_epsilon", U32, 1, 0, NULL}, QRT_E_FORMAT, "f32 or f64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct item changes[] = {cases[i].change, {NULL, END, 0, 0, NULL}};
        refused(make_llama(changes, NULL), cases[i].status, cases[i].text);
    }
    refused(make_gemma((const struct item[]){{"gemma3.attention.sliding_window", DROP, 0, 0, NULL},
                                             {NULL, END, 0, 0, NULL}},
                       NULL),
            QRT_E_FORMAT, "sliding_window' is missing");
}

static void tensors_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct shape change;
        qrt_status status;
        const char *text;
    } cases[] = {
        {{"token_embd.weight", 0, 0, 0}, QRT_E_FORMAT, "'token_embd.weight' is missing"},
        {{"output_norm.weight", 0, 0, 0}, QRT_E_FORMAT, "'output_norm.weight' [1, 64] is missing"},
        {{"blk.%d.attn_k.weight", 64, 48, F32},
         QRT_E_FORMAT,
         "'blk.0.attn_k.weight' is [48, 64], but the metadata ask for [32, 64]"},
        {{"blk.%d.attn_norm.weight", 64, 2, F32}, QRT_E_FORMAT, "is [2, 64]"},
        {{"blk.%d.attn_q.bias", 64, 0, F32}, QRT_E_MODEL, "biases are not supported"},
        {{"blk.%d.attn_q_norm.weight", 16, 0, F32}, QRT_E_MODEL, "has no place"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct shape changes[] = {cases[i].change, {0}};
        refused(make_llama(NULL, changes), cases[i].status, cases[i].text);
    }
    const struct item wide[] = {{"llama.feed_forward_length", U32, 256, 0, NULL}, {0}};
    const struct shape coded[] = {{"blk.%d.ffn_gate.weight", 64, 256, F32},
                                  {"blk.%d.ffn_up.weight", 64, 256, F32},
                                  {"blk.%d.ffn_down.weight", 256, 64, IQ2_XXS},
                                  {0}};
    refused(make_llama(wide, coded), QRT_E_MODEL, "of type IQ2_XXS; qgen reads F32, F16");
}

/* ---- explanation ---- */

static void collect(void *user, const char *sentence)
{
    char *text = user;
    strcat(strcat(text, sentence), "\n");
}

static void conclusions_are_said(void **state)
{
    (void)state;
    char text[8192] = "";
    struct model m;
    struct gguf *g = make_gemma(NULL, NULL);
    assert_int_equal(model_from_gguf(g, &m), QRT_OK);
    model_explain(&m, collect, text);
    assert_non_null(strstr(text, "no output.weight"));
    assert_non_null(strstr(text, "2 heads share 1 kv heads"));
    assert_non_null(strstr(text, "attention is 2 x 48 = 96 wide, hidden is 64"));
    assert_non_null(strstr(text, "every 6th layer sees all positions, with rope base 1e+06"));
    assert_non_null(strstr(text, "group 64 does not divide K = 96: of 2 groups the last"));
    done(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_llama_becomes_a_program),  cmocka_unit_test(a_model_may_be_tied),
        cmocka_unit_test(a_gemma3_becomes_a_program), cmocka_unit_test(rope_frequencies),
        cmocka_unit_test(own_rope_factors_divide),    cmocka_unit_test(metadata_that_is_refused),
        cmocka_unit_test(tensors_that_are_refused),   cmocka_unit_test(conclusions_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
