/* ceiling.c -- what a device could do at best, measured where that is possible */
#include "ceiling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gpu_table.h"
#include "host.h"
#include "noise.h"
#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    ROUNDS = 9, /* of which the best counts: whatever disturbs only slows down */
    CACHES = 4, /* a block is so many times the last-level cache */
    LEAST_BYTES = 64 << 20,
    CHAINS = 12,   /* sums side by side: they hide an instruction's latency */
    STEPS = 40000, /* of each chain */
    LINE = 64,
};

#define ROUNDS_S 0.2 /* and for so long */

static size_t block_bytes(const struct qrt_device *d)
{
    const uint64_t most = d->info.memory_bytes / 8;
    uint64_t bytes = CACHES * d->cache_bytes;
    if (bytes < LEAST_BYTES) bytes = LEAST_BYTES;
    return (size_t)(bytes < most ? bytes : most) / (1 << 20) * (1 << 20);
}

/* ---- a CPU ---- */

/* Work for all threads at once; each does the same, on its own piece of memory. */
struct crew {
    struct pool *pool;
    void (*work)(const char *piece, size_t bytes);
    char *block;
    size_t piece_bytes;
};

static void do_part(void *user, int part)
{
    const struct crew *c = user;
    c->work(c->block + (size_t)part * c->piece_bytes, c->piece_bytes);
}

static double best_seconds(struct crew *c)
{
    const double end = host_seconds() + ROUNDS_S;
    double best = INFINITY;
    for (int round = 0; round < ROUNDS || host_seconds() < end; round++) {
        const double start = host_seconds();
        pool_run(c->pool, pool_threads(c->pool), do_part, c);
        best = fmin(best, host_seconds() - start);
    }
    return best;
}

#if defined(__x86_64__)
#define FOR_AVX2   __attribute__((target("avx2,fma")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512bw")))
#define FOR_VNNI   __attribute__((target("avx512f,avx512vnni")))

/* Several places of the piece side by side, fetched ahead: what one walk leaves to the hardware. */
FOR_AVX2 static void read_all(const char *piece, size_t bytes)
{
    enum { WALKS = 4, STEP = 128, AHEAD = 1024 };
    const size_t walk = bytes / WALKS / STEP * STEP;
    __m256i x[WALKS] = {_mm256_setzero_si256()};
    for (size_t i = 0; i < walk; i += STEP)
#pragma GCC unroll 4
        for (int w = 0; w < WALKS; w++) {
            const char *at = piece + (size_t)w * walk + i;
#pragma GCC unroll 2
            for (int line = 0; line < STEP; line += LINE)
                _mm_prefetch(at + AHEAD + line, _MM_HINT_T0); /* past the end it does nothing */
#pragma GCC unroll 4
            for (int j = 0; j < STEP; j += 32)
                x[w] = _mm256_xor_si256(x[w],
                                        _mm256_load_si256((const __m256i *)(const void *)(at + j)));
        }
#pragma GCC unroll 4
    for (int w = 0; w < WALKS; w++) __asm__ volatile("" : "+x"(x[w]));
}

/* A loop of multiply-adds in registers; the instruction is written as assembler, because it is the
 * same each time. */
#define EACH_CHAIN _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++)
#define RATE(name, attribute, vector, zero, instruction)                            \
    attribute static void name(const char *piece, size_t bytes)                     \
    {                                                                               \
        vector sum[CHAINS],                                                         \
            a = zero(); /* in registers: every index is a constant once unrolled */ \
        (void)piece, (void)bytes;                                                   \
        EACH_CHAIN sum[j] = zero();                                                 \
        for (int i = 0; i < STEPS; i++)                                             \
            EACH_CHAIN __asm__ volatile(instruction : "+v"(sum[j]) : "v"(a));       \
        EACH_CHAIN __asm__ volatile("" : : "v"(sum[j]));                            \
    }
RATE(fma_256, FOR_AVX2, __m256, _mm256_setzero_ps, "vfmadd231ps %1, %1, %0")
RATE(fma_512, FOR_AVX512, __m512, _mm512_setzero_ps, "vfmadd231ps %1, %1, %0")
RATE(i8_512, FOR_VNNI, __m512i, _mm512_setzero_si512, "vpdpbusd %1, %1, %0")
/* Without VNNI: products of bytes in pairs, then their sum. */
RATE(i8_256, FOR_AVX2, __m256i, _mm256_setzero_si256,
     "vpmaddubsw %1, %1, %%ymm15\n\tvpaddw %%ymm15, %0, %0")

static int always(void) { return 1; }
static int has_avx512(void) { return __builtin_cpu_supports("avx512bw") != 0; }
static int has_vnni(void) { return __builtin_cpu_supports("avx512vnni") != 0; }

/* The last one that the processor has counts. */
static const struct {
    enum ceiling_unit unit;
    int ops; /* of an instruction (a pair of them) */
    int (*is_there)(void);
    void (*work)(const char *piece, size_t bytes);
} rates[] = {
    {CEILING_F32, 16, always, fma_256},
    {CEILING_F32, 32, has_avx512, fma_512},
    {CEILING_I8, 64, always, i8_256},
    {CEILING_I8, 128, has_vnni, i8_512},
};
enum { RATE_COUNT = sizeof rates / sizeof *rates };

