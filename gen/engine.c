/* engine.c -- a model, a device, and the kernels that the one needs on the other */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "device.h" /* device_add_winners */
#include "error.h"
#include "file.h"
#include "model_cache.h"
#include "pipeline.h"

enum { DEFAULT_MAX_M = 256, MAX_IDS_FILE_BYTES = 256 << 20 };

/* ---- the model ---- */

static void show_packing(void *user, uint64_t done, uint64_t all)
{
    struct cli_progress *progress = user;
    progress->total = (double)all / 1e6;
    cli_progress_update(progress, (double)done / 1e6);
}

/* ref reads any layout; the others that of their arch. */
static unsigned families_of(const qrt_device_info *info)
{
    const struct arch *arch = arch_find(info->arch);
    return 1u << (arch ? arch->family : FAMILY_X86);
}

static qrt_status open_model(struct engine *e, const struct engine_options *o)
{
    struct cli_progress progress;
    char *path;
    cli_progress_start(&progress, o->cli, "pack", "million weights", 0);
    const struct pack_options how = {families_of(&e->device_info), o->threads, show_packing,
                                     &progress};
    qrt_status status = model_cache_get(o->model, &how, &path);
    cli_progress_end(&progress);
    if (status != QRT_OK) return status;
    status = qrt_model_open(e->rt, path, &e->model);
    free(path);
    if (status != QRT_OK) return status;
    size_t none;
    qrt_model_info_get(e->model, &e->model_info);
    e->has_text = qrt_tokenize(e->model, "", 0, 0, NULL, 0, &none) == QRT_OK;
    return QRT_OK;
}

/* ---- kernels ---- */

struct names {
    char **list;
    size_t count, capacity;
    int no_memory;
};

static int add_missing(void *user, const char *request, int have)
{
    struct names *n = user;
    if (have) return 0;
    if (n->count == n->capacity) {
        n->capacity = n->capacity ? 2 * n->capacity : 32;
        char **list = realloc(n->list, n->capacity * sizeof *list);
        if (list) n->list = list;
        n->no_memory = list == NULL;
    }
    char *name = n->no_memory ? NULL : strdup(request);
    if (name)
        n->list[n->count++] = name;
    else
        n->no_memory = 1;
    return n->no_memory;
}

static void free_names(struct names *n)
{
    for (size_t i = 0; i < n->count; i++) free(n->list[i]);
    free(n->list);
}

static void show_kernels(void *user, size_t done, size_t total)
{
    struct cli_progress *progress = user;
    progress->total = (double)total;
    cli_progress_update(progress, (double)done);
}

static qrt_status add_kernels(struct engine *e, const struct pipeline_result *r)
{
    for (size_t i = 0; i < r->count; i++)
        TRY(qrt_kernels_add(e->device, r->kernels[i].bytes, r->kernels[i].count, QRT_TRUST_CALLER));
    TRY(device_add_winners(e->device, r->winners, r->winner_count));
    e->compiled += (int)r->compiled;
    e->reused += (int)r->reused;
    if (r->store_problem[0]) cli_note("kernels could not be stored: %s", r->store_problem);
    if (r->note[0]) cli_note("%s", r->note);
    return QRT_OK;
}

static qrt_status make_kernels(struct engine *e, const struct engine_options *o,
                               const struct names *n)
{
    struct cli_progress progress;
    struct pipeline *pipeline;
    struct pipeline_result result = {0};
    char device[WINNER_DEVICE_BYTES];
    winners_device_name(e->device_info.name, device);
    const struct pipeline_options how = {
        .offline = o->offline, .device = device, .progress = show_kernels, .user = &progress};
    TRY(pipeline_open(&how, &pipeline));
    cli_progress_start(&progress, o->cli, "kernels", "kernels", 0);
    qrt_status status =
        pipeline_ensure(pipeline, arch_find(e->device_info.arch), (const char *const *)n->list,
                        n->count, e->session.max_m, &result);
    cli_progress_end(&progress);
    if (status == QRT_OK) status = add_kernels(e, &result);
    if (status == QRT_E_KERNEL && o->offline)
        error_set(status,
                  "%zu requests of %s on %s are not all stored, the first is %s; run `qgen build "
                  "--arch %s --model %s`, or leave out --offline",
                  n->count, o->model, e->device_info.arch, n->list[0], e->device_info.arch,
                  o->model);
    pipeline_result_free(&result);
    pipeline_close(pipeline);
    return status;
}

static qrt_status add_needed_kernels(struct engine *e, const struct engine_options *o)
{
    struct names missing = {0};
    qrt_status status = qrt_model_needs(e->model, e->device, &e->session, add_missing, &missing);
    if (status == QRT_OK && missing.no_memory) status = error_set(QRT_E_MEMORY, "names of kernels");
    if (status == QRT_OK && missing.count) status = make_kernels(e, o, &missing);
    free_names(&missing);
    return status;
}

