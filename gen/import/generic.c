/* generic.c -- one row of a weight matrix in the form that every import produces and pack reads */
#include "generic.h"

#include <stdlib.h>

#include "error.h"
#include "numeric.h"

enum { PART_ALIGN = 64 };

static size_t padded(size_t bytes) { return (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN; }

qrt_status generic_alloc(const struct scheme *s, int K, struct generic_row *out)
{
    const size_t groups = (size_t)scheme_groups(s, K);
    const size_t each = scheme_is_dense(s) ? 0 : scale_bytes((enum scale_type)s->scale);
    const size_t codes = padded((size_t)K * (scheme_is_dense(s) ? s->bits / 8u : 1u));
    const size_t scales = padded(groups * each);
    const size_t zeros = s->zero == ZERO_NONE ? 0 : scales;
    const size_t supers =
        s->scale == SCALE_TWO_LEVEL ? padded((size_t)K / SUPER_GROUP * 2 * sizeof(uint16_t)) : 0;
    uint8_t *block = calloc(1, codes + scales + zeros + supers);
    if (!block) return error_set(QRT_E_MEMORY, "no memory for a row of %d weights", K);
    *out = (struct generic_row){
        .codes = block,
        .scales = scales ? block + codes : NULL,
        .zeros = zeros ? block + codes + scales : NULL,
        .supers = supers ? (uint16_t *)(void *)(block + codes + scales + zeros) : NULL,
        .block = block,
    };
    return QRT_OK;
}

void generic_free(struct generic_row *row)
{
    free(row->block);
    *row = (struct generic_row){0};
}

static float value_at(enum scale_type type, const void *values, int64_t i)
{
    switch (type) {
    case SCALE_F16: return f16_to_f32(((const uint16_t *)values)[i]);
    case SCALE_BF16: return bf16_to_f32(((const uint16_t *)values)[i]);
    case SCALE_F32: return ((const float *)values)[i];
    case SCALE_TWO_LEVEL: return ((const int8_t *)values)[i];
    case SCALE_E8M0: return e8m0_to_f32(((const uint8_t *)values)[i]);
    case SCALE_E4M3: return e4m3_to_f32(((const uint8_t *)values)[i]);
    case SCALE_COUNT: break;
    }
    return 0;
}

/* Scale of group g, and its minimum when the scheme has one. */
static void group_values(const struct scheme *s, const struct generic_row *row, int g, float *scale,
                         float *minimum)
{
    const enum scale_type type = (enum scale_type)s->scale;
    *scale = value_at(type, row->scales, g);
    *minimum = s->zero == ZERO_FLOAT ? value_at(type, row->zeros, g) : 0;
    if (type != SCALE_TWO_LEVEL) return;
    const uint16_t *super = row->supers + 2 * (g * s->group / SUPER_GROUP);
    *scale *= f16_to_f32(super[0]);
    *minimum *= f16_to_f32(super[1]);
}

static float dense_at(const struct scheme *s, const struct generic_row *row, int64_t k)
{
    const void *values = row->codes;
    if (s->code == CODE_F16) return f16_to_f32(((const uint16_t *)values)[k]);
    if (s->code == CODE_BF16) return bf16_to_f32(((const uint16_t *)values)[k]);
    return ((const float *)values)[k];
}

static int group_of(const struct scheme *s, int K) { return s->group == GROUP_ROW ? K : s->group; }

void generic_dequant(const struct scheme *s, const struct generic_row *row, int K, float *w)
{
    if (scheme_is_dense(s)) {
        for (int k = 0; k < K; k++) w[k] = dense_at(s, row, k);
        return;
    }
    const int group = group_of(s, K), G = scheme_groups(s, K);
    for (int g = 0; g < G; g++) {
        float scale, minimum;
        group_values(s, row, g, &scale, &minimum);
        int zero = s->zero == ZERO_FLOAT ? 0 : 1 << (s->bits - 1);
        if (s->zero == ZERO_INT) zero = ((const uint8_t *)row->zeros)[g];
        const int end = K - g * group < group ? K : (g + 1) * group;
        for (int k = g * group; k < end; k++) {
            w[k] = scale * (float)(row->codes[k] - zero);
            if (s->zero == ZERO_FLOAT) w[k] += minimum;
        }
    }
}

static int is_finite(float f) { return (float_bits(f) & 0x7f800000u) != 0x7f800000u; }

int64_t generic_not_finite(const struct scheme *s, const struct generic_row *row, int K)
{
    if (scheme_is_dense(s)) {
        for (int k = 0; k < K; k++)
            if (!is_finite(dense_at(s, row, k))) return k;
        return -1;
    }
    const int G = scheme_groups(s, K);
    for (int g = 0; g < G; g++) {
        float scale, minimum;
        group_values(s, row, g, &scale, &minimum);
        if (!is_finite(scale) || !is_finite(minimum)) return (int64_t)g * group_of(s, K);
    }
    return -1;
}
