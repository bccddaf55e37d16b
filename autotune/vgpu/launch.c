/* launch.c -- a grid over worker threads, and the turns of a block's warps */
#include "launch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "interpret.h"
#include "warp.h"

enum { MAX_WORKERS = 64, STUCK_TURNS = 3 };

struct run {
    const struct launch *launch;
    atomic_ullong next; /* block */
    uint64_t blocks;
    atomic_int failed;
    pthread_mutex_t lock; /* of counts and kinds */
    struct vgpu_counts *counts;
    unsigned kinds;
};

/* ---- a worker's memory ---- */

static uint32_t threads_of(const struct launch *l)
{
    return l->block[0] * l->block[1] * l->block[2];
}

static size_t warp_bytes(const struct launch *l)
{
    const struct code *c = l->code;
    const size_t local = (size_t)c->local_bytes * LANES;
    const size_t marks = c->followed * sizeof(uint32_t) + c->watched;
    return (c->register_bytes + marks + local * 2 + 511) / 256 * 256;
}

static void point_warp(struct block *b, int index, uint8_t *at)
{
    struct warp *w = &b->warp[index];
    const struct code *c = b->code;
    const size_t local = (size_t)c->local_bytes * LANES;
    w->block = b;
    w->index = index;
    w->file[0] = at;
    w->file[1] = c->constants;
    w->local = at + c->register_bytes;
    w->local_written = w->local + local;
    w->valid = (uint32_t *)(void *)(w->local_written + local);
    w->wgmma.flag = (uint8_t *)(w->valid + c->followed);
}

static int block_open(struct block *b, const struct launch *l)
{
    *b = (struct block){.launch = l,
                        .code = l->code,
                        .insn = l->code->insn,
                        .warps = (int)((threads_of(l) + LANES - 1) / LANES),
                        .checks = l->checks,
                        .place = {.kernel = l->function->name}};
    b->warp = calloc((size_t)b->warps, sizeof *b->warp);
    b->memory = aligned_alloc(256, warp_bytes(l) * (size_t)b->warps);
    b->shared = shared_open(l->checks);
    if (!b->warp || !b->memory || !b->shared) return 0;
    for (int i = 0; i < b->warps; i++) point_warp(b, i, b->memory + warp_bytes(l) * (size_t)i);
    return 1;
}

static void block_close(struct block *b)
{
    if (b->shared) shared_close(b->shared);
    for (int i = 0; b->warp && i < b->warps; i++) free(b->warp[i].wgmma.queue);
    free(b->warp);
    free(b->memory);
}

/* ---- special registers ---- */

static void set_special(struct warp *w, enum ptx_special s, uint32_t value)
{
    const uint32_t at = w->block->code->special[s];
    if (at == NO_OPERAND) return;
    uint32_t *lanes = operand_at(w, at);
    for (int l = 0; l < LANES; l++) lanes[l] = value;
}

static void set_lane_specials(struct warp *w)
{
    const uint32_t *n = w->block->launch->block;
    static const enum ptx_special names[] = {PTX_TID_X,       PTX_TID_Y,       PTX_TID_Z,
                                             PTX_LANEID,      PTX_LANEMASK_EQ, PTX_LANEMASK_LE,
                                             PTX_LANEMASK_LT, PTX_LANEMASK_GE, PTX_LANEMASK_GT};
    for (uint32_t l = 0; l < LANES; l++) {
        const uint32_t t = (uint32_t)w->index * LANES + l, bit = 1u << l;
        const uint32_t value[] = {
            t % n[0], t / n[0] % n[1], t / n[0] / n[1],   l, bit, bit | (bit - 1),
            bit - 1,  ~(bit - 1),      ~(bit | (bit - 1))};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            const uint32_t at = w->block->code->special[names[i]];
            if (at != NO_OPERAND) ((uint32_t *)operand_at(w, at))[l] = value[i];
        }
    }
}

