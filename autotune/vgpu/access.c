/* access.c -- addresses of lanes to host bytes: bounds, alignment, initialisation, races, counts */
#include "access.h"

#include "interpret.h"
#include "order.h"

enum { SECTOR_BYTES = 32, WAVEFRONT_BYTES = 128 };

void access_addresses(struct access *a, uint32_t operand, int64_t offset)
{
    const void *base = operand_at(a->w, a->i->o[operand]);
    if (a->i->wide >> operand & 1) {
        const uint64_t *lanes = base;
        for (int l = 0; l < LANES; l++) a->address[l] = lanes[l] + (uint64_t)offset;
    } else {
        const uint32_t *lanes = base;
        for (int l = 0; l < LANES; l++) a->address[l] = (uint32_t)(lanes[l] + (uint64_t)offset);
    }
}

static const char *verb(const struct access *a)
{
    return a->kind == SHARED_READ ? "read" : a->kind == SHARED_WRITE ? "write" : "atomic";
}

static uint32_t misaligned(const struct access *a, uint32_t mask)
{
    uint32_t bad = 0;
    for (uint32_t l = 0; l < LANES; l++)
        bad |= (uint32_t)((a->address[l] & (a->bytes - 1)) != 0) << l;
    bad &= mask;
    if (bad) {
        const uint32_t l = first_lane(bad);
        FAULT(a->w, VGPU_MISALIGNED, (int)l, "%s of %u bytes at address 0x%llx (lanes %08x)",
              verb(a), a->bytes, (unsigned long long)a->address[l], bad);
    }
    return bad;
}

/* ---- global ---- */

static void fault_bounds(const struct access *a, const struct memory_block *m, uint32_t l)
{
    const unsigned long long address = a->address[l];
    if (!m)
        FAULT(a->w, VGPU_BOUNDS, (int)l, "%s of %u bytes at 0x%llx, which is in no allocation",
              verb(a), a->bytes, address);
    else if (!m->host)
        FAULT(a->w, VGPU_BOUNDS, (int)l,
              "%s of %u bytes at byte %lld of an allocation of %zu bytes that was freed", verb(a),
              a->bytes, (long long)(address - m->base), m->bytes);
    else
        FAULT(a->w, VGPU_BOUNDS, (int)l,
              "%s of %u bytes at byte %lld of an allocation of %zu bytes", verb(a), a->bytes,
              (long long)(address - m->base), m->bytes);
}

static void fault_unwritten(const struct access *a, const struct memory_block *m, uint32_t l)
{
    FAULT(a->w, VGPU_UNINITIALISED, (int)l,
          "read of %u bytes at byte %lld of an allocation of %zu bytes, which nothing wrote",
          a->bytes, (long long)(a->address[l] - m->base), m->bytes);
}

static void fault_race(const struct access *a, const struct memory_block *m, uint32_t l)
{
    FAULT(a->w, VGPU_RACE_GLOBAL, (int)l,
          "%s of %u bytes at byte %lld of an allocation of %zu bytes, which another block of this "
          "launch %s",
          verb(a), a->bytes, (long long)(a->address[l] - m->base), m->bytes,
          a->kind == SHARED_READ ? "writes" : "reads or writes");
}

static int is_written(const uint8_t *marks, uint32_t bytes)
{
    uint8_t all = 1;
    for (uint32_t k = 0; k < bytes; k++) all &= marks[k];
    return all;
}

/* Initialisation and races of one lane in an allocation. */
static void check_lane(struct access *a, struct memory_block *m, uint32_t l)
{
    const uint64_t offset = a->address[l] - m->base;
    uint8_t *written = m->written;
    if (written && a->kind != SHARED_WRITE && !is_written(written + offset, a->bytes)) {
        fault_unwritten(a, m, l);
        memset(written + offset, 1, a->bytes); /* once is enough */
    }
    if (written && a->kind != SHARED_READ) memset(written + offset, 1, a->bytes);
    if (a->strict) return;
    const uint32_t other =
        memory_touch(m, offset, a->bytes, a->w->block->tag, a->kind == SHARED_WRITE);
    if (other && !order_is_behind(a->w->block, other)) fault_race(a, m, l);
}

