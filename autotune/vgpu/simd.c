/* simd.c -- choice of the arithmetic that this processor runs */
#include "simd.h"

extern const struct simd simd_v4, simd_v3, simd_any;

const struct simd *simd = &simd_any;

#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
const struct simd *simd_at(int i)
{
    const struct simd *runs[4] = {0};
    int count = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) runs[count++] = &simd_v4;
    if (__builtin_cpu_supports("x86-64-v3")) runs[count++] = &simd_v3;
    runs[count] = &simd_any;
    return i <= count ? runs[i] : NULL;
}
#else
const struct simd *simd_at(int i) { return i == 0 ? &simd_any : NULL; }
#endif

__attribute__((constructor)) static void choose(void) { simd = simd_at(0); }
