/* gate.c -- no kernel is stored before it agrees with ref, wherever this machine can run it */
#include "gate.h"

#include <pthread.h>
#include <stdlib.h>

#include "error.h"
#include "prove.h"

struct gate {
    qrt *rt;
    qrt_device *cpu; /* NULL: this machine runs no kernels of ours */
    struct checker *checker;
    pthread_mutex_t lock;  /* of the two below */
    int is_gpu_known;      /* it was tried to open the prover */
    struct prover *prover; /* NULL: there is no virtual GPU */
};

qrt_status gate_open(struct gate **out)
{
    /* More parts than processors: it is the cutting that is checked, not the speed. */
    const qrt_options options = {.size = sizeof options, .threads = 3};
    struct gate *g = calloc(1, sizeof *g);
    if (!g) return error_set(QRT_E_MEMORY, "gate: no memory");
    pthread_mutex_init(&g->lock, NULL);
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
    prove_close(g->prover);
    pthread_mutex_destroy(&g->lock);
    check_close(g->checker);
    qrt_device_close(g->cpu);
    qrt_close(g->rt);
    free(g);
}

/* On the virtual GPU. */
static qrt_status run_virtually(struct gate *g, const struct entry *e, struct check_report *report)
{
    qrt_status status = QRT_OK;
    pthread_mutex_lock(&g->lock);
    if (!g->is_gpu_known && prove_open(CHECK_QUICK, &g->prover) != QRT_OK) g->prover = NULL;
    g->is_gpu_known = 1;
    if (g->prover) status = prove_entry(g->prover, e, report, NULL);
    pthread_mutex_unlock(&g->lock);
    return status;
}

static qrt_status run_here(struct gate *g, const struct entry *e, struct check_report *report)
{
    const struct arch *built = arch_find(e->record.arch);
    if (!built) return QRT_OK;
    if (built->kind == ARCH_SM) return run_virtually(g, e, report);
    return g->cpu && arch_runs_on(built, &g->cpu->arch) ? check_entry(g->checker, e, report)
                                                        : QRT_OK;
}

qrt_status gate_pass(struct gate *g, const struct entry *e)
{
    struct check_report report = {.checked = 0};
    qrt_status status = run_here(g, e, &report);
    if (status == QRT_OK && report.failed)
        status = error_set(QRT_E_CHECK, "%s computes wrongly: %s", report.findings[0].kernel,
                           report.findings[0].text);
    check_report_free(&report);
    return status;
}
