/* test_pipeline.c -- contract of pipeline.h
 *
 * - results are in the order of requests, equal kernels once; ranges of M with one text are one kernel
 * - the second time everything is reused and equal, whatever the rows asked for and the jobs
 * - a change of template, include or tune point is another key
 * - a kernel that needs stack gives way to the next tune point; where all do, the best is taken
 * - top: that many kernels per range, best first
 * - parts: shares are disjoint and together all
 * - offline: a stored kernel is found, another is QRT_E_KERNEL
 * - a template that does not compile fails the call with its line; other kernels are stored
 * - rows that no template is made for are said; so are kernels with arguments of the wrong size
 * - a store that cannot be written is told, and the kernels are there all the same
 *
 * Works on the small templates of tests/gen/templates, most of it with the C compiler alone.
 */
#include "pipeline.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "helpers.h"
#include "nvrtc.h"

#define TEMPLATES SOURCE_DIR "/tests/gen/templates"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-pipeline-XXXXXX");
    return !mkdtemp(folder);
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

struct run {
    const char *templates, *store; /* store: below the test's folder */
    const char *arch;
    const char *names[4];
    int m_hi, jobs, offline, top, part, parts, ungated;
};

static qrt_status make(const struct run *run, struct pipeline_result *result)
{
    char store[128];
    struct pipeline *p;
    size_t count = 0;
    while (count < 4 && run->names[count]) count++;
    snprintf(store, sizeof store, "%s/%s", folder, run->store);
    const struct pipeline_options options = {.templates =
                                                 run->templates ? run->templates : TEMPLATES,
                                             .store = store,
                                             .jobs = run->jobs,
                                             .offline = run->offline,
                                             .top = run->top,
                                             .part = run->part,
                                             .parts = run->parts,
                                             .ungated = run->ungated};
    if (pipeline_open(&options, &p) != QRT_OK) fail_msg("%s", qrt_message());
    const qrt_status status =
        pipeline_ensure(p, arch_find(run->arch), run->names, count, run->m_hi, result);
    pipeline_close(p);
    return status;
}

static void must_make(const struct run *run, struct pipeline_result *result)
{
    if (make(run, result) != QRT_OK) fail_msg("%s", qrt_message());
}

static void results_are_ordered_and_merged(void **state)
{
    (void)state;
    const struct run run = {
        .store = "a", .arch = "x86-64-v3", .names = {"add.f32", "add.f32"}, .m_hi = 4096};
    struct pipeline_result r;
    must_make(&run, &r);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.compiled, 1);
    assert_int_equal(r.kernels[0].entry.record.m_lo, 1);
    assert_int_equal(r.kernels[0].entry.record.m_hi, 4096);
    assert_string_equal(r.kernels[0].entry.record.tune, "unroll=4");
    assert_string_equal(r.store_problem, "");
    assert_memory_equal(r.kernels[0].entry.part[ENTRY_IMAGE].data, "\177ELF", 4);
    pipeline_result_free(&r);
}

static void second_time_is_reused(void **state)
{
    (void)state;
    struct run run = {
        .store = "b", .arch = "x86-64-v3", .names = {"add.f32"}, .m_hi = 4096, .top = 2};
    struct pipeline_result first, again;
    must_make(&run, &first);
    run.m_hi = 3;
    run.jobs = 1;
    must_make(&run, &again);
    assert_int_equal(first.count, 2);
    assert_int_equal(again.count, 2);
    assert_int_equal(again.compiled, 0);
    assert_int_equal(again.reused, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(first.kernels[i].count, again.kernels[i].count);
        assert_memory_equal(first.kernels[i].bytes, again.kernels[i].bytes, first.kernels[i].count);
    }
    assert_string_equal(first.kernels[0].entry.record.tune, "unroll=4");
    assert_string_equal(first.kernels[1].entry.record.tune, "unroll=8");
    pipeline_result_free(&first);
    pipeline_result_free(&again);
    run.store = "b2"; /* and compiled anew, the same bytes */
    run.jobs = 2;
    must_make(&run, &first);
    run.store = "b";
    must_make(&run, &again);
    assert_int_equal(first.compiled, 2);
    assert_memory_equal(first.kernels[1].bytes, again.kernels[1].bytes, first.kernels[1].count);
    pipeline_result_free(&first);
    pipeline_result_free(&again);
}