static void set_specials(struct warp *w)
{
    const struct block *b = w->block;
    const struct launch *l = b->launch;
    const uint32_t shared = l->function->shared_bytes + l->dynamic_shared_bytes;
    uint32_t rank = 0, size = 1;
    for (int d = 2; d >= 0; d--) rank = rank * l->cluster[d] + b->id[d] % l->cluster[d];
    for (uint32_t d = 0; d < 3; d++) {
        set_special(w, PTX_NTID_X + d, l->block[d]);
        set_special(w, PTX_CTAID_X + d, b->id[d]);
        set_special(w, PTX_NCTAID_X + d, l->grid[d]);
        set_special(w, PTX_CLUSTERID_X + d, b->id[d] / l->cluster[d]);
        set_special(w, PTX_NCLUSTERID_X + d, l->grid[d] / l->cluster[d]);
        set_special(w, PTX_CLUSTER_CTAID_X + d, b->id[d] % l->cluster[d]);
        set_special(w, PTX_CLUSTER_NCTAID_X + d, l->cluster[d]);
        size *= l->cluster[d];
    }
    set_special(w, PTX_CLUSTER_CTARANK, rank);
    set_special(w, PTX_CLUSTER_NCTARANK, size);
    set_special(w, PTX_IS_EXPLICIT_CLUSTER, size > 1);
    set_special(w, PTX_WARPID, (uint32_t)w->index);
    set_special(w, PTX_NWARPID, (uint32_t)b->warps);
    set_special(w, PTX_SMID, (uint32_t)((b->tag & 0xfffff) % (uint32_t)l->processors));
    set_special(w, PTX_NSMID, (uint32_t)l->processors);
    set_special(w, PTX_GRIDID, (uint32_t)l->id);
    set_special(w, PTX_DYNAMIC_SMEM_SIZE, l->dynamic_shared_bytes);
    set_special(w, PTX_TOTAL_SMEM_SIZE, shared);
    set_lane_specials(w);
}

/* ---- a block ---- */

static void begin_warp(struct warp *w)
{
    const struct code *c = w->block->code;
    const uint32_t lanes = threads_of(w->block->launch) - (uint32_t)w->index * LANES;
    w->born = w->alive = w->active = lanes >= LANES ? FULL_MASK : (1u << lanes) - 1;
    w->pc = w->block->launch->function->first;
    w->next_pc = w->forced_pc = w->failed_pc = NO_PC;
    w->parked = w->resting = 0;
    w->state = WARP_READY;
    w->reduction = NULL;
    w->yielded = w->failed_times = 0;
    memset(w->depth, 0, sizeof w->depth);
    memset(w->valid, 0, c->followed * sizeof *w->valid);
    memset(w->local_written, 0, (size_t)c->local_bytes * LANES);
    memset(w->wgmma.flag, WGMMA_WRITTEN, c->watched); /* no fence yet */
    w->wgmma.count = w->wgmma.open = 0;
    w->cluster_phase = w->registers = 0;
    set_specials(w);
}

static int begin_block(struct block *b, uint64_t number)
{
    const struct launch *l = b->launch;
    b->id[0] = (uint32_t)(number % l->grid[0]);
    b->id[1] = (uint32_t)(number / l->grid[0] % l->grid[1]);
    b->id[2] = (uint32_t)(number / l->grid[0] / l->grid[1]);
    memcpy(b->place.block, b->id, sizeof b->id);
    memset(b->barrier, 0, sizeof b->barrier);
    b->tag = memory_tag(l->number, number);
    b->ended = b->fenced = b->acquired = 0;
    b->steps = b->progress = 0;
    const uint32_t bytes = l->function->dynamic_at + l->dynamic_shared_bytes;
    b->cluster_arrived = b->cluster_phase = 0;
    b->shared_size = bytes;
    if (!shared_begin(b->shared, bytes, b->warps, &b->place)) return 0;
    b->shared_bytes = shared_bytes(b->shared);
    for (int i = 0; i < b->warps; i++) begin_warp(&b->warp[i]);
    return 1;
}

static int all_done(const struct block *b)
{
    for (int i = 0; i < b->warps; i++)
        if (b->warp[i].state != WARP_DONE) return 0;
    return 1;
}

/* Whether a warp waits for something that nobody has done since it last looked. */
static int is_stuck(const struct block *b, const struct warp *w)
{
    if (w->state != WARP_READY) return 1;
    return w->failed_times >= STUCK_TURNS && w->failed_at == b->progress;
}

