/* gpu_table.h -- the table of GPUs that a command works with */
#ifndef QGEN_GPU_TABLE_H
#define QGEN_GPU_TABLE_H

#include "gpu.h"

/* The file named (an option's value), else by $QGEN_GPUS, else the table inside the program. */
qrt_status gpu_table_load(const char *file, struct gpus *out);

/* The GPU of that name; QRT_E_ARGUMENT with the names there are. */
qrt_status gpu_table_find(const struct gpus *g, const char *name, const struct gpu **out);

/* The GPU whose title shares most words with a device's name ("NVIDIA H100 80GB HBM3"), its model
 * among them; NULL: none. */
const struct gpu *gpu_table_of_device(const struct gpus *g, const char *device);

#endif