static int inside(const struct memory_block *m, uint64_t address, uint32_t bytes)
{
    return m && m->host && address >= m->base && address - m->base <= m->bytes &&
           bytes <= m->bytes - (address - m->base);
}

/* Global memory and the notes beside it are larger than caches: ask for all lanes' at once. */
static void prefetch(const struct memory_block *m, uint64_t offset)
{
    __builtin_prefetch(m->host + offset);
    if (m->touched) __builtin_prefetch(m->touched + offset / 4, 1);
}

static uint32_t resolve_global(struct access *a, uint32_t mask)
{
    struct memory_block *m = NULL, *of[LANES];
    uint64_t window = 0;
    uint32_t good = 0;
    EACH_LANE(l, mask)
    {
        const uint64_t address = a->address[l];
        if (address >> MEMORY_WINDOW_BITS != window) {
            window = address >> MEMORY_WINDOW_BITS;
            m = memory_window(address);
        }
        if (!inside(m, address, a->bytes)) {
            fault_bounds(a, m, l);
            continue;
        }
        of[l] = m;
        a->host[l] = m->host + (address - m->base);
        prefetch(m, address - m->base);
        good |= 1u << l;
    }
    if (a->w->block->checks) EACH_LANE(l, good) check_lane(a, of[l], l);
    return good;
}

/* 32-byte sectors that the lanes touch.  Lanes of a request mostly lie near each other: those within
 * 64 sectors of the first are bits of a word. */
static uint32_t sectors(const struct access *a, uint32_t mask)
{
    uint64_t near = 0, far[LANES];
    uint32_t fars = 0;
    const uint64_t first = (a->address[first_lane(mask)] >> 5) - 16;
    EACH_LANE(l, mask)
    {
        const uint64_t sector = a->address[l] >> 5;
        if (sector - first < 64) {
            near |= 1ull << (sector - first);
            continue;
        }
        uint32_t k = 0;
        while (k < fars && far[k] != sector) k++;
        if (k == fars) far[fars++] = sector;
    }
    return (uint32_t)__builtin_popcountll(near) + fars;
}

