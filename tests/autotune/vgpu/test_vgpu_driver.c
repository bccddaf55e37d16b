/* test_vgpu_driver.c -- contract of the virtual GPU as a CUDA driver, by its exported names
 *
 * - devices in order with names, capabilities and limits; what is not initialised or not there is refused
 * - contexts: retain, push, pop; a call without one is refused
 * - memory: exact sizes, copies within bounds only, double free, out of memory
 * - modules: a cubin is refused with 209, unknown PTX with 218 and its line in the log, PTX of a newer
 *   device or of another exact one with 218, of a newer version with 222; an old one runs
 * - functions: static and dynamic shared memory, the 48 KiB that need opting in, the device's limit
 * - launches: dimensions, threads, parameters, handles
 * - a kernel's fault is told by the next call and stays: 700, 716, 719; with keep_going it is only found
 * - findings name kernel, line, block and thread, equal ones are counted; counts add up
 * - a captured stream runs nothing; its graph does, as often as it is launched
 * - tensor maps, names of errors, addresses of functions
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "helpers.h"
#include "vgpu.h"

/* X(name, arguments) */
#define DRIVER(X)                                                                                 \
    X(cuInit, (unsigned))                                                                         \
    X(cuDeviceGetCount, (int *))                                                                  \
    X(cuDeviceGet, (int *, int))                                                                  \
    X(cuDeviceGetName, (char *, int, int))                                                        \
    X(cuDeviceGetAttribute, (int *, int, int))                                                    \
    X(cuDevicePrimaryCtxRetain, (void **, int))                                                   \
    X(cuDevicePrimaryCtxRelease_v2, (int))                                                        \
    X(cuCtxPushCurrent_v2, (void *))                                                              \
    X(cuCtxPopCurrent_v2, (void **))                                                              \
    X(cuCtxSynchronize, (void))                                                                   \
    X(cuMemAlloc_v2, (uint64_t *, size_t))                                                        \
    X(cuMemFree_v2, (uint64_t))                                                                   \
    X(cuMemGetInfo_v2, (size_t *, size_t *))                                                      \
    X(cuMemcpyHtoD_v2, (uint64_t, const void *, size_t))                                          \
    X(cuMemcpyDtoH_v2, (void *, uint64_t, size_t))                                                \
    X(cuMemsetD32Async, (uint64_t, unsigned, size_t, void *))                                     \
    X(cuModuleLoadDataEx, (void **, const void *, unsigned, int *, void **))                      \
    X(cuModuleUnload, (void *))                                                                   \
    X(cuModuleGetFunction, (void **, void *, const char *))                                       \
    X(cuModuleGetGlobal_v2, (uint64_t *, size_t *, void *, const char *))                         \
    X(cuFuncGetAttribute, (int *, int, void *))                                                   \
    X(cuFuncSetAttribute, (void *, int, int))                                                     \
    X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,        \
                       unsigned, void *, void **, void **))                                       \
    X(cuStreamCreate, (void **, unsigned))                                                        \
    X(cuStreamDestroy_v2, (void *))                                                               \
    X(cuStreamSynchronize, (void *))                                                              \
    X(cuStreamBeginCapture_v2, (void *, int))                                                     \
    X(cuStreamEndCapture, (void *, void **))                                                      \
    X(cuGraphInstantiateWithFlags, (void **, void *, unsigned long long))                         \
    X(cuGraphLaunch, (void *, void *))                                                            \
    X(cuGraphDestroy, (void *))                                                                   \
    X(cuGraphExecDestroy, (void *))                                                               \
    X(cuTensorMapEncodeTiled, (void *, int, uint32_t, void *, const uint64_t *, const uint64_t *, \
                               const uint32_t *, const uint32_t *, int, int, int, int))           \
    X(cuGetErrorName, (int, const char **))                                                       \
    X(cuGetProcAddress_v2, (const char *, void **, int, uint64_t, int *))
