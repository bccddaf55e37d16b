// wgmma.cu -- y = a b^T: a 64 x 16, b 8 x 16 of whole numbers, by one wgmma m64n8k16
//
// Both lie in shared memory as blocks of 8 rows of 16 bytes: leading offset (along k) 128 bytes,
// stride offset (along rows) 256 bytes, no swizzle.
#ifndef BUG
#define BUG 0
#endif

typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;

__device__ u16 half_of(float v)
{
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v));
    return h;
}

__device__ u64 descriptor(u32 at, u64 swizzle)
{
    return (u64)(at >> 4 & 0x3fff) | (u64)(128 >> 4) << 16 | (u64)(256 >> 4) << 32 | swizzle << 62;
}

extern "C" __global__ void __launch_bounds__(128) kernel(const float *x, float *y, float *z, int n)
{
    __shared__ __align__(1024) u16 a[64 * 16], b[8 * 16];
    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    auto place = [](int row, int k) { return row / 8 * 128 + k / 8 * 64 + row % 8 * 8 + k % 8; };
    for (int i = t; i < 64 * 16; i += 128) a[place(i / 16, i % 16)] = half_of(x[i]);
    b[place(t / 16, t % 16)] = half_of(x[64 * 16 + t]);
    if (BUG != 4) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    if (BUG != 8) __syncthreads();
    float d[4] = {};
    const u32 at_a = (u32)__cvta_generic_to_shared(a), at_b = (u32)__cvta_generic_to_shared(b);
    const u64 of_a = descriptor(BUG == 6 ? at_a + 0x20000 : at_a, BUG == 7 ? 3 : 0);
    const u64 of_b = descriptor(at_b, 0);
    if (BUG != 1) asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(of_a), "l"(of_b));
    if (BUG != 3) asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    if (BUG == 5) *(volatile u16 *)&b[t] = 0; // @5
    if (BUG == 9) asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    else if (BUG != 2) asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    for (int i = 0; i < 4; i++)
        y[(warp * 16 + lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}
