/* program.h -- a model as the flat list of ops that the runtime executes, and the tensors they read
 *
 * Layout of one layer (names of buffers in capitals; * only where the architecture has it):
 *
 *   RESIDUAL -rmsnorm-> NORMED -linear-> Q, K, V   (rmsnorm* of Q, K)   rope(Q, K, V)
 *   Q -attention-> ATTENDED -linear-> PROJECTED (rmsnorm*)   RESIDUAL += PROJECTED
 *   RESIDUAL -rmsnorm-> NORMED -linear-> GATE, UP -glu-> GATED -linear-> PROJECTED (rmsnorm*)
 *   RESIDUAL += PROJECTED
 *
 * before them an embed into RESIDUAL, after them RESIDUAL -rmsnorm-> LAST -linear-> LOGITS.
 * Errors: QRT_E_FORMAT for a tensor that is missing or of another shape than the metadata say;
 * QRT_E_MODEL for one that the program would have to ignore.
 */
#ifndef QGEN_PROGRAM_H
#define QGEN_PROGRAM_H

#include "generic.h"
#include "model.h"
#include "qm.h"

struct program_tensor {
    char name[GGUF_MAX_NAME_BYTES + 1];
    struct generic_matrix matrix; /* K of a vector too */
    float *vector;                /* [K]; NULL: a matrix */
};

struct program {
    struct qm_buffer *buffers;
    struct qm_op *ops;
    struct program_tensor *tensors;
    size_t buffer_count, op_count, tensor_count;
};

/* The model's file has to outlive *out; program_free() it. */
qrt_status program_build(const struct model *m, struct program *out);
void program_free(struct program *p);

#endif
