/* virtual.h -- the virtual GPU as a device of checks
 *
 * Why: kernels for a GPU are proved on machines without one.  libqgen_vgpu.so (autotune/vgpu/vgpu.h)
 * stands in for the CUDA driver; libqrt opens it by path and launches what ships.  It has one device
 * per architecture; what it finds in a launch is taken here and becomes a finding of the check.
 * Looked for in this order: the file that QGEN_VGPU names; beside the program; in ../lib.
 * Threads: one at a time; a launch uses all processors by itself.
 */
#ifndef QGEN_VIRTUAL_H
#define QGEN_VIRTUAL_H

#include "device.h"
#include "vgpu/vgpu.h"

struct virtual_gpu;

/* QRT_E_DEVICE when there is no library, with the places that were looked at. */
qrt_status virtual_open(struct virtual_gpu **out);
void virtual_close(struct virtual_gpu *v); /* NULL is allowed */

/* The path of the library: what qrt_options.cuda_library takes. */
const char *virtual_library(const struct virtual_gpu *v);

/* The device that runs kernels made for `arch`; opened at the first call, closed with v. */
qrt_status virtual_device(struct virtual_gpu *v, const struct arch *arch, struct qrt_device **out);

/* Whether launches are checked (as it starts) or only counted, which is faster.  Of the process. */
void virtual_check(const struct virtual_gpu *v, int on);

/* What launches did since the last call: the first finding, how many there were, the counts. */
size_t virtual_take(struct virtual_gpu *v, struct vgpu_finding *first, struct vgpu_counts *counts);
const char *virtual_fault_name(const struct virtual_gpu *v, enum vgpu_fault fault);

/* QRT_E_CHECK with line and text when the virtual GPU does not know an instruction of the PTX. */
qrt_status virtual_decodes(const struct virtual_gpu *v, const char *ptx);

#endif
