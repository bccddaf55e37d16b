/* prove.c -- GPU kernels proved without a GPU: their machine code, and their runs on the virtual GPU */
#include "prove.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_image.h"
#include "check_sums.h"
#include "error.h"
#include "locate.h"
#include "virtual.h"

enum { MAX_DEVICES = 16 };

struct prover {
    struct virtual_gpu *gpu;
    enum check_effort effort;
    struct { /* one for each device that was needed */
        struct qrt_device *device;
        struct checker *checker;
    } seat[MAX_DEVICES];
    struct locator *locator;   /* NULL until something is found, or when there is no compiler */
    const struct entry *entry; /* under way */
    struct vgpu_counts counts; /* of it */
};

qrt_status prove_open(enum check_effort effort, struct prover **out)
{
    struct prover *p = calloc(1, sizeof *p);
    if (!p) return error_set(QRT_E_MEMORY, "prover: no memory");
    p->effort = effort;
    const qrt_status status = virtual_open(&p->gpu);
    if (status == QRT_OK)
        *out = p;
    else
        free(p);
    return status;
}

void prove_close(struct prover *p)
{
    if (!p) return;
    for (int i = 0; i < MAX_DEVICES; i++) check_close(p->seat[i].checker);
    locate_close(p->locator);
    virtual_close(p->gpu);
    free(p);
}

/* ---- what a case did ---- */

/* "templates/cuda/gemm.cu.in:95", or the PTX line where that cannot be told. */
static void place_of(struct prover *p, const struct vgpu_finding *f, char out[LOCATE_BYTES])
{
    qrt_status status = QRT_OK;
    if (!p->locator) status = locate_open(&p->locator);
    if (status == QRT_OK) status = locate_line(p->locator, p->entry, f->ptx_line, out);
    if (status != QRT_OK) snprintf(out, LOCATE_BYTES, "PTX line %d", f->ptx_line);
}

static int observe(void *user, char *text, size_t text_bytes)
{
    struct prover *p = user;
    struct vgpu_finding f;
    struct vgpu_counts counts;
    char place[LOCATE_BYTES];
    const size_t found = virtual_take(p->gpu, &f, &counts);
    vgpu_counts_add(&p->counts, &counts);
    if (found == 0) return 0;
    place_of(p, &f, place);
    snprintf(text, text_bytes, "%s at %s, block %u,%u,%u thread %u, %llu times: %s",
             virtual_fault_name(p->gpu, f.fault), place, f.block[0], f.block[1], f.block[2],
             f.thread, f.count, f.text);
    return 1;
}

/* ---- one kernel ---- */

static qrt_status find_checker(struct prover *p, const struct arch *arch, struct checker **out)
{
    struct qrt_device *device;
    int i = 0;
    TRY(virtual_device(p->gpu, arch, &device));
    while (i < MAX_DEVICES - 1 && p->seat[i].device && p->seat[i].device != device) i++;
    if (!p->seat[i].checker) {
        TRY(check_open(device, p->effort, &p->seat[i].checker));
        check_observe(p->seat[i].checker, observe, p);
        p->seat[i].device = device;
    }
    *out = p->seat[i].checker;
    return QRT_OK;
}

/* What can be seen without running it; *sound gets 0 when the report has something. */
static qrt_status prove_still(struct prover *p, const struct entry *e, struct check_report *report,
                              int *sound)
{
    qrt_status status = check_image(e);
    const char *where = "machine code";
    if (status == QRT_OK) {
        status = virtual_decodes(p->gpu, e->part[ENTRY_PTX].data);
        where = "PTX";
    }
    *sound = status == QRT_OK;
    if (status != QRT_E_CHECK) return status;
    char text[CHECK_TEXT_BYTES];
    snprintf(text, sizeof text, "%.*s", CHECK_TEXT_BYTES - 1, qrt_message());
    return check_fail(report, e, where, text);
}

/* Sectors and wavefronts for each that the same bytes need at best.  Half of the cases have rows that
 * start anywhere and are read element by element: what reads rows of activations sixteen bytes at a
 * time otherwise is far above 1 over all of them.  Bulk copies are not counted: a linear of sm_90a has
 * only its gathers and stores left.  A lost swizzle or a transposed loop costs 4 to 32 times.  Limits
 * are a third above the worst kernel of the library, or more. */
static const struct {
    double sectors, wavefronts;
} budgets[CHECK_SUMS_FAMILIES] = {
    [OP_LINEAR] = {9.8, 2.9},  [FAMILY_INT8] = {2, 1.7},   [FAMILY_FP8] = {3.2, 1.5},
    [OP_REDUCE] = {1.4, 1.3},  [OP_QUANTIZE] = {9.5, 1.3}, [OP_EMBED] = {3.5, 1.3},
    [OP_RMSNORM] = {2.8, 1.3}, [OP_ROPE] = {2.1, 1.3},     [OP_ATTENTION] = {3.1, 1.3},
    [OP_GLU] = {11.3, 1.3},    [OP_ADD] = {7.2, 1.3},      [OP_SAMPLE] = {2.7, 1.3},
    [OP_GATHER] = {7.6, 1.3},  [OP_COMBINE] = {1, 1.3},
};

static qrt_status prove_budget(const struct entry *e, const struct vgpu_counts *c,
                               struct check_report *report)
{
    const int family = check_family(&e->record.desc);
    const double sectors = (double)c->global_sectors;
    const double wavefronts = (double)c->shared_wavefronts;
    const double most_sectors = budgets[family].sectors * (double)c->global_ideal_sectors;
    const double most_wavefronts = budgets[family].wavefronts * (double)c->shared_ideal_wavefronts;
    char text[CHECK_TEXT_BYTES];
    if (sectors <= most_sectors && wavefronts <= most_wavefronts) return QRT_OK;
    snprintf(text, sizeof text,
             "%.0f sectors, at most %.0f; %.0f wavefronts, at most %.0f: accesses are scattered or "
             "meet in banks",
             sectors, most_sectors, wavefronts, most_wavefronts);
    report->checked--; /* it was counted already */
    return check_fail(report, e, "budget", text);
}

qrt_status prove_entry(struct prover *p, const struct entry *e, struct check_report *report,
                       struct vgpu_counts *counts)
{
    struct checker *checker;
    int sound;
    const struct arch *arch = arch_find(e->record.arch);
    if (!arch || arch->kind != ARCH_SM)
        return error_set(QRT_E_ARCH, "%s is for %s: the virtual GPU runs kernels for GPUs",
                         e->record.symbol, e->record.arch);
    memset(&p->counts, 0, sizeof p->counts);
    p->entry = e;
    TRY(prove_still(p, e, report, &sound));
    if (!sound) return QRT_OK;
    TRY(find_checker(p, arch, &checker));
    const int failed = report->failed;
    TRY(check_entry(checker, e, report));
    if (counts) *counts = p->counts;
    return report->failed > failed ? QRT_OK : prove_budget(e, &p->counts, report);
}
