/* run.c -- running a session: bind each step to its rows, launch it, bring results back
 *
 * Takes no memory and no kernel: session.c has prepared all of it.  A pass is one chunk of up to
 * max_m tokens; its `last` steps run on the rows whose logits are wanted, as many at a time as the
 * logits buffer holds, or not at all.
 */
#include <string.h>

#include "error.h"
#include "rt.h"
#include "session.h"

/* The rows that a step computes: `count` from row `first` of the pass on. */
struct rows {
    int first, count;
};

/* ---- binding ---- */

static char *row_address(const struct session_buffer *b, const struct rows *rows)
{
    const int64_t row = b->of_last ? 0 : rows->first;
    return (char *)b->address + (size_t)(row * b->ld) * elem_bytes(b->type);
}

/* What binding a step looks at. */
struct binding {
    const struct qrt_session *s;
    const struct qm_op *op;
    const struct op_desc *desc;
    const struct rows *rows;
    const struct session_buffer *in[3], *out; /* NULL where the op has none */
};

static void bind_embed(const struct binding *b, union op_args *args)
{
    args->embed = (struct qk_embed){
        .w = b->s->weights[b->op->tensor],
        .id = b->s->ids + b->rows->first,
        .y = (float *)(void *)row_address(b->out, b->rows),
        .ldy = b->out->ld,
        .scale = b->op->f0,
        .M = b->rows->count,
    };
}

static void bind_rmsnorm(const struct binding *b, union op_args *args)
{
    args->rmsnorm = (struct qk_rmsnorm){
        .x = row_address(b->in[0], b->rows),
        .w = b->s->vectors[b->op->tensor],
        .y = row_address(b->out, b->rows),
        .ldx = b->in[0]->ld,
        .ldy = b->out->ld,
        .eps = b->op->f0,
        .M = b->rows->count,
        .heads = b->op->heads,
        .K = b->op->head,
    };
}

static int64_t code_ld(const struct session_buffer *in) { return (in->width + 31) / 32 * 32; }

static void bind_quantize(const struct binding *b, union op_args *args)
{
    args->quantize = (struct qk_quantize){
        .x = row_address(b->in[0], b->rows),
        .code = b->s->scratch.code,
        .scale = b->s->scratch.scale,
        .sum = b->s->scratch.sum,
        .ldx = b->in[0]->ld,
        .ldc = code_ld(b->in[0]),
        .M = b->rows->count,
        .K = b->in[0]->width,
    };
}

static void bind_linear(const struct binding *b, union op_args *args)
{
    struct qk_linear *a = &args->linear;
    *a = (struct qk_linear){
        .w = b->s->weights[b->op->tensor],
        .x = row_address(b->in[0], b->rows),
        .y = row_address(b->out, b->rows),
        .ldx = b->in[0]->ld,
        .ldy = b->out->ld,
        .M = b->rows->count,
        .split = 1,
    };
    if (b->desc->act != ELEM_I8) return;
    a->x = b->s->scratch.code;
    a->x_scale = b->s->scratch.scale;
    a->x_sum = b->s->scratch.sum;
    a->ldx = code_ld(b->in[0]);
}

static void bind_rope(const struct binding *b, union op_args *args)
{
    const struct layer_cache *cache = &b->s->caches[b->op->layer];
    args->rope = (struct qk_rope){
        .q = row_address(b->in[0], b->rows),
        .k = row_address(b->in[1], b->rows),
        .v = row_address(b->in[2], b->rows),
        .k_cache = cache->k,
        .v_cache = cache->v,
        .inv_freq = b->s->vectors[b->op->tensor],
        .position = b->s->position_word,
        .ldq = b->in[0]->ld,
        .ldk = b->in[1]->ld,
        .ldv = b->in[2]->ld,
        .M = b->rows->count,
        .heads = b->op->heads,
        .kv_heads = b->op->kv_heads,
        .head = b->op->head,
        .rotary = b->op->rotary,
        .context = b->s->context,
    };
}

static void bind_attention(const struct binding *b, union op_args *args)
{
    const struct layer_cache *cache = &b->s->caches[b->op->layer];
    args->attention = (struct qk_attention){
        .q = row_address(b->in[0], b->rows),
        .k_cache = cache->k,
        .v_cache = cache->v,
        .y = row_address(b->out, b->rows),
        .position = b->s->position_word,
        .ldq = b->in[0]->ld,
        .ldy = b->out->ld,
        .scale = b->op->f0,
        .M = b->rows->count,
        .heads = b->op->heads,
        .kv_heads = b->op->kv_heads,
        .head = b->op->head,
        .context = b->s->context,
        .window = b->op->window,
        .split = 1,
    };
}

