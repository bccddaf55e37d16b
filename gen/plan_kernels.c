/* plan_kernels.c -- which of the kernels that a model needs are there, and the command that makes the rest */
#include "plan_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "request_set.h"
#include "store.h"
#include "tuned.h"

/* Rows of a request that stored kernels are made for, as a list of ranges. */
struct rows {
    int (*ranges)[2];
    int count;
};

struct look {
    const struct request_set *wanted;
    const struct arch *arch;
    struct rows *rows; /* [wanted->count] */
    int failed;
};

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

static int note(void *user, const struct entry *e)
{
    struct look *l = user;
    const struct arch *built = arch_find(e->record.arch);
    if (!built || !arch_runs_on(built, l->arch)) return 0;
    for (size_t i = 0; i < l->wanted->count; i++) {
        struct rows *r = &l->rows[i];
        if (!op_desc_equal(&l->wanted->items[i].desc, &e->record.desc)) continue;
        void *grown = realloc(r->ranges, ((size_t)r->count + 1) * sizeof *r->ranges);
        if (!grown) return l->failed = 1;
        r->ranges = grown;
        r->ranges[r->count][0] = e->record.m_lo;
        r->ranges[r->count++][1] = e->record.m_hi;
    }
    return 0;
}

/* Whether the ranges hold every row from lo to hi. */
static int holds_all(const struct rows *r, int lo, int hi)
{
    int next = lo, moved = 1;
    while (next <= hi && moved) {
        moved = 0;
        for (int i = 0; i < r->count; i++)
            if (r->ranges[i][0] <= next && r->ranges[i][1] >= next) {
                if (r->ranges[i][1] >= hi) return 1;
                next = r->ranges[i][1] + 1;
                moved = 1;
            }
    }
    return next > hi;
}

static qrt_status look_up(struct look *l)
{
    struct store *store;
    TRY(store_open(NULL, &store));
    const qrt_status status = store_each(store, note, l);
    store_close(store);
    if (status == QRT_OK && l->failed)
        return error_set(QRT_E_MEMORY, "no memory for ranges of rows");
    return status;
}

static void count_stored(const struct look *l, int rows, struct plan_kernels *out)
{
    for (size_t i = 0; i < l->wanted->count; i++) {
        out->wanted++;
        if (holds_all(&l->rows[i], 1, rows))
            out->stored++;
        else if (out->missing_count < PLAN_KERNELS_MISSING_MOST)
            op_desc_name(&l->wanted->items[i].desc, out->missing[out->missing_count++]);
    }
}

static qrt_status count_kernels(const struct plan_kernels_query *q, const struct request_set *set,
                                struct plan_kernels *out)
{
    struct look l = {.wanted = set, .arch = arch_find(q->gpu->arch)};
    l.rows = calloc(set->count + 1, sizeof *l.rows);
    const qrt_status status =
        l.rows ? look_up(&l) : error_set(QRT_E_MEMORY, "no memory for a plan");
    if (status == QRT_OK) count_stored(&l, q->rows, out);
    for (size_t i = 0; l.rows && i < set->count; i++) free(l.rows[i].ranges);
    free(l.rows);
    return status;
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

static qrt_status count_winners(const struct plan_kernels_query *q, const struct request_set *set,
                                struct plan_kernels *out)
{
    const struct shape_list shapes = shapes_of(q->model);
    const struct op_desc *desc = linear_of(set);
    struct winners w = {0};
    struct store *store;
    char ignored[256];
    if (!desc) return QRT_OK;
    TRY(store_open(NULL, &store));
    const qrt_status status = tuned_load(store_folder(store), &w, ignored);
    for (int s = 0; s < shapes.count && status == QRT_OK; s++)
        for (int b = 0; b < q->batch_count; b++)
            count_point(q, &w, desc, shapes.items[s], q->batches[b], out);
    winners_free(&w);
    store_close(store);
    return status;
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

qrt_status plan_kernels_count(const struct plan_kernels_query *q, struct plan_kernels *out)
{
    struct request_set set = {0};
    memset(out, 0, sizeof *out);
    qrt_status status = QRT_OK;
    if (!q->scheme->as_stored && collect(q, &set) == QRT_OK) {
        status = count_kernels(q, &set, out);
        if (status == QRT_OK) status = count_winners(q, &set, out);
        say_commands(q, out);
    }
    request_set_free(&set);
    return status;
}
