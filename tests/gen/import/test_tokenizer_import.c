/* test_tokenizer_import.c -- contract of tokenizer_import.h
 *
 * - a byte-level BPE file and a SentencePiece file become tokenizers that encode, with the ids of bos
 *   and eos and whether bos goes in front
 * - what the file does not say: SentencePiece wants bos and a space in front, llama-bpe wants bos
 * - arrays that do not fit together, ids outside of the vocabulary, arrays of another type, merges
 *   of no tokens: QRT_E_FORMAT, and the message names the key or the merge
 * - a kind or a pre-tokenizer that is not known: QRT_E_MODEL
 */
#include "tokenizer_import.h"

#include <stdlib.h>
#include <string.h>

#include "gguf_maker.h"
#include "helpers.h"
#include "rt.h"
#include "tokenizer.h"

enum { TYPE_BOOL = 7, TYPE_ARRAY = 9, TYPE_STRING = 8, TYPE_F32 = 6, TYPE_I32 = 5, TYPE_U32 = 4 };

/* What a file says; NULL and 0 leave the key out. */
struct says {
    const char *model, *pre;
    const char *const *tokens, *const *merges;
    const int *types;
    const float *scores;
    int token_count, type_count, score_count;
    int bos, eos; /* 0: left out */
    int add_bos;  /* 1: true, -1: false, 0: left out */
    int scores_are_ints;
};

static void kv_array(struct maker *m, const char *key, uint32_t type, uint64_t count)
{
    maker_text(m, key);
    maker_u32(m, TYPE_ARRAY);
    maker_u32(m, type);
    maker_u64(m, count);
}

static uint64_t count_strings(const char *const *list)
{
    uint64_t n = 0;
    while (list[n]) n++;
    return n;
}

static void kv_strings(struct maker *m, const char *key, const char *const *list)
{
    kv_array(m, key, TYPE_STRING, count_strings(list));
    for (size_t i = 0; list[i]; i++) maker_text(m, list[i]);
}

static uint64_t count_keys(const struct says *s)
{
    return (uint64_t)((s->model != NULL) + (s->pre != NULL) + (s->tokens != NULL) +
                      (s->merges != NULL) + (s->types != NULL) + (s->scores != NULL) +
                      (s->bos != 0) + (s->eos != 0) + (s->add_bos != 0));
}

static void make(struct maker *m, const struct says *s)
{
    maker_start(m, 3, 0, count_keys(s));
    if (s->model) maker_kv_string(m, "tokenizer.ggml.model", s->model);
    if (s->pre) maker_kv_string(m, "tokenizer.ggml.pre", s->pre);
    if (s->tokens) kv_strings(m, "tokenizer.ggml.tokens", s->tokens);
    if (s->merges) kv_strings(m, "tokenizer.ggml.merges", s->merges);
    if (s->types) {
        kv_array(m, "tokenizer.ggml.token_type", TYPE_I32, (uint64_t)s->type_count);
        for (int i = 0; i < s->type_count; i++) maker_u32(m, (uint32_t)s->types[i]);
    }
    if (s->scores) {
        kv_array(m, "tokenizer.ggml.scores", s->scores_are_ints ? TYPE_I32 : TYPE_F32,
                 (uint64_t)s->score_count);
        maker_raw(m, s->scores, (size_t)s->score_count * sizeof *s->scores);
    }
    if (s->bos) maker_kv_u32(m, "tokenizer.ggml.bos_token_id", (uint32_t)s->bos);
    if (s->eos) maker_kv_u32(m, "tokenizer.ggml.eos_token_id", (uint32_t)s->eos);
    if (s->add_bos) {
        maker_text(m, "tokenizer.ggml.add_bos_token");
        maker_u32(m, TYPE_BOOL);
        maker_raw(m, s->add_bos > 0 ? "\1" : "\0", 1);
    }
    maker_data(m);
}

static qrt_status import(const struct says *s, void **blob, size_t *bytes,
                         struct tokenizer_info *info)
{
    struct maker m;
    struct gguf *g;
    make(&m, s);
    if (gguf_parse(m.bytes, m.count, &g) != QRT_OK) fail_msg("%s", qrt_message());
    const qrt_status status = tokenizer_import(g, blob, bytes, info);
    gguf_close(g);
    maker_free(&m);
    return status;
}

static const char *const bpe_tokens[] = {"a", "b", "ab", "<s>", "</s>", NULL};
static const char *const bpe_merges[] = {"a b", NULL};
static const int bpe_types[] = {1, 1, 1, 3, 3};
static const struct says bpe = {.model = "gpt2",
                                .pre = "gpt-2",
                                .tokens = bpe_tokens,
                                .merges = bpe_merges,
                                .types = bpe_types,
                                .type_count = 5,
                                .bos = 3,
                                .eos = 4};

