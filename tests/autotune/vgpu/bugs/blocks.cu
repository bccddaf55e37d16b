// blocks.cu -- y[0] = sum of x over all blocks; y[1 + b] = the sum of block b
#ifndef BUG
#define BUG 0
#endif

extern "C" __global__ void kernel(const float *x, float *y, float *z, int n)
{
    __shared__ float part[4];
    const int t = threadIdx.x, each = n / gridDim.x;
    float sum = 0;
    for (int i = t; i < each; i += blockDim.x) sum += x[blockIdx.x * each + i]; // @4
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (BUG == 6) atomicAdd(&part[0], sum); // @6
    if (t % 32 == 0) part[t / 32] = sum;
    __syncthreads();
    if (t > 0) return;
    sum = part[0] + part[1] + part[2] + part[3];
    if (BUG == 5) sum += z[blockIdx.x]; // @5
    if (BUG == 1) y[0] += sum; // @1
    else atomicAdd(&y[0], sum);
    y[1 + (BUG == 2 ? blockIdx.x / 2 : blockIdx.x)] = sum; // @2
    if (BUG == 3) y[0] = y[1 + (blockIdx.x + 1) % gridDim.x]; // @3
}
