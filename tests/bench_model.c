/* bench_model.c -- how well the cost model orders what others have measured
 *
 *     bench_model                 published times: order, and spread of predicted over measured
 *     bench_model FOLDER          and the winners of vLLM's tuner of block-scaled 8-bit kernels: JSON
 *                                 files N=..,K=..,device_name=..,dtype=..,block_shape=[128,128].json
 *                                 as in vllm/model_executor/layers/quantization/utils/configs
 *
 * The kernels are not ours: each is written down from its published structure (model_kernels.h), a
 * library's kernel as the best of a family.  Order and ratios are what can be compared; the offset
 * of the times says nothing.  docs/cost-model.md reads the output.
 */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "error.h"
#include "gpu_table.h"
#include "model_kernels.h"

enum { FAMILY_MOST = 400, FIGURES_MOST = 32, SHAPES_MOST = 4 };

static struct gpus gpus;

static double seconds_of(const struct gpu *g, const struct model_kernel *k, int M, int N, int K)
{
    struct cost c;
    cost_linear(g, arch_find(g->arch), &k->record, &k->profile, M, N, K, k->bytes_per_weight, &c);
    return c.seconds;
}

/* ---- families: what a library chooses from ---- */

/* A kernel for M rows, up to `most` of a family. */
struct family {
    struct model_kernel kernel[FAMILY_MOST];
    int rows[FAMILY_MOST]; /* at most; 0: any */
    int count;
};

static void add(struct family *f, struct model_kernel kernel, int rows)
{
    f->rows[f->count] = rows;
    f->kernel[f->count++] = kernel;
}

static void add_gemvs(struct family *f, double bits)
{
    static const int rows[] = {1, 2, 4, 8, 16, 32};
    for (int i = 0; i < 6; i++)
        for (int tiles = 1; tiles <= 4; tiles *= 2)
            for (int stages = 3; stages <= 4; stages++)
                add(f, model_gemv(rows[i], tiles, 8, stages, bits), rows[i]);
}

static void sync_tiles(struct family *f, double bits)
{
    add_gemvs(f, bits);
    for (int bm = 16; bm <= 256; bm *= 2)
        for (int bn = 64; bn <= 256; bn *= 2)
            for (int split = 1; split <= 8; split *= 2)
                for (int stages = 3; stages <= 4; stages++)
                    add(f, model_gemm(bm, bn, 8, stages, split, bits), 0);
}

static void warpgroup_tiles(struct family *f, double bits)
{
    add_gemvs(f, bits);
    for (int bm = 16; bm <= 256; bm *= 2)
        for (int consumers = 1; consumers <= 4; consumers++)
            for (int split = 1; split <= 8; split *= 2)
                for (int stages = 2; stages <= 4; stages++)
                    add(f, model_wgmma(bm, consumers, stages, split, bits), 0);
}

/* 8 warps, 4 stages, 96 KB, 128 columns up to 16 rows, 256 beyond; at most 64 rows. */
static void marlin(struct family *f, double bits)
{
    for (int bm = 16; bm <= 64; bm += 16)
        for (int split = 1; split <= 8; split *= 2) {
            struct model_kernel k = model_gemm(bm, bm == 16 ? 128 : 256, 8, 4, split, bits);
            k.record.smem_bytes = 96 * 1024;
            add(f, k, 0);
        }
}

static void marlin_turing(struct family *f, double bits)
{
    for (int bm = 16; bm <= 64; bm += 16)
        for (int bn = 64; bn <= 256; bn *= 2)
            for (int split = 1; split <= 8; split *= 2)
                add(f, model_gemm(bm, bn, 8, 2, split, bits), 0);
}

static void byte_tiles(struct family *f, enum elem_type act, int warpgroup)
{
    static const int bms[] = {16, 32, 64, 128, 256}, bns[] = {32, 64, 128, 256};
    for (int m = 0; m < 5; m++)
        for (int n = 0; n < 4; n++)
            for (int bk = 64; bk <= 128; bk += 64)
                for (int warps = 4; warps <= 8; warps *= 2)
                    for (int stages = 2; stages <= 5; stages++)
                        add(f, model_bytes(bms[m], bns[n], bk, warps, stages, warpgroup, act), 0);
}

static void fp8_warpgroup(struct family *f, double bits)
{
    (void)bits;
    byte_tiles(f, ELEM_E4M3, 1);
}

