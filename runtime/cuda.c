/* cuda.c -- the CUDA device, on the driver's own interface
 *
 * The driver is opened by name when a device is; nothing of CUDA is linked.  The device works on
 * the GPU's primary context, which it makes current only for the length of a call, so that a
 * product's own CUDA code never finds another context than it left.
 *
 * One stream carries everything in order: uploads, launches, downloads.  A launch only enqueues;
 * the first wait is the download of a result.  A run between an upload and a download is therefore
 * a fixed list of launches, which is what a CUDA graph captures: launch() makes no call that a
 * capture forbids.
 *
 * Uploads go through a ring of pinned blocks: the copy of a block overlaps the filling of the next,
 * and the caller's memory is free on return.
 *
 * Errors: what an answer of the driver means is in cuda_api.h.  A lost device is remembered; later
 * calls say so without a driver call, because any call on a poisoned context can only fail again.
 * Every wait has a limit; work that does not end within it loses the device.
 * Threads: any.  The ring is locked; the driver locks the rest.
 */
#include "cuda_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "device.h"
#include "error.h"
#include "rt.h"

#define NS_PER_S       1000000000ll
#define WAIT_LIMIT_NS  (60 * NS_PER_S)
#define WAIT_SPIN_NS   5000000ll /* a decoded token is worth a spin; a long prefill is not */
#define WAIT_SLEEP_NS  100000ll
#define GRID_YZ_LIMIT  65535u
#define SMEM_PLAIN     49152u /* dynamic shared memory that needs no opting in */
#define DEFAULT_DRIVER "libcuda.so.1"

enum { RING_BLOCKS = 4, RING_BLOCK_BYTES = 1 << 20, JIT_TEXT_BYTES = 256 };

struct ring_block {
    void *bytes;      /* RING_BLOCK_BYTES, pinned */
    cuda_handle done; /* event after the last copy from it */
    int used;         /* `done` was recorded */
};

struct cuda {
    struct cuda_api api;
    void *library;
    int index, device; /* as the user counts, as the driver names it */
    int driver;        /* version, 13000 is 13.0 */
    uint32_t smem_bytes;
    cuda_handle context;
    cuda_handle own_stream, stream; /* stream: own_stream, or the caller's */
    cuda_handle fence;              /* event of sync and downloads; under ring_lock */
    cuda_handle mark[DEVICE_MARKS]; /* events with time; made by the first mark */
    struct ring_block ring[RING_BLOCKS];
    unsigned ring_next;
    pthread_mutex_t ring_lock;
    int64_t wait_limit_ns;
    atomic_int lost; /* the answer that lost the device; 0: usable */
};

/* ---- answers ---- */

static const char *const call_symbol[CUDA_CALL_COUNT] = {
#define CALL_SYMBOL(field, symbol, arguments) [CUDA_CALL_##field] = symbol,
    CUDA_API_TABLE(CALL_SYMBOL) CUDA_API_OPTIONAL_TABLE(CALL_SYMBOL)
#undef CALL_SYMBOL
};

struct result {
    int value;
    enum cuda_class class;
    const char *text;
};

static const struct result results[] = {
#define RESULT_ROW(value, class, text) {value, CUDA_##class, text},
    CUDA_RESULT_TABLE(RESULT_ROW)
#undef RESULT_ROW
};

static const qrt_status class_status[CUDA_CLASS_COUNT] = {
    [CUDA_MEMORY] = QRT_E_MEMORY, [CUDA_IMAGE] = QRT_E_ARCH,       [CUDA_CALLER] = QRT_E_ARGUMENT,
    [CUDA_ABSENT] = QRT_E_DEVICE, [CUDA_LOST] = QRT_E_DEVICE_LOST,
};

static const struct result *result_find(int value)
{
    static const struct result unknown = {-1, CUDA_LOST, "an answer this program does not know"};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].value == value) return &results[i];
    return &unknown;
}

