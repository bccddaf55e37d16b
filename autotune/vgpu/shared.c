/* shared.c -- the shared memory of a block: bytes, bounds, bank conflicts, one access */
#include "shared.h"

#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

enum { BANKS = 32, ROW_BYTES = BANKS * WORD, TIME_MOST = 1 << 29 };

/* ---- a block ---- */

struct shared *shared_open(int checks)
{
    struct shared *s = calloc(1, sizeof *s);
    if (s) s->checks = checks;
    return s;
}

void shared_close(struct shared *s)
{
    if (!s) return;
    barriers_close(s);
    copies_close(s);
    bulk_close(s);
    wgmma_close(s);
    shadow_close(&s->shadow);
    clock_close(&s->clock);
    free(s->bytes);
    free(s);
}

int shared_begin(struct shared *s, uint32_t bytes, int warps, struct report_place *place)
{
    if (bytes > s->room || !s->bytes) {
        uint8_t *grown = realloc(s->bytes, bytes + ROW_BYTES);
        if (!grown) return 0;
        s->bytes = grown;
        s->room = bytes;
    }
    if (s->clock.time > TIME_MOST) {
        s->clock.time = 0;
        shadow_forget(&s->shadow);
    }
    if (s->checks && !shadow_begin(&s->shadow, (bytes + WORD - 1) / WORD)) return 0;
    s->checking = s->checks;
    s->size = bytes;
    s->warps = warps;
    s->place = place;
    clock_begin(&s->clock, warps);
    barriers_begin(s);
    copies_begin(s);
    bulk_begin(s);
    proxy_begin(s);
    wgmma_begin(s);
    return 1;
}

uint8_t *shared_bytes(struct shared *s) { return s->bytes; }

void shared_exit(struct shared *s, int warp, uint32_t lanes) { clock_exit(&s->clock, warp, lanes); }

void shared_warp_sync(struct shared *s, int warp, uint32_t lanes)
{
    if (s->checking) clock_warp_sync(&s->clock, warp, lanes);
}

void shared_barrier(struct shared *s, uint32_t warps)
{
    if (s->checking) clock_barrier(&s->clock, warps);
}

/* ---- for the other files ---- */

struct actor shared_actor(struct shared *s, int warp, int lane, enum shared_kind kind)
{
    return (struct actor){
        .s = s, .warp = warp, .lane = lane, .kind = kind, .epoch = clock_epoch(&s->clock, warp)};
}

int shared_inside(struct shared *s, int lane, uint32_t at, uint64_t bytes, uint32_t align)
{
    if (at + bytes > s->size)
        report_fault(s->place, VGPU_BOUNDS, lane, "shared 0x%x + %u bytes: the block has %u", at,
                     (uint32_t)bytes, s->size);
    else if (at % align)
        report_fault(s->place, VGPU_MISALIGNED, lane, "shared 0x%x is not a multiple of %u", at,
                     align);
    else
        return 1;
    return 0;
}

void *shared_grow(void *array, uint32_t *room, uint32_t count, size_t item_bytes)
{
    if (count <= *room) return array;
    const uint32_t more = count < 32 ? 64 : 2 * count;
    void *grown = realloc(array, more * item_bytes);
    if (grown) *room = more;
    return grown;
}

/* ---- bank conflicts ---- */

/* Wavefronts of the lanes first .. first + lanes - 1, which the hardware serves together: a unit
 * (4, 8 or 16 bytes) lies in one column of banks, and a column serves one unit at a time. */
static uint64_t phase_wavefronts(const uint32_t *address, uint32_t mask, int lanes, uint32_t unit)
{
    const uint32_t columns = ROW_BYTES / unit;
    uint32_t seen[LANES], depth[LANES] = {0};
    int count = 0;
    uint64_t worst = 0;
    for (int l = 0; l < lanes; l++) {
        if (!(mask >> l & 1)) continue;
        const uint32_t it = address[l] / unit;
        int known = 0;
        for (int i = 0; i < count && !known; i++) known = seen[i] == it;
        if (known) continue;
        seen[count++] = it;
        if (++depth[it % columns] > worst) worst = depth[it % columns];
    }
    return worst;
}

static uint64_t wavefronts_of(const uint32_t address[LANES], uint32_t mask, uint32_t bytes)
{
    const uint32_t unit = bytes < WORD ? WORD : bytes;
    const int lanes = (int)(ROW_BYTES / unit);
    uint64_t sum = 0;
    for (int first = 0; first < LANES; first += lanes)
        sum += phase_wavefronts(address + first, mask >> first, lanes, unit);
    return sum;
}

/* ---- access ---- */

static uint32_t inside(struct shared *s, const uint32_t address[LANES], uint32_t mask,
                       uint32_t bytes)
{
    uint32_t good = mask;
    for (uint32_t left = mask; left; left &= left - 1) {
        const int l = __builtin_ctz(left);
        if (((uint64_t)address[l] + bytes > s->size || address[l] % bytes) &&
            !shared_inside(s, l, address[l], bytes, bytes))
            good &= ~(1u << l);
    }
    return good;
}

uint32_t shared_access(struct shared *s, int warp, const uint32_t address[LANES], uint32_t mask,
                       uint32_t bytes, enum shared_kind kind, uint64_t *wavefronts)
{
    mask = inside(s, address, mask, bytes);
    *wavefronts += wavefronts_of(address, mask, bytes);
    if (!s->checking) return mask;
    struct actor a = shared_actor(s, warp, 0, kind);
    /* Lanes of one instruction do not race with each other: all look before one leaves a trace. */
    for (uint32_t left = mask; left; left &= left - 1) {
        a.lane = __builtin_ctz(left);
        shadow_check(&a, address[a.lane], bytes);
    }
    for (uint32_t left = mask; left; left &= left - 1) {
        a.lane = __builtin_ctz(left);
        shadow_update(&a, address[a.lane], bytes);
    }
    return mask;
}
