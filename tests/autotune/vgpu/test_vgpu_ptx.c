/* test_vgpu_ptx.c -- contract of ptx.h and of what code_make() refuses
 *
 * - version, target, entries with parameters, limits of threads, tables with initial values
 * - registers, labels and variables of inner scopes end with them; labels are used before they stand
 * - operands: vectors, addresses with offsets, negated and paired predicates, numbers of all forms
 * - .file and .loc lead to the source
 * - an unknown opcode, directive, register or label is refused with its line; so is a known opcode with
 *   operands it does not take
 * - registers whose lives do not meet share a place
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "code.h"
#include "helpers.h"
#include "vgpu.h"

#define HEAD ".version 9.0\n.target sm_90a\n.address_size 64\n" /* 3 lines */

static void parse(struct ptx *m, const char *text)
{
    char error[PTX_ERROR_BYTES];
    if (!ptx_parse(text, m, error)) fail_msg("%s", error);
}

static void test_module(void **state)
{
    (void)state;
    struct ptx m;
    parse(&m, HEAD
          ".global .align 8 .b8 table[6] = {1, 2, 0xff};\n"
          ".const .f32 half = 0f3F000000;\n.extern .shared .align 1024 .b8 dynamic[];\n"
          ".visible .entry first(.param .u64 .ptr .global .align 4 p, .param .align 8 .b8 s[24])\n"
          ".maxntid 128, 2, 1\n.minnctapersm 2\n{\nret;\n}\n"
          ".entry second()\n.reqntid 64\n{\nret;\n}\n");
    assert_int_equal(m.version, 90);
    assert_int_equal(m.target, 90);
    assert_int_equal(m.target_suffix, 'a');
    assert_int_equal(m.functions, 2);
    assert_string_equal(m.function[0].name, "first");
    assert_int_equal(m.function[0].params, 2);
    assert_int_equal(m.function[0].max_threads[0] * m.function[0].max_threads[1], 256);
    assert_false(m.function[0].exact_threads);
    assert_true(m.function[1].exact_threads);
    assert_int_equal(m.function[1].max_threads[0], 64);
    assert_int_equal(m.variable[0].bytes, 6);
    assert_memory_equal(m.variable[0].init, "\x01\x02\xff\x00\x00\x00", 6);
    assert_memory_equal(m.variable[1].init, "\x00\x00\x00\x3f", 4);
    assert_true(m.variable[2].dynamic);
    assert_int_equal(m.variable[2].align, 1024);
    assert_int_equal(m.variable[4].bytes, 24);
    ptx_free(&m);
}

static void test_scopes(void **state)
{
    (void)state;
    struct ptx m;
    parse(&m, HEAD ".entry k()\n{\n.reg .b32 %r<3>;\n.reg .pred p;\n"
                   "bra END;\n"                                     /* 0 */
                   "{\n.reg .pred p;\nL:\n@p bra L;\nbra END;\n}\n" /* 1, 2 */
                   "{\n.reg .pred p;\nL:\n@!p bra L;\n}\n"          /* 3 */
                   "@p bra END;\n"                                  /* 4 */
                   "END:\nret;\n}\n");                              /* 5 */
    assert_int_equal(m.statements, 6);
    const struct ptx_operand *o = m.operand;
    assert_int_equal(o[m.statement[0].operand].index, 5);
    assert_int_equal(o[m.statement[1].operand].index, 1);
    assert_int_equal(o[m.statement[2].operand].index, 5);
    assert_int_equal(o[m.statement[3].operand].index, 3);
    assert_true(m.statement[3].guard_negated);
    assert_int_equal(m.registers, 6);
    assert_int_not_equal(m.statement[1].guard, m.statement[3].guard);
    assert_int_not_equal(m.statement[1].guard, m.statement[4].guard);
    ptx_free(&m);
}

