/* test_vgpu_order.c -- autotune/vgpu/shared.h against happens-before by its definition
 *
 * Random programs of accesses and synchronisations run on both the shared memory and a model of it:
 * a clock for each thread over all threads and asynchronous agents, and for each byte and thread the
 * time of its last read, write and atomic.  The model is slow and obvious, and knows nothing of
 * epochs, floors, words or lists.
 *
 * - long programs that the model calls correct give no finding
 * - the first fault of a program is found at the access where the model finds it, and is its kind
 *
 * Programs come in kinds: with barriers of the block alone, with barriers of parts, with mbarriers,
 * with bulk copies, proxies and wgmma.  Steps that the model would blame are left out until the end;
 * then the program does one that is wrong by as little as can be found.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "shared.h"

enum {
    REGION = 256, /* bytes that programs fight over, behind the barriers */
    BASE = 64,
    WARPS = 5,
    THREADS = WARPS * LANES,
    AGENTS = 64,
    SIZE = THREADS + AGENTS + 1, /* of a clock; the last is the warpgroup's wgmma */
    GROUP = SIZE - 1,
    BARRIERS = 4,
    COPIES = 256,
    FENCES = 15, /* of a program: as many as the memory of a warp */
    STEPS = 40,
};
enum program { BLOCK, PARTS, MBARRIERS, PROXIES, PROGRAMS };

/* ---- findings of the memory ---- */

static unsigned found;
static char last[256];

void report_fault(struct report_place *p, enum vgpu_fault fault, int lane, const char *format, ...)
{
    (void)p;
    (void)lane;
    va_list list;
    va_start(list, format);
    vsnprintf(last, sizeof last, format, list);
    va_end(list);
    found |= 1u << fault;
}

/* ---- the model ---- */

typedef uint32_t clock_vector[SIZE];

struct model_copy { /* cp.async or bulk, not landed */
    int live, thread, barrier, agent, is_bulk, deferred;
    uint32_t at, bytes, group;
    clock_vector clock;
};

struct model_store {
    int live, thread;
    uint32_t at, bytes, group;
};

static struct model {
    int warps;
    clock_vector clock[THREADS];
    uint32_t touched[3][REGION][SIZE]; /* by kind */
    int writer[REGION];                /* the last one */
    uint8_t pending[REGION];
    struct model_copy copy[COPIES];
    int copies, agents;
    uint32_t group[THREADS], store_group[THREADS];
    struct model_store store[COPIES];
    int stores;
    struct {
        int thread;
        uint32_t time;
    } fence[FENCES];
    int fences;
    struct {
        uint32_t count, pending, phase;
        clock_vector arriving, completed;
    } barrier[BARRIERS];
    uint32_t wgmma_open, wgmma_ended;
} m;

static unsigned blames; /* pairs of accesses that judge_byte() found unordered */

static void join(uint32_t *into, const uint32_t *from)
{
    for (int i = 0; i < SIZE; i++)
        if (from[i] > into[i]) into[i] = from[i];
}

static void tick(int t) { m.clock[t][t]++; }

static int warp_of(int t) { return t / LANES; }

/* What component c did at `time` is behind thread t; behind somebody of its warp when `whole`. */
static int behind(int t, int whole, int c, uint32_t time)
{
    if (!whole) return m.clock[t][c] >= time;
    if (c < THREADS && warp_of(c) == warp_of(t)) return 1;
    for (int l = 0; l < LANES; l++)
        if (m.clock[t / LANES * LANES + l][c] >= time) return 1;
    return 0;
}

static int conflict(enum shared_kind a, enum shared_kind b)
{
    return (a != SHARED_READ || b != SHARED_READ) && !(a == SHARED_ATOMIC && b == SHARED_ATOMIC);
}

static int fenced(int t, int whole, int writer, uint32_t time)
{
    for (int i = 0; i < m.fences; i++)
        if (m.fence[i].thread == writer && m.fence[i].time >= time &&
            behind(t, whole, writer, m.fence[i].time))
            return 1;
    return 0;
}

