/* plan_kernels.c -- which of the kernels that a model needs are there, and the command that makes the rest */
#include "plan_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "request_set.h"
#include "store.h"
#include "tuned.h"

/* ---- what there is ---- */

static int add_kernel(void *user, const struct entry *e)
{
    struct plan_stock *s = user;
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 256;
        void *grown = realloc(s->kernels, capacity * sizeof *s->kernels);
        if (!grown) return s->failed = 1;
        s->kernels = grown;
        s->capacity = capacity;
    }
    const struct entry_record *r = &e->record;
    const struct arch *arch = arch_find(r->arch);
    if (arch) s->kernels[s->count++] = (struct plan_stored){r->desc, arch, r->m_lo, r->m_hi};
    return 0;
}

qrt_status plan_stock_read(struct plan_stock *out)
{
    struct store *store;
    char ignored[256];
    memset(out, 0, sizeof *out);
    TRY(store_open(NULL, &store));
    qrt_status status = store_each(store, add_kernel, out);
    if (status == QRT_OK && out->failed) status = error_set(QRT_E_MEMORY, "no memory for a plan");
    if (status == QRT_OK) status = tuned_load(store_folder(store), &out->winners, ignored);
    store_close(store);
    if (status != QRT_OK) plan_stock_free(out);
    return status;
}

void plan_stock_free(struct plan_stock *s)
{
    free(s->kernels);
    winners_free(&s->winners);
    memset(s, 0, sizeof *s);
}

/* ---- what a model runs ---- */

/* What a model of these sizes runs: its head size, its kind of rope and of gate. */
static int is_used(const struct plan_model *m, const struct op_desc *d)
{
    if (d->head && d->head != m->head) return 0;
    if (d->op == OP_ROPE) return (d->kind == ROPE_PAIRS) == (strcmp(m->rope, "pairs") == 0);
    if (d->op == OP_GLU) return (d->kind == GLU_SILU) == (strcmp(m->glu, "silu") == 0);
    return d->op != OP_EMBED; /* tables stay dense in a plan */
}

/* As `qgen build --act` takes it; NULL: the GPU's own. */
static const char *act_option(const struct gpu *gpu, const struct plan_scheme *s)
{
    const enum elem_type act = plan_act(gpu, s);
    return act == ELEM_F16 ? NULL : elem_name(act);
}

static qrt_status collect(const struct plan_kernels_query *q, struct request_set *set)
{
    size_t kept = 0;
    TRY(request_set_add_layer(set, arch_find(q->gpu->arch), &q->scheme->weight,
                              act_option(q->gpu, q->scheme), 1, q->rows));
    for (size_t i = 0; i < set->count; i++)
        if (is_used(q->model, &set->items[i].desc)) set->items[kept++] = set->items[i];
    set->count = kept;
    return QRT_OK;
}

/* ---- kernels ---- */

/* The last row up to which kernels of the stock follow each other from row 1 on; 0: none. */
static int64_t held_up_to(const struct plan_stock *stock, const struct op_desc *desc,
                          const struct arch *here)
{
    int64_t last = 0, before;
    do {
        before = last;
        for (size_t i = 0; i < stock->count; i++) {
            const struct plan_stored *k = &stock->kernels[i];
            if (k->m_lo <= last + 1 && k->m_hi > last && op_desc_equal(&k->desc, desc) &&
                arch_runs_on(k->arch, here))
                last = k->m_hi;
        }
    } while (last > before);
    return last;
}

static void count_stored(const struct plan_stock *stock, const struct plan_kernels_query *q,
                         const struct request_set *set, struct plan_kernels *out)
{
    const struct arch *here = arch_find(q->gpu->arch);
    for (size_t i = 0; i < set->count; i++) {
        out->wanted++;
        if (held_up_to(stock, &set->items[i].desc, here) >= q->rows)
            out->stored++;
        else if (out->missing_count < PLAN_KERNELS_MISSING_MOST)
            op_desc_name(&set->items[i].desc, out->missing[out->missing_count++]);
    }
}

/* ---- winners ---- */

struct shape_list {
    int items[5][2], count; /* N, K */
};

static void add_shape(struct shape_list *s, int N, int K)
{
    for (int i = 0; i < s->count; i++)
        if (s->items[i][0] == N && s->items[i][1] == K) return;
    s->items[s->count][0] = N;
    s->items[s->count++][1] = K;
}

