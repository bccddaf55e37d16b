/* ptx.h -- the text of a PTX module as statements: names resolved, opcodes not yet understood
 *
 *     text --ptx_parse--> struct ptx --decode.h--> struct code
 *
 * Names are gone after parsing: registers are numbers that are unique in the module, labels are
 * statement numbers of their function, variables are indices.  Scopes in braces, as inline assembly
 * writes them, are followed.  Operands of a statement lie in one array; a vector {a, b} is one
 * operand whose parts follow each other in the same array.
 *
 *     @%p1 ld.global.v2.f32 {%f1, %f2}, [%rd4+8];
 *      guard  opcode          operand 0   operand 1: MEMORY, base %rd4, value 8
 *
 * Source: PTX ISA 9.0, "Syntax", "State Spaces, Types, and Variables".
 * Errors: ptx_parse() answers 0 and fills `error` with the line.
 */
#ifndef VGPU_PTX_H
#define VGPU_PTX_H

#include <stddef.h>
#include <stdint.h>

enum ptx_type {
    PTX_NONE,
    PTX_B8,
    PTX_B16,
    PTX_B32,
    PTX_B64,
    PTX_B128,
    PTX_U8,
    PTX_U16,
    PTX_U32,
    PTX_U64,
    PTX_S8,
    PTX_S16,
    PTX_S32,
    PTX_S64,
    PTX_F16,
    PTX_F16X2,
    PTX_BF16,
    PTX_BF16X2,
    PTX_TF32,
    PTX_F32,
    PTX_F64,
    PTX_E4M3,
    PTX_E5M2,
    PTX_E2M1,
    PTX_PRED,
    PTX_TYPE_COUNT
};

enum ptx_space {
    PTX_GENERIC,
    PTX_GLOBAL,
    PTX_SHARED,
    PTX_LOCAL,
    PTX_PARAM,
    PTX_CONST,
    PTX_SPACE_COUNT
};

enum ptx_special { /* special registers */
                   PTX_TID_X,
                   PTX_TID_Y,
                   PTX_TID_Z,
                   PTX_NTID_X,
                   PTX_NTID_Y,
                   PTX_NTID_Z,
                   PTX_CTAID_X,
                   PTX_CTAID_Y,
                   PTX_CTAID_Z,
                   PTX_NCTAID_X,
                   PTX_NCTAID_Y,
                   PTX_NCTAID_Z,
                   PTX_LANEID,
                   PTX_WARPID,
                   PTX_NWARPID,
                   PTX_SMID,
                   PTX_NSMID,
                   PTX_GRIDID,
                   PTX_LANEMASK_EQ,
                   PTX_LANEMASK_LE,
                   PTX_LANEMASK_LT,
                   PTX_LANEMASK_GE,
                   PTX_LANEMASK_GT,
                   PTX_CLUSTERID_X,
                   PTX_CLUSTERID_Y,
                   PTX_CLUSTERID_Z,
                   PTX_NCLUSTERID_X,
                   PTX_NCLUSTERID_Y,
                   PTX_NCLUSTERID_Z,
                   PTX_CLUSTER_CTAID_X,
                   PTX_CLUSTER_CTAID_Y,
                   PTX_CLUSTER_CTAID_Z,
                   PTX_CLUSTER_NCTAID_X,
                   PTX_CLUSTER_NCTAID_Y,
                   PTX_CLUSTER_NCTAID_Z,
                   PTX_CLUSTER_CTARANK,
                   PTX_CLUSTER_NCTARANK,
                   PTX_IS_EXPLICIT_CLUSTER,
                   PTX_DYNAMIC_SMEM_SIZE,
                   PTX_TOTAL_SMEM_SIZE,
                   PTX_SPECIAL_STILL, /* those above do not change while a block runs */
                   PTX_CLOCK = PTX_SPECIAL_STILL,
                   PTX_CLOCK_HI,
                   PTX_CLOCK64,
                   PTX_GLOBALTIMER,
                   PTX_GLOBALTIMER_LO,
                   PTX_GLOBALTIMER_HI,
                   PTX_SPECIAL_COUNT
};

enum ptx_operand_kind {
    PTX_REG,      /* index: register */
    PTX_SPECIAL,  /* index: enum ptx_special */
    PTX_INT,      /* value */
    PTX_FLOAT32,  /* value: bits */
    PTX_FLOAT64,  /* value: bits */
    PTX_VARIABLE, /* index: variable, value: offset */
    PTX_LABEL,    /* index: statement of the function */
    PTX_FUNCTION, /* index: function */
    PTX_SINK,     /* _ */
    PTX_VECTOR,   /* {..} or (..): index: first part, parts */
    PTX_MEMORY,   /* [base + value]: index: the operand that is the base, parts: further operands in
                    the brackets */
};

struct ptx_operand {
    uint8_t kind;
    uint8_t negated; /* !%p */
    uint8_t second;  /* came after a bar: %p|%q */
    uint16_t parts;
    int32_t index;
    int64_t value;
};

struct ptx_statement {
    const char *opcode; /* "fma.rn.f32", owned by the module */
    int guard;          /* register, or -1 */
    int guard_negated;
    uint32_t operand, operands; /* those of the first level */
    int line;                   /* of the text, from 1 */
    int source;                 /* index into `file`, or -1 */
    int source_line;
};

struct ptx_variable {
    const char *name;
    enum ptx_space space;
    int function; /* it belongs to, or -1 */
    uint32_t align, bytes;
    int dynamic;         /* .extern .shared x[] */
    int retval;          /* .param: a result of its function */
    const uint8_t *init; /* bytes, or NULL: zero */
};

struct ptx_function {
    const char *name;
    int entry;   /* a kernel */
    int defined; /* has a body */
    uint32_t first_statement, statements;
    uint32_t first_register, registers;
    int first_variable, variables; /* parameters first, in order */
    int params;                    /* number of parameters, results among them */
    uint32_t max_threads[3];       /* .maxntid or .reqntid; 0: not said */
    int exact_threads;             /* .reqntid */
    uint32_t cluster[3];           /* .reqnctapercluster; 0: not said */
    int line;
};

struct ptx {
    int version;        /* 90 */
    int target;         /* 80 */
    char target_suffix; /* 'a', 'f' or 0 */
    struct ptx_function *function;
    size_t functions;
    struct ptx_variable *variable;
    size_t variables;
    struct ptx_statement *statement;
    size_t statements;
    struct ptx_operand *operand;
    size_t operands;
    uint8_t *register_type; /* enum ptx_type */
    size_t registers;
    const char **file; /* of .file, by number */
    size_t files;
    struct ptx_chunk *memory; /* all strings */
};

enum { PTX_ERROR_BYTES = 256 };

/* 1 and a module to be freed, or 0 and why ("line 12: ..."). */
int ptx_parse(const char *text, struct ptx *out, char error[PTX_ERROR_BYTES]);
void ptx_free(struct ptx *m);

uint32_t ptx_type_bytes(enum ptx_type t); /* 0 of a predicate */
int ptx_type_signed(enum ptx_type t);
int ptx_type_find(const char *name, size_t length); /* "u32": PTX_U32; PTX_NONE */
const char *ptx_type_name(enum ptx_type t);
const char *ptx_special_name(enum ptx_special s); /* "%tid.x" */

#endif
