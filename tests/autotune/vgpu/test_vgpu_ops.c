/* test_vgpu_ops.c -- contract of the table of opcodes (opcodes.def): each row computes what PTX says
 *
 * - arithmetic gives known values, edges among them, on every kind of processor that this one can be
 * - the same through a kernel: text, decoding, registers, lanes
 * - a guard that is false for some lanes leaves their results as they were
 * - instructions of a warp, memory, control, asynchronous copies: each in a small kernel
 * - every row of the table has a case
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "launch.h"
#include "memory.h"
#include "opcode.h"
#include "report.h"
#include "tensor_map.h"

static const struct op_case {
    const char *opcode;
    uint32_t tolerance; /* units in the last place */
    uint64_t in[4], want;
} cases[] = {
#define OP(opcode, tolerance, a, b, c, d, want) {#opcode, tolerance, {a, b, c, d}, want},
#include "op_cases_compare.inc"
#include "op_cases_convert.inc"
#include "op_cases_float.inc"
#include "op_cases_half.inc"
#include "op_cases_integer.inc"
#undef OP
};
enum { CASES = sizeof cases / sizeof *cases, TEXT = 8192 };

static uint8_t covered[1024]; /* rows */

/* ---- running PTX ---- */

static void append(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(char *text, const char *format, ...)
{
    const size_t at = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(text + at, TEXT - at, format, arguments);
    va_end(arguments);
    assert_true(n >= 0 && at + (size_t)n < TEXT);
}

static void make(struct code *code, const char *text)
{
    char error[PTX_ERROR_BYTES];
    assert_true(opcode_count <= sizeof covered);
    if (!code_make(code, text, NULL, NULL, error)) fail_msg("%s\n%s", error, text);
    for (uint32_t n = 0; n < code->insns; n++) covered[code->insn[n].row] = 1;
}

static void print_findings(void)
{
    struct vgpu_finding f[4];
    const size_t n = report_take(f, 4);
    for (size_t i = 0; i < n && i < 4; i++)
        print_error("%s line %d thread %u: %s\n", vgpu_fault_name(f[i].fault), f[i].ptx_line,
                    f[i].thread, f[i].text);
}

/* One block of `threads`; parameters are two addresses. */
static void run(struct code *code, const uint64_t params[2], uint32_t threads)
{
    struct vgpu_counts counts = {0};
    unsigned kinds = 0;
    report_reset();
    const struct launch l = {.code = code,
                             .function = &code->function[code->ptx.functions - 1],
                             .grid = {1, 1, 1},
                             .block = {threads, 1, 1},
                             .cluster = {1, 1, 1},
                             .dynamic_shared_bytes = 4096,
                             .params = (const uint8_t *)params,
                             .processors = 1,
                             .number = memory_begin_launch(),
                             .checks = 1,
                             .threads = 1};
    assert_true(launch_run(&l, &counts, &kinds));
    if (kinds) print_findings();
    assert_int_equal(kinds, 0);
}

/* ---- arithmetic: a kernel with a case in each lane ---- */

static const char head[] = ".version 9.0\n.target sm_100a\n.address_size 64\n";

static void load_source(char *text, char role, int k)
{
    const int wide = role == 'A' || role == 'F';
    append(text, "ld.global.u%d %%%c%d, [%%i+%d];\n", wide ? 64 : 32, wide ? 'w' : 'n', k, 8 * k);
    if (role == 'p') append(text, "setp.ne.u32 %%p%d, %%n%d, 0;\n", k, k);
}

static void name_source(char *text, char role, int k)
{
    append(text, ", %%%c%d", role == 'p' ? 'p' : role == 'A' || role == 'F' ? 'w' : 'n', k);
}

/* The row's operands: one result (or two predicates), then sources. */
static void write_kernel(char *text, const char *opcode, const char *roles, const char *guard)
{
    const int predicates = roles[0] == 'P';
    const char *sources = roles + (predicates ? 2 : 1);
    snprintf(text, TEXT, "%s", head);
    append(text, ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"
                 ".reg .b64 %%i, %%o, %%w<4>, %%D;\n.reg .b32 %%l, %%n<4>, %%d, %%e;\n"
                 ".reg .pred %%p<4>, %%P, %%Q, %%g;\n"
                 "ld.param.u64 %%i, [in];\nld.param.u64 %%o, [out];\nmov.u32 %%l, %%tid.x;\n"
                 "mad.wide.u32 %%i, %%l, 32, %%i;\nmad.wide.u32 %%o, %%l, 8, %%o;\n"
                 "mov.u32 %%d, 77;\nmov.u64 %%D, 77;\nsetp.ne.u32 %%P, %%l, %%l;\n"
                 "setp.ne.u32 %%Q, %%l, %%l;\nand.b32 %%e, %%l, 1;\nsetp.eq.u32 %%g, %%e, 0;\n");
    for (int k = 0; sources[k]; k++) load_source(text, sources[k], k);
    append(text, "%s%s %s", guard, opcode, predicates ? "%P|%Q" : roles[0] == 'D' ? "%D" : "%d");
    for (int k = 0; sources[k]; k++) name_source(text, sources[k], k);
    append(text, ";\n");
    if (predicates)
        append(text, "selp.u32 %%d, 1, 0, %%P;\nselp.u32 %%e, 2, 0, %%Q;\nor.b32 %%d, %%d, %%e;\n");
    if (roles[0] == 'D')
        append(text, "st.global.u64 [%%o], %%D;\n}\n");
    else
        append(text, "cvt.u64.u32 %%D, %%d;\nst.global.u64 [%%o], %%D;\n}\n");
}

static const struct opcode *row_of(const char *opcode)
{
    struct opcode_match m;
    for (size_t r = 0; r < opcode_count; r++)
        if (opcodes[r].kind != KIND_RUN && opcode_matches(&opcodes[r], opcode, &m))
            return &opcodes[r];
    fail_msg("no row takes %s", opcode);
    return NULL;
}

/* Results of 16 bits count in their low half. */
static uint64_t meant(const struct opcode *row, const char *opcode, uint64_t value)
{
    const char *end = strrchr(opcode, '.');
    const int is_cvt = strncmp(opcode, "cvt.", 4) == 0;
    if (row->operands[0] != 'd') return value;
    if (is_cvt)
        return strstr(opcode, ".u16.") || strstr(opcode, ".s16.s8") || strstr(opcode, ".f16.f32") ||
                       strstr(opcode, ".bf16.f32")
                   ? value & 0xffff
                   : value;
    if (strstr(opcode, ".wide") || strncmp(opcode, "set.", 4) == 0) return value;
    return strcmp(end, ".f16") == 0 || strcmp(end, ".bf16") == 0 || strcmp(end, ".b16") == 0 ||
                   strcmp(end, ".u16") == 0 || strcmp(end, ".s16") == 0
               ? value & 0xffff
               : value;
}

static void check(const struct opcode *row, const struct op_case *c, uint64_t got, const char *how)
{
    const uint64_t want = meant(row, c->opcode, c->want), value = meant(row, c->opcode, got);
    const uint64_t off = want > value ? want - value : value - want;
    if (off > c->tolerance)
        fail_msg("%s (%s) of %llx %llx %llx %llx: %llx, not %llx", c->opcode, how,
                 (unsigned long long)c->in[0], (unsigned long long)c->in[1],
                 (unsigned long long)c->in[2], (unsigned long long)c->in[3],
                 (unsigned long long)value, (unsigned long long)want);
}

/* Cases of one opcode follow each other. */
static int same_opcode(int from)
{
    int n = 1;
    while (from + n < CASES && strcmp(cases[from + n].opcode, cases[from].opcode) == 0) n++;
    return n;
}

static void run_cases(const struct opcode *row, int from, int count, const char *guard)
{
    char text[TEXT];
    struct code code;
    const uint64_t in = memory_alloc(0, 32 * LANES, 1), out = memory_alloc(0, 8 * LANES, 1);
    for (int l = 0; l < LANES; l++)
        memcpy(memory_host(in + 32 * (uint64_t)l, 32), cases[from + l % count].in, 32);
    write_kernel(text, cases[from].opcode, row->operands, guard);
    make(&code, text);
    run(&code, (const uint64_t[]){in, out}, LANES);
    const uint64_t *result = (const uint64_t *)(const void *)memory_host(out, 8 * LANES);
    for (int l = 0; l < LANES; l++)
        if (!*guard || l % 2 == 0)
            check(row, &cases[from + l % count], result[l], "in a kernel");
        else
            assert_int_equal(result[l], row->operands[0] == 'P' ? 0 : 77);
    code_free(&code);
    memory_free(in);
    memory_free(out);
}

static void test_in_kernels(void **state)
{
    (void)state;
    for (int from = 0, n; from < CASES; from += n) {
        n = same_opcode(from);
        const struct opcode *row = row_of(cases[from].opcode);
        run_cases(row, from, n, "");
        run_cases(row, from, n, "@%g ");
    }
}

/* ---- arithmetic: handlers of every kind of processor ---- */

static void put_word(void *lanes, int l, uint32_t value)
{
    memcpy((char *)lanes + 4 * l, &value, sizeof value);
}

static uint32_t word(const void *lanes, int l)
{
    uint32_t value;
    memcpy(&value, (const char *)lanes + 4 * l, sizeof value);
    return value;
}

static void run_handler(const alu_fn *table, const struct opcode *row, const struct op_case *c)
{
    struct opcode_match m;
    uint64_t lane[4][LANES], result[LANES];
    const void *s[4] = {lane[0], lane[1], lane[2], lane[3]};
    const char *sources = row->operands + (row->operands[0] == 'P' ? 2 : 1);
    assert_true(opcode_matches(row, c->opcode, &m));
    const struct insn i = {.mods = m.mods, .round = m.round, .compare = m.compare};
    for (int k = 0; k < 4 && sources[k]; k++)
        for (int l = 0; l < LANES; l++)
            if (strchr("AF", sources[k]))
                lane[k][l] = c->in[k];
            else
                put_word(lane[k], l,
                         sources[k] == 'p' && c->in[k] ? FULL_MASK : (uint32_t)c->in[k]);
    table[row - opcodes](&i, result, s);
    const int wide = row->operands[0] == 'D';
    if (row->kind == KIND_SET && m.combine != COMBINE_NONE) return; /* done by the caller */
    for (int l = 0; l < LANES; l++) {
        const uint32_t bit = word(result, 0) >> l & 1;
        const uint64_t got = row->kind == KIND_SET ? (bit ? 1 : 2)
                             : wide                ? result[l]
                                                   : word(result, l);
        check(row, c, got, "handler");
    }
}

static void test_on_every_processor(void **state)
{
    (void)state;
    int kinds = 0;
    for (; alu_table_at(kinds); kinds++)
        for (int c = 0; c < CASES; c++)
            run_handler(alu_table_at(kinds), row_of(cases[c].opcode), &cases[c]);
    assert_true(kinds >= 1);
}

/* ---- the others: a few lines of PTX each ---- */

typedef uint64_t want_fn(uint32_t thread);
#define WANT(name, expression)              \
    static uint64_t want_##name(uint32_t t) \
    {                                       \
        (void)t;                            \
        return (uint64_t)(expression);      \
    }
WANT(0, 0)
WANT(1, 1)
WANT(20, 20)
WANT(7, 7)
WANT(t, t)
WANT(and, t % 2 == 0 && t < 16)
WANT(or, t % 2 == 0 || t < 16)
WANT(xor, (t % 2 == 0) != (t < 16))
WANT(even, t % 2 == 0)
WANT(odd, t % 2)
WANT(up, t >= 1 ? t - 1 : t)
WANT(down, t + 4 < 32 ? t + 4 : t)
WANT(bfly, t ^ 5)
WANT(idx, t / 8 * 8 + 3)
WANT(ballot, 0x55555555)
WANT(mod4, 0x11111111u << t % 4)
WANT(full, 0xffffffff)
WANT(sum, 31 * 32 / 2)
WANT(elect, t == 0)
WANT(order, t * 3 + 1)
WANT(bits, t << 16 | (0xffff - t))
WANT(shared, 31 - t)
WANT(table, t % 3 == 0 ? 10 : t % 3 == 1 ? 20 : 30)
WANT(square_plus, t *t + 5)
WANT(clamped, t > 5 ? 5 : t)
WANT(inc, 32 % 11)
WANT(minus, 0 - 31)
WANT(half, 0x3c00)
WANT(copied, 100 + t)
WANT(zeros, t < 16 ? 100 + t : 0)
WANT(8, 8)
WANT(32, 32)
WANT(128, 128)
WANT(256, 256)
/* element (i, j) of the matrix is half j % 2 of word 4 i + j / 2; thread t has (j, i) for j = 2 (t % 4)
 * and the next, i = t / 4: halves of words 8 (t % 4) + i / 2 and 4 more */
WANT(transposed, (t / 4 % 2 ? 0 : 8 * (t % 4) + t / 8) | (t / 4 % 2 ? 0 : 8 * (t % 4) + 4 + t / 8)
                                                             << 16)

/* Thread t has %t; in points to 64-bit words 100 + i; the result is in %r (32 bits). */
static const struct body {
    want_fn *want;
    uint32_t threads;
    const char *text;
} bodies[] = {
#define LOW "setp.lt.u32 %q, %t, 16;\nand.b32 %a, %t, 1;\nsetp.eq.u32 %p, %a, 0;\n"
#define YES "selp.u32 %r, 1, 0, %s;\n"
    {want_and, 32, LOW "and.pred %s, %p, %q;\n" YES},
    {want_or, 32, LOW "or.pred %s, %p, %q;\n" YES},
    {want_xor, 32, LOW "xor.pred %s, %p, %q;\n" YES},
    {want_odd, 32, LOW "not.pred %s, %p;\n" YES},
    {want_even, 32, LOW "mov.pred %s, %p;\n" YES},
    {want_1, 32, "mov.u64 %x, %clock64;\nmov.u64 %y, %clock64;\nsetp.ge.u64 %s, %y, %x;\n" YES},
    {want_bits, 32,
     "cvt.u16.u32 %h, %t;\nmov.b16 %g, 0xffff;\nsub.u16 %g, %g, %h;\nmov.b32 %r, {%g, %h};\n"},
    {want_order, 32,
     "mul.lo.u32 %a, %t, 3;\nmov.b64 %x, {%a, %t};\nmov.b64 {%b, %c}, %x;\n"
     "add.u32 %r, %b, 1;\n"},
    {want_7, 32, "lop3.b32 %r, 12, 10, 9, 0x96;\nxor.b32 %r, %r, 8;\n"}, /* 12 ^ 10 ^ 9 = 15 */
    /* conversions, a lane at a time */
    {want_7, 32, "mov.f64 %z, 0d401E000000000000;\ncvt.rzi.u64.f64 %x, %z;\ncvt.u32.u64 %r, %x;\n"},
    {want_7, 32, "mov.u64 %x, %gridid;\ncvt.u32.u64 %r, %x;\nadd.u32 %r, %r, 7;\n"},
    {want_half, 32, "mov.u64 %x, 1;\ncvt.rn.f16.u64 %h, %x;\ncvt.u32.u16 %r, %h;\n"},
    {want_minus, 32, "mov.f32 %f, 0fC1F80000;\ncvt.rni.s32.f32 %r, %f;\n"},
    /* memory */
    {want_t, 32, "st.shared.u32 [%o32], %t;\nld.shared.u32 %r, [%o32];\n"},
    {want_t, 32, "st.local.v2.u32 [spill], {%t, %t};\nld.local.u32 %r, [spill+4];\n"},
    {want_copied, 32, "ld.global.nc.L1::no_allocate.v2.u32 {%r, %a}, [%i8];\n"},
    {want_1, 32, "prefetch.global.L2 [%i8];\nprefetchu.L1 [%i8];\nmov.u32 %r, 1;\n"},
    /* control */
    {want_clamped, 32,
     "mov.u32 %r, 0;\nL:\nsetp.ge.u32 %p, %r, %t;\n@%p bra E;\n"
     "setp.ge.u32 %p, %r, 5;\n@%p bra E;\nadd.u32 %r, %r, 1;\nbra.uni L;\nE:\n"},
    {want_table, 32,
     "rem.u32 %a, %t, 3;\nmov.u32 %r, 0;\nT: .branchtargets A, B, C;\n"
     "brx.idx %a, T;\nA:\nmov.u32 %r, 10;\nbra.uni E;\nB:\nmov.u32 %r, 20;\n"
     "bra.uni E;\nC:\nmov.u32 %r, 30;\nE:\n"},
    {want_square_plus, 32,
     "{\n.param .b32 p0;\n.param .b32 q0;\nst.param.b32 [p0], %t;\n"
     "call.uni (q0), square, (p0);\nld.param.b32 %r, [q0];\n}\nadd.u32 %r, %r, 5;\n"},
    {want_t, 32, "mov.u32 %r, %t;\nnanosleep.u32 20;\nbrkpt;\npmevent 3;\n"},
    {want_t, 32, "mov.u32 %r, %t;\nst.global.u64 [%o8], %u;\nbra.uni F;\ntrap;\nF:\nexit;\n"},
    /* lanes */
    {want_up, 32, "shfl.sync.up.b32 %r|%p, %t, 1, 0, -1;\n"},
    {want_down, 32, "shfl.sync.down.b32 %r, %t, 4, 31, -1;\n"},
    {want_bfly, 32, "shfl.sync.bfly.b32 %r, %t, 5, 31, -1;\n"},
    {want_idx, 32, "shfl.sync.idx.b32 %r, %t, 3, 0x181f, -1;\n"},
    {want_1, 32, "setp.lt.u32 %p, %t, 32;\nvote.sync.all.pred %s, %p, -1;\n" YES},
    {want_1, 32, "setp.eq.u32 %p, %t, 9;\nvote.sync.any.pred %s, %p, -1;\n" YES},
    {want_1, 32, "setp.gt.u32 %p, %t, 32;\nvote.sync.uni.pred %s, %p, -1;\n" YES},
    {want_ballot, 32, LOW "vote.sync.ballot.b32 %r, %p, -1;\n"},
    {want_mod4, 32, "and.b32 %a, %t, 3;\nmatch.any.sync.b32 %r, %a, -1;\n"},
    {want_mod4, 32, "and.b32 %a, %t, 3;\ncvt.u64.u32 %x, %a;\nmatch.any.sync.b64 %r, %x, -1;\n"},
    {want_full, 32, "mov.u32 %a, 5;\nmatch.all.sync.b32 %r|%p, %a, -1;\n"},
    {want_full, 32, "mov.u64 %x, 5;\nmatch.all.sync.b64 %r|%p, %x, -1;\n"},
    {want_sum, 32, "redux.sync.add.u32 %r, %t, -1;\n"},
    {want_sum, 32, "redux.sync.add.s32 %r, %t, -1;\n"},
    {want_7, 32, "add.u32 %a, %t, 7;\nredux.sync.min.u32 %r, %a, -1;\n"},
    {want_minus, 32, "neg.s32 %a, %t;\nredux.sync.min.s32 %r, %a, -1;\n"},
    {want_full, 32, "not.b32 %a, %t;\nredux.sync.max.u32 %r, %a, -1;\n"},
    {want_7, 32, "sub.u32 %a, 7, %t;\nredux.sync.max.s32 %r, %a, -1;\n"},
    {want_7, 32, "shl.b32 %a, %t, 3;\nor.b32 %a, %a, 7;\nredux.sync.and.b32 %r, %a, -1;\n"},
    {want_full, 32, "shl.b32 %a, 1, %t;\nredux.sync.or.b32 %r, %a, -1;\n"},
    {want_full, 32, "shl.b32 %a, 1, %t;\nredux.sync.xor.b32 %r, %a, -1;\n"},
    {want_elect, 32, "elect.sync %a|%s, -1;\n" YES},
    {want_full, 32, "activemask.b32 %r;\n"},
    {want_t, 32, "bar.warp.sync -1;\nmov.u32 %r, %t;\n"},
/* warps */
#define TURN(wait)                                                                 \
    "st.shared.u32 [%o32], %t;\n" wait "sub.u32 %a, 31, %t;\nshl.b32 %a, %a, 2;\n" \
    "mov.u32 %b, dynamic;\nadd.u32 %a, %a, %b;\nld.shared.u32 %r, [%a];\n"
    {want_shared, 32, TURN("bar.sync 0;\n")},
    {want_shared, 32, TURN("bar.cta.sync 1, 32;\n")},
    {want_shared, 32, TURN("barrier.sync.aligned 2;\n")},
    {want_shared, 32, TURN("barrier.cta.sync 3;\n")},
    {want_20, 64, "setp.lt.u32 %p, %t, 20;\nbar.red.popc.u32 %r, 1, 64, %p;\n"},
    {want_1, 64, "setp.lt.u32 %p, %t, 64;\nbar.red.and.pred %s, 1, 64, %p;\n" YES},
    {want_0, 64, "setp.lt.u32 %p, %t, 63;\nbar.red.and.pred %s, 1, 64, %p;\n" YES},
    {want_1, 64, "setp.eq.u32 %p, %t, 40;\nbar.red.or.pred %s, 1, 64, %p;\n" YES},
    {want_20, 64, "setp.lt.u32 %p, %t, 20;\nbar.red.popc.u32 %r, 1, %p;\n"},
    {want_1, 64, "setp.lt.u32 %p, %t, 64;\nbar.red.and.pred %s, 1, %p;\n" YES},
    {want_0, 64, "setp.lt.u32 %p, %t, 63;\nbar.red.and.pred %s, 1, %p;\n" YES},
    {want_1, 64, "setp.eq.u32 %p, %t, 40;\nbar.red.or.pred %s, 1, %p;\n" YES},
    {want_20, 64, "setp.lt.u32 %p, %t, 20;\nbarrier.cta.red.popc.aligned.u32 %r, 1, 64, %p;\n"},
    {want_1, 64, "setp.lt.u32 %p, %t, 64;\nbarrier.cta.red.and.aligned.pred %s, 1, 64, %p;\n" YES},
    {want_0, 64, "setp.lt.u32 %p, %t, 63;\nbarrier.cta.red.and.aligned.pred %s, 1, 64, %p;\n" YES},
    {want_1, 64, "setp.eq.u32 %p, %t, 40;\nbarrier.cta.red.or.aligned.pred %s, 1, 64, %p;\n" YES},
    {want_20, 64, "setp.lt.u32 %p, %t, 20;\nbarrier.cta.red.popc.aligned.u32 %r, 1, %p;\n"},
    {want_1, 64, "setp.lt.u32 %p, %t, 64;\nbarrier.cta.red.and.aligned.pred %s, 1, %p;\n" YES},
    {want_0, 64, "setp.lt.u32 %p, %t, 63;\nbarrier.cta.red.and.aligned.pred %s, 1, %p;\n" YES},
    {want_1, 64, "setp.eq.u32 %p, %t, 40;\nbarrier.cta.red.or.aligned.pred %s, 1, %p;\n" YES},
#define FIRST(arrive)                                                                    \
    "st.shared.u32 [%o32], %t;\nsetp.ge.u32 %p, %t, 32;\n@%p bra W;\n" arrive            \
    "mov.u32 %r, %t;\nbra.uni E;\nW:\nbar.sync 4, 64;\nld.shared.u32 %r, [%o32+-128];\n" \
    "add.u32 %r, %r, 32;\nE:\n"
    {want_t, 64, FIRST("bar.arrive 4, 64;\n")},
    {want_t, 64, FIRST("bar.cta.arrive 4, 64;\n")},
    {want_t, 64, FIRST("barrier.arrive.aligned 4, 64;\n")},
    {want_t, 64, FIRST("barrier.cta.arrive 4, 64;\n")},
    {want_t, 32,
     "membar.cta;\nmembar.gl;\nmembar.sys;\nfence.acq_rel.cta;\nfence.sc.gpu;\n"
     "fence.acq_rel.sys;\nfence.acq_rel.cluster;\nmov.u32 %r, %t;\n"},
    {want_shared, 64,
     "mov.u32 %r, %t;\n"
     "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n"
     "sub.u32 %r, 31, %t;\n"},
    /* copies */
    {want_copied, 32,
     "cp.async.ca.shared.global [%o64], [%i8], 8;\ncp.async.commit_group;\n"
     "cp.async.wait_group 0;\nld.shared.u32 %r, [%o64];\n"},
    {want_zeros, 32,
     LOW "cp.async.ca.shared.global [%o64], [%i8], 8, %nq;\ncp.async.wait_all;\n"
         "ld.shared.u32 %r, [%o64];\n"},
    {want_zeros, 32,
     LOW "selp.u32 %a, 8, 0, %q;\ncp.async.ca.shared.global [%o64], [%i8], 8, %a;\n"
         "cp.async.wait_all;\nld.shared.u32 %r, [%o64];\n"},
/* mbarriers and bulk copies */
#define READY "setp.eq.u32 %p, %t, 0;\n@%p mbarrier.init.shared::cta.b64 [bar], "
#define FENCE \
    "@%p fence.mbarrier_init.release.cluster;\n@%p fence.proxy.async.shared::cta;\nbar.sync 0;\n"
#define SPIN(test) "W:\n" test "@!%s bra W;\n"
    {want_7, 32,
     READY "32;\n" FENCE "mbarrier.arrive.shared::cta.b64 %x, [bar];\n" SPIN(
         "mbarrier.try_wait.shared::cta.b64 %s, [bar], %x;\n") "mov.u32 %r, 7;\n"
                                                               "bar.sync 0;\n@%p "
                                                               "mbarrier.inval.shared::cta.b64 "
                                                               "[bar];\n"},
    {want_7, 32,
     READY "64;\n" FENCE "mbarrier.arrive.shared::cta.b64 %x, [bar], 2;\n" SPIN(
         "mbarrier.test_wait.shared::cta.b64 %s, [bar], %x;\n") "mov.u32 %r, 7;\n"},
    {want_7, 32,
     READY "33;\n" FENCE
           "@%p mbarrier.arrive.noComplete.shared::cta.b64 %y, [bar], 1;\nbar.sync 0;\n"
           "mbarrier.arrive.shared::cta.b64 %x, [bar];\n" SPIN(
               "mbarrier.test_wait.parity.shared::cta.b64 %s, [bar], 0;\n") "mov.u32 %r, 7;\n"},
#define COPY_WAIT                                                    \
    SPIN("mbarrier.try_wait.parity.shared::cta.b64 %s, [bar], 0;\n") \
    "ld.shared.u32 %r, [%o64];\n"
    {want_copied, 32,
     READY "1;\n" FENCE "@%p mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 256;\n"
           "@%p cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
           "[dynamic], [%i], 256, [bar];\n" COPY_WAIT},
    {want_copied, 32,
     READY "1;\n" FENCE "@%p mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 256;\n"
           "@%p mbarrier.arrive.shared::cta.b64 _, [bar];\n"
           "@%p cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes "
           "[dynamic], [%i], 256, [bar];\n" COPY_WAIT},
    {want_copied, 32,
     READY "32;\n" FENCE "cp.async.ca.shared.global [%o64], [%i8], 8;\n"
           "cp.async.mbarrier.arrive.noinc.shared.b64 [bar];\n" COPY_WAIT},
    {want_copied, 32,
     READY "32;\n" FENCE "cp.async.ca.shared.global [%o64], [%i8], 8;\n"
           "cp.async.mbarrier.arrive.shared.b64 [bar];\n"
           "mbarrier.arrive.shared::cta.b64 _, [bar];\n" COPY_WAIT},
    {want_t, 32,
     "cvt.u64.u32 %x, %t;\nst.shared.u64 [%o64], %x;\nfence.proxy.async;\nbar.sync 0;\n"
     "setp.eq.u32 %p, %t, 0;\n"
     "@%p cp.async.bulk.global.shared::cta.bulk_group [%scratch], [dynamic], 256;\n"
     "@%p cp.async.bulk.commit_group;\n@%p cp.async.bulk.wait_group.read 0;\n"
     "@%p cp.async.bulk.wait_group 0;\nbar.sync 0;\nld.global.u32 %r, [%scratch8];\n"},
    {want_t, 32,
     "cp.async.bulk.prefetch.L2.global [%i], 256;\nmov.u32 %r, %t;\n"
     "createpolicy.fractional.L2::evict_first.b64 %x, 0f3f800000;\n"
     "griddepcontrol.wait;\ngriddepcontrol.launch_dependents;\n"
     "setmaxnreg.dec.sync.aligned.u32 40;\nsetmaxnreg.inc.sync.aligned.u32 232;\n"},
    {want_t, 32,
     "mov.u32 %a, dynamic;\nmapa.shared::cluster.u32 %b, %a, 0;\n"
     "mov.u64 %x, dynamic;\nmapa.shared::cluster.u64 %y, %x, 0;\nmov.u32 %r, %t;\n"
     "prefetch.tensormap [%i];\nprefetch.param.tensormap [%i];\n"},
/* atomics: 32 threads on one word of zeros, or of what the first line stores */
#define ATOM(start, instruction, result)                                                      \
    "setp.eq.u32 %p, %t, 0;\n@%p st.shared.u32 [word], " start ";\nbar.sync 0;\n" instruction \
    "\nbar.sync 0;\nld.shared.u32 %r, [word];\n" result
    {want_sum, 32, ATOM("0", "atom.shared.add.u32 %a, [word], %t;", "")},
    {want_half, 32, ATOM("0", "@%p atom.shared.add.noftz.f16x2 %a, [word], 0x00003c00;", "")},
    {want_7, 32, ATOM("99", "add.u32 %b, %t, 7;\natom.shared.min.u32 %a, [word], %b;", "")},
    {want_7, 32, ATOM("0", "sub.u32 %b, 7, %t;\natom.shared.max.s32 %a, [word], %b;", "")},
    {want_7, 32, ATOM("15", "atom.shared.and.b32 %a, [word], 7;", "")},
    {want_full, 32, ATOM("0", "shl.b32 %b, 1, %t;\natom.shared.or.b32 %a, [word], %b;", "")},
    {want_full, 32, ATOM("0", "shl.b32 %b, 1, %t;\natom.shared.xor.b32 %a, [word], %b;", "")},
    {want_inc, 32, ATOM("0", "atom.shared.inc.u32 %a, [word], 10;", "")},
    {want_7, 32, ATOM("39", "atom.shared.dec.u32 %a, [word], 99;", "")},
    {want_7, 32, ATOM("0", "atom.shared.exch.b32 %a, [word], 7;", "")},
    {want_7, 32, ATOM("3", "atom.shared.cas.b32 %a, [word], 3, 7;", "")},
    {want_sum, 32, ATOM("0", "red.shared.add.u32 [word], %t;", "")},
    {want_half, 32, ATOM("0", "@%p red.shared.add.noftz.f16x2 [word], 0x00003c00;", "")},
    {want_7, 32, ATOM("99", "add.u32 %b, %t, 7;\nred.shared.min.u32 [word], %b;", "")},
    {want_7, 32, ATOM("0", "sub.u32 %b, 7, %t;\nred.shared.max.s32 [word], %b;", "")},
    {want_7, 32, ATOM("15", "red.shared.and.b32 [word], 7;", "")},
    {want_full, 32, ATOM("0", "shl.b32 %b, 1, %t;\nred.shared.or.b32 [word], %b;", "")},
    {want_full, 32, ATOM("0", "shl.b32 %b, 1, %t;\nred.shared.xor.b32 [word], %b;", "")},
    {want_inc, 32, ATOM("0", "red.shared.inc.u32 [word], 10;", "")},
    {want_7, 32, ATOM("39", "red.shared.dec.u32 [word], 99;", "")},
/* matrices: row r of the matrix is words 4 r .. 4 r + 3 of dynamic, thread t's word is t */
#define STORED                                                                         \
    "st.shared.u32 [%o32], %t;\nbar.sync 0;\nand.b32 %a, %t, 7;\nshl.b32 %a, %a, 4;\n" \
    "mov.u32 %b, dynamic;\nadd.u32 %a, %a, %b;\n"
    {want_t, 32, STORED "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r}, [%a];\n"},
    {want_t, 32, STORED "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%c, %r}, [%a];\n"},
    {want_t, 32, STORED "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%c, %b, %d, %r}, [%a];\n"},
    {want_transposed, 32, STORED "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r}, [%a];\n"},
    {want_transposed, 32,
     STORED "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%c, %r}, [%a];\n"},
    {want_transposed, 32,
     STORED "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%c, %b, %d, %r}, [%a];\n"},
    {want_transposed, 32, STORED "movmatrix.sync.aligned.m8n8.trans.b16 %r, %t;\n"},
#define SCATTERED(instruction) \
    STORED "bar.sync 0;\n" instruction "bar.sync 0;\nld.shared.u32 %r, [%o32];\n"
    {want_t, 32, SCATTERED("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%a], {%t};\n")},
    {want_t, 32, SCATTERED("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%wide], {%t, %t};\n")},
    {want_t, 32,
     SCATTERED("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%wide], {%t, %t, %t, %t};\n")},
    {want_transposed, 32,
     SCATTERED("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%a], {%t};\n")},
    {want_transposed, 32,
     SCATTERED("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%wide], {%t, %t};\n")},
    {want_transposed, 32,
     SCATTERED("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%wide], {%t, %t, %t, %t};\n")},
    /* all ones: each sum is k, 8 */
    {want_8, 32,
     "mov.b32 %a, 0x3c003c00;\nmov.f32 %f, 0f00000000;\n"
     "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f, %f1, %f2, %f3}, {%a, %a}, "
     "{%a}, {%f, %f, %f, %f};\ncvt.rzi.u32.f32 %r, %f3;\n"},
#define SCALED(kind, types, one, scale)                                                     \
    "mov.b32 %a, " one ";\nmov.b32 %b, " scale ";\nmov.f32 %f, 0f00000000;\n"               \
    "mma.sync.aligned." kind "." types " {%f, %f1, %f2, %f3}, {%a, %a, %a, %a}, {%a, %a}, " \
    "{%f, %f, %f, %f}, %b, {0, 0}, %b, {0, 0};\ncvt.rzi.u32.f32 %r, %f3;\n"
    /* one is 0x38 as e4m3, 2 as e2m1, of which 8 bits hold 2 << 2; scales are 2 and 2 */
    {want_32, 32,
     "mov.b32 %a, 0x08080808;\nmov.f32 %f, 0f00000000;\n"
     "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e2m1.f32 "
     "{%f, %f1, %f2, %f3}, {%a, %a, %a, %a}, {%a, %a}, {%f, %f, %f, %f};\n"
     "cvt.rzi.u32.f32 %r, %f3;\n"},
    {want_128, 32,
     SCALED("m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X", "f32.e4m3.e4m3.f32.ue8m0",
            "0x38383838", "0x80808080")},
    {want_128, 32,
     SCALED("m16n8k32.row.col.kind::mxf8f6f4.block_scale", "f32.e4m3.e4m3.f32.ue8m0", "0x38383838",
            "0x80808080")},
    {want_256, 32,
     SCALED("m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X", "f32.e2m1.e2m1.f32.ue8m0",
            "0x22222222", "0x80808080")},
    {want_256, 32,
     SCALED("m16n8k64.row.col.kind::mxf4.block_scale", "f32.e2m1.e2m1.f32.ue8m0", "0x22222222",
            "0x80808080")},
    {want_256, 32,
     SCALED("m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::2X", "f32.e2m1.e2m1.f32.ue8m0",
            "0x22222222", "0x80808080")},
    {want_256, 32,
     SCALED("m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X", "f32.e2m1.e2m1.f32.ue4m3",
            "0x22222222", "0x40404040")},
};
enum { BODIES = sizeof bodies / sizeof *bodies };

static const char square[] =
    ".func (.param .b32 q) square(.param .b32 p)\n{\n.reg .b32 %v;\nld.param.b32 %v, [p];\n"
    "mul.lo.u32 %v, %v, %v;\nst.param.b32 [q], %v;\nret;\n}\n";

static void write_body(char *text, const char *body)
{
    snprintf(text, TEXT, "%s%s", head, square);
    append(
        text,
        ".extern .shared .align 1024 .b8 dynamic[];\n"
        ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"
        ".shared .align 8 .b64 bar;\n.shared .align 4 .u32 word;\n.local .align 8 .b8 spill[8];\n"
        ".reg .b64 %%i, %%i8, %%o, %%o8, %%x, %%y, %%u, %%scratch, %%scratch8;\n"
        ".reg .f64 %%z;\n.reg .f32 %%f, %%f1, %%f2, %%f3;\n.reg .b16 %%h, %%g;\n"
        ".reg .b32 %%t, %%r, %%a, %%b, %%c, %%d, %%o32, %%o64, %%wide;\n"
        ".reg .pred %%p, %%q, %%s, %%nq;\n"
        "ld.param.u64 %%i, [in];\nld.param.u64 %%o, [out];\nmov.u32 %%t, %%tid.x;\n"
        "mad.wide.u32 %%i8, %%t, 8, %%i;\nmad.wide.u32 %%o8, %%t, 8, %%o;\n"
        "add.u64 %%scratch, %%o, 512;\nmad.wide.u32 %%scratch8, %%t, 8, %%scratch;\n"
        "cvt.u64.u32 %%u, %%t;\nmov.u32 %%o32, dynamic;\nmad.lo.u32 %%o64, %%t, 8, %%o32;\n"
        "mad.lo.u32 %%o32, %%t, 4, %%o32;\nsetp.ge.u32 %%nq, %%t, 16;\n"
        "mov.u32 %%wide, dynamic;\nmad.lo.u32 %%wide, %%t, 16, %%wide;\n");
    append(text, "%s", body);
    append(text, "cvt.u64.u32 %%x, %%r;\nst.global.u64 [%%o8], %%x;\nret;\n}\n");
}

static void test_bodies(void **state)
{
    int wrong = 0;
    (void)state;
    for (int b = 0; b < BODIES; b++) {
        char text[TEXT];
        struct code code;
        const uint64_t in = memory_alloc(0, 8 * 64, 1), out = memory_alloc(0, 8 * 128, 1);
        uint64_t *words = (uint64_t *)(void *)memory_host(in, 8 * 64);
        for (uint32_t k = 0; k < 64; k++) words[k] = 100 + k;
        write_body(text, bodies[b].text);
        make(&code, text);
        run(&code, (const uint64_t[]){in, out}, bodies[b].threads);
        const uint64_t *result = (const uint64_t *)(const void *)memory_host(out, 8 * 128);
        for (uint32_t t = 0; t < bodies[b].threads; t++)
            if ((uint32_t)result[t] != (uint32_t)bodies[b].want(t)) {
                wrong++;
                print_error("thread %u: %llx, not %llx:\n%s", t, (unsigned long long)result[t],
                            (unsigned long long)bodies[b].want(t), bodies[b].text);
                break;
            }
        code_free(&code);
        memory_free(in);
        memory_free(out);
    }
    assert_int_equal(wrong, 0);
}

/* ---- matrices of a warpgroup ---- */

/* All elements of A and B are one: each element of D is k. */
static const struct group {
    uint32_t ones; /* a word of them */
    uint32_t want; /* bits of %f3 */
    const char *text;
} groups[] = {
#define D4 "{%f, %f1, %f2, %f3}, "
#define A4 "{%a, %a, %a, %a}, "
    {0x3c003c00, 0x41800000, "m64n8k16.f32.f16.f16 " D4 "%x, %x, %p, 1, 1, 0, 0;\n"},
    {0x3c003c00, 0xc1800000, "m64n8k16.f32.f16.f16 " D4 A4 "%x, %p, 1, -1, 0;\n"},
    {0x3f800000, 0x41000000, "m64n8k8.f32.tf32.tf32 " D4 "%x, %x, %p, 1, 1;\n"},
    {0x3f800000, 0x41000000, "m64n8k8.f32.tf32.tf32 " D4 A4 "%x, %p, 1, 1;\n"},
    {0x01010101, 32, "m64n8k32.s32.s8.s8 " D4 "%x, %x, %p;\n"},
    {0x01010101, 32, "m64n8k32.s32.s8.s8 " D4 A4 "%x, %p;\n"},
};

static void run_group(const struct group *g)
{
    char text[TEXT], body[1024];
    struct code code;
    const uint64_t in = memory_alloc(0, 8 * 128, 1), out = memory_alloc(0, 8 * 128, 1);
    /* rows of 16 bytes, 8 rows a core matrix of 128 bytes, 256 bytes to the next 8 rows */
    snprintf(body, sizeof body,
             "mov.u32 %%a, 0x%x;\nst.shared.v4.b32 [%%wide], {%%a, %%a, %%a, %%a};\n"
             "fence.proxy.async;\nbar.sync 0;\nmov.u32 %%b, dynamic;\nshr.u32 %%b, %%b, 4;\n"
             "cvt.u64.u32 %%x, %%b;\nor.b64 %%x, %%x, 0x1000080000;\n"
             "setp.lt.u32 %%p, %%t, 0;\nwgmma.fence.sync.aligned;\n"
             "wgmma.mma_async.sync.aligned.%s"
             "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n"
             "mov.b32 %%r, %%f3;\n",
             g->ones, g->text);
    write_body(text, body);
    make(&code, text);
    run(&code, (const uint64_t[]){in, out}, 128);
    const uint64_t *result = (const uint64_t *)(const void *)memory_host(out, 8 * 128);
    for (int t = 0; t < 128; t++)
        if ((uint32_t)result[t] != g->want)
            fail_msg("thread %d: %llx, not %x:\n%s", t, (unsigned long long)result[t], g->want,
                     g->text);
    code_free(&code);
    memory_free(in);
    memory_free(out);
}

static void test_warpgroups(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) run_group(&groups[i]);
}

