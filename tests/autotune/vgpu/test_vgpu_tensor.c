/* test_vgpu_tensor.c -- contract of autotune/vgpu/tensor.h
 *
 * Elements are put into and taken from registers by the fragment formulas of the PTX ISA (groupID =
 * lane / 4, threadID_in_group = lane % 4); products are naive sums in double and in 64-bit integers.
 *
 * - there are the mma and wgmma that ptxas knows, with their registers, and no others
 * - mma and wgmma of small whole numbers are exact, for every shape and all types
 * - of random numbers they are within the rounding of k + 1 sums in f32
 * - integers wrap around, or clamp with .satfinite
 * - NaN and infinities propagate, NaN as the canonical one; tf32 ignores the low 13 bits
 * - d may be c
 * - with .block_scale each block of k counts times the scales that the selectors point at, of the
 *   shapes, types and selectors that ptxas accepts
 * - wgmma takes A from registers or rows, starts from zero with scale_d 0, negates
 * - every kind of processor that runs here gives the same bits
 * - ldmatrix, stmatrix and movmatrix move what the ISA says, plain and .trans
 * - a descriptor finds pieces where the canonical layouts have them
 */
#include "tensor.h"

#include <math.h>
#include <string.h>

#include "helpers.h"
#include "numbers.h"
#include "simd.h"

enum { MOST_N = 256, MOST_K = 64, MOST_REGISTERS = 128 };

/* ---- types ---- */

static int bits_of(enum tensor_type t)
{
    switch (t) {
    case TENSOR_F16:
    case TENSOR_BF16: return 16;
    case TENSOR_TF32:
    case TENSOR_F32:
    case TENSOR_S32: return 32;
    case TENSOR_E2M1: return 4;
    default: return 8;
    }
}

static float float_of(uint32_t w)
{
    float v;
    memcpy(&v, &w, sizeof v);
    return v;
}

static uint32_t word_of(float v)
{
    uint32_t w;
    memcpy(&w, &v, sizeof w);
    return w;
}

static double decode(enum tensor_type t, uint32_t code)
{
    switch (t) {
    case TENSOR_F16: return (double)numbers_from_f16((uint16_t)code);
    case TENSOR_BF16: return (double)numbers_from_bf16((uint16_t)code);
    case TENSOR_TF32: return (double)float_of(code & ~0x1fffu);
    case TENSOR_E4M3: return (double)numbers_from_e4m3((uint8_t)code);
    case TENSOR_E5M2: return (double)numbers_from_e5m2((uint8_t)code);
    case TENSOR_E2M1: return (double)numbers_from_e2m1((uint8_t)code);
    case TENSOR_E2M1_BYTE: return (double)numbers_from_e2m1((uint8_t)(code >> 2));
    case TENSOR_S8: return (int8_t)code;
    case TENSOR_U8: return (uint8_t)code;
    case TENSOR_F32: return (double)float_of(code);
    default: return (int32_t)code;
    }
}

static uint32_t encode(enum tensor_type t, float v)
{
    switch (t) {
    case TENSOR_F16: return numbers_to_f16(v, ROUND_RN, 0, 0);
    case TENSOR_BF16: return numbers_to_bf16(v, ROUND_RN, 0, 0);
    case TENSOR_TF32:
    case TENSOR_F32: return word_of(v);
    case TENSOR_E4M3: return numbers_to_e4m3(v, 0);
    case TENSOR_E5M2: return numbers_to_e5m2(v, 0);
    case TENSOR_E2M1: return numbers_to_e2m1(v, 0);
    case TENSOR_E2M1_BYTE: return (uint32_t)numbers_to_e2m1(v, 0) << 2;
    case TENSOR_S8: return (uint8_t)(int)v;
    case TENSOR_U8: return (uint8_t)(int)v;
    default: return (uint32_t)(int32_t)v;
    }
}

/* ---- fragments, by the formulas of the ISA ---- */

struct place {
    int row, column;
};

