/* alu_integer.h -- integers and bits; part of alu_body.h */

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static inline int32_t clamp_s32(int64_t v) { return (int32_t)MAX(MIN(v, INT32_MAX), INT32_MIN); }

/* ---- add, subtract ---- */
W2(add_u16, uint32_t, (uint16_t)(a + b))
W2(add_u32, uint32_t, a + b)
W2(add_s32_sat, int32_t, clamp_s32((int64_t)a + b))
L2(add_u64, uint64_t, a + b)
W2(add_u16x2, uint32_t, ((a & 0xffff0000) + (b & 0xffff0000)) | ((a + b) & 0xffff))
W2(sub_u16, uint32_t, (uint16_t)(a - b))
W2(sub_u32, uint32_t, a - b)
W2(sub_s32_sat, int32_t, clamp_s32((int64_t)a - b))
L2(sub_u64, uint64_t, a - b)

/* ---- multiply ---- */
W2(mul_u16, uint32_t, (uint16_t)(a *b))
W2(mul_u32, uint32_t, a *b)
L2(mul_u64, uint64_t, a *b)
W2(mul_hi_u16, uint16_t, (uint32_t)a *b >> 16)
W2(mul_hi_s16, int16_t, (uint16_t)((int32_t)a *b >> 16))
W2(mul_hi_u32, uint32_t, (uint64_t)a *b >> 32)
W2(mul_hi_s32, int32_t, (uint64_t)((int64_t)a *b) >> 32)
L2(mul_hi_u64, uint64_t, (wide_u)a *b >> 64)
L2(mul_hi_s64, int64_t, (wide_s)a *b >> 64)
W2(mul_wide_u16, uint16_t, (uint32_t)a *b)
W2(mul_wide_s16, int16_t, (int32_t)a *b)
OP2(mul_wide_u32, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t, (uint64_t)a *b)
OP2(mul_wide_s32, uint64_t, int32_t, uint32_t, int32_t, uint32_t, (int64_t)a *b)
W3(mad_u16, uint32_t, (uint16_t)(a *b + c))
W3(mad_u32, uint32_t, a *b + c)
L3(mad_u64, uint64_t, a *b + c)
W3(mad_hi_u32, uint32_t, (uint32_t)((uint64_t)a *b >> 32) + c)
W3(mad_hi_s32, int32_t, (uint32_t)((uint64_t)((int64_t)a *b) >> 32) + (uint32_t)c)
L3(mad_hi_u64, uint64_t, (uint64_t)((wide_u)a *b >> 64) + c)
L3(mad_hi_s64, int64_t, (uint64_t)((wide_s)a *b >> 64) + (uint64_t)c)
OP3(mad_wide_u16, uint32_t, uint16_t, uint32_t, uint16_t, uint32_t, uint32_t, uint32_t,
    (uint32_t)a *b + c)
OP3(mad_wide_s16, uint32_t, int16_t, uint32_t, int16_t, uint32_t, uint32_t, uint32_t,
    (uint32_t)((int32_t)a *b) + c)
OP3(mad_wide_u32, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t, uint64_t, uint64_t,
    (uint64_t)a *b + c)
OP3(mad_wide_s32, uint64_t, int32_t, uint32_t, int32_t, uint32_t, uint64_t, uint64_t,
    (uint64_t)((int64_t)a *b) + c)

/* ---- divide: by zero gives all bits, the remainder the dividend, as the hardware does ---- */
W2(div_u16, uint16_t, b ? a / b : 0xffff)
W2(div_s16, int16_t, (uint16_t)(b ? a / b : -1))
W2(div_u32, uint32_t, b ? a / b : 0xffffffff)
W2(div_s32, int32_t, b ? (int64_t)a / b : -1)
L2(div_u64, uint64_t, b ? a / b : ~0ull)
L2(div_s64, int64_t, b == 0 ? -1 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b)
W2(rem_u16, uint16_t, b ? a % b : a)
W2(rem_s16, int16_t, (uint16_t)(b ? a % b : a))
W2(rem_u32, uint32_t, b ? a % b : a)
W2(rem_s32, int32_t, b ? (int64_t)a % b : a)
L2(rem_u64, uint64_t, b ? a % b : a)
L2(rem_s64, int64_t, b == 0 ? a : b == -1 ? 0 : a % b)

