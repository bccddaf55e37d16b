/* cpu.c -- the device `cpu`: what the processor has, kernels as shared objects, launches on a pool
 *
 * A kernel's image is an ELF shared object.  It is written to a memory file and opened with dlopen
 * through /proc/self/fd; where that is not possible, to a private temporary file that is unlinked
 * at once.  Nothing else of the program looks into the image, and it looks for nothing in the
 * program.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "host.h"
#include "pool.h"

typedef void kernel_function(const void *args, const struct qk_cpu *cpu);

struct cpu {
    struct pool *pool;
    unsigned features; /* QK_CPU_* */
    char *scratch;     /* QK_SCRATCH_BYTES for each thread */
};

/* ---- what the processor has ---- */

/* The name of the highest arch that this processor and system run; NULL: none of ours. */
static const char *native_arch(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
    if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
#endif
    return NULL;
}

static unsigned native_features(void)
{
    unsigned features = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avxvnni")) features |= QK_CPU_AVX_VNNI;
    if (__builtin_cpu_supports("avx512vnni")) features |= QK_CPU_AVX512_VNNI;
    if (__builtin_cpu_supports("avx512bf16")) features |= QK_CPU_AVX512_BF16;
#endif
    return features;
}

static void name_processor(char *name, size_t bytes)
{
    snprintf(name, bytes, "processor");
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f) return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value) continue;
        value += strspn(value, ": \t");
        snprintf(name, bytes, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    fclose(f);
}

static void cpu_close(struct qrt_device *d)
{
    struct cpu *cpu = d->impl;
    if (!cpu) return;
    pool_close(cpu->pool);
    rt_free(d->rt, cpu->scratch);
    rt_free(d->rt, cpu);
}

static qrt_status cpu_open(struct qrt_device *d, int index)
{
    if (index != 0) return error_set(QRT_E_DEVICE, "cpu:%d: there is one cpu device", index);
    const char *arch = native_arch();
    if (!arch)
        return error_set(QRT_E_DEVICE, "this processor is below x86-64-v3 (AVX2, FMA, F16C), the "
                                       "least that kernels are made for; use the device ref");
    d->arch = *arch_find(arch);
    d->family = FAMILY_X86;
    d->act = ELEM_F32;
    d->kv = ELEM_F16;
    const int threads = d->rt->options.threads ? d->rt->options.threads : pool_processors();
    void *block;
    TRY(rt_alloc(d->rt, sizeof(struct cpu), &d->impl));
    struct cpu *cpu = d->impl;
    cpu->features = native_features();
    TRY(rt_alloc(d->rt, (size_t)threads * QK_SCRATCH_BYTES, &block));
    cpu->scratch = block;
    TRY(pool_open(d->rt, threads, &cpu->pool));
    d->info = (qrt_device_info){.processors = threads, .memory_bytes = host_memory_bytes()};
    name_processor(d->info.name, sizeof d->info.name);
    d->cache_bytes = host_cache_bytes();
    return QRT_OK;
}

/* ---- loading ---- */

/* The path stays this kernel's own as long as the file is open: dlopen takes two objects of one
 * path for the same. */
struct module {
    void *handle;
    int fd;
};

/* dlopen believes the program headers and dies of a bus error when the file is shorter than they
 * say.  Everything else that a wrong object may do is what trust is about. */
static qrt_status check_object(const char *image, size_t bytes)
{
    Elf64_Ehdr h;
    if (bytes < sizeof h) return error_set(QRT_E_FORMAT, "kernel image: %zu bytes", bytes);
    memcpy(&h, image, sizeof h);
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
        h.e_type != ET_DYN || h.e_machine != EM_X86_64 || h.e_phentsize != sizeof(Elf64_Phdr))
        return error_set(QRT_E_FORMAT, "kernel image: not a shared object for x86-64");
    if (h.e_phoff > bytes || h.e_phnum * sizeof(Elf64_Phdr) > bytes - h.e_phoff)
        return error_set(QRT_E_FORMAT, "kernel image: %u program headers at %llu of %zu bytes",
                         h.e_phnum, (unsigned long long)h.e_phoff, bytes);
    for (unsigned i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, image + h.e_phoff + i * sizeof p, sizeof p);
        if (p.p_offset > bytes || p.p_filesz > bytes - p.p_offset)
            return error_set(QRT_E_FORMAT,
                             "kernel image: segment %u at %llu with %llu of %zu bytes", i,
                             (unsigned long long)p.p_offset, (unsigned long long)p.p_filesz, bytes);
    }
    return QRT_OK;
}

static qrt_status write_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        const ssize_t written = write(fd, bytes, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return error_set(QRT_E_IO, "kernel image: %s", strerror(errno));
        bytes += written;
        count -= (size_t)written;
    }
    return QRT_OK;
}

