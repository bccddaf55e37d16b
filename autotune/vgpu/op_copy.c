/* op_copy.c -- cp.async: copies of a thread from global to shared memory */
#include "access.h"
#include "interpret.h"
#include "op_handlers.h"

/* have[l] of i->imm bytes are read, the rest becomes zero. */
static void copy(struct warp *w, const struct insn *i, const uint32_t have[LANES], uint32_t mask)
{
    struct block *b = w->block;
    const uint32_t size = (uint32_t)i->imm2;
    struct access from = {.w = w, .i = i, .bytes = size, .kind = SHARED_READ};
    struct access to = {.w = w, .i = i};
    uint32_t reads = 0, whole = 0;
    interpret_place(w, i);
    access_addresses(&to, 0, i->imm);
    access_addresses(&from, 1, i->offset[0]);
    EACH_LANE(l, mask)
    {
        reads |= (uint32_t)(have[l] != 0) << l;
        whole |= (uint32_t)(have[l] >= size) << l;
    }
    uint32_t good = access_resolve(&from, PTX_GLOBAL, reads & whole);
    EACH_LANE(l, reads & ~whole) /* of a part, only that part is read */
    {
        from.bytes = have[l];
        good |= access_resolve(&from, PTX_GLOBAL, 1u << l);
    }
    EACH_LANE(l, mask)
    {
        const int reading = good >> l & 1;
        shared_copy_issue(b->shared, w->index, (int)l, (uint32_t)to.address[l],
                          reading ? from.host[l] : NULL, reading ? have[l] : 0, size);
        b->counts.async_bytes += size;
    }
}

void op_copy(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *source = operand_at(w, i->o[2]), size = (uint32_t)i->imm2;
    uint32_t have[LANES];
    for (int l = 0; l < LANES; l++) have[l] = source[l] < size ? source[l] : size;
    copy(w, i, have, mask);
}

void op_copy_unless(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t ignore = predicate_at(w, i->o[2]);
    uint32_t have[LANES];
    for (int l = 0; l < LANES; l++) have[l] = ignore >> l & 1 ? 0 : (uint32_t)i->imm2;
    copy(w, i, have, mask);
}

void op_copy_commit(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    shared_copy_commit(w->block->shared, w->index, mask);
}

void op_copy_wait(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    shared_copy_wait(w->block->shared, w->index, mask, (int)i->imm2);
}

void op_copy_wait_all(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    shared_copy_wait(w->block->shared, w->index, mask, -1);
}
