/* mma_byte.cuh -- packed weights as bytes beside activations that are bytes: int8 and e4m3
 *
 * Why: weights are packed once, for 16-bit matrix instructions (layout.h, mma), and serve 8-bit
 * ones as well.  What a lane holds of one row and one step s of 16 columns are the codes of four
 * columns, and the four of step s + 1 are the other half of what m16n8k32 wants of it:
 *
 *     A operand, row g     a[0]: bytes 4 t .. 4 t + 3     a[2]: bytes 16 + 4 t .. 16 + 4 t + 3
 *     columns of a lane    2 t, 2 t + 1, 2 t + 8, 2 t + 9 of step s        of step s + 1
 *
 * The order of K is free as long as both operands agree, so the activations are stored in this one
 * (kernel_abi.h, qk_code_index): a 16-byte piece of a row of x is a step, and ldmatrix of pieces s
 * and s + 1 gives b[0] and b[1].
 *
 * Codes become signed bytes without a multiplication, four at a time:
 *     without zero point             q 2^l ^ 0x80 = 2^l (q - 2^(bits-1)), left-justified: l = 8 -
 *                                    bits; sums are divided by 2^l
 *     integer zero, 7 bits or less   ((q | 0x80) - z) ^ 0x80 = q - z: no borrow leaves its byte
 *     float minimum, 7 or less       q
 *     either, 8 bits                 q ^ 0x80 = q - 128
 *     8-bit floats                   the code
 *     looked up                      IQ4 and E2M1 in halves are integers: byte permutations
 * Where the zero point does not fit (8 bits less an integer zero) or is a float, it meets the sum
 * of the group's activations, which one more mma with a matrix of ones gives:
 *     w = s b + m,  b the byte       y += s (sum b x) + m (sum x)
 *
 * Integer sums are exact.  Those of whole rows gather over all of K, which for products of up to
 * 2^14 goes to K = 131071, and meet their scale at the end.  Those of a chunk start at 1.5 2^23, as
 * an integer: as a float the same bits are 1.5 2^23 + sum for every |sum| <= 2^22, so that the
 * conversion is a fused multiply-add (I2F has a quarter or less of its rate).
 * Sums of 8-bit floats start afresh every chunk and are added up in f32: tensor cores keep fewer
 * bits of a sum than f32 has.
 *
 * A row of x with zero point z is worth (code - z).  One more eight of columns, all ones, gives the
 * sums of W under the same scales, and z times them is taken off at the end.  dp4a would give them
 * too, for four slots where this mma is one.  Columns from K on are made 0 in both: padding of W is
 * not 0, and to take its large products off again would cost precision where K is small. */
#ifndef MMA_BYTE_CUH
#define MMA_BYTE_CUH

#include "mma_weight.cuh"

/* ---- matrix instructions ---- */

/* d[16, 8] = a[16, 16 W] b[16 W, 8] + c[16, 8].  With g = lane / 4, t = lane % 4 a lane holds, for
 * each w < W, the bytes 16 w + 4 t .. + 3 of
 *     a[2 w], a[2 w + 1]   rows g, g + 8
 *     b[w]                 column g
 * and c, d as in qk.cuh. */
#if __CUDA_ARCH__ >= 800
template <int W> QK void qk_mma_bytes(qk_i8, int *d, const u32 *a, const u32 *b, const int *c)
{
    if constexpr (W == 2)
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]),
                       "r"(c[1]), "r"(c[2]), "r"(c[3]));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 "
                     "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}
#else
template <int W> QK void qk_mma_bytes(qk_i8, int *d, const u32 *a, const u32 *b, const int *c)
{
#pragma unroll
    for (int w = 0; w < W; w++, c = d)
#pragma unroll
        for (int h = 0; h < 2; h++)
            asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 "
                         "{%0, %1}, {%2}, {%3}, {%4, %5};"
                         : "=r"(d[2 * h]), "=r"(d[2 * h + 1])
                         : "r"(a[2 * w + h]), "r"(b[w]), "r"(c[2 * h]), "r"(c[2 * h + 1]));
}
#endif

/* Native on sm_89 and sm_120.  The assembler takes it for sm_90 and sm_100 as well and emulates it
 * by conversions and 16-bit mma: the templates refuse those. */