static void measure_crew(struct crew *c, struct ceiling *out)
{
    const double threads = pool_threads(c->pool);
    c->work = read_all;
    out->bytes_s = threads * (double)c->piece_bytes / best_seconds(c);
    for (int i = 0; i < RATE_COUNT; i++) {
        if (!rates[i].is_there()) continue;
        c->work = rates[i].work;
        out->ops_s[rates[i].unit] =
            threads * (double)rates[i].ops * CHAINS * STEPS / best_seconds(c);
    }
    snprintf(out->memory_source, sizeof out->memory_source, "measured: %.0f threads read", threads);
    snprintf(out->ops_source, sizeof out->ops_source, "measured: multiply-adds in registers");
}

static qrt_status measure_cpu(struct qrt_device *d, struct ceiling *out)
{
    struct crew crew = {.block = NULL};
    TRY(pool_open(d->rt, d->info.processors, &crew.pool));
    const size_t threads = (size_t)pool_threads(crew.pool), bytes = block_bytes(d);
    crew.piece_bytes = bytes / threads / LINE / 2 * (2 * LINE);
    void *block = NULL;
    const qrt_status status = d->ops->alloc(d, bytes, &block);
    crew.block = block;
    if (status == QRT_OK) {
        memset(block, 1, bytes);
        measure_crew(&crew, out);
        d->ops->free(d, block);
    }
    pool_close(crew.pool);
    return status;
}
#else
static qrt_status measure_cpu(struct qrt_device *d, struct ceiling *out)
{
    (void)out;
    return error_set(QRT_E_ARCH, "%s: no ceilings are known for it", d->info.name);
}
#endif

/* ---- a GPU ---- */

static qrt_status time_copy(struct qrt_device *d, char *block, size_t bytes, double *best)
{
    *best = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double seconds;
        TRY(d->ops->mark(d, 0));
        TRY(d->ops->copy(d, block + bytes, block, bytes));
        TRY(d->ops->mark(d, 1));
        TRY(d->ops->elapsed(d, 0, 1, &seconds));
        *best = fmin(*best, seconds);
    }
    return QRT_OK;
}

static qrt_status read_datasheet(const struct qrt_device *d, const char *file, struct ceiling *out)
{
    struct gpus *table = malloc(sizeof *table);
    if (!table) return error_set(QRT_E_MEMORY, "no memory for the table of GPUs");
    const qrt_status status = gpu_table_load(file, table);
    const struct gpu *g = status == QRT_OK ? gpu_table_of_device(table, d->info.name) : NULL;
    if (status == QRT_OK && !g) g = gpus_of_arch(table, &d->arch);
    if (g) {
        out->ops_s[CEILING_F16] = g->f16_ops_s;
        out->ops_s[CEILING_I8] = g->i8_ops_s;
        out->ops_s[CEILING_F8] = g->f8_ops_s;
        snprintf(out->ops_source, sizeof out->ops_source, "datasheet of %.120s", g->title);
    }
    free(table);
    return status;
}

static qrt_status measure_gpu(struct qrt_device *d, const char *gpus, struct ceiling *out)
{
    const size_t bytes = block_bytes(d) / 2;
    void *block = NULL;
    double best;
    TRY(read_datasheet(d, gpus, out));
    TRY(d->ops->alloc(d, 2 * bytes, &block));
    const qrt_status status = time_copy(d, block, bytes, &best);
    d->ops->free(d, block);
    TRY(status);
    out->bytes_s = 2 * (double)bytes / best;
    snprintf(out->memory_source, sizeof out->memory_source, "measured: copy of %zu MiB",
             bytes >> 20);
    return QRT_OK;
}

qrt_status ceiling_measure(struct qrt_device *d, const char *gpus, struct ceiling *out)
{
    *out = (struct ceiling){.bytes_s = 0};
    if (d->arch.kind == ARCH_SM) return measure_gpu(d, gpus, out);
    return measure_cpu(d, out);
}

void ceiling_raise(struct ceiling *c, const struct ceiling *other)
{
    c->bytes_s = fmax(c->bytes_s, other->bytes_s);
    for (int u = 0; u < CEILING_UNITS; u++) c->ops_s[u] = fmax(c->ops_s[u], other->ops_s[u]);
}

/* ---- against what is measured ---- */

enum ceiling_unit ceiling_unit_of(const struct op_desc *linear)
{
    switch (linear->act) {
    case ELEM_I8: return CEILING_I8;
    case ELEM_E4M3: return CEILING_F8;
    case ELEM_F32: return CEILING_F32;
    default: return CEILING_F16;
    }
}

double ceiling_floor(const struct ceiling *c, enum ceiling_unit unit, double bytes, double ops,
                     int *is_memory)
{
    const double memory = c->bytes_s > 0 ? bytes / c->bytes_s : 0;
    const double compute = c->ops_s[unit] > 0 ? ops / c->ops_s[unit] : 0;
    *is_memory = memory >= compute;
    return fmax(memory, compute);
}
