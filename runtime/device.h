/* device.h -- what a device offers to sessions and checks: memory, loading, launching
 *
 * Three implementations: ref.c, cpu.c, cuda.c (real driver, or the virtual GPU opened in its
 * place). Addresses are the device's; on ref and cpu they are host pointers.  Everything but
 * `launch` may allocate and lock; `launch` does neither and does not wait.
 */
#ifndef QRT_DEVICE_H
#define QRT_DEVICE_H

#include <pthread.h>

#include "entry.h"

/* A kernel that a device has; of one from a bundle the code is read and loaded when it is wanted. */
struct kernel {
    struct entry_record record;
    uint8_t key[ENTRY_KEY_BYTES];
    int nearness; /* of the arch it was made for to the device's: the largest is nearest */
    const qrt_bundle *bundle; /* where it is read from, or NULL */
    uint32_t index_in_bundle;
    int is_loaded; /* under the device's lock; true of every kernel that a session has */
    void *code;    /* the device's: function pointer or CUfunction */
    void *module;  /* the device's: what unload() gives back */
};

/* For a request on weights [N, K] (0, 0: of any shape) and rows m_lo .. m_hi: the kernel of a key. */
struct device_winner {
    struct op_desc desc;
    int32_t N, K, m_lo, m_hi;
    uint8_t key[ENTRY_KEY_BYTES];
    int32_t order; /* 0: measured on this GPU's model; 1: chosen for its arch */
};

/* All that a device has for one request, in the order of adding. */
struct device_request {
    struct op_desc desc;
    struct kernel **kernels;
    struct device_winner *winners;
    size_t kernel_count, kernel_capacity, winner_count, winner_capacity;
};

struct device_ops {
    const char *kind; /* "ref", "cpu", "cuda" */
    qrt_status (*open)(struct qrt_device *d, int index);
    void (*close)(struct qrt_device *d); /* after a failed open too: impl may be NULL */
    qrt_status (*alloc)(struct qrt_device *d, size_t bytes,
                        void **out); /* zeroed, 256-byte aligned */
    void (*free)(struct qrt_device *d, void *address);
    /* Make read-only host bytes that outlive the device's use visible: cpu gives the pointer
     * itself. */
    qrt_status (*place)(struct qrt_device *d, const void *host, size_t bytes, const void **out);
    void (*unplace)(struct qrt_device *d, const void *address);
    qrt_status (*upload)(struct qrt_device *d, void *to, const void *host, size_t bytes);
    qrt_status (*download)(struct qrt_device *d, void *host, const void *from,
                           size_t bytes); /* waits */
    qrt_status (*load)(struct qrt_device *d, const struct entry *e, struct kernel *k);
    void (*unload)(struct qrt_device *d, struct kernel *k);
    /* ref ignores k (NULL) and goes by desc. */
    qrt_status (*launch)(struct qrt_device *d, const struct kernel *k, const struct op_desc *desc,
                         const union op_args *args);
    /* Record the launches that `body` makes, without running them, to be played as one call; *out
     * gets NULL where the driver has no graphs.  All three NULL: the device has none. */
    qrt_status (*record)(struct qrt_device *d, qrt_status (*body)(void *user), void *user,
                         void **out);
    qrt_status (*play)(struct qrt_device *d, void *graph);
    void (*forget)(struct qrt_device *d, void *graph); /* NULL is allowed */
    /* Use another stream, NULL: its own; NULL: there are none. */
    qrt_status (*use_stream)(struct qrt_device *d, void *stream);
    qrt_status (*sync)(struct qrt_device *d);

    /* For measuring.  Set bytes, copy them within the device: in order with launches. */
    qrt_status (*fill)(struct qrt_device *d, void *to, int byte, size_t bytes);
    qrt_status (*copy)(struct qrt_device *d, void *to, const void *from, size_t bytes);
    /* Note the time at which the device gets here, mark 0 .. DEVICE_MARKS - 1; then the seconds
     * between two marks, which waits for the later one.  One thread at a time. */
    qrt_status (*mark)(struct qrt_device *d, int mark);
    qrt_status (*elapsed)(struct qrt_device *d, int from, int to, double *seconds);
};

enum { DEVICE_MARKS = 2 };

struct qrt_device {
    const struct device_ops *ops;
    struct qrt *rt;
    struct arch arch;          /* ref: zero */
    enum layout_family family; /* of the weights it reads; ref: any */
    enum elem_type act, kv;    /* types of ACT buffers and of the KV cache */
    qrt_device_info info;
    uint64_t cache_bytes;       /* of the last-level caches together; 0: not known */
    double marks[DEVICE_MARKS]; /* ref, cpu: seconds of a monotonic clock */
    pthread_mutex_t lock;       /* of all that follows but impl */
    struct kernel **kernels;    /* all that were added; a kernel stays until the device closes */
    size_t kernel_count, kernel_capacity;
    struct kernel **by_key; /* the same by their keys: a power of two of places, NULL: free */
    size_t key_capacity;
    struct device_request *requests;
    size_t request_count, request_capacity;
    void *impl; /* the implementation's */
};

extern const struct device_ops ref_device, cpu_device, cuda_device;

/* Take over a kernel (of rt_alloc) whose key the device does not have; untouched on failure.  It is
 * loaded, or has a bundle.  Under the device's lock. */
qrt_status device_keep(struct qrt_device *d, struct kernel *k);

/* The kernel of a key, NULL: there is none.  Under the device's lock. */
struct kernel *device_kernel(const struct qrt_device *d, const uint8_t key[ENTRY_KEY_BYTES]);

/* Unload and free all kernels, and forget all winners. */
void device_drop_kernels(struct qrt_device *d);

/* Add winners, copied.  One whose kernel is not there is passed over when choosing. */
qrt_status device_add_winners(struct qrt_device *d, const struct device_winner *winners,
                              size_t count);

/* The kernel for desc at M rows on a weight [N, K] (0, 0 for other ops).  Only kernels whose range
 * holds M count, and of those only the ones made for the arch nearest to the device's.  By the winner
 * with the shape, else by one for any shape; of several by the smallest order, then the fewest rows,
 * then the first added; without winners by device_find().  NULL: there is none.  It may not be loaded
 * yet. */
const struct kernel *device_pick(const struct qrt_device *d, const struct op_desc *desc, int N,
                                 int K, int M);

/* The same; *m_hi gets a row up to which the answer is the same, because no range begins or ends
 * between M and it.  From there one gets to the next, and to INT_MAX. */
const struct kernel *device_pick_until(const struct qrt_device *d, const struct op_desc *desc,
                                       int N, int K, int M, int *m_hi);

/* The best kernel for desc at M rows, or NULL: its range holds M; made for the arch nearest to the
 * device's; of those, of the smallest rank, then the first added. */
const struct kernel *device_find(const struct qrt_device *d, const struct op_desc *desc, int M);

/* Whether there is a kernel for desc at each of 1 .. rows rows. */
int device_covers(const struct qrt_device *d, const struct op_desc *desc, int rows);

/* Whether kernels of a bundle were added. */
int device_has_bundle(const struct qrt_device *d);

/* Read, check and load a kernel of d unless it is.  Damage is QRT_E_FORMAT and names it. */
qrt_status device_load(struct qrt_device *d, const struct kernel *k);

#endif
