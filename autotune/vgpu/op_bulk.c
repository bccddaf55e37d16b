/* op_bulk.c -- bulk copies (TMA): linear and tensor, both directions */
#include <stdlib.h>

#include "access.h"
#include "interpret.h"
#include "op_handlers.h"
#include "tensor_map.h"

enum { PIECE = 16, TENSOR_ALIGN = 128, MOST_COORDINATES = TENSOR_MAP_RANK };

static uint64_t address_of(struct warp *w, const struct insn *i, uint32_t operand, int64_t offset,
                           uint32_t l)
{
    struct access a = {.w = w, .i = i};
    access_addresses(&a, operand, offset);
    return a.address[l];
}

static uint32_t shared_at(struct warp *w, const struct insn *i, uint32_t operand, int64_t offset,
                          uint32_t l)
{
    return access_shared_address(address_of(w, i, operand, offset, l));
}

static int is_aligned(struct warp *w, uint32_t l, const char *what, uint64_t address,
                      uint32_t align)
{
    if (address % align == 0) return 1;
    FAULT(w, VGPU_MISALIGNED, (int)l, "a bulk copy's %s 0x%llx is not a multiple of %u", what,
          (unsigned long long)address, align);
    return 0;
}

static struct shared_piece *new_pieces(struct warp *w, uint32_t count)
{
    struct shared_piece *p = malloc((count + 1) * sizeof *p);
    if (!p) w->block->ended = 1;
    return p;
}

/* ---- linear ---- */

static int sizes_right(struct warp *w, uint32_t l, uint32_t shared, uint64_t global, uint32_t bytes)
{
    return is_aligned(w, l, "address in shared memory", shared, PIECE) &
           is_aligned(w, l, "global address", global, PIECE) &
           is_aligned(w, l, "size", bytes, PIECE);
}

static void load_linear(struct warp *w, const struct insn *i, uint32_t l)
{
    const uint32_t to = shared_at(w, i, 0, i->imm, l);
    const uint64_t from = address_of(w, i, 1, i->offset[0], l);
    const uint32_t bytes = ((const uint32_t *)operand_at(w, i->o[2]))[l];
    const uint32_t barrier = shared_at(w, i, 3, i->offset[1], l);
    if (!sizes_right(w, l, to, from, bytes)) return;
    struct shared_piece *piece = new_pieces(w, bytes / PIECE);
    if (!piece) return;
    for (uint32_t k = 0; k < bytes / PIECE; k++)
        piece[k] = (struct shared_piece){
            to + k * PIECE, PIECE,
            access_global_range(w, i, l, from + k * PIECE, PIECE, SHARED_READ)};
    shared_bulk_load(w->block->shared, w->index, (int)l, piece, bytes / PIECE, bytes, barrier);
    w->block->counts.async_bytes += bytes;
    w->block->counts.bulk_load_bytes += bytes;
    free(piece);
}

static void store_linear(struct warp *w, const struct insn *i, uint32_t l)
{
    const uint64_t to = address_of(w, i, 0, i->imm, l);
    const uint32_t from = shared_at(w, i, 1, i->offset[0], l);
    const uint32_t bytes = ((const uint32_t *)operand_at(w, i->o[2]))[l];
    if (!sizes_right(w, l, from, to, bytes)) return;
    if (!shared_bulk_store(w->block->shared, w->index, (int)l, from, bytes)) return;
    for (uint32_t k = 0; k < bytes; k += PIECE) {
        uint8_t *host = access_global_range(w, i, l, to + k, PIECE, SHARED_WRITE);
        if (host) memcpy(host, w->block->shared_bytes + from + k, PIECE);
    }
    w->block->counts.async_bytes += bytes;
    w->block->counts.bulk_store_bytes += bytes;
}

void op_bulk_load(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    EACH_LANE(l, mask) load_linear(w, i, l);
    w->block->progress++;
}

void op_bulk_store(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    EACH_LANE(l, mask) store_linear(w, i, l);
}

/* ---- tensors ---- */

/* The map that a generic address points to: in the parameters, or in global memory. */
static const struct tensor_map *map_of(struct warp *w, const struct insn *i, uint64_t address,
                                       uint32_t l, uint32_t coordinates)
{
    const struct tensor_map *m = access_constant(w, address, sizeof *m);
    if (!m || address % 64 != 0 || m->magic != TENSOR_MAP_MAGIC || m->rank != coordinates) {
        FAULT(w, VGPU_ILLEGAL, (int)l, "no tensor map of %u dimensions at 0x%llx (line %d): %s",
              coordinates, (unsigned long long)address, i->line,
              !m             ? "not in parameters or global memory"
              : address % 64 ? "not a multiple of 64"
                             : "other bytes, or another rank");
        return NULL;
    }
    return m;
}

