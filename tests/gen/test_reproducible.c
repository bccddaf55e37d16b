/* test_reproducible.c -- the same inputs give the same bytes, whoever asks, where and when
 *
 * - `qgen build` in another folder, with another HOME, umask, time zone, locale, number of compilers,
 *   order of the templates' folder and hour: the same stores, file by file and byte by byte, and the
 *   same --out files; for x86 and, where there is NVRTC, for a GPU
 * - no path, user, host or date of either run is in any of them
 * - a session on cpu gives the same bits in 20 runs, whatever the number of threads
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "nvrtc.h"
#include "sessions.h"
#include "tiny_model.h"

static char base[64];

static int make_base(void **state)
{
    (void)state;
    strcpy(base, "/tmp/qgen-again-XXXXXX");
    return !mkdtemp(base);
}

static int remove_base(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

/* What differs between the two runs. */
static const struct place {
    const char *name, *umask, *zone, *locale, *order; /* order: in which templates are copied */
    int jobs;
} places[] = {
    {"one", "022", "UTC", "C", "", 1},
    {"two/a place that is further away", "077", "Pacific/Kiritimati", "de_DE.UTF-8", "-r", 3}};

static void run_shell(const char *command)
{
    if (system(command) != 0) fail_msg("%s", command);
}

/* A folder with a copy of the templates, made in another order, and nothing else. */
static void build(const struct place *p, const char *request)
{
    char command[2000];
    snprintf(command, sizeof command,
             "set -e; umask %s; mkdir -p '%s/%s/home' && cd '%s/%s'\n"
             "[ -d templates ] || (for f in $(cd " SOURCE_DIR
             "/templates && find . -type f | sort %s);\n"
             "    do mkdir -p templates/$(dirname $f); cp " SOURCE_DIR
             "/templates/$f templates/$f; done)\n"
             "env -i PATH=\"$PATH\" LD_LIBRARY_PATH=\"$LD_LIBRARY_PATH\" "
             "${QGEN_NVRTC:+QGEN_NVRTC=$QGEN_NVRTC} "
             "HOME=\"$PWD/home\" QGEN_CACHE=\"$PWD/store\" TMPDIR=\"$PWD/home\" TZ='%s' LANG=%s "
             "LC_ALL=%s "
             "USER=%.3s LOGNAME=%.3s '" BINARY_DIR
             "/qgen' build %s --templates templates --jobs %d "
             "--out out --quiet >/dev/null",
             p->umask, base, p->name, base, p->name, p->order, p->zone, p->locale, p->locale,
             p->name, p->name, request, p->jobs);
    run_shell(command);
}

/* ---- comparing ---- */

static int files;

static void walk(const char *folder, void (*visit)(const char *path))
{
    struct dirent **names;
    const int count = scandir(folder, &names, NULL, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char path[600];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            assert_int_equal(lstat(path, &st), 0);
            if (S_ISDIR(st.st_mode))
                walk(path, visit);
            else
                visit(path);
        }
        free(names[i]);
    }
    free(names);
}

/* Words that would betray a run: its folders, zone, host, or that it was dated. */
static void expect_anonymous(const char *path)
{
    char date[16], host[128] = "";
    void *bytes;
    size_t count;
    const time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-", localtime(&now));
    gethostname(host, sizeof host - 1);
    const char *const words[] = {base,       "/tmp/", "further away", "Kiritimati", "de_DE",
                                 BINARY_DIR, "/home", date,           SOURCE_DIR,   host};
    assert_int_equal(file_read(path, 64 << 20, &bytes, &count), QRT_OK);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) > 4 && memmem(bytes, count, words[i], strlen(words[i])))
            fail_msg("%s: '%s' is in it", path, words[i]);
    free(bytes);
    files++;
}

static void expect_same(const char *what)
{
    char command[400], folder[256];
    snprintf(command, sizeof command, "diff -r '%s/%s/%s' '%s/%s/%s'", base, places[0].name, what,
             base, places[1].name, what);
    run_shell(command);
    files = 0;
    snprintf(folder, sizeof folder, "%s/%s/%s", base, places[0].name, what);
    walk(folder, expect_anonymous);
    print_message("%s: %d files, the same\n", what, files);
    assert_true(files > 0);
}

/* All that a run left in its HOME and TMPDIR. */
static void expect_nothing_left(void)
{
    char command[200];
    snprintf(command, sizeof command, "! find %s/*/home %s/*/*/home -type f 2>/dev/null | grep .",
             base, base);
    run_shell(command);
}

static void both(const char *request)
{
    for (size_t i = 0; i < 2; i++) build(&places[i], request);
    expect_same("store");
    expect_same("out");
    expect_nothing_left();
}

static void cpu_kernels_are_the_same(void **state)
{
    (void)state;
    both("--arch x86-64-v3 --request add.f32,linear.w4g32m.f32.f32 --m 1..8");
}

static void gpu_kernels_are_the_same(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        print_message("SKIP: no NVRTC: %s\n", qrt_message());
        skip();
    }
    nvrtc_close(nvrtc);
    /* no linear: ranking one takes a minute */
    both("--arch sm_89 --request embed.w4g128.f32,attention.f16.f16.h64,rmsnorm.f32.f16 --m 1..8");
}

/* ---- a session ---- */

enum { TOKENS = 12, RUNS = 20, MAX_M = 12 };

static void run_model(int threads, float logits[TOKENS * TINY_VOCAB])
{
    const qrt_options options = {.size = sizeof options, .threads = threads};
    const qrt_session_options how = {.size = sizeof how, .max_m = MAX_M};
    char path[64];
    size_t bytes;
    int ids[TOKENS];
    qrt *rt;
    qrt_device *device;
    qrt_model *model;
    qrt_session *session;
    uint8_t *file = tiny_model(NULL, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    for (int i = 0; i < TOKENS; i++) ids[i] = i * 17 % TINY_VOCAB;
    assert_int_equal(qrt_open(&options, &rt), QRT_OK);
    assert_int_equal(qrt_device_open(rt, "cpu", &device), QRT_OK);
    assert_int_equal(qrt_model_open(rt, path, &model), QRT_OK);
    unlink(path);
    sessions_add_kernels(device, model, &how);
    if (qrt_session_open(device, model, &how, &session) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(qrt_run(session, ids, TOKENS, logits, TOKENS), QRT_OK);
    qrt_session_close(session);
    qrt_model_close(model);
    qrt_device_close(device);
    qrt_close(rt);
}

static void runs_are_the_same(void **state)
{
    (void)state;
    static float want[TOKENS * TINY_VOCAB], got[TOKENS * TINY_VOCAB];
    run_model(1, want);
    for (int i = 0; i < RUNS; i++) {
        run_model(1 + i % 5, got);
        assert_memory_equal(got, want, sizeof want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_kernels_are_the_same),
        cmocka_unit_test(gpu_kernels_are_the_same),
        cmocka_unit_test(runs_are_the_same),
    };
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
