/* driver.c -- the CUDA driver's functions, on the virtual GPU
 *
 * Names, arguments and answers are the driver's binary interface; only what programs of this
 * repository and simple ones beside them call is here.  Everything runs at once in the caller's
 * thread: a stream is in order by itself, an event is over when it is recorded.  An error of a
 * kernel is told by the calls after it, as by a driver, and stays with its context.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device_table.h"
#include "graph.h"
#include "handle.h"
#include "memory.h"
#include "module.h"
#include "report.h"
#include "tensor_map.h"
#include "vgpu.h"

enum { DRIVER_VERSION = 13000, MAX_DEVICES = 16, MAX_STACK = 32, LOG_BYTES = 512 };

struct context {
    int device;
    int retained;
    int error; /* of a kernel: for good */
};

struct stream {
    struct context *context;
    struct graph *capture; /* what is done to it is recorded here; NULL: it is done */
};

struct event {
    struct context *context;
    int64_t time_ns; /* of its last record; 0: never */
};

static struct context *primary[MAX_DEVICES];
static int initialised;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the above */
static _Thread_local struct context *stack[MAX_STACK];
static _Thread_local int stacked;

#define TRY_ANSWER(expression)                         \
    do {                                               \
        const int answer_ = (expression);              \
        if (answer_ != ANSWER_SUCCESS) return answer_; \
    } while (0)

/* ---- contexts ---- */

static int current(struct context **out)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    struct context *c = stacked ? stack[stacked - 1] : NULL;
    if (!c || !handle_is(c, HANDLE_CONTEXT)) return ANSWER_INVALID_CONTEXT;
    if (out) *out = c;
    return c->error;
}

static int right_device(int device)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    return device_at(device) ? ANSWER_SUCCESS : ANSWER_INVALID_DEVICE;
}

VGPU_API int cuGraphDestroy(void *graph);
static struct stream *captured(void *stream);

static int right_stream(const void *stream)
{
    const int legacy = stream == NULL || stream == (void *)1 || stream == (void *)2;
    return legacy || handle_is(stream, HANDLE_STREAM) ? ANSWER_SUCCESS : ANSWER_INVALID_HANDLE;
}

VGPU_API int cuInit(unsigned flags)
{
    if (flags != 0) return ANSWER_INVALID_VALUE;
    initialised = 1;
    return ANSWER_SUCCESS;
}

VGPU_API int cuDriverGetVersion(int *version)
{
    if (!version) return ANSWER_INVALID_VALUE;
    *version = DRIVER_VERSION;
    return ANSWER_SUCCESS;
}

/* ---- devices ---- */

VGPU_API int cuDeviceGetCount(int *count)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    if (!count) return ANSWER_INVALID_VALUE;
    *count = device_count();
    return ANSWER_SUCCESS;
}

VGPU_API int cuDeviceGet(int *device, int index)
{
    TRY_ANSWER(right_device(index));
    if (!device) return ANSWER_INVALID_VALUE;
    *device = index;
    return ANSWER_SUCCESS;
}

VGPU_API int cuDeviceGetName(char *name, int bytes, int device)
{
    TRY_ANSWER(right_device(device));
    if (!name || bytes <= 0) return ANSWER_INVALID_VALUE;
    snprintf(name, (size_t)bytes, "qgen virtual %s", device_at(device)->arch);
    return ANSWER_SUCCESS;
}

VGPU_API int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    TRY_ANSWER(right_device(device));
    if (!bytes) return ANSWER_INVALID_VALUE;
    *bytes = DEVICE_MEMORY_BYTES;
    return ANSWER_SUCCESS;
}

VGPU_API int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    TRY_ANSWER(right_device(device));
    if (!value || attribute <= 0) return ANSWER_INVALID_VALUE;
    if (!device_attribute(device_at(device), attribute, value)) return ANSWER_INVALID_VALUE;
    return ANSWER_SUCCESS;
}

static int retain_locked(struct context **out, int device)
{
    if (!primary[device]) {
        primary[device] = handle_new(HANDLE_CONTEXT, sizeof **primary);
        if (!primary[device]) return ANSWER_OUT_OF_MEMORY;
        primary[device]->device = device;
    }
    primary[device]->retained++;
    *out = primary[device];
    return ANSWER_SUCCESS;
}

