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

/* A kernel loaded on a device. */
struct kernel {
    struct entry_record record;
    uint8_t key[ENTRY_KEY_BYTES];
    int nearness; /* of the arch it was made for to the device's: the largest is nearest */
    void *code;   /* the device's: function pointer or CUfunction */
    void *module; /* the device's: what unload() gives back */
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

    /* For measuring.  Set bytes, in order with launches. */
    qrt_status (*fill)(struct qrt_device *d, void *to, int byte, size_t bytes);
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
    pthread_mutex_t lock;       /* of the three below */
    struct kernel **kernels;    /* all that were added; a kernel stays until the device closes */
    size_t kernel_count, kernel_capacity;
    void *impl; /* the implementation's */
};

extern const struct device_ops ref_device, cpu_device, cuda_device;

/* For a request on weights [N, K] (0, 0: of any shape) and rows m_lo .. m_hi: the kernel of a key. */
struct device_winner {
    struct op_desc desc;
    int32_t N, K, m_lo, m_hi;
    uint8_t key[ENTRY_KEY_BYTES];
    int32_t order; /* 0: measured on this GPU's model; 1: chosen for its arch */
};

/* Add winners, copied.  One whose kernel is not there is passed over when choosing. */
qrt_status device_add_winners(struct qrt_device *d, const struct device_winner *winners,
                              size_t count);

/* The kernel for desc at M rows on a weight [N, K] (0, 0 for other ops): by the winner with the
 * shape, else by one for any shape; of several by the smallest order, then the fewest rows, then the
 * first added; without winners by device_find(). NULL: there is none.  It may not be loaded yet. */
const struct kernel *device_pick(const struct qrt_device *d, const struct op_desc *desc, int N,
                                 int K, int M);

/* The best kernel for desc at M rows, or NULL: its range holds M; made for the arch nearest to the
 * device's; of those, of the smallest rank. */
const struct kernel *device_find(const struct qrt_device *d, const struct op_desc *desc, int M);

#endif
