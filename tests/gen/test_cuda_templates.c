/* test_cuda_templates.c -- contract of the CUDA templates of linear, reduce and embed
 *
 * - every scheme that the templates accept has kernels for every GPU arch at every range of rows,
 *   within the arch's shared memory
 * - each scheme compiles on one arch at one range; archs and ranges take turns, all of them occur.
 *   The rest is proved by running it: `qgen check --device vgpu`, whose shares are the prove_* tests
 * - no stack (so no spills), or not in one of the next tune points, which the pipeline then takes;
 *   registers and shared memory within the arch, the block as launched
 * - the arguments are as long as the C structs
 * - a linear uses the tensor cores, and those of its type (bf16 on sm_75 has none and says so in the
 *   template): 8-bit activations the integer and the 8-bit float ones, with nothing emulated
 * - many rows on sm_90a go to warpgroup mma, 8-bit floats of any number do: of the activations' type,
 *   one for each 32 bytes of x in a stage, with a tensor map of x's rows; on sm_90 nothing does
 * - what has no layout or no meaning is refused with a reason: unlike dense types, i8 activations
 *   without a form, 8-bit floats where mma.sync has none
 *
 * Needs NVRTC; without it the compiling tests are skipped aloud.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cubin.h"
#include "error.h"
#include "helpers.h"
#include "nvrtc.h"
#include "pipeline.h"
#include "template.h"
#include "unit.h"

enum { OPCODE_HMMA = 0x23c, OPCODE_IMMA = 0x237, OPCODE_QMMA = 0x27a };
enum { OPCODE_HGMMA = 0xdf0, OPCODE_IGMMA = 0xdf1, OPCODE_QGMMA = 0xdf3 };
enum { REGISTERS_SM = 65536, DRIVER_SMEM = 1024, ROUNDS = 12 /* as the pipeline tries */ };
#define WGMMA "cuda/gemm_sm90"

struct fixture {
    struct template_set *set;
    struct nvrtc *nvrtc;
};

static const char *const linears[] = {
    "linear.w4g128.f16.f16",     "linear.w4g32m.bf16.f32",       "linear.w4gcz.bf16.bf16.bf16",
    "linear.w4g64z.f32.f16.f32", "linear.w4g16.k.f16.f16",       "linear.w4g32m.k.bf16.bf16",
    "linear.w8g32.bf16.f32",     "linear.w3g128z.f16.f16",       "linear.w6g16.k.f16.f32",
    "linear.w2g64m.bf16.bf16",   "linear.w5g256z.bf16.bf16.f16", "linear.w7g32.f16.bf16",
    "linear.f16.f16.f32",        "linear.bf16.bf16.bf16",        "linear.iq4g32.f16.f16",
    "linear.mxfp4.bf16.bf16",    "linear.nf4g64.f16.f16",        "linear.nvfp4.f16.bf16",
    "linear.e4m3gc.f32.f16.f16", "linear.e4m3g128.bf16.bf16",    "linear.w4g48z.f16.f16",
    "linear.nf4g112.bf16.f16",   "linear.iq4g80.f32.bf16.bf16",  "linear.w4g32.e8m0.f16.f32",
};
static const char *const coded[] = {
    "linear.w8gc.i8t.f16",      "linear.w4g128.i8t.bf16",        "linear.e4m3gc.f32.e4m3t.bf16",
    "linear.w8gc.f32.i8tz.f16", "linear.w4g32m.k.i8tz.f32",      "linear.e4m3g128.f32.e4m3b.f16",
    "linear.w6g16.k.i8t.f16",   "linear.w8g128z.bf16.i8tz.bf16", "linear.e4m3g32.e4m3t.f32",
    "linear.mxfp4.i8t.bf16",    "linear.iq4g32.i8tz.f16",        "linear.nvfp4.i8t.f32",
    "linear.w4g48.i8t.f16",     "linear.w5g64z.i8t.f32",         "linear.w7g32m.i8tz.f16",
    "linear.w3gcz.i8t.bf16",
};
static const char *const others[] = {
    "reduce.f16",      "reduce.bf16",       "reduce.f32",         "embed.w4g128.f32",
    "embed.w8g32.f32", "embed.w6g16.k.f32", "embed.w4g32m.k.f32", "embed.w5g32z.bf16.f32",
    "embed.f16.f32",   "embed.bf16.f32",    "embed.nf4g64.f32",   "embed.iq4g32.f32",
    "embed.mxfp4.f32", "embed.nvfp4.f32",   "embed.e4m3g48.f32",
};
enum {
    LINEARS = sizeof linears / sizeof *linears,
    CODED = sizeof coded / sizeof *coded,
    OTHERS = sizeof others / sizeof *others
};

