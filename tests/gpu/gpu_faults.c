/* gpu_faults.c -- what real faults of a GPU do to a process, and what damaged machine code does
 *
 *     gpu_faults [DEVICE] [MUTATIONS] [DRIVER]      cuda:0 100 libcuda.so.1
 *
 * Each fault runs in a child process of its own: the device must come back as lost, a second call must
 * say so at once, and the next child must find a device that works.  Running out of memory must leave
 * the device usable.  Then copies of a good kernel's cubin with a few bits changed go to the driver with
 * our own hash check left out, each in a child, and what happens is counted: that is why no byte
 * reaches a driver before its hash is checked.
 * One line a case on stdout, a last line "N passed, N failed"; exit code 1 when a case failed.
 */
#include "cuda.c" /* struct cuda, to shorten its wait limit */

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "kernel_unit.h"
#include "nvrtc.h"

enum { ROWS = 64, WIDTH = 256, CHILD_SECONDS = 60, KERNEL_WAIT_S = 5 };

#define HEAD                                                                    \
    "struct args { float *x; const void *y; long long ldx, ldy; int M, K; };\n" \
    "extern \"C\" __global__ void kernel(args a) {\n"                           \
    "    const int m = blockIdx.x;\n"                                           \
    "    for (int k = threadIdx.x; k < a.K; k += blockDim.x) {\n"               \
    "        const float one = ((const float *)a.y)[m * a.ldy + k];\n"          \
    "        float *to = a.x + m * a.ldx + k;\n"
#define TAIL "    }\n}\n"

static const struct fault {
    const char *name, *source;
    qrt_status expected; /* of the wait behind the launch */
} faults[] = {
    {"a good kernel", HEAD "*to += one;\n" TAIL, QRT_OK},
    {"write far outside", HEAD "to[(1ll << 40)] = one;\n" TAIL, QRT_E_DEVICE_LOST},
    {"read of address 16", HEAD "*to += *(float *)(16 + 0 * (long long)one);\n" TAIL,
     QRT_E_DEVICE_LOST},
    {"misaligned write", HEAD "*(float *)((char *)to + 1) = one;\n" TAIL, QRT_E_DEVICE_LOST},
    {"trap", HEAD "asm volatile(\"trap;\"); *to = one;\n" TAIL, QRT_E_DEVICE_LOST},
    {"endless loop", HEAD "while (*(volatile float *)to < 1e30f) ; *to = one;\n" TAIL,
     QRT_E_DEVICE_LOST},
};
enum { FAULTS = sizeof faults / sizeof *faults };

static const char *device_name = "cuda:0", *driver; /* driver NULL: the system's */

/* ---- in a child ---- */

struct run {
    struct qrt *rt;
    struct qrt_device *d;
    void *x, *y;
    float host[ROWS * WIDTH];
};

static qrt_status start(struct run *r)
{
    const qrt_options options = {.size = sizeof options, .cuda_library = driver};
    TRY(qrt_open(&options, &r->rt));
    TRY(qrt_device_open(r->rt, device_name, &r->d));
    ((struct cuda *)r->d->impl)->wait_limit_ns = KERNEL_WAIT_S * NS_PER_S;
    for (int i = 0; i < ROWS * WIDTH; i++) r->host[i] = 1;
    TRY(r->d->ops->alloc(r->d, sizeof r->host, &r->x));
    TRY(r->d->ops->alloc(r->d, sizeof r->host, &r->y));
    return r->d->ops->upload(r->d, r->y, r->host, sizeof r->host);
}

static void entry_of(const char *arch, const void *image, size_t bytes, struct entry *e)
{
    memset(e, 0, sizeof *e);
    e->record.desc.op = OP_ADD;
    e->record.desc.act = ELEM_F32;
    snprintf(e->record.arch, sizeof e->record.arch, "%s", arch);
    snprintf(e->record.symbol, sizeof e->record.symbol, "kernel");
    e->record.grid[0] = (struct entry_grid){DIM_M, 1};
    e->record.grid[1] = e->record.grid[2] = (struct entry_grid){DIM_ONE, 1};
    e->record.block[0] = 128, e->record.block[1] = e->record.block[2] = 1;
    e->part[ENTRY_IMAGE].data = image;
    e->part[ENTRY_IMAGE].bytes = bytes;
}

