/* virtual.c -- the virtual GPU as a device of checks */
#include "virtual.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

#define LIBRARY "libqgen_vgpu.so"

enum { MAX_DEVICES = 16 };

/* X(field, symbol, result, arguments): what is taken of vgpu.h */
#define VGPU_TABLE(X)                                                              \
    X(arch, "vgpu_arch", const char *, (int device))                               \
    X(configure, "vgpu_configure", void, (int going, int checks, int threads))     \
    X(findings, "vgpu_findings", size_t, (struct vgpu_finding * out, size_t most)) \
    X(counts, "vgpu_counts", void, (struct vgpu_counts * out))                     \
    X(reset, "vgpu_reset", void, (void))                                           \
    X(decodes, "vgpu_decodes", int, (const char *ptx, char *text, size_t bytes))   \
    X(fault_name, "vgpu_fault_name", const char *, (enum vgpu_fault fault))

struct virtual_gpu {
    char path[PATH_MAX];
    void *library;
    qrt *rt;
    qrt_device *device[MAX_DEVICES];
#define VGPU_FIELD(field, symbol, result, arguments) result(*field) arguments;
    VGPU_TABLE(VGPU_FIELD)
#undef VGPU_FIELD
};

/* ---- finding the library ---- */

/* `place` + LIBRARY beside the folder of the running program; 0 when that is not a readable file. */
static int beside_program(const char *place, char path[PATH_MAX])
{
    char program[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return 0;
    program[length] = 0;
    char *slash = strrchr(program, '/');
    if (!slash) return 0;
    *slash = 0;
    return snprintf(path, PATH_MAX, "%s/%s" LIBRARY, program, place) < PATH_MAX &&
           access(path, R_OK) == 0;
}

static qrt_status find_library(char path[PATH_MAX])
{
    static const char *const places[] = {"", "../lib/", "../lib64/"};
    const char *named = getenv("QGEN_VGPU");
    if (named && *named) return snprintf(path, PATH_MAX, "%s", named), QRT_OK;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (beside_program(places[i], path)) return QRT_OK;
    return error_set(QRT_E_DEVICE,
                     "no " LIBRARY " beside the program or in ../lib: install it there, or let "
                     "QGEN_VGPU name it");
}

static qrt_status load_library(struct virtual_gpu *v)
{
    static const struct {
        const char *symbol;
        size_t at;
    } table[] = {
#define VGPU_ROW(field, symbol, result, arguments) {symbol, offsetof(struct virtual_gpu, field)},
        VGPU_TABLE(VGPU_ROW)
#undef VGPU_ROW
    };
    v->library = dlopen(v->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!v->library) return error_set(QRT_E_DEVICE, "the virtual GPU: %s", dlerror());
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        void *function = dlsym(v->library, table[i].symbol);
        if (!function)
            return error_set(QRT_E_DEVICE, "%s has no %s: it is not of this version", v->path,
                             table[i].symbol);
        memcpy((char *)v + table[i].at, &function, sizeof function);
    }
    return QRT_OK;
}

/* ---- opening ---- */

qrt_status virtual_open(struct virtual_gpu **out)
{
    struct virtual_gpu *v = calloc(1, sizeof *v);
    if (!v) return error_set(QRT_E_MEMORY, "the virtual GPU: no memory");
    qrt_status status = find_library(v->path);
    if (status == QRT_OK) status = load_library(v);
    const qrt_options options = {.size = sizeof options, .cuda_library = v->path};
    if (status == QRT_OK) status = qrt_open(&options, &v->rt);
    if (status != QRT_OK) {
        virtual_close(v);
        return status;
    }
    v->configure(1, 1, 0);
    v->reset();
    *out = v;
    return QRT_OK;
}

void virtual_close(struct virtual_gpu *v)
{
    if (!v) return;
    for (int i = 0; i < MAX_DEVICES; i++) qrt_device_close(v->device[i]);
    qrt_close(v->rt);
    if (v->library) dlclose(v->library);
    free(v);
}

const char *virtual_library(const struct virtual_gpu *v) { return v->path; }

/* The device of this name, else the first that takes its kernels; -1: none. */
static int find_device(const struct virtual_gpu *v, const struct arch *arch)
{
    int near = -1;
    for (int i = 0; i < MAX_DEVICES && v->arch(i); i++) {
        const struct arch *there = arch_find(v->arch(i));
        if (there == arch) return i;
        if (near < 0 && there && arch_runs_on(arch, there)) near = i;
    }
    return near;
}

qrt_status virtual_device(struct virtual_gpu *v, const struct arch *arch, struct qrt_device **out)
{
    char name[16];
    const int i = find_device(v, arch);
    if (i < 0) return error_set(QRT_E_DEVICE, "the virtual GPU has no device for %s", arch->name);
    snprintf(name, sizeof name, "cuda:%d", i);
    if (!v->device[i]) TRY(qrt_device_open(v->rt, name, &v->device[i]));
    *out = v->device[i];
    return QRT_OK;
}

/* ---- what it found ---- */

void virtual_check(const struct virtual_gpu *v, int on) { v->configure(1, on, on ? 0 : 1); }

size_t virtual_take(struct virtual_gpu *v, struct vgpu_finding *first, struct vgpu_counts *counts)
{
    const size_t count = v->findings(first, 1);
    v->counts(counts);
    v->reset();
    return count;
}

const char *virtual_fault_name(const struct virtual_gpu *v, enum vgpu_fault fault)
{
    return v->fault_name(fault);
}

qrt_status virtual_decodes(const struct virtual_gpu *v, const char *ptx)
{
    char text[256];
    if (v->decodes(ptx, text, sizeof text) == 0) return QRT_OK;
    return error_set(QRT_E_CHECK, "the virtual GPU does not know this PTX: %s", text);
}
