/* test_ranking.c -- contract of ranking.h
 *
 * - each default shape, and any shape, has a winner for every number of rows, made for those rows
 * - at every point of comparison the winner is within 8 % of the best of all candidates
 * - no cliffs: where one winner hands over to the next, one row more costs at most 8 % less
 * - the same search gives the same table, whatever the number of compilers, with kept profiles or not
 * - a shape of one's own has the same rows alone and beside others, and no others come with it
 * - profiles are kept: another type of y compiles nothing, an interrupted ranking goes on
 * - a kernel that spills never wins
 * - top: the best for those rows, each once, first the one of the least mean time
 * - the signature knows templates and GPU, not a GPU's price
 * - what cannot be ranked is refused; an unknown GPU is named
 *
 * On a search of a handful of kernels (tests/helpers/small_search.h).
 */
#include "ranking.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "profiler.h"
#include "small_search.h"

enum { TOLERANCE_PERCENT = 8 };
#define REQUEST "linear.w4g128.f16.f16"

static char folder[64], templates[96], profiles[96];
static struct ranking all; /* REQUEST on sm_89, default shapes */
static int is_ranked;

static struct op_desc desc_of(const char *name)
{
    struct op_desc d;
    if (op_desc_parse(name, &d) != QRT_OK) fail_msg("%s", qrt_message());
    return d;
}

static qrt_status rank(const char *name, const struct ranking_options *more, struct ranking *out)
{
    struct ranking_options o = more ? *more : (struct ranking_options){.folder = profiles};
    const struct op_desc d = desc_of(name);
    o.templates = templates;
    return ranking_make(&o, &d, arch_find("sm_89"), out);
}

static void must_rank(const char *name, const struct ranking_options *o, struct ranking *out)
{
    if (rank(name, o, out) != QRT_OK) fail_msg("%s", qrt_message());
}

static int make_all(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-ranking-XXXXXX");
    setenv("QGEN_VGPU", BINARY_DIR "/libqgen_vgpu.so", 1);
    if (!mkdtemp(folder)) return -1;
    snprintf(templates, sizeof templates, "%s/templates", folder);
    snprintf(profiles, sizeof profiles, "%s/profiles", folder);
    small_search_write(templates, "");
    const qrt_status status = rank(REQUEST, NULL, &all);
    is_ranked = status == QRT_OK;
    if (!is_ranked) fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
    return is_ranked || strstr(qrt_message(), "nvrtc") ? 0 : -1;
}