/* Load, launch, wait; *right gets whether x is what a good kernel leaves. */
static qrt_status run_entry(struct run *r, const struct entry *e, int *right)
{
    struct kernel k = {.record = e->record};
    const union op_args args = {
        .add = {.x = r->x, .y = r->y, .ldx = WIDTH, .ldy = WIDTH, .M = ROWS, .K = WIDTH}};
    TRY(r->d->ops->load(r->d, e, &k));
    TRY(r->d->ops->launch(r->d, &k, &e->record.desc, &args));
    TRY(r->d->ops->download(r->d, r->host, r->x, sizeof r->host));
    *right = 1;
    for (int i = 0; i < ROWS * WIDTH; i++) *right &= r->host[i] == 1;
    return QRT_OK;
}

/* 0 when the fault is answered as it should be. */
static int fault_child(const struct fault *f, const struct unit_image *image, const char *arch)
{
    struct run r = {.rt = NULL};
    struct entry e;
    int right = 0;
    entry_of(arch, image->image, image->image_bytes, &e);
    e.part[ENTRY_PTX].data = image->ptx;
    e.part[ENTRY_PTX].bytes = image->ptx_bytes;
    if (start(&r) != QRT_OK) return fprintf(stderr, "    %s\n", qrt_message()), 2;
    const qrt_status status = run_entry(&r, &e, &right);
    printf("    %s\n", status == QRT_OK ? right ? "right" : "wrong" : qrt_message());
    if (status != f->expected || (status == QRT_OK && !right)) return 3;
    if (status == QRT_OK) return 0;
    const int64_t before = now_ns();
    if (r.d->ops->sync(r.d) != QRT_E_DEVICE_LOST) return 4;
    return now_ns() - before > NS_PER_S / 100 ? 5 : 0; /* no driver call: at once */
}

/* Fill the memory until the driver refuses, give it back, compute. */
static int memory_child(const struct unit_image *image, const char *arch)
{
    enum { MOST = 4096 };
    static void *block[MOST];
    struct run r = {.rt = NULL};
    struct entry e;
    int count = 0, right = 0;
    if (start(&r) != QRT_OK) return 2;
    qrt_status status = QRT_OK;
    for (size_t bytes = (size_t)1 << 34; bytes >= 1 << 20 && count < MOST; bytes /= 2)
        while (count < MOST && (status = r.d->ops->alloc(r.d, bytes, &block[count])) == QRT_OK)
            count++;
    printf("    %d blocks, then: %s\n", count, qrt_message());
    if (status != QRT_E_MEMORY) return 3;
    while (count > 0) r.d->ops->free(r.d, block[--count]);
    entry_of(arch, image->image, image->image_bytes, &e);
    e.part[ENTRY_PTX].data = image->ptx;
    e.part[ENTRY_PTX].bytes = image->ptx_bytes;
    return run_entry(&r, &e, &right) == QRT_OK && right ? 0 : 4;
}

enum { CUBIN_RIGHT = 10, CUBIN_WRONG, CUBIN_REFUSED, CUBIN_LOST, CUBIN_OTHER, CUBIN_KINDS };

static int mutated_child(const struct unit_image *image, const char *arch, int number)
{
    struct run r = {.rt = NULL};
    struct entry e;
    int right = 0;
    uint64_t random = (uint64_t)number * 2 + 88172645463325253u;
    uint8_t *bytes = malloc(image->image_bytes);
    if (!bytes || start(&r) != QRT_OK) return CUBIN_OTHER;
    memcpy(bytes, image->image, image->image_bytes);
    for (int i = 0; i < 1 + number % 8; i++)
        bytes[random_word(&random) % image->image_bytes] ^=
            (uint8_t)(1u << (random_word(&random) >> 40 & 7));
    entry_of(arch, bytes, image->image_bytes, &e);
    const qrt_status status = run_entry(&r, &e, &right);
    if (status == QRT_OK) return right ? CUBIN_RIGHT : CUBIN_WRONG;
    if (status == QRT_E_DEVICE_LOST) return CUBIN_LOST;
    return status == QRT_E_ARCH ? CUBIN_REFUSED : CUBIN_OTHER;
}