struct box {
    const struct tensor_map *map;
    int32_t origin[MOST_COORDINATES];
    uint32_t shared; /* address */
};

/* Operands: the map's address is number `map`, coordinates follow it. */
static int read_box(struct warp *w, const struct insn *i, uint32_t l, uint32_t map,
                    int64_t map_offset, uint32_t coordinates, struct box *b)
{
    if (coordinates > MOST_COORDINATES) return 0;
    b->map = map_of(w, i, address_of(w, i, map, map_offset, l), l, coordinates);
    for (uint32_t c = 0; c < coordinates; c++)
        b->origin[c] = ((const int32_t *)operand_at(w, i->o[map + 1 + c]))[l];
    return b->map && is_aligned(w, l, "address in shared memory", b->shared, TENSOR_ALIGN);
}

/* Pieces of the box: what is in the tensor, and zeros around it. */
static uint32_t cut_box(struct warp *w, const struct insn *i, uint32_t l, const struct box *b,
                        struct shared_piece *piece)
{
    const uint32_t bytes = tensor_map_box_bytes(b->map);
    uint32_t count = 0;
    for (uint32_t at = 0; at < bytes; at += PIECE) {
        uint64_t address;
        uint32_t before = 0;
        const uint32_t to = tensor_map_swizzled(b->map, b->shared, at);
        const uint32_t have = tensor_map_piece(b->map, b->origin, at, &before, &address);
        if (before) piece[count++] = (struct shared_piece){to, before, NULL};
        if (have)
            piece[count++] = (struct shared_piece){
                to + before, have, access_global_range(w, i, l, address, have, SHARED_READ)};
        if (before + have < PIECE)
            piece[count++] = (struct shared_piece){to + before + have, PIECE - before - have, NULL};
    }
    return count;
}

static void load_tensor(struct warp *w, const struct insn *i, uint32_t l)
{
    const uint32_t coordinates = i->operands - 3u;
    const uint32_t barrier = shared_at(w, i, i->operands - 1u, i->offset[1], l);
    struct box b = {.shared = shared_at(w, i, 0, i->imm, l)};
    if (!read_box(w, i, l, 1, i->offset[0], coordinates, &b)) return;
    const uint32_t bytes = tensor_map_box_bytes(b.map);
    struct shared_piece *piece = new_pieces(w, bytes / PIECE * 3);
    if (!piece) return;
    const uint32_t count = cut_box(w, i, l, &b, piece);
    shared_bulk_load(w->block->shared, w->index, (int)l, piece, count, bytes, barrier);
    w->block->counts.async_bytes += bytes;
    w->block->counts.bulk_load_bytes += bytes;
    free(piece);
}

static void store_tensor(struct warp *w, const struct insn *i, uint32_t l)
{
    const uint32_t coordinates = i->operands - 2u;
    struct box b = {.shared = shared_at(w, i, i->operands - 1u, i->offset[0], l)};
    if (!read_box(w, i, l, 0, i->imm, coordinates, &b)) return;
    const uint32_t bytes = tensor_map_box_bytes(b.map);
    if (!shared_bulk_store(w->block->shared, w->index, (int)l, b.shared, bytes)) return;
    for (uint32_t at = 0; at < bytes; at += PIECE) {
        uint64_t address;
        uint32_t before = 0;
        const uint32_t have = tensor_map_piece(b.map, b.origin, at, &before, &address);
        uint8_t *to = have ? access_global_range(w, i, l, address, have, SHARED_WRITE) : NULL;
        const uint32_t from = tensor_map_swizzled(b.map, b.shared, at) + before;
        if (to) memcpy(to, w->block->shared_bytes + from, have);
    }
    w->block->counts.async_bytes += bytes;
    w->block->counts.bulk_store_bytes += bytes;
}

void op_bulk_tensor_load(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    EACH_LANE(l, mask) load_tensor(w, i, l);
    w->block->progress++;
}

void op_bulk_tensor_store(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    EACH_LANE(l, mask) store_tensor(w, i, l);
}

/* ---- groups ---- */

void op_bulk_commit(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    EACH_LANE(l, mask) shared_bulk_commit(w->block->shared, w->index, (int)l);
}

void op_bulk_wait(struct warp *w, const struct insn *i, uint32_t mask)
{
    interpret_place(w, i);
    EACH_LANE(l, mask) shared_bulk_wait(w->block->shared, w->index, (int)l, (int)i->imm2);
}
