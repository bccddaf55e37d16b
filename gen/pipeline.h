/* pipeline.h -- from requests to kernels: decide, render, look up or compile, store
 *
 *   request --winners (decide.h), else the templates' order (choose.h)--> candidates --render-->
 *   unit --key--> in the store? then that; else compile (all cores), read resources, make the entry,
 *   let it pass the gate (gate.h: it agrees with ref where this machine can run it), store it
 *
 * Rows: templates are asked about fixed ranges of M (pipeline_ranges), whatever range the caller
 * wants, so that a kernel's key does not depend on the command that made it.
 * Spills: a kernel that needs stack gives way to the next best tune point; one is handed out only
 * when all points of its range need some.
 * Results are in the order of the requests, then of M, then of rank; equal ones appear once.
 * Threads: one caller at a time; the compilers run on threads of its own.
 */
#ifndef QGEN_PIPELINE_H
#define QGEN_PIPELINE_H

#include "choose.h"
#include "decide.h"
#include "device.h" /* struct device_winner */
#include "store.h"

enum { PIPELINE_M_MAX = 1 << 30 }; /* "any number of rows" */

struct pipeline_options {
    const char *templates; /* folder used instead of the templates inside the program, or NULL */
    const char *store;     /* folder; NULL: the default one */
    int jobs;              /* compilers at a time; 0: one per processor */
    int offline;           /* a kernel that is not stored is QRT_E_KERNEL */
    int top;               /* kernels per range of M; 0: 1 */
    int ungated;           /* for checks themselves: what is made is stored unseen */
    int part, parts;       /* only kernels of this share, 0 .. parts - 1, by key; parts 0: all */
    const struct shape
        *shapes; /* of the weights that kernels are chosen for; NULL: all there are */
    size_t shape_count;
    enum decide_rank rank; /* whether to rank linears of GPUs where there are no winners */
    const char *gpu,
        *gpus;          /* to rank for, in a table; NULL: what stands for the arch, the program's */
    const char *device; /* take winners measured on it too (decide.h) */
    void (*ranking)(void *user, size_t done, size_t total); /* progress of one, as `progress` */
    /* Called on the caller's thread, at least at start and end; or NULL. */
    void (*progress)(void *user, size_t done, size_t total);
    void *user;
};

struct pipeline;

struct pipeline_kernel {
    struct entry entry; /* points into `bytes` */
    void *bytes;
    size_t count;
    int reused;     /* it was in the store */
    double seconds; /* spent compiling; 0 when reused */
};

struct pipeline_result {
    struct pipeline_kernel *kernels;
    size_t count, compiled, reused;
    struct device_winner *winners; /* for device_add_winners() */
    struct winner *rows;           /* [winner_count] the same as rows of tables */
    size_t winner_count;
    struct ranking *rankings; /* that were made by this call */
    size_t ranking_count;
    char store_problem[256]; /* why kernels could not be stored; "": they were */
    char note[512];          /* what was passed over when winners were looked up; or "" */
};

/* Parses all templates; compilers are looked for when a request needs one. */
qrt_status pipeline_open(const struct pipeline_options *options, struct pipeline **out);
void pipeline_close(struct pipeline *p);

/* All kernels for the requests.  One that fails fails the call, after the others were stored.
 * QRT_E_SCHEME: no template covers some rows of a request.  QRT_E_KERNEL: offline. */
qrt_status pipeline_make(struct pipeline *p, const struct request *requests, size_t count,
                         struct pipeline_result *out);
void pipeline_result_free(struct pipeline_result *r);

/* The same for requests by name ("linear.w4g128.f16.f16"), as qrt_model_needs() gives them, for 1
 * to max_m rows. */
qrt_status pipeline_ensure(struct pipeline *p, const struct arch *arch, const char *const *names,
                           size_t count, int max_m, struct pipeline_result *out);

/* The signature of winners that were chosen by `how` among kernels of these templates and compilers. */
qrt_status pipeline_sign(struct pipeline *p, const struct op_desc *desc, const struct arch *arch,
                         const char *how, char out[WINNER_SIGNATURE_BYTES]);

/* The fixed ranges of M, ascending and without gaps; *count gets their number. */
struct pipeline_range {
    int lo, hi;
};
const struct pipeline_range *pipeline_ranges(size_t *count);

#endif
