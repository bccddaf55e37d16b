/* model.h -- what a model file says about its model, checked: sizes, attention, rope, special
 * tokens
 *
 * Why: metadata names things per architecture and leaves much to convention; here every convention
 * is one field of a table row or one default, and whatever qgen would have to ignore is refused.
 * Errors: QRT_E_MODEL (an architecture or a feature that is not supported), QRT_E_FORMAT (metadata
 * that is missing, out of range, or disagrees with other metadata).
 */
#ifndef QGEN_MODEL_H
#define QGEN_MODEL_H

#include "gguf.h"
#include "op.h"
#include "qm.h"

/* An architecture: one decoder layer in the variants that differ between them. */
struct model_arch {
    const char *name; /* general.architecture */
    enum rope_kind rope;
    enum glu_kind glu;
    int scale_embedding; /* embeddings are multiplied by sqrt(hidden) */
    int qk_norm;         /* rmsnorm of every head of q and k */
    int post_norm;       /* rmsnorm of attention's and the ffn's output, before it is added */
    int pattern; /* every pattern-th layer sees all positions, the others a window; 0: all do */
    double local_base; /* rope base of the layers with a window */
    const char *why;   /* what to know about it */
};

struct model {
    const struct gguf *gguf;
    const struct model_arch *arch;
    char name[QM_NAME_BYTES];
    int layers, hidden, ffn, vocab, context;
    int heads, kv_heads, head, rotary; /* head: elements; rotary: the rotated ones of them */
    int window;                        /* positions that a layer with a window sees */
    int pattern;                       /* as of the arch */
    int tied;                          /* the output matrix is the embedding table */
    int bos, eos, add_bos;             /* -1: none */
    double eps, rope_base, local_base; /* local: of layers with a window */
    double rope_factor; /* positions are divided by it; not in layers with a window */
    double attention_scale;
};

/* `g` has to outlive *out, which needs no freeing. */
qrt_status model_from_gguf(const struct gguf *g, struct model *out);

/* Whether a layer sees only the window. */
int model_is_local(const struct model *m, int layer);

/* Call `say` with one sentence for each thing that qgen concluded rather than read. */
void model_explain(const struct model *m, void (*say)(void *user, const char *sentence),
                   void *user);

#endif
