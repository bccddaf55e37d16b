/* decode.c -- statements to instructions: finds the row of an opcode and reads its operands */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft.h"
#include "opcode.h"

struct decoder {
    struct draft *d;
    int function;
    const struct ptx_statement *s;
    struct insn *i;
    const struct opcode_match *m;
    uint32_t *number;          /* instruction of each statement of the function */
    uint32_t operand;          /* of the statement, being read */
    int addresses, immediates; /* seen */
};

static int fail(struct decoder *x, const char *what)
{
    if (!x->d->error[0])
        snprintf(x->d->error, PTX_ERROR_BYTES, "line %d: %s '%.160s'", x->s->line, what,
                 x->s->opcode);
    return 0;
}

/* ---- arrays that grow ---- */

static int reserve(void *array, uint32_t *room, uint32_t wanted, size_t size)
{
    if (wanted <= *room) return 1;
    const uint32_t more = wanted * 2 < 256 ? 256 : wanted * 2;
    void **at = array;
    void *grown = realloc(*at, more * size);
    if (!grown) return 0;
    *at = grown;
    *room = more;
    return 1;
}

static int add_ref(struct decoder *x, uint32_t ref, int role, int wide)
{
    struct draft *d = x->d;
    uint32_t room = d->refs_room;
    if (!reserve(&d->role, &room, d->refs + 1, 1)) return 0;
    if (!reserve(&d->ref, &d->refs_room, d->refs + 1, sizeof *d->ref)) return 0;
    d->ref[d->refs] = ref;
    d->role[d->refs++] = (uint8_t)role;
    if (wide && x->i->operands < 16) x->i->wide |= (uint16_t)(1u << x->i->operands);
    x->i->operands++;
    return 1;
}

static uint32_t constant_ref(struct decoder *x, uint64_t value, int wide)
{
    struct draft *d = x->d;
    const uint64_t mixed = (value ^ value >> 32) * 0x9e3779b97f4a7c15ull;
    int32_t *bucket = &d->bucket[mixed >> 54 & (CONSTANT_BUCKETS - 1)];
    if (d->constants == 0) memset(d->bucket, 0xff, sizeof d->bucket);
    if (!wide) value &= 0xffffffffu;
    for (int32_t i = *bucket; i >= 0; i = d->constant[i].next)
        if (d->constant[i].value == value && d->constant[i].wide == wide)
            return ref_make(REF_CONSTANT, (uint32_t)i);
    if (!reserve(&d->constant, &d->constants_room, d->constants + 1, sizeof *d->constant))
        return NO_OPERAND;
    d->constant[d->constants] = (struct draft_constant){value, (uint8_t)wide, *bucket};
    *bucket = (int32_t)d->constants;
    return ref_make(REF_CONSTANT, d->constants++);
}

static int add_constant(struct decoder *x, uint64_t value, int wide)
{
    const uint32_t ref = constant_ref(x, value, wide);
    return ref != NO_OPERAND && add_ref(x, ref, ROLE_USE, wide);
}

/* ---- single operands ---- */

static enum ptx_type register_type(const struct decoder *x, int32_t index)
{
    return (enum ptx_type)x->d->ptx->register_type[index];
}

static int register_wide(const struct decoder *x, int32_t index)
{
    return ptx_type_bytes(register_type(x, index)) == 8;
}

static uint64_t variable_address(const struct decoder *x, const struct ptx_operand *o)
{
    const struct code *c = x->d->code;
    const struct ptx_variable *v = &x->d->ptx->variable[o->index];
    uint64_t address = c->place[o->index].address;
    if (v->dynamic) address = c->function[x->function].dynamic_at;
    return address + (uint64_t)o->value;
}

/* width 4 or 8; 2 for what stands in the low half. */
static uint64_t immediate(const struct decoder *x, const struct ptx_operand *o, int width,
                          int is_float)
{
    double as_double;
    float as_float;
    uint32_t bits;
    switch (o->kind) {
    case PTX_VARIABLE: return variable_address(x, o);
    case PTX_FLOAT64:
        if (width == 8 || !is_float) return (uint64_t)o->value;
        memcpy(&as_double, &o->value, sizeof as_double);
        as_float = (float)as_double;
        memcpy(&bits, &as_float, sizeof bits);
        return bits;
    default: return width == 2 ? (uint64_t)o->value & 0xffff : (uint64_t)o->value;
    }
}