static int open_all(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    if (template_set_open(NULL, &f->set) != QRT_OK) return print_error("%s\n", qrt_message()), -1;
    if (nvrtc_open(&f->nvrtc) != QRT_OK) printf("no NVRTC: %s\n", qrt_message());
    *state = f;
    return 0;
}

static int close_all(void **state)
{
    struct fixture *f = *state;
    if (!f) return -1;
    nvrtc_close(f->nvrtc);
    template_set_close(f->set);
    free(f);
    return 0;
}

static struct request request_of(const char *name, const struct arch *arch, int lo, int hi)
{
    struct request r = {.arch = arch, .m_lo = lo, .m_hi = hi};
    if (op_desc_parse(name, &r.desc) != QRT_OK) fail_msg("%s: %s", name, qrt_message());
    return r;
}

/* ---- what the compiler made of it ---- */

/* A stage has 128 columns of x. */
static void check_wgmma(const struct candidate *c, const struct cubin *cubin)
{
    static const struct {
        int opcode, count;
    } expected[ELEM_COUNT] = {
        [ELEM_F16] = {OPCODE_HGMMA, 8},
        [ELEM_BF16] = {OPCODE_HGMMA, 8},
        [ELEM_I8] = {OPCODE_IGMMA, 4},
        [ELEM_E4M3] = {OPCODE_QGMMA, 4},
    };
    const int act = c->request.desc.act;
    for (int opcode = OPCODE_HGMMA; opcode <= OPCODE_QGMMA; opcode++)
        assert_int_equal(cubin->opcode[opcode],
                         opcode == expected[act].opcode ? expected[act].count : 0);
    assert_in_range(c->record.map.rows, 8, 256);
    assert_int_equal(c->record.map.rows, c->record.grid[1].div);
    assert_int_equal(c->record.map.bytes, 128);
}

static void check_tensor_cores(const struct candidate *c, const struct cubin *cubin)
{
    static const int opcodes[] = {OPCODE_HMMA, OPCODE_IMMA, OPCODE_QMMA};
    static const int native[ELEM_COUNT] = {[ELEM_F16] = OPCODE_HMMA,
                                           [ELEM_BF16] = OPCODE_HMMA,
                                           [ELEM_I8] = OPCODE_IMMA,
                                           [ELEM_E4M3] = OPCODE_QMMA};
    const struct op_desc *d = &c->request.desc;
    if (d->op != OP_LINEAR) return;
    if (strcmp(c->record.template_, WGMMA) == 0) {
        check_wgmma(c, cubin);
        return;
    }
    const int emulated = c->request.arch->number == 75 && d->act == ELEM_BF16;
    for (int i = 0; i < 3; i++) {
        const int wanted = opcodes[i] == native[d->act] && !emulated;
        assert_in_range(cubin->opcode[opcodes[i]], wanted ? 2 : 0, wanted ? UINT32_MAX : 0);
    }
}

static void check_resources(const struct candidate *c, const struct cubin *cubin)
{
    const struct arch *arch = c->request.arch;
    const struct entry_record *r = &c->record;
    assert_int_equal(cubin->arch, arch->number);
    assert_int_equal(cubin->max_threads, r->block[0]);
    assert_int_equal(cubin->param_bytes[0], op_args_bytes(c->request.desc.op));
    assert_int_equal(cubin->param_bytes[1], r->map.rows > 0 ? sizeof(struct qk_map) : 0);
    assert_true(cubin->regs <= (uint32_t)arch->max_regs);
    const uint32_t granted = (cubin->regs + 7) / 8 * 8; /* registers are given out by eights */
    assert_true(granted * r->block[0] <= REGISTERS_SM);
    const uint32_t reserve =
        arch->number >= 90 && cubin->smem_bytes >= DRIVER_SMEM ? DRIVER_SMEM : 0;
    assert_true(r->smem_bytes + cubin->smem_bytes - reserve <= (uint32_t)arch->smem_bytes);
}

