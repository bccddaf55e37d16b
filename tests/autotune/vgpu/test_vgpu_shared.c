/* test_vgpu_shared.c -- contract of autotune/vgpu/shared.h
 *
 * - outside of the memory, and misaligned: a finding, and the lane does not go on
 * - wavefronts are those of 32 banks of 4 bytes: words of 4, half-warps of 8, quarter-warps of 16
 * - a byte that nothing wrote is uninitialised; each byte by itself, and anew in each block
 * - a write and an access by another thread, unordered: a race, between warps and within one
 * - threads that touch different bytes of a word do not race
 * - a write must be behind every reader, not only the last
 * - atomics race with plain accesses, not with each other
 * - a barrier orders the warps that take part, and no others
 * - bar.warp.sync orders the lanes that take part, and no others
 * - cp.async: pending until its wait, then a write of its thread; groups in order; the rest zero
 */
#include "shared_fixture.h"

/* ---- bounds, banks, bytes ---- */

static void outside_is_told(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(one(0, 3, BYTES - 2, 4, SHARED_WRITE), 0);
    expect(VGPU_BOUNDS);
    assert_int_equal(one(0, 3, 0xfffffffc, 16, SHARED_READ), 0);
    expect(VGPU_BOUNDS);
    assert_int_equal(one(0, 3, 8, 16, SHARED_WRITE), 0);
    expect(VGPU_MISALIGNED);
    uint32_t address[LANES] = {0, BYTES, 8, 6};
    uint64_t wavefronts = 0;
    assert_int_equal(shared_access(s, 0, address, 0xf, 4, SHARED_WRITE, &wavefronts), 0x5);
    assert_int_equal(found[VGPU_BOUNDS], 1);
    assert_int_equal(found[VGPU_MISALIGNED], 1);
    begin(1);
    assert_int_equal(one(0, 31, BYTES - 16, 16, SHARED_WRITE), 1u << 31);
    shared_copy_issue(s, 0, 0, BYTES - 8, "0123456789abcdef", 16, 16);
    expect(VGPU_BOUNDS);
    shared_copy_issue(s, 0, 0, 8, "0123456789abcdef", 16, 16);
    expect(VGPU_MISALIGNED);
}

static void banks_are_counted(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(row(0, 0, 4, 4, SHARED_WRITE), 1);
    assert_int_equal(row(0, 64, 0, 4, SHARED_READ), 1); /* broadcast */
    assert_int_equal(row(0, 0, 1, 1, SHARED_WRITE), 1);
    assert_int_equal(row(0, 0, 2, 2, SHARED_WRITE), 1);
    assert_int_equal(row(0, 0, 8, 4, SHARED_WRITE), 2);
    assert_int_equal(row(0, 0, 16, 4, SHARED_WRITE), 4);
    assert_int_equal(row(0, 0, 128, 4, SHARED_WRITE), 32);
    assert_int_equal(row(0, 0, 124, 4, SHARED_WRITE), 1); /* 31 words apart: all banks */
    assert_int_equal(row(0, 0, 8, 8, SHARED_WRITE), 2);
    assert_int_equal(row(0, 0, 16, 8, SHARED_WRITE), 4);
    assert_int_equal(row(0, 0, 16, 16, SHARED_WRITE), 4);
    assert_int_equal(row(0, 0, 128, 16, SHARED_WRITE), 32);
    assert_int_equal(row(0, 0, 112, 16, SHARED_WRITE), 4); /* 8 rows of 7 units: all columns */
    uint32_t address[LANES] = {0, 128, 256, 4};
    uint64_t wavefronts = 5;
    shared_access(s, 0, address, 0xb, 4, SHARED_READ,
                  &wavefronts); /* adds; masked lanes are free */
    assert_int_equal(wavefronts, 7);
}

static void unwritten_bytes_are_told(void **state)
{
    (void)state;
    begin(1);
    wr(0, 0, 4, 2);
    rd(0, 0, 4, 2);
    rd(0, 0, 5, 1);
    expect(NOTHING);
    rd(0, 0, 4, 4);
    expect(VGPU_UNINITIALISED);
    at_(0, 0, 8, 4);
    expect(VGPU_UNINITIALISED);
    begin(1);
    rd(0, 0, 4, 2);
    expect(VGPU_UNINITIALISED);
}

/* ---- races ---- */

static void races_are_told(void **state)
{
    (void)state;
    for (int other = 0; other < 2; other++) { /* another lane; another warp */
        const int lane = other ? 0 : 7;
        begin(2);
        wr(0, 0, 64, 4);
        rd(0, 0, 64, 4);
        expect(NOTHING);
        rd(other, lane, 64, 4);
        expect(VGPU_RACE_SHARED);
        everybody(2);
        rd(other, lane, 64, 4);
        rd(0, 0, 64, 4);
        expect(NOTHING);
        wr(0, 0, 64, 4);
        expect(VGPU_RACE_SHARED);
        everybody(2);
        wr(0, 0, 64, 4);
        wr(other, lane, 64, 4);
        expect(VGPU_RACE_SHARED);
    }
}