#define DECLARE(name, arguments) static int(*name) arguments;
DRIVER(DECLARE)
static __typeof__(&vgpu_configure) configure;
static __typeof__(&vgpu_reset) reset;
static __typeof__(&vgpu_findings) findings;
static __typeof__(&vgpu_counts) counts;
static __typeof__(&vgpu_arch) arch;

enum { SM_75, SM_80, SM_86, SM_89, SM_90A, SM_100, SM_120, DEVICES };

static void *library;
static void *context; /* of sm_80, current */

static int open_library(void **state)
{
    (void)state;
    library = dlopen(BINARY_DIR "/libqgen_vgpu.so", RTLD_NOW | RTLD_LOCAL);
    if (!library) return print_error("%s\n", dlerror()), -1;
#define LOAD(name, arguments) \
    if (!(*(void **)&name = dlsym(library, #name))) return print_error("no " #name "\n"), -1;
    DRIVER(LOAD)
    *(void **)&configure = dlsym(library, "vgpu_configure");
    *(void **)&reset = dlsym(library, "vgpu_reset");
    *(void **)&findings = dlsym(library, "vgpu_findings");
    *(void **)&counts = dlsym(library, "vgpu_counts");
    *(void **)&arch = dlsym(library, "vgpu_arch");
    return 0;
}

#define OK(call)            assert_int_equal(call, 0)
#define REFUSED(with, call) assert_int_equal(call, with)

static void enter(int device)
{
    OK(cuDevicePrimaryCtxRetain(&context, device));
    OK(cuCtxPushCurrent_v2(context));
    configure(0, 1, 1);
    reset();
}

/* Another context the next time: an error stays with this one. */
static void leave(int device)
{
    OK(cuCtxPopCurrent_v2(NULL));
    OK(cuDevicePrimaryCtxRelease_v2(device));
}

/* ---- kernels ---- */

#define HEAD ".version 9.0\n.target sm_75\n.address_size 64\n"
/* p[i] += 1 for thread i of all; line 15 reads, line 17 writes */
static const char increment[] =
    HEAD ".global .u32 variable = 5;\n"
         ".visible .entry k(.param .u64 p)\n{\n.reg .b64 %p;\n.reg .b32 %t, %n, %c, %v;\n"
         "ld.param.u64 %p, [p];\nmov.u32 %t, %tid.x;\nmov.u32 %n, %ntid.x;\nmov.u32 %c, %ctaid.x;\n"
         "mad.lo.u32 %t, %c, %n, %t;\nmad.wide.u32 %p, %t, 4, %p;\n"
         "ld.global.u32 %v, [%p];\nadd.u32 %v, %v, 1;\nst.global.u32 [%p], %v;\nret;\n}\n";
enum { LINE_READ = 15 };

static const char shared_kernel[] =
    HEAD ".extern .shared .align 16 .b8 dynamic[];\n"
         ".visible .entry k()\n.maxntid 64\n{\n.shared .align 4 .b8 a[1000];\n.reg .b32 %a, %b;\n"
         "mov.u32 %a, a;\nmov.u32 %b, dynamic;\nst.shared.u32 [%a], %b;\nret;\n}\n";

static void *load(const char *text)
{
    void *module = NULL, *function = NULL;
    OK(cuModuleLoadDataEx(&module, text, 0, NULL, NULL));
    OK(cuModuleGetFunction(&function, module, "k"));
    return function;
}

static int launch(void *function, unsigned blocks, unsigned threads, uint64_t p)
{
    void *params[] = {&p};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, NULL, params, NULL);
}

/* ---- tests ---- */

static void test_before_init(void **state)
{
    int n;
    (void)state;
    REFUSED(3, cuDeviceGetCount(&n));
    REFUSED(1, cuInit(1));
    OK(cuInit(0));
}

static void test_devices(void **state)
{
    static const struct {
        const char *arch;
        int major, minor, shared;
    } want[DEVICES] = {{"sm_75", 7, 5, 64},  {"sm_80", 8, 0, 163},  {"sm_86", 8, 6, 99},
                       {"sm_89", 8, 9, 99},  {"sm_90a", 9, 0, 227}, {"sm_100", 10, 0, 227},
                       {"sm_120", 12, 0, 99}};
    int n, value;
    char name[64], expected[64];
    (void)state;
    OK(cuDeviceGetCount(&n));
    assert_int_equal(n, DEVICES);
    for (int d = 0; d < DEVICES; d++) {
        assert_string_equal(arch(d), want[d].arch);
        OK(cuDeviceGetName(name, sizeof name, d));
        snprintf(expected, sizeof expected, "qgen virtual %s", want[d].arch);
        assert_string_equal(name, expected);
        OK(cuDeviceGetAttribute(&value, 75, d));
        assert_int_equal(value, want[d].major);
        OK(cuDeviceGetAttribute(&value, 76, d));
        assert_int_equal(value, want[d].minor);
        OK(cuDeviceGetAttribute(&value, 97, d));
        assert_int_equal(value, want[d].shared * 1024);
    }
    assert_null(arch(DEVICES));
    REFUSED(101, cuDeviceGet(&n, DEVICES));
    REFUSED(1, cuDeviceGetAttribute(&value, 9999, 0));
}

static void test_contexts(void **state)
{
    uint64_t a;
    void *popped = NULL;
    (void)state;
    REFUSED(201, cuMemAlloc_v2(&a, 4));
    REFUSED(201, cuCtxPopCurrent_v2(&popped));
    REFUSED(201, cuCtxPushCurrent_v2(&a));
    enter(SM_80);
    OK(cuCtxPopCurrent_v2(&popped));
    assert_ptr_equal(popped, context);
    OK(cuCtxPushCurrent_v2(context));
    leave(SM_80);
    REFUSED(201, cuDevicePrimaryCtxRelease_v2(SM_80));
}

static void test_memory(void **state)
{
    uint64_t a, b;
    size_t available, total;
    char bytes[16] = "0123456789abcde", back[16];
    (void)state;
    enter(SM_80);
    REFUSED(1, cuMemAlloc_v2(&a, 0));
    OK(cuMemAlloc_v2(&a, 10));
    assert_int_equal(a % 256, 0);
    OK(cuMemcpyHtoD_v2(a, bytes, 10));
    REFUSED(1, cuMemcpyHtoD_v2(a, bytes, 11));
    REFUSED(1, cuMemcpyHtoD_v2(a - 1, bytes, 1));
    OK(cuMemcpyDtoH_v2(back, a + 4, 6));
    assert_memory_equal(back, "456789", 6);
    OK(cuMemGetInfo_v2(&available, &total));
    assert_int_equal(total - available, 10);
    REFUSED(2, cuMemAlloc_v2(&b, available + 1));
    OK(cuMemsetD32Async(a, 0x01020304, 2, NULL));
    OK(cuMemcpyDtoH_v2(back, a, 8));
    assert_memory_equal(back, "\4\3\2\1\4\3\2\1", 8);
    REFUSED(1, cuMemFree_v2(a + 4));
    OK(cuMemFree_v2(a));
    REFUSED(1, cuMemFree_v2(a));
    REFUSED(1, cuMemcpyHtoD_v2(a, bytes, 1));
    OK(cuMemFree_v2(0));
    leave(SM_80);
}

static void image_refused(int answer, const char *image, const char *why)
{
    char log[256] = "";
    int option[] = {5, 6};
    void *value[] = {log, (void *)(uintptr_t)sizeof log}, *module = NULL;
    REFUSED(answer, cuModuleLoadDataEx(&module, image, 2, option, value));
    if (!strstr(log, why)) fail_msg("'%s' lacks '%s'", log, why);
}

#define EMPTY ".address_size 64\n.entry k()\n{\nret;\n}\n"

static void test_images(void **state)
{
    (void)state;
    enter(SM_80);
    image_refused(209, "\177ELF and so on", "");
    image_refused(200, "not a kernel", "");
    image_refused(218, HEAD ".entry k()\n{\nfrob.u32;\n}\n", "line 6: unknown opcode 'frob.u32'");
    image_refused(218, ".version 9.0\n.target sm_89\n" EMPTY, "sm_89 does not run on sm_80");
    image_refused(218, ".version 9.0\n.target sm_90a\n" EMPTY, "sm_90a does not run on sm_80");
    image_refused(222, ".version 9.9\n.target sm_80\n" EMPTY, "9.9");
    void *function, *module;
    OK(cuModuleLoadDataEx(&module, ".version 7.0\n.target sm_75\n" EMPTY, 0, NULL, NULL));
    REFUSED(500, cuModuleGetFunction(&function, module, "other"));
    OK(cuModuleGetFunction(&function, module, "k"));
    OK(cuModuleUnload(module));
    REFUSED(400, cuModuleUnload(module));
    leave(SM_80);
    enter(SM_90A);
    (void)load(".version 9.0\n.target sm_90a\n" EMPTY);
    image_refused(218, ".version 9.0\n.target sm_100a\n" EMPTY, "sm_100a");
    leave(SM_90A);
}

static void test_functions(void **state)
{
    int value;
    (void)state;
    enter(SM_86);
    void *f = load(shared_kernel);
    OK(cuFuncGetAttribute(&value, 0, f));
    assert_int_equal(value, 64);
    OK(cuFuncGetAttribute(&value, 1, f));
    assert_int_equal(value, 1000);
    OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 49152 - 1000, NULL, NULL, NULL));
    REFUSED(1, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 49152 - 999, NULL, NULL, NULL));
    OK(cuFuncSetAttribute(f, 8, 99 * 1024 - 1000));
    REFUSED(1, cuFuncSetAttribute(f, 8, 99 * 1024 - 999));
    OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 99 * 1024 - 1000, NULL, NULL, NULL));
    REFUSED(1, cuLaunchKernel(f, 1, 1, 1, 65, 1, 1, 0, NULL, NULL, NULL)); /* .maxntid */
    OK(cuCtxSynchronize());
    leave(SM_86);
}

