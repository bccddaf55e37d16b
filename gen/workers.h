/* workers.h -- many independent tasks on all processors, with progress
 *
 * Tasks are given out in the order of their numbers; what each leaves behind does not depend on how
 * many threads there are.
 */
#ifndef QGEN_WORKERS_H
#define QGEN_WORKERS_H

#include <stddef.h>

struct workers {
    int jobs;                                /* threads; 0: one per processor */
    void (*task)(void *user, size_t number); /* on any thread; keeps its own status */
    void *user;
    /* On the caller's thread, at least at start and end; or NULL. */
    void (*progress)(void *user, size_t done, size_t total);
    void *progress_user;
};

/* Run tasks 0 .. count - 1 and wait for them. */
void workers_run(const struct workers *w, size_t count);

#endif
