/* test_workers.c -- contract of workers.h
 *
 * - every task runs once, whatever the number of threads; one thread takes them in order
 * - progress is told on the caller's thread, never falls, starts at none and ends with all
 * - no tasks, more threads than tasks, and no listener are fine
 */
#include "workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "helpers.h"

enum { MOST = 1000 };

struct tasks {
    atomic_int runs[MOST];
    atomic_size_t next;
    int in_order;
    pthread_t caller;
    size_t last, total, reports;
    int is_good;
};

static void run(void *user, size_t number)
{
    struct tasks *t = user;
    atomic_fetch_add(&t->runs[number], 1);
    if (atomic_fetch_add(&t->next, 1) != number) t->in_order = 0;
}

static void listen(void *user, size_t done, size_t total)
{
    struct tasks *t = user;
    if (!pthread_equal(pthread_self(), t->caller) || done < t->last || done > total) t->is_good = 0;
    if (t->reports++ == 0 && done != 0) t->is_good = 0;
    t->last = done;
    t->total = total;
}

static void run_tasks(struct tasks *t, int jobs, size_t count, int listening)
{
    memset(t, 0, sizeof *t);
    t->in_order = t->is_good = 1;
    t->caller = pthread_self();
    const struct workers w = {jobs, run, t, listening ? listen : NULL, t};
    workers_run(&w, count);
    for (size_t i = 0; i < MOST; i++) assert_int_equal(atomic_load(&t->runs[i]), i < count);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    static struct tasks t;
    static const int jobs[] = {0, 1, 2, 7, 1000};
    for (int i = 0; i < 5; i++) {
        run_tasks(&t, jobs[i], MOST, 1);
        assert_true(t.is_good);
        assert_int_equal(t.last, MOST);
        assert_int_equal(t.total, MOST);
        if (jobs[i] == 1) assert_true(t.in_order);
    }
}

static void few_tasks_and_no_listener(void **state)
{
    (void)state;
    static struct tasks t;
    for (size_t count = 0; count < 4; count++) {
        run_tasks(&t, 8, count, 0);
        run_tasks(&t, 8, count, 1);
        assert_true(t.is_good && t.reports > 0);
        assert_int_equal(t.last, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(few_tasks_and_no_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
