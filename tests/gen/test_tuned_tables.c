/* test_tuned_tables.c -- contract of cache/tuned/ *.txt: the winners that the program carries
 *
 * - every row names a template's legal tune point, made for the rows where it wins
 * - each request of a table has a winner for every number of rows, at each default shape and any
 * - the rows are for these templates, this model and this table of GPUs; where the compiler is the one
 *   they were made with, for it as well (scripts/tuned_tables.sh makes them anew)
 * - no cliffs: one row of activations more never costs less by more than the tolerance
 * - a scheme's kernels are few, and small enough for a bundle: below 2 MB an architecture
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "embed.h"
#include "error.h"
#include "helpers.h"
#include "layout.h"
#include "profiler.h"
#include "ranking.h"
#include "tuned.h"

enum { TOLERANCE_PERCENT = 8, MOST_KERNELS = 32, MOST_BYTES = 2 << 20 };

static struct template_set *set;
static struct winners tables;

static int load_all(void **state)
{
    (void)state;
    char note[256];
    setenv("QGEN_VGPU", BINARY_DIR "/libqgen_vgpu.so", 1);
    if (template_set_open(NULL, &set) != QRT_OK || tuned_load(NULL, &tables, note) != QRT_OK) {
        fprintf(stderr, "%s\n", qrt_message());
        return -1;
    }
    return note[0] ? -1 : 0;
}

static int free_all(void **state)
{
    (void)state;
    winners_free(&tables);
    template_set_close(set);
    return 0;
}

static void rows_name_legal_points(void **state)
{
    (void)state;
    assert_true(tables.count > 0);
    for (size_t i = 0; i < tables.count; i++) {
        const struct winner *w = &tables.items[i];
        const struct request made = {w->desc, arch_find(w->arch), w->made_lo, w->made_hi};
        struct candidate c;
        if (template_point(set, &made, w->template_, w->tune, &c) != QRT_OK)
            fail_msg("row %zu: %s", i, qrt_message());
        assert_true(w->m_lo >= w->made_lo);
        assert_true(w->m_hi <= w->made_hi || w->made_hi == WINNER_ROWS_END);
    }
}

/* How far winners of the first one's request reach from M = 1 on for a shape. */
static int covered(const struct winner *like, int N, int K)
{
    for (int m = 1;;) {
        size_t i = 0;
        while (i < tables.count &&
               !(op_desc_equal(&tables.items[i].desc, &like->desc) &&
                 strcmp(tables.items[i].arch, like->arch) == 0 && tables.items[i].N == N &&
                 tables.items[i].K == K && tables.items[i].m_lo == m))
            i++;
        if (i == tables.count) return m - 1;
        if (tables.items[i].m_hi == INT_MAX) return INT_MAX;
        m = tables.items[i].m_hi + 1;
    }
}

static void all_rows_and_shapes_have_winners(void **state)
{
    (void)state;
    size_t shapes;
    const struct shape *shape = ranking_shapes(&shapes);
    for (size_t i = 0; i < tables.count; i++) {
        const struct winner *w = &tables.items[i];
        if (w->m_lo != 1 || w->N != 0) continue; /* one row stands for a request */
        assert_int_equal(covered(w, 0, 0), INT_MAX);
        for (size_t s = 0; s < shapes; s++)
            assert_int_equal(covered(w, shape[s].N, shape[s].K), INT_MAX);
    }
}

static void tables_are_of_this_state(void **state)
{
    (void)state;
    struct compiler *compiler;
    assert_int_equal(compile_open(&compiler), QRT_OK);
    for (size_t i = 0; i < tables.count; i++) {
        const struct winner *w = &tables.items[i];
        const struct arch *a = arch_find(w->arch);
        const struct ranking_options o = {.gpu = NULL};
        char now[WINNER_SIGNATURE_BYTES], what[64];
        struct gpu gpu;
        if (w->N != 0 || w->m_lo != 1) continue;
        if (compile_need(compiler, a) != QRT_OK) break;
        assert_int_equal(ranking_gpu(&o, a, &gpu), QRT_OK);
        assert_int_equal(ranking_sign(set, compiler, &w->desc, a, &gpu, now), QRT_OK);
        winners_sign_difference(w->signature, now, what);
        if (strcmp(what, "compiler") == 0)
            fprintf(stderr, "[  SKIP  ] %s: made with another compiler\n", w->arch);
        else if (what[0])
            fail_msg("%s is of another state of: %s; run scripts/tuned_tables.sh", w->arch, what);
    }
    compile_close(compiler);
}

/* ---- the kernels of one table ---- */

struct kernels {
    const struct arch *arch;
    struct gpu gpu;
    struct {
        const struct winner *row; /* the first with it */
        struct entry_record record;
        struct profile profile;
    } item[MOST_KERNELS];
    size_t count, image_bytes;
};

