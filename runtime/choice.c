/* choice.c -- which kernels a plan runs with: types by what there is, a kernel for every M */
#include "choice.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "rt.h"

enum {
    MAX_SPLIT_K = 8,           /* parts of K that the runtime asks for on its own */
    MIN_SPLIT_K = 512,         /* a part is not shorter */
    MIN_SPLIT_POSITIONS = 256, /* of a context */
    NAME_LIST_BYTES = 300,     /* of a message about missing kernels */
};

int choice_is_ref(const struct qrt_device *d) { return d->ops == &ref_device; }

/* Rows that a request is made for: a sample is of one row. */
static int rows_of(const struct op_desc *desc, int max_m)
{
    return desc->op == OP_SAMPLE ? 1 : max_m;
}

int choice_covers(const struct qrt_device *d, const struct op_desc *desc, int max_m)
{
    if (choice_is_ref(d)) return 1;
    for (int M = 1; M <= rows_of(desc, max_m); M++)
        if (!device_find(d, desc, M)) return 0;
    return 1;
}

/* What a plan for this device may use. */
struct options {
    const struct qrt_device *device;
    int max_m, exact;
};

static int has_linear(const struct options *o, const struct scheme *weight, enum elem_type act)
{
    struct op_desc desc = {.op = OP_LINEAR, .act = (uint8_t)act, .out = ELEM_F32};
    desc.weight = *weight;
    return choice_covers(o->device, &desc, o->max_m);
}

/* int8 where there is a kernel; also where there is none at all, so that the better one is named. */
static int prefers_i8(const void *user, const struct scheme *weight)
{
    const struct options *o = user;
    if (o->exact || scheme_is_dense(weight)) return 0;
    return has_linear(o, weight, ELEM_I8) || !has_linear(o, weight, ELEM_F32);
}

static struct plan_target target_of(const struct options *o, enum elem_type act)
{
    const struct qrt_device *d = o->device;
    if (choice_is_ref(d)) return (struct plan_target){.act = d->act, .kv = d->kv};
    struct plan_target t = plan_target_for((enum arch_kind)d->arch.kind, act);
    if (t.takes_i8) {
        t.takes_i8 = prefers_i8;
        t.user = o;
    }
    return t;
}

static int missing_count(const struct qrt_device *d, const struct plan *p, int max_m)
{
    int missing = 0;
    for (int i = 0; i < p->request_count; i++) missing += !choice_covers(d, &p->requests[i], max_m);
    return missing;
}

static qrt_status plan_for(const struct options *o, const struct qrt_model *m, enum elem_type act,
                           struct plan_target *target, struct plan *plan)
{
    *target = target_of(o, act);
    TRY(plan_make(m, target, plan));
    target->user = NULL; /* *o ends with the call */
    return QRT_OK;
}

qrt_status choice_plan(const struct qrt_device *d, const struct qrt_model *m, int max_m, int exact,
                       struct plan_target *target, struct plan *plan)
{
    const struct options o = {.device = d, .max_m = max_m, .exact = exact};
    if (choice_is_ref(d) || d->arch.kind != ARCH_SM) return plan_for(&o, m, d->act, target, plan);
    TRY(plan_for(&o, m, ELEM_F16, target, plan));
    const int missing = missing_count(d, plan, max_m);
    if (missing == 0) return QRT_OK;
    struct plan_target other_target;
    struct plan other;
    TRY(plan_for(&o, m, ELEM_BF16, &other_target, &other));
    if (missing_count(d, &other, max_m) >= missing) {
        plan_free(&other);
        return QRT_OK;
    }
    plan_free(plan);
    *plan = other;
    *target = other_target;
    return QRT_OK;
}

/* The names of the missing kernels, "and N more" when they do not fit. */
static void list_missing(const struct qrt_device *d, const struct plan *p, int max_m,
                         char list[NAME_LIST_BYTES])
{
    size_t length = 0;
    int left_out = 0;
    list[0] = 0;
    for (int i = 0; i < p->request_count; i++) {
        char name[OP_NAME_BYTES];
        if (choice_covers(d, &p->requests[i], max_m)) continue;
        op_desc_name(&p->requests[i], name);
        if (length + strlen(name) + 20 > NAME_LIST_BYTES)
            left_out++;
        else
            length += (size_t)snprintf(list + length, NAME_LIST_BYTES - length, "%s%s",
                                       length ? " " : "", name);
    }
    if (left_out) snprintf(list + length, NAME_LIST_BYTES - length, " and %d more", left_out);
}

