/* cmd_plan_jobs.c -- qgen plan-jobs: a build as jobs for many machines */
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "error.h"
#include "file.h"
#include "jobs.h"

static struct asked_options asking;
static const char *out_path;
static struct jobs_plan planning = {.top = 1, .seconds = 60};
static const struct cli_option options[] = {
    ASKED_OPTIONS(asking),
    {"top", 't', CLI_INT, &planning.top, "T", "kernels for each range of rows (1)", 1, 64},
    {"tune", 0, CLI_STRING, &planning.device, "D",
     "jobs as well that measure each linear on this device of a worker:\ncuda:0, cpu", 0, 0},
    {"tune-rows", 0, CLI_STRING, &planning.rows, "M[,M]",
     "rows of x to measure at (those of `qgen tune`)", 0, 0},
    {"tune-seconds", 0, CLI_INT, &planning.seconds, "S",
     "time for measuring, for each linear and weight (60)", 1, 86400},
    {"out", 'o', CLI_STRING, &out_path, "FILE", "the plan: a job a line (stdout)", 0, 0},
    {"jobs", 'j', CLI_INT, &planning.threads, "J", "threads that pack a model (one per processor)",
     1, 64},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "plan-jobs --arch A[,A] (--bits B --group G | --scheme S[,S] | --model F) -o FILE",
    .about =
        "Writes what `qgen build` would do with the same options as a plan: a file of jobs, one\n"
        "line each, in an order and with names that depend on what is asked for alone.  Machines\n"
        "do shares of it (`qgen work --shard I/N`) into folders of their own, which become one by\n"
        "`qgen cache merge`: the same files, byte for byte, as one machine would have made.\n"
        "Take the same qgen and the same compilers everywhere.  With --tune, workers that have\n"
        "the device measure too; a job of that kind has its machine to itself.",
    .examples = "  qgen plan-jobs --arch sm_80,sm_89,sm_90a --scheme w4g128,w8gc -o jobs.jsonl\n"
                "  seq 4 | parallel qgen work --shard {}/4 --jobs jobs.jsonl --out out/{}\n"
                "  qgen cache merge out/* -o \"$(qgen cache path)\"\n"
                "  sbatch --array=1-16 examples/cluster/slurm.sh jobs.jsonl out",
    .options = options,
};

static qrt_status write_plan(const struct jobs *jobs)
{
    char *text;
    size_t bytes;
    TRY(jobs_text(jobs, &text, &bytes));
    qrt_status status = QRT_OK;
    if (out_path)
        status = file_write(out_path, text, bytes);
    else if (fwrite(text, 1, bytes, stdout) != bytes)
        status = error_set(QRT_E_IO, "stdout cannot be written");
    free(text);
    return status;
}

int cmd_plan_jobs(int argc, char **argv)
{
    struct cli cli;
    struct jobs jobs = {0};
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *problem = asked_problem(&asking);
    if (problem) return cli_usage(&spec, "%s", problem);
    if (cli.json && !out_path) return cli_usage(&spec, "--format json needs --out FILE");
    qrt_status status = jobs_plan(&asking, &planning, &jobs);
    if (status == QRT_OK) status = write_plan(&jobs);
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{ss sI}", "file", out_path, "jobs", (json_int_t)jobs.count),
                 "qgen.plan-jobs/1");
    else if (status == QRT_OK && out_path)
        printf("%s: %zu jobs\n", out_path, jobs.count);
    jobs_free(&jobs);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
