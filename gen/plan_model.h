/* plan_model.h -- the sizes of a model that a plan is made from
 *
 * A name of gen/plan_models.txt (carried inside the program), a GGUF file or a packed model.
 * Of a file the bytes of its weights are known too, as they lie in it.
 */
#ifndef QGEN_PLAN_MODEL_H
#define QGEN_PLAN_MODEL_H

#include "op.h"

enum { PLAN_NAME_BYTES = 64, PLAN_TEXT_BYTES = 160, PLAN_MODELS_MOST = 64 };

struct plan_model {
    char name[PLAN_NAME_BYTES], title[PLAN_TEXT_BYTES];
    int layers, hidden, ffn;
    int heads, kv_heads, head; /* head: elements */
    int vocab, context;
    int tied;            /* the output matrix is the embedding table */
    int window, pattern; /* every pattern-th layer sees all positions, others a window; 0: all do */
    char rope[8], glu[8];    /* as in names of requests: "pairs", "silu" */
    double parameters;       /* published; 0: not */
    double stored_linears;   /* bytes of a file's weights: of the layers, */
    double stored_head;      /* .. of the output matrix (a tied one: of the table) */
    double stored_embedding; /* .. of the table that tokens are looked up in; all 0: not a file */
    char source[PLAN_TEXT_BYTES];
};

/* QRT_E_ARGUMENT with the names there are when it is neither a name nor a file; else the errors of
 * the file's reader. */
qrt_status plan_model_load(const char *name_or_path, struct plan_model *out);

/* All of the table; `out` has room for PLAN_MODELS_MOST. */
qrt_status plan_models(struct plan_model *out, size_t *count);

/* Weights in the linears of the layers, in the output matrix, in all matrices. */
double plan_model_linears(const struct plan_model *m);
double plan_model_head(const struct plan_model *m);
double plan_model_all(const struct plan_model *m);

/* Bytes of keys and values in f16: for a sequence of `context` tokens. */
double plan_model_kv(const struct plan_model *m, double context);

#endif
