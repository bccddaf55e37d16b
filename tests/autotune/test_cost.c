/* test_cost.c -- contract of cost.h
 *
 * - a launch long enough takes as long as its slowest unit alone, bytes over bandwidth or multiply-adds
 *   over the tensor cores' rate, and at most two fifths more
 * - more rows, more columns, more of K of the same kernel are never faster; a split that is fixed
 *   included; the times of all units neither
 * - twice the GPU (processors, bandwidths, tensor cores) takes half of the time of a large launch,
 *   and is never slower
 * - one block more than a round costs a round; parts of K help a small grid and cost a large one
 * - more bytes in flight, more bandwidth, fewer barriers are never slower; latency bounds a kernel
 *   without copies in flight
 * - at M = 1 a matrix-vector kernel goes before the tiles, at M = 4096 the largest tiles before all;
 *   in between there is no cliff
 * - fewer bits are faster at M = 1, by at most the ratio of bytes, and hardly at M = 4096
 * - what cannot run is INFINITY: no block fits, no matrix instruction of the type
 * - the explanation names the unit that bounds, the waves and the rival, and never runs over
 */
#include "cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "helpers.h"
#include "model_kernels.h"

/* H100 SXM5 and A100 SXM4 80 GB by their datasheets. */
static const struct gpu h100 = {.name = "h100",
                                .arch = "sm_90a",
                                .processors = 132,
                                .clock_hz = 1.83e9,
                                .memory_bytes_s = 3.35e12,
                                .l2_bytes = 50e6,
                                .l2_bytes_s = 9.7e12,
                                .f16_ops_s = 989.4e12,
                                .i8_ops_s = 1979e12,
                                .f8_ops_s = 1979e12,
                                .smem_bytes = 228 * 1024};
static const struct gpu a100 = {.name = "a100",
                                .arch = "sm_80",
                                .processors = 108,
                                .clock_hz = 1.41e9,
                                .memory_bytes_s = 2.039e12,
                                .l2_bytes = 40e6,
                                .l2_bytes_s = 5.4e12,
                                .f16_ops_s = 312e12,
                                .i8_ops_s = 624e12,
                                .smem_bytes = 164 * 1024};
static const struct gpu *const gpus[] = {&a100, &h100};
enum { GPUS = 2 };

static struct cost cost_of(const struct gpu *g, const struct model_kernel *k, int64_t M, int64_t N,
                           int64_t K)
{
    struct cost c;
    cost_linear(g, arch_find(g->arch), &k->record, &k->profile, M, N, K, k->bytes_per_weight, &c);
    return c;
}

static double seconds(const struct gpu *g, const struct model_kernel *k, int64_t M, int64_t N,
                      int64_t K)
{
    return cost_of(g, k, M, N, K).seconds;
}

/* One of each kind and size; splits fixed, so that nothing is the runtime's choice. */
enum { KERNELS = 10 };
static void kernels(struct model_kernel out[KERNELS])
{
    out[0] = model_gemv(8, 1, 4, 4, 4);
    out[1] = model_gemv(8, 2, 8, 4, 4);
    out[2] = model_gemv(8, 4, 8, 3, 8);
    out[3] = model_gemm(16, 64, 4, 4, 1, 4);
    out[4] = model_gemm(16, 128, 8, 4, 4, 4);
    out[5] = model_gemm(64, 128, 8, 3, 1, 4);
    out[6] = model_gemm(128, 128, 8, 3, 2, 8);
    out[7] = model_gemm(128, 256, 8, 3, 1, 16);
    out[8] = model_gemm(32, 64, 4, 4, 1, 2);
    out[9] = model_gemm(64, 64, 4, 2, 1, 4);
    out[0].record.split = out[2].record.split = 1;
    out[1].record.split = 2;
}

/* ---- bounds ---- */

static void it_is_as_fast_as_the_slowest_unit(void **state)
{
    (void)state;
    const int64_t N = 65536, K = 16384;
    const struct model_kernel gemv = model_gemv(8, 2, 8, 4, 4);
    struct cost c = cost_of(&a100, &gemv, 1, N, K);
    const double bytes = (double)N * (double)K * gemv.bytes_per_weight / a100.memory_bytes_s;
    assert_int_equal(c.bound, COST_MEMORY);
    assert_true(c.seconds > bytes && c.seconds < 1.3 * bytes);
    const struct model_kernel gemm = model_gemm(128, 256, 8, 3, 1, 16);
    c = cost_of(&a100, &gemm, 8192, 8192, 8192);
    const double ops = 2 * 8192.0 * 8192.0 * 8192.0 / a100.f16_ops_s;
    assert_int_equal(c.bound, COST_TENSOR);
    assert_true(c.seconds > ops && c.seconds < 1.4 * ops);
    struct model_kernel warpgroup = model_wgmma(128, 2, 3, 1, 4); /* mma.sync has less of Hopper */
    const double fast = cost_of(&h100, &warpgroup, 8192, 8192, 8192).by_unit[COST_TENSOR];
    warpgroup.record.map.rows = 0;
    const double slow = cost_of(&h100, &warpgroup, 8192, 8192, 8192).by_unit[COST_TENSOR];
    assert_true(slow > 1.4 * fast && slow < 2 * fast);
}

