/* coverage.c -- which of the kernels that a model needs are there, and the command that makes the rest */
#include "coverage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "request_set.h"
#include "store.h"

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

static qrt_status collect(const struct plan_model *m, const struct plan_scheme *s,
                          const struct gpu *gpu, int m_hi, struct request_set *set)
{
    size_t kept = 0;
    TRY(request_set_add_layer(set, arch_find(gpu->arch), &s->weight, act_option(gpu, s), 1, m_hi));
    for (size_t i = 0; i < set->count; i++)
        if (is_used(m, &set->items[i].desc)) set->items[kept++] = set->items[i];
    set->count = kept;
    return QRT_OK;
}

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

static void sum_up(const struct look *l, int m_hi, struct coverage *out)
{
    for (size_t i = 0; i < l->wanted->count; i++) {
        out->wanted++;
        if (holds_all(&l->rows[i], 1, m_hi))
            out->stored++;
        else if (out->missing_count < COVERAGE_MISSING_MOST)
            op_desc_name(&l->wanted->items[i].desc, out->missing[out->missing_count++]);
    }
}

qrt_status coverage_count(const struct plan_model *m, const struct plan_scheme *s,
                          const struct gpu *gpu, int m_hi, struct coverage *out)
{
    struct request_set set = {0};
    struct look l = {.wanted = &set, .arch = arch_find(gpu->arch)};
    char scheme[SCHEME_NAME_BYTES];
    memset(out, 0, sizeof *out);
    if (s->as_stored || collect(m, s, gpu, m_hi, &set) != QRT_OK) {
        request_set_free(&set);
        return QRT_OK;
    }
    l.rows = calloc(set.count + 1, sizeof *l.rows);
    qrt_status status = l.rows ? look_up(&l) : error_set(QRT_E_MEMORY, "no memory for a plan");
    if (status == QRT_OK) sum_up(&l, m_hi, out);
    scheme_name(&s->weight, scheme);
    const char *act = act_option(gpu, s);
    if (out->stored < out->wanted)
        snprintf(out->command, sizeof out->command, "qgen build --arch %s --scheme %s%s%s",
                 gpu->arch, scheme, act ? " --act " : "", act ? act : "");
    for (size_t i = 0; l.rows && i < set.count; i++) free(l.rows[i].ranges);
    free(l.rows);
    request_set_free(&set);
    return status;
}
