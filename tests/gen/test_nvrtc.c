/* test_nvrtc.c -- contract of nvrtc.h; skips aloud where there is no NVRTC
 *
 * - a unit becomes a cubin and a PTX text, the same bytes again and on every thread
 * - an error names the template's line and quotes it; one in an include names the include's
 * - an arch that NVRTC refuses is said with those that it takes
 * - nothing is read from disk: an include that is not in the unit is not found
 * - a library that is not there is said with the places that were searched
 */
#include "nvrtc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "kernel_unit.h"

static const char kernel[] = "struct args { float *x; int n; };\n"
                             "extern \"C\" __global__ void twice(const args a)\n"
                             "{\n"
                             "    const int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (i < a.n) a.x[i] *= 2.0f;\n"
                             "}\n";

static struct nvrtc *nvrtc;

static int open_library(void **state)
{
    (void)state;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
        nvrtc = NULL;
    }
    return 0;
}

static int close_library(void **state)
{
    (void)state;
    nvrtc_close(nvrtc);
    return 0;
}

static void compiles_to_the_same_bytes(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    struct unit u;
    struct unit_image first, second;
    kernel_unit(&u, "sm_80", "twice", kernel);
    assert_int_equal(nvrtc_compile(nvrtc, &u, &first), QRT_OK);
    assert_int_equal(nvrtc_compile(nvrtc, &u, &second), QRT_OK);
    assert_memory_equal(first.image, "\177ELF", 4);
    assert_int_equal(first.image_bytes, second.image_bytes);
    assert_memory_equal(first.image, second.image, first.image_bytes);
    assert_int_equal(first.ptx_bytes, strlen(first.ptx) + 1);
    assert_string_equal(first.ptx, second.ptx);
    assert_non_null(strstr(first.ptx, ".target sm_80"));
    assert_non_null(strstr(first.ptx, ".entry twice"));
    unit_image_free(&first);
    unit_image_free(&second);
    unit_free(&u);
}

static void *compile_on_thread(void *user)
{
    struct unit u;
    struct unit_image image;
    kernel_unit(&u, "sm_80", "twice", kernel);
    if (nvrtc_compile(nvrtc, &u, &image) == QRT_OK) *(struct unit_image *)user = image;
    unit_free(&u);
    return NULL;
}

static void compiles_on_threads(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct unit_image images[THREADS] = {{0}};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compile_on_thread, &images[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_non_null(images[i].image);
        assert_int_equal(images[i].image_bytes, images[0].image_bytes);
        assert_memory_equal(images[i].image, images[0].image, images[0].image_bytes);
    }
    for (int i = 0; i < THREADS; i++) unit_image_free(&images[i]);
}

static void expect_error(const char *arch, const char *text, const char *include,
                         const char *const words[])
{
    struct unit u;
    struct unit_image image = {0};
    kernel_unit(&u, arch, "twice", text);
    if (include) {
        u.include_name[0] = "helpers.cuh";
        u.include_text[0] = include;
        u.includes = 1;
    }
    assert_int_equal(nvrtc_compile(nvrtc, &u, &image), QRT_E_COMPILE);
    assert_null(image.image);
    for (int i = 0; words[i]; i++)
        if (!strstr(qrt_message(), words[i])) fail_msg("'%s' lacks '%s'", qrt_message(), words[i]);
    unit_free(&u);
}

static void errors_name_the_template(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    expect_error("sm_80", "\n\nextern \"C\" __global__ void f() { int i = lost; }\n", NULL,
                 (const char *[]){"templates/test.in:13: error", "\"lost\" is undefined",
                                  "int i = lost", NULL});
    expect_error("sm_80", "#include \"helpers.cuh\"\n", "\n__device__ int f() { return lost; }\n",
                 (const char *[]){"helpers.cuh:2: error", "lost", "return lost", NULL});
    expect_error("sm_80", "int a = lost;\nint b = gone;\nint c = away;\n", NULL,
                 (const char *[]){"test.in:11:", "(and 2 more)", NULL});
    expect_error("sm_75", /* only the assembler knows that this is not sm_75's */
                 "extern \"C\" __global__ void f() { asm volatile(\"cp.async.commit_group;\"); }\n",
                 NULL, (const char *[]){"templates/test.in", "sm_75", "cp.async", NULL});
}

static void refused_arch_lists_others(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    struct arch old = *arch_find("sm_75");
    struct unit u;
    struct unit_image image;
    kernel_unit(&u, "sm_75", "twice", kernel);
    strcpy(old.name, "sm_35");
    u.arch = &old;
    assert_int_equal(nvrtc_compile(nvrtc, &u, &image), QRT_E_COMPILE);
    assert_non_null(strstr(qrt_message(), "sm_35"));
    assert_non_null(strstr(qrt_message(), " 80 "));
    unit_free(&u);
}

static void reads_nothing_from_disk(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    expect_error("sm_80", "#include \"runtime/kernel_abi.h\"\n", NULL,
                 (const char *[]){"templates/test.in:11", "kernel_abi.h", NULL});
}

static void absence_is_explained(void **state)
{
    (void)state;
    struct nvrtc *none = NULL;
    char *given = getenv("QGEN_NVRTC") ? strdup(getenv("QGEN_NVRTC")) : NULL;
    setenv("QGEN_NVRTC", "/nonexistent", 1);
    assert_int_equal(nvrtc_open(&none), QRT_E_COMPILE);
    assert_non_null(strstr(qrt_message(), "QGEN_NVRTC=/nonexistent"));
    setenv("QGEN_NVRTC", SOURCE_DIR "/LICENSE", 1);
    assert_int_equal(nvrtc_open(&none), QRT_E_COMPILE);
    assert_null(none);
    if (given)
        setenv("QGEN_NVRTC", given, 1);
    else
        unsetenv("QGEN_NVRTC");
    free(given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compiles_to_the_same_bytes), cmocka_unit_test(compiles_on_threads),
        cmocka_unit_test(errors_name_the_template),   cmocka_unit_test(refused_arch_lists_others),
        cmocka_unit_test(reads_nothing_from_disk),    cmocka_unit_test(absence_is_explained),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
