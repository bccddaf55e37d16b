/* planner.c -- what a model can do on GPUs, from sizes and datasheets */
#include "planner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "blocks.h"
#include "embed.h"
#include "error.h"
#include "layout.h"

/* Kept by the driver for its context and by the runtime for code on each card: an estimate. */
#define RESERVE_BYTES (600.0 * (1 << 20))
/* Rows of a prompt that are worked on at a time: sizes the buffers of activations. */
enum { CHUNK_ROWS = 512, CARDS_MOST = 64, BATCH_MOST = 4096 };

/* ---- schemes ---- */

static const struct {
    const char *name, *weight;
    enum elem_type act;
} known[] = {
    {"fp8", "e4m3gc.f32", ELEM_E4M3},
    {"int8", "w8gc", ELEM_I8},
    {"f16", "f16", ELEM_F16},
    {"bf16", "bf16", ELEM_F16}, /* the same rate */
};

static qrt_status count_bits(struct plan_scheme *s, int K)
{
    size_t section[SECTION_COUNT];
    double bytes = 0;
    TRY(layout_bytes(FAMILY_MMA, &s->weight, LAYOUT_ROWS, K, section));
    for (int i = 0; i < SECTION_COUNT; i++)
        if (i != SECTION_SUPERS || s->weight.scale == SCALE_TWO_LEVEL) bytes += (double)section[i];
    s->bits = bytes * 8 / ((double)LAYOUT_ROWS * K);
    return QRT_OK;
}

static qrt_status as_stored(const struct plan_model *m, struct plan_scheme *out)
{
    if (m->stored_linears <= 0)
        return error_set(QRT_E_ARGUMENT,
                         "--schemes file: goes with a model file; %s is a name of the table",
                         m->name);
    out->as_stored = 1;
    out->bits = m->stored_linears * 8 / plan_model_linears(m);
    out->head_bits = m->stored_head * 8 / plan_model_head(m);
    return QRT_OK;
}

qrt_status plan_scheme_parse(const char *name, const struct plan_model *m, struct plan_scheme *out)
{
    const char *weight = name;
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", name);
    out->act = ELEM_F16;
    out->head_bits = 16;
    if (strcmp(name, "file") == 0) return as_stored(m, out);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) weight = known[i].weight, out->act = known[i].act;
    const qrt_status status = scheme_parse(weight, &out->weight);
    if (status != QRT_OK) return error_context(status, "--schemes %s", name);
    return count_bits(out, m->hidden);
}

static double rate_of(const struct gpu *g, enum elem_type act)
{
    if (act == ELEM_I8) return g->i8_ops_s;
    return act == ELEM_E4M3 ? g->f8_ops_s : g->f16_ops_s;
}

enum elem_type plan_act(const struct gpu *g, const struct plan_scheme *s)
{
    return rate_of(g, s->act) > 0 ? s->act : ELEM_F16;
}

double plan_peak(const struct gpu *g, const struct plan_scheme *s)
{
    return rate_of(g, plan_act(g, s));
}

/* ---- memory ---- */

static double linears_bytes(const struct plan_case *c)
{
    return plan_model_linears(c->model) * c->scheme->bits / 8;
}

static double head_bytes(const struct plan_case *c)
{
    return plan_model_head(c->model) * c->scheme->head_bits / 8;
}

static double table_bytes(const struct plan_case *c)
{
    if (c->model->tied) return 0;
    return c->scheme->as_stored ? c->model->stored_embedding : head_bytes(c);
}

/* The residual in f32, and in f16 what a layer holds at once: a normed copy, q, k, v, the attention's
 * output, gate, up and their product; logits of each sequence in f32. */
static double workspace_bytes(const struct plan_case *c)
{
    const struct plan_model *m = c->model;
    const double q = (double)m->heads * m->head, kv = (double)m->kv_heads * m->head;
    const double row = 4.0 * m->hidden + 2 * (m->hidden + 2 * q + 2 * kv + 3.0 * m->ffn);
    const double rows = c->batch > CHUNK_ROWS ? c->batch : CHUNK_ROWS;
    return rows * row + 4.0 * c->batch * m->vocab;
}

/* Of `cards`, each holds its share and its own workspace. */
static double need_bytes(const struct plan_case *c, int cards)
{
    const double shared = linears_bytes(c) + head_bytes(c) + table_bytes(c) +
                          c->batch * plan_model_kv(c->model, c->context);
    return shared / cards + workspace_bytes(c) + RESERVE_BYTES;
}

int plan_cards(const struct plan_case *c, enum plan_split split)
{
    const int most = split == PLAN_TENSOR ? c->model->kv_heads : c->model->layers;
    for (int n = 1; n <= most && n <= CARDS_MOST; n++)
        if ((split != PLAN_TENSOR || c->model->kv_heads % n == 0) &&
            need_bytes(c, n) <= c->gpu->memory_bytes)
            return n;
    return 0;
}

double plan_context_room(const struct plan_case *c)
{
    struct plan_case empty = *c;
    empty.context = 0;
    const double left = (c->gpu->memory_bytes - need_bytes(&empty, c->cards)) * c->cards;
    return left > 0 ? floor(left / plan_model_kv(c->model, 1)) : 0;
}

/* ---- rates ---- */

/* Of the step of a batch: parts of it that run one after another, and cards that share a part. */
struct step {
    double rows, cards;
};

static struct step step_of(const struct plan_case *c)
{
    const int parts = c->batch < c->cards ? c->batch : c->cards;
    if (c->split == PLAN_TENSOR) return (struct step){c->batch, c->cards};
    return (struct step){(double)c->batch / parts, 1};
}

