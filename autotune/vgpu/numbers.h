/* numbers.h -- conversions between floating-point types as PTX's cvt does them
 *
 * Scalar definitions, exact for every input, and 32-lane versions of the hot ones.
 * Rounding: nearest even unless said.  Sources: PTX ISA 9.0 cvt; OCP FP8 and MX specifications.
 */
#ifndef VGPU_NUMBERS_H
#define VGPU_NUMBERS_H

#include <stdint.h>

enum round { ROUND_RN, ROUND_RZ, ROUND_RM, ROUND_RP };

/* NaN comes out as 0x7fffffff. */
float numbers_from_f16(uint16_t h);
float numbers_from_bf16(uint16_t h);
float numbers_from_e4m3(uint8_t v); /* 0x7f, 0xff: NaN */
float numbers_from_e5m2(uint8_t v);
float numbers_from_e2m1(uint8_t v); /* low 4 bits */
float numbers_from_e8m0(uint8_t v); /* 2^(v - 127), 0xff: NaN */

/* saturate: .satfinite, beyond the largest finite (infinity too) becomes it; relu: negative, -0 too,
 * becomes +0.  NaN: 0x7fff. */
uint16_t numbers_to_f16(float v, enum round round, int saturate, int relu);
uint16_t numbers_to_bf16(float v, enum round round, int saturate, int relu);
/* always rn.satfinite; NaN: 0x7f, of e2m1, which has none, the largest number */
uint8_t numbers_to_e4m3(float v, int relu);
uint8_t numbers_to_e5m2(float v, int relu);
uint8_t numbers_to_e2m1(float v, int relu);
/* Of |v|; RZ or RP; at least 2^-127.  saturate: infinity and what rounds to it become 2^127; NaN: 0xff. */
uint8_t numbers_to_e8m0(float v, enum round round, int saturate);

/* 32 lanes; the low halves of `h` */
void numbers_lanes_from_f16(float out[32], const uint32_t h[32]);
void numbers_lanes_to_f16(uint32_t out[32], const float v[32]); /* rn; high halves zero */

#endif
