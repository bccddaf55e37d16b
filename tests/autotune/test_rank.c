/* test_rank.c -- contract of rank.h
 *
 * - blocks of a launch are the product of the grid's dims, each rounded up
 * - resident blocks are bounded by threads, by registers, by shared memory, whichever is least
 * - an x86 kernel has the core to itself
 */
#include "rank.h"

#include <string.h>

#include "helpers.h"

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

static void blocks_are_counted(void **state)
{
    (void)state;
    struct entry_record r = kernel(128, 32, 0);
    r.grid[0] = (struct entry_grid){DIM_N, 64};
    r.grid[1] = (struct entry_grid){DIM_M, 16};
    r.grid[2] = (struct entry_grid){DIM_SPLIT, 1};
    r.split = 3;
    assert_int_equal(rank_blocks(&r, 17, 100, 4096), 2 * 2 * 3);
    r.grid[2] = (struct entry_grid){DIM_ONE, 1};
    assert_int_equal(rank_blocks(&r, 16, 64, 4096), 1);
    r.grid[1] = (struct entry_grid){DIM_K, 1024};
    assert_int_equal(rank_blocks(&r, 16, 64, 4097), 5);
}

static void residence_is_bounded(void **state)
{
    (void)state;
    const struct arch *a100 = arch_find("sm_80");
    struct entry_record r = kernel(256, 32, 0); /* 2048 threads of a multiprocessor / 256 */
    assert_int_equal(rank_resident_blocks(a100, &r), 8);
    assert_true(rank_occupancy(a100, &r) == 1.0);
    r = kernel(256, 128, 0); /* 65536 registers / (128 * 256) */
    assert_int_equal(rank_resident_blocks(a100, &r), 2);
    r = kernel(256, 32, 60 * 1024); /* 164 KiB / 60 KiB */
    assert_int_equal(rank_resident_blocks(a100, &r), 2);
    r = kernel(32, 16, 0); /* 32 blocks at most */
    assert_int_equal(rank_resident_blocks(a100, &r), 32);
    assert_true(rank_occupancy(a100, &r) == 0.5);
    r = kernel(1024, 255, 0);
    assert_int_equal(rank_resident_blocks(a100, &r), 0);
}

static void x86_is_alone(void **state)
{
    (void)state;
    const struct entry_record r = kernel(0, 0, 0);
    const struct arch *a = arch_find("x86-64-v3");
    assert_true(rank_occupancy(a, &r) == 1.0);
    assert_int_equal(rank_processors(a), 1);
    assert_int_equal(rank_processors(arch_find("sm_80")), 108);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_counted),
        cmocka_unit_test(residence_is_bounded),
        cmocka_unit_test(x86_is_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