/* ---- tensor copies: a box of 16 x 4 words that lies partly beyond 20 x 6 ---- */

static const char copy_kernel[] =
    ".visible .entry k(.param .align 64 .b8 from[128], .param .align 64 .b8 to[128])\n{\n"
    ".shared .align 128 .b8 box[256];\n.shared .align 8 .b64 bar;\n"
    ".reg .b64 %f, %t;\n.reg .b32 %x;\n.reg .pred %p, %s;\n"
    "mov.b64 %f, from;\ncvta.param.u64 %f, %f;\nmov.b64 %t, to;\ncvta.param.u64 %t, %t;\n"
    "mov.u32 %x, %tid.x;\nsetp.eq.u32 %p, %x, 0;\n"
    "@%p mbarrier.init.shared::cta.b64 [bar], 1;\n@%p fence.mbarrier_init.release.cluster;\n"
    "@%p fence.proxy.async;\nbar.sync 0;\n"
    "@%p cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%f, {8, 3}];\n"
    "@%p mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 256;\n"
    "@%p cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [box], "
    "[%f, {8, 3}], [bar];\n"
    "W:\nmbarrier.try_wait.parity.shared::cta.b64 %s, [bar], 0;\n@!%s bra W;\n"
    "@%p cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%t, {0, 0}], [box];\n"
    "@%p cp.async.bulk.commit_group;\n@%p cp.async.bulk.wait_group 0;\nret;\n}\n";

