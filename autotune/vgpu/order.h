/* order.h -- what orders the blocks of a launch, coarsely
 *
 * A block that has executed a fence of the GPU (or a releasing access) and then a volatile, ordered or
 * atomic write has released what it wrote; a block that has executed such a read has acquired what
 * others have released.  Which variable it was, and what was written after, is not looked at: a
 * semaphore of a split sum is no race, and some races are missed.
 * Threads: any; bits of `released` are set atomically.
 */
#ifndef VGPU_ORDER_H
#define VGPU_ORDER_H

#include "warp.h"

/* fence.gpu, membar.gl .. */
static inline void order_fence(struct block *b) { b->fenced = 1; }

/* A volatile, ordered or atomic access to global memory. */
static inline void order_strict(struct block *b, enum shared_kind kind)
{
    const uint32_t number = memory_block_of(b->tag);
    if (kind != SHARED_WRITE) b->acquired = 1;
    if (kind == SHARED_READ || !b->fenced || !b->launch->released) return;
    __atomic_fetch_or(&b->launch->released[number / 8], (uint8_t)(1u << number % 8),
                      __ATOMIC_RELEASE);
}

/* Whether what the note's block did can be behind this block. */
static inline int order_is_behind(const struct block *b, uint32_t note)
{
    const uint32_t number = memory_block_of(note);
    if (!b->acquired) return 0;
    if (number == MEMORY_BLOCKS - 1) return 1; /* several */
    return __atomic_load_n(&b->launch->released[number / 8], __ATOMIC_ACQUIRE) >> number % 8 & 1;
}

#endif