static int is_immediate(const struct ptx_operand *o)
{
    return o->kind == PTX_INT || o->kind == PTX_FLOAT32 || o->kind == PTX_FLOAT64 ||
           o->kind == PTX_VARIABLE;
}

/* width: 8, 4, 2, or 0: as the register is, or for immediates as the last type of the opcode */
static int take_source(struct decoder *x, const struct ptx_operand *o, int width, int is_float)
{
    if (o->kind == PTX_REG) {
        const int wide = register_wide(x, o->index);
        if (register_type(x, o->index) == PTX_PRED || (width && wide != (width == 8))) return 0;
        return add_ref(x, ref_make(REF_REGISTER, (uint32_t)o->index), ROLE_USE, wide);
    }
    if (o->kind == PTX_SPECIAL && o->index < PTX_SPECIAL_STILL && width != 8)
        return add_ref(x, ref_make(REF_SPECIAL, (uint32_t)o->index), ROLE_USE, 0);
    if (!is_immediate(o)) return 0;
    if (width == 0)
        width = x->m->types ? (int)ptx_type_bytes((enum ptx_type)x->m->type[x->m->types - 1]) : 4;
    return add_constant(x, immediate(x, o, width, is_float), width == 8);
}

static int take_result(struct decoder *x, const struct ptx_operand *o, int width)
{
    if (o->kind == PTX_SINK) return add_ref(x, ref_make(REF_SINK, 0), ROLE_DEF, width == 8);
    if (o->kind != PTX_REG || register_type(x, o->index) == PTX_PRED) return 0;
    const int wide = register_wide(x, o->index);
    if (width && wide != (width == 8)) return 0;
    return add_ref(x, ref_make(REF_REGISTER, (uint32_t)o->index), ROLE_DEF, wide);
}

static int take_predicate(struct decoder *x, const struct ptx_operand *o, int role)
{
    if (o->kind == PTX_SINK && role == ROLE_DEF)
        return add_ref(x, ref_make(REF_SINK, 0), ROLE_DEF, 0);
    if (o->kind == PTX_INT && role == ROLE_USE) return add_constant(x, o->value ? ~0ull : 0, 0);
    if (o->kind != PTX_REG || register_type(x, o->index) != PTX_PRED) return 0;
    if (o->negated && x->i->kind == KIND_ALU) return 0; /* selp takes none */
    return add_ref(x, ref_make(REF_REGISTER, (uint32_t)o->index) | o->negated, role, 0);
}

/* A parameter of a device function, or of a call, is in the thread's local memory. */
static int is_of_kernel(const struct decoder *x, const struct ptx_operand *base)
{
    const struct ptx_function *f = &x->d->ptx->function[x->function];
    return f->entry && (base->kind != PTX_VARIABLE || base->index < f->first_variable + f->params);
}

static int take_address(struct decoder *x, const struct ptx_operand *o)
{
    const struct ptx_operand *base = &x->d->ptx->operand[o->index];
    if (o->kind != PTX_MEMORY) return 0;
    if (x->addresses == 0)
        x->i->imm = o->value;
    else if (x->addresses <= 2)
        x->i->offset[x->addresses - 1] = (int32_t)o->value;
    x->addresses++;
    if (x->i->space == PTX_PARAM && !is_of_kernel(x, base)) x->i->space = PTX_LOCAL;
    if (base->kind == PTX_REG) {
        if (!take_source(x, base, 0, 0)) return 0;
    } else if (!is_immediate(base) ||
               !add_constant(x, base->kind == PTX_INT ? 0 : immediate(x, base, 8, 0), 1)) {
        return 0;
    }
    for (int i = 1; i <= o->parts; i++) /* coordinates */
        if (!take_source(x, base + i, 4, 0)) return 0;
    return 1;
}