static void a_block_starts_without_touches(void **state)
{
    (void)state;
    begin(2);
    row(0, 0, 4, 4, SHARED_WRITE);
    wr(0, 5, 201, 1);
    shared_mbarrier_init(s, 0, 0, 256, 1);
    begin(2);
    row(1, 0, 4, 4, SHARED_WRITE);
    row(1, 128, 16, 16, SHARED_WRITE);
    expect(NOTHING);
}

static void bytes_are_told_apart(void **state)
{
    (void)state;
    begin(4);
    for (int turn = 0; turn < 3; turn++) {
        row(0, 0, 1, 1, SHARED_WRITE); /* 4 lanes in a word */
        row(0, 0, 1, 1, SHARED_READ);
        row(0, 0, 1, 1, SHARED_WRITE);
        for (int w = 0; w < 4; w++) wr(w, 3, 100u + (uint32_t)w, 1); /* 4 warps in a word */
        for (int w = 0; w < 4; w++) rd(w, 3, 100u + (uint32_t)w, 1);
        expect(NOTHING);
        rd(1, 3, 100, 2);
        expect(VGPU_RACE_SHARED);
        everybody(4);
        rd(2, 9, 100, 4);
        rd(2, 9, 0, 16);
        expect(NOTHING);
        everybody(4);
    }
    wr(0, 0, 101, 1);
    rd(1, 0, 100, 1);
    expect(NOTHING);
    rd(1, 0, 100, 4);
    expect(VGPU_RACE_SHARED);
}

/* The first word whose bytes were touched apart: a whole access by the lane of the same number is still
 * noted by its bytes. */
static void apart_bytes_see_whole_reads(void **state)
{
    (void)state;
    begin(2);
    wr(0, 0, 0, 16);
    everybody(2);
    rd(0, 0, 0, 1);
    rd(0, 0, 0, 16);
    expect(NOTHING);
    wr(1, 0, 3, 1);
    expect(VGPU_RACE_SHARED);
    begin(2);
    wr(0, 0, 0, 4);
    everybody(2);
    rd(0, 0, 0, 1);
    rd(0, 0, 0, 4);
    expect(NOTHING);
    wr(1, 0, 3, 1);
    expect(VGPU_RACE_SHARED);
}

static void every_reader_counts(void **state)
{
    (void)state;
    for (int reader = 0; reader < 4; reader++) {
        begin(5);
        wr(4, 0, 16, 4);
        everybody(5);
        for (int w = 0; w < 4; w++) rd(w, w, 16, 4);
        shared_barrier(s, 0x1fu & ~(1u << reader)); /* all but one are behind */
        expect(NOTHING);
        wr(4, 0, 16, 4);
        expect(VGPU_RACE_SHARED);
    }
    begin(5); /* as above with lanes */
    row(0, 0, 4, 4, SHARED_WRITE);
    shared_warp_sync(s, 0, 0xffffffffu);
    row(0, 16, 0, 4, SHARED_READ);
    shared_warp_sync(s, 0, 0x7fffffffu);
    expect(NOTHING);
    wr(0, 2, 16, 4);
    expect(VGPU_RACE_SHARED);
}

static void atomics_agree(void **state)
{
    (void)state;
    begin(3);
    wr(0, 0, 8, 4);
    everybody(3);
    for (int w = 0; w < 3; w++) row(w, 8, 0, 4, SHARED_ATOMIC);
    row(0, 8, 0, 4, SHARED_ATOMIC);
    expect(NOTHING);
    rd(1, 0, 8, 4);
    expect(VGPU_RACE_SHARED);
    everybody(3);
    rd(1, 0, 8, 4);
    expect(NOTHING);
    at_(2, 0, 8, 4);
    expect(VGPU_RACE_SHARED);
    everybody(3);
    at_(2, 0, 8, 4);
    wr(0, 0, 8, 4);
    expect(VGPU_RACE_SHARED);
    at_(2, 0, 8, 4);
    expect(VGPU_RACE_SHARED);
}

/* ---- barriers ---- */

static void a_barrier_orders_its_warps(void **state)
{
    (void)state;
    begin(4);
    wr(0, 0, 0, 4);
    wr(1, 0, 4, 4);
    wr(2, 0, 8, 4);
    shared_barrier(s, 0x3);
    rd(0, 1, 4, 4);
    rd(1, 1, 0, 4);
    expect(NOTHING);
    rd(2, 1, 0, 4);
    expect(VGPU_RACE_SHARED);
    shared_barrier(s, 0x6); /* warp 2 learns of warp 0 through warp 1 */
    rd(2, 2, 0, 4);
    expect(NOTHING);
    rd(0, 2, 8, 4);
    expect(VGPU_RACE_SHARED);
    rd(3, 0, 0, 4);
    expect(VGPU_RACE_SHARED);
}

