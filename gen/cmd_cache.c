/* cmd_cache.c -- qgen cache: lists, checks, merges and trims kernels and winners */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "error.h"
#include "key.h"
#include "merge.h"
#include "store.h"
#include "tuned.h"

/* The folder that is meant: the first operand, else the default store. */
static qrt_status open_given(const struct cli *cli, struct store **out)
{
    struct stat st;
    const char *folder = cli->operand_count > 0 ? cli->operands[0] : NULL;
    if (folder && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)))
        return error_set(QRT_E_IO, "%s: no such folder", folder);
    return store_open(folder, out);
}

static int ended(qrt_status status, int code) { return status == QRT_OK ? code : cli_fail(status); }

/* ---- ls ---- */

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

static int run_ls(int argc, char **argv)
{
    struct cli cli;
    struct store *s;
    struct listing l = {.kernels_json = json_array(), .tables_json = json_array()};
    const int stop = cli_parse(&ls_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    qrt_status status = open_given(&cli, &s);
    if (status != QRT_OK) return cli_fail(status);
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
    return ended(status, EXIT_DONE);
}

/* ---- verify ---- */

static int remove_damaged;
static const struct cli_option verify_options[] = {
    {"remove", 0, CLI_FLAG, &remove_damaged, NULL, "delete what is damaged", 0, 0},
    {.name = NULL},
};
static const struct cli_spec verify_spec = {
    .usage = "cache verify [DIR] [--remove]",
    .about = "Reads every kernel and every table of winners, checks hashes and fields, and names\n"
             "what is damaged; exit code 1 when anything is.  A damaged kernel is never used: it\n"
             "counts as missing and is made again.",
    .examples = "  qgen cache verify --remove",
    .options = verify_options,
    .max_operands = 1,
};

struct verifying {
    struct store *store;
    size_t kernels, tables;
    json_t *damaged; /* {file, problem} */
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

static int verify_table(void *user, const struct winners_file *f)
{
    struct verifying *v = user;
    v->tables++;
    if (f->rows) return 0;
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
    printf("%zu kernels, %zu tables of winners: %zu damaged\n", v->kernels, v->tables,
           json_array_size(v->damaged));
}

static int run_verify(int argc, char **argv)
{
    struct cli cli;
    struct verifying v = {.damaged = json_array()};
    const int stop = cli_parse(&verify_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    qrt_status status = open_given(&cli, &v.store);
    if (status != QRT_OK) return cli_fail(status);
    status = store_files(v.store, verify_entry, &v);
    if (status == QRT_OK) status = winners_files(store_folder(v.store), verify_table, &v);
    const int code = json_array_size(v.damaged) ? EXIT_CHECK : EXIT_DONE;
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{sI sI sO sb}", "kernels", (json_int_t)v.kernels, "tables",
                           (json_int_t)v.tables, "damaged", v.damaged, "removed", remove_damaged),
                 "qgen.cache.verify/1");
    else if (status == QRT_OK)
        print_verified(&v);
    json_decref(v.damaged);
    store_close(v.store);
    return ended(status, code);
}

/* ---- merge ---- */

static const char *merge_out;
static const struct cli_option merge_options[] = {
    {"out", 'o', CLI_STRING, &merge_out, "DIR", "where to; what it holds already is merged as well",
     0, 0},
    {.name = NULL},
};
static const struct cli_spec merge_spec = {
    .usage = "cache merge DIR [DIR ..] -o DIR",
    .about =
        "Merges folders of kernels and winners, made by `qgen work` or stores.  The result is\n"
        "the same, byte for byte, whatever the order, and however often: kernels go by key,\n"
        "of winners for the same rows the better one stays.  Two kernels of one key that\n"
        "differ are named, and the smaller stays.  Damaged files are named and left out\n"
        "(exit code 1).",
    .examples =
        "  qgen cache merge out/* -o merged\n"
        "  qgen cache merge merged -o \"$(qgen cache path)\"      into the store of this user",
    .options = merge_options,
    .min_operands = 1,
    .max_operands = INT_MAX,
};

static void note_line(void *user, const char *line)
{
    json_array_append_new(user, json_string(line));
    cli_note("%s", line);
}

static void print_merged(const struct merge_report *r, const struct cli *cli, json_t *notes)
{
    if (cli->json) {
        cli_json(json_pack("{ss sI sI sI sI sI sO}", "out", merge_out, "added",
                           (json_int_t)r->added, "same", (json_int_t)r->same, "conflicts",
                           (json_int_t)r->conflicts, "winners", (json_int_t)r->winners, "damaged",
                           (json_int_t)r->damaged, "notes", notes),
                 "qgen.cache.merge/1");
        return;
    }
    printf("%s: %zu kernels added, %zu there already, %zu conflicts, %zu winners read, %zu "
           "damaged files left out\n",
           merge_out, r->added, r->same, r->conflicts, r->winners, r->damaged);
}

static int run_merge(int argc, char **argv)
{
    struct cli cli;
    struct store *into;
    struct merge_report report = {0};
    const int stop = cli_parse(&merge_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    if (!merge_out) return cli_usage(&merge_spec, "--out is missing: the folder to merge into");
    qrt_status status = store_open(merge_out, &into);
    if (status != QRT_OK) return cli_fail(status);
    json_t *notes = json_array();
    for (int i = 0; i < cli.operand_count && status == QRT_OK; i++)
        status = merge_folder(into, cli.operands[i], note_line, notes, &report);
    if (status == QRT_OK) print_merged(&report, &cli, notes);
    json_decref(notes);
    store_close(into);
    return ended(status, report.damaged ? EXIT_CHECK : EXIT_DONE);
}

/* ---- gc ---- */

static const char *max_text;
static int dry_run;
static const struct cli_option gc_options[] = {
    {"max-bytes", 0, CLI_STRING, &max_text, "SIZE", "what kernels may take: 500MiB, 0 (2GiB)", 0,
     0},
    {"dry-run", 'n', CLI_FLAG, &dry_run, NULL, "say what would be deleted, and delete nothing", 0,
     0},
    {.name = NULL},
};
static const struct cli_spec gc_spec = {
    .usage = "cache gc [DIR] [--max-bytes SIZE] [--dry-run]",
    .about =
        "Deletes the kernels that were written longest ago until the rest fits, and temporary\n"
        "files that a process which died left more than a day ago.  A kernel that is deleted\n"
        "is made again when it is wanted.  Winners and packed models stay.",
    .examples = "  qgen cache gc --max-bytes 500MiB --dry-run",
    .options = gc_options,
    .max_operands = 1,
};

/* "2GiB", "500M", "0"; units are powers of 1024. */
static int parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *text == '-' || *text == '+') return 0;
    const char *unit = *end ? strchr(units, *end) : NULL;
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (unit) end++;
    if (unit && *end == 'i') end++;
    if (*end == 'B') end++;
    *out = (uint64_t)value << shift;
    return *end == 0 && *out >> shift == value;
}

