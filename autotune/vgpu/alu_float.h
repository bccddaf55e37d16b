/* alu_float.h -- f32 and f64; part of alu_body.h
 *
 * add, sub, mul, fma, div, rcp and sqrt are IEEE's.  What PTX calls approximate is computed in double
 * by add, multiply and divide alone, so that it is the same on every processor, and rounded once: the
 * error is below the one that PTX documents.
 */

static inline uint32_t bits_f32(float v)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static inline float float_of(uint32_t b)
{
    float v;
    memcpy(&v, &b, sizeof v);
    return v;
}

static inline uint64_t bits_f64(double v)
{
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static inline double double_of(uint64_t b)
{
    double v;
    memcpy(&v, &b, sizeof v);
    return v;
}

#define NAN_F32 0x7fffffffu
#define NAN_F64 0x7fffffffffffffffull
#define SIGN32  0x80000000u
#define SIGN64  0x8000000000000000ull

static inline float quiet(float v) { return v != v ? float_of(NAN_F32) : v; }
static inline float saturate(float v) { return v > 0 ? (v < 1 ? v : 1) : 0; } /* NaN: 0 */
static inline float flush(float v)
{
    return (bits_f32(v) & 0x7f800000) == 0 ? float_of(bits_f32(v) & SIGN32) : v;
}

/* ---- exact operations in the usual rounding ---- */
F2(add_f32, quiet(a + b))
F2(sub_f32, quiet(a - b))
F2(mul_f32, quiet(a *b))
F3(fma_f32, quiet(__builtin_fmaf(a, b, c)))
F2(div_f32, quiet(a / b))
D2(add_f64, a + b)
D2(sub_f64, a - b)
D2(mul_f64, a *b)
D3(fma_f64, __builtin_fma(a, b, c))

/* ---- with a rounding, .ftz or .sat ---- */

/* MXCSR has all of it: rounding in bits 13 and 14, denormals are zero in 6, flush to zero in 15. */
static inline uint32_t enter_mode(const struct insn *i)
{
    static const uint32_t rounding[] = {0, 3, 1, 2}; /* rn rz rm rp */
    uint32_t saved, mode;
    __asm__ volatile("stmxcsr %0" : "=m"(saved) : : "memory");
    mode = (saved & ~0xe040u) | rounding[i->round] << 13 | (i->mods & MOD_FTZ ? 0x8040u : 0);
    __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory");
    return saved;
}

static inline void leave_mode(uint32_t saved)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(saved) : "memory");
}

#define MODED(name, T, sources, expression)                                               \
    static void name(const struct insn *i, void *out, const void *const *s)               \
    {                                                                                     \
        T *d = out;                                                                       \
        const T *pa = s[0], *pb = sources > 1 ? s[1] : pa, *pc = sources > 2 ? s[2] : pa; \
        T t[LANES];                                                                       \
        const uint32_t saved = enter_mode(i);                                             \
        for (int l = 0; l < LANES; l++) {                                                 \
            volatile T a = pa[l], b = pb[l], c = pc[l];                                   \
            (void)b, (void)c;                                                             \
            volatile T r = expression;                                                    \
            t[l] = r;                                                                     \
        }                                                                                 \
        leave_mode(saved);                                                                \
        if (i->mods & MOD_SAT)                                                            \
            for (int l = 0; l < LANES; l++) t[l] = (T)saturate((float)t[l]);              \
        for (int l = 0; l < LANES; l++)                                                   \
            if (t[l] != t[l]) t[l] = (T)float_of(NAN_F32);                                \
        memcpy(d, t, sizeof t);                                                           \
    }
MODED(add_f32_any, float, 2, a + b)
MODED(sub_f32_any, float, 2, a - b)
MODED(mul_f32_any, float, 2, a *b)
MODED(fma_f32_any, float, 3, __builtin_fmaf(a, b, c))
MODED(div_f32_any, float, 2, a / b)
MODED(rcp_f32_any, float, 1, 1.0f / a)
MODED(sqrt_f32_any, float, 1, __builtin_sqrtf(a))
MODED(add_f64_any, double, 2, a + b)
MODED(sub_f64_any, double, 2, a - b)
MODED(mul_f64_any, double, 2, a *b)
MODED(fma_f64_any, double, 3, __builtin_fma(a, b, c))
MODED(div_f64_any, double, 2, a / b)
MODED(rcp_f64_any, double, 1, 1.0 / a)
MODED(sqrt_f64_any, double, 1, __builtin_sqrt(a))

