/* bench_vgpu.c -- speed of the virtual GPU on one thread: thread instructions per second
 *
 *     bench_vgpu [NAME ...]          gemv, gemm ...; none: all
 *
 * Runs real kernels through the driver's interface, as the CUDA device does, with checks off and on.
 * Each figure is the best of some runs in the processor time of the process: other load moves it
 * less than the clock on the wall.  Shares by class come from the virtual GPU's own counts.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check_weight.h"
#include "device.h"
#include "error.h"
#include "nvrtc.h"
#include "unit.h"
#include "vgpu/vgpu.h"

#define LIBRARY BINARY_DIR "/libqgen_vgpu.so"

enum { RUNS = 3, TIMED_RUNS = 5 };

static const struct subject {
    const char *name, *request, *arch;
    const char *tune; /* how its tune point starts; "": the best by rank */
    int M, N, K;
} subjects[] = {
    {"gemv", "linear.w4g128.f16.f16", "sm_80", "", 1, 2048, 4096},
    {"gemm", "linear.w4g128.f16.f16", "sm_80", "bm=128 bn=128 ", 128, 1024, 2048},
    {"gemm16", "linear.w4g128.f16.f16", "sm_80", "", 16, 1024, 2048},
    {"gemm90", "linear.w4g128.f16.f16", "sm_90a", "", 128, 1024, 2048},
};

static const char *const classes[] = {"integer", "float",  "move",   "control",
                                      "global",  "shared", "tensor", "sync"};
enum { CLASSES = sizeof classes / sizeof *classes };

static struct vgpu {
    int (*arch_count)(void);
    const char *(*arch)(int device);
    void (*configure)(int keep_going, int checks, int threads);
    size_t (*findings)(struct vgpu_finding *out, size_t most);
    void (*counts)(struct vgpu_counts *out);
    void (*time)(int on);
    void (*reset)(void);
} vgpu;

static struct template_set *templates;
static struct nvrtc *nvrtc;
static qrt *rt;

static void must(qrt_status status)
{
    if (status == QRT_OK) return;
    fprintf(stderr, "%s\n", qrt_message());
    exit(1);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void find(void *library, const char *symbol, void *function)
{
    void *found = dlsym(library, symbol);
    if (!found) exit(1);
    memcpy(function, &found, sizeof found);
}

static void open_library(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    find(library, "vgpu_arch_count", &vgpu.arch_count);
    find(library, "vgpu_arch", &vgpu.arch);
    find(library, "vgpu_configure", &vgpu.configure);
    find(library, "vgpu_findings", &vgpu.findings);
    find(library, "vgpu_counts", &vgpu.counts);
    find(library, "vgpu_time", &vgpu.time);
    find(library, "vgpu_reset", &vgpu.reset);
}

/* ---- a kernel and its arguments ---- */

struct bench {
    const struct subject *subject;
    qrt_device *device;
    struct kernel kernel;
    union op_args args;
    const void *section[SECTION_COUNT];
    void *x, *y;
};

/* 0: no such arch here. */
static int open_device(struct bench *b)
{
    for (int i = 0; i < vgpu.arch_count(); i++) {
        char name[32];
        if (strcmp(vgpu.arch(i), b->subject->arch) != 0) continue;
        snprintf(name, sizeof name, "cuda:%d", i);
        must(qrt_device_open(rt, name, &b->device));
        return 1;
    }
    return 0;
}

static const struct candidate *choose(const struct subject *s, const struct candidate *c,
                                      size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(c[i].record.tune, s->tune, strlen(s->tune)) == 0) return &c[i];
    return NULL;
}

/* 0: no template makes it. */
static int load(struct bench *b)
{
    const struct subject *s = b->subject;
    struct request r = {.arch = arch_find(s->arch), .m_lo = s->M, .m_hi = s->M};
    struct candidate *candidates;
    size_t count;
    must(op_desc_parse(s->request, &r.desc));
    if (!r.arch || template_candidates(templates, &r, &candidates, &count) != QRT_OK) return 0;
    const struct candidate *c = choose(s, candidates, count);
    if (c) {
        struct unit unit;
        struct unit_image image;
        must(unit_make(templates, c, &unit));
        must(nvrtc_compile(nvrtc, &unit, &image));
        struct entry e = {.record = c->record};
        e.part[ENTRY_PTX].data = image.ptx;
        e.part[ENTRY_PTX].bytes = image.ptx_bytes;
        b->kernel.record = c->record;
        must(b->device->ops->load(b->device, &e, &b->kernel));
        unit_image_free(&image);
        unit_free(&unit);
    }
    free(candidates);
    return c != NULL;
}

static void make_weight(struct bench *b)
{
    const struct subject *s = b->subject;
    const struct scheme *scheme = &b->kernel.record.desc.weight;
    struct check_weight plain;
    size_t bytes[SECTION_COUNT];
    void *section[SECTION_COUNT];
    must(check_weight_make(scheme, s->N, s->K, 0, 1, &plain));
    must(layout_bytes(FAMILY_MMA, scheme, s->N, s->K, bytes));
    for (int i = 0; i < SECTION_COUNT; i++) section[i] = calloc(1, bytes[i] + 1);
    check_weight_pack(&plain, FAMILY_MMA, section);
    for (int i = 0; i < SECTION_COUNT; i++) {
        if (bytes[i]) must(b->device->ops->place(b->device, section[i], bytes[i], &b->section[i]));
        free(section[i]);
    }
    b->args.linear.w = (struct qk_weight){.codes = b->section[SECTION_CODES],
                                          .scales = b->section[SECTION_SCALES],
                                          .zeros = b->section[SECTION_ZEROS],
                                          .supers = b->section[SECTION_SUPERS],
                                          .N = s->N,
                                          .K = s->K,
                                          .G = plain.G,
                                          .family = FAMILY_MMA};
    check_weight_free(&plain);
}

