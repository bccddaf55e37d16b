/* test_vgpu_async.c -- contract of autotune/vgpu/shared.h: mbarriers, bulk copies, wgmma, proxies
 *
 * - an mbarrier releases and acquires; a lane that has not waited has not acquired
 * - misuse of an mbarrier is told: no init, init twice, overwritten, counts and bytes beyond
 * - an mbarrier's init must be behind those who use it, and fenced for bulk copies
 * - a bulk load is pending until a test of its barrier, then behind those who acquired
 * - a phase that ends while copies are under way is told; bytes may come before they are expected
 * - cp.async with an mbarrier arrive: lands when a test needs it, with and without noinc
 * - the async proxy needs the writer's fence.proxy.async
 * - what a bulk store reads stays until its wait
 * - what wgmma reads stays until its wait, and until who overwrites it knows of the wait
 * - without checks: bytes, bounds and barriers only
 */
#include "shared_fixture.h"

/* ---- mbarriers ---- */

enum { FULL = 1024, EMPTY = 1032 };

/* Thread 0 makes the two barriers, the block sees them. */
static void barriers(int warps, uint32_t full, uint32_t empty)
{
    begin(warps);
    shared_mbarrier_init(s, 0, 0, FULL, full);
    shared_mbarrier_init(s, 0, 0, EMPTY, empty);
    shared_mbarrier_init_fence(s, 0, 1);
    everybody(warps);
    expect(NOTHING);
}

static void arrive(int warp, int lane, uint32_t at)
{
    shared_mbarrier_arrive(s, warp, lane, at, 1, 0);
}

static int test(int warp, int lane, uint32_t at, uint32_t parity)
{
    return shared_mbarrier_test(s, warp, lane, at, parity);
}

static void phases_release_and_acquire(void **state)
{
    (void)state;
    barriers(3, 2, 1);
    wr(0, 0, 0, 4);
    arrive(0, 0, FULL);
    assert_int_equal(test(2, 0, FULL, 1), 1); /* the phase before the first */
    assert_int_equal(test(2, 0, FULL, 0), 0);
    wr(0, 0, 4, 4); /* after the arrival: not released */
    wr(1, 3, 8, 4);
    arrive(1, 3, FULL);
    assert_int_equal(test(2, 0, FULL, 0), 1);
    assert_int_equal(test(2, 0, FULL, 1), 0);
    rd(2, 0, 0, 4);
    rd(2, 0, 8, 4);
    expect(NOTHING);
    rd(2, 0, 4, 4);
    expect(VGPU_RACE_SHARED);
    rd(2, 1, 0, 4); /* this lane has not waited */
    expect(VGPU_RACE_SHARED);
    shared_warp_sync(s, 2, 0xffffffffu);
    rd(2, 1, 0, 4);
    expect(NOTHING);
}

static void a_lane_releases_what_it_knows(void **state)
{
    (void)state;
    barriers(2, 1, 1);
    row(0, 0, 4, 4, SHARED_WRITE);
    arrive(0, 0, FULL); /* for itself alone */
    for (int l = 0; l < LANES; l++) assert_int_equal(test(1, l, FULL, 0), 1);
    row(1, 0, 0, 4, SHARED_READ);
    expect(NOTHING);
    rd(1, 0, 4, 4);
    expect(VGPU_RACE_SHARED);
    barriers(2, 1, 1);
    row(0, 0, 4, 4, SHARED_WRITE);
    shared_warp_sync(s, 0, 0xffffffffu);
    row(0, 128, 4, 4, SHARED_WRITE);
    arrive(0, 0, FULL); /* for all, up to the sync */
    for (int l = 0; l < LANES; l++) assert_int_equal(test(1, l, FULL, 0), 1);
    row(1, 0, 4, 4, SHARED_READ);
    rd(1, 0, 128, 4);
    expect(NOTHING);
    rd(1, 0, 132, 4);
    expect(VGPU_RACE_SHARED);
}

