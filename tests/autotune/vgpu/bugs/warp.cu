// warp.cu -- each warp reverses 32 numbers of x through shared memory, again and again
#ifndef BUG
#define BUG 0
#endif

extern "C" __global__ void kernel(const float *x, float *y, float *z, int n)
{
    __shared__ volatile float line[4][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    volatile float local[4];
    if (BUG != 6) local[lane % 4] = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        line[warp][lane] = x[i]; // @2
        if (BUG == 3) __syncwarp(0x7fffffff); // lane 31 is not of those it names @3
        else if (BUG == 4) { if (lane < 31) __syncwarp(); } // lane 31 does not come @4
        else if (BUG != 1) __syncwarp();
        float v = line[warp][31 - lane]; // @1
        if (BUG == 5) asm volatile("{ .reg .f32 r; add.f32 %0, r, %0; }" : "+f"(v)); // @5
        y[i] = v + local[lane % 4]; // @6
        if (BUG != 2) __syncwarp();
    }
}
