/* cuda_api.h -- what is used of the CUDA driver: functions, types, numbers, and answers
 *
 * Why a table of our own: nothing of NVIDIA is needed to build, and a machine without a driver can
 * start the program.  Handles are pointers, results are ints; both are the driver's binary
 * interface, which never changes for a given symbol name.  No other file of the runtime names a
 * symbol of the driver.
 */
#ifndef QRT_CUDA_API_H
#define QRT_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t cuda_address;
typedef void *cuda_handle; /* context, stream, event, module or function */

/* X(field, symbol, arguments); every function returns a result. */
#define CUDA_API_TABLE(X)                                                                         \
    X(init, "cuInit", (unsigned flags))                                                           \
    X(driver_version, "cuDriverGetVersion", (int *version))                                       \
    X(device_count, "cuDeviceGetCount", (int *count))                                             \
    X(device_get, "cuDeviceGet", (int *device, int index))                                        \
    X(device_name, "cuDeviceGetName", (char *name, int bytes, int device))                        \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t * bytes, int device))                         \
    X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))          \
    X(context_retain, "cuDevicePrimaryCtxRetain", (cuda_handle * context, int device))            \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (int device))                              \
    X(context_push, "cuCtxPushCurrent_v2", (cuda_handle context))                                 \
    X(context_pop, "cuCtxPopCurrent_v2", (cuda_handle * context))                                 \
    X(stream_create, "cuStreamCreate", (cuda_handle * stream, unsigned flags))                    \
    X(stream_destroy, "cuStreamDestroy_v2", (cuda_handle stream))                                 \
    X(event_create, "cuEventCreate", (cuda_handle * event, unsigned flags))                       \
    X(event_destroy, "cuEventDestroy_v2", (cuda_handle event))                                    \
    X(event_record, "cuEventRecord", (cuda_handle event, cuda_handle stream))                     \
    X(event_query, "cuEventQuery", (cuda_handle event))                                           \
    X(event_elapsed, "cuEventElapsedTime", (float *ms, cuda_handle from, cuda_handle to))         \
    X(memory_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                            \
    X(memory_alloc, "cuMemAlloc_v2", (cuda_address * address, size_t bytes))                      \
    X(memory_free, "cuMemFree_v2", (cuda_address address))                                        \
    X(memory_set, "cuMemsetD8Async",                                                              \
      (cuda_address address, unsigned char value, size_t bytes, cuda_handle stream))              \
    X(memory_copy, "cuMemcpyDtoDAsync_v2",                                                        \
      (cuda_address to, cuda_address from, size_t bytes, cuda_handle stream))                     \
    X(pinned_alloc, "cuMemHostAlloc", (void **address, size_t bytes, unsigned flags))             \
    X(pinned_free, "cuMemFreeHost", (void *address))                                              \
    X(copy_up, "cuMemcpyHtoDAsync_v2",                                                            \
      (cuda_address to, const void *from, size_t bytes, cuda_handle stream))                      \
    X(copy_down, "cuMemcpyDtoHAsync_v2",                                                          \
      (void *to, cuda_address from, size_t bytes, cuda_handle stream))                            \
    X(module_load, "cuModuleLoadDataEx",                                                          \
      (cuda_handle * module, const void *image, unsigned count, int *options, void **values))     \
    X(module_unload, "cuModuleUnload", (cuda_handle module))                                      \
    X(module_function, "cuModuleGetFunction",                                                     \
      (cuda_handle * function, cuda_handle module, const char *name))                             \
    X(function_get, "cuFuncGetAttribute", (int *value, int attribute, cuda_handle function))      \
    X(function_set, "cuFuncSetAttribute", (cuda_handle function, int attribute, int value))       \
    X(launch, "cuLaunchKernel",                                                                   \
      (cuda_handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
       unsigned block_y, unsigned block_z, unsigned smem_bytes, cuda_handle stream,               \
       void **parameters, void **extra))

/* Functions that a driver may lack: 0 then. */
#define CUDA_API_OPTIONAL_TABLE(X)                                                              \
    X(map_encode, "cuTensorMapEncodeTiled",                                                     \
      (void *map, int type, unsigned rank, void *base, const uint64_t *size,                    \
       const uint64_t *stride_bytes, const unsigned *box, const unsigned *step, int interleave, \
       int swizzle, int promotion, int fill))                                                   \
    X(capture_begin, "cuStreamBeginCapture_v2", (cuda_handle stream, int mode))                 \
    X(capture_end, "cuStreamEndCapture", (cuda_handle stream, cuda_handle * graph))             \
    X(graph_make, "cuGraphInstantiateWithFlags",                                                \
      (cuda_handle * executable, cuda_handle graph, unsigned long long flags))                  \
    X(graph_free, "cuGraphDestroy", (cuda_handle graph))                                        \
    X(graph_launch, "cuGraphLaunch", (cuda_handle executable, cuda_handle stream))              \
    X(graph_exec_free, "cuGraphExecDestroy", (cuda_handle executable))

struct cuda_api {
#define CUDA_API_FIELD(field, symbol, arguments) int(*field) arguments;
    CUDA_API_TABLE(CUDA_API_FIELD)
    CUDA_API_OPTIONAL_TABLE(CUDA_API_FIELD)
#undef CUDA_API_FIELD
};

enum cuda_call {
#define CUDA_API_CALL(field, symbol, arguments) CUDA_CALL_##field,
    CUDA_API_TABLE(CUDA_API_CALL) CUDA_API_OPTIONAL_TABLE(CUDA_API_CALL)
#undef CUDA_API_CALL
        CUDA_CALL_COUNT
};

enum {
    CUDA_SUCCESS = 0,
    CUDA_INVALID_IMAGE = 200,
    CUDA_NO_BINARY = 209,
    CUDA_NOT_READY = 600,

    CUDA_DEVICE_PROCESSORS = 16, /* device attributes */
    CUDA_DEVICE_L2 = 38,
    CUDA_DEVICE_MAJOR = 75,
    CUDA_DEVICE_MINOR = 76,
    CUDA_DEVICE_SMEM = 97, /* most shared memory of a block, after opting in */

    CUDA_FUNCTION_THREADS = 0, /* function attributes: most threads of a block */
    CUDA_FUNCTION_SMEM_STATIC = 1,
    CUDA_FUNCTION_SMEM_DYNAMIC = 8, /* to be set before a launch above 48 KiB */

    CUDA_JIT_ERROR_TEXT = 5,
    CUDA_JIT_ERROR_TEXT_BYTES = 6,

    CUDA_STREAM_ALONE = 1, /* does not wait for the legacy stream */
    CUDA_EVENT_TIME = 0,
    CUDA_EVENT_NO_TIME = 2,
    CUDA_CAPTURE_OF_THREAD = 1, /* calls of other threads do not disturb it */

    CUDA_MAP_U8 = 0, /* tensor maps: element types, by size only */
    CUDA_MAP_U16 = 1,
    CUDA_MAP_SWIZZLE_32 = 1, /* 64: 2, 128: 3 */
    CUDA_MAP_PROMOTE_128 = 2,
};

/* What an answer means for the device, and so what is done about it.
 *   MEMORY   not sticky: undo, report sizes, the device stays usable
 *   IMAGE    this kernel image does not fit: the next variant, or the caller is told which to build
 *   CALLER   a refused call: report it, the device stays usable
 *   ABSENT   no usable device or driver
 *   LOST     the context is poisoned; so is every answer that is not in the table */
enum cuda_class { CUDA_MEMORY, CUDA_IMAGE, CUDA_CALLER, CUDA_ABSENT, CUDA_LOST, CUDA_CLASS_COUNT };

/* X(value, class, what it means for the reader) */
#define CUDA_RESULT_TABLE(X)                                                                      \
    X(1, CALLER, "invalid value")                                                                 \
    X(2, MEMORY, "out of device memory")                                                          \
    X(34, ABSENT, "the library is the toolkit's stub, not a driver")                              \
    X(36, ABSENT, "the driver is too old for this call")                                          \
    X(46, ABSENT, "the device is taken by another process (exclusive mode)")                      \
    X(100, ABSENT, "no CUDA device")                                                              \
    X(101, ABSENT, "no such CUDA device")                                                         \
    X(102, ABSENT, "the device has no licence")                                                   \
    X(200, IMAGE, "not a kernel image the driver knows")                                          \
    X(209, IMAGE, "no code for this GPU in the image")                                            \
    X(218, IMAGE, "the driver's compiler refuses the PTX")                                        \
    X(221, IMAGE, "the driver's PTX compiler is not installed")                                   \
    X(222, IMAGE, "the PTX is newer than the driver: update the driver, or build for this arch")  \
    X(223, IMAGE, "compiling PTX is switched off (CUDA_DISABLE_PTX_JIT)")                         \
    X(300, IMAGE, "invalid kernel source")                                                        \
    X(400, CALLER, "invalid handle")                                                              \
    X(500, IMAGE, "no such function in the image")                                                \
    X(700, LOST, "a kernel touched an illegal address")                                           \
    X(701, CALLER, "too many registers or threads for a launch")                                  \
    X(702, LOST, "a kernel ran into the driver's time limit")                                     \
    X(710, LOST, "an assertion in a kernel failed")                                               \
    X(714, LOST, "hardware stack error in a kernel")                                              \
    X(715, LOST, "illegal instruction in a kernel")                                               \
    X(716, LOST, "misaligned address in a kernel")                                                \
    X(717, LOST, "address of the wrong space in a kernel")                                        \
    X(718, LOST, "invalid program counter in a kernel")                                           \
    X(719, LOST, "a launch failed")                                                               \
    X(214, LOST, "uncorrectable memory error (ECC)")                                              \
    X(220, LOST, "uncorrectable NVLink error")                                                    \
    X(800, CALLER, "not permitted")                                                               \
    X(801, CALLER, "not supported on this device")                                                \
    X(802, ABSENT, "the system is not ready for CUDA")                                            \
    X(803, ABSENT, "driver and kernel module differ in version: reboot, or reinstall the driver") \
    X(804, ABSENT, "the compatibility driver does not support this device")                       \
    X(900, CALLER, "not allowed while a stream is captured")                                      \
    X(901, CALLER, "the capture became invalid")                                                  \
    X(906, CALLER, "not allowed while a stream is captured")                                      \
    X(908, CALLER, "the capture belongs to another thread")

#endif