/* Element i of a lane's fragment of A. */
static struct place place_a(int m, enum tensor_type t, int lane, int i)
{
    const int group = lane >> 2, thread = lane % 4;
    if (m == 8) return (struct place){group, thread * 4 + i}; /* m8n8k16 of 8 bits */
    switch (bits_of(t)) {
    case 16: /* m16n8k8 has i < 4 only */
        return (struct place){i < 2 || (4 <= i && i < 6) ? group : group + 8,
                              thread * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
    case 8: /* m16n8k16 has i < 8 only */
        return (struct place){i < 4 || (8 <= i && i < 12) ? group : group + 8,
                              thread * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
    case 4: /* m16n8k64 */
        return (struct place){i < 8 || (16 <= i && i < 24) ? group : group + 8,
                              thread * 8 + (i & 7) + (i >= 16 ? 32 : 0)};
    default: /* tf32; m16n8k4 has i < 2 only */
        return (struct place){i == 0 || i == 2 ? group : group + 8, i < 2 ? thread : thread + 4};
    }
}

static struct place place_b(enum tensor_type t, int lane, int i)
{
    const int group = lane >> 2, thread = lane % 4;
    switch (bits_of(t)) {
    case 16: return (struct place){thread * 2 + (i & 1) + (i >= 2 ? 8 : 0), group};
    case 8: return (struct place){thread * 4 + (i & 3) + (i >= 4 ? 16 : 0), group};
    case 4: return (struct place){thread * 8 + (i & 7) + (i >= 8 ? 32 : 0), group};
    default: return (struct place){i == 0 ? thread : thread + 4, group};
    }
}

/* C and D of mma have n = 8; of wgmma this is the warp's quarter of m64nN. */
static struct place place_c(int m, int lane, int i)
{
    const int group = lane >> 2, thread = lane % 4;
    if (m == 8) return (struct place){group, thread * 2 + i};
    return (struct place){i % 4 < 2 ? group : group + 8, (i / 4) * 8 + thread * 2 + (i & 1)};
}

struct problem {
    int m, n, k;
    enum tensor_type d, a, b;
    uint32_t a_code[16][MOST_K], b_code[MOST_K][MOST_N], c_code[16][MOST_N], d_code[16][MOST_N];
    uint32_t a_register[4][32], b_register[4][32], d_register[MOST_REGISTERS][32];
};

static uint32_t *element_word(uint32_t (*r)[32], enum tensor_type t, int lane, int i)
{
    return &r[i * bits_of(t) / 32][lane];
}

static void put(uint32_t (*r)[32], enum tensor_type t, int lane, int i, uint32_t code)
{
    const int bits = bits_of(t), shift = i * bits % 32;
    const uint32_t mask = bits == 32 ? ~0u : ((1u << bits) - 1) << shift;
    uint32_t *w = element_word(r, t, lane, i);
    *w = (*w & ~mask) | (code << shift & mask);
}

static uint32_t get(uint32_t (*r)[32], enum tensor_type t, int lane, int i)
{
    const int bits = bits_of(t);
    const uint32_t w = *element_word(r, t, lane, i) >> i * bits % 32;
    return bits == 32 ? w : w & ((1u << bits) - 1);
}

static void to_registers(struct problem *p)
{
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < p->m * p->k / 32; i++) {
            const struct place at = place_a(p->m, p->a, lane, i);
            put(p->a_register, p->a, lane, i, p->a_code[at.row][at.column]);
        }
        for (int i = 0; i < 8 * p->k / 32 && p->n == 8; i++) {
            const struct place at = place_b(p->b, lane, i);
            put(p->b_register, p->b, lane, i, p->b_code[at.row][at.column]);
        }
        for (int i = 0; i < p->m * p->n / 32; i++) {
            const struct place at = place_c(p->m, lane, i);
            put(p->d_register, p->d, lane, i, p->c_code[at.row][at.column]);
        }
    }
}

static void from_registers(struct problem *p)
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < p->m * p->n / 32; i++) {
            const struct place at = place_c(p->m, lane, i);
            p->d_code[at.row][at.column] = get(p->d_register, p->d, lane, i);
        }
}

/* ---- problems ---- */

typedef uint32_t maker(enum tensor_type t, uint64_t *seed);

/* Whole numbers that every type has, with sums that f16 has. */
static uint32_t whole(enum tensor_type t, uint64_t *seed)
{
    const int v = (int)(random_word(seed) % 9) - 4;
    return encode(t, (float)(t == TENSOR_U8 && v < 0 ? v + 256 : v));
}

static uint32_t uniform(enum tensor_type t, uint64_t *seed)
{
    const uint32_t w = (uint32_t)random_word(seed);
    if (t == TENSOR_S8 || t == TENSOR_U8 || t == TENSOR_S32) return w;
    return encode(t, random_float(seed) * 3);
}

/* Any bits at all: subnormals, infinities, NaN. */
static uint32_t anything(enum tensor_type t, uint64_t *seed)
{
    (void)t;
    return (uint32_t)random_word(seed);
}

static void fill(struct problem *p, maker *make, uint64_t *seed)
{
    for (int i = 0; i < p->m; i++)
        for (int k = 0; k < p->k; k++) p->a_code[i][k] = make(p->a, seed);
    for (int k = 0; k < p->k; k++)
        for (int j = 0; j < p->n; j++) p->b_code[k][j] = make(p->b, seed);
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->n; j++) p->c_code[i][j] = make(p->d, seed);
}

struct sums {
    double d, magnitude; /* c + sum a b; |c| + sum |a b| */
};

static struct sums naive(const struct problem *p, int i, int j, int with_c, int sign)
{
    const double c = with_c ? decode(p->d, p->c_code[i][j]) : 0;
    struct sums s = {c, fabs(c)};
    for (int k = 0; k < p->k; k++) {
        const double ab = decode(p->a, p->a_code[i][k]) * decode(p->b, p->b_code[k][j]);
        s.d += sign * ab;
        s.magnitude += fabs(ab);
    }
    return s;
}

static void expect_exact(const struct problem *p, int with_c, int sign)
{
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->n; j++) {
            const double want = naive(p, i, j, with_c, sign).d;
            const double got = decode(p->d, p->d_code[i][j]);
            if (got != want) fail_msg("d[%d][%d] is %g, not %g", i, j, got, want);
        }
}

/* k products and c, each sum rounded to 24 bits at worst in the direction of all others; f16 results
 * to 11 bits more. */
