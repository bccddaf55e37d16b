/* qk.cuh -- device helpers of the CUDA templates: element types, copies, matrix instructions
 *
 * Why: NVIDIA's headers cost up to 20 times an empty compile, change between toolkits and would
 * have to ship with the generator.  What kernels need of them is this page of inline PTX.
 *
 * Element types are structs without state, so that a kernel says  using act = qk_bf16;  once:
 *     raw            how one element lies in memory
 *     get, put       raw <-> float, round to nearest even
 *     clamp          the float nearest to v that put makes finite; NaN stays NaN
 *     pair, unpair   two floats <-> one 32-bit word, low half first
 * Shared memory is addressed by 32-bit byte offsets (qk_shared), as PTX does.
 */
#ifndef QK_CUH
#define QK_CUH

#include "kernel_abi.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define QK static __device__ __forceinline__

constexpr int QK_WARP = 32;

/* ---- element types ---- */

struct qk_f32 {
    typedef float raw;
    QK float get(raw v) { return v; }
    QK raw put(float v) { return v; }
    QK float clamp(float v) { return v; }
};

struct qk_f16 {
    typedef u16 raw;
    QK float get(raw v)
    {
        float f;
        asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v));
        return f;
    }
    QK raw put(float v)
    {
        raw h;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v));
        return h;
    }
    QK float clamp(float v)
    {
        constexpr float MOST = 65504.0f;
        return v > MOST ? MOST : v < -MOST ? -MOST : v;
    }
    QK u32 pair(float lo, float hi)
    {
#if __CUDA_ARCH__ >= 800
        u32 w;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(hi), "f"(lo));
        return w;
#else
        return (u32)put(hi) << 16 | put(lo);
#endif
    }
    QK float2 unpair(u32 w) { return make_float2(get((raw)w), get((raw)(w >> 16))); }
};

struct qk_bf16 {
    typedef u16 raw;
    QK float get(raw v) { return __uint_as_float((u32)v << 16); }
    QK raw put(float v)
    {
#if __CUDA_ARCH__ >= 800
        raw h;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(v));
        return h;
#else
        const u32 u = __float_as_uint(v);
        if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
        return (raw)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
    }
    QK float clamp(float v) { return v; }
    QK u32 pair(float lo, float hi)
    {
#if __CUDA_ARCH__ >= 800
        u32 w;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(hi), "f"(lo));
        return w;
#else
        return (u32)put(hi) << 16 | put(lo);
#endif
    }
    QK float2 unpair(u32 w)
    {
        return make_float2(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u));
    }
};

/* Codes of one byte: put rounds to nearest even and clamps to MAX.  8-bit floats are read as f32 of
 * a 2^-120th: so their denormals, exponent 0, are f32's.  NaN stays NaN. */
struct qk_i8 {
    typedef signed char raw;
    static constexpr float MAX = 127.0f;
    QK raw put(float v) { return (raw)__float2int_rn(fminf(fmaxf(v, -MAX), MAX)); }
};
struct qk_e4m3 {
    typedef u8 raw;
    static constexpr float MAX = 448.0f;
    QK float get(raw v)
    {
        const float f = __uint_as_float((v & 0x80u) << 24 | (v & 0x7fu) << 20) * 0x1p120f;
        return (v & 0x7f) == 0x7f ? __uint_as_float(0x7fc00000u) : f;
    }
    QK raw put(float v) { return (raw)pair(v, 0.0f); }

    /* Two codes, the first in the low byte. */
    QK u32 pair(float lo, float hi)
    {
#if __CUDA_ARCH__ >= 890
        u16 two;
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(two) : "f"(hi), "f"(lo));
        return two;
#else
        return rounded(hi) << 8 | rounded(lo);
#endif
    }

    /* By integers: what cvt does from sm_89 on. */
    QK u32 rounded(float v)
    {
        const u32 u = __float_as_uint(v), sign = u >> 24 & 0x80u, body = u & 0x7fffffffu;
        if (body > 0x7f800000u) return 0x7f;
        if (body >= 0x43e00000u) return sign | 0x7eu; // 448 and beyond
        if (body < 0x3c800000u) // below 2^-6: the addend 2^14 places the rounding at bit 0
            return sign | (__float_as_uint(__uint_as_float(body) + 16384.0f) - 0x46800000u);
        return sign | (body - 0x3c000000u + 0x7ffffu + (body >> 20 & 1u)) >> 20;
    }
};

