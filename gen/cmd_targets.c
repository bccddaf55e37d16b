/* cmd_targets.c -- qgen targets: the architectures that kernels can be generated for */
#include <stdio.h>
#include <string.h>

#include "cc.h"
#include "cli.h"
#include "nvrtc.h"
#include "target.h"

static const struct cli_spec spec = {
    .usage = "targets",
    .about =
        "Lists the architectures for --arch, what runs kernels made for them, and whether this\n"
        "machine has the compiler.  Generating for a GPU needs no GPU.",
    .examples = "  qgen targets --format json",
};

/* What this machine can compile, and with what. */
struct compilers {
    char nvrtc[64], cc[192]; /* versions; "": not found */
};

static void ask_compilers(struct compilers *c)
{
    struct nvrtc *nvrtc;
    struct cc *cc;
    memset(c, 0, sizeof *c);
    if (nvrtc_open(&nvrtc) == QRT_OK) {
        char version[16];
        if (nvrtc_version(nvrtc, version) == QRT_OK)
            snprintf(c->nvrtc, sizeof c->nvrtc, "NVRTC %s", version);
        nvrtc_close(nvrtc);
    }
    if (cc_open(&cc) == QRT_OK) {
        snprintf(c->cc, sizeof c->cc, "%s", cc_identity(cc));
        cc_close(cc);
    }
}

static void describe(const struct arch *a, char out[64])
{
    if (a->kind == ARCH_X86)
        snprintf(out, 64, a->number == 3 ? "CPUs with AVX2 and FMA" : "CPUs with AVX-512");
    else if (a->exact)
        snprintf(out, 64, "compute capability %d.%d alone", a->number / 10, a->number % 10);
    else if (a->number % 10 == 9)
        snprintf(out, 64, "compute capability %d.9", a->number / 10);
    else
        snprintf(out, 64, "compute capability %d.%d to %d.9", a->number / 10, a->number % 10,
                 a->number / 10);
}

static json_t *target_json(const struct arch *a, const struct compilers *c, const char *native)
{
    char runs_on[64];
    const int is_sm = a->kind == ARCH_SM;
    const char *compiler = is_sm ? c->nvrtc : c->cc;
    describe(a, runs_on);
    json_t *object = json_pack("{ss ss ss sb so}", "name", a->name, "kind", is_sm ? "cuda" : "x86",
                               "runs_on", runs_on, "native", strcmp(a->name, native) == 0,
                               "compiler", *compiler ? json_string(compiler) : json_null());
    if (is_sm) {
        json_object_set_new(object, "smem_bytes", json_integer(a->smem_bytes));
        json_object_set_new(object, "smem_sm_bytes", json_integer(a->smem_sm_bytes));
        json_object_set_new(object, "max_threads_sm", json_integer(a->max_threads_sm));
    }
    return object;
}

static void print_target(const struct arch *a, const struct compilers *c, const char *native)
{
    char runs_on[64], smem[16] = "-";
    const char *compiler = a->kind == ARCH_SM ? c->nvrtc : c->cc;
    describe(a, runs_on);
    if (a->kind == ARCH_SM) cli_bytes((uint64_t)a->smem_bytes, smem);
    printf("%-10s  %-32s  %10s  %s%s\n", a->name, runs_on, smem,
           *compiler ? compiler : "none found", strcmp(a->name, native) == 0 ? "  (native)" : "");
}

int cmd_targets(int argc, char **argv)
{
    struct cli cli;
    struct compilers compilers;
    const struct arch *host;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *native = target_native(&host) == QRT_OK ? host->name : "";
    ask_compilers(&compilers);
    json_t *targets = json_array();
    if (!cli.json) printf("%-10s  %-32s  %10s  %s\n", "arch", "runs on", "shared", "compiler here");
    for (const struct arch *a = arch_table(); a->name[0]; a++) {
        json_array_append_new(targets, target_json(a, &compilers, native));
        if (!cli.json) print_target(a, &compilers, native);
    }
    if (cli.json) cli_json(json_pack("{sO}", "targets", targets), "qgen.targets/1");
    json_decref(targets);
    return EXIT_DONE;
}
