/* vec.h -- 8 (AVX2) or 16 (AVX-512) lanes of float and int under one set of names
 *
 * Why: a kernel is written once.  Its template defines LANES as 8 or 16 before it includes this
 * file; from then on `vf` is LANES floats, `vi` the same bytes as integers, and every function here
 * is one instruction or a short idiom.  Rows of a weight tile come in HALVES registers.
 *
 * The math functions (exp, tanh, log) are polynomials of our own so that a kernel needs nothing
 * from libm; each says its error.
 *
 * Loads and stores need no alignment.  `_n` forms touch only the first n lanes (0 <= n; more than
 * LANES counts as LANES) and read 0 for the others.
 */
#ifndef QK_VEC_H
#define QK_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_abi.h"

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE \
    static __attribute__((noinline)) /* a step whose loops must get registers of their own */
#ifndef TARGET /* a test that emulates instructions defines these two as nothing */
#define TARGET(extension) __attribute__((target(extension)))
#define KEEP(vector)      __asm__("" : "+v"(vector)) /* a value the compiler must make as written */
#endif

enum { TILE = 16, HALVES = TILE / LANES, VECTOR_BYTES = 4 * LANES };

/* ---- what differs between the two widths ---- */

#if LANES == 16
typedef __m512 vf;
typedef __m512i vi;
#define V(operation)       _mm512_##operation
#define VI_BITS(operation) _mm512_##operation##_si512
#define AS_FLOAT           _mm512_castsi512_ps
#define AS_INT             _mm512_castps_si512
#define SHIFT_COUNT(n)     (n)

INLINE __mmask16 lanes_mask(int n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1u : 0);
}
INLINE vf vf_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(lanes_mask(n), p); }
INLINE void vf_store_n(float *p, vf v, int n) { _mm512_mask_storeu_ps(p, lanes_mask(n), v); }
INLINE vf vf_from_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE void vf_to_f16(void *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vi vi_from_u16(const void *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vi vi_from_i8(const void *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE vi vi_from_u8(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE vf vf_round(vf v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT); }
/* The bytes of the low 8 bits of each lane. */
INLINE void vi_to_i8(void *p, vi v) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(v)); }
/* x with the sign of each byte of w applied; w = 0 leaves x: its product is 0 all the same. */
INLINE vi vi_sign8(vi x, vi w)
{
    return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
}
/* a where x < y, else b */
INLINE vf vf_select_lt(vf x, vf y, vf a, vf b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), b, a);
}
/* Whether a lane of x is at least that of y; NaN is not. */
INLINE int vf_any_at_least(vf x, vf y) { return _mm512_cmp_ps_mask(x, y, _CMP_GE_OQ) != 0; }
INLINE __m256 fold(vf v) /* lane i + lane i + 8 */
{
    const __m512d d = _mm512_castps_pd(v);
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd(d, 1)));
}
INLINE __m256 fold_max(vf v)
{
    const __m512d d = _mm512_castps_pd(v);
    return _mm256_max_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd(d, 1)));
}
INLINE __m256i fold_int(vi v)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}
#else
typedef __m256 vf;
typedef __m256i vi;
#define V(operation)       _mm256_##operation
#define VI_BITS(operation) _mm256_##operation##_si256
#define AS_FLOAT           _mm256_castsi256_ps
#define AS_INT             _mm256_castps_si256
#define SHIFT_COUNT(n)     (int)(n)

INLINE __m256i lanes_mask(int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}
INLINE vf vf_load_n(const float *p, int n) { return _mm256_maskload_ps(p, lanes_mask(n)); }
INLINE void vf_store_n(float *p, vf v, int n) { _mm256_maskstore_ps(p, lanes_mask(n), v); }
INLINE vf vf_from_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
INLINE void vf_to_f16(void *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vi vi_from_u16(const void *p)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE vi vi_from_i8(const void *p)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
INLINE vi vi_from_u8(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
INLINE vf vf_round(vf v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE void vi_to_i8(void *p, vi v)
{
    const __m256i low =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i bytes = _mm256_shuffle_epi8(v, low);
    const __m128i pair =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    _mm_storel_epi64((__m128i *)p, pair);
}
INLINE vi vi_sign8(vi x, vi w) { return _mm256_sign_epi8(x, w); }
INLINE vf vf_select_lt(vf x, vf y, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
}
INLINE int vf_any_at_least(vf x, vf y)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_GE_OQ)) != 0;
}
INLINE __m256 fold(vf v) { return v; }
INLINE __m256 fold_max(vf v) { return v; }
INLINE __m256i fold_int(vi v) { return v; }
#endif

/* ---- floats ---- */

