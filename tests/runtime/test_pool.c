/* test_pool.c -- contract of pool.h
 *
 * - every part runs exactly once
 * - a part waits for no thread that is late: one thread does the work of all
 * - what a round writes is seen by the next, over many rounds and changing parts
 * - it works with more threads than processors, and after the threads have gone to sleep
 * - callers on several threads take turns
 * - numbers of threads out of range are refused
 */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "helpers.h"

enum { MANY = 24 };

static qrt *rt;

static int open_library(void **state)
{
    (void)state;
    return qrt_open(NULL, &rt);
}

static int close_library(void **state)
{
    (void)state;
    qrt_close(rt);
    return 0;
}

struct sheet {
    int runs[MANY];
};

static void note_part(void *user, int part)
{
    struct sheet *s = user;
    s->runs[part]++;
}

static void every_part_runs_once(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_open(rt, 4, &p), QRT_OK);
    assert_int_equal(pool_threads(p), 4);
    for (int parts = 1; parts <= 4; parts++) {
        struct sheet s;
        memset(&s, 0, sizeof s);
        pool_run(p, parts, note_part, &s);
        for (int i = 0; i < 4; i++) assert_int_equal(s.runs[i], i < parts);
    }
    pool_close(p);
}

/* The first part to run holds its thread until all others have run: only the other thread can do it.
 */
static void hold_or_count(void *user, int part)
{
    atomic_int *left = user;
    (void)part;
    if (atomic_fetch_sub(left, 1) != 4) return;
    while (atomic_load(left) != 0) sched_yield();
}

static void late_threads_are_not_waited_for(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_open(rt, 4, &p), QRT_OK);
    for (int i = 0; i < 50; i++) {
        atomic_int left = 4;
        pool_run(p, 4, hold_or_count, &left);
        assert_int_equal(left, 0);
    }
    pool_close(p);
}

/* Each part adds its left neighbour's value of the round before: wrong if any write is missed. */
struct ring {
    int parts, round;
    long value[2][MANY];
};

static void add_neighbour(void *user, int part)
{
    struct ring *r = user;
    const long *from = r->value[r->round % 2];
    r->value[(r->round + 1) % 2][part] = from[part] + from[(part + r->parts - 1) % r->parts];
}

static void run_ring(struct pool *p, int parts, int rounds)
{
    struct ring r = {.parts = parts};
    for (int i = 0; i < parts; i++) r.value[0][i] = 1;
    for (r.round = 0; r.round < rounds; r.round++) {
        pool_run(p, parts, add_neighbour, &r);
        for (int i = 0; i < parts; i++) r.value[(r.round + 1) % 2][i] %= 1000003;
    }
    long expected = 1;
    for (int i = 0; i < rounds; i++) expected = expected * 2 % 1000003;
    for (int i = 0; i < parts; i++) assert_int_equal(r.value[rounds % 2][i], expected);
}

static void rounds_see_each_other(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_open(rt, 3, &p), QRT_OK);
    for (int i = 0; i < 30; i++) run_ring(p, 1 + i % 3, 100);
    pool_close(p);
}

static void more_threads_than_processors(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_open(rt, MANY, &p), QRT_OK);
    run_ring(p, MANY, 100);
    const struct timespec nap = {.tv_nsec = 20 * 1000 * 1000};
    for (int i = 0; i < 3; i++) {
        nanosleep(&nap, NULL);
        run_ring(p, MANY, 2);
    }
    pool_close(p);
}

static void *call_often(void *pool)
{
    for (int i = 0; i < 20; i++) run_ring(pool, 2, 20);
    return NULL;
}

static void callers_take_turns(void **state)
{
    (void)state;
    struct pool *p;
    pthread_t other[2];
    assert_int_equal(pool_open(rt, 2, &p), QRT_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&other[i], NULL, call_often, p), 0);
    call_often(p);
    for (int i = 0; i < 2; i++) pthread_join(other[i], NULL);
    pool_close(p);
}

static void bad_numbers_are_refused(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_open(rt, 0, &p), QRT_E_LIMIT);
    assert_int_equal(pool_open(rt, 100000, &p), QRT_E_LIMIT);
    pool_close(NULL);
    assert_true(pool_processors() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_runs_once),  cmocka_unit_test(late_threads_are_not_waited_for),
        cmocka_unit_test(rounds_see_each_other), cmocka_unit_test(more_threads_than_processors),
        cmocka_unit_test(callers_take_turns),    cmocka_unit_test(bad_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
