/* mma_weight.cuh -- packed weights of the layout family mma, from global memory to fragments
 *
 * The unit is a tile chunk: 16 rows x 64 columns of W.  Both linear kernels bring the tile chunks
 * of TILES neighbouring tiles into one stage of shared memory and leave it as lanes of mma
 * operands.  A stage, all parts multiples of 16 bytes:
 *
 *     codes  [TILES][CODE_BYTES]    as packed: BITS words a lane, plane after plane (layout.h)
 *     sides  [TILES][SIDE_BYTES]    what the chunk's groups need, each [16 rows]:
 *         scales  [CHUNK_GROUPS]    zeros  [CHUNK_GROUPS]    supers {d, dmin} of the chunk
 *
 * Integer codes become exact small integers q - z in the activation type, two a word:
 *     f16    OR the code into the mantissa of 1024 and fuse-multiply-add it down:
 *            (1024 + 2^o q) 2^-o - (1024 2^-o + z), where 2^o q is a code left at bit o of its
 *            half, so that half of the 4-bit codes need no shift
 *     bf16   (128 + q) - (128 + z); 8-bit codes go through f32, bf16 has 8 bits of precision
 * 8-bit floats become the same numbers of 16 bits: sign, exponent, mantissa are moved into place.
 * This divides all of them, denormals too, by 2 to the difference of the biases, and one
 * multiplication puts it right.  0x7f and 0xff, NaN that no quantizer writes, count as +-480; not
 * from sm_89 on, which converts to f16 itself (2 slots for two codes instead of 5).
 * Codes that are looked up become the nearest 16-bit number (of IQ4 and E2M1: the number) by byte
 * permutations, which look four codes up in eight bytes: lower and upper half of the table, and
 * one more to choose between them, for the lower bytes of four numbers and for the upper ones.
 * The four pairs of a step take 22 slots and 8 moves, as an instruction has room for one constant
 * (E2M1 in f16, whose lower bytes are 0: 16 and 4); integers take 9.  Keeping the table in
 * registers was tried: the assembler knows it for constant.  Shuffles or a table in shared memory
 * would cost a slot, or a bank conflict, for every code.
 * Scales meet the f32 sums of their group, not the codes: nothing is rounded before the output.
 * A float minimum m adds m * (sum of the group's activations), which one more mma with a matrix of
 * ones gives.  Multiplying codes by scales in 16 bits would save the second set of accumulators and
 * cost 2^-11 (f16) or 2^-9 (bf16) of every weight. */
#ifndef MMA_WEIGHT_CUH
#define MMA_WEIGHT_CUH

#include "code_values.h"
#include "qk.cuh"

constexpr int QK_TILE = 16;  /* rows of W in a tile */
constexpr int QK_CHUNK = 64; /* columns of W in a chunk */
constexpr int QK_STEP = 16;  /* columns that one mma takes */
constexpr int QK_STEPS = QK_CHUNK / QK_STEP;
constexpr int QK_SUPER = 256; /* columns under one pair {d, dmin} */

enum qk_zero { QK_ZERO_NONE, QK_ZERO_INT, QK_ZERO_FLOAT };
enum qk_code { QK_CODE_INT, QK_CODE_E4M3, QK_CODE_NF4, QK_CODE_IQ4, QK_CODE_E2M1 };

struct qk_two_level { /* scale type: int8 under an f16 of 256 columns */
    typedef signed char raw;
    QK float get(raw v) { return (float)v; }
};

template <class A, class B> constexpr bool qk_same = false;
template <class A> constexpr bool qk_same<A, A> = true;

/* A scale of a group.  To let NaN, which no quantizer writes, count as a number saves half of the
 * conversion of a byte. */
template <class T> QK float qk_group_scale(typename T::raw v)
{
    if constexpr (qk_same<T, qk_e8m0>) return __uint_as_float(max((u32)v << 23, 0x400000u));
    else if constexpr (qk_same<T, qk_e4m3>)
        return __uint_as_float((u32)(signed char)v << 20 & 0x87f00000u) * 0x1p120f;
    else return T::get(v);
}