static void encode(uint64_t base, uint64_t width, uint64_t height, struct tensor_map *map)
{
    const struct tensor_map_request r = {.type = 2, /* words */
                                         .rank = 2,
                                         .base = base,
                                         .dim = (const uint64_t[]){width, height},
                                         .stride = (const uint64_t[]){4 * width},
                                         .box = (const uint32_t[]){16, 4},
                                         .element = (const uint32_t[]){1, 1}};
    assert_true(tensor_map_encode(&r, map));
}

static void test_tensor_copies(void **state)
{
    (void)state;
    char text[TEXT];
    struct code code;
    struct tensor_map map[2] __attribute__((aligned(64)));
    const uint64_t in = memory_alloc(0, 4 * 20 * 6, 1), out = memory_alloc(0, 4 * 16 * 4, 0);
    uint32_t *words = (uint32_t *)(void *)memory_host(in, 4 * 20 * 6);
    for (uint32_t k = 0; k < 20 * 6; k++) words[k] = 1000 + k;
    encode(in, 20, 6, &map[0]);
    encode(out, 16, 4, &map[1]);
    snprintf(text, TEXT, "%s%s", head, copy_kernel);
    make(&code, text);
    run(&code, (const uint64_t *)(const void *)map, 32);
    const uint32_t *got = (const uint32_t *)(const void *)memory_host(out, 4 * 16 * 4);
    for (uint32_t y = 0; y < 4; y++)
        for (uint32_t x = 0; x < 16; x++) {
            const int inside = x + 8 < 20 && y + 3 < 6;
            assert_int_equal(got[16 * y + x], inside ? 1000 + 20 * (y + 3) + x + 8 : 0);
        }
    code_free(&code);
    memory_free(in);
    memory_free(out);
}

/* ---- coverage ---- */

static void test_every_row_has_a_case(void **state)
{
    (void)state;
    int missing = 0;
    for (size_t r = 0; r < opcode_count; r++) {
        if (covered[r]) continue;
        print_error("no case of %s [%s] (%s)\n", opcodes[r].key, opcodes[r].modifiers,
                    opcodes[r].operands);
        missing++;
    }
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_every_processor),
        cmocka_unit_test(test_in_kernels),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_warpgroups),
        cmocka_unit_test(test_tensor_copies),
        cmocka_unit_test(test_every_row_has_a_case), /* counts those before */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
