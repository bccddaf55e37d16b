/* interpret.h -- runs one warp until it waits, yields or ends */
#ifndef VGPU_INTERPRET_H
#define VGPU_INTERPRET_H

#include "warp.h"

enum {
    TURN_STEPS = 4096,     /* instructions of a warp's turn */
    BLOCK_STEPS = 1 << 27, /* of a block, before it counts as endless */
};

/* Returns the number of instructions. */
uint32_t interpret_turn(struct warp *w);

/* ---- for handlers ---- */

/* Lanes of `taken` go to `target`, the other running ones on. */
void interpret_branch(struct warp *w, uint32_t taken, uint32_t target);
/* Each lane of `mask` goes to its own place. */
void interpret_scatter(struct warp *w, uint32_t mask, const uint32_t place[LANES]);
/* The running lanes wait for something that others must do: those run first. */
void interpret_rest(struct warp *w);
/* Lanes leave the kernel. */
void interpret_exit(struct warp *w, uint32_t mask);
/* The warp has ended: nobody needs to wait for it at a barrier. op_barrier.c */
void barrier_warp_ended(struct warp *w);
void barrier_cluster_check(struct block *b); /* op_cluster.c */
/* Fault of `lane` (-1: the warp) at the running instruction. */
#define FAULT(w, fault, lane, ...) report_fault(&(w)->block->place, fault, lane, __VA_ARGS__)

/* Where execution is, for reports. */
static inline void interpret_place(const struct warp *w, const struct insn *i)
{
    struct report_place *p = &w->block->place;
    p->source = code_source(w->block->code, i);
    p->source_line = i->source_line;
    p->ptx_line = i->line;
    p->warp = w->index;
}

#endif
