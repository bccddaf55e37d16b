/* coded.cuh -- rows of activations as 8-bit codes with scales: outputs of quantize, rmsnorm and glu
 *
 * What the codes, scales and zero points are is said in kernel_abi.h, struct qk_quantized.  The
 * unit here is a step of 16 columns, which one thread owns: its codes are one 16-byte store, in the
 * order of qk_code_index():
 *
 *     byte     0  1  2  3   4  5  6  7   8  9 10 11  12 13 14 15
 *     column   0  1  8  9   2  3 10 11   4  5 12 13   6  7 14 15
 *
 * A block owns a row (form b: may share it with others).  The first KEEP steps of a thread stay in
 * registers between the search for the largest and the rounding; what is longer is computed twice.
 * Quotients are true divisions: codes are those of ref, bit for bit, where the values are.
 */
#ifndef QK_CODED_CUH
#define QK_CODED_CUH

#include "row.cuh"

constexpr int QK_SIXTEEN = 16;
constexpr int QK_BLOCK_STEPS = 8; /* steps with one scale in form b: 128 columns, 8 lanes */

enum qk_form { QK_TOKEN, QK_TOKEN_ZERO, QK_BLOCK };

/* Elements at .. at + 15 of p, zeros from `count` on. */
template <class T> QK void qk_load16(float *v, const void *p, qk_i64 at, int count)
{
    qk_load8<T>(v, p, at, count);
    qk_load8<T>(v + QK_EIGHT, p, at + QK_EIGHT, count - QK_EIGHT);
}

/* ---- scales ---- */

struct qk_scale {
    float scale, zero; /* zero: an integer */
};

/* What a scale is made of, so far: .x the largest |v|; tz: .x the largest v, .y the largest -v. */
template <int FORM> QK float2 qk_range(float2 most, const float *v)
{
#pragma unroll
    for (int i = 0; i < QK_SIXTEEN; i++) {
        most.x = fmaxf(most.x, FORM == QK_TOKEN_ZERO ? v[i] : fabsf(v[i]));
        if (FORM == QK_TOKEN_ZERO) most.y = fmaxf(most.y, -v[i]);
    }
    return most;
}

template <class CODE, int FORM> QK qk_scale qk_scale_of(float2 most)
{
    if constexpr (FORM != QK_TOKEN_ZERO) return {most.x / CODE::MAX, 0.0f};
    const float scale = (most.x + most.y) / 255.0f;
    const float zero = scale > 0.0f ? rintf(most.y / scale - 128.0f) : 0.0f;
    return {scale, fminf(fmaxf(zero, -128.0f), 127.0f)};
}

/* ---- codes ---- */

