/* synthetic_model.c -- packed models of real sizes with random weights, to measure layers with
 *
 *     synthetic_model llama3-8b|llama3-70b SCHEME LAYERS OUT.qm
 *
 * The architecture's sizes are those of the published configurations; LAYERS may be fewer.  Matrices
 * of the layers get SCHEME (w4g128, w8gc.f32, e4m3gc.f32, f16 ...), the embedding table and the
 * output f16.  Weights say nothing; their bytes, layouts and kernels are those of a real model.
 * How: a GGUF whose tensors are a hole in a file gives names and shapes; the packer is then handed
 * rows that are made up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_maker.h"
#include "helpers.h"
#include "numeric.h"
#include "pack.h"

enum { TYPE_F32 = 0, TYPE_F16 = 1 };

/* config.json of Meta-Llama-3-8B and Meta-Llama-3-70B. */
static const struct sizes {
    const char *name;
    int layers, hidden, ffn, heads, kv_heads;
} known[] = {{"llama3-8b", 32, 4096, 14336, 32, 8}, {"llama3-70b", 80, 8192, 28672, 64, 8}};
enum { HEAD = 128, VOCAB = 128256, CONTEXT = 8192 };

/* ---- names and shapes ---- */

static void add_tensor(struct maker *m, const char *name, int N, int K)
{
    const uint64_t dims[2] = {(uint64_t)K, (uint64_t)N};
    maker_tensor(m, name, N ? TYPE_F16 : TYPE_F32, N ? 2 : 1, dims);
}

static void add_layer(struct maker *m, const struct sizes *s, int layer)
{
    const struct {
        const char *part;
        int N, K; /* N 0: a vector */
    } tensors[] = {
        {"attn_norm", 0, s->hidden},
        {"attn_q", s->heads * HEAD, s->hidden},
        {"attn_k", s->kv_heads * HEAD, s->hidden},
        {"attn_v", s->kv_heads * HEAD, s->hidden},
        {"attn_output", s->hidden, s->heads * HEAD},
        {"ffn_norm", 0, s->hidden},
        {"ffn_gate", s->ffn, s->hidden},
        {"ffn_up", s->ffn, s->hidden},
        {"ffn_down", s->hidden, s->ffn},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, tensors[i].part);
        add_tensor(m, name, tensors[i].N, tensors[i].K);
    }
}

static void add_keys(struct maker *m, const struct sizes *s, int layers)
{
    maker_kv_string(m, "general.architecture", "llama");
    maker_kv_string(m, "general.name", s->name);
    maker_kv_u32(m, "llama.block_count", (uint32_t)layers);
    maker_kv_u32(m, "llama.context_length", CONTEXT);
    maker_kv_u32(m, "llama.embedding_length", (uint32_t)s->hidden);
    maker_kv_u32(m, "llama.feed_forward_length", (uint32_t)s->ffn);
    maker_kv_u32(m, "llama.attention.head_count", (uint32_t)s->heads);
    maker_kv_u32(m, "llama.attention.head_count_kv", (uint32_t)s->kv_heads);
    maker_kv_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    maker_kv_f32(m, "llama.rope.freq_base", 500000.0f);
    maker_kv_u32(m, "llama.vocab_size", VOCAB);
}

/* A GGUF file whose tensor data are a hole. */
static int write_shapes(const struct sizes *s, int layers, const char *path)
{
    static struct maker m; /* too large for a stack */
    maker_start(&m, 3, (uint64_t)(3 + 9 * layers), 11);
    add_keys(&m, s, layers);
    add_tensor(&m, "token_embd.weight", VOCAB, s->hidden);
    add_tensor(&m, "output_norm.weight", 0, s->hidden);
    add_tensor(&m, "output.weight", VOCAB, s->hidden);
    for (int i = 0; i < layers; i++) add_layer(&m, s, i);
    const size_t data = (m.count + 31) / 32 * 32;
    FILE *f = fopen(path, "wbe");
    const int good = f && fwrite(m.bytes, 1, m.count, f) == m.count && fflush(f) == 0 &&
                     ftruncate(fileno(f), (off_t)(data + m.data_offset)) == 0;
    if (f) fclose(f);
    maker_free(&m);
    return good;
}

