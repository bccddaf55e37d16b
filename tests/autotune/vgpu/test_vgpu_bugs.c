/* test_vgpu_bugs.c -- what the virtual GPU finds: kernels with one seeded bug each
 *
 * A kernel lies in bugs/NAME.cu; the macro BUG chooses one mutation of a line, 0 none.
 *
 * - each kernel without a bug gives the right numbers and no finding
 * - each bug is found, as the kind of fault that it is
 * - where the kernel marks a line with `@` and the bug's number, a finding of that kind names a marked
 *   line
 * - a bug of layout, that no rule of the machine forbids, gives wrong numbers
 * - bank conflicts and loads that are not coalesced show in the counts, exactly
 *
 * NVRTC compiles; without it the tests skip.  QGEN_BUG=ring3 tries that bug alone.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_api.h"
#include "helpers.h"
#include "nvrtc.h"
#include "vgpu.h"

#define LIBRARY BINARY_DIR "/libqgen_vgpu.so"
#define BUGS    SOURCE_DIR "/tests/autotune/vgpu/bugs/"

enum { NOTHING = -1, NUMBERS = -2, FINDINGS = 256, FREED = 1000 }; /* FREED: x is freed before */

/* ---- the virtual GPU ---- */

static struct cuda_api cuda;
static struct {
    int (*arch_count)(void);
    const char *(*arch)(int device);
    void (*configure)(int keep_going, int checks, int threads);
    size_t (*findings)(struct vgpu_finding *out, size_t most);
    void (*counts)(struct vgpu_counts *out);
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
#define FIND(field, symbol, arguments) find(library, symbol, &cuda.field);
    CUDA_API_TABLE(FIND)
#undef FIND
    find(library, "vgpu_arch_count", &vgpu.arch_count);
    find(library, "vgpu_arch", &vgpu.arch);
    find(library, "vgpu_configure", &vgpu.configure);
    find(library, "vgpu_findings", &vgpu.findings);
    find(library, "vgpu_counts", &vgpu.counts);
    find(library, "vgpu_reset", &vgpu.reset);
    find(library, "vgpu_fault_name", &vgpu.fault_name);
    vgpu.configure(1, 1, 1);
    assert_int_equal(cuda.init(0), CUDA_SUCCESS);
}

/* ---- NVRTC, with line numbers in the PTX, which products do not have ---- */

static struct {
    int (*create)(void **program, const char *source, const char *name, int headers,
                  const char *const *texts, const char *const *names);
    int (*compile)(void *program, int count, const char *const *options);
    int (*ptx_size)(void *program, size_t *bytes);
    int (*ptx)(void *program, char *out);
    int (*log_size)(void *program, size_t *bytes);
    int (*log)(void *program, char *out);
    int (*destroy)(void **program);
} nvrtc;

/* 0: there is none here. */
static int open_compiler(void)
{
    struct nvrtc *found;
    if (nvrtc_open(&found) != QRT_OK) return 0;
    void *library = dlopen(nvrtc_path(found), RTLD_NOW | RTLD_LOCAL);
    nvrtc_close(found);
    if (!library) return 0;
    find(library, "nvrtcCreateProgram", &nvrtc.create);
    find(library, "nvrtcCompileProgram", &nvrtc.compile);
    find(library, "nvrtcGetPTXSize", &nvrtc.ptx_size);
    find(library, "nvrtcGetPTX", &nvrtc.ptx);
    find(library, "nvrtcGetProgramLogSize", &nvrtc.log_size);
    find(library, "nvrtcGetProgramLog", &nvrtc.log);
    find(library, "nvrtcDestroyProgram", &nvrtc.destroy);
    return 1;
}

