/* gate.c -- no kernel is stored before it agrees with ref, wherever this machine can run it */
#include "gate.h"

#include <stdlib.h>

#include "check.h"
#include "error.h"

struct gate {
    qrt *rt;
    qrt_device *cpu; /* NULL: this machine runs no kernels of ours */
    struct checker *checker;
};

qrt_status gate_open(struct gate **out)
{
    /* More parts than processors: it is the cutting that is checked, not the speed. */
    const qrt_options options = {.size = sizeof options, .threads = 3};
    struct gate *g = calloc(1, sizeof *g);
    if (!g) return error_set(QRT_E_MEMORY, "gate: no memory");
    qrt_status status = qrt_open(&options, &g->rt);
    if (status == QRT_OK && qrt_device_open(g->rt, "cpu", &g->cpu) == QRT_OK)
        status = check_open(g->cpu, CHECK_NORMAL, &g->checker);
    if (status == QRT_OK)
        *out = g;
    else
        gate_close(g);
    return status;
}

void gate_close(struct gate *g)
{
    if (!g) return;
    check_close(g->checker);
    qrt_device_close(g->cpu);
    qrt_close(g->rt);
    free(g);
}

qrt_status gate_pass(struct gate *g, const struct entry *e)
{
    const struct arch *built = arch_find(e->record.arch);
    if (!g->cpu || !built || !arch_runs_on(built, &g->cpu->arch)) return QRT_OK;
    struct check_report report = {.checked = 0};
    qrt_status status = check_entry(g->checker, e, &report);
    if (status == QRT_OK && report.failed)
        status = error_set(QRT_E_CHECK, "%s computes wrongly: %s", report.findings[0].kernel,
                           report.findings[0].text);
    check_report_free(&report);
    return status;
}
