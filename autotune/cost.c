/* cost.c -- predicted time of a linear kernel on a GPU: a model that ranks and claims nothing
 *
 * Blocks start in the order of the grid, columns of y first, `processors * resident` at a time; such
 * a set is a round, and a launch is its rounds one after the other.  In a round each unit has a time:
 *     memory    bytes over MEMORY_SHARE of the bandwidth.  The first row of blocks reads W; a later
 *               one again only what the second-level cache could not hold.  y: once.  x, small beside
 *               W or hidden behind the tensor cores, is added to the launch's bytes alone: a launch
 *               is not faster than all its bytes.
 *     cache     what the blocks load and store, over the cache's bandwidth or, on the multiprocessor
 *               with the most blocks, over L2_BYTES a clock
 *     tensor    multiply-adds of that multiprocessor over its rate; a core for each of four warps
 *     issue     its instructions over four schedulers, or those of a block's warps, each of which
 *               issues every WARP_CYCLES
 *     shared    its wavefronts, one a clock
 *     latency   of one block: its round trips, of which `stages` are under way at a time (Little's
 *               law), and its barriers.  Blocks beside it change nothing.
 * Units overlap as far as there is somebody to fill in: the round takes a norm of these times, of the
 * order OVERLAP_ONE for one block whose warps go in step, OVERLAP_MORE more for each doubling of
 * resident blocks, or of warps where no barrier ties them.  (Order 1: one after the other; infinite:
 * the slowest alone.)
 * To the rounds comes what happens once: a launch, filling and draining the first round, filling
 * each later one as far as blocks beside it do not hide it, and the second kernel of a split.
 *
 * The model is monotone: more rows, columns or K of the same kernel are never faster.  The exception
 * is a kernel that leaves its split to the runtime, which may take fewer parts, and no second kernel,
 * for more blocks.
 *
 * Sources of the constants; cycles are of the multiprocessor's clock.  B: te42kyfo/gpu-benches.
 *     MEMORY_CYCLES   B gpu-latency: 571 (A100), 650 (H100), 632 (L40) idle.  gpu-stream read with few
 *                     bytes in flight: 460 to 720
 *     L2_CYCLES       the same: 211 (A100), 266 (H100), 277 (L40); 400 to 500 in the far half of an
 *                     A100's or H100's cache
 *     MEMORY_SHARE    B gpu-stream read: 0.92 (A100), 0.97 (H100 PCIe, L40, A40)
 *     L2_BYTES        NVIDIA A100 whitepaper: 64 bytes a clock from the cache to a multiprocessor
 *     HOPPER_MMA      Luo et al., arXiv 2402.13499: mma.sync reaches 63 % of the peak of wgmma
 *     BLACKWELL_MMA   an assumption: an A100's 1024 multiply-adds of 16 bits a clock
 *     WARP_CYCLES     results are there after 4 cycles, and every other instruction needs the last
 *     LAUNCH_SECONDS  B gpu-small-kernels: 2.5 us a launch queued in a stream, 1.3 to 1.4 in a graph,
 *                     on A100 and H200
 *     CACHE_SHARE     an H100's cache is two halves that may hold the same bytes twice
 *     OVERLAP_*, BARRIER_CYCLES
 *                     chosen; docs/cost-model.md says against what
 */
#include "cost.h"

#include <math.h>
#include <stdio.h>

#include "choice.h"
#include "occupancy.h"

enum { CHUNK = 64, SCHEDULERS = 4, PART_BYTES = 4 /* f32 */ };

static const double MEMORY_SHARE = 0.92;
static const double MEMORY_CYCLES = 600, L2_CYCLES = 300, BARRIER_CYCLES = 30;
static const double L2_BYTES = 64;     /* a clock and multiprocessor */
static const double WARP_CYCLES = 2;   /* from an instruction of a warp to its next */
static const double CACHE_SHARE = 0.5; /* of the second-level cache that holds what is read again */
static const double OVERLAP_ONE = 2.5, OVERLAP_MORE = 2, OVERLAP_MOST = 6;
static const double HOPPER_MMA = 0.63, BLACKWELL_MMA = 0.25;
static const double LAUNCH_SECONDS = 2.5e-6, SECOND_SECONDS = 1.4e-6;