/* The same tiles, but a warp of their own copies for the others: no barrier ties these. */
static void deepgemm(struct family *f, double bits)
{
    fp8_warpgroup(f, bits);
    for (int i = 0; i < f->count; i++) f->kernel[i].profile.step.barriers = 0;
}

static void int8_sync(struct family *f, double bits)
{
    (void)bits;
    byte_tiles(f, ELEM_I8, 0);
}

static double best_of(const struct gpu *g, const struct family *f, int M, int N, int K, int *which)
{
    double best = INFINITY;
    for (int i = 0; i < f->count; i++) {
        if (f->rows[i] > 0 && M > f->rows[i]) continue;
        const double seconds = seconds_of(g, &f->kernel[i], M, N, K);
        if (seconds >= best) continue;
        best = seconds;
        if (which) *which = i;
    }
    return best;
}

/* ---- published figures ---- */

typedef void make_family(struct family *f, double bits);

struct figure {
    make_family *family;
    double bits;
    int M, N, K; /* N = 0: the set's own shapes, summed */
    double us;
};

struct published {
    const char *name, *gpu, *source;
    int shapes[SHAPES_MOST][2]; /* {N, K} */
    struct figure figures[FIGURES_MOST];
};

#define TFLOPS(f, bits, M, N, K, t)                                  \
    {                                                                \
        f, bits, M, N, K, 2e6 * (double)(M) * (N) * (K) / (t) / 1e12 \
    }
#define MARLIN(M, us, speedup) \
    {marlin, 4, M, 0, 0, us}, { sync_tiles, 16, M, 0, 0, (us) * (speedup) }