static void count_global(struct access *a, uint32_t mask)
{
    struct vgpu_counts *c = &a->w->block->counts;
    const uint64_t lanes = mask == FULL_MASK ? LANES : (uint64_t)__builtin_popcount(mask);
    const uint64_t bytes = a->bytes * lanes;
    c->global_requests++;
    const uint32_t touched = sectors(a, mask);
    c->global_sectors += touched;
    if (a->kind != SHARED_READ) c->store_sectors += touched;
    c->global_ideal_sectors += (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
    if (a->kind != SHARED_WRITE) c->global_load_bytes += bytes;
    if (a->kind != SHARED_READ) c->global_store_bytes += bytes;
}

static uint32_t access_global(struct access *a, uint32_t mask)
{
    mask &= ~misaligned(a, mask);
    mask = mask ? resolve_global(a, mask) : 0;
    if (mask) count_global(a, mask);
    if (mask && a->strict) {
        if (a->i->flags & INSN_RELEASE) order_fence(a->w->block);
        order_strict(a->w->block, a->kind);
    }
    return mask;
}

/* ---- shared ---- */

uint32_t access_shared_address(uint64_t address)
{
    if (address >> WINDOW_BITS == WINDOW_SHARED >> WINDOW_BITS) address -= WINDOW_SHARED;
    return address >> 32 ? 0xfffffff0u : (uint32_t)address;
}

static uint32_t access_shared(struct access *a, uint32_t mask)
{
    struct block *b = a->w->block;
    uint32_t at[LANES];
    for (int l = 0; l < LANES; l++) at[l] = access_shared_address(a->address[l]);
    mask = shared_access(b->shared, a->w->index, at, mask, a->bytes, a->kind,
                         &b->counts.shared_wavefronts);
    b->counts.shared_requests++;
    b->counts.shared_ideal_wavefronts +=
        ((uint64_t)__builtin_popcount(mask) * a->bytes + WAVEFRONT_BYTES - 1) / WAVEFRONT_BYTES;
    EACH_LANE(l, mask) a->host[l] = b->shared_bytes + at[l];
    return mask;
}

/* ---- local: each lane has its own ---- */

static uint32_t access_local(struct access *a, uint32_t mask)
{
    const uint32_t bytes = a->w->block->code->local_bytes;
    uint32_t good = 0;
    mask &= ~misaligned(a, mask);
    EACH_LANE(l, mask)
    {
        if (a->address[l] > bytes || a->bytes > bytes - a->address[l]) {
            FAULT(a->w, VGPU_BOUNDS, (int)l, "%s of %u bytes at byte %lld of %u of local memory",
                  verb(a), a->bytes, (long long)a->address[l], bytes);
            continue;
        }
        uint8_t *written = a->w->local_written + (size_t)l * bytes + a->address[l];
        a->host[l] = a->w->local + (size_t)l * bytes + a->address[l];
        good |= 1u << l;
        if (a->kind == SHARED_READ && a->w->block->checks && !is_written(written, a->bytes))
            FAULT(a->w, VGPU_UNINITIALISED, (int)l,
                  "read of %u bytes at byte %lld of local memory, which nothing wrote", a->bytes,
                  (long long)a->address[l]);
        if (a->kind != SHARED_READ) memset(written, 1, a->bytes);
    }
    return good;
}

/* ---- parameters of the kernel ---- */

static uint32_t access_param(struct access *a, uint32_t mask)
{
    const struct launch *launch = a->w->block->launch;
    const uint32_t bytes = launch->function->param_bytes;
    uint32_t good = 0;
    mask &= ~misaligned(a, mask);
    EACH_LANE(l, mask)
    {
        const uint64_t at = a->address[l];
        if (at > bytes || a->bytes > bytes - at || a->kind != SHARED_READ) {
            FAULT(a->w, VGPU_BOUNDS, (int)l, "%s of %u bytes at byte %lld of %u of parameters",
                  verb(a), a->bytes, (long long)at, bytes);
            continue;
        }
        a->host[l] = (uint8_t *)(uintptr_t)launch->params + at; /* only read */
        good |= 1u << l;
    }
    return good;
}

/* ---- generic ---- */

static enum ptx_space space_of(uint64_t address)
{
    switch (address >> WINDOW_BITS) {
    case WINDOW_SHARED >> WINDOW_BITS: return PTX_SHARED;
    case WINDOW_LOCAL >> WINDOW_BITS: return PTX_LOCAL;
    case WINDOW_PARAM >> WINDOW_BITS: return PTX_PARAM;
    default: return PTX_GLOBAL;
    }
}

/* Lanes of one window after the other. */
static uint32_t access_generic(struct access *a, uint32_t mask)
{
    uint32_t good = 0;
    while (mask) {
        const enum ptx_space space = space_of(a->address[first_lane(mask)]);
        uint32_t same = 0;
        EACH_LANE(l, mask) same |= (uint32_t)(space_of(a->address[l]) == space) << l;
        if (space != PTX_GLOBAL) EACH_LANE(l, same) a->address[l] &= (1ull << WINDOW_BITS) - 1;
        good |= access_resolve(a, space, same);
        mask &= ~same;
    }
    return good;
}

uint32_t access_resolve(struct access *a, enum ptx_space space, uint32_t mask)
{
    static uint32_t (*const resolve[PTX_SPACE_COUNT])(struct access *, uint32_t) = {
        [PTX_GENERIC] = access_generic, [PTX_GLOBAL] = access_global, [PTX_SHARED] = access_shared,
        [PTX_LOCAL] = access_local,     [PTX_PARAM] = access_param,   [PTX_CONST] = access_global,
    };
    return resolve[space](a, mask);
}

/* ---- bulk copies ---- */

uint8_t *access_global_range(struct warp *w, const struct insn *i, uint32_t l, uint64_t address,
                             uint32_t bytes, enum shared_kind kind)
{
    struct access a = {.w = w, .i = i, .bytes = bytes, .kind = kind};
    a.address[l] = address;
    return resolve_global(&a, 1u << l) ? a.host[l] : NULL;
}

const void *access_constant(const struct warp *w, uint64_t address, uint32_t bytes)
{
    const struct launch *launch = w->block->launch;
    if (address >> WINDOW_BITS != WINDOW_PARAM >> WINDOW_BITS) return memory_host(address, bytes);
    const uint64_t at = address - WINDOW_PARAM;
    return at + bytes <= launch->function->param_bytes ? launch->params + at : NULL;
}
