/* test_search.c -- contract of search.h, and of what it offers
 *
 * - every point that a template calls legal in a range is in a candidate for that range, and no other
 * - neighbouring ranges with one text are one candidate; no two of a point overlap
 * - candidates that differ in the parts of K alone share a text; other tiles do not
 * - a candidate is found again by its template, tune point and rows, and has the same text
 * - every point is either a candidate or refused by one limit
 * - no candidate of any template, architecture and scheme asks for more threads or shared memory than
 *   there is; the greediest of each, compiled, fit in registers too
 * - parts with 99 KB of shared memory refuse points that others take
 */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "error.h"
#include "helpers.h"
#include "library.h"
#include "pipeline.h" /* pipeline_ranges */

enum { MOST_THREADS = 1024, MOST_REGISTERS = 255, REGISTERS_SM = 65536, RESERVED = 1024 };

static struct template_set *set;
static struct search gemms; /* linear.w4g128.f16.f16 on sm_89 */

static struct op_desc desc_of(const char *name)
{
    struct op_desc d;
    if (op_desc_parse(name, &d) != QRT_OK) fail_msg("%s", qrt_message());
    return d;
}

static void must_search(const char *name, const char *arch, struct search *out)
{
    const struct op_desc d = desc_of(name);
    if (search_make(set, &d, arch_find(arch), out) != QRT_OK) fail_msg("%s", qrt_message());
}

static int open_all(void **state)
{
    (void)state;
    if (template_set_open(NULL, &set) != QRT_OK) return -1;
    const struct op_desc d = desc_of("linear.w4g128.f16.f16");
    return search_make(set, &d, arch_find("sm_89"), &gemms) != QRT_OK;
}

static int close_all(void **state)
{
    (void)state;
    search_free(&gemms);
    template_set_close(set);
    return 0;
}

static const struct entry_record *record_of(const struct search *s, size_t i)
{
    return &s->items[i].candidate.record;
}

/* Candidates of a point that are made for all rows of a range that the point has. */
static int count_holders(const struct search *s, const struct entry_record *point, int lo, int hi)
{
    int holders = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry_record *r = record_of(s, i);
        if (strcmp(r->template_, point->template_) == 0 && strcmp(r->tune, point->tune) == 0)
            holders += r->m_lo <= lo && r->m_hi >= hi;
    }
    return holders;
}

static void all_legal_points_are_there(void **state)
{
    (void)state;
    size_t range_count, points = 0, held = 0;
    const struct pipeline_range *ranges = pipeline_ranges(&range_count);
    for (size_t i = 0; i < range_count; i++) {
        const struct request r = {desc_of("linear.w4g128.f16.f16"), arch_find("sm_89"),
                                  ranges[i].lo, ranges[i].hi};
        struct candidate *legal;
        size_t count;
        assert_int_equal(template_shortlist(set, &r, &legal, &count), QRT_OK);
        for (size_t c = 0; c < count; c++) {
            const struct entry_record *point = &legal[c].record;
            const int lo = point->m_lo > r.m_lo ? point->m_lo : r.m_lo;
            const int hi = point->m_hi < r.m_hi ? point->m_hi : r.m_hi;
            assert_int_equal(count_holders(&gemms, point, lo, hi), 1);
        }
        points += count;
        for (size_t c = 0; c < gemms.count; c++)
            held += record_of(&gemms, c)->m_lo <= r.m_hi && record_of(&gemms, c)->m_hi >= r.m_lo;
        free(legal);
    }
    assert_int_equal(held, points);
}

static void one_text_is_one_candidate(void **state)
{
    (void)state;
    int long_ones = 0;
    for (size_t i = 0; i < gemms.count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct entry_record *a = record_of(&gemms, i), *b = record_of(&gemms, j);
            if (strcmp(a->template_, b->template_) != 0 || strcmp(a->tune, b->tune) != 0) continue;
            assert_true(a->m_hi < b->m_lo || b->m_hi < a->m_lo);
            assert_true(gemms.items[i].text != gemms.items[j].text ||
                        (a->m_hi + 1 != b->m_lo && b->m_hi + 1 != a->m_lo));
        }
    for (size_t i = 0; i < gemms.count; i++)
        if (strcmp(record_of(&gemms, i)->template_, "cuda/gemm") == 0) {
            assert_int_equal(record_of(&gemms, i)->m_lo, 9);
            assert_int_equal(record_of(&gemms, i)->m_hi, SEARCH_M_MAX);
            long_ones++;
        }
    assert_true(long_ones > 100);
}

