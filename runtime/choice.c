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
    return choice_is_ref(d) || device_covers(d, desc, rows_of(desc, max_m));
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
    if (device_has_bundle(d))
        return error_set(QRT_E_KERNEL,
                         "%d of %d kernels are missing; make a bundle that has them with `qgen "
                         "bundle --arch %s --model %.200s -o FILE.qk`: %s",
                         missing, plan->request_count, d->arch.name, m->path, list);
    return error_set(QRT_E_KERNEL,
                     "%d of %d kernels are missing; make them with `qgen build --arch %s --model "
                     "%.200s --m 1..%d --out DIR` and load DIR: %s",
                     missing, plan->request_count, d->arch.name, m->path, max_m, list);
}

void choice_tell(const struct qrt_device *d, const struct plan *plan, int max_m,
                 int (*need)(void *user, const char *request, int have), void *user)
{
    for (int i = 0; i < plan->request_count; i++) {
        char name[OP_NAME_BYTES];
        op_desc_name(&plan->requests[i], name);
        if (need(user, name, choice_covers(d, &plan->requests[i], max_m))) return;
    }
}

/* ---- making ---- */

/* What choices are made from. */
struct making {
    struct qrt_device *d;
    const struct qrt_model *m;
    const struct plan *plan;
    int max_m;
    struct choices *c;
};

static qrt_status add_range(struct qrt *rt, struct choice *c, const struct range *range)
{
    if (c->count == c->capacity) {
        const int capacity = c->capacity ? 2 * c->capacity : 8;
        void *longer;
        TRY(rt_alloc(rt, (size_t)capacity * sizeof *c->ranges, &longer));
        if (c->count) memcpy(longer, c->ranges, (size_t)c->count * sizeof *c->ranges);
        rt_free(rt, c->ranges);
        c->ranges = longer;
        c->capacity = capacity;
    }
    c->ranges[c->count++] = *range;
    return QRT_OK;
}

/* From edge to edge; neighbours of one kernel are one range. */
static qrt_status find_ranges(const struct making *mk, struct choice *c)
{
    const struct op_desc *desc = &mk->plan->requests[c->request];
    const int rows = rows_of(desc, mk->max_m);
    for (int M = 1, m_hi = 0; m_hi < rows; M = m_hi + 1) {
        const struct kernel *k = device_pick_until(mk->d, desc, c->N, c->K, M, &m_hi);
        if (m_hi > rows) m_hi = rows;
        const struct range range = {.m_hi = m_hi, .kernel = k};
        if (c->count > 0 && c->ranges[c->count - 1].kernel == k)
            c->ranges[c->count - 1].m_hi = m_hi;
        else
            TRY(add_range(mk->d->rt, c, &range));
    }
    return QRT_OK;
}

static qrt_status load_ranges(const struct making *mk, const struct choice *c)
{
    for (int i = 0; i < c->count; i++)
        if (c->ranges[i].kernel) TRY(device_load(mk->d, c->ranges[i].kernel));
    return QRT_OK;
}

/* The choice of a request and shape: a known one, or a new one. */
static qrt_status take_choice(const struct making *mk, int request, int N, int K, int step,
                              int *index)
{
    struct choices *c = mk->c;
    for (int i = 0; i < c->count; i++) {
        const struct choice *known = &c->items[i];
        if (known->request != request || known->N != N || known->K != K) continue;
        *index = i;
        return QRT_OK;
    }
    struct choice *made = &c->items[c->count];
    *made = (struct choice){.request = request, .N = N, .K = K, .first_step = step};
    *index = c->count++;
    TRY(find_ranges(mk, made));
    return load_ranges(mk, made);
}

static qrt_status choose_step(const struct making *mk, int index)
{
    const struct plan_step *step = &mk->plan->steps[index];
    struct step_choice *out = &mk->c->by_step[index];
    const int is_linear = mk->plan->requests[step->request].op == OP_LINEAR;
    const struct qm_tensor *w = is_linear ? &mk->m->tensors[step->op->tensor] : NULL;
    TRY(take_choice(mk, step->request, w ? (int)w->N : 0, w ? (int)w->K : 0, index, &out->own));
    out->sum = -1;
    return step->sum < 0 ? QRT_OK : take_choice(mk, step->sum, 0, 0, index, &out->sum);
}

static qrt_status choose_all(const struct making *mk)
{
    const struct op_desc sample = {.op = OP_SAMPLE};
    const int steps = (int)mk->plan->step_count;
    for (int i = 0; i < steps; i++) TRY(choose_step(mk, i));
    return take_choice(mk, plan_find(mk->plan, &sample), 0, 0, steps, &mk->c->sample);
}

qrt_status choice_make(struct qrt_device *d, const struct qrt_model *m, const struct plan *plan,
                       int max_m, struct choices *out)
{
    struct choices c = {.count = 0};
    const struct making mk = {.d = d, .m = m, .plan = plan, .max_m = max_m, .c = &c};
    void *items, *by_step;
    TRY(check_kernels(d, m, plan, max_m));
    /* a step brings two choices at most; sample one */
    TRY(rt_alloc(d->rt, (2 * plan->step_count + 1) * sizeof *c.items, &items));
    c.items = items;
    qrt_status status = rt_alloc(d->rt, plan->step_count * sizeof *c.by_step, &by_step);
    if (status == QRT_OK) {
        c.by_step = by_step;
        status = choose_all(&mk);
    }
    if (status == QRT_OK)
        *out = c;
    else
        choice_free(d->rt, &c);
    return status;
}

void choice_free(struct qrt *rt, struct choices *c)
{
    for (int i = 0; i < c->count; i++) rt_free(rt, c->items[i].ranges);
    rt_free(rt, c->items);
    rt_free(rt, c->by_step);
    *c = (struct choices){.count = 0};
}

const struct kernel *choice_kernel(const struct choices *c, int choice, int M)
{
    const struct choice *of = &c->items[choice];
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
