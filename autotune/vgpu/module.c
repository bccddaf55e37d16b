/* module.c -- modules: PTX taken or refused, functions and their limits, launches */
#include "module.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"
#include "launch.h"
#include "memory.h"

enum { PTX_NEWEST = 90 };

static struct {
    atomic_int keep_going, unchecked, threads, timed;
    struct vgpu_counts counts;
    uint64_t launches;
    pthread_mutex_t lock;    /* of counts */
    pthread_mutex_t running; /* one launch at a time: their notes of who touched what are shared */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .running = PTHREAD_MUTEX_INITIALIZER};

void module_configure(int keep_going, int checks, int threads)
{
    atomic_store(&all.keep_going, keep_going);
    atomic_store(&all.unchecked, !checks);
    atomic_store(&all.threads, threads);
}

void module_time(int on) { atomic_store(&all.timed, on); }

void module_counts(struct vgpu_counts *out)
{
    pthread_mutex_lock(&all.lock);
    *out = all.counts;
    pthread_mutex_unlock(&all.lock);
}

void module_reset_counts(void)
{
    pthread_mutex_lock(&all.lock);
    all.counts = (struct vgpu_counts){0};
    pthread_mutex_unlock(&all.lock);
}

/* ---- images ---- */

static int is_binary(const uint8_t *image)
{
    static const uint8_t elf[] = {0x7f, 'E', 'L', 'F'}, fat[] = {0x50, 0xed, 0x55, 0xba};
    return memcmp(image, elf, sizeof elf) == 0 || memcmp(image, fat, sizeof fat) == 0;
}

static int is_text(const char *image)
{
    image += strspn(image, " \t\r\n");
    return *image == '.' || *image == '/';
}

static uint64_t place_variable(void *user, const struct ptx_variable *v)
{
    struct module *m = user;
    uint64_t *more = realloc(m->variable, (m->variables + 1) * sizeof *more);
    if (!more) return 0;
    m->variable = more;
    const uint64_t address = memory_alloc(m->device, v->bytes ? v->bytes : 1, 1);
    if (!address) return 0;
    if (v->init) memcpy(memory_host(address, v->bytes), v->init, v->bytes);
    return m->variable[m->variables++] = address;
}

static int check_target(const struct module *m, char *log, size_t log_bytes)
{
    const struct ptx *ptx = &m->code.ptx;
    const struct device *d = device_at(m->device);
    const char suffix[2] = {ptx->target_suffix, 0};
    if (ptx->version > PTX_NEWEST) {
        snprintf(log, log_bytes, ".version %d.%d; at most %d.%d is known", ptx->version / 10,
                 ptx->version % 10, PTX_NEWEST / 10, PTX_NEWEST % 10);
        return ANSWER_NEWER_PTX;
    }
    if (device_takes(d, ptx->target, ptx->target_suffix)) return ANSWER_SUCCESS;
    snprintf(log, log_bytes, ".target sm_%d%s does not run on %s", ptx->target, suffix, d->arch);
    return ANSWER_INVALID_PTX;
}

static int load(struct module *m, const void *image, char *log, size_t log_bytes)
{
    char error[PTX_ERROR_BYTES];
    if (is_binary(image)) return ANSWER_NO_BINARY;
    if (!is_text(image)) return ANSWER_INVALID_IMAGE;
    if (code_make(&m->code, image, place_variable, m, error))
        return check_target(m, log, log_bytes);
    snprintf(log, log_bytes, "%s", error);
    return ANSWER_INVALID_PTX;
}

int module_load(struct context *context, int device, const void *image, struct module **out,
                char *log, size_t log_bytes)
{
    struct module *m = handle_new(HANDLE_MODULE, sizeof *m);
    if (!m) return ANSWER_OUT_OF_MEMORY;
    m->context = context;
    m->device = device;
    const int answer = load(m, image, log, log_bytes);
    if (answer == ANSWER_SUCCESS)
        *out = m;
    else
        module_unload(m);
    return answer;
}

void module_unload(struct module *m)
{
    while (m->functions) {
        struct function *next = m->functions->next;
        handle_free(m->functions);
        m->functions = next;
    }
    for (size_t i = 0; i < m->variables; i++) memory_free(m->variable[i]);
    free(m->variable);
    code_free(&m->code);
    handle_free(m);
}

/* ---- functions ---- */

static uint32_t plain_dynamic(const struct code_function *c)
{
    return c->shared_bytes < DEVICE_SHARED_PLAIN ? DEVICE_SHARED_PLAIN - c->shared_bytes : 0;
}

static const struct code_function *find_kernel(const struct module *m, const char *name)
{
    for (size_t i = 0; i < m->code.ptx.functions; i++) {
        const struct code_function *f = &m->code.function[i];
        if (f->entry && f->count && strcmp(f->name, name) == 0) return f;
    }
    return NULL;
}