/* A launch: what runs where, how it is cut. */
struct launch {
    const struct gpu *gpu;
    const struct arch *arch;
    const struct entry_record *record;
    const struct profile *profile;
    double M, N, K, bytes_per_weight;
    int split, resident, warps;      /* parts of K; blocks on a multiprocessor; warps of a block */
    int64_t blocks, first, capacity; /* `first` of them read W first; `capacity` run at a time */
};

/* What a block asks of each unit; cycles and bytes. */
struct demand {
    double memory_first; /* finds nothing of W in the cache */
    double memory_again; /* of a later row of blocks */
    double cache;
    double tensor, wavefronts, issue;
    double warp;                     /* of all its warps, one after the other */
    double chain_first, chain_again; /* pass however fast the units are */
};

static double clamp(double value, double lo, double hi)
{
    return value < lo ? lo : value > hi ? hi : value;
}

static double divide_up(double a, double b) { return ceil(a / b); }

static double memory_rate(const struct gpu *g) { return MEMORY_SHARE * g->memory_bytes_s; }

/* ---- what a block asks for ---- */

/* Share of `bytes` that is no longer in the cache when it is read again. */
static double missing(const struct gpu *g, double bytes)
{
    const double kept = CACHE_SHARE * g->l2_bytes;
    return kept > 0 ? clamp(bytes / kept - 1, 0, 1) : 1;
}

/* wgmma; everything else is mma.sync. */
static int is_warpgroup(const struct launch *l) { return l->record->map.rows > 0; }

static double bytes_of(uint8_t elem) { return (double)elem_bytes((enum elem_type)elem); }

/* Multiply-adds of matrix instructions a clock and multiprocessor; 0: it has none of the type. */
static double tensor_rate(const struct launch *l)
{
    const struct gpu *g = l->gpu;
    const double ops = l->record->desc.act == ELEM_I8     ? g->i8_ops_s
                       : l->record->desc.act == ELEM_E4M3 ? g->f8_ops_s
                                                          : g->f16_ops_s;
    const double share = is_warpgroup(l)          ? 1.0
                         : l->arch->number == 90  ? HOPPER_MMA
                         : l->arch->number == 100 ? BLACKWELL_MMA
                                                  : 1.0;
    return share * ops / 2 / g->processors / g->clock_hz;
}

/* Bytes of y, or of parts of it that the cache cannot hold, that a block writes to memory. */
static double output_bytes(const struct launch *l)
{
    const double outputs = fmin(l->profile->rows, l->M) * l->profile->columns;
    if (l->split == 1) return outputs * bytes_of(l->record->desc.out);
    return outputs * PART_BYTES * missing(l->gpu, l->M * l->N * PART_BYTES * l->split);
}

/* Share of its part of W that a block reads again from memory: what the cache has lost, once for all
 * rows of blocks that run at a time. */
static double read_again(const struct launch *l)
{
    const double rows = (double)l->capacity / (double)l->first;
    return missing(l->gpu, l->N * l->K * l->bytes_per_weight) / fmax(1, rows);
}

static struct demand demand_of(const struct launch *l)
{
    const struct profile *p = l->profile;
    const struct profile_counts *once = &p->once, *step = &p->step;
    const double steps = divide_up(divide_up(l->K, CHUNK), l->split), stages = fmax(p->stages, 1);
    const double w = p->columns * steps * CHUNK * l->bytes_per_weight, y = output_bytes(l);
    const double ops = once->tensor_ops + steps * step->tensor_ops;
    const double issue = once->issue + steps * step->issue;
    const double waits = (once->barriers + steps * step->barriers) * BARRIER_CYCLES;
    return (struct demand){
        .memory_first = w + y,
        .memory_again = w * read_again(l) + y,
        .cache =
            once->load_bytes + once->store_bytes + steps * (step->load_bytes + step->store_bytes),
        .tensor = ops > 0 ? ops / tensor_rate(l) : 0,
        .wavefronts = once->wavefronts + steps * step->wavefronts,
        .issue = issue,
        .warp = issue * WARP_CYCLES,
        .chain_first = steps * MEMORY_CYCLES / stages + waits,
        .chain_again = steps * L2_CYCLES / stages + waits,
    };
}

