/* arch.c -- the table of architectures
 *
 * Shared-memory sizes: CUDA C++ Programming Guide, table "Technical Specifications per Compute
 * Capability" (a block may use 1 KB less than a multiprocessor has from 8.0 on).
 */
#include "arch.h"

#include <stddef.h>
#include <string.h>

enum { KB = 1024 };
#define SM(name, number, exact, smem, smem_sm, threads)                                 \
    {                                                                                   \
        name, ARCH_SM, FAMILY_MMA, number, exact, (smem)*KB, (smem_sm)*KB, 255, threads \
    }
#define X86(name, level)                                 \
    {                                                    \
        name, ARCH_X86, FAMILY_X86, level, 0, 0, 0, 0, 0 \
    }

static const struct arch table[] = {
    SM("sm_75", 75, 0, 64, 64, 1024),
    SM("sm_80", 80, 0, 163, 164, 2048),
    SM("sm_86", 86, 0, 99, 100, 1536),
    SM("sm_89", 89, 0, 99, 100, 1536),
    SM("sm_90", 90, 0, 227, 228, 2048),
    SM("sm_90a", 90, 1, 227, 228, 2048),
    SM("sm_100", 100, 0, 227, 228, 2048),
    SM("sm_120", 120, 0, 99, 100, 1536),
    X86("x86-64-v3", 3),
    X86("x86-64-v4", 4),
    {.name = ""},
};

const struct arch *arch_table(void) { return table; }

const struct arch *arch_find(const char *name)
{
    for (const struct arch *a = table; a->name[0]; a++)
        if (strcmp(a->name, name) == 0) return a;
    return NULL;
}

int arch_runs_on(const struct arch *built, const struct arch *device)
{
    if (built->kind != device->kind) return 0;
    if (built->kind == ARCH_X86) return built->number <= device->number;
    if (built->exact) return built->number == device->number;
    return built->number / 10 == device->number / 10 && built->number <= device->number;
}
