/* cmd_plan.c -- qgen plan: what a model can do on GPUs, what it costs, whether a claim can be true */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "gpu_table.h"
#include "plan_rows.h"
#include "store.h"
#include "table.h"

static const char *model_name, *gpu_list, *gpu_file, *scheme_list, *batch_list, *price_list;
static const char *split_name, *measured_list;
static int context = -1, prompt = 1024, cards, article;
static double utilisation = 1, claim = -1;
static const struct cli_option options[] = {
    {"model", 'm', CLI_STRING, &model_name, "NAME|FILE",
     "llama3-70b, .. (a wrong name lists them), a GGUF or .qm file", 0, 0},
    {"gpu", 'g', CLI_STRING, &gpu_list, "G[,G]", "h100,a100,4090, .. (a wrong name lists them)", 0,
     0},
    {"schemes", 's', CLI_STRING, &scheme_list, "S[,S]",
     "w4g128, .. as `qgen schemes` lists; fp8, int8, f16;\nfile: a model file as it is "
     "(w4g128,fp8,int8,f16)",
     0, 0},
    {"batch", 'b', CLI_STRING, &batch_list, "B[,B]", "sequences at a time (1)", 0, 0},
    {"ctx", 'c', CLI_INT, &context, "T", "tokens of each sequence (8192; 0 with --check)", 0,
     1 << 24},
    {"prompt", 0, CLI_INT, &prompt, "T", "tokens of a prompt (1024)", 1, 1 << 24},
    {"price", 0, CLI_STRING, &price_list, "G=P[,..]", "US dollars of a card and hour: h100=2.49", 0,
     0},
    {"utilisation", 0, CLI_FLOAT, &utilisation, "U", "share of the time that it works (1)", 0, 0},
    {"cards", 'n', CLI_INT, &cards, "N", "cards (the fewest that hold it; 1 with --check)", 1, 64},
    {"split", 0, CLI_STRING, &split_name, "tensor|layers", "how several share a model (tensor)", 0,
     0},
    {"check", 0, CLI_FLOAT, &claim, "R", "can R tokens/s be?  Exit code 1 when not", 0, 0},
    {"article", 0, CLI_FLAG, &article, NULL, "a published cost table beside the ceilings", 0, 0},
    {"measured", 0, CLI_STRING, &measured_list, "F[,F]",
     "files of measurements beside those of `qgen tune` here", 0, 0},
    {"gpus", 0, CLI_STRING, &gpu_file, "FILE", "another table of GPUs ($QGEN_GPUS)", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "plan --model NAME|FILE --gpu G[,G] [--schemes S[,S]] [--batch B[,B]] [--check R]",
    .about =
        "Says for each GPU, scheme and batch whether the model fits, on how many cards, the most\n"
        "tokens a second that the datasheet allows and what bounds them, prefill and time to the\n"
        "first token, and dollars per million tokens.  Where kernels were measured on the GPU, "
        "the\n"
        "rate to expect is the ceiling times their efficiency.  Batch size changes cost far more\n"
        "than the format does: a rate without batch and context says nothing.\n"
        "--check says whether a figure somewhere can be true.  docs/planning.md has the formulas.",
    .examples =
        "  qgen plan --model llama3-70b --gpu h100,a100,4090 --schemes w4g128,fp8 --batch 1,8,32\n"
        "  qgen plan --model llama3-70b --gpu h100 --price h100=2.49 --utilisation 0.5\n"
        "  qgen plan --model llama3-70b --gpu h100 --schemes fp8 --check 1800 --batch 16\n"
        "  qgen plan --model model.gguf --gpu 4090 --schemes file,w4g128 --format md\n"
        "  qgen plan --article",
    .options = options,
    .formats = "md|csv",
};

/* ---- what was asked ---- */

static qrt_status is_full(int used)
{
    if (used < PLAN_LIST_MOST) return QRT_OK;
    return error_set(QRT_E_ARGUMENT, "a list of more than %d", PLAN_LIST_MOST);
}

static qrt_status add_gpu(void *user, const char *name)
{
    struct plan_request *q = user;
    TRY(is_full(q->gpu_count));
    TRY(gpu_table_find(&q->table, name, &q->gpus[q->gpu_count]));
    q->prices[q->gpu_count] = q->gpus[q->gpu_count]->price_hour;
    q->gpu_count++;
    return QRT_OK;
}

static qrt_status add_scheme(void *user, const char *name)
{
    struct plan_request *q = user;
    TRY(is_full(q->scheme_count));
    TRY(plan_scheme_parse(name, &q->model, &q->schemes[q->scheme_count]));
    q->scheme_count++;
    return QRT_OK;
}

static qrt_status add_batch(void *user, const char *text)
{
    enum { BATCH_MOST = 65536 };
    struct plan_request *q = user;
    char *end;
    const long batch = strtol(text, &end, 10);
    TRY(is_full(q->batch_count));
    if (*end || batch < 1 || batch > BATCH_MOST)
        return error_set(QRT_E_ARGUMENT, "--batch %s: a number from 1 to %d", text, BATCH_MOST);
    q->batches[q->batch_count++] = (int)batch;
    return QRT_OK;
}

static qrt_status add_price(void *user, const char *text)
{
    struct plan_request *q = user;
    char name[64], *end = NULL;
    const char *equals = strchr(text, '=');
    const double price = equals ? strtod(equals + 1, &end) : 0;
    if (!equals || end == equals + 1 || *end || !(price > 0 && price < 1e6))
        return error_set(QRT_E_ARGUMENT, "--price %s: GPU=DOLLARS, like h100=2.49", text);
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    const struct gpu *gpu;
    TRY(gpu_table_find(&q->table, name, &gpu));
    for (int i = 0; i < q->gpu_count; i++)
        if (q->gpus[i] == gpu) {
            q->prices[i] = price;
            return QRT_OK;
        }
    return error_set(QRT_E_ARGUMENT, "--price %s: %s is not in --gpu", text, name);
}

static qrt_status add_measured(void *user, const char *path)
{
    struct plan_request *q = user;
    return records_add_file(&q->measured, path);
}

/* Measurements of this machine's store; without a store there are none. */
static qrt_status read_tuning(struct plan_request *q)
{
    struct store *store;
    TRY(store_open(NULL, &store));
    const qrt_status status = records_add_tuning(&q->measured, store_folder(store));
    store_close(store);
    return status;
}

static int default_context(const struct plan_request *q)
{
    enum { PLANNED = 8192, IN_ARTICLE = 2048 };
    if (claim >= 0) return 0;
    if (article) return IN_ARTICLE;
    return q->model.context > 0 && q->model.context < PLANNED ? q->model.context : PLANNED;
}

static qrt_status read_request(struct plan_request *q)
{
    TRY(gpu_table_load(gpu_file, &q->table));
    TRY(plan_model_load(article ? "llama3-70b" : model_name, &q->model));
    q->context = context >= 0 ? context : default_context(q);
    q->prompt = prompt;
    q->utilisation = utilisation;
    q->cards = cards;
    q->split = split_name && strcmp(split_name, "layers") == 0 ? PLAN_LAYERS : PLAN_TENSOR;
    if (article) return QRT_OK;
    TRY(cli_list(gpu_list, add_gpu, q));
    TRY(cli_list(scheme_list ? scheme_list : "w4g128,fp8,int8,f16", add_scheme, q));
    TRY(cli_list(batch_list ? batch_list : "1", add_batch, q));
    if (price_list) TRY(cli_list(price_list, add_price, q));
    if (measured_list) TRY(cli_list(measured_list, add_measured, q));
    return claim >= 0 ? QRT_OK : read_tuning(q);
}

static const char *usage_problem(void)
{
    if (article && (model_name || gpu_list || claim >= 0 || scheme_list || batch_list))
        return "--article has its own model, GPUs and schemes";
    if (!article && !model_name) return "--model is missing: llama3-70b, a GGUF or .qm file";
    if (!article && !gpu_list) return "--gpu is missing: h100, a100, 4090 ..";
    if (split_name && strcmp(split_name, "tensor") != 0 && strcmp(split_name, "layers") != 0)
        return "--split: tensor or layers";
    if (!(utilisation > 0 && utilisation <= 1)) return "--utilisation: above 0, at most 1";
    if (claim == 0) return "--check: a rate above 0";
    return NULL;
}

/* ---- results ---- */

/* What was asked for, and how it is shown. */
struct form {
    const char *schema, *rows;
    qrt_status (*make)(const struct plan_request *q, json_t **result);
    void (*print)(const json_t *result);
    const struct table_column *columns;
};

static qrt_status make_claims(const struct plan_request *q, json_t **result)
{
    return plan_claims(q, claim, result);
}

static const struct form plan_form = {"qgen.plan/1", "rows", plan_rows, plan_rows_print,
                                      plan_columns};
static const struct form claims_form = {"qgen.plan-check/1", "claims", make_claims,
                                        plan_claims_print, plan_claim_columns};
static const struct form article_form = {"qgen.plan-article/1", "rows", plan_article,
                                         plan_article_print, plan_article_columns};

static void show(const struct cli *cli, const struct form *f, json_t *result)
{
    if (cli->json)
        cli_json(json_incref(result), f->schema);
    else if (strcmp(cli->format, "text") == 0)
        f->print(result);
    else
        table_print(json_object_get(result, f->rows), f->columns,
                    strcmp(cli->format, "md") == 0 ? TABLE_MARKDOWN : TABLE_CSV);
}

int cmd_plan(int argc, char **argv)
{
    struct cli cli;
    struct plan_request q = {.cards = 0};
    json_t *result = NULL;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *problem = usage_problem();
    if (problem) return cli_usage(&spec, "%s", problem);
    const struct form *form = article ? &article_form : claim >= 0 ? &claims_form : &plan_form;
    qrt_status status = read_request(&q);
    if (status == QRT_OK) status = form->make(&q, &result);
    records_free(&q.measured);
    if (status != QRT_OK) return cli_fail(status);
    show(&cli, form, result);
    const int impossible = json_is_false(json_object_get(result, "possible"));
    json_decref(result);
    return impossible ? EXIT_CHECK : EXIT_DONE;
}
