/* test_vgpu_session.c -- whole models on the device cuda, with the virtual GPU for a driver
 *
 * - on the oldest arch, Hopper's and the newest: what qrt_model_needs() names, the pipeline makes, the
 *   session then opens, and its logits are ref's within f16, for a text at once and token by token
 * - one token's launches are recorded when the session opens and played as one
 * - a context that is split among blocks gives ref's logits, and the same bits every time
 * - real models: rows through their first layer and their last are ref's
 * - a real model: the logits of a text, and the tokens that follow greedily, are ref's
 * - nothing on the way is out of bounds, unwritten, raced for or otherwise faulty
 * Needs NVRTC, and for real models files in $QGEN_MODELS or .deps/models; skips aloud without.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "nvrtc.h"
#include "pack.h"
#include "session.h"
#include "sessions.h"
#include "tiny_model.h"
#include "virtual.h"

#define SMOLLM2 "SmolLM2-135M-Instruct.Q4_1.gguf"
#define GEMMA3  "gemma-3-270m-q4_k_m.gguf"

enum { TOKENS = 40, MAX_M = 40, REAL_ROWS = 19, REAL_STEPS = 3, REAL_CONTEXT = 2048 };

typedef float all_logits[TOKENS][TINY_VOCAB];

static struct virtual_gpu *virtual;
static qrt *rt;
static qrt_device *ref;

static int open_all(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        print_message("SKIP: no NVRTC: %s\n", qrt_message());
        exit(0);
    }
    nvrtc_close(nvrtc);
    if (virtual_open(&virtual) != QRT_OK) fail_msg("%s", qrt_message());
    return qrt_open(NULL, &rt) != QRT_OK || qrt_device_open(rt, "ref", &ref) != QRT_OK;
}

static int close_all(void **state)
{
    (void)state;
    qrt_device_close(ref);
    virtual_close(virtual);
    qrt_close(rt);
    return 0;
}

static qrt_device *open_arch(const char *arch)
{
    qrt_device *d;
    if (virtual_device(virtual, arch_find(arch), &d) != QRT_OK) fail_msg("%s", qrt_message());
    return d;
}

/* Launches since the last call, none of them with a finding. */
static uint64_t clean_launches(void)
{
    struct vgpu_finding first;
    struct vgpu_counts counts;
    if (virtual_take(virtual, &first, &counts) > 0)
        fail_msg("%s: %s (%s)", first.kernel, first.text, first.source);
    return counts.launches;
}

/* ---- a model made here ---- */

