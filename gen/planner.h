/* planner.h -- what a model can do on GPUs, from sizes and datasheets
 *
 * A ceiling is what physics allows: nothing measured goes into it.  The formulas, with W bytes of
 * weights read for a token, P weights multiplied for it, V bytes of keys and values of a sequence, B
 * sequences, n cards of `bandwidth` and `peak`:
 *
 *   weights read    W = linears * bits / 8 + head          (of the embedding table one row: nothing)
 *   in memory       W + table (a tied table is the head)
 *   decode          one card      B / max((W + B V) / bandwidth, 2 P B / peak)
 *                   tensor        W, V and P divided by n; exchange between the cards not counted
 *                   layers        one after another: m = min(n, B) parts of the batch under way,
 *                                 B / max((W + (B / m) V) / bandwidth, 2 P (B / m) / peak)
 *   prefill of T    max((2 L T + 2 heads * head * layers * T^2) / peak, W / bandwidth) seconds,
 *                   L the weights of the layers; tensor: by n
 *   crossover       B* = peak * bits / 8 / (2 bandwidth): with more rows the units bound a linear
 *   $ per million   cards * price / 3600 / (tokens/s) * 1e6 / utilisation
 *
 * Fits: weights, keys and values of all sequences and the workspace, shared by the cards, and on each
 * card a reserve for the driver, are within its memory.
 * docs/planning.md has them with an example.
 */
#ifndef QGEN_PLANNER_H
#define QGEN_PLANNER_H

#include "gpu.h"
#include "plan_model.h"

/* How weights and activations are held. */
struct plan_scheme {
    char name[SCHEME_NAME_BYTES]; /* as asked for: "w4g128", "fp8", "int8", "f16", "file" */
    struct scheme weight;         /* of the layers' linears */
    enum elem_type act;           /* what the tensor cores multiply: F16, I8, E4M3 */
    int as_stored;                /* "file": bytes as they lie in the model's file */
    double bits;                  /* of a weight in the linears, scales and zeros included */
    double head_bits;             /* of the output matrix and the embedding table: 16 */
};

/* A scheme's name, or fp8 (e4m3gc.f32, e4m3 activations), int8 (w8gc, i8 activations), f16, bf16,
 * file.  `hidden` is the K for which bits of a weight are counted. */
qrt_status plan_scheme_parse(const char *name, const struct plan_model *m, struct plan_scheme *out);

enum plan_split { PLAN_ONE, PLAN_TENSOR, PLAN_LAYERS }; /* one card; each matrix; whole layers */
enum plan_bound { PLAN_MEMORY, PLAN_COMPUTE, PLAN_KV, PLAN_BOUNDS };

struct plan_case {
    const struct plan_model *model;
    const struct plan_scheme *scheme;
    const struct gpu *gpu;
    enum plan_split split;
    int cards, batch;
    double context;     /* tokens of each sequence when a token is made */
    double prompt;      /* tokens of a prompt */
    double price_hour;  /* of a card; 0: not known */
    double utilisation; /* share of the hour that tokens are made, 0..1 */
};

struct plan_result {
    double weights, kv, workspace; /* bytes, over all cards */
    double need, have;             /* bytes of a card, the reserve included; its memory */
    int fits;
    double read;            /* bytes of weights read for a step */
    double decode;          /* ceiling, tokens/s over all sequences */
    double decode_sequence; /* of one sequence */
    enum plan_bound bound;  /* what sets it; KV: memory, and keys and values are most of it */
    double memory_roof, compute_roof; /* tokens/s if that alone bounded it */
    double crossover;                 /* B* */
    double prefill,
        first_token; /* ceiling, tokens/s; seconds until the first token of one prompt */
    double dollars_out, dollars_in; /* per million tokens at the ceilings; 0: no price */
};

void plan_compute(const struct plan_case *c, struct plan_result *out);

/* The fewest cards that hold it, split that way (PLAN_ONE counts as PLAN_LAYERS); 0: none up to 64.
 * A tensor split needs a number that divides the heads of keys. */
int plan_cards(const struct plan_case *c, enum plan_split split);

/* The smallest batch whose ceiling reaches `tokens_s`; 0: none up to 4096. */
int plan_batch_for(const struct plan_case *c, double tokens_s);

/* Tokens of context, over all sequences, that the memory left beside the weights holds. */
double plan_context_room(const struct plan_case *c);

/* What a scheme's products are made of on a GPU: f16 where it has no unit for 8-bit floats or
 * integers; and the ops/s of that. */
enum elem_type plan_act(const struct gpu *g, const struct plan_scheme *s);
double plan_peak(const struct gpu *g, const struct plan_scheme *s);
const char *plan_bound_name(enum plan_bound b);

/* What others measured of the quality of a scheme's kind, or where to measure it. */
qrt_status plan_quality(const struct plan_model *m, const struct plan_scheme *s, char *text,
                        size_t bytes);

#endif