template <class T> QK typename T::raw qk_shared_raw(u32 at)
{
    if constexpr (sizeof(typename T::raw) == 4) return __uint_as_float(qk_shared_load4(at));
    else if constexpr (sizeof(typename T::raw) == 2) return (typename T::raw)qk_shared_load2(at);
    else return (typename T::raw)qk_shared_load1(at);
}

template <bool, class A, class B> struct qk_choice { typedef A type; };
template <class A, class B> struct qk_choice<false, A, B> { typedef B type; };
template <bool WHICH, class A, class B> using qk_choose = typename qk_choice<WHICH, A, B>::type;

/* ---- codes that are not integers ---- */

template <int CODE> constexpr float qk_code_value(int code)
{
    constexpr float nf4[QK_VALUES] = {QK_NF4_VALUES}, iq4[QK_VALUES] = {QK_IQ4_VALUES},
                    e2m1[QK_VALUES] = {QK_E2M1_VALUES};
    return CODE == QK_CODE_NF4 ? nf4[code] : CODE == QK_CODE_IQ4 ? iq4[code] : e2m1[code];
}

/* The number of one code in f32, without a table in memory: 15 choices. */
template <int CODE, int FIRST = 0, int COUNT = QK_VALUES> QK float qk_choose_value(u32 code)
{
    constexpr int HALF = COUNT / 2;
    if constexpr (COUNT == 1) return qk_code_value<CODE>(FIRST);
    else return code & HALF ? qk_choose_value<CODE, FIRST + HALF, HALF>(code)
                            : qk_choose_value<CODE, FIRST, HALF>(code);
}

/* The nearest 16-bit float, to even, of a number within its normal range, or 0 (which loses its
 * sign). */
constexpr u32 qk_round16(float v, int mantissa, int bias)
{
    if (v == 0.0f) return 0;
    float m = v < 0.0f ? -v : v;
    int exponent = bias;
    for (; m < 1.0f; m *= 2.0f) exponent--;
    for (; m >= 2.0f; m /= 2.0f) exponent++;
    m *= 1 << mantissa;
    u32 whole = (u32)m;
    const float rest = m - whole;
    if (rest > 0.5f || (rest == 0.5f && whole % 2 == 1)) whole++;
    return (v < 0.0f ? 0x8000u : 0u) + ((u32)(exponent - 1) << mantissa) + whole;
}

/* Codes looked up in a table of 16 numbers of type ACT. */
template <int CODE, class ACT> struct qk_lookup {
    /* Lower (byte 0) or upper bytes (1) of four numbers of the table. */
    static constexpr u32 four(int first, int byte)
    {
        constexpr bool HALF = qk_same<ACT, qk_f16>;
        u32 bytes = 0;
        for (int i = 0; i < 4; i++) {
            const float v = qk_code_value<CODE>(first + i);
            const u32 number = HALF ? qk_round16(v, 10, 15) : qk_round16(v, 7, 127);
            bytes |= (number >> 8 * byte & 0xffu) << 8 * i;
        }
        return bytes;
    }

    /* Those bytes of four codes: of each the lower three bits are a nibble of `low`, the fourth one
     * chooses between bytes i and i + 4 in nibble i of `half`. */
    template <int BYTE> QK u32 look_up(u32 low, u32 half)
    {
        constexpr u32 a = four(0, BYTE), b = four(4, BYTE), c = four(8, BYTE), d = four(12, BYTE);
        if constexpr ((a | b | c | d) == 0) return 0; /* E2M1 in f16 needs no lower bytes */
        return __byte_perm(__byte_perm(a, b, low), __byte_perm(c, d, low), half);
    }

    /* The four pairs of a step, from their word of the plane. */
    QK void pairs(u32 *a, u32 word)
    {
        const u32 w = __byte_perm(word, 0, 0x3120); /* nibbles k, k, k + 1, k + 1 of two pairs */
        const u32 low = w & 0x77777777u, half = qk_and_or(w >> 1, 0x44444444u, 0x32103210u);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const u32 lower = look_up<0>(low >> 16 * i, half >> 16 * i);
            const u32 upper = look_up<1>(low >> 16 * i, half >> 16 * i);
            a[2 * i] = __byte_perm(lower, upper, 0x6240);
            a[2 * i + 1] = __byte_perm(lower, upper, 0x7351);
        }
    }
};