static void an_mbarrier_is_a_barrier_for_lanes_too(void **state)
{
    (void)state;
    barriers(2, 64, 1);
    row(0, 0, 4, 4, SHARED_WRITE);
    row(1, 128, 4, 4, SHARED_WRITE);
    for (int t = 0; t < 64; t++) arrive(t / 32, t % 32, FULL);
    for (int t = 0; t < 64; t++) assert_int_equal(test(t / 32, t % 32, FULL, 0), 1);
    rd(0, 0, 4, 4);
    rd(0, 9, 128, 4);
    rd(1, 5, 128 + 124, 4);
    expect(NOTHING);
}

static void states_name_phases(void **state)
{
    (void)state;
    barriers(1, 1, 1);
    const uint64_t first = shared_mbarrier_arrive(s, 0, 0, FULL, 1, 0);
    assert_int_equal(shared_mbarrier_test_state(s, 0, 0, FULL, first), 1);
    const uint64_t second = shared_mbarrier_arrive(s, 0, 0, FULL, 1, 16);
    assert_int_equal(shared_mbarrier_test_state(s, 0, 0, FULL, second), 0);
    assert_int_equal(shared_can_progress(s), 0);
    expect(NOTHING);
}

static void misuse_is_told(void **state)
{
    (void)state;
    begin(1);
    arrive(0, 0, FULL);
    expect(VGPU_BARRIER);
    assert_int_equal(test(0, 0, FULL, 0), 1);
    expect(VGPU_BARRIER);
    shared_mbarrier_init(s, 0, 0, FULL, 0);
    expect(VGPU_BARRIER);
    shared_mbarrier_init(s, 0, 0, FULL, 1 << 20);
    expect(VGPU_BARRIER);
    shared_mbarrier_init(s, 0, 0, FULL + 4, 1);
    expect(VGPU_MISALIGNED);
    shared_mbarrier_init(s, 0, 0, BYTES, 1);
    expect(VGPU_BOUNDS);
    shared_mbarrier_init(s, 0, 0, FULL, 2);
    expect(NOTHING);
    shared_mbarrier_init(s, 0, 0, FULL, 2);
    expect(VGPU_BARRIER);
    shared_mbarrier_arrive(s, 0, 0, FULL, 3, 0);
    expect(VGPU_BARRIER);
    shared_mbarrier_expect(s, 0, 0, FULL, 1 << 20);
    expect(VGPU_BARRIER);
    wr(0, 0, FULL + 4, 4);
    expect(VGPU_BARRIER);
    shared_copy_issue(s, 0, 0, FULL, text16, 16, 16);
    expect(VGPU_BARRIER);
    begin(1);
    shared_mbarrier_init(s, 0, 0, FULL, 1);
    shared_mbarrier_invalidate(s, 0, 0, FULL);
    wr(0, 0, FULL, 8);
    shared_mbarrier_init(s, 0, 0, FULL, 2);
    expect(NOTHING);
    shared_mbarrier_invalidate(s, 0, 0, FULL);
    arrive(0, 0, FULL);
    expect(VGPU_BARRIER);
}

static void an_init_must_be_seen(void **state)
{
    (void)state;
    begin(2);
    shared_mbarrier_init(s, 0, 0, FULL, 4);
    arrive(0, 0, FULL);
    expect(NOTHING);
    arrive(1, 0, FULL);
    expect(VGPU_RACE_SHARED);
    arrive(0, 1, FULL);
    expect(VGPU_RACE_SHARED);
    everybody(2);
    arrive(1, 0, FULL);
    expect(NOTHING);
}

/* ---- bulk loads ---- */

static void load(int warp, int lane, uint32_t to, uint32_t bytes, uint32_t at)
{
    struct shared_piece piece[64];
    uint32_t count = 0;
    for (uint32_t i = 0; i < bytes; i += 16)
        piece[count++] = (struct shared_piece){to + i, 16, i ? text16 : NULL};
    shared_bulk_load(s, warp, lane, piece, count, bytes, at);
}