/* ---- a bundle ---- */

static qrt_status open_bundle(struct engine *e, const struct engine_options *o)
{
    TRY(bundle_file_open_trusted(e->rt, o->kernels, &o->trust, &e->bundle));
    return qrt_kernels_bundle(e->device, e->bundle);
}

static qrt_status load_bundled_kernels(struct engine *e, const struct engine_options *o)
{
    const qrt_status status = qrt_prepare(e->device, e->model, &e->session, NULL, NULL);
    return status == QRT_OK ? QRT_OK : error_context(status, "%s", o->kernels);
}

/* ---- all of it ---- */

static qrt_status open_all(const struct engine_options *o, struct engine *e)
{
    const qrt_options options = {.size = sizeof options, .threads = o->threads};
    TRY(qrt_open(&options, &e->rt));
    TRY(qrt_device_open(e->rt, o->device ? o->device : "cpu", &e->device));
    qrt_device_info_get(e->device, &e->device_info);
    if (!o->kernels && (o->trust.key || o->trust.is_said))
        return error_set(QRT_E_ARGUMENT, "--key and --trust are about a bundle: --kernels K.qk");
    if (o->kernels) TRY(open_bundle(e, o));
    TRY(open_model(e, o));
    return o->kernels ? load_bundled_kernels(e, o) : add_needed_kernels(e, o);
}

qrt_status engine_open(const struct engine_options *options, struct engine *out)
{
    struct engine e = {.session = {.size = sizeof e.session,
                                   .max_m = options->max_m ? options->max_m : DEFAULT_MAX_M,
                                   .exact = options->exact}};
    const qrt_status status = open_all(options, &e);
    if (status == QRT_OK)
        *out = e;
    else
        engine_close(&e);
    return status;
}

void engine_close(struct engine *e)
{
    qrt_model_close(e->model);
    qrt_device_close(e->device);
    qrt_bundle_close(e->bundle);
    qrt_close(e->rt);
}

qrt_status engine_session(const struct engine *e, int context, qrt_session **out)
{
    qrt_session_options options = e->session;
    options.context = context;
    return qrt_session_open(e->device, e->model, &options, out);
}

/* ---- token ids ---- */

qrt_status engine_tokenize(const struct engine *e, const char *text, size_t bytes,
                           int parse_special, int start, int **ids, size_t *count)
{
    size_t n;
    const size_t bos = start && e->model_info.add_bos && e->model_info.bos >= 0;
    TRY(qrt_tokenize(e->model, text, bytes, parse_special, NULL, 0, &n));
    int *list = malloc((n + bos + 1) * sizeof *list);
    if (!list) return error_set(QRT_E_MEMORY, "%zu token ids", n + bos);
    const qrt_status status = qrt_tokenize(e->model, text, bytes, parse_special, list + bos, n, &n);
    if (status != QRT_OK) {
        free(list);
        return status;
    }
    if (bos) list[0] = e->model_info.bos;
    *ids = list;
    *count = n + bos;
    return QRT_OK;
}

/* Parse the next number; 0 at the end. `text` ends with a zero byte. */
static qrt_status next_id(const struct engine *e, const char *path, const char **text, int *id,
                          int *found)
{
    *text += strspn(*text, " \t\r\n,[]");
    *found = **text != 0;
    if (!*found) return QRT_OK;
    char *end;
    errno = 0;
    const long value = strtol(*text, &end, 10);
    if (end == *text)
        return error_set(QRT_E_FORMAT, "%s: '%.12s' is no token id; wanted are decimal numbers",
                         path, *text);
    if (errno || value < 0 || value >= e->model_info.vocab)
        return error_set(QRT_E_FORMAT, "%s: token id %.*s; the model has 0 to %d", path,
                         (int)(end - *text), *text, e->model_info.vocab - 1);
    *id = (int)value;
    *text = end;
    return QRT_OK;
}

qrt_status engine_read_ids(const struct engine *e, const char *path, int **ids, size_t *count)
{
    void *bytes;
    size_t size, n = 0;
    TRY(file_read(path, MAX_IDS_FILE_BYTES, &bytes, &size));
    int *list = malloc((size / 2 + 1) * sizeof *list); /* a number takes two bytes but the last */
    qrt_status status = list ? QRT_OK : error_set(QRT_E_MEMORY, "%zu bytes", size);
    const char *text = bytes;
    int found = 1;
    while (status == QRT_OK && found) {
        int id = 0;
        status = next_id(e, path, &text, &id, &found);
        if (status == QRT_OK && found) list[n++] = id;
    }
    if (status == QRT_OK && n == 0) status = error_set(QRT_E_FORMAT, "%s: no token id in it", path);
    free(bytes);
    if (status != QRT_OK) {
        free(list);
        return status;
    }
    *ids = list;
    *count = n;
    return QRT_OK;
}
