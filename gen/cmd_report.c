/* cmd_report.c -- qgen report: measurements as one HTML page */
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "error.h"
#include "file.h"
#include "gpu_table.h"
#include "report.h"
#include "store.h"

static const char *output = "report.html", *gpu_file;
static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &output, "FILE", "the page (report.html)", 0, 0},
    {"gpus", 0, CLI_STRING, &gpu_file, "FILE", "another table of GPUs ($QGEN_GPUS)", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "report [FILES..] [-o report.html]",
    .about =
        "Writes one HTML page that needs no network and no script: a roofline of every measured\n"
        "kernel, the history of tuning, the fastest kernels beside the defaults, errors against\n"
        "ref, and where each figure comes from.  FILES are results of `qgen check --format json`,\n"
        "bench results (qgen.bench/1) and trials of `qgen tune` (.jsonl); none: this machine's\n"
        "trials.",
    .examples = "  qgen report                          what `qgen tune` measured on this machine\n"
                "  qgen check --format json > check.json\n"
                "  qgen report check.json bench.json ~/.cache/qgen/tuning/*.jsonl -o report.html",
    .options = options,
    .max_operands = 4096,
};

static qrt_status read_own(struct records *r)
{
    struct store *store;
    TRY(store_open(NULL, &store));
    const qrt_status status = records_add_tuning(r, store_folder(store));
    const int none = status == QRT_OK && r->count == 0;
    if (none)
        error_set(QRT_E_IO, "%s/tuning: no measurements; `qgen tune --device cpu` makes some",
                  store_folder(store));
    store_close(store);
    return none ? QRT_E_IO : status;
}

static qrt_status read_all(const struct cli *cli, struct records *r)
{
    if (cli->operand_count == 0) return read_own(r);
    for (int i = 0; i < cli->operand_count; i++) TRY(records_add_file(r, cli->operands[i]));
    return QRT_OK;
}

static qrt_status write_page(const struct records *r, size_t *bytes)
{
    struct gpus table;
    char *page;
    TRY(gpu_table_load(gpu_file, &table));
    TRY(report_page(r, &table, &page, bytes));
    const qrt_status status = file_write(output, page, *bytes);
    free(page);
    return status;
}

int cmd_report(int argc, char **argv)
{
    struct cli cli;
    struct records r = {.count = 0};
    size_t bytes = 0;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    qrt_status status = read_all(&cli, &r);
    if (status == QRT_OK) status = write_page(&r, &bytes);
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{ss sI sI sI}", "output", output, "bytes", (json_int_t)bytes, "files",
                           (json_int_t)r.file_count, "measurements", (json_int_t)r.count),
                 "qgen.report/1");
    else if (status == QRT_OK)
        printf("%s: %zu measurements of %zu files, %zu bytes\n", output, r.count, r.file_count,
               bytes);
    records_free(&r);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