static const struct published published[] = {
    {.name = "Marlin W4A16 and torch f16, layers of Llama 13B",
     .gpu = "a100-40gb",
     .source =
         "vllm #2497, Marlin's bench.py; the card is not named: 1.48 TB/s and 231 TFLOPS in f16 "
         "are an A100 40 GB's",
     .shapes = {{15360, 5120}, {5120, 5120}, {27136, 5120}, {5120, 13568}},
     .figures = {MARLIN(1, 135.4, 3.12), MARLIN(8, 136.2, 3.20), MARLIN(16, 138.2, 3.19),
                 MARLIN(32, 181.0, 2.28), MARLIN(64, 287.1, 1.47), MARLIN(128, 569.1, 1.01),
                 MARLIN(256, 1134, 0.74), MARLIN(512, 2269, 0.73), MARLIN(1024, 4545, 0.66),
                 MARLIN(2048, 9073, 0.60), MARLIN(4000, 17758, 0.61)}},
    {.name = "humming W1 to W8, Marlin, torch f16; M = 1",
     .gpu = "h100",
     .source = "humming #2, 8192 x 8192",
     .figures =
         {TFLOPS(sync_tiles, 1, 1, 8192, 8192, 6.27), TFLOPS(sync_tiles, 2, 1, 8192, 8192, 5.99),
          TFLOPS(sync_tiles, 3, 1, 8192, 8192, 5.59), TFLOPS(sync_tiles, 4, 1, 8192, 8192, 4.96),
          TFLOPS(sync_tiles, 5, 1, 8192, 8192, 4.28), TFLOPS(sync_tiles, 6, 1, 8192, 8192, 3.82),
          TFLOPS(sync_tiles, 7, 1, 8192, 8192, 3.48), TFLOPS(sync_tiles, 8, 1, 8192, 8192, 3.26),
          TFLOPS(sync_tiles, 16, 1, 8192, 8192, 2.30), TFLOPS(sync_tiles, 4, 4, 8192, 8192, 19.65),
          TFLOPS(sync_tiles, 16, 4, 8192, 8192, 9.26)}},
    {.name = "Marlin W4A16 and torch f16 on Turing",
     .gpu = "rtx2080ti",
     .source = "vllm #29901, 1024 x 2048",
     .figures = {{marlin_turing, 4, 1, 1024, 2048, 5.75},
                 {marlin_turing, 4, 64, 1024, 2048, 15.0},
                 {marlin_turing, 4, 4096, 1024, 2048, 270},
                 {sync_tiles, 16, 1, 1024, 2048, 11.69},
                 {sync_tiles, 16, 64, 1024, 2048, 15.9},
                 {sync_tiles, 16, 4096, 1024, 2048, 313}}},
    {.name = "INT8 and f16 on Turing",
     .gpu = "t4",
     .source = "vllm #6996",
     .figures = {{int8_sync, 8, 1, 4096, 12288, 276.7},
                 {sync_tiles, 16, 1, 4096, 12288, 388.4},
                 {int8_sync, 8, 32, 4096, 22016, 513.5},
                 {sync_tiles, 16, 32, 4096, 22016, 951.8}}},
    {.name = "torch bf16 and FP8, Llama 3.1 8B",
     .gpu = "h100",
     .source = "vllm #17126, N = 6144 K = 4096, FP8 without the cost of quantizing x",
     .figures = {TFLOPS(warpgroup_tiles, 16, 1, 6144, 4096, 2.513),
                 TFLOPS(warpgroup_tiles, 16, 16, 6144, 4096, 39.11),
                 TFLOPS(warpgroup_tiles, 16, 64, 6144, 4096, 160.6),
                 TFLOPS(warpgroup_tiles, 16, 128, 6144, 4096, 307.9),
                 TFLOPS(warpgroup_tiles, 16, 256, 6144, 4096, 544.3),
                 TFLOPS(fp8_warpgroup, 8, 1, 6144, 4096, 5.445),
                 TFLOPS(fp8_warpgroup, 8, 16, 6144, 4096, 87.46),
                 TFLOPS(fp8_warpgroup, 8, 64, 6144, 4096, 397.0),
                 TFLOPS(fp8_warpgroup, 8, 128, 6144, 4096, 693.3),
                 TFLOPS(fp8_warpgroup, 8, 256, 6144, 4096, 956.0)}},
    {.name = "torch bf16 over M",
     .gpu = "h100",
     .source = "vllm #23280, N = 2112 K = 7168",
     .figures = {TFLOPS(warpgroup_tiles, 16, 1, 2112, 7168, 3.06),
                 TFLOPS(warpgroup_tiles, 16, 16, 2112, 7168, 49.6),
                 TFLOPS(warpgroup_tiles, 16, 64, 2112, 7168, 163),
                 TFLOPS(warpgroup_tiles, 16, 128, 2112, 7168, 276),
                 TFLOPS(warpgroup_tiles, 16, 1024, 2112, 7168, 620),
                 TFLOPS(warpgroup_tiles, 16, 4096, 2112, 7168, 716),
                 TFLOPS(warpgroup_tiles, 16, 8192, 2112, 7168, 666)}},
    {.name = "DeepGEMM FP8 over shapes",
     .gpu = "h100",
     .source = "DeepGEMM's first README, an H800: the same multiprocessors",
     .figures =
         {TFLOPS(deepgemm, 8, 64, 2112, 7168, 206), TFLOPS(deepgemm, 8, 64, 24576, 1536, 289),
          TFLOPS(deepgemm, 8, 64, 7168, 16384, 336), TFLOPS(deepgemm, 8, 64, 4096, 7168, 287),
          TFLOPS(deepgemm, 8, 128, 2112, 7168, 352), TFLOPS(deepgemm, 8, 128, 7168, 16384, 645),
          TFLOPS(deepgemm, 8, 128, 4096, 7168, 533), TFLOPS(deepgemm, 8, 4096, 2112, 7168, 1058),
          TFLOPS(deepgemm, 8, 4096, 7168, 16384, 1358),
          TFLOPS(deepgemm, 8, 4096, 4096, 7168, 1304)}},
    {.name = "Triton FP8 over M and shapes",
     .gpu = "h200",
     .source = "sglang #3893, column SGLang; below 256 rows its times are a launch's",
     .figures = {{fp8_warpgroup, 8, 256, 2304, 7168, 80.35},
                 {fp8_warpgroup, 8, 1024, 2304, 7168, 151.2},
                 {fp8_warpgroup, 8, 2048, 2304, 7168, 249.3},
                 {fp8_warpgroup, 8, 4096, 2304, 7168, 463.7},
                 {fp8_warpgroup, 8, 256, 1536, 7168, 58.3},
                 {fp8_warpgroup, 8, 1024, 1536, 7168, 101.2},
                 {fp8_warpgroup, 8, 2048, 1536, 7168, 176.1},
                 {fp8_warpgroup, 8, 4096, 1536, 7168, 295.0},
                 {fp8_warpgroup, 8, 4096, 32768, 512, 514},
                 {fp8_warpgroup, 8, 2048, 24576, 7168, 2158},
                 {fp8_warpgroup, 8, 4096, 24576, 7168, 4067}}},
};
enum { PUBLISHED = sizeof published / sizeof *published };

