/* nvrtc.c -- NVIDIA's runtime compiler as a library opened by name */
#include "nvrtc.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "error.h"

typedef void *nvrtc_program;

/* X(field, symbol, arguments); every function returns a result, 0 for success. */
#define NVRTC_API_TABLE(X)                                                                        \
    X(version, "nvrtcVersion", (int *major, int *minor))                                          \
    X(arch_count, "nvrtcGetNumSupportedArchs", (int *count))                                      \
    X(archs, "nvrtcGetSupportedArchs", (int *archs))                                              \
    X(create, "nvrtcCreateProgram",                                                               \
      (nvrtc_program * program, const char *text, const char *name, int headers,                  \
       const char *const *header_text, const char *const *header_name))                           \
    X(destroy, "nvrtcDestroyProgram", (nvrtc_program * program))                                  \
    X(compile, "nvrtcCompileProgram", (nvrtc_program program, int count, const char *const *opt)) \
    X(log_size, "nvrtcGetProgramLogSize", (nvrtc_program program, size_t * bytes))                \
    X(log, "nvrtcGetProgramLog", (nvrtc_program program, char *log))                              \
    X(ptx_size, "nvrtcGetPTXSize", (nvrtc_program program, size_t * bytes))                       \
    X(ptx, "nvrtcGetPTX", (nvrtc_program program, char *ptx))                                     \
    X(cubin_size, "nvrtcGetCUBINSize", (nvrtc_program program, size_t * bytes))                   \
    X(cubin, "nvrtcGetCUBIN", (nvrtc_program program, char *cubin))

enum { NVRTC_INVALID_OPTION = 5, MAX_ARCHS = 64 };
#define SOURCE_NAME "kernel.cu"

/* Fixed: another option is another key. */
#define OPTIONS(X)          X("-std=c++17") X("-default-device") X("--no-source-include")
#define OPTION_ITEM(option) option,
#define OPTION_WORD(option) option " "
static const char *const options[] = {OPTIONS(OPTION_ITEM)};
enum { OPTION_COUNT = sizeof options / sizeof *options };

struct nvrtc {
    char path[PATH_MAX];
    char identity[80];
    pthread_mutex_t lock; /* of loading */
    void *library;        /* NULL until the first use */
#define FIELD(field, symbol, arguments) int(*field) arguments;
    NVRTC_API_TABLE(FIELD)
#undef FIELD
};

const char *nvrtc_identity(const struct nvrtc *n) { return n->identity; }
const char *nvrtc_path(const struct nvrtc *n) { return n->path; }
const char *nvrtc_options(void) { return OPTIONS(OPTION_WORD); }

/* ---- finding ---- */

static int take_first(const char *pattern, char path[PATH_MAX])
{
    glob_t found;
    int taken = 0;
    if (glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0) {
        const char *last = found.gl_pathv[found.gl_pathc - 1]; /* the newest of cuda-* */
        taken = realpath(last, path) != NULL;
    }
    globfree(&found);
    return taken;
}

/* The library in one of the layouts that toolkits and wheels have below `folder`. */
static int find_below(const char *folder, char path[PATH_MAX])
{
    static const char *const layouts[] = {
        "", "/lib64", "/lib", "/targets/x86_64-linux/lib", "/*/lib", "/*/*/lib", "/*/*/*/lib"};
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12"};
    char pattern[PATH_MAX];
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
            const int bytes =
                snprintf(pattern, sizeof pattern, "%s%s/%s", folder, layouts[i], names[n]);
            if (bytes < PATH_MAX && take_first(pattern, path)) return 1;
        }
    return 0;
}

/* .deps/nvrtc beside the program, or beside the folder that holds it (build/qgen). */
static int find_beside_program(char path[PATH_MAX])
{
    char program[PATH_MAX], folder[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return 0;
    program[length] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(program, '/');
        if (!slash) return 0;
        *slash = 0;
        if (snprintf(folder, sizeof folder, "%s/.deps/nvrtc", program) < PATH_MAX &&
            find_below(folder, path))
            return 1;
    }
    return 0;
}

static int find_by_loader(char path[PATH_MAX])
{
    void *library = dlopen("libnvrtc.so.13", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libnvrtc.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!library) return 0;
    struct link_map *map;
    const int known = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && realpath(map->l_name, path);
    dlclose(library);
    return known;
}

