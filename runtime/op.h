/* op.h -- what a kernel computes: the op, its scheme and the choices that are compiled in
 *
 * An op_desc is the part of a request that kernel and caller must agree on; two are equal when
 * their bytes are (unused fields are 0).  Its text form is the request's name, for example
 *     linear.w4g128z.f16.f16        op . weight scheme . activation type . output type
 *     linear.w4g128.i8.f32          activations quantized to int8 by the quantize op
 *     embed.w8g32.f32  rmsnorm.f32.f16  rope.halves.f16.f16.h128  attention.f16.f16.h128
 *     glu.silu.f16  add.f16  quantize.f32.i8  reduce.f16  sample  gather.f16  combine.f16.h128
 * A quantized activation carries its form behind the type (enum quant):
 *     linear.w8gc.i8t.f16  linear.e4m3g128.f32.e4m3b.bf16  rmsnorm.f32.i8tz  glu.silu.f16.e4m3t
 */
#ifndef QRT_OP_H
#define QRT_OP_H

#include <stdint.h>

#include "kernel_abi.h"
#include "scheme.h"

enum op {
    OP_LINEAR,
    OP_REDUCE,
    OP_QUANTIZE,
    OP_EMBED,
    OP_RMSNORM,
    OP_ROPE,
    OP_ATTENTION,
    OP_GLU,
    OP_ADD,
    OP_SAMPLE,
    OP_GATHER,
    OP_COMBINE,
    OP_COUNT
};

/* How activations of type i8 or e4m3 are quantized: which values share a scale, and in which order
 * the codes of a row lie (kernel_abi.h, struct qk_quantized). */
enum quant {
    QUANT_NONE,       /* "": not quantized; i8: blocks of 32 with sums, in order (x86) */
    QUANT_TOKEN,      /* "t": a scale per row, or one for all (static) */
    QUANT_TOKEN_ZERO, /* "tz": i8 only: a scale and a zero point per row, or one for all */
    QUANT_BLOCK,      /* "b": a scale per row and 128 columns */
    QUANT_COUNT
};

enum rope_kind { ROPE_PAIRS, ROPE_HALVES };
enum glu_kind { GLU_SILU, GLU_GELU_TANH };
enum { OP_NAME_BYTES = 64 };

struct op_desc {
    uint8_t op;    /* enum op */
    uint8_t kind;  /* enum rope_kind, glu_kind; else 0 */
    uint8_t act;   /* enum elem_type of the input activations */
    uint8_t out;   /* enum elem_type of the output */
    uint8_t kv;    /* enum elem_type of the KV cache: rope, attention; else 0 */
    uint8_t quant; /* enum quant: of linear's input; of quantize's, rmsnorm's, glu's output */
    uint16_t head; /* head size compiled in: rope, attention, combine; else 0 */
    struct scheme weight; /* linear, embed; else zero bytes */
};

/* The argument structs of all ops, by op; `bytes` of each is op_args_bytes(). */
union op_args {
    struct qk_linear linear;
    struct qk_reduce reduce;
    struct qk_quantize quantize;
    struct qk_embed embed;
    struct qk_rmsnorm rmsnorm;
    struct qk_rope rope;
    struct qk_attention attention;
    struct qk_glu glu;
    struct qk_add add;
    struct qk_sample sample;
    struct qk_gather gather;
    struct qk_combine combine;
};

int op_desc_equal(const struct op_desc *a, const struct op_desc *b);
void op_desc_name(const struct op_desc *d, char out[OP_NAME_BYTES]);
qrt_status op_desc_parse(const char *name, struct op_desc *out);
/* QRT_E_FORMAT when a field is out of range: for descriptors read from files. */
qrt_status op_desc_check(const struct op_desc *d);
size_t op_args_bytes(enum op op);
const char *op_name(enum op op);

/* Sizes that a grid may depend on, taken from the arguments of a launch. */
enum dim { DIM_ONE, DIM_M, DIM_N, DIM_K, DIM_HEADS, DIM_KV_HEADS, DIM_SPLIT, DIM_COUNT };
int op_dim(enum op op, const union op_args *a, enum dim dim);
const char *dim_name(enum dim dim); /* "1" "M" "N" "K" "heads" "kv_heads" "split" */

#endif
