/* bundle_make.c -- bundles of kernels that were just made, and of some archs of another bundle */
#include "bundle_make.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "rt.h"

/* ---- making ---- */

/* The place of the kernel that a winner names, `count` when it is not there. */
static size_t place_of(const struct pipeline_result *r, const struct device_winner *winner)
{
    size_t i = 0;
    while (i < r->count && memcmp(r->kernels[i].entry.key, winner->key, sizeof winner->key) != 0)
        i++;
    return i;
}

/* Winners whose kernels are there; returns how many. */
static size_t fill_winners(const struct pipeline_result *r, struct bundle_write_winner *winners)
{
    size_t count = 0;
    for (size_t i = 0; i < r->winner_count; i++) {
        const struct device_winner *w = &r->winners[i];
        const size_t place = place_of(r, w);
        if (place == r->count) continue;
        winners[count++] = (struct bundle_write_winner){.entry = (uint32_t)place,
                                                        .N = w->N,
                                                        .K = w->K,
                                                        .m_lo = w->m_lo,
                                                        .m_hi = w->m_hi,
                                                        .device = r->rows[i].device};
    }
    return count;
}

qrt_status bundle_of(const struct pipeline_result *result, const struct bundle_write_options *about,
                     struct bundle_file *out)
{
    void *bytes;
    size_t count;
    struct entry *entries = calloc(result->count + 1, sizeof *entries);
    struct bundle_write_winner *winners = calloc(result->winner_count + 1, sizeof *winners);
    qrt_status status = QRT_OK;
    if (!entries || !winners)
        status = error_set(QRT_E_MEMORY, "no memory for %zu kernels", result->count);
    for (size_t i = 0; i < result->count && status == QRT_OK; i++)
        entries[i] = result->kernels[i].entry;
    if (status == QRT_OK)
        status = bundle_write(about, entries, result->count, winners, fill_winners(result, winners),
                              &bytes, &count);
    free(entries);
    free(winners);
    return status == QRT_OK ? bundle_file_adopt(bytes, count, out) : status;
}

/* ---- cutting ---- */

/* Kernels and winners on their way from one bundle to another. */
struct cut {
    const struct bundle_file *from;
    struct entry *entries;
    void **blocks; /* what entries point into */
    size_t count;
    int64_t *place; /* [kernels of `from`]: index in entries, -1: left out */
    struct bundle_write_winner *winners;
    char (*devices)[BUNDLE_NAME_BYTES]; /* [winners] */
    size_t winner_count;
    int with_ptx, with_source;
};

static void free_cut(struct cut *c)
{
    for (size_t i = 0; i < c->count; i++) rt_free(c->from->rt, c->blocks[i]);
    free(c->entries);
    free(c->blocks);
    free(c->place);
    free(c->winners);
    free(c->devices);
}

static qrt_status start_cut(struct cut *c, const struct bundle_file *from)
{
    const size_t kernels = (size_t)from->info.kernels + 1, winners = (size_t)from->info.winners + 1;
    *c = (struct cut){.from = from};
    c->entries = calloc(kernels, sizeof *c->entries);
    c->blocks = calloc(kernels, sizeof *c->blocks);
    c->place = malloc(kernels * sizeof *c->place);
    c->winners = calloc(winners, sizeof *c->winners);
    c->devices = calloc(winners, sizeof *c->devices);
    if (!c->entries || !c->blocks || !c->place || !c->winners || !c->devices)
        return error_set(QRT_E_MEMORY, "no memory for %d kernels", from->info.kernels);
    for (size_t i = 0; i < kernels; i++) c->place[i] = -1;
    return QRT_OK;
}

static qrt_status find_arch(const struct bundle_file *from, const struct arch *arch,
                            struct bundle_arch *out)
{
    for (int i = 0; i < from->info.archs; i++) {
        *out = bundle_arch_get(from->bundle, (uint32_t)i);
        if (strcmp(out->name, arch->name) == 0) return QRT_OK;
    }
    return error_set(QRT_E_ARCH, "the bundle has no kernels for %s; `qgen inspect` lists its archs",
                     arch->name);
}

static qrt_status take_arch(struct cut *c, const struct arch *arch)
{
    struct bundle_arch run;
    TRY(find_arch(c->from, arch, &run));
    for (uint32_t i = run.first_kernel; i < run.first_kernel + run.kernel_count; i++) {
        if (c->place[i] >= 0) continue; /* an arch named twice */
        TRY(bundle_read_kernel(c->from->bundle, i, 1, &c->entries[c->count], &c->blocks[c->count]));
        c->with_ptx |= c->entries[c->count].part[ENTRY_PTX].bytes > 0;
        c->with_source |= c->entries[c->count].part[ENTRY_SOURCE].bytes > 0;
        c->place[i] = (int64_t)c->count++;
    }
    return QRT_OK;
}

static void take_winners(struct cut *c)
{
    for (int i = 0; i < c->from->info.winners; i++) {
        const struct bundle_winner w = bundle_winner_get(c->from->bundle, (uint32_t)i);
        char *device = c->devices[c->winner_count];
        if (c->place[w.kernel] < 0) continue;
        if (w.device > 0) bundle_device_get(c->from->bundle, w.device - 1, device);
        c->winners[c->winner_count++] =
            (struct bundle_write_winner){.entry = (uint32_t)c->place[w.kernel],
                                         .N = w.N,
                                         .K = w.K,
                                         .m_lo = w.m_lo,
                                         .m_hi = w.m_hi,
                                         .device = device};
    }
}

static qrt_status write_cut(const struct cut *c, struct bundle_file *out)
{
    const qrt_bundle_info *info = &c->from->info;
    const struct bundle_write_options about = {.name = info->name,
                                               .version = info->version,
                                               .counter = info->counter,
                                               .with_ptx = c->with_ptx,
                                               .with_source = c->with_source};
    void *bytes;
    size_t count;
    TRY(bundle_write(&about, c->entries, c->count, c->winners, c->winner_count, &bytes, &count));
    return bundle_file_adopt(bytes, count, out);
}

qrt_status bundle_cut(const struct bundle_file *from, const struct arch *const *archs, size_t count,
                      struct bundle_file *out)
{
    struct cut c;
    qrt_status status = start_cut(&c, from);
    for (size_t i = 0; i < count && status == QRT_OK; i++) status = take_arch(&c, archs[i]);
    if (status == QRT_OK) {
        take_winners(&c);
        status = write_cut(&c, out);
    }
    free_cut(&c);
    return status;
}
