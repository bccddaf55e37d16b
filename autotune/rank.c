/* rank.c -- how full a kernel can make a multiprocessor, from what its cubin says */
#include "rank.h"

enum {
    WARP = 32,
    REGISTERS_SM = 65536,
    REGISTER_UNIT = 256, /* of a warp */
    BLOCKS_MOST = 32,
    BLOCKS_SMALL =
        16, /* sm_75 and the consumer parts of sm_8x: half the threads, half the blocks */
    THREADS_SMALL = 1536,
};

static int at_most(int a, int b) { return a < b ? a : b; }

static int warps_of(const struct entry_record *r)
{
    return ((int)(r->block[0] * r->block[1] * r->block[2]) + WARP - 1) / WARP;
}

int rank_resident_blocks(const struct arch *a, const struct entry_record *r)
{
    if (a->kind != ARCH_SM) return 1;
    const int warps = warps_of(r), smem = (int)(r->smem_bytes + r->smem_static_bytes);
    if (warps < 1) return 0;
    int blocks = a->max_threads_sm <= THREADS_SMALL ? BLOCKS_SMALL : BLOCKS_MOST;
    blocks = at_most(blocks, a->max_threads_sm / (warps * WARP));
    if (smem > 0) blocks = at_most(blocks, a->smem_sm_bytes / smem);
    if (r->regs > 0) {
        const int warp_registers =
            ((int)r->regs * WARP + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT;
        blocks = at_most(blocks, REGISTERS_SM / warp_registers / warps);
    }
    return blocks;
}

double rank_occupancy(const struct arch *a, const struct entry_record *r)
{
    if (a->kind != ARCH_SM) return 1.0;
    return (double)(rank_resident_blocks(a, r) * warps_of(r) * WARP) / a->max_threads_sm;
}
