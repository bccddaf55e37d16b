/* cmd_check.c -- qgen check: runs kernels against ref, or ref against unpacked weights */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "check_sums.h"
#include "cli.h"
#include "error.h"
#include "library.h"
#include "pipeline.h"
#include "prove.h"
#include "store.h"

static const char *arch_names, *scheme_text, *device_name, *kernel_folder, *part_text;
static int stored, library, every_point, thorough;
static const struct cli_option options[] = {
    {"arch", 'a', CLI_STRING, &arch_names, "A[,A]", "only kernels made for these", 0, 0},
    {"scheme", 's', CLI_STRING, &scheme_text, "S", "only kernels of this weight scheme", 0, 0},
    {"device", 'd', CLI_STRING, &device_name, "D", "ref, cpu (default), vgpu, cuda:N", 0, 0},
    {"kernels", 'k', CLI_STRING, &kernel_folder, "DIR",
     "a folder of `qgen build --out` instead of the store", 0, 0},
    {"stored", 0, CLI_FLAG, &stored, NULL, "vgpu: what the store has, instead of the library", 0,
     0},
    {"library", 0, CLI_FLAG, &library, NULL,
     "cuda:N: the kernel library of each --arch (the device's own\nunless said), instead of what "
     "the store has",
     0, 0},
    {"every-point", 0, CLI_FLAG, &every_point, NULL,
     "with the library: every legal tune point of each template, for one\nrequest of it, instead "
     "of the "
     "library",
     0, 0},
    {"thorough", 0, CLI_FLAG, &thorough, NULL, "vgpu: the large cases too", 0, 0},
    {"part", 0, CLI_STRING, &part_text, "I/N", "of the library: a share, 1/N to N/N", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "check [--arch A[,A]] [--scheme S] [--device ref|cpu|vgpu|cuda:N] [--kernels DIR]",
    .about =
        "Runs kernels over a grid of shapes and compares them with ref, the plain-loop definition\n"
        "of every op: exact inputs must agree in every bit, random ones within a bound; nothing\n"
        "outside of an op's outputs may be written.  With --device ref it checks ref itself, and\n"
        "the weight layouts, against sums over unpacked weights; no kernel is needed for that.\n"
        "--device vgpu proves GPU kernels without a GPU: it makes the kernel library of each "
        "--arch\n"
        "(all of `qgen targets` unless said), looks at the machine code (limits, spills, the "
        "matrix\n"
        "instruction that is meant) and executes the PTX on the virtual GPU, which finds accesses\n"
        "out of bounds, races, uninitialised reads, missing fences and barriers.\n"
        "--library checks the same kernels on a real GPU; those of older --arch as PTX.",
    .examples = "  qgen check                         the stored kernels that this processor runs\n"
                "  qgen check --device ref            the definition and the layouts\n"
                "  qgen check --device vgpu --arch sm_80,sm_90a\n"
                "  qgen check --device vgpu --arch sm_89 --every-point --part 1/8\n"
                "  qgen check --device cuda:0 --library --arch sm_90a,sm_80\n"
                "  qgen check --scheme w4g128 --format json",
    .options = options,
};

enum { MAX_ARCHES = 16 };

/* What a check is about. */
struct job {
    struct cli cli;
    const struct arch *arches[MAX_ARCHES]; /* none: any */
    int arch_count;
    struct scheme scheme;
    int has_scheme;
    int part, parts;
    qrt *rt;
    qrt_device *device;      /* NULL: the virtual GPU */
    struct checker *checker; /* on device */
    struct prover *prover;
    struct check_report report;
    struct check_sums sums;
    struct cli_progress progress;
    int wanted;        /* kernels to check */
    qrt_status status; /* what stopped a visit */
};

/* ---- which kernels ---- */

static int has_weight(const struct op_desc *d) { return d->op == OP_LINEAR || d->op == OP_EMBED; }

static int is_asked_arch(const struct job *j, const struct arch *built)
{
    for (int i = 0; i < j->arch_count; i++)
        if (j->arches[i] == built) return 1;
    return j->arch_count == 0;
}

/* Whether the device takes kernels of this arch. */
static int runs_here(const struct job *j, const struct arch *built)
{
    qrt_device_info info;
    if (!j->device) return built->kind == ARCH_SM;
    qrt_device_info_get(j->device, &info);
    const struct arch *here = arch_find(info.arch);
    return here && arch_runs_on(built, here);
}

static int is_wanted(const struct job *j, const struct entry *e)
{
    const struct arch *built = arch_find(e->record.arch);
    if (!built || !runs_here(j, built) || !is_asked_arch(j, built)) return 0;
    return !j->has_scheme ||
           (has_weight(&e->record.desc) && scheme_equal(&e->record.desc.weight, &j->scheme));
}

static int count(void *user, const struct entry *e)
{
    struct job *j = user;
    j->wanted += is_wanted(j, e);
    return 0;
}

static qrt_status check_one(struct job *j, const struct entry *e)
{
    struct vgpu_counts counts = {0};
    const struct check_report before = j->report;
    if (j->device) return check_entry(j->checker, e, &j->report);
    TRY(prove_entry(j->prover, e, &j->report, &counts));
    check_sums_add(&j->sums, e, j->report.cases - before.cases, j->report.failed > before.failed,
                   &counts);
    return QRT_OK;
}

static int visit(void *user, const struct entry *e)
{
    struct job *j = user;
    if (!is_wanted(j, e)) return 0;
    j->status = check_one(j, e);
    cli_progress_update(&j->progress, j->report.checked);
    return j->status != QRT_OK;
}

/* ---- where they come from ---- */

static int is_entry_file(const struct dirent *file)
{
    const size_t length = strlen(file->d_name);
    return length > 4 && strcmp(file->d_name + length - 4, ".qk1") == 0;
}

static qrt_status read_entry(const char *path, void **bytes, struct entry *e)
{
    struct stat st;
    FILE *f = fopen(path, "rbe");
    if (!f || fstat(fileno(f), &st) != 0 || (size_t)st.st_size > ENTRY_MAX_BYTES) {
        if (f) fclose(f);
        return error_set(QRT_E_IO, "%s: not a readable kernel file", path);
    }
    *bytes = malloc((size_t)st.st_size + 1);
    const size_t got = *bytes ? fread(*bytes, 1, (size_t)st.st_size, f) : 0;
    fclose(f);
    if (!*bytes) return error_set(QRT_E_MEMORY, "%s: no %lld bytes", path, (long long)st.st_size);
    const qrt_status status = entry_parse(*bytes, got, e);
    if (status == QRT_OK) return QRT_OK;
    free(*bytes);
    return error_context(status, "%s", path);
}

static qrt_status each_of_folder(struct job *j, const char *folder)
{
    struct dirent **file;
    const int files = scandir(folder, &file, is_entry_file, alphasort);
    if (files < 0) return error_set(QRT_E_IO, "%s: not a readable folder", folder);
    qrt_status status = QRT_OK;
    cli_progress_start(&j->progress, &j->cli, "check", "files", files);
    for (int i = 0; i < files; i++) {
        char path[4096];
        void *bytes = NULL;
        struct entry e;
        snprintf(path, sizeof path, "%.3000s/%.300s", folder, file[i]->d_name);
        free(file[i]);
        if (status != QRT_OK) continue;
        status = read_entry(path, &bytes, &e);
        if (status != QRT_OK) continue;
        if (visit(j, &e)) status = j->status;
        free(bytes);
    }
    free(file);
    return status;
}

static qrt_status each_of_store(struct job *j)
{
    struct store *store = NULL;
    TRY(store_open(NULL, &store));
    qrt_status status = store_each(store, count, j);
    cli_progress_start(&j->progress, &j->cli, "check", "kernels", j->wanted);
    if (status == QRT_OK) status = store_each(store, visit, j);
    store_close(store);
    return status != QRT_OK ? status : j->status;
}

/* ---- the library ---- */

static void show_made(void *user, size_t done, size_t total)
{
    struct job *j = user;
    j->progress.total = (double)total;
    cli_progress_update(&j->progress, (double)done);
}

/* Keep the requests of the scheme that was asked for. */
static void keep_scheme(const struct job *j, struct request_set *set)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct op_desc *d = &set->items[i].desc;
        if (has_weight(d) && scheme_equal(&d->weight, &j->scheme))
            set->items[kept++] = set->items[i];
    }
    set->count = kept;
}

