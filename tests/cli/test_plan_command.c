/* test_plan_command.c -- contract of qgen plan
 *
 * - JSON has schema, model, a row for each GPU, scheme and batch, and about each GPU and scheme what does
 *   not depend on the batch; what does not fit has no rates
 * - without measurements the expected rate is null and said to be a ceiling only; with a trial of a
 *   shape on that GPU it is the ceiling times that shape's efficiency; other GPUs stay without
 * - kernels are counted in the store: none at first, with the command that makes them; then those whose
 *   kernels together hold all rows, whether in one piece or two, and not those with a gap
 * - winners are counted for each shape of the layers' linears and batch: measured on that GPU, chosen by
 *   the model, neither, with the command that measures; winners of other GPUs, rows and shapes do not count
 * - --price changes dollars, --utilisation divides them, --cards and --split set rates
 * - --check: exit 1 and "2.4x above the memory roofline" for 1800 tokens/s of FP8 on an H100 at batch 16;
 *   exit 0 for 420; exit 1 for what does not fit, at any rate
 * - --article: five rows; its dollars are recomputed from its own price and rate; none is possible at
 *   batch 1; the 4-bit model does not fit one RTX 4090, two hold it
 * - text, Markdown and CSV show the same rows; CSV has numbers undivided
 * - a model file is planned as it is
 * - exit 2 with what there is: unknown model, GPU, scheme, batch, price, format, missing options, --article
 *   with a model; exit 4: a broken table of GPUs
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "entries.h"
#include "file.h"
#include "helpers.h"
#include "tiny_model.h"
#include "winners.h"

#define LLAMA "plan --model llama3-70b "

/* $QGEN_GPUS of whoever runs the tests is not theirs. */
static int begin(void **state)
{
    unsetenv("QGEN_GPUS");
    return command_begin(state) || command_shell("mkdir -p -m 700 store/tuning");
}

static const json_t *row(const json_t *json, const char *list, size_t i)
{
    const json_t *r = json_array_get(json_object_get(json, list), i);
    if (!r) fail_msg("no row %zu of %s", i, list);
    return r;
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number '%s'", key);
    return json_number_value(v);
}

static int is_null(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return !v || json_is_null(v);
}

static const char *text(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v)) fail_msg("no text '%s'", key);
    return json_string_value(v);
}

static void near(double got, double expected, double share)
{
    if (!(fabs(got - expected) <= share * expected)) fail_msg("%g, expected %g", got, expected);
}

static void rows_are_complete(void **state)
{
    (void)state;
    json_t *json =
        command_json(0, "qgen.plan/1", "%s",
                     LLAMA "--gpu h100,4090 --schemes w4g128,f16 --batch 1,32 --ctx 8192");
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 2 * 2 * 2);
    assert_int_equal(json_array_size(json_object_get(json, "about")), 2 * 2);
    const json_t *first = row(json, "rows", 0);
    assert_string_equal(text(first, "gpu"), "h100");
    assert_string_equal(text(first, "scheme"), "w4g128");
    assert_string_equal(text(first, "bound"), "memory");
    assert_true(json_is_true(json_object_get(first, "fits")));
    /* 37.4 GB of weights and 2.7 GB of keys and values at 3350 GB/s. */
    near(number(first, "ceiling_tokens_s"), 3350 / (37.40 + 2.684), 0.002);
    near(number(first, "kv_bytes"), 327680.0 * 8192, 1e-9);
    assert_true(number(first, "prefill_tokens_s") > 0 && number(first, "first_token_s") > 0);
    const json_t *last = row(json, "rows", 7); /* f16, batch 32, RTX 4090 */
    assert_true(json_is_false(json_object_get(last, "fits")));
    assert_true(is_null(last, "ceiling_tokens_s") && is_null(last, "dollars_out") &&
                is_null(last, "cards"));
    near(number(json_object_get(json, "model"), "parameters"), 70.55e9, 1e-3);
    json_decref(json);
}

