/* draft.h -- code under way: operands are still registers, constants and specials, not places
 *
 *     reference   | index of register, constant or special | kind | negated |
 *                  31                                     3      1         0
 */
#ifndef VGPU_DRAFT_H
#define VGPU_DRAFT_H

#include "code.h"

enum ref_kind { REF_REGISTER, REF_CONSTANT, REF_SPECIAL, REF_SINK };
enum role { ROLE_USE = 1, ROLE_DEF = 2 };

struct draft_constant {
    uint64_t value;
    uint8_t wide;
    int32_t next; /* of the same bucket */
};

enum { CONSTANT_BUCKETS = 1024 };

struct draft {
    struct code *code;
    const struct ptx *ptx;
    uint32_t *first; /* of an instruction: its first reference */
    uint32_t *ref;
    uint8_t *role;
    uint32_t refs, refs_room, insns_room, tables_room;
    struct draft_constant *constant;
    uint32_t constants, constants_room;
    int32_t bucket[CONSTANT_BUCKETS];
    uint32_t
        *watched; /* number of each register that wgmma concerns, or NO_OPERAND; NULL: none does */
    char *error;
};

static inline uint32_t ref_make(enum ref_kind kind, uint32_t index)
{
    return index << 3 | (uint32_t)kind << 1;
}
static inline enum ref_kind ref_kind(uint32_t ref) { return (enum ref_kind)(ref >> 1 & 3); }
static inline uint32_t ref_index(uint32_t ref) { return ref >> 3; }

/* decode.c: all instructions of all functions. */
int decode_all(struct draft *d);

/* flow.c: which registers have to be followed; marks the instructions. 0: no memory. */
int flow_follow(struct draft *d);

/* watch.c: which registers wgmma concerns; marks the instructions.  0: no memory. */
int watch_wgmma(struct draft *d);

/* allocate.c: gives registers, constants and specials their places; rewrites references. */
int allocate_all(struct draft *d);

/* The live range of registers: from the first to the last instruction at which it must keep its
 * place; flow.c.  first > last: never used. */
struct live_range {
    uint32_t first, last;
};
int flow_live(struct draft *d, struct live_range *range);
/* watch.c: those that wgmma concerns live to the end. */
void watch_extend(const struct draft *d, struct live_range *range);

#endif
