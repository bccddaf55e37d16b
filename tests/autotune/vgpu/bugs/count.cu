// count.cu -- y = x through shared memory, with words STRIDE apart: bank conflicts; or x read so
#ifndef BUG
#define BUG 0
#endif

constexpr int STRIDE = BUG > 0 && BUG < 64 ? BUG : 1, FAR = BUG >= 64 ? BUG / 64 : 1;

extern "C" __global__ void kernel(const float *x, float *y, float *z, int n)
{
    __shared__ float line[32 * 32];
    const int t = threadIdx.x;
    line[t * STRIDE] = x[t * FAR];
    __syncthreads();
    y[t] = line[t * STRIDE];
}
