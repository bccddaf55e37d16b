/* test_vgpu_tuner.c -- the tuner and the bench on the device cuda, with the virtual GPU for a driver
 *
 * - kernels are made, checked and measured in children that open the driver, split K's parts added up;
 *   the default is the first of the templates' order
 * - times of a simulated GPU are worth nothing: its winners are refused by name
 * - bench gives each row a ceiling from the copy it measured and the datasheet of the arch's GPU
 * Needs NVRTC; skips aloud without.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "helpers.h"
#include "nvrtc.h"
#include "tuner.h"

#define DRIVER  BINARY_DIR "/libqgen_vgpu.so"
#define REQUEST "linear.w4g128.f16.f16"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        print_message("SKIP: no NVRTC: %s\n", qrt_message());
        exit(0);
    }
    nvrtc_close(nvrtc);
    strcpy(folder, "/tmp/qgen-vtuner-XXXXXX");
    return mkdtemp(folder) && setenv("QGEN_CACHE", folder, 1) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void kernels_are_measured(void **state)
{
    (void)state;
    struct tuner_result r;
    struct winners w;
    struct tuner_point point = {.N = 40, .K = 256, .M = 1};
    assert_int_equal(op_desc_parse(REQUEST, &point.desc), QRT_OK);
    const struct tuner_options o = {.device = {.program = BINARY_DIR "/qgen",
                                               .name = "cuda:0",
                                               .driver = DRIVER,
                                               .limit_s = 300},
                                    .folder = folder,
                                    .top = 2,
                                    .unranked = 1,
                                    .budget_s = 600,
                                    .point_s = 0.05,
                                    .points = &point,
                                    .count = 1};
    if (tuner_run(&o, &r) != QRT_OK) fail_msg("%s", qrt_message());
    assert_true(r.is_virtual);
    assert_string_equal(r.device.arch, "sm_75");
    assert_int_equal(r.verdicts[0].count, 2);
    assert_int_equal(r.trials, 2);
    assert_int_equal(r.verdicts[0].default_, 0);
    for (size_t k = 0; k < r.made.count; k++) assert_false(r.kernels[k].is_out);
    assert_int_equal(tuner_winners(&r, &w), QRT_OK);
    assert_int_equal(w.count, 1);
    assert_int_equal(tuner_keep(&r, folder, &w), QRT_E_DEVICE);
    assert_non_null(strstr(qrt_message(), "simulated"));
    winners_free(&w);
    tuner_result_free(&r);
}

static void bench_runs(void **state)
{
    (void)state;
    static char output[1 << 16];
    FILE *f = popen(BINARY_DIR "/qgen bench --device cuda:0 --driver " DRIVER " --request " REQUEST
                               " --shape 40x256 --m 2 --seconds 0.05 --format json",
                    "r");
    assert_non_null(f);
    output[fread(output, 1, sizeof output - 1, f)] = 0;
    assert_int_equal(pclose(f), 0);
    json_t *json = json_loads(output, 0, NULL);
    const json_t *ceilings = json_object_get(json, "ceilings");
    const json_t *row = json_array_get(json_object_get(json, "rows"), 0);
    assert_true(json_real_value(json_object_get(ceilings, "bytes_per_s")) > 0);
    assert_true(json_real_value(json_object_get(json_object_get(ceilings, "ops_per_s"), "f16")) ==
                65e12); /* of a T4, by its datasheet */
    assert_true(json_real_value(json_object_get(row, "median")) > 0);
    assert_true(json_real_value(json_object_get(row, "ratio")) > 0);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_measured),
        cmocka_unit_test(bench_runs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