static void decode(const struct plan_case *c, struct plan_result *r)
{
    const struct step s = step_of(c);
    const double kv = s.rows * plan_model_kv(c->model, c->context);
    const double bandwidth = c->gpu->memory_bytes_s * s.cards;
    const double multiplied = plan_model_linears(c->model) + plan_model_head(c->model);
    const double peak = plan_peak(c->gpu, c->scheme) * s.cards;
    r->memory_roof = c->batch / ((r->read + kv) / bandwidth);
    r->compute_roof = c->batch / (2 * multiplied * s.rows / peak);
    r->decode = fmin(r->memory_roof, r->compute_roof);
    r->decode_sequence = r->decode / c->batch;
    r->bound = r->compute_roof < r->memory_roof ? PLAN_COMPUTE
               : kv > r->read                   ? PLAN_KV
                                                : PLAN_MEMORY;
    r->crossover = peak * c->scheme->bits / 8 / (2 * bandwidth);
}

static void prefill(const struct plan_case *c, struct plan_result *r)
{
    const struct plan_model *m = c->model;
    const double cards = c->split == PLAN_TENSOR ? c->cards : 1, T = c->prompt;
    const double attention = 2.0 * m->heads * m->head * m->layers * T * T;
    const double compute =
        (2 * plan_model_linears(m) * T + attention) / (plan_peak(c->gpu, c->scheme) * cards);
    const double memory = r->read / (c->gpu->memory_bytes_s * cards);
    r->first_token = fmax(compute, memory);
    /* Cards that hold layers work on as many prompts at a time. */
    r->prefill = T / r->first_token * (c->split == PLAN_LAYERS ? c->cards : 1);
}

static double dollars(const struct plan_case *c, double tokens_s)
{
    return c->price_hour * c->cards / 3600 / tokens_s * 1e6 / c->utilisation;
}

void plan_compute(const struct plan_case *c, struct plan_result *r)
{
    memset(r, 0, sizeof *r);
    r->read = linears_bytes(c) + head_bytes(c);
    r->weights = r->read + table_bytes(c);
    r->kv = c->batch * plan_model_kv(c->model, c->context);
    r->workspace = workspace_bytes(c) * c->cards;
    r->need = need_bytes(c, c->cards);
    r->have = c->gpu->memory_bytes;
    r->fits = r->need <= r->have;
    decode(c, r);
    prefill(c, r);
    if (c->price_hour > 0) {
        r->dollars_out = dollars(c, r->decode);
        r->dollars_in = dollars(c, r->prefill);
    }
}

int plan_batch_for(const struct plan_case *c, double tokens_s)
{
    struct plan_case at = *c;
    struct plan_result r;
    for (at.batch = 1; at.batch <= BATCH_MOST; at.batch++) {
        plan_compute(&at, &r);
        if (r.decode >= tokens_s) return at.batch;
    }
    return 0;
}

const char *plan_bound_name(enum plan_bound b)
{
    static const char *const names[] = {
        [PLAN_MEMORY] = "memory", [PLAN_COMPUTE] = "compute", [PLAN_KV] = "KV"};
    return names[b];
}

/* ---- quality ---- */

struct quality {
    char name[PLAN_NAME_BYTES], model[PLAN_NAME_BYTES];
    double bits_lo, bits_hi; /* lo <= bits < hi */
    char measured[PLAN_TEXT_BYTES], source[PLAN_TEXT_BYTES];
};
enum { QUALITY_MOST = 64 };

static const struct block_key quality_keys[] = {
    BLOCK_TEXT_KEY("quality", 1, struct quality, name),
    BLOCK_TEXT_KEY("model", 1, struct quality, model),
    BLOCK_NUMBER_KEY("bits_lo", BLOCK_REAL, 1, struct quality, bits_lo, 1),
    BLOCK_NUMBER_KEY("bits_hi", BLOCK_REAL, 1, struct quality, bits_hi, 1),
    BLOCK_TEXT_KEY("measured", 1, struct quality, measured),
    BLOCK_TEXT_KEY("source", 1, struct quality, source),
};

static qrt_status check_quality(const void *item)
{
    const struct quality *q = item;
    if (q->bits_lo < q->bits_hi) return QRT_OK;
    return error_set(QRT_E_FORMAT, "bits_lo is not below bits_hi");
}

static qrt_status read_quality(struct quality all[QUALITY_MOST], size_t *count)
{
    static const struct block_format format = {.keys = quality_keys,
                                               .key_count =
                                                   sizeof quality_keys / sizeof *quality_keys,
                                               .item_bytes = sizeof(struct quality),
                                               .most_items = QUALITY_MOST,
                                               .check = check_quality};
    const struct embedded_file *f = embed_find("gen/plan_quality.txt");
    return blocks_parse(&format, f->text, f->bytes, f->name, all, count);
}

qrt_status plan_quality(const struct plan_model *m, const struct plan_scheme *s, char *text,
                        size_t bytes)
{
    struct quality all[QUALITY_MOST];
    size_t count;
    TRY(read_quality(all, &count));
    snprintf(text, bytes, "not measured for this model here; `qgen eval` measures it");
    if (s->bits >= 16) snprintf(text, bytes, "16 bits: the reference");
    for (size_t i = 0; i < count && s->bits < 16; i++)
        if (strcmp(all[i].model, m->name) == 0 && s->bits >= all[i].bits_lo &&
            s->bits < all[i].bits_hi)
            snprintf(text, bytes, "nearest known: %s (%s)", all[i].measured, all[i].source);
    return QRT_OK;
}
