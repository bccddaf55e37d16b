/* banks.c -- bank conflicts of shared memory: 32 banks of 4 bytes
 *
 * A lane's access is a unit of 4, 8 or 16 bytes; the hardware serves as many lanes at once as make a
 * row of all banks (32, 16, 8).  A unit lies in one column of banks.  A column serves one unit at a
 * time, to all lanes that want it: the deepest column says how many wavefronts the lanes need.
 */
#include "shared_state.h"

enum { BANKS = 32, ROW_BYTES = BANKS * WORD };

static int log2_of(uint32_t unit) { return __builtin_ctz(unit); }

/* Lanes 0 .. lanes - 1 of `mask`, two of which may want the same column. */
static uint32_t count(const uint32_t *address, uint32_t mask, uint32_t columns, int shift)
{
    uint32_t seen[LANES], depth[LANES] = {0}, kept = 0, worst = 0;
    for (; mask; mask &= mask - 1) {
        const uint32_t unit = address[__builtin_ctz(mask)] >> shift;
        uint32_t i = 0;
        while (i < kept && seen[i] != unit) i++;
        if (i < kept) continue;
        seen[kept++] = unit;
        const uint32_t deep = ++depth[unit & (columns - 1)];
        if (deep > worst) worst = deep;
    }
    return worst;
}

/* The same when no column is wanted for two units: 1; else 0. */
static uint32_t smooth(const uint32_t *address, uint32_t mask, uint32_t columns, int shift)
{
    uint32_t unit_of[BANKS], taken = 0;
    for (; mask; mask &= mask - 1) {
        const uint32_t unit = address[__builtin_ctz(mask)] >> shift;
        const uint32_t column = unit & (columns - 1);
        if (taken >> column & 1 && unit_of[column] != unit) return 0;
        taken |= 1u << column;
        unit_of[column] = unit;
    }
    return 1;
}

/* Every lane wants a column of its own. */
static int is_even(const uint32_t *address, uint32_t lanes, uint32_t columns, int shift)
{
    uint32_t taken = 0;
    for (uint32_t l = 0; l < lanes; l++) taken |= 1u << (address[l] >> shift & (columns - 1));
    return taken == (uint32_t)((1ull << lanes) - 1);
}

uint64_t banks_wavefronts(const uint32_t address[LANES], uint32_t mask, uint32_t bytes)
{
    const uint32_t unit = bytes < WORD ? WORD : bytes, columns = ROW_BYTES / unit;
    const uint32_t lanes = columns, all = (uint32_t)((1ull << lanes) - 1);
    const int shift = log2_of(unit);
    uint64_t sum = 0;
    for (uint32_t first = 0; first < LANES; first += lanes) {
        const uint32_t *at = address + first, here = mask >> first & all;
        if (!here) continue;
        if (here == all && is_even(at, lanes, columns, shift))
            sum += 1;
        else if (smooth(at, here, columns, shift))
            sum += 1;
        else
            sum += count(at, here, columns, shift);
    }
    return sum;
}
