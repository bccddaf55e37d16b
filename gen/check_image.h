/* check_image.h -- what must hold of a GPU kernel's machine code, without running it
 *
 * - registers, shared memory and threads fit the architecture; no stack, so nothing was spilled
 * - the arguments are as long as the op's struct
 * - the matrix instruction that is meant is there: an FP8 mma.sync is emulated with f16 ones by the
 *   assembler on sm_90 and sm_100, and a kernel that lands there by mistake would only be slow
 * Opcodes are the low 12 bits of an instruction; found by counting instructions of known kernels.
 */
#ifndef QGEN_CHECK_IMAGE_H
#define QGEN_CHECK_IMAGE_H

#include "entry.h"

/* QRT_E_CHECK with the first thing that does not hold; QRT_E_FORMAT for an image that cannot be read.
 * Kernels that are not for a GPU pass. */
qrt_status check_image(const struct entry *e);

#endif
