/* alu_compare.h -- comparisons and choices; part of alu_body.h */

/* Bit l of the mask is lane l's truth value. */
static inline uint32_t mask_of(const uint8_t truth[LANES])
{
    uint32_t mask = 0;
    for (int k = 0; k < 4; k++) {
        uint64_t eight;
        memcpy(&eight, truth + 8 * k, sizeof eight);
        mask |= (uint32_t)(eight * 0x0102040810204080ull >> 56) << 8 * k;
    }
    return mask;
}

#define COMPARE_LOOP(A, TA, T, expression)          \
    EACH                                            \
    {                                               \
        const T a = (T)(TA)pa[l], b = (T)(TA)pb[l]; \
        t[l] = (expression);                        \
    }                                               \
    break

/* Unsigned names on any type compare as unsigned. */
#define COMPARE_INT(name, A, T, U)                                                     \
    static inline void lanes_##name(enum compare how, uint8_t t[LANES], const void *x, \
                                    const void *y)                                     \
    {                                                                                  \
        const A *pa = x, *pb = y;                                                      \
        switch (how) {                                                                 \
        case CMP_EQ: COMPARE_LOOP(A, T, T, a == b);                                    \
        case CMP_NE: COMPARE_LOOP(A, T, T, a != b);                                    \
        case CMP_LT: COMPARE_LOOP(A, T, T, a < b);                                     \
        case CMP_LE: COMPARE_LOOP(A, T, T, a <= b);                                    \
        case CMP_GT: COMPARE_LOOP(A, T, T, a > b);                                     \
        case CMP_GE: COMPARE_LOOP(A, T, T, a >= b);                                    \
        case CMP_LO: COMPARE_LOOP(A, U, U, a < b);                                     \
        case CMP_LS: COMPARE_LOOP(A, U, U, a <= b);                                    \
        case CMP_HI: COMPARE_LOOP(A, U, U, a > b);                                     \
        default: COMPARE_LOOP(A, U, U, a >= b);                                        \
        }                                                                              \
    }
#define COMPARE_FLOAT(name, T)                                                         \
    static inline void lanes_##name(enum compare how, uint8_t t[LANES], const void *x, \
                                    const void *y)                                     \
    {                                                                                  \
        const T *pa = x, *pb = y;                                                      \
        switch (how) {                                                                 \
        case CMP_EQ: COMPARE_LOOP(T, T, T, a == b);                                    \
        case CMP_NE: COMPARE_LOOP(T, T, T, (a < b) | (a > b));                         \
        case CMP_LT: COMPARE_LOOP(T, T, T, a < b);                                     \
        case CMP_LE: COMPARE_LOOP(T, T, T, a <= b);                                    \
        case CMP_GT: COMPARE_LOOP(T, T, T, a > b);                                     \
        case CMP_GE: COMPARE_LOOP(T, T, T, a >= b);                                    \
        case CMP_EQU: COMPARE_LOOP(T, T, T, !((a < b) | (a > b)));                     \
        case CMP_NEU: COMPARE_LOOP(T, T, T, a != b);                                   \
        case CMP_LTU: COMPARE_LOOP(T, T, T, !(a >= b));                                \
        case CMP_LEU: COMPARE_LOOP(T, T, T, !(a > b));                                 \
        case CMP_GTU: COMPARE_LOOP(T, T, T, !(a <= b));                                \
        case CMP_GEU: COMPARE_LOOP(T, T, T, !(a < b));                                 \
        case CMP_NUM: COMPARE_LOOP(T, T, T, (a == a) & (b == b));                      \
        default: COMPARE_LOOP(T, T, T, (a != a) | (b != b));                           \
        }                                                                              \
    }

COMPARE_INT(u16, uint32_t, uint16_t, uint16_t)
COMPARE_INT(s16, uint32_t, int16_t, uint16_t)
COMPARE_INT(u32, uint32_t, uint32_t, uint32_t)
COMPARE_INT(s32, uint32_t, int32_t, uint32_t)
COMPARE_INT(u64, uint64_t, uint64_t, uint64_t)
COMPARE_INT(s64, uint64_t, int64_t, uint64_t)
COMPARE_FLOAT(float, float)
COMPARE_FLOAT(double, double)

#define CMP(name, lanes)                                                    \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        uint8_t t[LANES];                                                   \
        lanes((enum compare)i->compare, t, s[0], s[1]);                     \
        *(uint32_t *)out = mask_of(t);                                      \
    }
CMP(cmp_u16, lanes_u16)
CMP(cmp_s16, lanes_s16)
CMP(cmp_u32, lanes_u32)
CMP(cmp_s32, lanes_s32)
CMP(cmp_u64, lanes_u64)
CMP(cmp_s64, lanes_s64)
CMP(cmp_f64, lanes_double)

/* Two halves, or floats that may have to be flushed, as floats. */
#define CMP_AS_FLOAT(name, unpack)                                                         \
    static void lanes_##name(const struct insn *i, uint8_t t[LANES], const void *const *s, \
                             int high)                                                     \
    {                                                                                      \
        float a[LANES], b[LANES];                                                          \
        unpack(a, s[0], high);                                                             \
        unpack(b, s[1], high);                                                             \
        lanes_float((enum compare)i->compare, t, a, b);                                    \
    }