/* 8-bit floats in the lower or upper bytes of both halves of a word as numbers of type T. */
#if __CUDA_ARCH__ >= 890
QK u32 qk_from_e4m3(qk_f16, u32 word, bool upper)
{
    u32 v;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;"
        : "=r"(v)
        : "h"((u16)__byte_perm(word, 0, upper ? 0x31 : 0x20)));
    return v;
}
#else
QK u32 qk_from_e4m3(qk_f16, u32 word, bool upper)
{
    const u32 v = upper ? word : word << 8;
    return qk_fma2(qk_f16(), qk_and_or(v, 0x80008000u, v >> 1 & 0x3f803f80u), 0x5c005c00u, 0);
}
#endif

QK u32 qk_from_e4m3(qk_bf16, u32 word, bool upper)
{
    const u32 v = upper ? word : word << 8;
    return qk_fma2(qk_bf16(), qk_and_or(v, 0x80008000u, v >> 4 & 0x07f007f0u), 0x7b807b80u, 0);
}

/* ---- packed weights ---- */

/* BITS 2..8, or 16: dense, values of type ACT.  GROUP: a multiple of 16; 0: the row. */
template <int BITS, int GROUP, class SCALE, int ZERO, class ACT, int CODE = QK_CODE_INT>
struct qk_packed {
    static constexpr bool DENSE = BITS == 16;
    static constexpr bool HALF = qk_same<ACT, qk_f16>;
    static constexpr bool TWO_LEVEL = qk_same<SCALE, qk_two_level>;
    static constexpr bool LOOKED_UP = CODE >= QK_CODE_NF4;
    static constexpr bool ONE_SCALE = qk_same<SCALE, qk_e4m3>; /* of the matrix, besides groups' */
    static constexpr bool SUMS = ZERO == QK_ZERO_FLOAT; /* group sums of x are needed */
    /* Integer sums of whole rows meet their scales at the end: stages go without. */
    static constexpr bool LATE_SCALES = qk_same<ACT, qk_i8> && GROUP == 0 && !SUMS &&
                                        !(ZERO == QK_ZERO_INT && BITS == 8);

    /* Groups that neither divide a chunk nor are whole chunks: each step as if it were one. */
    static constexpr int CHUNK_GROUPS = GROUP % QK_CHUNK == 0   ? 1
                                        : QK_CHUNK % GROUP == 0 ? QK_CHUNK / GROUP
                                                                : QK_STEPS;
    static constexpr int GROUP_STEPS = QK_STEPS / CHUNK_GROUPS;
    static constexpr int CODE_BYTES = BITS * 128;
    static constexpr int SCALE_STRIDE =
        DENSE || LATE_SCALES ? 0 : QK_TILE * (int)sizeof(typename SCALE::raw);
    static constexpr int ZERO_STRIDE = ZERO == QK_ZERO_NONE  ? 0
                                       : ZERO == QK_ZERO_INT ? QK_TILE
                                                             : SCALE_STRIDE;
    static constexpr int SCALES_BYTES = CHUNK_GROUPS * SCALE_STRIDE;
    static constexpr int ZEROS_BYTES = CHUNK_GROUPS * ZERO_STRIDE;
    static constexpr int SUPER_BYTES = TWO_LEVEL ? 2 * QK_TILE * 2 : 0;
    static constexpr int SIDE_BYTES = SCALES_BYTES + ZEROS_BYTES + SUPER_BYTES;

    /* Codes left at bit o of a 16-bit half: which o occur.  Several planes are joined at bit 0. */
    static constexpr bool IN_PLACE = HALF && (BITS == 2 || BITS == 4);
    static constexpr int OFFSETS = IN_PLACE ? 8 / BITS : 1;

    /* What the bodies ask: bytes see mma_byte.cuh. */
    static constexpr int PIECES = 8; /* of 16 bytes in a chunk of x */
    static constexpr int WORDS = 2;  /* of B in an mma */
    using part = float;              /* what an mma adds to */
    using total = float;             /* what is kept over chunks */

    /* Group `member` of a chunk as a group of the row. */
    QK int group(int chunk, int member)
    {
        if constexpr (GROUP == 0) return 0;
        else return (u32)(chunk * QK_CHUNK + member * (QK_CHUNK / CHUNK_GROUPS)) / GROUP;
    }

