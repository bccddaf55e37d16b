/* simd_any.c -- the arithmetic of simd.h for whatever the program is compiled for */
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors wider than registers stay in this file */
#define SIMD_NAME   simd_any
#define SIMD_TARGET "any"
#include "simd_body.h"