/* Twice the time that 1008 GB/s allow for 8192 x 8192 at 4.125 bits with x and y. */
static void write_trial(void)
{
    char path[128], line[600];
    const double bytes = 8192.0 * 8192 * 4.125 / 8 + 2 * 8192 * 2;
    snprintf(path, sizeof path, "%s/store/tuning/gpu.jsonl", command_folder);
    snprintf(
        line, sizeof line,
        "{\"schema\":\"qgen.trial/1\",\"device\":\"NVIDIA_GeForce_RTX_4090\",\"arch\":\"sm_89\","
        "\"request\":\"linear.w4g128.f16.f16\",\"n\":8192,\"k\":8192,\"m\":1,\"outcome\":"
        "\"measured\","
        "\"median_s\":%.12g}\n{\"schema\":\"qgen.tri",
        2 * bytes / 1008e9);
    assert_int_equal(file_write(path, line, strlen(line)), QRT_OK);
}

static void measurements_are_used(void **state)
{
    (void)state;
    const char *command = LLAMA "--gpu 4090,h100 --schemes w4g128 --cards 4";
    json_t *json = command_json(0, "qgen.plan/1", "%s", command);
    assert_true(is_null(row(json, "rows", 0), "expected_tokens_s"));
    const double least = number(row(json, "rows", 0), "dollars_out");
    json_decref(json);
    assert_int_equal(command_run("%s", command), 0);
    assert_non_null(strstr(command_output, "no measurement: ceiling only"));
    write_trial();
    json = command_json(0, "qgen.plan/1", "%s", command);
    const json_t *first = row(json, "rows", 0);
    near(number(first, "expected_tokens_s"), number(first, "ceiling_tokens_s") / 2, 0.001);
    near(number(first, "dollars_out"), 2 * least, 0.001);
    assert_true(is_null(row(json, "rows", 1), "expected_tokens_s")); /* H100 */
    assert_true(number(row(json, "about", 0), "efficiency_shapes") == 1);
    json_decref(json);
}

static void kernels_are_counted(void **state)
{
    (void)state;
    json_t *json = command_json(0, "qgen.plan/1", "%s", LLAMA "--gpu h100,a100 --schemes fp8");
    const json_t *k = json_object_get(row(json, "about", 0), "kernels");
    assert_true(number(k, "wanted") >= 10 && number(k, "stored") == 0);
    assert_int_equal(json_array_size(json_object_get(k, "missing")), (size_t)number(k, "wanted"));
    assert_string_equal(text(k, "build"),
                        "qgen build --arch sm_90a --scheme e4m3gc.f32 --act e4m3");
    k = json_object_get(row(json, "about", 1), "kernels"); /* no unit for 8-bit floats */
    assert_string_equal(text(k, "build"), "qgen build --arch sm_80 --scheme e4m3gc.f32");
    json_decref(json);
}

/* An entry without a kernel in it, as the store keeps it. */
static void store_kernel(struct store *s, int number, const char *request, int m_lo, int m_hi)
{
    struct entry e = {.record = {.arch = "sm_90a", .symbol = "k", .template_ = "t", .m_lo = m_lo}};
    void *bytes;
    size_t count;
    entries_key(number, e.key);
    e.record.m_hi = m_hi;
    e.record.block[0] = e.record.block[1] = e.record.block[2] = 1;
    for (int i = 0; i < 3; i++) e.record.grid[i] = (struct entry_grid){DIM_ONE, 1};
    e.part[ENTRY_IMAGE].data = "image";
    e.part[ENTRY_IMAGE].bytes = 5;
    assert_int_equal(op_desc_parse(request, &e.record.desc), QRT_OK);
    if (entry_serialize(&e, &bytes, &count) != QRT_OK) fail_msg("%s", qrt_message());
    if (store_put(s, e.key, bytes, count) != QRT_OK) fail_msg("%s", qrt_message());
    free(bytes);
}

