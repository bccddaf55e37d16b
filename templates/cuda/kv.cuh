/* kv.cuh -- element types of a KV cache: values to what is stored, and back
 *
 * A cache holds 16-bit values, or 8-bit codes beside one f32 scale per key head and position:
 *     value = scale * code,     scale = largest |value| of that head at that position / MAX
 * Every code is exact in f16 and in bf16.  So tensor cores multiply codes, and the scale of a
 * position is applied once: to its score (K), to its share (V).
 *
 * Each type has
 *     raw       how one element lies in memory
 *     MAX       the largest code; 0: values, no scale
 *     PER_WORD  elements of a 32-bit word
 *     put       a value, or a value over its scale -> raw, to nearest even, clamped to be finite
 *     pairs     a word -> PER_WORD / 2 words of two elements of T, in order
 */
#ifndef QK_KV_CUH
#define QK_KV_CUH

#include "qk.cuh"

/* Values of V as products in T want them; exact where T has the bits. */
template <class V> struct qk_kv_values {
    typedef typename V::raw raw;
    static constexpr float MAX = 0.0f;
    static constexpr int PER_WORD = 2;
    QK raw put(float v) { return V::put(V::clamp(v)); }
    QK void pairs(V, u32 *pair, u32 word) { pair[0] = word; }
    template <class T> QK void pairs(T, u32 *pair, u32 word)
    {
        const float2 two = V::unpair(word);
        pair[0] = T::pair(two.x, two.y);
    }
};

using qk_kv_f16 = qk_kv_values<qk_f16>;
using qk_kv_bf16 = qk_kv_values<qk_bf16>;

struct qk_kv_i8 {
    typedef signed char raw;
    static constexpr float MAX = qk_i8::MAX;
    static constexpr int PER_WORD = 4;
    QK raw put(float v) { return qk_i8::put(v); }

    /* 0x6400 + u is 1024 + u, u = code + 128; less 1152 that is the code. */
    QK void pairs(qk_f16 type, u32 *pair, u32 word)
    {
        const u32 u = word ^ 0x80808080u;
        pair[0] = qk_fma2(type, __byte_perm(u, 0x64646464u, 0x4140), 0x3c003c00u, 0xe480e480u);
        pair[1] = qk_fma2(type, __byte_perm(u, 0x64646464u, 0x4342), 0x3c003c00u, 0xe480e480u);
    }

    /* bf16 counts by ones from 128 to 256 alone: 0x4300 + the low 7 bits, less 128, or less 256
     * where the sign bit makes the subtrahend 0x4380. */
    QK void pairs(qk_bf16 type, u32 *pair, u32 word)
    {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const u32 w = __byte_perm(word, 0x43434343u, h ? 0x4342 : 0x4140);
            pair[h] = qk_fma2(type, w & 0xff80ff80u, 0xbf80bf80u, w & 0xff7fff7fu);
        }
    }
};

struct qk_kv_e4m3 {
    typedef u8 raw;
    static constexpr float MAX = qk_e4m3::MAX;
    static constexpr int PER_WORD = 4;

    QK raw put(float v) { return qk_e4m3::put(v); }

    QK void pairs(qk_f16 type, u32 *pair, u32 word)
    {
#if __CUDA_ARCH__ >= 890
        asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair[0]) : "h"((u16)word));
        asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair[1]) : "h"((u16)(word >> 16)));
#else
        move_bits<1>(type, pair, word, 0x5c005c00u); // 2^8
#endif
    }

    QK void pairs(qk_bf16 type, u32 *pair, u32 word)
    {
        move_bits<4>(type, pair, word, 0x7b807b80u); // 2^120
    }

    /* Exponent and mantissa where T has the ends of its own, which are wider: `unit` makes up for
     * the difference of the biases, denormals included. */
    template <int SHIFT, class T> QK void move_bits(T type, u32 *pair, u32 word, u32 unit)
    {
        constexpr u32 BODY = 0x7f007f00u >> SHIFT;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const u32 w = __byte_perm(word, 0, h ? 0x3424 : 0x1404); // each code in a high byte
            pair[h] = qk_fma2(type, qk_and_or(w >> SHIFT, BODY, w & 0x80008000u), unit,
                              0x80008000u);
        }
    }
};

/* EACH neighbours at p, which is a multiple of their bytes, as EACH / 2 pairs of T. */
template <class KV, class T, int EACH> QK void qk_kv_load(u32 *pair, const void *p)
{
    constexpr int BYTES = EACH * (int)sizeof(typename KV::raw);
    u32 word[BYTES < 4 ? 1 : BYTES / 4];
    if constexpr (BYTES == 16) {
        const uint4 q = *(const uint4 *)p;
        word[0] = q.x, word[1] = q.y, word[2] = q.z, word[3] = q.w;
    } else if constexpr (BYTES == 8) {
        const uint2 q = *(const uint2 *)p;
        word[0] = q.x, word[1] = q.y;
    } else if constexpr (BYTES == 4) {
        word[0] = *(const u32 *)p;
    } else {
        static_assert(BYTES == 2, "2, 4, 8 or 16 bytes");
        word[0] = *(const u16 *)p;
    }
    if constexpr (EACH < KV::PER_WORD) {
        u32 two[KV::PER_WORD / 2];
        KV::pairs(T(), two, word[0]);
        pair[0] = two[0];
    } else {
#pragma unroll
        for (int i = 0; i < EACH / KV::PER_WORD; i++)
            KV::pairs(T(), pair + i * (KV::PER_WORD / 2), word[i]);
    }
}

#endif
