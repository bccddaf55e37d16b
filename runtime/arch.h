/* arch.h -- the architectures that kernels are generated for, and their order
 *
 * An arch is a name ("sm_90a", "x86-64-v4") and what follows from it.  A table holds them all.
 */
#ifndef QRT_ARCH_H
#define QRT_ARCH_H

#include <stdint.h>

#include "qrt.h"

enum arch_kind { ARCH_SM, ARCH_X86, ARCH_KIND_COUNT };
enum { ARCH_NAME_BYTES = 16 };

/* How weights lie in memory; layout.h draws each. */
enum layout_family { FAMILY_X86, FAMILY_MMA, FAMILY_COUNT };

struct arch {
    char name[ARCH_NAME_BYTES];
    uint8_t kind;           /* enum arch_kind */
    uint8_t family;         /* enum layout_family */
    uint16_t number;        /* sm: 75..120; x86: level 3, 4 */
    uint8_t exact;          /* an 'a' arch: runs on exactly this one */
    int32_t smem_bytes;     /* sm: most dynamic shared memory of a block (opt-in) */
    int32_t smem_sm_bytes;  /* sm: shared memory of a multiprocessor */
    int32_t max_regs;       /* sm: registers a thread may have: 255 */
    int32_t max_threads_sm; /* sm: resident threads of a multiprocessor */
};

/* All of them, ended by an empty name. */
const struct arch *arch_table(void);

/* NULL when unknown.  "native" is not in the table: the cpu device resolves it. */
const struct arch *arch_find(const char *name);

/* Whether a kernel built for `built` runs on a device of arch `device` (cubin rule: same major
 * number, minor not above; exact ones only on themselves; x86: level not above). */
int arch_runs_on(const struct arch *built, const struct arch *device);

#endif