static int remove_all(void **state)
{
    (void)state;
    char command[128];
    if (is_ranked) ranking_free(&all);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const struct entry_record *record_of(const struct ranking *r, size_t candidate)
{
    return &r->search.items[candidate].candidate.record;
}

/* ---- the table ---- */

/* The row of a shape that holds M; exactly one. */
static const struct ranking_row *row_at(const struct ranking *r, int N, int K, int M)
{
    const struct ranking_row *found = NULL;
    for (size_t i = 0; i < r->row_count; i++) {
        const struct ranking_row *row = &r->rows[i];
        if (row->N != N || row->K != K || M < row->m_lo || M > row->m_hi) continue;
        assert_null(found);
        found = row;
    }
    assert_non_null(found);
    return found;
}

static void every_row_has_a_winner(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    size_t shapes;
    const struct shape *shape = ranking_shapes(&shapes);
    assert_int_equal(shapes, 10);
    for (size_t s = 0; s <= shapes; s++)
        for (int M = 1; M < 9000; M += M < 600 ? 1 : 97) {
            const int N = s < shapes ? shape[s].N : 0, K = s < shapes ? shape[s].K : 0;
            const struct ranking_row *row = row_at(&all, N, K, M);
            const struct entry_record *r = record_of(&all, row->winner);
            assert_true(M >= r->m_lo && M <= r->m_hi);
        }
    row_at(&all, 0, 0, INT_MAX);
    assert_int_equal(all.winners.count, all.row_count);
    for (size_t i = 0; i < all.winners.count; i++) {
        const struct winner *w = &all.winners.items[i];
        const struct ranking_row *row = row_at(&all, w->N, w->K, w->m_lo);
        assert_string_equal(w->tune, record_of(&all, row->winner)->tune);
        assert_int_equal(w->how, WINNER_MODEL);
        assert_string_equal(w->device, "");
        assert_int_equal(w->made_lo, record_of(&all, row->winner)->m_lo);
    }
}

static void winners_are_near_the_best(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    size_t shapes, points;
    const struct shape *shape = ranking_shapes(&shapes);
    const int *M = select_points(&points);
    for (size_t s = 0; s < shapes; s++)
        for (size_t p = 0; p < points; p++) {
            const struct ranking_row *row = row_at(&all, shape[s].N, shape[s].K, M[p]);
            const double own = ranking_time(&all, row->winner, M[p], &shape[s]);
            double best = INFINITY;
            for (size_t c = 0; c < all.search.count; c++)
                best = fmin(best, ranking_time(&all, c, M[p], &shape[s]));
            if (own > best * (1 + TOLERANCE_PERCENT / 100.0) * (1 + 1e-9))
                fail_msg("%dx%d at M = %d: %g s, the best %g s", shape[s].N, shape[s].K, M[p], own,
                         best);
        }
}

static void no_cliffs(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    size_t shapes;
    const struct shape *shape = ranking_shapes(&shapes);
    for (size_t s = 0; s < shapes; s++)
        for (int M = 1; M < 8192; M++) {
            const struct ranking_row *here = row_at(&all, shape[s].N, shape[s].K, M);
            const struct ranking_row *next = row_at(&all, shape[s].N, shape[s].K, M + 1);
            if (here == next) continue;
            const double before = ranking_time(&all, here->winner, M, &shape[s]);
            const double after = ranking_time(&all, next->winner, M + 1, &shape[s]);
            if (after * (1 + TOLERANCE_PERCENT / 100.0) * (1 + 1e-9) < before)
                fail_msg("%dx%d: M = %d takes %g s, %d takes %g s", shape[s].N, shape[s].K, M,
                         before, M + 1, after);
        }
}

/* ---- the same again ---- */

static char *table_of(const struct ranking *r)
{
    char *text;
    size_t bytes;
    assert_int_equal(winners_text(&r->winners, &text, &bytes), QRT_OK);
    return text;
}

static void the_same_search_gives_the_same_table(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    static const struct ranking_options ways[] = {{.jobs = 1}, {.jobs = 3}};
    char *first = table_of(&all);
    for (size_t i = 0; i <= 2; i++) {
        struct ranking again;
        must_rank(REQUEST, i < 2 ? &ways[i] : NULL, &again);
        assert_int_equal(again.compiled, i < 2 ? again.search.text_count : 0);
        char *text = table_of(&again);
        assert_string_equal(text, first);
        free(text);
        ranking_free(&again);
    }
    free(first);
}

static void own_shapes_are_alone(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    static const struct shape shapes[] = {{5120, 5120}, {1536, 576}};
    struct ranking_options o = {.folder = profiles, .shapes = shapes, .shape_count = 1};
    struct ranking alone, beside;
    must_rank(REQUEST, &o, &alone);
    o.shape_count = 2;
    must_rank(REQUEST, &o, &beside);
    size_t shared = 0;
    for (size_t i = 0; i < alone.winners.count; i++) {
        assert_int_equal(alone.winners.items[i].N, 5120);
        for (size_t j = 0; j < beside.winners.count; j++)
            shared += memcmp(&alone.winners.items[i], &beside.winners.items[j],
                             sizeof(struct winner)) == 0;
    }
    assert_int_equal(shared, alone.winners.count);
    assert_true(beside.winners.count > alone.winners.count);
    ranking_free(&alone);
    ranking_free(&beside);
}

/* ---- profiles ---- */

/* Call `f` with the path of each profile. */
static int each_profile(void (*f)(const char *path, const char *name, void *user), void *user)
{
    int count = 0;
    struct dirent *file;
    DIR *d = opendir(profiles);
    assert_non_null(d);
    while ((file = readdir(d))) {
        char path[512];
        if (file->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", profiles, file->d_name);
        f(path, file->d_name, user);
        count++;
    }
    closedir(d);
    return count;
}

static void remove_some(const char *path, const char *name, void *user)
{
    int *left = user;
    (void)name;
    if ((*left)-- > 0) assert_int_equal(unlink(path), 0);
}

static void kept_profiles_are_not_made_again(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    struct ranking other;
    int some = 3;
    must_rank("linear.w4g128.f16.f32", NULL, &other);
    assert_int_equal(other.compiled, 0);
    assert_int_equal(other.winners.count, all.winners.count);
    assert_int_equal(other.winners.items[0].desc.out, ELEM_F32);
    ranking_free(&other);
    assert_int_equal(each_profile(remove_some, &some), all.search.text_count);
    must_rank(REQUEST, NULL, &other);
    assert_int_equal(other.compiled, 3);
    char *first = table_of(&all), *text = table_of(&other);
    assert_string_equal(text, first);
    free(first);
    free(text);
    ranking_free(&other);
}

struct spilling {
    const struct profile *like;
    int found;
};

static void make_spill(const char *path, const char *name, void *user)
{
    struct spilling *s = user;
    uint8_t key[ENTRY_KEY_BYTES];
    struct profile p;
    (void)path;
    for (int i = 0; i < ENTRY_KEY_BYTES; i++)
        assert_int_equal(sscanf(name + 2 * i, "%2hhx", &key[i]), 1);
    assert_true(profiler_find(profiles, key, &p));
    if (memcmp(&p.step, &s->like->step, sizeof p.step) != 0 || p.rows != s->like->rows) return;
    p.stack_bytes = 8;
    assert_int_equal(profiler_keep(profiles, key, &p), QRT_OK);
    s->found++;
}

static void spilling_kernels_never_win(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    const struct ranking_row *row = row_at(&all, 4096, 4096, 5000);
    const size_t text = all.search.items[row->winner].text;
    struct spilling s = {&all.profiles[text], 0};
    struct ranking other;
    each_profile(make_spill, &s);
    assert_int_equal(s.found, 1);
    must_rank(REQUEST, NULL, &other);
    assert_true(other.spilling > 0);
    for (size_t i = 0; i < other.row_count; i++)
        assert_int_not_equal(other.search.items[other.rows[i].winner].text, text);
    ranking_free(&other);
}

/* ---- answers ---- */

static void top_are_the_best(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    size_t top[8], count, shapes;
    const struct shape *shape = ranking_shapes(&shapes);
    assert_int_equal(ranking_top(&all, 129, 1 << 30, 3, top, &count), QRT_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) assert_int_not_equal(top[i], top[j]);
    double sum[2] = {0, 0};
    for (int which = 0; which < 2; which++)
        for (size_t s = 0; s < shapes; s++)
            for (int M = 256; M <= 4096; M *= 2)
                sum[which] += ranking_time(&all, top[2 * which], M, &shape[s]) /
                              ranking_time(&all, top[0], M, &shape[s]);
    assert_true(sum[0] < sum[1]);
    assert_int_equal(ranking_top(&all, 1, 1, 8, top, &count), QRT_OK);
    assert_int_equal(count, 2); /* the two points of gemv */
    assert_string_equal(record_of(&all, top[0])->template_, "cuda/gemv");
}

static void sign(const char *from, const struct gpu *gpu, char out[WINNER_SIGNATURE_BYTES])
{
    struct template_set *set;
    struct compiler *compiler;
    const struct op_desc d = desc_of(REQUEST);
    assert_int_equal(template_set_open(from, &set), QRT_OK);
    assert_int_equal(compile_open(&compiler), QRT_OK);
    assert_int_equal(compile_need(compiler, arch_find("sm_89")), QRT_OK);
    assert_int_equal(ranking_sign(set, compiler, &d, arch_find("sm_89"), gpu, out), QRT_OK);
    compile_close(compiler);
    template_set_close(set);
}

static void signatures_know_what_matters(void **state)
{
    (void)state;
    if (!is_ranked) skip();
    char other[96], base[WINNER_SIGNATURE_BYTES], got[WINNER_SIGNATURE_BYTES], what[64];
    struct gpu gpu = all.gpu;
    sign(templates, &gpu, base);
    assert_string_equal(base, all.winners.items[0].signature);
    gpu.price_hour += 1;
    sign(templates, &gpu, got);
    assert_string_equal(got, base);
    gpu.memory_bytes_s *= 2;
    sign(templates, &gpu, got);
    winners_sign_difference(got, base, what);
    assert_null(strstr(what, "templates"));
    assert_string_not_equal(got, base);
    snprintf(other, sizeof other, "%s/other", folder);
    small_search_write(other, "-- another state");
    sign(other, &all.gpu, got);
    winners_sign_difference(got, base, what);
    assert_string_equal(what, "templates");
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct ranking r;
    const struct ranking_options o = {.gpu = "voodoo2"};
    const struct op_desc add = desc_of("add.f16"), linear = desc_of("linear.w4g128.f32.f32");
    assert_int_equal(ranking_make(&o, &add, arch_find("sm_89"), &r), QRT_E_ARGUMENT);
    assert_int_equal(ranking_make(&o, &linear, arch_find("x86-64-v3"), &r), QRT_E_ARGUMENT);
    if (!is_ranked) skip();
    assert_int_equal(rank(REQUEST, &o, &r), QRT_E_ARGUMENT);
    assert_non_null(strstr(qrt_message(), "voodoo2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_winner),
        cmocka_unit_test(winners_are_near_the_best),
        cmocka_unit_test(no_cliffs),
        cmocka_unit_test(the_same_search_gives_the_same_table),
        cmocka_unit_test(own_shapes_are_alone),
        cmocka_unit_test(kept_profiles_are_not_made_again),
        cmocka_unit_test(top_are_the_best),
        cmocka_unit_test(signatures_know_what_matters),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(spilling_kernels_never_win), /* last: it spoils the profiles */
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
