/* test_gpu.c -- contract of gpu.h
 *
 * - the table carried inside the program parses; every GPU has a source, every price a date
 * - its figures agree with each other: tensor peak = processors * operations a clock * clock, with the
 *   rate of the architecture and, for sums in f32, half of it on GeForce cards; 8-bit rates are twice
 *   the rate of f16 (four times where only sums in f32 are halved); shared memory is the architecture's
 * - an L2 is faster than the memory behind it, and says who measured it or that it is an estimate
 * - the figures that plans are built on: A100, H100 and RTX 4090
 * - found by name without regard to case, blanks, dashes, NVIDIA and GeForce; by other names; else NULL
 * - every GPU architecture of arch.h has a GPU that runs its kernels; sm_90 falls back to sm_90a's
 * - refused with file and line: unknown keys, missing ones, doubled ones, bad numbers, a price without
 *   date, no block, two GPUs of a name, an unknown arch, texts too long, NUL bytes, an empty file
 */
#include "gpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "error.h"
#include "helpers.h"

static struct gpus table;

static int read_table(void **state)
{
    (void)state;
    const struct embedded_file *f = embed_find("autotune/gpus.txt");
    if (!f) return -1;
    return gpus_parse(f->text, f->bytes, f->name, &table) == QRT_OK ? 0 : -1;
}

static const struct gpu *gpu(const char *name)
{
    const struct gpu *g = gpus_find(&table, name);
    if (!g) fail_msg("no GPU %s", name);
    return g;
}

static void sources_are_said(void **state)
{
    (void)state;
    assert_true(table.count >= 16);
    for (size_t i = 0; i < table.count; i++) {
        const struct gpu *g = &table.items[i];
        assert_true(strlen(g->source) > 8);
        assert_true(strlen(g->l2_source) > 8);
        if (g->price_hour > 0) assert_true(atoi(g->price_date) >= 2024);
    }
}

/* Multiply-adds of f16 a clock and multiprocessor, from the whitepapers: tensor cores times the
 * products of each. */
static const struct {
    const char *name;
    int f16, i8_over_f16, f8_over_f16;
} rates[] = {
    {"t4", 8 * 64, 2, 0},           {"rtx2080ti", 8 * 64 / 2, 4, 0},
    {"a100", 4 * 256, 2, 0},        {"a100-40gb", 4 * 256, 2, 0},
    {"a40", 4 * 128, 2, 0},         {"a10", 4 * 128, 2, 0},
    {"rtx3090", 4 * 128 / 2, 4, 0}, {"rtx4090", 4 * 128 / 2, 4, 2},
    {"rtx6000ada", 4 * 128, 2, 2},  {"l4", 4 * 128, 2, 2},
    {"l40s", 4 * 128, 2, 2},        {"h100", 4 * 512, 2, 2},
    {"h100-pcie", 4 * 512, 2, 2},   {"h20", 512, 2, 2},
    {"h200", 4 * 512, 2, 2},        {"b200", 4 * 1024, 2, 2},
    {"rtx5090", 4 * 128 / 2, 4, 2},
};
enum { RATES = sizeof rates / sizeof *rates };

static void within(double got, double expected, double share)
{
    if (fabs(got / expected - 1) > share) fail_msg("%g, expected %g", got, expected);
}

static void figures_agree(void **state)
{
    (void)state;
    assert_int_equal(table.count, RATES);
    for (size_t i = 0; i < RATES; i++) {
        const struct gpu *g = gpu(rates[i].name);
        within(g->f16_ops_s, g->processors * 2.0 * rates[i].f16 * g->clock_hz, 0.02);
        within(g->i8_ops_s, g->f16_ops_s * rates[i].i8_over_f16, 0.02);
        if (rates[i].f8_over_f16)
            within(g->f8_ops_s, g->f16_ops_s * rates[i].f8_over_f16, 0.02);
        else
            assert_true(g->f8_ops_s == 0);
        assert_true(g->smem_bytes == arch_find(g->arch)->smem_sm_bytes);
    }
}

static void l2_is_faster(void **state)
{
    (void)state;
    for (size_t i = 0; i < table.count; i++) {
        const struct gpu *g = &table.items[i];
        assert_true(g->l2_bytes_s > 1.2 * g->memory_bytes_s);
        assert_true(strncmp(g->l2_source, "estimate: ", 10) == 0 ||
                    strstr(g->l2_source, "gpu-l2-cache") || strstr(g->l2_source, "arXiv"));
    }
}

static void known_figures(void **state)
{
    (void)state;
    assert_true(gpu("a100")->memory_bytes_s == 2039e9 && gpu("a100")->f16_ops_s == 312e12);
    assert_true(gpu("h100")->memory_bytes_s == 3350e9 && gpu("h100")->f8_ops_s == 1979e12);
    assert_true(gpu("4090")->memory_bytes_s == 1008e9 && gpu("4090")->processors == 128);
    assert_string_equal(gpu("h200")->arch, "sm_90a");
}