static qrt_status answer(struct cuda *c, enum cuda_call call, int value)
{
    if (value == CUDA_SUCCESS) return QRT_OK;
    const struct result *r = result_find(value);
    if (r->class == CUDA_LOST) atomic_store(&c->lost, value);
    return error_set(class_status[r->class], "cuda:%d: %s: %s (CUDA error %d)", c->index,
                     call_symbol[call], r->text, value);
}

/* Call the driver and turn its answer into a status. */
#define CALL(c, field, ...) answer((c), CUDA_CALL_##field, (c)->api.field(__VA_ARGS__))

static qrt_status lost_again(const struct cuda *c, int value)
{
    return error_set(QRT_E_DEVICE_LOST, "cuda:%d was lost earlier: %s (CUDA error %d); %s",
                     c->index, result_find(value)->text, value,
                     qrt_status_advice(QRT_E_DEVICE_LOST));
}

/* Make the device's context current; leave() undoes it.  A lost device is not touched. */
static qrt_status enter(struct cuda *c)
{
    const int lost = atomic_load(&c->lost);
    return lost ? lost_again(c, lost) : CALL(c, context_push, c->context);
}

static qrt_status leave(struct cuda *c, qrt_status status)
{
    cuda_handle popped;
    (void)c->api.context_pop(&popped); /* repeats the error of the call before, if any */
    return status;
}

/* ---- waiting ---- */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void pause_briefly(int64_t waited_ns)
{
    if (waited_ns < WAIT_SPIN_NS)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = WAIT_SLEEP_NS}, NULL);
}

static qrt_status wait_event(struct cuda *c, cuda_handle event)
{
    const int64_t start = now_ns();
    for (;;) {
        const int value = c->api.event_query(event);
        if (value != CUDA_NOT_READY) return answer(c, CUDA_CALL_event_query, value);
        const int64_t waited = now_ns() - start;
        if (waited > c->wait_limit_ns) break;
        pause_briefly(waited);
    }
    atomic_store(&c->lost, CUDA_NOT_READY);
    return error_set(QRT_E_DEVICE_LOST, "cuda:%d: work did not end within %lld s; %s", c->index,
                     (long long)(c->wait_limit_ns / NS_PER_S),
                     qrt_status_advice(QRT_E_DEVICE_LOST));
}

static qrt_status wait_stream(struct cuda *c)
{
    TRY(CALL(c, event_record, c->fence, c->stream));
    return wait_event(c, c->fence);
}

/* ---- opening ---- */

static qrt_status driver_open(struct cuda *c, const char *path)
{
    static const struct {
        const char *symbol;
        size_t at;
        int optional;
    } table[] = {
#define API_ROW(field, symbol, arguments)      {symbol, offsetof(struct cuda_api, field), 0},
#define OPTIONAL_ROW(field, symbol, arguments) {symbol, offsetof(struct cuda_api, field), 1},
        CUDA_API_TABLE(API_ROW) CUDA_API_OPTIONAL_TABLE(OPTIONAL_ROW)
#undef API_ROW
#undef OPTIONAL_ROW
    };
    if (path == NULL) path = DEFAULT_DRIVER;
    /* NODELETE: the driver keeps threads of its own, its text must outlive the last device. */
    c->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (c->library == NULL)
        return error_set(QRT_E_DEVICE,
                         "cuda:%d: no CUDA driver: %s; install the NVIDIA driver, or use "
                         "--device cpu",
                         c->index, dlerror());
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        void *function = dlsym(c->library, table[i].symbol);
        if (function == NULL && !table[i].optional)
            return error_set(QRT_E_DEVICE,
                             "cuda:%d: %s has no %s: update the driver, or use "
                             "--device cpu",
                             c->index, path, table[i].symbol);
        memcpy((char *)&c->api + table[i].at, &function, sizeof function);
    }
    return QRT_OK;
}

