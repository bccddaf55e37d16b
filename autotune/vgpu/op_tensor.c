/* op_tensor.c -- matrix instructions of a warp: mma, ldmatrix, stmatrix, movmatrix */
#include "access.h"
#include "interpret.h"
#include "op_handlers.h"

enum { MOST_REGISTERS = 16 };

static int selector(const struct warp *w, const struct insn *i, int operand)
{
    return (int)(((const uint32_t *)operand_at(w, i->o[operand]))[0] & 0xffff);
}

/* The registers of the block scales follow c: scale_a, {byte, thread}, scale_b, {byte, thread}. */
static void multiply_scaled(struct warp *w, const struct insn *i, const struct code_mma *m,
                            uint32_t *const *d, const uint32_t *const *source)
{
    const int at = m->count[0] + m->count[1] + m->count[2] + m->count[3];
    int count[4];
    struct tensor_scale scale = m->scale;
    scale.byte_a = selector(w, i, at + 1);
    scale.thread_a = selector(w, i, at + 2);
    scale.byte_b = selector(w, i, at + 4);
    scale.thread_b = selector(w, i, at + 5);
    if (tensor_mma_scaled_registers(&m->op, &scale, count) == 0) {
        tensor_mma_scaled(&m->op, &scale, d, source, source + m->count[1],
                          source + m->count[1] + m->count[2], operand_at(w, i->o[at]),
                          operand_at(w, i->o[at + 3]));
        return;
    }
    interpret_place(w, i);
    FAULT(w, VGPU_ILLEGAL, 0, "selectors {%d, %d}, {%d, %d} of block scales", scale.byte_a,
          scale.thread_a, scale.byte_b, scale.thread_b);
    for (int k = 0; k < m->count[0]; k++) memset(d[k], 0, sizeof(uint32_t) * LANES);
}

void op_mma(struct warp *w, const struct insn *i, uint32_t mask)
{
    const struct code_mma *m = &w->block->code->mma[i->extra];
    uint32_t result[MOST_REGISTERS][LANES] __attribute__((aligned(128)));
    uint32_t *d[MOST_REGISTERS];
    const uint32_t *source[3 * MOST_REGISTERS];
    const int results = m->count[0], sources = i->operands - results;
    for (int k = 0; k < results; k++) d[k] = result[k];
    for (int k = 0; k < sources; k++) source[k] = operand_at(w, i->o[results + k]);
    if (m->scale.vector)
        multiply_scaled(w, i, m, d, source);
    else
        tensor_mma(&m->op, d, source, source + m->count[1], source + m->count[1] + m->count[2]);
    for (int k = 0; k < results; k++) blend32(operand_at(w, i->o[k]), result[k], mask);
    w->block->counts.tensor_ops += (uint64_t)(m->op.m * m->op.n * m->op.k);
}

/* Rows of the matrices: lane 8 j + r has the address of row r of matrix j.  Those that fail get rows
 * that nobody reads. */
static void rows_of(struct access *a, uint32_t operand, uint32_t matrices, void **rows)
{
    static _Thread_local uint8_t nothing[16];
    const uint32_t lanes = matrices == 4 ? FULL_MASK : (1u << matrices * 8) - 1;
    interpret_place(a->w, a->i);
    access_addresses(a, operand, a->i->imm);
    const uint32_t good =
        access_resolve(a, a->i->space == PTX_SHARED ? PTX_SHARED : PTX_GENERIC, lanes);
    memset(nothing, 0, sizeof nothing);
    for (uint32_t l = 0; l < matrices * 8; l++) rows[l] = good >> l & 1 ? a->host[l] : nothing;
}

static void load_matrices(struct warp *w, const struct insn *i, uint32_t mask, int trans)
{
    const uint32_t matrices = i->vector;
    struct access a = {.w = w, .i = i, .bytes = 16, .kind = SHARED_READ};
    void *rows[LANES];
    uint32_t result[4][LANES] __attribute__((aligned(128)));
    uint32_t *r[] = {result[0], result[1], result[2], result[3]};
    rows_of(&a, matrices, matrices, rows);
    tensor_ldmatrix(r, (const void *const *)rows, (int)matrices, trans);
    for (uint32_t k = 0; k < matrices; k++) blend32(operand_at(w, i->o[k]), result[k], mask);
}

void op_ldmatrix(struct warp *w, const struct insn *i, uint32_t mask)
{
    load_matrices(w, i, mask, 0);
}

void op_ldmatrix_trans(struct warp *w, const struct insn *i, uint32_t mask)
{
    load_matrices(w, i, mask, 1);
}

static void store_matrices(struct warp *w, const struct insn *i, int trans)
{
    const uint32_t matrices = i->operands - 1u;
    struct access a = {.w = w, .i = i, .bytes = 16, .kind = SHARED_WRITE};
    void *rows[LANES];
    const uint32_t *r[4];
    rows_of(&a, 0, matrices, rows);
    for (uint32_t k = 0; k < matrices; k++) r[k] = operand_at(w, i->o[1 + k]);
    tensor_stmatrix(r, rows, (int)matrices, trans);
}

void op_stmatrix(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)mask;
    store_matrices(w, i, 0);
}

void op_stmatrix_trans(struct warp *w, const struct insn *i, uint32_t mask)
{
    (void)mask;
    store_matrices(w, i, 1);
}

void op_movmatrix(struct warp *w, const struct insn *i, uint32_t mask)
{
    uint32_t result[LANES];
    tensor_movmatrix(result, operand_at(w, i->o[1]));
    blend32(operand_at(w, i->o[0]), result, mask);
}