/* What writers that died left in a folder of files that are replaced by rename. */
static size_t remove_leftovers(const char *folder, const char *sub, const char *const *endings)
{
    enum { DAY = 24 * 60 * 60 };
    char path[PATH_MAX];
    size_t count = 0;
    snprintf(path, sizeof path, "%s/%s", folder, sub);
    DIR *dir = opendir(path);
    for (const struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        struct stat st;
        const char *const *ending = endings;
        const char *dot = strrchr(d->d_name, '.');
        while (*ending && (!dot || strcmp(dot, *ending) != 0)) ending++;
        if (*ending || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode) || st.st_mtime > time(NULL) - DAY) continue;
        count += dry_run || unlinkat(dirfd(dir), d->d_name, 0) == 0;
    }
    if (dir) closedir(dir);
    return count;
}

static size_t remove_all_leftovers(const char *folder)
{
    static const char *const tuned[] = {".txt", ".damaged", ".lock", NULL};
    static const char *const models[] = {".qm", NULL};
    return remove_leftovers(folder, "tuned", tuned) + remove_leftovers(folder, "models", models);
}

static int run_gc(int argc, char **argv)
{
    struct cli cli;
    struct store *s;
    struct store_trimmed t;
    uint64_t max = STORE_MAX_BYTES;
    const int stop = cli_parse(&gc_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    if (max_text && !parse_size(max_text, &max))
        return cli_usage(&gc_spec, "--max-bytes %s: a size like 2GiB, 500MiB or 0", max_text);
    qrt_status status = open_given(&cli, &s);
    if (status != QRT_OK) return cli_fail(status);
    status = dry_run ? store_trim_plan(s, max, &t) : store_trim(s, max, &t);
    const size_t stale = status == QRT_OK ? t.stale + remove_all_leftovers(store_folder(s)) : 0;
    if (status == QRT_OK && cli.json) {
        cli_json(json_pack("{ss sI sI sI sI sb}", "folder", store_folder(s), "removed",
                           (json_int_t)t.removed, "kept", (json_int_t)t.kept, "kept_bytes",
                           (json_int_t)t.kept_bytes, "temporary", (json_int_t)stale, "dry_run",
                           dry_run),
                 "qgen.cache.gc/1");
    } else if (status == QRT_OK) {
        char size[16];
        cli_bytes(t.kept_bytes, size);
        printf("%s: %zu kernels and %zu temporary files %s, %zu kernels kept, %s\n",
               store_folder(s), t.removed, stale, dry_run ? "would go" : "deleted", t.kept, size);
    }
    store_close(s);
    return ended(status, EXIT_DONE);
}

/* ---- import ---- */

static int strict;
static const struct cli_option import_options[] = {
    {"strict", 0, CLI_FLAG, &strict, NULL, "a file that cannot be taken is a failure", 0, 0},
    {.name = NULL},
};
static const struct cli_spec import_spec = {
    .usage = "cache import FILE [--strict]",
    .about = "Takes winners from another machine or release into this user's tables.  A file is\n"
             "taken whole or not at all.  One that cannot be taken (another format, unknown\n"
             "architectures, damage) is one note on stderr, not a failure, unless --strict.",
    .examples = "  qgen cache import h200.txt",
    .options = import_options,
    .min_operands = 1,
    .max_operands = 1,
};

static int run_import(int argc, char **argv)
{
    struct cli cli;
    struct store *s;
    struct winners w = {0};
    const int stop = cli_parse(&import_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *path = cli.operands[0];
    if (access(path, R_OK) != 0)
        return cli_fail(error_set(QRT_E_IO, "%s: %s", path, strerror(errno)));
    qrt_status status = winners_read(path, &w);
    if (status != QRT_OK && !strict) {
        cli_note("nothing was imported: %s", qrt_message());
        status = QRT_OK;
    }
    if (status == QRT_OK) status = store_open(NULL, &s);
    if (status != QRT_OK) return cli_fail(status);
    status = winners_keep(store_folder(s), &w);
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{ss sI ss}", "file", path, "winners", (json_int_t)w.count, "folder",
                           store_folder(s)),
                 "qgen.cache.import/1");
    else if (status == QRT_OK)
        printf("%zu winners into %s/tuned\n", w.count, store_folder(s));
    winners_free(&w);
    store_close(s);
    return ended(status, EXIT_DONE);
}

