/* linear.c -- linears of qgen for other programs' benchmarks: libqgen_linear.so, used by peers.py
 *
 * Why: a peer is met fairly in one process, on one stream, with the same weights.  This makes the
 * kernels of a request, a weight of random codes packed for them, the float32 matrix that those codes
 * mean (what a peer is given), and queues launches on the caller's stream.
 * Errors: 0, or a qrt_status whose message gl_message() has.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check_weight.h"
#include "choice.h"
#include "error.h"
#include "linear_kernels.h"
#include "op.h"

#define EXPORT __attribute__((visibility("default")))
enum { MAX_ROWS = 8192, MAX_COPIES = 64, ROW_BLOCK = 128 /* columns under one scale */ };

/* A request on a device. */
struct gl {
    qrt *rt;
    struct qrt_device *device;
    struct op_desc desc, sum;
    void *partial; /* of the widest weight so far */
    size_t partial_bytes;
};

struct gl_weight {
    int copies;                     /* of the same matrix: more than a cache holds */
    struct qk_weight w[MAX_COPIES]; /* in device addresses */
    const void *placed[MAX_COPIES][SECTION_COUNT];
};

EXPORT const char *gl_message(void) { return qrt_message(); }

EXPORT void gl_close(struct gl *g)
{
    if (!g) return;
    if (g->partial) g->device->ops->free(g->device, g->partial);
    qrt_device_close(g->device);
    qrt_close(g->rt);
    free(g);
}

/* A request by name on a device by name ("cuda:0"), its kernels made. */
EXPORT int gl_open(const char *request, const char *device, struct gl **out)
{
    struct gl *g = calloc(1, sizeof *g);
    if (!g) return error_set(QRT_E_MEMORY, "no memory");
    char sum[OP_NAME_BYTES];
    qrt_status status = op_desc_parse(request, &g->desc);
    g->sum = (struct op_desc){.op = OP_REDUCE, .out = g->desc.out};
    op_desc_name(&g->sum, sum);
    if (status == QRT_OK && g->desc.op != OP_LINEAR)
        status = error_set(QRT_E_ARGUMENT, "%s: not a linear", request);
    if (status == QRT_OK) status = qrt_open(NULL, &g->rt);
    if (status == QRT_OK) status = qrt_device_open(g->rt, device, &g->device);
    if (status == QRT_OK) status = linear_kernels_add(g->device, request, sum, MAX_ROWS);
    if (status == QRT_OK)
        *out = g;
    else
        gl_close(g);
    return status;
}

EXPORT int gl_stream(struct gl *g, void *stream) { return qrt_device_stream(g->device, stream); }

/* ---- weights ---- */

EXPORT void gl_weight_free(struct gl *g, struct gl_weight *w)
{
    if (!w) return;
    for (int c = 0; c < MAX_COPIES; c++)
        for (int i = 0; i < SECTION_COUNT; i++)
            if (w->placed[c][i]) g->device->ops->unplace(g->device, w->placed[c][i]);
    free(w);
}

static qrt_status place_copy(struct gl *g, const struct check_weight *random, void *const *section,
                             const size_t *bytes, struct gl_weight *w)
{
    const void **placed = w->placed[w->copies];
    for (int i = 0; i < SECTION_COUNT; i++)
        if (bytes[i]) TRY(g->device->ops->place(g->device, section[i], bytes[i], &placed[i]));
    w->w[w->copies++] = (struct qk_weight){.codes = placed[SECTION_CODES],
                                           .scales = placed[SECTION_SCALES],
                                           .zeros = placed[SECTION_ZEROS],
                                           .supers = placed[SECTION_SUPERS],
                                           .N = random->N,
                                           .K = random->K,
                                           .G = random->G,
                                           .family = (int)g->device->family};
    return QRT_OK;
}

static qrt_status pack_and_place(struct gl *g, const struct check_weight *random, int copies,
                                 struct gl_weight *w)
{
    const enum layout_family family = g->device->family;
    void *section[SECTION_COUNT] = {0};
    size_t bytes[SECTION_COUNT];
    qrt_status status = layout_bytes(family, &random->scheme, random->N, random->K, bytes);
    for (int i = 0; i < SECTION_COUNT && status == QRT_OK; i++)
        if (!(section[i] = calloc(bytes[i] + 1, 1))) status = error_set(QRT_E_MEMORY, "no memory");
    if (status == QRT_OK) check_weight_pack(random, family, section);
    while (status == QRT_OK && w->copies < copies)
        status = place_copy(g, random, section, bytes, w);
    for (int i = 0; i < SECTION_COUNT; i++) free(section[i]);
    return status;
}

