/* asked.c -- the kernels that a command line asks for: options that several commands share */
#include "asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "model_cache.h"
#include "qm_file.h"
#include "target.h"

/* What the pieces of lists are added to. */
struct adding {
    const struct asked_options *options;
    struct asked *asked;
};

static qrt_status add_arch(void *user, const char *name)
{
    struct asked *a = ((struct adding *)user)->asked;
    const struct arch *arch;
    TRY(target_find(name, &arch));
    if (a->arch_count == ASKED_MAX_ARCHS)
        return error_set(QRT_E_ARGUMENT, "--arch: more than %d", ASKED_MAX_ARCHS);
    a->archs[a->arch_count++] = arch;
    return QRT_OK;
}

static qrt_status add_scheme(void *user, const char *name)
{
    const struct adding *to = user;
    struct asked *a = to->asked;
    struct scheme scheme;
    TRY(scheme_parse(name, &scheme));
    for (size_t i = 0; i < a->arch_count; i++)
        TRY(request_set_add_layer(&a->set, a->archs[i], &scheme, to->options->act, a->m_lo,
                                  a->m_hi));
    return QRT_OK;
}

static qrt_status add_request(void *user, const char *name)
{
    struct asked *a = ((struct adding *)user)->asked;
    struct op_desc desc;
    TRY(op_desc_parse(name, &desc));
    for (size_t i = 0; i < a->arch_count; i++)
        TRY(request_set_add(&a->set, a->archs[i], &desc, a->m_lo, a->m_hi));
    return QRT_OK;
}

static qrt_status parse_zero(const char *zero, enum zero_type *out)
{
    static const char *const names[ZERO_COUNT] = {"none", "int", "float"};
    *out = ZERO_NONE;
    for (int i = 0; zero && i < ZERO_COUNT; i++)
        if (strcmp(zero, names[i]) == 0) return *out = (enum zero_type)i, QRT_OK;
    return zero ? error_set(QRT_E_ARGUMENT, "--zero %s: none, int or float", zero) : QRT_OK;
}

static qrt_status add_bits(struct adding *to)
{
    const int bits = to->options->bits;
    enum zero_type zero_type;
    char name[SCHEME_NAME_BYTES];
    TRY(parse_zero(to->options->zero, &zero_type));
    if (bits < 2 || bits > 8)
        return error_set(QRT_E_SCHEME, "--bits %d: integer weights have 2 to 8 bits", bits);
    struct scheme scheme = {.code = CODE_INT,
                            .bits = (uint8_t)bits,
                            .zero = (uint8_t)zero_type,
                            .group = to->options->group};
    TRY(scheme_check(&scheme));
    scheme_name(&scheme, name);
    return add_scheme(to, name);
}

/* "7" or "1..4096" */
static qrt_status parse_rows(const char *rows, struct asked *a)
{
    char *end = NULL;
    a->m_lo = 1;
    a->m_hi = PIPELINE_M_MAX;
    if (!rows) return QRT_OK;
    const long lo = strtol(rows, &end, 10);
    const long hi = strncmp(end, "..", 2) == 0 ? strtol(end + 2, &end, 10) : lo;
    if (*end || end == rows || lo < 1 || hi < lo || hi > PIPELINE_M_MAX)
        return error_set(QRT_E_ARGUMENT, "--m %s: a number from 1 up, or a range like 1..4096",
                         rows);
    a->m_lo = (int)lo;
    a->m_hi = (int)hi;
    return QRT_OK;
}

static qrt_status add_shape(void *user, const char *text)
{
    struct asked *a = ((struct adding *)user)->asked;
    int N, K, used = 0;
    if (sscanf(text, "%9dx%9d%n", &N, &K, &used) != 2 || text[used] || N < 1 || K < 1)
        return error_set(QRT_E_ARGUMENT, "--shape %s: outputs x inputs, like 4096x11008", text);
    if (a->shape_count == ASKED_MAX_SHAPES)
        return error_set(QRT_E_ARGUMENT, "--shape: more than %d", ASKED_MAX_SHAPES);
    a->shapes[a->shape_count++] = (struct shape){N, K};
    return QRT_OK;
}

/* Linears are chosen for the shapes that they have; what finds no place goes by the row for any. */
static void note_shapes(struct asked *a, const qrt_model *m)
{
    for (size_t i = 0; i < m->op_count; i++) {
        if (m->ops[i].op != OP_LINEAR || a->shape_count == ASKED_MAX_SHAPES) continue;
        const struct qm_tensor *t = &m->tensors[m->ops[i].tensor];
        const struct shape shape = {(int)t->N, (int)t->K};
        size_t known = 0;
        while (known < a->shape_count && memcmp(&a->shapes[known], &shape, sizeof shape) != 0)
            known++;
        if (known == a->shape_count) a->shapes[a->shape_count++] = shape;
    }
}

