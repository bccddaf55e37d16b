/* linear_kernels.c -- the kernels of a linear, made and added to a device */
#include "linear_kernels.h"

#include "error.h"
#include "pipeline.h"

qrt_status linear_kernels_add(struct qrt_device *d, const char *request, const char *sum, int max_m)
{
    const char *const names[] = {request, sum};
    char device[WINNER_DEVICE_BYTES];
    winners_device_name(d->info.name, device);
    const struct pipeline_options how = {.device = device}; /* tables only: what users have */
    struct pipeline *p;
    struct pipeline_result made = {.count = 0};
    TRY(pipeline_open(&how, &p));
    qrt_status status = pipeline_ensure(p, &d->arch, names, 2, max_m, &made);
    for (size_t i = 0; i < made.count && status == QRT_OK; i++)
        status = qrt_kernels_add(d, made.kernels[i].bytes, made.kernels[i].count, QRT_TRUST_CALLER);
    if (status == QRT_OK) status = device_add_winners(d, made.winners, made.winner_count);
    pipeline_result_free(&made);
    pipeline_close(p);
    return status;
}
