/* test_vgpu_mutants.c -- real kernels with one text replaced, on the virtual GPU
 *
 * - the kernels as they are agree with ref, and nothing is found
 * - without a barrier, with a wait that is off by one, without a bound, it is told which rule broke
 *
 * NVRTC compiles; without it the tests skip.
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
#define ARCH    "sm_80"

enum { NOTHING = -1, FINDINGS = 64 };

static const struct mutant {
    const char *file, *text, *instead;
    const char *request;
    int m_lo, m_hi, fault;
} mutants[] = {
    {"gemm.cu.in", "", "", "linear.w4g128.f16.f16", 33, 64, NOTHING},
    {"gemm.cu.in", "        __syncthreads(); ", "", "linear.w4g128.f16.f16", 33, 64,
     VGPU_RACE_SHARED},
    {"gemm.cu.in", "qk_copy_wait<STAGES - 2>", "qk_copy_wait<STAGES - 1>", "linear.w4g128.f16.f16",
     33, 64, VGPU_PENDING},
    {"gemm.cu.in", "if (row >= a.M) continue;", "", "linear.w4g128.f16.f16", 33, 64, VGPU_BOUNDS},
    {"gemv.cu.in", "", "", "linear.w4g128.f16.f16", 1, 4, NOTHING},
    {"gemv.cu.in", "        __syncwarp();               // every", "// every",
     "linear.w4g128.f16.f16", 1, 4, VGPU_RACE_SHARED},
};

static struct {
    const char *(*arch)(int device);
    void (*configure)(int keep_going, int checks, int threads);
    size_t (*findings)(struct vgpu_finding *out, size_t most);
    void (*reset)(void);
    const char *(*fault_name)(enum vgpu_fault fault);
} vgpu;

static void find(void *library, const char *symbol, void *function)
{
    void *found = dlsym(library, symbol);
    if (!found) fail_msg("no %s", symbol);
    memcpy(function, &found, sizeof found);
}

static void open_gpu(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    find(library, "vgpu_arch", &vgpu.arch);
    find(library, "vgpu_configure", &vgpu.configure);
    find(library, "vgpu_findings", &vgpu.findings);
    find(library, "vgpu_reset", &vgpu.reset);
    find(library, "vgpu_fault_name", &vgpu.fault_name);
    vgpu.configure(1, 1, 0);
}

/* ---- a folder of templates with one text replaced ---- */

static char folder[] = "/tmp/qgen_mutant_XXXXXX";

static void shell(const char *format, const char *a, const char *b)
{
    char command[1024];
    snprintf(command, sizeof command, format, a, b);
    assert_int_equal(system(command), 0);
}

static void replace(const struct mutant *m)
{
    char path[256];
    snprintf(path, sizeof path, "%s/cuda/%s", folder, m->file);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    const size_t bytes = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    char *at = strstr(text, m->text);
    if (!at) fail_msg("%s has no '%s'", m->file, m->text);
    f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(text, 1, (size_t)(at - text), f);
    fputs(m->instead, f);
    fwrite(at + strlen(m->text), 1, bytes - (size_t)(at - text) - strlen(m->text), f);
    fclose(f);
    free(text);
}

/* ---- through the pipeline to the device ---- */

static qrt_device *device;

static void make(const struct mutant *m, struct pipeline_result *made)
{
    const struct pipeline_options options = {
        .templates = folder, .store = folder, .top = 1, .ungated = 1};
    struct pipeline *p;
    if (pipeline_open(&options, &p) != QRT_OK) fail_msg("%s", qrt_message());
    if (pipeline_ensure(p, arch_find(ARCH), &m->request, 1, m->m_hi, made) != QRT_OK)
        fail_msg("%s", qrt_message());
    pipeline_close(p);
}

/* The kernel of these rows. */
static const struct entry *kernel_of(const struct mutant *m, const struct pipeline_result *made)
{
    for (size_t i = 0; i < made->count; i++) {
        const struct entry_record *r = &made->kernels[i].entry.record;
        if (r->m_lo <= m->m_hi && r->m_hi >= m->m_hi) return &made->kernels[i].entry;
    }
    fail_msg("no kernel for %d rows", m->m_hi);
    return NULL;
}

/* 1 when the mutant shows as it must. */
static int shows(const struct mutant *m)
{
    struct pipeline_result made;
    struct check_report report = {.checked = 0};
    struct vgpu_finding f[FINDINGS];
    struct checker *checker;
    int found = 0;
    make(m, &made);
    assert_int_equal(check_open(device, CHECK_QUICK, &checker), QRT_OK);
    vgpu.reset();
    if (check_entry(checker, kernel_of(m, &made), &report) != QRT_OK) fail_msg("%s", qrt_message());
    const size_t count = vgpu.findings(f, FINDINGS);
    for (size_t i = 0; i < count && i < FINDINGS; i++) found |= (int)f[i].fault == m->fault;
    if (m->fault == NOTHING) found = count == 0 && !report.failed;
    print_message("%s without '%s': %d cases, %zu findings%s%s\n", m->file, m->text, report.cases,
                  count, count ? ", first: " : "", count ? f[0].text : "");
    check_report_free(&report);
    check_close(checker);
    pipeline_result_free(&made);
    return found;
}

static void mutants_are_found(void **state)
{
    (void)state;
    int missed = 0;
    for (size_t i = 0; i < sizeof mutants / sizeof *mutants; i++) {
        shell("rm -rf %s && mkdir %s", folder, folder);
        shell("cp -r %s/. %s", SOURCE_DIR "/templates", folder);
        replace(&mutants[i]);
        missed += !shows(&mutants[i]);
    }
    assert_int_equal(missed, 0);
}

static int open_device(void **state)
{
    static qrt *rt;
    const qrt_options options = {.size = sizeof options, .cuda_library = LIBRARY};
    char name[16];
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(qrt_open(&options, &rt), QRT_OK);
    for (int i = 0; vgpu.arch(i); i++)
        if (strcmp(vgpu.arch(i), ARCH) == 0) {
            snprintf(name, sizeof name, "cuda:%d", i);
            return qrt_device_open(rt, name, &device) != QRT_OK;
        }
    return 1;
}

static int remove_folder(void **state)
{
    (void)state;
    qrt_device_close(device);
    shell("rm -rf %s%s", folder, "");
    return 0;
}

int main(void)
{
    struct nvrtc *compiler;
    if (nvrtc_open(&compiler) != QRT_OK) {
        print_message("skipped: NVRTC is not here (%s)\n", qrt_message());
        return 0;
    }
    nvrtc_close(compiler);
    open_gpu();
    const struct CMUnitTest tests[] = {cmocka_unit_test(mutants_are_found)};
    return cmocka_run_group_tests(tests, open_device, remove_folder);
}
