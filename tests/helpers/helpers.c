/* helpers.c -- what several tests share */
#include "helpers.h"

uint64_t random_word(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

float random_float(uint64_t *state)
{
    return (float)(int32_t)(random_word(state) >> 32) * 0x1p-31f;
}