static void make_rows(struct bench *b)
{
    const struct subject *s = b->subject;
    const size_t bytes = (size_t)s->M * (size_t)s->K * sizeof(uint16_t);
    uint16_t *x = malloc(bytes);
    if (!x) exit(1);
    for (size_t i = 0; i < bytes / 2; i++) x[i] = (uint16_t)(0x3000 + i % 0x400); /* 1/8 .. 1/4 */
    must(b->device->ops->alloc(b->device, bytes, &b->x));
    must(b->device->ops->upload(b->device, b->x, x, bytes));
    must(b->device->ops->alloc(b->device, (size_t)s->M * (size_t)s->N * 4, &b->y));
    free(x);
    b->args.linear.x = b->x;
    b->args.linear.y = b->y;
    b->args.linear.ldx = s->K;
    b->args.linear.ldy = s->N;
    b->args.linear.M = s->M;
    b->args.linear.split = 1;
}

static void close_bench(struct bench *b)
{
    for (int i = 0; i < SECTION_COUNT; i++)
        if (b->section[i]) b->device->ops->unplace(b->device, b->section[i]);
    if (b->x) b->device->ops->free(b->device, b->x);
    if (b->y) b->device->ops->free(b->device, b->y);
    if (b->kernel.code) b->device->ops->unload(b->device, &b->kernel);
    qrt_device_close(b->device);
}

/* ---- measuring ---- */

/* Seconds of one run; `counts` gets what it counted. */
static double run(struct bench *b, struct vgpu_counts *counts)
{
    vgpu.reset();
    const double start = seconds();
    must(b->device->ops->launch(b->device, &b->kernel, &b->kernel.record.desc, &b->args));
    must(b->device->ops->sync(b->device));
    const double took = seconds() - start;
    vgpu.counts(counts);
    return took;
}

/* Thread instructions per second. */
static double rate(struct bench *b, int checks)
{
    struct vgpu_counts counts;
    double best = 1e9;
    vgpu.configure(1, checks, 1);
    for (int i = 0; i < RUNS; i++) {
        const double took = run(b, &counts);
        if (took < best) best = took;
    }
    return (double)counts.thread_instructions / best;
}

/* Least ticks of each class in some runs: what else the host does in between falls out. */
static void least_ticks(struct bench *b, int checks, double ticks[CLASSES])
{
    struct vgpu_counts counts;
    vgpu.configure(1, checks, 1);
    for (int i = 0; i < CLASSES; i++) ticks[i] = 1e18;
    for (int n = 0; n < TIMED_RUNS; n++) {
        run(b, &counts);
        for (int i = 0; i < CLASSES; i++)
            if ((double)counts.ticks_by_class[i] < ticks[i])
                ticks[i] = (double)counts.ticks_by_class[i];
    }
}

static double sum_of(const double *value)
{
    double sum = 0;
    for (int i = 0; i < CLASSES; i++) sum += value[i];
    return sum;
}

/* Shares of instructions, and of time without and with checks.  Taking the time costs some of it. */
static void print_classes(struct bench *b)
{
    double ticks[2][CLASSES];
    struct vgpu_counts counts;
    vgpu.time(1);
    for (int checks = 0; checks < 2; checks++) least_ticks(b, checks, ticks[checks]);
    vgpu.time(0);
    run(b, &counts);
    printf("    %-8s %12s %12s %12s\n", "", "instructions", "time", "with checks");
    for (int i = 0; i < CLASSES; i++)
        printf("    %-8s %11.1f%% %11.1f%% %11.1f%%\n", classes[i],
               100.0 * (double)counts.by_class[i] / (double)counts.warp_instructions,
               100.0 * ticks[0][i] / sum_of(ticks[0]), 100.0 * ticks[1][i] / sum_of(ticks[1]));
}

static void measure(const struct subject *s)
{
    struct bench b = {.subject = s};
    printf("%-8s %-6s %4dx%dx%d  ", s->name, s->arch, s->M, s->N, s->K);
    fflush(stdout);
    if (!open_device(&b)) {
        printf("no such device\n");
        return;
    }
    if (load(&b)) {
        make_weight(&b);
        make_rows(&b);
        const double off = rate(&b, 0), on = rate(&b, 1);
        printf("checks off %.3f, on %.3f G thread instructions/s, %zu findings, %s\n", off * 1e-9,
               on * 1e-9, vgpu.findings(NULL, 0), b.kernel.record.tune);
        print_classes(&b);
    } else {
        printf("no template makes it\n");
    }
    close_bench(&b);
}

static int is_wanted(const char *name, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (strcmp(names[i], name) == 0) return 1;
    return count < 2;
}

int main(int count, char **names)
{
    const qrt_options options = {.size = sizeof options, .cuda_library = LIBRARY};
    open_library();
    must(qrt_open(&options, &rt));
    must(template_set_open(NULL, &templates));
    must(nvrtc_open(&nvrtc));
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        if (is_wanted(subjects[i].name, count, names)) measure(&subjects[i]);
    nvrtc_close(nvrtc);
    template_set_close(templates);
    qrt_close(rt);
    return 0;
}
