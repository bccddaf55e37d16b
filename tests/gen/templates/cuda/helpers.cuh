/* helpers.cuh -- what the test kernels share */
__device__ inline float half_to_float(unsigned short bits)
{
    float value;
    asm("{ .reg .b16 h; mov.b16 h, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "h"(bits));
    return value;
}
