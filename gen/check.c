/* check.c -- whether a kernel computes what ref computes: the grid of cases, and the report */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_cases.h"
#include "check_weight.h"
#include "error.h"

enum {
    MAX_ROWS = 16,        /* different M of a grid */
    MANY_ROWS = 40,       /* more are run on the first two shapes only: ref is slow */
    ATTENTION_MOST = 150, /* rows of attention and rope: ref's work grows with their square */
    MAX_FINDINGS = 3,     /* of a kernel, before its other cases are left out */
    SPLIT_TRIED = 3,      /* for kernels that leave the split to the runtime */
};

struct checker {
    struct qrt_device *device;
    qrt_device *ref;
    check_observer observer; /* or NULL */
    void *observer_user;
};

qrt_status check_open(struct qrt_device *device, struct checker **out)
{
    struct checker *c = calloc(1, sizeof *c);
    if (!c) return error_set(QRT_E_MEMORY, "a checker of %zu bytes", sizeof *c);
    c->device = device;
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

static qrt_status add_finding(struct check_report *r, const char *kernel, const char *where,
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

/* The M to try: both ends of the range, and what lies around the edges of common tiles. */
static int rows_to_try(const struct entry_record *r, int rows[MAX_ROWS])
{
    static const int edges[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 129};
    const int quadratic = r->desc.op == OP_ATTENTION || r->desc.op == OP_ROPE;
    int hi = r->m_hi < 4096 ? r->m_hi : 4096, count = 0;
    if (quadratic && hi > ATTENTION_MOST) hi = ATTENTION_MOST;
    if (hi < r->m_lo) hi = r->m_lo;
    rows[count++] = r->m_lo;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        if (edges[i] > r->m_lo && edges[i] < hi) rows[count++] = edges[i];
    if (hi > r->m_lo) rows[count++] = hi;
    return count;
}

/* The splits to try: the kernel's own, or whole and cut where the runtime chooses. */
static int splits_to_try(const struct entry_record *r, int splits[2])
{
    splits[0] = r->split > 0 ? r->split : 1;
    splits[1] = SPLIT_TRIED;
    return r->desc.op == OP_LINEAR && r->split == 0 && strncmp(r->arch, "sm_", 3) == 0 ? 2 : 1;
}

/* What is being checked. */
struct run {
    struct checker *c;
    const struct kernel *k;
    struct check_report *report;
    char kernel[CHECK_KERNEL_BYTES];
    int findings;
};

static qrt_status add_to_run(struct run *run, const char *where, const char *text)
{
    run->findings++;
    return add_finding(run->report, run->kernel, where, text);
}

static qrt_status run_case(struct run *run, const struct check_case *c)
{
    struct trial t;
    char text[CHECK_TEXT_BYTES] = "";
    int wrong = 0;
    const struct arch *arch = arch_find(run->k->record.arch);
    qrt_status status = check_build(&run->k->record.desc, c, (enum layout_family)arch->family, &t);
    if (status == QRT_OK) status = trial_run(&t, run->c->device, run->k, run->c->ref, &wrong, text);
    run->report->cases++;
    if (status == QRT_OK && wrong) status = add_to_run(run, t.name, text);
    const struct checker *checker = run->c;
    if (status == QRT_OK && checker->observer &&
        checker->observer(checker->observer_user, text, sizeof text))
        status = add_to_run(run, t.name, text);
    trial_free(&t);
    return status;
}

static qrt_status run_shape(struct run *run, int shape, int M)
{
    int splits[2];
    const int split_count = splits_to_try(&run->k->record, splits);
    const int kinds = check_has_exact(&run->k->record.desc) ? 2 : 1;
    for (int s = 0; s < split_count; s++)
        for (int exact = 0; exact < kinds && run->findings < MAX_FINDINGS; exact++) {
            const struct check_case c = {.M = M,
                                         .shape = shape,
                                         .exact = exact,
                                         .split = splits[s],
                                         .seed =
                                             (uint64_t)(shape * 8192 + M) * 2 + (uint64_t)exact};
            TRY(run_case(run, &c));
        }
    return QRT_OK;
}

static qrt_status run_grid(struct run *run)
{
    int rows[MAX_ROWS];
    const int row_count = rows_to_try(&run->k->record, rows);
    const int shapes = check_shape_count(&run->k->record.desc);
    for (int shape = 0; shape < shapes; shape++)
        for (int i = 0; i < row_count; i++) {
            if (shape > 1 && i > 0 && rows[i] > MANY_ROWS) continue;
            TRY(run_shape(run, shape, rows[i]));
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
    return add_finding(report, kernel, where, text);
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

/* ---- ref and the layouts against unpacked weights ---- */

/* A weight in the sections of one family. */
struct packed_weight {
    struct check_weight plain;
    struct qk_weight w;
    void *section[SECTION_COUNT];
};

static void free_weight(struct packed_weight *p)
{
    for (int i = 0; i < SECTION_COUNT; i++) free(p->section[i]);
    check_weight_free(&p->plain);
}

static qrt_status make_weight(enum layout_family family, const struct scheme *s, int N, int K,
                              int exact, struct packed_weight *p)
{
    size_t bytes[SECTION_COUNT];
    memset(p, 0, sizeof *p);
    TRY(layout_bytes(family, s, N, K, bytes));
    TRY(check_weight_make(s, N, K, exact, (uint64_t)(N * 8192 + K), &p->plain));
    for (int i = 0; i < SECTION_COUNT; i++) {
        p->section[i] = calloc(1, bytes[i] + 1);
        if (p->section[i]) continue;
        free_weight(p);
        return error_set(QRT_E_MEMORY, "a section of %zu bytes for checks", bytes[i]);
    }
    check_weight_pack(&p->plain, family, p->section);
    p->w = (struct qk_weight){.codes = p->section[SECTION_CODES],
                              .scales = p->section[SECTION_SCALES],
                              .zeros = p->section[SECTION_ZEROS],
                              .supers = p->section[SECTION_SUPERS],
                              .N = N,
                              .K = K,
                              .G = scheme_groups(s, K),
                              .family = (int)family};
    return QRT_OK;
}

/* One output of a comparison: exact inputs must agree in every bit. */
static int differs(const char *op, int exact, int m, int n, double got, double want, double size,
                   char text[CHECK_TEXT_BYTES])
{
    if (exact ? got == want : fabs(got - want) <= 1e-6 * size) return 0;
    snprintf(text, CHECK_TEXT_BYTES, "%s value (%d, %d) is %.9g, the unpacked weights give %.9g",
             op, m, n, got, want);
    return 1;
}

enum { REF_ROWS = 3 };

static qrt_status compare_linear(struct qrt_device *ref, const struct packed_weight *p, int exact,
                                 int *wrong, char text[CHECK_TEXT_BYTES])
{
    const int N = p->w.N, K = p->w.K;
    float *x = malloc((size_t)(REF_ROWS * K) * sizeof *x);
    float *y = malloc((size_t)(REF_ROWS * N) * sizeof *y);
    if (!x || !y) {
        free(x);
        free(y);
        return error_set(QRT_E_MEMORY, "activations of a check");
    }
    uint64_t random = (uint64_t)K;
    for (int i = 0; i < REF_ROWS * K; i++)
        x[i] = exact ? (float)check_int(&random, -2, 2) : check_unit(&random);
    const struct op_desc desc = {.op = OP_LINEAR, .weight = p->plain.scheme};
    const union op_args args = {
        .linear = {.w = p->w, .x = x, .y = y, .ldx = K, .ldy = N, .M = REF_ROWS, .split = 1}};
    const qrt_status status = ref->ops->launch(ref, NULL, &desc, &args);
    for (int m = 0; status == QRT_OK && m < REF_ROWS; m++)
        for (int n = 0; n < N && !*wrong; n++) {
            double sum = 0, size = 0;
            for (int k = 0; k < K; k++) {
                const double product = check_weight_at(&p->plain, n, k) * x[m * K + k];
                sum += product;
                size += fabs(product);
            }
            *wrong = differs("linear", exact, m, n, y[m * N + n], sum, size, text);
        }
    free(x);
    free(y);
    return status;
}

static qrt_status compare_embed(struct qrt_device *ref, const struct packed_weight *p, int exact,
                                int *wrong, char text[CHECK_TEXT_BYTES])
{
    const int N = p->w.N, K = p->w.K;
    float *y = malloc((size_t)K * sizeof *y);
    if (!y) return error_set(QRT_E_MEMORY, "a row of a check");
    qrt_status status = QRT_OK;
    const struct op_desc desc = {.op = OP_EMBED, .weight = p->plain.scheme};
    for (int n = 0; n < N && status == QRT_OK && !*wrong; n++) {
        const union op_args args = {
            .embed = {.w = p->w, .id = &n, .y = y, .ldy = K, .scale = 1, .M = 1}};
        status = ref->ops->launch(ref, NULL, &desc, &args);
        for (int k = 0; k < K && !*wrong; k++) {
            const double want = check_weight_at(&p->plain, n, k);
            *wrong = differs("embed", exact, n, k, y[k], want, 1, text);
        }
    }
    free(y);
    return status;
}

static qrt_status check_family(struct qrt_device *ref, const struct scheme *s,
                               enum layout_family family, const char *kernel,
                               struct check_report *report)
{
    static const int shapes[][2] = {{1, 32}, {17, 200}, {33, 576}, {20, 37}};
    int findings = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int exact = 0; exact < 2; exact++) {
            const int K = s->scale == SCALE_TWO_LEVEL && !scheme_is_dense(s)
                              ? SUPER_GROUP * (int)(i + 1)
                              : shapes[i][1];
            struct packed_weight p;
            char text[CHECK_TEXT_BYTES] = "", where[TRIAL_CASE_BYTES];
            int wrong = 0;
            TRY(make_weight(family, s, shapes[i][0], K, exact, &p));
            qrt_status status = compare_linear(ref, &p, exact, &wrong, text);
            if (status == QRT_OK && !wrong) status = compare_embed(ref, &p, exact, &wrong, text);
            free_weight(&p);
            snprintf(where, sizeof where, "N=%d K=%d %s", shapes[i][0], K,
                     exact ? "exact" : "random");
            if (status == QRT_OK && wrong) status = add_finding(report, kernel, where, text);
            TRY(status);
            findings += wrong;
            report->cases += 2;
        }
    report->checked++;
    report->failed += findings > 0;
    return QRT_OK;
}

qrt_status check_ref(struct qrt_device *ref, const struct scheme *s, struct check_report *report)
{
    static const char *const families[FAMILY_COUNT] = {"x86", "mma"};
    char name[SCHEME_NAME_BYTES], kernel[CHECK_KERNEL_BYTES];
    scheme_name(s, name);
    for (int f = 0; f < FAMILY_COUNT; f++) {
        if (f == FAMILY_MMA && s->code == CODE_F32) continue; /* has no such layout */
        snprintf(kernel, sizeof kernel, "ref %s layout %s", name, families[f]);
        TRY(check_family(ref, s, (enum layout_family)f, kernel, report));
    }
    return QRT_OK;
}