/* templates/x86 of its own, with one template and one header. */
static void write_templates(char path[128], const char *name, const char *body, const char *header)
{
    static const char head[] = "op = 'add',\naccepts = function(r) return true end,\n---\n"
                               "#include \"own.h\"\n";
    char file[192], *text;
    snprintf(path, 128, "%s/%s", folder, name);
    snprintf(file, sizeof file, "%s/x86", path);
    assert_int_equal(file_make_folders(file, 0700), QRT_OK);
    assert_true(asprintf(&text, "%s%s", head, body) > 0);
    snprintf(file, sizeof file, "%s/x86/own.c.in", path);
    assert_int_equal(file_write(file, text, strlen(text)), QRT_OK);
    snprintf(file, sizeof file, "%s/x86/own.h", path);
    assert_int_equal(file_write(file, header, strlen(header)), QRT_OK);
    free(text);
}

/* An add kernel that is right, whatever it writes for 1 and for y: wrong ones are not stored. */
#define ADD_BODY(one, type)                                               \
    "#include \"kernel_abi.h\"\n"                                         \
    "void ${name}(const struct qk_add *a, const struct qk_cpu *cpu)\n{\n" \
    "    for (int m = cpu->part; m < a->M; m += cpu->parts)\n"            \
    "        for (int k = 0; k < a->K; k++)\n"                            \
    "            a->x[m * a->ldx + k] += (float)(" one ") * (" type       \
    ")((const _Float16 *)a->y)[m * a->ldy + k];\n}\n"

static void texts_decide_the_key(void **state)
{
    (void)state;
    char templates[128];
    uint8_t keys[3][ENTRY_KEY_BYTES];
    static const struct {
        const char *body, *header;
    } texts[3] = {{ADD_BODY("ONE", "float"), "#define ONE 1\n"},
                  {ADD_BODY("ONE", "float"), "#define ONE (1 + 0)\n"},
                  {ADD_BODY("1", "float"), "#define ONE (1 + 0)\n"}};
    for (int i = 0; i < 3; i++) {
        struct pipeline_result r;
        write_templates(templates, "changing", texts[i].body, texts[i].header);
        const struct run run = {.templates = templates,
                                .store = "c",
                                .arch = "x86-64-v3",
                                .names = {"add.f16"},
                                .m_hi = 8};
        must_make(&run, &r);
        assert_int_equal(r.compiled, 1);
        memcpy(keys[i], r.kernels[0].entry.key, sizeof keys[i]);
        pipeline_result_free(&r);
    }
    assert_memory_not_equal(keys[0], keys[1], sizeof keys[0]);
    assert_memory_not_equal(keys[1], keys[2], sizeof keys[0]);
}

static void offline_compiles_nothing(void **state)
{
    (void)state;
    struct run run = {
        .store = "d", .arch = "x86-64-v3", .names = {"add.f32"}, .m_hi = 8, .offline = 1};
    struct pipeline_result r;
    assert_int_equal(make(&run, &r), QRT_E_KERNEL);
    assert_non_null(strstr(qrt_message(), "qk_add_add_f32"));
    run.offline = 0;
    must_make(&run, &r);
    pipeline_result_free(&r);
    run.offline = 1;
    must_make(&run, &r);
    assert_int_equal(r.reused, 1);
    pipeline_result_free(&r);
}

static void compile_errors_name_the_line(void **state)
{
    (void)state;
    char templates[128];
    struct pipeline_result r;
    write_templates(templates, "broken", "int ${name}(void)\n{\n    return lost;\n}\n", "\n");
    struct run run = {.templates = templates,
                      .store = "e",
                      .arch = "x86-64-v3",
                      .names = {"add.f32", "add.f16"},
                      .m_hi = 8};
    assert_int_equal(make(&run, &r), QRT_E_COMPILE);
    assert_non_null(strstr(qrt_message(), "broken/x86/own.c.in:7: error"));
    assert_non_null(strstr(qrt_message(), "return lost;"));
    assert_non_null(strstr(qrt_message(), "2 of 2 kernels failed"));
    write_templates(templates, "broken", ADD_BODY("1", "${r.act == 'f32' and 'lost' or 'float'}"),
                    "\n");
    assert_int_equal(make(&run, &r), QRT_E_COMPILE);
    run.names[0] = "add.f16";
    run.names[1] = NULL;
    run.offline = 1; /* the other one was stored */
    must_make(&run, &r);
    pipeline_result_free(&r);
    write_templates(templates, "broken", "#include \"away.h\"\n", "\n");
    assert_int_equal(make(&run, &r), QRT_E_TEMPLATE);
    assert_non_null(strstr(qrt_message(), "away.h"));
}

