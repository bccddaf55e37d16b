/* cmd_dequant.c -- qgen dequant: one tensor as float32 in a NumPy file */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "gguf.h"
#include "npy.h"

/* The tensor, from whatever file it lies in. */
struct rows {
    int N, K;
    char scheme[SCHEME_NAME_BYTES];
    struct gguf *gguf;
    struct generic_matrix matrix;
    struct generic_row generic;
};

static const char *output;
static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &output, "X.npy", "where the matrix goes", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "dequant FILE TENSOR -o X.npy",
    .about =
        "Writes one tensor as float32 [N, K], row by row: N outputs, K inputs (what a GGUF file\n"
        "calls dimension 0).  Every operation is rounded to float32, as the scheme's rule says.\n"
        "FILE is a GGUF model or a packed model (.qm); `qgen inspect FILE` lists its tensors.",
    .examples = "  qgen dequant model.gguf blk.0.attn_q.weight -o q.npy\n"
                "  python3 -c \"import numpy; print(numpy.load('q.npy').shape)\"",
    .options = options,
    .min_operands = 2,
    .max_operands = 2,
};

/* QRT_E_ARGUMENT that lists the names most like the one asked for. */
static qrt_status no_tensor(const struct gguf *g, const char *name)
{
    const char **names = calloc(g->tensor_count + 1, sizeof *names);
    if (!names) return error_set(QRT_E_MEMORY, "no memory");
    for (size_t i = 0; i < g->tensor_count; i++) names[i] = g->tensors[i].name;
    const char *near = cli_nearest(name, names, g->tensor_count);
    error_set(QRT_E_ARGUMENT, "%s has no tensor '%s'%s%s%s; `qgen inspect` lists its %zu", g->path,
              name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
              g->tensor_count);
    free(names);
    return QRT_E_ARGUMENT;
}

static qrt_status open_gguf(const char *path, const char *name, struct rows *r)
{
    TRY(gguf_open(path, &r->gguf));
    const struct gguf_tensor *t = gguf_find_tensor(r->gguf, name);
    if (!t) return no_tensor(r->gguf, name);
    TRY(gguf_matrix(r->gguf, t, &r->matrix));
    r->N = r->matrix.N;
    r->K = r->matrix.K;
    scheme_name(&r->matrix.scheme, r->scheme);
    return generic_alloc(&r->matrix.scheme, r->K, &r->generic);
}

static void read_row(const struct rows *r, int n, float *row)
{
    r->matrix.row(&r->matrix, n, &r->generic);
    generic_dequant(&r->matrix.scheme, &r->generic, r->K, row);
}

static qrt_status write_rows(const struct rows *r, const char *path)
{
    struct npy npy;
    float *row = malloc((size_t)r->K * sizeof *row);
    if (!row) return error_set(QRT_E_MEMORY, "no memory for a row of %d", r->K);
    qrt_status status = npy_create(path, (uint64_t)r->N, (uint64_t)r->K, &npy);
    if (status != QRT_OK) {
        free(row);
        return status;
    }
    for (int n = 0; n < r->N && status == QRT_OK; n++) {
        read_row(r, n, row);
        status = npy_row(&npy, row);
    }
    if (status == QRT_OK) status = npy_commit(&npy);
    npy_discard(&npy);
    free(row);
    return status;
}

static void report(const struct cli *cli, const struct rows *r)
{
    if (cli->json)
        cli_json(json_pack("{ss ss s[ii] ss}", "tensor", cli->operands[1], "scheme", r->scheme,
                           "shape", r->N, r->K, "output", output),
                 "qgen.dequant/1");
    else
        printf("%s: %s, float32 [%d, %d] in %s\n", cli->operands[1], r->scheme, r->N, r->K, output);
}

int cmd_dequant(int argc, char **argv)
{
    struct cli cli;
    struct rows r = {0};
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    if (!output) return cli_usage(&spec, "-o X.npy is missing");
    qrt_status status = open_gguf(cli.operands[0], cli.operands[1], &r);
    if (status == QRT_OK) status = write_rows(&r, output);
    if (status == QRT_OK) report(&cli, &r);
    generic_free(&r.generic);
    gguf_close(r.gguf);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
