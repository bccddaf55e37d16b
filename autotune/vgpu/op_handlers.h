/* op_handlers.h -- handlers of instructions that are more than arithmetic; rows of opcodes.def name them */
#ifndef VGPU_OP_HANDLERS_H
#define VGPU_OP_HANDLERS_H

#include "code.h"

#define ALU(key, mods, operands, class, name)
#define ALU64(key, mods, operands, class, name)
#define SET(key, mods, operands, class, name)
#define RUN(key, mods, operands, class, name, flags, field) \
    void op_##name(struct warp *w, const struct insn *i, uint32_t mask);
#include "opcodes.def"
#undef ALU
#undef ALU64
#undef SET
#undef RUN

#endif