/* The tune point without its split. */
static void unsplit(const struct entry_record *r, char out[ENTRY_TEXT_BYTES])
{
    snprintf(out, ENTRY_TEXT_BYTES, "%s", r->tune);
    char *at = strstr(out, " split=");
    if (at) memmove(at, at + 8, strlen(at + 8) + 1);
}

static void splits_share_a_text(void **state)
{
    (void)state;
    char a[ENTRY_TEXT_BYTES], b[ENTRY_TEXT_BYTES];
    int shared = 0;
    for (size_t i = 0; i < gemms.count; i++)
        for (size_t j = 0; j < i; j++) {
            const int same = gemms.items[i].text == gemms.items[j].text;
            if (strcmp(record_of(&gemms, i)->template_, record_of(&gemms, j)->template_) != 0) {
                assert_false(same);
                continue;
            }
            unsplit(record_of(&gemms, i), a);
            unsplit(record_of(&gemms, j), b);
            const int is_gemm = strcmp(record_of(&gemms, i)->template_, "cuda/gemm") == 0;
            if (is_gemm) assert_int_equal(same, strcmp(a, b) == 0);
            shared += same;
        }
    assert_true(shared > 50);
    assert_true(gemms.text_count < gemms.count);
}

static void candidates_are_found_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < gemms.count; i += 7) {
        const struct entry_record *r = record_of(&gemms, i);
        const struct request made = {r->desc, arch_find(r->arch), r->m_lo, r->m_hi};
        struct candidate c;
        struct unit first, again;
        if (template_point(set, &made, r->template_, r->tune, &c) != QRT_OK)
            fail_msg("%s", qrt_message());
        assert_memory_equal(c.record.grid, r->grid, sizeof r->grid);
        assert_int_equal(c.record.smem_bytes, r->smem_bytes);
        assert_int_equal(unit_make(set, &gemms.items[i].candidate, &first), QRT_OK);
        assert_int_equal(unit_make(set, &c, &again), QRT_OK);
        assert_string_equal(first.rendering.text, again.rendering.text);
        unit_free(&first);
        unit_free(&again);
    }
    const struct request r = {desc_of("linear.w4g128.f16.f16"), arch_find("sm_89"), 1, 1};
    struct candidate c;
    assert_int_equal(template_point(set, &r, "cuda/gemv", "stages=3 tiles=2", &c), QRT_E_SCHEME);
    assert_int_equal(template_point(set, &r, "cuda/gemv", "stages=2 tiles=2 warps=8", &c),
                     QRT_E_SCHEME);
    assert_non_null(strstr(qrt_message(), "refused by shape"));
    assert_int_equal(template_point(set, &r, "cuda/lost", "stages=3 tiles=2 warps=8", &c),
                     QRT_E_SCHEME);
}

static void refusals_add_up(void **state)
{
    (void)state;
    size_t in_ranges = 0, range_count, refused = 0;
    const struct pipeline_range *ranges = pipeline_ranges(&range_count);
    for (size_t i = 0; i < range_count; i++)
        for (size_t c = 0; c < gemms.count; c++)
            in_ranges += record_of(&gemms, c)->m_lo <= ranges[i].hi &&
                         record_of(&gemms, c)->m_hi >= ranges[i].lo;
    for (int i = 0; i < REFUSED_COUNT; i++) refused += gemms.refused.by[i];
    assert_int_equal(gemms.refused.points, in_ranges + refused);
    assert_true(gemms.refused.by[REFUSED_REGISTERS] > 0);
    assert_true(gemms.refused.by[REFUSED_SHARED] > 0);
}

/* ---- limits ---- */