/* ---- rounds ---- */

/* Order of the norm: what runs beside each other, blocks or warps that no barrier ties. */
static double overlap(const struct launch *l)
{
    const double groups = l->resident * (l->profile->step.barriers > 0 ? 1.0 : l->warps);
    return fmin(OVERLAP_ONE + OVERLAP_MORE * log2(groups), OVERLAP_MOST);
}

static double norm(const double unit[COST_UNITS], double order)
{
    double sum = 0;
    for (int i = 0; i < COST_UNITS; i++) sum += pow(unit[i], order);
    return pow(sum, 1 / order);
}

/* Seconds of each unit for `count` blocks at a time, `first` of which read W first. */
static void time_units(const struct launch *l, const struct demand *d, double first, double count,
                       double unit[COST_UNITS])
{
    const struct gpu *g = l->gpu;
    const double busiest = divide_up(count, g->processors);
    const double bytes = first * d->memory_first + (count - first) * d->memory_again;
    unit[COST_MEMORY] = bytes / memory_rate(g);
    unit[COST_L2] =
        fmax(count * d->cache / g->l2_bytes_s, busiest * d->cache / (L2_BYTES * g->clock_hz));
    unit[COST_TENSOR] = fmax(busiest, (double)SCHEDULERS / l->warps) * d->tensor / g->clock_hz;
    unit[COST_ISSUE] = fmax(busiest * d->issue / SCHEDULERS, d->warp / l->warps) / g->clock_hz;
    unit[COST_SHARED] = busiest * d->wavefronts / g->clock_hz;
    unit[COST_LATENCY] = (first > 0 ? d->chain_first : d->chain_again) / g->clock_hz;
}

/* Rounds from block `at` on that are alike: full ones of one kind, or a mixed or a last one. */
static int64_t alike(const struct launch *l, int64_t at, int64_t *count)
{
    const int64_t end = at < l->first ? l->first : l->blocks;
    *count = l->capacity;
    if (end - at >= l->capacity) return (end - at) / l->capacity;
    if (l->blocks - at < l->capacity) *count = l->blocks - at;
    return 1;
}

/* Filling of `times` rounds from block `at` on, where other blocks of the multiprocessor do not hide
 * it; the first round drains too. */
static double filling(const struct launch *l, int64_t at, double times)
{
    const double cycles = at < l->first ? MEMORY_CYCLES : L2_CYCLES;
    const double hidden = (at == 0 ? times - 1 : times) * cycles / l->resident;
    return (hidden + (at == 0 ? 2 * MEMORY_CYCLES : 0)) / l->gpu->clock_hz;
}

static void add_rounds(const struct launch *l, struct cost *out)
{
    const struct demand demand = demand_of(l);
    const double order = overlap(l);
    double busy = 0, all = 0;
    for (int64_t at = 0, count; at < l->blocks;) {
        const double times = (double)alike(l, at, &count);
        double unit[COST_UNITS];
        time_units(l, &demand, clamp((double)(l->first - at), 0, (double)count), (double)count,
                   unit);
        const double seconds = times * norm(unit, order);
        for (int i = 0; i < COST_UNITS; i++) out->by_unit[i] += times * unit[i];
        all += seconds;
        busy += seconds * fmin(1, (double)count / l->gpu->processors);
        out->fixed += filling(l, at, times);
        at += count * (int64_t)times;
    }
    out->by_unit[COST_MEMORY] += l->M * l->K * bytes_of(l->record->desc.act) / memory_rate(l->gpu);
    out->filled = all > 0 && all < INFINITY ? busy / all : 1;
    out->seconds = fmax(all, out->by_unit[COST_MEMORY]);
}

/* The kernel that adds the parts of K: reads them, mostly from the cache, and writes y. */
static double adding(const struct launch *l)
{
    const double outputs = l->M * l->N, parts = outputs * PART_BYTES * l->split;
    const double bytes = parts * missing(l->gpu, parts) + outputs * bytes_of(l->record->desc.out);
    return SECOND_SECONDS + parts / l->gpu->l2_bytes_s + bytes / memory_rate(l->gpu);
}