template <int W>
QK void qk_mma_bytes(qk_e4m3, float *d, const u32 *a, const u32 *b, const float *c)
{
    static_assert(W == 2, "there is no m16n8k16 of 8-bit floats");
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                   "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

/* ---- weights ---- */

/* Codes that stand for integers: of IQ4 themselves, of E2M1 halves. */
template <int CODE> struct qk_integers {
    static constexpr float UNIT = CODE == QK_CODE_E2M1 ? 0.5f : 1.0f;

    static constexpr u32 four(int first)
    {
        constexpr int iq4[QK_VALUES] = {QK_IQ4_VALUES}, halves[QK_VALUES] = {QK_E2M1_HALVES};
        u32 bytes = 0;
        for (int i = 0; i < 4; i++)
            bytes |= (u32)((CODE == QK_CODE_E2M1 ? halves : iq4)[first + i] & 0xff) << 8 * i;
        return bytes;
    }

    /* Bytes of row g (h = 0) or g + 8 (1) in a step, from its word of the plane, whose nibbles are
     * columns k, k, k + 8, k + 8, k + 1, k + 1, k + 9, k + 9 of the two rows in turn. */
    QK u32 bytes(u32 word, int h)
    {
        const u32 low = word & 0x77777777u;
        const u32 half = qk_and_or(word >> 1, 0x44444444u, 0x32103210u);
        return __byte_perm(look_up(low, half), look_up(low >> 16, half >> 16),
                           h ? 0x7351 : 0x6240);
    }

  private:
    /* Four codes: of each the lower three bits are a nibble of `low`, the fourth one chooses
     * between bytes i and i + 4 in nibble i of `half`. */
    QK u32 look_up(u32 low, u32 half)
    {
        constexpr u32 a = four(0), b = four(4), c = four(8), d = four(12);
        return __byte_perm(__byte_perm(a, b, low), __byte_perm(c, d, low), half);
    }
};

/* BITS 2..8 and ACT qk_i8, or 8 and qk_e4m3.  The rest as in qk_packed, whose copies to a stage
 * this takes as they are. */
template <int BITS, int GROUP, class SCALE, int ZERO, class ACT, int CODE = QK_CODE_INT>
struct qk_bytes : qk_packed<BITS, GROUP, SCALE, ZERO, ACT, CODE> {
    using base = qk_packed<BITS, GROUP, SCALE, ZERO, ACT, CODE>;
    using codes = typename base::codes;
    using integers = qk_integers<CODE>;

    static constexpr bool FLOATS = qk_same<ACT, qk_e4m3>;
    static constexpr bool LOOKED_UP = CODE == QK_CODE_IQ4 || CODE == QK_CODE_E2M1;
    static constexpr bool LESS_ZERO = ZERO == QK_ZERO_INT && BITS < 8; /* bytes are q - z */
    static constexpr bool SUMS = ZERO == QK_ZERO_FLOAT || (ZERO == QK_ZERO_INT && BITS == 8);
    static constexpr bool WHOLE = base::LATE_SCALES; /* sums gather over all of K */
    static constexpr int LEFT = CODE == QK_CODE_INT && ZERO == QK_ZERO_NONE ? 8 - BITS : 0;
    static constexpr float UNIT = LOOKED_UP ? integers::UNIT : 1.0f / (1 << LEFT); /* of a byte */
    static constexpr u32 SIGN = ZERO == QK_ZERO_FLOAT && BITS < 8 ? 0u : 0x80808080u;

    static constexpr int PIECES = 4; /* of 16 bytes in a chunk of x */
    static constexpr int WORDS = base::GROUP_STEPS == 1 ? 1 : 2; /* of B, 16 columns, in an mma */
    static constexpr int GROUP_STEPS = base::GROUP_STEPS / WORDS; /* mma in a group */

    using part = qk_choose<FLOATS, float, int>; /* what an mma adds to */
    using total = qk_choose<WHOLE, int, float>; /* what is kept over chunks */

    struct scaling {
        float scale[2], minimum[2];
        u32 zero[2]; /* in each byte */

        /* `at`: the tile's side; `member`: group within the chunk; `row`: lane / 4 */
        __device__ __forceinline__ void load(u32 at, int member, int row)
        {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const typename base::side side(at, member, row + 8 * h);
                if constexpr (LESS_ZERO) zero[h] = side.zero_point() * 0x01010101u;
                if constexpr (WHOLE) continue;
                scale[h] = side.scale();
                if constexpr (SUMS) minimum[h] = minimum_of(side, scale[h]);
            }
        }

        /* acc += scale * part (+ minimum * sum), times the scales of x where blocks have some. */
        template <class VALUES>
        __device__ __forceinline__ void add(total *acc, const part *p, const part *sum,
                                            const VALUES &x) const
        {
            if constexpr (WHOLE) return;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                acc[i] = fmaf(x.times(scale[i / 2], i % 2), number(p[i]), acc[i]);
                if constexpr (SUMS) acc[i] = fmaf(minimum[i / 2], number(sum[i % 2]), acc[i]);
            }
        }

      private:
        /* m of  w = scale b + m. */
        __device__ __forceinline__ static float minimum_of(const typename base::side &side, float s)
        {
            if constexpr (ZERO == QK_ZERO_INT) return s * (128.0f - (float)side.zero_point());
            else return BITS == 8 ? fmaf(128.0f, s, side.minimum()) : side.minimum();
        }

        __device__ __forceinline__ static float number(float v) { return v; }
        __device__ __forceinline__ static float number(int v) /* of UNIT bytes */
        {
            return fmaf(__int_as_float(v), UNIT, -12582912.0f * UNIT);
        }
    };

    /* a[0 .. 2 WORDS - 1] of step `step` of a chunk. */
    QK void fragment(u32 *a, const codes &c, const scaling &s, int step)
    {
#pragma unroll
        for (int i = 0; i < 2 * WORDS; i++) {
            a[i] = bytes(c, i % 2, step * WORDS + i / 2);
            if constexpr (LESS_ZERO) a[i] = (a[i] - s.zero[i % 2]) ^ SIGN;
        }
    }

    /* A fragment of ones: every row of its product is the column sums. */
    QK void ones(u32 *a)
    {
#pragma unroll
        for (int i = 0; i < 2 * WORDS; i++) a[i] = 0x01010101u;
    }

    /* Add a b to what gathers: over the group, or over K in `acc`. */
    QK void gather(total *acc, part *p, const u32 *a, const u32 *b, bool first)
    {
        if constexpr (WHOLE) qk_mma_bytes<WORDS>(ACT(), acc, a, b, acc);
        else mma(p, a, b, first);
    }

    QK void mma(part *p, const u32 *a, const u32 *b, bool first)
    {
        constexpr part START = FLOATS ? 0 : 0x4b400000;
        const part start[4] = {START, START, START, START};
        qk_mma_bytes<WORDS>(ACT(), p, a, b, first ? start : p);
    }

    /* What the gathered sums of a tile's rows g and g + 8 are worth. */
    struct worth {
        float scale[2];
        __device__ __forceinline__ void load(const qk_weight &w, int tile, int lane)
        {
            typename base::worth all;
            all.load(w, tile, lane);
            const int first = min(tile, (w.N - 1) / QK_TILE) * QK_TILE + lane / 4;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                scale[h] = all.matrix;
                if constexpr (WHOLE) scale[h] *= qk_load<SCALE>(w.scales, first + 8 * h);
            }
        }
        __device__ __forceinline__ float of(const total *acc, int i) const
        {
            return WHOLE ? scale[i / 2] * ((float)acc[i] * UNIT) : scale[i / 2] * acc[i];
        }
    };

  private:
    /* Row g (h = 0) or g + 8 (1) in step `s` of 16 columns, one byte each, in the order of the
     * activations. */
    QK u32 bytes(const codes &c, int h, int s)
    {
        if constexpr (LOOKED_UP) return integers::bytes(c.word[s], h);
        if constexpr (FLOATS) return plane(c.word, 8, 0, h, s, 0);
        u32 v = 0, sign = SIGN;
        int first = 0;
#pragma unroll
        for (int width = 8; width > 0; width /= 2) {
            if (!(BITS & width)) continue;
            v ^= plane(c.word + first, width, first + LEFT, h, s, sign);
            sign = 0;
            first += width;
        }
        return v;
    }

    /* Codes of one plane, at bit `to`, with the bits `sign` turned.  Columns k, k + 1 are bytes 0,
     * 2 of a word, and bytes 1, 3 belong to another row or step: a byte permutation parts them. */
    QK u32 plane(const u32 *word, int width, int to, int h, int s, u32 sign)
    {
        if (width == 8)
            return __byte_perm(word[2 * s], word[2 * s + 1], h ? 0x7531 : 0x6420) ^ sign;
        if (width == 4) /* k, k + 8, k + 1, k + 9 */
            return __byte_perm(field(word[s], 4, 4 * h, to, sign), 0, 0x3120);
        const int other = width == 2 ? s % 2 : s / 2;
        const u32 w = width == 2 ? word[s / 2] : word[0];
        const int bit = width == 2 ? 2 * h : h + 4 * (s % 2);
        return __byte_perm(field(w, width, bit, to, sign),
                           field(w, width, bit + 2 * width, to, sign), other ? 0x7531 : 0x6420);
    }

    /* The fields of `width` bits at bit `from` of the bytes of a word, moved to bit `to`. */
    QK u32 field(u32 word, int width, int from, int to, u32 sign)
    {
        const u32 mask = (((1u << width) - 1) << to) * 0x01010101u;
        return ((from > to ? word >> (from - to) : word << (to - from)) & mask) ^ sign;
    }
};