static char *read_source(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, BUGS "%s.cu", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

static char *compile(const char *source, const char *name, const char *arch, int bug)
{
    char file[64], defined[32], target[32];
    snprintf(file, sizeof file, "/bugs/%s.cu", name);
    snprintf(defined, sizeof defined, "-DBUG=%d", bug);
    snprintf(target, sizeof target, "-arch=compute_%s", arch + strlen("sm_"));
    const char *options[] = {target, defined, "-lineinfo", "-std=c++17", "-default-device"};
    void *program;
    size_t bytes;
    assert_int_equal(nvrtc.create(&program, source, file, 0, NULL, NULL), 0);
    if (nvrtc.compile(program, sizeof options / sizeof *options, options) != 0) {
        nvrtc.log_size(program, &bytes);
        char *log = calloc(1, bytes + 1);
        nvrtc.log(program, log);
        fail_msg("%s", log);
    }
    assert_int_equal(nvrtc.ptx_size(program, &bytes), 0);
    char *ptx = malloc(bytes + 1);
    assert_non_null(ptx);
    assert_int_equal(nvrtc.ptx(program, ptx), 0);
    nvrtc.destroy(&program);
    return ptx;
}

/* ---- kernels: kernel(const float *x, float *y, float *z, int n); z is never written ---- */

static float x_at(int i) { return (float)(i * 7 % 16 - 8); }

static float expect_sync(int i, int n)
{
    return (i > 0 ? x_at(i - 1) : 0) + (i + 1 < n ? x_at(i + 1) : 0);
}

static float expect_warp(int i, int n)
{
    (void)n;
    return x_at(i / 32 * 32 + 31 - i % 32);
}

static float expect_blocks(int i, int n)
{
    float sum = 0;
    const int first = i == 0 ? 0 : (i - 1) * n / 4, end = i == 0 ? n : i * n / 4;
    for (int k = first; k < end; k++) sum += x_at(k);
    return sum;
}

static float expect_ring(int i, int n)
{
    float sum = 0;
    for (int tile = 0; tile < n; tile += 512)
        for (int k = 0; k < 4; k++) sum += x_at(tile + 4 * (127 - i) + k);
    return sum;
}

static float expect_bulk(int i, int n)
{
    float sum = 0;
    for (int tile = 0; tile < n; tile += 128) sum += x_at(tile + 127 - i);
    return sum;
}

static float expect_wgmma(int i, int n)
{
    float sum = 0;
    (void)n;
    for (int k = 0; k < 16; k++) sum += x_at(i / 8 * 16 + k) * x_at(64 * 16 + i % 8 * 16 + k);
    return sum;
}

static const struct subject {
    const char *name, *arch;
    unsigned blocks, threads;
    int n, outputs;
    float (*expected)(int i, int n);
} subjects[] = {
    {"sync", "sm_80", 1, 256, 1000, 1000, expect_sync},
    {"warp", "sm_80", 1, 128, 256, 256, expect_warp},
    {"blocks", "sm_80", 4, 128, 1024, 5, expect_blocks},
    {"ring", "sm_80", 1, 128, 512 * 7, 128, expect_ring},
    {"bulk", "sm_90a", 1, 160, 128 * 11, 128, expect_bulk},
    {"wgmma", "sm_90a", 1, 128, 64 * 16 + 8 * 16, 512, expect_wgmma},
};

static const struct subject *subject(const char *name)
{
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        if (strcmp(subjects[i].name, name) == 0) return &subjects[i];
    fail_msg("no kernel %s", name);
    return NULL;
}

static int device_of(const char *arch)
{
    for (int i = 0; i < vgpu.arch_count(); i++)
        if (strcmp(vgpu.arch(i), arch) == 0) return i;
    fail_msg("no %s", arch);
    return -1;
}

#define MUST(call) assert_int_equal(cuda.call, CUDA_SUCCESS)

/* What one launch gave. */
struct outcome {
    char *source;
    struct vgpu_finding finding[FINDINGS];
    size_t findings;
    struct vgpu_counts counts;
    int wrong; /* outputs that are not as expected */
};

static void launch(const struct subject *k, cuda_handle function, int bug, struct outcome *o)
{
    cuda_address x, y, z;
    float *host = malloc((size_t)(k->n + k->outputs) * sizeof *host);
    assert_non_null(host);
    for (int i = 0; i < k->n; i++) host[i] = x_at(i);
    MUST(memory_alloc(&x, (size_t)k->n * sizeof *host));
    MUST(memory_alloc(&y, (size_t)k->outputs * sizeof *host));
    MUST(memory_alloc(&z, 64 * sizeof *host));
    MUST(copy_up(x, host, (size_t)k->n * sizeof *host, NULL));
    MUST(memory_set(y, 0, (size_t)k->outputs * sizeof *host, NULL));
    if (bug == FREED) MUST(memory_free(x));
    vgpu.reset();
    int n = k->n;
    void *parameters[] = {&x, &y, &z, &n};
    MUST(launch(function, k->blocks, 1, 1, k->threads, 1, 1, 0, NULL, parameters, NULL));
    MUST(copy_down(host, y, (size_t)k->outputs * sizeof *host, NULL));
    o->findings = vgpu.findings(o->finding, FINDINGS);
    vgpu.counts(&o->counts);
    for (int i = 0; k->expected && i < k->outputs; i++) o->wrong += host[i] != k->expected(i, n);
    if (bug != FREED) MUST(memory_free(x));
    MUST(memory_free(y));
    MUST(memory_free(z));
    free(host);
}

static struct outcome run(const struct subject *k, int bug)
{
    struct outcome o = {.source = read_source(k->name)};
    cuda_handle context, module, function;
    char *ptx = compile(o.source, k->name, k->arch, bug == FREED ? 0 : bug);
    const int device = device_of(k->arch);
    MUST(context_retain(&context, device));
    MUST(context_push(context));
    MUST(module_load(&module, ptx, 0, NULL, NULL));
    MUST(module_function(&function, module, "kernel"));
    launch(k, function, bug, &o);
    MUST(module_unload(module));
    MUST(context_pop(&context));
    MUST(context_release(device));
    free(ptx);
    return o;
}

static void print_findings(const struct outcome *o)
{
    for (size_t i = 0; i < o->findings && i < 6; i++)
        print_message("    %s at %s (PTX %d), thread %u, %llu times: %s\n",
                      vgpu.fault_name(o->finding[i].fault), o->finding[i].source,
                      o->finding[i].ptx_line, o->finding[i].thread, o->finding[i].count,
                      o->finding[i].text);
}

/* ---- bugs ---- */

static const struct bug {
    const char *kernel;
    int bug, fault;
    const char *what;
} bugs[] = {
    {"sync", 1, VGPU_RACE_SHARED, "no __syncthreads after the tile is written"},
    {"sync", 2, VGPU_RACE_SHARED, "no __syncthreads before it is written again"},
    {"sync", 3, VGPU_BOUNDS, "clamp of a load dropped"},
    {"sync", 4, VGPU_BOUNDS, "bound of a store dropped"},
    {"sync", 5, VGPU_BOUNDS, "negative index"},
    {"sync", 6, VGPU_UNINITIALISED, "shared memory that nothing wrote"},
    {"sync", 7, VGPU_BOUNDS, "index beyond the tile"},
    {"sync", 8, VGPU_DIVERGENT, "__syncthreads in a branch"},
    {"sync", 9, VGPU_DIVERGENT, "early exit before a barrier"},
    {"sync", 10, VGPU_MISALIGNED, "misaligned vector load"},
    {"sync", 11, VGPU_DEADLOCK, "endless loop"},
    {"warp", 1, VGPU_RACE_SHARED, "no __syncwarp after a write"},
    {"warp", 2, VGPU_RACE_SHARED, "no __syncwarp before the next write"},
    {"warp", 3, VGPU_DIVERGENT, "__syncwarp by a lane that its mask does not name"},
    {"warp", 4, VGPU_DIVERGENT, "__syncwarp that a lane does not reach"},
    {"warp", 5, VGPU_UNINITIALISED, "register that nothing wrote"},
    {"warp", 6, VGPU_UNINITIALISED, "local memory that nothing wrote"},
    {"blocks", 1, VGPU_RACE_GLOBAL, "sum of blocks without atomics"},
    {"blocks", 2, VGPU_RACE_GLOBAL, "two blocks write one place"},
    {"blocks", 3, VGPU_RACE_GLOBAL, "read of another block's result"},
    {"blocks", 5, VGPU_UNINITIALISED, "global memory that nothing wrote"},
    {"blocks", 6, VGPU_UNINITIALISED, "atomic on shared memory that nothing wrote"},
    {"blocks", FREED, VGPU_BOUNDS, "use of freed memory"},
    {"ring", 1, VGPU_PENDING, "wait_group off by one"},
    {"ring", 2, VGPU_PENDING, "stage index off by one"},
    {"ring", 3, VGPU_RACE_SHARED, "barrier after the loads"},
    {"ring", 4, VGPU_RACE_SHARED, "no barrier after the wait"},
    {"ring", 5, VGPU_PENDING, "no commit_group"},
    {"ring", 6, VGPU_BOUNDS, "bound of K dropped"},
    {"ring", 7, VGPU_PENDING, "no commit_group for empty groups"},
    {"ring", 8, VGPU_RACE_SHARED, "barrier before the wait"},
    {"bulk", 1, VGPU_PENDING, "no wait for a full stage"},
    {"bulk", 2, VGPU_PENDING, "no wait for an empty stage"},
    {"bulk", 3, VGPU_DEADLOCK, "no arrival at empty"},
    {"bulk", 4, VGPU_PENDING, "wrong parity"},
    {"bulk", 5, VGPU_PENDING, "no expect_tx"},
    {"bulk", 6, VGPU_DEADLOCK, "more bytes expected than copied"},
    {"bulk", 7, VGPU_BARRIER, "fewer bytes expected than copied"},
    {"bulk", 8, VGPU_DEADLOCK, "init count too large"},
    {"bulk", 9, VGPU_RACE_SHARED, "init count too small"},
    {"bulk", 10, VGPU_FENCE, "no fence.mbarrier_init"},
    {"bulk", 11, VGPU_FENCE, "no fence.proxy.async before a bulk store"},
    {"bulk", 12, VGPU_RACE_SHARED, "no barrier before a bulk store"},
    {"bulk", 13, VGPU_PENDING, "source of a bulk store overwritten before its wait"},
    {"bulk", 14, VGPU_RACE_SHARED, "arrival before the reads"},
    {"bulk", 15, VGPU_RACE_SHARED, "no __syncthreads after mbarrier.init"},
    {"bulk", 16, VGPU_RACE_SHARED, "one lane arrives for all without __syncwarp"},
    {"bulk", 17, VGPU_BARRIER, "mbarrier overwritten"},
    {"bulk", 18, VGPU_MISALIGNED, "bulk copy to a place that is not aligned"},
    {"bulk", 19, VGPU_DEADLOCK, "one arrival missing"},
    {"bulk", 20, VGPU_BARRIER, "no mbarrier.init"},
    {"wgmma", 1, VGPU_FENCE, "no wgmma.fence"},
    {"wgmma", 2, VGPU_PENDING, "accumulators read without a wait"},
    {"wgmma", 3, VGPU_PENDING, "no commit_group"},
    {"wgmma", 4, VGPU_FENCE, "no fence.proxy.async before wgmma"},
    {"wgmma", 5, VGPU_PENDING, "operand overwritten in flight"},
    {"wgmma", 6, VGPU_BOUNDS, "descriptor out of bounds"},
    {"wgmma", 7, NUMBERS, "wrong swizzle"},
    {"wgmma", 8, VGPU_RACE_SHARED, "no barrier before wgmma"},
    {"wgmma", 9, VGPU_PENDING, "wait_group off by one"},
};

/* 1 when line `line` of the source is marked for the bug; *marks counts the marks there are. */
static int is_marked(const char *source, int bug, int line, int *marks)
{
    char mark[16];
    const size_t length = (size_t)snprintf(mark, sizeof mark, "@%d", bug);
    int here = 0;
    *marks = 0;
    for (const char *at = source; (at = strstr(at, mark)) != NULL; at += length) {
        if (at[length] >= '0' && at[length] <= '9') continue;
        int number = 1;
        for (const char *c = source; c < at; c++) number += *c == '\n';
        here |= number == line;
        ++*marks;
    }
    return here;
}

/* 1 when the bug shows as it must. */
static int shows(const struct bug *b, const struct outcome *o)
{
    int found = 0, marked = 0, marks = 0;
    is_marked(o->source, b->bug, 0, &marks);
    for (size_t i = 0; i < o->findings && i < FINDINGS; i++) {
        if ((int)o->finding[i].fault != b->fault) continue;
        const char *colon = strrchr(o->finding[i].source, ':');
        found = 1;
        marked |= colon && is_marked(o->source, b->bug, atoi(colon + 1), &marks);
    }
    if (b->fault == NUMBERS) return o->findings == 0 && o->wrong > 0;
    return found && (marked || !marks);
}

static void each_bug_is_found(void **state)
{
    (void)state;
    const size_t count = sizeof bugs / sizeof *bugs;
    const char *only = getenv("QGEN_BUG");
    size_t missed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct bug *b = &bugs[i];
        char name[32];
        snprintf(name, sizeof name, "%s%d", b->kernel, b->bug);
        if (only && strcmp(only, name) != 0) continue;
        struct outcome o = run(subject(b->kernel), b->bug);
        const int good = shows(b, &o);
        if (!good) {
            print_message("%s.cu, bug %d: %s: %zu findings, %d wrong numbers\n", b->kernel, b->bug,
                          b->what, o.findings, o.wrong);
            print_findings(&o);
        }
        missed += !good;
        free(o.source);
    }
    print_message("%zu of %zu bugs found\n", count - missed, count);
    assert_int_equal(missed, 0);
}