static void an_exit_is_an_arrival(void **state)
{
    (void)state;
    begin(3);
    wr(2, 0, 0, 4);
    shared_exit(s, 2, 0xffffffffu);
    shared_barrier(s, 0x3);
    wr(0, 0, 0, 4);
    shared_exit(s, 0, 0xffff0000u);
    shared_warp_sync(s, 0, 0x0000ffffu);
    wr(0, 1, 0, 4);
    expect(NOTHING);
}

static void a_warp_sync_orders_its_lanes(void **state)
{
    (void)state;
    begin(2);
    row(0, 0, 4, 4, SHARED_WRITE);
    shared_warp_sync(s, 0, 0x0000ffffu);
    rd(0, 0, 60, 4);
    rd(0, 15, 0, 4);
    expect(NOTHING);
    rd(0, 0, 64, 4);
    expect(VGPU_RACE_SHARED);
    shared_warp_sync(s, 0, 0xffffffffu);
    rd(0, 0, 64, 4);
    expect(NOTHING);
    shared_warp_sync(s, 0, 0xffffffffu);
    rd(1, 0, 64, 4);
    expect(VGPU_RACE_SHARED);
}

/* ---- cp.async ---- */

static void copies_land_at_their_wait(void **state)
{
    (void)state;
    begin(2);
    shared_copy_issue(s, 0, 4, 32, text16, 16, 16);
    shared_copy_commit(s, 0, 0x10);
    shared_copy_issue(s, 0, 4, 48, text16, 5, 16);
    shared_copy_commit(s, 0, 0x10);
    shared_copy_issue(s, 0, 4, 64, NULL, 0, 4);
    expect(NOTHING);
    rd(0, 4, 32, 4);
    expect(VGPU_PENDING);
    wr(1, 4, 60, 4);
    expect(VGPU_PENDING);
    shared_copy_wait(s, 0, 0x10, 2);
    shared_copy_wait(s, 0, 0x20, 0); /* another lane's */
    rd(0, 4, 32, 4);
    expect(VGPU_PENDING);
    shared_copy_wait(s, 0, 0x10, 1);
    rd(0, 4, 32, 16);
    assert_memory_equal(shared_bytes(s) + 32, text16, 16);
    expect(NOTHING);
    rd(0, 4, 48, 4);
    expect(VGPU_PENDING);
    shared_copy_wait(s, 0, 0x10, 0);
    rd(0, 4, 48, 16);
    expect(NOTHING);
    assert_memory_equal(shared_bytes(s) + 48, "01234\0\0\0\0\0\0\0\0\0\0\0", 16);
    rd(0, 4, 64, 4);
    expect(VGPU_PENDING);
    shared_copy_wait(s, 0, 0x10, ALL);
    rd(0, 4, 64, 4);
    expect(NOTHING);
    rd(0, 5, 64, 4);
    expect(VGPU_RACE_SHARED);
    shared_warp_sync(s, 0, 0xffffffffu);
    rd(0, 5, 64, 4);
    expect(NOTHING);
    rd(1, 5, 64, 4);
    expect(VGPU_RACE_SHARED);
    everybody(2);
    rd(1, 5, 64, 4);
    expect(NOTHING);
}

static void a_copy_is_a_write(void **state)
{
    (void)state;
    begin(2);
    wr(0, 0, 0, 16);
    shared_copy_issue(s, 0, 1, 0, text16, 16, 16);
    expect(VGPU_RACE_SHARED);
    begin(2);
    wr(0, 0, 0, 16);
    everybody(2);
    rd(1, 0, 12, 4);
    shared_copy_issue(s, 0, 1, 0, text16, 16, 16);
    expect(VGPU_RACE_SHARED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outside_is_told),
        cmocka_unit_test(banks_are_counted),
        cmocka_unit_test(unwritten_bytes_are_told),
        cmocka_unit_test(races_are_told),
        cmocka_unit_test(a_block_starts_without_touches),
        cmocka_unit_test(bytes_are_told_apart),
        cmocka_unit_test(apart_bytes_see_whole_reads),
        cmocka_unit_test(every_reader_counts),
        cmocka_unit_test(atomics_agree),
        cmocka_unit_test(a_barrier_orders_its_warps),
        cmocka_unit_test(an_exit_is_an_arrival),
        cmocka_unit_test(a_warp_sync_orders_its_lanes),
        cmocka_unit_test(copies_land_at_their_wait),
        cmocka_unit_test(a_copy_is_a_write),
    };
    return cmocka_run_group_tests(tests, open_block, close_block);
}