static int take_list(struct decoder *x, const struct ptx_operand *o, int role)
{
    const int single = o->kind != PTX_VECTOR;
    const struct ptx_operand *part = single ? o : &x->d->ptx->operand[o->index];
    const int parts = single ? 1 : o->parts;
    if (role == ROLE_DEF) x->i->vector = (uint8_t)parts;
    for (int i = 0; i < parts; i++) {
        const int good =
            role & ROLE_USE ? take_source(x, &part[i], 0, 0) : take_result(x, &part[i], 0);
        if (!good) return 0;
        if (role == (ROLE_USE | ROLE_DEF)) x->d->role[x->d->refs - 1] = (uint8_t)role;
    }
    return 1;
}

static int take_label(struct decoder *x, const struct ptx_operand *o)
{
    if (o->kind != PTX_LABEL) return 0;
    x->i->target = (uint32_t)o->index; /* a statement until all are decoded */
    return 1;
}

static int add_table(struct decoder *x, uint32_t value)
{
    struct code *c = x->d->code;
    if (!reserve(&c->table, &x->d->tables_room, c->tables + 1, sizeof *c->table)) return 0;
    c->table[c->tables++] = value;
    return 1;
}

/* A branch table is a statement: its targets go to the code's table after their number. */
static int take_branch_table(struct decoder *x, const struct ptx_operand *o)
{
    const struct ptx *m = x->d->ptx;
    const struct ptx_function *f = &m->function[x->function];
    if (o->kind != PTX_LABEL || (uint32_t)o->index >= f->statements) return 0;
    const struct ptx_statement *table = &m->statement[f->first_statement + (uint32_t)o->index];
    if (strcmp(table->opcode, ".branchtargets") != 0) return 0;
    x->i->extra = x->d->code->tables;
    if (!add_table(x, table->operands)) return 0;
    for (uint32_t t = 0; t < table->operands; t++)
        if (!add_table(x, (uint32_t)m->operand[table->operand + t].index)) return 0;
    return 1;
}

static int take_clock(struct decoder *x, const struct ptx_operand *o)
{
    x->i->imm = o->index;
    return o->kind == PTX_SPECIAL && o->index >= PTX_SPECIAL_STILL;
}

static int take_immediate(struct decoder *x, const struct ptx_operand *o)
{
    struct insn *i = x->i;
    if (o->kind != PTX_INT) return 0;
    if (x->immediates++ == 0)
        i->imm2 = o->value;
    else if (i->mores < sizeof i->more)
        i->more[i->mores++] = (int8_t)o->value;
    return 1;
}

/* ---- calls: the arguments' bytes move from the caller's parameters to the function's ---- */

static int add_move(struct decoder *x, int32_t from, int32_t to)
{
    const struct code_variable *place = x->d->code->place;
    return add_table(x, (uint32_t)place[from].address) &&
           add_table(x, (uint32_t)place[to].address) &&
           add_table(x, place[from].bytes < place[to].bytes ? place[from].bytes : place[to].bytes);
}

/* Table: number of moves in, number of moves out, then from, to, bytes of each. */
static int take_call_moves(struct decoder *x, const struct ptx_function *f,
                           const struct ptx_operand *results, const struct ptx_operand *arguments)
{
    const struct ptx *m = x->d->ptx;
    const int out = results ? results->parts : 0, in = arguments ? arguments->parts : 0;
    if (in + out != f->params) return 0;
    x->i->extra = x->d->code->tables;
    if (!add_table(x, (uint32_t)in) || !add_table(x, (uint32_t)out)) return 0;
    for (int k = 0; k < in; k++) {
        const struct ptx_operand *o = &m->operand[arguments->index + k];
        if (o->kind != PTX_VARIABLE || !add_move(x, o->index, f->first_variable + out + k))
            return 0;
    }
    for (int k = 0; k < out; k++) {
        const struct ptx_operand *o = &m->operand[results->index + k];
        if (o->kind != PTX_VARIABLE || !add_move(x, f->first_variable + k, o->index)) return 0;
    }
    return 1;
}

