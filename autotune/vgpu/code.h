/* code.h -- a module as the interpreter runs it: instructions with handlers and places of operands
 *
 *     struct ptx --code_make: decode.c, flow.c, allocate.c--> struct code --launch.h--> runs
 *
 * A register of a warp holds 32 lanes one after the other (struct of arrays):
 *
 *     32-bit slot   | lane 0 | lane 1 | .. | lane 31 |      128 bytes; 16-bit registers too, zero above
 *     64-bit slot   | lane 0 | lane 1 | .. | lane 31 |      256 bytes
 *     predicate     one uint32_t, bit l is lane l
 *
 * Operands are byte offsets into one of two files: the warp's registers, and the constants, which all
 * warps share (immediates stand there spread over 32 lanes, so that a handler does not know what
 * an operand was).
 *
 *     operand   | offset                        | negated | file |
 *                31                           2        1      0
 *
 * Registers of different life share a slot (allocate.c).  Which reads may see a register that
 * nothing wrote is known from the flow of control (flow.c): only those are checked when they run.
 */
#ifndef VGPU_CODE_H
#define VGPU_CODE_H

#include "ptx.h"
#include "shared.h"
#include "tensor.h"
#include "vgpu.h"

struct warp;
struct insn;

#define FULL_MASK 0xffffffffu

enum { OPERAND_CONSTANT = 1, OPERAND_NEGATED = 2 };
enum { NO_OPERAND = 0xffffffffu };

/* `mask`: the lanes that execute it, never 0. */
typedef void (*run_fn)(struct warp *w, const struct insn *i, uint32_t mask);
/* All 32 lanes of one result; which of them count is the caller's business. */
typedef void (*alu_fn)(const struct insn *i, void *d, const void *const *s);

enum insn_kind {
    KIND_RUN, /* run() */
    KIND_ALU, /* o[0] = alu(o[1] ..), a 32-bit slot */
    KIND_ALU64,
    KIND_SET, /* o[0], o[1]: predicates; alu writes two masks */
};

enum insn_flag {
    INSN_CONVERGE = 1, /* waits for the lanes that it names before it runs */
    INSN_ALIGNED = 2,  /* wants all 32 */
    INSN_CHECKED = 4,  /* has registers whose reads or writes are followed */
    INSN_STRICT = 8,   /* volatile, or ordered: not part of a race */
    INSN_COPY = 16,    /* a mov of one register or value */
    INSN_WGMMA = 32,   /* wgmma.mma_async */
    INSN_WATCHED = 64, /* names registers that wgmma concerns */
    INSN_RELEASE = 128 /* .release, .acq_rel, .sc */
};

enum insn_mod {
    MOD_SAT = 1,
    MOD_SATFINITE = 2,
    MOD_FTZ = 4,
    MOD_RELU = 8,
    MOD_NAN = 16,
    MOD_INTEGER = 32,
    MOD_ROUND = 64, /* a rounding was named */
    MOD_NC = 128,
    MOD_XORSIGN = 256,
};

enum compare {
    CMP_EQ,
    CMP_NE,
    CMP_LT,
    CMP_LE,
    CMP_GT,
    CMP_GE,
    CMP_LO,
    CMP_LS,
    CMP_HI,
    CMP_HS,
    CMP_EQU,
    CMP_NEU,
    CMP_LTU,
    CMP_LEU,
    CMP_GTU,
    CMP_GEU,
    CMP_NUM,
    CMP_NAN,
    CMP_COUNT
};
enum combine { COMBINE_NONE, COMBINE_AND, COMBINE_OR, COMBINE_XOR };

