/* cmd_dequant.c -- qgen dequant: one tensor as float32 in a NumPy file */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "filekind.h"
#include "gguf.h"
#include "npy.h"
#include "qm_file.h"

/* A tensor of an open file. */
struct rows {
    int N, K;
    char scheme[SCHEME_NAME_BYTES];
    void (*read)(const struct rows *r, int n, float *row);
    struct gguf *gguf; /* of a GGUF file */
    struct generic_matrix matrix;
    struct generic_row generic;
    qrt *rt; /* of a packed model */
    qrt_model *model;
    const struct qm_tensor *packed;
    struct qk_weight weight;
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

/* QRT_E_ARGUMENT that names the tensor most like the one asked for. */
static qrt_status no_tensor(const char *path, const char *name, const char *const *names,
                            size_t count)
{
    const char *near = cli_nearest(name, names, count);
    return error_set(QRT_E_ARGUMENT, "%s has no tensor '%s'%s%s%s; `qgen inspect` lists its %zu",
                     path, name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
                     count);
}

/* ---- GGUF ---- */

static void read_gguf(const struct rows *r, int n, float *row)
{
    r->matrix.row(&r->matrix, n, &r->generic);
    generic_dequant(&r->matrix.scheme, &r->generic, r->K, row);
}

static qrt_status find_gguf(const struct gguf *g, const char *name, const struct gguf_tensor **out)
{
    *out = gguf_find_tensor(g, name);
    if (*out) return QRT_OK;
    const char **names = calloc(g->tensor_count + 1, sizeof *names);
    if (!names) return error_set(QRT_E_MEMORY, "no memory");
    for (size_t i = 0; i < g->tensor_count; i++) names[i] = g->tensors[i].name;
    const qrt_status status = no_tensor(g->path, name, names, g->tensor_count);
    free(names);
    return status;
}

static qrt_status open_gguf(const char *path, const char *name, struct rows *r)
{
    const struct gguf_tensor *t = NULL;
    TRY(gguf_open(path, &r->gguf));
    TRY(find_gguf(r->gguf, name, &t));
    TRY(gguf_matrix(r->gguf, t, &r->matrix));
    r->N = r->matrix.N;
    r->K = r->matrix.K;
    r->read = read_gguf;
    scheme_name(&r->matrix.scheme, r->scheme);
    return generic_alloc(&r->matrix.scheme, r->K, &r->generic);
}

/* ---- packed models ---- */

static void read_packed(const struct rows *r, int n, float *row)
{
    const enum layout_family family = (enum layout_family)r->weight.family;
    layout_dequant_row(family, &r->packed->scheme, &r->weight, n, row);
}

static void read_vector(const struct rows *r, int n, float *row)
{
    (void)n;
    memcpy(row, r->model->base + r->packed->vector.offset, (size_t)r->K * sizeof *row);
}

/* The matrix in the first family that it is packed for. */
static struct qk_weight packed_weight(const qrt_model *m, const struct qm_tensor *t)
{
    int family = 0;
    while (t->section[family][SECTION_CODES].bytes == 0) family++; /* qm_check: there is one */
    const struct qm_range *section = t->section[family];
    const void *at[SECTION_COUNT];
    for (int s = 0; s < SECTION_COUNT; s++)
        at[s] = section[s].bytes ? m->base + section[s].offset : NULL;
    return (struct qk_weight){
        .codes = at[SECTION_CODES],
        .scales = at[SECTION_SCALES],
        .zeros = at[SECTION_ZEROS],
        .supers = at[SECTION_SUPERS],
        .N = (int)t->N,
        .K = (int)t->K,
        .G = scheme_groups(&t->scheme, (int)t->K),
        .family = family,
    };
}

static qrt_status find_packed(const qrt_model *m, const char *name, const struct qm_tensor **out)
{
    const char **names = calloc(m->tensor_count + 1, sizeof *names);
    if (!names) return error_set(QRT_E_MEMORY, "no memory");
    *out = NULL;
    for (size_t i = 0; i < m->tensor_count; i++) {
        names[i] = m->strings + m->tensors[i].name;
        if (strcmp(names[i], name) == 0) *out = &m->tensors[i];
    }
    const qrt_status status = *out ? QRT_OK : no_tensor(m->path, name, names, m->tensor_count);
    free(names);
    return status;
}

static qrt_status open_packed(const char *path, const char *name, struct rows *r)
{
    TRY(qrt_open(NULL, &r->rt));
    TRY(qrt_model_open(r->rt, path, &r->model));
    TRY(find_packed(r->model, name, &r->packed));
    const struct scheme f32 = {.code = CODE_F32, .bits = 32, .group = GROUP_ROW};
    const int is_vector = r->packed->is_vector != 0;
    r->N = (int)r->packed->N;
    r->K = (int)r->packed->K;
    r->read = is_vector ? read_vector : read_packed;
    if (!is_vector) r->weight = packed_weight(r->model, r->packed);
    scheme_name(is_vector ? &f32 : &r->packed->scheme, r->scheme);
    return QRT_OK;
}

/* ---- the command ---- */

static qrt_status open_rows(const char *path, const char *name, struct rows *r)
{
    enum filekind kind;
    TRY(filekind_of(path, &kind));
    switch (kind) {
    case FILE_GGUF: return open_gguf(path, name, r);
    case FILE_QM: return open_packed(path, name, r);
    case FILE_ENTRY:
    case FILE_BUNDLE: break;
    }
    return error_set(QRT_E_ARGUMENT, "%s holds kernels and no tensors", path);
}

static void close_rows(struct rows *r)
{
    generic_free(&r->generic);
    gguf_close(r->gguf);
    qrt_model_close(r->model);
    qrt_close(r->rt);
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
        r->read(r, n, row);
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
    qrt_status status = outfile_refuse_input(output, cli.operands[0]);
    if (status == QRT_OK) status = open_rows(cli.operands[0], cli.operands[1], &r);
    if (status == QRT_OK) status = write_rows(&r, output);
    if (status == QRT_OK) report(&cli, &r);
    close_rows(&r);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
