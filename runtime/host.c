/* host.c -- the memory side of devices that compute in host memory: ref and cpu */
#include "host.h"

#include <string.h>
#include <unistd.h>

#include "error.h"
#include "rt.h"

qrt_status host_alloc(struct qrt_device *d, size_t bytes, void **out)
{
    return rt_alloc(d->rt, bytes, out);
}

void host_free(struct qrt_device *d, void *address) { rt_free(d->rt, address); }

qrt_status host_place(struct qrt_device *d, const void *host, size_t bytes, const void **out)
{
    (void)d;
    (void)bytes;
    *out = host;
    return QRT_OK;
}

void host_unplace(struct qrt_device *d, const void *address)
{
    (void)d;
    (void)address;
}

qrt_status host_upload(struct qrt_device *d, void *to, const void *host, size_t bytes)
{
    (void)d;
    memcpy(to, host, bytes);
    return QRT_OK;
}

qrt_status host_download(struct qrt_device *d, void *host, const void *from, size_t bytes)
{
    (void)d;
    memcpy(host, from, bytes);
    return QRT_OK;
}

qrt_status host_sync(struct qrt_device *d)
{
    (void)d;
    return QRT_OK;
}

uint64_t host_memory_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
}
