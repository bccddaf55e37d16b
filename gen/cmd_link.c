/* cmd_link.c -- qgen link: a bundle becomes a static library, so that one binary is the whole product */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "bundle_make.h"
#include "cli.h"
#include "error.h"
#include "file.h"
#include "target.h"

static const char *out_path, *header_path, *arch_list, *prefix;
static const struct cli_option options[] = {
    {"out", 'o', CLI_STRING, &out_path, "FILE.a", "the static library, libNAME.a", 0, 0},
    {"header", 0, CLI_STRING, &header_path, "FILE.h", "write the header that goes with it", 0, 0},
    {"arch", 'a', CLI_STRING, &arch_list, "A[,A]", "keep the kernels of these archs only (all)", 0,
     0},
    {"prefix", 0, CLI_STRING, &prefix, "NAME",
     "the function is NAME_bundle() (the library's name without lib and .a)", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "link K.qk -o libNAME.a [--header NAME.h] [--arch A[,A]]",
    .about =
        "Makes a static library of a bundle: one const table, no code, no constructor, no "
        "relocation.\n"
        "Linked with libqrt it makes a program that needs no file of kernels, no compiler and no\n"
        "environment.  The program opens the table with qrt_bundle_open_memory() and says\n"
        "QRT_TRUST_CALLER: it is part of the program, and whoever could change it could change "
        "the\n"
        "program.  Needs no compiler and no ar; equal bundles give equal bytes.",
    .examples = "  qgen link k.qk -o libkernels.a --header kernels.h\n"
                "  qgen link k.qk -o libkernels.a --arch x86-64-v3     a pack for CPUs only\n"
                "  cc product.c -lqrt libkernels.a -lm                 all of it in one binary\n",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
};

struct wanted {
    const struct arch *archs[64];
    size_t count;
};

static qrt_status add_arch(void *user, const char *name)
{
    struct wanted *w = user;
    if (w->count == sizeof w->archs / sizeof *w->archs)
        return error_set(QRT_E_ARGUMENT, "--arch: more than %zu", w->count);
    return target_find(name, &w->archs[w->count++]);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "out/libfast-kernels.a" -> "fast_kernels" */
static void default_prefix(char name[ARCHIVE_PREFIX_BYTES])
{
    const char *base = base_of(out_path);
    if (strncmp(base, "lib", 3) == 0) base += 3;
    snprintf(name, ARCHIVE_PREFIX_BYTES, "%.*s", (int)strcspn(base, "."), base);
    for (char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '_';
}

static qrt_status write_library(const struct bundle_file *f, const char *name, size_t *bytes)
{
    void *library;
    TRY(archive_library(name, f->bytes, f->count, &library, bytes));
    const qrt_status status = file_write(out_path, library, *bytes);
    free(library);
    return status;
}

static qrt_status write_header(const char *name)
{
    char *text;
    if (!header_path) return QRT_OK;
    TRY(archive_header(name, base_of(header_path), &text));
    const qrt_status status = file_write(header_path, text, strlen(text));
    free(text);
    return status;
}

static void report(const struct bundle_file *f, const char *name, size_t bytes, int json)
{
    char size[16];
    cli_bytes(bytes, size);
    if (json) {
        json_t *result = bundle_file_json(f);
        json_object_set_new(result, "library", json_string(out_path));
        json_object_set_new(result, "library_bytes", json_integer((json_int_t)bytes));
        json_object_set_new(result, "symbol", json_sprintf("%s_bundle", name));
        json_object_set_new(result, "header", header_path ? json_string(header_path) : json_null());
        cli_json(result, "qgen.link/1");
    } else
        printf("%s: %d kernels for %d archs, %s; %s_bundle() of %s\n", out_path, f->info.kernels,
               f->info.archs, size, name, header_path ? header_path : "the header (--header)");
}

static qrt_status link_bundle(struct bundle_file *f, const char *name, int json)
{
    size_t bytes;
    TRY(write_library(f, name, &bytes));
    TRY(write_header(name));
    report(f, name, bytes, json);
    return QRT_OK;
}

/* Replace *f by the archs that are wanted. */
static qrt_status keep_archs(struct bundle_file *f)
{
    struct wanted wanted = {.count = 0};
    struct bundle_file cut;
    if (!arch_list) return QRT_OK;
    TRY(cli_list(arch_list, add_arch, &wanted));
    TRY(bundle_cut(f, wanted.archs, wanted.count, &cut));
    bundle_file_close(f);
    *f = cut;
    return QRT_OK;
}

int cmd_link(int argc, char **argv)
{
    struct cli cli;
    struct bundle_file f;
    char name[ARCHIVE_PREFIX_BYTES];
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    if (!out_path) return cli_usage(&spec, "-o is missing: libNAME.a");
    default_prefix(name);
    qrt_status status = bundle_file_read(cli.operands[0], &f);
    if (status != QRT_OK) return cli_fail(status);
    status = keep_archs(&f);
    if (status == QRT_OK) status = link_bundle(&f, prefix ? prefix : name, cli.json);
    bundle_file_close(&f);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