/* ---- approximations ---- */

/* The upper word of the result, as the hardware gives it; subnormals are zero. */
static inline double upper_word(double v)
{
    if ((bits_f64(v) & 0x7ff0000000000000) == 0) return double_of(bits_f64(v) & SIGN64);
    return double_of(bits_f64(v) & ~0xffffffffull);
}
static inline double flush64(double v)
{
    return (bits_f64(v) & 0x7ff0000000000000) == 0 ? double_of(bits_f64(v) & SIGN64) : v;
}
D1(rcp_f64_approx, upper_word(1 / flush64(a)))
D1(rsqrt_f64, 1 / __builtin_sqrt(a))
D1(rsqrt_f64_approx, upper_word(1 / __builtin_sqrt(flush64(a))))

#define FTZ1(name, e)                                                       \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        const int ftz = (i->mods & MOD_FTZ) != 0;                           \
        const float *pa = s[0];                                             \
        float *d = out;                                                     \
        EACH                                                                \
        {                                                                   \
            const float a = ftz ? flush(pa[l]) : pa[l];                     \
            const float r = quiet(e);                                       \
            d[l] = ftz ? flush(r) : r;                                      \
        }                                                                   \
    }
FTZ1(rsqrt_f32, (float)(1 / __builtin_sqrt((double)a)))

/* The nearest integer of |v| below 2^51. */
static inline double nearest(double v) { return v + 0x1.8p52 - 0x1.8p52; }

/* 2^v, |v| below 1000: a power of two times a polynomial in -0.5 .. 0.5 (Taylor's, to 2^-33). */
static inline double power2(double v)
{
    const double whole = nearest(v), x = (v - whole) * 0x1.62e42fefa39efp-1;
    const double p =
        1 + x * (1 + x * (1.0 / 2 +
                          x * (1.0 / 6 +
                               x * (1.0 / 24 +
                                    x * (1.0 / 120 + x * (1.0 / 720 + x * (1.0 / 5040 +
                                                                           x * (1.0 / 40320))))))));
    return p * double_of((uint64_t)((int64_t)whole + 1023) << 52);
}

static inline float ex2(float a)
{
    const float clamped = a > 200 ? 200 : a < -200 ? -200 : a;
    return a != a ? a : (float)power2((double)clamped);
}
FTZ1(ex2_f32, ex2(a))

/* log2 of a positive double: exponent, and the series of atanh on a mantissa in sqrt(1/2) ..
 * sqrt(2). */
static inline double logarithm2(double v)
{
    const uint64_t bits = bits_f64(v) - 0x3fe6a09e667f3bcd; /* of sqrt(1/2) */
    const double exponent = (double)((int64_t)bits >> 52);
    const double m = double_of((bits & 0xfffffffffffff) + 0x3fe6a09e667f3bcd);
    const double z = (m - 1) / (m + 1), y = z * z;
    const double p =
        1 + y * (1.0 / 3 +
                 y * (1.0 / 5 + y * (1.0 / 7 + y * (1.0 / 9 + y * (1.0 / 11 + y * (1.0 / 13))))));
    return exponent + z * p * 0x1.71547652b82fep1; /* 2 / ln 2 */
}

static inline float lg2(float a)
{
    const float positive = a > 0 && a < __builtin_inff() ? a : 1;
    const float r = (float)logarithm2((double)positive);
    return a == 0 ? -__builtin_inff() : a > 0 ? (a == positive ? r : a) : float_of(NAN_F32);
}
FTZ1(lg2_f32, lg2(a))

/* sin and cos on -pi/4 .. pi/4 */
static inline double small_sine(double x)
{
    const double y = x * x;
    return x * (1 + y * (-1.0 / 6 + y * (1.0 / 120 + y * (-1.0 / 5040 + y * (1.0 / 362880)))));
}
static inline double small_cosine(double x)
{
    const double y = x * x;
    return 1 + y * (-1.0 / 2 +
                    y * (1.0 / 24 + y * (-1.0 / 720 + y * (1.0 / 40320 + y * (-1.0 / 3628800)))));
}

