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

/* Rounds to nearest even; ELEM_I8 is written by the quantize op alone, which rounds itself. */
static inline void elem_set(enum elem_type type, void *base, long long index, float value)
{
    switch (type) {
    case ELEM_F32: ((float *)base)[index] = value; break;
    case ELEM_F16: ((uint16_t *)base)[index] = f32_to_f16(value); break;
    case ELEM_BF16: ((uint16_t *)base)[index] = f32_to_bf16(value); break;
    case ELEM_I8: ((int8_t *)base)[index] = (int8_t)value; break;
    case ELEM_E4M3: ((uint8_t *)base)[index] = f32_to_e4m3(value); break;
    case ELEM_COUNT: break;
    }
}

#endif
