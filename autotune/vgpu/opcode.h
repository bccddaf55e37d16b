/* opcode.h -- the table of opcodes: what an instruction may look like, and who executes it
 *
 * A row of opcodes.def is  KIND(key, modifiers, operands, class, handler [, field]).
 *
 * key: the parts of the opcode that choose the row, in their order.  %T is any type, %V .v2 .v4 .v8
 * or nothing, %S a state space or nothing (generic), %M an mma shape.
 *
 * modifiers: letters; each allows a group of parts, anywhere after the first part:
 *   n rn (it changes nothing)          R rn rz rm rp           I rni rzi rmi rpi
 *   S sat    X satfinite    F ftz      Z relu   N NaN          C comparisons   B and or xor
 *   U uni    A aligned      K caching and prefetch             M order and scope
 *   D 1d .. 5d, tile: the operands tell
 *
 * operands: letters in order
 *   d D   result, 32 bits (or 16) / 64 bits      x   result of any width
 *   a A   source, 32 / 64 bits                   h   source, 16 bits     y   source of any width
 *   f F   source, f32 / f64                      P Q result predicate; second one, after a bar
 *   p     source predicate                       v w vector (or one), result / source
 *   m     address in brackets                    i   immediate           l   label
 *   t     table of labels                        c   clock               o   ignored, may be absent
 *   e     source, 32 bits; absent: 0             E   the same; absent: all bits set
 *   g     result and source: list of registers   j   source pair in braces, of 32 bits
 *   k     function and lists of parameters         q   selector {byte, thread} of block scales
 * Rows with equal keys are tried in order: the first that takes the operands counts.
 */
#ifndef VGPU_OPCODE_H
#define VGPU_OPCODE_H

#include "code.h"

enum opcode_field { /* how the flow of control goes on; other rows use numbers above these */
                    FIELD_NONE,
                    FIELD_JUMP,
                    FIELD_TABLE,
                    FIELD_CALL,
                    FIELD_END,
                    FIELD_OTHER
};

enum mma_field { /* of matrix instructions: N of .scale_vec::NX, .ue4m3, e2m1 in bytes */
                 MMA_SCALE_VECTOR = 7,
                 MMA_SCALE_E4M3 = 8,
                 MMA_BYTES = 16,
                 MMA_SCALED = 32
};

struct opcode {
    const char *key, *modifiers, *operands;
    uint8_t class, kind, flags, field;
    run_fn run;
};

extern const struct opcode opcodes[];
extern const size_t opcode_count;

/* What an opcode's text says beside its row. */
struct opcode_match {
    uint8_t type[4];
    uint8_t types, space, vector, round, compare, combine;
    uint8_t shape[3];
    uint16_t mods;
    uint8_t strict, release;
};

/* Whether the text is an instance of the row; fills `out`. */
int opcode_matches(const struct opcode *row, const char *text, struct opcode_match *out);

/* Handlers of rows of arithmetic, by row; NULL for others.  Those that this processor runs, best
 * first; NULL beyond the last. */
const alu_fn *alu_table_at(int i);
static inline const alu_fn *alu_table(void) { return alu_table_at(0); }

#endif
