/* vgpu_run.c -- runs kernels on the virtual GPU by hand: compares with ref, prints findings and counts
 *
 *   ninja -C build vgpu_run && build/vgpu_run sm_89 linear.w4g128.f16.f16 [M [TOP]]
 *
 * Makes the kernels of a request for 1 to M rows (1024), TOP of each range (1), and takes each through
 * gen/check.h on the device of that architecture.  A store in QGEN_CACHE, or the usual one.
 * Environment: VGPU_CHECKS=0 computes only; VGPU_THREADS=n (1).
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "error.h"
#include "pipeline.h"
#include "vgpu.h"

enum { MOST_FINDINGS = 16, MOST_DIFFERENCES = 3 };

struct vgpu_library {
    __typeof__(&vgpu_configure) configure;
    __typeof__(&vgpu_arch) arch;
    __typeof__(&vgpu_reset) reset;
    __typeof__(&vgpu_findings) findings;
    __typeof__(&vgpu_counts) counts;
    __typeof__(&vgpu_fault_name) fault_name;
};

static int open_library(struct vgpu_library *v)
{
    void *library = dlopen(BINARY_DIR "/libqgen_vgpu.so", RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 0;
    *(void **)&v->configure = dlsym(library, "vgpu_configure");
    *(void **)&v->arch = dlsym(library, "vgpu_arch");
    *(void **)&v->reset = dlsym(library, "vgpu_reset");
    *(void **)&v->findings = dlsym(library, "vgpu_findings");
    *(void **)&v->counts = dlsym(library, "vgpu_counts");
    *(void **)&v->fault_name = dlsym(library, "vgpu_fault_name");
    return 1;
}

static int device_of(const struct vgpu_library *v, const char *arch)
{
    for (int i = 0; v->arch(i); i++)
        if (strcmp(v->arch(i), arch) == 0) return i;
    return -1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void print_counts(const struct vgpu_counts *c, double time)
{
    printf("    %.1f M thread instructions, %.3f G/s; by class",
           (double)c->thread_instructions / 1e6, (double)c->thread_instructions / time / 1e9);
    for (int i = 0; i < 8; i++) printf(" %llu", (unsigned long long)c->by_class[i]);
    printf("\n    global %.2f sectors a request, shared %.2f wavefronts a request\n",
           (double)c->global_sectors / (double)(c->global_requests + !c->global_requests),
           (double)c->shared_wavefronts / (double)(c->shared_requests + !c->shared_requests));
}

static size_t print_findings(const struct vgpu_library *v)
{
    struct vgpu_finding f[MOST_FINDINGS];
    const size_t all = v->findings(f, MOST_FINDINGS);
    for (size_t i = 0; i < all && i < MOST_FINDINGS; i++)
        printf("    %s: %s line %d of the PTX, block %u,%u,%u thread %u, %llu times: %s\n",
               v->fault_name(f[i].fault), f[i].source, f[i].ptx_line, f[i].block[0], f[i].block[1],
               f[i].block[2], f[i].thread, f[i].count, f[i].text);
    return all;
}

/* 1: right, and nothing was found. */
static int run_kernel(const struct vgpu_library *v, struct checker *checker, const struct entry *e)
{
    struct check_report report = {.checked = 0};
    struct vgpu_counts counts;
    v->reset();
    const double start = seconds();
    const qrt_status status = check_entry(checker, e, &report);
    const double time = seconds() - start;
    v->counts(&counts);
    printf("%s %s: %d cases, %s\n", e->record.symbol, e->record.tune, report.cases,
           status != QRT_OK ? qrt_message()
           : report.failed  ? "WRONG"
                            : "right");
    for (size_t i = 0; i < report.finding_count && i < MOST_DIFFERENCES; i++)
        printf("    %s\n", report.findings[i].text);
    print_counts(&counts, time);
    const int good = status == QRT_OK && !report.failed && print_findings(v) == 0;
    fflush(stdout);
    check_report_free(&report);
    return good;
}

static qrt_status run(const struct vgpu_library *v, int argc, char **argv, int *bad)
{
    const int device_index = device_of(v, argv[1]), max_m = argc > 3 ? atoi(argv[3]) : 1024;
    const char *library = BINARY_DIR "/libqgen_vgpu.so", *names[] = {argv[2]};
    const qrt_options options = {.size = sizeof options, .cuda_library = library};
    const struct pipeline_options making = {.ungated = 1, .top = argc > 4 ? atoi(argv[4]) : 1};
    char device_name[16];
    qrt *rt;
    qrt_device *device;
    struct checker *checker;
    struct pipeline *pipeline;
    struct pipeline_result made;
    if (device_index < 0) return error_set(QRT_E_ARCH, "no virtual device is a %s", argv[1]);
    snprintf(device_name, sizeof device_name, "cuda:%d", device_index);
    TRY(qrt_open(&options, &rt));
    TRY(qrt_device_open(rt, device_name, &device));
    TRY(check_open(device, CHECK_QUICK, &checker));
    TRY(pipeline_open(&making, &pipeline));
    TRY(pipeline_ensure(pipeline, arch_find(argv[1]), names, 1, max_m, &made));
    for (size_t i = 0; i < made.count; i++) *bad += !run_kernel(v, checker, &made.kernels[i].entry);
    pipeline_result_free(&made);
    pipeline_close(pipeline);
    check_close(checker);
    qrt_device_close(device);
    qrt_close(rt);
    return QRT_OK;
}

int main(int argc, char **argv)
{
    struct vgpu_library v;
    const char *checks = getenv("VGPU_CHECKS"), *threads = getenv("VGPU_THREADS");
    int bad = 0;
    if (argc < 3) return fprintf(stderr, "usage: vgpu_run ARCH REQUEST [M [TOP]]\n"), 2;
    if (!open_library(&v)) return 5;
    v.configure(1, !checks || atoi(checks), threads ? atoi(threads) : 1);
    if (run(&v, argc, argv, &bad) != QRT_OK) return fprintf(stderr, "%s\n", qrt_message()), 4;
    return bad != 0;
}
