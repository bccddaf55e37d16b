/* kernel_abi.h -- arguments of every kernel, one struct per op
 *
 * Why: the runtime, the CUDA templates (NVRTC gets this text from memory) and the x86 templates
 * include this one file, so host and device cannot disagree about a layout.  Every struct has the
 * same size and offsets in C and CUDA C: pointers and 64-bit fields first, then 32-bit fields.
 *
 * Words: M rows of activations (tokens), N outputs, K inputs, G groups along K of a weight.
 * Activations are row-major.  "act" is the activation type the kernel was generated for: f32 on
 * ref and x86, f16 or bf16 on CUDA.  "residual" buffers are f32 on every device.
 *
 * A CUDA kernel is   extern "C" __global__ void NAME(const __grid_constant__ struct qk_OP a);
 * and takes a second argument   const __grid_constant__ struct qk_map x   when its entry says so;
 * an x86 kernel is   void NAME(const struct qk_OP *a, const struct qk_cpu *cpu);
 */
#ifndef QGEN_KERNEL_ABI_H
#define QGEN_KERNEL_ABI_H

typedef long long qk_i64;

/* A packed weight matrix W [N, K]; the layouts of its sections are drawn in layout.h. */
struct qk_weight {
    const void *codes;  /* quantized values, or the values themselves when the scheme is dense */
    const void *scales; /* one per group; 0 when dense */
    const void *zeros;  /* one per group: zero point or minimum; 0 when the scheme has none */
    const void *supers; /* two-level: f16 pairs {d, dmin} per 256 weights; e4m3 scales: one f32 */
    int N, K;
    int G;      /* groups along K: ceil(K / group) */
    int family; /* enum layout_family of the sections; only ref looks, kernels are made for one */
};

/* Quantized activations (op.h, enum quant), of which x[m, k] = scale * (code - zero).
 *
 *   i8 without form ("i8")  a scale per row and 32 columns, sums of 16 codes, codes in order: x86
 *   token ("t")        one scale per row: scale[m * lds], lds >= 1; lds = 0: one for all rows
 *   token, zero ("tz") the same with a zero point: zero[m * lds], -128..127
 *   block ("b")        one scale per row and 128 columns: scale[m * lds + k / 128]
 *
 * The codes of t, tz and b are the operand of 8-bit matrix instructions beside weights that are
 * packed for 16-bit ones (layout.h, mma), so each 16 columns are stored in the order in which a lane
 * needs them:     code of column  k = 16 i + 8 h + 2 t + j   (h, j in 0..1, t in 0..3)
 *                 lies at         16 i + 4 t + 2 h + j
 * (qk_code_index).  Rows start at a multiple of 16 bytes and are a multiple of 64 codes long; codes of
 * columns K.. are such that they count as 0: 0, or the row's zero point.
 * Dynamic: scale = largest |x| / 127 (i8), / 448 (e4m3); tz: scale = (max - min) / 255 with min <= 0
 * <= max, zero = round(-128 - min / scale) clamped.  A row (block) of zeros has scale 0, codes 0 and
 * zero point 0.  code = x / scale + zero rounded to nearest even and clamped to -127..127 (t),
 * -128..127 (tz); e4m3: x / scale in e4m3 to nearest even, clamped to +-448. */
struct qk_quantized {
    float *scale;
    int *zero; /* tz; else 0 */
    const float
        *static_scale; /* t, tz: one scale given beforehand; scale and zero are not written */
    const int *static_zero;
    qk_i64 lds; /* elements of scale and zero from row to row */
};

/* y[M, N] = x[M, K] W^T. */
struct qk_linear {
    struct qk_weight w;
    const void *x;        /* [M, ldx] act; quantized: codes */
    const float *x_scale; /* i8: [M, ldx/32]; forms t, tz, b: as in qk_quantized; else 0 */
    const int *x_zero;    /* form tz; else 0 */
    const short *x_sum;   /* i8: [M, ldx/16] sums of 16 codes; else 0 */
    void *y;              /* [M, ldy] of the kernel's output type */
    float *partial;       /* split-K: f32 [split, M, N] scratch; else 0 */
    qk_i64 ldx, ldy;      /* elements from row to row; i8: 32 ceil(K/32); forms: a multiple of 64 */
    qk_i64 lds;           /* elements of x_scale and x_zero from row to row; 0: one for all rows */
    int M;
    int split; /* parts of K, >= 1: grid.z of a CUDA launch */
};