static qrt_status add_model_shapes(struct asked *a, const char *path)
{
    qrt *rt;
    qrt_model *model;
    TRY(qrt_open(NULL, &rt));
    const qrt_status status = qrt_model_open(rt, path, &model);
    if (status == QRT_OK) {
        note_shapes(a, model);
        qrt_model_close(model);
    }
    qrt_close(rt);
    return status;
}

static qrt_status add_model(const struct adding *to, int threads)
{
    const struct asked_options *o = to->options;
    struct asked *a = to->asked;
    char *path;
    unsigned families = 0;
    for (size_t i = 0; i < a->arch_count; i++) families |= 1u << a->archs[i]->family;
    const struct pack_options how = {.families = families, .threads = threads};
    TRY(model_cache_get(o->model, &how, &path));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < a->arch_count && status == QRT_OK; i++)
        status = request_set_add_model(&a->set, a->archs[i], path, o->act, a->m_lo, a->m_hi);
    if (status == QRT_OK && !o->shapes) status = add_model_shapes(a, path);
    free(path);
    return status;
}

static qrt_status collect(struct adding *to, int threads)
{
    const struct asked_options *o = to->options;
    TRY(parse_rows(o->rows, to->asked));
    if (o->shapes) TRY(cli_list(o->shapes, add_shape, to));
    TRY(cli_list(o->archs, add_arch, to));
    if (o->model) return add_model(to, threads);
    if (o->requests) return cli_list(o->requests, add_request, to);
    if (o->schemes) return cli_list(o->schemes, add_scheme, to);
    return add_bits(to);
}

qrt_status asked_collect(const struct asked_options *options, int threads, struct asked *out)
{
    struct asked asked = {.gpu = options->gpu, .gpus = options->gpus};
    struct adding to = {options, &asked};
    const qrt_status status = collect(&to, threads);
    if (status == QRT_OK)
        *out = asked;
    else
        asked_free(&asked);
    return status;
}

void asked_free(struct asked *asked) { request_set_free(&asked->set); }

const char *asked_what_problem(const struct asked_options *o)
{
    const int ways = (o->bits != 0 || o->group != 0) + (o->schemes != NULL) + (o->model != NULL) +
                     (o->requests != NULL);
    if (ways == 0) return "what to generate is missing: --bits and --group, --scheme, or --model";
    if (ways > 1) return "--bits and --group, --scheme, --model and --request exclude each other";
    if (o->bits != 0 && o->group == 0) return "--group is missing: 32, 64, 128 .. or -1";
    if (o->group != 0 && o->bits == 0) return "--bits is missing: 2 to 8";
    if (o->zero && o->bits == 0) return "--zero goes with --bits; a scheme's name says its zero";
    return NULL;
}

const char *asked_problem(const struct asked_options *o)
{
    return o->archs ? asked_what_problem(o) : "--arch is missing: sm_89, native, ..";
}

/* ---- making them ---- */

/* Two bars: of the rankings, one after the other, and of the kernels that are made in the end. */
struct show {
    const struct cli *cli;
    struct cli_progress making, ranking;
};

static void show_making(void *user, size_t done, size_t total)
{
    struct show *show = user;
    show->making.total = (double)total;
    cli_progress_update(&show->making, (double)done);
}

static void show_ranking(void *user, size_t done, size_t total)
{
    struct show *show = user;
    if (done == 0)
        cli_progress_start(&show->ranking, show->cli, "rank", "candidates", (double)total);
    cli_progress_update(&show->ranking, (double)done);
    if (done == total) cli_progress_end(&show->ranking);
}

qrt_status asked_make(const struct asked *asked, const struct pipeline_options *how,
                      const struct cli *cli, const char *what, struct pipeline_result *out)
{
    struct show show = {.cli = cli};
    struct pipeline_options options = *how;
    struct pipeline *p;
    options.shapes = asked->shapes;
    options.shape_count = asked->shape_count;
    options.gpu = asked->gpu;
    options.gpus = asked->gpus;
    options.progress = show_making;
    options.ranking = show_ranking;
    options.user = &show;
    TRY(pipeline_open(&options, &p));
    cli_progress_start(&show.making, cli, what, "kernels", 0);
    const qrt_status status = pipeline_make(p, asked->set.items, asked->set.count, out);
    cli_progress_end(&show.making);
    pipeline_close(p);
    return status;
}
