/* interpret.c -- the loop over a warp's instructions, and how its lanes part and meet */
#include "interpret.h"

#include <time.h>

#include "opcode.h"

/* ---- groups of lanes ---- */

/* Lanes that could run, were it their turn. */
static uint32_t others(const struct warp *w)
{
    return w->alive & ~w->active & ~w->parked & ~w->resting;
}

static void look_up_next(struct warp *w)
{
    w->next_pc = NO_PC;
    EACH_LANE(l, others(w))
    if (w->lane_pc[l] < w->next_pc) w->next_pc = w->lane_pc[l];
}

static void leave_at(struct warp *w, uint32_t lanes, uint32_t pc)
{
    EACH_LANE(l, lanes) w->lane_pc[l] = pc;
}

static uint32_t lanes_at(const struct warp *w, uint32_t among, uint32_t pc)
{
    uint32_t here = 0;
    EACH_LANE(l, among) here |= (uint32_t)(w->lane_pc[l] == pc) << l;
    return here;
}

/* The lanes that an instruction wants to meet: its mask operand's, or all. */
static uint32_t wanted(const struct warp *w, const struct insn *i, uint32_t lanes)
{
    if (i->flags & INSN_ALIGNED || i->field <= FIELD_OTHER) return w->alive;
    const uint32_t *mask = operand_at(w, i->o[i->field - FIELD_OTHER - 1]);
    return mask[first_lane(lanes)] & w->alive;
}

static void run_group(struct warp *w, uint32_t lanes, uint32_t pc)
{
    w->active = lanes;
    w->pc = pc;
    w->parked &= ~lanes;
    look_up_next(w);
}

/* A parked group that has all the lanes it waits for. */
static int release_parked(struct warp *w)
{
    for (uint32_t left = w->parked; left;) {
        const uint32_t pc = w->lane_pc[first_lane(left)];
        const uint32_t here = lanes_at(w, w->parked, pc);
        if ((wanted(w, &w->block->insn[pc], here) & ~here) == 0) return run_group(w, here, pc), 1;
        left &= ~here;
    }
    return 0;
}

/* No lane can go on: those of the lowest place run without the others. */
static void force_parked(struct warp *w)
{
    uint32_t pc = NO_PC;
    EACH_LANE(l, w->parked) if (w->lane_pc[l] < pc) pc = w->lane_pc[l];
    const uint32_t here = lanes_at(w, w->parked, pc);
    const struct insn *i = &w->block->insn[pc];
    interpret_place(w, i);
    if (w->block->checks)
        FAULT(w, VGPU_DIVERGENT, (int)first_lane(here),
              "lanes %08x wait for lanes %08x, which are elsewhere or wait at another instruction",
              here, wanted(w, i, here) & ~here);
    run_group(w, here, pc);
    w->forced_pc = pc;
}

/* The running lanes have stopped: others run. */
static void choose_group(struct warp *w)
{
    w->active = 0;
    look_up_next(w);
    if (w->next_pc != NO_PC) {
        run_group(w, lanes_at(w, others(w), w->next_pc), w->next_pc);
    } else if (w->parked && release_parked(w)) {
        return;
    } else if (w->resting) {
        w->resting = 0;
        w->yielded = 1;
        choose_group(w);
    } else if (w->parked) {
        force_parked(w);
    }
}

void interpret_rest(struct warp *w)
{
    if ((w->alive & ~w->active) == 0) {
        w->yielded = 1;
        return;
    }
    leave_at(w, w->active, w->pc);
    w->resting |= w->active;
    choose_group(w);
}

static void wake(struct warp *w)
{
    if (!w->resting) return;
    leave_at(w, w->active, w->pc);
    w->resting = 0;
    choose_group(w);
}

/* The running lanes are at or beyond the place of others. */
static void meet(struct warp *w)
{
    if (w->pc > w->next_pc) {
        leave_at(w, w->active, w->pc);
        choose_group(w);
        return;
    }
    w->active |= lanes_at(w, others(w), w->pc);
    look_up_next(w);
}