static int all_stuck(const struct block *b)
{
    for (int i = 0; i < b->warps; i++)
        if (!is_stuck(b, &b->warp[i])) return 0;
    return !shared_can_progress(b->shared);
}

static uint32_t waits_at(const struct warp *w)
{
    if (w->state != WARP_READY) return w->pc - 1;
    return w->failed_pc != NO_PC ? w->failed_pc : w->pc;
}

static void describe_waits(const struct block *b, char *text, size_t bytes)
{
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < b->warps && at < bytes; i++) {
        const struct warp *w = &b->warp[i];
        if (w->state == WARP_DONE) continue;
        const int line = b->insn[waits_at(w)].line;
        const int n = w->state == WARP_AT_BARRIER
                          ? snprintf(text + at, bytes - at, " warp %d barrier %d (line %d)", i,
                                     w->barrier, line)
                          : snprintf(text + at, bytes - at, " warp %d (line %d)", i, line);
        at += (size_t)n;
    }
}

static void report_deadlock(struct block *b, const char *what)
{
    char waits[160];
    b->ended = 1;
    for (int i = 0; i < b->warps; i++) {
        const struct warp *w = &b->warp[i];
        if (w->state == WARP_DONE) continue;
        interpret_place(w, &b->insn[waits_at(w)]);
        break;
    }
    describe_waits(b, waits, sizeof waits);
    report_fault(&b->place, VGPU_DEADLOCK, -1, "%s:%s", what, waits);
}

static void run_block(struct block *b)
{
    while (!b->ended && !all_done(b)) {
        for (int i = 0; i < b->warps && !b->ended; i++)
            if (b->warp[i].state == WARP_READY) b->steps += interpret_turn(&b->warp[i]);
        if (b->ended || all_done(b)) break;
        if (all_stuck(b))
            report_deadlock(b, "every living warp waits");
        else if (b->steps > BLOCK_STEPS)
            report_deadlock(b, "the block does not end");
    }
}

/* ---- workers ---- */

static void add_counts(struct vgpu_counts *to, const struct vgpu_counts *from)
{
    uint64_t *a = (uint64_t *)(void *)to;
    const uint64_t *b = (const uint64_t *)(const void *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++) a[i] += b[i];
}

static void *work(void *argument)
{
    struct run *r = argument;
    struct block b;
    int good = block_open(&b, r->launch);
    while (good) {
        const uint64_t number = atomic_fetch_add(&r->next, 1);
        if (number >= r->blocks || atomic_load(&r->failed)) break;
        good = begin_block(&b, number);
        if (good) run_block(&b);
    }
    if (!good) atomic_store(&r->failed, 1);
    for (int i = 0; i < 8; i++) b.counts.warp_instructions += b.counts.by_class[i];
    pthread_mutex_lock(&r->lock);
    add_counts(r->counts, &b.counts);
    r->kinds |= b.place.kinds;
    pthread_mutex_unlock(&r->lock);
    block_close(&b);
    return NULL;
}

static int worker_count(const struct launch *l, uint64_t blocks)
{
    long n = l->threads > 0 ? l->threads : sysconf(_SC_NPROCESSORS_ONLN);
    if (n > MAX_WORKERS) n = MAX_WORKERS;
    if ((uint64_t)n > blocks) n = (long)blocks;
    return n < 1 ? 1 : (int)n;
}

int launch_run(const struct launch *wanted, struct vgpu_counts *counts, unsigned *kinds)
{
    struct launch copy = *wanted;
    const struct launch *l = &copy;
    copy.released = wanted->checks ? calloc(MEMORY_BLOCKS / 8, 1) : NULL;
    if (wanted->checks && !copy.released) return 0;
    struct run r = {.launch = l,
                    .blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2],
                    .counts = counts,
                    .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread[MAX_WORKERS];
    const int workers = worker_count(l, r.blocks);
    int started = 0;
    for (int i = 1; i < workers; i++)
        if (pthread_create(&thread[started], NULL, work, &r) == 0) started++;
    work(&r); /* this thread works too */
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    free(copy.released);
    counts->launches++;
    *kinds = r.kinds;
    return !atomic_load(&r.failed);
}
