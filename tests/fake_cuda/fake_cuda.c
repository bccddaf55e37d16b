/* fake_cuda.c -- a CUDA driver that keeps books instead of computing */
#include "fake_cuda.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { MAX_OBJECTS = 256, MAX_WORK = 4096, ALIGN = 256 };

struct object {
    void *block; /* its address is the handle */
    size_t bytes;
    size_t done;  /* an event: work recorded before it */
    int has_time; /* an event */
};

struct work {
    void *to;
    const void *from; /* NULL: set to value */
    size_t bytes;
    int value;
};

static struct fake_cuda fake;
static struct object objects[MAX_OBJECTS];
static struct work stream[MAX_WORK];
static size_t stream_end, stream_done;
static char context, function;

EXPORT struct fake_cuda *fake_cuda_reset(void)
{
    for (int i = 0; i < MAX_OBJECTS; i++) free(objects[i].block);
    memset(objects, 0, sizeof objects);
    stream_end = stream_done = 0;
    fake = (struct fake_cuda){.device_count = 1,
                              .major = 8,
                              .minor = 9,
                              .smem_bytes = 101376,
                              .function_threads = 1024,
                              .memory_bytes = (size_t)64 << 20};
    return &fake;
}

/* 0, or the answer this call has been told to give. */
static int answer(const char *symbol)
{
    fake.calls++;
    const int hit = fake.fail_call != 0 && (fake.fail_sticky ? fake.calls >= fake.fail_call
                                                             : fake.calls == fake.fail_call);
    if (!hit) return 0;
    if (fake.fail_symbol == NULL) fake.fail_symbol = symbol;
    return fake.fail_value;
}
#define ANSWER()                             \
    do {                                     \
        const int value_ = answer(__func__); \
        if (value_) return value_;           \
    } while (0)

static struct object *object_find(const void *block)
{
    for (int i = 0; i < MAX_OBJECTS; i++)
        if (objects[i].block == block) return &objects[i];
    return NULL;
}

static int is_object(const void *handle) { return handle != NULL && object_find(handle) != NULL; }

static void *object_new(size_t bytes)
{
    struct object *o = object_find(NULL);
    if (o == NULL) return NULL;
    o->bytes = bytes;
    o->done = 0;
    o->has_time = 0;
    o->block = aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    if (o->block) memset(o->block, 0xa5, bytes);
    fake.live += o->block != NULL;
    return o->block;
}

static int object_free(void *block)
{
    struct object *o = block ? object_find(block) : NULL;
    if (o == NULL) return 400;
    free(o->block);
    o->block = NULL;
    fake.live--;
    return 0;
}

static int object_out(void **out)
{
    *out = object_new(1);
    return *out ? 0 : 2;
}

static void work_until(size_t end)
{
    for (; stream_done < end; stream_done++) {
        const struct work *w = &stream[stream_done % MAX_WORK];
        if (w->from)
            memcpy(w->to, w->from, w->bytes);
        else
            memset(w->to, w->value, w->bytes);
    }
}

static int work_add(struct work w)
{
    if (fake.current != &context) return 201;
    if (stream_end - stream_done == MAX_WORK) work_until(stream_done + 1);
    stream[stream_end++ % MAX_WORK] = w;
    return 0;
}

EXPORT int cuInit(unsigned flags)
{
    ANSWER();
    return flags ? 1 : fake.device_count ? 0 : 100;
}

EXPORT int cuDriverGetVersion(int *version)
{
    ANSWER();
    *version = 13000;
    return 0;
}

EXPORT int cuDeviceGetCount(int *count)
{
    ANSWER();
    *count = fake.device_count;
    return 0;
}

EXPORT int cuDeviceGet(int *device, int index)
{
    ANSWER();
    *device = index + 40;
    return index < fake.device_count ? 0 : 101;
}

EXPORT int cuDeviceGetName(char *name, int bytes, int device)
{
    ANSWER();
    strncpy(name, "Fake GPU", (size_t)bytes);
    return device < 40 ? 101 : 0;
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    ANSWER();
    *bytes = fake.memory_bytes;
    return device < 40 ? 101 : 0;
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    ANSWER();
    *value = attribute == 16   ? 7
             : attribute == 38 ? FAKE_L2_BYTES
             : attribute == 75 ? fake.major
             : attribute == 76 ? fake.minor
             : attribute == 97 ? fake.smem_bytes
                               : -1;
    return device < 40 ? 101 : 0;
}

