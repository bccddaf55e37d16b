/* cmd_bench.c -- qgen bench: speeds measured on a device, each beside the ceiling of the same run */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ceiling.h"
#include "cli.h"
#include "engine.h"
#include "error.h"
#include "host.h"
#include "measure.h"
#include "points.h"
#include "qm_file.h"

static struct asked_options asked;
static const char *device_name, *driver, *row_list, *templates, *gpus, *model;
static int flush, jobs, context = 512;
static double budget_s = 0.5;
static const struct cli_option options[] = {
    {"device", 'd', CLI_STRING, &device_name, "D", "where to measure: cpu (default), cuda:N", 0, 0},
    {"model", 0, CLI_STRING, &model, "F",
     "a whole model instead of single linears: tokens per second", 0, 0},
    POINTS_OPTIONS(asked, row_list),
    {"flush", 0, CLI_FLAG, &flush, NULL,
     "clear the caches before every launch, instead of going round\nmore weights than they hold", 0,
     0},
    {"context", 0, CLI_INT, &context, "N", "--model: tokens of the prompt (512)", 2, 1 << 20},
    {"seconds", 0, CLI_FLOAT, &budget_s, "S", "for each line (0.5)", 0, 0},
    {"gpus", 0, CLI_STRING, &gpus, "FILE", "a table of GPUs instead of the program's", 0, 0},
    {"jobs", 'j', CLI_INT, &jobs, "J", "compilers at a time (one per processor)", 1, 64},
    {"templates", 0, CLI_STRING, &templates, "DIR", "templates of your own: DIR/cuda, DIR/x86", 0,
     0},
    {"driver", 0, CLI_STRING, &driver, "FILE", "another driver than libcuda.so.1", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "bench [--device cpu|cuda:N] (--bits B --group G | --scheme S[,S] | --request R[,R] | "
             "--model F) [--shape NxK[,..]] [--m 1,8]",
    .about =
        "Times the kernels that a build gives, winners of this device included, and puts each\n"
        "beside what the device could do at best: the bytes that have to move over the bandwidth,\n"
        "or the operations over the rate, whichever takes longer.  Bandwidth is measured in the\n"
        "same run, and on a CPU the rates too; a GPU's rates are its datasheet's.  With --model\n"
        "the time of a token and of a prompt stand beside the time that reading the weights takes.",
    .examples = "  qgen bench --scheme w4g128 --m 1,8,64           Llama-3-8B's weights, here\n"
                "  qgen bench --device cuda:0 --bits 4 --group 128 --format json\n"
                "  qgen bench --model m.qm",
    .options = options,
};

enum { DECODED = 32, WARM = 4, PROMPTS = 16, TEXT_BYTES = 96 };

/* One line of the result. */
struct row {
    char what[16], request[OP_NAME_BYTES], kernel[TEXT_BYTES];
    int N, K, M, is_model;
    struct noise times; /* seconds of a launch, of a step */
    double bytes, ops;
    enum ceiling_unit unit;
    double floor;  /* seconds */
    int is_memory; /* what it is made of */
};

struct bench {
    struct cli cli;
    qrt *rt;
    qrt_device *device;
    struct ceiling ceiling;
    struct row *rows;
    size_t count;
    struct cli_progress progress;
};

/* ---- results ---- */

static json_t *row_json(const struct row *r)
{
    const double median = r->times.median;
    const double ceiling = r->floor > 0 ? (r->is_memory ? r->bytes : r->ops) / r->floor : 0;
    return json_pack("{ss ss ss si si si sf sf sf sI sf sf sf sf sf sf ss}", "what", r->what,
                     "request", r->request, "kernel", r->kernel, "n", r->N, "k", r->K, "m", r->M,
                     "median", median, "low", r->times.low, "high", r->times.high, "repeats",
                     (json_int_t)r->times.count, "bytes", r->bytes, "ops", r->ops, "bytes_per_s",
                     r->bytes / median, "ops_per_s", r->ops / median, "ceiling", ceiling, "ratio",
                     r->floor / median, "bound", r->is_memory ? "memory" : "compute");
}

static void print_json(const struct bench *b)
{
    static const char *const units[CEILING_UNITS] = {"f32", "f16", "i8", "f8"};
    json_t *rows = json_array(), *rates = json_object();
    const qrt_device_info *info = &b->device->info;
    for (size_t i = 0; i < b->count; i++) json_array_append_new(rows, row_json(&b->rows[i]));
    for (int u = 0; u < CEILING_UNITS; u++)
        if (b->ceiling.ops_s[u] > 0)
            json_object_set_new(rates, units[u], json_real(b->ceiling.ops_s[u]));
    cli_json(json_pack("{s{ss ss si} s{sf so ss ss} ss so}", "device", "name", info->name, "arch",
                       info->arch, "processors", info->processors, "ceilings", "bytes_per_s",
                       b->ceiling.bytes_s, "ops_per_s", rates, "memory_source",
                       b->ceiling.memory_source, "ops_source", b->ceiling.ops_source, "version",
                       QGEN_VERSION, "rows", rows),
             "qgen.bench/1");
}

static void print_row(const struct row *r)
{
    char weight[32] = "-";
    if (r->N) snprintf(weight, sizeof weight, "%dx%d", r->N, r->K);
    printf("%-28s  %-12s  %5d  %10.2f us %5.1f %%  %7.1f  %8.1f  %5.1f %%  %-7s  %s\n", r->request,
           weight, r->M, r->times.median * 1e6, 100 * r->times.spread / r->times.median,
           r->bytes / r->times.median * 1e-9, r->ops / r->times.median * 1e-9,
           100 * r->floor / r->times.median, r->is_memory ? "memory" : "compute", r->kernel);
}

static void print_table(const struct bench *b)
{
    const struct ceiling *c = &b->ceiling;
    printf("%s, %s, %d processors; memory %.1f GB/s (%s)\n", b->device->info.name,
           b->device->info.arch, b->device->info.processors, c->bytes_s * 1e-9, c->memory_source);
    printf("Gop/s: f32 %.0f, f16 %.0f, int8 %.0f, fp8 %.0f (%s; 0: not known)\n",
           c->ops_s[CEILING_F32] * 1e-9, c->ops_s[CEILING_F16] * 1e-9, c->ops_s[CEILING_I8] * 1e-9,
           c->ops_s[CEILING_F8] * 1e-9, c->ops_source);
    printf("%-28s  %-12s  %5s  %13s %7s  %7s  %8s  %7s  %-7s  %s\n", "what", "weight", "M", "time",
           "spread", "GB/s", "Gop/s", "ceiling", "bound", "kernel");
    for (size_t i = 0; i < b->count; i++) print_row(&b->rows[i]);
}

static qrt_status new_row(struct bench *b, struct row **out)
{
    struct row *rows = realloc(b->rows, (b->count + 1) * sizeof *rows);
    if (!rows) return error_set(QRT_E_MEMORY, "no memory for %zu lines", b->count + 1);
    b->rows = rows;
    *out = memset(&rows[b->count++], 0, sizeof **out);
    return QRT_OK;
}

/* Once more, because a busy machine gives ceilings that are too low: the higher ones count.  Then the
 * floors follow. */
static qrt_status finish(struct bench *b)
{
    struct ceiling after;
    TRY(ceiling_measure(b->device, gpus, &after));
    ceiling_raise(&b->ceiling, &after);
    for (size_t i = 0; i < b->count; i++) {
        struct row *r = &b->rows[i];
        r->floor = ceiling_floor(&b->ceiling, r->unit, r->bytes, r->ops, &r->is_memory);
        if (r->is_model)
            snprintf(r->kernel, sizeof r->kernel, "%.1f tokens/s, at best %.1f",
                     r->M / r->times.median, r->floor > 0 ? r->M / r->floor : 0);
    }
    return QRT_OK;
}

/* ---- linears ---- */

/* A kernel of the pipeline on the device; what adds up its parts. */
struct loaded {
    struct kernel kernel, reduce;
    int has_reduce;
};

static qrt_status load(struct qrt_device *d, const struct pipeline_kernel *from, struct kernel *k)
{
    *k = (struct kernel){.record = from->entry.record};
    return d->ops->load(d, &from->entry, k);
}

static qrt_status load_pair(struct qrt_device *d, const struct pipeline_result *made, size_t kernel,
                            struct loaded *l)
{
    *l = (struct loaded){.has_reduce = 0};
    for (size_t k = 0; k < made->count && !l->has_reduce; k++) {
        const struct op_desc *desc = &made->kernels[k].entry.record.desc;
        if (desc->op != OP_REDUCE || desc->out != made->kernels[kernel].entry.record.desc.out)
            continue;
        TRY(load(d, &made->kernels[k], &l->reduce));
        l->has_reduce = 1;
    }
    return load(d, &made->kernels[kernel], &l->kernel);
}

static void unload_pair(struct qrt_device *d, struct loaded *l)
{
    if (l->kernel.module) d->ops->unload(d, &l->kernel);
    if (l->has_reduce) d->ops->unload(d, &l->reduce);
}

static qrt_status run_linear(struct bench *b, const struct tuner_point *p, const struct loaded *l,
                             struct row *row)
{
    const struct measure_problem problem = {p->desc, p->N, p->K, p->M};
    const struct measure_options how = {.budget_s = budget_s, .flush = flush};
    const struct measure_subject subject = {&l->kernel, l->has_reduce ? &l->reduce : NULL};
    struct measure_times times;
    char text[CHECK_TEXT_BYTES] = "";
    struct measure *m;
    int wrong;
    TRY(measure_open(b->device, &problem, &how, &m));
    qrt_status status = measure_run(m, &subject, NULL, &times, &wrong, text);
    if (status == QRT_OK && wrong)
        status = error_set(QRT_E_CHECK, "%s is wrong: %s", row->request, text);
    row->times = times.own;
    row->bytes = measure_bytes(m);
    row->ops = measure_ops(m);
    row->unit = ceiling_unit_of(&p->desc);
    measure_close(m);
    return status;
}

static qrt_status bench_point(struct bench *b, const struct pipeline_result *made,
                              const struct tuner_point *p)
{
    struct row *row;
    struct loaded loaded;
    const size_t kernel = tuner_choice(made, p);
    TRY(new_row(b, &row));
    snprintf(row->what, sizeof row->what, "linear");
    op_desc_name(&p->desc, row->request);
    row->N = p->N;
    row->K = p->K;
    row->M = p->M;
    if (kernel == made->count)
        return error_set(QRT_E_KERNEL, "%s: no kernel for %d rows", row->request, p->M);
    const struct entry_record *record = &made->kernels[kernel].entry.record;
    snprintf(row->kernel, sizeof row->kernel, "%.40s %.50s", record->template_, record->tune);
    qrt_status status = load_pair(b->device, made, kernel, &loaded);
    if (status == QRT_OK) status = run_linear(b, p, &loaded, row);
    unload_pair(b->device, &loaded);
    return status;
}

/* All linears' requests, and on a GPU those that add up parts. */
static qrt_status collect_requests(const struct points *points, const struct arch *arch,
                                   struct request_set *set)
{
    for (size_t i = 0; i < points->count; i++) {
        const struct op_desc *desc = &points->items[i].desc;
        char name[OP_NAME_BYTES];
        struct op_desc reduce;
        TRY(request_set_add(set, arch, desc, 1, PIPELINE_M_MAX));
        if (arch->kind != ARCH_SM) continue;
        snprintf(name, sizeof name, "reduce.%s", elem_name((enum elem_type)desc->out));
        TRY(op_desc_parse(name, &reduce));
        TRY(request_set_add(set, arch, &reduce, 1, PIPELINE_M_MAX));
    }
    return QRT_OK;
}

static void show_compiled(void *user, size_t done, size_t total)
{
    struct bench *b = user;
    b->progress.total = (double)total;
    cli_progress_update(&b->progress, (double)done);
}

static qrt_status make_kernels(struct bench *b, const struct points *points,
                               struct pipeline_result *made)
{
    char winners_name[WINNER_DEVICE_BYTES];
    struct request_set set = {0};
    struct pipeline *p;
    winners_device_name(b->device->info.name, winners_name);
    const struct pipeline_options how = {.templates = templates,
                                         .jobs = jobs,
                                         .device = winners_name,
                                         .progress = show_compiled,
                                         .user = b};
    TRY(pipeline_open(&how, &p));
    cli_progress_start(&b->progress, &b->cli, "compile", "kernels", 0);
    qrt_status status = collect_requests(points, &b->device->arch, &set);
    if (status == QRT_OK) status = pipeline_make(p, set.items, set.count, made);
    cli_progress_end(&b->progress);
    request_set_free(&set);
    pipeline_close(p);
    return status;
}

static qrt_status bench_points(struct bench *b, const struct points *points)
{
    struct pipeline_result made;
    TRY(make_kernels(b, points, &made));
    cli_progress_start(&b->progress, &b->cli, "bench", "linears", (double)points->count);
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < points->count && status == QRT_OK; i++) {
        status = bench_point(b, &made, &points->items[i]);
        cli_progress_update(&b->progress, (double)(i + 1));
    }
    cli_progress_end(&b->progress);
    pipeline_result_free(&made);
    return status;
}