/* A power of two, 2^(v - 127); 255 is NaN. */
struct qk_e8m0 {
    typedef u8 raw;
    QK float get(raw v)
    {
        return __uint_as_float(v == 0 ? 0x400000u : v == 255 ? 0x7fc00000u : (u32)v << 23);
    }
};

/* Element i of a row-major buffer of T, as float. */
template <class T> QK float qk_load(const void *p, qk_i64 i)
{
    return T::get(((const typename T::raw *)p)[i]);
}

/* Outputs beyond the range of f16 become its largest: activations like that are met in practice,
 * and one infinity turns all that follows into NaN. */
template <class T> QK void qk_store(void *p, qk_i64 i, float v)
{
    ((typename T::raw *)p)[i] = T::put(T::clamp(v));
}

/* ---- bits ---- */

/* (a & b) | c, one instruction. */
QK u32 qk_and_or(u32 a, u32 b, u32 c)
{
    u32 r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}

/* A 16-bit value in both halves. */
QK u32 qk_twice(u32 h)
{
    return (h & 0xffffu) * 0x10001u;
}

/* ---- warp ---- */

/* Sum and maximum over the lanes of a warp, the same bits in every lane. */
QK float qk_warp_sum(float v)
{
    for (int d = QK_WARP / 2; d > 0; d /= 2) v += __shfl_xor_sync(~0u, v, d);
    return v;
}

QK float qk_warp_max(float v)
{
    for (int d = QK_WARP / 2; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
    return v;
}

/* ---- copies ---- */

QK u32 qk_shared(const void *p)
{
    return (u32)__cvta_generic_to_shared(p);
}

QK void qk_shared_store2(u32 at, u16 v)
{
    asm volatile("st.shared.u16 [%0], %1;" : : "r"(at), "h"(v) : "memory");
}

QK uint4 qk_shared_load16(u32 at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(at)
                 : "memory");
    return v;
}

QK uint2 qk_shared_load8(u32 at)
{
    uint2 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at) : "memory");
    return v;
}

QK u32 qk_shared_load4(u32 at)
{
    u32 v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}

QK u32 qk_shared_load2(u32 at)
{
    u16 v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(at) : "memory");
    return v;
}

QK u32 qk_shared_load1(u32 at)
{
    u32 v;
    asm volatile("ld.shared.u8 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}

QK void qk_shared_store16(u32 at, uint4 v)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};"
                 :
                 : "r"(at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

/* Asynchronous copies from global to shared memory, 16 bytes each, of which the first `bytes`
 * (0..16) are read and the rest is written zero.  `slot` numbers the copies of one thread between
 * start and finish; N is how many there are.
 *
 *     copy.start(slot, to, from, bytes) ...      sm_80+: cp.async      sm_75: load into registers
 *     copy.finish()                                      commit a group        store them
 *     qk_copy_wait<n>()                                  all but n groups      nothing
 *                                                        have landed
 * sm_75: bytes between 1 and 15 costs a loop of halves; it meets only the last columns of K. */
#if __CUDA_ARCH__ >= 800
template <int N> struct qk_copy {
    __device__ __forceinline__ void start(int, u32 to, const void *from, int bytes)
    {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :
                     : "r"(to), "l"(from), "r"(bytes)
                     : "memory");
    }
    __device__ __forceinline__ void finish()
    {
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
};

/* 4 bytes, in the group that is committed next. */
QK void qk_copy4(u32 to, const void *from)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" : : "r"(to), "l"(from) : "memory");
}

template <int PENDING> QK void qk_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#else
QK uint4 qk_load16_part(const void *from, int bytes)
{
    if (bytes == 16) return *(const uint4 *)from;
    const u16 *h = (const u16 *)from;
    u32 v[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        v[i] = (4 * i < bytes ? h[2 * i] : 0u) | (4 * i + 2 < bytes ? (u32)h[2 * i + 1] << 16 : 0u);
    return make_uint4(v[0], v[1], v[2], v[3]);
}

template <int N> struct qk_copy {
    uint4 data[N];
    u32 at[N];
    __device__ __forceinline__ qk_copy()
    {
#pragma unroll
        for (int i = 0; i < N; i++) at[i] = ~0u;
    }
    __device__ __forceinline__ void start(int slot, u32 to, const void *from, int bytes)
    {
        data[slot] = qk_load16_part(from, bytes);
        at[slot] = to;
    }
    __device__ __forceinline__ void finish()
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at[i] != ~0u) qk_shared_store16(at[i], data[i]);
            at[i] = ~0u;
        }
    }
};