static void loads_land_at_a_test(void **state)
{
    (void)state;
    barriers(3, 1, 1);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 64);
    assert_int_equal(shared_can_progress(s), 0);
    load(0, 0, 0, 32, FULL);
    assert_int_equal(shared_can_progress(s), 0);
    assert_int_equal(test(1, 0, FULL, 0), 0); /* half of the bytes */
    load(0, 0, 32, 32, FULL);
    assert_int_equal(shared_can_progress(s), 1);
    expect(NOTHING);
    rd(1, 0, 16, 4);
    expect(VGPU_PENDING);
    wr(1, 0, 16, 4);
    expect(VGPU_PENDING);
    assert_int_equal(test(1, 0, FULL, 0), 1);
    rd(1, 0, 16, 16);
    assert_memory_equal(shared_bytes(s) + 16, text16, 16);
    assert_memory_equal(shared_bytes(s), "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    expect(NOTHING);
    rd(2, 0, 16, 16);
    expect(VGPU_RACE_SHARED);
    rd(1, 1, 16, 16);
    expect(VGPU_RACE_SHARED);
    load(0, 0, BYTES - 16, 32, FULL);
    expect(VGPU_BOUNDS);
}

static void a_load_is_a_write(void **state)
{
    (void)state;
    barriers(3, 1, 1);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 16);
    load(0, 0, 0, 16, FULL);
    assert_int_equal(test(1, 0, FULL, 0), 1);
    rd(1, 0, 0, 16);
    expect(NOTHING);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 16);
    load(0, 0, 0, 16, FULL); /* nobody said that it is empty */
    expect(VGPU_RACE_SHARED);
    assert_int_equal(test(1, 0, FULL, 1), 1);
    rd(1, 0, 0, 16);
    arrive(1, 0, EMPTY);
    assert_int_equal(test(0, 0, EMPTY, 0), 1);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 16);
    load(0, 0, 0, 16, FULL);
    expect(NOTHING);
}

static void bytes_and_phases_agree(void **state)
{
    (void)state;
    barriers(2, 1, 1); /* fewer expected than issued */
    load(0, 0, 0, 16, FULL);
    load(0, 0, 16, 16, FULL);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 16);
    assert_int_equal(test(1, 0, FULL, 0), 1);
    expect(VGPU_BARRIER);
    barriers(2, 1, 1); /* issued before they are expected */
    load(0, 0, 0, 32, FULL);
    assert_int_equal(test(1, 0, FULL, 0), 0);
    shared_mbarrier_expect(s, 0, 0, FULL, 16);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 0);
    assert_int_equal(test(1, 0, FULL, 0), 0);
    shared_mbarrier_expect(s, 0, 0, FULL, 16);
    assert_int_equal(test(1, 0, FULL, 0), 1);
    rd(1, 0, 0, 16);
    expect(NOTHING);
}

static void an_init_must_be_fenced(void **state)
{
    (void)state;
    for (int fence = 0; fence < 4; fence++) { /* none, by another lane, either of the two */
        begin(2);
        shared_mbarrier_init(s, 0, 0, FULL, 1);
        if (fence == 1) shared_proxy_fence(s, 0, 2);
        if (fence == 2) shared_proxy_fence(s, 0, 1);
        if (fence == 3) shared_mbarrier_init_fence(s, 0, 1);
        everybody(2);
        load(1, 0, 0, 16, FULL);
        expect(fence < 2 ? VGPU_FENCE : NOTHING);
    }
}

static void copies_arrive(void **state)
{
    (void)state;
    for (int noinc = 0; noinc < 2; noinc++) {
        barriers(2, 2, 1);
        for (int l = 0; l < 2; l++) {
            shared_copy_issue(s, 0, l, 16 * (uint32_t)l, text16, 16, 16);
            shared_copy_arrive(s, 0, l, FULL, noinc);
            shared_copy_issue(s, 0, l, 32 + 16 * (uint32_t)l, text16, 16, 16);
        }
        if (!noinc) {
            assert_int_equal(test(1, 0, FULL, 0), 0);
            arrive(0, 0, FULL);
            arrive(0, 1, FULL);
        }
        assert_int_equal(shared_can_progress(s), 1);
        rd(1, 0, 0, 4);
        expect(VGPU_PENDING);
        assert_int_equal(test(1, 0, FULL, 0), 1);
        rd(1, 0, 0, 16);
        rd(1, 0, 16, 16);
        assert_memory_equal(shared_bytes(s) + 16, text16, 16);
        expect(NOTHING);
        rd(1, 0, 32, 4); /* issued after the arrive */
        expect(VGPU_PENDING);
        rd(1, 1, 0, 4);
        expect(VGPU_RACE_SHARED);
        barriers(2, 1, 1); /* its thread's wait lands it first */
        shared_copy_issue(s, 0, 0, 0, text16, 16, 16);
        shared_copy_arrive(s, 0, 0, FULL, 1);
        shared_copy_wait(s, 0, 1, ALL);
        assert_int_equal(test(1, 0, FULL, 0), 1);
        rd(1, 0, 0, 16);
        expect(NOTHING);
    }
}

