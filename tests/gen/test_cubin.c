/* test_cubin.c -- contract of cubin.h; what needs a cubin skips aloud where there is no NVRTC
 *
 * - registers, frame, shared memory, block limit, argument bytes and instructions are read
 * - a file cut anywhere, or with any bit flipped, is refused or read, never overrun
 * - a symbol that is not there, and what is no cubin, are refused
 */
#include "cubin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "kernel_unit.h"
#include "nvrtc.h"

static const char kernel[] =
    "struct args { float *x; long long n; int a, b; };\n"
    "struct alignas(64) map { int word[32]; };\n"
    "extern \"C\" __global__ __launch_bounds__(96) void f(const __grid_constant__ args a,\n"
    "                                                   const __grid_constant__ map)\n"
    "{\n"
    "    __shared__ float all[512];\n"
    "    for (int i = threadIdx.x; i < 512; i += 96) all[i] = a.x[i];\n"
    "    __syncthreads();\n"
    "    float sum[64];\n"
    "    for (int i = 0; i < 64; i++) sum[i] = all[i * a.a % 512];\n"
    "    a.x[threadIdx.x] = sum[(a.b + threadIdx.x) % 64];\n"
    "}\n";

static struct unit_image image;

static int compile(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    struct unit u;
    if (nvrtc_open(&nvrtc) != QRT_OK) {
        fprintf(stderr, "[  SKIP  ] %s\n", qrt_message());
        return 0;
    }
    kernel_unit(&u, "sm_80", "f", kernel);
    const qrt_status status = nvrtc_compile(nvrtc, &u, &image);
    unit_free(&u);
    nvrtc_close(nvrtc);
    return status != QRT_OK;
}

static int discard(void **state)
{
    (void)state;
    unit_image_free(&image);
    return 0;
}

/* The same bytes in a block of exactly that size, so that a sanitizer sees every overrun. */
static void *exact_copy(const void *bytes, size_t count)
{
    void *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    return copy;
}

static void resources_are_read(void **state)
{
    (void)state;
    if (!image.image) skip();
    static struct cubin c;
    assert_int_equal(cubin_read(image.image, image.image_bytes, "f", &c), QRT_OK);
    assert_int_equal(c.arch, 80);
    assert_int_equal(c.max_threads, 96);
    assert_int_equal(c.param_bytes[0], 24);
    assert_int_equal(c.param_bytes[1], 128);
    assert_int_equal(c.param_bytes[2], 0);
    assert_int_equal(c.smem_bytes, 2048);
    assert_int_equal(c.stack_bytes, 256); /* sum[] is indexed at run time: 64 floats of memory */
    assert_true(c.regs >= 8 && c.regs <= 255);
    assert_true(c.instructions > 20);
    uint32_t total = 0;
    for (int i = 0; i < CUBIN_OPCODES; i++) total += c.opcode[i];
    assert_int_equal(total, c.instructions);
}

static void unknown_symbol_is_refused(void **state)
{
    (void)state;
    if (!image.image) skip();
    static struct cubin c;
    assert_int_equal(cubin_read(image.image, image.image_bytes, "g", &c), QRT_E_FORMAT);
    assert_int_equal(cubin_read(image.image, image.image_bytes, "", &c), QRT_E_FORMAT);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    static struct cubin c;
    static const char text[100] = "\177ELF\2\1\1";
    assert_int_equal(cubin_read(text, sizeof text, "f", &c), QRT_E_FORMAT);
    assert_int_equal(cubin_read(text, 0, "f", &c), QRT_E_FORMAT);
    assert_int_equal(cubin_read("", 1, "f", &c), QRT_E_FORMAT);
}

static void truncations_are_survived(void **state)
{
    (void)state;
    if (!image.image) skip();
    static struct cubin c;
    for (size_t count = 0; count < image.image_bytes; count++) {
        void *cut = exact_copy(image.image, count);
        const qrt_status status = cubin_read(cut, count, "f", &c);
        assert_true(status == QRT_OK || status == QRT_E_FORMAT);
        free(cut);
    }
}

static void bit_flips_are_survived(void **state)
{
    (void)state;
    if (!image.image) skip();
    static struct cubin c;
    uint8_t *bytes = exact_copy(image.image, image.image_bytes);
    for (size_t bit = 0; bit < 8 * image.image_bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        const qrt_status status = cubin_read(bytes, image.image_bytes, "f", &c);
        assert_true(status == QRT_OK || status == QRT_E_FORMAT);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resources_are_read),      cmocka_unit_test(unknown_symbol_is_refused),
        cmocka_unit_test(other_files_are_refused), cmocka_unit_test(truncations_are_survived),
        cmocka_unit_test(bit_flips_are_survived),
    };
    return cmocka_run_group_tests(tests, compile, discard);
}
