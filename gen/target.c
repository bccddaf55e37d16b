/* target.c -- an arch by the name that a user gives, "native" included */
#include "target.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "error.h"

enum { MAX_NAMES = 32 };

qrt_status target_native(const struct arch **out)
{
    qrt *rt;
    qrt_device *cpu;
    qrt_device_info info;
    TRY(qrt_open(NULL, &rt));
    const qrt_status status = qrt_device_open(rt, "cpu", &cpu);
    if (status == QRT_OK) {
        qrt_device_info_get(cpu, &info);
        *out = arch_find(info.arch);
        qrt_device_close(cpu);
    }
    qrt_close(rt);
    return status;
}

static qrt_status unknown(const char *name)
{
    const char *names[MAX_NAMES] = {"native"};
    char list[MAX_NAMES * ARCH_NAME_BYTES] = "native";
    size_t count = 1, length = strlen(list);
    for (const struct arch *a = arch_table(); a->name[0] && count < MAX_NAMES; a++) {
        names[count++] = a->name;
        length += (size_t)snprintf(list + length, sizeof list - length, " %s", a->name);
    }
    const char *near = cli_nearest(name, names, count);
    return error_set(QRT_E_ARCH, "there is no arch '%s'%s%s%s; known are %s", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", list);
}

qrt_status target_find(const char *name, const struct arch **out)
{
    if (strcmp(name, "native") == 0) return target_native(out);
    const struct arch *arch = arch_find(name);
    if (!arch) return unknown(name);
    *out = arch;
    return QRT_OK;
}