/* ---- proxies ---- */

static void the_writer_fences(void **state)
{
    (void)state;
    for (int fence = 0; fence < 5; fence++) { /* none, before, after, others', after the barrier */
        barriers(2, 1, 1);
        if (fence == 1) shared_proxy_fence(s, 0, 2);
        wr(0, 1, 0, 16);
        if (fence == 2) shared_proxy_fence(s, 0, 2);
        if (fence == 3) shared_proxy_fence(s, 1, 0xffffffffu);
        everybody(2);
        if (fence == 4) shared_proxy_fence(s, 0, 2);
        const int fault = fence == 2 ? NOTHING : VGPU_FENCE;
        assert_int_equal(shared_bulk_store(s, 1, 0, 0, 16), 1);
        expect(fault);
        shared_wgmma_read(s, 1, 0, 16);
        expect(fault);
        shared_wgmma_commit(s, 1);
        shared_wgmma_wait(s, 1, 0);
        shared_bulk_commit(s, 1, 0);
        shared_bulk_wait(s, 1, 0, 0);
        load(1, 0, 0, 16, FULL);
        expect(fault);
    }
    barriers(2, 1, 1); /* cp.async is generic: its thread fences after its wait */
    shared_copy_issue(s, 0, 0, 0, text16, 16, 16);
    shared_copy_wait(s, 0, 1, ALL);
    shared_proxy_fence(s, 0, 1);
    shared_copy_issue(s, 0, 0, 16, text16, 16, 16);
    shared_proxy_fence(s, 0, 1);
    shared_copy_wait(s, 0, 1, ALL);
    everybody(2);
    shared_wgmma_read(s, 1, 0, 16);
    expect(NOTHING);
    shared_wgmma_read(s, 1, 16, 16);
    expect(VGPU_FENCE);
    rd(1, 0, 0, 16); /* generic after generic needs none */
    expect(NOTHING);
}

static void stores_read_until_their_wait(void **state)
{
    (void)state;
    begin(2);
    row(0, 0, 16, 16, SHARED_WRITE);
    shared_proxy_fence(s, 0, 0xffffffffu);
    everybody(2);
    assert_int_equal(shared_bulk_store(s, 1, 0, BYTES - 16, 32), 0);
    expect(VGPU_BOUNDS);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(shared_bulk_store(s, 1, 0, 64 * i, 64), 1);
        shared_bulk_commit(s, 1, 0);
    }
    rd(0, 0, 0, 4);
    expect(NOTHING);
    wr(0, 1, 16, 4);
    expect(VGPU_PENDING);
    everybody(2);
    shared_bulk_wait(s, 1, 0, 1);
    wr(0, 5, 80, 4);
    expect(VGPU_PENDING);
    wr(0, 0, 48, 4);
    expect(VGPU_RACE_SHARED);
    everybody(2);
    wr(0, 0, 0, 4);
    expect(NOTHING);
}