/* ---- monotone ---- */

static void no_faster(const struct cost *less, const struct cost *more)
{
    assert_true(more->seconds >= less->seconds * (1 - 1e-12));
    for (int i = 0; i < COST_UNITS; i++)
        assert_true(more->by_unit[i] >= less->by_unit[i] * (1 - 1e-12));
}

static void more_rows_are_never_faster(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{4096, 4096},  {1024, 4096},   {28672, 4096},
                                        {4096, 14336}, {128256, 4096}, {2112, 7168}};
    struct model_kernel k[KERNELS];
    kernels(k);
    for (int g = 0; g < GPUS; g++)
        for (int i = 0; i < KERNELS; i++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                struct cost before = cost_of(gpus[g], &k[i], 1, shapes[s][0], shapes[s][1]);
                for (int64_t M = 2; M <= 4096; M += M / 24 + 1) {
                    const struct cost c = cost_of(gpus[g], &k[i], M, shapes[s][0], shapes[s][1]);
                    no_faster(&before, &c);
                    before = c;
                }
            }
}

static void more_columns_are_never_faster(void **state)
{
    (void)state;
    struct model_kernel k[KERNELS];
    kernels(k);
    for (int g = 0; g < GPUS; g++)
        for (int i = 0; i < KERNELS; i++)
            for (int64_t M = 1; M <= 4096; M *= 8) {
                struct cost before = cost_of(gpus[g], &k[i], M, 64, 4096);
                for (int64_t N = 128; N <= 32768; N += N / 256 * 16 + 64) {
                    const struct cost c = cost_of(gpus[g], &k[i], M, N, 4096);
                    no_faster(&before, &c);
                    before = c;
                }
            }
}

static void more_of_k_is_never_faster(void **state)
{
    (void)state;
    struct model_kernel k[KERNELS];
    kernels(k);
    for (int g = 0; g < GPUS; g++)
        for (int i = 0; i < KERNELS; i++)
            for (int64_t M = 1; M <= 4096; M *= 8) {
                struct cost before = cost_of(gpus[g], &k[i], M, 4096, 256);
                for (int64_t K = 288; K <= 32768; K += K / 9) {
                    const struct cost c = cost_of(gpus[g], &k[i], M, 4096, K);
                    no_faster(&before, &c);
                    before = c;
                }
            }
}

/* ---- scale ---- */

static struct gpu twice(const struct gpu *g)
{
    struct gpu two = *g;
    two.processors *= 2;
    two.memory_bytes_s *= 2;
    two.l2_bytes_s *= 2;
    two.l2_bytes *= 2;
    two.f16_ops_s *= 2;
    return two;
}

static void twice_the_gpu_takes_half(void **state)
{
    (void)state;
    struct model_kernel k[KERNELS];
    kernels(k);
    for (int i = 0; i < KERNELS; i++) {
        const struct gpu two = twice(&a100);
        for (int64_t M = 1; M <= 4096; M *= 2)
            assert_true(seconds(&two, &k[i], M, 4096, 4096) <=
                        seconds(&a100, &k[i], M, 4096, 4096) * (1 + 1e-12));
        const int64_t N = (int64_t)k[i].profile.columns * 108 * 64; /* whole rounds on both */
        const double half = seconds(&two, &k[i], 256, N, 8192),
                     whole = seconds(&a100, &k[i], 256, N, 8192);
        assert_true(half > 0.45 * whole && half < 0.55 * whole);
    }
}

static void a_block_more_than_a_round_costs_a_round(void **state)
{
    (void)state;
    const struct model_kernel k = model_gemm(128, 128, 8, 3, 1, 4);
    const struct cost one = cost_of(&a100, &k, 128, 128, 4096);
    assert_int_equal(one.blocks, 1);
    const int64_t round = (int64_t)one.resident * a100.processors;
    const struct cost full = cost_of(&a100, &k, 128, 128 * round, 4096);
    const struct cost more = cost_of(&a100, &k, 128, 128 * (round + 1), 4096);
    assert_true(full.waves == 1.0);
    assert_true(full.filled == 1.0);
    assert_true(more.waves > 1.0 && more.filled < 0.9);
    assert_true(more.seconds > full.seconds + 0.8 * (one.seconds - one.fixed));
}