static unsigned judge_byte(int t, int whole, uint32_t i, enum shared_kind kind, int async)
{
    if (m.pending[i]) return 1u << VGPU_PENDING;
    unsigned faults = 0;
    for (int k = 0; k < 3; k++)
        for (int c = 0; c < SIZE && conflict(kind, (enum shared_kind)k); c++) {
            const uint32_t time = m.touched[k][i][c];
            if (!time || behind(t, whole, c, time)) continue;
            blames++;
            const int running = c == GROUP && time > m.wgmma_ended;
            faults |= 1u << (running ? VGPU_PENDING : VGPU_RACE_SHARED);
        }
    for (int j = 0; j < m.stores && kind != SHARED_READ; j++)
        if (m.store[j].live && i >= m.store[j].at && i < m.store[j].at + m.store[j].bytes)
            faults |= 1u << VGPU_PENDING;
    const int w = m.writer[i];
    const uint32_t written = m.touched[SHARED_WRITE][i][w];
    if (async && w < THREADS && behind(t, whole, w, written) && !fenced(t, whole, w, written))
        faults |= 1u << VGPU_FENCE;
    return faults;
}

static unsigned judge(int t, int whole, uint32_t at, uint32_t bytes, enum shared_kind kind,
                      int async)
{
    unsigned faults = 0;
    for (uint32_t i = 0; i < bytes; i++) faults |= judge_byte(t, whole, at + i, kind, async);
    return faults;
}

static void touch(int c, uint32_t time, uint32_t at, uint32_t bytes, enum shared_kind kind)
{
    for (uint32_t i = at; i < at + bytes; i++) {
        m.touched[kind][i][c] = time;
        if (kind == SHARED_WRITE) m.writer[i] = c;
    }
}

static void meet(const uint8_t *thread_in)
{
    clock_vector all = {0};
    for (int t = 0; t < m.warps * LANES; t++)
        if (thread_in[t]) join(all, m.clock[t]);
    for (int t = 0; t < m.warps * LANES; t++)
        if (thread_in[t]) {
            memcpy(m.clock[t], all, sizeof all);
            tick(t);
        }
}

/* Land a copy: of a wait, by its thread; of a barrier, by its agent. */
static void land(struct model_copy *copy, int by, uint32_t time)
{
    copy->live = 0;
    touch(by, time, copy->at, copy->bytes, SHARED_WRITE);
    memset(m.pending + copy->at, 0, copy->bytes);
}

static int under_way(int b)
{
    for (int i = 0; i < m.copies; i++)
        if (m.copy[i].live && m.copy[i].barrier == b) return 1;
    return 0;
}

static void end_phase(int b)
{
    for (int i = 0; i < m.copies; i++) {
        struct model_copy *copy = &m.copy[i];
        if (!copy->live || copy->barrier != b) continue;
        copy->clock[copy->agent] = 1;
        join(m.barrier[b].arriving, copy->clock);
        land(copy, copy->agent, 1);
    }
    m.barrier[b].phase++;
    m.barrier[b].pending = m.barrier[b].count;
    memcpy(m.barrier[b].completed, m.barrier[b].arriving, sizeof(clock_vector));
}

/* ---- programs: each step goes to the model and to the memory ---- */

static struct shared *s;
static struct report_place place;
static uint64_t seed, program_seed; /* now, and when the program began */
static uint32_t barrier_at[BARRIERS];

static uint32_t below(uint32_t n) { return (uint32_t)(random_word(&seed) >> 33) % n; }

static uint32_t lanes_at_random(void)
{
    switch (below(4)) {
    case 0: return 0xffffffffu;
    case 1: return 1u << below(LANES);
    case 2: return 0xffffu << below(17);
    default: return (uint32_t)random_word(&seed) | 1;
    }
}

static int ending; /* faults are welcome, and the program ends with one */

static int dares(unsigned faults) { return !faults || ending; }

/* The memory has found what the model has: nothing, or this one kind, or one of several.  1: it ends
 * here. */
