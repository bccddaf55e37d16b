/* test_vgpu_kernels.c -- contract of the virtual GPU with the kernels of this repository
 *
 * - kernels of every op, for every architecture in turn, are loaded by the CUDA device of the runtime
 *   through the driver's interface, and compute what ref computes (gen/check.h)
 * - nothing is found in them, and no launch is skipped
 *
 * Needs NVRTC; without it the test is skipped aloud.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"
#include "helpers.h"
#include "nvrtc.h"
#include "pipeline.h"
#include "vgpu.h"

#define LIBRARY BINARY_DIR "/libqgen_vgpu.so"
enum { MOST_M = 40 };

/* Each meets two architectures: the table's index decides. */
static const char *const requests[] = {
    "linear.w4g128.f16.f16",
    "linear.w4g32m.k.bf16.bf16",
    "linear.w6g16.k.f16.f32",
    "linear.w8g32.bf16.f32",
    "linear.f16.f16.f32",
    "linear.w3g128z.f16.f16",
    "reduce.f16",
    "embed.w4g128.f32",
    "rmsnorm.f32.f16",
    "quantize.f16.i8",
    "rope.halves.f16.f16.h64",
    "attention.f16.f16.h64",
    "glu.silu.bf16",
    "add.f16",
};
enum { REQUESTS = sizeof requests / sizeof *requests };

static struct {
    __typeof__(&vgpu_configure) configure;
    __typeof__(&vgpu_reset) reset;
    __typeof__(&vgpu_findings) findings;
    __typeof__(&vgpu_counts) counts;
    __typeof__(&vgpu_arch) arch;
    __typeof__(&vgpu_fault_name) fault_name;
} vgpu;

static qrt *rt;
static struct pipeline *pipeline;
static char store[] = "/tmp/qgen-vgpu-XXXXXX";

static int open_all(void **state)
{
    const qrt_options options = {.size = sizeof options, .cuda_library = LIBRARY};
    const struct pipeline_options making = {.store = store, .ungated = 1};
    (void)state;
    void *library = dlopen(LIBRARY, RTLD_NOW);
    if (!library) return print_error("%s\n", dlerror()), -1;
    *(void **)&vgpu.configure = dlsym(library, "vgpu_configure");
    *(void **)&vgpu.reset = dlsym(library, "vgpu_reset");
    *(void **)&vgpu.findings = dlsym(library, "vgpu_findings");
    *(void **)&vgpu.counts = dlsym(library, "vgpu_counts");
    *(void **)&vgpu.arch = dlsym(library, "vgpu_arch");
    *(void **)&vgpu.fault_name = dlsym(library, "vgpu_fault_name");
    if (!mkdtemp(store)) return -1;
    if (qrt_open(&options, &rt) == QRT_OK && pipeline_open(&making, &pipeline) == QRT_OK) return 0;
    return print_error("%s\n", qrt_message()), -1;
}

static int close_all(void **state)
{
    char command[64];
    (void)state;
    pipeline_close(pipeline);
    qrt_close(rt);
    snprintf(command, sizeof command, "rm -rf %s", store);
    return system(command);
}

static int has_nvrtc(void)
{
    struct nvrtc *n;
    if (nvrtc_open(&n) != QRT_OK) {
        print_message("SKIP: no NVRTC: %s\n", qrt_message());
        return 0;
    }
    nvrtc_close(n);
    return 1;
}

static void expect_nothing_found(const struct entry *e)
{
    struct vgpu_finding f;
    if (vgpu.findings(&f, 1))
        fail_msg("%s: %s at line %d of the PTX, block %u,%u,%u thread %u: %s", e->record.symbol,
                 vgpu.fault_name(f.fault), f.ptx_line, f.block[0], f.block[1], f.block[2], f.thread,
                 f.text);
}

static void check_kernel(struct checker *checker, const struct entry *e)
{
    struct check_report report = {.checked = 0};
    struct vgpu_counts counts;
    vgpu.reset();
    if (check_entry(checker, e, &report) != QRT_OK)
        fail_msg("%s: %s", e->record.symbol, qrt_message());
    if (report.failed) fail_msg("%s: %s", e->record.symbol, report.findings[0].text);
    expect_nothing_found(e);
    vgpu.counts(&counts);
    assert_true(report.cases > 0);
    assert_true(counts.launches >= (uint64_t)report.cases);
    assert_true(counts.thread_instructions > counts.warp_instructions);
    check_report_free(&report);
}

static void check_request(int device, const char *name)
{
    char device_name[16];
    qrt_device *d;
    struct checker *checker;
    struct pipeline_result made;
    snprintf(device_name, sizeof device_name, "cuda:%d", device);
    if (pipeline_ensure(pipeline, arch_find(vgpu.arch(device)), &name, 1, MOST_M, &made) != QRT_OK)
        fail_msg("%s: %s", name, qrt_message());
    if (qrt_device_open(rt, device_name, &d) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(check_open(d, CHECK_QUICK, &checker), QRT_OK);
    assert_true(made.count > 0);
    for (size_t i = 0; i < made.count; i++) check_kernel(checker, &made.kernels[i].entry);
    check_close(checker);
    qrt_device_close(d);
    pipeline_result_free(&made);
}

static void test_kernels(void **state)
{
    (void)state;
    if (!has_nvrtc()) skip();
    int devices = 0;
    while (vgpu.arch(devices)) devices++;
    vgpu.configure(1, 1, 0);
    for (int i = 0; i < REQUESTS; i++) {
        check_request(i % devices, requests[i]);
        check_request((i + 3) % devices, requests[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