static void test_launches(void **state)
{
    uint64_t p, address;
    size_t bytes;
    unsigned word[64];
    (void)state;
    enter(SM_80);
    void *module = NULL, *f = NULL;
    OK(cuModuleLoadDataEx(&module, increment, 0, NULL, NULL));
    OK(cuModuleGetFunction(&f, module, "k"));
    OK(cuModuleGetGlobal_v2(&address, &bytes, module, "variable"));
    assert_int_equal(bytes, 4);
    OK(cuMemcpyDtoH_v2(word, address, 4));
    assert_int_equal(word[0], 5);
    OK(cuMemAlloc_v2(&p, sizeof word));
    OK(cuMemsetD32Async(p, 41, 64, NULL));
    REFUSED(1, launch(f, 0, 32, p));
    REFUSED(1, launch(f, 1, 1025, p));
    REFUSED(1, cuLaunchKernel(f, 1, 65536, 1, 1, 1, 1, 0, NULL, (void *[]){&p}, NULL));
    REFUSED(1, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    REFUSED(400, launch(module, 1, 32, p));
    REFUSED(400, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, &p, (void *[]){&p}, NULL));
    OK(launch(f, 2, 32, p));
    size_t size = sizeof p;
    void *extra[] = {(void *)1, &p, (void *)2, &size, NULL};
    OK(cuLaunchKernel(f, 1, 1, 1, 33, 1, 1, 0, NULL, NULL, extra));
    OK(cuMemcpyDtoH_v2(word, p, sizeof word));
    for (int i = 0; i < 64; i++) assert_int_equal(word[i], i < 33 ? 43 : 42);
    struct vgpu_counts c;
    counts(&c);
    assert_int_equal(c.launches, 2);
    assert_int_equal(c.thread_instructions, 10 * (64 + 33));
    assert_int_equal(c.global_load_bytes, 4 * (64 + 33));
    assert_int_equal(c.global_sectors, 2 * (4 + 4 + 4 + 1)); /* loads and stores of 4 warps */
    assert_int_equal(findings(NULL, 0), 0);
    leave(SM_80);
}

