/* test_planner.c -- contract of planner.h and plan_model.h
 *
 * - every model of the table has the published number of parameters, within half a percent; every one
 *   has a source
 * - Llama 3 70B: 70.55 G parameters, 68.45 G of them in linears; 327,680 bytes of keys and values a token
 * - layers with a window keep a window of keys and values
 * - bits of a weight count scales and zeros: 16/128 for a scale, 8/128 for a zero as qgen stores it
 * - bytes read and held, and ceilings at batch 1, as worked out by hand for A100, H100 and RTX 4090;
 *   two cards: twice that for a tensor split, the same for a split by layers
 * - the crossover batches: W4 on A100 40, RTX 4090 43, H100 77; FP8 on H100 295; INT8 on A100 153
 * - decode, tensor and layer splits follow the header's formulas: keys and values are read for each
 *   sequence, many rows are bound by compute, layers work on as many parts of the batch as there are cards
 * - prefill is bound by compute for long prompts, by reading the weights once for short ones
 * - fits: 4-bit Llama 3 70B not on one RTX 4090, on two; f16 on two A100 of 80 GB; a tensor split takes
 *   a divisor of the heads of keys
 * - plan_batch_for is the first batch whose ceiling is enough; 0 when keys and values stop it before
 * - dollars: the known figures of batch 1
 * - published measurements lie below the ceilings; published claims that break physics lie above
 * - names: a scheme, fp8, int8, f16; unknown models and schemes are refused with what there is
 * - a packed model's sizes and bytes are its own
 */
#include "planner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gpu_table.h"
#include "helpers.h"
#include "tiny_model.h"

static struct gpus table;
static struct plan_model llama;

static int load(void **state)
{
    (void)state;
    if (gpu_table_load(NULL, &table) != QRT_OK) return -1;
    return plan_model_load("llama3-70b", &llama) == QRT_OK ? 0 : -1;
}

static void near(double got, double expected, double share)
{
    if (!(fabs(got - expected) <= share * fabs(expected)))
        fail_msg("%.6g, expected %.6g within %g", got, expected, share);
}

/* By hand: bits in the linears, 16 in output matrix and table. */
static struct plan_scheme bits(double in_linears, enum elem_type act)
{
    return (struct plan_scheme){.bits = in_linears, .head_bits = 16, .act = act};
}

static struct plan_case one_card(const char *gpu, const struct plan_scheme *s)
{
    const struct plan_case c = {.model = &llama,
                                .scheme = s,
                                .gpu = gpus_find(&table, gpu),
                                .cards = 1,
                                .batch = 1,
                                .prompt = 1024,
                                .utilisation = 1};
    assert_non_null(c.gpu);
    return c;
}

static struct plan_result compute(const struct plan_case *c)
{
    struct plan_result r;
    plan_compute(c, &r);
    return r;
}

static void published_parameters(void **state)
{
    (void)state;
    struct plan_model all[PLAN_MODELS_MOST];
    size_t count;
    assert_int_equal(plan_models(all, &count), QRT_OK);
    assert_true(count >= 12);
    for (size_t i = 0; i < count; i++) {
        near(plan_model_all(&all[i]), all[i].parameters, 0.005);
        assert_true(strlen(all[i].source) > 10);
    }
}

static void llama_by_hand(void **state)
{
    (void)state;
    near(plan_model_all(&llama), 70.55e9, 1e-4);
    near(plan_model_linears(&llama), 68.45e9, 1e-4);
    near(plan_model_head(&llama), 1.05e9, 1e-3);
    assert_true(plan_model_kv(&llama, 1) == 327680);
    near(plan_model_kv(&llama, 8192), 2.7e9, 0.01);
}

static void windows_keep_a_window(void **state)
{
    (void)state;
    struct plan_model g;
    assert_int_equal(plan_model_load("gemma3-27b", &g), QRT_OK);
    const double token = 2.0 * 16 * 128 * 2; /* of a layer: keys and values, 16 heads of 128, f16 */
    assert_true(plan_model_kv(&g, 1000) == token * 62 * 1000);
    assert_true(plan_model_kv(&g, 8192) == token * (10 * 8192 + 52 * 1024));
}

