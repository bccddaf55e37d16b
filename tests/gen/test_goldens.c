/* test_goldens.c -- emitted kernels as reviewed texts
 *
 * - the text of each kernel below equals its file in tests/golden; QGEN_UPDATE_GOLDEN=1 rewrites the
 *   files, and the difference is then for a reviewer
 * - no text has a date, a path of this machine, its name or an address in it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "template.h"

static const struct {
    const char *request, *arch;
    int m_lo, m_hi;
    const char *file;
} kernels[] = {
    {"linear.w4g128.f16.f16", "sm_89", 1, 1, "gemv_w4g128_f16_sm_89.cu.txt"},
    {"linear.w4g128.f16.f16", "sm_89", 129, 1 << 30, "gemm_w4g128_f16_sm_89.cu.txt"},
    {"linear.w4g32m.bf16.f32", "sm_75", 33, 64, "gemm_w4g32m_bf16_sm_75.cu.txt"},
    {"linear.w4g128.f16.f16", "sm_90a", 129, 1 << 30, "gemm_sm90_w4g128_f16.cu.txt"},
    {"linear.mxfp4.bf16.bf16", "sm_120", 1, 1, "gemv_mxfp4_bf16_sm_120.cu.txt"},
    {"linear.w8gc.i8tz.f16", "sm_80", 129, 1 << 30, "gemm_w8gc_i8tz_sm_80.cu.txt"},
    {"linear.e4m3g128.f32.e4m3b.bf16", "sm_89", 1, 1, "gemv_e4m3g128_e4m3b_sm_89.cu.txt"},
    {"attention.f16.f16.h64", "sm_89", 1, 1, "attention_h64_sm_89.cu.txt"},
    {"rmsnorm.f32.f16", "sm_89", 1, 1 << 30, "rmsnorm_sm_89.cu.txt"},
    {"linear.w4g128.i8.f32", "x86-64-v3", 1, 1 << 30, "linear_i8_w4g128_v3.c.txt"},
    {"linear.w4g32m.f32.f32", "x86-64-v4", 1, 1 << 30, "linear_f32_w4g32m_v4.c.txt"},
    {"rope.halves.f32.f16.h64", "x86-64-v3", 1, 1 << 30, "rope_halves_h64_v3.c.txt"},
};

static struct template_set *set;

static int open_set(void **state)
{
    (void)state;
    return template_set_open(NULL, &set) != QRT_OK;
}

static int close_set(void **state)
{
    (void)state;
    template_set_close(set);
    return 0;
}

static void render(size_t i, struct rendering *out)
{
    struct request r = {
        .arch = arch_find(kernels[i].arch), .m_lo = kernels[i].m_lo, .m_hi = kernels[i].m_hi};
    struct candidate *candidates;
    size_t count;
    assert_int_equal(op_desc_parse(kernels[i].request, &r.desc), QRT_OK);
    if (template_candidates(set, &r, &candidates, &count) != QRT_OK) fail_msg("%s", qrt_message());
    if (template_render(set, &candidates[0], out) != QRT_OK) fail_msg("%s", qrt_message());
    free(candidates);
}

/* The first line that differs, for a message. */
static int first_difference(const char *a, const char *b)
{
    int line = 1;
    for (; *a && *a == *b; a++, b++) line += *a == '\n';
    return line;
}

static void texts_equal_goldens(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        struct rendering r;
        char path[256];
        void *golden;
        size_t count;
        render(i, &r);
        snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/%s", kernels[i].file);
        if (getenv("QGEN_UPDATE_GOLDEN"))
            assert_int_equal(file_write(path, r.text, r.bytes), QRT_OK);
        if (file_read(path, 1 << 20, &golden, &count) != QRT_OK) fail_msg("%s", qrt_message());
        if (count != r.bytes || memcmp(golden, r.text, count) != 0)
            fail_msg("%s differs from line %d on; QGEN_UPDATE_GOLDEN=1 rewrites it",
                     kernels[i].file, first_difference(golden, r.text));
        free(golden);
        rendering_free(&r);
    }
}

static void texts_tell_nothing_of_the_machine(void **state)
{
    (void)state;
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    const char *const secrets[] = {SOURCE_DIR, "/tmp/", "/home/", host, "202", "0x7f"};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        struct rendering r;
        render(i, &r);
        assert_memory_equal(r.text, "/* Made by qgen from templates/", 31);
        const char *end = strstr(r.text, "*/");
        assert_non_null(end);
        for (size_t s = 0; s < sizeof secrets / sizeof *secrets; s++)
            if (secrets[s][0] &&
                memmem(r.text, (size_t)(end - r.text), secrets[s], strlen(secrets[s])))
                fail_msg("%s: '%s' in the header", kernels[i].file, secrets[s]);
        assert_null(strstr(r.text, SOURCE_DIR));
        assert_null(strstr(r.text, "${"));
        assert_null(strstr(r.text, "\n$"));
        rendering_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_equal_goldens),
        cmocka_unit_test(texts_tell_nothing_of_the_machine),
    };
    return cmocka_run_group_tests(tests, open_set, close_set);
}
