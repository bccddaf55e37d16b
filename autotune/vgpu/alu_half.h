/* alu_half.h -- f16, bf16 and their pairs; part of alu_body.h
 *
 * Sums and products of two are computed in f32 and rounded again, which is the same as rounding once:
 * 24 bits are at least 2 * 11 + 2.  fma is rounded to odd on the way, for the same reason (Boldo and
 * Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
 */

static inline uint32_t bf16_of(float v)
{
    const uint32_t b = bits_f32(v);
    return v != v ? 0x7fff : (b + 0x7fff + (b >> 16 & 1)) >> 16;
}

static inline float from_bf16(uint32_t h) { return quiet(float_of(h << 16)); }

/* Lanes of a half as floats; `high`: of the upper one of a pair. */
static inline void unpack_f16(float out[LANES], const uint32_t *h, int high)
{
#ifdef __AVX512F__
    for (int l = 0; l < LANES; l += 16) {
        const __m512i lanes = _mm512_loadu_si512(h + l);
        const __m256i half = _mm512_cvtepi32_epi16(high ? _mm512_srli_epi32(lanes, 16) : lanes);
        _mm512_storeu_ps(out + l, _mm512_cvtph_ps(half));
    }
    EACH out[l] = quiet(out[l]);
#else
    uint32_t low[LANES];
    EACH low[l] = high ? h[l] >> 16 : h[l];
    numbers_lanes_from_f16(out, low);
#endif
}

static inline void unpack_bf16(float out[LANES], const uint32_t *h, int high)
{
    EACH out[l] = from_bf16(high ? h[l] >> 16 : h[l] & 0xffff);
}

static inline void pack_f16(uint32_t out[LANES], const float v[LANES])
{
#ifdef __AVX512F__
    for (int l = 0; l < LANES; l += 16) {
        const __m512 lanes = _mm512_loadu_ps(v + l);
        const __m512i half = _mm512_cvtepu16_epi32(
            _mm512_cvtps_ph(lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
        const __mmask16 nan = _mm512_cmp_ps_mask(lanes, lanes, _CMP_UNORD_Q);
        _mm512_storeu_si512(out + l, _mm512_mask_blend_epi32(nan, half, _mm512_set1_epi32(0x7fff)));
    }
#else
    numbers_lanes_to_f16(out, v);
#endif
}

static inline void pack_bf16(uint32_t out[LANES], const float v[LANES])
{
    EACH out[l] = bf16_of(v[l]);
}

static inline float flush_f16(float v) { return v < 0x1p-14f && v > -0x1p-14f ? v * 0 : v; }

static inline void flush_lanes(float v[LANES], const struct insn *i)
{
    if (i->mods & MOD_FTZ) EACH v[l] = flush_f16(v[l]);
}

static inline void limit_lanes(float v[LANES], const struct insn *i)
{
    if (i->mods & MOD_SAT) EACH v[l] = saturate(v[l]);
    if (i->mods & MOD_RELU) EACH v[l] = v[l] > 0 || v[l] != v[l] ? v[l] : 0;
    flush_lanes(v, i);
}

/* half(r, i, sources, high): floats of one half of all lanes */
#define ONE_HALF(name, half, pack)                                          \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        float r[LANES];                                                     \
        half(r, i, s, 0);                                                   \
        pack(out, r);                                                       \
    }
#define TWO_HALVES(name, half, pack)                                        \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        float r[LANES];                                                     \
        uint32_t low[LANES], high[LANES], *d = out;                         \
        half(r, i, s, 0);                                                   \
        pack(low, r);                                                       \
        half(r, i, s, 1);                                                   \
        pack(high, r);                                                      \
        EACH d[l] = high[l] << 16 | low[l];                                 \
    }