static double predicted_us(const struct gpu *g, const struct published *p, const struct figure *f)
{
    static struct family family;
    double seconds = 0;
    family.count = 0;
    f->family(&family, f->bits);
    if (f->N > 0) return best_of(g, &family, f->M, f->N, f->K, NULL) * 1e6;
    for (int i = 0; i < SHAPES_MOST && p->shapes[i][0] > 0; i++)
        seconds += best_of(g, &family, f->M, p->shapes[i][0], p->shapes[i][1], NULL);
    return seconds * 1e6;
}

/* Kendall's: pairs in the same order less pairs in the other, over all pairs. */
static double kendall(const double *a, const double *b, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            const double product = (a[i] - a[j]) * (b[i] - b[j]);
            sum += product > 0 ? 1 : product < 0 ? -1 : 0;
        }
    return count > 1 ? 2.0 * sum / count / (count - 1) : 1;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double *values, int count, double share)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count > 0 ? values[(int)(share * (count - 1) + 0.5)] : NAN;
}

static void print_published(const struct published *p)
{
    double measured[FIGURES_MOST], predicted[FIGURES_MOST], ratio[FIGURES_MOST];
    const struct gpu *g = gpus_find(&gpus, p->gpu);
    int count = 0;
    printf("\n%s (%s)\n  %s\n      M      N      K  bits   measured  predicted  ratio\n", p->name,
           g->title, p->source);
    for (const struct figure *f = p->figures; count < FIGURES_MOST && f->us > 0; f++, count++) {
        measured[count] = f->us;
        predicted[count] = predicted_us(g, p, f);
        ratio[count] = predicted[count] / f->us;
        printf("  %5d  %5d  %5d  %4g  %9.1f  %9.1f  %5.2f\n", f->M, f->N, f->K, f->bits, f->us,
               predicted[count], ratio[count]);
    }
    const double tau = kendall(measured, predicted, count), median = quantile(ratio, count, 0.5);
    printf("  Kendall's tau %.2f; ratios %.2f (median), %.2f .. %.2f\n", tau, median,
           quantile(ratio, count, 0), quantile(ratio, count, 1));
}

/* Where the weight-only kernel stops being faster. */
static void print_crossover(const struct published *p)
{
    const struct gpu *g = gpus_find(&gpus, p->gpu);
    printf("  speedup of 4 bits over 16, measured / predicted:");
    for (int i = 0; i + 1 < FIGURES_MOST && p->figures[i].us > 0; i += 2)
        printf("  %d: %.2f / %.2f", p->figures[i].M, p->figures[i + 1].us / p->figures[i].us,
               predicted_us(g, p, &p->figures[i + 1]) / predicted_us(g, p, &p->figures[i]));
    printf("\n");
}

/* ---- winners of a tuner ---- */

enum { DEVICES_MOST = 16, POINTS_MOST = 2000 };

/* The winners of one GPU: predicted time of the tuner's winner and of a fixed choice over that of the
 * model's own first choice; place of the winner in the model's order. */
struct device_score {
    char name[64];
    int count, in_8;
    double winner[POINTS_MOST], fixed[POINTS_MOST], median[POINTS_MOST], place[POINTS_MOST];
};
static struct device_score scores[DEVICES_MOST];

static struct device_score *score_of(const char *device, const char *type)
{
    char name[64];
    snprintf(name, sizeof name, "%.40s %.10s", device, type);
    int i = 0;
    while (i < DEVICES_MOST - 1 && scores[i].name[0] && strcmp(scores[i].name, name) != 0) i++;
    snprintf(scores[i].name, sizeof scores[i].name, "%s", name);
    return &scores[i];
}

static int number(const json_t *config, const char *key)
{
    return (int)json_integer_value(json_object_get(config, key));
}

static struct model_kernel kernel_of(const json_t *config, int warpgroup, enum elem_type act)
{
    return model_bytes(number(config, "BLOCK_SIZE_M"), number(config, "BLOCK_SIZE_N"),
                       number(config, "BLOCK_SIZE_K"), number(config, "num_warps"),
                       number(config, "num_stages"), warpgroup, act);
}