static int is_same_kernel(const struct winner *a, const struct winner *b)
{
    return strcmp(a->template_, b->template_) == 0 && strcmp(a->tune, b->tune) == 0 &&
           a->made_lo == b->made_lo;
}

static size_t find_kernel(const struct kernels *k, const struct winner *w)
{
    size_t i = 0;
    while (i < k->count && !is_same_kernel(k->item[i].row, w)) i++;
    return i;
}

static void add_kernel(struct kernels *k, const struct compiler *compiler,
                       struct profiler *profiler, const struct winner *w)
{
    static const uint8_t key[ENTRY_KEY_BYTES];
    const struct request made = {w->desc, k->arch, w->made_lo, w->made_hi};
    struct candidate c;
    struct entry e;
    struct unit unit;
    void *bytes;
    size_t count;
    assert_true(k->count < MOST_KERNELS);
    assert_int_equal(template_point(set, &made, w->template_, w->tune, &c), QRT_OK);
    assert_int_equal(unit_make(set, &c, &unit), QRT_OK);
    if (compile_entry(compiler, &c.record, &unit, key, &bytes, &count) != QRT_OK)
        fail_msg("%s", qrt_message());
    assert_int_equal(entry_parse(bytes, count, &e), QRT_OK);
    assert_int_equal(profiler_run(profiler, &e, c.ahead, &k->item[k->count].profile), QRT_OK);
    k->image_bytes += e.part[ENTRY_IMAGE].bytes;
    k->item[k->count].record = e.record;
    k->item[k->count++].row = w;
    unit_free(&unit);
    free(bytes);
}

static const struct winner *winner_at(const struct kernels *k, const struct op_desc *desc,
                                      const struct shape *s, int M)
{
    const struct winner_query q = {k->arch->name, "", NULL, desc, s->N, s->K, M};
    const struct winner *w = winners_find(&tables, &q);
    assert_non_null(w);
    return w;
}

static double cost_at(const struct kernels *k, const struct winner *w, const struct shape *s, int M)
{
    enum { N = 4096, K = 4096 };
    size_t bytes[SECTION_COUNT], all = 0, i = find_kernel(k, w);
    struct cost cost;
    assert_int_equal(layout_bytes(FAMILY_MMA, &w->desc.weight, N, K, bytes), QRT_OK);
    for (int section = 0; section < SECTION_COUNT; section++) all += bytes[section];
    struct profile p = k->item[i].profile;
    p.split = k->item[i].record.split;
    cost_linear(&k->gpu, k->arch, &k->item[i].record, &p, M, s->N, s->K,
                (double)all / ((double)N * K), &cost);
    return cost.seconds;
}

static void check_cliffs(const struct kernels *k, const struct op_desc *desc, const struct shape *s)
{
    double before = 0;
    for (int M = 1; M <= 8192; M++) {
        const double now = cost_at(k, winner_at(k, desc, s, M), s, M);
        if (now * (1 + TOLERANCE_PERCENT / 100.0) * (1 + 1e-9) < before)
            fail_msg("%dx%d: %g s for M = %d, %g s for one row more", s->N, s->K, before, M - 1,
                     now);
        before = now;
    }
}

static void one_row_more_costs_no_less(void **state)
{
    (void)state;
    struct compiler *compiler;
    struct profiler *profiler;
    struct op_desc desc;
    size_t shapes;
    const struct shape *shape = ranking_shapes(&shapes);
    struct kernels k = {.arch = arch_find("sm_89")};
    const struct ranking_options o = {.gpu = NULL};
    assert_int_equal(compile_open(&compiler), QRT_OK);
    if (compile_need(compiler, k.arch) != QRT_OK) {
        compile_close(compiler);
        fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
        skip();
    }
    assert_int_equal(ranking_gpu(&o, k.arch, &k.gpu), QRT_OK);
    assert_int_equal(profiler_open(&profiler), QRT_OK);
    assert_int_equal(op_desc_parse("linear.w4g128.f16.f16", &desc), QRT_OK);
    for (size_t i = 0; i < tables.count; i++) {
        const struct winner *w = &tables.items[i];
        if (strcmp(w->arch, "sm_89") == 0 && op_desc_equal(&w->desc, &desc) &&
            find_kernel(&k, w) == k.count)
            add_kernel(&k, compiler, profiler, w);
    }
    for (size_t s = 0; s < shapes; s++) check_cliffs(&k, &desc, &shape[s]);
    /* twice, for both types of y; not even compressed */
    assert_true(2 * k.image_bytes < MOST_BYTES);
    profiler_close(profiler);
    compile_close(compiler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_name_legal_points),
        cmocka_unit_test(all_rows_and_shapes_have_winners),
        cmocka_unit_test(tables_are_of_this_state),
        cmocka_unit_test(one_row_more_costs_no_less),
    };
    return cmocka_run_group_tests(tests, load_all, free_all);
}
