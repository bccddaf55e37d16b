/* row.cuh -- rows eight elements at a time, and sums and maxima over a block
 *
 * Why eight: of a 16-bit type that is the widest load there is.  A row whose start is not a
 * multiple of 16 bytes, and the end of a row of odd width, go element by element.
 */
#ifndef QK_ROW_CUH
#define QK_ROW_CUH

#include "qk.cuh"

constexpr int QK_EIGHT = 8;

QK float qk_infinity()
{
    return __int_as_float(0x7f800000);
}

QK bool qk_is_aligned16(const void *p)
{
    return ((u64)p & 15) == 0;
}

/* v = elements at .. at + 7 of p, zeros from `count` on. */
template <class T> QK void qk_load8(float *v, const void *p, qk_i64 at, int count)
{
    const typename T::raw *from = (const typename T::raw *)p + at;
    if (count < QK_EIGHT || !qk_is_aligned16(from)) {
#pragma unroll
        for (int i = 0; i < QK_EIGHT; i++) v[i] = i < count ? T::get(from[i]) : 0.0f;
    } else if constexpr (sizeof(typename T::raw) == 4) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float4 q = ((const float4 *)from)[h];
            v[4 * h] = q.x, v[4 * h + 1] = q.y, v[4 * h + 2] = q.z, v[4 * h + 3] = q.w;
        }
    } else {
        const uint4 q = *(const uint4 *)from;
        const u32 word[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float2 two = T::unpair(word[i]);
            v[2 * i] = two.x, v[2 * i + 1] = two.y;
        }
    }
}

/* The first `count` of x to elements at .. of p, as qk_store does. */
template <class T> QK void qk_store8(void *p, qk_i64 at, const float *x, int count)
{
    float v[QK_EIGHT];
#pragma unroll
    for (int i = 0; i < QK_EIGHT; i++) v[i] = T::clamp(x[i]);
    typename T::raw *to = (typename T::raw *)p + at;
    if (count < QK_EIGHT || !qk_is_aligned16(to)) {
#pragma unroll
        for (int i = 0; i < QK_EIGHT; i++)
            if (i < count) to[i] = T::put(v[i]);
    } else if constexpr (sizeof(typename T::raw) == 4) {
        ((float4 *)to)[0] = make_float4(v[0], v[1], v[2], v[3]);
        ((float4 *)to)[1] = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        *(uint4 *)to = make_uint4(T::pair(v[0], v[1]), T::pair(v[2], v[3]), T::pair(v[4], v[5]),
                                  T::pair(v[6], v[7]));
    }
}

/* The sum of v over the block, the same bits in every thread; called once by a kernel. */
template <int THREADS> QK float qk_block_sum(float v)
{
    constexpr int WARPS = THREADS / QK_WARP;
    v = qk_warp_sum(v);
    if constexpr (WARPS == 1) return v;
    __shared__ float part[WARPS];
    if (threadIdx.x % QK_WARP == 0) part[threadIdx.x / QK_WARP] = v;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += part[w];
    return sum;
}

/* The largest .x and the largest .y over the block, in every thread; called once by a kernel. */
template <int THREADS> QK float2 qk_block_max(float2 v)
{
    constexpr int WARPS = THREADS / QK_WARP;
    v = make_float2(qk_warp_max(v.x), qk_warp_max(v.y));
    if constexpr (WARPS == 1) return v;
    __shared__ float2 part[WARPS];
    if (threadIdx.x % QK_WARP == 0) part[threadIdx.x / QK_WARP] = v;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS; w++)
        v = make_float2(fmaxf(v.x, part[w].x), fmaxf(v.y, part[w].y));
    return v;
}

#endif