/* Four codes in a word, the first in its low byte; LEAST: of i8. */
template <int LEAST> QK u32 qk_code_word(qk_i8, float a, float b, float c, float d)
{
    const float v[4] = {a, b, c, d};
    u32 code[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        code[i] = (u32)__float2int_rn(fminf(fmaxf(v[i], (float)LEAST), qk_i8::MAX));
    return __byte_perm(__byte_perm(code[0], code[1], 0x0040), __byte_perm(code[2], code[3], 0x0040),
                       0x5410);
}

template <int LEAST> QK u32 qk_code_word(qk_e4m3, float a, float b, float c, float d)
{
    return qk_e4m3::pair(c, d) << 16 | qk_e4m3::pair(a, b);
}

/* The codes of a step to `codes`, a multiple of 16. */
template <class CODE, int FORM> QK void qk_put_step(u8 *codes, const float *v, qk_scale s)
{
    constexpr int LEAST = FORM == QK_TOKEN_ZERO ? -128 : -127;
    float q[QK_SIXTEEN];
    u32 word[4];
#pragma unroll
    for (int i = 0; i < QK_SIXTEEN; i++) {
        q[i] = s.scale > 0.0f ? v[i] / s.scale : 0.0f;
        if (FORM == QK_TOKEN_ZERO) q[i] += s.zero;
    }
#pragma unroll
    for (int t = 0; t < 4; t++)
        word[t] = qk_code_word<LEAST>(CODE(), q[2 * t], q[2 * t + 1], q[2 * t + 8], q[2 * t + 9]);
    *(uint4 *)codes = make_uint4(word[0], word[1], word[2], word[3]);
}

/* ---- rows ---- */

/* Step k of a row, zeros behind K.  `values(i, k, v)` puts the values of columns k .. k + 15 into v;
 * i numbers a thread's steps up to KEEP, and is KEEP for all behind. */
template <class VALUES> QK void qk_step(const VALUES &values, int i, int k, int K, float *v)
{
    if (k < K) {
        values(i, k, v);
        return;
    }
#pragma unroll
    for (int j = 0; j < QK_SIXTEEN; j++) v[j] = 0.0f;
}

/* Forms t and tz: row m of q, codes[0 .. ld - 1]. */
template <class CODE, int FORM, int THREADS, int KEEP, class VALUES>
QK void qk_put_token(const VALUES &values, const qk_quantized &q, qk_i64 m, int K, u8 *codes,
                     qk_i64 ld)
{
    const int first = threadIdx.x * QK_SIXTEEN, step = THREADS * QK_SIXTEEN;
    float kept[KEEP][QK_SIXTEEN];
    float2 most = make_float2(0.0f, 0.0f);
    qk_scale s;

#pragma unroll
    for (int i = 0; i < KEEP; i++) {
        qk_step(values, i, first + i * step, K, kept[i]);
        most = qk_range<FORM>(most, kept[i]);
    }
    if (q.static_scale) {
        s = {q.static_scale[0], FORM == QK_TOKEN_ZERO ? (float)q.static_zero[0] : 0.0f};
    } else {
        for (int k = first + KEEP * step; k < K; k += step) {
            float v[QK_SIXTEEN];
            values(KEEP, k, v);
            most = qk_range<FORM>(most, v);
        }
        s = qk_scale_of<CODE, FORM>(qk_block_max<THREADS>(most));
        if (threadIdx.x == 0) {
            q.scale[m * q.lds] = s.scale;
            if (FORM == QK_TOKEN_ZERO) q.zero[m * q.lds] = (int)s.zero;
        }
    }

#pragma unroll
    for (int i = 0; i < KEEP; i++)
        if (first + i * step < ld) qk_put_step<CODE, FORM>(codes + first + i * step, kept[i], s);
    for (int k = first + KEEP * step; k < ld; k += step) {
        float v[QK_SIXTEEN];
        qk_step(values, KEEP, k, K, v);
        qk_put_step<CODE, FORM>(codes + k, v, s);
    }
}

/* Form b, one step of every lane: eight neighbours share a scale. */
template <class CODE, class VALUES>
QK void qk_put_block(const VALUES &values, int i, float *scales, int k, int K, u8 *codes, qk_i64 ld)
{
    float v[QK_SIXTEEN];
    qk_step(values, i, k, K, v);
    float2 most = qk_range<QK_BLOCK>(make_float2(0.0f, 0.0f), v);
#pragma unroll
    for (int d = 1; d < QK_BLOCK_STEPS; d *= 2)
        most.x = fmaxf(most.x, __shfl_xor_sync(~0u, most.x, d));
    const qk_scale s = qk_scale_of<CODE, QK_BLOCK>(most);
    if (k < ld) qk_put_step<CODE, QK_BLOCK>(codes + k, v, s);
    if (k < K && k % (QK_BLOCK_STEPS * QK_SIXTEEN) == 0)
        scales[k / (QK_BLOCK_STEPS * QK_SIXTEEN)] = s.scale;
}

/* Form b of a row that gridDim.y blocks share.  Whole warps go round together: ld may end inside
 * one. */
template <class CODE, int THREADS, int KEEP, class VALUES>
QK void qk_put_blocks(const VALUES &values, const qk_quantized &q, qk_i64 m, int K, u8 *codes,
                      qk_i64 ld)
{
    const int lane = threadIdx.x % QK_WARP * QK_SIXTEEN;
    const int first = (blockIdx.y * THREADS + threadIdx.x) * QK_SIXTEEN;
    const int step = gridDim.y * THREADS * QK_SIXTEEN;
    float *scales = q.scale + m * q.lds;
#pragma unroll
    for (int i = 0; i < KEEP; i++)
        if (first - lane + i * step < ld)
            qk_put_block<CODE>(values, i, scales, first + i * step, K, codes, ld);
    for (int k = first + KEEP * step; k - lane < ld; k += step)
        qk_put_block<CODE>(values, KEEP, scales, k, K, codes, ld);
}

template <class CODE, int FORM, int THREADS, int KEEP, class VALUES>
QK void qk_put_row(const VALUES &values, const qk_quantized &q, qk_i64 m, int K, void *codes,
                   qk_i64 ld)
{
    u8 *row = (u8 *)codes + m * ld;
    if constexpr (FORM == QK_BLOCK)
        qk_put_blocks<CODE, THREADS, KEEP>(values, q, m, K, row, ld);
    else
        qk_put_token<CODE, FORM, THREADS, KEEP>(values, q, m, K, row, ld);
}

#endif
