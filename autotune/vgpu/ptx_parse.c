/* ptx_parse.c -- PTX text to statements: declarations, scopes, operands */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptx.h"
#include "ptx_lex.h"
#include "ptx_names.h"

struct ptx_chunk {
    struct ptx_chunk *next;
    uint8_t bytes[];
};

/* A use of a label that is not placed yet: operand `operand` wants `text`. */
struct fixup {
    size_t operand;
    const char *text;
    size_t length;
    int line;
};

struct parser {
    struct ptx *m;
    struct ptx_lexer lexer;
    struct ptx_token token; /* the next one */
    int token_line;
    struct ptx_names names;
    struct fixup *fixup;
    size_t fixups;
    int function; /* being read, or -1 */
    int source, source_line;
    char *error;
};

/* ---- memory and messages ---- */

static int fail(struct parser *p, const char *format, ...)
{
    if (p->error[0]) return 0; /* the first error is the one that counts */
    va_list arguments;
    va_start(arguments, format);
    const int at = snprintf(p->error, PTX_ERROR_BYTES, "line %d: ", p->token_line);
    vsnprintf(p->error + at, (size_t)(PTX_ERROR_BYTES - at), format, arguments);
    va_end(arguments);
    return 0;
}

static void *keep(struct parser *p, size_t bytes)
{
    struct ptx_chunk *c = calloc(1, sizeof *c + bytes);
    if (!c) return fail(p, "no memory"), NULL;
    c->next = p->m->memory;
    p->m->memory = c;
    return c->bytes;
}