static qrt_status open_object(struct module *m, const char *path)
{
    m->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m->handle) return error_set(QRT_E_FORMAT, "kernel image: %s", dlerror());
    return QRT_OK;
}

static qrt_status load_from_memory(struct module *m, const void *image, size_t bytes)
{
    m->fd = memfd_create("qgen-kernel", MFD_CLOEXEC);
    if (m->fd < 0) return error_set(QRT_E_IO, "memory file: %s", strerror(errno));
    TRY(write_all(m->fd, image, bytes));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", m->fd);
    return open_object(m, path);
}

static qrt_status load_from_file(struct module *m, const void *image, size_t bytes)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    const int length =
        snprintf(path, sizeof path, "%s/qgen-XXXXXX", folder && *folder ? folder : "/tmp");
    if (length >= (int)sizeof path) return error_set(QRT_E_LIMIT, "TMPDIR is too long a path");
    m->fd = mkstemp(path); /* 0600 */
    if (m->fd < 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    qrt_status status = write_all(m->fd, image, bytes);
    if (status == QRT_OK) status = open_object(m, path);
    unlink(path);
    return status;
}

static void close_module(struct module *m)
{
    if (m->handle) dlclose(m->handle);
    if (m->fd >= 0) close(m->fd);
    *m = (struct module){.fd = -1};
}

static qrt_status load_module(struct module *m, const void *image, size_t bytes)
{
    *m = (struct module){.fd = -1};
    TRY(check_object(image, bytes));
    if (load_from_memory(m, image, bytes) == QRT_OK) return QRT_OK;
    close_module(m);
    const qrt_status status = load_from_file(m, image, bytes);
    if (status != QRT_OK) close_module(m);
    return status;
}

static qrt_status cpu_load(struct qrt_device *d, const struct entry *e, struct kernel *k)
{
    void *block;
    TRY(rt_alloc(d->rt, sizeof(struct module), &block));
    struct module *m = block;
    qrt_status status = load_module(m, e->part[ENTRY_IMAGE].data, e->part[ENTRY_IMAGE].bytes);
    if (status == QRT_OK) {
        k->code = dlsym(m->handle, e->record.symbol);
        if (!k->code) {
            close_module(m);
            status = error_set(QRT_E_FORMAT, "kernel image has no function %s", e->record.symbol);
        }
    }
    if (status == QRT_OK)
        k->module = m;
    else
        rt_free(d->rt, m);
    return status;
}

static void cpu_unload(struct qrt_device *d, struct kernel *k)
{
    close_module(k->module);
    rt_free(d->rt, k->module);
}

/* ---- launching ---- */

/* Multiply-adds, or elements touched, below which waking the other threads costs more than it
 * gives. */
enum { SMALL_WORK = 32768 };

static double work_of(const struct op_desc *d, const union op_args *args)
{
    const double m = op_dim(d->op, args, DIM_M), k = op_dim(d->op, args, DIM_K);
    switch (d->op) {
    case OP_LINEAR: return m * k * args->linear.w.N;
    case OP_ATTENTION:
        return m * args->attention.heads * args->attention.head * (args->attention.position[0] + m);
    case OP_ROPE: return 16 * m * args->rope.heads * args->rope.head;
    case OP_GLU: return 16 * m * k; /* an exponential each */
    case OP_SAMPLE: return m * args->sample.N;
    case OP_RMSNORM: return m * k * args->rmsnorm.heads;
    default: return m * k;
    }
}

struct job {
    const struct cpu *cpu;
    kernel_function *function;
    const union op_args *args;
    int parts;
};

static void run_part(void *user, int part)
{
    const struct job *job = user;
    const struct qk_cpu cpu = {
        .part = part,
        .parts = job->parts,
        .features = job->cpu->features,
        .scratch = job->cpu->scratch + (size_t)part * QK_SCRATCH_BYTES,
    };
    job->function(job->args, &cpu);
}

static qrt_status cpu_launch(struct qrt_device *d, const struct kernel *k,
                             const struct op_desc *desc, const union op_args *args)
{
    const struct cpu *cpu = d->impl;
    struct job job = {.cpu = cpu, .args = args};
    memcpy(&job.function, &k->code, sizeof job.function); /* ISO C has no cast for this */
    job.parts = work_of(desc, args) < SMALL_WORK ? 1 : pool_threads(cpu->pool);
    pool_run(cpu->pool, job.parts, run_part, &job);
    return QRT_OK;
}

const struct device_ops cpu_device = {
    .kind = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = host_alloc,
    .free = host_free,
    .place = host_place,
    .unplace = host_unplace,
    .upload = host_upload,
    .download = host_download,
    .load = cpu_load,
    .unload = cpu_unload,
    .launch = cpu_launch,
    .sync = host_sync,
    .fill = host_fill,
    .copy = host_copy,
    .mark = host_mark,
    .elapsed = host_elapsed,
};
