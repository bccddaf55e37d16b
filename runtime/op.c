/* op.c -- names, sizes and checks of ops and their descriptors
 *
 * Everything that differs between ops is in one table: which words follow the op's name, and where
 * the dims of a launch come from.
 */
#include "op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* FIELD_CODED is the last word of a name, left out where the output is not quantized. */
enum field {
    FIELD_NONE,
    FIELD_WEIGHT,
    FIELD_ACT,
    FIELD_OUT,
    FIELD_KV,
    FIELD_HEAD,
    FIELD_KIND,
    FIELD_CODED
};
enum { MAX_FIELDS = 4 };

static const char *const rope_kinds[] = {"pairs", "halves", NULL};
static const char *const glu_kinds[] = {"silu", "gelu", NULL};
static const char *const quant_suffix[QUANT_COUNT] = {"", "t", "tz", "b"};

static const struct {
    const char *name;
    size_t args_bytes;
    enum field field[MAX_FIELDS]; /* in the order of the name */
    const char *const *kinds;
} ops[OP_COUNT] = {
    [OP_LINEAR] = {"linear", sizeof(struct qk_linear), {FIELD_WEIGHT, FIELD_ACT, FIELD_OUT}, NULL},
    [OP_REDUCE] = {"reduce", sizeof(struct qk_reduce), {FIELD_OUT}, NULL},
    [OP_QUANTIZE] = {"quantize", sizeof(struct qk_quantize), {FIELD_ACT, FIELD_OUT}, NULL},
    [OP_EMBED] = {"embed", sizeof(struct qk_embed), {FIELD_WEIGHT, FIELD_OUT}, NULL},
    [OP_RMSNORM] = {"rmsnorm", sizeof(struct qk_rmsnorm), {FIELD_ACT, FIELD_OUT}, NULL},
    [OP_ROPE] = {"rope",
                 sizeof(struct qk_rope),
                 {FIELD_KIND, FIELD_ACT, FIELD_KV, FIELD_HEAD},
                 rope_kinds},
    [OP_ATTENTION] = {"attention",
                      sizeof(struct qk_attention),
                      {FIELD_ACT, FIELD_KV, FIELD_HEAD},
                      NULL},
    [OP_GLU] = {"glu", sizeof(struct qk_glu), {FIELD_KIND, FIELD_ACT, FIELD_CODED}, glu_kinds},
    [OP_ADD] = {"add", sizeof(struct qk_add), {FIELD_ACT}, NULL},
    [OP_SAMPLE] = {"sample", sizeof(struct qk_sample), {FIELD_NONE}, NULL},
    [OP_GATHER] = {"gather", sizeof(struct qk_gather), {FIELD_ACT}, NULL},
    [OP_COMBINE] = {"combine", sizeof(struct qk_combine), {FIELD_ACT, FIELD_HEAD}, NULL},
};

const char *op_name(enum op op) { return (unsigned)op < OP_COUNT ? ops[op].name : "?"; }

size_t op_args_bytes(enum op op) { return (unsigned)op < OP_COUNT ? ops[op].args_bytes : 0; }

