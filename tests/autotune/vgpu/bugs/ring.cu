// ring.cu -- y[t] = sum over tiles of x of what thread 127 - t copied: cp.async in a ring of stages
#ifndef BUG
#define BUG 0
#endif

constexpr int T = 128, STAGES = 3, TILE = 4 * T;

__device__ void copy(float *to, const float *from)
{
    const unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory"); // @6
}
__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> __device__ void wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

extern "C" __global__ void kernel(const float *x, float *y, float *z, int n)
{
    __shared__ __align__(16) float ring[STAGES][TILE];
    const int t = threadIdx.x, tiles = n / TILE;
    auto start = [&](int tile) {
        if (BUG == 6 || tile < tiles)
            copy(&ring[tile % STAGES][4 * t], x + tile * TILE + 4 * t);
        if (BUG != 5 && (BUG != 7 || tile < tiles)) commit();
    };
    for (int i = 0; i < STAGES - 1; i++) start(i);
    float sum = 0;
    for (int tile = 0; tile < tiles; tile++) {
        if (BUG == 8) __syncthreads(); // before the wait: others' copies may not have landed
        wait<BUG == 1 ? STAGES - 1 : STAGES - 2>();
        if (BUG != 3 && BUG != 4 && BUG != 8) __syncthreads();
        start(tile + STAGES - 1);
        const float *own = &ring[(tile + (BUG == 2)) % STAGES][4 * (T - 1 - t)];
        for (int k = 0; k < 4; k++) sum += own[k];
        if (BUG == 3) __syncthreads();
    }
    y[t] = sum;
}
