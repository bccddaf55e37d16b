/* scheme.c -- how a weight matrix is quantized, and the short name of that */
#include "scheme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static const struct {
    const char *name;
    uint8_t code, bits;
} dense[] = {{"f32", CODE_F32, 32}, {"f16", CODE_F16, 16}, {"bf16", CODE_BF16, 16}};

static const char *const scale_suffix[SCALE_COUNT] = {"", ".bf16", ".f32", ".k"};
static const char *const zero_suffix[ZERO_COUNT] = {"", "z", "m"};

int scheme_groups(const struct scheme *s, int K)
{
    if (scheme_is_dense(s)) return 0;
    return s->group == GROUP_ROW ? 1 : K / s->group + (K % s->group != 0);
}

static qrt_status check_quantized(const struct scheme *s)
{
    if (s->bits < 2 || s->bits > 8)
        return error_set(QRT_E_SCHEME, "bits %d: int codes have 2 to 8 bits", s->bits);
    if (s->group != GROUP_ROW && (s->group < 16 || s->group % 16 != 0))
        return error_set(QRT_E_SCHEME, "group %d: a multiple of 16, or -1 for one per row",
                         s->group);
    if (s->scale >= SCALE_COUNT || s->zero >= ZERO_COUNT)
        return error_set(QRT_E_SCHEME, "scale type %d or zero type %d is unknown", s->scale,
                         s->zero);
    if (s->scale != SCALE_TWO_LEVEL) return QRT_OK;
    if (s->zero == ZERO_INT)
        return error_set(QRT_E_SCHEME,
                         "two-level scales have a minimum or no zero, not an int zero");
    if (s->group == GROUP_ROW || SUPER_GROUP % s->group != 0)
        return error_set(QRT_E_SCHEME, "group %d of two-level scales does not divide %d", s->group,
                         SUPER_GROUP);
    return QRT_OK;
}

qrt_status scheme_check(const struct scheme *s)
{
    if (s->code == CODE_INT) return check_quantized(s);
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++)
        if (s->code == dense[i].code && s->bits == dense[i].bits && s->scale == 0 && s->zero == 0 &&
            s->group == GROUP_ROW)
            return QRT_OK;
    return error_set(QRT_E_SCHEME, "code type %d with %d bits is unknown", s->code, s->bits);
}

/* Index of the entry of `table` that `text` starts with, the longest one; moves past it. */
static int take_suffix(const char *const *table, int count, const char **text)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (strncmp(*text, table[i], strlen(table[i])) == 0) best = i;
    *text += strlen(table[best]);
    return best;
}

static int take_number(const char **text)
{
    int value = 0;
    for (; **text >= '0' && **text <= '9' && value < 1000000; ++*text)
        value = value * 10 + (**text - '0');
    return value;
}

qrt_status scheme_parse(const char *name, struct scheme *out)
{
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++)
        if (strcmp(name, dense[i].name) == 0) {
            *out =
                (struct scheme){.code = dense[i].code, .bits = dense[i].bits, .group = GROUP_ROW};
            return QRT_OK;
        }
    struct scheme s = {.code = CODE_INT, .group = GROUP_ROW};
    const char *at = name;
    int bits = 0, group = 0;
    const int starts =
        *at == 'w' && (at++, bits = take_number(&at)) > 0 && bits < 256 && *at == 'g';
    if (starts) {
        at++;
        if (*at == 'c')
            at++, group = GROUP_ROW;
        else
            group = take_number(&at);
    }
    if (!starts || group == 0)
        return error_set(QRT_E_SCHEME,
                         "scheme '%s' is not a name like w4g128, w4g32m, w8gc.bf16, f16", name);
    s.bits = (uint8_t)bits;
    s.group = group;
    s.zero = (uint8_t)take_suffix(zero_suffix, ZERO_COUNT, &at);
    s.scale = (uint8_t)take_suffix(scale_suffix, SCALE_COUNT, &at);
    if (*at)
        return error_set(QRT_E_SCHEME, "scheme '%s': '%s' is not understood after the group", name,
                         at);
    TRY(scheme_check(&s));
    *out = s;
    return QRT_OK;
}

void scheme_name(const struct scheme *s, char out[SCHEME_NAME_BYTES])
{
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++)
        if (s->code == dense[i].code) {
            snprintf(out, SCHEME_NAME_BYTES, "%s", dense[i].name);
            return;
        }
    char group[16] = "c";
    if (s->group != GROUP_ROW) snprintf(group, sizeof group, "%d", s->group);
    snprintf(out, SCHEME_NAME_BYTES, "w%dg%s%s%s", s->bits, group,
             zero_suffix[s->zero % ZERO_COUNT], scale_suffix[s->scale % SCALE_COUNT]);
}

const char *elem_name(enum elem_type type)
{
    static const char *const names[ELEM_COUNT] = {"f32", "f16", "bf16", "i8"};
    return (unsigned)type < ELEM_COUNT ? names[type] : "?";
}

size_t elem_bytes(enum elem_type type)
{
    static const size_t bytes[ELEM_COUNT] = {4, 2, 2, 1};
    return (unsigned)type < ELEM_COUNT ? bytes[type] : 0;
}

size_t scale_bytes(enum scale_type type)
{
    static const size_t bytes[SCALE_COUNT] = {2, 2, 4, 1};
    return (unsigned)type < SCALE_COUNT ? bytes[type] : 0;
}