static const char *keep_text(struct parser *p, const char *text, size_t length)
{
    char *copy = keep(p, length + 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

/* Room for one more in an array that doubles at powers of two. */
static int grow(struct parser *p, void *array, size_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0) return 1;
    void **at = array;
    void *more = realloc(*at, (count ? count * 2 : 1) * size);
    if (!more) return fail(p, "no memory");
    *at = more;
    return 1;
}

/* ---- tokens ---- */

static void advance(struct parser *p)
{
    p->token = ptx_lex(&p->lexer);
    p->token_line = p->lexer.line;
}

static int is_punct(const struct parser *p, char c)
{
    return p->token.kind == TOKEN_PUNCT && *p->token.text == c;
}

static int take_punct(struct parser *p, char c)
{
    if (!is_punct(p, c)) return 0;
    advance(p);
    return 1;
}

static int expect(struct parser *p, char c)
{
    if (take_punct(p, c)) return 1;
    return fail(p, "'%c' expected before '%.*s'", c, (int)p->token.length, p->token.text);
}

static int is_text(const struct ptx_token *t, const char *text)
{
    return t->length == strlen(text) && memcmp(t->text, text, t->length) == 0;
}

static int take_dot(struct parser *p, const char *text)
{
    if (p->token.kind != TOKEN_DOT || !is_text(&p->token, text)) return 0;
    advance(p);
    return 1;
}

static int take_int(struct parser *p, int64_t *out)
{
    const int negative = take_punct(p, '-');
    if (p->token.kind != TOKEN_INT) return fail(p, "a number expected");
    *out = negative ? (int64_t)(0 - p->token.value) : (int64_t)p->token.value;
    advance(p);
    return 1;
}

static int skip_to_semicolon(struct parser *p)
{
    while (p->token.kind != TOKEN_END && !is_punct(p, ';')) advance(p);
    return expect(p, ';');
}

/* ---- variables ---- */

static const struct {
    const char *name;
    enum ptx_space space;
} spaces[] = {{"global", PTX_GLOBAL},
              {"shared", PTX_SHARED},
              {"local", PTX_LOCAL},
              {"param", PTX_PARAM},
              {"const", PTX_CONST}};

static int take_space(struct parser *p, enum ptx_space *out)
{
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (take_dot(p, spaces[i].name)) {
            *out = spaces[i].space;
            return 1;
        }
    return 0;
}

static int take_type(struct parser *p, enum ptx_type *out)
{
    const enum ptx_type t = p->token.kind == TOKEN_DOT
                                ? (enum ptx_type)ptx_type_find(p->token.text, p->token.length)
                                : PTX_NONE;
    if (t == PTX_NONE) return 0;
    *out = t;
    advance(p);
    return 1;
}

/* The words between a space and a name. */
static int take_attributes(struct parser *p, struct ptx_variable *v, enum ptx_type *type,
                           uint32_t *vector)
{
    int64_t align = 0;
    for (;;) {
        if (take_dot(p, "align") || take_dot(p, "ptr")) {
            if (p->token.kind == TOKEN_INT && !take_int(p, &align)) return 0;
        } else if (take_dot(p, "v2")) {
            *vector = 2;
        } else if (take_dot(p, "v4")) {
            *vector = 4;
        } else if (take_type(p, type)) {
            ;
        } else if (p->token.kind == TOKEN_DOT) { /* .ptr .global .align 4 of a parameter */
            enum ptx_space of_pointer;
            if (!take_space(p, &of_pointer))
                return fail(p, "'.%.*s' in a declaration", (int)p->token.length, p->token.text);
        } else {
            break;
        }
    }
    if (*type == PTX_NONE) return fail(p, "a declaration without a type");
    v->align = align > 0 ? (uint32_t)align : ptx_type_bytes(*type) * *vector;
    return 1;
}

/* [4], [2][8], []: elements; 0 of [] */
static int take_dimensions(struct parser *p, uint64_t *elements, int *open)
{
    *elements = 1;
    while (take_punct(p, '[')) {
        int64_t n = 0;
        if (is_punct(p, ']'))
            *open = 1;
        else if (!take_int(p, &n))
            return 0;
        *elements *= (uint64_t)n;
        if (!expect(p, ']')) return 0;
    }
    return *elements < 1u << 28 || fail(p, "an array too large");
}

static int take_value(struct parser *p, uint64_t *bits, enum ptx_type type)
{
    const int negative = take_punct(p, '-');
    const struct ptx_token t = p->token;
    if (t.kind != TOKEN_INT && t.kind != TOKEN_FLOAT32 && t.kind != TOKEN_FLOAT64)
        return fail(p, "an initial value that is no number");
    *bits = negative ? 0 - t.value : t.value;
    if (type == PTX_F32 && t.kind == TOKEN_FLOAT64) return fail(p, "a double for .f32");
    advance(p);
    return 1;
}

static int take_initial_values(struct parser *p, struct ptx_variable *v, enum ptx_type type,
                               int known_size)
{
    const uint32_t size = ptx_type_bytes(type);
    const int braces = is_punct(p, '{');
    uint8_t *bytes = NULL;
    uint32_t room = known_size ? v->bytes : 0, used = 0;
    do {
        if (braces)
            while (take_punct(p, '{')) continue;
        if (is_punct(p, '}')) break;
        uint64_t bits;
        if (!take_value(p, &bits, type)) return 0;
        if (!known_size || !bytes) {
            uint8_t *more = keep(p, known_size ? room : used + size);
            if (!more) return 0;
            if (bytes) memcpy(more, bytes, used);
            bytes = more;
            if (!known_size) room = used + size;
        }
        if (used + size > room) return fail(p, "more initial values than elements");
        memcpy(bytes + used, &bits, size);
        used += size;
        if (braces)
            while (take_punct(p, '}')) continue;
    } while (take_punct(p, ','));
    while (braces && take_punct(p, '}')) continue;
    v->init = bytes;
    v->bytes = room;
    return 1;
}

static int add_variable(struct parser *p, const struct ptx_variable *v, const char *name,
                        size_t length)
{
    struct ptx *m = p->m;
    if (!grow(p, &m->variable, m->variables, sizeof *m->variable)) return 0;
    m->variable[m->variables] = *v;
    m->variable[m->variables].name = keep_text(p, name, length);
    if (!ptx_names_add(&p->names, m->variable[m->variables].name, length, NAME_VARIABLE,
                       (int32_t)m->variables))
        return fail(p, "no memory");
    m->variables++;
    if (p->function >= 0) m->function[p->function].variables++;
    return 1;
}

/* After the space: attributes, name, dimensions, initial values.  Two of one name are one: first
 * declared, then defined. */
static int take_variable(struct parser *p, enum ptx_space space, int retval)
{
    struct ptx_variable v = {.space = space, .function = p->function, .retval = retval};
    enum ptx_type type = PTX_NONE;
    uint32_t vector = 1;
    if (!take_attributes(p, &v, &type, &vector)) return 0;
    do {
        uint64_t elements;
        int open = 0;
        const struct ptx_token name = p->token;
        if (name.kind != TOKEN_NAME) return fail(p, "a name expected");
        advance(p);
        if (!take_dimensions(p, &elements, &open)) return 0;
        v.bytes = (uint32_t)elements * ptx_type_bytes(type) * vector;
        v.dynamic = open && space == PTX_SHARED;
        if (open) v.bytes = 0;
        v.init = NULL;
        if (take_punct(p, '=') && !take_initial_values(p, &v, type, !open)) return 0;
        if (!add_variable(p, &v, name.text, name.length)) return 0;
    } while (space != PTX_PARAM && take_punct(p, ','));
    return 1;
}

/* ---- registers ---- */

static int add_register(struct parser *p, const char *name, size_t length, enum ptx_type type)
{
    struct ptx *m = p->m;
    const char *kept = keep_text(p, name, length);
    if (!kept || !grow(p, &m->register_type, m->registers, 1)) return 0;
    m->register_type[m->registers] = (uint8_t)type;
    if (!ptx_names_add(&p->names, kept, length, NAME_REGISTER, (int32_t)m->registers++))
        return fail(p, "no memory");
    m->function[p->function].registers++;
    return 1;
}

/* %r<10>: %r0 .. %r9 */
static int add_registers(struct parser *p, const struct ptx_token *prefix, int64_t count,
                         enum ptx_type type)
{
    char name[128];
    if (prefix->length > sizeof name - 12 || count < 0 || count > 1 << 22)
        return fail(p, "a register declaration too large");
    for (int64_t i = 0; i < count; i++) {
        const int length = snprintf(name, sizeof name, "%.*s%lld", (int)prefix->length,
                                    prefix->text, (long long)i);
        if (!add_register(p, name, (size_t)length, type)) return 0;
    }
    return 1;
}

static int take_registers(struct parser *p)
{
    enum ptx_type type;
    if (!take_type(p, &type)) return fail(p, ".reg without a type");
    do {
        const struct ptx_token name = p->token;
        int64_t count = 0;
        if (name.kind != TOKEN_NAME) return fail(p, "a register's name expected");
        advance(p);
        if (take_punct(p, '<')) {
            if (!take_int(p, &count) || !expect(p, '>')) return 0;
            if (!add_registers(p, &name, count, type)) return 0;
        } else if (!add_register(p, name.text, name.length, type)) {
            return 0;
        }
    } while (take_punct(p, ','));
    return expect(p, ';');
}

/* ---- operands ---- */

static int add_operand(struct parser *p, const struct ptx_operand *o)
{
    struct ptx *m = p->m;
    if (!grow(p, &m->operand, m->operands, sizeof *m->operand)) return 0;
    m->operand[m->operands++] = *o;
    return 1;
}

static int special_find(const struct ptx_token *t)
{
    for (int i = 0; i < PTX_SPECIAL_COUNT; i++)
        if (is_text(t, ptx_special_name((enum ptx_special)i))) return i;
    return -1;
}

static int add_fixup(struct parser *p, const struct ptx_token *t, size_t operand)
{
    if (!grow(p, &p->fixup, p->fixups, sizeof *p->fixup)) return 0;
    p->fixup[p->fixups++] = (struct fixup){operand, t->text, t->length, p->token_line};
    return 1;
}

static int resolve_name(struct parser *p, struct ptx_operand *o, size_t operand)
{
    static const uint8_t kinds[] = {[NAME_REGISTER] = PTX_REG,
                                    [NAME_VARIABLE] = PTX_VARIABLE,
                                    [NAME_LABEL] = PTX_LABEL,
                                    [NAME_FUNCTION] = PTX_FUNCTION};
    const struct ptx_token t = p->token;
    const struct ptx_name *name = ptx_names_find(&p->names, t.text, t.length);
    advance(p);
    if (name) {
        o->kind = kinds[name->kind];
        o->index = name->index;
        return 1;
    }
    if (is_text(&t, "_")) {
        o->kind = PTX_SINK;
        return 1;
    }
    if (is_text(&t, "WARP_SZ")) {
        *o = (struct ptx_operand){.kind = PTX_INT, .value = 32};
        return 1;
    }
    const int special = *t.text == '%' ? special_find(&t) : -1;
    if (special >= 0) {
        o->kind = PTX_SPECIAL;
        o->index = special;
        return 1;
    }
    if (*t.text == '%') return fail(p, "unknown register '%.*s'", (int)t.length, t.text);
    o->kind = PTX_LABEL; /* not seen yet */
    o->index = -1;
    return add_fixup(p, &t, operand);
}

/* + 16, +-16, - 16 after a name */
static int take_offset(struct parser *p, int64_t *out)
{
    int64_t value;
    if (take_punct(p, '+')) {
        if (!take_int(p, &value)) return 0;
        *out += value;
    } else if (is_punct(p, '-')) {
        if (!take_int(p, &value)) return 0;
        *out += value;
    }
    return 1;
}

/* A register, number or name, into operand `operand`. */
static int take_simple(struct parser *p, struct ptx_operand *o, size_t operand)
{
    const struct ptx_token t = p->token;
    o->negated = (uint8_t)take_punct(p, '!');
    switch (p->token.kind) {
    case TOKEN_NAME:
        if (!resolve_name(p, o, operand)) return 0;
        return o->kind == PTX_VARIABLE ? take_offset(p, &o->value) : 1;
    case TOKEN_FLOAT32:
    case TOKEN_FLOAT64:
        o->kind = t.kind == TOKEN_FLOAT32 ? PTX_FLOAT32 : PTX_FLOAT64;
        o->value = (int64_t)t.value;
        advance(p);
        return 1;
    default: o->kind = PTX_INT; return take_int(p, &o->value);
    }
}

enum { MAX_PARTS = 512 };

/* Parts up to `close`, kept apart until all are known: they must follow each other. */
static int take_parts(struct parser *p, struct ptx_operand *o, char close)
{
    struct ptx_operand part[MAX_PARTS];
    int parts = 0;
    const size_t first_fixup = p->fixups;
    while (!is_punct(p, close)) {
        if (parts == MAX_PARTS) return fail(p, "too many parts of an operand");
        part[parts] = (struct ptx_operand){0};
        if (!take_simple(p, &part[parts], (size_t)parts)) return 0;
        parts++;
        if (!take_punct(p, ',')) break;
    }
    for (size_t i = first_fixup; i < p->fixups; i++) p->fixup[i].operand += p->m->operands;
    o->kind = PTX_VECTOR;
    o->index = (int32_t)p->m->operands;
    o->parts = (uint16_t)parts;
    for (int i = 0; i < parts; i++)
        if (!add_operand(p, &part[i])) return 0;
    return expect(p, close);
}

/* What else is in the brackets of a tensor copy: coordinates. */
static int take_coordinates(struct parser *p, struct ptx_operand *base, int *parts)
{
    struct ptx_operand vector = {0};
    *parts = 1;
    if (!take_punct(p, ',')) return add_operand(p, base);
    if (!expect(p, '{') || !take_parts(p, &vector, '}')) return 0;
    *parts = 1 + vector.parts;
    /* The base must come before its coordinates: move them up by one. */
    struct ptx *m = p->m;
    if (!add_operand(p, base)) return 0;
    memmove(&m->operand[vector.index + 1], &m->operand[vector.index],
            (size_t)vector.parts * sizeof *m->operand);
    m->operand[vector.index] = *base;
    return 1;
}

static int take_memory(struct parser *p, struct ptx_operand *o)
{
    struct ptx_operand base = {0};
    int parts;
    if (!take_simple(p, &base, p->m->operands) || !take_offset(p, &base.value)) return 0;
    o->kind = PTX_MEMORY;
    o->value = base.value;
    if (base.kind == PTX_REG || base.kind == PTX_VARIABLE) base.value = 0;
    if (!take_coordinates(p, &base, &parts)) return 0;
    o->index = (int32_t)(p->m->operands - (size_t)parts);
    o->parts = (uint16_t)(parts - 1);
    return expect(p, ']');
}

static int take_operand(struct parser *p, struct ptx_operand *o, size_t operand)
{
    if (take_punct(p, '[')) return take_memory(p, o);
    if (take_punct(p, '{')) return take_parts(p, o, '}');
    if (take_punct(p, '(')) return take_parts(p, o, ')');
    return take_simple(p, o, operand);
}

/* ---- statements ---- */

enum { MAX_OPERANDS = 24 };

static int take_operands(struct parser *p, struct ptx_statement *s)
{
    struct ptx_operand operand[MAX_OPERANDS];
    uint32_t count = 0;
    int second = 0;
    const size_t first_fixup = p->fixups;
    while (!is_punct(p, ';')) {
        if (count == MAX_OPERANDS) return fail(p, "too many operands");
        operand[count] = (struct ptx_operand){0};
        const size_t before = p->fixups;
        if (!take_operand(p, &operand[count], SIZE_MAX)) return 0;
        /* fixups of first-level operands are placed below, by their number here */
        if (p->fixups > before && p->fixup[before].operand == SIZE_MAX)
            p->fixup[before].operand = SIZE_MAX - count;
        operand[count++].second = (uint8_t)second;
        second = is_punct(p, '|');
        if (!second && !is_punct(p, ',')) break;
        advance(p);
    }
    s->operand = (uint32_t)p->m->operands;
    s->operands = count;
    for (size_t i = first_fixup; i < p->fixups; i++)
        if (p->fixup[i].operand > SIZE_MAX - MAX_OPERANDS)
            p->fixup[i].operand = s->operand + (SIZE_MAX - p->fixup[i].operand);
    for (uint32_t i = 0; i < count; i++)
        if (!add_operand(p, &operand[i])) return 0;
    return expect(p, ';');
}

static int take_guard(struct parser *p, struct ptx_statement *s)
{
    struct ptx_operand o = {0};
    s->guard = -1;
    if (!take_punct(p, '@')) return 1;
    if (!take_simple(p, &o, 0)) return 0;
    if (o.kind != PTX_REG) return fail(p, "a guard that is no register");
    s->guard = o.index;
    s->guard_negated = o.negated;
    return 1;
}

static int add_statement(struct parser *p, struct ptx_statement *s)
{
    struct ptx *m = p->m;
    s->source = p->source;
    s->source_line = p->source_line;
    if (!grow(p, &m->statement, m->statements, sizeof *m->statement)) return 0;
    m->statement[m->statements++] = *s;
    m->function[p->function].statements++;
    return 1;
}

/* NAME: .branchtargets L1, L2;  the label names the table, which is a statement. */
static int take_branch_targets(struct parser *p)
{
    struct ptx_statement s = {.opcode = ".branchtargets", .guard = -1, .line = p->token_line};
    return take_operands(p, &s) && add_statement(p, &s);
}

static int place_label(struct parser *p, const struct ptx_token *t)
{
    const struct ptx_function *f = &p->m->function[p->function];
    const char *name = keep_text(p, t->text, t->length);
    if (!name) return 0;
    if (!ptx_names_add(&p->names, name, t->length, NAME_LABEL, (int32_t)f->statements))
        return fail(p, "no memory");
    advance(p);
    return take_dot(p, "branchtargets") ? take_branch_targets(p) : 1;
}

static int take_instruction(struct parser *p)
{
    struct ptx_statement s = {.line = p->token_line};
    if (!take_guard(p, &s)) return 0;
    const struct ptx_token opcode = p->token;
    if (opcode.kind != TOKEN_NAME)
        return fail(p, "an instruction expected, not '%.*s'", (int)opcode.length, opcode.text);
    advance(p);
    if (s.guard < 0 && is_punct(p, ':')) return place_label(p, &opcode);
    s.opcode = keep_text(p, opcode.text, opcode.length);
    return s.opcode && take_operands(p, &s) && add_statement(p, &s);
}

/* .loc file line column [, function_name ..., inlined_at ...]: all on one line of the text */
static int take_location(struct parser *p)
{
    int64_t file, line, column;
    if (!take_int(p, &file) || !take_int(p, &line) || !take_int(p, &column)) return 0;
    p->source = (int)file;
    p->source_line = (int)line;
    if (!take_punct(p, ',')) return 1;
    const int at = p->token_line;
    while (p->token_line == at && p->token.kind != TOKEN_END) advance(p);
    return 1;
}

static int take_file(struct parser *p)
{
    struct ptx *m = p->m;
    int64_t number;
    if (!take_int(p, &number)) return 0;
    if (p->token.kind != TOKEN_STRING || number < 0 || number > 4096) return fail(p, "bad .file");
    while ((int64_t)m->files <= number) {
        if (!grow(p, &m->file, m->files, sizeof *m->file)) return 0;
        m->file[m->files++] = NULL;
    }
    m->file[number] = keep_text(p, p->token.text, p->token.length);
    advance(p);
    while (take_punct(p, ',')) advance(p); /* time stamp and size */
    return m->file[number] != NULL;
}

static int take_local_directive(struct parser *p)
{
    enum ptx_space space;
    if (take_dot(p, "reg")) return take_registers(p);
    if (take_dot(p, "loc")) return take_location(p);
    if (take_dot(p, "pragma")) return skip_to_semicolon(p);
    if (take_space(p, &space)) return take_variable(p, space, 0) && expect(p, ';');
    return fail(p, "unknown directive '.%.*s'", (int)p->token.length, p->token.text);
}

/* ---- scopes and functions ---- */

/* Labels of a scope are known at its end; uses that it does not place are its parent's. */
static int close_scope(struct parser *p, size_t names, size_t first_fixup, int last)
{
    size_t left = first_fixup;
    for (size_t i = first_fixup; i < p->fixups; i++) {
        const struct fixup f = p->fixup[i];
        const struct ptx_name *name = ptx_names_find(&p->names, f.text, f.length);
        if (name && name->kind == NAME_LABEL) {
            p->m->operand[f.operand].index = name->index;
        } else if (last) {
            p->token_line = f.line;
            return fail(p, "unknown name '%.*s'", (int)f.length, f.text);
        } else {
            p->fixup[left++] = f;
        }
    }
    p->fixups = left;
    ptx_names_cut(&p->names, names);
    return 1;
}

static int take_block(struct parser *p, int depth)
{
    const size_t names = p->names.count, first_fixup = p->fixups;
    if (depth > 64) return fail(p, "scopes too deep");
    while (!is_punct(p, '}')) {
        int good;
        if (p->token.kind == TOKEN_END) return fail(p, "the text ends within a function");
        if (take_punct(p, ';'))
            good = 1;
        else if (take_punct(p, '{'))
            good = take_block(p, depth + 1);
        else if (p->token.kind == TOKEN_DOT)
            good = take_local_directive(p);
        else
            good = take_instruction(p);
        if (!good) return 0;
    }
    advance(p);
    return close_scope(p, names, first_fixup, depth == 0);
}

static int take_parameters(struct parser *p, int retval)
{
    enum ptx_space space;
    if (!take_punct(p, '(')) return 1;
    while (!is_punct(p, ')')) {
        if (take_dot(p, "reg")) return fail(p, "parameters in registers are not supported");
        if (!take_space(p, &space) || space != PTX_PARAM) return fail(p, ".param expected");
        if (!take_variable(p, PTX_PARAM, retval)) return 0;
        p->m->function[p->function].params++;
        if (!take_punct(p, ',')) break;
    }
    return expect(p, ')');
}

static int take_threes(struct parser *p, uint32_t out[3])
{
    int64_t value[3] = {1, 1, 1};
    for (int i = 0; i < 3; i++) {
        if (!take_int(p, &value[i])) return 0;
        if (!take_punct(p, ',')) break;
    }
    for (int i = 0; i < 3; i++) out[i] = (uint32_t)value[i];
    return 1;
}

/* .maxntid and the like, between parameters and body. */
static int take_performance(struct parser *p, struct ptx_function *f)
{
    int64_t unused;
    while (p->token.kind == TOKEN_DOT) {
        if (take_dot(p, "maxntid")) {
            if (!take_threes(p, f->max_threads)) return 0;
        } else if (take_dot(p, "reqntid")) {
            f->exact_threads = 1;
            if (!take_threes(p, f->max_threads)) return 0;
        } else if (take_dot(p, "reqnctapercluster")) {
            if (!take_threes(p, f->cluster)) return 0;
        } else if (take_dot(p, "minnctapersm") || take_dot(p, "maxnreg") ||
                   take_dot(p, "maxnctapersm") || take_dot(p, "maxclusterrank")) {
            if (!take_int(p, &unused)) return 0;
        } else if (take_dot(p, "pragma")) {
            if (!skip_to_semicolon(p)) return 0;
        } else if (!take_dot(p, "noreturn") && !take_dot(p, "explicitcluster") &&
                   !take_dot(p, "blocksareclusters")) {
            return fail(p, "unknown directive '.%.*s'", (int)p->token.length, p->token.text);
        }
    }
    return 1;
}

/* The function of that name, declared before or new. */
static int find_function(struct parser *p, const struct ptx_token *t)
{
    struct ptx *m = p->m;
    const struct ptx_name *name = ptx_names_find(&p->names, t->text, t->length);
    if (name && name->kind == NAME_FUNCTION) return name->index;
    if (!grow(p, &m->function, m->functions, sizeof *m->function)) return -1;
    struct ptx_function *f = &m->function[m->functions];
    *f = (struct ptx_function){.name = keep_text(p, t->text, t->length), .line = p->token_line};
    if (!f->name ||
        !ptx_names_add(&p->names, f->name, t->length, NAME_FUNCTION, (int32_t)m->functions))
        return fail(p, "no memory"), -1;
    return (int)m->functions++;
}

static int take_body(struct parser *p, struct ptx_function *f)
{
    f->first_statement = (uint32_t)p->m->statements;
    f->first_register = (uint32_t)p->m->registers;
    f->defined = 1;
    p->source = -1;
    p->source_line = 0;
    return take_block(p, 0);
}

/* The results of a function come before its name, so they are read again once it is known. */
static int take_function(struct parser *p, int entry)
{
    const struct ptx_lexer before = p->lexer;
    const struct ptx_token open = p->token;
    const int has_results = is_punct(p, '(');
    while (has_results && p->token.kind != TOKEN_END && !is_punct(p, ')')) advance(p);
    if (has_results) advance(p);
    const struct ptx_token name = p->token;
    if (name.kind != TOKEN_NAME) return fail(p, "a function's name expected");
    const int index = find_function(p, &name);
    if (index < 0) return 0;
    struct ptx_function *f = &p->m->function[index];
    const size_t names = p->names.count;
    f->entry = entry;
    f->first_variable = (int)p->m->variables;
    f->variables = f->params = 0;
    p->function = index;
    if (has_results) {
        p->lexer = before;
        p->token = open;
        if (!take_parameters(p, 1)) return 0;
    }
    advance(p); /* the name */
    int good = take_parameters(p, 0) && take_performance(p, f);
    if (good && take_punct(p, '{'))
        good = take_body(p, f);
    else if (good)
        good = expect(p, ';');
    ptx_names_cut(&p->names, names);
    p->function = -1;
    return good;
}

/* ---- the module ---- */

static int take_version(struct parser *p)
{
    double version;
    if (p->token.kind != TOKEN_FLOAT64) return fail(p, ".version expects a number");
    memcpy(&version, &p->token.value, sizeof version);
    p->m->version = (int)(version * 10 + 0.5);
    advance(p);
    return 1;
}

static int take_target(struct parser *p)
{
    char name[32];
    if (p->token.kind != TOKEN_NAME || p->token.length >= sizeof name)
        return fail(p, ".target expects an architecture");
    snprintf(name, sizeof name, "%.*s", (int)p->token.length, p->token.text);
    char suffix = 0;
    if (sscanf(name, "sm_%d%c", &p->m->target, &suffix) < 1)
        return fail(p, "unknown target '%s'", name);
    p->m->target_suffix = suffix;
    advance(p);
    while (take_punct(p, ',')) advance(p); /* debug, texmode_independent */
    return 1;
}

static int take_section(struct parser *p)
{
    while (p->token.kind != TOKEN_END && !is_punct(p, '}')) advance(p);
    return expect(p, '}');
}

static int take_global_directive(struct parser *p)
{
    enum ptx_space space;
    int64_t unused;
    if (take_dot(p, "version")) return take_version(p);
    if (take_dot(p, "target")) return take_target(p);
    if (take_dot(p, "address_size")) return take_int(p, &unused);
    if (take_dot(p, "file")) return take_file(p);
    if (take_dot(p, "section")) return take_section(p);
    if (take_dot(p, "pragma")) return skip_to_semicolon(p);
    if (take_dot(p, "visible") || take_dot(p, "extern") || take_dot(p, "weak") ||
        take_dot(p, "common"))
        return 1; /* linkage: one module is all there is */
    if (take_dot(p, "entry")) return take_function(p, 1);
    if (take_dot(p, "func")) return take_function(p, 0);
    if (take_space(p, &space)) return take_variable(p, space, 0) && expect(p, ';');
    return fail(p, "unknown directive '.%.*s'", (int)p->token.length, p->token.text);
}

static int take_module(struct parser *p)
{
    while (p->token.kind != TOKEN_END) {
        if (take_punct(p, ';')) continue;
        if (p->token.kind != TOKEN_DOT)
            return fail(p, "a directive expected, not '%.*s'", (int)p->token.length, p->token.text);
        if (!take_global_directive(p)) return 0;
    }
    if (p->m->version == 0 || p->m->target == 0) return fail(p, "no .version or no .target");
    return 1;
}

int ptx_parse(const char *text, struct ptx *out, char error[PTX_ERROR_BYTES])
{
    struct parser p = {.m = out, .lexer = {text, 1}, .function = -1, .source = -1, .error = error};
    *out = (struct ptx){0};
    error[0] = 0;
    ptx_names_open(&p.names);
    advance(&p);
    const int good = take_module(&p);
    ptx_names_close(&p.names);
    free(p.fixup);
    if (!good) ptx_free(out);
    return good;
}

void ptx_free(struct ptx *m)
{
    while (m->memory) {
        struct ptx_chunk *next = m->memory->next;
        free(m->memory);
        m->memory = next;
    }
    free(m->function);
    free(m->variable);
    free(m->statement);
    free(m->operand);
    free(m->register_type);
    free(m->file);
    *m = (struct ptx){0};
}
