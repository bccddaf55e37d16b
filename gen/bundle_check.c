/* bundle_check.c -- what a bundle lacks for a model or a scheme, and the command that makes it */
#include "bundle_check.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "coverage.h"
#include "error.h"

struct missing {
    struct coverage_gap *gaps;
    size_t count;
    const struct asked *asked;
};

/* "x86-64-v3,sm_80": the archs of a bundle, when none are asked for. */
static void archs_of(const struct bundle_file *f, char *list, size_t bytes)
{
    size_t used = 0;
    for (int i = 0; i < f->info.archs && used < bytes; i++)
        used += (size_t)snprintf(list + used, bytes - used, "%s%s", i ? "," : "",
                                 bundle_arch_get(f->bundle, (uint32_t)i).name);
}

static qrt_status find_missing(const struct bundle_file *f, const struct asked *asked,
                               struct missing *out)
{
    const struct request_set *set = &asked->set;
    *out = (struct missing){.asked = asked, .gaps = calloc(set->count + 1, sizeof *out->gaps)};
    if (!out->gaps) return error_set(QRT_E_MEMORY, "no memory for %zu requests", set->count);
    for (size_t i = 0; i < set->count; i++)
        out->count += (size_t)coverage_gap(f->bundle, &set->items[i], &out->gaps[out->count]);
    return QRT_OK;
}

static int count_of(const struct missing *m, const struct arch *arch, int *needed)
{
    int missing = 0;
    *needed = 0;
    for (size_t i = 0; i < m->asked->set.count; i++) *needed += m->asked->set.items[i].arch == arch;
    for (size_t i = 0; i < m->count; i++) missing += m->gaps[i].request->arch == arch;
    return missing;
}

/* The command that makes a bundle without gaps, from what was said here. */
static void command_text(const struct asked_options *o, char *text, size_t bytes)
{
    const struct {
        const char *name, *value;
    } parts[] = {{"model", o->model}, {"scheme", o->schemes}, {"request", o->requests},
                 {"zero", o->zero},   {"act", o->act},        {"m", o->rows}};
    size_t used = (size_t)snprintf(text, bytes, "qgen bundle --arch %s", o->archs);
    if (o->bits && used < bytes)
        used +=
            (size_t)snprintf(text + used, bytes - used, " --bits %d --group %d", o->bits, o->group);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && used < bytes; i++)
        if (parts[i].value)
            used += (size_t)snprintf(text + used, bytes - used, " --%s %s", parts[i].name,
                                     parts[i].value);
    if (used < bytes) snprintf(text + used, bytes - used, " -o K.qk");
}

static json_t *gap_json(const struct coverage_gap *gap)
{
    char name[OP_NAME_BYTES];
    op_desc_name(&gap->request->desc, name);
    return json_pack("{ss ss s[ii]}", "arch", gap->request->arch->name, "request", name, "m",
                     gap->m_lo, gap->m_hi);
}

static void missing_json(const struct missing *m, const char *path, const char *command)
{
    json_t *archs = json_array(), *gaps = json_array();
    for (size_t i = 0; i < m->asked->arch_count; i++) {
        int needed;
        const int missing = count_of(m, m->asked->archs[i], &needed);
        json_array_append_new(archs, json_pack("{ss si si}", "arch", m->asked->archs[i]->name,
                                               "needed", needed, "missing", missing));
    }
    for (size_t i = 0; i < m->count; i++) json_array_append_new(gaps, gap_json(&m->gaps[i]));
    cli_json(json_pack("{ss so so so}", "file", path, "archs", archs, "missing", gaps, "command",
                       m->count ? json_string(command) : json_null()),
             "qgen.bundle_check/1");
}

static void print_gap(const struct coverage_gap *gap)
{
    char name[OP_NAME_BYTES], last[16] = "";
    op_desc_name(&gap->request->desc, name);
    if (gap->m_hi < PIPELINE_M_MAX) snprintf(last, sizeof last, "%d", gap->m_hi);
    printf("  %-9s  %-28s  rows %d..%s\n", gap->request->arch->name, name, gap->m_lo, last);
}

static void print_missing(const struct missing *m)
{
    printf("%-9s  %6s  %7s\n", "arch", "needed", "missing");
    for (size_t i = 0; i < m->asked->arch_count; i++) {
        int needed;
        const int missing = count_of(m, m->asked->archs[i], &needed);
        printf("%-9s  %6d  %7d\n", m->asked->archs[i]->name, needed, missing);
    }
    if (m->count == 0) return;
    printf("missing:\n");
    for (size_t i = 0; i < m->count; i++) print_gap(&m->gaps[i]);
}

static qrt_status report(const struct missing *m, const struct asked_options *what,
                         const char *path, int json)
{
    char command[1024];
    command_text(what, command, sizeof command);
    if (json)
        missing_json(m, path, command);
    else
        print_missing(m);
    if (m->count == 0) return QRT_OK;
    return error_set(QRT_E_KERNEL, "%zu of %zu requests are not covered by %s; run `%s`", m->count,
                     m->asked->set.count, path, command);
}

qrt_status bundle_check(const struct bundle_file *f, const char *path,
                        const struct asked_options *what, int threads, int json)
{
    char archs[512];
    struct asked_options options = *what;
    struct asked asked;
    struct missing missing;
    archs_of(f, archs, sizeof archs);
    if (!options.archs) options.archs = archs;
    TRY(asked_collect(&options, threads, &asked));
    qrt_status status = find_missing(f, &asked, &missing);
    if (status == QRT_OK) status = report(&missing, &options, path, json);
    free(missing.gaps);
    asked_free(&asked);
    return status;
}
