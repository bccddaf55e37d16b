/* cmd_run.c -- qgen run: a model continues a text */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "cli.h"
#include "engine.h"
#include "error.h"
#include "host.h"
#include "unicode.h"

static const char *prompt, *tokens_path, *device = "cpu", *system_text, *kernels;
static struct bundle_trust trust;
static int wanted = 128, greedy, chat, context, offline, exact, threads, ignore_eos;
static uint64_t seed;
static double temperature = 0.8, min_p = 0.05;
static const struct cli_option options[] = {
    {"prompt", 'p', CLI_STRING, &prompt, "TEXT", "the text to continue", 0, 0},
    {"tokens", 't', CLI_STRING, &tokens_path, "FILE",
     "token ids to continue instead, as decimal numbers", 0, 0},
    {"n", 'n', CLI_INT, &wanted, "N", "tokens to generate at most (128)", 0, 1 << 24},
    {"chat", 0, CLI_FLAG, &chat, NULL, "the prompt is a message to a chat model", 0, 0},
    {"system", 0, CLI_STRING, &system_text, "TEXT", "with --chat: what the model is told first", 0,
     0},
    {"device", 'd', CLI_STRING, &device, "D", "cpu (default), ref, cuda:N", 0, 0},
    {"greedy", 'g', CLI_FLAG, &greedy, NULL, "always the most likely token", 0, 0},
    {"temp", 0, CLI_FLOAT, &temperature, "T", "temperature of sampling (0.8)", 0, 0},
    {"min-p", 0, CLI_FLOAT, &min_p, "P",
     "cut tokens less likely than P times the most likely (0.05)", 0, 0},
    {"seed", 's', CLI_U64, &seed, "S", "of sampling (0); equal seeds give equal texts", 0, 0},
    {"context", 'c', CLI_INT, &context, "C", "positions (what prompt and -n need)", 1, 1 << 24},
    {"threads", 'j', CLI_INT, &threads, "J", "of the cpu (one per processor)", 1, 1024},
    {"ignore-eos", 0, CLI_FLAG, &ignore_eos, NULL, "go on after the end of an answer", 0, 0},
    {"exact", 0, CLI_FLAG, &exact, NULL, "cpu: activations in f32, not in 8 bits", 0, 0},
    {"offline", 0, CLI_FLAG, &offline, NULL, "do not compile kernels that are missing", 0, 0},
    ENGINE_BUNDLE_OPTIONS(kernels, trust),
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "run MODEL (--prompt TEXT | --tokens FILE) [-n N] [--device D] [--greedy] ...",
    .about =
        "Continues a text.  MODEL is a packed model (.qm) or a GGUF file, which is packed into\n"
        "the cache first.  Kernels that the model needs come from the store, or are generated.\n"
        "The text goes to stdout as it comes, rates to stderr.",
    .examples = "  qgen run model.gguf --prompt \"The capital of France is\" -n 32 --greedy\n"
                "  qgen run model.qm --chat --prompt \"Name three rivers.\" --seed 7\n"
                "  qgen run model.qm --tokens ids.txt -n 64 --format json\n",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
};

/* What came out. */
struct output {
    const struct engine *engine;
    int json;
    int *ids; /* [wanted] */
    size_t count, prompt_count;
    char *text;
    size_t bytes, capacity;
    size_t shown; /* bytes of text that went to stdout */
    double prefill_seconds, decode_seconds;
    int decoded; /* tokens of decode_seconds */
    const char *stop;
};

/* ---- text ---- */

/* Bytes of text[0 .. bytes) that do not end inside a character. */
static size_t whole_characters(const char *text, size_t bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        const uint8_t byte = (uint8_t)text[bytes - back];
        if ((byte & 0xC0) == 0x80) continue;
        return byte >= 0xC0 && unicode_lead_bytes(byte) > back ? bytes - back : bytes;
    }
    return bytes;
}

static void show(struct output *o, size_t end)
{
    if (o->json || end <= o->shown) return;
    fwrite(o->text + o->shown, 1, end - o->shown, stdout);
    fflush(stdout);
    o->shown = end;
}

static qrt_status add_token(struct output *o, int id)
{
    const char *bytes = "";
    size_t count = 0;
    if (o->engine->has_text) TRY(qrt_token_bytes(o->engine->model, id, &bytes, &count));
    if (o->bytes + count > o->capacity) {
        const size_t capacity = 2 * (o->bytes + count);
        char *text = realloc(o->text, capacity);
        if (!text) return error_set(QRT_E_MEMORY, "%zu bytes of text", capacity);
        o->text = text;
        o->capacity = capacity;
    }
    if (count) memcpy(o->text + o->bytes, bytes, count);
    o->bytes += count;
    o->ids[o->count++] = id;
    show(o, whole_characters(o->text, o->bytes));
    return QRT_OK;
}

/* ---- generation ---- */

static int is_end(const struct output *o, int id)
{
    return !ignore_eos && chat_is_end(o->engine, id);
}

/* Compute the prompt and choose the first token. */
static qrt_status prefill(qrt_session *session, const struct engine *e, const int *ids,
                          size_t count, const qrt_sampling *sampling, int *next)
{
    const int vocab = e->model_info.vocab;
    float *logits = malloc((size_t)vocab * sizeof *logits);
    if (!logits) return error_set(QRT_E_MEMORY, "%d logits", vocab);
    const qrt_status status = qrt_run(session, ids, count, logits, 1);
    if (status == QRT_OK)
        *next = qrt_sample(logits, vocab, sampling, (uint32_t)qrt_position(session) - 1);
    free(logits);
    return status;
}

