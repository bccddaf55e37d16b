/* cmd_build.c -- qgen build: the main job, from a request to compiled kernels */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "explain.h"
#include "file.h"
#include "key.h"
#include "model_cache.h"
#include "occupancy.h"
#include "pipeline.h"
#include "request_set.h"
#include "target.h"

static const char *arch_list, *scheme_list, *model, *request_list, *zero, *act, *rows, *out_folder,
    *templates, *shape_list, *gpu, *gpus;
static int bits, group, jobs, offline, rank_again, explain, top = 1;
static const struct cli_option options[] = {
    {"arch", 'a', CLI_STRING, &arch_list, "A[,A]",
     "what the kernels will run on: sm_75 .. sm_120, x86-64-v3, x86-64-v4,\n"
     "native (this machine's CPU); `qgen targets` lists them",
     0, 0},
    {"bits", 'b', CLI_INT, &bits, "B", "bits of a weight: 2 to 8", 0, 0},
    {"group", 'g', CLI_INT, &group, "G",
     "weights that share a scale: 32, 64, 128 .. (a multiple of 16);\n-1: all of a row", 0, 0},
    {"zero", 'z', CLI_STRING, &zero, "none|int|float",
     "zero point: none (symmetric), int per group, or a float minimum (none)", 0, 0},
    {"scheme", 's', CLI_STRING, &scheme_list, "S[,S]",
     "schemes by name instead: w4g128, w4g32m, w8gc.bf16; `qgen schemes`\nlists them", 0, 0},
    {"model", 0, CLI_STRING, &model, "F", "what this model needs instead: a packed model or GGUF",
     0, 0},
    {"request", 0, CLI_STRING, &request_list, "R[,R]",
     "single ops by name instead: linear.w4g128.f16.f16, glu.silu.f16", 0, 0},
    {"act", 0, CLI_STRING, &act, "f16|bf16|i8|e4m3|f32",
     "activations; i8, e4m3: quantized on the fly\n(GPUs: f16; CPUs: i8 and f32)", 0, 0},
    {"m", 'm', CLI_STRING, &rows, "M[..M]", "rows of activations (tokens): 1, or 1..4096 (any)", 0,
     0},
    {"shape", 0, CLI_STRING, &shape_list, "NxK[,..]",
     "weights [N, K] that linear kernels for a GPU are ranked for (those of\n"
     "Llama-3-8B, whole and in two parts, and any other)",
     0, 0},
    {"gpu", 0, CLI_STRING, &gpu, "NAME",
     "the GPU they are ranked for (the first of the table for the arch)", 0, 0},
    {"gpus", 0, CLI_STRING, &gpus, "FILE", "a table of GPUs instead of the program's", 0, 0},
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

enum { MAX_ARCHS = 16, MAX_SHAPES = 64 };

struct work {
    struct request_set set;
    const struct arch *archs[MAX_ARCHS];
    size_t arch_count;
    struct shape shapes[MAX_SHAPES];
    size_t shape_count;
    int m_lo, m_hi;
};

/* ---- what is asked for ---- */

static qrt_status add_arch(void *user, const char *name)
{
    struct work *w = user;
    const struct arch *arch;
    TRY(target_find(name, &arch));
    if (w->arch_count == MAX_ARCHS)
        return error_set(QRT_E_ARGUMENT, "--arch: more than %d", MAX_ARCHS);
    w->archs[w->arch_count++] = arch;
    return QRT_OK;
}

static qrt_status add_scheme(void *user, const char *name)
{
    struct work *w = user;
    struct scheme scheme;
    TRY(scheme_parse(name, &scheme));
    for (size_t i = 0; i < w->arch_count; i++)
        TRY(request_set_add_layer(&w->set, w->archs[i], &scheme, act, w->m_lo, w->m_hi));
    return QRT_OK;
}

static qrt_status add_request(void *user, const char *name)
{
    struct work *w = user;
    struct op_desc desc;
    TRY(op_desc_parse(name, &desc));
    for (size_t i = 0; i < w->arch_count; i++)
        TRY(request_set_add(&w->set, w->archs[i], &desc, w->m_lo, w->m_hi));
    return QRT_OK;
}

static qrt_status parse_zero(enum zero_type *out)
{
    static const char *const names[ZERO_COUNT] = {"none", "int", "float"};
    *out = ZERO_NONE;
    for (int i = 0; zero && i < ZERO_COUNT; i++)
        if (strcmp(zero, names[i]) == 0) return *out = (enum zero_type)i, QRT_OK;
    return zero ? error_set(QRT_E_ARGUMENT, "--zero %s: none, int or float", zero) : QRT_OK;
}

static qrt_status add_bits(struct work *w)
{
    enum zero_type zero_type;
    char name[SCHEME_NAME_BYTES];
    TRY(parse_zero(&zero_type));
    if (bits < 2 || bits > 8)
        return error_set(QRT_E_SCHEME, "--bits %d: integer weights have 2 to 8 bits", bits);
    struct scheme scheme = {
        .code = CODE_INT, .bits = (uint8_t)bits, .zero = (uint8_t)zero_type, .group = group};
    TRY(scheme_check(&scheme));
    scheme_name(&scheme, name);
    return add_scheme(w, name);
}

/* "7" or "1..4096" */
static qrt_status parse_rows(struct work *w)
{
    char *end = NULL;
    w->m_lo = 1;
    w->m_hi = PIPELINE_M_MAX;
    if (!rows) return QRT_OK;
    const long lo = strtol(rows, &end, 10);
    const long hi = strncmp(end, "..", 2) == 0 ? strtol(end + 2, &end, 10) : lo;
    if (*end || end == rows || lo < 1 || hi < lo || hi > PIPELINE_M_MAX)
        return error_set(QRT_E_ARGUMENT, "--m %s: a number from 1 up, or a range like 1..4096",
                         rows);
    w->m_lo = (int)lo;
    w->m_hi = (int)hi;
    return QRT_OK;
}

static qrt_status add_shape(void *user, const char *text)
{
    struct work *w = user;
    int N, K, used = 0;
    if (sscanf(text, "%9dx%9d%n", &N, &K, &used) != 2 || text[used] || N < 1 || K < 1)
        return error_set(QRT_E_ARGUMENT, "--shape %s: outputs x inputs, like 4096x11008", text);
    if (w->shape_count == MAX_SHAPES)
        return error_set(QRT_E_ARGUMENT, "--shape: more than %d", MAX_SHAPES);
    w->shapes[w->shape_count++] = (struct shape){N, K};
    return QRT_OK;
}

static qrt_status add_model(struct work *w)
{
    char *path;
    unsigned families = 0;
    for (size_t i = 0; i < w->arch_count; i++) families |= 1u << w->archs[i]->family;
    const struct pack_options how = {.families = families, .threads = jobs};
    TRY(model_cache_get(model, &how, &path));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < w->arch_count && status == QRT_OK; i++)
        status = request_set_add_model(&w->set, w->archs[i], path, act, w->m_lo, w->m_hi);
    free(path);
    return status;
}

