/* test_out_of_memory.c -- what the toolchain and the runtime do when memory or files give out
 *
 * - whichever allocation fails, once or from then on: the call succeeds or says QRT_E_MEMORY (a
 *   template's and a kernel's may pass it on as theirs), nothing crashes or leaks, closing works, and
 *   the same call succeeds afterwards.  Scenarios: templates from a folder and from the program, a
 *   kernel rendered; a pipeline with a stored kernel; a model, its tokenizer and its kernels opened
 *   on ref, and a run
 * - a pipeline whose store cannot be read or written, in any way at any operation, gives its kernel
 *   all the same: the bytes are those of a working one, with one note where they could not be kept
 *
 * QGEN_SOAK=1: every allocation, and every way at every operation; else a number of them a scenario,
 * spread evenly.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entries.h"
#include "error.h"
#include "fault.h"
#include "file.h"
#include "helpers.h"
#include "pipeline.h"
#include "tiny_model.h"

#define TEMPLATES SOURCE_DIR "/tests/gen/templates"
enum { SHALLOW = 200 /* each once, and from then on */ };

static char folder[64], store[80], kernels[80], model_path[64];

static int open_all(void **state)
{
    (void)state;
    size_t bytes;
    entries_folder(folder);
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(kernels, sizeof kernels, "%s/kernels", folder);
    uint8_t *file = tiny_model(NULL, &bytes);
    tiny_write(file, bytes, model_path);
    free(file);
    return mkdir(kernels, 0700);
}

static int close_all(void **state)
{
    (void)state;
    unlink(model_path);
    entries_remove(folder);
    return 0;
}

/* ---- scenarios: each opens all it needs, and closes it whatever came ---- */

typedef qrt_status scenario(void);

static qrt_status render_from(const char *from, const char *name, const char *arch)
{
    struct template_set *set;
    struct candidate *c = NULL;
    struct request r = {.arch = arch_find(arch), .m_lo = 1, .m_hi = 8};
    struct rendering out = {0};
    size_t count;
    TRY(op_desc_parse(name, &r.desc));
    TRY(template_set_open(from, &set));
    qrt_status status = template_candidates(set, &r, &c, &count);
    if (status == QRT_OK) status = template_render(set, &c[0], &out);
    if (status != QRT_OK) assert_null(out.text);
    rendering_free(&out);
    free(c);
    template_set_close(set);
    return status;
}

static qrt_status render_own(void) { return render_from(TEMPLATES, "add.f16", "sm_89"); }
static qrt_status render_built_in(void) { return render_from(NULL, "add.f32", "x86-64-v3"); }

static struct pipeline_result made;

static qrt_status make_kernel(void)
{
    static const char *const name = "add.f32";
    const struct pipeline_options options = {
        .templates = TEMPLATES, .store = store, .jobs = 1, .ungated = 1};
    struct pipeline *p;
    pipeline_result_free(&made);
    TRY(pipeline_open(&options, &p));
    const qrt_status status = pipeline_ensure(p, arch_find("x86-64-v3"), &name, 1, 8, &made);
    pipeline_close(p);
    return status;
}

static qrt_status reuse_kernel(void)
{
    const qrt_status status = make_kernel();
    pipeline_result_free(&made);
    return status;
}

/* Open all, run a token, and close all, as far as it comes. */
static qrt_status run_model(void)
{
    static const int ids[] = {1, 7, 12};
    float logits[TINY_VOCAB];
    qrt *rt = NULL;
    qrt_device *device = NULL;
    qrt_model *model = NULL;
    qrt_session *session = NULL;
    qrt_status status = qrt_open(NULL, &rt);
    if (status == QRT_OK) status = qrt_device_open(rt, "ref", &device);
    if (status == QRT_OK) status = qrt_model_open(rt, model_path, &model);
    if (status == QRT_OK) status = qrt_session_open(device, model, NULL, &session);
    if (status == QRT_OK) status = qrt_run(session, ids, 3, logits, 1);
    qrt_session_close(session);
    qrt_model_close(model);
    qrt_device_close(device);
    qrt_close(rt);
    return status;
}

static qrt_status open_cpu(void)
{
    qrt *rt = NULL;
    qrt_device *device = NULL;
    qrt_status status = qrt_open(NULL, &rt);
    if (status == QRT_OK) status = qrt_device_open(rt, "cpu", &device);
    if (status == QRT_OK) status = qrt_kernels_load(device, kernels, QRT_TRUST_CALLER);
    qrt_device_close(device);
    qrt_close(rt);
    return status;
}

/* ---- every allocation ---- */

