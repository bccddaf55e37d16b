/* tensor_map.h -- what the driver encodes and bulk tensor copies read: our own 128 bytes
 *
 * Dimension 0 is the innermost.  A copy moves a box of elements whose place in the tensor may lie
 * partly outside of it: zeros come from there, and nothing goes there.
 *
 *     shared memory   | row of box[0] elements | next row of box[1] ..      swizzled by 16 bytes:
 *     swizzle 32, 64, 128 bytes: address bits 4, 4 .. 5, 4 .. 6 are XORed with bits 7, 7 .. 8, 7 .. 9
 */
#ifndef VGPU_TENSOR_MAP_H
#define VGPU_TENSOR_MAP_H

#include <stdint.h>

enum { TENSOR_MAP_RANK = 5, TENSOR_MAP_BYTES = 128, TENSOR_MAP_MAGIC = 0x71744d50 };

struct tensor_map {
    uint32_t magic;
    uint8_t rank, element_bytes, swizzle, reserved; /* swizzle: 0, 32, 64, 128 */
    uint64_t base;                                  /* device address */
    uint64_t stride[TENSOR_MAP_RANK - 1];           /* bytes of dimensions 1 .. */
    uint32_t last[TENSOR_MAP_RANK];                 /* elements less one */
    uint32_t box[TENSOR_MAP_RANK];
    uint8_t padding[40];
};

/* The driver's arguments; 0: they are not legal. */
struct tensor_map_request {
    int type, interleave, swizzle, fill; /* the driver's numbers */
    uint32_t rank;
    uint64_t base;
    const uint64_t *dim, *stride;  /* rank; rank - 1 */
    const uint32_t *box, *element; /* rank */
};
int tensor_map_encode(const struct tensor_map_request *r, struct tensor_map *out);

uint32_t tensor_map_box_bytes(const struct tensor_map *m);
/* Where byte `at` of the box stands from `start` on, an address of shared memory. */
uint32_t tensor_map_swizzled(const struct tensor_map *m, uint32_t start, uint32_t at);

/* 16 bytes of the box that stands at `origin` (elements): byte `at` of the box, a multiple of 16.
 * Returns how many of its first bytes are in the tensor after `*before` bytes that are not, and their
 * device address; 0: none. */
uint32_t tensor_map_piece(const struct tensor_map *m, const int32_t *origin, uint32_t at,
                          uint32_t *before, uint64_t *address);

#endif