    /* ---- global memory to a stage ---- */

    /* What one of THREADS threads copies of every stage. */
    template <int TILES, int THREADS> struct source {
        static constexpr int CODE_PIECES = TILES * CODE_BYTES / 16;
        static constexpr int SIDE_PIECES = TILES * SIDE_BYTES / 16;
        static constexpr int CODES = (CODE_PIECES + THREADS - 1) / THREADS;
        static constexpr int SIDES = (SIDE_PIECES + THREADS - 1) / THREADS;
        static constexpr int COPIES = CODES + SIDES;
        static constexpr int BYTES = TILES * (CODE_BYTES + SIDE_BYTES);

        const u8 *code[CODES];                  /* at chunk 0 */
        const u8 *side[SIDES > 0 ? SIDES : 1];  /* at group (super) 0 */
        int stride[SIDES > 0 ? SIDES : 1];      /* bytes from group to group */
        int member[SIDES > 0 ? SIDES : 1];      /* group within the chunk; -1: a super */
        int rank, G;

        /* Tiles beyond N read the last tile: legal bytes for rows that are never stored. */
        __device__ __forceinline__ source(const qk_weight &w, int tile0, int thread)
            : rank(thread), G(w.G)
        {
            const int last = (w.N + QK_TILE - 1) / QK_TILE - 1;
            const qk_i64 chunks = (w.K + QK_CHUNK - 1) / QK_CHUNK;
#pragma unroll
            for (int i = 0; i < CODES; i++) {
                const int piece = i * THREADS + rank;
                const int tile = min(tile0 + piece / (CODE_BYTES / 16), last);
                code[i] = (const u8 *)w.codes + tile * chunks * CODE_BYTES +
                          piece % (CODE_BYTES / 16) * 16;
            }
#pragma unroll
            for (int i = 0; i < SIDES; i++) {
                const int piece = i * THREADS + rank;
                aim(i, w, min(tile0 + piece / (SIDE_BYTES / 16), last),
                    piece % (SIDE_BYTES / 16) * 16);
            }
        }

        /* Side i is the 16 bytes at `at` of a tile's side. */
        __device__ __forceinline__ void aim(int i, const qk_weight &w, int tile, int at)
        {
            if (at < SCALES_BYTES) {
                aim_at_group(i, w.scales, (qk_i64)tile * w.G, SCALE_STRIDE, at);
            } else if (at < SCALES_BYTES + ZEROS_BYTES) {
                aim_at_group(i, w.zeros, (qk_i64)tile * w.G, ZERO_STRIDE, at - SCALES_BYTES);
            } else {
                at -= SCALES_BYTES + ZEROS_BYTES;
                const qk_i64 supers = (w.K + QK_SUPER - 1) / QK_SUPER;
                side[i] = (const u8 *)w.supers + tile * supers * SUPER_BYTES + at;
                stride[i] = SUPER_BYTES;
                member[i] = -1;
            }
        }

        /* Byte `at` of the chunk's groups in a section whose groups have `bytes`. */
        __device__ __forceinline__ void aim_at_group(int i, const void *section, qk_i64 first,
                                                     int bytes, int at)
        {
            const int group_bytes = bytes > 0 ? bytes : 1;
            side[i] = (const u8 *)section + first * bytes + at % group_bytes;
            stride[i] = bytes;
            member[i] = at / group_bytes;
        }

        /* Start this thread's copies of one chunk into the stage at `to`; groups that the row does
         * not have become zero.  Takes slots first .. first + COPIES - 1 of `copy`. */
        template <class COPY>
        __device__ __forceinline__ void start(COPY &copy, int first, u32 to, int chunk) const
        {
#pragma unroll
            for (int i = 0; i < CODES; i++) {
                const int piece = i * THREADS + rank;
                if ((i + 1) * THREADS <= CODE_PIECES || piece < CODE_PIECES)
                    copy.start(first + i, to + piece * 16, code[i] + (qk_i64)chunk * CODE_BYTES,
                               16);
            }
#pragma unroll
            for (int i = 0; i < SIDES; i++) {
                const int piece = i * THREADS + rank;
                const bool super = TWO_LEVEL && member[i] < 0;
                const int index = super ? chunk / (QK_SUPER / QK_CHUNK) : group(chunk, member[i]);
                if ((i + 1) * THREADS <= SIDE_PIECES || piece < SIDE_PIECES)
                    copy.start(first + CODES + i, to + TILES * CODE_BYTES + piece * 16,
                               side[i] + (qk_i64)index * stride[i],
                               super || index < G ? 16 : 0);
            }
        }
    };

