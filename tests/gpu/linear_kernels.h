/* linear_kernels.h -- the kernels of a linear, made and added to a device */
#ifndef TESTS_LINEAR_KERNELS_H
#define TESTS_LINEAR_KERNELS_H

#include "device.h"

/* Kernels of a linear and of the op that adds up its parts, for 1 to max_m rows. */
qrt_status linear_kernels_add(struct qrt_device *d, const char *request, const char *sum,
                              int max_m);

#endif