static void bind_glu(const struct binding *b, union op_args *args)
{
    args->glu = (struct qk_glu){
        .gate = row_address(b->in[0], b->rows),
        .up = row_address(b->in[1], b->rows),
        .y = row_address(b->out, b->rows),
        .ldg = b->in[0]->ld,
        .ldu = b->in[1]->ld,
        .ldy = b->out->ld,
        .M = b->rows->count,
        .K = b->out->width,
    };
}

static void bind_add(const struct binding *b, union op_args *args)
{
    args->add = (struct qk_add){
        .x = (float *)(void *)row_address(b->out, b->rows),
        .y = row_address(b->in[0], b->rows),
        .ldx = b->out->ld,
        .ldy = b->in[0]->ld,
        .M = b->rows->count,
        .K = b->out->width,
    };
}

static void (*const bind[OP_COUNT])(const struct binding *, union op_args *) = {
    [OP_EMBED] = bind_embed,   [OP_RMSNORM] = bind_rmsnorm, [OP_QUANTIZE] = bind_quantize,
    [OP_LINEAR] = bind_linear, [OP_ROPE] = bind_rope,       [OP_ATTENTION] = bind_attention,
    [OP_GLU] = bind_glu,       [OP_ADD] = bind_add,
};

/* ---- launching ---- */

static qrt_status launch(const struct qrt_session *s, int choice, int M, const union op_args *args)
{
    const int request = s->choices.items[choice].request;
    return s->device->ops->launch(s->device, choice_kernel(&s->choices, choice, M),
                                  &s->plan.requests[request], args);
}

static int split_of(const struct qrt_session *s, int choice, int M, const union op_args *args)
{
    return choice_split(s->device, choice_kernel(&s->choices, choice, M), args);
}

/* A linear whose K is cut into parts writes partial sums, which a reduce adds up. */
static qrt_status launch_linear(const struct qrt_session *s, const struct step_choice *step,
                                union op_args *args)
{
    struct qk_linear *a = &args->linear;
    a->split = split_of(s, step->own, a->M, args);
    if (a->split == 1) return launch(s, step->own, a->M, args);
    a->partial = s->scratch.partial;
    TRY(launch(s, step->own, a->M, args));
    const union op_args sum = {.reduce = {.partial = a->partial,
                                          .y = a->y,
                                          .ldy = a->ldy,
                                          .M = a->M,
                                          .N = a->w.N,
                                          .split = a->split}};
    return launch(s, step->sum, a->M, &sum);
}

/* The same of a context. */
static qrt_status launch_attention(const struct qrt_session *s, const struct step_choice *step,
                                   union op_args *args)
{
    struct qk_attention *a = &args->attention;
    a->split = split_of(s, step->own, a->M, args);
    if (a->split == 1) return launch(s, step->own, a->M, args);
    const int64_t rows = (int64_t)a->split * a->M * a->heads;
    a->part = s->scratch.partial;
    a->part_top = a->part + rows * a->head;
    a->part_sum = a->part_top + rows;
    TRY(launch(s, step->own, a->M, args));
    const union op_args sum = {.combine = {.part = a->part,
                                           .part_top = a->part_top,
                                           .part_sum = a->part_sum,
                                           .y = a->y,
                                           .ldy = a->ldy,
                                           .M = a->M,
                                           .heads = a->heads,
                                           .head = a->head,
                                           .split = a->split}};
    return launch(s, step->sum, a->M, &sum);
}

static qrt_status run_step(const struct qrt_session *s, const struct plan_step *step,
                           const struct rows *rows)
{
    const struct qm_op *op = step->op;
    struct binding b = {.s = s, .op = op, .desc = &s->plan.requests[step->request], .rows = rows};
    for (int i = 0; i < 3; i++) b.in[i] = op->in[i] == QM_NONE ? NULL : &s->buffers[op->in[i]];
    b.out = op->out == QM_NONE ? NULL : &s->buffers[op->out];
    union op_args args;
    memset(&args, 0, sizeof args);
    bind[b.desc->op](&b, &args);
    const struct step_choice *choice = &s->choices.by_step[step - s->plan.steps];
    if (b.desc->op == OP_LINEAR) return launch_linear(s, choice, &args);
    if (b.desc->op == OP_ATTENTION) return launch_attention(s, choice, &args);
    return launch(s, choice->own, rows->count, &args);
}

