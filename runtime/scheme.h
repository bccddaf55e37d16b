/* scheme.h -- how a weight matrix is quantized, and the short name of that
 *
 * Name grammar (scheme_parse accepts it, scheme_name writes it; defaults are left out):
 *   w4g128            int codes, 4 bits; group 128 (gc: one group per row, -1 on the command line)
 *   w4g128z           integer zero point per group;  w4g32m: float minimum per group
 *   w4g128.bf16       scales bf16 (default f16); .f32; .e8m0: a power of two; .e4m3: under one f32
 *                     for the matrix; .k: two-level, i8 under an f16 per 256
 *   nf4g64            4-bit codes that are looked up: nf4, iq4 (GGUF's IQ4_NL), e2m1; no zero
 *   e4m3gc.f32        8-bit floats; no zero
 *   mxfp4, nvfp4      accepted for e2m1g32.e8m0 and e2m1g16.e4m3
 *   f32, f16, bf16    dense
 * Value of a code q:  zero none  s * (q - 2^(bits-1));  int  s * (q - z);  float  s * q + m;
 * looked up and floats  s * value(q).
 * Two-level (k-quants): s = d * i8 scale; m = dmin * i8 minimum (the packer negates GGUF's dmin).
 */
#ifndef QRT_SCHEME_H
#define QRT_SCHEME_H

#include <stddef.h>
#include <stdint.h>

#include "qrt.h"

/* NF4: Dettmers et al., QLoRA, 2023.  IQ4: ggml's IQ4_NL.  E2M1, E4M3: OCP MX and FP8 specifications.
 * Values are written to files: new ones go before COUNT. */
enum code_type {
    CODE_INT,
    CODE_F32,
    CODE_F16,
    CODE_BF16,
    CODE_E4M3,
    CODE_NF4,
    CODE_IQ4,
    CODE_E2M1,
    CODE_COUNT
};
enum scale_type {
    SCALE_F16,
    SCALE_BF16,
    SCALE_F32,
    SCALE_TWO_LEVEL,
    SCALE_E8M0, /* 2^(byte - 127) */
    SCALE_E4M3, /* times one f32 of the whole matrix, the first of the section `supers` */
    SCALE_COUNT
};
enum zero_type { ZERO_NONE, ZERO_INT, ZERO_FLOAT, ZERO_COUNT };
enum { SCHEME_NAME_BYTES = 32, GROUP_ROW = -1, SUPER_GROUP = 256 };

struct scheme {
    uint8_t code;  /* enum code_type */
    uint8_t bits;  /* CODE_INT: 2..8; looked up: 4; E4M3: 8; dense: 16 or 32 */
    uint8_t scale; /* enum scale_type; dense: 0 */
    uint8_t zero;  /* enum zero_type; only CODE_INT has one */
    int32_t group; /* weights per scale along K: a multiple of 16, or GROUP_ROW; dense: GROUP_ROW */
};

/* Element types of activations, outputs and the KV cache. */
enum elem_type { ELEM_F32, ELEM_F16, ELEM_BF16, ELEM_I8, ELEM_E4M3, ELEM_COUNT };

static inline int scheme_is_dense(const struct scheme *s)
{
    return s->code == CODE_F32 || s->code == CODE_F16 || s->code == CODE_BF16;
}
static inline int scheme_equal(const struct scheme *a, const struct scheme *b)
{
    return a->code == b->code && a->bits == b->bits && a->scale == b->scale && a->zero == b->zero &&
           a->group == b->group;
}

/* Groups of a row of K weights; 0 when dense. */
int scheme_groups(const struct scheme *s, int K);

/* QRT_E_SCHEME with the legal values when a field is out of range or a combination has no meaning.
 */
qrt_status scheme_check(const struct scheme *s);
qrt_status scheme_parse(const char *name, struct scheme *out);
void scheme_name(const struct scheme *s, char out[SCHEME_NAME_BYTES]);

const char *elem_name(enum elem_type type); /* "f32" ... */
size_t elem_bytes(enum elem_type type);
size_t scale_bytes(enum scale_type type); /* of one scale; two-level: 1 */

#endif
