/* simd_v4.c -- the arithmetic of simd.h for x86-64-v4: AVX-512 */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
#pragma GCC target("arch=x86-64-v4")
#define SIMD_NAME   simd_v4
#define SIMD_TARGET "x86-64-v4"
#include "simd_body.h"
#else
typedef int simd_v4_is_empty;
#endif