/* ---- sign, smaller, larger ---- */
W1(abs_s16, int16_t, (uint16_t)(a < 0 ? -a : a))
W1(abs_s32, uint32_t, a >> 31 ? 0 - a : a)
L1(abs_s64, uint64_t, a >> 63 ? 0 - a : a)
W1(neg_s16, uint32_t, (uint16_t)(0 - a))
W1(neg_s32, uint32_t, 0 - a)
L1(neg_s64, uint64_t, 0 - a)
W2(min_u16, uint16_t, MIN(a, b))
W2(min_s16, int16_t, (uint16_t)MIN(a, b))
W2(min_u32, uint32_t, MIN(a, b))
W2(min_s32, int32_t, MIN(a, b))
W2(min_s32_relu, int32_t, MAX(MIN(a, b), 0))
L2(min_u64, uint64_t, MIN(a, b))
L2(min_s64, int64_t, MIN(a, b))
W2(max_u16, uint16_t, MAX(a, b))
W2(max_s16, int16_t, (uint16_t)MAX(a, b))
W2(max_u32, uint32_t, MAX(a, b))
W2(max_s32, int32_t, MAX(a, b))
W2(max_s32_relu, int32_t, MAX(MAX(a, b), 0))
L2(max_u64, uint64_t, MAX(a, b))
L2(max_s64, int64_t, MAX(a, b))

#define HIGH(T, v)       ((T)((v) >> 16))
#define LOW(T, v)        ((T)(v))
#define PAIR(high, low)  ((uint32_t)(uint16_t)(high) << 16 | (uint16_t)(low))
#define BOTH(F, T, a, b) PAIR(F(HIGH(T, a), HIGH(T, b)), F(LOW(T, a), LOW(T, b)))
W2(min_u16x2, uint32_t, BOTH(MIN, uint16_t, a, b))
W2(min_s16x2, uint32_t, BOTH(MIN, int16_t, a, b))
W2(max_u16x2, uint32_t, BOTH(MAX, uint16_t, a, b))
W2(max_s16x2, uint32_t, BOTH(MAX, int16_t, a, b))

W3(sad_u16, uint16_t, (uint16_t)(c + MAX(a, b) - MIN(a, b)))
W3(sad_s16, int16_t, (uint16_t)(c + MAX(a, b) - MIN(a, b)))
W3(sad_u32, uint32_t, c + MAX(a, b) - MIN(a, b))
W3(sad_s32, int32_t, (uint32_t)c + (uint32_t)MAX(a, b) - (uint32_t)MIN(a, b))
L3(sad_u64, uint64_t, c + MAX(a, b) - MIN(a, b))
L3(sad_s64, int64_t, (uint64_t)c + (uint64_t)MAX(a, b) - (uint64_t)MIN(a, b))

/* ---- dot products of bytes; of halves with bytes ---- */
#define BYTE(T, v, n) ((int32_t)(T)((v) >> (n)*8))
#define DOT4(TA, TB)                                                                \
    (uint32_t)(BYTE(TA, a, 0) * BYTE(TB, b, 0) + BYTE(TA, a, 1) * BYTE(TB, b, 1) +  \
               BYTE(TA, a, 2) * BYTE(TB, b, 2) + BYTE(TA, a, 3) * BYTE(TB, b, 3)) + \
        c
W3(dp4a_uu, uint32_t, DOT4(uint8_t, uint8_t))
W3(dp4a_us, uint32_t, DOT4(uint8_t, int8_t))
W3(dp4a_su, uint32_t, DOT4(int8_t, uint8_t))
W3(dp4a_ss, uint32_t, DOT4(int8_t, int8_t))
#define DOT2(TA, TB, n) \
    (uint32_t)((int32_t)LOW(TA, a) * BYTE(TB, b, n) + (int32_t)HIGH(TA, a) * BYTE(TB, b, n + 1)) + c
W3(dp2a_lo_uu, uint32_t, DOT2(uint16_t, uint8_t, 0))
W3(dp2a_lo_us, uint32_t, DOT2(uint16_t, int8_t, 0))
W3(dp2a_lo_su, uint32_t, DOT2(int16_t, uint8_t, 0))
W3(dp2a_lo_ss, uint32_t, DOT2(int16_t, int8_t, 0))
W3(dp2a_hi_uu, uint32_t, DOT2(uint16_t, uint8_t, 2))
W3(dp2a_hi_us, uint32_t, DOT2(uint16_t, int8_t, 2))
W3(dp2a_hi_su, uint32_t, DOT2(int16_t, uint8_t, 2))
W3(dp2a_hi_ss, uint32_t, DOT2(int16_t, int8_t, 2))