static void expect_close(const struct problem *p)
{
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->n; j++) {
            const struct sums s = naive(p, i, j, 1, 1);
            const double got = decode(p->d, p->d_code[i][j]);
            double bound = (p->k + 1) * s.magnitude * 0x1p-24;
            if (p->d == TENSOR_F16) bound += fabs(s.d) * 0x1p-11 + 0x1p-25;
            if (!(fabs(got - s.d) <= bound))
                fail_msg("d[%d][%d] is %.9g, not %.9g within %g", i, j, got, s.d, bound);
        }
}

/* ---- mma ---- */

static const enum tensor_type inputs[] = {TENSOR_F16,  TENSOR_BF16, TENSOR_TF32,
                                          TENSOR_E4M3, TENSOR_E5M2, TENSOR_S8,
                                          TENSOR_U8,   TENSOR_E2M1, TENSOR_E2M1_BYTE};
static const enum tensor_type results[] = {TENSOR_F16, TENSOR_F32, TENSOR_S32};
enum { INPUTS = 9, RESULTS = 3 };

static int is_float_byte(enum tensor_type t)
{
    return t == TENSOR_E4M3 || t == TENSOR_E5M2 || t == TENSOR_E2M1_BYTE;
}

/* What ptxas 13.0 accepts: shape, D = C, A, B ("8-bit floats", "8-bit integers" in all pairs). */
static int mma_exists(const struct tensor_mma *op)
{
    const enum tensor_type a = op->a, b = op->b, d = op->d;
    const int f8 = is_float_byte(a) && is_float_byte(b);
    const int i8 = (a == TENSOR_S8 || a == TENSOR_U8) && (b == TENSOR_S8 || b == TENSOR_U8);
    const int byte = a == TENSOR_E2M1_BYTE || b == TENSOR_E2M1_BYTE;
    const int k = op->k, f = d == TENSOR_F16 || d == TENSOR_F32;
    if (op->c != d || op->n != 8 || (op->saturate && !i8)) return 0;
    if (i8) return d == TENSOR_S32 && (op->m == 8 ? k == 16 : op->m == 16 && (k == 16 || k == 32));
    if (op->m != 16) return 0;
    if (f8) return f && ((k == 16 && !byte) || k == 32);
    if (a != b) return 0;
    if (a == TENSOR_F16) return f && (k == 8 || k == 16);
    if (a == TENSOR_BF16) return d == TENSOR_F32 && (k == 8 || k == 16);
    return a == TENSOR_TF32 && d == TENSOR_F32 && (k == 4 || k == 8);
}

typedef void mma_visitor(const struct tensor_mma *op, void *context);

/* Calls for every shape and type that could be written, existing or not. */
static int for_each_mma(mma_visitor *visit, void *context, int existing)
{
    int count = 0;
    for (int m = 8; m <= 16; m += 8)
        for (int k = 4; k <= 64; k *= 2)
            for (int d = 0; d < RESULTS * RESULTS; d++)
                for (int ab = 0; ab < INPUTS * INPUTS; ab++)
                    for (int saturate = 0; saturate < 2; saturate++) {
                        const struct tensor_mma op = {
                            .m = m,
                            .n = 8,
                            .k = k,
                            .d = results[d % RESULTS],
                            .c = results[d / RESULTS],
                            .a = inputs[ab % INPUTS],
                            .b = inputs[ab / INPUTS],
                            .saturate = saturate,
                        };
                        if (existing && !mma_exists(&op)) continue;
                        visit(&op, context);
                        count++;
                    }
    return count;
}

static void run_mma(struct problem *p, const struct tensor_mma *op)
{
    uint32_t *d[4];
    const uint32_t *a[4], *b[4];
    for (int i = 0; i < 4; i++) d[i] = p->d_register[i];
    for (int i = 0; i < 4; i++) a[i] = p->a_register[i];
    for (int i = 0; i < 4; i++) b[i] = p->b_register[i];
    to_registers(p);
    tensor_mma(op, d, a, b, (const uint32_t *const *)d);
    from_registers(p);
}

static void start_mma(struct problem *p, const struct tensor_mma *op, maker *make, uint64_t *seed)
{
    memset(p, 0, sizeof *p);
    p->m = op->m, p->n = op->n, p->k = op->k, p->d = op->d, p->a = op->a, p->b = op->b;
    fill(p, make, seed);
}

static void check_registers(const struct tensor_mma *op, void *context)
{
    (void)context;
    int count[4];
    const int answer = tensor_mma_registers(op, count);
    assert_int_equal(answer, mma_exists(op) ? 0 : -1);
    if (answer) return;
    assert_int_equal(count[0], op->m * 8 * bits_of(op->d) / 1024);
    assert_int_equal(count[1], op->m * op->k * bits_of(op->a) / 1024);
    assert_int_equal(count[2], 8 * op->k * bits_of(op->b) / 1024);
    assert_int_equal(count[3], count[0]);
}

static void mma_are_those_of_ptxas(void **state)
{
    (void)state;
    for_each_mma(check_registers, NULL, 0);
    int count[4];
    const struct tensor_mma other = {16, 16, 16, TENSOR_F32, TENSOR_F16, TENSOR_F16, TENSOR_F32, 0};
    assert_int_equal(tensor_mma_registers(&other, count), -1);
    const struct tensor_mma known = {16, 8, 16, TENSOR_F32, TENSOR_F16, TENSOR_F16, TENSOR_F32, 0};
    assert_int_equal(tensor_mma_registers(&known, count), 0);
    assert_int_equal(count[0] * 1000 + count[1] * 100 + count[2] * 10 + count[3], 4424);
}

