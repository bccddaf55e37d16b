/* model_kernels.c -- kernels as the cost model sees them, written down from their structure */
#include "model_kernels.h"

#include <string.h>

enum { CHUNK = 64, WARP = 32, GROUP = 128, F16 = 2, WAVEFRONT = 128 };

double model_bytes_per_weight(double bits)
{
    return bits / 8 + (bits < 16 ? (double)F16 / GROUP : 0);
}

static struct model_kernel kernel(int rows, int columns, int warps, int split, double bits)
{
    struct model_kernel k;
    memset(&k, 0, sizeof k);
    k.bytes_per_weight = model_bytes_per_weight(bits);
    k.record.desc.op = OP_LINEAR;
    k.record.desc.act = k.record.desc.out = ELEM_F16;
    k.record.split = split;
    k.record.grid[0] = (struct entry_grid){DIM_N, (uint32_t)columns};
    k.record.grid[1] = (struct entry_grid){DIM_M, (uint32_t)rows};
    k.record.grid[2] = (struct entry_grid){DIM_SPLIT, 1};
    k.record.block[0] = (uint32_t)warps * WARP;
    k.record.block[1] = k.record.block[2] = 1;
    k.profile.rows = rows;
    k.profile.columns = columns;
    k.profile.threads = warps * WARP;
    k.profile.split = split;
    return k;
}

static void resources(struct model_kernel *k, int regs, int stages, double stage_bytes)
{
    k->record.regs = (uint32_t)regs;
    k->record.smem_bytes = (uint32_t)(stages * stage_bytes);
    k->profile.regs = regs;
    k->profile.smem_bytes = k->record.smem_bytes;
}

/* gemv.cu.in: 60 slots a warp and chunk for x and the loop, 58 a tile. */
struct model_kernel model_gemv(int rows, int tiles, int warps, int stages, double bits)
{
    struct model_kernel k = kernel(rows, 16 * tiles, warps, 0, bits);
    const double w = 16 * tiles * CHUNK * k.bytes_per_weight, x = rows * CHUNK * F16;
    const int eights = (rows + 7) / 8;
    k.profile.step = (struct profile_counts){
        .issue = 52 + 8 * eights + (50 + 8 * eights) * tiles,
        .tensor_ops = 16 * tiles * 8 * eights * CHUNK,
        .wavefronts = (2 * w + 2 * x) / WAVEFRONT,
        .load_bytes = w + x,
    };
    k.profile.once = (struct profile_counts){
        .issue = 300 * warps,
        .wavefronts = 16 * tiles * rows * 4 * 2 * warps / WAVEFRONT,
        .store_bytes = 16 * tiles * rows * F16,
        .barriers = 1,
    };
    k.profile.stages = warps * (stages - 1);
    resources(&k, 56 + (4 + 4 * eights) * tiles, warps * stages, w + x);
    return k;
}

/* gemm.cu.in: of 311 slots a warp for 64 mma, 128 are the mma and their scaling, 144 unpack W. */
struct model_kernel model_gemm(int bm, int bn, int warps, int stages, int split, double bits)
{
    struct model_kernel k = kernel(bm, bn, warps, split, bits);
    const int widest = bn / (bm > 16 ? 32 : 16);       /* warps that W has room for */
    const int along = widest < warps ? widest : warps; /* warps along W; the others along x */
    const double mma = (double)bn / 16 * bm / 8 * CHUNK / 16, across = (double)warps / along;
    const double w = bn * CHUNK * k.bytes_per_weight, x = bm * CHUNK * F16;
    k.profile.step = (struct profile_counts){
        .issue = mma * (bits < 16 ? 2 : 1) + across * bn / 16 * 72 * (bits < 16) + warps * 39,
        .tensor_ops = (double)bm * bn * CHUNK,
        .wavefronts = (w * (1 + across) + x * (1 + along)) / WAVEFRONT,
        .load_bytes = w + x,
        .barriers = 1,
    };
    k.profile.once = (struct profile_counts){
        .issue = 400 * warps + mma,
        .store_bytes = bm * bn * (split > 1 ? 4 : F16),
        .barriers = 2,
    };
    k.profile.stages = stages - 1;
    resources(&k, 60 + (int)(4 * (double)bm / 8 * bn / 16 / warps), stages, w + x);
    return k;
}

/* gemm_sm90.cu.in: a warp takes 122 slots a chunk, with 128 rows; W is unpacked once. */
struct model_kernel model_wgmma(int bm, int consumers, int stages, int split, double bits)
{
    const int bn = 64 * consumers, warps = 4 * (consumers + 1);
    struct model_kernel k = kernel(bm, bn, warps, split, bits);
    const double w = bn * CHUNK * k.bytes_per_weight, x = bm * CHUNK * F16;
    k.profile.step = (struct profile_counts){
        .issue = 4 * consumers * (85 + bm / 4.0) + 10,
        .tensor_ops = (double)bm * bn * CHUNK,
        .wavefronts = (2 * w + x * (1 + consumers)) / WAVEFRONT,
        .load_bytes = w + x,
    };
    k.profile.once = (struct profile_counts){
        .issue = 600 * warps,
        .store_bytes = bm * bn * (split > 1 ? 4 : F16),
        .barriers = 4,
    };
    k.profile.stages = 2 * (stages - 1);
    k.record.map.rows = (uint32_t)bm;
    k.record.map.bytes = 128;
    resources(&k, 168, stages, 2 * (w + x));
    return k;
}

struct model_kernel model_bytes(int bm, int bn, int bk, int warps, int stages, int warpgroup,
                                enum elem_type act)
{
    struct model_kernel k = kernel(bm, bn, warps, 1, 8);
    const int is_warpgroup = warpgroup && bm >= 64;
    const int down = bm / 16 < warps ? bm / 16 : warps; /* warps along x; the others along W */
    const double across = (double)warps / down, outputs = (double)bm * bn;
    const double w = bn * CHUNK, x = bm * CHUNK;
    const double reads = is_warpgroup ? x + w * bm / 64 : x * across + w * down;
    const double mma = is_warpgroup ? 4.0 * warps : outputs / 128 * CHUNK / 32;
    const double promotion = outputs / WARP * 2 * CHUNK / 128;
    k.profile.step = (struct profile_counts){
        .issue = mma + promotion + (is_warpgroup ? 0 : reads / WAVEFRONT / 4) + (x + w) / 512 +
                 30.0 * warps * CHUNK / bk,
        .tensor_ops = outputs * CHUNK,
        .wavefronts = (reads + x + w) / WAVEFRONT,
        .load_bytes = w + x,
        .barriers = (double)CHUNK / bk,
    };
    k.profile.once = (struct profile_counts){
        .issue = 200 * warps + outputs / WARP * 2,
        .store_bytes = outputs * F16,
        .barriers = 2,
    };
    k.profile.stages = (stages - 1) * bk / CHUNK;
    k.record.desc.act = (uint8_t)act;
    k.record.map.rows = is_warpgroup ? (uint32_t)bm : 0;
    k.bytes_per_weight = 1;
    resources(&k, 40 + (int)(2 * outputs / (warps * WARP)), stages, (bm + bn) * bk);
    return k;
}
