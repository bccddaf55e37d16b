/* qrt.h -- the whole public interface of libqrt, the qgen runtime
 *
 * Runs transformer layers over packed, quantized weights with kernels made by qgen: no compiler, no
 * Python, no parser of foreign formats.  Depends on libc, threads and dlopen.
 *
 *     qrt *rt;            qrt_open(NULL, &rt);
 *     qrt_device *cpu;    qrt_device_open(rt, "cpu", &cpu);
 *     qrt_kernels_load(cpu, "kernels/", QRT_TRUST_CALLER);
 *     qrt_model *model;   qrt_model_open(rt, "model.qm", &model);
 *     qrt_session *s;     qrt_session_open(cpu, model, NULL, &s);      (prepare: all that can fail)
 *     qrt_run(s, ids, n, logits, 1);                                   (run: no allocation, no
 * load)
 *
 * Errors: every call that can fail returns a qrt_status; results come through the last pointers and
 * are untouched on failure.  qrt_message() has what, where, numbers and the way out.  Nothing here
 * aborts, exits, prints or installs a handler.
 * Threads: a qrt, a device and a model may be shared by threads; a session is used by one at a
 * time. Ownership: close in reverse order of opening; closing NULL is allowed.
 */
#ifndef QRT_H
#define QRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QRT_API __attribute__((visibility("default")))
#else
#define QRT_API
#endif

#define QRT_VERSION_MAJOR 0
#define QRT_VERSION_MINOR 1

/* Status codes: X(name, value, text, advice).  Values never change. */
#define QRT_STATUS_TABLE(X)                                                                        \
    X(OK, 0, "done", "")                                                                           \
    X(E_ARGUMENT, 1, "bad argument", "qrt.h, or --help of the command, says what is expected")     \
    X(E_MEMORY, 2, "out of memory", "free memory, or use a shorter context")                       \
    X(E_IO, 3, "file cannot be read or written", "check the path, its permissions and free space") \
    X(E_FORMAT, 4, "bad file", "make the file again, or fetch it again")                           \
    X(E_LIMIT, 5, "a limit is exceeded", "the message names the limit and its value")              \
    X(E_SCHEME, 6, "scheme not supported", "`qgen schemes` lists what is")                         \
    X(E_ARCH, 7, "architecture not supported", "`qgen targets` lists what is")                     \
    X(E_KERNEL, 8, "kernel missing", "run the command that the message gives")                     \
    X(E_DEVICE, 9, "no such device", "use --device cpu, or check the driver")                      \
    X(E_DEVICE_LOST, 10, "device lost", "end the process and start a new one")                     \
    X(E_TRUST, 11, "kernel not trusted", "name the key that signed it, or say it is your own")     \
    X(E_COMPILE, 12, "compilation failed", "the message quotes the compiler")                      \
    X(E_TEMPLATE, 13, "template error", "the message gives file and line")                         \
    X(E_MODEL, 14, "model not supported", "`qgen inspect` says what the file holds")               \
    X(E_CHECK, 15, "a check failed", "the message gives the numbers")

typedef enum qrt_status {
#define QRT_STATUS_ENUM(name, value, text, advice) QRT_##name = value,
    QRT_STATUS_TABLE(QRT_STATUS_ENUM)
#undef QRT_STATUS_ENUM
} qrt_status;

QRT_API const char *qrt_status_text(qrt_status status);   /* never NULL */
QRT_API const char *qrt_status_advice(qrt_status status); /* never NULL */

/* The message of this thread's last error; "" before the first. Lives until the thread's next
 * error. */
QRT_API const char *qrt_message(void);

typedef struct qrt qrt;
typedef struct qrt_device qrt_device;
typedef struct qrt_model qrt_model;
typedef struct qrt_session qrt_session;

/* Hooks and limits.  Zero everywhere means: malloc, no log, defaults. */
typedef struct qrt_options {
    size_t size; /* sizeof(qrt_options): lets the struct grow */
    void *user;
    void *(*alloc)(void *user, size_t bytes); /* 64-byte aligned, or NULL; both or neither */
    void (*free)(void *user, void *block);
    void (*log)(void *user, int level, const char *line); /* level 0 error .. 3 debug */
    int threads;              /* of the cpu device; 0: one per processor this process may use */
    const char *cuda_library; /* instead of libcuda.so.1: the path of another driver */
} qrt_options;