#define HALVES(name, half, type) \
    ONE_HALF(name, half, pack_##type) TWO_HALVES(name##x2, half, pack_##type)

#define HALF2(name, type, expression)                                                             \
    static void half_##name(float r[LANES], const struct insn *i, const void *const *s, int high) \
    {                                                                                             \
        float va[LANES], vb[LANES];                                                               \
        (void)i;                                                                                  \
        unpack_##type(va, s[0], high);                                                            \
        unpack_##type(vb, s[1], high);                                                            \
        EACH                                                                                      \
        {                                                                                         \
            const float a = va[l], b = vb[l];                                                     \
            r[l] = expression;                                                                    \
        }                                                                                         \
    }                                                                                             \
    HALVES(name, half_##name, type)

HALF2(add_f16, f16, quiet(a + b))
HALF2(sub_f16, f16, quiet(a - b))
HALF2(mul_f16, f16, quiet(a *b))
HALF2(add_bf16, bf16, quiet(a + b))
HALF2(sub_bf16, bf16, quiet(a - b))
HALF2(mul_bf16, bf16, quiet(a *b))

/* The same with .ftz and .sat; a flushed result has to be flushed as f16: after its rounding. */
#define HALF2_ANY(name, expression)                                                               \
    static void half_##name(float r[LANES], const struct insn *i, const void *const *s, int high) \
    {                                                                                             \
        float va[LANES], vb[LANES];                                                               \
        uint32_t rounded[LANES];                                                                  \
        unpack_f16(va, s[0], high);                                                               \
        unpack_f16(vb, s[1], high);                                                               \
        flush_lanes(va, i);                                                                       \
        flush_lanes(vb, i);                                                                       \
        EACH                                                                                      \
        {                                                                                         \
            const float a = va[l], b = vb[l];                                                     \
            r[l] = expression;                                                                    \
        }                                                                                         \
        pack_f16(rounded, r);                                                                     \
        unpack_f16(r, rounded, 0);                                                                \
        limit_lanes(r, i);                                                                        \
    }                                                                                             \
    HALVES(name, half_##name, f16)
HALF2_ANY(add_f16_any, quiet(a + b))
HALF2_ANY(sub_f16_any, quiet(a - b))
HALF2_ANY(mul_f16_any, quiet(a *b))
#define add_f16x2_any add_f16_anyx2
#define sub_f16x2_any sub_f16_anyx2
#define mul_f16x2_any mul_f16_anyx2

/* ---- fma ---- */

/* a b + c rounded to odd in f32: exact but for the last bit, which is set when anything was lost.
 * A product of two f16 is exact in f32, and what its sum loses can be told (Knuth's two-sum). */
static inline float fma_to_odd_f16(float a, float b, float c)
{
    const float p = a * b, sum = p + c;
    const float part = sum - p, error = (p - (sum - part)) + (c - part);
    const uint32_t bits = bits_f32(sum);
    const uint32_t step = (error > 0) == (sum > 0) ? 1 : 0xffffffff;
    const uint32_t inexact = error != 0 && sum - sum == 0 && (bits & 1) == 0;
    return float_of(bits + (inexact ? step : 0));
}

/* The same of bf16, whose products may leave the range of f32. */
static inline float fma_to_odd_bf16(float a, float b, float c)
{
    const double p = (double)a * b, sum = p + c; /* p is exact */
    const double part = sum - p, error = (p - (sum - part)) + (c - part);
    uint64_t bits = bits_f64(sum);
    const int toward = (error > 0) == (sum > 0) ? 1 : -1;
    if (error != 0 && (bits & 1) == 0) bits = (uint64_t)((int64_t)bits + toward);
    const uint64_t lost = (bits & 0x1fffffff) != 0;
    const double odd = double_of((bits & ~0x1fffffffull) | lost << 29);
    return sum - sum != 0 || sum == 0 ? (float)sum : (float)odd;
}

#define HALF_FMA(type)                                                                      \
    static void half_fma_##type(float r[LANES], const struct insn *i, const void *const *s, \
                                int high)                                                   \
    {                                                                                       \
        float a[LANES], b[LANES], c[LANES];                                                 \
        unpack_##type(a, s[0], high);                                                       \
        unpack_##type(b, s[1], high);                                                       \
        unpack_##type(c, s[2], high);                                                       \
        EACH r[l] = quiet(fma_to_odd_##type(a[l], b[l], c[l]));                             \
        if (i->mods & MOD_RELU) EACH r[l] = r[l] > 0 || r[l] != r[l] ? r[l] : 0;            \
    }                                                                                       \
    HALVES(fma_##type, half_fma_##type, type)
HALF_FMA(f16)
HALF_FMA(bf16)

static void half_fma_f16_any(float r[LANES], const struct insn *i, const void *const *s, int high)
{
    float a[LANES], b[LANES], c[LANES];
    uint32_t rounded[LANES];
    unpack_f16(a, s[0], high);
    unpack_f16(b, s[1], high);
    unpack_f16(c, s[2], high);
    flush_lanes(a, i);
    flush_lanes(b, i);
    flush_lanes(c, i);
    EACH r[l] = quiet(fma_to_odd_f16(a[l], b[l], c[l]));
    pack_f16(rounded, r);
    unpack_f16(r, rounded, 0);
    limit_lanes(r, i);
}
ONE_HALF(fma_f16_any, half_fma_f16_any, pack_f16)
TWO_HALVES(fma_f16x2_any, half_fma_f16_any, pack_f16)

/* ---- smaller, larger ---- */
#define HALF_CHOICE(name, type, of)                                                               \
    static void half_##name(float r[LANES], const struct insn *i, const void *const *s, int high) \
    {                                                                                             \
        float a[LANES], b[LANES];                                                                 \
        unpack_##type(a, s[0], high);                                                             \
        unpack_##type(b, s[1], high);                                                             \
        flush_lanes(a, i);                                                                        \
        flush_lanes(b, i);                                                                        \
        const int nan = (i->mods & MOD_NAN) != 0;                                                 \
        EACH r[l] = nan && (a[l] != a[l] || b[l] != b[l]) ? float_of(NAN_F32) : of(a[l], b[l]);   \
    }                                                                                             \
    HALVES(name, half_##name, type)
HALF_CHOICE(min_f16, f16, smaller)
HALF_CHOICE(max_f16, f16, larger)
HALF_CHOICE(min_bf16, bf16, smaller)
HALF_CHOICE(max_bf16, bf16, larger)

W1(abs_f16, uint32_t, a & 0x7fff)
W1(abs_f16x2, uint32_t, a & 0x7fff7fff)
W1(neg_f16, uint32_t, (a ^ 0x8000) & 0xffff)
W1(neg_f16x2, uint32_t, a ^ 0x80008000)

/* ---- approximations ---- */
#define HALF1(name, type, of)                                                                     \
    static void half_##name(float r[LANES], const struct insn *i, const void *const *s, int high) \
    {                                                                                             \
        float a[LANES];                                                                           \
        (void)i;                                                                                  \
        unpack_##type(a, s[0], high);                                                             \
        EACH r[l] = quiet(of(a[l]));                                                              \
    }                                                                                             \
    HALVES(name, half_##name, type)
HALF1(ex2_f16, f16, ex2)
HALF1(ex2_bf16, bf16, ex2)
HALF1(tanh_f16, f16, tanh_of)
HALF1(tanh_bf16, bf16, tanh_of)