static void check_whole(const struct tensor_mma *op, void *seed)
{
    struct problem p;
    for (int i = 0; i < 20; i++) {
        start_mma(&p, op, whole, seed);
        run_mma(&p, op);
        expect_exact(&p, 1, 1);
    }
}

static void mma_of_whole_numbers_is_exact(void **state)
{
    (void)state;
    uint64_t seed = 11;
    assert_int_equal(for_each_mma(check_whole, &seed, 1), 2 * 2 + 2 + 2 + (4 + 9) * 2 + 2 * 3 * 4);
}

static void check_random(const struct tensor_mma *op, void *seed)
{
    struct problem p;
    for (int i = 0; i < 20 && op->d != TENSOR_S32; i++) {
        start_mma(&p, op, uniform, seed);
        run_mma(&p, op);
        expect_close(&p);
    }
}

static void mma_of_random_numbers_is_close(void **state)
{
    (void)state;
    uint64_t seed = 12;
    for_each_mma(check_random, &seed, 1);
}

static int64_t integer_want(const struct problem *p, const struct tensor_mma *op, int i, int j)
{
    int64_t d = (int32_t)p->c_code[i][j];
    for (int k = 0; k < p->k; k++)
        d += (int64_t)decode(p->a, p->a_code[i][k]) * (int64_t)decode(p->b, p->b_code[k][j]);
    if (op->saturate) return d > INT32_MAX ? INT32_MAX : d < INT32_MIN ? INT32_MIN : d;
    return (int32_t)(uint32_t)(uint64_t)d;
}

/* Extreme factors, and addends near both ends. */
static uint32_t extreme(enum tensor_type t, uint64_t *seed)
{
    const uint32_t w = (uint32_t)random_word(seed);
    if (t == TENSOR_S32) return (w & 1 ? 0x7fffffffu : 0x80000000u) + (w >> 8) % 5000000 - 2500000;
    return t == TENSOR_U8 ? (w & 1 ? 255 : 254) : (w % 8 ? 0x80 : 0x7f);
}

static void check_integers(const struct tensor_mma *op, void *seed)
{
    struct problem p;
    for (int round = 0; round < 40 && op->d == TENSOR_S32; round++) {
        start_mma(&p, op, round % 2 ? extreme : uniform, seed);
        run_mma(&p, op);
        for (int i = 0; i < p.m; i++)
            for (int j = 0; j < p.n; j++)
                assert_int_equal((int32_t)p.d_code[i][j], integer_want(&p, op, i, j));
    }
}

static void integers_wrap_or_clamp(void **state)
{
    (void)state;
    uint64_t seed = 13;
    for_each_mma(check_integers, &seed, 1);
}

/* Row 0: a NaN; row 1: infinity times 0; row 2: infinities of both signs; row 3: one infinity.  e4m3 has
 * no infinity, only NaN. */
static void check_special(const struct tensor_mma *op, void *seed)
{
    if (op->d == TENSOR_S32 || op->a == TENSOR_E2M1_BYTE) return;
    struct problem p;
    start_mma(&p, op, whole, seed);
    for (int k = 0; k < p.k; k++)
        for (int j = 0; j < 8; j++) p.b_code[k][j] = encode(p.b, 1);
    const int infinities = op->a != TENSOR_E4M3;
    p.a_code[0][p.k - 1] = op->a == TENSOR_E4M3   ? 0xff
                           : op->a == TENSOR_E5M2 ? 0xfe
                                                  : encode(p.a, NAN);
    if (infinities) {
        const uint32_t infinity = op->a == TENSOR_E5M2 ? 0x7c : encode(p.a, INFINITY);
        const uint32_t minus = op->a == TENSOR_E5M2 ? 0xfc : encode(p.a, -INFINITY);
        p.a_code[1][1] = p.a_code[2][0] = p.a_code[3][2] = infinity;
        p.a_code[2][3] = minus;
        p.b_code[1][5] = encode(p.b, 0);
    }
    run_mma(&p, op);
    const uint32_t nan = op->d == TENSOR_F16 ? 0x7fff : 0x7fffffff;
    for (int j = 0; j < 8; j++) {
        assert_int_equal(p.d_code[0][j], nan);
        if (!infinities) continue;
        if (j == 5) assert_int_equal(p.d_code[1][j], nan);
        assert_int_equal(p.d_code[2][j], nan);
        assert_true(decode(p.d, p.d_code[3][j]) == (double)INFINITY);
        assert_true(isfinite(decode(p.d, p.d_code[4][j])));
    }
}

static void nan_and_infinities_propagate(void **state)
{
    (void)state;
    uint64_t seed = 14;
    for_each_mma(check_special, &seed, 1);
}

static void tf32_ignores_low_bits(void **state)
{
    (void)state;
    uint64_t seed = 15;
    const struct tensor_mma op = {16, 8, 8, TENSOR_F32, TENSOR_TF32, TENSOR_TF32, TENSOR_F32, 0};
    struct problem p, clean;
    start_mma(&p, &op, uniform, &seed);
    clean = p;
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < 16; i++) clean.a_code[i][k] &= ~0x1fffu;
        for (int j = 0; j < 8; j++) clean.b_code[k][j] &= ~0x1fffu;
    }
    run_mma(&p, &op);
    run_mma(&clean, &op);
    assert_memory_equal(p.d_register, clean.d_register, sizeof p.d_register);
}

