/* cache_verify.c -- qgen cache verify: what is damaged, what is stale */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache_verbs.h"
#include "error.h"

static int remove_damaged;
static const struct cli_option verify_options[] = {
    {"remove", 0, CLI_FLAG, &remove_damaged, NULL, "delete what is damaged", 0, 0},
    {.name = NULL},
};
static const struct cli_spec verify_spec = {
    .usage = "cache verify [DIR] [--remove]",
    .about =
        "Reads every kernel and every table of winners, checks hashes and fields, and names\n"
        "what is damaged; exit code 1 when anything is.  A damaged kernel is never used: it\n"
        "counts as missing and is made again.  Winners for other templates or another compiler\n"
        "than this program has are stale, which is no damage: they are passed over.",
    .examples = "  qgen cache verify --remove",
    .options = verify_options,
    .max_operands = 1,
};

struct verifying {
    struct store *store;
    size_t kernels, tables, stale;
    json_t *damaged; /* {file, problem} */
    qrt_status status;
};

static void add_damaged(struct verifying *v, const char *path, const char *problem)
{
    json_array_append_new(v->damaged, json_pack("{ss ss}", "file", path, "problem", problem));
}

static int verify_entry(void *user, const struct store_file *f)
{
    struct verifying *v = user;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/%s", store_folder(v->store), f->name);
    v->kernels++;
    if (f->entry) return 0;
    add_damaged(v, path, f->problem);
    if (remove_damaged && store_remove(v->store, f->name) != QRT_OK) cli_note("%s", qrt_message());
    return 0;
}

static qrt_status note_stale(struct verifying *v, const struct winners_file *f)
{
    struct stale stale;
    TRY(cache_count_stale(store_folder(v->store), f->rows, &stale));
    v->stale += stale.rows;
    if (stale.rows)
        cli_note("%s: %zu of %zu winners are stale, made with other: %s", f->path, stale.rows,
                 f->rows->count, stale.why);
    return QRT_OK;
}

static int verify_table(void *user, const struct winners_file *f)
{
    struct verifying *v = user;
    v->tables++;
    if (f->rows) return (v->status = note_stale(v, f)) != QRT_OK;
    add_damaged(v, f->path, f->problem);
    if (remove_damaged && unlink(f->path) != 0)
        cli_note("%s cannot be removed: %s", f->path, strerror(errno));
    return 0;
}

static void print_verified(const struct verifying *v)
{
    const json_t *d;
    size_t i;
    json_array_foreach(v->damaged, i, d) printf("%s%s: %s\n", remove_damaged ? "removed " : "",
                                                json_string_value(json_object_get(d, "file")),
                                                json_string_value(json_object_get(d, "problem")));
    printf("%zu kernels, %zu tables of winners: %zu damaged; %zu winners are stale\n", v->kernels,
           v->tables, json_array_size(v->damaged), v->stale);
}

int cache_verify(int argc, char **argv)
{
    struct cli cli;
    struct verifying v = {.kernels = 0};
    const int stop = cli_parse(&verify_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    qrt_status status = cache_open(&cli, &v.store);
    if (status != QRT_OK) return cli_fail(status);
    v.damaged = json_array();
    status = store_files(v.store, verify_entry, &v);
    if (status == QRT_OK) status = winners_files(store_folder(v.store), verify_table, &v);
    if (status == QRT_OK) status = v.status;
    const int code = json_array_size(v.damaged) ? EXIT_CHECK : EXIT_DONE;
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{sI sI sI sO sb}", "kernels", (json_int_t)v.kernels, "tables",
                           (json_int_t)v.tables, "stale", (json_int_t)v.stale, "damaged", v.damaged,
                           "removed", remove_damaged),
                 "qgen.cache.verify/1");
    else if (status == QRT_OK)
        print_verified(&v);
    json_decref(v.damaged);
    store_close(v.store);
    return cache_end(status, code);
}
