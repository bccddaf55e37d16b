/* shared.c -- the shared memory of a block: bytes, bounds, one access */
#include "shared.h"

#include <stdlib.h>
#include <string.h>

#include "shared_state.h"

enum { SPARE_BYTES = 16, TIME_MOST = 1 << 29 };

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
        uint8_t *grown = realloc(s->bytes, bytes + SPARE_BYTES);
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

/* ---- access ---- */

static uint32_t inside(struct shared *s, const uint32_t address[LANES], uint32_t mask,
                       uint32_t bytes)
{
    uint32_t highest = 0, low = 0, good = mask;
    if (mask == 0xffffffffu && bytes <= s->size) { /* all at once */
        for (int l = 0; l < LANES; l++) {
            highest = address[l] > highest ? address[l] : highest;
            low |= address[l];
        }
        if (highest <= s->size - bytes && !(low & (bytes - 1))) return mask;
    }
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
    *wavefronts += banks_wavefronts(address, mask, bytes);
    if (!s->checking) return mask;
    struct actor a = shared_actor(s, warp, 0, kind);
    if (shadow_row(&a, address, mask, bytes)) return mask;
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
