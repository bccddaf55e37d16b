/* simd_v3.c -- the arithmetic of simd.h for x86-64-v3: AVX2, FMA, F16C */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
#pragma GCC target("arch=x86-64-v3")
#define SIMD_NAME   simd_v3
#define SIMD_TARGET "x86-64-v3"
#include "simd_body.h"
#else
typedef int simd_v3_is_empty;
#endif
