/* shared_fixture.h -- a block's shared memory under test, and its findings, counted by kind */
#ifndef TESTS_SHARED_FIXTURE_H
#define TESTS_SHARED_FIXTURE_H

#include "shared.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"

enum { NOTHING = -1, BYTES = 4096, ALL = -1 };

static struct shared *s;
static struct report_place place;
static unsigned found[VGPU_FAULT_COUNT];
static char last[256];

/* In place of report.c: this test looks at findings one by one. */
void report_fault(struct report_place *p, enum vgpu_fault fault, int lane, const char *format, ...)
{
    (void)p;
    (void)lane;
    va_list list;
    va_start(list, format);
    vsnprintf(last, sizeof last, format, list);
    va_end(list);
    found[fault]++;
}

static inline void begin(int warps)
{
    memset(found, 0, sizeof found);
    assert_true(shared_begin(s, BYTES, warps, &place));
}

/* What was found since the last time is of this kind alone. */
static inline void expect_line(int fault, int line)
{
    for (int f = 0; f < VGPU_FAULT_COUNT; f++)
        if ((f == fault) != (found[f] != 0))
            fail_msg("line %d: fault %d found %u times, expected fault %d; last: %s", line, f,
                     found[f], fault, last);
    memset(found, 0, sizeof found);
}
#define expect(fault) expect_line(fault, __LINE__)

static inline uint32_t one(int warp, int lane, uint32_t at, uint32_t bytes, enum shared_kind kind)
{
    uint32_t address[LANES] = {0};
    uint64_t wavefronts = 0;
    address[lane] = at;
    return shared_access(s, warp, address, 1u << lane, bytes, kind, &wavefronts);
}

static inline void rd(int warp, int lane, uint32_t at, uint32_t bytes)
{
    one(warp, lane, at, bytes, SHARED_READ);
}

static inline void wr(int warp, int lane, uint32_t at, uint32_t bytes)
{
    one(warp, lane, at, bytes, SHARED_WRITE);
}

static inline void at_(int warp, int lane, uint32_t at, uint32_t bytes)
{
    one(warp, lane, at, bytes, SHARED_ATOMIC);
}

/* All lanes: lane l at `at` + l * `step`. */
static inline uint64_t row(int warp, uint32_t at, uint32_t step, uint32_t bytes,
                           enum shared_kind kind)
{
    uint32_t address[LANES];
    uint64_t wavefronts = 0;
    for (uint32_t l = 0; l < LANES; l++) address[l] = at + l * step;
    assert_int_equal(shared_access(s, warp, address, 0xffffffffu, bytes, kind, &wavefronts),
                     0xffffffffu);
    return wavefronts;
}

static inline void everybody(int warps) { shared_barrier(s, (uint32_t)((1ull << warps) - 1)); }

static inline int open_block(void **state)
{
    (void)state;
    s = shared_open(1);
    return s == NULL;
}

static inline int close_block(void **state)
{
    (void)state;
    shared_close(s);
    return 0;
}

static const char text16[] = "0123456789abcdef";

#endif