static void bits_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double bits;
    } cases[] = {{"w4g128", 4 + 16.0 / 128},
                 {"w4g128z", 4 + 24.0 / 128},
                 {"w3g128", 3 + 16.0 / 128},
                 {"mxfp4", 4 + 8.0 / 32},
                 {"nvfp4", 4 + 8.0 / 16},
                 {"f16", 16},
                 {"int8", 8 + 16.0 / 8192},
                 {"fp8", 8 + 32.0 / 8192},
                 {"w4g32m.k", 4 + 16.0 / 32 + 32.0 / 256}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct plan_scheme s;
        assert_int_equal(plan_scheme_parse(cases[i].name, &llama, &s), QRT_OK);
        near(s.bits, cases[i].bits, 1e-9);
        assert_true(s.head_bits == 16);
    }
}

/* The table worked out by hand: 4.156 bits are codes, f16 scales and 4-bit zeros of groups of 128. */
static void ceilings_by_hand(void **state)
{
    (void)state;
    static const struct {
        double bits, read_gb, held_gb, a100, h100, rtx4090;
    } rows[] = {
        {16, 139.0, 141.1, 14.7, 24.1, 7.25},
        {8, 70.6, 72.7, 28.9, 47.5, 14.3},
        {4.15625, 37.7, 39.8, 54.1, 88.9, 26.8},
        {3.15625, 29.1, 31.2, 70, 115, 34.6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct plan_scheme s = bits(rows[i].bits, ELEM_F16);
        struct plan_case c = one_card("a100", &s);
        struct plan_result r = compute(&c);
        near(r.read, rows[i].read_gb * 1e9, 0.002);
        near(r.weights, rows[i].held_gb * 1e9, 0.002);
        near(r.decode, rows[i].a100, 0.005);
        assert_int_equal(r.bound, PLAN_MEMORY);
        c.cards = 2;
        c.split = PLAN_TENSOR;
        near(compute(&c).decode, 2 * rows[i].a100, 0.005);
        c.split = PLAN_LAYERS;
        near(compute(&c).decode, rows[i].a100, 0.005);
        c = one_card("h100", &s);
        near(compute(&c).decode, rows[i].h100, 0.005);
        c = one_card("4090", &s);
        near(compute(&c).decode, rows[i].rtx4090, 0.005);
    }
}

static void crossovers(void **state)
{
    (void)state;
    static const struct {
        const char *gpu;
        double bits;
        enum elem_type act;
        double batch;
    } cases[] = {{"a100", 4.15625, ELEM_F16, 40},
                 {"4090", 4.15625, ELEM_F16, 43},
                 {"h100", 4.15625, ELEM_F16, 77},
                 {"h100", 8, ELEM_E4M3, 295},
                 {"a100", 8, ELEM_I8, 153}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct plan_scheme s = bits(cases[i].bits, cases[i].act);
        const struct plan_case c = one_card(cases[i].gpu, &s);
        assert_true(round(compute(&c).crossover) == cases[i].batch);
    }
}

static void formulas(void **state)
{
    (void)state;
    const struct plan_scheme s = bits(8, ELEM_E4M3);
    struct plan_case c = one_card("h100", &s);
    const double W = 68.452e9 + 1.0507e9 * 2, P = 68.452e9 + 1.0507e9, BW = 3350e9, peak = 1979e12;
    c.context = 4096;
    const double V = 327680.0 * 4096;
    c.batch = 8;
    near(compute(&c).decode, 8 / ((W + 8 * V) / BW), 1e-3);
    assert_int_equal(compute(&c).bound, PLAN_MEMORY);
    c.batch = 128;
    near(compute(&c).decode, 128 / ((W + 128 * V) / BW), 1e-3);
    assert_int_equal(compute(&c).bound, PLAN_KV);
    c.context = 16;
    c.batch = 1024;
    near(compute(&c).decode, peak / (2 * P), 1e-3);
    assert_int_equal(compute(&c).bound, PLAN_COMPUTE);
    c.context = 4096;
    c.batch = 8;
    c.cards = 4;
    c.split = PLAN_TENSOR;
    near(compute(&c).decode, 4 * 8 / ((W + 8 * V) / BW), 1e-3);
    c.split = PLAN_LAYERS; /* four parts of two sequences under way */
    near(compute(&c).decode, 8 / ((W + 2 * V) / BW), 1e-3);
    near(compute(&c).decode_sequence, 1 / ((W + 2 * V) / BW), 1e-3);
    c.batch = 2; /* fewer parts than cards */
    near(compute(&c).decode, 2 / ((W + V) / BW), 1e-3);
}

static void prefills(void **state)
{
    (void)state;
    const struct plan_scheme s = bits(4.125, ELEM_F16);
    struct plan_case c = one_card("a100", &s);
    c.prompt = 2048;
    const double L = 68.452e9, attention = 2.0 * 64 * 128 * 80 * 2048 * 2048;
    near(compute(&c).first_token, (2 * L * 2048 + attention) / 312e12, 1e-3);
    near(compute(&c).prefill, 2048 / ((2 * L * 2048 + attention) / 312e12), 1e-3);
    assert_true(compute(&c).prefill < 312e12 / (2 * L));
    c.prompt = 1;
    near(compute(&c).first_token, compute(&c).read / 2039e9, 1e-9);
}

static int cards(const char *gpu, const char *scheme, enum plan_split split, double context)
{
    struct plan_scheme s;
    assert_int_equal(plan_scheme_parse(scheme, &llama, &s), QRT_OK);
    struct plan_case c = one_card(gpu, &s);
    c.context = context;
    return plan_cards(&c, split);
}

static void fitting(void **state)
{
    (void)state;
    assert_int_equal(cards("4090", "w4g128", PLAN_LAYERS, 8192), 2);
    assert_int_equal(cards("4090", "w4g128", PLAN_TENSOR, 8192), 2);
    assert_int_equal(cards("a100", "f16", PLAN_LAYERS, 8192), 2);
    assert_int_equal(cards("a100", "w4g128", PLAN_LAYERS, 8192), 1);
    assert_int_equal(cards("a100", "int8", PLAN_LAYERS, 8192), 1);
    assert_int_equal(cards("4090", "f16", PLAN_LAYERS, 8192), 6);
    assert_int_equal(cards("4090", "f16", PLAN_TENSOR, 8192), 8); /* 8 heads of keys: 1, 2, 4, 8 */
    assert_int_equal(cards("t4", "f16", PLAN_TENSOR, 8192), 0);
    struct plan_scheme s = bits(4.125, ELEM_F16);
    struct plan_case c = one_card("4090", &s);
    assert_false(compute(&c).fits);
    assert_true(plan_context_room(&c) == 0);
    c = one_card("a100", &s);
    struct plan_case full = c;
    full.context = plan_context_room(&c);
    assert_true(compute(&full).fits);
    full.context += 1;
    assert_false(compute(&full).fits);
}

static void batches_for_a_rate(void **state)
{
    (void)state;
    const struct plan_scheme s = bits(8, ELEM_E4M3);
    struct plan_case c = one_card("h100", &s);
    assert_int_equal(plan_batch_for(&c, 47), 1);
    assert_int_equal(plan_batch_for(&c, 420), 9); /* 47.5 each: 8 make 380, 9 make 427 */
    c.context = 8192;                             /* at most 3350e9 / 2.68e9 = 1248 tokens/s */
    assert_int_equal(plan_batch_for(&c, 1300), 0);
}

static void dollars(void **state)
{
    (void)state;
    const struct plan_scheme fp8 = bits(8, ELEM_E4M3), w4 = bits(4.15625, ELEM_F16);
    struct plan_case c = one_card("h100", &fp8);
    assert_true(compute(&c).dollars_out == 0);
    c.price_hour = 2.49;
    near(compute(&c).dollars_out, 14.6, 0.005);
    c.utilisation = 0.5;
    near(compute(&c).dollars_out, 29.1, 0.005);
    near(compute(&c).dollars_in, 2.49 / 3600 / compute(&c).prefill * 1e6 / 0.5, 1e-9);
    c = one_card("a100", &w4);
    c.price_hour = 1.79;
    near(compute(&c).dollars_out, 9.2, 0.005);
}

/* Measured: XiongjieDai/GPU-Benchmarks-on-LLM-Inference.  Claims: public comparison tables. */
static void measurements_and_claims(void **state)
{
    (void)state;
    struct plan_scheme s = {.bits = 42.52e9 * 8 / 70.55e9, .head_bits = 6.5625}; /* Q4_K_M */
    struct plan_case c = one_card("4090", &s);
    c.cards = 2;
    c.split = PLAN_LAYERS;
    assert_true(compute(&c).decode > 19.06 && compute(&c).decode < 19.06 / 0.75);
    assert_true(compute(&c).prefill > 905);
    c.gpu = gpus_find(&table, "3090");
    assert_true(compute(&c).decode > 16.3);
    struct plan_model llama2;
    assert_int_equal(plan_model_load("llama2-70b", &llama2), QRT_OK);
    s = (struct plan_scheme){.bits = 4.5, .head_bits = 6.5625}; /* Q4_0 */
    c = one_card("a100", &s);
    c.model = &llama2;
    assert_true(compute(&c).decode > 25.7);
    c.gpu = gpus_find(&table, "h100-pcie");
    assert_true(compute(&c).decode > 25.9);
    s = bits(8, ELEM_E4M3); /* MLPerf: 8 H100, 24.8 k tokens/s */
    c = one_card("h100", &s);
    c.model = &llama2;
    c.cards = 8;
    c.split = PLAN_TENSOR;
    c.batch = 2048;
    c.context = 500;
    assert_true(compute(&c).decode > 24.8e3 && compute(&c).fits);
    c = one_card("h100", &s); /* "batch 16: 1800 tokens/s" */
    c.batch = 16;
    near(compute(&c).decode, 760, 0.005);
    near(1800 / compute(&c).decode, 2.4, 0.02);
    s = bits(16, ELEM_F16); /* "Llama 2 70B f16, batch 1, H100: 85" */
    c = one_card("h100", &s);
    c.model = &llama2;
    assert_true(compute(&c).decode < 25 && !compute(&c).fits);
}

static void names(void **state)
{
    (void)state;
    struct plan_model m;
    struct plan_scheme s;
    char text[256];
    assert_int_equal(plan_model_load("llama4-70b", &m), QRT_E_ARGUMENT);
    assert_non_null(strstr(qrt_message(), "llama3-70b"));
    assert_int_equal(plan_scheme_parse("w9g128", &llama, &s), QRT_E_SCHEME);
    assert_int_equal(plan_scheme_parse("file", &llama, &s), QRT_E_ARGUMENT);
    assert_int_equal(plan_scheme_parse("fp8", &llama, &s), QRT_OK);
    assert_true(plan_peak(gpus_find(&table, "h100"), &s) == 1979e12);
    assert_true(plan_peak(gpus_find(&table, "a100"), &s) == 312e12); /* no such unit: f16 */
    assert_int_equal(plan_scheme_parse("w4g128", &llama, &s), QRT_OK);
    assert_int_equal(plan_quality(&llama, &s, text, sizeof text), QRT_OK);
    assert_non_null(strstr(text, "Q4_K_M"));
    assert_non_null(strstr(text, "+4.83 %"));
    assert_non_null(strstr(text, "#6745"));
    assert_int_equal(plan_scheme_parse("int8", &llama, &s), QRT_OK);
    assert_int_equal(plan_quality(&llama, &s, text, sizeof text), QRT_OK);
    assert_non_null(strstr(text, "+0.03 %"));
}

static void packed_model(void **state)
{
    (void)state;
    const struct tiny_options options = {.window = 8};
    struct plan_model m;
    struct plan_scheme s;
    char path[64];
    size_t bytes;
    uint8_t *file = tiny_model(&options, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    assert_int_equal(plan_model_load(path, &m), QRT_OK);
    assert_true(m.layers == 2 && m.hidden == TINY_HIDDEN && m.ffn == TINY_FFN);
    assert_true(m.heads == TINY_HEADS && m.kv_heads == TINY_KV && m.head == TINY_HEAD);
    assert_true(m.vocab == TINY_VOCAB && m.context == TINY_CONTEXT);
    assert_int_equal(plan_scheme_parse("file", &m, &s), QRT_OK);
    /* w4g32m with rows padded to 16 and K to 32: between its 4 + 2 * 16 / 32 bits and 1.5 times that. */
    assert_true(s.bits >= 5 && s.bits < 7.5);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_parameters),
        cmocka_unit_test(llama_by_hand),
        cmocka_unit_test(windows_keep_a_window),
        cmocka_unit_test(bits_are_counted),
        cmocka_unit_test(ceilings_by_hand),
        cmocka_unit_test(crossovers),
        cmocka_unit_test(formulas),
        cmocka_unit_test(prefills),
        cmocka_unit_test(fitting),
        cmocka_unit_test(batches_for_a_rate),
        cmocka_unit_test(dollars),
        cmocka_unit_test(measurements_and_claims),
        cmocka_unit_test(names),
        cmocka_unit_test(packed_model),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