/* ---- rows ---- */

static void fill_scales(const struct scheme *s, int groups, float unit, void *scales)
{
    for (int g = 0; g < groups; g++) {
        if (s->scale == SCALE_F16) ((uint16_t *)scales)[g] = f32_to_f16(unit);
        if (s->scale == SCALE_BF16) ((uint16_t *)scales)[g] = f32_to_bf16(unit);
        if (s->scale == SCALE_F32) ((float *)scales)[g] = unit;
    }
}

/* Codes any, scales such that a row's sum stays around 1. */
static void random_row(const struct generic_matrix *m, int n, const struct generic_row *out)
{
    const struct scheme *s = &m->scheme;
    uint64_t random = (uint64_t)n * 2654435761u + 88172645463325252u;
    const int dense = scheme_is_dense(s);
    for (int k = 0; k < m->K; k++) {
        const uint64_t word = random_word(&random) >> 40;
        if (dense)
            ((uint16_t *)out->codes)[k] = (uint16_t)(word & 0x83ff) | 0x2000; /* +-1/128 .. 1/64 */
        else /* the top exponent of e4m3 holds NaN */
            out->codes[k] = (uint8_t)(word & (s->code == CODE_E4M3 ? 0xb7 : (1u << s->bits) - 1));
    }
    if (dense) return;
    const float largest = s->code == CODE_E4M3 ? 30 : (float)(1 << (s->bits - 1));
    fill_scales(s, scheme_groups(s, m->K), 1.0f / (64 * largest), out->scales);
    if (s->zero == ZERO_INT) memset(out->zeros, 1 << (s->bits - 1), (size_t)scheme_groups(s, m->K));
    if (s->zero == ZERO_FLOAT) fill_scales(s, scheme_groups(s, m->K), -1.0f / 64, out->zeros);
}

static void make_up(struct program *p, const struct scheme *layers)
{
    for (size_t i = 0; i < p->tensor_count; i++) {
        struct program_tensor *t = &p->tensors[i];
        if (t->vector) continue;
        if (strncmp(t->name, "blk.", 4) == 0) t->matrix.scheme = *layers;
        t->matrix.row = random_row;
        t->matrix.release = NULL;
    }
}

/* ---- the whole ---- */

static qrt_status pack_shapes(const char *shapes, const struct scheme *scheme, const char *out)
{
    struct gguf *g;
    struct model m;
    struct program p = {.tensors = NULL};
    struct pack_result result = {.bytes = 0};
    const struct pack_options how = {.families = 1u << FAMILY_MMA};
    qrt_status status = gguf_open(shapes, &g);
    if (status != QRT_OK) return status;
    status = model_from_gguf(g, &m);
    if (status == QRT_OK) status = program_build(&m, &p);
    if (status == QRT_OK) make_up(&p, scheme);
    if (status == QRT_OK) status = pack_model(&m, &p, out, &how, &result);
    program_free(&p);
    gguf_close(g);
    if (status == QRT_OK) printf("%s: %.2f GB\n", out, (double)result.bytes * 1e-9);
    return status;
}

int main(int argc, char **argv)
{
    const struct sizes *s = NULL;
    struct scheme scheme;
    char shapes[4096];
    for (size_t i = 0; argc == 5 && i < sizeof known / sizeof *known; i++)
        if (strcmp(argv[1], known[i].name) == 0) s = &known[i];
    const int layers = argc == 5 ? atoi(argv[3]) : 0;
    if (!s || layers < 1 || layers > s->layers) {
        fprintf(stderr, "usage: synthetic_model llama3-8b|llama3-70b SCHEME LAYERS OUT.qm\n");
        return 2;
    }
    snprintf(shapes, sizeof shapes, "%.4000s.shapes", argv[4]);
    qrt_status status = scheme_parse(argv[2], &scheme);
    if (status == QRT_OK && !write_shapes(s, layers, shapes)) perror(shapes), exit(1);
    if (status == QRT_OK) status = pack_shapes(shapes, &scheme, argv[4]);
    unlink(shapes);
    if (status == QRT_OK) return 0;
    fprintf(stderr, "synthetic_model: %s\n", qrt_message());
    return 1;
}