static void test_operands(void **state)
{
    (void)state;
    struct ptx m;
    parse(&m,
          HEAD ".entry k()\n{\n.reg .b32 %r<4>;\n.reg .b64 %d<2>;\n.reg .pred %p<3>;\n"
               "ld.global.v2.u32 {%r0, _}, [%d1+-16];\n"
               "setp.eq.and.s32 %p0|%p1, %r0, -7, !%p2;\n"
               "mov.f32 %r1, 0f3F800000;\nmov.f64 %d0, 0d4000000000000000;\n"
               "mov.u32 %r2, %tid.y;\nmov.u32 %r2, 0x1F;\n"
               "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%d0, {%r1, %r2}], [%r3];\n"
               "/* a\ncomment */ ret; // another\n}\n");
    const struct ptx_operand *o = &m.operand[m.statement[0].operand];
    assert_int_equal(o[0].kind, PTX_VECTOR);
    assert_int_equal(o[0].parts, 2);
    assert_int_equal(m.operand[o[0].index + 1].kind, PTX_SINK);
    assert_int_equal(o[1].kind, PTX_MEMORY);
    assert_int_equal(o[1].value, -16);
    o = &m.operand[m.statement[1].operand];
    assert_true(o[1].second);
    assert_int_equal(o[3].value, -7);
    assert_true(o[4].negated);
    assert_int_equal(m.operand[m.statement[2].operand + 1].value, 0x3f800000);
    assert_int_equal(m.operand[m.statement[3].operand + 1].value, 0x4000000000000000);
    assert_int_equal(m.operand[m.statement[4].operand + 1].index, PTX_TID_Y);
    assert_int_equal(m.operand[m.statement[5].operand + 1].value, 31);
    o = &m.operand[m.statement[6].operand];
    assert_int_equal(o[0].parts, 2);
    assert_int_equal(m.operand[o[0].index + 2].index, 2);
    assert_int_equal(m.statement[7].line, 17);
    ptx_free(&m);
}

static void test_sources(void **state)
{
    (void)state;
    struct ptx m;
    parse(&m,
          HEAD ".file 1 \"/templates/cuda/gemm.cu.in\", 5, 6\n.entry k()\n{\n.loc 1 95 3\nret;\n"
               ".loc 1 7 1, function_name $x, inlined_at 1 95 3\nret;\n}\n");
    assert_int_equal(m.statement[0].source, 1);
    assert_int_equal(m.statement[0].source_line, 95);
    assert_int_equal(m.statement[1].source_line, 7);
    assert_string_equal(m.file[1], "/templates/cuda/gemm.cu.in");
    ptx_free(&m);
}

static void refused(const char *body, const char *why)
{
    char text[512], error[256];
    snprintf(text, sizeof text, "%s.entry k()\n{\n.reg .b32 %%r<3>;\n.reg .b64 %%d<2>;\n%s\n}\n",
             HEAD, body);
    assert_int_equal(vgpu_decodes(text, error, sizeof error), -1);
    if (!strstr(error, why)) fail_msg("'%s' lacks '%s'", error, why);
}

static void test_refusals(void **state)
{
    char error[256];
    (void)state;
    refused("frobnicate.b32 %r1, %r2;", "line 8: unknown opcode 'frobnicate.b32'");
    refused("ret;\nadd.sat.u32 %r1, %r2, %r0;", "line 9: unknown opcode 'add.sat.u32'");
    refused("add.u32 %r1, %d1, %r0;", "line 8: unknown opcode 'add.u32'"); /* width */
    refused("add.u32 %r1, %r0;", "line 8: unknown opcode 'add.u32'");      /* number */
    refused("mma.sync.aligned.m16n8k16.row.col.f32.s8.s8.f32 {%r1}, {%r1}, {%r1}, {%r1};",
            "unknown opcode 'mma.sync");
    refused("mov.u32 %r1, %r9;", "line 8: unknown register '%r9'");
    refused("bra NOWHERE;", "line 8: unknown name 'NOWHERE'");
    refused(".frob 3;", "line 8: unknown directive '.frob'");
    refused("mov.u32 %r1 %r2;", "line 8: ';' expected");
    assert_int_equal(vgpu_decodes("hello", error, sizeof error), -1);
    assert_int_equal(vgpu_decodes(HEAD ".entry k()\n{\nret;\n}\n", error, sizeof error), 0);
    assert_string_equal(error, "");
}

/* A chain of n values, each of which dies at the next. */
static void test_registers_share(void **state)
{
    (void)state;
    char text[16384] = HEAD ".entry k()\n{\n.reg .b32 %r<200>;\nmov.u32 %r0, %tid.x;\n",
         error[PTX_ERROR_BYTES];
    for (int k = 1; k < 200; k++)
        snprintf(text + strlen(text), 64, "add.u32 %%r%d, %%r%d, %d;\n", k, k - 1, k);
    strcat(text, "st.shared.u32 [0], %r199;\nret;\n}\n");
    struct code code;
    if (!code_make(&code, text, NULL, NULL, error)) fail_msg("%s", error);
    assert_true(code.register_bytes < 10 * 128); /* one slot, the specials, a sink */
    code_free(&code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_module),   cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_operands), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_registers_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
