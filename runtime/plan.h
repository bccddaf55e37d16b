/* plan.h -- a model's program as one device runs it: types chosen, quantize steps inserted
 *
 * Why apart from sessions: what a plan asks for (its requests) is also what `qgen build --model`
 * generates, before there is a device or a kernel.
 * Owns: the plan its arrays; it points into the model.
 */
#ifndef QRT_PLAN_H
#define QRT_PLAN_H

#include "qm_file.h"

struct plan_target {
    enum elem_type act, kv; /* of QM_ACT buffers and of the KV cache */
    int splits; /* linear kernels may split K, attention kernels the context: for each there is
                   an op wanted that adds up the parts */
    /* Whether linear with this weight takes activations quantized to int8; NULL: never. */
    int (*takes_i8)(const void *user, const struct scheme *weight);
    const void *user;
};

/* One launch; of a linear or an attention that is split: two. */
struct plan_step {
    const struct qm_op *op; /* of the program; of a quantize step: the linear behind it */
    int request;            /* index into requests */
    int sum; /* the request that adds up parts, a reduce or a combine; -1: never split */
};

struct plan {
    struct qrt *rt;
    struct plan_step *steps;
    size_t step_count;
    struct op_desc *requests; /* no two are equal */
    int request_count;
};

/* What kernels of this kind of arch compute with: x86 f32 over an f16 cache, quantized weights with
 * int8 activations; sm f16 (or bf16 when `act` says so). */
struct plan_target plan_target_for(enum arch_kind kind, enum elem_type act);

qrt_status plan_make(const struct qrt_model *m, const struct plan_target *target, struct plan *out);
void plan_free(struct plan *p);

/* Index of a request, -1 when the plan has none. */
int plan_find(const struct plan *p, const struct op_desc *desc);

/* The element type of a buffer's values. */
enum elem_type plan_buffer_type(const struct qm_buffer *b, const struct plan_target *target);

#endif