/* ---- logic ---- */
W2(and_b32, uint32_t, a &b)
L2(and_b64, uint64_t, a &b)
W2(or_b32, uint32_t, a | b)
L2(or_b64, uint64_t, a | b)
W2(xor_b32, uint32_t, a ^ b)
L2(xor_b64, uint64_t, a ^ b)
W1(not_b32, uint32_t, ~a)
L1(not_b64, uint64_t, ~a)
W1(cnot_b16, uint16_t, a == 0)
W1(cnot_b32, uint32_t, a == 0)
L1(cnot_b64, uint64_t, a == 0)

/* Each set bit of the table adds the lanes' bits that are as its index says: 4 is a, 2 b, 1 c. */
static void lop3_b32(const struct insn *i, void *out, const void *const *s)
{
    const uint32_t *pa = s[0], *pb = s[1], *pc = s[2];
    uint32_t *d = out, term[8], t[LANES];
    for (int k = 0; k < 8; k++) term[k] = i->imm2 >> k & 1 ? 0xffffffff : 0;
    EACH
    {
        const uint32_t a = pa[l], b = pb[l], c = pc[l];
        t[l] = (term[7] & a & b & c) | (term[6] & a & b & ~c) | (term[5] & a & ~b & c) |
               (term[4] & a & ~b & ~c) | (term[3] & ~a & b & c) | (term[2] & ~a & b & ~c) |
               (term[1] & ~a & ~b & c) | (term[0] & ~a & ~b & ~c);
    }
    memcpy(d, t, sizeof t);
}

/* ---- shifts: by more than the width gives 0 or the sign ---- */
W2(shl_b16, uint32_t, b > 15 ? 0 : (uint16_t)(a << (b & 15)))
W2(shl_b32, uint32_t, b > 31 ? 0 : a << (b & 31))
OP2(shl_b64, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t, b > 63 ? 0 : a << (b & 63))
OP2(shr_u16, uint32_t, uint16_t, uint32_t, uint32_t, uint32_t, b > 15 ? 0 : a >> (b & 15))
OP2(shr_s16, uint32_t, int16_t, uint32_t, uint32_t, uint32_t, (uint16_t)(a >> MIN(b, 15)))
W2(shr_u32, uint32_t, b > 31 ? 0 : a >> (b & 31))
OP2(shr_s32, uint32_t, int32_t, uint32_t, uint32_t, uint32_t, a >> MIN(b, 31))
OP2(shr_u64, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t, b > 63 ? 0 : a >> (b & 63))
OP2(shr_s64, uint64_t, int64_t, uint64_t, uint32_t, uint32_t, a >> MIN(b, 63))

/* funnel: b above a, by c */
#define FUNNEL ((uint64_t)b << 32 | a)
W3(shf_l_wrap, uint32_t, FUNNEL << (c & 31) >> 32)
W3(shf_l_clamp, uint32_t, FUNNEL << MIN(c, 32) >> 32)
W3(shf_r_wrap, uint32_t, FUNNEL >> (c & 31))
W3(shf_r_clamp, uint32_t, FUNNEL >> MIN(c, 32))

/* ---- permutations of bytes ---- */
static inline uint32_t pick_byte(uint64_t bytes, uint32_t selector)
{
    const uint32_t byte = (uint32_t)(bytes >> (selector & 7) * 8) & 0xff;
    return selector & 8 ? (byte & 0x80 ? 0xff : 0) : byte;
}

static inline uint32_t permute(uint64_t bytes, uint32_t selector)
{
    return pick_byte(bytes, selector) | pick_byte(bytes, selector >> 4) << 8 |
           pick_byte(bytes, selector >> 8) << 16 | pick_byte(bytes, selector >> 12) << 24;
}
W3(prmt_b32, uint32_t, permute(FUNNEL, c))

/* The other modes are permutations that the two low bits of c choose. */
static const uint16_t permute_mode[6][4] = {
    {0x3210, 0x4321, 0x5432, 0x6543}, /* f4e */
    {0x5670, 0x6701, 0x7012, 0x0123}, /* b4e */
    {0x0000, 0x1111, 0x2222, 0x3333}, /* rc8 */
    {0x3210, 0x3211, 0x3222, 0x3333}, /* ecl */
    {0x0000, 0x1110, 0x2210, 0x3210}, /* ecr */
    {0x1010, 0x3232, 0x1010, 0x3232}, /* rc16 */
};
W3(prmt_f4e, uint32_t, permute(FUNNEL, permute_mode[0][c & 3]))
W3(prmt_b4e, uint32_t, permute(FUNNEL, permute_mode[1][c & 3]))
W3(prmt_rc8, uint32_t, permute(FUNNEL, permute_mode[2][c & 3]))
W3(prmt_ecl, uint32_t, permute(FUNNEL, permute_mode[3][c & 3]))
W3(prmt_ecr, uint32_t, permute(FUNNEL, permute_mode[4][c & 3]))
W3(prmt_rc16, uint32_t, permute(FUNNEL, permute_mode[5][c & 3]))

