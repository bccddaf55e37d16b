/* host.h -- the memory side of devices that compute in host memory: ref and cpu */
#ifndef QRT_HOST_H
#define QRT_HOST_H

#include "device.h"

/* As in struct device_ops. */
qrt_status host_alloc(struct qrt_device *d, size_t bytes, void **out);
void host_free(struct qrt_device *d, void *address);
qrt_status host_place(struct qrt_device *d, const void *host, size_t bytes, const void **out);
void host_unplace(struct qrt_device *d, const void *address);
qrt_status host_upload(struct qrt_device *d, void *to, const void *host, size_t bytes);
qrt_status host_download(struct qrt_device *d, void *host, const void *from, size_t bytes);
qrt_status host_sync(struct qrt_device *d);
qrt_status host_fill(struct qrt_device *d, void *to, int byte, size_t bytes);
qrt_status host_copy(struct qrt_device *d, void *to, const void *from, size_t bytes);
qrt_status host_mark(struct qrt_device *d, int mark);
qrt_status host_elapsed(struct qrt_device *d, int from, int to, double *seconds);

/* Seconds of a monotonic clock. */
double host_seconds(void);

/* Bytes of memory of this machine; 0 when unknown. */
uint64_t host_memory_bytes(void);

/* Bytes of the last-level caches of the processors that this process may use; 0 when unknown. */
uint64_t host_cache_bytes(void);

#endif