static void parts_of_k_help_small_grids_only(void **state)
{
    (void)state;
    const struct model_kernel whole = model_gemm(64, 128, 8, 3, 1, 4),
                              parts = model_gemm(64, 128, 8, 3, 4, 4);
    for (int g = 0; g < GPUS; g++) { /* 8 blocks of long K; 224 * 8 */
        assert_true(seconds(gpus[g], &parts, 64, 1024, 14336) <
                    seconds(gpus[g], &whole, 64, 1024, 14336));
        assert_true(seconds(gpus[g], &parts, 512, 28672, 4096) >
                    seconds(gpus[g], &whole, 512, 28672, 4096));
    }
}

/* ---- what helps ---- */

static void what_helps_is_never_slower(void **state)
{
    (void)state;
    struct model_kernel k[KERNELS];
    kernels(k);
    struct gpu wide = h100;
    wide.memory_bytes_s *= 1.3;
    for (int i = 0; i < KERNELS; i++)
        for (int64_t M = 1; M <= 4096; M *= 4) {
            const double plain = seconds(&h100, &k[i], M, 4096, 4096);
            struct model_kernel more = k[i];
            more.profile.stages *= 2;
            assert_true(seconds(&h100, &more, M, 4096, 4096) <= plain);
            more = k[i];
            more.profile.step.barriers = 0;
            assert_true(seconds(&h100, &more, M, 4096, 4096) <= plain);
            assert_true(seconds(&wide, &k[i], M, 4096, 4096) <= plain);
        }
}

static void nothing_in_flight_is_latency(void **state)
{
    (void)state;
    struct model_kernel k = model_gemv(8, 1, 1, 2, 4);
    k.record.split = 1;
    const struct cost c = cost_of(&h100, &k, 1, 1024, 8192);
    assert_int_equal(c.bound, COST_LATENCY);
    assert_true(c.seconds > 8192.0 / 64 * 470 / h100.clock_hz); /* a round trip for each chunk */
}

/* ---- which kernel for which rows ---- */

enum { ROWS = 4, GEMVS = ROWS * 2, BMS = 4, BNS = 3, SPLITS = 3, TILES = BMS * BNS * SPLITS };
enum { RIVALS = GEMVS + TILES };
static void rivals(struct model_kernel out[RIVALS], double bits)
{
    static const int rows[ROWS] = {1, 8, 16, 32}, bm[BMS] = {16, 32, 64, 128},
                     bn[BNS] = {64, 128, 256};
    for (int i = 0; i < GEMVS; i++) {
        const int wide = rows[i / 2] > 8; /* x is read once a block */
        out[i] = model_gemv(rows[i / 2], (1 + i % 2) << wide, 8, 4 - wide, bits);
    }
    for (int i = 0; i < TILES; i++)
        out[GEMVS + i] =
            model_gemm(bm[i / BNS / SPLITS], bn[i / SPLITS % BNS], 8, 4, 1 << i % SPLITS, bits);
}

static double best_of(const struct gpu *g, const struct model_kernel *k, int count, int64_t M,
                      int64_t N, int64_t K, int *which)
{
    double best = INFINITY;
    for (int i = 0; i < count; i++) {
        if (i < GEMVS && M > k[i].profile.rows) continue;
        const double s = seconds(g, &k[i], M, N, K);
        if (s >= best) continue;
        best = s;
        *which = i;
    }
    return best;
}

static void a_token_goes_to_gemv_and_a_prompt_to_tiles(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{4096, 4096}, {6144, 4096}, {28672, 4096}, {4096, 14336}};
    struct model_kernel k[RIVALS];
    rivals(k, 4);
    for (int g = 0; g < GPUS; g++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            int token = -1, prompt = -1;
            best_of(gpus[g], k, RIVALS, 1, shapes[s][0], shapes[s][1], &token);
            best_of(gpus[g], k, RIVALS, 4096, shapes[s][0], shapes[s][1], &prompt);
            assert_int_equal(k[token].profile.rows, 1);
            assert_true(k[prompt].profile.rows * k[prompt].profile.columns >= 128 * 128);
            assert_int_equal(k[prompt].profile.split, 1);
        }
}

/* Twice the rows never cost more than to compute them in two launches.  A row more may give some
 * multiprocessor a second block, which costs twice the time; a choice of tiles makes less of it. */
