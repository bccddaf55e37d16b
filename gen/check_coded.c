/* check_coded.c -- whether quantized values are right */
#include "check_coded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elem.h"
#include "ref.h"

static double clamp(double x, double least, double most)
{
    return x < least ? least : x > most ? most : x;
}

/* The code of a quotient, as the number it stands for. */
static double rounded(const struct check_coded *c, double quotient)
{
    if (c->type == ELEM_I8) return clamp(rint(quotient), c->has_zero ? -128 : -127, 127);
    return e4m3_to_f32(f32_to_e4m3((float)quotient));
}

/* How far a value may be off; what was computed and came out below 1e-30 is as good as zero. */
static double slack_of(const struct check_coded *c, double rms, double value)
{
    if (c->exact) return 0;
    return c->bound.relative * fabs(value) + c->bound.of_rms * rms +
           (c->bound.of_rms > 0 ? 1e-30 : 0);
}

static double code_at(const struct check_coded *c, int64_t i)
{
    const int64_t k = c->first + i;
    return elem_get(c->type, c->codes, c->in_order ? k : qk_code_index(k));
}

/* May `got` be the rounding of a number within `near` of `exact`? */
static int is_rounding(const struct check_coded *c, double got, double exact, double near)
{
    return got >= rounded(c, exact - near) && got <= rounded(c, exact + near);
}

static int scale_differs(const struct check_coded *c, double rms, char text[CHECK_TEXT_BYTES])
{
    const struct ref_scale want = ref_scale_of(c->type, c->has_zero, c->value, (int)c->count);
    double least = 0, most = 0;
    for (int64_t i = 0; i < c->count; i++) {
        least = fmin(least, c->value[i]);
        most = fmax(most, fabs(c->value[i]));
    }
    const double steps = c->has_zero ? 255 / 2.0 : c->type == ELEM_I8 ? 127 : E4M3_MAX;
    const double allowed = c->exact ? 0 : 1e-6 * want.scale + slack_of(c, rms, most) / steps;
    if (!(fabs((double)c->scale - want.scale) <= allowed)) {
        snprintf(text, CHECK_TEXT_BYTES, "scale %.9g, ref %.9g", (double)c->scale,
                 (double)want.scale);
        return 1;
    }
    const double offset = c->scale > 0 ? least / c->scale : 0;
    const double near = c->exact || c->scale <= 0
                            ? 0
                            : 0x1p-22 * (128 + fabs(offset)) + slack_of(c, rms, least) / c->scale;
    const double zero = c->scale > 0 ? -128 - offset : 0;
    if (!c->has_zero || (c->exact ? c->zero == want.zero
                                  : c->zero >= rint(clamp(zero - near, -128, 127)) &&
                                        c->zero <= rint(clamp(zero + near, -128, 127))))
        return 0;
    snprintf(text, CHECK_TEXT_BYTES, "zero %d, ref %d", c->zero, want.zero);
    return 1;
}

int check_coded_differs(const struct check_coded *c, int64_t row, char text[CHECK_TEXT_BYTES])
{
    char what[CHECK_TEXT_BYTES];
    double squares = 0;
    for (int64_t i = 0; i < c->count; i++) squares += (double)c->value[i] * c->value[i];
    const double rms = c->count > 0 ? sqrt(squares / (double)c->count) : 0;
    if (!c->is_static && scale_differs(c, rms, what)) {
        snprintf(text, CHECK_TEXT_BYTES, "row %lld from column %lld: %.100s", (long long)row,
                 (long long)c->first, what);
        return 1;
    }
    for (int64_t i = 0; i < c->padded; i++) {
        const double x = i < c->count ? c->value[i] : 0, scale = c->scale;
        const double quotient = scale > 0 ? (float)(x / scale) : 0;
        const double near =
            c->exact || i >= c->count || !(scale > 0)
                ? 0
                : 0x1p-22 * (fabs(quotient) + abs(c->zero)) + slack_of(c, rms, x) / scale;
        const double code = code_at(c, i);
        if (is_rounding(c, code, quotient + c->zero, near)) continue;
        snprintf(text, CHECK_TEXT_BYTES,
                 "row %lld column %lld: code %g of value %.9g by scale %.9g and zero %d",
                 (long long)row, (long long)(c->first + i), code, x, scale, c->zero);
        return 1;
    }
    return 0;
}

/* What the device left in a buffer of a struct qk_quantized, or was given in it. */
static const void *field_of(const struct check_coded_output *o, size_t field)
{
    return trial_by_device(o->trial, o->quantized + field);
}

static void read_scale(const struct check_coded_output *o, int64_t at, struct check_coded *c)
{
    const float *scale = field_of(o, offsetof(struct qk_quantized, scale));
    const int *zero = field_of(o, offsetof(struct qk_quantized, zero));
    const float *given = field_of(o, offsetof(struct qk_quantized, static_scale));
    const int *given_zero = field_of(o, offsetof(struct qk_quantized, static_zero));
    c->is_static = given != NULL;
    c->scale = given ? given[0] : scale[at];
    c->zero = !c->has_zero ? 0 : given ? given_zero[0] : zero[at];
}

int check_coded_row_differs(const struct check_coded_output *o, int64_t m, const float *value,
                            char text[CHECK_TEXT_BYTES])
{
    const struct op_desc *d = &o->trial->desc;
    struct qk_quantized q;
    memcpy(&q, (const char *)&o->trial->args + o->quantized, sizeof q);
    const int64_t step = d->quant == QUANT_BLOCK ? 128 : o->ld;
    const struct check_bound none = {0, 0};
    struct check_coded c = {.type = (enum elem_type)d->out,
                            .has_zero = d->quant == QUANT_TOKEN_ZERO,
                            .exact = o->trial->bound.relative == 0,
                            .bound = d->op == OP_QUANTIZE ? none : o->trial->bound,
                            .codes = (const char *)trial_by_device(o->trial, o->codes) + m * o->ld};
    for (int64_t k = 0; k < o->ld; k += step) {
        c.first = k;
        c.value = value + (k < o->K ? k : 0);
        c.padded = o->ld - k < step ? o->ld - k : step;
        c.count = o->K - k < c.padded ? (o->K > k ? o->K - k : 0) : c.padded;
        c.scale = 0;
        if (c.count > 0) read_scale(o, m * q.lds + k / step, &c);
        if (check_coded_differs(&c, m, text)) return 1;
    }
    return 0;
}