static int is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static qrt_status find_given(const char *given, char path[PATH_MAX])
{
    if (is_file(given) && realpath(given, path)) return QRT_OK;
    if (find_below(given, path)) return QRT_OK;
    return error_set(QRT_E_COMPILE,
                     "QGEN_NVRTC=%s: neither the library nor a folder with libnvrtc.so.13 or "
                     "libnvrtc.so.12",
                     given);
}

static qrt_status find_library(char path[PATH_MAX])
{
    const char *given = getenv("QGEN_NVRTC"), *home = getenv("CUDA_HOME");
    if (given && *given) return find_given(given, path);
    if (find_beside_program(path) || (home && *home && find_below(home, path)) ||
        find_below("/usr/local/cuda", path) || find_below("/usr/local/cuda-*", path) ||
        find_by_loader(path))
        return QRT_OK;
    return error_set(QRT_E_COMPILE,
                     "CUDA kernels are compiled by NVRTC, and libnvrtc.so.13 or .12 is not in "
                     "$QGEN_NVRTC (unset), .deps/nvrtc beside the program, $CUDA_HOME (%s), "
                     "/usr/local/cuda*, or the loader's path; ./build.sh sets it up, so does a "
                     "CUDA toolkit or the wheel nvidia-cuda-nvrtc unzipped in .deps/nvrtc",
                     home && *home ? home : "unset");
}

/* Both ends of the file hold its ELF headers, build id and tables: a hash of them and of the size
 * tells builds apart without reading 110 MB. */
