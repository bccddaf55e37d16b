/* device_table.h -- the devices of the virtual GPU: one per architecture, with a typical part's numbers */
#ifndef VGPU_DEVICE_TABLE_H
#define VGPU_DEVICE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct device {
    const char *arch; /* "sm_90a" */
    int major, minor;
    char suffix; /* of exact PTX that it takes: 'a', or 0 */
    int processors;
    int shared_kib, shared_processor_kib; /* most of a block, of a multiprocessor */
    int threads_processor;
    int blocks_processor;
    int l2_mib, clock_mhz, memory_mhz, bus_bits;
};

enum { DEVICE_THREADS = 1024, DEVICE_SHARED_PLAIN = 49152 };
#define DEVICE_MEMORY_BYTES ((size_t)2 << 30)

/* NULL beyond the last. */
const struct device *device_at(int index);
int device_count(void);
/* The value of an attribute by the driver's number; 0: not known. */
int device_attribute(const struct device *d, int attribute, int *value);
/* Whether PTX for target (90, 'a') may run on it. */
int device_takes(const struct device *d, int target, char suffix);

#endif