static void there_is_no_cliff(void **state)
{
    (void)state;
    enum { MOST = 2048 };
    struct model_kernel k[RIVALS];
    rivals(k, 4);
    for (int g = 0; g < GPUS; g++) {
        static double best[MOST + 1];
        int which;
        for (int M = 1; M <= MOST; M++)
            best[M] = best_of(gpus[g], k, RIVALS, M, 4096, 4096, &which);
        for (int M = 2; M <= MOST; M++) assert_true(best[M] < 1.6 * best[M - 1]);
        for (int M = 1; M <= MOST / 2; M++) assert_true(best[2 * M] <= 2 * best[M]);
    }
}

static void fewer_bits_matter_for_a_token(void **state)
{
    (void)state;
    for (int g = 0; g < GPUS; g++)
        for (int bits = 2; bits <= 8; bits++) {
            const struct model_kernel less = model_gemv(8, 2, 8, 4, bits),
                                      more = model_gemv(8, 2, 8, 4, bits + 1);
            const double ratio =
                seconds(gpus[g], &more, 1, 8192, 8192) / seconds(gpus[g], &less, 1, 8192, 8192);
            assert_true(ratio > 1.02);
            assert_true(ratio < more.bytes_per_weight / less.bytes_per_weight);
        }
    const struct model_kernel w4 = model_gemm(128, 128, 8, 3, 1, 4),
                              w8 = model_gemm(128, 128, 8, 3, 1, 8);
    assert_true(seconds(&a100, &w8, 4096, 4096, 4096) <
                1.1 * seconds(&a100, &w4, 4096, 4096, 4096));
}

/* ---- what cannot run; words ---- */

static void what_cannot_run_takes_forever(void **state)
{
    (void)state;
    struct model_kernel k = model_gemm(128, 128, 8, 3, 1, 4);
    k.record.regs = 255;
    k.record.block[0] = 1024;
    assert_true(isinf(seconds(&h100, &k, 1, 4096, 4096)));
    k = model_gemm(128, 128, 8, 3, 1, 4);
    k.record.desc.act = ELEM_E4M3;
    assert_true(isinf(seconds(&a100, &k, 1, 4096, 4096)));
    k.record.desc.act = ELEM_I8;
    assert_true(seconds(&a100, &k, 1, 4096, 4096) < INFINITY);
}

static void it_is_explained(void **state)
{
    (void)state;
    const struct model_kernel gemv = model_gemv(8, 2, 8, 4, 4),
                              gemm = model_gemm(64, 128, 8, 3, 1, 4);
    const struct cost token = cost_of(&a100, &gemv, 1, 28672, 4096),
                      other = cost_of(&a100, &gemm, 1, 28672, 4096);
    char text[400], number[32];
    cost_explain(&token, NULL, text, sizeof text);
    assert_memory_equal(text, "memory", 6);
    snprintf(number, sizeof number, "%.2f waves", token.waves);
    assert_non_null(strstr(text, number));
    assert_null(strstr(text, "The other"));
    cost_explain(&token, &other, text, sizeof text);
    snprintf(number, sizeof number, "%.2f times", other.seconds / token.seconds);
    assert_non_null(strstr(text, number));
    char cut[sizeof text];
    for (size_t bytes = 1; bytes < sizeof cut; bytes++) {
        memset(cut, '#', sizeof cut);
        cost_explain(&token, &other, cut, bytes);
        assert_true(strlen(cut) < bytes);
        assert_memory_equal(cut, text, strlen(cut));
    }
    const struct cost never = {.seconds = INFINITY};
    cost_explain(&never, NULL, text, sizeof text);
    assert_non_null(strstr(text, "Not one block"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_fast_as_the_slowest_unit),
        cmocka_unit_test(more_rows_are_never_faster),
        cmocka_unit_test(more_columns_are_never_faster),
        cmocka_unit_test(more_of_k_is_never_faster),
        cmocka_unit_test(twice_the_gpu_takes_half),
        cmocka_unit_test(a_block_more_than_a_round_costs_a_round),
        cmocka_unit_test(parts_of_k_help_small_grids_only),
        cmocka_unit_test(what_helps_is_never_slower),
        cmocka_unit_test(nothing_in_flight_is_latency),
        cmocka_unit_test(a_token_goes_to_gemv_and_a_prompt_to_tiles),
        cmocka_unit_test(there_is_no_cliff),
        cmocka_unit_test(fewer_bits_matter_for_a_token),
        cmocka_unit_test(what_cannot_run_takes_forever),
        cmocka_unit_test(it_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