static void uncovered_rows_are_said(void **state)
{
    (void)state;
    const struct run run = {.store = "f", .arch = "x86-64-v3", .names = {"add.f32"}, .m_hi = 5000};
    struct pipeline_result r;
    assert_int_equal(make(&run, &r), QRT_E_SCHEME);
    assert_non_null(strstr(qrt_message(), "M = 4097"));
    const struct run other = {.store = "f", .arch = "x86-64-v3", .names = {"add.f16"}, .m_hi = 8};
    assert_int_equal(make(&other, &r), QRT_E_SCHEME);
    assert_non_null(strstr(qrt_message(), "y is f16"));
    const struct run unnamed = {.store = "f", .arch = "x86-64-v3", .names = {"nothing"}, .m_hi = 8};
    assert_int_equal(make(&unnamed, &r), QRT_E_ARGUMENT);
}

static void full_store_is_told(void **state)
{
    (void)state;
    char path[160];
    struct pipeline_result r;
    snprintf(path, sizeof path, "%s/g", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < 256; i++) { /* files where the store wants folders */
        snprintf(path, sizeof path, "%s/g/%02x", folder, i);
        assert_int_equal(file_write(path, "", 0), QRT_OK);
    }
    const struct run run = {.store = "g", .arch = "x86-64-v3", .names = {"add.f32"}, .m_hi = 8};
    must_make(&run, &r);
    assert_int_equal(r.count, 1);
    assert_non_null(strstr(r.store_problem, "cannot be written"));
    assert_string_equal(r.kernels[0].entry.record.arch, "x86-64-v3");
    pipeline_result_free(&r);
}

static void cuda_resources_are_read(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
        skip();
    }
    nvrtc_close(nvrtc);
    const struct run run = {
        .store = "h", .arch = "sm_89", .names = {"add.f16", "add.f32"}, .m_hi = 4096};
    struct pipeline_result r;
    must_make(&run, &r);
    assert_int_equal(r.count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct entry *e = &r.kernels[i].entry;
        assert_true(e->record.regs >= 8);
        assert_int_equal(e->record.stack_bytes, 0);
        assert_int_equal(e->record.block[0], 128);
        assert_non_null(strstr(e->part[ENTRY_PTX].data, ".target sm_89"));
        assert_non_null(
            memmem(e->part[ENTRY_SOURCE].data, e->part[ENTRY_SOURCE].bytes, "THREADS = 128", 13));
    }
    pipeline_result_free(&r);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    char file[192];
    struct pipeline_result r;
    if (nvrtc_open(&nvrtc) != QRT_OK) skip();
    nvrtc_close(nvrtc);
    static const char text[] =
        "op = 'add',\naccepts = function(r) return true end,\n"
        "grid = function() return 'M' end,\nblock = function() return 64 end,\n---\n"
        "#include \"kernel_abi.h\"\n"
        "extern \"C\" __global__ __launch_bounds__(32)\n"
        "void ${name}(${r.act == 'f16' and 'qk_add a' or 'int a'}) {}\n";
    snprintf(file, sizeof file, "%s/wrong/cuda", folder);
    assert_int_equal(file_make_folders(file, 0700), QRT_OK);
    snprintf(file, sizeof file, "%s/wrong/cuda/wrong.cu.in", folder);
    assert_int_equal(file_write(file, text, sizeof text - 1), QRT_OK);
    snprintf(file, sizeof file, "%s/wrong", folder);
    struct run run = {
        .templates = file, .store = "i", .arch = "sm_80", .names = {"add.f32"}, .m_hi = 8};
    assert_int_equal(make(&run, &r), QRT_E_COMPILE);
    assert_non_null(strstr(qrt_message(), "takes arguments of 4, 0 bytes"));
    run.names[0] = "add.f16";
    assert_int_equal(make(&run, &r), QRT_E_COMPILE);
    assert_non_null(strstr(qrt_message(), "block gives 64 threads, __launch_bounds__ 32"));
}

