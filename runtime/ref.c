/* ref.c -- the device `ref`, which runs the plain loops of ref.h
 *
 * One thread; calls take turns on the row buffer.
 */
#include "ref.h"

#include <string.h>

#include "error.h"
#include "host.h"
#include "rt.h"

struct ref {
    float *row; /* one row of weights or values, or scores of attention: grows to the longest */
    size_t row_floats;
};

static ref_op *const definition[OP_COUNT] = {
    [OP_LINEAR] = ref_linear,       [OP_REDUCE] = ref_reduce,   [OP_QUANTIZE] = ref_quantize,
    [OP_EMBED] = ref_embed,         [OP_RMSNORM] = ref_rmsnorm, [OP_ROPE] = ref_rope,
    [OP_ATTENTION] = ref_attention, [OP_GLU] = ref_glu,         [OP_ADD] = ref_add,
    [OP_SAMPLE] = ref_sample,       [OP_GATHER] = ref_gather,   [OP_COMBINE] = ref_combine,
};

/* Floats of the row buffer that the op needs. */
static size_t row_floats(const struct op_desc *d, const union op_args *args)
{
    switch (d->op) {
    case OP_LINEAR: return (size_t)args->linear.w.K;
    case OP_QUANTIZE: return (size_t)args->quantize.K;
    case OP_EMBED: return (size_t)args->embed.w.K;
    case OP_RMSNORM: return (size_t)args->rmsnorm.K;
    case OP_ROPE: return (size_t)args->rope.head;
    case OP_ATTENTION: return (size_t)args->attention.context;
    case OP_GLU: return (size_t)args->glu.K;
    default: return 0;
    }
}

static qrt_status grow_row(struct qrt_device *d, struct ref *ref, size_t floats)
{
    if (floats <= ref->row_floats) return QRT_OK;
    void *row;
    TRY(rt_alloc(d->rt, floats * sizeof(float), &row));
    rt_free(d->rt, ref->row);
    ref->row = row;
    ref->row_floats = floats;
    return QRT_OK;
}

static qrt_status ref_launch(struct qrt_device *d, const struct kernel *k,
                             const struct op_desc *desc, const union op_args *args)
{
    (void)k;
    struct ref *ref = d->impl;
    pthread_mutex_lock(&d->lock);
    const qrt_status status = grow_row(d, ref, row_floats(desc, args));
    if (status == QRT_OK) definition[desc->op](desc, args, ref->row);
    pthread_mutex_unlock(&d->lock);
    return status;
}

static qrt_status ref_load(struct qrt_device *d, const struct entry *e, struct kernel *k)
{
    (void)d;
    (void)k;
    return error_set(QRT_E_ARCH, "kernel %s is for %s; ref runs plain loops and takes no kernels",
                     e->record.symbol, e->record.arch);
}

static void ref_unload(struct qrt_device *d, struct kernel *k)
{
    (void)d;
    (void)k;
}

static qrt_status ref_open(struct qrt_device *d, int index)
{
    if (index != 0) return error_set(QRT_E_DEVICE, "ref:%d: there is one ref device", index);
    TRY(rt_alloc(d->rt, sizeof(struct ref), &d->impl));
    d->act = ELEM_F32;
    d->kv = ELEM_F32;
    d->info = (qrt_device_info){.processors = 1, .memory_bytes = host_memory_bytes()};
    memcpy(d->info.name, "plain loops", sizeof "plain loops");
    return QRT_OK;
}

static void ref_close(struct qrt_device *d)
{
    struct ref *ref = d->impl;
    if (ref) rt_free(d->rt, ref->row);
    rt_free(d->rt, ref);
}

const struct device_ops ref_device = {
    .kind = "ref",
    .open = ref_open,
    .close = ref_close,
    .alloc = host_alloc,
    .free = host_free,
    .place = host_place,
    .unplace = host_unplace,
    .upload = host_upload,
    .download = host_download,
    .load = ref_load,
    .unload = ref_unload,
    .launch = ref_launch,
    .sync = host_sync,
    .fill = host_fill,
    .copy = host_copy,
    .mark = host_mark,
    .elapsed = host_elapsed,
};