static void found_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"rtx4090",
                                        "RTX 4090",
                                        "rtx-4090",
                                        "4090",
                                        "NVIDIA GeForce RTX 4090",
                                        "NVIDIA_GeForce_RTX_4090"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_ptr_equal(gpus_find(&table, names[i]), gpu("rtx4090"));
    assert_ptr_equal(gpus_find(&table, "NVIDIA H100 80GB HBM3"), gpu("h100"));
    assert_ptr_equal(gpus_find(&table, "NVIDIA A100-SXM4-80GB"), gpu("a100"));
    assert_null(gpus_find(&table, "rtx409"));
    assert_null(gpus_find(&table, "h1000"));
    assert_null(gpus_find(&table, ""));
    assert_null(gpus_find(&table, "NVIDIA"));
}

static void stands_for_arch(void **state)
{
    (void)state;
    for (const struct arch *a = arch_table(); a->name[0]; a++) {
        const struct gpu *g = gpus_of_arch(&table, a);
        if (a->kind != ARCH_SM) {
            assert_null(g);
            continue;
        }
        assert_non_null(g);
        assert_true(arch_runs_on(a, arch_find(g->arch)));
    }
    assert_string_equal(gpus_of_arch(&table, arch_find("sm_90"))->name, "h100");
    assert_string_equal(gpus_of_arch(&table, arch_find("sm_80"))->name, "a100");
}

/* A block that is right, with `change` (a line) for the line that starts with `key`, "" to drop it. */
static void block(const char *key, const char *change, char *out, size_t bytes)
{
    static const char *const lines[] = {
        "gpu x1",       "title X One",    "arch sm_80", "processors 10", "clock_mhz 1000",
        "memory_mib 1", "memory_gb_s 10", "l2_mib 1",   "l2_gb_s 100",   "l2_source estimate: none",
        "f16_tops 1",   "i8_tops 2",      "f8_tops 0",  "smem_kib 164",  "source a datasheet"};
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const size_t length = strlen(key);
        const int is_it = length && strncmp(lines[i], key, length) == 0 && lines[i][length] == ' ';
        const char *line = is_it ? change : lines[i];
        used += (size_t)snprintf(out + used, bytes - used, "%s\n", line);
    }
}

static void refuses(const char *text, size_t bytes, const char *where, const char *what)
{
    struct gpus g;
    assert_int_equal(gpus_parse(text, bytes, "mine.txt", &g), QRT_E_FORMAT);
    const char *said = qrt_message();
    if (!strstr(said, where) || !strstr(said, what))
        fail_msg("'%s' has no '%s' or no '%s'", said, where, what);
}

static void damage_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *change, *where, *what;
    } cases[] = {
        {"title", "titel X", "mine.txt:2", "titel"},
        {"l2_mib", "", "mine.txt:15", "l2_mib"},
        {"source", "", "x1", "source"},
        {"arch", "arch sm_81", "mine.txt", "sm_81"},
        {"arch", "arch x86-64-v3", "mine.txt", "x86-64-v3"},
        {"processors", "processors 10.5", "mine.txt:4", "10.5"},
        {"processors", "processors", "mine.txt:4", "processors"},
        {"clock_mhz", "clock_mhz 1000x", "mine.txt:5", "1000x"},
        {"clock_mhz", "clock_mhz -3", "mine.txt:5", "-3"},
        {"clock_mhz", "clock_mhz inf", "mine.txt:5", "inf"},
        {"clock_mhz", "clock_mhz nan", "mine.txt:5", "nan"},
        {"memory_gb_s", "memory_gb_s 0", "mine.txt", "above 0"},
        {"source", "source a\nsource b", "mine.txt:16", "second"},
        {"source", "source a\nprice_hour 3", "x1", "price_date"},
        {"source", "source a\ngpu X-1", "mine.txt:16", "second"},
        {"gpu", "# nothing", "mine.txt:2", "gpu"},
    };
    char text[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        block(cases[i].key, cases[i].change, text, sizeof text);
        refuses(text, strlen(text), cases[i].where, cases[i].what);
    }
    char line[300];
    snprintf(line, sizeof line, "title %0*d", GPU_TEXT_BYTES, 0);
    block("title", line, text, sizeof text);
    refuses(text, strlen(text), "mine.txt:2", "title");
    refuses("gpu a\0b\n", 8, "mine.txt:1", "text");
    refuses("# empty\n", 8, "mine.txt", "no GPU");
    struct gpus g;
    block("", "", text, sizeof text);
    assert_int_equal(gpus_parse(text, strlen(text), "mine.txt", &g), QRT_OK);
    assert_int_equal(g.count, 1);
    assert_true(g.items[0].memory_bytes == 1048576 && g.items[0].f16_ops_s == 1e12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_are_said),  cmocka_unit_test(figures_agree),
        cmocka_unit_test(l2_is_faster),      cmocka_unit_test(known_figures),
        cmocka_unit_test(found_by_name),     cmocka_unit_test(stands_for_arch),
        cmocka_unit_test(damage_is_refused),
    };
    return cmocka_run_group_tests(tests, read_table, NULL);
}