static void stored_kernels_are_counted(void **state)
{
    (void)state;
    struct store *s;
    assert_int_equal(store_open(NULL, &s), QRT_OK);
    store_kernel(s, 1, "linear.w4g128.f16.f16", 9, 1 << 20); /* in two pieces */
    store_kernel(s, 2, "linear.w4g128.f16.f16", 1, 8);
    store_kernel(s, 3, "add.f16", 1, 1 << 20);
    store_kernel(s, 4, "linear.w4g128.f16.f32", 1, 8); /* a gap from 9 to 16 */
    store_kernel(s, 5, "linear.w4g128.f16.f32", 17, 1 << 20);
    store_kernel(s, 6, "linear.w4g64.f16.f16", 1, 1 << 20); /* nobody asks for it */
    store_close(s);
    json_t *json =
        command_json(0, "qgen.plan/1", "%s", LLAMA "--gpu h100 --schemes w4g128 --prompt 512");
    const json_t *k = json_object_get(row(json, "about", 0), "kernels");
    assert_true(number(k, "stored") == 2);
    assert_int_equal(json_array_size(json_object_get(k, "missing")),
                     (size_t)number(k, "wanted") - 2);
    json_decref(json);
    json = command_json(0, "qgen.plan/1", "%s", LLAMA "--gpu h100 --schemes w4g128 --prompt 8");
    k = json_object_get(row(json, "about", 0), "kernels");
    assert_true(number(k, "stored") == 3); /* no row above 8 is asked for */
    json_decref(json);
}

/* Of a scheme that no table of the program is about. */
static void add_winner(struct winners *w, const char *device, int N, int K, int m_lo, int m_hi,
                       enum winner_how how)
{
    struct winner one = {.arch = "sm_90a",
                         .N = N,
                         .K = K,
                         .m_lo = m_lo,
                         .m_hi = m_hi,
                         .template_ = "cuda/gemv",
                         .made_lo = m_lo,
                         .made_hi = m_hi,
                         .tune = "stages=3",
                         .how = how,
                         .us = how == WINNER_MEASURED ? 10 : 0,
                         .signature = "8f0c5f5a3c1d2e4b"};
    strcpy(one.device, device);
    assert_int_equal(op_desc_parse("linear.w4g64.f16.f16", &one.desc), QRT_OK);
    if (winners_add(w, &one) != QRT_OK) fail_msg("%s", qrt_message());
}

static void winners_are_counted(void **state)
{
    (void)state;
    char store[96];
    struct winners w = {0};
    add_winner(&w, "NVIDIA_H100_80GB_HBM3", 8192, 8192, 1, 4, WINNER_MEASURED);
    add_winner(&w, "", 1024, 8192, 1, 64, WINNER_MODEL);
    add_winner(&w, "NVIDIA_H200", 28672, 8192, 1, 64, WINNER_MEASURED);
    add_winner(&w, "", 4096, 4096, 1, 64, WINNER_MODEL);
    snprintf(store, sizeof store, "%s/store", command_folder);
    assert_int_equal(winners_keep(store, &w), QRT_OK);
    winners_free(&w);
    json_t *json =
        command_json(0, "qgen.plan/1", "%s", LLAMA "--gpu h100,a100 --schemes w4g64 --batch 1,8");
    const json_t *k = json_object_get(row(json, "about", 0), "kernels");
    assert_true(number(k, "points") == 4 * 2); /* q and o; k and v; gate and up; down */
    assert_true(number(k, "measured") == 1 && number(k, "chosen") == 2);
    assert_string_equal(text(k, "tune"), "qgen tune --device cuda:0 --scheme w4g64 --shape "
                                         "8192x8192,1024x8192,28672x8192,8192x28672 --m 1,8");
    k = json_object_get(row(json, "about", 1), "kernels"); /* kernels of sm_90a run on no A100 */
    assert_true(number(k, "measured") == 0 && number(k, "chosen") == 0);
    json_decref(json);
}