int module_function(struct module *m, const char *name, struct function **out)
{
    const struct code_function *code = find_kernel(m, name);
    if (!code) return ANSWER_NOT_FOUND;
    for (struct function *f = m->functions; f; f = f->next)
        if (f->code == code) return *out = f, ANSWER_SUCCESS;
    struct function *f = handle_new(HANDLE_FUNCTION, sizeof *f);
    if (!f) return ANSWER_OUT_OF_MEMORY;
    *f = (struct function){m, code, plain_dynamic(code), m->functions};
    m->functions = f;
    *out = f;
    return ANSWER_SUCCESS;
}

int module_variable(struct module *m, const char *name, uint64_t *address, size_t *bytes)
{
    for (size_t i = 0; i < m->code.ptx.variables; i++) {
        const struct ptx_variable *v = &m->code.ptx.variable[i];
        if ((v->space != PTX_GLOBAL && v->space != PTX_CONST) || strcmp(v->name, name) != 0)
            continue;
        if (address) *address = m->code.place[i].address;
        if (bytes) *bytes = v->bytes;
        return ANSWER_SUCCESS;
    }
    return ANSWER_NOT_FOUND;
}

enum function_attribute {
    FUNCTION_THREADS = 0,
    FUNCTION_SHARED = 1,
    FUNCTION_CONST = 2,
    FUNCTION_LOCAL = 3,
    FUNCTION_REGISTERS = 4,
    FUNCTION_PTX = 5,
    FUNCTION_BINARY = 6,
    FUNCTION_CACHE = 7,
    FUNCTION_DYNAMIC = 8,
    FUNCTION_CARVEOUT = 9,
    FUNCTION_NON_PORTABLE_CLUSTER = 14,
};

int function_attribute(const struct function *f, int attribute, int *value)
{
    const struct module *m = f->module;
    const struct device *d = device_at(m->device);
    switch (attribute) {
    case FUNCTION_THREADS:
        *value = f->code->max_threads ? f->code->max_threads : DEVICE_THREADS;
        return ANSWER_SUCCESS;
    case FUNCTION_SHARED: *value = (int)f->code->shared_bytes; return ANSWER_SUCCESS;
    case FUNCTION_LOCAL: *value = (int)m->code.local_bytes; return ANSWER_SUCCESS;
    case FUNCTION_PTX: *value = m->code.ptx.version; return ANSWER_SUCCESS;
    case FUNCTION_BINARY: *value = d->major * 10 + d->minor; return ANSWER_SUCCESS;
    case FUNCTION_DYNAMIC: *value = (int)f->dynamic_most; return ANSWER_SUCCESS;
    case FUNCTION_CONST:
    case FUNCTION_REGISTERS: /* which is ptxas's business */
    case FUNCTION_CACHE: *value = 0; return ANSWER_SUCCESS;
    case FUNCTION_CARVEOUT: *value = -1; return ANSWER_SUCCESS;
    default: return ANSWER_INVALID_VALUE;
    }
}

int function_set_attribute(struct function *f, int attribute, int value)
{
    const struct device *d = device_at(f->module->device);
    const int64_t most = ((int64_t)d->shared_kib << 10) - f->code->shared_bytes;
    if (attribute == FUNCTION_CARVEOUT || attribute == FUNCTION_NON_PORTABLE_CLUSTER)
        return ANSWER_SUCCESS;
    if (attribute != FUNCTION_DYNAMIC || value < 0 || value > most) return ANSWER_INVALID_VALUE;
    f->dynamic_most = (uint32_t)value;
    return ANSWER_SUCCESS;
}

/* ---- launches ---- */

static int is_block_right(const struct module_launch *l)
{
    static const uint32_t most[] = {1024, 1024, 64};
    const struct code_function *c = l->function->code;
    uint64_t threads = 1;
    for (int d = 0; d < 3; d++) {
        if (l->block[d] == 0 || l->block[d] > most[d]) return 0;
        if (c->block[0] && c->block[d] != l->block[d]) return 0;
        threads *= l->block[d];
    }
    return threads <= (uint64_t)(c->max_threads ? c->max_threads : DEVICE_THREADS);
}

static int is_grid_right(const struct module_launch *l)
{
    static const uint32_t most[] = {0x7fffffff, 65535, 65535};
    const uint32_t *wanted = l->function->code->source->cluster;
    uint32_t size = 1;
    for (int d = 0; d < 3; d++) {
        if (l->grid[d] == 0 || l->grid[d] > most[d]) return 0;
        if (l->cluster[d] == 0 || l->grid[d] % l->cluster[d] != 0) return 0;
        if (wanted[0] && wanted[d] != l->cluster[d]) return 0;
        size *= l->cluster[d];
    }
    return size <= 8;
}

