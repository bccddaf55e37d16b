/* test_cuda_small_ops.c -- contract of the CUDA templates of everything but linear, as NVRTC sees it
 *
 * - each compiles in f16 and bf16; the oldest arch, the newest and one between take turns
 * - rope and attention take a KV cache of every type with activations of either
 * - no kernel has a stack frame (no spills, no local arrays), and a block of it fits in the registers
 * - the parameters of a kernel have the size of the op's struct in C
 * - the same holds for a third of all tune points, and of all by `qgen check --device vgpu
 *   --every-point`, whose shares are the prove_points_* tests
 * - a request outside a template's reach is refused with its reason
 * They are compiled alone; what they compute is proved by the prove_* tests, and by `qgen check`.
 * Needs NVRTC; skips aloud without it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cubin.h"
#include "error.h"
#include "helpers.h"
#include "nvrtc.h"
#include "pipeline.h"

enum { REGISTERS_SM = 65536 };

/* %s: the activation type. */
static const char *const forms[] = {
    "rmsnorm.f32.%s",        "rmsnorm.%s.%s",       "rope.halves.%s.%s.h64",
    "rope.pairs.%s.%s.h128", "attention.%s.%s.h80", "attention.%s.%s.h256",
    "glu.silu.%s",           "glu.gelu.%s",         "add.%s",
    "combine.%s.h128",       "gather.%s",
};
enum { FORMS = sizeof forms / sizeof *forms };

static int no_nvrtc(void)
{
    struct nvrtc *n;
    if (nvrtc_open(&n) != QRT_OK) {
        print_message("SKIP: no NVRTC: %s\n", qrt_message());
        return 1;
    }
    nvrtc_close(n);
    return 0;
}

static struct request make_request(const char *name, const char *arch)
{
    struct request r = {.arch = arch_find(arch), .m_lo = 1, .m_hi = PIPELINE_M_MAX};
    if (op_desc_parse(name, &r.desc) != QRT_OK) fail_msg("%s", qrt_message());
    assert_non_null(r.arch);
    return r;
}

static void check_kernel(const struct pipeline_kernel *k)
{
    const struct entry_record *r = &k->entry.record;
    struct cubin c;
    const void *image = k->entry.part[ENTRY_IMAGE].data;
    assert_int_equal(cubin_read(image, k->entry.part[ENTRY_IMAGE].bytes, r->symbol, &c), QRT_OK);
    const unsigned threads = r->block[0] * r->block[1] * r->block[2];
    if (c.stack_bytes != 0 || (c.regs + 7) / 8 * 8 * threads > REGISTERS_SM)
        fail_msg("%s %s %s: %u bytes of stack, %u registers, %u threads", r->arch, r->template_,
                 r->tune, c.stack_bytes, c.regs, threads);
    assert_int_equal(c.param_bytes[0], op_args_bytes((enum op)r->desc.op));
    assert_int_equal(r->stack_bytes, 0);
    assert_true(k->entry.part[ENTRY_PTX].bytes > 0);
}

/* Compile `count` requests, `top` kernels each, and of these one of `parts`; returns how many. */
static size_t check_requests(const struct request *requests, size_t count, int top, int parts)
{
    char store[] = "/tmp/qgen-test-XXXXXX";
    assert_non_null(mkdtemp(store));
    const struct pipeline_options options = {
        .store = store, .top = top, .parts = parts, .ungated = 1};
    struct pipeline *p;
    struct pipeline_result result;
    assert_int_equal(pipeline_open(&options, &p), QRT_OK);
    if (pipeline_make(p, requests, count, &result) != QRT_OK) fail_msg("%s", qrt_message());
    for (size_t i = 0; i < result.count; i++) check_kernel(&result.kernels[i]);
    const size_t made = result.count;
    pipeline_result_free(&result);
    pipeline_close(p);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", store);
    assert_int_equal(system(command), 0);
    return made;
}

static void all_types_on_all_generations(void **state)
{
    (void)state;
    static const char *const archs[] = {"sm_75", "sm_80", "sm_120"};
    if (no_nvrtc()) skip();
    struct request requests[2 * FORMS + 1];
    size_t count = 0;
    for (size_t i = 0; i < 2 * FORMS; i++) { /* FORMS is no multiple of three: both types of each */
        char name[OP_NAME_BYTES];
        const char *type = i < FORMS ? "f16" : "bf16";
        snprintf(name, sizeof name, forms[i % FORMS], type, type);
        requests[count++] = make_request(name, archs[i % 3]);
    }
    requests[count++] = make_request("sample", "sm_120");
    assert_true(check_requests(requests, count, 1, 1) >= count);
}