static qrt_status device_choose(struct cuda *c)
{
    int count;
    TRY(CALL(c, init, 0));
    TRY(CALL(c, driver_version, &c->driver));
    TRY(CALL(c, device_count, &count));
    if (c->index < 0 || c->index >= count)
        return error_set(QRT_E_DEVICE, "cuda:%d: the driver has %d device%s, numbered from 0",
                         c->index, count, count == 1 ? "" : "s");
    return CALL(c, device_get, &c->device, c->index);
}

/* The arch whose kernels fit best: the exact one, else the newest of the same major number. */
static const struct arch *arch_nearest(int major, int minor)
{
    static const char *const form[] = {"sm_%d%da", "sm_%d%d"};
    for (int m = minor; m >= 0; m--)
        for (int f = m == minor ? 0 : 1; f < 2; f++) {
            char name[ARCH_NAME_BYTES];
            snprintf(name, sizeof name, form[f], major, m);
            const struct arch *arch = arch_find(name);
            if (arch != NULL) return arch;
        }
    return NULL;
}

static qrt_status device_describe(struct cuda *c, struct qrt_device *d)
{
    int major, minor, smem, l2;
    size_t bytes;
    TRY(CALL(c, device_name, d->info.name, (int)sizeof d->info.name, c->device));
    TRY(CALL(c, device_memory, &bytes, c->device));
    TRY(CALL(c, device_attribute, &d->info.processors, CUDA_DEVICE_PROCESSORS, c->device));
    TRY(CALL(c, device_attribute, &major, CUDA_DEVICE_MAJOR, c->device));
    TRY(CALL(c, device_attribute, &minor, CUDA_DEVICE_MINOR, c->device));
    TRY(CALL(c, device_attribute, &smem, CUDA_DEVICE_SMEM, c->device));
    TRY(CALL(c, device_attribute, &l2, CUDA_DEVICE_L2, c->device));
    const struct arch *arch = arch_nearest(major, minor);
    if (arch == NULL)
        return error_set(QRT_E_DEVICE,
                         "cuda:%d: %s has compute capability %d.%d, which no arch of "
                         "`qgen targets` serves",
                         c->index, d->info.name, major, minor);
    d->info.name[sizeof d->info.name - 1] = 0;
    d->info.memory_bytes = bytes;
    d->cache_bytes = l2 > 0 ? (uint64_t)l2 : 0;
    memcpy(d->info.arch, arch->name, sizeof d->info.arch);
    d->arch = *arch;
    d->family = (enum layout_family)arch->family;
    d->act = d->kv = ELEM_F16; /* more digits than bf16, and every arch computes with it */
    c->smem_bytes = (uint32_t)smem;
    return QRT_OK;
}

static qrt_status stream_open(struct cuda *c)
{
    TRY(CALL(c, stream_create, &c->own_stream, CUDA_STREAM_ALONE));
    c->stream = c->own_stream;
    TRY(CALL(c, event_create, &c->fence, CUDA_EVENT_NO_TIME));
    for (int i = 0; i < RING_BLOCKS; i++) {
        TRY(CALL(c, pinned_alloc, &c->ring[i].bytes, RING_BLOCK_BYTES, 0));
        TRY(CALL(c, event_create, &c->ring[i].done, CUDA_EVENT_NO_TIME));
    }
    return QRT_OK;
}

static void stream_close(struct cuda *c)
{
    for (int i = 0; i < RING_BLOCKS; i++) {
        if (c->ring[i].done) (void)c->api.event_destroy(c->ring[i].done);
        if (c->ring[i].bytes) (void)c->api.pinned_free(c->ring[i].bytes);
    }
    for (int i = 0; i < DEVICE_MARKS; i++)
        if (c->mark[i]) (void)c->api.event_destroy(c->mark[i]);
    if (c->fence) (void)c->api.event_destroy(c->fence);
    if (c->own_stream) (void)c->api.stream_destroy(c->own_stream);
}