static int take_call(struct decoder *x)
{
    const struct ptx_operand *o = &x->d->ptx->operand[x->s->operand];
    const struct ptx_operand *end = o + x->s->operands;
    const struct ptx_operand *results = o->kind == PTX_VECTOR ? o++ : NULL;
    if (o == end || o->kind != PTX_FUNCTION) return 0;
    const struct ptx_function *f = &x->d->ptx->function[o->index];
    x->i->target = (uint32_t)o->index; /* a function until all are decoded */
    o++;
    x->operand = x->s->operands;
    return f->defined && take_call_moves(x, f, results, o < end ? o : NULL);
}

/* ---- rows ---- */

static int take_one(struct decoder *x, char role, const struct ptx_operand *o)
{
    switch (role) {
    case 'd': return take_result(x, o, 4);
    case 'D': return take_result(x, o, 8);
    case 'x': return take_result(x, o, 0);
    case 'a':
    case 'e':
    case 'E': return take_source(x, o, 4, 0);
    case 'A': return take_source(x, o, 8, 0);
    case 'h': return take_source(x, o, 2, 0);
    case 'y': return take_source(x, o, 0, 1);
    case 'f': return take_source(x, o, 4, 1);
    case 'F': return take_source(x, o, 8, 1);
    case 'P':
    case 'Q': return take_predicate(x, o, ROLE_DEF);
    case 'p': return take_predicate(x, o, ROLE_USE);
    case 'v': return take_list(x, o, ROLE_DEF);
    case 'w': return take_list(x, o, ROLE_USE);
    case 'g': return take_list(x, o, ROLE_USE | ROLE_DEF);
    case 'q': return o->parts == 2 && take_list(x, o, ROLE_USE);
    case 'm': return take_address(x, o);
    case 'l': return take_label(x, o);
    case 't': return take_branch_table(x, o);
    case 'c': return take_clock(x, o);
    case 'i': return take_immediate(x, o);
    case 'o': return 1;
    default: return 0;
    }
}

/* What stands for an operand that is not there. */
static int take_absent(struct decoder *x, char role)
{
    switch (role) {
    case 'Q': return add_ref(x, ref_make(REF_SINK, 0), ROLE_DEF, 0);
    case 'e': return add_constant(x, 0, 0);
    case 'E': return add_constant(x, 0xffffffffu, 0);
    case 'o': return 1;
    default: return 0;
    }
}

static int take_operands(struct decoder *x, const char *roles)
{
    const struct ptx_operand *o = &x->d->ptx->operand[x->s->operand];
    if (*roles == 'k') return take_call(x);
    for (x->operand = 0; *roles; roles++) {
        const struct ptx_operand *here = x->operand < x->s->operands ? &o[x->operand] : NULL;
        if (here && here->second != (*roles == 'Q')) here = NULL;
        if (!(here ? take_one(x, *roles, here) : take_absent(x, *roles))) return 0;
        x->operand += here != NULL;
    }
    return x->operand == x->s->operands;
}

static int tensor_type(uint8_t type)
{
    static const int8_t table[PTX_TYPE_COUNT] = {
        [PTX_F16] = TENSOR_F16 + 1,   [PTX_BF16] = TENSOR_BF16 + 1, [PTX_TF32] = TENSOR_TF32 + 1,
        [PTX_S8] = TENSOR_S8 + 1,     [PTX_U8] = TENSOR_U8 + 1,     [PTX_F32] = TENSOR_F32 + 1,
        [PTX_S32] = TENSOR_S32 + 1,   [PTX_E4M3] = TENSOR_E4M3 + 1, [PTX_E5M2] = TENSOR_E5M2 + 1,
        [PTX_E2M1] = TENSOR_E2M1 + 1,
    };
    return table[type] - 1;
}

