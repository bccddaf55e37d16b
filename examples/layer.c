/* layer.c -- one quantized layer with the runtime alone: its output on cpu beside ref's
 *
 *     layer MODEL.qm KERNELS      KERNELS: a folder made by `qgen build --out KERNELS`
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "qrt.h"

enum { ROWS = 8 };

static int failed(void)
{
    fprintf(stderr, "layer: %s\n", qrt_message());
    return 1;
}

/* Layer 0 on a device; x [ROWS, hidden] becomes its output. */
static qrt_status run_layer(qrt *rt, const qrt_model *model, const char *device_name,
                            const char *kernels, float *x)
{
    qrt_device *device = NULL;
    qrt_session *session = NULL;
    qrt_status status = qrt_device_open(rt, device_name, &device);
    if (status == QRT_OK && kernels) status = qrt_kernels_load(device, kernels, QRT_TRUST_CALLER);
    if (status == QRT_OK) status = qrt_session_open(device, model, NULL, &session);
    if (status == QRT_OK) status = qrt_run_layer(session, 0, x, ROWS);
    qrt_session_close(session);
    qrt_device_close(device);
    return status;
}

int main(int argc, char **argv)
{
    qrt *rt;
    qrt_model *model;
    qrt_model_info info;
    if (argc != 3) return fprintf(stderr, "usage: layer MODEL.qm KERNELS\n"), 2;
    if (qrt_open(NULL, &rt) != QRT_OK || qrt_model_open(rt, argv[1], &model) != QRT_OK)
        return failed();
    qrt_model_info_get(model, &info);
    const size_t count = (size_t)ROWS * (size_t)info.hidden;
    float *cpu = malloc(count * sizeof *cpu), *ref = malloc(count * sizeof *ref);
    for (size_t i = 0; i < count; i++) cpu[i] = ref[i] = sinf((float)i);
    if (run_layer(rt, model, "cpu", argv[2], cpu) != QRT_OK ||
        run_layer(rt, model, "ref", NULL, ref) != QRT_OK)
        return failed();
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        error += pow((double)cpu[i] - (double)ref[i], 2);
        size += pow((double)ref[i] - sin((double)i), 2); /* what the layer added */
    }
    printf("%s, layer 0, %d rows: relative error %.2e\n", info.name, ROWS, sqrt(error / size));
    free(cpu);
    free(ref);
    qrt_model_close(model);
    qrt_close(rt);
}