/* ---- the parent ---- */

/* A child's exit code; 128 + signal when one ended it, the alarm of CHILD_SECONDS included. */
static int reap(pid_t child)
{
    int how;
    while (waitpid(child, &how, 0) < 0)
        ;
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

static pid_t begin_child(void)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) alarm(CHILD_SECONDS);
    return child;
}

static void end_child(int code)
{
    fflush(stdout);
    _exit(code);
}

static qrt_status compile_text(const char *arch, const char *text, struct unit_image *out)
{
    struct nvrtc *n;
    struct unit u;
    TRY(nvrtc_open(&n));
    kernel_unit(&u, arch, "kernel", text);
    const qrt_status status = nvrtc_compile(n, &u, out);
    unit_free(&u);
    nvrtc_close(n);
    return status;
}

static int report(const char *name, int code)
{
    printf("%s  %s", code == 0 ? "ok  " : "FAIL", name);
    if (code != 0) printf(" (%d)", code);
    printf("\n");
    return code != 0;
}

/* The arch of the device, asked for in a child: this process never touches the driver. */
static int ask_arch(char arch[16])
{
    int ends[2];
    if (pipe(ends) != 0) return 1;
    const pid_t child = begin_child();
    if (child == 0) {
        struct run r = {.rt = NULL};
        if (start(&r) != QRT_OK) fprintf(stderr, "%s\n", qrt_message()), _exit(1);
        end_child(write(ends[1], r.d->arch.name, 16) != 16);
    }
    const int failed = reap(child) != 0 || read(ends[0], arch, 16) != 16;
    close(ends[0]);
    close(ends[1]);
    return failed;
}

static void count_mutations(const struct unit_image *good, const char *arch, int mutations)
{
    static const char *const names[] = {"right all the same", "wrong numbers", "refused",
                                        "device lost", "another error"};
    int counts[CUBIN_KINDS] = {0}, crashed = 0;
    for (int i = 0; i < mutations; i++) {
        const pid_t child = begin_child();
        if (child == 0) end_child(mutated_child(good, arch, i));
        const int code = reap(child);
        if (code >= CUBIN_RIGHT && code < CUBIN_KINDS)
            counts[code]++;
        else
            crashed++;
    }
    printf("%d damaged cubins given to the driver unchecked:", mutations);
    for (int i = CUBIN_RIGHT; i < CUBIN_KINDS; i++)
        printf(" %d %s,", counts[i], names[i - CUBIN_RIGHT]);
    printf(" %d ended the process or hung\n", crashed);
}

int main(int argc, char **argv)
{
    char arch[16];
    struct unit_image good = {.image = NULL};
    int failed = 0;
    if (argc > 1) device_name = argv[1];
    if (argc > 3) driver = argv[3];
    if (ask_arch(arch) != 0) return 5;
    for (int i = 0; i < FAULTS; i++) {
        struct unit_image image;
        if (compile_text(arch, faults[i].source, &image) != QRT_OK)
            return fprintf(stderr, "%s: %s\n", faults[i].name, qrt_message()), 1;
        if (i == 0) good = image;
        const pid_t child = begin_child();
        if (child == 0) end_child(fault_child(&faults[i], &image, arch));
        failed += report(faults[i].name, reap(child));
        const pid_t next = begin_child();
        if (next == 0) end_child(fault_child(&faults[0], &good, arch));
        failed += report("  and a process after it", reap(next));
        if (i > 0) unit_image_free(&image);
    }
    const pid_t child = begin_child();
    if (child == 0) end_child(memory_child(&good, arch));
    failed += report("memory full, given back, used", reap(child));
    count_mutations(&good, arch, argc > 2 ? atoi(argv[2]) : 100);
    unit_image_free(&good);
    printf("%d passed, %d failed\n", 2 * FAULTS + 1 - failed, failed);
    return failed > 0;
}
