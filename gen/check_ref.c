/* check_ref.c -- whether ref and the layouts agree with sums over unpacked weights */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "check_weight.h"
#include "error.h"
#include "trial.h"

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
    static const int shapes[][2] = {{1, 32}, {17, 200}, {33, 576}, {20, 37}, {16, 1}};
    int findings = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int exact = 0; exact <= check_weight_has_exact(s); exact++) {
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
            if (status == QRT_OK && wrong) status = check_report_add(report, kernel, where, text);
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