static void d_may_be_c(void **state)
{
    (void)state;
    uint64_t seed = 16;
    const struct tensor_mma op = {16, 8, 16, TENSOR_F32, TENSOR_F16, TENSOR_F16, TENSOR_F32, 0};
    struct problem p;
    start_mma(&p, &op, uniform, &seed);
    to_registers(&p);
    uint32_t apart[4][32], *d[4] = {apart[0], apart[1], apart[2], apart[3]};
    const uint32_t *a[4], *b[4], *c[4];
    for (int i = 0; i < 4; i++)
        a[i] = p.a_register[i], b[i] = p.b_register[i], c[i] = p.d_register[i];
    tensor_mma(&op, d, a, b, c);
    run_mma(&p, &op);
    assert_memory_equal(apart, p.d_register, sizeof apart);
}

/* ---- block scales ---- */

static int scaled_exists(const struct tensor_mma *op, const struct tensor_scale *s)
{
    if (op->m != 16 || op->d != TENSOR_F32 || op->c != TENSOR_F32 || op->saturate) return 0;
    if (s->byte_a > 3 || s->byte_b > 3 || s->thread_a > 1 || s->thread_b > 3) return 0;
    if (is_float_byte(op->a) && is_float_byte(op->b))
        return op->k == 32 && s->vector == 1 && !s->e4m3;
    if (op->a != TENSOR_E2M1 || op->b != TENSOR_E2M1 || op->k != 64) return 0;
    if (s->vector == 2) return !s->e4m3 && s->byte_a % 2 == 0 && s->byte_b % 2 == 0;
    return s->vector == 4 && s->e4m3 && s->byte_a == 0 && s->byte_b == 0;
}

/* Register bytes of scales, and what they are: scales of rows (columns) and blocks of k. */
struct scales {
    uint32_t a_register[32], b_register[32];
    uint8_t a[16][4], b[8][4];
};

typedef uint8_t scale_maker(uint64_t *seed);

/* Powers of two so near each other that no sum of whole numbers is rounded. */
static uint8_t near_one(uint64_t *seed) { return (uint8_t)(124 + random_word(seed) % 7); }
static uint8_t any_e4m3(uint64_t *seed)
{
    const uint8_t code = (uint8_t)random_word(seed);
    return (code & 0x7f) == 0x7f ? 0x38 : code; /* no NaN; the sign is ignored */
}
static uint8_t far_from_one(uint64_t *seed) { return random_word(seed) & 1 ? 127 + 55 : 127 - 55; }

/* Of each four lanes two have the scales of a row and of the one 8 below, one has a column's. */
static void put_scales(struct scales *s, const struct tensor_scale *at, scale_maker *make,
                       uint64_t *seed)
{
    for (int lane = 0; lane < 32; lane++) {
        s->a_register[lane] = (uint32_t)random_word(seed);
        s->b_register[lane] = (uint32_t)random_word(seed);
        for (int v = 0; v < at->vector; v++) {
            const uint8_t of_a = make(seed), of_b = make(seed);
            const int shift_a = 8 * (at->byte_a + v), shift_b = 8 * (at->byte_b + v);
            if (lane % 4 / 2 == at->thread_a) {
                s->a_register[lane] &= ~(0xffu << shift_a);
                s->a_register[lane] |= (uint32_t)of_a << shift_a;
                s->a[lane / 4 + lane % 2 * 8][v] = of_a;
            }
            if (lane % 4 == at->thread_b) {
                s->b_register[lane] &= ~(0xffu << shift_b);
                s->b_register[lane] |= (uint32_t)of_b << shift_b;
                s->b[lane / 4][v] = of_b;
            }
        }
    }
}

static double scale_value(const struct tensor_scale *at, uint8_t code)
{
    return at->e4m3 ? (double)numbers_from_e4m3(code & 0x7f) : ldexp(1, code - 127);
}

static struct sums naive_scaled(const struct problem *p, const struct scales *s,
                                const struct tensor_scale *at, int i, int j)
{
    const double c = decode(p->d, p->c_code[i][j]);
    struct sums sum = {c, fabs(c)};
    for (int k = 0; k < p->k; k++) {
        const int v = k * at->vector / p->k;
        const double ab = decode(p->a, p->a_code[i][k]) * scale_value(at, s->a[i][v]) *
                          (decode(p->b, p->b_code[k][j]) * scale_value(at, s->b[j][v]));
        sum.d += ab;
        sum.magnitude += fabs(ab);
    }
    return sum;
}

static void run_scaled(struct problem *p, const struct tensor_mma *op, const struct scales *s,
                       const struct tensor_scale *at)
{
    uint32_t *d[4];
    const uint32_t *a[4], *b[4];
    for (int i = 0; i < 4; i++)
        d[i] = p->d_register[i], a[i] = p->a_register[i], b[i] = p->b_register[i];
    to_registers(p);
    tensor_mma_scaled(op, at, d, a, b, (const uint32_t *const *)d, s->a_register, s->b_register);
    from_registers(p);
}

