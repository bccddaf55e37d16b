/* tuner.h -- which of the ranked kernels is the fastest on a device: all of them measured, few believed
 *
 *   points --pipeline--> kernels, ranked --for each place, for each kernel--> a child (measure_child.h)
 *          checks it, and times it beside the default at all its points --> trials (trials.h)
 *          --> verdicts --select.h--> winners (cache/winners.h)
 *
 * The default of a point is the first kernel of the ranking that computes rightly; another replaces it
 * only when it is faster beyond the noise (noise.h).
 * Kernels that nobody has checked are kept apart, in FOLDER/tuning/candidates; those that win are put
 * into the store, because they passed the same check as there.
 * A kernel that is wrong, crashes, hangs or loses the device costs the time limit at most; it is noted
 * and out for all its points.
 * Stopping, and the end of the budget, leave what is known so far: points without a time have no
 * verdict.
 * Owns: struct tuner_result all it points to.  Threads: one caller.
 */
#ifndef QGEN_TUNER_H
#define QGEN_TUNER_H

#include "pipeline.h"
#include "trials.h"
#include "winners.h"

/* A linear on a weight [N, K] with M rows. */
struct tuner_point {
    struct op_desc desc;
    int N, K, M;
};

struct tuner_options {
    struct measure_child_device device;
    const char *arch;      /* to make kernels for; NULL: the device's own */
    const char *templates; /* folder, or NULL: those inside the program */
    const char *folder;    /* the store's; NULL: the default one */
    int top;               /* kernels for each range of rows */
    int jobs;              /* compilers at a time; 0: one per processor */
    int resume;            /* believe earlier trials */
    int unranked;          /* by the templates' own order: no ranking is made */
    double budget_s;       /* for measuring */
    double point_s;        /* of it at most for a kernel at a point; 0: 2 */
    const struct tuner_point *points;
    size_t count;
    /* Called now and then on the caller's thread: compiling, then measuring; or NULL. */
    void (*progress)(void *user, const char *what, size_t done, size_t total);
    void *user;
};

/* A kernel at a point. */
struct tuner_candidate {
    size_t kernel; /* of result.made */
    int is_measured;
    struct measure_times times; /* ratio: to the default's time; of the default itself: 1 */
};

struct tuner_verdict {
    struct tuner_point point;
    struct tuner_candidate *candidates; /* by their place in the ranking */
    int count;
    int default_, winner; /* candidates; -1: nothing was measured.  Equal: the default was kept. */
};

struct tuner_kernel {
    char key[KEY_HEX_BYTES];
    enum measure_outcome outcome; /* of its last child; MEASURE_DONE also when it never had one */
    int is_out, is_checked;
};

struct tuner_result {
    struct measure_child_info device;
    char device_name[WINNER_DEVICE_BYTES];
    const struct arch *arch;
    int is_virtual; /* its times mean nothing */
    char signature[WINNER_SIGNATURE_BYTES];
    struct pipeline_result made;
    struct tuner_kernel *kernels; /* [made.count] */
    struct tuner_verdict *verdicts;
    size_t count;
    size_t trials, resumed;                 /* measured now; known before */
    size_t by_outcome[MEASURE_STOPPED + 1]; /* kernels that were lost */
    int is_out_of_time, is_stopped;
    double seconds;
};

qrt_status tuner_run(const struct tuner_options *o, struct tuner_result *out);
void tuner_result_free(struct tuner_result *r);

/* The kernel that a build would give a point: by the winners that came with them (a device's before
 * an arch's, a shape's before any shape's), else of the least rank; made->count: none. */
size_t tuner_choice(const struct pipeline_result *made, const struct tuner_point *p);

/* A verdict's time of the ranking's first choice over the winner's, at least 1; 0 when it has none. */
double tuner_first_choice(const struct tuner_verdict *v);

/* The winners of all verdicts, in ranges of rows. */
qrt_status tuner_winners(const struct tuner_result *r, struct winners *out);

/* Put winners and their kernels where builds find them.  QRT_E_DEVICE on a virtual GPU. */
qrt_status tuner_keep(const struct tuner_result *r, const char *folder, const struct winners *w);

/* Whether two results say the same of a point: the same winner, or one of them cannot tell the two
 * winners apart, within its noise.  -1: one of them has no verdict. */
int tuner_agree(const struct tuner_result *a, const struct tuner_result *b, size_t point);

#endif
