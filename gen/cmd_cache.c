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

#include "cache_verbs.h"
#include "error.h"
#include "merge.h"

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
    return cache_end(status, report.damaged ? EXIT_CHECK : EXIT_DONE);
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
    qrt_status status = cache_open(&cli, &s);
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
    return cache_end(status, EXIT_DONE);
}

/* ---- import ---- */

static int strict;
static const struct cli_option import_options[] = {
    {"strict", 0, CLI_FLAG, &strict, NULL,
     "a file that cannot be taken, or has stale winners, is a failure", 0, 0},
    {.name = NULL},
};
static const struct cli_spec import_spec = {
    .usage = "cache import FILE [--strict]",
    .about =
        "Takes winners from another machine or release into this user's tables.  A file is\n"
        "taken whole or not at all.  One that cannot be taken (another format, unknown\n"
        "architectures, damage) is one note on stderr, not a failure, unless --strict; so are\n"
        "stale winners (made with other templates or another compiler), which builds pass over.",
    .examples = "  qgen cache import h200.txt",
    .options = import_options,
    .min_operands = 1,
    .max_operands = 1,
};

/* The winners of a file; none, and a note, when it cannot be taken. */
static qrt_status read_foreign(const char *path, struct winners *out)
{
    if (access(path, R_OK) != 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    const qrt_status status = winners_read(path, out);
    if (status == QRT_OK || strict) return status;
    cli_note("nothing was imported: %s", qrt_message());
    return QRT_OK;
}

static qrt_status take(const char *path, const struct winners *w, const char *folder,
                       struct stale *stale)
{
    TRY(cache_count_stale(folder, w, stale));
    if (stale->rows && strict)
        return error_set(QRT_E_FORMAT, "%s: %zu of %zu winners are stale, made with other: %s",
                         path, stale->rows, w->count, stale->why);
    if (stale->rows)
        cli_note("%zu of %zu winners are stale, made with other: %s; builds pass over them",
                 stale->rows, w->count, stale->why);
    return winners_keep(folder, w);
}

static int run_import(int argc, char **argv)
{
    struct cli cli;
    struct store *s;
    struct stale stale;
    struct winners w = {0};
    const int stop = cli_parse(&import_spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *path = cli.operands[0];
    qrt_status status = read_foreign(path, &w);
    if (status == QRT_OK) status = store_open(NULL, &s);
    if (status != QRT_OK) return cli_fail(status);
    status = take(path, &w, store_folder(s), &stale);
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{ss sI sI ss}", "file", path, "winners", (json_int_t)w.count, "stale",
                           (json_int_t)stale.rows, "folder", store_folder(s)),
                 "qgen.cache.import/1");
    else if (status == QRT_OK)
        printf("%zu winners into %s/tuned\n", w.count, store_folder(s));
    winners_free(&w);
    store_close(s);
    return cache_end(status, EXIT_DONE);
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
    {"ls", cache_ls}, {"verify", cache_verify}, {"merge", run_merge},
    {"gc", run_gc},   {"import", run_import},   {"path", run_path},
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