/* quarter 0: sin, 1: cos; pi / 2 in two parts */
static inline float turn(float a, int quarter)
{
    const double v = a < 1e9f && a > -1e9f ? (double)a : 0;
    const double whole = nearest(v * 0x1.45f306dc9c883p-1);
    const double x = v - whole * 0x1.921fb54442d18p0 - whole * 0x1.1a62633145c07p-54;
    const int64_t q = (int64_t)whole + quarter;
    const double r = q & 1 ? small_cosine(x) : small_sine(x);
    const int finite = a - a == 0;
    return finite ? (float)(q & 2 ? -r : r) : float_of(NAN_F32);
}
FTZ1(sin_f32, turn(a, 0))
FTZ1(cos_f32, turn(a, 1))

static inline float tanh_of(float a)
{
    const double x = a > 20 ? 20 : a < -20 ? -20 : (double)a, y = x * x;
    const double series = x * (1 + y * (-1.0 / 3 + y * (2.0 / 15 + y * (-17.0 / 315))));
    const double e = power2(2 * x * 0x1.71547652b82fep0);
    return a != a ? a : (float)(y < 0.0625 ? series : (e - 1) / (e + 1));
}
F1(tanh_f32, quiet(tanh_of(a)))

/* ---- sign, smaller, larger ---- */

#define FTZ_SIGN(name, e)                                                      \
    static void name(const struct insn *i, void *out, const void *const *s)    \
    {                                                                          \
        const uint32_t *pa = s[0];                                             \
        uint32_t *d = out;                                                     \
        const int ftz = (i->mods & MOD_FTZ) != 0;                              \
        EACH                                                                   \
        {                                                                      \
            const uint32_t a = ftz ? bits_f32(flush(float_of(pa[l]))) : pa[l]; \
            d[l] = (a & ~SIGN32) > 0x7f800000 ? NAN_F32 : (e);                 \
        }                                                                      \
    }
FTZ_SIGN(abs_f32, a & ~SIGN32)
FTZ_SIGN(neg_f32, a ^ SIGN32)
L1(abs_f64, uint64_t, a & ~SIGN64)
L1(neg_f64, uint64_t, a ^ SIGN64)
W2(copysign_f32, uint32_t, (a & SIGN32) | (b & ~SIGN32))
L2(copysign_f64, uint64_t, (a & SIGN64) | (b & ~SIGN64))

/* Of two zeros -0 is smaller; of a number and a NaN the number is taken, unless .NaN. */
static inline float smaller(float a, float b)
{
    const float equal = float_of(bits_f32(a) | bits_f32(b));
    return a < b ? a : b < a ? b : a == b ? equal : a != a ? quiet(b) : a;
}
static inline float larger(float a, float b)
{
    const float equal = float_of(bits_f32(a) & bits_f32(b));
    return a > b ? a : b > a ? b : a == b ? equal : a != a ? quiet(b) : a;
}
static inline double smaller64(double a, double b)
{
    const double equal = double_of(bits_f64(a) | bits_f64(b));
    return a < b ? a : b < a ? b : a == b ? equal : a != a ? b : a;
}
static inline double larger64(double a, double b)
{
    const double equal = double_of(bits_f64(a) & bits_f64(b));
    return a > b ? a : b > a ? b : a == b ? equal : a != a ? b : a;
}
#define CHOICE(name, of)                                                                \
    static void name(const struct insn *i, void *out, const void *const *s)             \
    {                                                                                   \
        const float *pa = s[0], *pb = s[1];                                             \
        float *d = out;                                                                 \
        const int ftz = (i->mods & MOD_FTZ) != 0, nan = (i->mods & MOD_NAN) != 0;       \
        EACH                                                                            \
        {                                                                               \
            const float a = ftz ? flush(pa[l]) : pa[l], b = ftz ? flush(pb[l]) : pb[l]; \
            d[l] = nan && (a != a || b != b) ? float_of(NAN_F32) : of(a, b);            \
        }                                                                               \
    }
CHOICE(min_f32, smaller)
CHOICE(max_f32, larger)
D2(min_f64, smaller64(a, b))
D2(max_f64, larger64(a, b))
