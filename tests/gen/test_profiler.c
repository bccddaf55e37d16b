/* test_profiler.c -- contract of profiler.h
 *
 * - counts of a tile are those of its definition: multiply-adds, bytes of W and x, stores of y
 * - a kernel for many rows does the same multiply-adds as one for few rows a tile at a time
 * - resources are the entry's; a kernel that needs stack is not run
 * - the virtual GPU checks again afterwards
 * - a profile is found as it was kept; one that is missing, cut, damaged or of another version is not
 */
#include "profiler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compile.h"
#include "error.h"
#include "file.h"
#include "helpers.h"
#include "prove.h"
#include "template.h"

static struct template_set *set;
static struct compiler *compiler; /* NULL: there is none */
static struct profiler *profiler;
static char folder[64];

static int open_all(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-profiler-XXXXXX");
    setenv("QGEN_VGPU", BINARY_DIR "/libqgen_vgpu.so", 1);
    if (!mkdtemp(folder) || template_set_open(NULL, &set) != QRT_OK) return -1;
    if (compile_open(&compiler) != QRT_OK || profiler_open(&profiler) != QRT_OK) return -1;
    if (compile_need(compiler, arch_find("sm_80")) == QRT_OK) return 0;
    fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
    compile_close(compiler);
    compiler = NULL;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    char command[128];
    compile_close(compiler);
    profiler_close(profiler);
    template_set_close(set);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

struct made {
    struct entry entry;
    void *bytes;
};

static struct made make(const char *name, const char *arch, const char *template, const char *tune,
                        int m_lo, int m_hi)
{
    static const uint8_t key[ENTRY_KEY_BYTES];
    struct request r = {.arch = arch_find(arch), .m_lo = m_lo, .m_hi = m_hi};
    struct candidate c;
    struct unit unit;
    struct made made;
    size_t count;
    assert_int_equal(op_desc_parse(name, &r.desc), QRT_OK);
    if (template_point(set, &r, template, tune, &c) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(unit_make(set, &c, &unit), QRT_OK);
    if (compile_entry(compiler, &c.record, &unit, key, &made.bytes, &count) != QRT_OK)
        fail_msg("%s", qrt_message());
    assert_int_equal(entry_parse(made.bytes, count, &made.entry), QRT_OK);
    unit_free(&unit);
    return made;
}

static struct profile run(const struct made *m)
{
    struct profile p;
    if (profiler_run(profiler, &m->entry, 3, &p) != QRT_OK) fail_msg("%s", qrt_message());
    return p;
}

/* A tile of bn rows of W in 4 bits, group 128: 32 bytes of codes and 2 of scale a row and chunk (a
 * scale is fetched with each chunk), and bm rows of x of 128 bytes. */
static void tiles_do_what_they_are_for(void **state)
{
    (void)state;
    if (!compiler) skip();
    struct made m = make("linear.w4g128.f16.f16", "sm_80", "cuda/gemm",
                         "bm=64 bn=128 split=1 stages=4 wm=1 wn=4", 9, 1 << 30);
    const struct profile p = run(&m);
    assert_int_equal(p.rows, 64);
    assert_int_equal(p.columns, 128);
    assert_int_equal(p.threads, 128);
    assert_int_equal(p.regs, m.entry.record.regs);
    assert_int_equal(p.stages, 3);
    assert_int_equal(p.smem_bytes, m.entry.record.smem_bytes + m.entry.record.smem_static_bytes);
    assert_true(p.step.tensor_ops == 64 * 128 * 64);
    assert_true(p.step.load_bytes == 128 * (32 + 2) + 64 * 128);
    assert_true(p.step.store_bytes == 0);
    assert_true(p.step.barriers == 1);
    assert_true(p.once.tensor_ops == 0);
    assert_true(p.once.store_bytes >= 64 * 128 * 2 && p.once.store_bytes <= 2 * 64 * 128 * 2);
    /* x once through ldmatrix: 64 rows of 128 bytes for each of 4 warps; codes and scales: more */
    assert_true(p.step.wavefronts >= 4 * 64);
    /* an mma has 2048 multiply-adds and is one instruction among others */
    assert_true(p.step.issue > 64 * 128 * 64 / 2048);
    free(m.bytes);
}

/* 8 warps take a chunk each of two tiles of 16 rows: per chunk 2 x 16 x 64 weights meet 8 columns. */
static void warps_share_k(void **state)
{
    (void)state;
    if (!compiler) skip();
    struct made m =
        make("linear.w4g128.f16.f16", "sm_80", "cuda/gemv", "stages=3 tiles=2 warps=8", 1, 1);
    const struct profile p = run(&m);
    assert_int_equal(p.rows, 1);
    assert_int_equal(p.columns, 32);
    assert_true(p.step.tensor_ops == 2 * 16 * 64 * 8);
    assert_true(p.step.load_bytes == 2 * 16 * (32 + 2) + 128);
    assert_true(p.once.store_bytes == 32 * 2);
    free(m.bytes);
}

static void bulk_copies_are_counted(void **state)
{
    (void)state;
    if (!compiler) skip();
    struct made m = make("linear.w4g128.f16.f16", "sm_90a", "cuda/gemm_sm90",
                         "bm=64 consumers=2 split=1 stages=4", 33, 1 << 30);
    const struct profile p = run(&m);
    assert_true(p.step.tensor_ops == 64 * 128 * 64);
    /* a scale comes once for both chunks of its group */
    assert_true(p.step.load_bytes == 128 * 32 + 128 + 64 * 128);
    assert_true(p.once.store_bytes >= 64 * 128 * 2);
    free(m.bytes);
}

static void stack_is_not_run(void **state)
{
    (void)state;
    if (!compiler) skip();
    struct made m =
        make("linear.w4g128.f16.f16", "sm_80", "cuda/gemv", "stages=3 tiles=2 warps=8", 1, 1);
    m.entry.record.stack_bytes = 16;
    m.entry.part[ENTRY_PTX].data = "no PTX";
    m.entry.part[ENTRY_IMAGE].bytes = 0;
    const struct profile p = run(&m);
    assert_int_equal(p.stack_bytes, 16);
    assert_true(p.step.issue == 0 && p.once.issue == 0);
    free(m.bytes);
}

/* Whatever PTX without its barriers computes, only a checker sees races. */
static char *without_barriers(const struct entry *e)
{
    char *ptx = strdup(e->part[ENTRY_PTX].data);
    assert_non_null(ptx);
    assert_non_null(strstr(ptx, "bar.sync"));
    for (char *at = ptx; (at = strstr(at, "bar.sync"));) memset(at, ' ', strcspn(at, "\n"));
    return ptx;
}

static void checks_are_on_again(void **state)
{
    (void)state;
    if (!compiler) skip();
    struct made m = make("linear.w4g128.f16.f16", "sm_80", "cuda/gemm",
                         "bm=16 bn=64 split=1 stages=3 wm=1 wn=4", 9, 1 << 30);
    struct prover *prover;
    struct check_report report = {.checked = 0};
    char *ptx = without_barriers(&m.entry);
    assert_int_equal(prove_open(CHECK_QUICK, &prover), QRT_OK);
    m.entry.part[ENTRY_PTX].data = ptx;
    run(&m); /* through another handle of the same library, as a build does */
    assert_int_equal(prove_entry(prover, &m.entry, &report, NULL), QRT_OK);
    assert_int_equal(report.failed, 1);
    int races = 0;
    for (size_t i = 0; i < report.finding_count; i++)
        races += strstr(report.findings[i].text, "race") != NULL;
    assert_true(races > 0);
    check_report_free(&report);
    prove_close(prover);
    free(ptx);
    free(m.bytes);
}

static const uint8_t key[ENTRY_KEY_BYTES] = {1, 2, 3};

static void path_of_key(char path[192])
{
    snprintf(path, 192, "%s/p/010203", folder);
    for (int i = 3; i < ENTRY_KEY_BYTES; i++) strcat(path, "00");
}

static void profiles_are_kept(void **state)
{
    (void)state;
    const struct profile p = {
        {1.0 / 3, 2, 3, 4, 5, 6}, {7, 8e15, 9, 10.5, 11, 12}, 64, 128, 256, 77, 8, 99 << 10, 4, 3};
    struct profile found;
    char place[96], path[192];
    void *text;
    size_t count;
    snprintf(place, sizeof place, "%s/p", folder);
    path_of_key(path);
    assert_false(profiler_find(place, key, &found));
    assert_int_equal(profiler_keep(place, key, &p), QRT_OK);
    assert_true(profiler_find(place, key, &found));
    assert_memory_equal(&found, &p, 2 * sizeof p.once);
    assert_int_equal(found.rows * 1000 + found.columns, 64128);
    assert_int_equal(found.threads * 1000 + found.regs, 256077);
    assert_int_equal(found.stack_bytes, 8);
    assert_int_equal(found.smem_bytes, 99 << 10);
    assert_int_equal(found.split * 10 + found.stages, 43);
    assert_int_equal(file_read(path, 4096, &text, &count), QRT_OK);
    for (size_t cut = 0; cut + 1 < count; cut += 7) {
        assert_int_equal(file_write(path, text, cut), QRT_OK);
        assert_false(profiler_find(place, key, &found));
    }
    char *damaged = text;
    strcpy(strstr(damaged, "profile 1"), "profile 2");
    assert_int_equal(file_write(path, damaged, count), QRT_OK);
    assert_false(profiler_find(place, key, &found));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_do_what_they_are_for), cmocka_unit_test(warps_share_k),
        cmocka_unit_test(bulk_copies_are_counted),    cmocka_unit_test(stack_is_not_run),
        cmocka_unit_test(checks_are_on_again),        cmocka_unit_test(profiles_are_kept),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
