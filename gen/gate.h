/* gate.h -- no kernel is stored before it agrees with ref, wherever this machine can run it
 *
 * CPU kernels run on this processor, GPU kernels on the virtual GPU.  Where there is none of either
 * (another processor, an installation without libqgen_vgpu.so), kernels pass unseen; `qgen check`
 * meets them on a machine that has one.
 * Threads: gate_pass() from any; the virtual GPU takes one kernel at a time.
 */
#ifndef QGEN_GATE_H
#define QGEN_GATE_H

#include "entry.h"

struct gate;

qrt_status gate_open(struct gate **out);
void gate_close(struct gate *g); /* NULL is allowed */

/* QRT_E_CHECK with the first disagreement, QRT_E_DEVICE or another when the kernel cannot be run. */
qrt_status gate_pass(struct gate *g, const struct entry *e);

#endif