static qrt_status bench_linears(struct bench *b)
{
    struct points points;
    const qrt_options how = {.size = sizeof how, .cuda_library = driver};
    TRY(qrt_open(&how, &b->rt));
    TRY(qrt_device_open(b->rt, device_name ? device_name : "cpu", &b->device));
    if (!b->device->arch.name[0]) return error_set(QRT_E_DEVICE, "%s runs no kernels", device_name);
    TRY(points_collect(&asked, row_list, &b->device->arch, &points));
    qrt_status status = ceiling_measure(b->device, gpus, &b->ceiling);
    if (status == QRT_OK) status = bench_points(b, &points);
    points_free(&points);
    return status;
}

/* ---- a model ---- */

/* Bytes of the weights that a token has to read, and multiply-adds of all of them. */
static void weigh(const struct qrt_model *m, enum layout_family family, double *bytes, double *macs)
{
    *bytes = *macs = 0;
    for (size_t i = 0; i < m->op_count; i++) {
        if (m->ops[i].op != OP_LINEAR) continue;
        const struct qm_tensor *t = &m->tensors[m->ops[i].tensor];
        for (int s = 0; s < SECTION_COUNT; s++) *bytes += (double)t->section[family][s].bytes;
        *macs += (double)t->N * (double)t->K;
    }
}