VGPU_API int cuDevicePrimaryCtxRetain(void **context, int device)
{
    TRY_ANSWER(right_device(device));
    if (!context) return ANSWER_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct context *c = NULL;
    const int answer = retain_locked(&c, device);
    pthread_mutex_unlock(&lock);
    *context = c;
    return answer;
}

VGPU_API int cuDevicePrimaryCtxRelease_v2(int device)
{
    TRY_ANSWER(right_device(device));
    pthread_mutex_lock(&lock);
    struct context *c = primary[device];
    const int good = c && c->retained > 0;
    if (good && --c->retained == 0) {
        primary[device] = NULL;
        handle_free(c);
    }
    pthread_mutex_unlock(&lock);
    return good ? ANSWER_SUCCESS : ANSWER_INVALID_CONTEXT;
}

VGPU_API int cuDevicePrimaryCtxReset_v2(int device)
{
    TRY_ANSWER(right_device(device));
    pthread_mutex_lock(&lock);
    if (primary[device]) primary[device]->error = ANSWER_SUCCESS;
    pthread_mutex_unlock(&lock);
    return ANSWER_SUCCESS;
}

VGPU_API int cuCtxPushCurrent_v2(void *context)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    if (!handle_is(context, HANDLE_CONTEXT)) return ANSWER_INVALID_CONTEXT;
    if (stacked == MAX_STACK) return ANSWER_INVALID_VALUE;
    stack[stacked++] = context;
    return ANSWER_SUCCESS;
}

VGPU_API int cuCtxPopCurrent_v2(void **context)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    if (stacked == 0) return ANSWER_INVALID_CONTEXT;
    stacked--;
    if (context) *context = stack[stacked];
    return ANSWER_SUCCESS;
}

VGPU_API int cuCtxSetCurrent(void *context)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    if (context && !handle_is(context, HANDLE_CONTEXT)) return ANSWER_INVALID_CONTEXT;
    if (stacked == 0) stacked = 1;
    stack[stacked - 1] = context;
    if (!context) stacked--;
    return ANSWER_SUCCESS;
}

VGPU_API int cuCtxGetCurrent(void **context)
{
    if (!initialised) return ANSWER_NOT_INITIALIZED;
    if (!context) return ANSWER_INVALID_VALUE;
    *context = stacked ? stack[stacked - 1] : NULL;
    return ANSWER_SUCCESS;
}

VGPU_API int cuCtxGetDevice(int *device)
{
    struct context *c = NULL;
    if (!device) return ANSWER_INVALID_VALUE;
    TRY_ANSWER(current(&c));
    *device = c->device;
    return ANSWER_SUCCESS;
}

VGPU_API int cuCtxSynchronize(void) { return current(NULL); }

/* ---- streams and events ---- */

VGPU_API int cuStreamCreate(void **stream, unsigned flags)
{
    struct context *c = NULL;
    TRY_ANSWER(current(&c));
    if (!stream || flags > 1) return ANSWER_INVALID_VALUE;
    struct stream *s = handle_new(HANDLE_STREAM, sizeof *s);
    if (!s) return ANSWER_OUT_OF_MEMORY;
    s->context = c;
    *stream = s;
    return ANSWER_SUCCESS;
}

VGPU_API int cuStreamDestroy_v2(void *stream)
{
    TRY_ANSWER(current(NULL));
    if (!handle_is(stream, HANDLE_STREAM)) return ANSWER_INVALID_HANDLE;
    struct stream *s = stream;
    if (s->capture) (void)cuGraphDestroy(s->capture);
    handle_free(stream);
    return ANSWER_SUCCESS;
}

VGPU_API int cuStreamSynchronize(void *stream)
{
    TRY_ANSWER(current(NULL));
    TRY_ANSWER(right_stream(stream));
    return captured(stream) ? ANSWER_CAPTURE_FORBIDS : ANSWER_SUCCESS;
}

VGPU_API int cuStreamQuery(void *stream) { return cuStreamSynchronize(stream); }

VGPU_API int cuEventCreate(void **event, unsigned flags)
{
    struct context *c = NULL;
    TRY_ANSWER(current(&c));
    if (!event || flags > 7) return ANSWER_INVALID_VALUE;
    struct event *e = handle_new(HANDLE_EVENT, sizeof *e);
    if (!e) return ANSWER_OUT_OF_MEMORY;
    e->context = c;
    *event = e;
    return ANSWER_SUCCESS;
}

VGPU_API int cuEventDestroy_v2(void *event)
{
    if (!handle_is(event, HANDLE_EVENT)) return ANSWER_INVALID_HANDLE;
    handle_free(event);
    return ANSWER_SUCCESS;
}

