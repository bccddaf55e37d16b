/* bench_x86.c -- speed of the x86 linears on one thread, beside what the processor could do
 *
 *     bench_x86 [REQUEST ...]        linear.w4g32m.i8.f32 ...; none: the common schemes
 *
 * M = 1:  bytes of the packed matrix per second, matrices so many that they come from memory, and
 *         the share of what a loop that only reads gets.
 * M > 1:  multiplications and additions per second, and the share of what the widest multiply-add
 *         loop gets (vpmaddubsw + vpaddw for int8, FMA for f32; of AVX2, also on AVX-512).
 * Each figure is the best of many runs in the thread's own processor time, and its ceiling is
 * measured right before it: a busy or slow host moves both.
 */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "check_weight.h"
#include "helpers.h"
#include "x86_kernel.h"

enum { N = 2048, K = 2048, MOST = 512, BLOCKS = K / 32, MATRIX_BYTES = 160 << 20 };

static const char *const common[] = {
    "linear.w4g32m.i8.f32",   "linear.w4g32m.k.i8.f32", "linear.w4g128z.i8.f32",
    "linear.w5g32m.k.i8.f32", "linear.w6g16.k.i8.f32",  "linear.w8g32.i8.f32",
    "linear.w2g64.i8.f32",    "linear.w4g32m.f32.f32",  "linear.bf16.f32.f32",
};

typedef void linear_function(const struct qk_linear *a, const struct qk_cpu *cpu);

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *pages(size_t bytes)
{
    void *p = aligned_alloc(2 << 20, (bytes + (2 << 20) - 1) >> 21 << 21);
    if (!p) exit(1);
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 1, bytes);
    return p;
}

/* ---- ceilings ---- */

#define FOR_AVX2 __attribute__((target("avx2,fma")))

/* Bytes per second of a loop that only reads. */
FOR_AVX2 static double read_ceiling(void)
{
    static char *block;
    if (!block) block = pages(MATRIX_BYTES);
    double best = 1e9;
    for (int round = 0; round < 3; round++) {
        const double start = seconds();
        __m256i x[4] = {_mm256_setzero_si256()};
        for (size_t i = 0; i < MATRIX_BYTES; i += 128)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                x[j] = _mm256_xor_si256(
                    x[j], _mm256_load_si256((const __m256i *)(const void *)(block + i) + j));
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) __asm__ volatile("" : "+x"(x[j]));
        const double took = seconds() - start;
        if (took < best) best = took;
    }
    return MATRIX_BYTES / best;
}

/* Sums that run side by side: as many as hide an instruction's latency and stay in registers. */
enum { INT8_CHAINS = 6, FMA_CHAINS = 10, ROUNDS = 50000 };

/* Operations per second of vpmaddubsw + vpaddw: 64 to a pair. */
FOR_AVX2 static double int8_ceiling(void)
{
    double best = 1e9;
    for (int round = 0; round < 20; round++) {
        const double start = seconds();
        __m256i sum[INT8_CHAINS] = {_mm256_setzero_si256()};
        const __m256i a = _mm256_set1_epi8(1);
        for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
            for (int j = 0; j < INT8_CHAINS; j++) {
                __m256i products; /* written as assembler: it is the same each time */
                __asm__ volatile("vpmaddubsw %1, %1, %0" : "=x"(products) : "x"(a));
                sum[j] = _mm256_add_epi16(sum[j], products);
            }
#pragma GCC unroll 10
        for (int j = 0; j < INT8_CHAINS; j++) __asm__ volatile("" : "+x"(sum[j]));
        const double took = seconds() - start;
        if (took < best) best = took;
    }
    return 64.0 * INT8_CHAINS * ROUNDS / best;
}

/* Operations per second of FMA: 16 to an instruction. */
FOR_AVX2 static double fma_ceiling(void)
{
    double best = 1e9;
    for (int round = 0; round < 20; round++) {
        const double start = seconds();
        __m256 sum[FMA_CHAINS] = {_mm256_setzero_ps()}, a = _mm256_set1_ps(0.5f);
        for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
            for (int j = 0; j < FMA_CHAINS; j++) sum[j] = _mm256_fmadd_ps(sum[j], a, a);
#pragma GCC unroll 10
        for (int j = 0; j < FMA_CHAINS; j++) __asm__ volatile("" : "+x"(sum[j]));
        const double took = seconds() - start;
        if (took < best) best = took;
    }
    return 16.0 * FMA_CHAINS * ROUNDS / best;
}

/* ---- a linear ---- */

struct subject {
    linear_function *f;
    struct qk_weight *copies; /* of one matrix, together larger than the caches */
    int copy_count;
    size_t bytes;          /* of one */
    struct qk_linear args; /* but the weight and M */
    void *scratch;
};