EXPORT int cuDevicePrimaryCtxRetain(void **out, int device)
{
    ANSWER();
    fake.context_references++;
    *out = &context;
    return device < 40 ? 101 : 0;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device)
{
    ANSWER();
    fake.context_references--;
    return device < 40 ? 101 : 0;
}

/* A stack of one above what the test had current is all that is allowed. */
static void *below;

EXPORT int cuCtxPushCurrent_v2(void *pushed)
{
    ANSWER();
    if (fake.current == &context || pushed != &context) return 202;
    below = fake.current;
    fake.current = pushed;
    return 0;
}

EXPORT int cuCtxPopCurrent_v2(void **popped)
{
    *popped = fake.current; /* the stack is popped even when an older error is repeated */
    fake.current = below;
    ANSWER();
    return 0;
}

EXPORT int cuStreamCreate(void **out, unsigned flags)
{
    ANSWER();
    return flags == 1 ? object_out(out) : 1;
}

EXPORT int cuStreamDestroy_v2(void *handle)
{
    ANSWER();
    return object_free(handle);
}

EXPORT int cuEventCreate(void **out, unsigned flags)
{
    ANSWER();
    if (flags != 0 && flags != 2) return 1;
    const int value = object_out(out);
    if (value == 0) object_find(*out)->has_time = flags == 0;
    return value;
}

EXPORT int cuEventDestroy_v2(void *handle)
{
    ANSWER();
    return object_free(handle);
}

EXPORT int cuEventRecord(void *event, void *handle)
{
    ANSWER();
    if (!is_object(event) || !is_object(handle)) return 400;
    object_find(event)->done = stream_end;
    return 0;
}

EXPORT int cuEventQuery(void *event)
{
    ANSWER();
    if (!is_object(event)) return 400;
    if (fake.hang) return 600;
    work_until(object_find(event)->done);
    return 0;
}

/* A millisecond for each piece of work between the two. */
EXPORT int cuEventElapsedTime(float *ms, void *from, void *to)
{
    ANSWER();
    if (!is_object(from) || !is_object(to)) return 400;
    const struct object *a = object_find(from), *b = object_find(to);
    if (!a->has_time || !b->has_time) return 400;
    if (fake.hang || b->done > stream_done) return 600;
    *ms = (float)(b->done - a->done);
    return 0;
}

EXPORT int cuMemGetInfo_v2(size_t *unused, size_t *total)
{
    ANSWER();
    *total = fake.memory_bytes;
    *unused = fake.memory_bytes - fake.used_bytes;
    return 0;
}

EXPORT int cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
    ANSWER();
    if (bytes == 0) return 1;
    if (bytes > fake.memory_bytes - fake.used_bytes) return 2;
    void *block = object_new(bytes);
    if (block == NULL) return 2;
    fake.used_bytes += bytes;
    *address = (uintptr_t)block;
    return 0;
}

EXPORT int cuMemFree_v2(uint64_t address)
{
    ANSWER();
    work_until(stream_end);
    const struct object *o = object_find((void *)(uintptr_t)address);
    if (o == NULL) return 1;
    fake.used_bytes -= o->bytes;
    return object_free((void *)(uintptr_t)address);
}

EXPORT int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void *handle)
{
    ANSWER();
    (void)handle;
    return work_add(
        (struct work){.to = (void *)(uintptr_t)address, .bytes = bytes, .value = value});
}

EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *handle)
{
    ANSWER();
    (void)handle;
    return work_add((struct work){
        .to = (void *)(uintptr_t)to, .from = (const void *)(uintptr_t)from, .bytes = bytes});
}

EXPORT int cuMemHostAlloc(void **out, size_t bytes, unsigned flags)
{
    ANSWER();
    *out = object_new(bytes);
    return flags ? 1 : *out ? 0 : 2;
}

EXPORT int cuMemFreeHost(void *block)
{
    ANSWER();
    fake.freed_busy += stream_done < stream_end;
    work_until(stream_end);
    return object_free(block);
}

EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *handle)
{
    ANSWER();
    (void)handle;
    return work_add((struct work){.to = (void *)(uintptr_t)to, .from = from, .bytes = bytes});
}

EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *handle)
{
    ANSWER();
    (void)handle;
    return work_add((struct work){.to = to, .from = (void *)(uintptr_t)from, .bytes = bytes});
}

EXPORT int cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options,
                              void **values)
{
    ANSWER();
    const int is_cubin = memcmp(image,
                                "\x7f"
                                "ELF",
                                4) == 0;
    const int refused = is_cubin ? fake.refuse_cubin : fake.refuse_ptx;
    for (unsigned i = 0; refused && i < count; i++)
        if (options[i] == 5) strcpy(values[i], "line 3: no such instruction");
    if (refused) return refused;
    fake.cubins_loaded += is_cubin;
    fake.ptx_loaded += !is_cubin;
    return object_out(module);
}

EXPORT int cuModuleUnload(void *module)
{
    ANSWER();
    return object_free(module);
}

EXPORT int cuModuleGetFunction(void **out, void *module, const char *name)
{
    ANSWER();
    if (!is_object(module)) return 400;
    *out = &function;
    return strcmp(name, "kernel") == 0 ? 0 : 500;
}

EXPORT int cuFuncGetAttribute(int *value, int attribute, void *handle)
{
    ANSWER();
    *value = attribute == 0 ? fake.function_threads : attribute == 1 ? 512 : -1;
    return handle == &function ? 0 : 400;
}

EXPORT int cuFuncSetAttribute(void *handle, int attribute, int value)
{
    ANSWER();
    if (handle != &function || attribute != 8) return 1;
    fake.smem_opted = value;
    return 0;
}

EXPORT int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *base,
                                  const uint64_t *size, const uint64_t *stride_bytes,
                                  const unsigned *box, const unsigned *step, int interleave,
                                  int swizzle, int promotion, int fill)
{
    ANSWER();
    if (fake.refuse_map) return fake.refuse_map;
    if (rank != 2 || interleave != 0 || promotion < 0 || promotion > 3) return 1;
    if ((uintptr_t)map % 64 || (uintptr_t)base % 16 || stride_bytes[0] % 16) return 1;
    memset(map, 0x77, FAKE_MAP_BYTES);
    fake.map = (struct fake_map){.type = type,
                                 .swizzle = swizzle,
                                 .fill = fill,
                                 .rank = rank,
                                 .box = {box[0], box[1]},
                                 .step = {step[0], step[1]},
                                 .base = base,
                                 .size = {size[0], size[1]},
                                 .stride_bytes = stride_bytes[0]};
    return 0;
}

EXPORT int cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                          unsigned by, unsigned bz, unsigned smem_bytes, void *queue,
                          void **parameters, void **extra)
{
    ANSWER();
    if (handle != &function || !is_object(queue) || extra != NULL) return 400;
    if (fake.current != &context) return 201;
    if (fake.capturing)
        fake.captured++;
    else
        fake.launches++;
    fake.launch = (struct fake_launch){
        .function = handle, .grid = {gx, gy, gz}, .block = {bx, by, bz}, .smem_bytes = smem_bytes};
    memcpy(fake.launch.argument, parameters[0], fake.argument_bytes);
    if (parameters[1]) memcpy(fake.launch.map, parameters[1], FAKE_MAP_BYTES);
    return 0;
}

EXPORT int cuStreamBeginCapture_v2(void *queue, int mode)
{
    ANSWER();
    if (!is_object(queue) || mode != 1 || fake.capturing) return 1;
    fake.capturing = 1;
    fake.captured = 0;
    return 0;
}

EXPORT int cuStreamEndCapture(void *queue, void **graph)
{
    fake.capturing = 0; /* a capture that fails is over too */
    ANSWER();
    return is_object(queue) ? object_out(graph) : 1;
}

EXPORT int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags)
{
    ANSWER();
    return is_object(graph) && flags == 0 ? object_out(executable) : 1;
}

EXPORT int cuGraphDestroy(void *graph)
{
    ANSWER();
    return object_free(graph);
}

EXPORT int cuGraphLaunch(void *executable, void *queue)
{
    ANSWER();
    if (!is_object(executable) || !is_object(queue) || fake.capturing) return 400;
    fake.graph_launches++;
    fake.launches += fake.captured;
    return 0;
}

EXPORT int cuGraphExecDestroy(void *executable)
{
    ANSWER();
    return object_free(executable);
}