/* { CU_LAUNCH_PARAM_BUFFER_POINTER, p, CU_LAUNCH_PARAM_BUFFER_SIZE, &n, CU_LAUNCH_PARAM_END } */
static int copy_buffer(struct module_launch *l, void **extra)
{
    const void *buffer = NULL;
    const size_t *bytes = NULL;
    for (; *extra; extra += 2) {
        if (extra[0] == (void *)1) buffer = extra[1];
        if (extra[0] == (void *)2) bytes = extra[1];
    }
    if (!buffer || !bytes || *bytes < l->function->code->param_bytes) return ANSWER_INVALID_VALUE;
    memcpy(l->params, buffer, l->function->code->param_bytes);
    return ANSWER_SUCCESS;
}

static int copy_params(struct module_launch *l, void **params)
{
    const struct code *code = &l->function->module->code;
    const struct ptx_function *f = l->function->code->source;
    if (f->params && !params) return ANSWER_INVALID_VALUE;
    for (int i = 0; i < f->params; i++) {
        const struct code_variable *place = &code->place[f->first_variable + i];
        if (!params[i]) return ANSWER_INVALID_VALUE;
        memcpy(l->params + place->address, params[i], place->bytes);
    }
    return ANSWER_SUCCESS;
}

static uint8_t *new_params(const struct module_launch *l)
{
    return aligned_alloc(64, (l->function->code->param_bytes + 127u) / 64 * 64);
}

int module_copy_params(struct module_launch *l)
{
    uint8_t *copy = new_params(l);
    if (copy) memcpy(copy, l->params, l->function->code->param_bytes);
    l->params = copy;
    return copy != NULL;
}

int module_prepare(struct module_launch *l, void **params, void **extra)
{
    if (!is_block_right(l) || !is_grid_right(l)) return ANSWER_INVALID_VALUE;
    if (l->dynamic_bytes > l->function->dynamic_most) return ANSWER_INVALID_VALUE;
    if (params && extra) return ANSWER_INVALID_VALUE;
    l->params = new_params(l);
    if (!l->params) return ANSWER_OUT_OF_MEMORY;
    const int answer = extra ? copy_buffer(l, extra) : copy_params(l, params);
    if (answer != ANSWER_SUCCESS) {
        free(l->params);
        l->params = NULL;
    }
    return answer;
}

/* What a GPU notices. */
static int answer_of(unsigned kinds)
{
    static const struct {
        enum vgpu_fault fault;
        int answer;
    } table[] = {{VGPU_BOUNDS, ANSWER_ILLEGAL_ADDRESS},
                 {VGPU_MISALIGNED, ANSWER_MISALIGNED},
                 {VGPU_ILLEGAL, ANSWER_LAUNCH_FAILED},
                 {VGPU_BARRIER, ANSWER_LAUNCH_FAILED},
                 {VGPU_DEADLOCK, ANSWER_LAUNCH_FAILED}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (kinds >> table[i].fault & 1) return table[i].answer;
    return ANSWER_SUCCESS;
}

static void add_counts(const struct vgpu_counts *from)
{
    uint64_t *a = (uint64_t *)(void *)&all.counts;
    const uint64_t *b = (const uint64_t *)(const void *)from;
    for (size_t i = 0; i < sizeof all.counts / sizeof *a; i++) a[i] += b[i];
}

int module_run(const struct module_launch *l)
{
    const struct module *m = l->function->module;
    struct vgpu_counts counts = {0};
    unsigned kinds = 0;
    pthread_mutex_lock(&all.running);
    const struct launch launch = {.code = &m->code,
                                  .function = l->function->code,
                                  .grid = {l->grid[0], l->grid[1], l->grid[2]},
                                  .block = {l->block[0], l->block[1], l->block[2]},
                                  .cluster = {l->cluster[0], l->cluster[1], l->cluster[2]},
                                  .dynamic_shared_bytes = l->dynamic_bytes,
                                  .params = l->params,
                                  .processors = device_at(m->device)->processors,
                                  .number = memory_begin_launch(),
                                  .checks = !atomic_load(&all.unchecked),
                                  .threads = atomic_load(&all.threads),
                                  .timed = atomic_load(&all.timed),
                                  .id = ++all.launches};
    const int ran = launch_run(&launch, &counts, &kinds);
    pthread_mutex_unlock(&all.running);
    pthread_mutex_lock(&all.lock);
    add_counts(&counts);
    pthread_mutex_unlock(&all.lock);
    if (!ran) return ANSWER_OUT_OF_MEMORY;
    return atomic_load(&all.keep_going) ? ANSWER_SUCCESS : answer_of(kinds);
}