static void fill_weights(struct subject *s, const struct scheme *scheme)
{
    struct check_weight plain;
    size_t bytes[SECTION_COUNT];
    if (layout_bytes(FAMILY_X86, scheme, N, K, bytes) != QRT_OK ||
        check_weight_make(scheme, N, K, 0, 1, &plain) != QRT_OK)
        exit(1);
    s->bytes = 0;
    for (int i = 0; i < SECTION_COUNT; i++) s->bytes += bytes[i];
    s->copy_count = (int)(MATRIX_BYTES / s->bytes) + 1;
    s->copies = calloc((size_t)s->copy_count, sizeof *s->copies);
    for (int c = 0; c < s->copy_count; c++) {
        void *section[SECTION_COUNT] = {NULL};
        for (int i = 0; i < SECTION_COUNT; i++)
            if (bytes[i]) section[i] = memset(pages(bytes[i]), 0, bytes[i]);
        if (c == 0) check_weight_pack(&plain, FAMILY_X86, section);
        const void *first[SECTION_COUNT] = {s->copies->codes, s->copies->scales, s->copies->zeros,
                                            s->copies->supers};
        for (int i = 0; c > 0 && i < SECTION_COUNT; i++)
            if (bytes[i]) memcpy(section[i], first[i], bytes[i]);
        s->copies[c] = (struct qk_weight){.codes = section[SECTION_CODES],
                                          .scales = section[SECTION_SCALES],
                                          .zeros = section[SECTION_ZEROS],
                                          .supers = section[SECTION_SUPERS],
                                          .N = N,
                                          .K = K,
                                          .G = plain.G};
    }
    check_weight_free(&plain);
}

static void free_weights(struct subject *s)
{
    for (int c = 0; c < s->copy_count; c++) {
        const void *section[SECTION_COUNT] = {s->copies[c].codes, s->copies[c].scales,
                                              s->copies[c].zeros, s->copies[c].supers};
        for (int i = 0; i < SECTION_COUNT; i++) free((void *)(uintptr_t)section[i]);
    }
    free(s->copies);
}

static void fill_rows(struct subject *s, enum elem_type act)
{
    static float x[MOST * K], scale[MOST * BLOCKS], y[MOST * N];
    static int8_t code[MOST * K];
    static short sum[MOST * BLOCKS * 2];
    uint64_t seed = 5;
    for (int i = 0; i < MOST * K; i++) {
        x[i] = random_float(&seed);
        code[i] = (int8_t)(random_word(&seed) % 255 - 127);
        sum[i / 16] = (short)(i % 16 ? sum[i / 16] + code[i] : code[i]);
        scale[i / 32] = 0.01f;
    }
    s->args = (struct qk_linear){.x = act == ELEM_I8 ? (void *)code : (void *)x,
                                 .x_scale = scale,
                                 .x_sum = sum,
                                 .y = y,
                                 .ldx = K,
                                 .ldy = N,
                                 .split = 1};
}

/* Least seconds of a call at M rows. */
static double best_time(struct subject *s, int M)
{
    const struct qk_cpu cpu = {.parts = 1, .scratch = s->scratch};
    const int runs = M > 64 ? 3 : M > 1 ? 10 : 4 * s->copy_count;
    double best = 1e9;
    s->args.M = M;
    for (int i = 0; i < runs; i++) {
        s->args.w = s->copies[i % s->copy_count];
        const double start = seconds();
        s->f(&s->args, &cpu);
        const double took = seconds() - start;
        if (took < best) best = took;
    }
    return best;
}

static void bench(const char *request)
{
    struct entry e;
    void *image;
    struct kernel k = {0};
    struct subject s = {0};
    x86_kernel(request, x86_cpu->arch.name, 0, 1 << 30, X86_AS_SHIPPED, &e, &image);
    if (x86_cpu->ops->load(x86_cpu, &e, &k) != QRT_OK) exit(1);
    memcpy(&s.f, &k.code, sizeof s.f);
    s.scratch = pages(QK_SCRATCH_BYTES);
    fill_weights(&s, &e.record.desc.weight);
    fill_rows(&s, (enum elem_type)e.record.desc.act);
    const double read = read_ceiling(), took = best_time(&s, 1);
    printf("%-24s %-8s %6.1f %5.0f%%", request, e.record.tune, (double)s.bytes / took * 1e-9,
           100 * (double)s.bytes / took / read);
    static const int rows[] = {2, 4, 8, 16, 64, MOST};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double ceiling = e.record.desc.act == ELEM_I8 ? int8_ceiling() : fma_ceiling();
        const double rate = 2.0 * rows[i] * N * K / best_time(&s, rows[i]);
        printf("  %6.1f %3.0f%%", rate * 1e-9, 100 * rate / ceiling);
    }
    printf("\n");
    fflush(stdout);
    free_weights(&s);
    free(s.scratch);
    x86_cpu->ops->unload(x86_cpu, &k);
    free(image);
}

int main(int count, char **request)
{
    x86_setup(NULL);
    printf("%s, reads %.1f GB/s, int8 %.0f Gop/s, f32 %.0f Gop/s; W [%d, %d]\n", x86_cpu->info.name,
           read_ceiling() * 1e-9, int8_ceiling() * 1e-9, fma_ceiling() * 1e-9, N, K);
    printf("%-24s %-8s %13s  %11s  %11s  %11s  %11s  %11s  %11s\n", "", "", "M=1 GB/s", "M=2 Gop/s",
           "M=4", "M=8", "M=16", "M=64", "M=512");
    for (int i = 1; i < count; i++) bench(request[i]);
    for (size_t i = 0; count < 2 && i < sizeof common / sizeof *common; i++) bench(common[i]);
    x86_teardown(NULL);
    return 0;
}
