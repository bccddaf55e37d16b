/* access.h -- what a warp's memory instructions have in common: addresses, checks, host bytes
 *
 * An access is one instruction of some lanes with `bytes` bytes each.  It becomes host pointers of the
 * lanes that pass the checks; findings are reported, lanes that fail read zeros and write nothing.
 */
#ifndef VGPU_ACCESS_H
#define VGPU_ACCESS_H

#include "warp.h"

struct access {
    struct warp *w;
    const struct insn *i;
    uint32_t bytes; /* of a lane, 1 .. 32 */
    enum shared_kind kind;
    int strict; /* volatile, ordered or atomic: part of no race */
    uint64_t address[LANES];
    uint8_t *host[LANES]; /* of the lanes that access_resolve() returns */
};

/* Addresses of the lanes: operand `operand` (its index) plus an offset. */
void access_addresses(struct access *a, uint32_t operand, int64_t offset);
/* Lanes of `mask` that may go on in this space, with their host pointers. */
uint32_t access_resolve(struct access *a, enum ptx_space space, uint32_t mask);

/* Host bytes of a global range that lane l's bulk copy touches, up to 16 bytes; NULL: a fault. */
uint8_t *access_global_range(struct warp *w, const struct insn *i, uint32_t l, uint64_t address,
                             uint32_t bytes, enum shared_kind kind);
/* Bytes that a launch does not change, at a generic address of parameters or global memory, or
 * NULL. */
const void *access_constant(const struct warp *w, uint64_t address, uint32_t bytes);
/* An address of shared memory, generic or not, as one of the block's; far beyond where it is none. */
uint32_t access_shared_address(uint64_t address);

#endif
