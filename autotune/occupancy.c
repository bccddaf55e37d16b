/* occupancy.c -- how many blocks of a kernel a multiprocessor holds, and how many a launch has */
#include "occupancy.h"

enum {
    WARP = 32,
    BLOCK_THREADS = 1024, /* at most */
    PARTS = 4,            /* of a multiprocessor: a scheduler and a quarter of the registers */
    REGISTERS = 65536,
    REGISTER_UNIT = 256, /* of a warp */
    RESERVED_SMEM = 1024,
};

/* Resident blocks at most: cuda_occupancy.h of CUDA 13.0, cudaOccMaxBlocksPerMultiprocessor. */
static int most_blocks(const struct arch *a)
{
    static const struct {
        int number, blocks;
    } table[] = {{75, 16}, {80, 32}, {86, 16}, {89, 24}, {90, 32}, {100, 32}, {120, 24}};
    int blocks = 16; /* of an arch that is not in the table: the least */
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].number == a->number) blocks = table[i].blocks;
    return blocks;
}

static int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

static int warps_of(const struct entry_record *r)
{
    return (int)((r->block[0] * r->block[1] * r->block[2] + WARP - 1) / WARP);
}

static int blocks_by_registers(const struct entry_record *r, int warps)
{
    if (r->regs == 0) return REGISTERS;
    const int64_t of_warp = round_up((int64_t)r->regs * WARP, REGISTER_UNIT);
    if (of_warp * round_up(warps, PARTS) > REGISTERS) return 0; /* what a launch checks */
    return (int)(REGISTERS / PARTS / of_warp * PARTS / warps);
}

/* The cubin's static bytes have the reserved ones in them from sm_90 on (gen/cubin.h). */
static int64_t smem_of(const struct arch *a, const struct entry_record *r)
{
    const int counted = a->number >= 90 && r->smem_static_bytes >= RESERVED_SMEM;
    const int64_t reserved = a->number >= 80 && !counted ? RESERVED_SMEM : 0;
    return round_up((int64_t)r->smem_bytes + r->smem_static_bytes + reserved,
                    a->number >= 80 ? 128 : 256);
}

static int blocks_by_smem(const struct arch *a, const struct entry_record *r)
{
    const int64_t smem = smem_of(a, r);
    return smem > 0 ? (int)(a->smem_sm_bytes / smem) : a->max_threads_sm;
}

void occupancy_of(const struct arch *a, const struct entry_record *r, struct occupancy *out)
{
    const int warps = warps_of(r), most_warps = a->max_threads_sm / WARP;
    *out = (struct occupancy){.blocks = 1, .warps = 1, .share = 1.0};
    if (a->kind != ARCH_SM) return;
    *out = (struct occupancy){.limit = OCCUPANCY_THREADS};
    if (warps < 1 || warps > BLOCK_THREADS / WARP) return;
    const int by[OCCUPANCY_LIMITS] = {
        [OCCUPANCY_BLOCKS] = most_blocks(a),
        [OCCUPANCY_THREADS] = most_warps / warps,
        [OCCUPANCY_REGISTERS] = blocks_by_registers(r, warps),
        [OCCUPANCY_SHARED] = blocks_by_smem(a, r),
    };
    out->limit = OCCUPANCY_BLOCKS;
    for (int i = 0; i < OCCUPANCY_LIMITS; i++)
        if (by[i] < by[out->limit]) out->limit = (enum occupancy_limit)i;
    out->blocks = by[out->limit];
    out->warps = out->blocks * warps;
    out->share = (double)out->warps / most_warps;
}

const char *occupancy_limit_name(enum occupancy_limit limit)
{
    static const char *const names[OCCUPANCY_LIMITS] = {"blocks", "threads", "registers",
                                                        "shared memory"};
    return limit < OCCUPANCY_LIMITS ? names[limit] : "?";
}

int occupancy_processors(const struct arch *a)
{
    static const struct {
        int number, processors;
    } common[] = {{75, 40},  {80, 108}, {86, 84},                /* T4, A100, A40 */
                  {89, 128}, {90, 132}, {100, 148}, {120, 170}}; /* 4090, H100, B200, 5090 */
    for (unsigned i = 0; a->kind == ARCH_SM && i < sizeof common / sizeof *common; i++)
        if (common[i].number == a->number) return common[i].processors;
    return 1;
}

int64_t occupancy_grid(const struct entry_record *r, int64_t M, int64_t N, int64_t K, int split)
{
    const int64_t sizes[DIM_COUNT] = {
        [DIM_ONE] = 1,
        [DIM_M] = M,
        [DIM_N] = N,
        [DIM_K] = K,
        [DIM_HEADS] = 1,
        [DIM_KV_HEADS] = 1,
        [DIM_SPLIT] = split > 0 ? split : 1,
    };
    int64_t blocks = 1;
    for (int i = 0; i < 3; i++) {
        const int64_t div = r->grid[i].div > 0 ? r->grid[i].div : 1;
        const int64_t size = r->grid[i].dim < DIM_COUNT ? sizes[r->grid[i].dim] : 1;
        blocks *= (size + div - 1) / div;
    }
    return blocks;
}
