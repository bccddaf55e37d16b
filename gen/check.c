/* check.c -- whether a kernel computes what ref computes: the grid of cases, and the report */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_cases.h"
#include "error.h"

enum {
    MAX_ROWS = 32,        /* different M of a grid */
    ATTENTION_MOST = 150, /* rows of attention: ref's work grows with their square */
    MAX_FINDINGS = 3,     /* of a kernel, before its other cases are left out */
    SPLIT_TRIED = 3,      /* for kernels that leave the split to the runtime */
};

/* How far each effort goes. */
static const struct {
    int most_rows, most_single_rows; /* of ops that have tiles of rows, and of others */
    int64_t most_work;               /* multiply-adds of a case */
} efforts[] = {
    [CHECK_NORMAL] = {1033, 130, 8000000},
    [CHECK_QUICK] = {257, 33, 2600000},
};

struct checker {
    struct qrt_device *device;
    qrt_device *ref;
    enum check_effort effort;
    check_observer observer; /* or NULL */
    void *observer_user;
};

qrt_status check_open(struct qrt_device *device, enum check_effort effort, struct checker **out)
{
    struct checker *c = calloc(1, sizeof *c);
    if (!c) return error_set(QRT_E_MEMORY, "a checker of %zu bytes", sizeof *c);
    c->device = device;
    c->effort = effort;
    const qrt_status status = qrt_device_open(device->rt, "ref", &c->ref);
    if (status != QRT_OK) {
        free(c);
        return status;
    }
    *out = c;
    return QRT_OK;
}

void check_close(struct checker *c)
{
    if (!c) return;
    qrt_device_close(c->ref);
    free(c);
}

void check_observe(struct checker *c, check_observer observer, void *user)
{
    c->observer = observer;
    c->observer_user = user;
}

/* ---- the report ---- */

qrt_status check_report_add(struct check_report *r, const char *kernel, const char *where,
                            const char *text)
{
    struct check_finding *grown =
        realloc(r->findings, (r->finding_count + 1) * sizeof *r->findings);
    if (!grown) return error_set(QRT_E_MEMORY, "finding %zu of a check", r->finding_count + 1);
    r->findings = grown;
    struct check_finding *f = &r->findings[r->finding_count++];
    snprintf(f->kernel, sizeof f->kernel, "%s", kernel);
    snprintf(f->text, sizeof f->text, "%.80s: %.170s", where, text);
    return QRT_OK;
}

void check_report_free(struct check_report *r)
{
    free(r->findings);
    *r = (struct check_report){.checked = 0};
}

/* ---- the grid of a kernel ---- */

/* The M around the edges of tiles; fewer where a case is dear or rows do not share tiles. */
static const int linear_rows[] = {1,  2,  3,  4,  5,  6,  7,   8,   9,   15,  16, 17,
                                  31, 32, 33, 63, 64, 65, 127, 128, 129, 257, 0};
static const int attention_rows[] = {1, 2, 3, 4, 8, 9, 16, 17, 33, 65, 129, 0};
static const int single_rows[] = {1, 2, 3, 5, 8, 33, 100, 0};

/* Rows of a block, 0 where M is not cut into tiles. */
static int tile_rows(const struct entry_record *r)
{
    for (int i = 0; i < 3; i++)
        if (r->grid[i].dim == DIM_M) return (int)r->grid[i].div;
    return 0;
}

/* The M to try, ascending: both ends of the range, and what lies between.  In a hurry, two tiles of
 * rows and the first row of another: more of them show nothing else. */
static int rows_to_try(const struct entry_record *r, enum check_effort effort, int rows[MAX_ROWS])
{
    const int *edge = r->desc.op == OP_LINEAR      ? linear_rows
                      : r->desc.op == OP_ATTENTION ? attention_rows
                                                   : single_rows;
    const int most =
        edge == single_rows ? efforts[effort].most_single_rows : efforts[effort].most_rows;
    int hi = r->m_hi < most ? r->m_hi : most, count = 0;
    if (edge == attention_rows && hi > ATTENTION_MOST) hi = ATTENTION_MOST;
    if (effort == CHECK_QUICK && tile_rows(r) > 1 && hi > 2 * tile_rows(r) + 1)
        hi = 2 * tile_rows(r) + 1;
    if (hi < r->m_lo) hi = r->m_lo;
    rows[count++] = r->m_lo;
    for (; *edge; edge++)
        if (*edge > r->m_lo && *edge < hi) rows[count++] = *edge;
    if (hi > r->m_lo) rows[count++] = hi;
    return count;
}