/* ---- path ---- */

static const struct cli_spec path_spec = {
    .usage = "cache path",
    .about = "Prints the folder that kernels and winners are kept in: $QGEN_CACHE, else\n"
             "$XDG_CACHE_HOME/qgen, else ~/.cache/qgen.",
    .examples = "  du -sh \"$(qgen cache path)\"",
};

static int run_path(int argc, char **argv)
{
    struct cli cli;
    struct store *s;
    const int stop = cli_parse(&path_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const qrt_status status = store_open(NULL, &s);
    if (status != QRT_OK) return cli_fail(status);
    if (cli.json)
        cli_json(json_pack("{ss}", "folder", store_folder(s)), "qgen.cache.path/1");
    else
        printf("%s\n", store_folder(s));
    store_close(s);
    return EXIT_DONE;
}

/* ---- the command ---- */

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"ls", run_ls}, {"verify", run_verify}, {"merge", run_merge},
    {"gc", run_gc}, {"import", run_import}, {"path", run_path},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static const struct cli_spec spec = {
    .usage = "cache ls|verify|merge|gc|import|path ...",
    .about = "Looks after the kernels and winners of this user, or of a folder.\n\n"
             "  ls      what there is\n"
             "  verify  reads all of it and names what is damaged\n"
             "  merge   makes one folder of several\n"
             "  gc      deletes old kernels\n"
             "  import  takes winners from elsewhere\n"
             "  path    where it is\n\n"
             "`qgen cache VERB --help` tells more.",
    .examples = "  qgen cache ls\n"
                "  qgen cache merge out/* -o merged",
    .min_operands = 1,
    .max_operands = 1,
};

int cmd_cache(int argc, char **argv)
{
    struct cli cli;
    const char *names[VERBS];
    for (size_t i = 0; i < VERBS; i++) {
        if (argc > 1 && strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
        names[i] = verbs[i].name;
    }
    const int stop = cli_parse(&spec, argc < 2 ? argc : 2, argv, &cli);
    if (stop) return stop - 1;
    const char *near = cli_nearest(cli.operands[0], names, VERBS);
    return cli_usage(&spec,
                     near ? "there is no `cache %s`; did you mean %s?" : "there is no `cache %s`",
                     cli.operands[0], near);
}
