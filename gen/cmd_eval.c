/* cmd_eval.c -- qgen eval: perplexity of a text, logits of tokens, error of a layer */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "engine.h"
#include "error.h"
#include "evaluate.h"
#include "file.h"
#include "host.h"

enum { MAX_TEXT_BYTES = 256 << 20, NO_LAYER = -1 };

/* Largest rms error of a layer, over the rms of what it adds: activations in 8 bits cost about
 * 1 %, in 16 bits a tenth of that. */
static const double layer_limit = 0.03;

static const char *text_path, *tokens_path, *logits_path, *device = "cpu", *kernels;
static struct bundle_trust trust;
static int context = 512, chunks, layer = NO_LAYER, rows = 16, threads, exact, offline;
static const struct cli_option options[] = {
    {"text", 0, CLI_STRING, &text_path, "FILE", "perplexity of this text", 0, 0},
    {"ctx", 'c', CLI_INT, &context, "C", "tokens of a chunk of the text (512)", 8, 1 << 20},
    {"chunks", 0, CLI_INT, &chunks, "N", "take the first N chunks only", 1, 1 << 30},
    {"logits", 0, CLI_STRING, &logits_path, "X.npy",
     "write the logits behind each of --tokens, float32 [T, V]", 0, 0},
    {"tokens", 't', CLI_STRING, &tokens_path, "FILE", "token ids, as decimal numbers", 0, 0},
    {"layer", 0, CLI_INT, &layer, "L", "error of layer L against ref, on pseudo-random rows", 0,
     1 << 20},
    {"rows", 0, CLI_INT, &rows, "M", "with --layer: how many rows (16)", 1, 4096},
    {"device", 'd', CLI_STRING, &device, "D", "cpu (default), ref, cuda:N", 0, 0},
    {"threads", 'j', CLI_INT, &threads, "J", "of the cpu (one per processor)", 1, 1024},
    {"exact", 0, CLI_FLAG, &exact, NULL, "cpu: activations in f32, not in 8 bits", 0, 0},
    {"offline", 0, CLI_FLAG, &offline, NULL, "do not compile kernels that are missing", 0, 0},
    ENGINE_BUNDLE_OPTIONS(kernels, trust),
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "eval MODEL (--text FILE [--ctx C] | --logits X.npy --tokens FILE | --layer L)",
    .about = "Measures a model on a device.\n"
             "--text: perplexity, by the procedure of llama.cpp: chunks of --ctx tokens, each run "
             "on its\n"
             "own, the second half of each scored.  Token ids are those of the model's tokenizer, "
             "which\n"
             "reads control tokens in the text as text.\n"
             "--logits: for comparison with other programs.\n"
             "--layer: one layer on this device against plain loops; exit code 1 when it is off by "
             "more\n"
             "than 3 %.",
    .examples = "  qgen eval model.gguf --text book.txt --ctx 512 --chunks 8\n"
                "  qgen eval model.gguf --logits out.npy --tokens ids.txt\n"
                "  qgen eval model.gguf --layer 0 --device cpu\n",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
};

static int eval_text(const struct engine *e, const struct cli *cli)
{
    void *text;
    size_t bytes, count = 0;
    int *ids = NULL;
    struct perplexity p;
    qrt_status status = file_read(text_path, MAX_TEXT_BYTES, &text, &bytes);
    if (status != QRT_OK) return cli_fail(status);
    status = engine_tokenize(e, text, bytes, 0, 1, &ids, &count);
    free(text);
    if (status == QRT_OK) status = evaluate_perplexity(e, cli, ids, count, context, chunks, &p);
    free(ids);
    if (status != QRT_OK) return cli_fail(status);
    if (cli->json)
        cli_json(json_pack("{sf sf sI sI si ss sf sf}", "perplexity", p.value, "deviation",
                           p.deviation, "tokens", (json_int_t)p.tokens, "chunks",
                           (json_int_t)p.chunks, "ctx", context, "device", e->device_info.name,
                           "seconds", p.seconds, "tokens_per_s",
                           (double)p.chunks * context / p.seconds),
                 "qgen.eval/1");
    else
        printf("perplexity %.4f +- %.4f over %zu tokens (%zu chunks of %d), %.1f tokens/s on %s\n",
               p.value, p.deviation, p.tokens, p.chunks, context,
               (double)p.chunks * context / p.seconds, e->device_info.name);
    return EXIT_DONE;
}

static int eval_logits(const struct engine *e, const struct cli *cli)
{
    size_t count;
    int *ids;
    qrt_status status = engine_read_ids(e, tokens_path, &ids, &count);
    if (status != QRT_OK) return cli_fail(status);
    const double started = host_seconds();
    status = evaluate_logits(e, cli, ids, count, logits_path);
    free(ids);
    if (status != QRT_OK) return cli_fail(status);
    const double seconds = host_seconds() - started;
    if (cli->json)
        cli_json(json_pack("{ss sI si ss sf}", "logits", logits_path, "tokens", (json_int_t)count,
                           "vocab", e->model_info.vocab, "device", e->device_info.name, "seconds",
                           seconds),
                 "qgen.eval/1");
    else
        printf("%s: logits [%zu, %d], %.2f s on %s\n", logits_path, count, e->model_info.vocab,
               seconds, e->device_info.name);
    return EXIT_DONE;
}

static int eval_layer(const struct engine *e, const struct cli *cli)
{
    struct layer_error r;
    const qrt_status status = evaluate_layer(e, layer, rows, &r);
    if (status != QRT_OK) return cli_fail(status);
    const double relative = r.rms_error / r.rms;
    const int good = relative <= layer_limit; /* false for NaN */
    if (cli->json)
        cli_json(json_pack("{si si ss sf sf sf sf sf sb}", "layer", layer, "rows", r.rows, "device",
                           e->device_info.name, "rms", r.rms, "rms_error", r.rms_error, "max_error",
                           r.max_error, "relative_error", isfinite(relative) ? relative : -1.0,
                           "limit", layer_limit, "passed", good),
                 "qgen.eval/1");
    else
        printf("layer %d of %s, %d rows, %s against ref: rms of what it adds %.4g, rms error %.3g "
               "(%.3f %%), largest %.3g: %s\n",
               layer, e->model_info.name, r.rows, e->device_info.name, r.rms, r.rms_error,
               100 * relative, r.max_error, good ? "passed" : "FAILED");
    return good ? EXIT_DONE : EXIT_CHECK;
}

int cmd_eval(int argc, char **argv)
{
    struct cli cli;
    struct engine e;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    if ((text_path != NULL) + (logits_path != NULL) + (layer != NO_LAYER) != 1)
        return cli_usage(&spec, "one of --text, --logits and --layer is wanted");
    if (!logits_path != !tokens_path) return cli_usage(&spec, "--logits and --tokens go together");
    const struct engine_options how = {.model = cli.operands[0],
                                       .device = device,
                                       .threads = threads,
                                       .exact = exact,
                                       .offline = offline,
                                       .kernels = kernels,
                                       .trust = trust,
                                       .cli = &cli};
    const qrt_status status = engine_open(&how, &e);
    if (status != QRT_OK) return cli_fail(status);
    const int code = text_path     ? eval_text(&e, &cli)
                     : logits_path ? eval_logits(&e, &cli)
                                   : eval_layer(&e, &cli);
    engine_close(&e);
    return code;
}