static qrt_status collect(struct work *w)
{
    TRY(parse_rows(w));
    if (shape_list) TRY(cli_list(shape_list, add_shape, w));
    TRY(cli_list(arch_list, add_arch, w));
    if (model) return add_model(w);
    if (request_list) return cli_list(request_list, add_request, w);
    if (scheme_list) return cli_list(scheme_list, add_scheme, w);
    return add_bits(w);
}

/* Exactly one of the ways to say what; NULL: fine. */
static const char *usage_problem(void)
{
    const int ways = (bits != 0 || group != 0) + (scheme_list != NULL) + (model != NULL) +
                     (request_list != NULL);
    if (!arch_list) return "--arch is missing: sm_89, native, ..";
    if (ways == 0) return "what to generate is missing: --bits and --group, --scheme, or --model";
    if (ways > 1) return "--bits and --group, --scheme, --model and --request exclude each other";
    if (bits != 0 && group == 0) return "--group is missing: 32, 64, 128 .. or -1";
    if (group != 0 && bits == 0) return "--bits is missing: 2 to 8";
    if (zero && bits == 0) return "--zero goes with --bits; a scheme's name says its zero";
    if (offline && (rank_again || explain))
        return "--offline ranks nothing: leave out --rank and --explain";
    return NULL;
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

static void print_table(const struct work *w, const struct pipeline_result *result, double seconds)
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
           result->count, w->set.count, total, result->compiled, result->reused, seconds);
    if (result->winner_count > 0)
        printf("%zu winners by shape and rows, %zu requests ranked now\n", result->winner_count,
               result->ranking_count);
}

static void print_text(const struct work *w, const struct pipeline_result *result, double seconds)
{
    for (size_t i = 0; i < result->ranking_count && explain; i++)
        explain_print(&result->rankings[i]);
    print_table(w, result, seconds);
}

/* Two bars: of the rankings, one after the other, and of the kernels that are made in the end. */
struct show {
    const struct cli *cli;
    struct cli_progress making, ranking;
};

static void show_making(void *user, size_t done, size_t total)
{
    struct show *show = user;
    show->making.total = (double)total;
    cli_progress_update(&show->making, (double)done);
}

static void show_ranking(void *user, size_t done, size_t total)
{
    struct show *show = user;
    if (done == 0)
        cli_progress_start(&show->ranking, show->cli, "rank", "candidates", (double)total);
    cli_progress_update(&show->ranking, (double)done);
    if (done == total) cli_progress_end(&show->ranking);
}

static qrt_status build(struct work *w, const struct cli *cli, struct pipeline_result *result)
{
    struct show show = {.cli = cli};
    const struct pipeline_options how = {.templates = templates,
                                         .jobs = jobs,
                                         .offline = offline,
                                         .top = top,
                                         .shapes = w->shapes,
                                         .shape_count = w->shape_count,
                                         .rank =
                                             rank_again || explain ? DECIDE_ALWAYS : DECIDE_MISSING,
                                         .gpu = gpu,
                                         .gpus = gpus,
                                         .progress = show_making,
                                         .ranking = show_ranking,
                                         .user = &show};
    struct pipeline *p;
    TRY(pipeline_open(&how, &p));
    cli_progress_start(&show.making, cli, "build", "kernels", 0);
    qrt_status status = pipeline_make(p, w->set.items, w->set.count, result);
    cli_progress_end(&show.making);
    pipeline_close(p);
    if (status == QRT_OK) {
        status = write_all(result);
        if (status != QRT_OK) pipeline_result_free(result);
    }
    return status;
}

int cmd_build(int argc, char **argv)
{
    struct cli cli;
    struct work w = {0};
    struct pipeline_result result;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *problem = usage_problem();
    if (problem) return cli_usage(&spec, "%s", problem);
    const double started = cli_seconds();
    qrt_status status = collect(&w);
    if (status == QRT_OK) status = build(&w, &cli, &result);
    if (status == QRT_OK) {
        const double seconds = cli_seconds() - started;
        if (result.store_problem[0]) cli_note("%s", result.store_problem);
        if (result.note[0]) cli_note("%s", result.note);
        if (cli.json)
            print_json(&result, seconds);
        else
            print_text(&w, &result, seconds);
        pipeline_result_free(&result);
    }
    request_set_free(&w.set);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