/* The rows x [M, K] of a linear as the copy engine of sm_90 sees them: a CUtensorMap, opaque.  All
 * zero when they cannot be told to it (a base or a row that is not a multiple of 16 bytes), and then
 * the kernel fetches x itself. */
struct __attribute__((aligned(64))) qk_map {
    unsigned long long word[16];
};

/* y[M, N] = sum over s of partial[s, M, N], s ascending: the second half of a split-K linear. */
struct qk_reduce {
    const float *partial; /* [split, M, N] */
    void *y;              /* [M, ldy] of the linear's output type */
    qk_i64 ldy;
    int M, N, split, pad;
};

/* Quantize activations.  i8 without form: codes = x / scale rounded to nearest even, per row and
 * block of 32 along K; scale = max|x| / 127 of the block, in f32.  Forms: see qk_quantized. */
struct qk_quantize {
    const void *x;         /* [M, ldx] act */
    signed char *code;     /* [M, ldc]; i8: -127..127, columns K..ldc-1 are written 0 */
    float *scale;          /* i8: [M, ldc/32]; forms: 0 */
    short *sum;            /* i8: [M, ldc/16]: sum of 16 codes; forms: 0 */
    struct qk_quantized q; /* forms; else zero bytes */
    qk_i64 ldx, ldc;       /* ldc: a multiple of 32 (i8) or 64 (forms), >= K */
    int M, K;
};

/* y[m, :] = scale * W[id[m], :].  An id outside 0..N-1 gives a row of zeros. */
struct qk_embed {
    struct qk_weight w; /* the table [vocab, K] */
    const int *id;      /* [M] */
    float *y;           /* [M, ldy] residual */
    qk_i64 ldy;
    float scale;
    int M;
};

/* y = x / sqrt(mean(x^2) + eps) * w, for M * heads rows of K elements.
 * Row (m, h) of x starts at m * ldx + h * K; heads is 1 except for the norms of q and k. */
struct qk_rmsnorm {
    const void *x;  /* f32 when the kernel's x type is f32 (a residual), else act */
    const float *w; /* [K] */
    void *y;        /* act; may equal x when the types are equal; quantized: codes, heads is 1 */
    struct qk_quantized q; /* a quantized output; else zero bytes */
    qk_i64 ldx, ldy;
    float eps;
    int M, heads, K;
};

/* Rotate q in place; rotate k and append k and v to the cache at positions position[0] + m.
 * Pair i of a head is (2i, 2i+1) when the kernel's mode is "pairs", (i, i + rotary/2) when
 * "halves"; its angle is pos * inv_freq[i].  Elements from rotary on are copied. */
struct qk_rope {
    void *q;               /* [M, ldq] act: heads x head */
    const void *k;         /* [M, ldk] act: kv_heads x head */
    const void *v;         /* [M, ldv] act: kv_heads x head */
    void *k_cache;         /* [kv_heads, context, head] of the kernel's kv type */
    void *v_cache;         /* the same */
    float *k_scale;        /* kv i8, e4m3: [kv_heads, context], largest |k| / 127 (448); else 0 */
    float *v_scale;        /* the same */
    const float *inv_freq; /* [rotary / 2] */
    const int *position;   /* [1]: the position of row 0 */
    qk_i64 ldq, ldk, ldv;
    int M, heads, kv_heads, head, rotary, context;
};

/* y = softmax(scale * q K^T) V per head over positions p with  pos - window < p <= pos  (window 0:
 * all p <= pos), pos = position[0] + m; head h reads kv head h / (heads / kv_heads). */