int op_desc_equal(const struct op_desc *a, const struct op_desc *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static int kind_count(enum op op)
{
    int count = 0;
    while (ops[op].kinds && ops[op].kinds[count]) count++;
    return count;
}

static int has_field(enum op op, enum field field)
{
    for (int i = 0; i < MAX_FIELDS; i++)
        if (ops[op].field[i] == field) return 1;
    return 0;
}

/* The field whose type has the form `quant`. */
static enum field quant_field(enum op op)
{
    if (op == OP_LINEAR) return FIELD_ACT;
    if (op == OP_QUANTIZE || op == OP_RMSNORM) return FIELD_OUT;
    return op == OP_GLU ? FIELD_CODED : FIELD_NONE;
}

static void elem_text(const struct op_desc *d, enum field field, uint8_t type, char *out,
                      size_t bytes)
{
    const int has_form = quant_field((enum op)d->op) == field;
    snprintf(out, bytes, ".%s%s", elem_name((enum elem_type)type),
             has_form ? quant_suffix[d->quant % QUANT_COUNT] : "");
}

/* One word of a name. */
static void field_text(const struct op_desc *d, enum field field, char *out, size_t bytes)
{
    char scheme[SCHEME_NAME_BYTES];
    switch (field) {
    case FIELD_WEIGHT:
        scheme_name(&d->weight, scheme);
        snprintf(out, bytes, ".%s", scheme);
        break;
    case FIELD_ACT: elem_text(d, field, d->act, out, bytes); break;
    case FIELD_OUT: elem_text(d, field, d->out, out, bytes); break;
    case FIELD_KV: elem_text(d, field, d->kv, out, bytes); break;
    case FIELD_CODED:
        *out = 0;
        if (d->quant != QUANT_NONE) elem_text(d, field, d->out, out, bytes);
        break;
    case FIELD_HEAD: snprintf(out, bytes, ".h%d", d->head); break;
    case FIELD_KIND: snprintf(out, bytes, ".%s", ops[d->op].kinds[d->kind]); break;
    case FIELD_NONE: *out = 0; break;
    }
}

void op_desc_name(const struct op_desc *d, char out[OP_NAME_BYTES])
{
    size_t length = (size_t)snprintf(out, OP_NAME_BYTES, "%s", op_name((enum op)d->op));
    for (int i = 0; d->op < OP_COUNT && i < MAX_FIELDS && length < OP_NAME_BYTES; i++) {
        field_text(d, ops[d->op].field[i], out + length, OP_NAME_BYTES - length);
        length += strlen(out + length);
    }
}

/* "f16", or with the form of quantized values: "i8tz". */
static int parse_elem(struct op_desc *d, enum field field, const char *text, uint8_t *out)
{
    for (int i = 0; i < ELEM_COUNT; i++) {
        const char *name = elem_name((enum elem_type)i);
        if (strncmp(text, name, strlen(name)) != 0) continue;
        for (int form = 0; form < QUANT_COUNT; form++) {
            if (strcmp(text + strlen(name), quant_suffix[form]) != 0) continue;
            if (form && quant_field((enum op)d->op) != field) return 0;
            if (form) d->quant = (uint8_t)form;
            return *out = (uint8_t)i, 1;
        }
    }
    return 0;
}

static int parse_kind(enum op op, const char *text, uint8_t *out)
{
    for (int i = 0; i < kind_count(op); i++)
        if (strcmp(text, ops[op].kinds[i]) == 0) return *out = (uint8_t)i, 1;
    return 0;
}

static int parse_head(const char *text, uint16_t *out)
{
    char *end;
    if (text[0] != 'h' || text[1] < '1' || text[1] > '9') return 0;
    const long head = strtol(text + 1, &end, 10);
    if (*end || head > 1024) return 0;
    *out = (uint16_t)head;
    return 1;
}

static int parse_field(struct op_desc *d, enum field field, const char *text)
{
    switch (field) {
    case FIELD_WEIGHT: return scheme_parse(text, &d->weight) == QRT_OK;
    case FIELD_ACT: return parse_elem(d, field, text, &d->act);
    case FIELD_OUT:
    case FIELD_CODED: return parse_elem(d, field, text, &d->out);
    case FIELD_KV: return parse_elem(d, field, text, &d->kv);
    case FIELD_HEAD: return parse_head(text, &d->head);
    case FIELD_KIND: return parse_kind((enum op)d->op, text, &d->kind);
    case FIELD_NONE: break;
    }
    return 0;
}

/* Cut the next word of a dotted name into `word`; a scheme may have a "." of its own, so a
 * weight takes as many words as leave `after` for the fields that follow. */
static const char *next_word(const char *at, int after, char word[OP_NAME_BYTES])
{
    const char *end = at + strlen(at);
    for (int i = 0; i < after && end > at; i++) do
            end--;
        while (end > at && *end != '.');
    snprintf(word, OP_NAME_BYTES, "%.*s", (int)(end - at), at);
    return *end == '.' ? end + 1 : end;
}

static int word_count(const char *text)
{
    int count = *text != 0;
    for (; *text; text++) count += *text == '.';
    return count;
}

static int parse_fields(struct op_desc *d, const char *at)
{
    int count = 0;
    while (count < MAX_FIELDS && ops[d->op].field[count] != FIELD_NONE) count++;
    if (count > 0 && ops[d->op].field[count - 1] == FIELD_CODED) count -= word_count(at) < count;
    for (int i = 0; i < count; i++) {
        char word[OP_NAME_BYTES];
        at = next_word(at, count - 1 - i, word);
        if (!parse_field(d, ops[d->op].field[i], word)) return 0;
    }
    return *at == 0;
}

qrt_status op_desc_parse(const char *name, struct op_desc *out)
{
    const size_t length = strcspn(name, ".");
    for (int op = 0; op < OP_COUNT; op++) {
        if (strlen(ops[op].name) != length || strncmp(name, ops[op].name, length) != 0) continue;
        struct op_desc d;
        memset(&d, 0, sizeof d);
        d.op = (uint8_t)op;
        if (!parse_fields(&d, name + length + (name[length] == '.'))) break;
        if (op_desc_check(&d) != QRT_OK) break;
        *out = d;
        return QRT_OK;
    }
    return error_set(QRT_E_ARGUMENT, "'%s' is not a request like linear.w4g128.f16.f16", name);
}

/* Which types have which form: i8 any but b, e4m3 t and b, others none.  A linear's i8 may be in
 * blocks of 32 (no form); e4m3 activations always have a form. */
static int form_is_legal(const struct op_desc *d)
{
    const enum field field = quant_field((enum op)d->op);
    const uint8_t type = field == FIELD_ACT ? d->act : d->out;
    if (d->quant == QUANT_NONE) return field == FIELD_NONE || type != ELEM_E4M3;
    if (field == FIELD_NONE) return 0;
    return type == ELEM_I8 ? d->quant != QUANT_BLOCK
                           : type == ELEM_E4M3 && d->quant != QUANT_TOKEN_ZERO;
}

qrt_status op_desc_check(const struct op_desc *d)
{
    if (d->op >= OP_COUNT || d->act >= ELEM_COUNT || d->out >= ELEM_COUNT || d->kv >= ELEM_COUNT ||
        d->quant >= QUANT_COUNT || !form_is_legal(d))
        return error_set(QRT_E_FORMAT, "op descriptor: op %d, types %d %d %d, form %d", d->op,
                         d->act, d->out, d->kv, d->quant);
    if (has_field((enum op)d->op, FIELD_KIND) && d->kind >= kind_count((enum op)d->op))
        return error_set(QRT_E_FORMAT, "op descriptor: kind %d of %s", d->kind, ops[d->op].name);
    if (has_field((enum op)d->op, FIELD_WEIGHT)) TRY(scheme_check(&d->weight));
    return QRT_OK;
}

static int linear_dim(const union op_args *a, enum dim dim)
{
    const struct qk_linear *l = &a->linear;
    return dim == DIM_M ? l->M : dim == DIM_N ? l->w.N : dim == DIM_K ? l->w.K : l->split;
}

static int attention_dim(const union op_args *a, enum dim dim)
{
    const struct qk_attention *t = &a->attention;
    return dim == DIM_M          ? t->M
           : dim == DIM_HEADS    ? t->heads
           : dim == DIM_KV_HEADS ? t->kv_heads
           : dim == DIM_SPLIT    ? t->split
                                 : 1;
}

static int rope_dim(const union op_args *a, enum dim dim)
{
    const struct qk_rope *r = &a->rope;
    return dim == DIM_M          ? r->M
           : dim == DIM_HEADS    ? r->heads
           : dim == DIM_KV_HEADS ? r->kv_heads
                                 : 1;
}

static int rmsnorm_dim(const union op_args *a, enum dim dim)
{
    const struct qk_rmsnorm *r = &a->rmsnorm;
    return dim == DIM_M ? r->M : dim == DIM_HEADS ? r->heads : dim == DIM_K ? r->K : 1;
}

static int combine_dim(const union op_args *a, enum dim dim)
{
    const struct qk_combine *c = &a->combine;
    return dim == DIM_M ? c->M : dim == DIM_HEADS ? c->heads : dim == DIM_SPLIT ? c->split : 1;
}

/* Ops with the plain sizes M and one width. */
static int plain_dim(int M, int width, enum dim dim)
{
    return dim == DIM_M ? M : dim == DIM_N || dim == DIM_K ? width : 1;
}

int op_dim(enum op op, const union op_args *a, enum dim dim)
{
    if (dim == DIM_ONE) return 1;
    switch (op) {
    case OP_LINEAR: return linear_dim(a, dim);
    case OP_ATTENTION: return attention_dim(a, dim);
    case OP_ROPE: return rope_dim(a, dim);
    case OP_RMSNORM: return rmsnorm_dim(a, dim);
    case OP_REDUCE: return plain_dim(a->reduce.M, a->reduce.N, dim);
    case OP_QUANTIZE: return plain_dim(a->quantize.M, a->quantize.K, dim);
    case OP_EMBED: return plain_dim(a->embed.M, a->embed.w.K, dim);
    case OP_GLU: return plain_dim(a->glu.M, a->glu.K, dim);
    case OP_ADD: return plain_dim(a->add.M, a->add.K, dim);
    case OP_SAMPLE: return plain_dim(a->sample.M, a->sample.N, dim);
    case OP_GATHER: return plain_dim(a->gather.M, a->gather.K, dim);
    case OP_COMBINE: return combine_dim(a, dim);
    case OP_COUNT: break;
    }
    return 1;
}

const char *dim_name(enum dim dim)
{
    static const char *const names[DIM_COUNT] = {"1", "M", "N", "K", "heads", "kv_heads", "split"};
    return (unsigned)dim < DIM_COUNT ? names[dim] : "?";
}