static int compare(unsigned faults, int lenient, const char *step)
{
    const int agree = faults ? (found & faults) && !(found & ~faults) : !found;
    if (!agree && !(lenient && !found))
        fail_msg("program 0x%" PRIx64 ", %s: found %x, the model %x; last: %s", program_seed, step,
                 found, faults, last);
    const int over = faults != 0;
    found = 0;
    return over;
}

static int step_access(int lenient)
{
    static const uint32_t sizes[] = {1, 2, 4, 4, 4, 8, 16, 16};
    const int warp = (int)below((uint32_t)m.warps);
    const uint32_t bytes = sizes[below(8)];
    const enum shared_kind kind =
        bytes >= 4 && bytes <= 8 && below(6) == 0 ? SHARED_ATOMIC : (enum shared_kind)below(2);
    const uint32_t step = kind == SHARED_WRITE ? bytes : below(3) * bytes;
    const uint32_t span = step * (LANES - 1) + bytes;
    uint32_t mask = lanes_at_random(), address[LANES];
    const uint32_t at = below(REGION / bytes) * bytes;
    for (uint32_t l = 0; l < LANES; l++) address[l] = (at + l * step) % REGION;
    if (span > REGION) mask &= (uint32_t)((1ull << REGION / bytes) - 1); /* each place once */
    unsigned faults = 0;
    for (int l = 0; l < LANES; l++)
        if (mask >> l & 1) faults |= judge(warp * LANES + l, 0, address[l], bytes, kind, 0);
    if (!dares(faults)) return 0;
    for (int l = 0; l < LANES; l++) {
        if (mask >> l & 1)
            touch(warp * LANES + l, m.clock[warp * LANES + l][warp * LANES + l], address[l], bytes,
                  kind);
        address[l] += BASE;
    }
    uint64_t wavefronts = 0;
    shared_access(s, warp, address, mask, bytes, kind, &wavefronts);
    return compare(faults, lenient, "access");
}

/* An access of one lane that races with as little as possible. */
static int step_probe(int lenient)
{
    int thread = -1;
    uint32_t at = 0, bytes = 0;
    unsigned faults = 0, fewest = ~0u;
    enum shared_kind kind = SHARED_READ;
    for (int i = 0; i < 40; i++) {
        const int t = (int)below((uint32_t)(m.warps * LANES));
        const uint32_t size = 1u << below(3), place_at = below(REGION / size) * size;
        const enum shared_kind k = (enum shared_kind)below(size == 4 ? 3 : 2);
        blames = 0;
        const unsigned judged = judge(t, 0, place_at, size, k, 0);
        if (judged != 1u << VGPU_RACE_SHARED || blames >= fewest) continue;
        fewest = blames;
        thread = t, at = place_at, bytes = size, kind = k, faults = judged;
    }
    if (thread < 0) return 0;
    uint32_t address[LANES] = {0};
    uint64_t wavefronts = 0;
    address[thread % LANES] = at + BASE;
    shared_access(s, warp_of(thread), address, 1u << thread % LANES, bytes, kind, &wavefronts);
    return compare(faults, lenient, "probe");
}

static int step_warp_sync(int parts)
{
    const int warp = (int)below((uint32_t)m.warps);
    const uint32_t lanes = parts && below(3) == 0 ? lanes_at_random() : 0xffffffffu;
    uint8_t in[THREADS] = {0};
    for (int l = 0; l < LANES; l++) in[warp * LANES + l] = lanes >> l & 1;
    meet(in);
    shared_warp_sync(s, warp, lanes);
    return 0;
}

static int step_barrier(int parts)
{
    const uint32_t all = (1u << m.warps) - 1;
    const uint32_t warps = parts && below(2) ? (below(all) + 1) & all : all;
    uint8_t in[THREADS] = {0};
    for (int t = 0; t < m.warps * LANES; t++) in[t] = warps >> warp_of(t) & 1;
    meet(in);
    shared_barrier(s, warps);
    return 0;
}

static struct model_copy *new_copy(int t, uint32_t at, uint32_t bytes, int barrier)
{
    if (m.copies == COPIES || (barrier >= 0 && m.agents == AGENTS)) return NULL;
    struct model_copy *copy = &m.copy[m.copies++];
    *copy = (struct model_copy){
        .live = 1, .thread = t, .barrier = barrier, .at = at, .bytes = bytes, .group = m.group[t]};
    if (barrier >= 0) copy->agent = THREADS + m.agents++;
    memset(m.pending + at, 1, bytes);
    return copy;
}