static qrt_status context_open(struct cuda *c)
{
    TRY(CALL(c, context_retain, &c->context, c->device));
    TRY(enter(c));
    return leave(c, stream_open(c));
}

/* Waits, because copies may still be on their way out of the ring. */
static void context_close(struct cuda *c)
{
    if (enter(c) != QRT_OK) return;
    if (c->fence) (void)wait_stream(c);
    if (!atomic_load(&c->lost)) stream_close(c);
    (void)leave(c, QRT_OK);
    if (!atomic_load(&c->lost)) (void)c->api.context_release(c->device);
}

static void close_device(struct qrt_device *d)
{
    struct cuda *c = d->impl;
    if (c == NULL) return;
    if (c->context) context_close(c);
    if (c->library) dlclose(c->library);
    pthread_mutex_destroy(&c->ring_lock);
    rt_free(d->rt, c);
    d->impl = NULL;
}

static qrt_status open_device(struct qrt_device *d, int index)
{
    void *block;
    TRY(rt_alloc(d->rt, sizeof(struct cuda), &block));
    struct cuda *c = block;
    c->index = index;
    c->wait_limit_ns = WAIT_LIMIT_NS;
    pthread_mutex_init(&c->ring_lock, NULL);
    d->impl = c;

    qrt_status status;
    TRY_DONE(driver_open(c, d->rt->options.cuda_library));
    TRY_DONE(device_choose(c));
    TRY_DONE(device_describe(c, d));
    TRY_DONE(context_open(c));
    return QRT_OK;
done:
    close_device(d);
    /* Whatever keeps a device from opening, there is none to lose yet. */
    return status == QRT_E_MEMORY ? status : error_context(QRT_E_DEVICE, "no usable CUDA device");
}

/* ---- memory ---- */

static void *as_pointer(cuda_address address) { return (void *)(uintptr_t)address; }
static cuda_address as_address(const void *pointer) { return (uintptr_t)pointer; }

static qrt_status alloc_sized(struct cuda *c, size_t bytes, cuda_address *out)
{
    const int value = c->api.memory_alloc(out, bytes ? bytes : 1);
    if (value == CUDA_SUCCESS) return QRT_OK;
    const qrt_status status = answer(c, CUDA_CALL_memory_alloc, value);
    size_t unused, total;
    if (status != QRT_E_MEMORY || c->api.memory_info(&unused, &total) != CUDA_SUCCESS)
        return status;
    return error_set(QRT_E_MEMORY, "cuda:%d: %zu bytes wanted, %zu of %zu free; %s", c->index,
                     bytes, unused, total, qrt_status_advice(QRT_E_MEMORY));
}

static qrt_status alloc_zeroed(struct cuda *c, size_t bytes, cuda_address *out)
{
    TRY(alloc_sized(c, bytes, out));
    if (bytes == 0) return QRT_OK;
    const qrt_status status = CALL(c, memory_set, *out, 0, bytes, c->stream);
    if (status != QRT_OK && !atomic_load(&c->lost)) (void)c->api.memory_free(*out);
    return status;
}

static qrt_status alloc_memory(struct qrt_device *d, size_t bytes, void **out)
{
    struct cuda *c = d->impl;
    cuda_address address;
    TRY(enter(c));
    TRY(leave(c, alloc_zeroed(c, bytes, &address)));
    *out = as_pointer(address);
    return QRT_OK;
}

static void free_memory(struct qrt_device *d, void *address)
{
    struct cuda *c = d->impl;
    if (address == NULL || atomic_load(&c->lost) || enter(c) != QRT_OK) return;
    (void)leave(c, CALL(c, memory_free, as_address(address)));
}

/* Copy one block's worth; waits only when all blocks are still on their way. */
static qrt_status upload_block(struct cuda *c, cuda_address to, const void *host, size_t bytes)
{
    struct ring_block *block = &c->ring[c->ring_next++ % RING_BLOCKS];
    if (block->used) TRY(wait_event(c, block->done));
    memcpy(block->bytes, host, bytes);
    TRY(CALL(c, copy_up, to, block->bytes, bytes, c->stream));
    block->used = 1;
    return CALL(c, event_record, block->done, c->stream);
}

