/* choice.h -- which kernels a plan runs with: types by what there is, a kernel for every M
 *
 * Owns: struct choices its tables; kernels stay the device's.
 */
#ifndef QRT_CHOICE_H
#define QRT_CHOICE_H

#include "device.h"
#include "plan.h"

enum { CHOICE_DEFAULT_M = 256, CHOICE_LIMIT_M = 65536 };

/* The kernel for M rows up to m_hi. */
struct range {
    int m_hi;
    const struct kernel *kernel; /* NULL on ref */
};

/* The kernels of a request on weights [N, K] (0, 0: it has none, or any shape does): ranges ascend. */
struct choice {
    int request, N, K;
    int first_step; /* the first that takes it */
    struct range *ranges;
    int count, capacity;
};

/* What a step of the plan launches, as indexes of choices; `sum` -1: it has none. */
struct step_choice {
    int own, sum;
};

struct choices {
    struct choice *items; /* no two of the same request and shape */
    int count;
    struct step_choice *by_step;
    int sample;
};

/* ref needs no kernels. */
int choice_is_ref(const struct qrt_device *d);

/* The plan that the device has most kernels for.  A CPU takes int8 activations where there are
 * kernels for every M up to max_m (and when there are none of any kind), never when `exact`; a GPU
 * f16 ones, or bf16. */
qrt_status choice_plan(const struct qrt_device *d, const struct qrt_model *m, int max_m, int exact,
                       struct plan_target *target, struct plan *plan);

/* Whether the device has a kernel of a request for each of 1 .. max_m rows. */
int choice_covers(const struct qrt_device *d, const struct op_desc *desc, int max_m);

/* Call `need` with the name of each request, and whether the device covers it, until it returns
 * non-zero. */
void choice_tell(const struct qrt_device *d, const struct plan *plan, int max_m,
                 int (*need)(void *user, const char *request, int have), void *user);

/* Find the kernels for 1 .. max_m rows and load them, and no others.  QRT_E_KERNEL names what is
 * missing and how to make it. */
qrt_status choice_make(struct qrt_device *d, const struct qrt_model *m, const struct plan *plan,
                       int max_m, struct choices *out);
void choice_free(struct qrt *rt, struct choices *c);

/* The kernel of a choice at M rows. */
const struct kernel *choice_kernel(const struct choices *c, int choice, int M);

/* Parts of K of a linear, or of the context of an attention, in which kernel k computes what is in
 * *args: as its record says, or enough to fill the GPU.  Does not depend on the position. */
int choice_split(const struct qrt_device *d, const struct kernel *k, const union op_args *args);

/* The same for a linear whose record leaves it open: `blocks` of the launch when K is not split. */
int choice_parts_of_k(int processors, int64_t blocks, int64_t K);

#endif