/* cp.async of some lanes, to neighbouring places. */
static int step_copy(int barriers)
{
    static const char data[16];
    const int warp = (int)below((uint32_t)m.warps), lane = (int)below(LANES);
    const uint32_t bytes = 4u << below(3), at = below(REGION / bytes) * bytes;
    const int t = warp * LANES + lane, b = barriers && below(2) ? (int)below(BARRIERS) : -1;
    const unsigned faults = judge(t, 0, at, bytes, SHARED_WRITE, 0);
    if (!dares(faults)) return 0;
    for (int i = 0; i < m.copies && b >= 0; i++) /* either all its copies go to barriers, or none */
        if (m.copy[i].live && m.copy[i].thread == t) return 0;
    if (!new_copy(t, at, bytes, b)) return 0;
    shared_copy_issue(s, warp, lane, at + BASE, data, bytes, bytes);
    if (b >= 0) shared_copy_arrive(s, warp, lane, barrier_at[b], 0);
    return compare(faults, 0, "cp.async");
}

static int step_copy_wait(void)
{
    const int warp = (int)below((uint32_t)m.warps), left = (int)below(3) - 1;
    const uint32_t lanes = lanes_at_random();
    if (below(2)) {
        for (int l = 0; l < LANES; l++) m.group[warp * LANES + l] += lanes >> l & 1;
        shared_copy_commit(s, warp, lanes);
        return 0;
    }
    for (int l = 0; l < LANES; l++) /* what a barrier will land is not waited for */
        for (int i = 0; i < m.copies; i++)
            if (m.copy[i].live && m.copy[i].barrier >= 0 && m.copy[i].thread == warp * LANES + l &&
                lanes >> l & 1)
                return 0;
    for (int i = 0; i < m.copies; i++) {
        struct model_copy *copy = &m.copy[i];
        const int t = copy->thread;
        if (!copy->live || warp_of(t) != warp || !(lanes >> t % LANES & 1)) continue;
        if (left < 0 || (int)copy->group < (int)m.group[t] - left) land(copy, t, m.clock[t][t]);
    }
    for (int l = 0; l < LANES && left < 0; l++) m.group[warp * LANES + l] += lanes >> l & 1;
    shared_copy_wait(s, warp, lanes, left);
    return 0;
}

static int step_arrive(void)
{
    const int warp = (int)below((uint32_t)m.warps), b = (int)below(BARRIERS);
    const uint32_t lanes = lanes_at_random();
    for (int l = 0; l < LANES; l++) {
        const int t = warp * LANES + l;
        if (!(lanes >> l & 1) || (m.barrier[b].pending == 0)) continue;
        join(m.barrier[b].arriving, m.clock[t]);
        tick(t);
        m.barrier[b].pending--;
        if (m.barrier[b].pending == 0 && !under_way(b)) end_phase(b);
        shared_mbarrier_arrive(s, warp, l, barrier_at[b], 1, 0);
    }
    return compare(0, 0, "arrive");
}

static int step_test(void)
{
    const int warp = (int)below((uint32_t)m.warps), b = (int)below(BARRIERS);
    const uint32_t lanes = lanes_at_random(), parity = (m.barrier[b].phase & 1) ^ below(2);
    for (int l = 0; l < LANES; l++) {
        if (!(lanes >> l & 1)) continue;
        if ((m.barrier[b].phase & 1) == parity && m.barrier[b].pending == 0) end_phase(b);
        const int done = (m.barrier[b].phase & 1) != parity;
        if (done) join(m.clock[warp * LANES + l], m.barrier[b].completed);
        assert_int_equal(shared_mbarrier_test(s, warp, l, barrier_at[b], parity), done);
    }
    return compare(0, 0, "test");
}