/* The block is the fence's: no upload is under way in it, because downloads wait. */
static qrt_status download_block(struct cuda *c, void *host, cuda_address from, size_t bytes)
{
    struct ring_block *block = &c->ring[c->ring_next % RING_BLOCKS];
    if (block->used) TRY(wait_event(c, block->done));
    TRY(CALL(c, copy_down, block->bytes, from, bytes, c->stream));
    TRY(wait_stream(c));
    memcpy(host, block->bytes, bytes);
    return QRT_OK;
}

static size_t block_bytes(size_t left) { return left < RING_BLOCK_BYTES ? left : RING_BLOCK_BYTES; }

static qrt_status upload_all(struct cuda *c, cuda_address to, const char *host, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += RING_BLOCK_BYTES)
        TRY(upload_block(c, to + at, host + at, block_bytes(bytes - at)));
    return QRT_OK;
}

static qrt_status download_all(struct cuda *c, char *host, cuda_address from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += RING_BLOCK_BYTES)
        TRY(download_block(c, host + at, from + at, block_bytes(bytes - at)));
    return QRT_OK;
}

static qrt_status upload(struct qrt_device *d, void *to, const void *host, size_t bytes)
{
    struct cuda *c = d->impl;
    pthread_mutex_lock(&c->ring_lock);
    qrt_status status = enter(c);
    if (status == QRT_OK) status = leave(c, upload_all(c, as_address(to), host, bytes));
    pthread_mutex_unlock(&c->ring_lock);
    return status;
}

static qrt_status download(struct qrt_device *d, void *host, const void *from, size_t bytes)
{
    struct cuda *c = d->impl;
    pthread_mutex_lock(&c->ring_lock);
    qrt_status status = enter(c);
    if (status == QRT_OK) status = leave(c, download_all(c, host, as_address(from), bytes));
    pthread_mutex_unlock(&c->ring_lock);
    return status;
}

static qrt_status sync_device(struct qrt_device *d)
{
    struct cuda *c = d->impl;
    pthread_mutex_lock(&c->ring_lock);
    qrt_status status = enter(c);
    if (status == QRT_OK) status = leave(c, wait_stream(c));
    pthread_mutex_unlock(&c->ring_lock);
    return status;
}

/* What was queued is waited for, so that nothing of it is overtaken. */
static qrt_status use_stream(struct qrt_device *d, void *stream)
{
    struct cuda *c = d->impl;
    TRY(sync_device(d));
    c->stream = stream ? stream : c->own_stream;
    return QRT_OK;
}

static qrt_status place(struct qrt_device *d, const void *host, size_t bytes, const void **out)
{
    struct cuda *c = d->impl;
    cuda_address address = 0;
    TRY(enter(c));
    TRY(leave(c, alloc_sized(c, bytes, &address)));
    const qrt_status status = upload(d, as_pointer(address), host, bytes);
    if (status == QRT_OK)
        *out = as_pointer(address);
    else
        free_memory(d, as_pointer(address));
    return status;
}

static void unplace(struct qrt_device *d, const void *address)
{
    free_memory(d, as_pointer(as_address(address)));
}

/* ---- kernels ---- */

/* Load the PTX: the driver compiles it.  Its compiler's own words go into the message. */
static qrt_status load_ptx(struct cuda *c, const struct entry *e, cuda_handle *module)
{
    char text[JIT_TEXT_BYTES] = "";
    int option[] = {CUDA_JIT_ERROR_TEXT, CUDA_JIT_ERROR_TEXT_BYTES};
    void *value[] = {text, as_pointer(sizeof text - 1)};
    const char *ptx = e->part[ENTRY_PTX].data;
    const size_t bytes = e->part[ENTRY_PTX].bytes;
    if (bytes == 0 || ptx[bytes - 1] != 0) /* the driver reads to the NUL */
        return error_set(QRT_E_ARCH, "cuda:%d: the entry of %s has no PTX", c->index,
                         e->record.symbol);
    const qrt_status status = CALL(c, module_load, module, ptx, 2, option, value);
    return status == QRT_E_ARCH && text[0] ? error_context(status, "%s", text) : status;
}