/* A matrix instruction must be one that tensor.h has, with the registers that it has. */
static int prepare_mma(struct decoder *x, const struct opcode_match *m)
{
    struct code *c = x->d->code;
    uint32_t room = c->mmas;
    if (!reserve(&c->mma, &room, c->mmas + 1, sizeof *c->mma)) return 0;
    struct code_mma *mma = &c->mma[c->mmas];
    int type[4];
    for (int i = 0; i < 4; i++) type[i] = tensor_type(m->type[i]);
    for (int i = 1; i < 3; i++) /* in a byte of its own, unless two are in one */
        if (m->type[i] == PTX_E2M1 && x->i->field & MMA_BYTES) type[i] = TENSOR_E2M1_BYTE;
    mma->op = (struct tensor_mma){m->shape[0] + 1,           m->shape[1] + 1,
                                  m->shape[2] + 1,           (enum tensor_type)type[0],
                                  (enum tensor_type)type[1], (enum tensor_type)type[2],
                                  (enum tensor_type)type[3], (m->mods & MOD_SATFINITE) != 0};
    if (type[0] < 0 || type[1] < 0 || type[2] < 0 || type[3] < 0) return 0;
    mma->scale = (struct tensor_scale){.vector = x->i->field & MMA_SCALE_VECTOR,
                                       .e4m3 = (x->i->field & MMA_SCALE_E4M3) != 0};
    const int selectors = mma->scale.vector ? 6 : 0;
    const int known = selectors ? tensor_mma_scaled_registers(&mma->op, &mma->scale, mma->count)
                                : tensor_mma_registers(&mma->op, mma->count);
    if (known != 0) return 0;
    const int all = mma->count[0] + mma->count[1] + mma->count[2] + mma->count[3];
    x->i->extra = c->mmas++;
    return all + selectors == x->i->operands;
}

/* Immediates: scale-a, scale-b (1 or -1), then transpositions of what is in shared memory, which are
 * not supported. */
static int prepare_wgmma(struct decoder *x, const struct opcode_match *m)
{
    struct code *c = x->d->code;
    struct insn *i = x->i;
    uint32_t room = c->wgmmas;
    if (!reserve(&c->wgmma, &room, c->wgmmas + 1, sizeof *c->wgmma)) return 0;
    struct code_wgmma *w = &c->wgmma[c->wgmmas];
    const int d = tensor_type(m->type[0]), a = tensor_type(m->type[1]), b = tensor_type(m->type[2]);
    w->op = (struct tensor_wgmma){.n = m->shape[1] + 1,
                                  .k = m->shape[2] + 1,
                                  .d = (enum tensor_type)d,
                                  .a = (enum tensor_type)a,
                                  .b = (enum tensor_type)b,
                                  .negate_a = x->immediates && i->imm2 == -1,
                                  .negate_b = i->mores && i->more[0] == -1,
                                  .saturate = (m->mods & MOD_SATFINITE) != 0};
    if (d < 0 || a < 0 || b < 0 || m->shape[0] != 63 || i->more[1] || i->more[2]) return 0;
    w->results = tensor_wgmma_registers(&w->op);
    w->fragments = i->operands == w->results + 6;
    i->extra = c->wgmmas++;
    i->flags |= INSN_WGMMA;
    return w->results > 0 && (w->fragments || i->operands == w->results + 3);
}

static int prepare(struct decoder *x, const struct opcode_match *m)
{
    if (m->shape[0] == 0 && m->shape[1] == 0) return 1;
    return m->types == 3 ? prepare_wgmma(x, m) : prepare_mma(x, m);
}

static void describe(struct insn *i, const struct opcode *row, const struct opcode_match *m)
{
    *i = (struct insn){.run = row->run,
                       .alu = alu_table()[row - opcodes],
                       .guard = NO_OPERAND,
                       .mods = m->mods,
                       .kind = row->kind,
                       .flags = (uint8_t)(row->flags | (m->strict ? INSN_STRICT : 0) |
                                          (m->release ? INSN_RELEASE : 0)),
                       .class = row->class,
                       .space = m->space,
                       .vector = m->vector,
                       .round = m->round,
                       .compare = m->compare,
                       .combine = m->combine,
                       .field = row->field,
                       .row = (uint16_t)(row - opcodes)};
    memcpy(i->type, m->type, sizeof i->type);
    if (row->kind == KIND_ALU && strncmp(row->key, "mov.", 4) == 0) i->flags |= INSN_COPY;
    if (row->class == VGPU_GLOBAL && m->space == PTX_SHARED) i->class = VGPU_SHARED;
    if (row->class == VGPU_GLOBAL && m->space == PTX_PARAM) i->class = VGPU_MOVE;
}