struct qk_attention {
    const void *q;       /* [M, ldq] act */
    const void *k_cache; /* [kv_heads, context, head] of the kernel's kv type */
    const void *v_cache;
    const float *k_scale; /* kv i8, e4m3: [kv_heads, context]; else 0 */
    const float *v_scale;
    void *y;         /* [M, ldy] act */
    float *part;     /* split > 1: [split, M, heads, head] unnormalised sums; else 0 */
    float *part_top; /* split > 1: [split, M, heads] largest score * log2 e; -inf: no positions */
    float *part_sum; /* split > 1: [split, M, heads] sums of 2^(score - top) */
    const int *position; /* [1] */
    qk_i64 ldq, ldy;
    float scale;
    int M, heads, kv_heads, head, context, window;
    int split; /* parts of the context, >= 1; > 1: y is left to the op combine */
    int pad;
};

/* y[m, h] = sum over s of 2^(top[s] - T) part[s] / sum over s of 2^(top[s] - T) sum[s], T the largest
 * top, s ascending: the second half of an attention whose context is split over blocks. */
struct qk_combine {
    const float *part; /* as in qk_attention */
    const float *part_top;
    const float *part_sum;
    void *y; /* [M, ldy] act */
    qk_i64 ldy;
    int M, heads, head, split;
};

/* y[m, k] = x[m, index[k]]: activations in the order of weights whose columns were sorted by their
 * group (GPTQ's act-order). */
struct qk_gather {
    const void *x;    /* [M, ldx] act */
    const int *index; /* [K], each within 0 .. K - 1 */
    void *y;          /* [M, ldy] act; not x */
    qk_i64 ldx, ldy;
    int M, K;
};

/* y = f(gate) * up, f = SiLU x/(1+exp(-x)) or GELU by tanh, the kernel's kind. */
struct qk_glu {
    const void *gate;      /* [M, ld] act */
    const void *up;        /* [M, ld] act */
    void *y;               /* [M, ldy] act; quantized: codes */
    struct qk_quantized q; /* a quantized output; else zero bytes */
    qk_i64 ldg, ldu, ldy;
    int M, K;
};

/* x += y; x is a residual. */
struct qk_add {
    float *x;      /* [M, ldx] f32 */
    const void *y; /* [M, ldy] act */
    qk_i64 ldx, ldy;
    int M, K;
};

/* id[m] = arg max over i of  logit[m, i] / temperature + Gumbel(seed, counter, i)  among the i with
 * logit[m, i] / temperature >= max / temperature + ln(min_p); temperature 0: the plain arg max.
 * Ties go to the smallest i.  Gumbel noise: -ln(-ln(u)), u = (qk_hash(seed, counter, i) + 0.5) /
 * 2^32. Sampling by the Gumbel-max trick needs no sort and gives every device the same token. */
struct qk_sample {
    const float *logit; /* [M, ldl] */
    int *id;            /* [M] */
    qk_i64 ldl;
    unsigned long long seed;
    unsigned counter; /* advances by one per sampled token; row m uses counter + m */
    float temperature, min_p;
    int M, N;
    int pad;
};

/* What an x86 kernel gets besides its arguments.  It computes its share, part of parts, and touches
 * nothing outside it; shares do not depend on each other. */
struct qk_cpu {
    int part, parts;
    unsigned features; /* QK_CPU_*: what this processor has beyond the kernel's arch */
    int pad;
    void *scratch; /* this thread's own, QK_SCRATCH_BYTES, 64-byte aligned */
};

#define QK_CPU_AVX_VNNI    1u
#define QK_CPU_AVX512_VNNI 2u
#define QK_CPU_AVX512_BF16 4u
#define QK_SCRATCH_BYTES   262144

/* The counter-based random word of qk_sample: the finalizer of SplitMix64 over seed + (counter, i)
 * * its golden-ratio increment. */
#ifdef __CUDACC__
#define QK_INLINE static __device__ __forceinline__
#else
#define QK_INLINE static inline
#endif
QK_INLINE unsigned qk_hash(unsigned long long seed, unsigned counter, unsigned i)
{
    unsigned long long z = seed + (((unsigned long long)counter << 32) | i) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (unsigned)((z ^ (z >> 31)) >> 32);
}

/* Where the code of column k of a quantized row lies (forms t, tz, b). */
QK_INLINE qk_i64 qk_code_index(qk_i64 k)
{
    return (k & ~(qk_i64)15) | (k & 6) << 1 | (k & 8) >> 2 | (k & 1);
}

#endif