/* PTX goes to newer devices of any kind; that of an exact arch to its own only. */
static int ptx_serves(const struct arch *built, const struct arch *device)
{
    return built->exact ? arch_runs_on(built, device) : built->number <= device->number;
}

static int is_no_fit(int value) { return value == CUDA_NO_BINARY || value == CUDA_INVALID_IMAGE; }

/* The cubin where it runs on the device, else the PTX. */
static qrt_status load_module(struct qrt_device *d, const struct entry *e, const struct arch *built,
                              cuda_handle *module)
{
    struct cuda *c = d->impl;
    if (arch_runs_on(built, &d->arch) && e->part[ENTRY_IMAGE].bytes > 0) {
        const int value = c->api.module_load(module, e->part[ENTRY_IMAGE].data, 0, NULL, NULL);
        if (!is_no_fit(value) || e->part[ENTRY_PTX].bytes == 0)
            return answer(c, CUDA_CALL_module_load, value);
    }
    rt_log(d->rt, RT_INFO, "cuda:%d: %s: no cubin for %s, the driver compiles its PTX", c->index,
           e->record.symbol, d->arch.name);
    return load_ptx(c, e, module);
}

/* What the device allows against what the record says: a launch must not be the first to know. */
static qrt_status check_resources(struct cuda *c, const struct entry_record *r,
                                  cuda_handle function)
{
    int threads, smem_static;
    TRY(CALL(c, function_get, &threads, CUDA_FUNCTION_THREADS, function));
    TRY(CALL(c, function_get, &smem_static, CUDA_FUNCTION_SMEM_STATIC, function));
    const uint64_t block = (uint64_t)r->block[0] * r->block[1] * r->block[2];
    const uint64_t smem = (uint64_t)r->smem_bytes + (uint64_t)smem_static;
    if (block == 0 || block > (uint64_t)threads)
        return error_set(QRT_E_LIMIT, "cuda:%d: a block of %s has %llu threads, at most %d fit",
                         c->index, r->symbol, (unsigned long long)block, threads);
    if (smem > c->smem_bytes)
        return error_set(QRT_E_LIMIT, "cuda:%d: %s wants %llu bytes of shared memory, %u are there",
                         c->index, r->symbol, (unsigned long long)smem, c->smem_bytes);
    if (r->smem_bytes <= SMEM_PLAIN) return QRT_OK;
    return CALL(c, function_set, function, CUDA_FUNCTION_SMEM_DYNAMIC, (int)r->smem_bytes);
}

static qrt_status load_function(struct cuda *c, const struct entry_record *r, cuda_handle module,
                                cuda_handle *function)
{
    TRY(CALL(c, module_function, function, module, r->symbol));
    return check_resources(c, r, *function);
}

/* Fills k's code and module; its record and key are the caller's. */
static qrt_status load_kernel(struct qrt_device *d, const struct entry *e, struct kernel *k)
{
    struct cuda *c = d->impl;
    const struct arch *built = arch_find(e->record.arch);
    if (built == NULL || built->kind != ARCH_SM || !ptx_serves(built, &d->arch))
        return error_set(QRT_E_ARCH, "cuda:%d: %s is built for %s, the device takes %s", c->index,
                         e->record.symbol, e->record.arch, d->arch.name);
    cuda_handle module = NULL, function = NULL;
    TRY(enter(c));
    qrt_status status = load_module(d, e, built, &module);
    if (status == QRT_OK) {
        status = load_function(c, &e->record, module, &function);
        if (status != QRT_OK && !atomic_load(&c->lost)) (void)c->api.module_unload(module);
    }
    TRY(leave(c, status));
    k->code = function;
    k->module = module;
    return QRT_OK;
}

