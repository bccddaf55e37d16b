/* test_occupancy.c -- contract of occupancy.h
 *
 * - blocks of a launch are the product of the grid's dims, each rounded up
 * - resident blocks are bounded by the arch, by threads, by registers, by shared memory, whichever
 *   is least, and the limit is named
 * - registers are a warp's, in units, in a quarter of the multiprocessor
 * - shared memory of a block has 1 KiB more from sm_80 on, once
 * - for every arch, and kernels of all sizes, the answer is that of CUDA's own calculator
 * - an x86 kernel has the core to itself
 */
#include "occupancy.h"

#include <stdio.h>
#include <string.h>

#include "helpers.h"

#if __has_include(<cuda_occupancy.h>)
#include <cuda_occupancy.h>
#define HAS_CALCULATOR 1
#else
#define HAS_CALCULATOR 0
#endif

static struct entry_record kernel(uint32_t threads, uint32_t regs, uint32_t smem)
{
    struct entry_record r;
    memset(&r, 0, sizeof r);
    r.block[0] = threads;
    r.block[1] = r.block[2] = 1;
    r.regs = regs;
    r.smem_bytes = smem;
    return r;
}

static struct occupancy occupancy(const char *arch, uint32_t threads, uint32_t regs, uint32_t smem)
{
    const struct entry_record r = kernel(threads, regs, smem);
    struct occupancy o;
    occupancy_of(arch_find(arch), &r, &o);
    return o;
}

static void blocks_are_counted(void **state)
{
    (void)state;
    struct entry_record r = kernel(128, 32, 0);
    r.grid[0] = (struct entry_grid){DIM_N, 64};
    r.grid[1] = (struct entry_grid){DIM_M, 16};
    r.grid[2] = (struct entry_grid){DIM_SPLIT, 1};
    assert_int_equal(occupancy_grid(&r, 17, 100, 4096, 3), 2 * 2 * 3);
    assert_int_equal(occupancy_grid(&r, 17, 100, 4096, 0), 2 * 2);
    r.grid[2] = (struct entry_grid){DIM_ONE, 1};
    assert_int_equal(occupancy_grid(&r, 16, 64, 4096, 3), 1);
    r.grid[1] = (struct entry_grid){DIM_K, 1024};
    assert_int_equal(occupancy_grid(&r, 16, 64, 4097, 1), 5);
}

static void residence_is_bounded(void **state)
{
    (void)state;
    struct occupancy o = occupancy("sm_80", 256, 32, 0); /* 2048 threads / 256 */
    assert_int_equal(o.blocks, 8);
    assert_int_equal(o.warps, 64);
    assert_true(o.share == 1.0);
    assert_int_equal(o.limit, OCCUPANCY_THREADS);
    o = occupancy("sm_80", 256, 128, 0); /* 65536 registers / (128 * 256) */
    assert_int_equal(o.blocks, 2);
    assert_int_equal(o.limit, OCCUPANCY_REGISTERS);
    o = occupancy("sm_80", 256, 32, 60 * 1024); /* 164 KiB / 61 KiB */
    assert_int_equal(o.blocks, 2);
    assert_int_equal(o.limit, OCCUPANCY_SHARED);
    o = occupancy("sm_80", 32, 16, 0);
    assert_int_equal(o.blocks, 32);
    assert_true(o.share == 0.5);
    assert_int_equal(o.limit, OCCUPANCY_BLOCKS);
    assert_int_equal(occupancy("sm_80", 1024, 255, 0).blocks, 0);
    assert_int_equal(occupancy("sm_89", 32, 16, 0).blocks, 24);
    assert_int_equal(occupancy("sm_86", 32, 16, 0).blocks, 16);
}

static void registers_are_a_warps(void **state)
{
    (void)state;
    /* 49 registers are 1568 of a warp, given as 1792: 9 in a quarter of 16384, 36 in all. */
    assert_int_equal(occupancy("sm_80", 128, 49, 0).blocks, 9);
    /* A warp of 216 registers gets 6912: 2 fit a quarter, 8 in all, though 9 times 6912 is less than
     * 65536: blocks of 3 warps are 2, not 3. */
    assert_int_equal(occupancy("sm_80", 96, 216, 0).blocks, 2);
    /* 12 warps of 168: 3 in each quarter. */
    assert_int_equal(occupancy("sm_90a", 384, 168, 0).blocks, 1);
}

