/* profiler.c -- a compiled linear kernel becomes a profile: one block of it, run and counted */
#include "profiler.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elem.h"
#include "error.h"
#include "file.h"
#include "key.h"
#include "layout.h"
#include "virtual.h"

/* Long enough that all warps of a gemv (16, a chunk each in turn) and all stages of a pipeline come
 * round evenly in both. */
enum { CHUNK = 64, SHORT_K = 2048, LONG_K = 4096, SECTOR = 32, MAX_BUFFERS = 8, MAX_FILE = 4096 };

const char profiler_version[] = "profile 1";

struct profiler {
    struct virtual_gpu *gpu;
    pthread_mutex_t lock; /* a launch and its counts belong together */
};

qrt_status profiler_open(struct profiler **out)
{
    struct profiler *p = calloc(1, sizeof *p);
    if (!p) return error_set(QRT_E_MEMORY, "profiler: no memory");
    pthread_mutex_init(&p->lock, NULL);
    const qrt_status status = virtual_open(&p->gpu);
    if (status == QRT_OK)
        *out = p;
    else
        profiler_close(p);
    return status;
}

void profiler_close(struct profiler *p)
{
    if (!p) return;
    virtual_close(p->gpu);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- arguments of one block ---- */

struct operands {
    struct qrt_device *device;
    void *buffer[MAX_BUFFERS];
    int count;
};

static qrt_status add_zeros(struct operands *o, size_t bytes, const void **slot)
{
    void *address;
    if (bytes == 0) return QRT_OK;
    TRY(o->device->ops->alloc(o->device, bytes, &address));
    o->buffer[o->count++] = address;
    *slot = address;
    return QRT_OK;
}

static void free_operands(struct operands *o)
{
    for (int i = 0; i < o->count; i++) o->device->ops->free(o->device, o->buffer[i]);
}

static qrt_status add_weight(struct operands *o, const struct scheme *s, int N, int K,
                             struct qk_weight *w)
{
    size_t bytes[SECTION_COUNT];
    TRY(layout_bytes(FAMILY_MMA, s, N, K, bytes));
    *w = (struct qk_weight){.N = N, .K = K, .G = scheme_groups(s, K), .family = FAMILY_MMA};
    TRY(add_zeros(o, bytes[SECTION_CODES], &w->codes));
    TRY(add_zeros(o, bytes[SECTION_SCALES], &w->scales));
    TRY(add_zeros(o, bytes[SECTION_ZEROS], &w->zeros));
    return add_zeros(o, bytes[SECTION_SUPERS], &w->supers);
}

/* Rows of K that a bulk copy can bring; with scales and zero points where codes have them. */
static qrt_status add_rows(struct operands *o, const struct op_desc *d, int M, int K,
                           struct qk_linear *a)
{
    const void *scale = NULL, *zero = NULL, *x = NULL;
    a->M = M;
    a->ldx = K;
    a->lds = d->quant == QUANT_BLOCK ? (K + 127) / 128 : 1;
    TRY(add_zeros(o, (size_t)M * (size_t)K * elem_bytes((enum elem_type)d->act), &x));
    if (d->quant != QUANT_NONE)
        TRY(add_zeros(o, (size_t)M * (size_t)a->lds * sizeof(float), &scale));
    if (d->quant == QUANT_TOKEN_ZERO) TRY(add_zeros(o, (size_t)M * sizeof(int), &zero));
    a->x = x;
    a->x_scale = scale;
    a->x_zero = zero;
    return QRT_OK;
}

static qrt_status add_operands(struct operands *o, const struct op_desc *d, int M, int N, int K,
                               union op_args *args)
{
    struct qk_linear *a = &args->linear;
    const void *y = NULL;
    memset(args, 0, sizeof *args);
    TRY(add_weight(o, &d->weight, N, K, &a->w));
    TRY(add_rows(o, d, M, K, a));
    TRY(add_zeros(o, (size_t)M * (size_t)N * sizeof(float), &y));
    a->y = (void *)(uintptr_t)y;
    a->ldy = N;
    a->split = 1;
    return QRT_OK;
}

/* ---- counting ---- */

static int along(const struct entry_record *r, enum dim dim)
{
    for (int i = 0; i < 3; i++)
        if (r->grid[i].dim == dim) return (int)r->grid[i].div;
    return 1;
}

static struct profile_counts counts_of(const struct vgpu_counts *c)
{
    const uint64_t load_sectors = c->global_sectors - c->store_sectors;
    return (struct profile_counts){
        .issue = (double)c->warp_instructions,
        .tensor_ops = (double)c->tensor_ops,
        .wavefronts = (double)c->shared_wavefronts,
        .load_bytes = (double)(load_sectors * SECTOR + c->bulk_load_bytes),
        .store_bytes = (double)(c->store_sectors * SECTOR + c->bulk_store_bytes),
        .barriers = (double)c->barriers,
    };
}

static qrt_status run(const struct profiler *p, const struct operands *o, const struct kernel *k,
                      const union op_args *args, struct profile_counts *out)
{
    struct vgpu_finding first;
    struct vgpu_counts counts;
    virtual_take(p->gpu, &first, &counts);
    TRY(o->device->ops->launch(o->device, k, &k->record.desc, args));
    TRY(o->device->ops->sync(o->device));
    const size_t findings = virtual_take(p->gpu, &first, &counts);
    if (findings > 0)
        return error_set(QRT_E_CHECK, "%s on the virtual GPU: %s", k->record.symbol, first.text);
    *out = counts_of(&counts);
    return QRT_OK;
}

static qrt_status count_block(const struct profiler *p, struct qrt_device *device,
                              const struct kernel *k, int K, struct profile_counts *out)
{
    const struct entry_record *r = &k->record;
    struct operands o = {.device = device};
    union op_args args;
    qrt_status status = add_operands(&o, &r->desc, along(r, DIM_M), along(r, DIM_N), K, &args);
    if (status == QRT_OK) status = run(p, &o, k, &args, out);
    free_operands(&o);
    return status;
}

/* Counts are fields of double one behind the other. */
static void part(const struct profile_counts *shorter, const struct profile_counts *longer,
                 struct profile *out)
{
    const double *a = (const double *)shorter, *b = (const double *)longer;
    double *once = (double *)&out->once, *step = (double *)&out->step;
    for (int i = 0; i < PROFILE_COUNTS; i++) {
        step[i] = (b[i] - a[i]) / ((LONG_K - SHORT_K) / CHUNK);
        once[i] = a[i] - step[i] * (SHORT_K / CHUNK);
    }
}

static qrt_status count_entry(const struct profiler *p, const struct entry *e, struct profile *out)
{
    const struct arch *arch = arch_find(e->record.arch);
    struct profile_counts shorter, longer;
    struct qrt_device *device;
    struct kernel k = {.record = e->record};
    TRY(virtual_device(p->gpu, arch, &device));
    TRY(device->ops->load(device, e, &k));
    qrt_status status = count_block(p, device, &k, SHORT_K, &shorter);
    if (status == QRT_OK) status = count_block(p, device, &k, LONG_K, &longer);
    device->ops->unload(device, &k);
    if (status == QRT_OK) part(&shorter, &longer, out);
    return status;
}

qrt_status profiler_run(struct profiler *p, const struct entry *e, int ahead, struct profile *out)
{
    const struct entry_record *r = &e->record;
    qrt_status status = QRT_OK;
    *out = (struct profile){.rows = along(r, DIM_M),
                            .columns = along(r, DIM_N),
                            .threads = (int)(r->block[0] * r->block[1] * r->block[2]),
                            .regs = (int)r->regs,
                            .stack_bytes = (int)r->stack_bytes,
                            .smem_bytes = (int64_t)r->smem_bytes + r->smem_static_bytes,
                            .split = r->split,
                            .stages = ahead};
    if (r->stack_bytes > 0) return QRT_OK;
    pthread_mutex_lock(&p->lock);
    virtual_check(p->gpu, 0);
    status = count_entry(p, e, out);
    virtual_check(p->gpu, 1);
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* ---- files ---- */

static const char first_line[] = "qgen-profile 1";

static int path_of(const char *folder, const uint8_t key[ENTRY_KEY_BYTES], char *path, size_t bytes)
{
    char hex[KEY_HEX_BYTES];
    key_hex(key, hex);
    return snprintf(path, bytes, "%s/%s", folder, hex) < (int)bytes;
}

static int read_counts(const char **at, struct profile_counts *c)
{
    int used = 0;
    if (sscanf(*at, "%lf %lf %lf %lf %lf %lf%n", &c->issue, &c->tensor_ops, &c->wavefronts,
               &c->load_bytes, &c->store_bytes, &c->barriers, &used) != PROFILE_COUNTS)
        return 0;
    *at += used;
    return 1;
}

static int parse(const char *text, struct profile *out)
{
    struct profile p = {0};
    int used = 0;
    if (strncmp(text, first_line, sizeof first_line - 1) != 0) return 0;
    text += sizeof first_line - 1;
    if (!read_counts(&text, &p.once) || !read_counts(&text, &p.step)) return 0;
    if (sscanf(text, "%d %d %d %d %d %ld %d %d end%n", &p.rows, &p.columns, &p.threads, &p.regs,
               &p.stack_bytes, &p.smem_bytes, &p.split, &p.stages, &used) != 8 ||
        used == 0)
        return 0;
    *out = p;
    return 1;
}

int profiler_find(const char *folder, const uint8_t key[ENTRY_KEY_BYTES], struct profile *out)
{
    char path[4096];
    void *text;
    size_t count;
    if (!path_of(folder, key, path, sizeof path)) return 0;
    if (file_read(path, MAX_FILE, &text, &count) != QRT_OK) return 0;
    const int found = parse(text, out);
    free(text);
    return found;
}

static int print_counts(char *text, size_t bytes, const struct profile_counts *c)
{
    return snprintf(text, bytes, "%.17g %.17g %.17g %.17g %.17g %.17g\n", c->issue, c->tensor_ops,
                    c->wavefronts, c->load_bytes, c->store_bytes, c->barriers);
}

qrt_status profiler_keep(const char *folder, const uint8_t key[ENTRY_KEY_BYTES],
                         const struct profile *p)
{
    char path[4096], text[MAX_FILE];
    size_t used = (size_t)snprintf(text, sizeof text, "%s\n", first_line);
    used += (size_t)print_counts(text + used, sizeof text - used, &p->once);
    used += (size_t)print_counts(text + used, sizeof text - used, &p->step);
    used += (size_t)snprintf(text + used, sizeof text - used, "%d %d %d %d %d %ld %d %d end\n",
                             p->rows, p->columns, p->threads, p->regs, p->stack_bytes,
                             p->smem_bytes, p->split, p->stages);
    if (!path_of(folder, key, path, sizeof path))
        return error_set(QRT_E_IO, "%s: the path of the profiles is too long", folder);
    TRY(file_make_folders(folder, 0700));
    return file_write(path, text, used);
}
