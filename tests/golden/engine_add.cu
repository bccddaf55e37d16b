/* Made by qgen from templates/cuda/add.cu.in.
 *   request  add.f16
 *   arch     sm_89
 *   tune     threads=128 */
#include "helpers.cuh"
#include "kernel_abi.h"

constexpr int THREADS = 128;

extern "C" __global__ __launch_bounds__(THREADS)
void qk_add_add_f16_threads128(const __grid_constant__ struct qk_add a)
{
    const int k = blockIdx.x * THREADS + threadIdx.x;
    const int m = blockIdx.y;
    if (k >= a.K) return;
    const unsigned short y = ((const unsigned short *)a.y)[m * a.ldy + k];
    a.x[m * a.ldx + k] += half_to_float(y);
}