static qrt_status check_kernels(const struct qrt_device *d, const struct qrt_model *m,
                                const struct plan *plan, int max_m)
{
    const int missing = missing_count(d, plan, max_m);
    if (missing == 0) return QRT_OK;
    char list[NAME_LIST_BYTES];
    list_missing(d, plan, max_m, list);
    return error_set(QRT_E_KERNEL,
                     "%d of %d kernels are missing; make them with `qgen build --arch %s --model "
                     "%.200s --m 1..%d --out DIR` and load DIR: %s",
                     missing, plan->request_count, d->arch.name, m->path, max_m, list);
}

static qrt_status find_ranges(const struct qrt_device *d, const struct op_desc *desc, int max_m,
                              struct choice *out)
{
    const int rows = rows_of(desc, max_m);
    void *ranges;
    TRY(rt_alloc(d->rt, (size_t)rows * sizeof(struct range), &ranges));
    out->ranges = ranges;
    for (int M = 1; M <= rows; M++) {
        const struct kernel *k = choice_is_ref(d) ? NULL : device_find(d, desc, M);
        struct range *last = out->count ? &out->ranges[out->count - 1] : NULL;
        if (last && last->kernel == k)
            last->m_hi = M;
        else
            out->ranges[out->count++] = (struct range){.m_hi = M, .kernel = k};
    }
    return QRT_OK;
}

qrt_status choice_make(const struct qrt_device *d, const struct qrt_model *m,
                       const struct plan *plan, int max_m, struct choices *out)
{
    void *table;
    TRY(check_kernels(d, m, plan, max_m));
    TRY(rt_alloc(d->rt, (size_t)plan->request_count * sizeof(struct choice), &table));
    const struct op_desc sample = {.op = OP_SAMPLE};
    struct choices c = {
        .by_request = table, .count = plan->request_count, .sample = plan_find(plan, &sample)};
    for (int i = 0; i < c.count; i++) {
        const qrt_status status = find_ranges(d, &plan->requests[i], max_m, &c.by_request[i]);
        if (status == QRT_OK) continue;
        choice_free(d->rt, &c);
        return status;
    }
    *out = c;
    return QRT_OK;
}

void choice_free(struct qrt *rt, struct choices *c)
{
    for (int i = 0; i < c->count; i++) rt_free(rt, c->by_request[i].ranges);
    rt_free(rt, c->by_request);
    *c = (struct choices){.count = 0};
}

const struct kernel *choice_kernel(const struct choices *c, int request, int M)
{
    const struct choice *of = &c->by_request[request];
    int i = 0;
    while (i + 1 < of->count && of->ranges[i].m_hi < M) i++;
    return of->ranges[i].kernel;
}

/* ---- splits ---- */

/* Blocks of a launch that is not split. */
static int64_t blocks_of(const struct kernel *k, const union op_args *args)
{
    int64_t blocks = 1;
    for (int i = 0; i < 3; i++) {
        const struct entry_grid *grid = &k->record.grid[i];
        if (grid->dim == DIM_SPLIT) continue;
        const int64_t size = op_dim((enum op)k->record.desc.op, args, (enum dim)grid->dim);
        blocks *= (size + grid->div - 1) / grid->div;
    }
    return blocks;
}

/* As many parts as give each multiprocessor two blocks, at most `most`. */
static int parts(int processors, int64_t blocks, int64_t most)
{
    const int64_t split = (2 * (int64_t)processors + blocks - 1) / blocks;
    return split < most ? (int)split : most > 1 ? (int)most : 1;
}

int choice_parts_of_k(int processors, int64_t blocks, int64_t K)
{
    const int64_t most = K / MIN_SPLIT_K;
    return parts(processors, blocks, most < MAX_SPLIT_K ? most : MAX_SPLIT_K);
}

int choice_split(const struct qrt_device *d, const struct kernel *k, const union op_args *args)
{
    if (!k || d->arch.kind != ARCH_SM) return 1;
    if (k->record.split > 0) return k->record.split;
    const int processors = d->info.processors;
    const int64_t blocks = blocks_of(k, args);
    if (k->record.desc.op == OP_LINEAR)
        return choice_parts_of_k(processors, blocks, args->linear.w.K);
    const struct qk_attention *a = &args->attention;
    const int seen = a->window > 0 && a->window < a->context ? a->window : a->context;
    return parts(processors, blocks, seen / MIN_SPLIT_POSITIONS);
}