VGPU_API int cuEventRecord(void *event, void *stream)
{
    struct timespec t;
    TRY_ANSWER(current(NULL));
    if (!handle_is(event, HANDLE_EVENT)) return ANSWER_INVALID_HANDLE;
    TRY_ANSWER(right_stream(stream));
    clock_gettime(CLOCK_MONOTONIC, &t);
    ((struct event *)event)->time_ns = t.tv_sec * 1000000000ll + t.tv_nsec;
    return ANSWER_SUCCESS;
}

static int event_answer(const struct event *e)
{
    return handle_is(e, HANDLE_EVENT) ? e->context->error : ANSWER_INVALID_HANDLE;
}

VGPU_API int cuEventQuery(void *event) { return event_answer(event); }
VGPU_API int cuEventSynchronize(void *event) { return event_answer(event); }

VGPU_API int cuEventElapsedTime(float *ms, void *start, void *end)
{
    if (!ms) return ANSWER_INVALID_VALUE;
    TRY_ANSWER(event_answer(start));
    TRY_ANSWER(event_answer(end));
    const int64_t from = ((struct event *)start)->time_ns, to = ((struct event *)end)->time_ns;
    if (from == 0 || to == 0) return ANSWER_INVALID_HANDLE;
    *ms = (float)((double)(to - from) * 1e-6);
    return ANSWER_SUCCESS;
}

VGPU_API int cuStreamWaitEvent(void *stream, void *event, unsigned flags)
{
    (void)flags;
    TRY_ANSWER(current(NULL));
    TRY_ANSWER(right_stream(stream));
    return handle_is(event, HANDLE_EVENT) ? ANSWER_SUCCESS : ANSWER_INVALID_HANDLE;
}

/* ---- memory ---- */

VGPU_API int cuMemGetInfo_v2(size_t *available, size_t *total)
{
    struct context *c = NULL;
    TRY_ANSWER(current(&c));
    if (!available || !total) return ANSWER_INVALID_VALUE;
    *total = DEVICE_MEMORY_BYTES;
    *available = DEVICE_MEMORY_BYTES - memory_used(c->device);
    return ANSWER_SUCCESS;
}

VGPU_API int cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
    struct context *c = NULL;
    TRY_ANSWER(current(&c));
    if (!address || bytes == 0) return ANSWER_INVALID_VALUE;
    if (bytes > DEVICE_MEMORY_BYTES - memory_used(c->device)) return ANSWER_OUT_OF_MEMORY;
    const uint64_t at = memory_alloc(c->device, bytes, 0);
    if (!at) return ANSWER_OUT_OF_MEMORY;
    *address = at;
    return ANSWER_SUCCESS;
}

VGPU_API int cuMemFree_v2(uint64_t address)
{
    TRY_ANSWER(current(NULL));
    if (address == 0) return ANSWER_SUCCESS;
    return memory_free(address) ? ANSWER_SUCCESS : ANSWER_INVALID_VALUE;
}

VGPU_API int cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    TRY_ANSWER(current(NULL));
    if (!address || bytes == 0 || flags > 7) return ANSWER_INVALID_VALUE;
    *address = handle_new(HANDLE_PINNED, bytes);
    return *address ? ANSWER_SUCCESS : ANSWER_OUT_OF_MEMORY;
}

VGPU_API int cuMemAllocHost_v2(void **address, size_t bytes)
{
    return cuMemHostAlloc(address, bytes, 0);
}

VGPU_API int cuMemFreeHost(void *address)
{
    TRY_ANSWER(current(NULL));
    if (!handle_is(address, HANDLE_PINNED)) return ANSWER_INVALID_VALUE;
    handle_free(address);
    return ANSWER_SUCCESS;
}

/* ---- work of a stream: done now, or recorded ---- */

static int fill(const struct graph_node *n)
{
    uint8_t *host = memory_host(n->to, n->size * n->bytes);
    if (!host || n->to % n->size != 0) return ANSWER_INVALID_VALUE;
    for (size_t i = 0; i < n->bytes; i++) memcpy(host + i * n->size, &n->value, n->size);
    memory_mark_written(n->to, n->size * n->bytes);
    return ANSWER_SUCCESS;
}

