/* hopper.cuh -- sm_90a: barriers in shared memory, bulk copies, warpgroup matrix operands
 *
 * A barrier (mbarrier) is 8 bytes of shared memory.  A phase of it ends when as many threads have
 * arrived as it was made for and all bytes that it expects have landed; then the next one begins,
 * of the other parity.  Waiting for parity p returns when the phase of parity p has ended: on a
 * new barrier phase 0 is under way, so that waiting for parity 1 returns at once.
 *
 * Two proxies see shared memory: loads and stores of threads (generic), and the copy engine and
 * wgmma (async).  A barrier orders both, except that bytes stored by threads need
 * qk_proxy_fence() before wgmma may read them.
 *
 * wgmma runs beside its threads.  Until qk_wgmma_wait() its registers belong to it; qk_pin() keeps
 * the compiler, which does not know that, from moving their use across. */
#ifndef HOPPER_CUH
#define HOPPER_CUH

#include "mma_weight.cuh"

constexpr int QK_WARPGROUP = 128;

/* ---- barriers ---- */

QK void qk_barrier_init(u32 at, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(at), "r"(arrivals) : "memory");
}

/* Between the making of barriers and their use by the copy engine. */
QK void qk_barrier_init_fence()
{
    asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
}

QK void qk_barrier_arrive(u32 at)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(at) : "memory");
}

/* Arrive, and expect `bytes` more. */
QK void qk_barrier_expect(u32 at, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :
                 : "r"(at), "r"(bytes)
                 : "memory");
}

QK bool qk_barrier_test(u32 at, u32 parity)
{
    u32 ended;
    asm volatile("{ .reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p; }"
                 : "=r"(ended)
                 : "r"(at), "r"(parity)
                 : "memory");
    return ended;
}

QK void qk_barrier_wait(u32 at, u32 parity)
{
    while (!qk_barrier_test(at, parity)) continue;
}

/* All threads of the first `count` warps-worth of threads that name barrier `id`. */
QK void qk_named_barrier(int id, int count)
{
    asm volatile("bar.sync %0, %1;" : : "r"(id), "r"(count) : "memory");
}

/* A place in a ring of SIZE slots, and the parity of its barriers' phase. */
template <int SIZE> struct qk_ring {
    int slot = 0;
    u32 parity = 0;
    __device__ __forceinline__ qk_ring next() const
    {
        qk_ring r;
        r.slot = slot + 1 < SIZE ? slot + 1 : 0;
        r.parity = parity ^ (slot + 1 < SIZE ? 0u : 1u);
        return r;
    }
};

/* ---- copies ---- */

/* `bytes` bytes, a multiple of 16, as are both addresses; the barrier counts them. */
QK void qk_bulk_copy(u32 to, const void *from, int bytes, u32 barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];"
                 :
                 : "r"(to), "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

/* The box of `map` that begins at (column, row); what is outside of the map becomes zero. */
QK void qk_bulk_box(u32 to, const qk_map *map, int column, int row, u32 barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];"
                 :
                 : "r"(to), "l"(map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}

/* Whether the host could make it. */
QK bool qk_is_map(const qk_map &map)
{
    u64 any = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) any |= map.word[i];
    return any != 0;
}

/* This thread's stores are seen by wgmma of whoever is ordered behind it. */
QK void qk_proxy_fence()
{
    asm volatile("fence.proxy.async.shared::cta;" : : : "memory");
}

QK void qk_shared_store(u32 at, u16 v) { qk_shared_store2(at, v); }
QK void qk_shared_store(u32 at, float v)
{
    asm volatile("st.shared.f32 [%0], %1;" : : "r"(at), "f"(v) : "memory");
}
QK void qk_shared_store(u32 at, u8 v)
{
    asm volatile("st.shared.u8 [%0], %1;" : : "r"(at), "r"((u32)v) : "memory");
}
QK void qk_shared_store(u32 at, signed char v) { qk_shared_store(at, (u8)v); }

QK void qk_shared_store_pair(u32 at, const float *v)
{
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" : : "r"(at), "f"(v[0]), "f"(v[1]) : "memory");
}
QK void qk_shared_store_pair(u32 at, const int *v)
{
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" : : "r"(at), "r"(v[0]), "r"(v[1]) : "memory");
}
QK void qk_shared_load_pair(float *v, u32 at)
{
    const uint2 w = qk_shared_load8(at);
    v[0] = __uint_as_float(w.x), v[1] = __uint_as_float(w.y);
}
QK void qk_shared_load_pair(int *v, u32 at)
{
    const uint2 w = qk_shared_load8(at);
    v[0] = (int)w.x, v[1] = (int)w.y;
}

/* v as a T, within its range. */
template <class T> QK void qk_shared_put(u32 at, float v)
{
    qk_shared_store(at, T::put(T::clamp(v)));
}

/* ---- warpgroups ---- */

/* Registers of each thread of this warpgroup from here on. */
template <int COUNT> QK void qk_registers_less()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" : : "n"(COUNT));
}

template <int COUNT> QK void qk_registers_more()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" : : "n"(COUNT));
}

/* Rows of 128 bytes from `at`, a multiple of 1024 (and a step within the first row), whose 16-byte
 * pieces are permuted as qk_swizzle() does: eight rows are 1024 bytes. */
QK u64 qk_wgmma_rows(u32 at)
{
    constexpr u64 SWIZZLE_128 = 1ull << 62, EIGHT_ROWS = (u64)(1024 >> 4) << 32, UNUSED = 1 << 16;
    return SWIZZLE_128 | EIGHT_ROWS | UNUSED | (at & 0x3ffff) >> 4;
}

/* Before a wgmma whose registers other instructions have touched. */
QK void qk_wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
}

QK void qk_wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
}

/* All but the last PENDING commits have ended. */
template <int PENDING> QK void qk_wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(PENDING) : "memory");
}

QK void qk_pin(u32 &v)
{
    asm volatile("" : "+r"(v) : : "memory");
}

QK void qk_pin(int &v)
{
    asm volatile("" : "+r"(v) : : "memory");
}

QK void qk_pin(float &v)
{
    asm volatile("" : "+f"(v) : : "memory");
}

#endif
