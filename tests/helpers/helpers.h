/* helpers.h -- what several tests share */
#ifndef TESTS_HELPERS_H
#define TESTS_HELPERS_H

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these four before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

/* The next word of a fixed-seed generator (xorshift64*); *state must not be 0. */
uint64_t random_word(uint64_t *state);
/* Uniform in [-1, 1). */
float random_float(uint64_t *state);

#endif
