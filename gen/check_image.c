/* check_image.c -- what must hold of a GPU kernel's machine code, without running it */
#include "check_image.h"

#include <stdlib.h>
#include <string.h>

#include "cubin.h"
#include "error.h"

enum {
    REGISTERS_SM = 65536, /* of a multiprocessor */
    DRIVER_SMEM = 1024,   /* reserved of each block from sm_90 on; counted as static */
    REGISTER_UNIT = 8,    /* registers are given out by eights */
    FIRST_WITH_RESERVE = 90,
};

/* ---- limits ---- */

static qrt_status check_limits(const struct entry_record *r, const struct arch *arch,
                               const struct cubin *c)
{
    const uint32_t threads = r->block[0] * r->block[1] * r->block[2];
    const uint32_t granted = (c->regs + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT;
    const int has_reserve = arch->number >= FIRST_WITH_RESERVE && c->smem_bytes >= DRIVER_SMEM;
    const uint32_t smem = r->smem_bytes + c->smem_bytes - (has_reserve ? DRIVER_SMEM : 0);
    if (c->arch != arch->number) return error_set(QRT_E_CHECK, "the image is for sm_%d", c->arch);
    if (c->stack_bytes > 0)
        return error_set(QRT_E_CHECK, "%u bytes of stack: registers were spilled", c->stack_bytes);
    if (c->regs > (uint32_t)arch->max_regs || granted * threads > REGISTERS_SM)
        return error_set(QRT_E_CHECK, "%u registers of %u threads do not fit %d", c->regs, threads,
                         REGISTERS_SM);
    if (smem > (uint32_t)arch->smem_bytes)
        return error_set(QRT_E_CHECK, "%u bytes of shared memory, a block may have %d", smem,
                         arch->smem_bytes);
    if (c->max_threads > 0 && threads > c->max_threads)
        return error_set(QRT_E_CHECK, "%u threads, compiled for %u", threads, c->max_threads);
    return QRT_OK;
}

/* ---- matrix instructions ---- */

enum matrix { MATRIX_NONE, MATRIX_HALF, MATRIX_INT8, MATRIX_FP8, MATRIX_COUNT };

static const struct {
    const char *name;
    uint16_t mma, wgmma; /* opcodes */
} matrix_table[MATRIX_COUNT] = {
    [MATRIX_HALF] = {"HMMA or HGMMA", 0x23c, 0xdf0},
    [MATRIX_INT8] = {"IMMA or IGMMA", 0x237, 0xdf1},
    [MATRIX_FP8] = {"QMMA or QGMMA", 0x27a, 0xdf3},
};

/* What the kernel is made to use. */
static enum matrix matrix_of(const struct op_desc *d, const struct arch *arch)
{
    if (d->op != OP_LINEAR && d->op != OP_ATTENTION) return MATRIX_NONE;
    if (d->act == ELEM_I8) return MATRIX_INT8;
    if (d->act == ELEM_E4M3) return MATRIX_FP8;
    /* sm_75 has no bf16 matrix instruction: its kernels multiply by hand and say so. */
    return d->act == ELEM_BF16 && arch->number < 80 ? MATRIX_NONE : MATRIX_HALF;
}

static qrt_status check_matrix(const struct op_desc *d, const struct arch *arch,
                               const struct cubin *c)
{
    const enum matrix want = matrix_of(d, arch);
    if (want == MATRIX_NONE) return QRT_OK;
    if (c->opcode[matrix_table[want].mma] + c->opcode[matrix_table[want].wgmma] == 0)
        return error_set(QRT_E_CHECK, "no %s in its machine code", matrix_table[want].name);
    for (int m = MATRIX_HALF; m < MATRIX_COUNT; m++)
        if (m != (int)want && c->opcode[matrix_table[m].mma] + c->opcode[matrix_table[m].wgmma] > 0)
            return error_set(QRT_E_CHECK, "%s beside %s in its machine code: it is emulated",
                             matrix_table[m].name, matrix_table[want].name);
    return QRT_OK;
}

qrt_status check_image(const struct entry *e)
{
    const struct arch *arch = arch_find(e->record.arch);
    if (!arch || arch->kind != ARCH_SM) return QRT_OK;
    struct cubin *c = malloc(sizeof *c);
    if (!c) return error_set(QRT_E_MEMORY, "cubin: no memory");
    qrt_status status =
        cubin_read(e->part[ENTRY_IMAGE].data, e->part[ENTRY_IMAGE].bytes, e->record.symbol, c);
    if (status == QRT_OK) status = check_limits(&e->record, arch, c);
    if (status == QRT_OK) status = check_matrix(&e->record.desc, arch, c);
    free(c);
    return status;
}
