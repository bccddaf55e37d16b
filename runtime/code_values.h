/* code_values.h -- the numbers that 4-bit codes of looked-up schemes stand for
 *
 * Why: ref, the packers and the kernels of both backends include this one text (NVRTC and cc get it
 * from memory, like kernel_abi.h), so nobody copies a number.  Each macro is the inside of a braced
 * initializer of 16 values, code 0 first.
 */
#ifndef QGEN_CODE_VALUES_H
#define QGEN_CODE_VALUES_H

enum { QK_VALUES = 16 };

/* NF4, the quantiles of a normal distribution scaled to -1 .. 1 with an exact zero: Dettmers et al.,
 * QLoRA, 2023, appendix E.  Each is the float32 nearest to these digits. */
#define QK_NF4_VALUES                                                                           \
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,                   \
        -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,              \
        0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f, \
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f

/* IQ4_NL of ggml: integers, exact in every activation type. */
#define QK_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

/* E2M1 of the OCP MX specification: sign, two bits of exponent, one of mantissa. */
#define QK_E2M1_VALUES                                                                        \
    0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, \
        -4.0f, -6.0f

/* The same in halves, which are integers: code of 2 * value. */
#define QK_E2M1_HALVES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

#endif