static int copy_up(const struct graph_node *n)
{
    uint8_t *host = memory_host(n->to, n->bytes);
    if (!host || !n->from) return ANSWER_INVALID_VALUE;
    memcpy(host, (const void *)(uintptr_t)n->from, n->bytes);
    memory_mark_written(n->to, n->bytes);
    return ANSWER_SUCCESS;
}

static int copy_down(const struct graph_node *n)
{
    const uint8_t *host = memory_host(n->from, n->bytes);
    if (!host || !n->to) return ANSWER_INVALID_VALUE;
    memcpy((void *)(uintptr_t)n->to, host, n->bytes);
    return ANSWER_SUCCESS;
}

static int copy_across(const struct graph_node *n)
{
    uint8_t *to = memory_host(n->to, n->bytes);
    const uint8_t *from = memory_host(n->from, n->bytes);
    if (!to || !from) return ANSWER_INVALID_VALUE;
    memmove(to, from, n->bytes);
    memory_copy_marks(n->to, n->from, n->bytes);
    return ANSWER_SUCCESS;
}

/* The error of a kernel is told by the next call. */
static int run_kernel(struct context *c, const struct graph_node *n)
{
    const int answer = module_run(&n->launch);
    if (answer == ANSWER_OUT_OF_MEMORY) return answer;
    c->error = answer;
    return ANSWER_SUCCESS;
}

static int do_node(struct context *c, const struct graph_node *n)
{
    switch (n->kind) {
    case GRAPH_LAUNCH: return run_kernel(c, n);
    case GRAPH_COPY_UP: return copy_up(n);
    case GRAPH_COPY_DOWN: return copy_down(n);
    case GRAPH_COPY: return copy_across(n);
    default: return fill(n);
    }
}

static struct stream *captured(void *stream)
{
    struct stream *s = handle_is(stream, HANDLE_STREAM) ? stream : NULL;
    return s && s->capture ? s : NULL;
}

/* Takes over the parameters of a launch. */
static int work(void *stream, const struct graph_node *n)
{
    struct context *c = NULL;
    int answer = current(&c);
    if (answer == ANSWER_SUCCESS) answer = right_stream(stream);
    struct stream *s = captured(stream);
    if (answer == ANSWER_SUCCESS && s && graph_add(s->capture, n)) return ANSWER_SUCCESS;
    if (answer == ANSWER_SUCCESS)
        answer = s ? ANSWER_OUT_OF_MEMORY : n->bytes || n->launch.params ? do_node(c, n) : answer;
    free(n->launch.params);
    return answer;
}

static int set_memory(uint64_t to, uint32_t value, uint32_t size, size_t count, void *stream)
{
    return work(stream,
                &(struct graph_node){
                    .kind = GRAPH_FILL, .to = to, .value = value, .size = size, .bytes = count});
}

VGPU_API int cuMemsetD8Async(uint64_t address, unsigned char value, size_t count, void *stream)
{
    return set_memory(address, value, 1, count, stream);
}
VGPU_API int cuMemsetD8_v2(uint64_t address, unsigned char value, size_t count)
{
    return set_memory(address, value, 1, count, NULL);
}
VGPU_API int cuMemsetD32Async(uint64_t address, unsigned value, size_t count, void *stream)
{
    return set_memory(address, value, 4, count, stream);
}
VGPU_API int cuMemsetD32_v2(uint64_t address, unsigned value, size_t count)
{
    return set_memory(address, value, 4, count, NULL);
}

static int copy(enum graph_kind kind, uint64_t to, uint64_t from, size_t bytes, void *stream)
{
    return work(stream, &(struct graph_node){.kind = kind, .to = to, .from = from, .bytes = bytes});
}

VGPU_API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream)
{
    return copy(GRAPH_COPY_UP, to, (uintptr_t)from, bytes, stream);
}
VGPU_API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream)
{
    return copy(GRAPH_COPY_DOWN, (uintptr_t)to, from, bytes, stream);
}
VGPU_API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream)
{
    return copy(GRAPH_COPY, to, from, bytes, stream);
}
VGPU_API int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes)
{
    return copy(GRAPH_COPY_UP, to, (uintptr_t)from, bytes, NULL);
}
VGPU_API int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes)
{
    return copy(GRAPH_COPY_DOWN, (uintptr_t)to, from, bytes, NULL);
}
VGPU_API int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes)
{
    return copy(GRAPH_COPY, to, from, bytes, NULL);
}

/* ---- capture and graphs ---- */