static void wgmma_reads_until_its_wait(void **state)
{
    (void)state;
    barriers(5, 1, 1);
    for (uint32_t i = 0; i < 2; i++) {
        shared_mbarrier_arrive(s, 4, 0, FULL, 1, 256);
        load(4, 0, 256 * i, 256, FULL);
        for (int t = 0; t < 129; t++) assert_int_equal(test(t / 32, t % 32, FULL, i), 1);
        for (int w = 0; w < 4; w++) {
            shared_wgmma_read(s, w, 256 * i, 256);
            shared_wgmma_commit(s, w);
        }
    }
    expect(NOTHING);
    load(4, 0, 0, 256, FULL);
    expect(VGPU_PENDING);
    barriers(5, 1, 1);
    for (uint32_t i = 0; i < 2; i++) {
        shared_mbarrier_arrive(s, 4, 0, FULL, 1, 256);
        load(4, 0, 256 * i, 256, FULL);
        for (int t = 0; t < 129; t++) assert_int_equal(test(t / 32, t % 32, FULL, i), 1);
        for (int w = 0; w < 4; w++) {
            shared_wgmma_read(s, w, 256 * i, 256);
            shared_wgmma_commit(s, w);
        }
    }
    shared_wgmma_wait(s, 0, 1);
    arrive(0, 0, EMPTY); /* one warp speaks for the warpgroup */
    expect(NOTHING);
    wr(4, 0, 16, 16); /* has not heard */
    expect(VGPU_RACE_SHARED);
    assert_int_equal(test(4, 0, EMPTY, 0), 1);
    load(4, 0, 128, 128, FULL);
    expect(NOTHING);
    load(4, 0, 256, 128, FULL); /* the second group is under way */
    expect(VGPU_PENDING);
}

static void a_pipeline_runs_clean(void **state)
{
    (void)state;
    enum { STAGES = 3, WARPS = 5, STAGE = 512 };
    begin(WARPS);
    for (uint32_t i = 0; i < STAGES; i++) {
        shared_mbarrier_init(s, 0, 0, FULL + 512 + 16 * i, 1);
        shared_mbarrier_init(s, 0, 0, FULL + 520 + 16 * i, 4);
    }
    shared_proxy_fence(s, 0, 1);
    everybody(WARPS);
    for (uint32_t k = 0; k < 20; k++) {
        const uint32_t i = k % STAGES, parity = k / STAGES & 1, full = FULL + 512 + 16 * i;
        assert_int_equal(test(4, 0, full + 8, parity ^ 1), 1);
        shared_mbarrier_arrive(s, 4, 0, full, 1, STAGE);
        load(4, 0, i * STAGE, STAGE, full);
        for (int w = 0; w < 4; w++) {
            for (int l = 0; l < LANES; l++) assert_int_equal(test(w, l, full, parity), 1);
            row(w, i * STAGE, 16, 16, SHARED_READ);
            shared_warp_sync(s, w, 0xffffffffu);
            arrive(w, 0, full + 8);
        }
        expect(NOTHING);
    }
}

static void without_checks_there_are_bytes(void **state)
{
    (void)state;
    struct shared *checking = s;
    s = shared_open(0);
    assert_non_null(s);
    begin(2);
    rd(0, 0, 0, 4);
    wr(1, 0, 0, 4);
    wr(0, 0, 0, 4);
    expect(NOTHING);
    wr(0, 0, BYTES, 4);
    expect(VGPU_BOUNDS);
    shared_copy_issue(s, 0, 0, 0, text16, 16, 16);
    shared_copy_wait(s, 0, 1, ALL);
    assert_memory_equal(shared_bytes(s), text16, 16);
    shared_mbarrier_init(s, 0, 0, FULL, 1);
    shared_mbarrier_arrive(s, 0, 0, FULL, 1, 32);
    load(0, 0, 32, 32, FULL);
    assert_int_equal(test(1, 0, FULL, 0), 1);
    assert_memory_equal(shared_bytes(s) + 48, text16, 16);
    expect(NOTHING);
    shared_close(s);
    s = checking;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases_release_and_acquire),
        cmocka_unit_test(a_lane_releases_what_it_knows),
        cmocka_unit_test(an_mbarrier_is_a_barrier_for_lanes_too),
        cmocka_unit_test(states_name_phases),
        cmocka_unit_test(misuse_is_told),
        cmocka_unit_test(an_init_must_be_seen),
        cmocka_unit_test(loads_land_at_a_test),
        cmocka_unit_test(a_load_is_a_write),
        cmocka_unit_test(bytes_and_phases_agree),
        cmocka_unit_test(an_init_must_be_fenced),
        cmocka_unit_test(copies_arrive),
        cmocka_unit_test(the_writer_fences),
        cmocka_unit_test(stores_read_until_their_wait),
        cmocka_unit_test(wgmma_reads_until_its_wait),
        cmocka_unit_test(a_pipeline_runs_clean),
        cmocka_unit_test(without_checks_there_are_bytes),
    };
    return cmocka_run_group_tests(tests, open_block, close_block);
}