QRT_API qrt_status qrt_open(const qrt_options *options, qrt **out);
QRT_API void qrt_close(qrt *rt);

/* ---- devices: "ref" (plain loops, the definition of every op), "cpu", "cuda:N" ---- */

typedef struct qrt_device_info {
    char name[64];
    char arch[16];  /* what kernels it takes: "x86-64-v3", "sm_90a"; ref: "" */
    int processors; /* threads, or multiprocessors */
    uint64_t memory_bytes;
} qrt_device_info;

/* QRT_E_DEVICE when there is none; the message says what was looked for. */
QRT_API qrt_status qrt_device_open(qrt *rt, const char *name, qrt_device **out);
QRT_API void qrt_device_info_get(const qrt_device *device, qrt_device_info *out);
QRT_API void qrt_device_close(qrt_device *device);

/* Queue this device's work on a stream of the caller's from now on; NULL: on its own again.  A CUDA
 * device takes a CUstream of the GPU's primary context (a cudaStream_t of the runtime API is one); the
 * stream must not be destroyed before it is given back.  Call it while no session of the device runs.
 * QRT_E_DEVICE: the device has no streams. */
QRT_API qrt_status qrt_device_stream(qrt_device *device, void *stream);

/* ---- kernels ---- */

/* A kernel is code.  Its hash is always checked; that its source is trusted has to be said. */
typedef enum qrt_trust { QRT_TRUST_NONE, QRT_TRUST_CALLER } qrt_trust;

/* Add one kernel entry, copied. An entry for another arch is QRT_E_ARCH. */
QRT_API qrt_status qrt_kernels_add(qrt_device *device, const void *entry, size_t bytes,
                                   qrt_trust trust);
/* Add an entry file, or all *.qk1 files of a folder that run on this device (`qgen build --out
 * DIR`). */
QRT_API qrt_status qrt_kernels_load(qrt_device *device, const char *path, qrt_trust trust);

/* ---- bundles (.qk): kernels and winners in one read-only, hashed and signed file ---- */

typedef struct qrt_bundle qrt_bundle;

/* Asked before anything of a bundle is parsed: whether `signature` (text in minisign's format; 0
 * bytes: there is none) over `head` is by a trusted key.  0: yes.  Else `why` says what is wrong.
 * libqrt_verify (qrt_verify.h) has a ready one; one of your own can ask whatever you sign with. */
typedef int (*qrt_verify)(void *user, const void *head, size_t head_bytes, const char *signature,
                          size_t signature_bytes, char *why, size_t why_bytes);

/* One of `verify` and QRT_TRUST_CALLER has to be given: there is no unsigned default. */
typedef struct qrt_bundle_options {
    size_t size;
    qrt_trust
        trust; /* QRT_TRUST_CALLER: part of your own program, or of a store only you can write */
    qrt_verify verify;
    void *verify_user;
    const char *name;     /* refuse a bundle of another name; NULL: any */
    uint64_t min_counter; /* refuse releases before this one */
} qrt_bundle_options;

typedef struct qrt_bundle_info {
    char name[64], version[64];
    uint64_t counter, bytes; /* bytes: of the file */
    int kernels, winners, archs;
} qrt_bundle_info;

/* Read and check the head, 32 bytes to a few hundred KiB; kernels stay in the file until they are
 * wanted.  QRT_E_TRUST: not vouched for, an older release, another name.  The file must not be
 * changed while it is open; replacing it by rename is fine. */
QRT_API qrt_status qrt_bundle_open(qrt *rt, const char *path, const qrt_bundle_options *options,
                                   qrt_bundle **out);
/* The same over bytes that stay where they are until the bundle is closed: `qgen link` makes some. */
QRT_API qrt_status qrt_bundle_open_memory(qrt *rt, const void *bytes, size_t count,
                                          const qrt_bundle_options *options, qrt_bundle **out);
QRT_API void qrt_bundle_info_get(const qrt_bundle *bundle, qrt_bundle_info *out);
QRT_API void qrt_bundle_close(qrt_bundle *bundle); /* after the devices that it was added to */

/* Offer a bundle's kernels and winners to a device; each kernel is read, hashed and loaded when a
 * session first needs it.  QRT_E_ARCH names the bundle's archs when none is for the device. */