struct insn {
    run_fn run;
    alu_fn alu;
    const uint32_t *o; /* operands */
    int64_t imm;       /* offset of the first address */
    int64_t imm2;      /* immediate */
    int32_t offset[2]; /* of the second and third address */
    uint32_t guard;    /* predicate, or NO_OPERAND */
    uint32_t target;   /* of a branch: instruction */
    uint16_t operands;
    uint16_t mods; /* enum insn_mod */
    uint8_t kind, flags;
    uint8_t class;   /* enum vgpu_class */
    uint8_t type[4]; /* enum ptx_type, as the opcode names them */
    uint8_t space, vector, round, compare, combine;
    uint16_t wide;  /* bit n: operand n is a 64-bit slot (n below 16) */
    uint8_t field;  /* what the row says */
    uint16_t row;   /* of the table of opcodes */
    int8_t more[4]; /* immediates after the first */
    uint8_t mores;
    uint32_t check; /* first of its registers that are followed, in struct code's `check` */
    uint16_t checked_uses, checked_defs;
    uint32_t watch; /* first of its registers that wgmma concerns, in struct code's `watch` */
    uint16_t watches;
    uint32_t extra; /* handler's own: an index into a table of the code */
    int line, source_line, source;
};

struct code_function {
    const char *name;
    int entry;
    uint32_t first, count; /* instructions */
    uint32_t local_bytes;  /* of a thread */
    uint32_t shared_bytes; /* static */
    uint32_t dynamic_at;   /* address of dynamic shared memory */
    uint32_t param_bytes;
    int max_threads;   /* .maxntid in all; 0: not said */
    uint32_t block[3]; /* .reqntid; 0: free */
    const struct ptx_function *source;
};

/* Where a variable is: an address in its space. */
struct code_variable {
    uint64_t address;
    uint32_t bytes;
};

/* A matrix instruction and its registers: d, a, b, c follow each other. */
struct code_mma {
    struct tensor_mma op;
    int count[4];
    struct tensor_scale
        scale; /* vector 0: no block scales.  Else registers after c: scale of A, its
                                  byte and thread, scale of B, its byte and thread */
};

/* d, then 4 registers of A or a descriptor, a descriptor of B, the predicate of scale-d. */
struct code_wgmma {
    struct tensor_wgmma op;
    int results, fragments; /* registers of d; whether A is in registers */
};

struct code {
    struct ptx ptx;
    struct insn *insn;
    uint32_t insns;
    uint32_t *operand;
    struct code_function *function;
    struct code_variable *place; /* of each variable of ptx */
    uint8_t *constants;          /* file of constants */
    uint32_t constant_bytes, register_bytes;
    uint32_t special[PTX_SPECIAL_STILL]; /* slots, or NO_OPERAND: nobody reads it */
    uint32_t *check; /* indices of followed registers: of an instruction, uses, then defs */
    uint32_t followed;
    struct code_mma *mma; /* of matrix instructions, by `extra` */
    uint32_t mmas;
    struct code_wgmma *wgmma; /* the same of wgmma */
    uint32_t wgmmas;
    uint32_t *watch; /* of an instruction: number of a watched register << 1 | it is a result */
    uint32_t watched;
    uint32_t local_bytes; /* of a thread, for all functions */
    uint32_t *table;      /* branch targets */
    uint32_t tables;
    uint64_t (*global)(void *user, const struct ptx_variable *v); /* places of .global, .const */
    void *user;
};

/* Address windows of the generic space; allocations of global memory are above. */
#define WINDOW_SHARED 0x1000000000ull
#define WINDOW_LOCAL  0x2000000000ull
#define WINDOW_PARAM  0x3000000000ull
#define WINDOW_BITS   36

/* Makes `code` from text.  `global` is asked where each .global and .const variable lies (0: no
 * memory); NULL: nowhere, for a look at the opcodes only.  0 and `error`: "line 7: unknown opcode
 * 'foo.b32'". */
int code_make(struct code *code, const char *text,
              uint64_t (*global)(void *user, const struct ptx_variable *v), void *user,
              char error[PTX_ERROR_BYTES]);
void code_free(struct code *code);

/* The source of an instruction, or NULL. */
const char *code_source(const struct code *code, const struct insn *i);

#endif
