/* host.c -- the memory side of devices that compute in host memory: ref and cpu */
#include "host.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
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

/* ---- measuring: launches are done when they return ---- */

qrt_status host_fill(struct qrt_device *d, void *to, int byte, size_t bytes)
{
    (void)d;
    memset(to, byte, bytes);
    return QRT_OK;
}

qrt_status host_copy(struct qrt_device *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, from, bytes);
    return QRT_OK;
}

qrt_status host_mark(struct qrt_device *d, int mark)
{
    d->marks[mark] = host_seconds();
    return QRT_OK;
}

qrt_status host_elapsed(struct qrt_device *d, int from, int to, double *seconds)
{
    *seconds = d->marks[to] - d->marks[from];
    return QRT_OK;
}

/* ---- the machine ---- */

double host_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A number with K or M behind it, from a file of sysfs; 0 when there is none. */
static uint64_t read_size(size_t cpu, int index, const char *file)
{
    char path[96], unit = 0;
    unsigned long long value = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/cache/index%d/%s", cpu, index,
             file);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    if (fscanf(f, "%llu%c", &value, &unit) < 1) value = 0;
    fclose(f);
    return value << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
}

/* The first processor of ours that shares a cache stands for it. */
static int is_first_of_cache(size_t cpu, int index, const cpu_set_t *ours)
{
    const uint64_t id = read_size(cpu, index, "id");
    for (size_t other = 0; other < cpu; other++)
        if (CPU_ISSET(other, ours) && read_size(other, index, "id") == id) return 0;
    return 1;
}

uint64_t host_cache_bytes(void)
{
    enum { LEVELS = 4 }; /* index 0 and 1: data and code of the first; 2, 3: the second, third */
    cpu_set_t ours;
    uint64_t bytes = 0;
    size_t cpu = 0;
    int index = LEVELS - 1;
    if (sched_getaffinity(0, sizeof ours, &ours) != 0) return 0;
    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &ours)) cpu++;
    while (index > 0 && read_size(cpu, index, "size") == 0) index--;
    for (; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &ours) && is_first_of_cache(cpu, index, &ours))
            bytes += read_size(cpu, index, "size");
    return bytes;
}

uint64_t host_memory_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
}
