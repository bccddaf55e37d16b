/* session.h -- one sequence on one device: the plan, its kernels, and all memory that running needs
 *
 * session.c prepares it (everything that can fail for want of something), run.c runs it.
 */
#ifndef QRT_SESSION_H
#define QRT_SESSION_H

#include "choice.h"

struct session_buffer {
    void *address;
    int64_t ld; /* elements from row to row */
    enum elem_type type;
    int width, rows;
    int of_last; /* written by last ops: row 0 is the first row whose logits are wanted */
};

struct layer_cache {
    void *k, *v; /* [kv_heads, context, head] */
};

/* Memory that only one step at a time uses. */
struct session_scratch {
    void *code, *scale, *sum; /* quantized activations [max_m, round_up(K, 32)] of the widest K */
    float *partial;           /* parts of the largest linear or attention that is split */
};

struct qrt_session {
    struct qrt_device *device;
    const struct qrt_model *model;
    struct plan_target target;
    struct plan plan;
    struct choices choices;

    int context, max_m, last_rows; /* last_rows: rows of the logits buffer */
    int position;                  /* tokens held */

    struct session_buffer *buffers; /* by buffer of the model */
    struct layer_cache *caches;     /* by layer */
    struct qk_weight *weights;      /* by tensor of the model; in device addresses */
    const float **vectors;          /* by tensor */
    struct session_scratch scratch;
    int *ids;           /* device: [max_m] token ids */
    int *position_word; /* device: [1] */
    int *sampled;       /* device: [1] */

    void **blocks; /* all device memory, for closing */
    size_t block_count;
    void *step_graph;    /* all launches of one token, recorded; NULL: they are made one by one */
    const void **placed; /* all placed sections, for closing */
    size_t placed_count;
};

/* Record one token's launches where the device can play them as one (run.c). A device that refuses
 * costs the gain only. */
void session_record(struct qrt_session *s);

#endif