static const char *const spm_tokens[] = {"<unk>",
                                         "<s>",
                                         "a",
                                         "\xE2\x96\x81",
                                         "\xE2\x96\x81"
                                         "a",
                                         NULL};
static const int spm_types[] = {2, 3, 1, 1, 1};
static const float spm_scores[] = {0, 0, -2, -3, -1};
static const struct says spm = {.model = "llama",
                                .tokens = spm_tokens,
                                .types = spm_types,
                                .type_count = 5,
                                .scores = spm_scores,
                                .score_count = 5,
                                .bos = 1};

/* Import, encode `text`, and compare with `count` ids. */
static struct tokenizer_info check(const struct says *s, const char *text, const int *ids,
                                   size_t count)
{
    void *blob;
    size_t bytes, n;
    struct tokenizer_info info;
    struct tokenizer t;
    qrt *rt;
    int found[16];
    assert_int_equal(import(s, &blob, &bytes, &info), QRT_OK);
    assert_int_equal(info.tokens, 5);
    assert_int_equal(tokenizer_open(blob, bytes, info.tokens, &t), QRT_OK);
    assert_int_equal(qrt_open(NULL, &rt), QRT_OK);
    assert_int_equal(tokenizer_encode(&t, rt, text, strlen(text), 1, found, 16, &n), QRT_OK);
    assert_int_equal(n, count);
    assert_memory_equal(found, ids, count * sizeof *ids);
    qrt_close(rt);
    free(blob);
    return info;
}

static void files_become_tokenizers(void **state)
{
    (void)state;
    const int bpe_ids[] = {3, 2, 0}, spm_ids[] = {4, 2, 1, 4};
    struct tokenizer_info info = check(&bpe, "<s>aba", bpe_ids, 3);
    assert_int_equal(info.bos, 3);
    assert_int_equal(info.eos, 4);
    assert_int_equal(info.add_bos, 0);
    info = check(&spm, "aa<s>a", spm_ids, 4);
    assert_int_equal(info.bos, 1);
    assert_int_equal(info.eos, -1);
    assert_int_equal(info.add_bos, 1);
}

static void unsaid_things_have_defaults(void **state)
{
    (void)state;
    const int ids[] = {2};
    struct says s = bpe;
    s.pre = "llama-bpe";
    assert_int_equal(check(&s, "ab", ids, 1).add_bos, 1);
    s.add_bos = -1;
    assert_int_equal(check(&s, "ab", ids, 1).add_bos, 0);
    s = bpe;
    s.pre = NULL;
    s.add_bos = 1;
    assert_int_equal(check(&s, "ab", ids, 1).add_bos, 1);
    s.bos = 0; /* left out: nothing to add */
    assert_int_equal(check(&s, "ab", ids, 1).add_bos, 0);
}

static void refuse(const struct says *s, qrt_status expected, const char *told)
{
    void *blob = NULL;
    size_t bytes;
    struct tokenizer_info info;
    assert_int_equal(import(s, &blob, &bytes, &info), expected);
    assert_null(blob);
    if (!strstr(qrt_message(), told)) fail_msg("no '%s' in '%s'", told, qrt_message());
}

static void contradictions_are_refused(void **state)
{
    (void)state;
    static const char *const odd_merges[] = {"a b", "b b", NULL};
    struct says s = bpe;
    s.type_count = 4;
    refuse(&s, QRT_E_FORMAT, "token_type");
    s = spm;
    s.score_count = 4;
    refuse(&s, QRT_E_FORMAT, "scores");
    s = spm;
    s.scores_are_ints = 1;
    refuse(&s, QRT_E_FORMAT, "scores");
    s = spm;
    s.scores = NULL;
    refuse(&s, QRT_E_FORMAT, "scores");
    s = bpe;
    s.bos = 5;
    refuse(&s, QRT_E_FORMAT, "bos_token_id");
    s = bpe;
    s.merges = odd_merges;
    refuse(&s, QRT_E_FORMAT, "merge 1");
    s = bpe;
    s.merges = NULL;
    refuse(&s, QRT_E_FORMAT, "merges");
    s = bpe;
    s.tokens = NULL;
    refuse(&s, QRT_E_FORMAT, "tokens");
}

static void unknown_kinds_are_named(void **state)
{
    (void)state;
    struct says s = bpe;
    s.model = "bert";
    refuse(&s, QRT_E_MODEL, "'bert'");
    s = bpe;
    s.pre = "tekken";
    refuse(&s, QRT_E_MODEL, "'tekken'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_become_tokenizers),
        cmocka_unit_test(unsaid_things_have_defaults),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(unknown_kinds_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
