/* plan.c -- a model's program as one device runs it: types chosen, quantize steps inserted */
#include "plan.h"

#include <string.h>

#include "error.h"
#include "rt.h"

static int every_quantized(const void *user, const struct scheme *weight)
{
    (void)user;
    return !scheme_is_dense(weight);
}

struct plan_target plan_target_for(enum arch_kind kind, enum elem_type act)
{
    if (kind == ARCH_X86)
        return (struct plan_target){.act = ELEM_F32, .kv = ELEM_F16, .takes_i8 = every_quantized};
    return (struct plan_target){.act = act, .kv = act, .splits = 1};
}

enum elem_type plan_buffer_type(const struct qm_buffer *b, const struct plan_target *target)
{
    return b->type == QM_ACT ? target->act : ELEM_F32;
}

int plan_find(const struct plan *p, const struct op_desc *desc)
{
    for (int i = 0; i < p->request_count; i++)
        if (op_desc_equal(&p->requests[i], desc)) return i;
    return -1;
}

/* What is being planned, and which buffer the int8 scratch holds. */
struct planner {
    const struct qrt_model *m;
    const struct plan_target *target;
    struct plan *plan;
    uint32_t quantized; /* QM_NONE: none */
};

static int request(struct plan *p, const struct op_desc *desc)
{
    const int known = plan_find(p, desc);
    if (known >= 0) return known;
    p->requests[p->request_count] = *desc;
    return p->request_count++;
}

static struct plan_step *add_step(struct planner *pl, const struct qm_op *op,
                                  const struct op_desc *desc)
{
    struct plan_step *step = &pl->plan->steps[pl->plan->step_count++];
    *step = (struct plan_step){.op = op, .request = request(pl->plan, desc), .sum = -1};
    return step;
}

static uint8_t type_of(const struct planner *pl, uint32_t buffer)
{
    return (uint8_t)plan_buffer_type(&pl->m->buffers[buffer], pl->target);
}

/* What the op of the program asks for; fields that the op's name lacks stay 0. */
static struct op_desc desc_of(const struct planner *pl, const struct qm_op *op)
{
    struct op_desc d;
    memset(&d, 0, sizeof d);
    d.op = op->op;
    switch (op->op) {
    case OP_EMBED: d.weight = pl->m->tensors[op->tensor].scheme; break;
    case OP_LINEAR:
        d.weight = pl->m->tensors[op->tensor].scheme;
        d.act = type_of(pl, op->in[0]);
        d.out = type_of(pl, op->out);
        break;
    case OP_RMSNORM:
        d.act = type_of(pl, op->in[0]);
        d.out = type_of(pl, op->out);
        break;
    case OP_ROPE:
    case OP_ATTENTION:
        d.kind = op->op == OP_ROPE ? op->kind : 0;
        d.act = (uint8_t)pl->target->act;
        d.kv = (uint8_t)pl->target->kv;
        d.head = (uint16_t)op->head;
        break;
    case OP_GLU:
        d.kind = op->kind;
        d.act = (uint8_t)pl->target->act;
        break;
    case OP_ADD: d.act = (uint8_t)pl->target->act; break;
    default: break;
    }
    return d;
}

static void plan_linear(struct planner *pl, const struct qm_op *op)
{
    const struct plan_target *t = pl->target;
    struct op_desc d = desc_of(pl, op);
    if (t->takes_i8 && t->takes_i8(t->user, &d.weight)) {
        const struct op_desc quantize = {.op = OP_QUANTIZE, .act = d.act, .out = ELEM_I8};
        if (pl->quantized != op->in[0]) add_step(pl, op, &quantize);
        pl->quantized = op->in[0];
        d.act = ELEM_I8;
    }
    struct plan_step *step = add_step(pl, op, &d);
    const struct op_desc reduce = {.op = OP_REDUCE, .out = d.out};
    if (t->splits) step->sum = request(pl->plan, &reduce);
}

static void plan_attention(struct planner *pl, const struct qm_op *op)
{
    const struct op_desc d = desc_of(pl, op);
    struct plan_step *step = add_step(pl, op, &d);
    const struct op_desc combine = {.op = OP_COMBINE, .act = d.act, .head = d.head};
    if (pl->target->splits) step->sum = request(pl->plan, &combine);
}

static void plan_op(struct planner *pl, size_t i)
{
    const struct qm_op *op = &pl->m->ops[i];
    /* A layer may run alone, and last ops see other rows: nothing is carried over. */
    if (i > 0 && (op->layer != op[-1].layer || op->last != op[-1].last)) pl->quantized = QM_NONE;
    if (op->op == OP_LINEAR) {
        plan_linear(pl, op);
    } else if (op->op == OP_ATTENTION) {
        plan_attention(pl, op);
    } else {
        const struct op_desc d = desc_of(pl, op);
        add_step(pl, op, &d);
    }
    const uint32_t written = op->op == OP_ROPE ? op->in[0] : op->out;
    if (written == pl->quantized) pl->quantized = QM_NONE;
}

qrt_status plan_make(const struct qrt_model *m, const struct plan_target *target, struct plan *out)
{
    struct plan p = {.rt = m->rt};
    struct planner pl = {.m = m, .target = target, .plan = &p, .quantized = QM_NONE};
    const size_t most =
        2 * m->op_count + 2; /* an op may bring a quantize, reduce, combine; sample */
    void *steps, *requests;
    TRY(rt_alloc(m->rt, most * sizeof *p.steps, &steps));
    p.steps = steps;
    const qrt_status status = rt_alloc(m->rt, 2 * most * sizeof *p.requests, &requests);
    if (status != QRT_OK) {
        rt_free(m->rt, steps);
        return status;
    }
    p.requests = requests;
    for (size_t i = 0; i < m->op_count; i++) plan_op(&pl, i);
    const struct op_desc sample = {.op = OP_SAMPLE};
    request(&p, &sample);
    *out = p;
    return QRT_OK;
}

void plan_free(struct plan *p)
{
    if (!p->rt) return;
    rt_free(p->rt, p->steps);
    rt_free(p->rt, p->requests);
    *p = (struct plan){.rt = NULL};
}