/* Random weights [N, K], `copies` times (at most 64); `value`, unless NULL, gets what they mean, f32
 * [N, K] in host memory. */
EXPORT int gl_weight(struct gl *g, int N, int K, uint64_t seed, int copies, float *value,
                     struct gl_weight **out)
{
    struct check_weight random;
    if (copies < 1 || copies > MAX_COPIES) return error_set(QRT_E_ARGUMENT, "%d copies", copies);
    TRY(check_weight_make(&g->desc.weight, N, K, 0, seed, &random));
    struct gl_weight *w = calloc(1, sizeof *w);
    qrt_status status =
        w ? pack_and_place(g, &random, copies, w) : error_set(QRT_E_MEMORY, "no memory");
    for (int64_t i = 0; value && status == QRT_OK && i < (int64_t)N * K; i++)
        value[i] = (float)check_weight_at(&random, (int)(i / K), (int)(i % K));
    check_weight_free(&random);
    if (status == QRT_OK)
        *out = w;
    else
        gl_weight_free(g, w);
    return status;
}

/* ---- running ---- */

static qrt_status need_partial(struct gl *g, size_t bytes)
{
    if (bytes <= g->partial_bytes) return QRT_OK;
    void *partial;
    TRY(g->device->ops->alloc(g->device, bytes, &partial));
    if (g->partial) g->device->ops->free(g->device, g->partial);
    g->partial = partial;
    g->partial_bytes = bytes;
    return QRT_OK;
}

static qrt_status launch(struct gl *g, const struct op_desc *desc, int N, int K, int M,
                         const union op_args *args)
{
    const struct kernel *k = device_pick(g->device, desc, N, K, M);
    if (!k) return error_set(QRT_E_KERNEL, "no kernel for %d rows", M);
    return g->device->ops->launch(g->device, k, desc, args);
}

/* Queue y[M, ldy] = x[M, ldx] W^T with a copy of W.  x_scale: of quantized rows, [M] or, in blocks,
 * [M, ceil(K / 128)]; else NULL.  The first call for an M may allocate. */
EXPORT int gl_run(struct gl *g, const struct gl_weight *w, int copy, const void *x,
                  const float *x_scale, void *y, int M, int64_t ldx, int64_t ldy)
{
    const int N = w->w[0].N, K = w->w[0].K;
    union op_args args = {
        .linear = {.w = w->w[copy % w->copies],
                   .x = x,
                   .x_scale = x_scale,
                   .y = y,
                   .ldx = ldx,
                   .ldy = ldy,
                   .lds = g->desc.quant == QUANT_BLOCK ? (K + ROW_BLOCK - 1) / ROW_BLOCK : 1,
                   .M = M}};
    const struct kernel *k = device_pick(g->device, &g->desc, N, K, M);
    const int split = choice_split(g->device, k, &args);
    args.linear.split = split;
    if (split > 1) {
        TRY(need_partial(g, (size_t)split * (size_t)M * (size_t)N * sizeof(float)));
        args.linear.partial = g->partial;
    }
    TRY(launch(g, &g->desc, N, K, M, &args));
    if (split == 1) return QRT_OK;
    const union op_args sum = {
        .reduce = {.partial = g->partial, .y = y, .ldy = ldy, .M = M, .N = N, .split = split}};
    return launch(g, &g->sum, 0, 0, M, &sum);
}

/* Bytes of a packed weight [N, K]. */
EXPORT int gl_bytes_per_copy(struct gl *g, int N, int K, int64_t *out)
{
    size_t bytes[SECTION_COUNT];
    TRY(layout_bytes(g->device->family, &g->desc.weight, N, K, bytes));
    *out = 0;
    for (int i = 0; i < SECTION_COUNT; i++) *out += (int64_t)bytes[i];
    return QRT_OK;
}

/* "gemv warps=8 tiles=2" of the kernel for M rows on a weight. */
EXPORT const char *gl_kernel(struct gl *g, const struct gl_weight *w, int M)
{
    static char text[ENTRY_SYMBOL_BYTES + ENTRY_TEXT_BYTES + 8];
    const struct kernel *k = device_pick(g->device, &g->desc, w->w[0].N, w->w[0].K, M);
    snprintf(text, sizeof text, "%s %s", k ? k->record.template_ : "none", k ? k->record.tune : "");
    return text;
}