static int try_row(struct decoder *x, const struct opcode *row)
{
    struct opcode_match match;
    struct draft *d = x->d;
    if (!opcode_matches(row, x->s->opcode, &match)) return 0;
    const uint32_t refs = d->refs, tables = d->code->tables, mmas = d->code->mmas,
                   wgmmas = d->code->wgmmas;
    x->m = &match;
    x->addresses = x->immediates = 0;
    describe(x->i, row, &match);
    if (take_operands(x, row->operands) && prepare(x, &match)) return 1;
    d->refs = refs;
    d->code->tables = tables;
    d->code->mmas = mmas;
    d->code->wgmmas = wgmmas;
    return 0;
}

static int same_base(const char *key, const char *opcode)
{
    const size_t n = strcspn(key, ".");
    return strncmp(key, opcode, n) == 0 && (opcode[n] == 0 || opcode[n] == '.');
}

static int decode_statement(struct decoder *x)
{
    for (size_t r = 0; r < opcode_count; r++) {
        if (!same_base(opcodes[r].key, x->s->opcode) || !try_row(x, &opcodes[r])) continue;
        if (x->s->guard >= 0)
            x->i->guard =
                ref_make(REF_REGISTER, (uint32_t)x->s->guard) | (uint32_t)x->s->guard_negated;
        x->i->line = x->s->line;
        x->i->source = x->s->source;
        x->i->source_line = x->s->source_line;
        return 1;
    }
    return fail(x, "unknown opcode");
}

/* ---- functions ---- */

static int add_insn(struct decoder *x)
{
    struct draft *d = x->d;
    struct code *c = d->code;
    uint32_t room = d->insns_room;
    if (!reserve(&d->first, &room, c->insns + 1, sizeof *d->first)) return fail(x, "no memory at");
    if (!reserve(&c->insn, &d->insns_room, c->insns + 1, sizeof *c->insn))
        return fail(x, "no memory at");
    d->first[c->insns] = d->refs;
    x->i = &c->insn[c->insns++];
    return decode_statement(x);
}

/* The end of a body returns, whether it says so or not. */
static int add_final_return(struct decoder *x, int line)
{
    static const struct ptx_statement ret = {.opcode = "ret", .guard = -1, .source = -1};
    struct ptx_statement s = ret;
    s.line = line;
    x->s = &s;
    return add_insn(x);
}

static void resolve_targets(struct decoder *x, uint32_t first_insn)
{
    struct code *c = x->d->code;
    for (uint32_t n = first_insn; n < c->insns; n++) {
        struct insn *i = &c->insn[n];
        if (i->field == FIELD_JUMP) i->target = x->number[i->target];
        if (i->field != FIELD_TABLE) continue;
        uint32_t *table = &c->table[i->extra];
        for (uint32_t t = 1; t <= table[0]; t++) table[t] = x->number[table[t]];
    }
}

static int decode_function(struct decoder *x)
{
    struct code *c = x->d->code;
    const struct ptx_function *f = &x->d->ptx->function[x->function];
    const uint32_t first_insn = c->insns;
    x->number = calloc(f->statements + 1, sizeof *x->number);
    int good = x->number != NULL;
    int line = f->line;
    for (uint32_t s = 0; good && s < f->statements; s++) {
        x->s = &x->d->ptx->statement[f->first_statement + s];
        line = x->s->line;
        x->number[s] = c->insns;
        if (x->s->opcode[0] != '.') good = add_insn(x);
    }
    if (good) {
        x->number[f->statements] = c->insns;
        good = add_final_return(x, line);
    }
    if (good) resolve_targets(x, first_insn);
    free(x->number);
    c->function[x->function].first = first_insn;
    c->function[x->function].count = c->insns - first_insn;
    return good;
}

static void resolve_calls(struct code *c)
{
    for (uint32_t n = 0; n < c->insns; n++)
        if (c->insn[n].field == FIELD_CALL)
            c->insn[n].target = c->function[c->insn[n].target].first;
}

int decode_all(struct draft *d)
{
    struct decoder x = {.d = d};
    for (size_t f = 0; f < d->ptx->functions; f++) {
        x.function = (int)f;
        if (d->ptx->function[f].defined && !decode_function(&x)) return 0;
    }
    resolve_calls(d->code);
    return 1;
}
