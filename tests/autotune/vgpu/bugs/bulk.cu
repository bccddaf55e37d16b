// bulk.cu -- y[t] = sum over tiles of x[tile][127 - t]: a warp that fills stages by bulk copies, four that
// empty them, and a bulk store of the sums
#ifndef BUG
#define BUG 0
#endif

typedef unsigned u32;
constexpr int T = 128, STAGES = 3, BYTES = 4 * T;

__device__ u32 at(const void *p) { return (u32)__cvta_generic_to_shared(p); }
__device__ void init(u32 b, u32 count)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(b), "r"(count) : "memory");
}
__device__ void arrive(u32 b)
{
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(b) : "memory");
}
__device__ void expect(u32 b, u32 bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(b), "r"(bytes) : "memory");
}
__device__ void wait(u32 b, u32 parity)
{
    asm volatile("{ .reg .pred p;\n"
                 "again: mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n"
                 "@!p bra again; }" ::"r"(b), "r"(parity) : "memory");
}
__device__ void load(u32 to, const float *from, u32 bytes, u32 b)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(b) : "memory");
}
__device__ void fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

extern "C" __global__ void kernel(const float *x, float *y, float *z, int n)
{
    __shared__ __align__(128) float stage[STAGES][T], sums[T];
    __shared__ __align__(8) unsigned long long full[STAGES], empty[STAGES];
    const int t = threadIdx.x, lane = t % 32, warp = t / 32, tiles = n / T;
    if (t == 0 && BUG != 20) {
        for (int i = 0; i < STAGES; i++) {
            init(at(&full[i]), BUG == 19 ? 2 : 1);
            init(at(&empty[i]), BUG == 8 ? 5 : BUG == 9 ? 3 : 4);
        }
        if (BUG != 10) asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        if (BUG == 17) *(volatile unsigned *)full = 0; // @17
    }
    if (BUG != 15) __syncthreads();
    if (warp == 4) {
        for (int k = 0; k < tiles && lane == 0; k++) {
            const int i = k % STAGES, parity = k / STAGES % 2;
            if (BUG != 2) wait(at(&empty[i]), parity ^ 1);
            if (BUG == 5) arrive(at(&full[i]));
            else expect(at(&full[i]), BUG == 6 ? 2 * BYTES : BUG == 7 ? BYTES / 2 : BYTES);
            const float *from = x + k * T;
            load(at(stage[i]), from, BYTES / 2, at(&full[i]));
            load(at(stage[i] + T / 2) + (BUG == 18 ? 8 : 0), from + T / 2, BYTES / 2, at(&full[i]));
        }
        return;
    }
    float sum = 0;
    for (int k = 0; k < tiles; k++) {
        const int i = k % STAGES, parity = k / STAGES % 2;
        if (BUG != 1) wait(at(&full[i]), parity ^ (BUG == 4));
        if (BUG == 14 && lane == 0) arrive(at(&empty[i]));
        sum += stage[i][T - 1 - t];
        if (BUG != 16) __syncwarp();
        if (BUG != 14 && BUG != 3 && lane == 0) arrive(at(&empty[i]));
    }
    sums[t] = sum;
    if (BUG != 11) fence();
    if (BUG != 12) asm volatile("bar.sync 1, 128;" ::: "memory");
    if (t == 0) {
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(y),
                     "r"(at(sums)), "r"(BYTES) : "memory");
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
        if (BUG == 13) sums[1] = 0; // @13
        asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
    }
}