/* ---- all of it ---- */

static enum cost_unit largest(const double unit[COST_UNITS])
{
    enum cost_unit most = COST_MEMORY;
    for (int i = 0; i < COST_UNITS; i++)
        if (unit[i] > unit[most]) most = (enum cost_unit)i;
    return most;
}

void cost_linear(const struct gpu *g, const struct arch *a, const struct entry_record *r,
                 const struct profile *p, int64_t M, int64_t N, int64_t K, double bytes_per_weight,
                 struct cost *out)
{
    const struct arch *own = arch_find(g->arch); /* may be above the kernel's */
    struct occupancy o;
    occupancy_of(own ? own : a, r, &o);
    const int64_t whole = occupancy_grid(r, M, N, K, 1);
    const int split = r->split > 0 ? r->split : choice_parts_of_k(g->processors, whole, K);
    const struct launch l = {
        .gpu = g,
        .arch = own ? own : a,
        .record = r,
        .profile = p,
        .M = (double)M,
        .N = (double)N,
        .K = (double)K,
        .bytes_per_weight = bytes_per_weight,
        .split = split,
        .resident = o.blocks,
        .warps = o.blocks > 0 ? o.warps / o.blocks : 0,
        .blocks = occupancy_grid(r, M, N, K, split),
        .first = occupancy_grid(r, 1, N, K, split),
        .capacity = (int64_t)g->processors * o.blocks,
    };
    *out = (struct cost){
        .seconds = INFINITY, .bound = COST_LATENCY, .blocks = l.blocks, .resident = o.blocks};
    if (o.blocks == 0) return;
    out->waves = (double)l.blocks / (double)l.capacity;
    out->fixed = LAUNCH_SECONDS + (split > 1 ? adding(&l) : 0);
    add_rounds(&l, out);
    out->seconds += out->fixed;
    out->bound = largest(out->by_unit);
}

/* ---- in words ---- */

const char *cost_unit_name(enum cost_unit u)
{
    static const char *const names[COST_UNITS] = {
        "memory", "second-level cache", "tensor cores", "issue slots", "shared memory", "latency",
    };
    return u < COST_UNITS ? names[u] : "?";
}

static enum cost_unit second(const struct cost *c)
{
    double unit[COST_UNITS];
    for (int i = 0; i < COST_UNITS; i++) unit[i] = i == (int)c->bound ? -1 : c->by_unit[i];
    return largest(unit);
}

static void explain_alone(const struct cost *c, char *text, size_t bytes)
{
    const enum cost_unit next = second(c);
    snprintf(text, bytes,
             "%s: %.1f of the model's %.1f us, then %s with %.1f, fixed %.1f; %lld blocks, %d on a "
             "multiprocessor, %.2f waves, %.0f %% filled.",
             cost_unit_name(c->bound), c->by_unit[c->bound] * 1e6, c->seconds * 1e6,
             cost_unit_name(next), c->by_unit[next] * 1e6, c->fixed * 1e6, (long long)c->blocks,
             c->resident, c->waves, c->filled * 100);
}

void cost_explain(const struct cost *c, const struct cost *other, char *text, size_t bytes)
{
    if (c->seconds == INFINITY) {
        snprintf(text, bytes,
                 c->resident == 0 ? "Not one block fits a multiprocessor."
                                  : "The GPU has no matrix instruction of this type.");
        return;
    }
    explain_alone(c, text, bytes);
    if (!other) return;
    size_t used = 0;
    while (used < bytes && text[used]) used++;
    if (other->seconds == INFINITY)
        snprintf(text + used, bytes - used, " The other cannot run.");
    else
        snprintf(text + used, bytes - used,
                 " The other takes %.2f times as long: %s %.1f us, fixed %.1f, %.2f waves.",
                 other->seconds / c->seconds, cost_unit_name(other->bound),
                 other->by_unit[other->bound] * 1e6, other->fixed * 1e6, other->waves);
}
