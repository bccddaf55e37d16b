/* measure_child.h -- one kernel measured in a process of its own, which it may take down
 *
 * Why: a kernel that was never run may crash, hang, write anywhere or lose the device.  Then a child
 * ends and the caller goes on; it never opens a device itself.
 *
 * The child is this program again, `qgen measure`: a request by stdin, answers by stdout, a JSON
 * object a line, each sent as soon as it is known; what the kernel prints goes to stderr and is kept
 * for the record.
 *     request  {schema "qgen.measure/1", device, driver, store, key, reduce, check, budget_s,
 *               points [{n, k, m, other}]}         keys in hexadecimal, "": none
 *     answers  {event "device", name, arch, processors, memory_bytes, cache_bytes}
 *              {event "checked"}
 *              {event "point", index, own {..}, other {..}, ratio {..}}    struct noise each
 *              {event "end", outcome, text}
 * A child that is silent for longer than the time limit is killed with all that it started.  Its
 * memory is bounded on the CPU, it leaves no core dump, and it dies with its parent.
 * Threads: one caller at a time.
 */
#ifndef QGEN_MEASURE_CHILD_H
#define QGEN_MEASURE_CHILD_H

#include <signal.h>

#include "key.h"
#include "measure.h"

enum { MEASURE_CHILD_TEXT_BYTES = 384, MEASURE_CHILD_KERNELS = 64 };

enum measure_outcome {
    MEASURE_DONE,      /* every point was measured */
    MEASURE_WRONG,     /* it does not compute what ref does */
    MEASURE_CRASHED,   /* a signal ended the child, or it ended itself */
    MEASURE_TIMED_OUT, /* it was silent for too long, and was killed */
    MEASURE_FAILED,    /* the device or the child could not do it */
    MEASURE_STOPPED,   /* the caller was told to stop */
};
const char *measure_outcome_name(enum measure_outcome o); /* "measured", "wrong" .. */

struct measure_child_point {
    int N, K, M;
    char other[KEY_HEX_BYTES]; /* the kernel it takes turns with; "": none */
};

/* Which device, and how it is reached; strings are borrowed. */
struct measure_child_device {
    const char *program;               /* qgen; NULL: this program */
    const char *name;                  /* "cpu", "cuda:0" */
    const char *driver;                /* another driver's file, or NULL */
    double limit_s;                    /* of silence */
    const volatile sig_atomic_t *stop; /* end as soon as it is not 0; or NULL */
};

struct measure_child_job {
    const char *store;          /* the folder that has the kernels */
    char key[KEY_HEX_BYTES];    /* of the kernel */
    char reduce[KEY_HEX_BYTES]; /* of what adds up its parts; "": none */
    int check;                  /* run it over check.h's grid first */
    int quick;                  /* the small grid: for simulated devices */
    double budget_s;            /* for each point */
    const struct measure_child_point *points;
    size_t count;
    /* Called for each point that was measured, in order. */
    void (*measured)(void *user, size_t point, const struct measure_times *t);
    void *user;
};

struct measure_child_end {
    enum measure_outcome outcome;
    size_t measured;                     /* points before it ended */
    char text[MEASURE_CHILD_TEXT_BYTES]; /* why, when it is not MEASURE_DONE */
};

struct measure_child_info {
    char name[64], arch[ARCH_NAME_BYTES];
    int processors;
    double memory_bytes, cache_bytes;
};

/* What the device is.  QRT_E_DEVICE with the child's reason when there is none. */
qrt_status measure_child_look(const struct measure_child_device *device,
                              struct measure_child_info *out);

/* Measure a kernel.  A status other than QRT_OK: no child could be started. */
qrt_status measure_child_run(const struct measure_child_device *device,
                             const struct measure_child_job *job, struct measure_child_end *out);

/* The child: serves the request on stdin, returns the exit code. */
int measure_child_serve(void);

#endif
