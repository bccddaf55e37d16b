/* checked.h -- integer arithmetic on numbers from files: the result, or false when it wraps */
#ifndef QGEN_CHECKED_H
#define QGEN_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

/* The next multiple of `unit` (> 0) from a on. */
static inline bool checked_round_up(uint64_t a, uint64_t unit, uint64_t *rounded)
{
    const uint64_t over = a % unit;
    return checked_add(a, over ? unit - over : 0, rounded);
}

#endif
