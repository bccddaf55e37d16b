/* sessions.c -- what tests that run whole models share: kernels made on the spot, and distances */
#include "sessions.h"

#include <math.h>
#include <stdio.h>

#include "device.h"
#include "helpers.h"
#include "pipeline.h"

enum { MAX_NEEDS = 32 };

struct needs {
    char text[MAX_NEEDS][OP_NAME_BYTES];
    const char *name[MAX_NEEDS];
    size_t count;
};

static int take_need(void *user, const char *request, int have)
{
    struct needs *n = user;
    if (have) return 0;
    snprintf(n->text[n->count], OP_NAME_BYTES, "%s", request);
    n->name[n->count] = n->text[n->count];
    n->count++;
    return n->count == MAX_NEEDS;
}

void sessions_add_kernels(qrt_device *device, const qrt_model *model,
                          const qrt_session_options *options)
{
    struct needs needs = {.count = 0};
    struct pipeline_result result;
    struct pipeline *p;
    /* The session's results are compared with ref: no need to try each kernel first. */
    const struct pipeline_options how = {.store = TEST_STORE, .ungated = 1};
    assert_int_equal(qrt_model_needs(model, device, options, take_need, &needs), QRT_OK);
    if (pipeline_open(&how, &p) != QRT_OK ||
        pipeline_ensure(p, &device->arch, needs.name, needs.count, options->max_m, &result) !=
            QRT_OK)
        fail_msg("%s", qrt_message());
    for (size_t i = 0; i < result.count; i++)
        assert_int_equal(qrt_kernels_add(device, result.kernels[i].bytes, result.kernels[i].count,
                                         QRT_TRUST_CALLER),
                         QRT_OK);
    pipeline_result_free(&result);
    pipeline_close(p);
}

double sessions_distance(const float *got, const float *want, size_t count)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = (double)got[i] - (double)want[i];
        error += difference * difference;
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(error / size);
}
