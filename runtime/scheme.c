/* scheme.c -- how a weight matrix is quantized, and the short name of that */
#include "scheme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static const struct {
    const char *name;
    uint8_t code, bits;
} dense[] = {{"f32", CODE_F32, 32}, {"f16", CODE_F16, 16}, {"bf16", CODE_BF16, 16}},
  /* what stands in the name before the group instead of w BITS */
    words[] = {
        {"e4m3", CODE_E4M3, 8}, {"nf4", CODE_NF4, 4}, {"iq4", CODE_IQ4, 4}, {"e2m1", CODE_E2M1, 4}};
enum { DENSE_COUNT = sizeof dense / sizeof *dense, WORD_COUNT = sizeof words / sizeof *words };

static const struct {
    const char *name, *means;
} aliases[] = {{"mxfp4", "e2m1g32.e8m0"}, {"nvfp4", "e2m1g16.e4m3"}};

static const char *const scale_suffix[SCALE_COUNT] = {"", ".bf16", ".f32", ".k", ".e8m0", ".e4m3"};
static const char *const zero_suffix[ZERO_COUNT] = {"", "z", "m"};

int scheme_groups(const struct scheme *s, int K)
{
    if (scheme_is_dense(s)) return 0;
    return s->group == GROUP_ROW ? 1 : K / s->group + (K % s->group != 0);
}

static qrt_status check_code(const struct scheme *s)
{
    if (s->code == CODE_INT)
        return s->bits >= 2 && s->bits <= 8
                   ? QRT_OK
                   : error_set(QRT_E_SCHEME, "bits %d: int codes have 2 to 8 bits", s->bits);
    for (size_t i = 0; i < WORD_COUNT; i++) {
        if (s->code != words[i].code || s->bits != words[i].bits) continue;
        if (s->zero == ZERO_NONE && s->scale != SCALE_TWO_LEVEL) return QRT_OK;
        return error_set(QRT_E_SCHEME, "%s codes have no zero and no two-level scales",
                         words[i].name);
    }
    return error_set(QRT_E_SCHEME, "code type %d with %d bits is unknown", s->code, s->bits);
}

static qrt_status check_quantized(const struct scheme *s)
{
    TRY(check_code(s));
    if (s->group != GROUP_ROW && (s->group < 16 || s->group % 16 != 0))
        return error_set(QRT_E_SCHEME, "group %d: a multiple of 16, or -1 for one per row",
                         s->group);
    if (s->scale >= SCALE_COUNT || s->zero >= ZERO_COUNT)
        return error_set(QRT_E_SCHEME, "scale type %d or zero type %d is unknown", s->scale,
                         s->zero);
    if (s->zero == ZERO_FLOAT && (s->scale == SCALE_E8M0 || s->scale == SCALE_E4M3))
        return error_set(QRT_E_SCHEME, "%s scales have no sign: a float minimum needs one",
                         scale_suffix[s->scale] + 1);
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
    if (!scheme_is_dense(s)) return check_quantized(s);
    for (size_t i = 0; i < DENSE_COUNT; i++)
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

/* "w4" or a word of the table; moves behind it. 0 when it is neither. */
static int take_code(const char **text, struct scheme *s)
{
    for (size_t i = 0; i < WORD_COUNT; i++)
        if (strncmp(*text, words[i].name, strlen(words[i].name)) == 0) {
            *text += strlen(words[i].name);
            s->code = words[i].code;
            s->bits = words[i].bits;
            return 1;
        }
    if (*(*text)++ != 'w') return 0;
    const int bits = take_number(text);
    s->code = CODE_INT;
    s->bits = (uint8_t)bits;
    return bits > 0 && bits < 256;
}

/* "g128" or "gc"; 0 when it is neither. */
static int take_group(const char **text)
{
    if (*(*text)++ != 'g') return 0;
    if (**text != 'c') return take_number(text);
    (*text)++;
    return GROUP_ROW;
}

qrt_status scheme_parse(const char *name, struct scheme *out)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i].name) == 0) return scheme_parse(aliases[i].means, out);
    for (size_t i = 0; i < DENSE_COUNT; i++)
        if (strcmp(name, dense[i].name) == 0) {
            *out =
                (struct scheme){.code = dense[i].code, .bits = dense[i].bits, .group = GROUP_ROW};
            return QRT_OK;
        }
    struct scheme s = {.group = GROUP_ROW};
    const char *at = name;
    if (!take_code(&at, &s) || (s.group = take_group(&at)) == 0)
        return error_set(
            QRT_E_SCHEME,
            "scheme '%s' is not a name like w4g128, w4g32m, w8gc.bf16, nf4g64, mxfp4, f16", name);
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
    for (size_t i = 0; i < DENSE_COUNT; i++)
        if (s->code == dense[i].code) {
            snprintf(out, SCHEME_NAME_BYTES, "%s", dense[i].name);
            return;
        }
    char code[16], group[16] = "c";
    snprintf(code, sizeof code, "w%d", s->bits);
    for (size_t i = 0; i < WORD_COUNT; i++)
        if (s->code == words[i].code) snprintf(code, sizeof code, "%s", words[i].name);
    if (s->group != GROUP_ROW) snprintf(group, sizeof group, "%d", s->group);
    snprintf(out, SCHEME_NAME_BYTES, "%sg%s%s%s", code, group, zero_suffix[s->zero % ZERO_COUNT],
             scale_suffix[s->scale % SCALE_COUNT]);
}

const char *elem_name(enum elem_type type)
{
    static const char *const names[ELEM_COUNT] = {"f32", "f16", "bf16", "i8", "e4m3"};
    return (unsigned)type < ELEM_COUNT ? names[type] : "?";
}

size_t elem_bytes(enum elem_type type)
{
    static const size_t bytes[ELEM_COUNT] = {4, 2, 2, 1, 1};
    return (unsigned)type < ELEM_COUNT ? bytes[type] : 0;
}

size_t scale_bytes(enum scale_type type)
{
    static const size_t bytes[SCALE_COUNT] = {2, 2, 4, 1, 1, 1};
    return (unsigned)type < SCALE_COUNT ? bytes[type] : 0;
}