static qrt_status generate(qrt_session *session, const int *ids, size_t count, struct output *o)
{
    const qrt_sampling sampling = {greedy ? 0 : (float)temperature, (float)min_p, seed};
    int next;
    double started = host_seconds();
    TRY(prefill(session, o->engine, ids, count, &sampling, &next));
    o->prefill_seconds = host_seconds() - started;
    started = host_seconds();
    o->stop = "length";
    while (o->count < (size_t)wanted) {
        if (is_end(o, next)) {
            o->stop = "end";
            break;
        }
        TRY(add_token(o, next));
        if (o->count == (size_t)wanted) break;
        TRY(qrt_step(session, next, &sampling, &next));
        o->decoded++;
    }
    o->decode_seconds = host_seconds() - started;
    return QRT_OK;
}

/* ---- results ---- */

static double rate(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

/* The text for JSON: bytes that are no UTF-8 become U+FFFD. */
static json_t *json_text(const struct output *o)
{
    uint8_t *clean = malloc(3 * o->bytes + 1);
    if (!clean) return json_null();
    const size_t bytes = unicode_repair((const uint8_t *)o->text, o->bytes, clean);
    json_t *text = json_stringn((const char *)clean, bytes);
    free(clean);
    return text ? text : json_null(); /* surrogates written as UTF-8 */
}

static void report_json(const struct output *o)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < o->count; i++) json_array_append_new(ids, json_integer(o->ids[i]));
    cli_json(json_pack("{so so ss ss sI sI sf sf sf sf}", "text", json_text(o), "tokens", ids,
                       "stop", o->stop, "device", o->engine->device_info.name, "prompt_tokens",
                       (json_int_t)o->prompt_count, "generated", (json_int_t)o->count,
                       "prefill_seconds", o->prefill_seconds, "decode_seconds", o->decode_seconds,
                       "prefill_tokens_per_s", rate((double)o->prompt_count, o->prefill_seconds),
                       "decode_tokens_per_s", rate(o->decoded, o->decode_seconds)),
             "qgen.run/1");
}

static void report_text(const struct output *o, const struct cli *cli)
{
    if (o->bytes == 0 || o->text[o->bytes - 1] != '\n') printf("\n");
    fflush(stdout);
    if (cli->quiet) return;
    fprintf(stderr, "%s: prompt %zu tokens, %.1f tokens/s; generated %zu, %.1f tokens/s\n",
            o->engine->device_info.name, o->prompt_count,
            rate((double)o->prompt_count, o->prefill_seconds), o->count,
            rate(o->decoded, o->decode_seconds));
}

static qrt_status read_prompt(const struct engine *e, int **ids, size_t *count)
{
    if (tokens_path) return engine_read_ids(e, tokens_path, ids, count);
    if (chat) return chat_encode(e, system_text, prompt, ids, count);
    TRY(engine_tokenize(e, prompt, strlen(prompt), 1, 1, ids, count));
    if (*count) return QRT_OK;
    free(*ids);
    return error_set(QRT_E_ARGUMENT,
                     "the prompt is empty, and the model has no token to start with");
}

static qrt_status run(const struct engine *e, const int *ids, size_t count, struct output *o)
{
    qrt_session *session = NULL;
    const size_t positions = count + (size_t)wanted;
    o->prompt_count = count;
    o->ids = malloc(((size_t)wanted + 1) * sizeof *o->ids);
    if (!o->ids) return error_set(QRT_E_MEMORY, "%d token ids", wanted);
    if (positions > INT32_MAX) return error_set(QRT_E_LIMIT, "%zu positions", positions);
    TRY(engine_session(e, context ? context : (int)positions, &session));
    const qrt_status status = generate(session, ids, count, o);
    show(o, o->bytes);
    qrt_session_close(session);
    return status;
}

static int check_options(void)
{
    if (!prompt == !tokens_path) return cli_usage(&spec, "either --prompt or --tokens is wanted");
    if (tokens_path && chat) return cli_usage(&spec, "--chat takes its text from --prompt");
    if (system_text && !chat) return cli_usage(&spec, "--system needs --chat");
    if (!(temperature >= 0) || !(min_p >= 0 && min_p <= 1))
        return cli_usage(&spec, "--temp is 0 or more, --min-p 0 to 1");
    return EXIT_DONE;
}

int cmd_run(int argc, char **argv)
{
    struct cli cli;
    struct engine e = {0};
    struct output o = {.engine = &e};
    int *ids = NULL;
    size_t count = 0;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const int misused = check_options();
    if (misused) return misused;
    o.json = cli.json;
    const struct engine_options how = {.model = cli.operands[0],
                                       .device = device,
                                       .threads = threads,
                                       .exact = exact,
                                       .offline = offline,
                                       .kernels = kernels,
                                       .trust = trust,
                                       .cli = &cli};
    qrt_status status = engine_open(&how, &e);
    if (status != QRT_OK) return cli_fail(status);
    status = read_prompt(&e, &ids, &count);
    if (status == QRT_OK) {
        status = run(&e, ids, count, &o);
        free(ids);
    }
    if (status == QRT_OK && cli.json) report_json(&o);
    if (status == QRT_OK && !cli.json) report_text(&o, &cli);
    free(o.ids);
    free(o.text);
    engine_close(&e);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