static void a_block_takes_a_kibibyte_more(void **state)
{
    (void)state;
    assert_int_equal(occupancy("sm_90", 128, 32, 113 * 1024).blocks, 2); /* 228 / 114 */
    assert_int_equal(occupancy("sm_90", 128, 32, 113 * 1024 + 1).blocks, 1);
    assert_int_equal(occupancy("sm_75", 128, 32, 32 * 1024).blocks, 2); /* 64 / 32 */
    struct entry_record r = kernel(128, 32, 113 * 1024);
    struct occupancy o;
    r.smem_static_bytes = 1024; /* the reserved one, as the cubin says it from sm_90 on */
    occupancy_of(arch_find("sm_90"), &r, &o);
    assert_int_equal(o.blocks, 2);
    r = kernel(128, 32, 48 * 1024);
    r.smem_static_bytes = 1024; /* before, it is the kernel's own: 50 of 100 KiB */
    occupancy_of(arch_find("sm_89"), &r, &o);
    assert_int_equal(o.blocks, 2);
    r.smem_static_bytes = 2048;
    occupancy_of(arch_find("sm_89"), &r, &o);
    assert_int_equal(o.blocks, 1);
}

#if HAS_CALCULATOR
static struct cudaOccDeviceProp properties_of(const struct arch *a)
{
    return (struct cudaOccDeviceProp){
        .computeMajor = a->number / 10,
        .computeMinor = a->number % 10,
        .maxThreadsPerBlock = 1024,
        .maxThreadsPerMultiprocessor = a->max_threads_sm,
        .regsPerBlock = 65536,
        .regsPerMultiprocessor = 65536,
        .warpSize = 32,
        .sharedMemPerBlock = 48 * 1024,
        .sharedMemPerMultiprocessor = (size_t)a->smem_sm_bytes,
        .numSms = 1,
        .sharedMemPerBlockOptin = (size_t)a->smem_bytes,
        .reservedSharedMemPerBlock = a->number >= 80 ? 1024 : 0,
    };
}

static int calculated(const struct arch *a, int threads, int regs, int smem)
{
    const struct cudaOccDeviceProp properties = properties_of(a);
    const struct cudaOccFuncAttributes attributes = {
        .maxThreadsPerBlock = 1024,
        .numRegs = regs,
        .shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN,
        .maxDynamicSharedSizeBytes = (size_t)a->smem_bytes,
        .numBlockBarriers = 1,
    };
    const struct cudaOccDeviceState carveout = {.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED};
    cudaOccResult result = {.activeBlocksPerMultiprocessor = 0};
    assert_int_equal(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &attributes,
                                                             &carveout, threads, (size_t)smem),
                     CUDA_OCC_SUCCESS);
    return result.activeBlocksPerMultiprocessor;
}
#endif

static void cudas_calculator_agrees(void **state)
{
    (void)state;
#if HAS_CALCULATOR
    for (const struct arch *a = arch_table(); a->name[0]; a++)
        for (int warps = 1; a->kind == ARCH_SM && warps <= 32; warps++)
            for (int regs = 16; regs <= 255; regs += 7)
                for (int smem = 0; smem <= a->smem_bytes; smem += 3000) {
                    const struct occupancy o =
                        occupancy(a->name, (uint32_t)warps * 32, (uint32_t)regs, (uint32_t)smem);
                    if (o.blocks != calculated(a, warps * 32, regs, smem))
                        fail_msg("%s: %d warps, %d registers, %d bytes: %d blocks, CUDA says %d",
                                 a->name, warps, regs, smem, o.blocks,
                                 calculated(a, warps * 32, regs, smem));
                }
#else
    print_message("skipped: cuda_occupancy.h is not installed\n");
    skip();
#endif
}

static void x86_is_alone(void **state)
{
    (void)state;
    assert_true(occupancy("x86-64-v3", 0, 0, 0).share == 1.0);
    assert_int_equal(occupancy_processors(arch_find("x86-64-v3")), 1);
    assert_int_equal(occupancy_processors(arch_find("sm_80")), 108);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_counted),      cmocka_unit_test(residence_is_bounded),
        cmocka_unit_test(registers_are_a_warps),   cmocka_unit_test(a_block_takes_a_kibibyte_more),
        cmocka_unit_test(cudas_calculator_agrees), cmocka_unit_test(x86_is_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
