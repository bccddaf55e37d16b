/* opcode.c -- reads an opcode's parts by the rows of the table */
#include "opcode.h"

#include <stdio.h>
#include <string.h>

#include "op_handlers.h"

const struct opcode opcodes[] = {
#define ALU(key, mods, operands, class, name) \
    {key, mods, operands, VGPU_##class, KIND_ALU, 0, 0, NULL},
#define ALU64(key, mods, operands, class, name) \
    {key, mods, operands, VGPU_##class, KIND_ALU64, 0, 0, NULL},
#define SET(key, mods, operands, class, name) \
    {key, mods, operands, VGPU_##class, KIND_SET, 0, 0, NULL},
#define RUN(key, mods, operands, class, name, flags, field) \
    {key, mods, operands, VGPU_##class, KIND_RUN, flags, field, op_##name},
#include "opcodes.def"
#undef ALU
#undef ALU64
#undef SET
#undef RUN
};
const size_t opcode_count = sizeof opcodes / sizeof *opcodes;

struct part {
    const char *text;
    size_t length;
};

enum { MAX_PARTS = 20 };

static int split(const char *text, struct part part[MAX_PARTS])
{
    int count = 0;
    for (const char *at = text; count < MAX_PARTS; at++) {
        const size_t length = strcspn(at, ".");
        part[count++] = (struct part){at, length};
        at += length;
        if (*at == 0) return count;
    }
    return -1;
}

static int is(const struct part *p, const char *text)
{
    return strlen(text) == p->length && memcmp(p->text, text, p->length) == 0;
}

/* ---- modifiers ---- */

/* Index of a part in a list of names divided by blanks, or -1. */
static int index_in(const struct part *p, const char *names)
{
    int index = 0;
    for (const char *at = names; *at; index++) {
        const size_t length = strcspn(at, " ");
        if (length == p->length && memcmp(at, p->text, length) == 0) return index;
        at += length;
        at += *at == ' ';
    }
    return -1;
}

static int begins(const struct part *p, const char *text)
{
    return p->length > strlen(text) && memcmp(p->text, text, strlen(text)) == 0;
}

static int take_rounding(const struct part *p, const char *names, uint16_t mods,
                         struct opcode_match *m)
{
    const int round = index_in(p, names);
    if (round < 0) return 0;
    m->round = (uint8_t)round;
    m->mods |= mods | MOD_ROUND;
    return 1;
}

static int take_order(const struct part *p, struct opcode_match *m)
{
    if (index_in(p, "weak cta cluster gpu sys shared::cta") >= 0) return 1;
    if (index_in(p, "volatile relaxed acquire release acq_rel sc mmio") < 0) return 0;
    m->strict = 1;
    m->release |= index_in(p, "release acq_rel sc") >= 0;
    return 1;
}

static int take_caching(const struct part *p, struct opcode_match *m)
{
    if (is(p, "nc")) {
        m->mods |= MOD_NC;
        return 1;
    }
    return begins(p, "L1::") || begins(p, "L2::") || index_in(p, "ca cg cs cv lu wb wt L1 L2") >= 0;
}

static int take_flag(const struct part *p, const char *name, uint16_t mod, struct opcode_match *m)
{
    if (!is(p, name)) return 0;
    m->mods |= mod;
    return 1;
}

static int take_compare(const struct part *p, struct opcode_match *m)
{
    const int i = index_in(p, "eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan");
    if (i >= 0) m->compare = (uint8_t)i;
    return i >= 0;
}

static int take_combine(const struct part *p, struct opcode_match *m)
{
    const int i = index_in(p, "and or xor");
    if (i >= 0) m->combine = (uint8_t)(COMBINE_AND + i);
    return i >= 0;
}

static int take_modifier(char group, const struct part *p, struct opcode_match *m)
{
    switch (group) {
    case 'n': return is(p, "rn");
    case 'R': return take_rounding(p, "rn rz rm rp", 0, m);
    case 'I': return take_rounding(p, "rni rzi rmi rpi", MOD_INTEGER, m);
    case 'S': return take_flag(p, "sat", MOD_SAT, m);
    case 'X': return take_flag(p, "satfinite", MOD_SATFINITE, m);
    case 'F': return take_flag(p, "ftz", MOD_FTZ, m);
    case 'Z': return take_flag(p, "relu", MOD_RELU, m);
    case 'N': return take_flag(p, "NaN", MOD_NAN, m);
    case 'C': return take_compare(p, m);
    case 'B': return take_combine(p, m);
    case 'U': return is(p, "uni");
    case 'A': return is(p, "aligned");
    case 'D': return index_in(p, "1d 2d 3d 4d 5d tile") >= 0;
    case 'K': return take_caching(p, m);
    case 'M': return take_order(p, m);
    default: return 0;
    }
}

/* ---- keys ---- */

static int take_type(const struct part *p, struct opcode_match *m)
{
    const int type = ptx_type_find(p->text, p->length);
    if (type == PTX_NONE || m->types == sizeof m->type) return 0;
    m->type[m->types++] = (uint8_t)type;
    return 1;
}

static int take_space(const struct part *p, struct opcode_match *m)
{
    static const uint8_t spaces[] = {PTX_GLOBAL, PTX_SHARED, PTX_SHARED, PTX_SHARED, PTX_LOCAL,
                                     PTX_PARAM,  PTX_PARAM,  PTX_PARAM,  PTX_CONST};
    const int i = index_in(p, "global shared shared::cta shared::cluster local param param::entry "
                              "param::func const");
    if (i >= 0) m->space = spaces[i];
    return i >= 0;
}

static int take_vector(const struct part *p, struct opcode_match *m)
{
    const int i = index_in(p, "v2 v4 v8");
    if (i >= 0) m->vector = (uint8_t)(2 << i);
    return i >= 0;
}

static int take_shape(const struct part *p, struct opcode_match *m)
{
    char text[24];
    int n[3];
    if (p->length >= sizeof text) return 0;
    snprintf(text, sizeof text, "%.*s", (int)p->length, p->text);
    if (sscanf(text, "m%dn%dk%d", &n[0], &n[1], &n[2]) != 3) return 0;
    for (int i = 0; i < 3; i++) {
        if (n[i] < 1 || n[i] > 256) return 0;
        m->shape[i] = (uint8_t)(n[i] - 1);
    }
    return 1;
}

/* 1: the part is what the key wants; 0: it is not; -1: the key's part may be absent. */
static int take_key(const struct part *key, const struct part *p, struct opcode_match *m)
{
    if (is(key, "%T")) return take_type(p, m);
    if (is(key, "%M")) return take_shape(p, m);
    if (is(key, "%V")) return take_vector(p, m) ? 1 : -1;
    if (is(key, "%S")) return take_space(p, m) ? 1 : -1;
    return key->length == p->length && memcmp(key->text, p->text, p->length) == 0;
}

static int take_any_modifier(const char *groups, const struct part *p, struct opcode_match *m)
{
    for (; *groups; groups++)
        if (take_modifier(*groups, p, m)) return 1;
    return 0;
}

int opcode_matches(const struct opcode *row, const char *text, struct opcode_match *out)
{
    struct part key[MAX_PARTS], part[MAX_PARTS];
    const int keys = split(row->key, key), parts = split(text, part);
    if (parts < 0 || key[0].length != part[0].length ||
        memcmp(key[0].text, part[0].text, part[0].length) != 0)
        return 0;
    *out = (struct opcode_match){.vector = 1};
    int k = 1;
    for (int p = 1; p < parts; p++) {
        int taken = -1, next = k;
        while (taken < 0 && next < keys) taken = take_key(&key[next++], &part[p], out);
        if (taken == 1)
            k = next;
        else if (!take_any_modifier(row->modifiers, &part[p], out))
            return 0;
    }
    while (k < keys && (is(&key[k], "%V") || is(&key[k], "%S"))) k++;
    return k == keys;
}
