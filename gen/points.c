/* points.c -- linears to measure: what a command line asks for, at each of its weights and rows */
#include "points.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "model_cache.h"
#include "qm_file.h"

enum { MAX_ROWS = 256, MOST_ROWS = 1 << 20 };
#define DEFAULT_ROWS "1,2,4,8,16,32,64,256"

/* q and o, k and v, gate and up, down. */
static const struct shape default_shapes[] = {
    {4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}};

struct collecting {
    struct points *points;
    int rows[MAX_ROWS];
    size_t row_count;
};

static qrt_status add_row(void *user, const char *text)
{
    struct collecting *c = user;
    char *end;
    const long m = strtol(text, &end, 10);
    if (*end || m < 1 || m > MOST_ROWS)
        return error_set(QRT_E_ARGUMENT, "--m %s: a list of numbers from 1 to %d", text, MOST_ROWS);
    if (c->row_count == MAX_ROWS)
        return error_set(QRT_E_ARGUMENT, "--m: more than %d numbers", MAX_ROWS);
    c->rows[c->row_count++] = (int)m;
    return QRT_OK;
}

static qrt_status add_point(struct points *p, const struct tuner_point *point)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].N == point->N && p->items[i].K == point->K && p->items[i].M == point->M &&
            op_desc_equal(&p->items[i].desc, &point->desc))
            return QRT_OK;
    if (p->count == p->capacity) {
        const size_t capacity = p->capacity ? 2 * p->capacity : 64;
        struct tuner_point *items = realloc(p->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "no memory for %zu points", capacity);
        p->items = items;
        p->capacity = capacity;
    }
    p->items[p->count++] = *point;
    return QRT_OK;
}

static qrt_status add_weight(struct collecting *c, const struct op_desc *desc, int N, int K)
{
    for (size_t i = 0; i < c->row_count; i++) {
        const struct tuner_point point = {*desc, N, K, c->rows[i]};
        TRY(add_point(c->points, &point));
    }
    return QRT_OK;
}

static qrt_status add_shapes(struct collecting *c, const struct asked *asked)
{
    const size_t defaults = sizeof default_shapes / sizeof *default_shapes;
    const struct shape *shapes = asked->shape_count ? asked->shapes : default_shapes;
    const size_t count = asked->shape_count ? asked->shape_count : defaults;
    for (size_t r = 0; r < asked->set.count; r++)
        for (size_t s = 0; s < count && asked->set.items[r].desc.op == OP_LINEAR; s++)
            TRY(add_weight(c, &asked->set.items[r].desc, shapes[s].N, shapes[s].K));
    return QRT_OK;
}

/* ---- a model's own weights ---- */

/* Whether a request is for this linear of the program: its weight's scheme, and the type of what is
 * written: f32 into logits, the activations' own elsewhere. */
static int is_for(const struct request *r, const struct qrt_model *m, const struct qm_op *op)
{
    const int is_act = m->buffers[op->out].type == QM_ACT;
    const int writes_f32 = !is_act || r->arch->kind == ARCH_X86;
    return r->desc.op == OP_LINEAR && (r->desc.out == ELEM_F32) == writes_f32 &&
           scheme_equal(&r->desc.weight, &m->tensors[op->tensor].scheme);
}

static qrt_status add_program(struct collecting *c, const struct asked *asked,
                              const struct qrt_model *m)
{
    for (size_t i = 0; i < m->op_count; i++) {
        const struct qm_op *op = &m->ops[i];
        if (op->op != OP_LINEAR) continue;
        const struct qm_tensor *t = &m->tensors[op->tensor];
        for (size_t r = 0; r < asked->set.count; r++)
            if (is_for(&asked->set.items[r], m, op))
                TRY(add_weight(c, &asked->set.items[r].desc, (int)t->N, (int)t->K));
    }
    return QRT_OK;
}

static qrt_status add_model(struct collecting *c, const struct asked *asked, const char *file,
                            const struct arch *arch)
{
    char *path;
    qrt *rt;
    qrt_model *model;
    const struct pack_options how = {.families = 1u << arch->family};
    TRY(model_cache_get(file, &how, &path));
    qrt_status status = qrt_open(NULL, &rt);
    if (status == QRT_OK) {
        status = qrt_model_open(rt, path, &model);
        if (status == QRT_OK) {
            status = add_program(c, asked, model);
            qrt_model_close(model);
        }
        qrt_close(rt);
    }
    free(path);
    return status;
}

qrt_status points_collect(struct asked_options *options, const char *rows, const struct arch *arch,
                          struct points *out)
{
    struct asked asked;
    struct collecting c = {.points = out};
    *out = (struct points){.count = 0};
    options->archs = arch->name;
    const char *problem = asked_problem(options);
    if (problem) return error_set(QRT_E_ARGUMENT, "%s", problem);
    TRY(cli_list(rows ? rows : DEFAULT_ROWS, add_row, &c));
    TRY(asked_collect(options, 0, &asked));
    qrt_status status = options->model && asked.shape_count == 0
                            ? add_model(&c, &asked, options->model, arch)
                            : add_shapes(&c, &asked);
    asked_free(&asked);
    if (status == QRT_OK && out->count == 0)
        status = error_set(QRT_E_ARGUMENT, "there is no linear in what is asked for");
    if (status != QRT_OK) points_free(out);
    return status;
}

void points_free(struct points *p)
{
    free(p->items);
    *p = (struct points){.count = 0};
}
