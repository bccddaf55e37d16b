/* op_memory.c -- loads and stores */
#include "access.h"
#include "interpret.h"
#include "op_handlers.h"

/* Element `part` of the lanes' bytes into a result; a narrow one is widened as its type says. */
static void take_part(struct access *a, uint32_t part, uint32_t size, uint32_t mask)
{
    const enum ptx_type type = (enum ptx_type)a->i->type[0];
    void *to = operand_at(a->w, a->i->o[part]);
    const int wide = part < 16 && a->i->wide >> part & 1, is_signed = ptx_type_signed(type);
    EACH_LANE(l, mask)
    {
        const uint8_t *from = a->host[l] + part * size;
        uint64_t value = 0;
        memcpy(&value, from, size);
        if (is_signed && size < 8 && value >> (8 * size - 1)) value |= ~0ull << 8 * size;
        if (wide)
            ((uint64_t *)to)[l] = value;
        else
            ((uint32_t *)to)[l] = (uint32_t)value;
    }
}

static void take_words(struct access *a, uint32_t part, uint32_t mask)
{
    uint32_t *to = operand_at(a->w, a->i->o[part]);
    if (mask == FULL_MASK)
        for (int l = 0; l < LANES; l++) memcpy(&to[l], a->host[l] + 4 * part, 4);
    else
        EACH_LANE(l, mask) memcpy(&to[l], a->host[l] + 4 * part, 4);
}

/* Lanes that failed get zeros, so that they go on the same way every time. */
static void zero_lanes(struct access *a, uint32_t parts, uint32_t mask)
{
    for (uint32_t part = 0; part < parts; part++) {
        const int wide = part < 16 && a->i->wide >> part & 1;
        uint8_t *to = operand_at(a->w, a->i->o[part]);
        EACH_LANE(l, mask) memset(to + l * (wide ? 8 : 4), 0, wide ? 8 : 4);
    }
}

/* The same place of the parameters for all lanes. */
static int load_param(struct warp *w, const struct insn *i, uint32_t mask)
{
    const struct launch *launch = w->block->launch;
    const uint32_t size = ptx_type_bytes((enum ptx_type)i->type[0]), parts = i->vector;
    const uint32_t address = i->o[parts];
    if (i->space != PTX_PARAM || !(address & OPERAND_CONSTANT) || mask != FULL_MASK) return 0;
    const uint64_t at = *(const uint64_t *)operand_at(w, address) + (uint64_t)i->imm;
    if (size < 4 || at % (size * parts) || at + size * parts > launch->function->param_bytes)
        return 0;
    for (uint32_t part = 0; part < parts; part++) {
        const int wide = part < 16 && i->wide >> part & 1;
        uint64_t value = 0;
        void *to = operand_at(w, i->o[part]);
        if (wide != (size == 8)) return 0;
        memcpy(&value, launch->params + at + part * size, size);
        for (int l = 0; l < LANES; l++)
            if (wide)
                ((uint64_t *)to)[l] = value;
            else
                ((uint32_t *)to)[l] = (uint32_t)value;
    }
    return 1;
}

void op_load(struct warp *w, const struct insn *i, uint32_t mask)
{
    if (load_param(w, i, mask)) return;
    const uint32_t parts = i->vector, size = ptx_type_bytes((enum ptx_type)i->type[0]);
    struct access a = {.w = w,
                       .i = i,
                       .bytes = parts * size,
                       .kind = SHARED_READ,
                       .strict = i->flags & INSN_STRICT};
    interpret_place(w, i);
    access_addresses(&a, parts, i->imm);
    const uint32_t good = access_resolve(&a, (enum ptx_space)i->space, mask);
    for (uint32_t part = 0; part < parts; part++) {
        if (size == 4 && !(part < 16 && i->wide >> part & 1))
            take_words(&a, part, good);
        else
            take_part(&a, part, size, good);
    }
    if (good != mask) zero_lanes(&a, parts, mask & ~good);
}

static void give_part(const struct access *a, uint32_t part, uint32_t size, uint32_t mask)
{
    const uint32_t operand = part + 1;
    const uint8_t *from = operand_at(a->w, a->i->o[operand]);
    const uint32_t lane = operand < 16 && a->i->wide >> operand & 1 ? 8 : 4;
    EACH_LANE(l, mask) memcpy(a->host[l] + part * size, from + l * lane, size);
}

void op_store(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t parts = i->vector, size = ptx_type_bytes((enum ptx_type)i->type[0]);
    struct access a = {.w = w,
                       .i = i,
                       .bytes = parts * size,
                       .kind = SHARED_WRITE,
                       .strict = i->flags & INSN_STRICT};
    interpret_place(w, i);
    access_addresses(&a, 0, i->imm);
    const uint32_t good = access_resolve(&a, (enum ptx_space)i->space, mask);
    for (uint32_t part = 0; part < parts; part++) give_part(&a, part, size, good);
}
