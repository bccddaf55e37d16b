/* op_cluster.c -- clusters (of one block), registers of warps, hints */
#include "interpret.h"
#include "op_handlers.h"

enum { REGISTERS = 65536, FEWEST = 24, MOST = 256, STEP = 8 };

/* ---- barrier.cluster: all warps of the block; arriving and waiting are apart ---- */

void op_cluster_arrive(struct warp *w, const struct insn *i, uint32_t mask)
{
    struct block *b = w->block;
    (void)mask;
    interpret_place(w, i);
    b->cluster_arrived |= 1u << w->index;
    w->cluster_phase = b->cluster_phase;
    b->progress++;
    barrier_cluster_check(b);
}

void op_cluster_wait(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)mask;
    interpret_place(w, i);
    if (w->cluster_phase == w->block->cluster_phase) w->state = WARP_AT_CLUSTER;
}

/* When all living warps have arrived the phase ends. */
void barrier_cluster_check(struct block *b)
{
    uint32_t living = 0;
    for (int k = 0; k < b->warps; k++) living |= (uint32_t)(b->warp[k].state != WARP_DONE) << k;
    if (b->cluster_arrived == 0 || (living & ~b->cluster_arrived) != 0) return;
    shared_barrier(b->shared, b->cluster_arrived);
    b->cluster_arrived = 0;
    b->cluster_phase++;
    b->progress++;
    b->counts.barriers++;
    for (int k = 0; k < b->warps; k++)
        if (b->warp[k].state == WARP_AT_CLUSTER) b->warp[k].state = WARP_READY;
}

/* The address of a variable in another block of the cluster: there is only this one. */
void op_mapa(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *rank = operand_at(w, i->o[2]);
    const int wide = i->wide & 1;
    EACH_LANE(l, mask)
    {
        if (rank[l] != 0) {
            interpret_place(w, i);
            FAULT(w, VGPU_ILLEGAL, (int)l, "block %u of a cluster; only clusters of one are run",
                  rank[l]);
        }
        if (wide)
            ((uint64_t *)operand_at(w, i->o[0]))[l] = ((const uint64_t *)operand_at(w, i->o[1]))[l];
        else
            ((uint32_t *)operand_at(w, i->o[0]))[l] = ((const uint32_t *)operand_at(w, i->o[1]))[l];
    }
}

/* ---- setmaxnreg: all warps that have said so must fit the multiprocessor ---- */

void op_setmaxnreg(struct warp *w, const struct insn *i, uint32_t mask)
{
    struct block *b = w->block;
    uint64_t sum = 0;
    interpret_place(w, i);
    if (i->imm2 < FEWEST || i->imm2 > MOST || i->imm2 % STEP)
        FAULT(w, VGPU_ILLEGAL, (int)first_lane(mask),
              "setmaxnreg %lld: not a multiple of %d in %d .. %d", (long long)i->imm2, STEP, FEWEST,
              MOST);
    w->registers = (uint32_t)i->imm2;
    for (int k = 0; k < b->warps; k++) sum += (uint64_t)b->warp[k].registers * LANES;
    if (sum > REGISTERS)
        FAULT(w, VGPU_ILLEGAL, (int)first_lane(mask),
              "setmaxnreg: %llu registers in all, the multiprocessor has %d",
              (unsigned long long)sum, REGISTERS);
}

/* A policy changes no result. */
void op_createpolicy(struct warp *w, const struct insn *i, uint32_t mask)
{
    static const uint64_t zero[LANES];
    blend64(operand_at(w, i->o[0]), zero, mask);
}
