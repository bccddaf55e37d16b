/* test_decide.c -- contract of decide.h, seen through pipeline.h
 *
 * - without tables and where it may not rank, kernels are in their templates' order, without winners
 * - what is missing is ranked, kept, and the next time found: nothing is ranked or compiled
 * - each winner's kernel is among the results; only rows that are asked for come
 * - the keys of kernels do not depend on rows, shapes or who asked
 * - offline takes tables and the store; a kernel that is away is QRT_E_KERNEL
 * - rows of another state of the templates are one note, and ranked again
 * - rows measured on a device are taken for that device, before those of the arch
 * - winners ranked for a GPU by name are taken where that GPU is at hand, others elsewhere
 * - named shapes: winners of these alone
 * - top: more kernels for each range, the same winners
 * - no virtual GPU: one note, and the templates' order
 */
#include "pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "small_search.h"

#define REQUEST "linear.w4g64.f16.f16" /* the tables of the program have none for it */

static char folder[64], templates[96], store[96];
static int can_compile;

/* Kernels are not checked but in one run: what they compute is proved elsewhere. */
static const struct pipeline_options plain = {.ungated = 1};

static struct pipeline *open_with(const struct pipeline_options *more)
{
    struct pipeline_options o = *more;
    struct pipeline *p;
    if (!o.templates) o.templates = templates;
    if (!o.store) o.store = store;
    if (pipeline_open(&o, &p) != QRT_OK) fail_msg("%s", qrt_message());
    return p;
}

static qrt_status make_rows(const struct pipeline_options *more, int m_lo, int m_hi,
                            struct pipeline_result *out)
{
    struct pipeline *p = open_with(more);
    struct request r = {.arch = arch_find("sm_89"), .m_lo = m_lo, .m_hi = m_hi};
    assert_int_equal(op_desc_parse(REQUEST, &r.desc), QRT_OK);
    const qrt_status status = pipeline_make(p, &r, 1, out);
    pipeline_close(p);
    return status;
}

static struct pipeline_result must_make(const struct pipeline_options *more)
{
    struct pipeline_result r;
    if (make_rows(more, 1, PIPELINE_M_MAX, &r) != QRT_OK) fail_msg("%s", qrt_message());
    return r;
}

