// sync.cu -- y[i] = x[i - 1] + x[i + 1] through a tile in shared memory; one block
#ifndef BUG
#define BUG 0
#endif

constexpr int T = 256;

extern "C" __global__ void kernel(const float *x, float *y, float *z, int n)
{
    __shared__ float tile[T + 2];
    const int t = threadIdx.x;
    while (BUG == 11 && t == 0) asm volatile(""); // @11
    for (int base = 0; base < n; base += T) {
        const int i = base + t;
        if (BUG == 9 && i >= n) return; // the rest of the block waits
        if (BUG == 3 || i < n) tile[t + 1] = x[i]; // @3
        else tile[t + 1] = 0;
        if (t == 0 && BUG != 6) tile[0] = BUG == 5 || base > 0 ? x[base - 1] : 0.0f; // @5
        if (t == T - 1) tile[T + 1] = base + T < n ? x[base + T] : 0.0f;
        if (BUG != 1) __syncthreads();
        const float4 *off = (const float4 *)(x + 1);
        if (BUG == 10 && t < 8) y[t] = off[t].x + off[t].y + off[t].z + off[t].w; // @10
        else if (BUG == 4 || i < n) y[i] = tile[t] + tile[t + (BUG == 7 ? 16 : 2)]; // @1 @4 @6 @7
        if (BUG == 8 ? i < n : BUG != 2) __syncthreads(); // @8
    }
}