static qrt_status make_kernels(struct job *j, const struct request_set *set,
                               struct pipeline_result *out)
{
    enum { EVERY = 1 << 20 };
    const struct pipeline_options how = {.ungated = 1,
                                         .part = j->part,
                                         .parts = j->parts,
                                         .top = every_point ? EVERY : 1,
                                         .progress = show_made,
                                         .user = j};
    struct pipeline *pipeline;
    TRY(pipeline_open(&how, &pipeline));
    const qrt_status status = pipeline_make(pipeline, set->items, set->count, out);
    pipeline_close(pipeline);
    return status;
}

static qrt_status check_arch(struct job *j, const struct arch *arch)
{
    char what[32];
    struct request_set set = {0};
    struct pipeline_result made = {0};
    qrt_status status = (every_point ? library_add_samples : library_add)(&set, arch);
    if (status == QRT_OK && j->has_scheme) keep_scheme(j, &set);
    snprintf(what, sizeof what, "make %s", arch->name);
    cli_progress_start(&j->progress, &j->cli, what, "kernels", 0);
    if (status == QRT_OK) status = make_kernels(j, &set, &made);
    cli_progress_end(&j->progress);
    snprintf(what, sizeof what, "check %s", arch->name);
    cli_progress_start(&j->progress, &j->cli, what, "kernels", (double)made.count);
    for (size_t i = 0; i < made.count && status == QRT_OK; i++) {
        status = check_one(j, &made.kernels[i].entry);
        cli_progress_update(&j->progress, (double)(i + 1));
    }
    cli_progress_end(&j->progress);
    pipeline_result_free(&made);
    request_set_free(&set);
    return status;
}

