/* prove.h -- GPU kernels proved without a GPU: their machine code, and their runs on the virtual GPU
 *
 * One proof of a kernel is
 *   check_image()      limits, no spills, the matrix instruction that is meant
 *   virtual_decodes()  every instruction of its PTX is one that the virtual GPU executes
 *   check_entry()      right results on the grid of shapes, and nothing that the virtual GPU finds:
 *                      bounds, races, uninitialised reads, missing fences ...
 *   budgets            sectors of global and wavefronts of shared memory stay near what the same
 *                      bytes need, over all cases of the kernel
 */
#ifndef QGEN_PROVE_H
#define QGEN_PROVE_H

#include "check.h"
#include "vgpu/vgpu.h"

struct prover;

qrt_status prove_open(enum check_effort effort, struct prover **out); /* QRT_E_DEVICE without it */
void prove_close(struct prover *p);                                   /* NULL is allowed */

/* Prove one kernel; what fails is added to the report. `counts` gets what its cases did; or NULL. */
qrt_status prove_entry(struct prover *p, const struct entry *e, struct check_report *report,
                       struct vgpu_counts *counts);

#endif