/* One fault: the next call tells it, and all after. */
static void faults(const char *text, unsigned blocks, unsigned threads, size_t bytes, int answer,
                   enum vgpu_fault fault)
{
    uint64_t p, q;
    struct vgpu_finding f;
    enter(SM_80);
    OK(cuMemAlloc_v2(&p, bytes));
    OK(cuMemsetD32Async(p, 0, bytes / 4, NULL));
    void *function = load(text);
    OK(launch(function, blocks, threads, p));
    REFUSED(answer, cuCtxSynchronize());
    REFUSED(answer, cuMemAlloc_v2(&q, 4));
    REFUSED(answer, launch(function, 1, 1, p));
    assert_true(findings(&f, 1) >= 1);
    assert_int_equal(f.fault, fault);
    leave(SM_80);
    enter(SM_80);
    configure(1, 1, 1);
    OK(cuMemAlloc_v2(&p, bytes));
    OK(cuMemsetD32Async(p, 0, bytes / 4, NULL));
    OK(launch(load(text), blocks, threads, p));
    OK(cuCtxSynchronize());
    assert_true(findings(&f, 1) >= 1);
    assert_int_equal(f.fault, fault);
    leave(SM_80);
}

#define KERNEL(body)                                                                           \
    HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 %p;\n.reg .b32 %v;\n.reg .pred %q;\n" \
         "ld.param.u64 %p, [p];\n" body "ret;\n}\n"

