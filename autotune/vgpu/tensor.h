/* tensor.h -- matrix instructions on the registers of a warp
 *
 * A register of a warp is 32 lanes of 32 bits, contiguous (struct of arrays): `const uint32_t *`
 * below is always such a register.  In this form the fragments of the mma instructions are plain
 * row-major matrices.  No checks, no memory: who calls has gathered the operands.
 * Layouts and rules: PTX ISA 9.0, "Warp Level Matrix Instructions", "Asynchronous Warpgroup Level
 * Matrix Instructions".
 * Integers are exact (wrap around, or .satfinite).  Floating point: products exact, sums in f32,
 * within the error that the hardware is known for (which sums in other orders and truncates).
 */
#ifndef VGPU_TENSOR_H
#define VGPU_TENSOR_H

#include <stdint.h>

enum tensor_type {
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_TF32,
    TENSOR_E4M3,
    TENSOR_E5M2,
    TENSOR_S8,
    TENSOR_U8,
    TENSOR_E2M1,      /* two in a byte, the first in the low bits: kinds mxf4, mxf4nvf4 */
    TENSOR_E2M1_BYTE, /* one in bits 2 .. 5 of a byte: kinds f8f6f4, mxf8f6f4 */
    TENSOR_F32,
    TENSOR_S32 /* accumulators; F16 may be one too */
};

/* mma.sync.aligned.mMnNkK.row.col.D.A.B.C */
struct tensor_mma {
    int m, n, k;
    enum tensor_type d, a, b, c;
    int saturate; /* .satfinite of integers */
};

/* Registers of each operand for this instruction: d, a, b, c; -1 when there is no such instruction. */
int tensor_mma_registers(const struct tensor_mma *op, int count[4]);
/* d may be the same registers as c. */
void tensor_mma(const struct tensor_mma *op, uint32_t *const *d, const uint32_t *const *a,
                const uint32_t *const *b, const uint32_t *const *c);

/* .block_scale: D = (A scale_A) (B scale_B) + C.  Row i of A has `vector` scales, each for k / vector of
 * its elements; so has column j of B.  They are bytes of one register of each: scale s of row i of A in
 * byte byte_a + s of lane 4 (i % 8) + 2 thread_a + i / 8, of column j of B in byte byte_b + s of lane
 * 4 j + thread_b. */
struct tensor_scale {
    int e4m3;   /* .ue4m3, else .ue8m0 */
    int vector; /* .scale_vec::1X, 2X, 4X */
    int byte_a, thread_a, byte_b, thread_b;
};
/* As tensor_mma_registers, and the selectors have to be legal. */
int tensor_mma_scaled_registers(const struct tensor_mma *op, const struct tensor_scale *scale,
                                int count[4]);
void tensor_mma_scaled(const struct tensor_mma *op, const struct tensor_scale *scale,
                       uint32_t *const *d, const uint32_t *const *a, const uint32_t *const *b,
                       const uint32_t *const *c, const uint32_t *scale_a, const uint32_t *scale_b);

/* One warp's quarter (rows 16 w .. 16 w + 15) of wgmma.mma_async.mM64nNkK.
 * a: 4 registers of this warp's fragment, or NULL and a_rows: 16 rows of k elements each (raw bytes,
 * gathered from shared memory).  b_rows: n rows of k elements (column j of B is row j: K-major).
 * d: n / 2 f32 (or s32) registers, n / 4 for f16.  scale_d 0: d = a b, else d += a b; negate as
 * .imm-scale-a/b say. */
struct tensor_wgmma {
    int n, k; /* n 8 .. 256; k 16 (16-bit), 32 (8-bit), 8 (tf32) */
    enum tensor_type d, a, b;
    int scale_d, negate_a, negate_b;
    int saturate; /* .satfinite of integers */
};
/* Registers of d for this instruction; -1 when there is no such instruction. */
int tensor_wgmma_registers(const struct tensor_wgmma *op);
void tensor_wgmma(const struct tensor_wgmma *op, uint32_t *const *d, const uint32_t *const *a,
                  const void *a_rows, const void *b_rows);

/* Rows of a wgmma operand in shared memory: byte offset, from the descriptor's start, of 16-byte piece
 * `piece` of row `row` (K-major; swizzle 0, 32, 64, 128; leading and stride offsets in bytes). */
uint32_t tensor_descriptor_offset(uint64_t descriptor, int row, int piece);
/* Start address, in bytes of shared memory. */
uint32_t tensor_descriptor_base(uint64_t descriptor);

/* ldmatrix: matrix j (8 rows of 16 bytes, row i at rows[j * 8 + i]) to register r[j]; trans: .trans.
 * stmatrix the other way.  movmatrix transposes a register. */
void tensor_ldmatrix(uint32_t *const *r, const void *const *rows, int count, int trans);
void tensor_stmatrix(const uint32_t *const *r, void *const *rows, int count, int trans);
void tensor_movmatrix(uint32_t *d, const uint32_t *a);

#endif