static void fail_everywhere(const char *name, scenario *act)
{
    struct fault f = {.target = FAULT_MEMORY};
    int runs = 0, refused = 0;
    if (act() != QRT_OK) fail_msg("%s: %s", name, qrt_message());
    fault_begin(&f, NULL, NULL);
    assert_int_equal(act(), QRT_OK);
    const long calls = fault_end();
    const long step = getenv("QGEN_SOAK") || calls <= SHALLOW ? 1 : calls / SHALLOW + 1;
    for (f.at = 1; f.at <= calls; f.at += step)
        for (f.for_ever = 0; f.for_ever < 2; f.for_ever++, runs++) {
            fault_begin(&f, NULL, NULL);
            const qrt_status status = act();
            fault_end();
            if (status != QRT_OK && status != QRT_E_MEMORY)
                fail_msg("%s, allocation %ld of %ld%s: %s: %s", name, f.at, calls,
                         f.for_ever ? " and on" : "", qrt_status_text(status), qrt_message());
            refused += status != QRT_OK;
            if (status != QRT_OK) assert_true(qrt_message()[0] != 0);
        }
    if (act() != QRT_OK) fail_msg("%s, afterwards: %s", name, qrt_message());
    print_message("%s: %ld allocations, %d runs, %d refused\n", name, calls, runs, refused);
    assert_true(calls > 0 && refused > 0);
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    char path[96];
    assert_int_equal(make_kernel(), QRT_OK);
    snprintf(path, sizeof path, "%s/add.qk1", kernels);
    assert_int_equal(file_write(path, made.kernels[0].bytes, made.kernels[0].count), QRT_OK);
    fail_everywhere("render from a folder", render_own);
    fail_everywhere("render what is built in", render_built_in);
    fail_everywhere("pipeline with a stored kernel", reuse_kernel);
    fail_everywhere("model on ref", run_model);
    fail_everywhere("kernels on cpu", open_cpu);
}

/* ---- every file operation of a pipeline's store ---- */

static const struct {
    enum fault_effect effect;
    int error;
} ways[] = {{FAULT_FAIL, EIO},    {FAULT_FAIL, ENOSPC}, {FAULT_FAIL, EINTR},
            {FAULT_FAIL, EACCES}, {FAULT_FAIL, EROFS},  {FAULT_FAIL, ESTALE},
            {FAULT_FAIL, EMFILE}, {FAULT_FAIL, EDQUOT}, {FAULT_SHORT, 0}};
enum { WAYS = sizeof ways / sizeof *ways };

/* From when the shard is made: what comes before are the compiler's files. */
static long store_begins;

static void find_store(void *user, const struct fault_call *call)
{
    long *seen = user;
    ++*seen;
    if (strcmp(call->name, "mkdirat") == 0 && store_begins == 0) store_begins = *seen;
}

static void remove_store(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", store);
    assert_int_equal(system(command), 0);
    assert_int_equal(mkdir(store, 0700), 0);
}

static void kernels_come_without_a_store(void **state)
{
    (void)state;
    struct fault f = {.target = FAULT_FILES};
    long seen = 0;
    int runs = 0, notes = 0;
    void *good;
    remove_store();
    fault_begin(&f, find_store, &seen);
    assert_int_equal(make_kernel(), QRT_OK);
    const long calls = fault_end();
    assert_true(store_begins > 0 && made.count == 1);
    const size_t bytes = made.kernels[0].count;
    good = malloc(bytes);
    memcpy(good, made.kernels[0].bytes, bytes);
    for (f.at = store_begins; f.at <= calls; f.at++)
        for (int way = 0; way < WAYS; way++)
            for (f.for_ever = 0; f.for_ever < 2; f.for_ever++) {
                if (!getenv("QGEN_SOAK") && (way + f.at) % 4 != 0)
                    continue; /* it compiles each time */
                runs++;
                f.effect = ways[way].effect;
                f.error = ways[way].error;
                remove_store();
                fault_begin(&f, NULL, NULL);
                const qrt_status status = make_kernel();
                fault_end();
                if (status != QRT_OK) fail_msg("operation %ld: %s", f.at, qrt_message());
                assert_int_equal(made.kernels[0].count, bytes);
                assert_memory_equal(made.kernels[0].bytes, good, bytes);
                if (made.store_problem[0]) assert_non_null(strstr(made.store_problem, store));
                notes += made.store_problem[0] != 0;
            }
    assert_int_equal(make_kernel(), QRT_OK);
    print_message("%ld operations on the store, %d runs: the kernel each time, %d notes\n",
                  calls - store_begins + 1, runs, notes);
    assert_true(notes > runs / 4);
    pipeline_result_free(&made);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_is_an_answer),
        cmocka_unit_test(kernels_come_without_a_store),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