static struct shape_list shapes_of(const struct plan_model *m)
{
    struct shape_list s = {.count = 0};
    add_shape(&s, m->heads * m->head, m->hidden);    /* q */
    add_shape(&s, m->kv_heads * m->head, m->hidden); /* k, v */
    add_shape(&s, m->hidden, m->heads * m->head);    /* o */
    add_shape(&s, m->ffn, m->hidden);                /* gate, up */
    add_shape(&s, m->hidden, m->ffn);                /* down */
    return s;
}

/* Whether a winner is about the point and the GPU; its device by any of the GPU's names. */
static int is_about(const struct plan_kernels_query *q, const struct winner *w,
                    const struct op_desc *desc, const int shape[2], int M)
{
    const struct arch *built = arch_find(w->arch);
    if (!built || !arch_runs_on(built, arch_find(q->gpu->arch))) return 0;
    if (w->device[0] && gpus_find(q->table, w->device) != q->gpu) return 0;
    if (w->N != 0 && (w->N != shape[0] || w->K != shape[1])) return 0;
    return op_desc_equal(&w->desc, desc) && w->m_lo <= M && w->m_hi >= M;
}

static void count_point(const struct plan_kernels_query *q, const struct winners *w,
                        const struct op_desc *desc, const int shape[2], int M,
                        struct plan_kernels *out)
{
    int chosen = 0;
    out->points++;
    for (size_t i = 0; i < w->count; i++) {
        if (!is_about(q, &w->items[i], desc, shape, M)) continue;
        if (w->items[i].how == WINNER_MEASURED && w->items[i].device[0]) {
            out->measured++;
            return;
        }
        chosen = 1;
    }
    out->chosen += chosen;
}

/* The linear whose output is of the type that it takes in: those of a layer. */
static const struct op_desc *linear_of(const struct request_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i].desc.op == OP_LINEAR) return &set->items[i].desc;
    return NULL;
}

static void count_winners(const struct plan_stock *stock, const struct plan_kernels_query *q,
                          const struct request_set *set, struct plan_kernels *out)
{
    const struct shape_list shapes = shapes_of(q->model);
    const struct op_desc *desc = linear_of(set);
    for (int s = 0; s < shapes.count && desc; s++)
        for (int b = 0; b < q->batch_count; b++)
            count_point(q, &stock->winners, desc, shapes.items[s], q->batches[b], out);
}

/* ---- commands ---- */

static void say_commands(const struct plan_kernels_query *q, struct plan_kernels *out)
{
    const struct shape_list shapes = shapes_of(q->model);
    const char *act = act_option(q->gpu, q->scheme);
    char scheme[SCHEME_NAME_BYTES], what[96], sizes[160] = "", rows[64] = "";
    scheme_name(&q->scheme->weight, scheme);
    snprintf(what, sizeof what, "--scheme %s%s%s", scheme, act ? " --act " : "", act ? act : "");
    for (int i = 0, used = 0; i < shapes.count; i++)
        used += snprintf(sizes + used, sizeof sizes - (size_t)used, "%s%dx%d", i ? "," : "",
                         shapes.items[i][0], shapes.items[i][1]);
    for (int i = 0, used = 0; i < q->batch_count && used < (int)sizeof rows - 8; i++)
        used +=
            snprintf(rows + used, sizeof rows - (size_t)used, "%s%d", i ? "," : "", q->batches[i]);
    if (out->stored < out->wanted)
        snprintf(out->build, sizeof out->build, "qgen build --arch %s %s", q->gpu->arch, what);
    if (out->measured < out->points)
        snprintf(out->tune, sizeof out->tune, "qgen tune --device cuda:0 %s --shape %s --m %s",
                 what, sizes, rows);
}

void plan_kernels_count(const struct plan_stock *stock, const struct plan_kernels_query *q,
                        struct plan_kernels *out)
{
    struct request_set set = {0};
    memset(out, 0, sizeof *out);
    if (!q->scheme->as_stored && collect(q, &set) == QRT_OK) {
        count_stored(stock, q, &set, out);
        count_winners(stock, q, &set, out);
        say_commands(q, out);
    }
    request_set_free(&set);
}