/* The steps of the layers (which < 0: of embed and all layers; else of that one). */
static qrt_status run_body(const struct qrt_session *s, int which, int M)
{
    const struct rows rows = {0, M};
    for (size_t i = 0; i < s->plan.step_count; i++) {
        const struct plan_step *step = &s->plan.steps[i];
        if (step->op->last || (which >= 0 && step->op->layer != which)) continue;
        TRY(run_step(s, step, &rows));
    }
    return QRT_OK;
}

static qrt_status run_last(const struct qrt_session *s, const struct rows *rows)
{
    for (size_t i = 0; i < s->plan.step_count; i++)
        if (s->plan.steps[i].op->last) TRY(run_step(s, &s->plan.steps[i], rows));
    return QRT_OK;
}

/* ---- one token, recorded ---- */

/* Everything between the upload of an id with its position and the logits of one row. */
static qrt_status run_token(void *user)
{
    const struct qrt_session *s = user;
    const struct rows row = {0, 1};
    TRY(run_body(s, -1, 1));
    return run_last(s, &row);
}

void session_record(struct qrt_session *s)
{
    const struct device_ops *ops = s->device->ops;
    if (ops->record && ops->record(s->device, run_token, s, &s->step_graph) != QRT_OK)
        rt_log(s->device->rt, RT_INFO, "launches are made one by one: %s", qrt_message());
}

static qrt_status play_token(struct qrt_session *s)
{
    if (s->step_graph) return s->device->ops->play(s->device, s->step_graph);
    return run_token(s);
}

/* ---- rows to and from the host ---- */

static qrt_status upload_rows(const struct qrt_session *s, const struct session_buffer *b,
                              const float *host, int rows)
{
    const size_t row_bytes = (size_t)b->width * sizeof(float);
    const int pieces = b->ld == b->width ? 1 : rows; /* padded rows go one by one */
    for (int i = 0; i < pieces; i++)
        TRY(s->device->ops->upload(s->device, (float *)b->address + i * b->ld,
                                   host + (size_t)i * (size_t)b->width,
                                   pieces == 1 ? (size_t)rows * row_bytes : row_bytes));
    return QRT_OK;
}

static qrt_status download_rows(const struct qrt_session *s, const struct session_buffer *b,
                                float *host, int rows)
{
    const size_t row_bytes = (size_t)b->width * sizeof(float);
    const int pieces = b->ld == b->width ? 1 : rows;
    for (int i = 0; i < pieces; i++)
        TRY(s->device->ops->download(s->device, host + (size_t)i * (size_t)b->width,
                                     (const float *)b->address + i * b->ld,
                                     pieces == 1 ? (size_t)rows * row_bytes : row_bytes));
    return QRT_OK;
}

static const struct session_buffer *logits_of(const struct qrt_session *s)
{
    return &s->buffers[s->model->ops[s->model->op_count - 1].out];
}

/* Logits of `rows`, as many at a time as their buffer holds. */
static qrt_status fetch_logits(const struct qrt_session *s, const struct rows *rows, float *logits)
{
    const struct session_buffer *b = logits_of(s);
    for (int done = 0; done < rows->count; done += s->last_rows) {
        const int left = rows->count - done;
        const struct rows part = {rows->first + done, left < s->last_rows ? left : s->last_rows};
        TRY(run_last(s, &part));
        TRY(download_rows(s, b, logits + (size_t)done * (size_t)b->width, part.count));
    }
    return QRT_OK;
}

/* ---- the calls ---- */

static qrt_status check_room(const struct qrt_session *s, size_t tokens)
{
    if (tokens <= (size_t)(s->context - s->position)) return QRT_OK;
    return error_set(QRT_E_LIMIT,
                     "%zu tokens more than the %d held: the session has %d positions; open it with "
                     "a longer context, or qrt_rewind()",
                     tokens, s->position, s->context);
}

static qrt_status check_ids(const struct qrt_session *s, const int *ids, size_t n)
{
    const int vocab = (int)s->model->header->vocab;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return error_set(QRT_E_ARGUMENT, "token %zu is %d: the model has 0 to %d", i, ids[i],
                             vocab - 1);
    return QRT_OK;
}