    /* ---- a stage to fragments ---- */

    /* The codes of one tile chunk that a lane owns: its 16 pairs of layout.h. */
    struct codes {
        u32 word[BITS];
        __device__ __forceinline__ void load(u32 at, int lane)
        {
            int first = 0;
#pragma unroll
            for (int width = 16; width > 0; width /= 2) {
                if (!(BITS & width)) continue;
                load_plane(width, first, at + first * 128, lane);
                first += width;
            }
        }

      private:
        __device__ __forceinline__ void load_plane(int width, int first, u32 at, int lane)
        {
            if (width == 1) {
                word[first] = qk_shared_load4(at + lane * 4);
            } else if (width == 2) {
                const uint2 v = qk_shared_load8(at + lane * 8);
                word[first] = v.x, word[first + 1] = v.y;
            } else {
#pragma unroll
                for (int i = 0; i < width; i += 4) {
                    const uint4 v = qk_shared_load16(at + i * 128 + lane * 16);
                    word[first + i] = v.x, word[first + i + 1] = v.y;
                    word[first + i + 2] = v.z, word[first + i + 3] = v.w;
                }
            }
        }
    };

    /* Scale, zero point and minimum of row r in group `member` of a tile whose side is at `at`. */
    struct side {
        u32 at;
        int member, r;

        __device__ __forceinline__ side(u32 at, int member, int r) : at(at), member(member), r(r) {}
        __device__ __forceinline__ float scale() const
        {
            if constexpr (DENSE) return 1.0f;
            else return one(at + member * SCALE_STRIDE) * super(0);
        }
        __device__ __forceinline__ float minimum() const
        {
            return one(at + SCALES_BYTES + member * ZERO_STRIDE) * super(1);
        }
        __device__ __forceinline__ u32 zero_point() const
        {
            return qk_shared_load1(at + SCALES_BYTES + member * ZERO_STRIDE + r);
        }

      private:
        __device__ __forceinline__ float one(u32 from) const
        {
            from += r * (int)sizeof(typename SCALE::raw);
            return qk_group_scale<SCALE>(qk_shared_raw<SCALE>(from));
        }
        __device__ __forceinline__ float super(int which) const
        {
            if constexpr (!TWO_LEVEL) return 1.0f;
            const u32 from = at + SCALES_BYTES + ZEROS_BYTES + (which * QK_TILE + r) * 2;
            return qk_f16::get(qk_shared_raw<qk_f16>(from));
        }
    };

    /* What turns the sums of one group into y: rows g (0) and g + 8 (1) of a tile. */
    struct scaling {
        float scale[2], minimum[2];
        u32 bias[2][OFFSETS]; /* - (what is added to a code + its zero point) */

        /* `at`: the tile's side; `member`: group within the chunk; `row`: lane / 4 */
        __device__ __forceinline__ void load(u32 at, int member, int row)
        {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const side of(at, member, row + 8 * h);
                scale[h] = of.scale();
                if constexpr (SUMS) minimum[h] = of.minimum();
                u32 zero = ZERO == QK_ZERO_NONE ? 1u << (BITS - 1) : 0u;
                if constexpr (ZERO == QK_ZERO_INT) zero = of.zero_point();
#pragma unroll
                for (int i = 0; i < OFFSETS; i++) bias[h][i] = bias_of(zero, i * BITS);
            }
        }