template <int PENDING> QK void qk_copy_wait()
{
}
#endif

/* ---- matrix instructions ---- */

/* Four (two) 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix
 * l / 8 and gets elements 2 (l % 4), + 1 of row l / 4 of each. */
QK void qk_ldmatrix4(u32 *r, u32 at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

QK void qk_ldmatrix2(u32 *r, u32 at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(at)
                 : "memory");
}

/* d[16, 8] = a[16, 16] b[16, 8] + c[16, 8] in f32.  With g = lane / 4, t = lane % 4 a lane holds
 *     a[0..3]     rows g, g + 8, g, g + 8; columns 2 t, 2 t + 1 (+ 8 in a[2], a[3])
 *     b[0..1]     column g; rows 2 t, 2 t + 1 (+ 8 in b[1])
 *     c, d[0..3]  rows g, g, g + 8, g + 8; columns 2 t, 2 t + 1, 2 t, 2 t + 1 */
#if __CUDA_ARCH__ >= 800
#define QK_MMA(TYPE)                                                                               \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "                    \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"             \
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),    \
                   "f"(c[1]), "f"(c[2]), "f"(c[3]))
QK void qk_mma_to(qk_f16, float *d, const u32 *a, const u32 *b, const float *c)
{
    QK_MMA("f16");
}
QK void qk_mma_to(qk_bf16, float *d, const u32 *a, const u32 *b, const float *c)
{
    QK_MMA("bf16");
}
#undef QK_MMA
#else
QK void qk_mma_to(qk_f16, float *d, const u32 *a, const u32 *b, const float *c)
{
#pragma unroll
    for (int h = 0; h < 2; h++, c = d)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                     "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
                     : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                     : "r"(a[2 * h]), "r"(a[2 * h + 1]), "r"(b[h]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
                       "f"(c[3]));
}

/* No bf16 tensor cores before sm_80: the same sums by shuffles and fused multiply-adds, about 30
 * times the instructions.  Right, and better than no kernel.  Unrolled, all shuffles are started at
 * once and the gemm spills. */
QK void qk_mma_to(qk_bf16, float *d, const u32 *a, const u32 *b, const float *c)
{
    const int lane = threadIdx.x % QK_WARP, row = lane / 4 * 4, column = lane % 4 * 8;
    float s[4] = {c[0], c[1], c[2], c[3]};
#pragma unroll 1
    for (int t = 0; t < 4; t++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float2 top = qk_bf16::unpair(__shfl_sync(~0u, a[2 * h], row + t));
            const float2 low = qk_bf16::unpair(__shfl_sync(~0u, a[2 * h + 1], row + t));
            const float2 left = qk_bf16::unpair(__shfl_sync(~0u, b[h], column + t));
            const float2 right = qk_bf16::unpair(__shfl_sync(~0u, b[h], column + 4 + t));
            s[0] = fmaf(top.y, left.y, fmaf(top.x, left.x, s[0]));
            s[1] = fmaf(top.y, right.y, fmaf(top.x, right.x, s[1]));
            s[2] = fmaf(low.y, left.y, fmaf(low.x, left.x, s[2]));
            s[3] = fmaf(low.y, right.y, fmaf(low.x, right.x, s[3]));
        }
#pragma unroll
    for (int i = 0; i < 4; i++) d[i] = s[i];
}
#endif

/* c += a b */
template <class T> QK void qk_mma(T type, float *c, const u32 *a, const u32 *b)
{
    qk_mma_to(type, c, a, b, c);
}

/* c = a b when `first`, which costs no instruction to clear c; else c += a b. */
template <class T> QK void qk_mma(T type, float *c, const u32 *a, const u32 *b, bool first)
{
    const float zero[4] = {};
    qk_mma_to(type, c, a, b, first ? zero : c);
}

/* a * b + c on both halves, one rounding. */
QK u32 qk_fma2(qk_f16, u32 a, u32 b, u32 c)
{
    u32 r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}

QK u32 qk_fma2(qk_bf16, u32 a, u32 b, u32 c)
{
#if __CUDA_ARCH__ >= 800
    u32 r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
#else
    const float2 x = qk_bf16::unpair(a), y = qk_bf16::unpair(b), z = qk_bf16::unpair(c);
    return qk_bf16::pair(fmaf(x.x, y.x, z.x), fmaf(x.y, y.y, z.y));
#endif
}

#endif