static void check_scaled(const struct tensor_mma *op, const struct tensor_scale *at,
                         scale_maker *make, double tolerance, uint64_t *seed)
{
    struct problem p;
    struct scales s;
    start_mma(&p, op, whole, seed);
    put_scales(&s, at, make, seed);
    run_scaled(&p, op, &s, at);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            const struct sums want = naive_scaled(&p, &s, at, i, j);
            const double got = decode(p.d, p.d_code[i][j]);
            if (!(fabs(got - want.d) <= tolerance * want.magnitude))
                fail_msg("d[%d][%d] is %.9g, not %.9g", i, j, got, want.d);
        }
}

static void check_selectors(const struct tensor_mma *op, int vector, int e4m3, uint64_t *seed)
{
    for (int all = 0; all < 5 * 3 * 5 * 5; all++) {
        const struct tensor_scale at = {e4m3, vector, all % 5, all / 5 % 3, all / 15 % 5, all / 75};
        int count[4];
        const int answer = tensor_mma_scaled_registers(op, &at, count);
        assert_int_equal(answer, scaled_exists(op, &at) ? 0 : -1);
        if (answer) continue;
        assert_int_equal(count[0] * 1000 + count[1] * 100 + count[2] * 10 + count[3], 4424);
        check_scaled(op, &at, e4m3 ? any_e4m3 : near_one, e4m3 ? 5 * 0x1p-24 : 0, seed);
        if (!e4m3) check_scaled(op, &at, far_from_one, 3 * 0x1p-24, seed);
    }
}

static void visit_scaled(const struct tensor_mma *op, void *seed)
{
    for (int vector = 0; vector <= 4; vector++)
        for (int e4m3 = 0; e4m3 < 2; e4m3++) check_selectors(op, vector, e4m3, seed);
}

static void blocks_are_scaled(void **state)
{
    (void)state;
    uint64_t seed = 21;
    for_each_mma(visit_scaled, &seed, 0);
}

/* 2^127 times 2^-127: no step in between may overflow. */
static void extreme_scales_cancel(void **state)
{
    (void)state;
    uint64_t seed = 23;
    const struct tensor_mma op = {16, 8, 32, TENSOR_F32, TENSOR_E4M3, TENSOR_E4M3, TENSOR_F32, 0};
    const struct tensor_scale at = {0, 1, 0, 0, 0, 0};
    struct problem p;
    struct scales s;
    start_mma(&p, &op, whole, &seed);
    memset(s.a_register, 254, sizeof s.a_register);
    memset(s.b_register, 0, sizeof s.b_register);
    run_scaled(&p, &op, &s, &at);
    expect_exact(&p, 1, 1);
}

static void a_scale_may_be_nan(void **state)
{
    (void)state;
    uint64_t seed = 22;
    const struct tensor_mma op = {16, 8, 64, TENSOR_F32, TENSOR_E2M1, TENSOR_E2M1, TENSOR_F32, 0};
    const struct tensor_scale at = {0, 2, 0, 0, 0, 0};
    struct problem p;
    struct scales s;
    start_mma(&p, &op, whole, &seed);
    put_scales(&s, &at, near_one, &seed);
    s.a_register[4 * 3 + 1] |= 0xff00; /* row 11, upper half of k */
    run_scaled(&p, &op, &s, &at);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) assert_int_equal(p.d_code[i][j] == 0x7fffffff, i == 11);
}

/* ---- wgmma ---- */

static int wgmma_exists(const struct tensor_wgmma *op)
{
    const struct tensor_mma like = {.m = 16,
                                    .n = 8,
                                    .k = op->k,
                                    .d = op->d,
                                    .a = op->a,
                                    .b = op->b,
                                    .c = op->d,
                                    .saturate = op->saturate};
    if (op->k * bits_of(op->a) != 256 || !mma_exists(&like)) return 0;
    if (op->a == TENSOR_E2M1_BYTE || op->b == TENSOR_E2M1_BYTE) return 0;
    if (op->d != TENSOR_S32) return op->n >= 8 && op->n <= 256 && op->n % 8 == 0;
    if (op->negate_a || op->negate_b) return 0;
    return op->n == 8 || op->n == 24 || (op->n >= 16 && op->n <= 256 && op->n % 16 == 0);
}

typedef void wgmma_visitor(const struct tensor_wgmma *op, uint64_t *seed);

/* n 0: all that could be written, and beyond. */
static void for_each_wgmma(wgmma_visitor *visit, uint64_t *seed, int n)
{
    for (int at = n ? n : 4; at <= (n ? n : 264); at += 4)
        for (int k = 8; k <= 32; k *= 2)
            for (int d = 0; d < RESULTS; d++)
                for (int ab = 0; ab < INPUTS * INPUTS; ab++)
                    for (int flags = 0; flags < 16; flags++) {
                        const struct tensor_wgmma op = {
                            .n = at,
                            .k = k,
                            .d = results[d],
                            .a = inputs[ab % INPUTS],
                            .b = inputs[ab / INPUTS],
                            .scale_d = flags & 1,
                            .negate_a = flags >> 1 & 1,
                            .negate_b = flags >> 2 & 1,
                            .saturate = flags >> 3 & 1,
                        };
                        if (!n || wgmma_exists(&op)) visit(&op, seed);
                    }
}

static void check_wgmma_registers(const struct tensor_wgmma *op, uint64_t *seed)
{
    (void)seed;
    const int want = wgmma_exists(op) ? op->n * bits_of(op->d) / 64 : -1;
    assert_int_equal(tensor_wgmma_registers(op), want);
}

