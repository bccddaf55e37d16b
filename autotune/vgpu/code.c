/* code.c -- from text to code: parse, place variables, decode, follow, allocate */
#include "code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft.h"

enum { DYNAMIC_ALIGN = 16 };

static uint32_t align_up(uint32_t at, uint32_t align)
{
    return align > 1 ? (at + align - 1) / align * align : at;
}

static uint32_t place_at(struct code_variable *place, const struct ptx_variable *v, uint32_t at)
{
    at = align_up(at, v->align);
    *place = (struct code_variable){at, v->bytes};
    return at + v->bytes;
}

/* ---- shared memory: what all functions see, what device functions have, what the kernel has ---- */

static uint32_t place_shared_of(struct code *c, int function, uint32_t at)
{
    for (size_t i = 0; i < c->ptx.variables; i++) {
        const struct ptx_variable *v = &c->ptx.variable[i];
        if (v->space == PTX_SHARED && v->function == function && !v->dynamic)
            at = place_at(&c->place[i], v, at);
    }
    return at;
}

static void place_shared(struct code *c)
{
    uint32_t at = place_shared_of(c, -1, 0);
    for (size_t f = 0; f < c->ptx.functions; f++)
        if (!c->ptx.function[f].entry) at = place_shared_of(c, (int)f, at);
    for (size_t f = 0; f < c->ptx.functions; f++)
        c->function[f].shared_bytes =
            c->ptx.function[f].entry ? place_shared_of(c, (int)f, at) : at;
    uint32_t align = DYNAMIC_ALIGN;
    for (size_t i = 0; i < c->ptx.variables; i++)
        if (c->ptx.variable[i].dynamic && c->ptx.variable[i].align > align)
            align = c->ptx.variable[i].align;
    for (size_t f = 0; f < c->ptx.functions; f++)
        c->function[f].dynamic_at = align_up(c->function[f].shared_bytes, align);
}

/* ---- parameters of kernels; everything else in .param and .local is of the thread ---- */

static int is_kernel_parameter(const struct ptx *m, const struct ptx_variable *v, size_t index)
{
    if (v->space != PTX_PARAM || v->function < 0) return 0;
    const struct ptx_function *f = &m->function[v->function];
    return f->entry && index < (size_t)(f->first_variable + f->params);
}

static void place_thread(struct code *c)
{
    for (size_t i = 0; i < c->ptx.variables; i++) {
        const struct ptx_variable *v = &c->ptx.variable[i];
        if (is_kernel_parameter(&c->ptx, v, i)) {
            uint32_t *bytes = &c->function[v->function].param_bytes;
            *bytes = place_at(&c->place[i], v, *bytes);
        } else if (v->space == PTX_PARAM || v->space == PTX_LOCAL) {
            c->local_bytes = place_at(&c->place[i], v, c->local_bytes);
        }
    }
    c->local_bytes = align_up(c->local_bytes, 16);
}

static int place_global(struct code *c, char error[PTX_ERROR_BYTES])
{
    for (size_t i = 0; i < c->ptx.variables; i++) {
        const struct ptx_variable *v = &c->ptx.variable[i];
        if (v->space != PTX_GLOBAL && v->space != PTX_CONST) continue;
        c->place[i] = (struct code_variable){c->global ? c->global(c->user, v) : 0, v->bytes};
        if (c->global && c->place[i].address == 0) {
            snprintf(error, PTX_ERROR_BYTES, "no memory for %u bytes of '%s'", v->bytes, v->name);
            return 0;
        }
    }
    return 1;
}

/* ---- the whole ---- */

static int out_of_memory(char error[PTX_ERROR_BYTES])
{
    snprintf(error, PTX_ERROR_BYTES, "no memory");
    return 0;
}

static void describe_functions(struct code *c)
{
    for (size_t i = 0; i < c->ptx.functions; i++) {
        const struct ptx_function *f = &c->ptx.function[i];
        struct code_function *to = &c->function[i];
        to->name = f->name;
        to->entry = f->entry;
        to->source = f;
        to->max_threads = (int)(f->max_threads[0] * f->max_threads[1] * f->max_threads[2]);
        if (f->exact_threads) memcpy(to->block, f->max_threads, sizeof to->block);
    }
}

static int build(struct code *c, char error[PTX_ERROR_BYTES])
{
    struct draft d = {.code = c, .ptx = &c->ptx, .error = error};
    int good = decode_all(&d);
    if (good && (!flow_follow(&d) || !watch_wgmma(&d) || !allocate_all(&d)))
        good = out_of_memory(error);
    free(d.watched);
    free(d.first);
    free(d.ref);
    free(d.role);
    free(d.constant);
    return good;
}

int code_make(struct code *code, const char *text,
              uint64_t (*global)(void *user, const struct ptx_variable *v), void *user,
              char error[PTX_ERROR_BYTES])
{
    *code = (struct code){.global = global, .user = user};
    if (!ptx_parse(text, &code->ptx, error)) return 0;
    code->function = calloc(code->ptx.functions + 1, sizeof *code->function);
    code->place = calloc(code->ptx.variables + 1, sizeof *code->place);
    int good = code->function && code->place;
    if (!good) out_of_memory(error);
    if (good) {
        describe_functions(code);
        place_shared(code);
        place_thread(code);
        good = place_global(code, error) && build(code, error);
    }
    if (!good) code_free(code);
    return good;
}

void code_free(struct code *code)
{
    ptx_free(&code->ptx);
    free(code->insn);
    free(code->operand);
    free(code->function);
    free(code->place);
    free(code->constants);
    free(code->check);
    free(code->mma);
    free(code->wgmma);
    free(code->watch);
    free(code->table);
    *code = (struct code){0};
}

const char *code_source(const struct code *code, const struct insn *i)
{
    return i->source >= 0 && (size_t)i->source < code->ptx.files ? code->ptx.file[i->source] : NULL;
}