static qrt_status check_library(struct job *j)
{
    for (const struct arch *a = arch_table(); a->name[0]; a++)
        if (a->kind == ARCH_SM && is_asked_arch(j, a)) TRY(check_arch(j, a));
    return QRT_OK;
}

/* The same on a device, for its own arch unless others are said. */
static qrt_status check_library_here(struct job *j)
{
    qrt_device_info info;
    qrt_device_info_get(j->device, &info);
    const struct arch *here = arch_find(info.arch);
    if (!here || here->kind != ARCH_SM)
        return error_set(QRT_E_ARGUMENT, "--library is of kernels for GPUs, %s runs %s", info.name,
                         info.arch);
    if (j->arch_count == 0) j->arches[j->arch_count++] = here;
    return check_library(j);
}

/* ---- running ---- */

/* What ref is checked with unless a scheme is asked for: every width of codes, and each kind of
 * group, scale and zero. */
static const char *const ref_schemes[] = {
    "w2g16",  "w2g32m.k", "w3g128z",    "w4g32",        "w4g32m",  "w4g64z.bf16",
    "w4g128", "w4gc.f32", "w4g32m.k",   "w5g32m",       "w6g16.k", "w7g128.bf16",
    "w8g32",  "w8gcz",    "e4m3gc.f32", "e4m3g128.f32", "nf4g64",  "iq4g32",
    "mxfp4",  "nvfp4",    "w4g32.e8m0", "f32",          "f16",     "bf16",
};

static qrt_status check_definition(struct job *j)
{
    enum { COUNT = sizeof ref_schemes / sizeof *ref_schemes };
    if (j->has_scheme) return check_ref(j->device, &j->scheme, &j->report);
    cli_progress_start(&j->progress, &j->cli, "check", "schemes", COUNT);
    for (int i = 0; i < COUNT; i++) {
        struct scheme s;
        TRY(scheme_parse(ref_schemes[i], &s));
        TRY(check_ref(j->device, &s, &j->report));
        cli_progress_update(&j->progress, i + 1);
    }
    return QRT_OK;
}

