/* check_weight.c -- weights for checks: random codes and groups, unpacked and packed */
#include "check_weight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "numeric.h"
#include "value.h"

uint64_t check_word(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

float check_unit(uint64_t *state) { return (float)(int32_t)(check_word(state) >> 32) * 0x1p-31f; }

int check_int(uint64_t *state, int lo, int hi)
{
    return lo + (int)(check_word(state) % (uint64_t)(hi - lo + 1));
}

/* The exponent byte of the power of two at or below value, a normal number. */
static uint8_t e8m0_of(float value) { return (uint8_t)(float_bits(value) >> 23); }

static float round_to_scale(enum scale_type type, float value)
{
    switch (type) {
    case SCALE_F16: return f16_to_f32(f32_to_f16(value));
    case SCALE_BF16: return bf16_to_f32(f32_to_bf16(value));
    case SCALE_E8M0: return e8m0_to_f32(e8m0_of(value));
    case SCALE_E4M3: return e4m3_to_f32(f32_to_e4m3(value));
    default: return value;
    }
}

static float round_to_code(enum code_type type, float value)
{
    if (type == CODE_F16) return f16_to_f32(f32_to_f16(value));
    if (type == CODE_BF16) return bf16_to_f32(f32_to_bf16(value));
    return value;
}

/* Largest |value - zero| of a scheme's codes. */
static float largest_value(const struct scheme *s)
{
    static const float of_code[CODE_COUNT] = {
        [CODE_E4M3] = E4M3_MAX, [CODE_NF4] = 1, [CODE_IQ4] = 127, [CODE_E2M1] = 6};
    return s->code == CODE_INT ? (float)(1 << (s->bits - 1)) : of_code[s->code];
}

/* Exact: small integers.  Random: any value, and now and then any bits but NaN. */
static uint8_t make_code(const struct scheme *s, int exact, uint64_t *random)
{
    if (s->code != CODE_E4M3) return (uint8_t)check_int(random, 0, (1 << s->bits) - 1);
    if (exact) return f32_to_e4m3((float)check_int(random, -2, 2));
    if (check_int(random, 0, 7) > 0) return f32_to_e4m3(E4M3_MAX * check_unit(random));
    return (uint8_t)(check_int(random, 0, 1) << 7 | check_int(random, 0, 0x7e));
}

/* Random: weights of about 1 / sqrt K, so that outputs are about 1. */
static void make_group(struct check_weight *w, size_t i, int exact, uint64_t *random)
{
    const struct scheme *s = &w->scheme;
    const enum scale_type type = (enum scale_type)s->scale;
    const int half = 1 << (s->bits - 1);
    const float unit = 1.0f / largest_value(s) / sqrtf((float)w->K) / w->matrix;
    w->scale[i] = exact ? ldexpf(1, -check_int(random, 0, 2))
                        : round_to_scale(type, unit * (1.25f + check_unit(random)));
    w->zero[i] = (float)value_middle(s);
    if (s->zero == ZERO_INT) w->zero[i] = (float)check_int(random, 0, 2 * half - 1);
    if (s->zero == ZERO_FLOAT)
        w->zero[i] = exact ? -w->scale[i] * (float)check_int(random, 0, half)
                           : round_to_scale(type, -unit * (float)half * (1 + check_unit(random)));
}

/* Two-level groups replace what make_group() chose by products. */
static void make_levels(struct check_weight *w, int n, int g, int exact, uint64_t *random)
{
    const size_t i = (size_t)n * (size_t)w->G + (size_t)g;
    const size_t blocks = (size_t)(w->K / SUPER_GROUP);
    const float *super =
        w->super + ((size_t)n * blocks + (size_t)(g * w->scheme.group / SUPER_GROUP)) * 2;
    w->level[2 * i] = (int8_t)(exact ? 1 << check_int(random, 0, 2) : check_int(random, 1, 63));
    w->level[2 * i + 1] = (int8_t)-check_int(random, 0, exact ? 7 : 63);
    w->scale[i] = super[0] * (float)w->level[2 * i];
    if (w->scheme.zero == ZERO_FLOAT) w->zero[i] = super[1] * (float)w->level[2 * i + 1];
}

static void make_row(struct check_weight *w, int n, int exact, uint64_t *random)
{
    const struct scheme *s = &w->scheme;
    const size_t k0 = (size_t)n * (size_t)w->K, g0 = (size_t)n * (size_t)w->G;
    const float unit = 1 / sqrtf((float)w->K);
    for (size_t k = k0; k < k0 + (size_t)w->K; k++) {
        if (w->q)
            w->q[k] = make_code(s, exact, random);
        else
            w->value[k] = exact ? (float)check_int(random, -2, 2)
                                : round_to_code((enum code_type)s->code, unit * check_unit(random));
    }
    for (size_t g = g0; g < g0 + (size_t)w->G; g++) make_group(w, g, exact, random);
    if (!w->super) return;
    const size_t blocks = (size_t)(w->K / SUPER_GROUP);
    for (size_t b = 0; b < 2 * blocks; b++)
        w->super[(size_t)n * blocks * 2 + b] =
            exact ? 0x1p-4f
                  : round_to_scale(SCALE_F16,
                                   unit * (1.5f + check_unit(random)) / (float)(32 << s->bits));
    for (int g = 0; g < w->G; g++) make_levels(w, n, g, exact, random);
}

qrt_status check_weight_make(const struct scheme *s, int N, int K, int exact, uint64_t seed,
                             struct check_weight *out)
{
    struct check_weight w = {.scheme = *s, .N = N, .K = K, .G = scheme_groups(s, K), .matrix = 1};
    if (s->scale == SCALE_E4M3) /* random: scales become about 100, where e4m3 has steps of 8 */
        w.matrix = exact ? 0.5f : 0.011f / largest_value(s) / sqrtf((float)K);
    const size_t values = (size_t)N * (size_t)K, groups = (size_t)N * (size_t)w.G;
    const int dense = scheme_is_dense(s), two_level = !dense && s->scale == SCALE_TWO_LEVEL;
    if (dense)
        w.value = malloc(values * sizeof *w.value);
    else
        w.q = malloc(values);
    w.scale = malloc((groups + 1) * sizeof *w.scale);
    w.zero = malloc((groups + 1) * sizeof *w.zero);
    if (two_level) {
        w.level = malloc(2 * groups);
        w.super = malloc((size_t)N * (size_t)(K / SUPER_GROUP) * 2 * sizeof *w.super);
    }
    if (!(dense ? (void *)w.value : (void *)w.q) || !w.scale || !w.zero ||
        (two_level && (!w.level || !w.super))) {
        check_weight_free(&w);
        return error_set(QRT_E_MEMORY, "a matrix of %d x %d for checks", N, K);
    }
    uint64_t random = seed;
    for (int n = 0; n < N; n++) make_row(&w, n, exact, &random);
    *out = w;
    return QRT_OK;
}

void check_weight_free(struct check_weight *w)
{
    free(w->q);
    free(w->scale);
    free(w->zero);
    free(w->value);
    free(w->level);
    free(w->super);
    *w = (struct check_weight){.N = 0};
}

double check_weight_at(const struct check_weight *w, int n, int k)
{
    const size_t i = (size_t)n * (size_t)w->K + (size_t)k;
    if (w->value) return w->value[i];
    const int group = w->scheme.group == GROUP_ROW ? w->K : w->scheme.group;
    const size_t g = (size_t)n * (size_t)w->G + (size_t)(k / group);
    const double scale = (double)w->scale[g] * (double)w->matrix, zero = w->zero[g];
    const double value = value_of_code((enum code_type)w->scheme.code, w->q[i]);
    return w->scheme.zero == ZERO_FLOAT ? scale * value + zero : scale * (value - zero);
}

static void put_number(enum scale_type type, void *section, size_t index, float value)
{
    switch (type) {
    case SCALE_F16: ((uint16_t *)section)[index] = f32_to_f16(value); break;
    case SCALE_BF16: ((uint16_t *)section)[index] = f32_to_bf16(value); break;
    case SCALE_F32: ((float *)section)[index] = value; break;
    case SCALE_TWO_LEVEL: ((int8_t *)section)[index] = (int8_t)value; break;
    case SCALE_E8M0: ((uint8_t *)section)[index] = e8m0_of(value); break;
    case SCALE_E4M3: ((uint8_t *)section)[index] = f32_to_e4m3(value); break;
    case SCALE_COUNT: break;
    }
}

static void pack_groups(const struct check_weight *w, int n, void *const section[SECTION_COUNT])
{
    const struct scheme *s = &w->scheme;
    for (int g = 0; g < w->G; g++) {
        const size_t from = (size_t)n * (size_t)w->G + (size_t)g;
        const size_t to = layout_scale_index(w->G, n, g);
        const enum scale_type type = (enum scale_type)s->scale;
        put_number(type, section[SECTION_SCALES], to,
                   w->level ? (float)w->level[2 * from] : w->scale[from]);
        if (s->zero == ZERO_INT) ((uint8_t *)section[SECTION_ZEROS])[to] = (uint8_t)w->zero[from];
        if (s->zero == ZERO_FLOAT)
            put_number(type, section[SECTION_ZEROS], to,
                       w->level ? (float)w->level[2 * from + 1] : w->zero[from]);
    }
    const int blocks = w->super ? w->K / SUPER_GROUP : 0;
    for (int b = 0; b < 2 * blocks; b++)
        ((uint16_t *)section[SECTION_SUPERS])[layout_super_index(w->K, n, b / 2, b % 2)] =
            f32_to_f16(w->super[n * 2 * blocks + b]);
}

static void pack_dense(const struct check_weight *w, enum layout_family family, int n, void *codes)
{
    for (int k = 0; k < w->K; k++) {
        const float value = w->value[(size_t)n * (size_t)w->K + (size_t)k];
        const uint16_t half = w->scheme.code == CODE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
        layout_put_dense(family, &w->scheme, w->K, codes, n, k, 1,
                         w->scheme.code == CODE_F32 ? (const void *)&value : (const void *)&half);
    }
}

void check_weight_pack(const struct check_weight *w, enum layout_family family,
                       void *const section[SECTION_COUNT])
{
    if (w->scheme.scale == SCALE_E4M3)
        memcpy(section[SECTION_SUPERS], &w->matrix, sizeof w->matrix);
    for (int n = 0; n < w->N; n++) {
        if (w->value) {
            pack_dense(w, family, n, section[SECTION_CODES]);
            continue;
        }
        layout_put_codes(family, &w->scheme, w->K, section[SECTION_CODES], n, 0, w->K,
                         w->q + (size_t)n * (size_t)w->K);
        pack_groups(w, n, section);
    }
}