static void caches_of_all_types(void **state)
{
    (void)state;
    static const char *const archs[] = {"sm_75", "sm_89"};
    static const char *const names[] = {
        "rope.halves.f16.i8.h64", "rope.pairs.bf16.e4m3.h128", "rope.halves.f16.bf16.h80",
        "attention.f16.i8.h64",   "attention.f16.e4m3.h80",    "attention.f16.bf16.h128",
        "attention.bf16.i8.h256", "attention.bf16.e4m3.h64",   "attention.bf16.f16.h16",
    };
    enum { NAMES = sizeof names / sizeof *names };
    if (no_nvrtc()) skip();
    struct request requests[NAMES];
    for (size_t i = 0; i < NAMES; i++) requests[i] = make_request(names[i], archs[i % 2]);
    assert_true(check_requests(requests, NAMES, 1, 1) >= NAMES);
}

static void codes_of_all_forms(void **state)
{
    (void)state;
    static const char *const archs[] = {"sm_75", "sm_89", "sm_120"};
    static const char *const names[] = {
        "quantize.f16.i8t", "quantize.f32.i8tz", "quantize.bf16.e4m3t", "quantize.f16.e4m3b",
        "rmsnorm.f32.i8t",  "rmsnorm.f32.i8tz",  "rmsnorm.bf16.e4m3t",  "rmsnorm.f16.e4m3b",
        "glu.silu.f16.i8t", "glu.gelu.f16.i8tz", "glu.gelu.bf16.e4m3t", "glu.silu.bf16.e4m3b",
    };
    enum { NAMES = sizeof names / sizeof *names };
    if (no_nvrtc()) skip();
    struct request requests[NAMES];
    for (size_t i = 0; i < NAMES; i++) requests[i] = make_request(names[i], archs[i % 3]);
    assert_true(check_requests(requests, NAMES, 1, 1) >= NAMES);
}

static void tune_points(void **state)
{
    (void)state;
    static const char *const names[] = {"rmsnorm.f32.f16",
                                        "rope.halves.f16.f16.h64",
                                        "attention.f16.f16.h64",
                                        "attention.bf16.e4m3.h128",
                                        "combine.f16.h128",
                                        "glu.gelu.f16",
                                        "add.f16",
                                        "quantize.f16.i8tz",
                                        "quantize.bf16.e4m3b",
                                        "rmsnorm.f32.i8tz",
                                        "glu.gelu.f16.i8tz",
                                        "gather.f16",
                                        "sample"};
    enum { COUNT = sizeof names / sizeof *names, ALL = 1000 };
    if (no_nvrtc()) skip();
    struct request requests[COUNT];
    for (size_t i = 0; i < COUNT; i++) requests[i] = make_request(names[i], "sm_86");
    assert_true(check_requests(requests, COUNT, ALL, 3) > 10);
}

static void out_of_reach_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *reason;
    } cases[] = {
        {"rmsnorm.f32.f32", "y is f16, bf16 or codes"},
        {"rmsnorm.f16.bf16", "x is f32 or of the type of y"},
        {"rope.pairs.f16.f32.h64", "the cache is f16, bf16, i8 or e4m3"},
        {"rope.pairs.f32.i8.h64", "q, k and v are f16 or bf16"},
        {"attention.f16.f16.h72", "heads of 16, 32, 48 .. 256 elements"},
        {"attention.f16.f16.h272", "heads of 16, 32, 48 .. 256 elements"},
        {"attention.bf16.f32.h64", "the cache is f16, bf16, i8 or e4m3"},
        {"combine.f32.h64", "y is f16 or bf16"},
        {"glu.silu.f32", "gate and up are f16 or bf16"},
        {"quantize.f16.f16", "codes are i8t"},
        {"quantize.f16.i8", "codes are i8t"},
    };
    struct template_set *set;
    assert_int_equal(template_set_open(NULL, &set), QRT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct request r = make_request(cases[i].name, "sm_90");
        struct candidate *candidates;
        size_t count;
        assert_int_equal(template_candidates(set, &r, &candidates, &count), QRT_E_SCHEME);
        if (strstr(qrt_message(), cases[i].reason) == NULL)
            fail_msg("'%s' lacks '%s'", qrt_message(), cases[i].reason);
    }
    template_set_close(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_reach_is_refused),
        cmocka_unit_test(all_types_on_all_generations),
        cmocka_unit_test(caches_of_all_types),
        cmocka_unit_test(codes_of_all_forms),
        cmocka_unit_test(tune_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