        /* acc += scale * part (+ minimum * sum); part and sum are mma results. */
        template <class VALUES>
        __device__ __forceinline__ void add(float *acc, const float *part, const float *sum,
                                            const VALUES &) const
        {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                acc[i] = fmaf(scale[i / 2], part[i], acc[i]);
                if constexpr (SUMS) acc[i] = fmaf(minimum[i / 2], sum[i % 2], acc[i]);
            }
        }

      private:
        /* f16: -(1024 2^-o + z): 1024 2^-o has exponent 25 - o, and its last place is 2^-o. */
        __device__ __forceinline__ static u32 bias_of(u32 zero, int o)
        {
            if constexpr (HALF) return qk_twice(0xe400u - ((u32)o << 10) + (zero << o));
            else if constexpr (BITS < 8) return qk_twice(0xc300u + zero);
            else return 0x4b000000u + zero; /* f32: 2^23 + z */
        }
    };

    /* The fragment of step `step`: a[0..3] of qk_mma. */
    QK void fragment(u32 *a, const codes &c, const scaling &s, int step)
    {
#pragma unroll
        for (int p = 0; p < 4; p++) {
            if constexpr (DENSE) a[p] = c.word[4 * step + p];
            else if constexpr (CODE == QK_CODE_INT)
                a[p] = integer(pair(c, 4 * step + p), s.bias[p % 2], offset(4 * step + p));
            else if constexpr (CODE == QK_CODE_E4M3)
                a[p] = qk_from_e4m3(ACT(), c.word[2 * step + p / 2], p % 2);
        }
        if constexpr (LOOKED_UP) qk_lookup<CODE, ACT>::pairs(a, c.word[step]);
    }

    /* A fragment of ones: every row of its product is the column sums. */
    QK void ones(u32 *a)
    {
#pragma unroll
        for (int p = 0; p < 4; p++) a[p] = HALF ? 0x3c003c00u : 0x3f803f80u;
    }

    /* Add a b to what gathers over the group. */
    QK void gather(float *, float *part, const u32 *a, const u32 *b, bool first)
    {
        mma(part, a, b, first);
    }
    QK void mma(float *part, const u32 *a, const u32 *b, bool first)
    {
        qk_mma(ACT(), part, a, b, first);
    }

    /* What the gathered sums of a tile's rows g and g + 8 are worth: they have met their scales,
     * but not the one of the whole matrix. */
    struct worth {
        float matrix;
        __device__ __forceinline__ void load(const qk_weight &w, int, int)
        {
            matrix = ONE_SCALE ? *(const float *)w.supers : 1.0f;
        }
        __device__ __forceinline__ float of(const float *acc, int i) const
        {
            return acc[i] * matrix;
        }
    };

    /* The bit of its half at which pair P is left. */
    QK int offset(int P) { return IN_PLACE ? BITS * P % 8 : 0; }

    /* Both codes of pair P under the exponent that makes them numbers (none for 8 bits in bf16). */
    QK u32 pair(const codes &c, int P)
    {
        u32 v = HALF ? 0x64006400u : BITS < 8 ? 0x43004300u : 0u;
        int first = 0, base = offset(P);
#pragma unroll
        for (int width = 8; width > 0; width /= 2) {
            if (!(BITS & width)) continue;
            const u32 word = c.word[first + P * width / 16];
            const int shift = P * width % 16 - base;
            v = qk_and_or(shift > 0 ? word >> shift : word << -shift,
                          qk_twice(((1u << width) - 1) << base), v);
            first += width;
            base += width;
        }
        return v;
    }

    /* Pair 2 i (second 0: row g) or 2 i + 1 (1: row g + 8) of a lane as plain 16-bit integers, from
     * the words of a tile chunk in global memory. */
    QK u32 plain(const u32 *words, int lane, int i, int second)
    {
        u32 v = 0;
        int first = 0, base = 0;
#pragma unroll
        for (int width = 8; width > 0; width /= 2) {
            if (!(BITS & width)) continue;
            const int j = i * width / 8; /* both rows are in one word, the second one behind */
            const u32 word = words[first * 32 + (width < 4 ? lane * width + j
                                                           : j / 4 * 128 + lane * 4 + j % 4)];
            const int bit = 2 * i * width % 16 + width * second;
            v |= (word >> bit & qk_twice((1u << width) - 1)) << base;
            first += width;
            base += width;
        }
        return v;
    }

    /* The codes of a pair less their zero point, as numbers. */
    QK u32 integer(u32 v, const u32 *bias, int o)
    {
        if constexpr (HALF)
            return qk_fma2(qk_f16(), v, qk_twice(0x3c00u - (o << 10)), bias[o / BITS]);
        else if constexpr (BITS < 8) return qk_fma2(qk_bf16(), v, 0x3f803f80u, bias[0]);
        else {
            const float b = __uint_as_float(bias[0]);
            const u32 lo = __float_as_uint(__uint_as_float(0x4b000000u | (v & 0xffffu)) - b);
            const u32 hi = __float_as_uint(__uint_as_float(0x4b000000u | v >> 16) - b);
            return __byte_perm(lo, hi, 0x7632);
        }
    }
};

