/* cmd_build.c -- qgen build: the main job, from a request to compiled kernels */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asked.h"
#include "cli.h"
#include "error.h"
#include "explain.h"
#include "file.h"
#include "host.h"
#include "key.h"
#include "occupancy.h"

static struct asked_options asked_for;
static const char *out_folder, *templates;
static int jobs, offline, rank_again, explain, top = 1;
static const struct cli_option options[] = {
    ASKED_OPTIONS(asked_for),
    {"rank", 0, CLI_FLAG, &rank_again, NULL, "rank anew, whatever the tables of winners have", 0,
     0},
    {"explain", 0, CLI_FLAG, &explain, NULL,
     "rank anew, and say for each shape and range of rows what won and why", 0, 0},
    {"top", 't', CLI_INT, &top, "T", "the T best kernels for each range of rows too (1)", 1, 64},
    {"out", 'o', CLI_STRING, &out_folder, "DIR",
     "write each kernel there: NAME.qk1 for the runtime, its source, its image", 0, 0},
    {"jobs", 'j', CLI_INT, &jobs, "J", "compilers at a time (one per processor)", 1, 64},
    {"offline", 0, CLI_FLAG, &offline, NULL,
     "compile nothing: a kernel that is not stored is exit code 3", 0, 0},
    {"templates", 0, CLI_STRING, &templates, "DIR", "templates of your own: DIR/cuda, DIR/x86", 0,
     0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "build --arch A[,A] (--bits B --group G | --scheme S[,S] | --model F) [--m 1..4096] "
             "[--out DIR]",
    .about =
        "Generates, compiles and stores the kernels that a layer of quantized weights needs: the\n"
        "linear ops for every number of rows, and the small ones around them.  Kernels are kept "
        "in\n"
        "a store by what they are made of ($QGEN_CACHE, else ~/.cache/qgen); the second time "
        "costs\n"
        "nothing.  CUDA kernels need NVRTC, x86 kernels a C compiler; neither needs a GPU.\n\n"
        "Which tile sizes a linear kernel has on a GPU depends on its shape and the number of "
        "rows.\n"
        "Tables of winners say so; what they lack is ranked now, and kept: all candidates are\n"
        "compiled, counted on the virtual GPU, and ordered by what a model of the GPU predicts.",
    .examples =
        "  qgen --arch sm_89 --bits 4 --group 128             4-bit weights on an RTX 4090\n"
        "  qgen build --arch native --model m.qm --out k/     all that a model needs here\n"
        "  qgen build --arch sm_80,sm_90 --scheme w4g32m      as Q4_1 and Q4_K have it\n"
        "  qgen build --arch sm_86 --request linear.w4g128.f16.f16 --shape 5120x5120 --explain",
    .options = options,
};

/* What is wrong with how the options go together; NULL: nothing. */
static const char *usage_problem(void)
{
    if (offline && (rank_again || explain))
        return "--offline ranks nothing: leave out --rank and --explain";
    return asked_problem(&asked_for);
}

/* ---- files ---- */

static qrt_status write_part(const struct pipeline_kernel *k, enum entry_part part,
                             const char *base, const char *suffix)
{
    char path[4096];
    size_t bytes = k->entry.part[part].bytes;
    if (bytes == 0) return QRT_OK;
    if (part == ENTRY_PTX) bytes--; /* the zero byte is for the driver */
    snprintf(path, sizeof path, "%s.%s", base, suffix);
    return file_write(path, k->entry.part[part].data, bytes);
}

/* "DIR/qk_gemm_linear_..m9.sm_89": the symbol alone is not unique among archs and rows. */
static void base_name(const struct pipeline_kernel *k, char out[4000])
{
    const struct entry_record *r = &k->entry.record;
    snprintf(out, 4000, "%s/%s.m%d.%s", out_folder, r->symbol, r->m_lo, r->arch);
}

static qrt_status write_kernel(const struct pipeline_kernel *k)
{
    char base[4000], path[4096];
    const int is_sm = arch_find(k->entry.record.arch)->kind == ARCH_SM;
    base_name(k, base);
    snprintf(path, sizeof path, "%s.qk1", base);
    TRY(file_write(path, k->bytes, k->count));
    TRY(write_part(k, ENTRY_SOURCE, base, is_sm ? "cu" : "c"));
    TRY(write_part(k, ENTRY_PTX, base, "ptx"));
    return write_part(k, ENTRY_IMAGE, base, is_sm ? "cubin" : "so");
}

static qrt_status write_all(const struct pipeline_result *result)
{
    if (!out_folder) return QRT_OK;
    TRY(file_make_folders(out_folder, 0777));
    for (size_t i = 0; i < result->count; i++) TRY(write_kernel(&result->kernels[i]));
    return QRT_OK;
}

/* ---- results ---- */

static json_t *tune_json(const char *tune)
{
    json_t *object = json_object();
    char key[64], value[64];
    int used = 0;
    for (; sscanf(tune, " %63[^=]=%63s%n", key, value, &used) == 2; tune += used) {
        char *end;
        const long long number = strtoll(value, &end, 10);
        json_object_set_new(object, key, *end ? json_string(value) : json_integer(number));
    }
    return object;
}

static json_t *kernel_json(const struct pipeline_kernel *k)
{
    const struct entry_record *r = &k->entry.record;
    struct occupancy occupancy;
    occupancy_of(arch_find(r->arch), r, &occupancy);
    char request[OP_NAME_BYTES], scheme[SCHEME_NAME_BYTES] = "", key[KEY_HEX_BYTES];
    op_desc_name(&r->desc, request);
    if (r->desc.op == OP_LINEAR || r->desc.op == OP_EMBED) scheme_name(&r->desc.weight, scheme);
    key_hex(k->entry.key, key);
    json_t *object = json_pack(
        "{ss ss ss so* ss s[ii] so ss ss si si si si sI sI sf sb sf ss#}", "template", r->template_,
        "op", op_name((enum op)r->desc.op), "request", request, "scheme",
        *scheme ? json_string(scheme) : json_null(), "arch", r->arch, "m", r->m_lo, r->m_hi, "tune",
        tune_json(r->tune), "symbol", r->symbol, "key", key, "regs", (int)r->regs, "spill_bytes",
        (int)r->stack_bytes, "smem_bytes", (int)(r->smem_bytes + r->smem_static_bytes), "split",
        r->split, "image_bytes", (json_int_t)k->entry.part[ENTRY_IMAGE].bytes, "ptx_bytes",
        (json_int_t)k->entry.part[ENTRY_PTX].bytes, "occupancy", occupancy.share, "reused",
        k->reused, "seconds", k->seconds, "source", (const char *)k->entry.part[ENTRY_SOURCE].data,
        (int)k->entry.part[ENTRY_SOURCE].bytes);
    if (object && out_folder) {
        char base[4000];
        base_name(k, base);
        json_object_set_new(object, "file", json_sprintf("%s.qk1", base));
    }
    return object;
}

static json_t *winner_json(const struct pipeline_result *result, size_t i)
{
    const struct winner *w = &result->rows[i];
    char request[OP_NAME_BYTES], shape[EXPLAIN_NAME_BYTES], key[KEY_HEX_BYTES];
    op_desc_name(&w->desc, request);
    explain_shape(w->N, w->K, shape);
    key_hex(result->winners[i].key, key);
    return json_pack("{ss ss ss s[ii] ss ss ss}", "request", request, "arch", w->arch, "shape",
                     shape, "m", w->m_lo, w->m_hi, "device", w->device, "how",
                     w->how == WINNER_MEASURED ? "measured" : "model", "key", key);
}

static void print_json(const struct pipeline_result *result, double seconds)
{
    json_t *kernels = json_array(), *winners = json_array(), *rankings = json_array();
    for (size_t i = 0; i < result->count; i++)
        json_array_append_new(kernels, kernel_json(&result->kernels[i]));
    for (size_t i = 0; i < result->winner_count; i++)
        json_array_append_new(winners, winner_json(result, i));
    for (size_t i = 0; i < result->ranking_count; i++)
        json_array_append_new(rankings, explain_json(&result->rankings[i]));
    cli_json(json_pack("{so so so sI sI sf}", "kernels", kernels, "winners", winners, "rankings",
                       rankings, "compiled", (json_int_t)result->compiled, "reused",
                       (json_int_t)result->reused, "seconds", seconds),
             "qgen.build/1");
}

static void print_kernel(const struct pipeline_kernel *k)
{
    const struct entry_record *r = &k->entry.record;
    char name[OP_NAME_BYTES], m[EXPLAIN_NAME_BYTES], image[16], smem[16], time[16] = "stored";
    const int is_sm = arch_find(r->arch)->kind == ARCH_SM;
    op_desc_name(&r->desc, name);
    explain_rows(r->m_lo, r->m_hi, m);
    cli_bytes(k->entry.part[ENTRY_IMAGE].bytes, image);
    cli_bytes(r->smem_bytes + r->smem_static_bytes, smem);
    if (!k->reused) snprintf(time, sizeof time, "%.2f s", k->seconds);
    printf("%-9s  %-28s  %-8s  %-44s", r->arch, name, m, *r->tune ? r->tune : "-");
    if (is_sm)
        printf("  %4u  %9s", r->regs, smem);
    else
        printf("  %4s  %9s", "-", "-");
    printf("  %9s  %7s%s\n", image, time, r->stack_bytes ? "  SPILLS" : "");
}

static void print_table(const struct asked *asked, const struct pipeline_result *result,
                        double seconds)
{
    uint64_t bytes = 0;
    char total[16];
    printf("%-9s  %-28s  %-8s  %-44s  %4s  %9s  %9s  %7s\n", "arch", "kernel", "rows", "tile",
           "regs", "shared", "image", "time");
    for (size_t i = 0; i < result->count; i++) {
        print_kernel(&result->kernels[i]);
        bytes += result->kernels[i].count;
    }
    cli_bytes(bytes, total);
    printf("%zu kernels for %zu requests, %s: %zu compiled, %zu from the store, %.2f s\n",
           result->count, asked->set.count, total, result->compiled, result->reused, seconds);
    if (result->winner_count > 0)
        printf("%zu winners by shape and rows, %zu requests ranked now\n", result->winner_count,
               result->ranking_count);
}

static void print_text(const struct asked *asked, const struct pipeline_result *result,
                       double seconds)
{
    for (size_t i = 0; i < result->ranking_count && explain; i++)
        explain_print(&result->rankings[i]);
    print_table(asked, result, seconds);
}

static qrt_status build(const struct asked *asked, const struct cli *cli,
                        struct pipeline_result *result)
{
    const struct pipeline_options how = {.templates = templates,
                                         .jobs = jobs,
                                         .offline = offline,
                                         .top = top,
                                         .device = "*", /* whatever was measured, wherever */
                                         .rank = rank_again || explain ? DECIDE_ALWAYS
                                                                       : DECIDE_MISSING};
    TRY(asked_make(asked, &how, cli, "build", result));
    const qrt_status status = write_all(result);
    if (status != QRT_OK) pipeline_result_free(result);
    return status;
}

int cmd_build(int argc, char **argv)
{
    struct cli cli;
    struct asked asked = {0};
    struct pipeline_result result;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *problem = usage_problem();
    if (problem) return cli_usage(&spec, "%s", problem);
    const double started = host_seconds();
    qrt_status status = asked_collect(&asked_for, jobs, &asked);
    if (status == QRT_OK) status = build(&asked, &cli, &result);
    if (status == QRT_OK) {
        const double seconds = host_seconds() - started;
        if (result.store_problem[0]) cli_note("%s", result.store_problem);
        if (result.note[0]) cli_note("%s", result.note);
        if (cli.json)
            print_json(&result, seconds);
        else
            print_text(&asked, &result, seconds);
        pipeline_result_free(&result);
    }
    asked_free(&asked);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