static qrt_status time_steps(qrt_session *s, int count, double *seconds)
{
    const qrt_sampling greedy = {0};
    int id = 1;
    for (int i = 0; i < count; i++) {
        const double start = host_seconds();
        TRY(qrt_step(s, id, &greedy, &id));
        seconds[i] = host_seconds() - start;
    }
    return QRT_OK;
}

static qrt_status time_prompts(qrt_session *s, const int *ids, int count, double *seconds,
                               size_t *repeats, size_t most)
{
    const double end = host_seconds() + budget_s;
    for (*repeats = 0; *repeats < 2 || (*repeats < most && host_seconds() < end); ++*repeats) {
        TRY(qrt_rewind(s, 0));
        const double start = host_seconds();
        TRY(qrt_run(s, ids, (size_t)count, NULL, 0));
        seconds[*repeats] = host_seconds() - start;
    }
    return QRT_OK;
}

static qrt_status add_model_row(struct bench *b, const struct qrt_model *m, const char *what,
                                int rows, double *seconds, size_t count)
{
    struct row *row;
    double macs;
    TRY(new_row(b, &row));
    snprintf(row->what, sizeof row->what, "%s", what);
    snprintf(row->request, sizeof row->request, "%s", what);
    row->M = rows;
    row->times = noise_of(seconds, count);
    weigh(m, b->device->family, &row->bytes, &macs);
    row->ops = 2 * macs * rows;
    row->unit = b->device->arch.kind == ARCH_SM ? CEILING_F16 : CEILING_I8;
    row->is_model = 1;
    return QRT_OK;
}

