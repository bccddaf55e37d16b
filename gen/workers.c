/* workers.c -- many independent tasks on all processors, with progress */
#include "workers.h"

#include <pthread.h>
#include <sched.h>

enum { MAX_THREADS = 64 };

struct round {
    const struct workers *workers;
    size_t count;
    pthread_mutex_t lock;
    pthread_cond_t progressed;
    size_t next, done; /* under lock */
};

static void *work(void *user)
{
    struct round *r = user;
    pthread_mutex_lock(&r->lock);
    while (r->next < r->count) {
        const size_t number = r->next++;
        pthread_mutex_unlock(&r->lock);
        r->workers->task(r->workers->user, number);
        pthread_mutex_lock(&r->lock);
        r->done++;
        pthread_cond_signal(&r->progressed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static int thread_count(const struct workers *w, size_t tasks)
{
    cpu_set_t usable;
    int count = w->jobs;
    if (count <= 0) count = sched_getaffinity(0, sizeof usable, &usable) ? 1 : CPU_COUNT(&usable);
    if (count > MAX_THREADS) count = MAX_THREADS;
    return tasks < (size_t)count ? (int)tasks : count;
}

static void report(const struct round *r, size_t done)
{
    if (r->workers->progress) r->workers->progress(r->workers->progress_user, done, r->count);
}

/* Tell of progress until all is done; tasks may have ended before anybody listens. */
static void listen(struct round *r)
{
    size_t told = 0;
    pthread_mutex_lock(&r->lock);
    while (told < r->count) {
        while (r->done == told) pthread_cond_wait(&r->progressed, &r->lock);
        told = r->done;
        pthread_mutex_unlock(&r->lock);
        report(r, told);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
}

void workers_run(const struct workers *w, size_t count)
{
    struct round r = {.workers = w, .count = count};
    pthread_t threads[MAX_THREADS];
    int started = 0;
    const int wanted = thread_count(w, count);
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.progressed, NULL);
    report(&r, 0);
    while (started < wanted && pthread_create(&threads[started], NULL, work, &r) == 0) started++;
    if (started == 0) work(&r);
    listen(&r);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_cond_destroy(&r.progressed);
    pthread_mutex_destroy(&r.lock);
}