/* Tune points x = 1 .. 3 of which those up to `bad` index an array at run time. */
static void write_spilling(char path[128], int bad)
{
    char file[192], text[1200];
    snprintf(path, 128, "%s/spilling%d", folder, bad);
    snprintf(file, sizeof file, "%s/cuda", path);
    assert_int_equal(file_make_folders(file, 0700), QRT_OK);
    snprintf(file, sizeof file, "%s/cuda/spilling.cu.in", path);
    snprintf(text, sizeof text,
             "op = 'add',\naccepts = function(r) return true end,\ntune = { x = {1, 2, 3} },\n"
             "rank = function(r, p) return p.x end,\ngrid = function() return 'M' end,\n"
             "block = function() return 64 end,\n---\n#include \"kernel_abi.h\"\n"
             "extern \"C\" __global__ void ${name}(const __grid_constant__ qk_add a)\n{\n"
             "    __shared__ float all[512];\n"
             "    for (int i = threadIdx.x; i < 512; i += 64) all[i] = a.x[i];\n"
             "    __syncthreads();\n"
             "    float sum[64];\n"
             "    for (int i = 0; i < 64; i++) sum[i] = all[i * a.K %% 512];\n"
             "    a.x[threadIdx.x] = sum[${p.x <= %d and '(a.M + threadIdx.x) %% 64' or '3'}];\n"
             "}\n",
             bad);
    assert_int_equal(file_write(file, text, strlen(text)), QRT_OK);
}

static void spilling_kernels_give_way(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    char templates[128];
    struct pipeline_result r;
    if (nvrtc_open(&nvrtc) != QRT_OK) skip();
    nvrtc_close(nvrtc);
    write_spilling(templates, 2);
    struct run run = {.templates = templates,
                      .store = "j",
                      .arch = "sm_80",
                      .names = {"add.f32", "add.f16"},
                      .m_hi = 8,
                      .ungated = 1}; /* they compute nothing */
    for (int time = 0; time < 2; time++) {
        must_make(&run, &r);
        assert_int_equal(r.count, 2);
        assert_int_equal(r.compiled, time == 0 ? 2 : 0);
        for (int i = 0; i < 2; i++) {
            assert_string_equal(r.kernels[i].entry.record.tune, "x=3");
            assert_int_equal(r.kernels[i].entry.record.stack_bytes, 0);
        }
        pipeline_result_free(&r);
    }
    write_spilling(templates, 3);
    run.names[1] = NULL;
    must_make(&run, &r);
    assert_int_equal(r.count, 1);
    assert_string_equal(r.kernels[0].entry.record.tune, "x=1");
    assert_int_equal(r.kernels[0].entry.record.stack_bytes, 256);
    pipeline_result_free(&r);
}

static void parts_are_shares_of_all(void **state)
{
    (void)state;
    struct run run = {.store = "parts", .arch = "x86-64-v3", .names = {"add.f32"}};
    struct pipeline_result all, share;
    run.m_hi = 4096;
    run.top = 8;
    must_make(&run, &all);
    size_t together = 0;
    run.parts = 3;
    for (run.part = 0; run.part < 3; run.part++) {
        must_make(&run, &share);
        for (size_t i = 0; i < share.count; i++)
            for (size_t j = 0; j < all.count; j++)
                together += memcmp(share.kernels[i].entry.key, all.kernels[j].entry.key,
                                   ENTRY_KEY_BYTES) == 0;
        assert_true(share.count <= all.count);
        pipeline_result_free(&share);
    }
    assert_int_equal(together, all.count);
    pipeline_result_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_shares_of_all),
        cmocka_unit_test(results_are_ordered_and_merged),
        cmocka_unit_test(second_time_is_reused),
        cmocka_unit_test(texts_decide_the_key),
        cmocka_unit_test(offline_compiles_nothing),
        cmocka_unit_test(compile_errors_name_the_line),
        cmocka_unit_test(uncovered_rows_are_said),
        cmocka_unit_test(full_store_is_told),
        cmocka_unit_test(cuda_resources_are_read),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(spilling_kernels_give_way),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