static int step_load(void)
{
    const int t = (int)below((uint32_t)(m.warps * LANES)), b = (int)below(BARRIERS);
    const uint32_t bytes = 16 * (1 + below(3)), at = below(REGION / 16 - 2) * 16;
    const unsigned faults = judge(t, 0, at, bytes, SHARED_WRITE, 1);
    if (!dares(faults)) return 0;
    struct model_copy *copy = m.barrier[b].pending ? new_copy(t, at, bytes, b) : NULL;
    if (!copy) return 0;
    memcpy(copy->clock, m.clock[t], sizeof copy->clock);
    tick(t);
    const struct shared_piece piece[2] = {{at + BASE, 16, NULL},
                                          {at + BASE + 16, bytes - 16, NULL}};
    shared_mbarrier_expect(s, warp_of(t), t % LANES, barrier_at[b], bytes);
    shared_bulk_load(s, warp_of(t), t % LANES, piece, 2, bytes, barrier_at[b]);
    return compare(faults, 0, "bulk load");
}

static int step_fence(void)
{
    const int t = (int)below((uint32_t)(m.warps * LANES));
    if (m.fences == FENCES) return 0;
    m.fence[m.fences].thread = t;
    m.fence[m.fences++].time = m.clock[t][t];
    tick(t);
    shared_proxy_fence(s, warp_of(t), 1u << t % LANES);
    return 0;
}

static int step_store(void)
{
    const int t = (int)below((uint32_t)(m.warps * LANES));
    const uint32_t bytes = 16 * (1 + below(3)), at = below(REGION / 16 - 2) * 16;
    const unsigned faults = judge(t, 0, at, bytes, SHARED_READ, 1);
    if (!dares(faults) || m.stores == COPIES) return 0;
    m.store[m.stores++] = (struct model_store){1, t, at, bytes, m.store_group[t]++};
    shared_bulk_store(s, warp_of(t), t % LANES, at + BASE, bytes);
    shared_bulk_commit(s, warp_of(t), t % LANES);
    return compare(faults, 0, "bulk store");
}

static int step_store_wait(void)
{
    if (!m.stores) return 0;
    const int t = m.store[below((uint32_t)m.stores)].thread, left = (int)below(2);
    for (int i = 0; i < m.stores; i++) {
        struct model_store *store = &m.store[i];
        if (!store->live || store->thread != t) continue;
        if ((int)store->group >= (int)m.store_group[t] - left) continue;
        store->live = 0;
        touch(t, m.clock[t][t], store->at, store->bytes, SHARED_READ);
    }
    shared_bulk_wait(s, warp_of(t), t % LANES, left);
    return 0;
}

/* The four warps of the warpgroup together. */
static int step_wgmma(void)
{
    if (m.warps < 4) return 0;
    const uint32_t at = below(REGION / 16 - 1) * 16;
    unsigned faults = 0;
    for (int w = 0; w < 4; w++) faults |= judge(w * LANES, 1, at, 32, SHARED_READ, 1);
    if (!dares(faults)) return 0;
    touch(GROUP, m.wgmma_open++, at, 32, SHARED_READ);
    for (int w = 0; w < 4; w++) shared_wgmma_read(s, w, at + BASE, 32);
    for (int w = 0; w < 4; w++) shared_wgmma_commit(s, w);
    return compare(faults, 0, "wgmma");
}

static int step_wgmma_wait(void)
{
    const int warp = (int)below(4), left = (int)below(2);
    if (m.warps < 4 || (int)m.wgmma_open - 1 - left <= 0) return 0;
    const uint32_t ended = m.wgmma_open - 1 - (uint32_t)left;
    if (ended > m.wgmma_ended) m.wgmma_ended = ended;
    for (int l = 0; l < LANES; l++)
        if (m.clock[warp * LANES + l][GROUP] < ended) m.clock[warp * LANES + l][GROUP] = ended;
    shared_wgmma_wait(s, warp, left);
    return 0;
}

static void make_barriers(void)
{
    for (uint32_t b = 0; b < BARRIERS; b++) {
        static const uint32_t counts[] = {1, 2, 32, 64};
        barrier_at[b] = 8 * b;
        m.barrier[b].count = m.barrier[b].pending = counts[below(4)];
        shared_mbarrier_init(s, 0, 0, barrier_at[b], m.barrier[b].count);
    }
    shared_proxy_fence(s, 0, 1);
}

