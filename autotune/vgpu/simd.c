/* simd.c -- choice of the arithmetic that this processor runs */
#include "simd.h"

extern const struct simd simd_v3, simd_any;

const struct simd *simd = &simd_any;

/* x86-64-v4 was tried: the same speed, the tile has too few numbers for wider vectors. */
const struct simd *simd_at(int i)
{
    const struct simd *runs[3] = {&simd_any};
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v3")) runs[0] = &simd_v3, runs[1] = &simd_any;
#endif
    return i < 3 ? runs[i] : NULL;
}

__attribute__((constructor)) static void choose(void) { simd = simd_at(0); }
