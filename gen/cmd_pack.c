/* cmd_pack.c -- qgen pack: a model file becomes a packed model */
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "cli.h"
#include "error.h"
#include "host.h"
#include "pack.h"

static const char *output, *arch_list = "native";
static int threads;
static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &output, "OUT.qm", "the packed model", 0, 0},
    {"arch", 'a', CLI_STRING, &arch_list, "A[,A]",
     "what will run it (native); weights are laid out once for all CPUs\n"
     "and once for all GPUs that are named",
     0, 0},
    {"jobs", 'j', CLI_INT, &threads, "J", "threads (one per processor)", 1, 64},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "pack IN -o OUT.qm [--arch A[,A]]",
    .about =
        "Packs a model for the runtime: weights in the order in which kernels read them, the\n"
        "tokenizer, and the list of operations, in one file that is mapped, not loaded.  IN is a\n"
        "GGUF file of a known architecture; `qgen inspect IN` says what is in it.  Values are not\n"
        "changed: what a packed weight is worth equals the source's to the last bit.",
    .examples = "  qgen pack model.gguf -o model.qm                        for this machine's CPU\n"
                "  qgen pack model.gguf -o model.qm --arch sm_89           for GPUs\n"
                "  qgen pack model.gguf -o model.qm --arch x86-64-v3,sm_90 for both",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
};

static qrt_status add_family(void *user, const char *name)
{
    unsigned *families = user;
    const struct arch *arch = arch_find(name);
    const int native = strcmp(name, "native") == 0; /* some level of x86-64: one family */
    if (!arch && !native) return error_set(QRT_E_ARCH, "'%s' is not an architecture", name);
    *families |= 1u << (native ? FAMILY_X86 : arch->family);
    return QRT_OK;
}

static void show_progress(void *user, uint64_t done, uint64_t all)
{
    struct cli_progress *progress = user;
    progress->total = (double)all / 1e6;
    cli_progress_update(progress, (double)done / 1e6);
}

static void report(const struct cli *cli, const struct pack_result *r, double seconds)
{
    char bytes[16];
    cli_bytes(r->bytes, bytes);
    if (cli->json)
        cli_json(json_pack("{ss sI sI sI sf}", "output", output, "tensors", (json_int_t)r->tensors,
                           "weights", (json_int_t)r->weights, "bytes", (json_int_t)r->bytes,
                           "seconds", seconds),
                 "qgen.pack/1");
    else
        printf("%s: %zu tensors, %.1f million weights, %s, %.2f s\n", output, r->tensors,
               (double)r->weights / 1e6, bytes, seconds);
}

int cmd_pack(int argc, char **argv)
{
    struct cli cli;
    struct cli_progress progress;
    struct pack_result result;
    unsigned families = 0;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    if (!output) return cli_usage(&spec, "-o OUT.qm is missing");
    qrt_status status = cli_list(arch_list, add_family, &families);
    if (status != QRT_OK) return cli_fail(status);
    const double started = host_seconds();
    cli_progress_start(&progress, &cli, "pack", "million weights", 0);
    const struct pack_options how = {families, threads, show_progress, &progress};
    status = pack_file(cli.operands[0], output, &how, &result);
    cli_progress_end(&progress);
    if (status != QRT_OK) return cli_fail(status);
    report(&cli, &result, host_seconds() - started);
    return EXIT_DONE;
}