static qrt_status identify(struct nvrtc *n)
{
    enum { END_BYTES = 65536 };
    static const char digits[] = "0123456789abcdef";
    uint8_t *ends = calloc(2, END_BYTES), hash[16];
    const int fd = open(n->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int bad = !ends || fd < 0 || fstat(fd, &st) != 0 || st.st_size < END_BYTES;
    bad = bad || pread(fd, ends, END_BYTES, 0) != END_BYTES ||
          pread(fd, ends + END_BYTES, END_BYTES, st.st_size - END_BYTES) != END_BYTES;
    if (!bad) {
        struct blake2b b;
        const uint64_t size = (uint64_t)st.st_size;
        blake2b_init(&b, sizeof hash);
        blake2b_update(&b, &size, sizeof size);
        blake2b_update(&b, ends, (size_t)2 * END_BYTES);
        blake2b_final(&b, hash);
        char *at = n->identity + snprintf(n->identity, sizeof n->identity, "nvrtc ");
        for (size_t i = 0; i < sizeof hash; i++) {
            *at++ = digits[hash[i] >> 4];
            *at++ = digits[hash[i] & 15];
        }
        *at = 0;
    }
    if (fd >= 0) close(fd);
    free(ends);
    return bad ? error_set(QRT_E_COMPILE, "%s cannot be read, or is no library", n->path) : QRT_OK;
}

qrt_status nvrtc_open(struct nvrtc **out)
{
    struct nvrtc *n = calloc(1, sizeof *n);
    if (!n) return error_set(QRT_E_MEMORY, "NVRTC: no memory");
    pthread_mutex_init(&n->lock, NULL);
    qrt_status status = find_library(n->path);
    if (status == QRT_OK) status = identify(n);
    if (status == QRT_OK)
        *out = n;
    else
        nvrtc_close(n);
    return status;
}

/* The library stays loaded: it has threads and exit handlers of its own. */
void nvrtc_close(struct nvrtc *n)
{
    if (!n) return;
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static qrt_status load_locked(struct nvrtc *n)
{
    if (n->library) return QRT_OK;
    void *library = dlopen(n->path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return error_set(QRT_E_COMPILE, "NVRTC cannot be loaded: %s", dlerror());
    static const char *const symbols[] = {
#define SYMBOL(field, symbol, arguments) symbol,
        NVRTC_API_TABLE(SYMBOL)
#undef SYMBOL
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (!dlsym(library, symbols[i]))
            return error_set(QRT_E_COMPILE, "%s: has no %s; NVRTC of CUDA 12 or 13 is needed",
                             n->path, symbols[i]);
#define LOAD(field, symbol, arguments) *(void **)&n->field = dlsym(library, symbol);
    NVRTC_API_TABLE(LOAD)
#undef LOAD
    n->library = library;
    return QRT_OK;
}

static qrt_status load(struct nvrtc *n)
{
    pthread_mutex_lock(&n->lock);
    const qrt_status status = load_locked(n);
    pthread_mutex_unlock(&n->lock);
    return status;
}

qrt_status nvrtc_version(struct nvrtc *n, char out[16])
{
    int major = 0, minor = 0;
    TRY(load(n));
    n->version(&major, &minor);
    snprintf(out, 16, "%d.%d", major, minor);
    return QRT_OK;
}

/* ---- compiling ---- */

static qrt_status refused(struct nvrtc *n, const struct unit *u)
{
    int count = 0, archs[MAX_ARCHS];
    char list[6 * MAX_ARCHS] = "", version[16];
    TRY(nvrtc_version(n, version));
    if (n->arch_count(&count) != 0 || count > MAX_ARCHS || n->archs(archs) != 0) count = 0;
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), " %d", archs[i]);
    return error_set(QRT_E_COMPILE,
                     "%s: NVRTC %s refuses -arch=%s or one of %s(compiles for%s); a CUDA that "
                     "knows the arch is needed",
                     u->origin, version, u->arch->name, nvrtc_options(), list);
}

static qrt_status log_error(struct nvrtc *n, nvrtc_program program, const struct unit *u)
{
    size_t bytes = 0;
    char *log = NULL;
    if (n->log_size(program, &bytes) == 0 && bytes > 0) log = calloc(1, bytes + 1);
    if (log && n->log(program, log) != 0) *log = 0;
    const qrt_status status = unit_error(u, "NVRTC", SOURCE_NAME, log ? log : "");
    free(log);
    return status;
}

static qrt_status take(int (*size)(nvrtc_program, size_t *), int (*get)(nvrtc_program, char *),
                       nvrtc_program program, const struct unit *u, char **out, size_t *bytes)
{
    if (size(program, bytes) != 0 || *bytes == 0)
        return error_set(QRT_E_COMPILE, "%s: NVRTC gave no image", u->origin);
    *out = malloc(*bytes);
    if (!*out) return error_set(QRT_E_MEMORY, "%s: no %zu bytes", u->origin, *bytes);
    if (get(program, *out) != 0)
        return error_set(QRT_E_COMPILE, "%s: NVRTC does not hand out its image", u->origin);
    return QRT_OK;
}

/* `with` is one more option, or NULL. */
static qrt_status translate(struct nvrtc *n, nvrtc_program program, const struct unit *u,
                            const char *with)
{
    char arch[32];
    const char *arguments[OPTION_COUNT + 2];
    snprintf(arch, sizeof arch, "-arch=%s", u->arch->name);
    memcpy(arguments, options, sizeof options);
    arguments[OPTION_COUNT] = arch;
    arguments[OPTION_COUNT + 1] = with;
    const int result = n->compile(program, OPTION_COUNT + 1 + (with != NULL), arguments);
    if (result == NVRTC_INVALID_OPTION) return refused(n, u);
    return result == 0 ? QRT_OK : log_error(n, program, u);
}

static qrt_status compile(struct nvrtc *n, nvrtc_program program, const struct unit *u,
                          struct unit_image *out)
{
    TRY(translate(n, program, u, NULL));
    TRY(take(n->cubin_size, n->cubin, program, u, (char **)&out->image, &out->image_bytes));
    return take(n->ptx_size, n->ptx, program, u, &out->ptx, &out->ptx_bytes);
}

static qrt_status create(struct nvrtc *n, const struct unit *u, nvrtc_program *program)
{
    TRY(load(n));
    if (n->create(program, u->rendering.text, SOURCE_NAME, u->includes, u->include_text,
                  u->include_name) == 0)
        return QRT_OK;
    return error_set(QRT_E_COMPILE, "%s: NVRTC takes no program", u->origin);
}

const char *nvrtc_source_name(void) { return SOURCE_NAME; }

qrt_status nvrtc_lines(struct nvrtc *n, const struct unit *u, char **ptx)
{
    nvrtc_program program;
    size_t bytes;
    char *text = NULL;
    TRY(create(n, u, &program));
    qrt_status status = translate(n, program, u, "-lineinfo");
    if (status == QRT_OK) status = take(n->ptx_size, n->ptx, program, u, &text, &bytes);
    n->destroy(&program);
    if (status == QRT_OK)
        *ptx = text;
    else
        free(text);
    return status;
}

qrt_status nvrtc_compile(struct nvrtc *n, const struct unit *u, struct unit_image *out)
{
    nvrtc_program program;
    TRY(create(n, u, &program));
    struct unit_image image = {0};
    const qrt_status status = compile(n, program, u, &image);
    n->destroy(&program);
    if (status == QRT_OK)
        *out = image;
    else
        unit_image_free(&image);
    return status;
}