static qrt_model *tiny_of(const struct tiny_options *options)
{
    size_t bytes;
    char path[64];
    qrt_model *m;
    uint8_t *file = tiny_model(options, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    unlink(path);
    return m;
}

static qrt_session *open_session(qrt_device *device, const qrt_model *m, int context)
{
    const qrt_session_options options = {
        .size = sizeof options, .max_m = MAX_M, .context = context};
    qrt_session *s;
    if (device != ref) sessions_add_kernels(device, m, &options);
    if (qrt_session_open(device, m, &options, &s) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(s->step_graph != NULL, device != ref); /* one token is one call */
    return s;
}

/* Logits of all tokens, `chunk` of them in a run. */
static void run(qrt_device *device, const qrt_model *m, int chunk, all_logits logits)
{
    int ids[TOKENS];
    qrt_session *s = open_session(device, m, 0);
    for (int i = 0; i < TOKENS; i++) ids[i] = i * 17 % TINY_VOCAB;
    for (int i = 0; i < TOKENS; i += chunk)
        if (qrt_run(s, ids + i, (size_t)chunk, logits[i], (size_t)chunk) != QRT_OK)
            fail_msg("%s", qrt_message());
    qrt_session_close(s);
}

static double distance(const all_logits got, const all_logits want)
{
    return sessions_distance(got[0], want[0], (size_t)TOKENS * TINY_VOCAB);
}

static void archs_are_ref(void **state)
{
    (void)state;
    static const char *const archs[] = {"sm_75", "sm_90a", "sm_120"};
    const struct tiny_options gemma = {.families = 1u << FAMILY_MMA, .qk_norm = 1, .window = 9};
    all_logits want, whole, steps;
    qrt_model *m = tiny_of(&gemma);
    run(ref, m, TOKENS, want);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        qrt_device *d = open_arch(archs[i]);
        run(d, m, TOKENS, whole);
        run(d, m, 1, steps);
        assert_true(clean_launches() > 0);
        if (distance(whole, want) > 5e-3 || distance(steps, want) > 5e-3)
            fail_msg("%s: distances %.2e and %.2e", archs[i], distance(whole, want),
                     distance(steps, want));
    }
    qrt_model_close(m);
}

static void split_contexts_are_ref(void **state)
{
    (void)state;
    const struct tiny_options long_context = {.families = 1u << FAMILY_MMA, .context = 1024};
    const struct tiny_options short_context = {.families = 1u << FAMILY_MMA};
    all_logits want, split, again;
    qrt_model *m = tiny_of(&long_context), *short_model = tiny_of(&short_context);
    qrt_device *d = open_arch("sm_90a");
    run(ref, m, TOKENS, want);
    run(d, m, 1, split); /* kernels are made, and tried, now */
    clean_launches();
    run(d, short_model, 1, again);
    const uint64_t whole_launches = clean_launches();
    run(d, m, 1, again);
    assert_int_equal(clean_launches(), whole_launches + 2 * TOKENS); /* a combine a layer */
    assert_true(distance(split, want) < 5e-3);
    assert_memory_equal(split, again, sizeof split);
    qrt_model_close(short_model);
    qrt_model_close(m);
}

/* ---- a real model ---- */

static qrt_model *real_model(const char *file)
{
    char in[512], out[64];
    const char *models_at = getenv("QGEN_MODELS");
    snprintf(in, sizeof in, "%s/%s", models_at ? models_at : ".deps/models", file);
    if (access(in, R_OK) != 0) {
        print_message("SKIPPED: %s is absent; ./build.sh test fetches it where PyPI answers\n", in);
        skip();
    }
    snprintf(out, sizeof out, "/tmp/test_vgpu.%ld.qm", (long)getpid());
    const struct pack_options options = {.families = 1u << FAMILY_MMA};
    struct pack_result result;
    qrt_model *m;
    if (pack_file(in, out, &options, &result) != QRT_OK || qrt_model_open(rt, out, &m) != QRT_OK)
        fail_msg("%s", qrt_message());
    unlink(out);
    return m;
}

static void same_layer(qrt_device *gpu, const qrt_model *m, int layer, int rows)
{
    static float want[REAL_ROWS][4096], got[REAL_ROWS][4096];
    qrt_model_info info;
    qrt_model_info_get(m, &info);
    const size_t count = (size_t)rows * (size_t)info.hidden;
    uint64_t random = 7;
    for (size_t i = 0; i < count; i++) want[0][i] = got[0][i] = random_float(&random);
    qrt_session *on_ref = open_session(ref, m, REAL_CONTEXT);
    qrt_session *on_gpu = open_session(gpu, m, REAL_CONTEXT);
    if (qrt_run_layer(on_ref, layer, want[0], (size_t)rows) != QRT_OK ||
        qrt_run_layer(on_gpu, layer, got[0], (size_t)rows) != QRT_OK)
        fail_msg("%s", qrt_message());
    const double distance = sessions_distance(got[0], want[0], count);
    if (distance > 3e-3) fail_msg("layer %d, %d rows: distance %.2e", layer, rows, distance);
    qrt_session_close(on_gpu);
    qrt_session_close(on_ref);
}

/* One row and many, the ends of the model. */
static void same_layers(const char *file, const char *arch)
{
    qrt_model *m = real_model(file);
    qrt_model_info info;
    qrt_model_info_get(m, &info);
    qrt_device *d = open_arch(arch);
    same_layer(d, m, 0, 1);
    same_layer(d, m, info.layers - 1, REAL_ROWS);
    assert_true(clean_launches() > 0);
    qrt_model_close(m);
}

static void smollm2_layers_are_ref(void **state)
{
    (void)state;
    same_layers(SMOLLM2, "sm_80");
}

static void gemma3_layers_are_ref(void **state)
{
    (void)state;
    same_layers(GEMMA3, "sm_89");
}

/* Logits of a text's last token, and the tokens that follow greedily. */
static void follow(qrt_device *device, const qrt_model *m, float *logits, int tokens[REAL_STEPS])
{
    static const char text[] = "Once upon a time, there was a little";
    int ids[32];
    size_t count;
    assert_int_equal(qrt_tokenize(m, text, strlen(text), 0, ids, 32, &count), QRT_OK);
    qrt_session *s = open_session(device, m, REAL_CONTEXT);
    if (qrt_run(s, ids, count, logits, 1) != QRT_OK) fail_msg("%s", qrt_message());
    qrt_model_info info;
    qrt_model_info_get(m, &info);
    const qrt_sampling greedy = {0};
    int next = qrt_sample(logits, info.vocab, &greedy, 0);
    for (int i = 0; i < REAL_STEPS; i++) {
        tokens[i] = next;
        if (qrt_step(s, next, &greedy, &next) != QRT_OK) fail_msg("%s", qrt_message());
    }
    qrt_session_close(s);
}

static void real_model_is_ref(void **state)
{
    (void)state;
    qrt_model *m = real_model(SMOLLM2);
    qrt_model_info info;
    qrt_model_info_get(m, &info);
    const size_t vocab = (size_t)info.vocab;
    float *want = test_malloc(vocab * sizeof *want), *got = test_malloc(vocab * sizeof *got);
    int want_tokens[REAL_STEPS], got_tokens[REAL_STEPS];
    qrt_device *d = open_arch("sm_80");
    follow(ref, m, want, want_tokens);
    follow(d, m, got, got_tokens);
    assert_true(clean_launches() > 0);
    const double distance = sessions_distance(got, want, vocab);
    if (distance > 1e-2) fail_msg("distance of the logits %.2e", distance);
    assert_memory_equal(got_tokens, want_tokens, sizeof want_tokens);
    test_free(want);
    test_free(got);
    qrt_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archs_are_ref),          cmocka_unit_test(split_contexts_are_ref),
        cmocka_unit_test(smollm2_layers_are_ref), cmocka_unit_test(gemma3_layers_are_ref),
        cmocka_unit_test(real_model_is_ref),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