VGPU_API int cuStreamBeginCapture_v2(void *stream, int mode)
{
    TRY_ANSWER(current(NULL));
    if (mode < 0 || mode > 2) return ANSWER_INVALID_VALUE;
    if (!handle_is(stream, HANDLE_STREAM)) return ANSWER_CAPTURE_FORBIDS; /* the legacy stream */
    struct stream *s = stream;
    if (s->capture) return ANSWER_CAPTURE_FORBIDS;
    s->capture = handle_new(HANDLE_GRAPH, sizeof *s->capture);
    return s->capture ? ANSWER_SUCCESS : ANSWER_OUT_OF_MEMORY;
}

VGPU_API int cuStreamIsCapturing(void *stream, int *status)
{
    TRY_ANSWER(right_stream(stream));
    if (!status) return ANSWER_INVALID_VALUE;
    *status = captured(stream) != NULL;
    return ANSWER_SUCCESS;
}

VGPU_API int cuStreamEndCapture(void *stream, void **graph)
{
    TRY_ANSWER(current(NULL));
    struct stream *s = captured(stream);
    if (!s || !graph) return ANSWER_INVALID_VALUE;
    *graph = s->capture;
    s->capture = NULL;
    return ANSWER_SUCCESS;
}

VGPU_API int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags)
{
    TRY_ANSWER(current(NULL));
    if (!executable || flags > 15) return ANSWER_INVALID_VALUE;
    if (!handle_is(graph, HANDLE_GRAPH)) return ANSWER_INVALID_HANDLE;
    struct graph *g = handle_new(HANDLE_GRAPH_EXEC, sizeof *g);
    if (!g) return ANSWER_OUT_OF_MEMORY;
    if (!graph_copy(graph, g)) {
        handle_free(g);
        return ANSWER_OUT_OF_MEMORY;
    }
    *executable = g;
    return ANSWER_SUCCESS;
}

VGPU_API int cuGraphInstantiate_v2(void **executable, void *graph, void **node, char *log,
                                   size_t log_bytes)
{
    (void)node;
    if (log && log_bytes) *log = 0;
    return cuGraphInstantiateWithFlags(executable, graph, 0);
}

VGPU_API int cuGraphLaunch(void *executable, void *stream)
{
    struct context *c = NULL;
    TRY_ANSWER(current(&c));
    if (!handle_is(executable, HANDLE_GRAPH_EXEC)) return ANSWER_INVALID_HANDLE;
    TRY_ANSWER(right_stream(stream));
    const struct graph *g = executable;
    for (size_t i = 0; i < g->count && c->error == ANSWER_SUCCESS; i++)
        TRY_ANSWER(do_node(c, &g->node[i]));
    return ANSWER_SUCCESS;
}

static int destroy_graph(void *graph, enum handle_kind kind)
{
    if (!handle_is(graph, kind)) return ANSWER_INVALID_HANDLE;
    graph_clear(graph);
    handle_free(graph);
    return ANSWER_SUCCESS;
}

VGPU_API int cuGraphDestroy(void *graph) { return destroy_graph(graph, HANDLE_GRAPH); }
VGPU_API int cuGraphExecDestroy(void *executable)
{
    return destroy_graph(executable, HANDLE_GRAPH_EXEC);
}

/* ---- modules ---- */

enum { JIT_ERROR_TEXT = 5, JIT_ERROR_BYTES = 6 };

/* The error log that the caller gave room for. */
static void give_log(unsigned count, const int *options, void **values, const char *log)
{
    char *to = NULL;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == JIT_ERROR_TEXT) to = values[i];
        if (options[i] == JIT_ERROR_BYTES) bytes = (uint32_t)(uintptr_t)values[i];
    }
    if (to && bytes) snprintf(to, bytes, "%s", log);
}

VGPU_API int cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options,
                                void **values)
{
    struct context *c = NULL;
    char log[LOG_BYTES] = "";
    struct module *m = NULL;
    TRY_ANSWER(current(&c));
    if (!module || !image || (count && (!options || !values))) return ANSWER_INVALID_VALUE;
    const int answer = module_load(c, c->device, image, &m, log, sizeof log);
    if (log[0]) give_log(count, options, values, log);
    *module = m;
    return answer;
}