static inline void unpack_f32(float out[LANES], const float *v, int unused)
{
    (void)unused;
    memcpy(out, v, sizeof *v * LANES);
}
static inline void unpack_f32_ftz(float out[LANES], const float *v, int unused)
{
    (void)unused;
    EACH out[l] = flush(v[l]);
}
CMP_AS_FLOAT(f16, unpack_f16)
CMP_AS_FLOAT(bf16, unpack_bf16)
CMP_AS_FLOAT(f32, unpack_f32)
CMP_AS_FLOAT(f32_ftz, unpack_f32_ftz)

static void truth_f32(const struct insn *i, uint8_t t[LANES], const void *const *s)
{
    if (i->mods & MOD_FTZ)
        lanes_f32_ftz(i, t, s, 0);
    else
        lanes_f32(i, t, s, 0);
}

static void cmp_f32(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    truth_f32(i, t, s);
    *(uint32_t *)out = mask_of(t);
}

static void cmp_f16(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    lanes_f16(i, t, s, 0);
    *(uint32_t *)out = mask_of(t);
}

static void cmp_bf16(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    lanes_bf16(i, t, s, 0);
    *(uint32_t *)out = mask_of(t);
}

/* ---- properties ---- */
#define TEST(name, A, expression)                                           \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        uint8_t t[LANES];                                                   \
        const A *pa = s[0];                                                 \
        (void)i;                                                            \
        EACH                                                                \
        {                                                                   \
            const A a = pa[l];                                              \
            t[l] = (expression);                                            \
        }                                                                   \
        *(uint32_t *)out = mask_of(t);                                      \
    }
#define M32 (a & 0x7fffffff)
#define M64 (a & 0x7fffffffffffffff)
TEST(testp_finite_f32, uint32_t, M32 < 0x7f800000)
TEST(testp_infinite_f32, uint32_t, M32 == 0x7f800000)
TEST(testp_number_f32, uint32_t, M32 <= 0x7f800000)
TEST(testp_nan_f32, uint32_t, M32 > 0x7f800000)
TEST(testp_normal_f32, uint32_t, M32 >= 0x00800000 && M32 < 0x7f800000)
TEST(testp_subnormal_f32, uint32_t, M32 > 0 && M32 < 0x00800000)
TEST(testp_finite_f64, uint64_t, M64 < 0x7ff0000000000000)
TEST(testp_infinite_f64, uint64_t, M64 == 0x7ff0000000000000)
TEST(testp_number_f64, uint64_t, M64 <= 0x7ff0000000000000)
TEST(testp_nan_f64, uint64_t, M64 > 0x7ff0000000000000)
TEST(testp_normal_f64, uint64_t, M64 >= 0x0010000000000000 && M64 < 0x7ff0000000000000)
TEST(testp_subnormal_f64, uint64_t, M64 > 0 && M64 < 0x0010000000000000)
TEST(is_global, uint64_t, a >> WINDOW_BITS > 3)
TEST(is_shared, uint64_t, a >> WINDOW_BITS == WINDOW_SHARED >> WINDOW_BITS)
TEST(is_local, uint64_t, a >> WINDOW_BITS == WINDOW_LOCAL >> WINDOW_BITS)

/* ---- choices ---- */
static void selp_b32(const struct insn *i, void *out, const void *const *s)
{
    const uint32_t *a = s[0], *b = s[1], p = *(const uint32_t *)s[2];
    uint32_t *d = out;
    (void)i;
    EACH d[l] = p >> l & 1 ? a[l] : b[l];
}

static void selp_b64(const struct insn *i, void *out, const void *const *s)
{
    const uint64_t *a = s[0], *b = s[1];
    const uint32_t p = *(const uint32_t *)s[2];
    uint64_t *d = out;
    (void)i;
    EACH d[l] = p >> l & 1 ? a[l] : b[l];
}

OP3(slct_b32_s32, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, int32_t, uint32_t,
    c >= 0 ? a : b)
OP3(slct_b32_f32, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, float, float,
    (i->mods & MOD_FTZ ? flush(c) : c) >= 0 ? a : b)
OP3(slct_b64_s32, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, int32_t, uint32_t,
    c >= 0 ? a : b)

/* ---- set: a comparison as a number ---- */
static void set_lanes(uint32_t *d, const uint8_t t[LANES], uint32_t yes)
{
    EACH d[l] = t[l] ? yes : 0;
}

static void set_u32_u32(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    lanes_u32((enum compare)i->compare, t, s[0], s[1]);
    set_lanes(out, t, 0xffffffff);
}

static void set_u32_s32(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    lanes_s32((enum compare)i->compare, t, s[0], s[1]);
    set_lanes(out, t, 0xffffffff);
}

static void set_u32_f32(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    truth_f32(i, t, s);
    set_lanes(out, t, 0xffffffff);
}

static void set_f32_f32(const struct insn *i, void *out, const void *const *s)
{
    uint8_t t[LANES];
    truth_f32(i, t, s);
    set_lanes(out, t, 0x3f800000);
}

#define SET_PAIR(name, lanes, yes)                                          \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        uint8_t low[LANES], high[LANES];                                    \
        uint32_t *d = out;                                                  \
        lanes(i, low, s, 0);                                                \
        lanes(i, high, s, 1);                                               \
        EACH d[l] = (high[l] ? (yes) << 16 : 0) | (low[l] ? (yes) : 0);     \
    }
SET_PAIR(set_mask_f16x2, lanes_f16, 0xffffu)
SET_PAIR(set_f16x2, lanes_f16, 0x3c00u)
SET_PAIR(set_mask_bf16x2, lanes_bf16, 0xffffu)
SET_PAIR(set_bf16x2, lanes_bf16, 0x3f80u)
