/* test_vgpu_session.c -- whole models on the device cuda, with the virtual GPU for a driver
 *
 * - on every arch: what qrt_model_needs() names, the pipeline makes, the session then opens, and its
 *   logits are ref's within f16, for a text at once and token by token
 * - a context that is split among blocks gives ref's logits, and the same bits every time
 * - real models: rows through their first layer and their last are ref's
 * - a real model: the logits of a text, and the tokens that follow greedily, are ref's
 * - nothing on the way is out of bounds, unwritten, raced for or otherwise faulty
 * Needs NVRTC, and for real models files in $QGEN_MODELS or .deps/models; skips aloud without.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../autotune/vgpu/vgpu.h"
#include "helpers.h"
#include "nvrtc.h"
#include "pack.h"
#include "sessions.h"
#include "tiny_model.h"

#define VGPU_PATH BINARY_DIR "/libqgen_vgpu.so"
#define SMOLLM2   "SmolLM2-135M-Instruct.Q4_1.gguf"
#define GEMMA3    "gemma-3-270m-q4_k_m.gguf"

enum { TOKENS = 40, MAX_M = 40, REAL_ROWS = 19, REAL_STEPS = 3, REAL_CONTEXT = 2048 };

typedef float all_logits[TOKENS][TINY_VOCAB];

/* What the virtual GPU offers beside the driver's names. */
static struct {
    int (*arch_count)(void);
    const char *(*arch)(int device);
    void (*configure)(int keep_going, int checks, int threads);
    size_t (*findings)(struct vgpu_finding *out, size_t most);
    void (*counts)(struct vgpu_counts *out);
    void (*reset)(void);
} vgpu;

static qrt *rt;
static qrt_device *ref;

static void find(void *library, const char *symbol, void *function)
{
    void *found = dlsym(library, symbol);
    if (!found) fail_msg("%s has no %s", VGPU_PATH, symbol);
    memcpy(function, &found, sizeof found);
}

static int open_all(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    const qrt_options options = {.size = sizeof options, .cuda_library = VGPU_PATH};
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        print_message("SKIP: no NVRTC: %s\n", qrt_message());
        exit(0);
    }
    nvrtc_close(nvrtc);
    void *library = dlopen(VGPU_PATH, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    find(library, "vgpu_arch_count", &vgpu.arch_count);
    find(library, "vgpu_arch", &vgpu.arch);
    find(library, "vgpu_configure", &vgpu.configure);
    find(library, "vgpu_findings", &vgpu.findings);
    find(library, "vgpu_counts", &vgpu.counts);
    find(library, "vgpu_reset", &vgpu.reset);
    vgpu.configure(1, 1, 2);
    return qrt_open(&options, &rt) != QRT_OK || qrt_device_open(rt, "ref", &ref) != QRT_OK;
}

static int close_all(void **state)
{
    (void)state;
    qrt_device_close(ref);
    qrt_close(rt);
    return 0;
}

static qrt_device *open_gpu(int index)
{
    char name[16];
    qrt_device *d;
    snprintf(name, sizeof name, "cuda:%d", index);
    if (qrt_device_open(rt, name, &d) != QRT_OK) fail_msg("%s", qrt_message());
    vgpu.reset();
    return d;
}

static qrt_device *open_arch(const char *arch)
{
    int index = 0;
    while (strcmp(vgpu.arch(index), arch) != 0) index++;
    return open_gpu(index);
}

static void no_findings(void)
{
    struct vgpu_finding first;
    if (vgpu.findings(&first, 1) > 0)
        fail_msg("%s: %s (%s)", first.kernel, first.text, first.source);
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

static void every_arch_is_ref(void **state)
{
    (void)state;
    const struct tiny_options gemma = {.families = 1u << FAMILY_MMA, .qk_norm = 1, .window = 9};
    all_logits want, whole, steps;
    qrt_model *m = tiny_of(&gemma);
    run(ref, m, TOKENS, want);
    for (int i = 0; i < vgpu.arch_count(); i++) {
        qrt_device *d = open_gpu(i);
        run(d, m, TOKENS, whole);
        run(d, m, 1, steps);
        no_findings();
        qrt_device_close(d);
        if (distance(whole, want) > 5e-3 || distance(steps, want) > 5e-3)
            fail_msg("%s: distances %.2e and %.2e", vgpu.arch(i), distance(whole, want),
                     distance(steps, want));
    }
    qrt_model_close(m);
}

static void split_contexts_are_ref(void **state)
{
    (void)state;
    const struct tiny_options long_context = {.families = 1u << FAMILY_MMA, .context = 1024};
    all_logits want, split, again;
    struct vgpu_counts whole_counts, split_counts;
    qrt_model *m = tiny_of(&long_context);
    const struct tiny_options short_context = {.families = 1u << FAMILY_MMA};
    qrt_model *short_model = tiny_of(&short_context);
    qrt_device *d = open_arch("sm_90a");
    run(ref, m, TOKENS, want);
    run(d, short_model, 1, split);
    vgpu.counts(&whole_counts);
    vgpu.reset();
    run(d, m, 1, split);
    vgpu.counts(&split_counts);
    run(d, m, 1, again);
    no_findings();
    assert_int_equal(split_counts.launches, whole_counts.launches + 2 * TOKENS); /* combines */
    assert_true(distance(split, want) < 5e-3);
    assert_memory_equal(split, again, sizeof split);
    qrt_device_close(d);
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
    no_findings();
    qrt_device_close(d);
    qrt_model_close(m);
}

static void smollm2_layers_are_ref(void **state)
{
    (void)state;
    same_layers(SMOLLM2, "sm_75");
    same_layers(SMOLLM2, "sm_120");
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

/* Without the virtual GPU's checks, for speed: the layers had them. */
static void real_model_is_ref(void **state)
{
    (void)state;
    vgpu.configure(1, 0, 2);
    qrt_model *m = real_model(SMOLLM2);
    qrt_model_info info;
    qrt_model_info_get(m, &info);
    const size_t vocab = (size_t)info.vocab;
    float *want = test_malloc(vocab * sizeof *want), *got = test_malloc(vocab * sizeof *got);
    int want_tokens[REAL_STEPS], got_tokens[REAL_STEPS];
    qrt_device *d = open_arch("sm_80");
    follow(ref, m, want, want_tokens);
    follow(d, m, got, got_tokens);
    vgpu.configure(1, 1, 2);
    const double distance = sessions_distance(got, want, vocab);
    if (distance > 1e-2) fail_msg("distance of the logits %.2e", distance);
    assert_memory_equal(got_tokens, want_tokens, sizeof want_tokens);
    qrt_device_close(d);
    test_free(want);
    test_free(got);
    qrt_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_arch_is_ref),      cmocka_unit_test(split_contexts_are_ref),
        cmocka_unit_test(smollm2_layers_are_ref), cmocka_unit_test(gemma3_layers_are_ref),
        cmocka_unit_test(real_model_is_ref),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