static qrt_status add_arch(void *user, const char *name)
{
    struct job *j = user;
    const struct arch *arch = arch_find(name);
    if (!arch)
        return error_set(QRT_E_ARCH, "arch '%s' is unknown; `qgen targets` lists them", name);
    if (j->arch_count == MAX_ARCHES)
        return error_set(QRT_E_ARGUMENT, "--arch: at most %d", MAX_ARCHES);
    j->arches[j->arch_count++] = arch;
    return QRT_OK;
}

static qrt_status read_part(struct job *j)
{
    char rest;
    if (sscanf(part_text, "%d/%d%c", &j->part, &j->parts, &rest) == 2 && j->part >= 1 &&
        j->part <= j->parts) {
        j->part--;
        return QRT_OK;
    }
    return error_set(QRT_E_ARGUMENT, "--part '%s': I/N with I from 1 to N, like 1/8", part_text);
}

static qrt_status read_request(struct job *j)
{
    if (scheme_text) TRY(scheme_parse(scheme_text, &j->scheme));
    j->has_scheme = scheme_text != NULL;
    if (arch_names) TRY(cli_list(arch_names, add_arch, j));
    return part_text ? read_part(j) : QRT_OK;
}

static qrt_status run_stored(struct job *j)
{
    return kernel_folder ? each_of_folder(j, kernel_folder) : each_of_store(j);
}

static qrt_status run(struct job *j)
{
    const char *name = device_name ? device_name : "cpu";
    const int is_virtual = strcmp(name, "vgpu") == 0;
    TRY(read_request(j));
    if (stored && !is_virtual) return error_set(QRT_E_ARGUMENT, "--stored goes with --device vgpu");
    if ((every_point || part_text) && !is_virtual && !library)
        return error_set(QRT_E_ARGUMENT,
                         "--every-point and --part go with --device vgpu, or with --library");
    if (is_virtual) {
        TRY(prove_open(thorough ? CHECK_NORMAL : CHECK_QUICK, &j->prover));
        return stored || kernel_folder ? run_stored(j) : check_library(j);
    }
    TRY(qrt_open(NULL, &j->rt));
    TRY(qrt_device_open(j->rt, name, &j->device));
    if (strcmp(name, "ref") == 0) return check_definition(j);
    TRY(check_open(j->device, CHECK_NORMAL, &j->checker));
    return library ? check_library_here(j) : run_stored(j);
}

static void print_json(const struct job *j)
{
    json_t *findings = json_array();
    for (size_t i = 0; i < j->report.finding_count; i++)
        json_array_append_new(findings, json_pack("{ssss}", "kernel", j->report.findings[i].kernel,
                                                  "text", j->report.findings[i].text));
    json_t *result = json_pack("{sisisiso}", "checked", j->report.checked, "failed",
                               j->report.failed, "cases", j->report.cases, "findings", findings);
    if (!j->device) json_object_set_new(result, "families", check_sums_json(&j->sums));
    cli_json(result, "qgen.check/1");
}

static void print_text(const struct job *j)
{
    if (!j->device) check_sums_print(&j->sums);
    for (size_t i = 0; i < j->report.finding_count; i++)
        printf("%s\n    %s\n", j->report.findings[i].kernel, j->report.findings[i].text);
    printf("%d checked in %d cases, %d failed\n", j->report.checked, j->report.cases,
           j->report.failed);
}

int cmd_check(int argc, char **argv)
{
    struct job j = {.status = QRT_OK};
    const int over = cli_parse(&spec, argc, argv, &j.cli);
    if (over) return over - 1;
    const qrt_status status = run(&j);
    cli_progress_end(&j.progress);
    if (status == QRT_OK) (j.cli.json ? print_json : print_text)(&j);
    if (status == QRT_OK && j.report.checked == 0)
        cli_note("no kernel was there to check; `qgen build --arch native` makes some");
    const int failed = j.report.failed > 0;
    check_report_free(&j.report);
    check_sums_free(&j.sums);
    prove_close(j.prover);
    check_close(j.checker);
    qrt_device_close(j.device);
    qrt_close(j.rt);
    if (status != QRT_OK) return cli_fail(status);
    return failed ? EXIT_CHECK : EXIT_DONE;
}
