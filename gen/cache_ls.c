/* cache_ls.c -- qgen cache ls: what a store holds */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache_verbs.h"
#include "error.h"
#include "key.h"

static int each;
static const struct cli_option ls_options[] = {
    {"each", 0, CLI_FLAG, &each, NULL, "every kernel and every winner on a line of its own", 0, 0},
    {.name = NULL},
};
static const struct cli_spec ls_spec = {
    .usage = "cache ls [DIR] [--each]",
    .about = "Lists what a store holds: kernels by architecture and weight scheme, tables of\n"
             "winners, packed models.  DIR: a folder of `qgen work` or `qgen cache merge`.",
    .examples = "  qgen cache ls\n"
                "  qgen cache ls merged --each --format json",
    .options = ls_options,
    .max_operands = 1,
};

/* The kernels of one arch and scheme. */
struct group {
    char arch[ARCH_NAME_BYTES], scheme[SCHEME_NAME_BYTES];
    size_t kernels;
    uint64_t bytes;
};

struct listing {
    struct group *groups;
    size_t count;
    size_t kernels, damaged;
    uint64_t bytes;
    json_t *kernels_json, *tables_json; /* one object each */
    qrt_status status;
};

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    const int order = strcmp(x->arch, y->arch);
    return order ? order : strcmp(x->scheme, y->scheme);
}

static struct group *group_of(struct listing *l, const struct entry_record *r)
{
    struct group key = {.scheme = "-"};
    snprintf(key.arch, sizeof key.arch, "%s", r->arch);
    if (r->desc.op == OP_LINEAR || r->desc.op == OP_EMBED) scheme_name(&r->desc.weight, key.scheme);
    for (size_t i = 0; i < l->count; i++)
        if (compare_groups(&l->groups[i], &key) == 0) return &l->groups[i];
    struct group *more = realloc(l->groups, (l->count + 1) * sizeof *more);
    if (!more) return NULL;
    l->groups = more;
    l->groups[l->count] = key;
    return &l->groups[l->count++];
}

static json_t *kernel_json(const struct store_file *f)
{
    const struct entry_record *r = &f->entry->record;
    char request[OP_NAME_BYTES], key[KEY_HEX_BYTES];
    op_desc_name(&r->desc, request);
    key_hex(f->entry->key, key);
    return json_pack("{ss ss ss s[ii] ss ss sI}", "key", key, "arch", r->arch, "request", request,
                     "m", r->m_lo, r->m_hi, "template", r->template_, "tune", r->tune, "bytes",
                     (json_int_t)f->count);
}

static int list_file(void *user, const struct store_file *f)
{
    struct listing *l = user;
    if (!f->entry) {
        l->damaged++;
        return 0;
    }
    struct group *g = group_of(l, &f->entry->record);
    if (!g) {
        l->status = error_set(QRT_E_MEMORY, "cache ls: no memory");
        return 1;
    }
    g->kernels++;
    g->bytes += f->count;
    l->kernels++;
    l->bytes += f->count;
    if (each) json_array_append_new(l->kernels_json, kernel_json(f));
    return 0;
}

static json_t *lines_json(const struct winners *w)
{
    json_t *lines = json_array();
    char line[WINNER_LINE_BYTES];
    for (size_t i = 0; i < w->count; i++) {
        winners_line(&w->items[i], line);
        json_array_append_new(lines, json_string(line));
    }
    return lines;
}

static int list_table(void *user, const struct winners_file *f)
{
    struct listing *l = user;
    json_int_t measured = 0;
    for (size_t i = 0; f->rows && i < f->rows->count; i++)
        measured += f->rows->items[i].how == WINNER_MEASURED;
    json_t *table = json_pack("{ss sI sI ss}", "file", f->path, "winners",
                              (json_int_t)(f->rows ? f->rows->count : 0), "measured", measured,
                              "problem", f->problem);
    if (each && f->rows) json_object_set_new(table, "lines", lines_json(f->rows));
    json_array_append_new(l->tables_json, table);
    return 0;
}