static qrt_status bench_session(struct bench *b, const struct engine *e, qrt_session *s,
                                const int *ids)
{
    double seconds[DECODED]; /* as many as prompts, at least */
    size_t repeats;
    TRY(time_prompts(s, ids, context, seconds, &repeats, PROMPTS));
    TRY(add_model_row(b, e->model, "prefill", context, seconds, repeats));
    TRY(time_steps(s, WARM, seconds));
    TRY(time_steps(s, DECODED, seconds));
    return add_model_row(b, e->model, "decode", 1, seconds, DECODED);
}

static qrt_status bench_model(struct bench *b, struct engine *e)
{
    qrt_session *session;
    const struct engine_options how = {
        .model = model, .device = device_name, .cli = &b->cli, .max_m = context};
    TRY(engine_open(&how, e));
    b->device = e->device;
    TRY(ceiling_measure(b->device, gpus, &b->ceiling));
    int *ids = malloc((size_t)context * sizeof *ids);
    if (!ids) return error_set(QRT_E_MEMORY, "%d token ids", context);
    for (int i = 0; i < context; i++) ids[i] = i * 7 % e->model_info.vocab;
    qrt_status status = engine_session(e, context + WARM + DECODED, &session);
    if (status == QRT_OK) {
        status = bench_session(b, e, session, ids);
        qrt_session_close(session);
    }
    free(ids);
    return status;
}

int cmd_bench(int argc, char **argv)
{
    struct bench b = {.rt = NULL};
    struct engine e = {0};
    const int stop = cli_parse(&spec, argc, argv, &b.cli);
    if (stop) return stop - 1;
    asked.archs = "native"; /* the device says which; here only the rest is looked at */
    const char *problem = model ? NULL : asked_problem(&asked);
    if (problem) return cli_usage(&spec, "%s", problem);
    if (model && driver) return cli_usage(&spec, "--driver goes with linears, not with --model");
    qrt_status status = model ? bench_model(&b, &e) : bench_linears(&b);
    if (status == QRT_OK) status = finish(&b);
    if (status == QRT_OK && b.cli.json) print_json(&b);
    if (status == QRT_OK && !b.cli.json) print_table(&b);
    free(b.rows);
    if (!model) qrt_device_close(b.device);
    qrt_close(b.rt);
    engine_close(&e);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
