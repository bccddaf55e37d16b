/* pool.c -- a team of threads that run one function together
 *
 * A round: the caller writes the work, sets `pending`, and raises `round`; every worker sees the
 * new round, runs its part (or none) and lowers `pending`.  A thread that has spun for nothing goes
 * to sleep on a condition; `asleep` and `round` are sequentially consistent, so either the sleeper
 * sees the new round or the caller sees the sleeper.
 */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "error.h"

enum {
    MAX_THREADS = 256,
    SPINS = 4000 /* some 40 microseconds: longer than the gap between ops */
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    int part;
};

struct pool {
    struct qrt *rt;
    int threads, spins;
    pthread_mutex_t turn; /* held by the caller of a round */

    void (*work)(void *user, int part);
    void *user;
    int parts;
    int stop;

    atomic_uint round;
    atomic_int pending; /* workers that have not finished the round */
    atomic_int asleep;  /* workers asleep, and the caller when it sleeps */
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;

    struct worker worker[MAX_THREADS]; /* 1 .. threads - 1 */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

struct wait {
    struct pool *pool;
    unsigned round; /* a worker waits for another round than this; */
    int for_end;    /* the caller for the end of one */
};

static int is_over(const struct wait *w)
{
    if (w->for_end) return atomic_load(&w->pool->pending) == 0;
    return atomic_load(&w->pool->round) != w->round;
}

static void wait_until_over(const struct wait *w)
{
    struct pool *p = w->pool;
    for (int i = 0; i < p->spins; i++) {
        if (is_over(w)) return;
        pause_cpu();
    }
    pthread_mutex_lock(&p->sleep_lock);
    atomic_fetch_add(&p->asleep, 1);
    while (!is_over(w)) pthread_cond_wait(&p->wake, &p->sleep_lock);
    atomic_fetch_sub(&p->asleep, 1);
    pthread_mutex_unlock(&p->sleep_lock);
}

static void wake_sleepers(struct pool *p)
{
    if (atomic_load(&p->asleep) == 0) return;
    pthread_mutex_lock(&p->sleep_lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->sleep_lock);
}

static void *worker_main(void *argument)
{
    const struct worker *w = argument;
    struct pool *p = w->pool;
    for (unsigned round = 0;; round++) {
        wait_until_over(&(struct wait){.pool = p, .round = round});
        if (p->stop) return NULL;
        if (w->part < p->parts) p->work(p->user, w->part);
        if (atomic_fetch_sub(&p->pending, 1) == 1) wake_sleepers(p);
    }
}

/* Let every worker see what the caller wrote, and start. */
static void start_round(struct pool *p)
{
    atomic_store(&p->pending, p->threads - 1);
    atomic_fetch_add(&p->round, 1);
    wake_sleepers(p);
}

void pool_run(struct pool *p, int parts, void (*work)(void *user, int part), void *user)
{
    pthread_mutex_lock(&p->turn);
    if (parts > 1) {
        p->work = work;
        p->user = user;
        p->parts = parts;
        start_round(p);
    }
    work(user, 0);
    if (parts > 1) wait_until_over(&(struct wait){.pool = p, .for_end = 1});
    pthread_mutex_unlock(&p->turn);
}

int pool_threads(const struct pool *p) { return p->threads; }

int pool_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    const int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

static qrt_status start_threads(struct pool *p, int threads)
{
    for (; p->threads < threads; p->threads++) {
        struct worker *w = &p->worker[p->threads];
        *w = (struct worker){.pool = p, .part = p->threads};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            return error_set(QRT_E_MEMORY, "thread %d of %d cannot be started; ask for fewer",
                             p->threads + 1, threads);
    }
    return QRT_OK;
}

qrt_status pool_open(struct qrt *rt, int threads, struct pool **out)
{
    if (threads < 1 || threads > MAX_THREADS)
        return error_set(QRT_E_LIMIT, "%d threads: 1 to %d", threads, MAX_THREADS);
    void *block;
    TRY(rt_alloc(rt, sizeof(struct pool), &block));
    struct pool *p = block;
    p->rt = rt;
    p->threads = 1;
    p->spins = threads <= pool_processors() ? SPINS : 0;
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->sleep_lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    const qrt_status status = start_threads(p, threads);
    if (status != QRT_OK) {
        pool_close(p);
        return status;
    }
    *out = p;
    return QRT_OK;
}

void pool_close(struct pool *p)
{
    if (!p) return;
    p->stop = 1;
    start_round(p);
    for (int i = 1; i < p->threads; i++) pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->sleep_lock);
    pthread_mutex_destroy(&p->turn);
    rt_free(p->rt, p);
}