/* Thread l of warp 0 writes 8 bytes of the region, and fences; everybody sees that. */
static void start(enum program program)
{
    memset(&m, 0, sizeof m);
    m.warps = program == PROXIES ? WARPS : 1 + (int)below(WARPS);
    m.wgmma_open = 1;
    assert_true(shared_begin(s, BASE + REGION, m.warps, &place));
    for (int t = 0; t < THREADS; t++) m.clock[t][t] = 1;
    if (program >= MBARRIERS) make_barriers();
    uint32_t address[LANES];
    uint64_t wavefronts = 0;
    for (uint32_t l = 0; l < LANES; l++) address[l] = BASE + 8 * l;
    shared_access(s, 0, address, 0xffffffffu, 8, SHARED_WRITE, &wavefronts);
    for (int l = 0; l < LANES; l++) touch(l, 1, 8 * (uint32_t)l, 8, SHARED_WRITE);
    uint8_t in[THREADS] = {0};
    memset(in, 1, (size_t)(m.warps * LANES));
    if (program == PROXIES) shared_proxy_fence(s, 0, 0xffffffffu);
    meet(in);
    shared_barrier(s, (1u << m.warps) - 1);
    for (int i = 0; i < REGION && program == PROXIES; i++) m.writer[i] = GROUP; /* fenced */
}

static int step(enum program program, int lenient)
{
    const uint32_t roll = below(100);
    if (roll < 45) return step_access(lenient);
    if (roll < 52) return step_warp_sync(program != BLOCK);
    if (roll < 56) return step_barrier(program != BLOCK);
    if (roll < 62) return step_copy(program == MBARRIERS);
    if (roll < 68) return step_copy_wait();
    if (program < MBARRIERS) return step_access(lenient);
    if (roll < 76) return step_arrive();
    if (roll < 84) return step_test();
    if (program < PROXIES) return step_test();
    if (roll < 87) return step_load();
    if (roll < 89) return step_fence();
    if (roll < 92) return step_store();
    if (roll < 95) return step_store_wait();
    if (roll < 98) return step_wgmma();
    return step_wgmma_wait();
}

static void run(enum program program, int programs)
{
    int faulty = 0;
    for (int i = 0; i < programs; i++) {
        program_seed = seed;
        ending = 0;
        start(program);
        /* Before the first order of parts the memory keeps less of who read: it may miss a race. */
        const int lenient = program == PARTS;
        int over = compare(0, 0, "start");
        const uint32_t steps = below(i % 16 ? STEPS : 10 * STEPS);
        for (uint32_t n = 0; n < steps; n++) step(program, lenient);
        ending = 1;
        for (int n = 0; n < STEPS && !over; n++)
            over = below(2) ? step_probe(lenient) : step(program, lenient);
        faulty += over;
    }
    print_message("%d programs, %d ended with a fault\n", programs, faulty);
    assert_true(faulty > programs / 2);
}

static void barriers_of_the_block(void **state)
{
    (void)state;
    run(BLOCK, 1500);
}

static void barriers_of_parts(void **state)
{
    (void)state;
    run(PARTS, 1500);
}

static void mbarriers(void **state)
{
    (void)state;
    run(MBARRIERS, 1500);
}

static void bulk_copies_proxies_and_wgmma(void **state)
{
    (void)state;
    run(PROXIES, 1500);
}

static int open_block(void **state)
{
    (void)state;
    const char *wanted = getenv("QGEN_SEED");
    seed = wanted ? strtoull(wanted, NULL, 0) : 20260801;
    s = shared_open(1);
    return s == NULL;
}

static int close_block(void **state)
{
    (void)state;
    shared_close(s);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barriers_of_the_block),
        cmocka_unit_test(barriers_of_parts),
        cmocka_unit_test(mbarriers),
        cmocka_unit_test(bulk_copies_proxies_and_wgmma),
    };
    return cmocka_run_group_tests(tests, open_block, close_block);
}