static void wgmma_are_those_of_ptxas(void **state)
{
    (void)state;
    for_each_wgmma(check_wgmma_registers, NULL, 0);
}

static void put_row(uint8_t *row, enum tensor_type t, int k, uint32_t code)
{
    const int bytes = bits_of(t) / 8;
    memcpy(row + k * bytes, &code, (size_t)bytes); /* little-endian, as a GPU is */
}

static void run_wgmma(struct problem *p, const struct tensor_wgmma *op, int from_rows)
{
    static uint8_t a_rows[16][32], b_rows[MOST_N][32];
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < p->k; k++) put_row(a_rows[i], p->a, k, p->a_code[i][k]);
    for (int j = 0; j < p->n; j++)
        for (int k = 0; k < p->k; k++) put_row(b_rows[j], p->b, k, p->b_code[k][j]);
    to_registers(p);
    uint32_t *d[MOST_REGISTERS];
    const uint32_t *a[4];
    for (int i = 0; i < MOST_REGISTERS; i++) d[i] = p->d_register[i];
    for (int i = 0; i < 4; i++) a[i] = p->a_register[i];
    tensor_wgmma(op, d, from_rows ? NULL : a, from_rows ? a_rows : NULL, b_rows);
    from_registers(p);
}

static void start_wgmma(struct problem *p, const struct tensor_wgmma *op, maker *make,
                        uint64_t *seed)
{
    memset(p, 0, sizeof *p);
    p->m = 16, p->n = op->n, p->k = op->k, p->d = op->d, p->a = op->a, p->b = op->b;
    fill(p, make, seed);
}

static void check_wgmma(const struct tensor_wgmma *op, uint64_t *seed)
{
    static struct problem p;
    const int sign = op->negate_a != op->negate_b ? -1 : 1;
    for (int from_rows = 0; from_rows < 2; from_rows++) {
        start_wgmma(&p, op, whole, seed);
        run_wgmma(&p, op, from_rows);
        expect_exact(&p, op->scale_d, sign);
    }
    if (op->d == TENSOR_S32 || !op->scale_d || sign < 0) return;
    start_wgmma(&p, op, uniform, seed);
    run_wgmma(&p, op, 1);
    expect_close(&p);
}

static void wgmma_is_right(void **state)
{
    (void)state;
    uint64_t seed = 17;
    static const int n[] = {8, 24, 40, 128, 256};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) for_each_wgmma(check_wgmma, &seed, n[i]);
}

/* ---- processors ---- */

static void check_processors(const struct tensor_mma *op, void *seed)
{
    const struct simd *best = simd;
    static struct problem p, again;
    for (int round = 0; round < 6; round++) {
        start_mma(&p, op, round % 2 ? anything : uniform, seed);
        again = p;
        run_mma(&p, op);
        for (int i = 1; simd_at(i); i++) {
            simd = simd_at(i);
            run_mma(&again, op);
            assert_memory_equal(again.d_register, p.d_register, sizeof p.d_register);
        }
        simd = best;
    }
}

static void processors_agree(void **state)
{
    (void)state;
    uint64_t seed = 18;
    for_each_mma(check_processors, &seed, 1);
    assert_ptr_equal(simd, simd_at(0));
}

/* ---- moves ---- */

struct matrices {
    uint16_t element[4][8][8]; /* matrix, row, column */
    void *row[32];
    uint32_t word[4][32];
    uint32_t *reg[4];
};

static void start_matrices(struct matrices *m, uint64_t *seed)
{
    for (int j = 0; j < 4; j++) {
        for (int i = 0; i < 64; i++) m->element[j][i / 8][i % 8] = (uint16_t)random_word(seed);
        for (int i = 0; i < 8; i++) m->row[j * 8 + i] = m->element[j][i];
        for (int l = 0; l < 32; l++) m->word[j][l] = (uint32_t)random_word(seed);
        m->reg[j] = m->word[j];
    }
}

/* Thread l holds elements 2 (l % 4) and the next of row l / 4; with .trans of column l / 4. */
static void expect_moved(const struct matrices *m, int count, int trans)
{
    for (int j = 0; j < count; j++)
        for (int l = 0; l < 32; l++)
            for (int half = 0; half < 2; half++) {
                const int line = l / 4, at = 2 * (l % 4) + half;
                const uint16_t want = trans ? m->element[j][at][line] : m->element[j][line][at];
                assert_int_equal((uint16_t)(m->word[j][l] >> 16 * half), want);
            }
}

static void matrices_are_moved(void **state)
{
    (void)state;
    uint64_t seed = 19;
    for (int count = 1; count <= 4; count *= 2)
        for (int trans = 0; trans < 2; trans++) {
            struct matrices m, before;
            start_matrices(&m, &seed);
            before = m;
            tensor_ldmatrix(m.reg, (const void *const *)m.row, count, trans);
            expect_moved(&m, count, trans);
            if (count < 4) assert_memory_equal(m.word[count], before.word[count], 128);
            start_matrices(&m, &seed);
            before = m;
            tensor_stmatrix((const uint32_t *const *)m.reg, m.row, count, trans);
            expect_moved(&m, count, trans);
            if (count < 4) assert_memory_equal(m.element[count], before.element[count], 128);
        }
}

