/* helpers.h -- what several tests share */
#ifndef TESTS_HELPERS_H
#define TESTS_HELPERS_H

/* cmocka.h after the headers it needs. */
#include <cmocka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* The next word of a fixed-seed generator (xorshift64*); *state must not be 0. */
uint64_t random_word(uint64_t *state);
/* Uniform in [-1, 1). */
float random_float(uint64_t *state);

#endif
