/* cmd_tune.c -- qgen tune: the ranked kernels measured on a device, the winners kept */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "points.h"

static struct asked_options asked;
static const char *device_name, *driver, *arch_name, *templates, *row_list, *budget_text,
    *timeout_text;
static int top = 8, jobs, resume, repeat, unranked, dry;
static const struct cli_option options[] = {
    {"device", 'd', CLI_STRING, &device_name, "D", "where to measure: cpu (default), cuda:N", 0, 0},
    {"arch", 'a', CLI_STRING, &arch_name, "A", "make kernels for this one (the device's own)", 0,
     0},
    {"model", 0, CLI_STRING, &asked.model, "F", "the linears of this model: a packed model or GGUF",
     0, 0},
    POINTS_OPTIONS(asked, row_list),
    {"top", 't', CLI_INT, &top, "T", "kernels for each range of rows, by rank (8)", 1, 64},
    {"budget", 0, CLI_STRING, &budget_text, "T", "time for measuring: 90s, 10m, 2h (10m)", 0, 0},
    {"timeout", 0, CLI_STRING, &timeout_text, "T",
     "longest silence of a child before it is killed (20s)", 0, 0},
    {"resume", 0, CLI_FLAG, &resume, NULL, "believe what earlier runs measured", 0, 0},
    {"repeat", 0, CLI_FLAG, &repeat, NULL,
     "measure everything twice, and say whether both agree;\nthe budget is halved", 0, 0},
    {"unranked", 0, CLI_FLAG, &unranked, NULL,
     "GPUs: candidates in the templates' own order, no ranking is made", 0, 0},
    {"dry-run", 0, CLI_FLAG, &dry, NULL, "keep no winners", 0, 0},
    {"jobs", 'j', CLI_INT, &jobs, "J", "compilers at a time (one per processor)", 1, 64},
    {"templates", 0, CLI_STRING, &templates, "DIR", "templates of your own: DIR/cuda, DIR/x86", 0,
     0},
    {"driver", 0, CLI_STRING, &driver, "FILE", "another driver than libcuda.so.1", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "tune [--device cpu|cuda:N] (--bits B --group G | --scheme S[,S] | --request R[,R] | "
             "--model F) [--shape NxK[,..]] [--m 1,2,4] [--budget 10m]",
    .about =
        "Measures the linear kernels that the ranking holds for best, on the device itself, and\n"
        "keeps the fastest for each weight and number of rows, where later builds find them.\n"
        "Each kernel is checked and timed in a child process with a time limit: one that is\n"
        "wrong, crashes or hangs costs itself.  Kernels take turns with the default, and replace\n"
        "it only when they are faster beyond the noise of both.  Every trial becomes a line of\n"
        "tuning/DEVICE.jsonl beside the store, so that --resume can go on; Ctrl-C keeps what is\n"
        "known so far.  docs/tuning.md tells the method.",
    .examples =
        "  qgen tune --device cuda:0 --bits 4 --group 128         Llama-3-8B's weights\n"
        "  qgen tune --model m.qm --budget 2m                     this processor, a model's own\n"
        "  qgen tune --request linear.w4g128.f32.f32 --shape 4096x4096 --m 1,8\n"
        "  qgen tune --device cuda:0 --scheme w4g128 --resume --format json",
    .options = options,
};

static volatile sig_atomic_t told_to_stop;

static void stop(int signal_number)
{
    (void)signal_number;
    told_to_stop = 1;
}

static void catch_signals(void)
{
    const struct sigaction action = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL); /* the second one ends the program at once */
    sigaction(SIGTERM, &action, NULL);
}

/* "90s", "10m", "2h", "90" */
static qrt_status parse_time(const char *option, const char *text, double fallback, double *out)
{
    char *end;
    *out = fallback;
    if (!text) return QRT_OK;
    const double value = strtod(text, &end);
    const double unit = strcmp(end, "h") == 0                ? 3600
                        : strcmp(end, "m") == 0              ? 60
                        : strcmp(end, "s") == 0 || *end == 0 ? 1
                                                             : 0;
    *out = value * unit;
    if (end == text || !(*out > 0) || *out > 1e7)
        return error_set(QRT_E_ARGUMENT, "--%s %s: a time like 90s, 10m or 2h", option, text);
    return QRT_OK;
}

/* ---- progress ---- */

struct showing {
    const struct cli *cli;
    struct cli_progress progress;
    const char *what;
};

static void show(void *user, const char *what, size_t done, size_t total)
{
    struct showing *s = user;
    if (!s->what || strcmp(s->what, what) != 0) {
        if (s->what) cli_progress_end(&s->progress);
        cli_progress_start(&s->progress, s->cli, what, "kernels", (double)total);
        s->what = what;
    }
    s->progress.total = (double)total;
    cli_progress_update(&s->progress, (double)done);
}

/* ---- results ---- */

/* What all verdicts come to. */
struct summary {
    size_t tuned, kept_default, without; /* points; without: none of its kernels was measured */
    size_t first_count, near;            /* first choices that were measured; within 5 % */
    double first_median, first_worst;
    size_t agree, same, compared; /* of two runs; same: winner */
};