static void movmatrix_transposes(void **state)
{
    (void)state;
    uint64_t seed = 20;
    struct matrices m;
    start_matrices(&m, &seed);
    uint32_t source[32];
    memcpy(source, m.element[0], sizeof source);
    tensor_movmatrix(m.word[0], source);
    expect_moved(&m, 1, 1);
    tensor_movmatrix(m.word[0], m.word[0]);
    assert_memory_equal(m.word[0], source, sizeof source);
}

/* ---- descriptors ---- */

enum { NO_SWIZZLE, SWIZZLE_128, SWIZZLE_64, SWIZZLE_32 };

static uint64_t descriptor(uint32_t start, uint32_t leading, uint32_t stride, int base, int mode)
{
    return (uint64_t)(start >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
           (uint64_t)base << 49 | (uint64_t)mode << 62;
}

/* Which piece of its row stands at each 16 bytes of an atom: its 8 rows, from the canonical layouts. */
static const struct atom {
    int mode, row_bytes;
    const char *pieces[8];
} atoms[] = {
    {SWIZZLE_128,
     128,
     {"01234567", "10325476", "23016745", "32107654", "45670123", "54761032", "67452301",
      "76543210"}},
    {SWIZZLE_64, 64, {"0123", "0123", "1032", "1032", "2301", "2301", "3210", "3210"}},
    {SWIZZLE_32, 32, {"01", "01", "01", "01", "10", "10", "10", "10"}},
};

static uint32_t address(uint64_t d, int row, int piece)
{
    return tensor_descriptor_base(d) + tensor_descriptor_offset(d, row, piece);
}

static void check_atom(const struct atom *atom)
{
    enum { START = 0x3000, STRIDE = 0x800 };
    for (int row = 0; row < 24; row++)
        for (int at = 0; at < atom->row_bytes / 16; at++) {
            const int piece = atom->pieces[row % 8][at] - '0';
            const uint32_t want =
                (uint32_t)(START + row / 8 * STRIDE + row % 8 * atom->row_bytes + at * 16);
            /* the k step that has it: the start stands 32 bytes further for each */
            const uint64_t d =
                descriptor(START + (uint32_t)(piece / 2) * 32, 16, STRIDE, 0, atom->mode);
            assert_int_equal(tensor_descriptor_base(d), START + piece / 2 * 32);
            assert_int_equal(address(d, row, piece % 2), want);
        }
}

static void swizzled_pieces_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof atoms / sizeof *atoms; i++) check_atom(&atoms[i]);
}

static void plain_pieces_are_found(void **state)
{
    (void)state;
    /* core matrices: 8 rows of 16 bytes in 128 */
    const uint64_t d = descriptor(0x400, 0x880, 0x100, 0, NO_SWIZZLE);
    assert_int_equal(address(d, 0, 0), 0x400);
    assert_int_equal(address(d, 1, 0), 0x410);
    assert_int_equal(address(d, 7, 0), 0x470);
    assert_int_equal(address(d, 8, 0), 0x500);
    assert_int_equal(address(d, 0, 1), 0xc80);
    assert_int_equal(address(d, 19, 1), 0x400 + 0x880 + 2 * 0x100 + 3 * 0x10);
    /* all fields at their widest */
    const uint64_t wide = descriptor(0x3fff0, 0x3fff0, 0x3fff0, 0, NO_SWIZZLE);
    assert_int_equal(tensor_descriptor_base(wide), 0x3fff0);
    assert_int_equal(tensor_descriptor_offset(wide, 0, 1), 0x3fff0);
    assert_int_equal(tensor_descriptor_offset(wide, 8, 0), 0x3fff0);
}

/* A pattern that starts 2 rows of 128 bytes behind a multiple of 1024 says so in its base offset. */
static void a_pattern_may_start_elsewhere(void **state)
{
    (void)state;
    const uint64_t d = descriptor(0x3100, 16, 0x400, 2, SWIZZLE_128);
    for (int row = 0; row < 8; row++)
        for (int at = 0; at < 2; at++) {
            const int position =
                (int)(strchr(atoms[0].pieces[row], '0' + at) - atoms[0].pieces[row]);
            assert_int_equal(address(d, row, at), 0x3100 + row * 128 + position * 16);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mma_are_those_of_ptxas),
        cmocka_unit_test(mma_of_whole_numbers_is_exact),
        cmocka_unit_test(mma_of_random_numbers_is_close),
        cmocka_unit_test(integers_wrap_or_clamp),
        cmocka_unit_test(nan_and_infinities_propagate),
        cmocka_unit_test(tf32_ignores_low_bits),
        cmocka_unit_test(d_may_be_c),
        cmocka_unit_test(blocks_are_scaled),
        cmocka_unit_test(extreme_scales_cancel),
        cmocka_unit_test(a_scale_may_be_nan),
        cmocka_unit_test(wgmma_are_those_of_ptxas),
        cmocka_unit_test(wgmma_is_right),
        cmocka_unit_test(processors_agree),
        cmocka_unit_test(matrices_are_moved),
        cmocka_unit_test(movmatrix_transposes),
        cmocka_unit_test(swizzled_pieces_are_found),
        cmocka_unit_test(plain_pieces_are_found),
        cmocka_unit_test(a_pattern_may_start_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
