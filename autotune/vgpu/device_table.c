/* device_table.c -- the devices
 *
 * Limits: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".  Processors,
 * clocks and caches are of T4, A100, A10, L4, H100, B200 and RTX 5090.
 */
#include "device_table.h"

static const struct device devices[] = {
    {"sm_75", 7, 5, 0, 40, 64, 64, 1024, 16, 4, 1590, 5001, 256},
    {"sm_80", 8, 0, 0, 108, 163, 164, 2048, 32, 40, 1410, 1215, 5120},
    {"sm_86", 8, 6, 0, 72, 99, 100, 1536, 16, 6, 1695, 6251, 384},
    {"sm_89", 8, 9, 0, 58, 99, 100, 1536, 24, 48, 2040, 6251, 192},
    {"sm_90a", 9, 0, 'a', 132, 227, 228, 2048, 32, 50, 1980, 2619, 5120},
    {"sm_100", 10, 0, 'a', 148, 227, 228, 2048, 32, 126, 1965, 3996, 8192},
    {"sm_120", 12, 0, 'a', 170, 99, 100, 1536, 24, 96, 2407, 14001, 512},
};
enum { DEVICES = sizeof devices / sizeof *devices };

const struct device *device_at(int index)
{
    return index >= 0 && index < DEVICES ? &devices[index] : NULL;
}

int device_count(void) { return DEVICES; }

/* 'a' is for its own device only; 'f' for its family, from it on; none for all newer ones. */
int device_takes(const struct device *d, int target, char suffix)
{
    const int own = d->major * 10 + d->minor;
    if (suffix == 'a') return target == own && d->suffix == 'a';
    if (suffix == 'f') return target / 10 == d->major && target <= own;
    return target <= own;
}

int device_attribute(const struct device *d, int attribute, int *value)
{
    const struct {
        int attribute, value;
    } table[] = {
        {1, DEVICE_THREADS}, /* of a block */
        {2, 1024},           /* block x, y, z */
        {3, 1024},
        {4, 64},
        {5, 0x7fffffff}, /* grid x, y, z */
        {6, 65535},
        {7, 65535},
        {8, DEVICE_SHARED_PLAIN},
        {9, 65536}, /* constant memory */
        {10, 32},   /* warp */
        {11, 0x7fffffff},
        {12, 65536}, /* registers of a block */
        {13, d->clock_mhz * 1000},
        {14, 512}, /* alignment of textures */
        {15, 1},   /* overlap of copies */
        {16, d->processors},
        {17, 0}, /* kernel time limit */
        {18, 0}, /* integrated */
        {19, 1}, /* host memory can be mapped */
        {20, 0}, /* compute mode: any */
        {31, 1}, /* concurrent kernels */
        {32, 0}, /* ECC */
        {36, d->memory_mhz * 1000},
        {37, d->bus_bits},
        {38, d->l2_mib << 20},
        {39, d->threads_processor},
        {40, 2}, /* copy engines */
        {41, 1}, /* unified addressing */
        {75, d->major},
        {76, d->minor},
        {81, d->shared_processor_kib << 10},
        {82, 65536},
        {83, 0}, /* managed memory */
        {95, 1}, /* cooperative launch */
        {97, d->shared_kib << 10},
        {106, d->blocks_processor},
        {111, d->major >= 8 ? 1024 : 0}, /* shared memory that the system takes of a block */
        {115, 0},                        /* memory pools */
        {120, d->major >= 9},            /* clusters */
        {127, d->major >= 9},            /* tensor maps */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].attribute != attribute) continue;
        *value = table[i].value;
        return 1;
    }
    return 0;
}
