/* numeric.h -- 16-bit floating-point conversions, exact and without special instructions */
#ifndef QRT_NUMERIC_H
#define QRT_NUMERIC_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* IEEE binary16 to float32, exact; NaN stays NaN. */
static inline float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, body = h & 0x7fffu;
    if (body >= 0x7c00u) return bits_float(sign | 0x7f800000u | (body & 0x3ffu) << 13);
    if (body >= 0x400u) return bits_float(sign | ((body << 13) + 0x38000000u));
    const float magnitude = (float)body * 0x1p-24f; /* a denormal: an exact product */
    return bits_float(sign | float_bits(magnitude));
}

/* float32 to binary16, to nearest even; overflow gives infinity, NaN a quiet NaN. */
static inline uint16_t f32_to_f16(float f)
{
    const uint32_t u = float_bits(f), sign = u >> 16 & 0x8000u, body = u & 0x7fffffffu;
    if (body > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (body >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (body < 0x38800000u) { /* below 2^-14: the addend 0.5 places the rounding at bit 0 */
        const float shifted = bits_float(body) + 0.5f;
        return (uint16_t)(sign | (float_bits(shifted) - 0x3f000000u));
    }
    return (uint16_t)(sign | (body - 0x38000000u + 0xfffu + (body >> 13 & 1)) >> 13);
}

static inline float bf16_to_f32(uint16_t h) { return bits_float((uint32_t)h << 16); }

/* float32 to bfloat16, to nearest even; NaN stays a quiet NaN. */
static inline uint16_t f32_to_bf16(float f)
{
    const uint32_t u = float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

#endif
