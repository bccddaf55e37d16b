/* report.h -- findings of a launch: collected from all threads, equal ones counted once
 *
 * A finding is what one instruction did wrong; the same fault at the same instruction is kept once,
 * with the block and thread that showed it first and a count.
 */
#ifndef VGPU_REPORT_H
#define VGPU_REPORT_H

#include "vgpu.h"

struct report; /* of one process; locked */

/* Where execution is: kept up to date by the interpreter, one per worker thread. */
struct report_place {
    const char *kernel;
    const char *source; /* template file of the current instruction, or NULL */
    int source_line;
    int ptx_line;
    unsigned block[3];
    int warp;
    unsigned long long found; /* findings reported through this place: for a quick look */
    unsigned kinds;           /* of them: bit f is enum vgpu_fault f */
};

/* Note a fault of `lane` of the place's warp (-1: the warp as a whole). */
void report_fault(struct report_place *p, enum vgpu_fault fault, int lane, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

size_t report_take(struct vgpu_finding *out, size_t most);
void report_reset(void);
int report_worst(void); /* the first fault since the reset, or -1 */

#endif
