/* qm.h -- the packed model file: weights as kernels read them, and the program that uses them
 *
 * Why a program: the toolchain knows model architectures, the runtime only ops.  A new architecture
 * costs the toolchain a builder of this list and the runtime nothing.
 *
 *   0    struct qm_header                    (fixed size; BLAKE2b-256 of the metadata inside)
 *   ...  metadata, contiguous: buffers, ops, tensors, strings, tokenizer (tokenizer.h)
 *   ...  data: tensor sections, each at a multiple of QM_ALIGN, zero-padded
 * Little-endian.  Offsets count from the start of the file.  Readers check every offset, count,
 * enum and size against the file and against layout_bytes() before they hand out a pointer.
 */
#ifndef QRT_QM_H
#define QRT_QM_H

#include <stdint.h>

#include "layout.h"
#include "op.h"

#define QM_MAGIC   "QGEN.QM1"
#define QM_VERSION 1u
#define QM_NONE    0xffffffffu
enum { QM_ALIGN = 128, QM_HASH_BYTES = 32, QM_NAME_BYTES = 64 };

struct qm_range {
    uint64_t offset, bytes;
};

struct qm_header {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t file_bytes;
    struct qm_range metadata;    /* all of the tables below */
    uint8_t hash[QM_HASH_BYTES]; /* BLAKE2b-256 of this header with hash zeroed, then metadata */
    struct qm_range buffers, ops, tensors, strings, tokenizer;
    char name[QM_NAME_BYTES];
    uint32_t layers, hidden, vocab, context;
    int32_t bos, eos, add_bos, reserved;
};

/* A buffer of activations [rows, width]. Buffer 0 is the residual stream [*, hidden]. */
enum qm_buffer_type { QM_RESIDUAL, QM_ACT, QM_LOGITS, QM_BUFFER_TYPE_COUNT };
struct qm_buffer {
    uint32_t type; /* RESIDUAL and LOGITS: f32; ACT: the device's activation type */
    uint32_t width;
};

/* One op; unused fields are 0, unused buffers and tensors QM_NONE.
 *   embed      out[0] = residual;                 tensor 0: table; f0: scale
 *   rmsnorm    in[0] -> out[0]; heads, head (= K); tensor 0: weight vector; f0: eps
 *   linear     in[0] -> out[0];                   tensor 0: weight
 *   rope       in[0..2] = q, k, v; q is rotated in place; tensor 0: inv_freq vector; kind; layer's
 * cache attention  in[0] = q -> out[0];               f0: scale; window; layer's cache glu in[0] =
 * gate, in[1] = up -> out[0]; kind add        out[0] += in[0] `last` ops (final norm, logits) run
 * on the rows whose logits were asked for only. */
struct qm_op {
    uint8_t op, kind, last, pad;
    int32_t layer; /* -1: before the first or after the last */
    uint32_t in[3], out;
    uint32_t tensor;
    int32_t heads, kv_heads, head, rotary, window;
    float f0, f1;
};

/* A weight matrix, packed for one or more families, or a vector (family sections unused). */
struct qm_tensor {
    uint32_t name;      /* offset in strings of a NUL-terminated name */
    uint32_t is_vector; /* 1: f32 [K] in `vector` */
    int64_t N, K;
    struct scheme scheme;
    struct qm_range vector;
    struct qm_range section[FAMILY_COUNT][SECTION_COUNT]; /* all 0: not packed for the family */
};

#endif
