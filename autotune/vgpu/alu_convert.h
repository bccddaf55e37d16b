/* alu_convert.h -- the conversions that kernels use much, and packed ones; part of alu_body.h
 *
 * All others are in op_convert.c, a lane at a time.
 */

W1(mov_b32, uint32_t, a)
L1(mov_b64, uint64_t, a)
W1(cvt_u32_u16, uint16_t, a)
W1(cvt_s32_s16, int16_t, (int32_t)a)
W1(cvt_u32_u8, uint8_t, a)
W1(cvt_s32_s8, int8_t, (int32_t)a)
OP1(cvt_u32_u64, uint32_t, uint64_t, uint64_t, a)
OP1(cvt_u64_u32, uint64_t, uint32_t, uint32_t, a)
OP1(cvt_s64_s32, uint64_t, int32_t, uint32_t, (int64_t)a)
OP1(cvt_f32_s32, float, int32_t, uint32_t, (float)a)
OP1(cvt_f32_u32, float, uint32_t, uint32_t, (float)a)
OP1(cvt_f32_s16, float, int16_t, uint32_t, (float)a)

static void cvt_f32_f16(const struct insn *i, void *out, const void *const *s)
{
    (void)i;
    unpack_f16(out, s[0], 0);
}

OP1(cvt_f32_bf16, float, uint32_t, uint32_t, from_bf16(a & 0xffff))

static void cvt_f16_f32(const struct insn *i, void *out, const void *const *s)
{
    (void)i;
    pack_f16(out, s[0]);
}

OP1(cvt_bf16_f32, uint32_t, float, float, bf16_of(a))

/* d = {a, b}: the first source goes to the upper half */
static void cvt_f16x2_f32(const struct insn *i, void *out, const void *const *s)
{
    uint32_t high[LANES], low[LANES], *d = out;
    (void)i;
    pack_f16(high, s[0]);
    pack_f16(low, s[1]);
    EACH d[l] = high[l] << 16 | low[l];
}

OP2(cvt_bf16x2_f32, uint32_t, float, float, float, float, bf16_of(a) << 16 | bf16_of(b))

#define RELU          ((i->mods & MOD_RELU) != 0)
#define SATURATE      ((i->mods & MOD_SATFINITE) != 0)
#define ROUND         ((enum round)i->round)
#define TO16(type, v) (uint32_t) numbers_to_##type(v, ROUND, SATURATE, RELU)
OP2(cvt_f16x2_f32_any, uint32_t, float, float, float, float, TO16(f16, a) << 16 | TO16(f16, b))
OP2(cvt_bf16x2_f32_any, uint32_t, float, float, float, float, TO16(bf16, a) << 16 | TO16(bf16, b))

/* ---- pairs of 8 and 4 bits ---- */
#define TO8(type, v) (uint32_t) numbers_to_##type(v, RELU)
OP2(cvt_e4m3x2_f32, uint32_t, float, float, float, float, TO8(e4m3, a) << 8 | TO8(e4m3, b))
OP2(cvt_e5m2x2_f32, uint32_t, float, float, float, float, TO8(e5m2, a) << 8 | TO8(e5m2, b))
OP2(cvt_e2m1x2_f32, uint32_t, float, float, float, float, TO8(e2m1, a) << 4 | TO8(e2m1, b))

#define FROM_F16(h) numbers_from_f16((uint16_t)(h))
W1(cvt_e4m3x2_f16x2, uint32_t, TO8(e4m3, FROM_F16(a >> 16)) << 8 | TO8(e4m3, FROM_F16(a)))
W1(cvt_e5m2x2_f16x2, uint32_t, TO8(e5m2, FROM_F16(a >> 16)) << 8 | TO8(e5m2, FROM_F16(a)))

#define F16_OF(v) (uint32_t) numbers_to_f16(v, ROUND_RN, 0, RELU)
W1(cvt_f16x2_e4m3x2, uint32_t,
   F16_OF(numbers_from_e4m3((uint8_t)(a >> 8))) << 16 | F16_OF(numbers_from_e4m3((uint8_t)a)))
W1(cvt_f16x2_e5m2x2, uint32_t,
   F16_OF(numbers_from_e5m2((uint8_t)(a >> 8))) << 16 | F16_OF(numbers_from_e5m2((uint8_t)a)))
W1(cvt_f16x2_e2m1x2, uint32_t,
   F16_OF(numbers_from_e2m1(a >> 4 & 15)) << 16 | F16_OF(numbers_from_e2m1(a & 15)))

OP2(cvt_ue8m0x2_f32, uint32_t, float, float, float, float,
    (uint32_t)numbers_to_e8m0(a, ROUND, SATURATE) << 8 | numbers_to_e8m0(b, ROUND, SATURATE))
W1(cvt_bf16x2_ue8m0x2, uint32_t,
   bf16_of(numbers_from_e8m0((uint8_t)(a >> 8))) << 16 | bf16_of(numbers_from_e8m0((uint8_t)a)))

/* ---- tf32: f32 with 10 bits behind the point, the others zero ---- */
static inline uint32_t tf32_of(uint32_t a, uint32_t add, int relu)
{
    if ((a & 0x7fffffff) > 0x7f800000) return NAN_F32;
    if (relu && a >> 31) return 0;
    return (a & 0x7f800000) == 0x7f800000 ? a : (a + add) & 0xffffe000;
}
W1(cvt_tf32_f32_rna, uint32_t, tf32_of(a, 0x1000, RELU))
W1(cvt_tf32_f32_rn, uint32_t, tf32_of(a, 0xfff + (a >> 13 & 1), RELU))
W1(cvt_tf32_f32_rz, uint32_t, tf32_of(a, 0, RELU))