static double first(const char *arguments, const char *key)
{
    char full[400];
    snprintf(full, sizeof full, LLAMA "--schemes w4g128 --ctx 0 %s", arguments);
    json_t *json = command_json(0, "qgen.plan/1", "%s", full);
    const double v = number(row(json, "rows", 0), key);
    json_decref(json);
    return v;
}

static void options_count(void **state)
{
    (void)state;
    const double dollars = first("--gpu h100 --price h100=3.6", "dollars_out");
    near(dollars, 3.6 / 3600 / (3350e9 / 37.4e9) * 1e6, 0.002);
    near(first("--gpu h100 --price h100=7.2", "dollars_out"), 2 * dollars, 1e-6);
    near(first("--gpu h100 --price h100=3.6 --utilisation 0.5", "dollars_out"), 2 * dollars, 1e-6);
    const double one = 1008e9 / 37.4e9;
    near(first("--gpu 4090 --cards 2", "ceiling_tokens_s"), 2 * one, 0.002);
    near(first("--gpu 4090 --cards 2 --split layers", "ceiling_tokens_s"), one, 0.002);
}

static void claims_are_checked(void **state)
{
    (void)state;
    assert_int_equal(command_run("%s", LLAMA "--gpu h100 --schemes fp8 --check 1800 --batch 16"),
                     1);
    assert_non_null(strstr(command_output, "2.4x above the memory roofline of 75"));
    assert_int_equal(command_run("%s", LLAMA "--gpu h100 --schemes fp8 --check 420 --batch 16"), 0);
    assert_non_null(strstr(command_output, "% of the memory roofline"));
    assert_int_equal(command_run("%s", LLAMA "--gpu h100 --schemes f16 --check 1"), 1);
    assert_non_null(strstr(command_output, "does not fit"));
    json_t *json = command_json(1, "qgen.plan-check/1", "%s",
                                LLAMA "--gpu h100 --schemes fp8 --check 1800 --batch 16,64");
    assert_true(json_is_false(json_object_get(json, "possible")));
    assert_true(json_is_false(json_object_get(row(json, "claims", 0), "possible")));
    assert_true(json_is_true(json_object_get(row(json, "claims", 1), "possible")));
    json_decref(json);
}

static void article_is_checked(void **state)
{
    (void)state;
    /* $/h, tokens/s and $ per million as published; ceilings at batch 1 by hand. */
    static const double rows[5][4] = {{2.98, 180, 4.60, 29.3},
                                      {1.49, 240, 1.72, 28.9},
                                      {0.18, 48, 1.04, 27.0},
                                      {1.20, 190, 1.75, 41.0},
                                      {2.20, 420, 1.45, 47.5}};
    json_t *json = command_json(0, "qgen.plan-article/1", "%s", "plan --article");
    for (size_t i = 0; i < 5; i++) {
        const json_t *r = row(json, "rows", i);
        near(number(r, "price_hour"), rows[i][0], 1e-9);
        near(number(r, "said_tokens_s"), rows[i][1], 1e-9);
        near(number(r, "said_dollars"), rows[i][2], 1e-9);
        near(number(r, "computed_dollars"), rows[i][0] / 3600 / rows[i][1] * 1e6, 1e-6);
        near(number(r, "ceiling_tokens_s"), rows[i][3], 0.003);
        assert_true(json_is_false(json_object_get(r, "possible_at_1")));
        assert_true(number(r, "least_batch") == ceil(rows[i][1] / number(r, "ceiling_tokens_s")));
        assert_true(json_is_true(json_object_get(r, "fits")) == (i != 2));
    }
    assert_non_null(strstr(text(row(json, "rows", 2), "instead"), "2 x rtx4090"));
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 5);
    json_decref(json);
    assert_int_equal(command_run("%s", "plan --article"), 0);
    assert_non_null(strstr(command_output, "does not fit"));
    assert_non_null(strstr(command_output, "not at batch 1"));
}