VGPU_API int cuModuleLoadData(void **module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

VGPU_API int cuModuleUnload(void *module)
{
    TRY_ANSWER(current(NULL));
    if (!handle_is(module, HANDLE_MODULE)) return ANSWER_INVALID_HANDLE;
    module_unload(module);
    return ANSWER_SUCCESS;
}

VGPU_API int cuModuleGetFunction(void **function, void *module, const char *name)
{
    struct function *f = NULL;
    TRY_ANSWER(current(NULL));
    if (!function || !name) return ANSWER_INVALID_VALUE;
    if (!handle_is(module, HANDLE_MODULE)) return ANSWER_INVALID_HANDLE;
    TRY_ANSWER(module_function(module, name, &f));
    *function = f;
    return ANSWER_SUCCESS;
}

VGPU_API int cuModuleGetGlobal_v2(uint64_t *address, size_t *bytes, void *module, const char *name)
{
    TRY_ANSWER(current(NULL));
    if (!name) return ANSWER_INVALID_VALUE;
    if (!handle_is(module, HANDLE_MODULE)) return ANSWER_INVALID_HANDLE;
    return module_variable(module, name, address, bytes);
}

VGPU_API int cuFuncGetAttribute(int *value, int attribute, void *function)
{
    if (!value) return ANSWER_INVALID_VALUE;
    if (!handle_is(function, HANDLE_FUNCTION)) return ANSWER_INVALID_HANDLE;
    return function_attribute(function, attribute, value);
}

VGPU_API int cuFuncSetAttribute(void *function, int attribute, int value)
{
    if (!handle_is(function, HANDLE_FUNCTION)) return ANSWER_INVALID_HANDLE;
    return function_set_attribute(function, attribute, value);
}

/* A library is a module of the current context, a kernel its function. */
VGPU_API int cuLibraryLoadData(void **library, const void *code, int *jit, void **jit_values,
                               unsigned jits, int *options, void **values, unsigned count)
{
    (void)options;
    (void)values;
    (void)count;
    return cuModuleLoadDataEx(library, code, jits, jit, jit_values);
}
VGPU_API int cuLibraryUnload(void *library) { return cuModuleUnload(library); }
VGPU_API int cuLibraryGetKernel(void **kernel, void *library, const char *name)
{
    return cuModuleGetFunction(kernel, library, name);
}
VGPU_API int cuKernelGetFunction(void **function, void *kernel)
{
    if (!function || !handle_is(kernel, HANDLE_FUNCTION)) return ANSWER_INVALID_HANDLE;
    *function = kernel;
    return ANSWER_SUCCESS;
}

/* ---- launches ---- */

static int launch(struct module_launch *l, void *stream, void **params, void **extra)
{
    struct context *c = NULL;
    TRY_ANSWER(current(&c));
    if (!handle_is(l->function, HANDLE_FUNCTION)) return ANSWER_INVALID_HANDLE;
    if (l->function->module->context != c) return ANSWER_INVALID_CONTEXT;
    TRY_ANSWER(right_stream(stream));
    TRY_ANSWER(module_prepare(l, params, extra));
    return work(stream, &(struct graph_node){.kind = GRAPH_LAUNCH, .launch = *l});
}

VGPU_API int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                            unsigned block_x, unsigned block_y, unsigned block_z,
                            unsigned dynamic_bytes, void *stream, void **params, void **extra)
{
    struct module_launch l = {.function = function,
                              .grid = {grid_x, grid_y, grid_z},
                              .block = {block_x, block_y, block_z},
                              .cluster = {1, 1, 1},
                              .dynamic_bytes = dynamic_bytes};
    return launch(&l, stream, params, extra);
}

struct launch_attribute {
    int id;
    char pad[4];
    union {
        char pad[64];
        unsigned cluster[3];
    } value;
};

struct launch_config {
    unsigned grid[3], block[3], dynamic_bytes;
    void *stream;
    struct launch_attribute *attributes;
    unsigned count;
};

enum { LAUNCH_CLUSTER = 4 }; /* other attributes change no result */

VGPU_API int cuLaunchKernelEx(const struct launch_config *config, void *function, void **params,
                              void **extra)
{
    if (!config || (config->count && !config->attributes)) return ANSWER_INVALID_VALUE;
    struct module_launch l = {
        .function = function, .cluster = {1, 1, 1}, .dynamic_bytes = config->dynamic_bytes};
    memcpy(l.grid, config->grid, sizeof l.grid);
    memcpy(l.block, config->block, sizeof l.block);
    for (unsigned i = 0; i < config->count; i++)
        if (config->attributes[i].id == LAUNCH_CLUSTER)
            memcpy(l.cluster, config->attributes[i].value.cluster, sizeof l.cluster);
    return launch(&l, config->stream, params, extra);
}