static const char *const schemes[] = {"linear.w4g128.f16.f16", "linear.w2g16m.k.f16.f16",
                                      "linear.w8gc.f32.i8tz.bf16", "linear.nf4g64.bf16.bf16",
                                      "linear.f16.f16.f32"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static void check_launch(const struct entry_record *r, const struct arch *a)
{
    const uint32_t threads = r->block[0] * r->block[1] * r->block[2];
    if (threads > MOST_THREADS || r->smem_bytes > (uint32_t)a->smem_bytes)
        fail_msg("%s %s on %s: %u threads, %u bytes", r->template_, r->tune, a->name, threads,
                 r->smem_bytes);
}

/* The text with the most shared memory, or of those with the most threads. */
static size_t greediest(const struct search *s)
{
    size_t best = 0;
    for (size_t i = 1; i < s->text_count; i++) {
        const struct entry_record *a = &s->texts[i].record, *b = &s->texts[best].record;
        if (a->smem_bytes > b->smem_bytes ||
            (a->smem_bytes == b->smem_bytes && a->block[0] > b->block[0]))
            best = i;
    }
    return best;
}

static void check_compiled(const struct compiler *compiler, const struct search_text *t,
                           const struct arch *a)
{
    static const uint8_t key[ENTRY_KEY_BYTES];
    struct entry_record r = t->record;
    void *bytes;
    size_t count;
    if (compile_entry(compiler, &r, &t->unit, key, &bytes, &count) != QRT_OK)
        fail_msg("%s", qrt_message());
    free(bytes);
    const uint32_t granted = (r.regs + 7) / 8 * 8 * r.block[0];
    const uint32_t reserved = a->number >= 90 ? RESERVED : 0;
    if (r.regs > MOST_REGISTERS || granted > REGISTERS_SM ||
        r.smem_bytes + r.smem_static_bytes > (uint32_t)a->smem_bytes + reserved)
        fail_msg("%s %s on %s: %u registers of %u threads, %u + %u bytes", r.template_, r.tune,
                 a->name, r.regs, r.block[0], r.smem_bytes, r.smem_static_bytes);
}

static void nothing_asks_for_too_much(void **state)
{
    (void)state;
    struct compiler *compiler;
    int can_compile = 0;
    assert_int_equal(compile_open(&compiler), QRT_OK);
    can_compile = compile_need(compiler, arch_find("sm_80")) == QRT_OK;
    if (!can_compile) fprintf(stderr, "[  SKIP  ] compiled limits: %s\n", qrt_message());
    size_t turn = 0;
    for (const struct arch *a = arch_table(); a->name[0]; a++)
        for (int i = 0; i < SCHEMES && a->kind == ARCH_SM; i++, turn++) {
            struct search s;
            must_search(schemes[i], a->name, &s);
            for (size_t c = 0; c < s.count; c++) check_launch(record_of(&s, c), a);
            if (can_compile && turn % 2 == 0) check_compiled(compiler, &s.texts[greediest(&s)], a);
            search_free(&s);
        }
    compile_close(compiler);
}

/* One request for each template: the ops around the linears too. */
static void no_template_asks_for_too_much(void **state)
{
    (void)state;
    size_t launched = 0;
    for (const struct arch *a = arch_table(); a->name[0]; a++) {
        struct request_set samples = {0};
        if (a->kind != ARCH_SM) continue;
        assert_int_equal(library_add_samples(&samples, a), QRT_OK);
        for (size_t i = 0; i < samples.count; i++) {
            struct candidate *c;
            size_t count;
            if (template_candidates(set, &samples.items[i], &c, &count) != QRT_OK)
                fail_msg("%s", qrt_message());
            for (size_t k = 0; k < count; k++) check_launch(&c[k].record, a);
            launched += count;
            free(c);
        }
        request_set_free(&samples);
    }
    assert_true(launched > 1000);
}

static void small_parts_refuse_more(void **state)
{
    (void)state;
    struct search large;
    must_search("linear.w4g128.f16.f16", "sm_80", &large);
    assert_true(large.count > gemms.count);
    assert_true(gemms.refused.by[REFUSED_SHARED] > large.refused.by[REFUSED_SHARED]);
    search_free(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_legal_points_are_there),
        cmocka_unit_test(one_text_is_one_candidate),
        cmocka_unit_test(splits_share_a_text),
        cmocka_unit_test(candidates_are_found_again),
        cmocka_unit_test(refusals_add_up),
        cmocka_unit_test(nothing_asks_for_too_much),
        cmocka_unit_test(no_template_asks_for_too_much),
        cmocka_unit_test(small_parts_refuse_more),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