/* ---- fields of bits: of position and length only the low 8 bits count ---- */
static inline uint64_t low_bits(uint32_t n) { return n > 63 ? ~0ull : (1ull << n) - 1; }

static inline uint64_t extract(uint64_t a, uint32_t position, uint32_t length, uint32_t width,
                               int is_signed)
{
    position &= 0xff;
    length &= 0xff;
    if (length == 0) return 0;
    const uint32_t last = MIN(position + length - 1, width - 1);
    const uint64_t sign = is_signed && a >> last & 1 ? ~0ull : 0;
    const uint64_t kept = low_bits(position < width ? MIN(length, width - position) : 0);
    const uint64_t field = position < width ? a >> position & kept : 0;
    return field | (sign & ~kept);
}

static inline uint64_t insert(uint64_t a, uint64_t b, uint32_t position, uint32_t length,
                              uint32_t width)
{
    position &= 0xff;
    length &= 0xff;
    if (position >= width) return b;
    const uint64_t mask = low_bits(length) << position;
    return (b & ~mask) | (a << position & mask);
}

W3(bfe_u32, uint32_t, extract(a, b, c, 32, 0))
W3(bfe_s32, uint32_t, extract(a, b, c, 32, 1))
OP3(bfe_u64, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t,
    extract(a, b, c, 64, 0))
OP3(bfe_s64, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t,
    extract(a, b, c, 64, 1))
OP3(bfi_b32, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
    insert(a, b, c, ((const uint32_t *)s[3])[l], 32))
OP3(bfi_b64, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t,
    insert(a, b, c, ((const uint32_t *)s[3])[l], 64))
W2(bmsk_clamp, uint32_t, a > 31 ? 0 : low_bits(MIN(b, 32)) << a)
W2(bmsk_wrap, uint32_t, low_bits(b & 31) << (a & 31))

/* The highest bit that differs from the sign. */
static inline uint32_t top_bit(uint64_t v)
{
    return v ? 63u - (uint32_t)__builtin_clzll(v) : 0xffffffff;
}
#define SHIFT_TO(width, v) (top_bit(v) == 0xffffffff ? 0xffffffff : (width)-1 - top_bit(v))
#define MAGNITUDE32        (uint32_t)(a ^ (uint32_t)((int32_t)a >> 31))
#define MAGNITUDE64        (a ^ (uint64_t)((int64_t)a >> 63))
W1(bfind_u32, uint32_t, top_bit(a))
W1(bfind_s32, uint32_t, top_bit(MAGNITUDE32))
OP1(bfind_u64, uint32_t, uint64_t, uint64_t, top_bit(a))
OP1(bfind_s64, uint32_t, uint64_t, uint64_t, top_bit(MAGNITUDE64))
W1(bfind_shift_u32, uint32_t, SHIFT_TO(32, a))
W1(bfind_shift_s32, uint32_t, SHIFT_TO(32, MAGNITUDE32))
OP1(bfind_shift_u64, uint32_t, uint64_t, uint64_t, SHIFT_TO(64, a))
OP1(bfind_shift_s64, uint32_t, uint64_t, uint64_t, SHIFT_TO(64, MAGNITUDE64))

static inline uint64_t reverse(uint64_t v)
{
    v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
    v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(v);
}
W1(brev_b32, uint32_t, reverse(a) >> 32)
L1(brev_b64, uint64_t, reverse(a))
W1(clz_b32, uint32_t, a ? __builtin_clz(a) : 32)
OP1(clz_b64, uint32_t, uint64_t, uint64_t, a ? __builtin_clzll(a) : 64)
W1(popc_b32, uint32_t, __builtin_popcount(a))
OP1(popc_b64, uint32_t, uint64_t, uint64_t, __builtin_popcountll(a))

/* ---- addresses of the generic space ---- */
L1(cvta_shared, uint64_t, a + WINDOW_SHARED)
L1(cvta_to_shared, uint64_t, a - WINDOW_SHARED)
L1(cvta_local, uint64_t, a + WINDOW_LOCAL)
L1(cvta_to_local, uint64_t, a - WINDOW_LOCAL)
L1(cvta_param, uint64_t, a + WINDOW_PARAM)
L1(cvta_to_param, uint64_t, a - WINDOW_PARAM)
