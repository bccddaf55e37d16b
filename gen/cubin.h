/* cubin.h -- what a cubin says about its kernel: registers, stack, shared memory, instructions
 *
 * Layout: an ELF64 file, machine 190, the arch in its flags.  Per kernel k a section
 * .text.k (16 bytes an instruction, its low 12 bits the opcode), .nv.info.k and .nv.shared.k; and
 * one .nv.info for all.  .nv.info is a stream of attributes {u8 format, u8 attribute, u16 size or
 * value}; format 4 is followed by `size` bytes.
 * Every offset is checked: a damaged file is QRT_E_FORMAT.
 */
#ifndef QGEN_CUBIN_H
#define QGEN_CUBIN_H

#include <stddef.h>
#include <stdint.h>

#include "qrt.h"

enum { CUBIN_OPCODES = 4096, CUBIN_PARAMS = 4 };

struct cubin {
    int arch;             /* 89 */
    uint32_t regs;        /* of a thread */
    uint32_t stack_bytes; /* of a thread: spills and local arrays */
    uint32_t smem_bytes;  /* static, with what the driver reserves (1 KiB from sm_90 on) */
    uint32_t max_threads; /* of a block, by __launch_bounds__; 0: not said */
    uint32_t param_bytes[CUBIN_PARAMS]; /* of each argument; 0: it has fewer */
    uint32_t instructions;              /* in .text */
    uint32_t opcode[CUBIN_OPCODES];     /* how often each occurs */
};

qrt_status cubin_read(const void *bytes, size_t count, const char *symbol, struct cubin *out);

#endif
