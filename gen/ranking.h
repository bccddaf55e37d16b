/* ranking.h -- winners of a request without a device: every candidate compiled, counted, and its time
 * predicted
 *
 *   search.h --texts--> compile.h --entries--> profiler.h --profiles--+     (all cores; kept by key)
 *           \--candidates--------------------------------------------+--> cost.h for each candidate,
 *      shape and number of rows --times--> select.h --ranges--> winners (cache/winners.h)
 *
 * All candidates are ranked, none is left out by a guess; only those that spill registers are.
 * Shapes: the default ones are chosen together, so that they share kernels, and with them a winner
 * for any shape: of the least mean of times over the best of each.  Another shape is chosen alone.
 * So rows of a table do not depend on what else was asked for.  The type of y hardly matters: one
 * with y as x stands for all of a scheme and type of x, whose profiles are kept once.
 * Same templates, compiler and GPU: the same winners, whatever the machine and its cores.
 * Owns: struct ranking all it points to.  Threads: one caller; compilers run on threads of its own.
 */
#ifndef QGEN_RANKING_H
#define QGEN_RANKING_H

#include "choose.h" /* struct shape */
#include "compile.h"
#include "cost.h"
#include "search.h"
#include "select.h"
#include "winners.h"

/* The linears of Llama-3-8B, [outputs, inputs]: whole, and as two cards share them. */
const struct shape *ranking_shapes(size_t *count);

struct ranking_options {
    const char *templates;      /* folder, or NULL: those of the program */
    const char *gpus;           /* table of GPUs, or NULL: the program's (gpu_table.h) */
    const char *gpu;            /* its name there; NULL: the one that stands for the arch */
    const char *folder;         /* a folder for profiles; NULL: they are not kept */
    const struct shape *shapes; /* NULL: ranking_shapes() */
    size_t shape_count;
    int jobs; /* compilers at a time; 0: one per processor */
    /* On the caller's thread: texts that have a profile, of all; or NULL. */
    void (*progress)(void *user, size_t done, size_t total);
    void *user;
};

/* Why one row of the winners is as it is; costs are at m_lo. */
struct ranking_row {
    int N, K; /* 0, 0: any shape; it has no costs */
    int m_lo, m_hi;
    size_t winner, second; /* candidates; second: SIZE_MAX, there is none */
    double loss;           /* to the best of all at any of its rows */
    double second_loss;    /* of the second to the winner, at m_lo; below 0: it is the faster one */
    struct cost cost, second_cost;
};

struct ranking {
    struct op_desc desc; /* as asked for */
    const struct arch *arch;
    struct gpu gpu;
    struct search search;
    struct profile *profiles; /* [search.text_count] */
    size_t compiled;          /* texts that had no profile before */
    size_t spilling;          /* candidates that need stack: out */
    size_t points;            /* numbers of rows that are compared */
    double *times; /* [search.count][ranking_shapes() or one][points] of the last selection */
    struct select_input input; /* of it */
    struct ranking_row *rows;
    size_t row_count;
    struct winners winners; /* of desc, how: model */
    double seconds;
};

/* QRT_E_DEVICE: no virtual GPU, or no GPU of the table runs the arch; others as their steps have. */
qrt_status ranking_make(const struct ranking_options *o, const struct op_desc *desc,
                        const struct arch *arch, struct ranking *out);
void ranking_free(struct ranking *r);

/* Whether requests of this kind are ranked: linears of GPUs. */
int ranking_serves(const struct op_desc *desc, const struct arch *arch);

/* The best `top` candidates for rows m_lo .. m_hi over all shapes of a ranking, best first: how many
 * there are, and their numbers. */
qrt_status ranking_top(const struct ranking *r, int m_lo, int m_hi, int top, size_t *candidates,
                       size_t *count);

/* Predicted seconds of a candidate; INFINITY: it is not made for those rows, or spills. */
double ranking_time(const struct ranking *r, size_t candidate, int M, const struct shape *shape);

/* One or two sentences about a row. */
void ranking_explain(const struct ranking *r, const struct ranking_row *row, char *text,
                     size_t bytes);

/* The signature of winners of an op: over the texts of its templates, the compiler, and the GPU and
 * the model by which they are chosen. */
qrt_status ranking_sign(struct template_set *set, const struct compiler *c,
                        const struct op_desc *desc, const struct arch *arch, const struct gpu *gpu,
                        char out[WINNER_SIGNATURE_BYTES]);

/* The same of winners that were chosen by something else, one to four texts; they end with NULL. */
qrt_status ranking_sign_by(struct template_set *set, const struct compiler *c,
                           const struct op_desc *desc, const struct arch *arch,
                           const char *const *chosen_by, char out[WINNER_SIGNATURE_BYTES]);

/* The GPU of the options, or the one for the arch. */
qrt_status ranking_gpu(const struct ranking_options *o, const struct arch *arch, struct gpu *out);

#endif