QRT_API qrt_status qrt_kernels_bundle(qrt_device *device, qrt_bundle *bundle);

/* ---- packed models (.qm) ---- */

typedef struct qrt_model_info {
    char name[64];
    int layers, hidden, vocab, context;
    int bos, eos;     /* token ids, -1: none */
    int add_bos;      /* the model expects bos in front of a text */
    uint64_t weights; /* elements of all weight matrices */
    uint64_t bytes;   /* of the file */
} qrt_model_info;

/* Map a packed model.  Its metadata is hashed and checked; weights are bounds-checked, not hashed.
 */
QRT_API qrt_status qrt_model_open(qrt *rt, const char *path, qrt_model **out);
QRT_API void qrt_model_info_get(const qrt_model *model, qrt_model_info *out);
QRT_API void qrt_model_close(qrt_model *model);

/* Text to token ids and back by the model's own tokenizer.  `parse_special` lets a control token's
 * text
 * ("<|im_start|>") become that token.  *count gets the number of ids the text has; at most
 * `capacity` are written, so a call with capacity 0 counts. */
QRT_API qrt_status qrt_tokenize(const qrt_model *model, const char *text, size_t bytes,
                                int parse_special, int *ids, size_t capacity, size_t *count);
/* The bytes of one token, not NUL-terminated, owned by the model; a control token gives 0 bytes. */
QRT_API qrt_status qrt_token_bytes(const qrt_model *model, int id, const char **bytes,
                                   size_t *count);

/* ---- sessions: one sequence on one device ---- */

typedef struct qrt_session_options {
    size_t size;
    int context; /* positions of the KV cache; 0: the smaller of the model's and 4096 */
    int max_m;   /* most rows computed in one pass; longer inputs are cut; 0: 256 */
    int exact;   /* cpu: 1 keeps activations in f32; 0 takes int8 kernels where there are any */
} qrt_session_options;

/* Call `need` with the name of each kernel that such a session needs on the device; `have` tells
 * whether one was added.  Stops when `need` returns non-zero. */
QRT_API qrt_status qrt_model_needs(const qrt_model *model, const qrt_device *device,
                                   const qrt_session_options *options,
                                   int (*need)(void *user, const char *request, int have),
                                   void *user);

/* Tell `need` (as above; NULL: nobody) what such a session needs and load all of it, however many it
 * wanted to hear of, so that opening the session finds it in place.  QRT_E_KERNEL: some are missing;
 * the message names them and the command that makes them, and nothing was loaded. */
QRT_API qrt_status qrt_prepare(qrt_device *device, const qrt_model *model,
                               const qrt_session_options *options,
                               int (*need)(void *user, const char *request, int have), void *user);

/* Prepare: find every kernel (QRT_E_KERNEL names the missing ones), place weights, allocate all. */
QRT_API qrt_status qrt_session_open(qrt_device *device, const qrt_model *model,
                                    const qrt_session_options *options, qrt_session **out);
QRT_API void qrt_session_close(qrt_session *session);

/* Append n tokens and compute.  `logits` [rows, vocab] f32 in host memory gets those of the last
 * `rows` tokens (rows <= n; 0 and NULL: none).  QRT_E_LIMIT when the context is full. */
QRT_API qrt_status qrt_run(qrt_session *session, const int *ids, size_t n, float *logits,
                           size_t rows);

typedef struct qrt_sampling {
    float temperature; /* 0: greedy */
    float min_p;       /* 0: no cut */
    uint64_t seed;
} qrt_sampling;

/* Append one token and sample the next on the device; *next gets it. */
QRT_API qrt_status qrt_step(qrt_session *session, int id, const qrt_sampling *sampling, int *next);
/* Sample from host logits [vocab], by the same definition. `counter`: number of the sample. */
QRT_API int qrt_sample(const float *logits, int vocab, const qrt_sampling *sampling,
                       uint32_t counter);

/* Tokens held; go back to `position` of them (0: start over). */
QRT_API int qrt_position(const qrt_session *session);
QRT_API qrt_status qrt_rewind(qrt_session *session, int position);

/* One layer alone: x [m, hidden] f32 in host memory, replaced by the layer's output, at the
 * session's position, which advances by m when `layer` is the last one. */
QRT_API qrt_status qrt_run_layer(qrt_session *session, int layer, float *x, size_t m);

#ifdef __cplusplus
}
#endif
#endif