/* ---- activations ---- */

/* Rows of codes lie in a stage as 64 bytes, four 16-byte pieces, permuted by the number of the pair
 * of rows: eight rows of one piece meet all 32 banks.  As in qk_swizzle, piece `n` of the row of
 * which `at` is piece p lies at  at ^ (n ^ p) * 16.
 * Where blocks of 128 columns have their own scale (BLOCKS), those of the rows lie behind them. */
template <int ROWS, int THREADS, bool BLOCKS> struct qk_code_rows {
    static constexpr int ROW_BYTES = 64;
    static constexpr int COPIES = (ROWS * 4 + THREADS - 1) / THREADS;
    static constexpr int SCALES = BLOCKS ? (ROWS + 7) / 8 * 8 : 0;
    static constexpr int BYTES = ROWS * ROW_BYTES + SCALES * 4;

    const u8 *from[COPIES];
    u32 to[COPIES];
    const float *scale[BLOCKS ? (SCALES + THREADS - 1) / THREADS : 1];
    int thread;

    QK u32 at(int row, int piece) { return row * ROW_BYTES + ((piece ^ (row >> 1 & 3)) << 4); }

    __device__ __forceinline__ qk_code_rows(const qk_linear &a, int m0, int rank) : thread(rank)
    {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int row = (i * THREADS + thread) / 4;
            from[i] = (const u8 *)a.x + min(m0 + row, a.M - 1) * a.ldx + thread % 4 * 16;
            to[i] = at(row, thread % 4);
        }
        if constexpr (BLOCKS)
#pragma unroll
            for (int i = 0; i * THREADS < SCALES; i++)
                scale[i] = a.x_scale + min(m0 + i * THREADS + thread, a.M - 1) * a.lds;
    }

    /* Start this thread's copies of 64 columns.  Rows are whole chunks long and aligned: there is
     * no tail. */
    template <class COPY>
    __device__ __forceinline__ void start(COPY &copy, int first, u32 stage, int chunk) const
    {
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            if ((i + 1) * THREADS <= ROWS * 4 || i * THREADS + thread < ROWS * 4)
                copy.start(first + i, stage + to[i], from[i] + chunk * QK_CHUNK, 16);
        if constexpr (BLOCKS)
#pragma unroll
            for (int i = 0; i * THREADS < SCALES; i++)
                if (i * THREADS + thread < SCALES)
                    qk_copy4(stage + ROWS * ROW_BYTES + (i * THREADS + thread) * 4,
                             scale[i] + chunk / 2);
    }

    /* Where 0xff, in piece i of a chunk of which `left` columns are left, a lane's codes count. */
    QK u32 mask(int left, int i, int lane)
    {
        const int n = left - 16 * i - lane % 4 * 2; /* of columns 0, 1, 8, 9 */
        return (n > 0 ? 0xffu : 0u) | (n > 1 ? 0xff00u : 0u) | (n > 8 ? 0xff0000u : 0u) |
               (n > 9 ? 0xff000000u : 0u);
    }

    /* The scales of a lane's columns of eight `m` of an mma. */
    struct values {
        float2 scale;
        __device__ __forceinline__ void load(u32 stage, int m, int lane)
        {
            if constexpr (BLOCKS) {
                const u32 at = stage + ROWS * ROW_BYTES + m * 32 + lane % 4 * 8;
                const uint2 v = qk_shared_load8(at);
                scale = make_float2(__uint_as_float(v.x), __uint_as_float(v.y));
            }
        }
        __device__ __forceinline__ float times(float v, int j) const
        {
            if constexpr (BLOCKS) return v * (j ? scale.y : scale.x);
            else return v;
        }
    };
};

/* What a row of sums is worth: the scale of its codes, and what their zero point takes off. */
template <bool ZERO> struct qk_row_worth {
    float scale, zero;
    __device__ __forceinline__ qk_row_worth(const qk_linear &a, int m)
        : scale(a.x_scale[m * a.lds]), zero(ZERO ? (float)a.x_zero[m * a.lds] : 0.0f)
    {
    }
    /* `ones`: the sum of the row of W */
    __device__ __forceinline__ float of(float y, float ones) const
    {
        return scale * (ZERO ? fmaf(-zero, ones, y) : y);
    }
};

#endif