static void kernels_without_bugs_are_clean(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        struct outcome o = run(&subjects[i], 0);
        if (o.findings || o.wrong) {
            print_findings(&o);
            fail_msg("%s: %zu findings, %d wrong numbers", subjects[i].name, o.findings, o.wrong);
        }
        free(o.source);
    }
}

/* ---- counts ---- */

static struct vgpu_counts counts_of(int bug)
{
    static const struct subject k = {"count", "sm_80", 1, 32, 32 * 32, 32, NULL};
    struct outcome o = run(&k, bug);
    print_findings(&o);
    assert_int_equal(o.findings, 0);
    free(o.source);
    return o.counts;
}

static void conflicts_and_sectors_are_counted(void **state)
{
    (void)state;
    for (int stride = 1; stride <= 32; stride *= 2) {
        const struct vgpu_counts c = counts_of(stride);
        assert_int_equal(c.shared_requests, 2);
        assert_int_equal(c.shared_wavefronts, 2 * stride); /* so many lanes meet in a bank */
    }
    for (int far = 1; far <= 8; far *= 2) {
        const struct vgpu_counts c = counts_of(64 * far);
        assert_int_equal(c.global_requests, 2);
        assert_int_equal(c.global_sectors,
                         4 * far + 4); /* 128 bytes apart by `far`, and the store */
    }
}

int main(void)
{
    if (!open_compiler()) {
        print_message("skipped: NVRTC is not here (%s)\n", qrt_message());
        return 0;
    }
    open_gpu();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_without_bugs_are_clean),
        cmocka_unit_test(each_bug_is_found),
        cmocka_unit_test(conflicts_and_sectors_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
