/* jobs.h -- the work of many machines: requests become lines of text, and lines become kernels
 *
 * Why: making kernels is many independent pieces, and clusters have schedulers already.  A plan is a
 * file that any of them can hand out by number; what a job makes depends on its line alone, so
 * that folders of any machines merge (cache/merge.h) into what one machine would have made.
 * Layout of a plan: one JSON object a line, members in order of their names, no blanks:
 *     {"arch":"sm_89","device":"","id":"1f0c2a9be07d4435","kind":"build","m":[1,1073741824],
 *      "request":"linear.w4g128.f16.f16","rows":"","seconds":0,"shapes":["4096x4096"],
 *      "sources":"9d05c1..","top":1}
 *   kind     build: the kernels of a request on an arch for "m" rows, and the winners they were
 *            chosen by, as `qgen build` makes them
 *            tune: winners of a linear on one weight, measured at "rows" of x on "device" for
 *            "seconds" at most, as `qgen tune` does; it has the machine to itself
 *   sources  hash of what is carried inside the program: another program would make other kernels
 *   id       hash of the line without it
 * A line has one spelling; anything else is QRT_E_FORMAT with file and line.
 * Layout of the folder that jobs fill: a store (cache/store.h) with tuned/ (cache/winners.h), and
 *     done/ID   "qgen-done 1", then the keys of the job's kernels, one a line
 * A job is done when its note is there and the store has all of these, sound.
 */
#ifndef QGEN_JOBS_H
#define QGEN_JOBS_H

#include "asked.h"

enum job_kind { JOB_BUILD, JOB_TUNE, JOB_KINDS };
enum { JOB_ID_BYTES = 17, JOB_DEVICE_BYTES = 32, JOB_ROWS_BYTES = 512 };

struct job {
    char id[JOB_ID_BYTES];
    enum job_kind kind;
    struct request request;
    struct shape shapes[ASKED_MAX_SHAPES];
    size_t shape_count;
    int top;
    /* tune; of others "", "" and 0 */
    char device[JOB_DEVICE_BYTES]; /* "cuda:0" */
    char rows[JOB_ROWS_BYTES];     /* "1,2,4" */
    int seconds;
};

struct jobs {
    struct job *items;
    size_t count, capacity;
};

struct jobs_plan {
    int top;            /* kernels for each range of rows */
    int threads;        /* that pack a model; 0: one per processor */
    const char *device; /* to tune on; NULL: nothing is tuned */
    const char *rows;   /* to tune for; NULL: those of `qgen tune` */
    int seconds;        /* of measuring, for each weight */
};

/* A build job for each request that is asked for, in order; then, for each arch, a tune job for each
 * linear and weight (points.h). */
qrt_status jobs_plan(const struct asked_options *asking, const struct jobs_plan *plan,
                     struct jobs *out);
qrt_status jobs_text(const struct jobs *jobs, char **text, size_t *bytes); /* free() */
/* QRT_E_FORMAT as well when another program planned them. */
qrt_status jobs_parse(const char *text, size_t bytes, const char *origin, struct jobs *out);
void jobs_free(struct jobs *jobs);

const char *job_kind_name(enum job_kind kind);

/* Share `index` of `count`, counted from 1: the job numbers index - 1, index - 1 + count ..
 * "2/8" as it is; "auto", "auto/8": the index, and for Slurm the count, from what a scheduler sets
 * for each task (SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX).  QRT_E_ARGUMENT. */
struct jobs_shard {
    int index, count;
};
qrt_status jobs_shard(const char *text, struct jobs_shard *out);

/* Where and how jobs are done. */
struct jobs_place {
    const char *folder; /* a store's */
    int offline;
    int compilers; /* at a time; 0: one per processor */
};
struct jobs_made {
    size_t kernels, compiled, winners;
};

/* Whether it was done in the folder already. */
int jobs_is_done(const struct job *job, const struct jobs_place *place);

/* Do it and note that it is done; what was made stays in the folder, whatever happens. */
qrt_status jobs_do(const struct job *job, const struct jobs_place *place, struct jobs_made *made);

#endif