void interpret_branch(struct warp *w, uint32_t taken, uint32_t target)
{
    const uint32_t stay = w->active & ~taken;
    if (stay == 0) {
        w->pc = target;
        return;
    }
    const uint32_t here = w->pc; /* of the next instruction */
    if (target < here) {
        leave_at(w, stay, here);
        w->active = taken;
        w->pc = target;
    } else {
        leave_at(w, taken, target);
        w->active = stay;
    }
    look_up_next(w);
}

void interpret_scatter(struct warp *w, uint32_t mask, const uint32_t place[LANES])
{
    leave_at(w, w->active & ~mask, w->pc);
    EACH_LANE(l, mask) w->lane_pc[l] = place[l];
    choose_group(w);
}

void interpret_exit(struct warp *w, uint32_t mask)
{
    w->alive &= ~mask;
    w->active &= ~mask;
    w->block->progress++;
    if (w->alive == 0) {
        w->state = WARP_DONE;
        wgmma_end(w);
        barrier_warp_ended(w);
        barrier_cluster_check(w->block);
    }
    if (w->active == 0) {
        choose_group(w);
    }
}

/* ---- .sync instructions ---- */

static void complain_missing(struct warp *w, const struct insn *i, uint32_t mask)
{
    if (!w->block->checks || !(i->flags & INSN_ALIGNED) || mask == FULL_MASK) return;
    interpret_place(w, i);
    FAULT(w, VGPU_DIVERGENT, (int)first_lane(mask),
          "only lanes %08x of the warp execute an instruction for all 32", mask);
}

/* 1: the lanes in *mask run the instruction; 0: others run first. */
static int converge(struct warp *w, const struct insn *i, uint32_t *mask)
{
    const uint32_t pc = w->pc, skip = w->active & ~*mask;
    const uint32_t here = *mask | lanes_at(w, w->parked, pc);
    if ((wanted(w, i, *mask) & ~here) == 0 || w->forced_pc == pc) {
        if (here != *mask) {
            leave_at(w, skip, pc + 1);
            run_group(w, here, pc);
            *mask = here;
        }
        w->forced_pc = NO_PC;
        complain_missing(w, i, here);
        return 1;
    }
    leave_at(w, *mask, pc);
    leave_at(w, skip, pc + 1);
    w->parked |= *mask;
    choose_group(w);
    return 0;
}

/* ---- registers that nothing may have written ---- */

static void check_uses(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *list = w->block->code->check + i->check;
    for (uint32_t k = 0; k < i->checked_uses; k++) {
        const uint32_t missing = mask & ~w->valid[list[k]];
        if (missing == 0) continue;
        interpret_place(w, i);
        FAULT(w, VGPU_UNINITIALISED, (int)first_lane(missing),
              "a source register that nothing wrote (lanes %08x)", missing);
        w->valid[list[k]] |= missing; /* once is enough */
    }
}

/* A copy is as written as its source. */
static void copy_marks(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *list = w->block->code->check + i->check;
    const uint32_t written = i->checked_uses ? w->valid[list[0]] : FULL_MASK;
    if (i->checked_defs == 0) return;
    uint32_t *to = &w->valid[list[i->checked_uses]];
    *to = (*to & ~mask) | (written & mask);
}

static void mark_defs(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *list = w->block->code->check + i->check + i->checked_uses;
    for (uint32_t k = 0; k < i->checked_defs; k++) w->valid[list[k]] |= mask;
}

/* A wgmma with scale-d 0 reads no accumulators. */
static int overwrites(const struct warp *w, const struct insn *i)
{
    return i->flags & INSN_WGMMA && !(predicate_at(w, i->o[i->operands - 1]) & 1);
}

/* ---- the loop ---- */

