/* generic.c -- one row of a weight matrix in the form that every import produces and pack reads */
#include "generic.h"

#include <stdlib.h>

#include "error.h"
#include "numeric.h"
#include "value.h"

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
        .matrix = 1,
        .block = block,
    };
    return QRT_OK;
}

void generic_free(struct generic_row *row)
{
    free(row->block);
    *row = (struct generic_row){0};
}

/* Scale of group g, and its minimum when the scheme has one. */
static void group_values(const struct scheme *s, const struct generic_row *row, int g, float *scale,
                         float *minimum)
{
    const enum scale_type type = (enum scale_type)s->scale;
    *scale = value_of_scale(type, row->scales, (size_t)g);
    *minimum = s->zero == ZERO_FLOAT ? value_of_scale(type, row->zeros, (size_t)g) : 0;
    if (type == SCALE_E4M3) *scale *= row->matrix;
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
        int zero = value_middle(s);
        if (s->zero == ZERO_INT) zero = ((const uint8_t *)row->zeros)[g];
        const int end = K - g * group < group ? K : (g + 1) * group;
        for (int k = g * group; k < end; k++) {
            w[k] = scale * (value_of_code((enum code_type)s->code, row->codes[k]) - (float)zero);
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
    for (int k = 0; k < K && s->code == CODE_E4M3; k++)
        if (!is_finite(value_of_code(CODE_E4M3, row->codes[k]))) return k;
    const int G = scheme_groups(s, K);
    for (int g = 0; g < G; g++) {
        float scale, minimum;
        group_values(s, row, g, &scale, &minimum);
        if (!is_finite(scale) || !is_finite(minimum)) return (int64_t)g * group_of(s, K);
    }
    return -1;
}