static void unload_kernel(struct qrt_device *d, struct kernel *k)
{
    struct cuda *c = d->impl;
    if (k->module && !atomic_load(&c->lost) && enter(c) == QRT_OK)
        (void)leave(c, CALL(c, module_unload, k->module));
    k->code = k->module = NULL;
}

/* ceil(dim / div) blocks in each direction; any 0: nothing to do. */
static qrt_status grid_of(const struct cuda *c, const struct entry_record *r,
                          const union op_args *args, unsigned grid[3])
{
    for (int i = 0; i < 3; i++) {
        const int dim = op_dim((enum op)r->desc.op, args, (enum dim)r->grid[i].dim);
        const unsigned size = dim > 0 ? (unsigned)dim : 0;
        grid[i] = size / r->grid[i].div + (size % r->grid[i].div != 0);
        if (i > 0 && grid[i] > GRID_YZ_LIMIT)
            return error_set(QRT_E_LIMIT, "cuda:%d: %s: %u blocks in direction %d, at most %u",
                             c->index, r->symbol, grid[i], i, GRID_YZ_LIMIT);
    }
    return QRT_OK;
}

/* The rows of x as the kernel's copies are to see them; zero bytes where the driver does not take
 * that: base or rows off 16 bytes, or a driver older than such maps.  Columns behind a row's end
 * are read as zero; codes of quantized rows have theirs stored. */
static void map_x(const struct cuda *c, const struct entry_record *r, const struct qk_linear *a,
                  struct qk_map *map)
{
    const size_t element = elem_bytes((enum elem_type)r->desc.act);
    const int64_t K = r->desc.quant == QUANT_NONE ? a->w.K : ((int64_t)a->w.K + 63) / 64 * 64;
    const uint64_t size[2] = {(uint64_t)K, (uint64_t)a->M};
    const uint64_t stride_bytes[1] = {(uint64_t)a->ldx * element};
    const unsigned box[2] = {(unsigned)(r->map.bytes / element), r->map.rows}, step[2] = {1, 1};
    const int type = element == 1 ? CUDA_MAP_U8 : CUDA_MAP_U16;
    int swizzle = CUDA_MAP_SWIZZLE_32;
    for (uint32_t bytes = 32; bytes < r->map.bytes; bytes *= 2) swizzle++;
    const int is_aligned = as_address(a->x) % 16 == 0 && stride_bytes[0] % 16 == 0;
    if (!is_aligned || c->api.map_encode == NULL ||
        c->api.map_encode(map, type, 2, (void *)(uintptr_t)a->x, size, stride_bytes, box, step, 0,
                          swizzle, CUDA_MAP_PROMOTE_128, 0) != CUDA_SUCCESS)
        memset(map, 0, sizeof *map);
}

static qrt_status launch(struct qrt_device *d, const struct kernel *k, const struct op_desc *desc,
                         const union op_args *args)
{
    (void)desc; /* the kernel's own record says the same */
    struct cuda *c = d->impl;
    const struct entry_record *r = &k->record;
    unsigned grid[3];
    TRY(grid_of(c, r, args, grid));
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) return QRT_OK;
    union op_args copy = *args; /* the driver's interface is not const */
    struct qk_map map;
    if (r->map.rows > 0) map_x(c, r, &args->linear, &map);
    void *parameters[] = {&copy, r->map.rows > 0 ? &map : NULL};
    TRY(enter(c));
    return leave(c, CALL(c, launch, k->code, grid[0], grid[1], grid[2], r->block[0], r->block[1],
                         r->block[2], r->smem_bytes, c->stream, parameters, NULL));
}

/* ---- measuring ---- */

