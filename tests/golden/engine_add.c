/* Made by qgen from templates/x86/add.c.in.
 *   request  add.f32
 *   arch     x86-64-v3
 *   tune     unroll=4 */
#include "kernel_abi.h"

enum { UNROLL = 4 };

void qk_add_add_f32_unroll4(const struct qk_add *a, const struct qk_cpu *cpu)
{
    for (int m = cpu->part; m < a->M; m += cpu->parts) {
        float *x = a->x + m * a->ldx;
        const float *y = (const float *)a->y + m * a->ldy;
        int k = 0;
        for (; k + UNROLL <= a->K; k += UNROLL) {
            x[k + 0] += y[k + 0];
            x[k + 1] += y[k + 1];
            x[k + 2] += y[k + 2];
            x[k + 3] += y[k + 3];
        }
        for (; k < a->K; k++) x[k] += y[k];
    }
}