static int make_folder(void **state)
{
    (void)state;
    struct compiler *compiler;
    strcpy(folder, "/tmp/qgen-decide-XXXXXX");
    setenv("QGEN_VGPU", BINARY_DIR "/libqgen_vgpu.so", 1);
    if (!mkdtemp(folder) || compile_open(&compiler) != QRT_OK) return -1;
    can_compile = compile_need(compiler, arch_find("sm_89")) == QRT_OK;
    if (!can_compile) fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
    compile_close(compiler);
    snprintf(templates, sizeof templates, "%s/templates", folder);
    snprintf(store, sizeof store, "%s/store", folder);
    small_search_write(templates, "");
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void tables_only_without_tables(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_result r = must_make(&plain);
    assert_int_equal(r.winner_count, 0);
    assert_int_equal(r.ranking_count, 0);
    assert_true(r.count >= 2);
    assert_int_equal(r.kernels[0].entry.record.m_lo, 1);
    pipeline_result_free(&r);
}

static int has_kernel(const struct pipeline_result *r, const uint8_t key[ENTRY_KEY_BYTES])
{
    int found = 0;
    for (size_t i = 0; i < r->count; i++)
        found += memcmp(r->kernels[i].entry.key, key, ENTRY_KEY_BYTES) == 0;
    return found;
}

static void what_is_missing_is_ranked_once(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_options o = plain;
    o.rank = DECIDE_MISSING;
    o.ungated = 0; /* winners pass the gate */
    struct pipeline_result first = must_make(&o), again = must_make(&o);
    assert_int_equal(first.ranking_count, 1);
    assert_true(first.winner_count > 11);
    assert_true(first.compiled > 0);
    assert_string_equal(first.note, "");
    assert_int_equal(again.ranking_count, 0);
    assert_int_equal(again.compiled, 0);
    assert_int_equal(again.count, first.count);
    assert_int_equal(again.winner_count, first.winner_count);
    for (size_t i = 0; i < first.winner_count; i++) {
        const struct device_winner *w = &first.winners[i];
        assert_int_equal(has_kernel(&first, w->key), 1);
        assert_int_equal(w->order, 1);
        assert_int_equal(w->N, first.rows[i].N);
        assert_int_equal(has_kernel(&again, w->key), 1);
    }
    for (size_t i = 0; i < first.count; i++)
        assert_int_equal(first.kernels[i].entry.record.stack_bytes, 0);
    pipeline_result_free(&first);
    pipeline_result_free(&again);
}

static void keys_are_the_same_for_all(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_result all = must_make(&plain), few;
    assert_true(all.winner_count > 0); /* tables are enough now */
    assert_int_equal(make_rows(&plain, 3, 20, &few), QRT_OK);
    assert_true(few.count < all.count);
    assert_int_equal(few.compiled, 0);
    for (size_t i = 0; i < few.count; i++)
        assert_int_equal(has_kernel(&all, few.kernels[i].entry.key), 1);
    for (size_t i = 0; i < few.winner_count; i++)
        assert_true(few.winners[i].m_lo <= 20 && few.winners[i].m_hi >= 3);
    pipeline_result_free(&few);
    static const struct shape shape = {4096, 14336};
    struct pipeline_options o = plain;
    o.shapes = &shape;
    o.shape_count = 1;
    struct pipeline_result one = must_make(&o);
    assert_true(one.winner_count > 0);
    for (size_t i = 0; i < one.winner_count; i++) {
        assert_int_equal(one.winners[i].N, 4096);
        assert_int_equal(one.winners[i].K, 14336);
        assert_int_equal(has_kernel(&all, one.winners[i].key), 1);
    }
    pipeline_result_free(&one);
    pipeline_result_free(&all);
}

static void offline_takes_what_is_there(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_options o = plain;
    char other[128], command[400];
    struct pipeline_result r;
    o.offline = 1;
    o.rank = DECIDE_MISSING;
    r = must_make(&o);
    assert_true(r.winner_count > 0);
    pipeline_result_free(&r);
    snprintf(other, sizeof other, "%s/empty", folder);
    snprintf(command, sizeof command, "mkdir -m 700 %s && cp -r %s/tuned %s", other, store, other);
    assert_int_equal(system(command), 0);
    o.store = other;
    assert_int_equal(make_rows(&o, 1, 8, &r), QRT_E_KERNEL);
}

static void stale_rows_are_passed_over(void **state)
{
    (void)state;
    if (!can_compile) skip();
    char changed[96];
    struct pipeline_options o = plain;
    snprintf(changed, sizeof changed, "%s/changed", folder);
    small_search_write(changed, "-- another state");
    o.templates = changed;
    struct pipeline_result r = must_make(&o);
    assert_int_equal(r.winner_count, 0);
    assert_non_null(strstr(r.note, "templates"));
    pipeline_result_free(&r);
    o.rank = DECIDE_MISSING;
    r = must_make(&o);
    assert_int_equal(r.ranking_count, 1);
    assert_true(r.winner_count > 0);
    assert_non_null(strstr(r.note, "templates"));
    pipeline_result_free(&r);
}

/* The winner for M = 4000 of any shape, as if another candidate had been measured to be it. */
static void device_rows_come_first(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_result r = must_make(&plain);
    struct winners measured = {0};
    for (size_t i = 0; i < r.winner_count && measured.count == 0; i++) {
        struct winner w = r.rows[i];
        if (w.N != 0 || w.m_hi < 4000) continue;
        w.how = WINNER_MEASURED;
        w.us = 12;
        strcpy(w.device, "NVIDIA_Test");
        strcpy(w.tune, "bm=16 bn=64 split=4 stages=3 wm=1 wn=4");
        assert_int_equal(winners_add(&measured, &w), QRT_OK);
    }
    const size_t of_arch = r.winner_count;
    pipeline_result_free(&r);
    assert_int_equal(measured.count, 1);
    assert_int_equal(winners_keep(store, &measured), QRT_OK);
    struct pipeline_options o = plain;
    static const struct {
        const char *device;
        size_t more;
    } cases[] = {{NULL, 0}, {"NVIDIA_Other", 0}, {"NVIDIA_Test", 1}, {"*", 1}};
    for (int i = 0; i < 4; i++) {
        o.device = cases[i].device;
        r = must_make(&o);
        assert_int_equal(r.winner_count, of_arch + cases[i].more);
        const struct device_winner *last = &r.winners[r.winner_count - 1];
        assert_int_equal(last->order, cases[i].more ? 0 : 1);
        assert_int_equal(has_kernel(&r, last->key), 1);
        pipeline_result_free(&r);
    }
    winners_free(&measured);
}

static void top_adds_kernels(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_options o = plain;
    struct pipeline_result one = must_make(&plain);
    o.top = 3;
    o.rank = DECIDE_MISSING;
    struct pipeline_result three = must_make(&o);
    assert_true(three.count > one.count);
    assert_int_equal(three.winner_count, one.winner_count);
    for (size_t i = 0; i < one.count; i++)
        assert_int_equal(has_kernel(&three, one.kernels[i].entry.key), 1);
    pipeline_result_free(&one);
    pipeline_result_free(&three);
}

static void gpus_have_rows_of_their_own(void **state)
{
    (void)state;
    if (!can_compile) skip();
    struct pipeline_options o = plain;
    struct pipeline_result of_arch = must_make(&plain), of_gpu, at_hand, elsewhere;
    o.gpu = "l4";
    o.rank = DECIDE_MISSING;
    of_gpu = must_make(&o);
    assert_int_equal(of_gpu.ranking_count, 1);
    assert_string_not_equal(of_gpu.rows[0].signature, of_arch.rows[0].signature);
    o = plain;
    o.device = "NVIDIA_L4";
    at_hand = must_make(&o);
    assert_string_equal(at_hand.rows[0].signature, of_gpu.rows[0].signature);
    assert_int_equal(at_hand.winner_count, of_gpu.winner_count);
    o.device = "NVIDIA_GeForce_RTX_4090";
    elsewhere = must_make(&o);
    assert_string_equal(elsewhere.rows[0].signature, of_arch.rows[0].signature);
    pipeline_result_free(&of_arch);
    pipeline_result_free(&of_gpu);
    pipeline_result_free(&at_hand);
    pipeline_result_free(&elsewhere);
}

static void without_a_virtual_gpu(void **state)
{
    (void)state;
    if (!can_compile) skip();
    char other[128];
    struct pipeline_options o = plain;
    snprintf(other, sizeof other, "%s/unvirtual", folder);
    o.store = other;
    o.rank = DECIDE_MISSING;
    setenv("QGEN_VGPU", "/nowhere/libqgen_vgpu.so", 1);
    struct pipeline_result r = must_make(&o);
    setenv("QGEN_VGPU", BINARY_DIR "/libqgen_vgpu.so", 1);
    assert_non_null(strstr(r.note, "no ranking"));
    assert_non_null(strstr(r.note, "/nowhere"));
    assert_int_equal(r.winner_count, 0);
    assert_true(r.count >= 2);
    pipeline_result_free(&r);
    o.gpu = "voodoo2";
    assert_int_equal(make_rows(&o, 1, 8, &r), QRT_E_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_only_without_tables),
        cmocka_unit_test(what_is_missing_is_ranked_once),
        cmocka_unit_test(keys_are_the_same_for_all),
        cmocka_unit_test(offline_takes_what_is_there),
        cmocka_unit_test(top_adds_kernels),
        cmocka_unit_test(stale_rows_are_passed_over),
        cmocka_unit_test(device_rows_come_first),
        cmocka_unit_test(gpus_have_rows_of_their_own),
        cmocka_unit_test(without_a_virtual_gpu),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