static void test_faults(void **state)
{
    (void)state;
    faults(increment, 1, 32, 4 * 31, 700, VGPU_BOUNDS);
    faults(KERNEL("ld.global.u32 %v, [%p+2];\n"), 1, 1, 64, 716, VGPU_MISALIGNED);
    faults(KERNEL("ld.global.u32 %v, [0];\n"), 1, 1, 64, 700, VGPU_BOUNDS);
    faults(KERNEL("trap;\n"), 1, 1, 64, 719, VGPU_ILLEGAL);
    faults(KERNEL("mov.u32 %v, %tid.x;\nsetp.lt.u32 %q, %v, 32;\n@%q bar.sync 1, 64;\n"
                  "@!%q bar.sync 2, 64;\n"),
           1, 64, 64, 719, VGPU_DEADLOCK);
    faults(KERNEL("L:\nbra L;\n"), 1, 1, 64, 719, VGPU_DEADLOCK);
}

static void test_findings(void **state)
{
    uint64_t p, freed;
    struct vgpu_finding f[4];
    (void)state;
    enter(SM_80);
    configure(1, 1, 1);
    void *function = load(increment);
    OK(cuMemAlloc_v2(&p, 4 * 100));
    OK(cuMemsetD32Async(p, 0, 100, NULL));
    OK(launch(function, 4, 32, p));      /* 128 threads on 100 words */
    assert_int_equal(findings(f, 4), 2); /* a read and a write */
    assert_int_equal(f[0].fault, VGPU_BOUNDS);
    assert_string_equal(f[0].kernel, "k");
    assert_int_equal(f[0].ptx_line, LINE_READ);
    assert_int_equal(f[0].block[0], 3);
    assert_int_equal(f[0].thread, 4);
    assert_int_equal(f[0].count, 28);
    assert_non_null(strstr(f[0].text, "byte 400 of an allocation of 400 bytes"));
    reset();
    assert_int_equal(findings(f, 4), 0);
    OK(cuMemAlloc_v2(&freed, 4 * 32));
    OK(cuMemFree_v2(freed));
    OK(launch(function, 1, 32, freed));
    assert_true(findings(f, 4) >= 1);
    assert_non_null(strstr(f[0].text, "was freed"));
    reset();
    OK(cuMemAlloc_v2(&p, 4 * 32)); /* nothing wrote it */
    OK(launch(function, 1, 32, p));
    assert_int_equal(findings(f, 4), 1);
    assert_int_equal(f[0].fault, VGPU_UNINITIALISED);
    leave(SM_80);
}