VGPU_API int cuTensorMapEncodeTiled(void *map, int type, uint32_t rank, void *address,
                                    const uint64_t *dim, const uint64_t *stride,
                                    const uint32_t *box, const uint32_t *element, int interleave,
                                    int swizzle, int promotion, int fill)
{
    const struct tensor_map_request r = {.type = type,
                                         .interleave = interleave,
                                         .swizzle = swizzle,
                                         .fill = fill,
                                         .rank = rank,
                                         .base = (uint64_t)(uintptr_t)address,
                                         .dim = dim,
                                         .stride = stride,
                                         .box = box,
                                         .element = element};
    (void)promotion;
    if (!map || (uintptr_t)map % 64 || !dim || !box || !element || (rank > 1 && !stride))
        return ANSWER_INVALID_VALUE;
    return tensor_map_encode(&r, map) ? ANSWER_SUCCESS : ANSWER_INVALID_VALUE;
}

/* ---- names ---- */

static const struct {
    int answer;
    const char *name, *text;
} answers[] = {
    {ANSWER_SUCCESS, "CUDA_SUCCESS", "no error"},
    {ANSWER_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {ANSWER_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {ANSWER_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "cuInit was not called"},
    {ANSWER_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {ANSWER_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "not a kernel image"},
    {ANSWER_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {ANSWER_NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image for this device"},
    {ANSWER_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "the PTX is refused"},
    {ANSWER_NEWER_PTX, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the PTX is too new"},
    {ANSWER_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {ANSWER_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ANSWER_NOT_READY, "CUDA_ERROR_NOT_READY", "not ready"},
    {ANSWER_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "illegal memory access"},
    {ANSWER_MISALIGNED, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {ANSWER_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {ANSWER_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {ANSWER_CAPTURE_FORBIDS, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "not while capturing"},
};

static int give_text(int answer, const char **out, int text)
{
    if (!out) return ANSWER_INVALID_VALUE;
    *out = NULL;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (answers[i].answer == answer) *out = text ? answers[i].text : answers[i].name;
    return *out ? ANSWER_SUCCESS : ANSWER_INVALID_VALUE;
}

VGPU_API int cuGetErrorName(int answer, const char **name) { return give_text(answer, name, 0); }
VGPU_API int cuGetErrorString(int answer, const char **text) { return give_text(answer, text, 1); }

/* The newest form of a function, as the driver's headers name it: with _v2 where there is one. */
VGPU_API int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                                 int *status)
{
    char newer[96];
    (void)version;
    (void)flags;
    if (!symbol || !function) return ANSWER_INVALID_VALUE;
    snprintf(newer, sizeof newer, "%.80s_v2", symbol);
    Dl_info self;
    void *library = dladdr((void *)(uintptr_t)cuInit, &self)
                        ? dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD)
                        : NULL;
    *function = library ? dlsym(library, newer) : NULL;
    if (library && !*function) *function = dlsym(library, symbol);
    if (library) dlclose(library);
    if (status) *status = *function ? 0 : 1;
    return *function ? ANSWER_SUCCESS : ANSWER_NOT_FOUND;
}

VGPU_API int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}

/* ---- what the checker asks ---- */

VGPU_API int vgpu_arch_count(void) { return device_count(); }

VGPU_API const char *vgpu_arch(int device)
{
    const struct device *d = device_at(device);
    return d ? d->arch : NULL;
}

VGPU_API void vgpu_configure(int keep_going, int checks, int threads)
{
    module_configure(keep_going, checks, threads);
}

VGPU_API void vgpu_time(int on) { module_time(on); }

VGPU_API size_t vgpu_findings(struct vgpu_finding *out, size_t most)
{
    return report_take(out, most);
}

VGPU_API void vgpu_counts(struct vgpu_counts *out) { module_counts(out); }

VGPU_API void vgpu_reset(void)
{
    report_reset();
    module_reset_counts();
}

VGPU_API int vgpu_decodes(const char *ptx, char *text, size_t text_bytes)
{
    struct code code;
    char error[PTX_ERROR_BYTES];
    const int good = code_make(&code, ptx, NULL, NULL, error);
    if (good) code_free(&code);
    if (text && text_bytes) snprintf(text, text_bytes, "%s", good ? "" : error);
    return good ? 0 : -1;
}