/* The tuner runs one matrix over and over: a small one is in the second-level cache. */
static struct gpu warm(const struct gpu *g, double bytes)
{
    struct gpu w = *g;
    if (bytes < 0.6 * g->l2_bytes) w.memory_bytes_s = g->l2_bytes_s;
    return w;
}

static void score_point(struct device_score *score, const struct gpu *table, const struct family *f,
                        const struct model_kernel *winner, const struct model_kernel *fixed, int M,
                        int N, int K)
{
    static double all[FAMILY_MOST];
    const struct gpu g = warm(table, (double)N * K);
    const double seconds = seconds_of(&g, winner, M, N, K);
    int count = 0, better = 0;
    for (int i = 0; i < f->count; i++) {
        all[count] = seconds_of(&g, &f->kernel[i], M, N, K);
        if (f->kernel[i].record.regs > 255 || all[count] == INFINITY) continue;
        better += all[count] < seconds * (1 - 1e-9);
        count++;
    }
    if (seconds == INFINITY || score->count == POINTS_MOST) return;
    const double median = quantile(all, count, 0.5);
    const int at = score->count++;
    score->winner[at] = seconds / all[0];
    score->fixed[at] = seconds_of(&g, fixed, M, N, K) / all[0];
    score->median[at] = median / all[0];
    score->place[at] = (double)better / count;
    score->in_8 += better < 8;
}

static void score_file(const char *folder, const char *name)
{
    int N, K;
    char device[64], type[16], path[4096];
    if (sscanf(name, "N=%d,K=%d,device_name=%63[^,],dtype=%15[^_]", &N, &K, device, type) != 4)
        return;
    const struct gpu *g = gpus_find(&gpus, device);
    if (!g) return;
    const enum elem_type act = strcmp(type, "int8") == 0 ? ELEM_I8 : ELEM_E4M3;
    const int warpgroup = arch_find(g->arch)->number >= 90;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *winners = json_load_file(path, 0, NULL);
    static struct family family;
    family.count = 0;
    byte_tiles(&family, act, warpgroup && arch_find(g->arch)->number < 120);
    const struct model_kernel fixed = model_bytes(64, 128, 128, 4, 3, warpgroup, act);
    const char *M;
    json_t *config;
    json_object_foreach(winners, M, config)
    {
        const struct model_kernel winner = kernel_of(config, warpgroup, act);
        score_point(score_of(device, type), g, &family, &winner, &fixed, atoi(M), N, K);
    }
    json_decref(winners);
}

static double share_below(const double *values, int count, double limit)
{
    int below = 0;
    for (int i = 0; i < count; i++) below += values[i] <= limit;
    return 100.0 * below / count;
}

static void print_scores(void)
{
    printf(
        "\nWinners of vLLM's tuner in the model's order of up to 320 candidates\n"
        "  time of the winner, of 64 x 128 x 128 with 3 stages, of the median candidate over the "
        "model's first choice\n"
        "  %-28s points  winner: median, <= 1.05, <= 1.25  fixed  median  place  in first 8\n",
        "GPU, type");
    for (struct device_score *s = scores; s < scores + DEVICES_MOST && s->count > 0; s++) {
        const double close = share_below(s->winner, s->count, 1.05),
                     near = share_below(s->winner, s->count, 1.25);
        printf("  %-28s %6d  %14.2f  %4.0f %%  %5.0f %%  %7.2f %7.2f  %3.0f %%  %5.0f %%\n",
               s->name, s->count, quantile(s->winner, s->count, 0.5), close, near,
               quantile(s->fixed, s->count, 0.5), quantile(s->median, s->count, 0.5),
               100 * quantile(s->place, s->count, 0.5), 100.0 * s->in_8 / s->count);
    }
}

static void score_folder(const char *folder)
{
    struct dirent **names;
    const int count = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        score_file(folder, names[i]->d_name);
        free(names[i]);
    }
    if (count >= 0) free(names);
    print_scores();
}

int main(int argc, char **argv)
{
    if (gpu_table_load(NULL, &gpus) != QRT_OK) {
        fprintf(stderr, "%s\n", qrt_message());
        return 1;
    }
    for (int i = 0; i < PUBLISHED; i++) {
        print_published(&published[i]);
        if (i == 0) print_crossover(&published[i]);
    }
    if (argc > 1) score_folder(argv[1]);
    return 0;
}
