/* value.c -- the numbers that stored codes and scales stand for */
#include "value.h"

#include "code_values.h"
#include "numeric.h"

float value_of_code(enum code_type type, unsigned code)
{
    static const float nf4[QK_VALUES] = {QK_NF4_VALUES}, iq4[QK_VALUES] = {QK_IQ4_VALUES},
                       e2m1[QK_VALUES] = {QK_E2M1_VALUES};
    switch (type) {
    case CODE_NF4: return nf4[code % QK_VALUES];
    case CODE_IQ4: return iq4[code % QK_VALUES];
    case CODE_E2M1: return e2m1[code % QK_VALUES];
    case CODE_E4M3: return e4m3_to_f32((uint8_t)code);
    default: return (float)code;
    }
}

float value_of_scale(enum scale_type type, const void *scales, size_t index)
{
    switch (type) {
    case SCALE_F16: return f16_to_f32(((const uint16_t *)scales)[index]);
    case SCALE_BF16: return bf16_to_f32(((const uint16_t *)scales)[index]);
    case SCALE_F32: return ((const float *)scales)[index];
    case SCALE_TWO_LEVEL: return ((const int8_t *)scales)[index];
    case SCALE_E8M0: return e8m0_to_f32(((const uint8_t *)scales)[index]);
    case SCALE_E4M3: return e4m3_to_f32(((const uint8_t *)scales)[index]);
    case SCALE_COUNT: break;
    }
    return 0;
}