/* The splits to try: the kernel's own, or whole and cut where the runtime chooses. */
static int splits_to_try(const struct entry_record *r, int splits[2])
{
    const int may_split = r->desc.op == OP_LINEAR || r->desc.op == OP_ATTENTION;
    splits[0] = r->split > 0 ? r->split : 1;
    splits[1] = SPLIT_TRIED;
    return may_split && r->split == 0 && strncmp(r->arch, "sm_", 3) == 0 ? 2 : 1;
}

/* What is being checked. */
struct run {
    struct checker *c;
    const struct kernel *k;
    struct check_report *report;
    char kernel[CHECK_KERNEL_BYTES];
    int findings;
};

static qrt_status add_finding(struct run *run, const struct trial *t, const char *text)
{
    run->findings++;
    return check_report_add(run->report, run->kernel, t->name, text);
}

/* Run a case into `t`; compare it with `before`, the same case with fewer rows, when that ran. */
static qrt_status run_case(struct run *run, const struct check_case *c, const struct trial *before,
                           struct trial *t)
{
    char text[CHECK_TEXT_BYTES] = "";
    int wrong = 0;
    const struct arch *arch = arch_find(run->k->record.arch);
    TRY(check_build(&run->k->record.desc, c, (enum layout_family)arch->family, t));
    TRY(trial_run(t, run->c->device, run->k, run->c->ref, &wrong, text));
    run->report->cases++;
    if (!wrong && before->buffer_count > 0) wrong = trial_rows_differ(before, t, text);
    if (wrong) TRY(add_finding(run, t, text));
    const struct checker *checker = run->c;
    const int seen =
        checker->observer && checker->observer(checker->observer_user, text, sizeof text);
    return seen ? add_finding(run, t, text) : QRT_OK;
}

/* All M of one shape, split and kind of input, each beside the one before. */
static qrt_status run_column(struct run *run, struct check_case c, const int *rows, int row_count)
{
    const int64_t most = efforts[run->c->effort].most_work;
    struct trial before = {.buffer_count = 0}, now;
    qrt_status status = QRT_OK;
    for (int i = 0; i < row_count && status == QRT_OK && run->findings < MAX_FINDINGS; i++) {
        c.M = rows[i];
        const int is_needed = c.shape == 0 && i == 0; /* something of every kernel is run */
        if (!is_needed && check_work(&run->k->record.desc, &c) > most) continue;
        status = run_case(run, &c, &before, &now);
        trial_free(&before);
        before = now;
    }
    trial_free(&before);
    return status;
}

static qrt_status run_grid(struct run *run)
{
    int rows[MAX_ROWS], splits[2];
    const struct entry_record *r = &run->k->record;
    const int row_count = rows_to_try(r, run->c->effort, rows);
    const int split_count = splits_to_try(r, splits);
    const int kinds = check_has_exact(&r->desc) ? 2 : 1, shapes = check_shape_count(&r->desc);
    for (int shape = 0; shape < shapes; shape++)
        for (int s = 0; s < split_count; s++)
            for (int exact = 0; exact < kinds && run->findings < MAX_FINDINGS; exact++) {
                const struct check_case c = {.shape = shape, .exact = exact, .split = splits[s]};
                TRY(run_column(run, c, rows, row_count));
            }
    return QRT_OK;
}

static void name_kernel(const struct entry_record *r, char name[CHECK_KERNEL_BYTES])
{
    char request[OP_NAME_BYTES];
    op_desc_name(&r->desc, request);
    snprintf(name, CHECK_KERNEL_BYTES, "%s m %d..%d %s [%.90s]", request, r->m_lo, r->m_hi, r->arch,
             r->tune);
}

qrt_status check_fail(struct check_report *report, const struct entry *e, const char *where,
                      const char *text)
{
    char kernel[CHECK_KERNEL_BYTES];
    name_kernel(&e->record, kernel);
    report->checked++;
    report->failed++;
    return check_report_add(report, kernel, where, text);
}

qrt_status check_entry(struct checker *c, const struct entry *e, struct check_report *report)
{
    struct kernel k = {.record = e->record};
    struct run run = {.c = c, .k = &k, .report = report};
    memcpy(k.key, e->key, sizeof k.key);
    name_kernel(&e->record, run.kernel);
    TRY(c->device->ops->load(c->device, e, &k));
    const qrt_status status = run_grid(&run);
    c->device->ops->unload(c->device, &k);
    report->checked++;
    report->failed += run.findings > 0;
    return status == QRT_OK ? status : error_context(status, "check of %s", run.kernel);
}