/* Files of the folder's `models`, which are packed anew when they are wanted and gone. */
static json_t *models_json(const char *folder)
{
    char path[PATH_MAX];
    json_int_t files = 0, bytes = 0;
    snprintf(path, sizeof path, "%s/models", folder);
    DIR *models = opendir(path);
    for (const struct dirent *d; models && (d = readdir(models)) != NULL;) {
        struct stat st;
        const size_t length = strlen(d->d_name);
        if (length < 4 || strcmp(d->d_name + length - 3, ".qm") != 0) continue;
        if (fstatat(dirfd(models), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        files++;
        bytes += st.st_size;
    }
    if (models) closedir(models);
    return json_pack("{sI sI}", "files", files, "bytes", bytes);
}

static void print_each(const struct listing *l)
{
    const json_t *k, *table, *line;
    size_t i, j;
    json_array_foreach(l->kernels_json, i, k)
    {
        const json_t *m = json_object_get(k, "m");
        printf("%s  %-9s  %-28s  %lld..%lld  %s\n", json_string_value(json_object_get(k, "key")),
               json_string_value(json_object_get(k, "arch")),
               json_string_value(json_object_get(k, "request")),
               json_integer_value(json_array_get(m, 0)), json_integer_value(json_array_get(m, 1)),
               json_string_value(json_object_get(k, "tune")));
    }
    json_array_foreach(l->tables_json, i, table)
        json_array_foreach(json_object_get(table, "lines"), j, line)
            printf("%s\n", json_string_value(line));
}

static void print_listing(const struct listing *l, const char *folder, const json_t *models)
{
    char size[16];
    const json_t *table;
    size_t i;
    if (each) print_each(l);
    printf("%-9s  %-12s  %7s  %10s\n", "arch", "scheme", "kernels", "bytes");
    for (i = 0; i < l->count; i++) {
        cli_bytes(l->groups[i].bytes, size);
        printf("%-9s  %-12s  %7zu  %10s\n", l->groups[i].arch, l->groups[i].scheme,
               l->groups[i].kernels, size);
    }
    json_array_foreach(l->tables_json, i, table)
    {
        const char *problem = json_string_value(json_object_get(table, "problem"));
        printf("%s: %lld winners, %lld measured%s%s\n",
               json_string_value(json_object_get(table, "file")),
               json_integer_value(json_object_get(table, "winners")),
               json_integer_value(json_object_get(table, "measured")), *problem ? "; " : "",
               problem);
    }
    const json_int_t files = json_integer_value(json_object_get(models, "files"));
    cli_bytes((uint64_t)json_integer_value(json_object_get(models, "bytes")), size);
    if (files > 0) printf("%lld packed models, %s\n", files, size);
    cli_bytes(l->bytes, size);
    printf("%s: %zu kernels, %s\n", folder, l->kernels, size);
    if (l->damaged)
        cli_note("%zu damaged kernels are not listed; `qgen cache verify` names them", l->damaged);
}

static void json_listing(struct listing *l, const char *folder, json_t *models)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < l->count; i++)
        json_array_append_new(groups, json_pack("{ss ss sI sI}", "arch", l->groups[i].arch,
                                                "scheme", l->groups[i].scheme, "kernels",
                                                (json_int_t)l->groups[i].kernels, "bytes",
                                                (json_int_t)l->groups[i].bytes));
    json_t *whole =
        json_pack("{ss so sO sI sI sI sO}", "folder", folder, "groups", groups, "winners",
                  l->tables_json, "kernels", (json_int_t)l->kernels, "bytes", (json_int_t)l->bytes,
                  "damaged", (json_int_t)l->damaged, "models", models);
    if (each) json_object_set(whole, "each", l->kernels_json);
    cli_json(whole, "qgen.cache.ls/1");
}

int cache_ls(int argc, char **argv)
{
    struct cli cli;
    struct store *s;
    const int stop = cli_parse(&ls_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    qrt_status status = cache_open(&cli, &s);
    if (status != QRT_OK) return cli_fail(status);
    struct listing l = {.kernels_json = json_array(), .tables_json = json_array()};
    status = store_files(s, list_file, &l);
    if (status == QRT_OK) status = l.status;
    if (status == QRT_OK) status = winners_files(store_folder(s), list_table, &l);
    if (status == QRT_OK) {
        json_t *models = models_json(store_folder(s));
        if (l.count > 0) qsort(l.groups, l.count, sizeof *l.groups, compare_groups);
        if (cli.json)
            json_listing(&l, store_folder(s), models);
        else
            print_listing(&l, store_folder(s), models);
        json_decref(models);
    }
    json_decref(l.kernels_json);
    json_decref(l.tables_json);
    free(l.groups);
    store_close(s);
    return cache_end(status, EXIT_DONE);
}
