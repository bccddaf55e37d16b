/* test_tuner.c -- contract of tuner.h: what is wrong or deadly is refused, what is right wins
 *
 * - of 25 seeded kernels that are wrong, crash, hang, end their process or forge answers, each ranked
 *   before the right ones, none is believed; each has a trial that says why; the tuner lives
 * - of the two right kernels the faster one wins at every point, beyond the noise
 * - resuming measures nothing again, runs nothing that is known to be deadly, and says the same
 * - winners are rows of the device, cover the rows from the first to the last and all above, and go
 *   with kernels that are put into the store
 * - being told to stop, and a spent budget, leave points without a verdict, and no error
 * - a device that is none, an op that is no linear: a status with the reason
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "helpers.h"
#include "store.h"
#include "tuner.h"

#define TEMPLATES SOURCE_DIR "/tests/gen/wrong_templates"

enum { WRONG = 25, POINTS = 2 };

static char folder[64];
static struct tuner_point points[POINTS];
static struct tuner_result first; /* of the one run that measures all */

static struct tuner_options options_for(int resume)
{
    return (struct tuner_options){
        .device = {.program = BINARY_DIR "/qgen", .name = "cpu", .limit_s = 4},
        .arch = "x86-64-v3",
        .templates = TEMPLATES,
        .folder = folder,
        .top = 64,
        .resume = resume,
        .budget_s = 600,
        .point_s = 0.2,
        .points = points,
        .count = POINTS};
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-tuner-XXXXXX");
    for (int i = 0; i < POINTS; i++) {
        points[i] = (struct tuner_point){.N = 50, .K = 72, .M = i == 0 ? 1 : 13};
        if (op_desc_parse("linear.f32.f32.f32", &points[i].desc) != QRT_OK) return -1;
    }
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    tuner_result_free(&first);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *kind_of(const struct tuner_result *r, size_t kernel)
{
    const char *kind = strstr(r->made.kernels[kernel].entry.record.tune, "kind=");
    return kind ? kind + 5 : "";
}

static size_t kernel_of(const struct tuner_result *r, const char *kind)
{
    for (size_t k = 0; k < r->made.count; k++)
        if (strcmp(kind_of(r, k), kind) == 0) return k;
    fail_msg("no kernel of kind %s", kind);
    return 0;
}

static int is_right(const char *kind)
{
    return strcmp(kind, "slow") == 0 || strcmp(kind, "right") == 0;
}

static void wrong_kernels_are_refused(void **state)
{
    (void)state;
    const struct tuner_options o = options_for(0);
    if (tuner_run(&o, &first) != QRT_OK) fail_msg("%s", qrt_message());
    static const struct {
        const char *kind;
        enum measure_outcome outcome;
    } deadly[] = {
        {"null", MEASURE_CRASHED},  {"loop", MEASURE_TIMED_OUT}, {"hang", MEASURE_TIMED_OUT},
        {"exits", MEASURE_CRASHED}, {"aborts", MEASURE_CRASHED}, {"huge", MEASURE_CRASHED},
        {"deep", MEASURE_CRASHED},  {"forges", MEASURE_CRASHED},
    };
    int refused = 0;
    assert_int_equal(first.made.count, WRONG + 2);
    for (size_t k = 0; k < first.made.count; k++) {
        enum measure_outcome expected = is_right(kind_of(&first, k)) ? MEASURE_DONE : MEASURE_WRONG;
        for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
            if (strcmp(kind_of(&first, k), deadly[i].kind) == 0) expected = deadly[i].outcome;
        if (first.kernels[k].outcome != expected)
            fail_msg("%s: %s, expected %s", kind_of(&first, k),
                     measure_outcome_name(first.kernels[k].outcome),
                     measure_outcome_name(expected));
        assert_int_equal(first.kernels[k].is_out, expected != MEASURE_DONE);
        refused += first.kernels[k].is_out;
    }
    assert_int_equal(refused, WRONG);
}

static void the_right_one_wins(void **state)
{
    (void)state;
    assert_int_equal(first.count, POINTS);
    for (size_t i = 0; i < first.count; i++) {
        const struct tuner_verdict *v = &first.verdicts[i];
        assert_int_equal(v->count, WRONG + 2);
        assert_string_equal(kind_of(&first, v->candidates[v->default_].kernel), "slow");
        assert_string_equal(kind_of(&first, v->candidates[v->winner].kernel), "right");
        assert_true(noise_is_faster(&v->candidates[v->winner].times.ratio));
        assert_true(tuner_first_choice(v) == 0); /* the first one was wrong */
    }
}

static void every_refusal_has_a_reason(void **state)
{
    (void)state;
    struct trials t;
    assert_int_equal(trials_open(folder, first.device_name, &t), QRT_OK);
    assert_int_equal(trials_read(&t), QRT_OK);
    for (size_t k = 0; k < first.made.count; k++) {
        const struct trial_line *bad = trials_find_bad(&t, first.kernels[k].key);
        assert_int_equal(bad != NULL, first.kernels[k].is_out);
        if (bad) assert_true(bad->text[0] != 0);
    }
    const struct trial_line *one =
        trials_find_bad(&t, first.kernels[kernel_of(&first, "one_m")].key);
    assert_int_equal(one->M, 13); /* the grid of the check does not have it */
    assert_non_null(strstr(one->text, "ref says"));
    const struct trial_line *null =
        trials_find_bad(&t, first.kernels[kernel_of(&first, "null")].key);
    assert_non_null(strstr(null->text, "signal 11"));
    trials_close(&t);
}

static void resuming_measures_nothing(void **state)
{
    (void)state;
    struct tuner_result again;
    const struct tuner_options o = options_for(1);
    if (tuner_run(&o, &again) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(again.trials, 0);
    assert_true(again.resumed >= 2 * POINTS);
    for (size_t i = 0; i < POINTS; i++) {
        assert_int_equal(again.verdicts[i].winner, first.verdicts[i].winner);
        assert_int_equal(tuner_agree(&first, &again, i), 1);
    }
    for (size_t k = 0; k < again.made.count; k++)
        assert_int_equal(again.kernels[k].is_out, first.kernels[k].is_out);
    tuner_result_free(&again);
}

static void winners_go_with_their_kernels(void **state)
{
    (void)state;
    struct winners w;
    struct store *store;
    struct entry e;
    void *bytes = NULL;
    size_t count;
    int found;
    assert_int_equal(tuner_winners(&first, &w), QRT_OK);
    assert_int_equal(w.count, 1); /* the same kernel from 1 row on */
    assert_int_equal(w.items[0].m_lo, 1);
    assert_int_equal(w.items[0].m_hi, INT_MAX);
    assert_int_equal(w.items[0].how, WINNER_MEASURED);
    assert_string_equal(w.items[0].device, first.device_name);
    assert_string_equal(w.items[0].tune, "kind=right");
    if (tuner_keep(&first, folder, &w) != QRT_OK) fail_msg("%s", qrt_message());
    winners_free(&w);
    assert_int_equal(store_open(folder, &store), QRT_OK);
    const size_t right = kernel_of(&first, "right"), half = kernel_of(&first, "half");
    assert_int_equal(
        store_get(store, first.made.kernels[right].entry.key, &e, &bytes, &count, &found), QRT_OK);
    assert_true(found);
    free(bytes);
    assert_int_equal(
        store_get(store, first.made.kernels[half].entry.key, &e, &bytes, &count, &found), QRT_OK);
    assert_false(found);
    store_close(store);
    char note[256];
    assert_int_equal(winners_load(folder, &w, note), QRT_OK);
    assert_string_equal(note, "");
    assert_int_equal(w.count, 1);
    winners_free(&w);
}

static void stopping_is_no_error(void **state)
{
    (void)state;
    const volatile sig_atomic_t now = 1;
    struct tuner_options o = options_for(0);
    struct tuner_result r;
    o.device.stop = &now;
    assert_int_equal(tuner_run(&o, &r), QRT_OK);
    assert_true(r.is_stopped);
    assert_int_equal(r.trials, 0);
    for (size_t i = 0; i < r.count; i++) assert_int_equal(r.verdicts[i].winner, -1);
    tuner_result_free(&r);
    o = options_for(0);
    o.budget_s = 1e-9;
    assert_int_equal(tuner_run(&o, &r), QRT_OK);
    assert_true(r.is_out_of_time);
    assert_int_equal(r.trials, 0);
    for (size_t i = 0; i < r.count; i++) assert_int_equal(r.verdicts[i].winner, -1);
    tuner_result_free(&r);
}

static void problems_have_reasons(void **state)
{
    (void)state;
    struct tuner_result r;
    struct tuner_options o = options_for(0);
    o.device.name = "abacus";
    assert_int_equal(tuner_run(&o, &r), QRT_E_DEVICE);
    assert_non_null(strstr(qrt_message(), "abacus"));
    o = options_for(0);
    o.device.program = "/nonexistent/qgen";
    assert_int_equal(tuner_run(&o, &r), QRT_E_IO);
    o = options_for(0);
    o.arch = "sm_80";
    assert_int_equal(tuner_run(&o, &r), QRT_E_ARCH);
    struct tuner_point add = {.N = 1, .K = 1, .M = 1};
    assert_int_equal(op_desc_parse("add.f32", &add.desc), QRT_OK);
    o = options_for(0);
    o.points = &add;
    o.count = 1;
    assert_int_equal(tuner_run(&o, &r), QRT_E_ARGUMENT);
    assert_non_null(strstr(qrt_message(), "linears"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_kernels_are_refused),
        cmocka_unit_test(the_right_one_wins),
        cmocka_unit_test(every_refusal_has_a_reason),
        cmocka_unit_test(resuming_measures_nothing),
        cmocka_unit_test(winners_go_with_their_kernels),
        cmocka_unit_test(stopping_is_no_error),
        cmocka_unit_test(problems_have_reasons),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
