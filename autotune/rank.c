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

int rank_processors(const struct arch *a)
{
    static const struct {
        int number, processors;
    } common[] = {{75, 40},  {80, 108}, {86, 84},                /* T4, A100, A40 */
                  {89, 128}, {90, 132}, {100, 148}, {120, 170}}; /* 4090, H100, B200, 5090 */
    for (unsigned i = 0; a->kind == ARCH_SM && i < sizeof common / sizeof *common; i++)
        if (common[i].number == a->number) return common[i].processors;
    return 1;
}

int64_t rank_blocks(const struct entry_record *r, int64_t M, int64_t N, int64_t K)
{
    const int64_t split = r->split > 0 ? r->split : 1;
    int64_t blocks = 1;
    for (int i = 0; i < 3; i++) {
        const int64_t div = r->grid[i].div > 0 ? r->grid[i].div : 1;
        int64_t size = 1;
        if (r->grid[i].dim == DIM_M) size = M;
        if (r->grid[i].dim == DIM_N) size = N;
        if (r->grid[i].dim == DIM_K) size = K;
        if (r->grid[i].dim == DIM_SPLIT) size = split;
        blocks *= (size + div - 1) / div;
    }
    return blocks;
}
