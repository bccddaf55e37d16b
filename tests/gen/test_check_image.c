/* test_check_image.c -- contract of check_image.h; needs NVRTC, skipped aloud without
 *
 * - a kernel within the limits that uses the matrix instruction of its op passes
 * - an FP8 mma.sync for sm_90, which the assembler emulates, is found; on sm_89 the same text passes
 * - a missing matrix instruction, a stack, too much shared memory, too many threads are found
 * - a damaged image is a format error, a CPU kernel passes
 */
#include "check_image.h"

#include <stdio.h>
#include <string.h>

#include "helpers.h"
#include "kernel_unit.h"
#include "nvrtc.h"

static struct nvrtc *nvrtc;

static int open_compiler(void **state)
{
    (void)state;
    if (nvrtc_open(&nvrtc) != QRT_OK) fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
    return 0;
}

static int close_compiler(void **state)
{
    (void)state;
    nvrtc_close(nvrtc);
    return 0;
}

/* One mma of 8-bit floats on whatever is in x. */
static const char fp8[] =
    "extern \"C\" __global__ __launch_bounds__(32) void f(unsigned *x)\n"
    "{\n"
    "    float d[4] = {};\n"
    "    unsigned *a = x + threadIdx.x * 6;\n"
    "    asm volatile(\"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3},\"\n"
    "        \"{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\" : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]),\n"
    "        \"+f\"(d[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(a[4]), "
    "\"r\"(a[5]));\n"
    "    for (int i = 0; i < 4; i++) ((float *)x)[i * 32 + threadIdx.x] = d[i];\n"
    "}\n";
static const char stack[] = "extern \"C\" __global__ __launch_bounds__(32) void f(int *x)\n"
                            "{\n"
                            "    int v[64];\n"
                            "    for (int i = 0; i < 64; i++) v[i] = 0;\n"
                            "    for (int i = 0; i < 64; i++) v[x[i] & 63] += i;\n"
                            "    x[threadIdx.x] = v[x[64 + threadIdx.x] & 63];\n"
                            "}\n";

/* Compile the text and check it as a kernel of this request. */
static qrt_status check(const char *text, const char *request, const char *arch, uint32_t threads,
                        uint32_t smem_bytes)
{
    struct unit u;
    struct unit_image image;
    struct entry e = {0};
    kernel_unit(&u, arch, "f", text);
    if (nvrtc_compile(nvrtc, &u, &image) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(op_desc_parse(request, &e.record.desc), QRT_OK);
    strcpy(e.record.arch, arch);
    strcpy(e.record.symbol, "f");
    e.record.block[0] = threads;
    e.record.block[1] = e.record.block[2] = 1;
    e.record.smem_bytes = smem_bytes;
    e.part[ENTRY_IMAGE].data = image.image;
    e.part[ENTRY_IMAGE].bytes = image.image_bytes;
    const qrt_status status = check_image(&e);
    unit_image_free(&image);
    unit_free(&u);
    return status;
}

static void expect(qrt_status got, const char *words)
{
    assert_int_equal(got, QRT_E_CHECK);
    if (!strstr(qrt_message(), words)) fail_msg("'%s' lacks '%s'", qrt_message(), words);
}

#define FP8_LINEAR "linear.e4m3gc.f32.e4m3t.f16"

static void native_passes_emulated_is_found(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    assert_int_equal(check(fp8, FP8_LINEAR, "sm_89", 32, 0), QRT_OK);
    assert_int_equal(check(fp8, FP8_LINEAR, "sm_120", 32, 0), QRT_OK);
    expect(check(fp8, FP8_LINEAR, "sm_90", 32, 0), "QMMA");
    expect(check(fp8, FP8_LINEAR, "sm_100", 32, 0), "QMMA");
}

static void the_wrong_instruction_is_found(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    expect(check(fp8, "linear.w8gc.f32.i8t.f16", "sm_89", 32, 0), "IMMA");
    expect(check(fp8, "linear.w4g128.f16.f16", "sm_89", 32, 0), "HMMA");
}

static void limits_are_checked(void **state)
{
    (void)state;
    if (!nvrtc) skip();
    expect(check(stack, "add.f16", "sm_80", 32, 0), "stack");
    expect(check(fp8, FP8_LINEAR, "sm_89", 64, 0), "threads");
    assert_int_equal(check(fp8, FP8_LINEAR, "sm_89", 32, 99 * 1024), QRT_OK);
    expect(check(fp8, FP8_LINEAR, "sm_89", 32, 99 * 1024 + 16), "shared memory");
}

static void other_images(void **state)
{
    (void)state;
    struct entry e = {.record = {.arch = "x86-64-v3"}};
    assert_int_equal(check_image(&e), QRT_OK);
    strcpy(e.record.arch, "sm_80");
    e.part[ENTRY_IMAGE].data = "no cubin";
    e.part[ENTRY_IMAGE].bytes = 8;
    assert_int_equal(check_image(&e), QRT_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_passes_emulated_is_found),
        cmocka_unit_test(the_wrong_instruction_is_found),
        cmocka_unit_test(limits_are_checked),
        cmocka_unit_test(other_images),
    };
    return cmocka_run_group_tests(tests, open_compiler, close_compiler);
}
