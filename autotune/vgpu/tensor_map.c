/* tensor_map.c -- tensor maps: encoding, and the way of a box through tensor and shared memory */
#include "tensor_map.h"

#include <string.h>

_Static_assert(sizeof(struct tensor_map) == TENSOR_MAP_BYTES, "the driver's size");

enum { PIECE = 16, MOST_BOX = 256 };

/* Bytes of an element by the driver's number of its type; 0: not supported. */
static uint32_t element_bytes(int type)
{
    static const uint8_t bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    return type >= 0 && (size_t)type < sizeof bytes ? bytes[type] : 0;
}

static int dimensions_right(const struct tensor_map_request *r, uint32_t size)
{
    uint64_t bytes = size;
    for (uint32_t d = 0; d < r->rank; d++) {
        if (r->dim[d] == 0 || r->dim[d] > 1ull << 32) return 0;
        if (r->box[d] == 0 || r->box[d] > MOST_BOX || r->element[d] != 1) return 0;
        if (d > 0) {
            const uint64_t stride = r->stride[d - 1];
            if (stride % PIECE != 0 || stride >= 1ull << 40 || stride < bytes) return 0;
            bytes = stride;
        }
        bytes *= r->dim[d];
    }
    return 1;
}

int tensor_map_encode(const struct tensor_map_request *r, struct tensor_map *out)
{
    static const uint8_t swizzles[] = {0, 32, 64, 128};
    const uint32_t size = element_bytes(r->type);
    if (size == 0 || r->rank < 1 || r->rank > TENSOR_MAP_RANK || r->interleave != 0) return 0;
    if (r->swizzle < 0 || r->swizzle > 3 || r->fill != 0 || r->base % PIECE != 0) return 0;
    if (!dimensions_right(r, size)) return 0;
    const uint32_t row = r->box[0] * size, swizzle = swizzles[r->swizzle];
    if (row % PIECE != 0 || (swizzle && row > swizzle)) return 0;
    *out = (struct tensor_map){.magic = TENSOR_MAP_MAGIC,
                               .rank = (uint8_t)r->rank,
                               .element_bytes = (uint8_t)size,
                               .swizzle = (uint8_t)swizzle,
                               .base = r->base};
    for (uint32_t d = 0; d < TENSOR_MAP_RANK; d++) {
        out->last[d] = d < r->rank ? (uint32_t)(r->dim[d] - 1) : 0;
        out->box[d] = d < r->rank ? r->box[d] : 1;
        if (d > 0) out->stride[d - 1] = d < r->rank ? r->stride[d - 1] : 0;
    }
    return 1;
}

uint32_t tensor_map_box_bytes(const struct tensor_map *m)
{
    uint32_t bytes = m->element_bytes;
    for (int d = 0; d < TENSOR_MAP_RANK; d++) bytes *= m->box[d];
    return bytes;
}

uint32_t tensor_map_swizzled(const struct tensor_map *m, uint32_t start, uint32_t at)
{
    const uint32_t address = start + at;
    return m->swizzle ? address ^ (address >> 3 & (m->swizzle - 16u)) : address;
}

uint32_t tensor_map_piece(const struct tensor_map *m, const int32_t *origin, uint32_t at,
                          uint32_t *before, uint64_t *address)
{
    const uint32_t size = m->element_bytes;
    uint32_t rest = at / size / m->box[0];
    *address = m->base;
    for (int d = 1; d < m->rank; d++) {
        const int64_t place = (int64_t)origin[d] + rest % m->box[d];
        rest /= m->box[d];
        if (place < 0 || place > m->last[d]) return 0;
        *address += (uint64_t)place * m->stride[d - 1];
    }
    const int64_t first = ((int64_t)origin[0] + at / size % m->box[0]) * size;
    const int64_t end = ((int64_t)m->last[0] + 1) * size;
    const int64_t from = first < 0 ? 0 : first, to = first + PIECE < end ? first + PIECE : end;
    if (from >= to) return 0;
    *before = (uint32_t)(from - first);
    *address += (uint64_t)from;
    return (uint32_t)(to - from);
}
