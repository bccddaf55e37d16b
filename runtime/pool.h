/* pool.h -- a team of threads that run one function together
 *
 * Why not OpenMP: a runtime that starts its own OpenMP threads fights those of its host program.
 * Waiting: a thread spins for some microseconds, because the next op of a layer follows at once,
 * then sleeps.  With more threads than processors it sleeps at once.
 * Late threads: a part belongs to whoever takes it first, so on a busy machine the caller does what
 * a thread that got no processor would have done, instead of waiting for it.
 * Threads: pool_run() may be called from several threads; they take turns.
 */
#ifndef QRT_POOL_H
#define QRT_POOL_H

#include "rt.h"

struct pool;

/* `threads` >= 1 counts the caller of pool_run(): threads - 1 are started. */
qrt_status pool_open(struct qrt *rt, int threads, struct pool **out);
void pool_close(struct pool *p); /* NULL is allowed */
int pool_threads(const struct pool *p);

/* Call work(user, part) once for every part in 0 .. parts - 1 (1 <= parts <= threads), at the same
 * time as far as there are threads at hand; return when all are done.  Allocates nothing. */
void pool_run(struct pool *p, int parts, void (*work)(void *user, int part), void *user);

/* Processors that this process may use, at least 1. */
int pool_processors(void);

#endif