/* M tokens at the session's position: where they are, and what they are. */
static qrt_status upload_tokens(const struct qrt_session *s, const int *ids, int M)
{
    const struct device_ops *ops = s->device->ops;
    TRY(ops->upload(s->device, s->ids, ids, (size_t)M * sizeof *ids));
    return ops->upload(s->device, s->position_word, &s->position, sizeof s->position);
}

/* One pass of M tokens; `logits` of its rows `wanted`. */
static qrt_status run_tokens(struct qrt_session *s, const int *ids, int M,
                             const struct rows *wanted, float *logits)
{
    TRY(upload_tokens(s, ids, M));
    if (M == 1 && wanted->count == 1) {
        TRY(play_token(s));
        return download_rows(s, logits_of(s), logits, 1);
    }
    TRY(run_body(s, -1, M));
    return wanted->count > 0 ? fetch_logits(s, wanted, logits) : QRT_OK;
}

qrt_status qrt_run(qrt_session *session, const int *ids, size_t n, float *logits, size_t rows)
{
    qrt_session *s = session;
    if (rows > n || (rows > 0) != (logits != NULL))
        return error_set(QRT_E_ARGUMENT, "logits of %zu rows of %zu tokens into %p", rows, n,
                         (void *)logits);
    TRY(check_room(s, n));
    TRY(check_ids(s, ids, n));
    const int start = s->position;
    const size_t wanted_from = n - rows, vocab = s->model->header->vocab;
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < n && status == QRT_OK;) {
        const int M = n - i < (size_t)s->max_m ? (int)(n - i) : s->max_m;
        const int first =
            wanted_from > i ? (int)(wanted_from - i < (size_t)M ? wanted_from - i : (size_t)M) : 0;
        const struct rows wanted = {first, M - first};
        float *to = wanted.count > 0 ? logits + (i + (size_t)first - wanted_from) * vocab : NULL;
        status = run_tokens(s, ids + i, M, &wanted, to);
        s->position += M;
        i += (size_t)M;
    }
    if (status == QRT_OK && rows == 0) status = s->device->ops->sync(s->device);
    if (status != QRT_OK) s->position = start;
    return status;
}

static qrt_status sample_next(const struct qrt_session *s, const qrt_sampling *sampling, int *next)
{
    const struct session_buffer *b = logits_of(s);
    /* Counted by position, so that going back and on again gives the same tokens. */
    const union op_args args = {.sample = {.logit = b->address,
                                           .id = s->sampled,
                                           .ldl = b->ld,
                                           .seed = sampling->seed,
                                           .counter = (unsigned)s->position,
                                           .temperature = sampling->temperature,
                                           .min_p = sampling->min_p,
                                           .M = 1,
                                           .N = b->width}};
    TRY(launch(s, s->choices.sample, 1, &args));
    return s->device->ops->download(s->device, next, s->sampled, sizeof *next);
}

qrt_status qrt_step(qrt_session *session, int id, const qrt_sampling *sampling, int *next)
{
    TRY(check_room(session, 1));
    TRY(check_ids(session, &id, 1));
    TRY(upload_tokens(session, &id, 1));
    TRY(play_token(session));
    int sampled;
    TRY(sample_next(session, sampling, &sampled));
    session->position++;
    *next = sampled;
    return QRT_OK;
}

int qrt_position(const qrt_session *session) { return session->position; }

qrt_status qrt_rewind(qrt_session *session, int position)
{
    if (position < 0 || position > session->position)
        return error_set(QRT_E_ARGUMENT, "rewind to %d: the session holds %d tokens", position,
                         session->position);
    session->position = position;
    return QRT_OK;
}

qrt_status qrt_run_layer(qrt_session *session, int layer, float *x, size_t m)
{
    qrt_session *s = session;
    const int layers = (int)s->model->header->layers;
    if (layer < 0 || layer >= layers)
        return error_set(QRT_E_ARGUMENT, "layer %d: the model has 0 to %d", layer, layers - 1);
    TRY(check_room(s, m));
    const struct session_buffer *residual = &s->buffers[0];
    for (size_t i = 0; i < m;) {
        const int M = m - i < (size_t)s->max_m ? (int)(m - i) : s->max_m;
        const int position = s->position + (int)i;
        float *rows = x + i * (size_t)residual->width;
        TRY(s->device->ops->upload(s->device, s->position_word, &position, sizeof position));
        TRY(upload_rows(s, residual, rows, M));
        TRY(run_body(s, layer, M));
        TRY(download_rows(s, residual, rows, M));
        i += (size_t)M;
    }
    if (layer == layers - 1) s->position += (int)m;
    return QRT_OK;
}
