/* elem.h -- reading and writing one value of any element type */
#ifndef QRT_ELEM_H
#define QRT_ELEM_H

#include "numeric.h"
#include "scheme.h"

static inline float elem_get(enum elem_type type, const void *base, long long index)
{
    switch (type) {
    case ELEM_F32: return ((const float *)base)[index];
    case ELEM_F16: return f16_to_f32(((const uint16_t *)base)[index]);
    case ELEM_BF16: return bf16_to_f32(((const uint16_t *)base)[index]);
    case ELEM_I8: return ((const int8_t *)base)[index];
    case ELEM_E4M3: return e4m3_to_f32(((const uint8_t *)base)[index]);
    case ELEM_COUNT: break;
    }
    return 0;
}

/* Within -most .. most; NaN stays NaN. */
static inline float elem_clamp(float value, float most)
{
    return value > most ? most : value < -most ? -most : value;
}

/* Rounds to nearest even.  ELEM_F16 is clamped to +-65504, infinities too: activations beyond the
 * range of f16 are met in practice, and one infinity turns all that follows into NaN; NaN itself
 * stays.  The CUDA kernels store f16 the same way.  ELEM_I8 takes integers within its range: who
 * quantizes rounds itself. */
static inline void elem_set(enum elem_type type, void *base, long long index, float value)
{
    switch (type) {
    case ELEM_F32: ((float *)base)[index] = value; break;
    case ELEM_F16: ((uint16_t *)base)[index] = f32_to_f16(elem_clamp(value, F16_MAX)); break;
    case ELEM_BF16: ((uint16_t *)base)[index] = f32_to_bf16(value); break;
    case ELEM_I8: ((int8_t *)base)[index] = (int8_t)value; break;
    case ELEM_E4M3: ((uint8_t *)base)[index] = f32_to_e4m3(value); break;
    case ELEM_COUNT: break;
    }
}

#endif