static qrt_status summarize(const struct tuner_result *r, const struct tuner_result *second,
                            struct summary *s)
{
    double *ratios = calloc(r->count + 1, sizeof *ratios);
    if (!ratios) return error_set(QRT_E_MEMORY, "tuning: no memory");
    for (size_t i = 0; i < r->count; i++) {
        const struct tuner_verdict *v = &r->verdicts[i];
        const double first = tuner_first_choice(v);
        const int agree = second ? tuner_agree(r, second, i) : -1;
        s->without += v->winner < 0;
        s->tuned += v->winner >= 0 && v->winner != v->default_;
        s->kept_default += v->winner >= 0 && v->winner == v->default_;
        s->agree += agree == 1;
        s->same += agree == 1 && v->winner == second->verdicts[i].winner;
        s->compared += agree >= 0;
        if (first > 0) ratios[s->first_count++] = first;
        s->near += first > 0 && first <= 1.05;
    }
    if (s->first_count > 0) {
        s->first_median = noise_of(ratios, s->first_count).median; /* puts them in order */
        s->first_worst = ratios[s->first_count - 1];
    }
    free(ratios);
    return QRT_OK;
}

static json_t *candidate_json(const struct tuner_result *r, const struct tuner_candidate *c)
{
    const struct entry_record *record = &r->made.kernels[c->kernel].entry.record;
    const struct tuner_kernel *k = &r->kernels[c->kernel];
    const struct measure_times *t = &c->times;
    json_t *json =
        json_pack("{ss s[ii] ss ss ss}", "template", record->template_, "made", record->m_lo,
                  record->m_hi, "tune", record->tune, "key", k->key, "outcome",
                  k->is_out        ? measure_outcome_name(k->outcome)
                  : c->is_measured ? measure_outcome_name(MEASURE_DONE)
                                   : "not_measured");
    if (c->is_measured)
        json_object_update_new(json, json_pack("{sf sf sf sI sf sf}", "median_s", t->own.median,
                                               "low_s", t->own.low, "high_s", t->own.high,
                                               "repeats", (json_int_t)t->own.count, "ratio",
                                               t->ratio.median, "ratio_error", t->ratio.error));
    return json;
}

static json_t *verdict_json(const struct tuner_result *r, const struct tuner_verdict *v)
{
    char request[OP_NAME_BYTES];
    json_t *candidates = json_array();
    op_desc_name(&v->point.desc, request);
    for (int i = 0; i < v->count; i++)
        json_array_append_new(candidates, candidate_json(r, &v->candidates[i]));
    return json_pack("{ss si si si si si so}", "request", request, "n", v->point.N, "k", v->point.K,
                     "m", v->point.M, "default", v->default_, "winner", v->winner, "candidates",
                     candidates);
}

static json_t *first_choice_json(const struct summary *s)
{
    return json_pack("{sI sf sf sf}", "entries", (json_int_t)s->first_count, "median",
                     s->first_median, "worst", s->first_worst, "within_5_percent",
                     s->first_count ? (double)s->near / (double)s->first_count : 0);
}

static void print_json(const struct tuner_result *r, const struct summary *s, size_t rows)
{
    json_t *entries = json_array();
    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(entries, verdict_json(r, &r->verdicts[i]));
    json_t *json = json_pack(
        "{s{ss ss si} sI sI sI sf sI sI sI sI sI sI sI sb sb so so}", "device", "name",
        r->device.name, "arch", r->device.arch, "processors", r->device.processors, "tuned",
        (json_int_t)s->tuned, "kept_default", (json_int_t)s->kept_default, "without_verdict",
        (json_int_t)s->without, "seconds", r->seconds, "trials", (json_int_t)r->trials, "resumed",
        (json_int_t)r->resumed, "crashed", (json_int_t)r->by_outcome[MEASURE_CRASHED], "wrong",
        (json_int_t)r->by_outcome[MEASURE_WRONG], "timed_out",
        (json_int_t)r->by_outcome[MEASURE_TIMED_OUT], "failed",
        (json_int_t)r->by_outcome[MEASURE_FAILED], "winners", (json_int_t)rows, "stopped",
        r->is_stopped, "out_of_time", r->is_out_of_time, "first_choice", first_choice_json(s),
        "entries", entries);
    if (repeat)
        json_object_set_new(json, "repeat",
                            json_pack("{sI sI sI}", "compared", (json_int_t)s->compared,
                                      "same_winner", (json_int_t)s->same, "agree",
                                      (json_int_t)s->agree));
    cli_json(json, "qgen.tune/1");
}

static void print_verdict(const struct tuner_result *r, const struct tuner_verdict *v)
{
    char request[OP_NAME_BYTES], shape[32];
    op_desc_name(&v->point.desc, request);
    snprintf(shape, sizeof shape, "%dx%d", v->point.N, v->point.K);
    printf("%-28s  %-12s  %5d  ", request, shape, v->point.M);
    if (v->winner < 0) {
        printf("not measured\n");
        return;
    }
    const struct tuner_candidate *c = &v->candidates[v->winner];
    const struct noise *own = &c->times.own;
    const struct entry_record *record = &r->made.kernels[c->kernel].entry.record;
    printf("%10.2f us %5.1f %%  ", own->median * 1e6, 100 * own->spread / own->median);
    if (v->winner == v->default_)
        printf("%-9s", "default");
    else
        printf("%8.3fx", 1 / c->times.ratio.median);
    printf("  %d of %d  %s %s\n", v->winner + 1, v->count, record->template_, record->tune);
}

