/* layout.h -- where a weight (n, k) lies in a packed matrix
 *
 * The one definition: packer, ref and tests call it, kernels follow the drawing.
 *
 * A packed matrix has up to four sections: codes, scales, zeros, supers.  All families cut N into
 * tiles of 16 rows (the last one padded; padding is written as zero bytes) and share this:
 *
 *   scales  [tile][g][16]          scale type of the scheme; two-level: int8; e8m0, e4m3: a byte
 *   zeros   [tile][g][16]          ZERO_INT: uint8; ZERO_FLOAT: scale type, two-level: int8
 *   supers  [tile][K/256][2][16]   f16: d of 16 rows, then dmin of 16 rows (two-level only)
 *           [4]                    f32: one scale of the whole matrix, then zeros (e4m3 scales only)
 *
 * codes are cut along K into chunks (x86 32, mma 64; the last padded) and each code into bit planes
 * of width 4, 2 or 1 (8 for 8 bits), low bits in the widest plane: 3 = 2+1, 5 = 4+1, 6 = 4+2,
 * 7 = 4+2+1.  Codes are unsigned (symmetric schemes store q + 2^(bits-1)); looked-up
 * and e4m3 codes are their bits.
 *   codes   [tile][chunk][plane]   a plane of width w: w * 64 bytes (x86), w * 128 bytes (mma)
 *
 * x86, plane of width w: w units of 64 bytes; byte 4 r + b of unit i holds, for row r of the tile,
 * the fields j = 0 .. 8/w - 1 at bits w j .. w j + w - 1 of
 *      k = 32 chunk + 4 (i (8/w) + j) + b
 *   One 64-byte load meets one broadcast of 4 activations: the order of vpmaddubsw and vpdpbusd.
 *
 *      byte   0   1   2   3 | 4   5   6   7 | ... 63          w = 4: low nibble k0..3, high k4..7
 *      row    0   0   0   0 | 1   1   1   1 |     15
 *      k+b    0   1   2   3 | 0   1   2   3 |     3
 *
 * mma, plane of width w: 32 lanes, each w 32-bit words.  Lane l owns rows g = l / 4 and g + 8 and,
 * in each of the four 16-wide steps s of the chunk, k = 64 chunk + 16 s + 2 (l % 4) + {0, 1, 8, 9}:
 * the fragment of mma.m16n8k16 with the weights as A.  Its 16 pairs (k, k + 1) are numbered
 *      P = 4 s + p    p = 0: (g, +0)   1: (g + 8, +0)   2: (g, +8)   3: (g + 8, +8)
 *   Pair P lies in word P / (16 / w), field f = P % (16 / w): code k at bit w f, code k + 1 at bit
 *   w f + 16, so that one mask takes both halves of a packed 16-bit pair.
 *   Word i of lane l lies at 32-bit index   4 (32 (i / 4) + l) + i % 4   (w = 8)
 *                                           w l + i                      (w = 4, 2, 1)
 *
 * dense, x86: codes [tile][K][16] values.   dense, mma: [tile][chunk][step s][lane][p] pairs of
 * 16-bit values (f16, bf16); f32 dense has no mma layout.
 */
#ifndef QRT_LAYOUT_H
#define QRT_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "arch.h"
#include "kernel_abi.h"
#include "scheme.h"

enum { LAYOUT_ROWS = 16, LAYOUT_MATRIX_BYTES = 16 /* supers of e4m3 scales */ };
enum section { SECTION_CODES, SECTION_SCALES, SECTION_ZEROS, SECTION_SUPERS, SECTION_COUNT };

/* Bytes of each section of a matrix [N, K]; 0 for one that the scheme lacks.
 * QRT_E_SCHEME when the family has no layout for the scheme, QRT_E_LIMIT when a size overflows. */
qrt_status layout_bytes(enum layout_family family, const struct scheme *s, int64_t N, int64_t K,
                        size_t bytes[SECTION_COUNT]);

/* Codes of `count` weights of row n from k0 on (k0 and count multiples of 16 or up to K), one byte
 * each, unsigned.  `codes` is the section.  Put ORs bits in: the section starts zeroed. */
void layout_put_codes(enum layout_family family, const struct scheme *s, int K, void *codes, int n,
                      int k0, int count, const uint8_t *q);
void layout_get_codes(enum layout_family family, const struct scheme *s, int K, const void *codes,
                      int n, int k0, int count, uint8_t *q);

/* The same for dense schemes: `count` values of row n as raw 2- or 4-byte elements. */
void layout_put_dense(enum layout_family family, const struct scheme *s, int K, void *codes, int n,
                      int k0, int count, const void *values);
void layout_get_dense(enum layout_family family, const struct scheme *s, int K, const void *codes,
                      int n, int k0, int count, void *values);

/* Element index of (row n, group g) in scales and zeros, and of (row n, super block b, which 0: d,
 * 1: dmin) in supers. */
size_t layout_scale_index(int G, int n, int g);
size_t layout_super_index(int K, int n, int b, int which);

/* Row n of W as float32 [K], every rounding as the scheme's value rule says.  Used by ref. */
void layout_dequant_row(enum layout_family family, const struct scheme *s,
                        const struct qk_weight *w, int n, float *row);

#endif
