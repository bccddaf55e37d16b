/* numeric.h -- conversions of 16-bit and smaller floats, exact and without special instructions */
#ifndef QRT_NUMERIC_H
#define QRT_NUMERIC_H

#include <stdint.h>
#include <string.h>

#define F16_MAX  65504.0f
#define E4M3_MAX 448.0f

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

/* OCP FP8 E4M3: no infinity, 0x7f and 0xff are NaN. */
static inline float e4m3_to_f32(uint8_t v)
{
    const uint32_t sign = (uint32_t)(v & 0x80u) << 24, body = v & 0x7fu;
    if (body == 0x7f) return bits_float(sign | 0x7fc00000u);
    if (body >= 8) return bits_float(sign | ((body << 20) + 0x3c000000u));
    return bits_float(sign | float_bits((float)body * 0x1p-9f));
}

/* To nearest even, clamped to +-448; NaN gives 0x7f. */
static inline uint8_t f32_to_e4m3(float f)
{
    const uint32_t u = float_bits(f), sign = u >> 24 & 0x80u, body = u & 0x7fffffffu;
    if (body > 0x7f800000u) return 0x7f;
    if (body >= 0x43e00000u) return (uint8_t)(sign | 0x7e); /* 448 and beyond */
    if (body < 0x3c800000u) { /* below 2^-6: the addend 2^14 places the rounding at bit 0 */
        const float shifted = bits_float(body) + 0x1p14f;
        return (uint8_t)(sign | (float_bits(shifted) - 0x46800000u));
    }
    return (uint8_t)(sign | (body - 0x3c000000u + 0x7ffffu + (body >> 20 & 1)) >> 20);
}

/* OCP E8M0: 2^(v - 127), 255 is NaN. */
static inline float e8m0_to_f32(uint8_t v)
{
    return v == 0xff ? bits_float(0x7fc00000u) : v == 0 ? 0x1p-127f : bits_float((uint32_t)v << 23);
}

#endif
