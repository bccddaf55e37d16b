/* pool.c -- a team of threads that run one function together
 *
 * A round is one 64-bit word: its number, its parts, and the next part to take.  Adding 1 takes a
 * part; whoever gets a number below `parts` runs it, and the round cannot end before.  So `work` and
 * `user` are stable for everyone who may read them, and a thread that comes late finds nothing left
 * and touches nothing.
 * A thread that has spun for nothing sleeps on a condition; `asleep` and the words it waits for are
 * sequentially consistent, so either the sleeper sees the news or the bringer sees the sleeper.
 */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "error.h"

enum {
    MAX_THREADS = 256,
    SPINS = 4000, /* some 50 microseconds: longer than the gap between ops */
    PARTS_SHIFT = 16,
    ROUND_SHIFT = 32,
};

struct pool {
    struct qrt *rt;
    int threads, spins;
    pthread_mutex_t turn; /* held by the caller of a round */

    void (*work)(void *user, int part);
    void *user;

    _Atomic uint64_t round; /* number << 32 | parts << 16 | next part */
    atomic_int done;        /* parts of the round that have been run */
    atomic_int stop;
    atomic_int asleep; /* threads that sleep or are about to */
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;

    pthread_t thread[MAX_THREADS]; /* 1 .. threads - 1; 0 is the caller */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Take parts of the current round and run them until none is left; 1 when the last one finished. */
static int run_parts(struct pool *p)
{
    int finished = 0;
    for (;;) {
        const uint64_t taken = atomic_fetch_add(&p->round, 1);
        const int part = (int)(taken & 0xffff), parts = (int)(taken >> PARTS_SHIFT & 0xffff);
        if (part >= parts) return finished;
        p->work(p->user, part);
        finished = atomic_fetch_add(&p->done, 1) + 1 == parts;
    }
}

struct wait {
    struct pool *pool;
    uint32_t round; /* a worker waits for another round than this; */
    int parts;      /* the caller (parts > 0) for that many to be done */
};

static int is_over(const struct wait *w)
{
    struct pool *p = w->pool;
    if (w->parts > 0) return atomic_load(&p->done) == w->parts;
    return (uint32_t)(atomic_load(&p->round) >> ROUND_SHIFT) != w->round;
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
    struct pool *p = argument;
    uint32_t round = 0;
    while (!atomic_load(&p->stop)) {
        wait_until_over(&(struct wait){.pool = p, .round = round});
        round = (uint32_t)(atomic_load(&p->round) >> ROUND_SHIFT);
        if (run_parts(p)) wake_sleepers(p);
    }
    return NULL;
}

static void start_round(struct pool *p, int parts)
{
    const uint64_t number = (atomic_load(&p->round) >> ROUND_SHIFT) + 1;
    atomic_store(&p->done, 0);
    atomic_store(&p->round, number << ROUND_SHIFT | (uint64_t)parts << PARTS_SHIFT);
    wake_sleepers(p);
}

void pool_run(struct pool *p, int parts, void (*work)(void *user, int part), void *user)
{
    pthread_mutex_lock(&p->turn);
    if (parts == 1) {
        work(user, 0);
    } else {
        p->work = work;
        p->user = user;
        start_round(p, parts);
        run_parts(p);
        wait_until_over(&(struct wait){.pool = p, .parts = parts});
    }
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
    for (; p->threads < threads; p->threads++)
        if (pthread_create(&p->thread[p->threads], NULL, worker_main, p) != 0)
            return error_set(QRT_E_MEMORY, "thread %d of %d cannot be started; ask for fewer",
                             p->threads + 1, threads);
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
    atomic_store(&p->stop, 1);
    start_round(p, 0);
    for (int i = 1; i < p->threads; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->sleep_lock);
    pthread_mutex_destroy(&p->turn);
    rt_free(p->rt, p);
}