static void print_table(const struct tuner_result *r, const struct summary *s, size_t rows)
{
    printf("%-28s  %-12s  %5s  %13s %7s  %-9s  place   kernel\n", "linear", "weight", "M", "time",
           "spread", "gain");
    for (size_t i = 0; i < r->count; i++) print_verdict(r, &r->verdicts[i]);
    printf("%zu tuned, %zu kept the default, %zu without a verdict; %zu trials (%zu known before), "
           "%.1f s; %zu winners\n",
           s->tuned, s->kept_default, s->without, r->trials, r->resumed, r->seconds, rows);
    printf("kernels lost: %zu wrong, %zu crashed, %zu timed out, %zu failed\n",
           r->by_outcome[MEASURE_WRONG], r->by_outcome[MEASURE_CRASHED],
           r->by_outcome[MEASURE_TIMED_OUT], r->by_outcome[MEASURE_FAILED]);
    if (s->first_count > 0)
        printf("first choice of the ranking: %.3f of the best time at the median, %.3f at worst, "
               "%.0f %% within 5 %%\n",
               s->first_median, s->first_worst, 100 * (double)s->near / (double)s->first_count);
    if (repeat)
        printf("two runs agree at %zu of %zu points, with the same winner at %zu\n", s->agree,
               s->compared, s->same);
}

/* ---- the work ---- */

static qrt_status keep_winners(const struct tuner_result *r, size_t *rows)
{
    struct winners w;
    *rows = 0;
    if (dry) return QRT_OK;
    TRY(tuner_winners(r, &w));
    const qrt_status status = tuner_keep(r, NULL, &w);
    if (status == QRT_OK)
        *rows = w.count;
    else
        cli_note("%s", qrt_message()); /* what was measured is not lost by that */
    winners_free(&w);
    return QRT_OK;
}

static void say_why_it_ended(const struct tuner_result *r)
{
    const char *again = "; --resume goes on from there";
    if (r->is_stopped) cli_note("stopped: the best so far is kept%s", again);
    if (r->is_out_of_time) cli_note("the budget is spent: the best so far is kept%s", again);
}

static qrt_status finish(const struct cli *cli, const struct tuner_result *r,
                         const struct tuner_result *second)
{
    struct summary summary = {0};
    size_t rows;
    say_why_it_ended(r);
    TRY(summarize(r, second, &summary));
    TRY(keep_winners(r, &rows));
    if (cli->json)
        print_json(r, &summary, rows);
    else
        print_table(r, &summary, rows);
    return QRT_OK;
}

static qrt_status tune(const struct cli *cli, struct tuner_options *how)
{
    struct showing showing = {.cli = cli};
    struct tuner_result first, second = {.count = 0};
    how->progress = show;
    how->user = &showing;
    if (repeat) how->budget_s /= 2;
    TRY(tuner_run(how, &first));
    qrt_status status = QRT_OK;
    how->resume = 0;
    if (repeat && !first.is_stopped) status = tuner_run(how, &second);
    if (showing.what) cli_progress_end(&showing.progress);
    if (status == QRT_OK) status = finish(cli, &first, second.count ? &second : NULL);
    tuner_result_free(&first);
    tuner_result_free(&second);
    return status;
}

static qrt_status run(const struct cli *cli)
{
    struct measure_child_info info;
    struct points points;
    struct tuner_options how = {.device = {.name = device_name ? device_name : "cpu",
                                           .driver = driver,
                                           .stop = &told_to_stop},
                                .arch = arch_name,
                                .templates = templates,
                                .top = top,
                                .jobs = jobs,
                                .resume = resume,
                                .unranked = unranked};
    TRY(parse_time("budget", budget_text, 600, &how.budget_s));
    TRY(parse_time("timeout", timeout_text, 20, &how.device.limit_s));
    TRY(measure_child_look(&how.device, &info));
    const struct arch *arch = arch_find(arch_name ? arch_name : info.arch);
    if (!arch) return error_set(QRT_E_ARCH, "there is no arch '%s'", arch_name);
    TRY(points_collect(&asked, row_list, arch, &points));
    how.points = points.items;
    how.count = points.count;
    const qrt_status status = tune(cli, &how);
    points_free(&points);
    return status;
}

int cmd_tune(int argc, char **argv)
{
    struct cli cli;
    const int stop_now = cli_parse(&spec, argc, argv, &cli);
    if (stop_now) return stop_now - 1;
    asked.archs = "native"; /* the device says which; here only the rest is looked at */
    const char *problem = asked_problem(&asked);
    if (problem) return cli_usage(&spec, "%s", problem);
    catch_signals();
    const qrt_status status = run(&cli);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