/* ---- activations ---- */

/* Rows of x lie in shared memory as 64 columns, 128 bytes, whose eight 16-byte pieces are permuted
 * by the row number: eight rows of one piece, what ldmatrix reads at a time, meet all 32 banks.
 * The rows of a stage start at a multiple of 128 bytes, so that the piece `n` of the row of which
 * `at` is piece p lies at  at ^ (n ^ p) * 16. */
QK u32 qk_swizzle(int row, int piece)
{
    return row * 128 + ((piece ^ (row & 7)) << 4);
}

/* What one of THREADS threads copies of a stage of ROWS rows of x: piece thread % 8 of every
 * THREADS / 8 th row.  Rows beyond M repeat the last: legal bytes for sums that are not stored. */
template <int ROWS, int THREADS> struct qk_rows {
    static constexpr int ROW_BYTES = 128;
    static constexpr int COPIES = (ROWS * 8 + THREADS - 1) / THREADS;
    static constexpr int BYTES = ROWS * ROW_BYTES;

    const u16 *from[COPIES];
    u32 to[COPIES];
    int thread, K;
    bool aligned;

    QK u32 at(int row, int piece) { return qk_swizzle(row, piece); }
    struct values {
        __device__ __forceinline__ void load(u32, int, int) {}
    };

    __device__ __forceinline__ qk_rows(const qk_linear &a, int m0, int rank)
        : thread(rank), K(a.w.K), aligned(((u64)a.x & 15) == 0 && a.ldx % 8 == 0)
    {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int row = (i * THREADS + thread) / 8;
            from[i] = (const u16 *)a.x + min(m0 + row, a.M - 1) * a.ldx + thread % 8 * 8;
            to[i] = qk_swizzle(row, thread % 8);
        }
    }

    /* Start this thread's copies of 64 columns; columns from K on become zero.  Rows that are not
     * 16-byte aligned are gathered, half by half: slow, legal. */
    template <class COPY>
    __device__ __forceinline__ void start(COPY &copy, int first, u32 stage, int chunk) const
    {
        const int k = chunk * QK_CHUNK;
        const int left = min(max(K - k - thread % 8 * 8, 0), 8);
        if (aligned) {
#pragma unroll
            for (int i = 0; i < COPIES; i++)
                if (mine(i)) copy.start(first + i, stage + to[i], from[i] + k, left * 2);
        } else {
#pragma unroll
            for (int i = 0; i < COPIES; i++)
#pragma unroll 1
                for (int c = 0; mine(i) && c < 8; c++)
                    qk_shared_store2(stage + to[i] + 2 * c, c < left ? from[i][k + c] : (u16)0);
        }
    }

    __device__ __forceinline__ bool mine(int i) const
    {
        return (i + 1) * THREADS <= ROWS * 8 || i * THREADS + thread < ROWS * 8;
    }
};

/* ---- results ---- */

/* What a row of sums is worth: itself. */
struct qk_plain_row {
    __device__ __forceinline__ qk_plain_row(const qk_linear &, int) {}
    __device__ __forceinline__ float of(float y, float) const { return y; }
};

/* y(m, n) = v, or part `part` of it when K is split. */
template <class OUT> QK void qk_put(const qk_linear &a, int part, int m, int n, float v)
{
    if (a.split > 1) a.partial[((qk_i64)part * a.M + m) * a.w.N + n] = v;
    else qk_store<OUT>(a.y, m * a.ldy + n, v);
}

/* The first of part `part` when `count` chunks of K are cut into `parts`; the next part's first is
 * its end.  32 bits hold it for up to 64 parts of 2^32 columns. */
QK int qk_part_begin(int count, int part, int parts)
{
    return (int)((u32)count * (u32)part / (u32)parts);
}

#endif