static void test_graphs(void **state)
{
    uint64_t p;
    void *stream = NULL, *graph = NULL, *executable = NULL;
    unsigned word = 0;
    (void)state;
    enter(SM_80);
    void *function = load(increment);
    OK(cuMemAlloc_v2(&p, 4));
    OK(cuMemsetD32Async(p, 10, 1, NULL));
    OK(cuStreamCreate(&stream, 1));
    REFUSED(900, cuStreamBeginCapture_v2(NULL, 0));
    OK(cuStreamBeginCapture_v2(stream, 0));
    REFUSED(900, cuStreamSynchronize(stream));
    void *params[] = {&p};
    for (int i = 0; i < 2; i++)
        OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
    OK(cuStreamEndCapture(stream, &graph));
    OK(cuMemcpyDtoH_v2(&word, p, 4));
    assert_int_equal(word, 10);
    OK(cuGraphInstantiateWithFlags(&executable, graph, 0));
    OK(cuGraphDestroy(graph));
    for (int i = 0; i < 3; i++) OK(cuGraphLaunch(executable, stream));
    OK(cuMemcpyDtoH_v2(&word, p, 4));
    assert_int_equal(word, 16);
    OK(cuGraphExecDestroy(executable));
    REFUSED(400, cuGraphLaunch(executable, stream));
    OK(cuStreamDestroy_v2(stream));
    leave(SM_80);
}

static int encode(uint64_t base, uint64_t stride, uint32_t box, int swizzle)
{
    static char map[128] __attribute__((aligned(64)));
    return cuTensorMapEncodeTiled(map, 6, 2, (void *)(uintptr_t)base, (const uint64_t[]){64, 8},
                                  &stride, (const uint32_t[]){box, 8}, (const uint32_t[]){1, 1}, 0,
                                  swizzle, 0, 0);
}

static void test_tensor_maps(void **state)
{
    (void)state;
    OK(encode(1 << 20, 128, 64, 3));
    REFUSED(1, encode((1 << 20) + 8, 128, 64, 3)); /* alignment */
    REFUSED(1, encode(1 << 20, 136, 64, 3));
    REFUSED(1, encode(1 << 20, 112, 64, 3)); /* rows overlap */
    REFUSED(1, encode(1 << 20, 128, 257, 0));
    REFUSED(1, encode(1 << 20, 128, 12, 0)); /* 24 bytes */
    REFUSED(1, encode(1 << 20, 128, 64, 2)); /* 128 bytes in a swizzle of 64 */
}

static void test_names(void **state)
{
    const char *name = NULL;
    void *function = NULL;
    int status = -1;
    (void)state;
    OK(cuGetErrorName(700, &name));
    assert_string_equal(name, "CUDA_ERROR_ILLEGAL_ADDRESS");
    REFUSED(1, cuGetErrorName(12345, &name));
    OK(cuGetProcAddress_v2("cuMemAlloc", &function, 13000, 0, &status));
    assert_ptr_equal(function, (void *)cuMemAlloc_v2);
    OK(cuGetProcAddress_v2("cuInit", &function, 13000, 0, &status));
    assert_ptr_equal(function, (void *)cuInit);
    REFUSED(500, cuGetProcAddress_v2("cuNothing", &function, 13000, 0, &status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_init), cmocka_unit_test(test_devices),
        cmocka_unit_test(test_contexts),    cmocka_unit_test(test_memory),
        cmocka_unit_test(test_images),      cmocka_unit_test(test_functions),
        cmocka_unit_test(test_launches),    cmocka_unit_test(test_faults),
        cmocka_unit_test(test_findings),    cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_tensor_maps), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, open_library, NULL);
}