/* A comparison; with a predicate combined into it, and the second result is of its opposite. */
static void run_set(struct warp *w, const struct insn *i, const void *const s[4], uint32_t mask)
{
    uint32_t yes, no;
    i->alu(i, &yes, s);
    no = ~yes;
    if (i->combine != COMBINE_NONE) {
        const uint32_t c = predicate_at(w, i->o[4]);
        yes = i->combine == COMBINE_AND ? yes & c : i->combine == COMBINE_OR ? yes | c : yes ^ c;
        no = i->combine == COMBINE_AND ? no & c : i->combine == COMBINE_OR ? no | c : no ^ c;
    }
    predicate_set(w, i->o[1], no, mask);
    predicate_set(w, i->o[0], yes, mask);
}

/* The handler reads no more sources than there are; the places of others mean nothing. */
static inline void run_alu(struct warp *w, const struct insn *i, uint32_t mask)
{
    const uint32_t *o = i->o + (i->kind == KIND_SET ? 2 : 1);
    const void *const s[4] = {operand_at(w, o[0]), operand_at(w, o[1]), operand_at(w, o[2]),
                              operand_at(w, o[3])};
    if (i->kind == KIND_SET) {
        run_set(w, i, s, mask);
    } else if (mask == FULL_MASK) {
        i->alu(i, operand_at(w, i->o[0]), s);
    } else {
        uint64_t result[LANES] __attribute__((aligned(128)));
        i->alu(i, result, s);
        if (i->kind == KIND_ALU)
            blend32(operand_at(w, i->o[0]), (const uint32_t *)result, mask);
        else
            blend64(operand_at(w, i->o[0]), result, mask);
    }
}

/* An instruction with followed or watched registers.  1: it is put off. */
static int check(struct warp *w, const struct insn *i, uint32_t mask)
{
    if (i->flags & INSN_COPY) {
        copy_marks(w, i, mask);
    } else {
        if (w->block->checks && !overwrites(w, i)) check_uses(w, i, mask);
        mark_defs(w, i, mask);
    }
    return i->flags & INSN_WATCHED && wgmma_touch(w, i, mask);
}

/* Mostly all; counting bits is slow where the processor's instruction may not be used. */
static inline uint32_t lanes_in(uint32_t mask)
{
    return mask == FULL_MASK ? LANES : (uint32_t)__builtin_popcount(mask);
}

/* The class of the instruction at which it began. */
static inline unsigned step(struct warp *w)
{
    struct block *b = w->block;
    if (__builtin_expect(w->pc >= w->next_pc, 0)) meet(w);
    const struct insn *i = &b->insn[w->pc];
    uint32_t mask = w->active;
    if (i->guard != NO_OPERAND) mask &= predicate_at(w, i->guard);
    if (__builtin_expect(i->flags & INSN_CONVERGE, 0) && mask != 0 && !converge(w, i, &mask))
        return i->class;
    w->pc++;
    if (mask == 0) return i->class;
    b->counts.by_class[i->class]++;
    b->counts.thread_instructions += lanes_in(mask);
    if (__builtin_expect(i->flags & (INSN_CHECKED | INSN_WATCHED), 0) && check(w, i, mask))
        return i->class;
    if (i->kind == KIND_RUN)
        i->run(w, i, mask);
    else
        run_alu(w, i, mask);
    return i->class;
}

static uint64_t ticks(void)
{
#ifdef __x86_64__
    return __builtin_ia32_rdtsc();
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

/* So many ticks for one instruction: the host ran something else in between. */
enum { TICKS_AWAY = 1 << 17 };

static void step_timed(struct warp *w)
{
    const uint64_t start = ticks();
    const unsigned class = step(w);
    const uint64_t took = ticks() - start;
    if (took < TICKS_AWAY) w->block->counts.ticks_by_class[class] += took;
}

uint32_t interpret_turn(struct warp *w)
{
    uint32_t steps = 0;
    const int timed = w->block->launch->timed;
    w->yielded = 0;
    wake(w);
    for (; steps < TURN_STEPS && w->state == WARP_READY && !w->yielded; steps++)
        if (__builtin_expect(timed, 0))
            step_timed(w);
        else
            step(w);
    return steps;
}