INLINE vf vf_zero(void) { return V(setzero_ps)(); }
INLINE vf vf_set(float x) { return V(set1_ps)(x); }
INLINE vf vf_load(const float *p) { return V(loadu_ps)(p); }
INLINE void vf_store(float *p, vf v) { V(storeu_ps)(p, v); }
INLINE vf vf_add(vf a, vf b) { return V(add_ps)(a, b); }
INLINE vf vf_sub(vf a, vf b) { return V(sub_ps)(a, b); }
INLINE vf vf_mul(vf a, vf b) { return V(mul_ps)(a, b); }
INLINE vf vf_div(vf a, vf b) { return V(div_ps)(a, b); }
INLINE vf vf_max(vf a, vf b) { return V(max_ps)(a, b); }
INLINE vf vf_min(vf a, vf b) { return V(min_ps)(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return V(fmadd_ps)(a, b, c); }   /* a * b + c */
INLINE vf vf_fnma(vf a, vf b, vf c) { return V(fnmadd_ps)(a, b, c); } /* c - a * b */
INLINE vf vf_from_int(vi v) { return V(cvtepi32_ps)(v); }

INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE float max8(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
INLINE float vf_sum(vf v) { return sum8(fold(v)); }
INLINE float vf_max_lane(vf v) { return max8(fold_max(v)); }

/* ---- integers: lanes of 32 bits unless the name says otherwise ---- */

INLINE vi vi_zero(void) { return VI_BITS(setzero)(); }
INLINE vi vi_load(const void *p) { return VI_BITS(loadu)((const void *)p); }
INLINE void vi_store(void *p, vi v) { VI_BITS(storeu)((void *)p, v); }
INLINE vi vi_set(int x) { return V(set1_epi32)(x); }
INLINE vi vi_set8(int x) { return V(set1_epi8)((char)x); }
INLINE vi vi_set16(int x) { return V(set1_epi16)((short)x); }
INLINE vi vi_and(vi a, vi b) { return VI_BITS(and)(a, b); }
INLINE vi vi_or(vi a, vi b) { return VI_BITS(or)(a, b); }
INLINE vi vi_xor(vi a, vi b) { return VI_BITS(xor)(a, b); }
INLINE vi vi_add(vi a, vi b) { return V(add_epi32)(a, b); }
INLINE vi vi_sub(vi a, vi b) { return V(sub_epi32)(a, b); }
INLINE vi vi_add16(vi a, vi b) { return V(add_epi16)(a, b); }
INLINE vi vi_abs8(vi a) { return V(abs_epi8)(a); }
INLINE vi vi_maddubs(vi u8, vi s8) { return V(maddubs_epi16)(u8, s8); } /* pairs, 16 bits */
INLINE vi vi_madd16(vi a, vi b) { return V(madd_epi16)(a, b); }         /* pairs, 32 bits */
INLINE vi vi_shift_left(vi v, unsigned n)
{
    return V(slli_epi32)(v, SHIFT_COUNT(n));
} /* n: a constant */
INLINE vi vi_shift_right(vi v, unsigned n)
{
    return V(srli_epi32)(v, SHIFT_COUNT(n));
} /* zeros come in */
INLINE vi vi_from_float(vf v) { return V(cvtps_epi32)(v); } /* to nearest even */
INLINE vf vf_as(vi v) { return AS_FLOAT(v); }               /* the same bits */
INLINE vi vi_as(vf v) { return AS_INT(v); }
INLINE vf vf_abs(vf v) { return vf_as(vi_and(vi_as(v), vi_set(0x7fffffff))); }
INLINE vf vf_from_bf16(const void *p) { return vf_as(vi_shift_left(vi_from_u16(p), 16)); }

INLINE int vi_sum(vi v)
{
    const __m256i half = fold_int(v);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* sum + the dot product of 4 unsigned with 4 signed bytes, in each lane */
#if LANES == 16
TARGET("avx512vnni") INLINE vi vi_avx512vnni(vi sum, vi u8, vi s8)
{
    return _mm512_dpbusd_epi32(sum, u8, s8);
}
#else
TARGET("avxvnni") INLINE vi vi_avxvnni(vi sum, vi u8, vi s8)
{
    return _mm256_dpbusd_avx_epi32(sum, u8, s8);
}
#endif

/* ---- math ---- */

/* e^x to 2 units in the last place; 0 below -87, infinity from 88.4 on.
 * x = n ln 2 + r with |r| <= ln 2 / 2; e^r is its series to r^7 (the next term is 5e-9); 2^n is
 * made in the exponent bits. */
INLINE vf vf_exp(vf x)
{
    const vf in_range = vf_min(vf_max(x, vf_set(-87.0f)), vf_set(89.0f));
    const vf n = vf_round(vf_mul(in_range, vf_set(1.44269504f)));
    vf r = vf_fnma(n, vf_set(0.693359375f), in_range); /* ln 2 in two parts: the first is short, */
    r = vf_fnma(n, vf_set(-2.12194440e-4f), r);        /* so that n times it is exact */
    vf e = vf_set(1.0f / 5040);
    e = vf_fma(e, r, vf_set(1.0f / 720));
    e = vf_fma(e, r, vf_set(1.0f / 120));
    e = vf_fma(e, r, vf_set(1.0f / 24));
    e = vf_fma(e, r, vf_set(1.0f / 6));
    e = vf_fma(e, r, vf_set(0.5f));
    e = vf_fma(e, r, vf_set(1.0f));
    e = vf_fma(e, r, vf_set(1.0f));
    const vi power = vi_shift_left(vi_add(vi_from_float(n), vi_set(127)), 23);
    return vf_select_lt(x, vf_set(-87.0f), vf_zero(), vf_mul(e, vf_as(power)));
}

/* ---- the share of the calling thread ---- */

struct share {
    long long begin, end;
};

/* The part of `units` pieces of work that this call does: consecutive ones, as even as can be. */
INLINE struct share share_of(long long units, const struct qk_cpu *cpu)
{
    return (struct share){units * cpu->part / cpu->parts, units * (cpu->part + 1) / cpu->parts};
}

#endif