static qrt_status fill_memory(struct qrt_device *d, void *to, int byte, size_t bytes)
{
    struct cuda *c = d->impl;
    if (bytes == 0) return QRT_OK;
    TRY(enter(c));
    return leave(c, CALL(c, memory_set, as_address(to), (unsigned char)byte, bytes, c->stream));
}

static qrt_status copy_memory(struct qrt_device *d, void *to, const void *from, size_t bytes)
{
    struct cuda *c = d->impl;
    TRY(enter(c));
    return leave(c, CALL(c, memory_copy, as_address(to), as_address(from), bytes, c->stream));
}

static qrt_status record_mark(struct cuda *c, int i)
{
    if (c->mark[i] == NULL) TRY(CALL(c, event_create, &c->mark[i], CUDA_EVENT_TIME));
    return CALL(c, event_record, c->mark[i], c->stream);
}

static qrt_status mark(struct qrt_device *d, int i)
{
    struct cuda *c = d->impl;
    TRY(enter(c));
    return leave(c, record_mark(c, i));
}

static qrt_status measure_marks(struct cuda *c, int from, int to, double *seconds)
{
    float ms = 0;
    TRY(wait_event(c, c->mark[to]));
    TRY(CALL(c, event_elapsed, &ms, c->mark[from], c->mark[to]));
    *seconds = (double)ms * 1e-3;
    return QRT_OK;
}

static qrt_status elapsed(struct qrt_device *d, int from, int to, double *seconds)
{
    struct cuda *c = d->impl;
    TRY(enter(c));
    return leave(c, measure_marks(c, from, to, seconds));
}

/* ---- graphs ---- */

static int has_graphs(const struct cuda_api *api)
{
    return api->capture_begin && api->capture_end && api->graph_make && api->graph_free &&
           api->graph_launch && api->graph_exec_free;
}

/* What was captured becomes something that can be launched.  A failed body still ends the capture:
 * the stream is of no use to anybody before. */
static qrt_status finish_record(struct cuda *c, qrt_status body, void **out)
{
    cuda_handle graph = NULL, executable = NULL;
    qrt_status status = CALL(c, capture_end, c->stream, &graph);
    if (body != QRT_OK) status = body;
    if (status == QRT_OK) status = CALL(c, graph_make, &executable, graph, 0);
    if (graph && !atomic_load(&c->lost)) (void)c->api.graph_free(graph);
    if (status == QRT_OK) *out = executable;
    return status;
}

static qrt_status record_graph(struct qrt_device *d, qrt_status (*body)(void *user), void *user,
                               void **out)
{
    struct cuda *c = d->impl;
    *out = NULL;
    if (!has_graphs(&c->api)) return QRT_OK;
    TRY(enter(c));
    TRY(leave(c, CALL(c, capture_begin, c->stream, CUDA_CAPTURE_OF_THREAD)));
    const qrt_status status = body(user); /* launches make the context current themselves */
    TRY(enter(c));
    return leave(c, finish_record(c, status, out));
}

static qrt_status play_graph(struct qrt_device *d, void *graph)
{
    struct cuda *c = d->impl;
    TRY(enter(c));
    return leave(c, CALL(c, graph_launch, graph, c->stream));
}

static void free_graph(struct qrt_device *d, void *graph)
{
    struct cuda *c = d->impl;
    if (graph == NULL || atomic_load(&c->lost) || enter(c) != QRT_OK) return;
    (void)leave(c, CALL(c, graph_exec_free, graph));
}

const struct device_ops cuda_device = {
    .kind = "cuda",
    .open = open_device,
    .close = close_device,
    .alloc = alloc_memory,
    .free = free_memory,
    .place = place,
    .unplace = unplace,
    .upload = upload,
    .download = download,
    .load = load_kernel,
    .unload = unload_kernel,
    .launch = launch,
    .record = record_graph,
    .play = play_graph,
    .forget = free_graph,
    .use_stream = use_stream,
    .sync = sync_device,
    .fill = fill_memory,
    .copy = copy_memory,
    .mark = mark,
    .elapsed = elapsed,
};