/* Returns the bytes of its stack. */
static uint32_t compile_one(struct fixture *f, const struct candidate *c, const char *name)
{
    struct unit unit;
    struct unit_image image = {0};
    struct cubin cubin;
    if (unit_make(f->set, c, &unit) != QRT_OK) fail_msg("%s: %s", name, qrt_message());
    if (nvrtc_compile(f->nvrtc, &unit, &image) != QRT_OK)
        fail_msg("%s on %s, %s: %s", name, c->request.arch->name, c->record.tune, qrt_message());
    assert_int_equal(cubin_read(image.image, image.image_bytes, unit.symbol, &cubin), QRT_OK);
    print_message("%-30s %-7s M %d.. %-44s %3u registers\n", name, c->request.arch->name,
                  c->request.m_lo, c->record.tune, cubin.regs);
    check_resources(c, &cubin);
    check_tensor_cores(c, &cubin);
    unit_image_free(&image);
    unit_free(&unit);
    return cubin.stack_bytes;
}

/* All candidates of a request (free()), best first. */
static struct candidate *candidates_of(struct fixture *f, const struct request *r, const char *name,
                                       size_t *count)
{
    struct candidate *c = NULL;
    if (template_candidates(f->set, r, &c, count) != QRT_OK)
        fail_msg("%s on %s: %s", name, r->arch->name, qrt_message());
    assert_true(*count > 0);
    return c;
}

static void compile_best(struct fixture *f, const struct request *r, const char *name)
{
    size_t count;
    struct candidate *c = candidates_of(f, r, name, &count);
    size_t i = 0;
    while (compile_one(f, &c[i], name) > 0) assert_true(++i < count && i < ROUNDS);
    free(c);
}

/* ---- tests ---- */

/* mma.sync of 8-bit floats: the assembler emulates it elsewhere. */
static int has_floats(const struct arch *a) { return a->number == 89 || a->number == 120; }

/* Whether there are kernels of a request with coded activations. */
static int is_native(const char *name, const struct arch *a)
{
    return request_of(name, a, 1, 1).desc.act != ELEM_E4M3 || has_floats(a);
}

/* Compile each request on one arch at one range of rows, both in turn. */
static void compile_in_turn(struct fixture *f, const char *const *names, int count)
{
    const struct arch *archs[16];
    size_t arch_count = 0, ranges, turn = 1;
    const struct pipeline_range *range = pipeline_ranges(&ranges);
    for (const struct arch *a = arch_table(); a->name[0]; a++)
        if (a->kind == ARCH_SM) archs[arch_count++] = a;
    assert_true((size_t)count >= arch_count && (size_t)count >= ranges); /* so all of them occur */
    for (int i = 0; i < count; i++, turn++) {
        while (!is_native(names[i], archs[turn % arch_count])) turn++;
        const struct pipeline_range *m = &range[(size_t)i % ranges];
        const struct request r = request_of(names[i], archs[turn % arch_count], m->lo, m->hi);
        compile_best(f, &r, names[i]);
    }
}

static void test_linears(void **state)
{
    struct fixture *f = *state;
    if (!f->nvrtc) skip();
    compile_in_turn(f, linears, LINEARS);
}

static void test_coded_activations(void **state)
{
    struct fixture *f = *state;
    if (!f->nvrtc) skip();
    compile_in_turn(f, coded, CODED);
}

static void goes_to(struct fixture *f, const char *name, const char *arch, int lo, int hi,
                    const char *template)
{
    const struct request r = request_of(name, arch_find(arch), lo, hi);
    size_t count;
    struct candidate *c = candidates_of(f, &r, name, &count);
    assert_string_equal(c[0].record.template_, template);
    free(c);
}

/* Every kind of weight, type of activations and place of a scale; ranges as they come. */
static const char *const many[] = {
    "linear.w4g128.f16.f16",     "linear.w4g32m.k.bf16.bf16", "linear.w3gcz.f16.f32",
    "linear.f16.f16.bf16",       "linear.nvfp4.bf16.bf16",    "linear.w8gc.i8t.f16",
    "linear.w4g128z.i8t.bf16",   "linear.w4g32m.i8t.f16",     "linear.w8gc.i8tz.f16",
    "linear.w4g128.i8tz.f32",    "linear.w8gcm.bf16.f16",     "linear.w4g48z.f16.f16",
    "linear.e4m3g128.bf16.bf16",
};
static const char *const any[] = {"linear.e4m3gc.f32.e4m3t.bf16", "linear.e4m3g128.f32.e4m3b.f16"};