static void forms_agree(void **state)
{
    (void)state;
    const char *command = LLAMA "--gpu a100 --schemes w4g128,int8 --ctx 0";
    char full[300];
    assert_int_equal(command_run("%s", command), 0);
    assert_non_null(strstr(command_output, "a100  w4g128"));
    snprintf(full, sizeof full, "%s --format md", command);
    assert_int_equal(command_run("%s", full), 0);
    assert_non_null(strstr(command_output, "| a100 | w4g128 | 1 | 1 | one card | yes |"));
    assert_non_null(strstr(command_output, "|---|---|--:|"));
    snprintf(full, sizeof full, "%s --format csv", command);
    assert_int_equal(command_run("%s", full), 0);
    assert_int_equal(strncmp(command_output, "gpu,scheme,batch,cards,", 23), 0);
    const char *line = strstr(command_output, "\na100,int8,1,1,one card,yes,");
    assert_non_null(line);
    double ceiling = 0;
    assert_int_equal(sscanf(line, "\na100,int8,1,1,one card,yes,%*[^,],%lf", &ceiling), 1);
    near(ceiling, 2039 / 70.56, 0.001);
}

static void files_are_planned(void **state)
{
    (void)state;
    const struct tiny_options options = {.families = 1u << FAMILY_MMA};
    char path[64], full[200];
    size_t bytes;
    uint8_t *file = tiny_model(&options, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    snprintf(full, sizeof full, "plan --model %s --gpu t4 --schemes file", path);
    json_t *json = command_json(0, "qgen.plan/1", "%s", full);
    assert_true(number(json_object_get(json, "model"), "context") == TINY_CONTEXT);
    assert_true(number(row(json, "rows", 0), "weights_bytes") < (double)bytes);
    json_decref(json);
    remove(path);
}

static void wrong_usage(void **state)
{
    (void)state;
    static const struct {
        const char *arguments;
        int code;
        const char *said;
    } cases[] = {
        {"plan --model llama5 --gpu h100", 2, "llama3-70b"},
        {LLAMA "--gpu h900", 2, "rtx4090"},
        {LLAMA "--gpu h100 --batch 0", 2, "1 to"},
        {LLAMA "--gpu h100 --batch 1,x", 2, "1 to"},
        {LLAMA "--gpu h100 --price h100", 2, "h100=2.49"},
        {LLAMA "--gpu h100 --price a100=2", 2, "not in --gpu"},
        {LLAMA "--gpu h100 --format xml", 2, "md|csv"},
        {LLAMA "--gpu h100 --split rows", 2, "tensor or layers"},
        {LLAMA "--gpu h100 --utilisation 2", 2, "at most 1"},
        {LLAMA "--gpu h100 --schemes file", 2, "model file"},
        {"plan --gpu h100", 2, "--model"},
        {LLAMA, 2, "--gpu"},
        {LLAMA "--article", 2, "--article"},
        {"targets --format md", 2, "text or json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int code = command_run("%s", cases[i].arguments);
        if (code != cases[i].code || !strstr(command_errors, cases[i].said) || *command_output)
            fail_msg("%s: exit %d, '%s'", cases[i].arguments, code, command_errors);
    }
    assert_true(command_run("%s", LLAMA "--gpu h100 --schemes w99") != 0);
    assert_int_equal(command_run("%s", LLAMA "--gpu h100 --gpus errors"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_complete),   cmocka_unit_test(measurements_are_used),
        cmocka_unit_test(kernels_are_counted), cmocka_unit_test(stored_kernels_are_counted),
        cmocka_unit_test(winners_are_counted), cmocka_unit_test(options_count),
        cmocka_unit_test(claims_are_checked),  cmocka_unit_test(article_is_checked),
        cmocka_unit_test(forms_agree),         cmocka_unit_test(files_are_planned),
        cmocka_unit_test(wrong_usage),
    };
    return cmocka_run_group_tests(tests, begin, command_end);
}
