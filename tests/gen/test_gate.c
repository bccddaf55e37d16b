/* test_gate.c -- contract of gate.h
 *
 * - a kernel that agrees with ref passes; one that does not is QRT_E_CHECK with case and numbers
 * - a kernel that leaves its share to nobody, or writes past a row, is found
 * - GPU kernels run on the virtual GPU: wrong results do not pass, nor do right ones with a race
 * - a kernel that this machine has nothing to run on passes unseen
 * These need the system's C compiler, and a processor of x86-64-v3: skipped aloud without.
 */
#include "gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helpers.h"
#include "kernel_unit.h"
#include "nvrtc.h"

static char folder[64];
static struct gate *gate;

static int open_gate(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-test-XXXXXX");
    return !mkdtemp(folder) || gate_open(&gate) != QRT_OK;
}

static int close_gate(void **state)
{
    (void)state;
    char command[128];
    gate_close(gate);
    gate_close(NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static int has_cpu(void)
{
    qrt *rt;
    qrt_device *cpu = NULL;
    assert_int_equal(qrt_open(NULL, &rt), QRT_OK);
    const int has = qrt_device_open(rt, "cpu", &cpu) == QRT_OK;
    if (!has) print_message("[ SKIP ] %s\n", qrt_message());
    qrt_device_close(cpu);
    qrt_close(rt);
    return has;
}

/* Compile an add kernel with this loop body; free() the object. */
static void *compile(const char *body, size_t *bytes)
{
    char path[128], command[512];
    snprintf(path, sizeof path, "%s/add.c", folder);
    FILE *f = fopen(path, "w");
    fprintf(f,
            "#include \"kernel_abi.h\"\n"
            "void add(const struct qk_add *a, const struct qk_cpu *cpu)\n"
            "{\n"
            "    for (int m = cpu->part; m < a->M; m += cpu->parts)\n"
            "        for (int k = 0; k < a->K; k++) { %s }\n"
            "}\n",
            body);
    fclose(f);
    snprintf(command, sizeof command, "cc -shared -fPIC -O1 -I%s/runtime -o %s/add.so %s",
             SOURCE_DIR, folder, path);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/add.so", folder);
    f = fopen(path, "rb");
    struct stat st;
    assert_int_equal(fstat(fileno(f), &st), 0);
    *bytes = (size_t)st.st_size;
    void *block = malloc(*bytes);
    assert_int_equal(fread(block, 1, *bytes, f), *bytes);
    fclose(f);
    return block;
}

static qrt_status pass(const char *arch, const char *body)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    assert_int_equal(op_desc_parse("add.f32", &e.record.desc), QRT_OK);
    strcpy(e.record.arch, arch);
    strcpy(e.record.symbol, "add");
    e.record.m_lo = 1;
    e.record.m_hi = 1 << 30;
    void *image = compile(body, &e.part[ENTRY_IMAGE].bytes);
    e.part[ENTRY_IMAGE].data = image;
    const qrt_status status = gate_pass(gate, &e);
    free(image);
    return status;
}

#define RIGHT "a->x[m * a->ldx + k] += ((const float *)a->y)[m * a->ldy + k];"

static void right_kernels_pass(void **state)
{
    (void)state;
    if (!has_cpu()) skip();
    assert_int_equal(pass("x86-64-v3", RIGHT), QRT_OK);
}

static void wrong_kernels_do_not(void **state)
{
    (void)state;
    if (!has_cpu()) skip();
    static const char *const wrong[] = {
        "if (m > 0 || k > 0) " RIGHT,
        "if (cpu->parts == 1 || cpu->part > 0) " RIGHT, /* when cut, the first part is missing */
        RIGHT " if (k == a->K - 1) a->x[m * a->ldx + k + 1] = 0;",
        "a->x[m * a->ldx + k] += 0.999f * ((const float *)a->y)[m * a->ldy + k];",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(pass("x86-64-v3", wrong[i]), QRT_E_CHECK);
        assert_non_null(strstr(qrt_message(), "add.f32"));
        assert_non_null(strstr(qrt_message(), "M="));
    }
}

/* An add kernel for sm_80, one block a row, with this loop body over k. */
static qrt_status pass_gpu(struct nvrtc *nvrtc, struct gate *g, const char *body)
{
    static const char head[] =
        "struct args { float *x; const float *y; long long ldx, ldy; int M, K; };\n"
        "extern \"C\" __global__ __launch_bounds__(64) void add(const __grid_constant__ args a)\n"
        "{\n"
        "    const int m = blockIdx.x;\n"
        "    for (int k = threadIdx.x; k < a.K; k += 64) ";
    char text[1024];
    struct unit u;
    struct unit_image image;
    struct entry e;
    memset(&e, 0, sizeof e);
    snprintf(text, sizeof text, "%s{ %s }\n}\n", head, body);
    kernel_unit(&u, "sm_80", "add", text);
    if (nvrtc_compile(nvrtc, &u, &image) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(op_desc_parse("add.f32", &e.record.desc), QRT_OK);
    strcpy(e.record.arch, "sm_80");
    strcpy(e.record.symbol, "add");
    e.record.m_lo = 1;
    e.record.m_hi = 1 << 30;
    e.record.block[0] = 64;
    e.record.block[1] = e.record.block[2] = 1;
    e.record.grid[0] = (struct entry_grid){DIM_M, 1};
    e.record.grid[1] = e.record.grid[2] = (struct entry_grid){DIM_ONE, 1};
    e.part[ENTRY_IMAGE].data = image.image;
    e.part[ENTRY_IMAGE].bytes = image.image_bytes;
    e.part[ENTRY_PTX].data = image.ptx;
    e.part[ENTRY_PTX].bytes = image.ptx_bytes;
    const qrt_status status = gate_pass(g, &e);
    unit_image_free(&image);
    unit_free(&u);
    return status;
}

#define RIGHT_GPU "a.x[m * a.ldx + k] += a.y[m * a.ldy + k];"

static void gpu_kernels_run_virtually(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    if (nvrtc_open(&nvrtc) != QRT_OK) skip();
    assert_int_equal(pass_gpu(nvrtc, gate, RIGHT_GPU), QRT_OK);
    assert_int_equal(pass_gpu(nvrtc, gate, "a.x[m * a.ldx + k] = a.y[m * a.ldy + k];"),
                     QRT_E_CHECK);
    /* the right number is written, and read by another block */
    assert_int_equal(
        pass_gpu(nvrtc, gate, RIGHT_GPU " if (m > 0 && a.x[0] > 1e30f) a.x[m * a.ldx] = 0;"),
        QRT_E_CHECK);
    if (!strstr(qrt_message(), "race-global")) fail_msg("%s", qrt_message());
    nvrtc_close(nvrtc);
}

static void foreign_kernels_pass_unseen(void **state)
{
    (void)state;
    struct nvrtc *nvrtc;
    struct gate *blind;
    if (nvrtc_open(&nvrtc) != QRT_OK) skip();
    setenv("QGEN_VGPU", "/nowhere/libqgen_vgpu.so", 1);
    assert_int_equal(gate_open(&blind), QRT_OK);
    assert_int_equal(pass_gpu(nvrtc, blind, ";"), QRT_OK);
    unsetenv("QGEN_VGPU");
    gate_close(blind);
    nvrtc_close(nvrtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_pass),
        cmocka_unit_test(wrong_kernels_do_not),
        cmocka_unit_test(gpu_kernels_run_virtually),
        cmocka_unit_test(foreign_kernels_pass_unseen),
    };
    return cmocka_run_group_tests(tests, open_gate, close_gate);
}
