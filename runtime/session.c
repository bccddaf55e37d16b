/* session.c -- prepare: plan, kernels, weights and memory of a session
 *
 * Whatever can be missing is found here; running afterwards takes no memory, no lock of ours and no
 * new kernel.
 */
#include "session.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "rt.h"

enum {
    DEFAULT_CONTEXT = 4096,
    ROW_ALIGN = 32,          /* elements: a row starts where vector loads like it */
    LOGITS_BYTES = 32 << 20, /* of the logits buffer, at least one row */
    QUANTIZE_BLOCK = 32,
};

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* ---- memory ---- */

static qrt_status take(struct qrt_session *s, size_t count, size_t element_bytes, void **out)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, element_bytes, &bytes))
        return error_set(QRT_E_LIMIT, "%zu elements of %zu bytes", count, element_bytes);
    TRY(s->device->ops->alloc(s->device, bytes ? bytes : 1, out));
    s->blocks[s->block_count++] = *out;
    return QRT_OK;
}

/* Host tables, sized by the model. */
static qrt_status take_tables(struct qrt_session *s)
{
    const struct qrt_model *m = s->model;
    const size_t layers = m->header->layers;
    const struct {
        void **table;
        size_t bytes;
    } tables[] = {
        {(void **)&s->buffers, m->buffer_count * sizeof *s->buffers},
        {(void **)&s->caches, layers * sizeof *s->caches},
        {(void **)&s->weights, m->tensor_count * sizeof *s->weights},
        {(void **)&s->vectors, m->tensor_count * sizeof *s->vectors},
        {(void **)&s->blocks, (m->buffer_count + 2 * layers + 8) * sizeof *s->blocks},
        {(void **)&s->placed, m->tensor_count * SECTION_COUNT * sizeof *s->placed},
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        TRY(rt_alloc(s->device->rt, tables[i].bytes, tables[i].table));
    return QRT_OK;
}

static void find_last_buffers(struct qrt_session *s)
{
    for (size_t i = 0; i < s->model->op_count; i++) {
        const struct qm_op *op = &s->model->ops[i];
        if (op->last) s->buffers[op->out].of_last = 1;
    }
    const int64_t row_bytes = (int64_t)s->model->header->vocab * (int64_t)sizeof(float);
    const int64_t rows = LOGITS_BYTES / row_bytes;
    s->last_rows = rows < 1 ? 1 : rows > s->max_m ? s->max_m : (int)rows;
}

static qrt_status take_buffers(struct qrt_session *s)
{
    find_last_buffers(s);
    for (size_t i = 0; i < s->model->buffer_count; i++) {
        struct session_buffer *b = &s->buffers[i];
        const struct qm_buffer *of = &s->model->buffers[i];
        b->type = plan_buffer_type(of, &s->target);
        b->width = (int)of->width;
        b->ld = round_up(of->width, ROW_ALIGN);
        b->rows = b->of_last ? s->last_rows : s->max_m;
        TRY(take(s, (size_t)b->rows * (size_t)b->ld, elem_bytes(b->type), &b->address));
    }
    return QRT_OK;
}

static qrt_status take_caches(struct qrt_session *s)
{
    for (size_t i = 0; i < s->model->op_count; i++) {
        const struct qm_op *op = &s->model->ops[i];
        if (op->op != OP_ROPE) continue;
        const size_t positions = (size_t)op->kv_heads * (size_t)s->context;
        const size_t position_bytes = (size_t)op->head * elem_bytes(s->target.kv);
        TRY(take(s, positions, position_bytes, &s->caches[op->layer].k));
        TRY(take(s, positions, position_bytes, &s->caches[op->layer].v));
    }
    return QRT_OK;
}

static qrt_status take_quantized(struct qrt_session *s, size_t widest)
{
    void *block;
    const size_t rows = (size_t)s->max_m, blocks = widest / QUANTIZE_BLOCK;
    if (widest == 0) return QRT_OK;
    TRY(take(s, rows, widest, &s->scratch.code));
    TRY(take(s, rows * blocks, sizeof(float), &block));
    s->scratch.scale = block;
    TRY(take(s, rows * blocks, 2 * sizeof(short), &block));
    s->scratch.sum = block;
    return QRT_OK;
}

/* The sizes of a step that may be split; f32 values that a part takes for each row. */
static size_t split_sizes(const struct qrt_session *s, const struct plan_step *step, int M,
                          union op_args *args)
{
    const struct qm_op *op = step->op;
    memset(args, 0, sizeof *args);
    if (op->op == OP_LINEAR) {
        const struct qm_tensor *t = &s->model->tensors[op->tensor];
        args->linear = (struct qk_linear){.w = {.N = (int)t->N, .K = (int)t->K}, .M = M};
        return (size_t)t->N;
    }
    args->attention = (struct qk_attention){.M = M,
                                            .heads = op->heads,
                                            .kv_heads = op->kv_heads,
                                            .head = op->head,
                                            .context = s->context,
                                            .window = op->window};
    return (size_t)op->heads * ((size_t)op->head + 2); /* sums, and each row's top and sum */
}

/* f32 values of a step's largest parts over all M. */
static size_t partial_floats(const struct qrt_session *s, const struct plan_step *step)
{
    const int choice = s->choices.by_step[step - s->plan.steps].own;
    size_t most = 0;
    for (int M = 1; M <= s->max_m; M++) {
        union op_args args;
        const size_t row = split_sizes(s, step, M, &args);
        const int split = choice_split(s->device, choice_kernel(&s->choices, choice, M), &args);
        const size_t floats = (size_t)split * (size_t)M * row;
        if (split > 1 && floats > most) most = floats;
    }
    return most;
}

/* Whether an earlier step is the same to partial_floats(): linears of one shape are. */
static int is_repeated(const struct qrt_session *s, size_t step)
{
    const struct choice *c = &s->choices.items[s->choices.by_step[step].own];
    return c->N > 0 && (size_t)c->first_step < step;
}

static qrt_status take_scratch(struct qrt_session *s)
{
    size_t widest = 0, partial = 0;
    void *block;
    for (size_t i = 0; i < s->plan.step_count; i++) {
        const struct plan_step *step = &s->plan.steps[i];
        const struct op_desc *desc = &s->plan.requests[step->request];
        if (desc->op == OP_QUANTIZE) {
            const size_t width =
                (size_t)round_up(s->buffers[step->op->in[0]].width, QUANTIZE_BLOCK);
            if (width > widest) widest = width;
        }
        if (step->sum < 0 || is_repeated(s, i)) continue;
        const size_t floats = partial_floats(s, step);
        if (floats > partial) partial = floats;
    }
    TRY(take_quantized(s, widest));
    if (partial == 0) return QRT_OK;
    TRY(take(s, partial, sizeof(float), &block));
    s->scratch.partial = block;
    return QRT_OK;
}

static qrt_status take_words(struct qrt_session *s)
{
    void *block;
    TRY(take(s, (size_t)s->max_m, sizeof(int), &block));
    s->ids = block;
    TRY(take(s, 1, sizeof(int), &block));
    s->position_word = block;
    TRY(take(s, 1, sizeof(int), &block));
    s->sampled = block;
    return QRT_OK;
}

/* ---- weights ---- */

static qrt_status place(struct qrt_session *s, const struct qm_range *r, const void **out)
{
    *out = NULL;
    if (r->bytes == 0) return QRT_OK;
    TRY(s->device->ops->place(s->device, s->model->base + r->offset, (size_t)r->bytes, out));
    s->placed[s->placed_count++] = *out;
    return QRT_OK;
}

/* The device's family; ref takes whichever the tensor is packed for. */
static qrt_status family_of(const struct qrt_session *s, const struct qm_tensor *t,
                            enum layout_family *out)
{
    for (int f = 0; f < FAMILY_COUNT; f++) {
        if (!choice_is_ref(s->device) && f != (int)s->device->family) continue;
        if (t->section[f][SECTION_CODES].bytes == 0) continue;
        *out = (enum layout_family)f;
        return QRT_OK;
    }
    return error_set(QRT_E_ARCH,
                     "%.200s: tensor %.60s is not packed for %s; pack the model again with "
                     "`qgen pack IN -o OUT.qm --arch %s`",
                     s->model->path, s->model->strings + t->name, s->device->arch.name,
                     s->device->arch.name);
}

static qrt_status place_matrix(struct qrt_session *s, const struct qm_tensor *t,
                               struct qk_weight *w)
{
    enum layout_family family = FAMILY_X86;
    TRY(family_of(s, t, &family));
    const struct qm_range *section = t->section[family];
    w->N = (int)t->N;
    w->K = (int)t->K;
    w->G = scheme_groups(&t->scheme, w->K);
    w->family = (int)family;
    TRY(place(s, &section[SECTION_CODES], &w->codes));
    TRY(place(s, &section[SECTION_SCALES], &w->scales));
    TRY(place(s, &section[SECTION_ZEROS], &w->zeros));
    return place(s, &section[SECTION_SUPERS], &w->supers);
}

/* The tensors that the program names, each once. */
static qrt_status place_weights(struct qrt_session *s)
{
    for (size_t i = 0; i < s->model->op_count; i++) {
        const uint32_t index = s->model->ops[i].tensor;
        if (index >= s->model->tensor_count || s->weights[index].codes || s->vectors[index])
            continue;
        const struct qm_tensor *t = &s->model->tensors[index];
        const void *vector;
        if (!t->is_vector) {
            TRY(place_matrix(s, t, &s->weights[index]));
            continue;
        }
        TRY(place(s, &t->vector, &vector));
        s->vectors[index] = vector;
    }
    return QRT_OK;
}

/* ---- opening ---- */

static qrt_status read_options(const struct qrt_model *m, const qrt_session_options *options,
                               qrt_session_options *out)
{
    qrt_session_options o;
    memset(&o, 0, sizeof o);
    if (options) {
        if (options->size < sizeof(size_t) || options->size > sizeof o)
            return error_set(QRT_E_ARGUMENT,
                             "qrt_session_options.size is %zu: set it to "
                             "sizeof(qrt_session_options), %zu",
                             options->size, sizeof o);
        memcpy(&o, options, options->size);
    }
    const int most = (int)m->header->context;
    if (o.context == 0) o.context = most < DEFAULT_CONTEXT ? most : DEFAULT_CONTEXT;
    if (o.max_m == 0) o.max_m = CHOICE_DEFAULT_M;
    if (o.context < 1 || o.context > most)
        return error_set(QRT_E_LIMIT, "context %d: the model has 1 to %d positions", o.context,
                         most);
    if (o.max_m < 1 || o.max_m > CHOICE_LIMIT_M)
        return error_set(QRT_E_LIMIT, "max_m %d: 1 to %d", o.max_m, CHOICE_LIMIT_M);
    if (o.max_m > o.context) o.max_m = o.context;
    *out = o;
    return QRT_OK;
}

static qrt_status prepare(struct qrt_session *s, int exact)
{
    TRY(choice_plan(s->device, s->model, s->max_m, exact, &s->target, &s->plan));
    TRY(choice_make(s->device, s->model, &s->plan, s->max_m, &s->choices));
    TRY(take_tables(s));
    TRY(take_buffers(s));
    TRY(take_caches(s));
    TRY(take_scratch(s));
    TRY(take_words(s));
    TRY(place_weights(s));
    session_record(s);
    return s->device->ops->sync(s->device);
}

qrt_status qrt_session_open(qrt_device *device, const qrt_model *model,
                            const qrt_session_options *options, qrt_session **out)
{
    qrt_session_options given = {.size = 0};
    TRY(read_options(model, options, &given));
    void *block;
    TRY(rt_alloc(device->rt, sizeof(qrt_session), &block));
    qrt_session *s = block;
    s->device = device;
    s->model = model;
    s->context = given.context;
    s->max_m = given.max_m;
    const qrt_status status = prepare(s, given.exact);
    if (status != QRT_OK) {
        qrt_session_close(s);
        return status;
    }
    *out = s;
    return QRT_OK;
}

void qrt_session_close(qrt_session *session)
{
    if (!session) return;
    struct qrt_device *d = session->device;
    if (session->step_graph) d->ops->forget(d, session->step_graph);
    for (size_t i = 0; i < session->block_count; i++) d->ops->free(d, session->blocks[i]);
    for (size_t i = 0; i < session->placed_count; i++) d->ops->unplace(d, session->placed[i]);
    void *tables[] = {session->buffers, session->caches, session->weights,
                      session->vectors, session->blocks, session->placed};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) rt_free(d->rt, tables[i]);
    choice_free(d->rt, &session->choices);
    plan_free(&session->plan);
    rt_free(d->rt, session);
}