static void test_wgmma_is_chosen(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        goes_to(f, many[i], "sm_90a", 65, 128, WGMMA);
        goes_to(f, many[i], "sm_90a", 129, 4096, WGMMA);
        goes_to(f, many[i], "sm_90", 129, 4096, "cuda/gemm");
    }
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        for (int m = 1; m <= 4096; m *= 2) goes_to(f, any[i], "sm_90a", m, m, WGMMA);
}

/* One of each type of activations: the instructions are counted. */
static void test_wgmma(void **state)
{
    static const char *const types[] = {"linear.w4g128.f16.f16", "linear.e4m3g128.bf16.bf16",
                                        "linear.w4g128z.i8t.bf16", "linear.e4m3g128.f32.e4m3b.f16"};
    struct fixture *f = *state;
    if (!f->nvrtc) skip();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct request r =
            request_of(types[i], arch_find("sm_90a"), i % 2 ? 129 : 65, i % 2 ? 4096 : 128);
        compile_best(f, &r, types[i]);
    }
}

static void test_others(void **state)
{
    struct fixture *f = *state;
    if (!f->nvrtc) skip();
    for (int i = 0; i < OTHERS; i++) { /* the oldest arch and the newest */
        const struct arch *a = arch_find(i % 2 ? "sm_75" : "sm_120");
        const struct request r = request_of(others[i], a, 1, PIPELINE_M_MAX);
        compile_best(f, &r, others[i]);
    }
}

static void has_kernels(struct fixture *f, const char *name, const struct arch *a, int lo, int hi)
{
    const struct request r = request_of(name, a, lo, hi);
    size_t count;
    struct candidate *c = candidates_of(f, &r, name, &count);
    for (size_t j = 0; j < count; j++)
        assert_true(c[j].record.smem_bytes <= (uint32_t)a->smem_bytes);
    free(c);
}

static void refused_on(struct fixture *f, const char *arch, const char *name, const char *reason)
{
    const struct request r = request_of(name, arch_find(arch), 1, 1);
    struct candidate *c = NULL;
    size_t count = 0;
    assert_int_equal(template_candidates(f->set, &r, &c, &count), QRT_E_SCHEME);
    if (!strstr(qrt_message(), reason)) fail_msg("%s: %s", name, qrt_message());
}

static void refused(struct fixture *f, const char *name, const char *reason)
{
    refused_on(f, "sm_89", name, reason);
}

/* Enumeration alone, without the compiler: every scheme, arch and range has a kernel; coded
 * activations at both ends of the ranges. */
static void test_every_request_has_a_kernel(void **state)
{
    static const char *const no_floats = "mma.sync of 8-bit floats is native on sm_89 and sm_120";
    struct fixture *f = *state;
    size_t ranges;
    const struct pipeline_range *range = pipeline_ranges(&ranges);
    for (const struct arch *a = arch_table(); a->name[0]; a++) {
        if (a->kind != ARCH_SM) continue;
        for (size_t i = 0; i < ranges; i++) {
            for (int s = 0; s < LINEARS; s++)
                has_kernels(f, linears[s], a, range[i].lo, range[i].hi);
            for (int s = 0; s < CODED && (i == 0 || i == ranges - 1); s++) {
                if (is_native(coded[s], a))
                    has_kernels(f, coded[s], a, range[i].lo, range[i].hi);
                else if (!(a->number == 90 && a->exact)) /* has its own, and a test of them */
                    refused_on(f, a->name, coded[s], no_floats);
            }
        }
    }
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    refused(f, "linear.f16.bf16.bf16", "dense weights must have the type of the activations");
    refused(f, "linear.w4g32.i8.f32", "activations must be f16 or bf16");
    refused(f, "linear.w8gc.e4m3t.f16", "e4m3 activations need e4m3 codes");
    refused(f, "linear.e4m3gc.f32.i8t.f16", "i8 activations need codes of integers");
    refused(f, "linear.nf4g64.i8t.f16", "i8 activations need codes of integers");
    refused(f, "linear.f16.i8t.f16", "i8 activations need codes of integers");
    refused(f, "linear.e4m3g16.e4m3t.f16", "a group of 8-bit floats must be 32");
    refused(f, "embed.f32.f32", "dense weights must be f16 or bf16 on a GPU");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_request_has_a_kernel),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_linears),
        cmocka_unit_test(test_coded_activations),
        cmocka_unit_test(test_wgmma_is_chosen),
        cmocka_unit_test(test_wgmma),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
