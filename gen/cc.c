/* cc.c -- the system's C compiler as the compiler of x86 kernels */
#include "cc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "file.h"

enum { LOG_BYTES = 1 << 20, MAX_ARGUMENTS = 40, FOLDER_BYTES = 256 };
#define SOURCE_NAME "kernel.c"
#define OBJECT_NAME "kernel.so"
#define EXPORT_NAME "kernel.map"
#define LOG_NAME    "log"

/* Fixed: another option is another key.  noseparate-code: a kernel in 8 KB instead of 14;
 * no distribute-patterns: it makes calls of memset out of loops, and an image has no libc. */
/* clang-format off */
#define OPTIONS(X) \
    X("-std=gnu11") X("-O3") X("-ffp-contract=off") X("-fno-math-errno") X("-fno-trapping-math") \
    X("-fno-tree-loop-distribute-patterns") \
    X("-fPIC") X("-shared") X("-nostartfiles") X("-fno-stack-protector") X("-Wno-psabi") \
    X("-fno-ident") X("-fno-asynchronous-unwind-tables") X("-s") \
    X("-Wl,--build-id=none") X("-Wl,-z,noseparate-code") X("-Wl,--as-needed") \
    X("-Wl,--version-script=" EXPORT_NAME)
/* clang-format on */
#define OPTION_ITEM(option) option,
#define OPTION_WORD(option) option " "

struct cc {
    char program[FOLDER_BYTES];
    char identity[160];
};

const char *cc_identity(const struct cc *c) { return c->identity; }
const char *cc_options(void) { return OPTIONS(OPTION_WORD); }