/* The plan that a session with these options would have; its largest M in *max_m. */
static qrt_status plan_session(const struct qrt_device *d, const struct qrt_model *m,
                               const qrt_session_options *options, struct plan *plan, int *max_m)
{
    qrt_session_options given = {.size = 0};
    struct plan_target target;
    TRY(read_options(m, options, &given));
    *max_m = given.max_m;
    return choice_plan(d, m, given.max_m, given.exact, &target, plan);
}

qrt_status qrt_model_needs(const qrt_model *model, const qrt_device *device,
                           const qrt_session_options *options,
                           int (*need)(void *user, const char *request, int have), void *user)
{
    struct plan plan;
    int max_m;
    TRY(plan_session(device, model, options, &plan, &max_m));
    if (!choice_is_ref(device)) choice_tell(device, &plan, max_m, need, user);
    plan_free(&plan);
    return QRT_OK;
}

qrt_status qrt_prepare(qrt_device *device, const qrt_model *model,
                       const qrt_session_options *options,
                       int (*need)(void *user, const char *request, int have), void *user)
{
    struct plan plan;
    struct choices choices;
    int max_m;
    TRY(plan_session(device, model, options, &plan, &max_m));
    if (need && !choice_is_ref(device)) choice_tell(device, &plan, max_m, need, user);
    const qrt_status status = choice_make(device, model, &plan, max_m, &choices);
    if (status == QRT_OK) choice_free(device->rt, &choices);
    plan_free(&plan);
    return status;
}
