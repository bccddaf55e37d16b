/* immintrin.h -- AVX-512 for a processor without it: the compiler's own header, then SIMDe's
 *
 * A test puts this folder first on the include path and compiles a kernel made for x86-64-v4 with
 * -march=x86-64-v3.  Every _mm512_ name then becomes a function of AVX2 instructions or plain loops.
 */
#ifndef TESTS_EMULATED_IMMINTRIN_H
#define TESTS_EMULATED_IMMINTRIN_H

#include_next <immintrin.h>

#define TARGET(extension) /* vec.h: the emulation needs no instruction that could be missing */
#define KEEP(vector)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#undef _mm512_madd_epi16 /* SIMDe's alias has the arguments of the masked form */
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

/* The form with a VEX prefix of what SIMDe knows with an EVEX one. */
#define _mm256_dpbusd_avx_epi32(sum, a, b) simde_mm256_dpbusd_epi32(sum, a, b)

/* What SIMDe lacks: by lanes, or by two halves of AVX2. */
static inline __m512 emulated_join(__m256 low, __m256 high)
{
    float lane[16];
    _mm256_storeu_ps(lane, low);
    _mm256_storeu_ps(lane + 8, high);
    return simde_mm512_loadu_ps(lane);
}
static inline __m512i emulated_join_int(__m256i low, __m256i high)
{
    return simde_mm512_castps_si512(
        emulated_join(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)));
}
static inline __m256 emulated_half(__m512 v, int half)
{
    float lane[16];
    simde_mm512_storeu_ps(lane, v);
    return _mm256_loadu_ps(lane + 8 * half);
}
static inline __m512 emulated_load_mask(__mmask16 mask, const float *p)
{
    float lane[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) lane[i] = p[i];
    return simde_mm512_loadu_ps(lane);
}
static inline void emulated_store_mask(float *p, __mmask16 mask, __m512 v)
{
    float lane[16];
    simde_mm512_storeu_ps(lane, v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) p[i] = lane[i];
}
static inline __m512 emulated_from_f16(__m256i v)
{
    return emulated_join(_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                         _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}
static inline __m256i emulated_to_f16(__m512 v)
{
    return _mm256_set_m128i(_mm256_cvtps_ph(emulated_half(v, 1), _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(emulated_half(v, 0), _MM_FROUND_TO_NEAREST_INT));
}
static inline __m512i emulated_to_int(__m512 v)
{
    return emulated_join_int(_mm256_cvtps_epi32(emulated_half(v, 0)),
                             _mm256_cvtps_epi32(emulated_half(v, 1)));
}
static inline __m512 emulated_from_int(__m512i v)
{
    const __m512 same = simde_mm512_castsi512_ps(v);
    return emulated_join(_mm256_cvtepi32_ps(_mm256_castps_si256(emulated_half(same, 0))),
                         _mm256_cvtepi32_ps(_mm256_castps_si256(emulated_half(same, 1))));
}
static inline __m512i emulated_from_i8(__m128i v)
{
    return emulated_join_int(_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)));
}
static inline __m512i emulated_from_u8(__m128i v)
{
    return emulated_join_int(_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)));
}
static inline __m512i emulated_from_u16(__m256i v)
{
    return emulated_join_int(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                             _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)));
}
static inline __m128i emulated_to_i8(__m512i v)
{
    int lane[16];
    signed char byte[16];
    simde_mm512_storeu_si512(lane, v);
    for (int i = 0; i < 16; i++) byte[i] = (signed char)lane[i];
    return _mm_loadu_si128((const __m128i *)byte);
}
#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _mm512_cvtps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi32_epi8
#define _mm512_maskz_loadu_ps(mask, p)    emulated_load_mask(mask, p)
#define _mm512_mask_storeu_ps(p, mask, v) emulated_store_mask(p, mask, v)
#define _mm512_cvtph_ps(v)                emulated_from_f16(v)
#define _mm512_cvtps_ph(v, rounding)      emulated_to_f16(v)
#define _mm512_cvtps_epi32(v)             emulated_to_int(v)
#define _mm512_cvtepi32_ps(v)             emulated_from_int(v)
#define _mm512_cvtepi8_epi32(v)           emulated_from_i8(v)
#define _mm512_cvtepu8_epi32(v)           emulated_from_u8(v)
#define _mm512_cvtepu16_epi32(v)          emulated_from_u16(v)
#define _mm512_cvtepi32_epi8(v)           emulated_to_i8(v)

#endif