/* Run argv in `folder` with both outputs in its file LOG_NAME; *code is the exit status. */
static qrt_status run(const char *const *argv, const char *folder, int *code)
{
    /* Only what finding and running a compiler needs: CPATH and the like would change its output,
     * a locale its messages. */
    char path[PATH_MAX + 8], temporary[FOLDER_BYTES + 8], locale[] = "LC_ALL=C";
    char *const environment[] = {path, locale, temporary, NULL};
    snprintf(path, sizeof path, "PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    snprintf(temporary, sizeof temporary, "TMPDIR=%s", folder);
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int state = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, LOG_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const int failed =
        posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return error_set(QRT_E_COMPILE,
                         "x86 kernels are compiled by the C compiler, and '%s' cannot be run: %s; "
                         "install gcc, or name one in $QGEN_CC",
                         argv[0], strerror(failed));
    while (waitpid(pid, &state, 0) < 0)
        if (errno != EINTR) return error_set(QRT_E_COMPILE, "%s: %s", argv[0], strerror(errno));
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    return QRT_OK;
}

/* ---- the private folder ---- */

static qrt_status make_folder(char folder[FOLDER_BYTES])
{
    const char *base = getenv("TMPDIR");
    if (!base || !*base) base = "/tmp";
    if (snprintf(folder, FOLDER_BYTES, "%s/qgen-XXXXXX", base) >= FOLDER_BYTES || !mkdtemp(folder))
        return error_set(QRT_E_IO, "%s: no temporary folder can be made there: %s", base,
                         strerror(errno));
    return QRT_OK;
}

static void path_in(const char *folder, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

static qrt_status put_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    path_in(folder, name, path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const int bad = fd < 0 || file_write_all(fd, text, strlen(text)) != 0;
    const int reason = errno;
    if (fd >= 0) close(fd);
    return bad ? error_set(QRT_E_IO, "%s: %s", path, strerror(reason)) : QRT_OK;
}

static void remove_folder(const char *folder, const struct unit *u)
{
    static const char *const names[] = {SOURCE_NAME, OBJECT_NAME, EXPORT_NAME, LOG_NAME};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_in(folder, names[i], path);
        unlink(path);
    }
    for (int i = 0; u && i < u->includes; i++) {
        path_in(folder, u->include_name[i], path);
        unlink(path);
    }
    rmdir(folder);
}

static qrt_status fill_folder(const char *folder, const struct unit *u)
{
    char export[ENTRY_SYMBOL_BYTES + 40];
    snprintf(export, sizeof export, "{ global: %s; local: *; };\n", u->symbol);
    TRY(put_file(folder, SOURCE_NAME, u->rendering.text));
    TRY(put_file(folder, EXPORT_NAME, export));
    for (int i = 0; i < u->includes; i++)
        TRY(put_file(folder, u->include_name[i], u->include_text[i]));
    return QRT_OK;
}

/* ---- the compiler ---- */

/* The first line of --version without the program's name: "(Debian 12.2.0-14) 12.2.0". */
static void keep_version(struct cc *c, const char *log)
{
    const char *name = strrchr(c->program, '/');
    name = name ? name + 1 : c->program;
    if (strncmp(log, name, strlen(name)) == 0) log += strlen(name);
    log += strspn(log, " ");
    snprintf(c->identity, sizeof c->identity, "cc %.*s", (int)strcspn(log, "\n"), log);
}

static qrt_status ask_version(struct cc *c)
{
    char folder[FOLDER_BYTES], path[PATH_MAX];
    const char *const argv[] = {c->program, "--version", NULL};
    void *log = NULL;
    size_t bytes;
    int code = -1;
    TRY(make_folder(folder));
    path_in(folder, LOG_NAME, path);
    qrt_status status = run(argv, folder, &code);
    if (status == QRT_OK) status = file_read(path, LOG_BYTES, &log, &bytes);
    remove_folder(folder, NULL);
    if (status == QRT_OK && code != 0)
        status = error_set(QRT_E_COMPILE,
                           "%s --version failed with %d; name another C compiler in "
                           "$QGEN_CC",
                           c->program, code);
    if (status == QRT_OK) keep_version(c, log);
    free(log);
    return status;
}

qrt_status cc_open(struct cc **out)
{
    const char *given = getenv("QGEN_CC");
    if (!given || !*given) given = "cc";
    if (strchr(given, '/') && given[0] != '/') /* it is run from another folder */
        return error_set(QRT_E_ARGUMENT, "QGEN_CC=%s: a name or an absolute path is needed", given);
    struct cc *c = calloc(1, sizeof *c);
    if (!c) return error_set(QRT_E_MEMORY, "C compiler: no memory");
    if (snprintf(c->program, sizeof c->program, "%s", given) >= (int)sizeof c->program) {
        free(c);
        return error_set(QRT_E_ARGUMENT, "QGEN_CC: the path is too long");
    }
    const qrt_status status = ask_version(c);
    if (status == QRT_OK)
        *out = c;
    else
        free(c);
    return status;
}

void cc_close(struct cc *c) { free(c); }

static qrt_status log_error(const char *folder, const struct unit *u)
{
    char path[PATH_MAX];
    void *log;
    size_t bytes;
    path_in(folder, LOG_NAME, path);
    TRY(file_read(path, LOG_BYTES, &log, &bytes));
    const qrt_status status = unit_error(u, "cc", SOURCE_NAME, log);
    free(log);
    return status;
}

static qrt_status compile_in(const struct cc *c, const char *folder, const struct unit *u,
                             struct unit_image *out)
{
    char march[32], seed[ENTRY_SYMBOL_BYTES + 32], path[PATH_MAX];
    const char *const argv[MAX_ARGUMENTS] = {
        c->program, OPTIONS(OPTION_ITEM) march, seed, SOURCE_NAME, "-o", OBJECT_NAME, "-lm", NULL};
    int code = -1;
    snprintf(march, sizeof march, "-march=%s", u->arch->name);
    snprintf(seed, sizeof seed, "-frandom-seed=%s", u->symbol);
    TRY(fill_folder(folder, u));
    TRY(run(argv, folder, &code));
    if (code != 0) return log_error(folder, u);
    path_in(folder, OBJECT_NAME, path);
    return file_read(path, ENTRY_MAX_BYTES, &out->image, &out->image_bytes);
}

qrt_status cc_compile(const struct cc *c, const struct unit *u, struct unit_image *out)
{
    char folder[FOLDER_BYTES];
    struct unit_image image = {0};
    TRY(make_folder(folder));
    const qrt_status status = compile_in(c, folder, u, &image);
    remove_folder(folder, u);
    if (status == QRT_OK) *out = image;
    return status;
}
