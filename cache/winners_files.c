/* winners_files.c -- tables of winners in files: read, replaced, merged into, listed */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "winners.h"

#define ASIDE ".damaged"

/* ---- one file ---- */

qrt_status winners_read(const char *path, struct winners *out)
{
    void *text;
    size_t bytes;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        *out = (struct winners){0};
        return QRT_OK;
    }
    TRY(file_read(path, WINNERS_MAX_BYTES, &text, &bytes));
    const qrt_status status = winners_parse(text, bytes, path, out);
    free(text);
    return status;
}

qrt_status winners_write(const char *path, const struct winners *w)
{
    char *text;
    size_t bytes;
    TRY(winners_text(w, &text, &bytes));
    const qrt_status status = file_write(path, text, bytes);
    free(text);
    return status;
}

/* ---- keeping ---- */

static qrt_status path_set(char out[PATH_MAX], const char *folder, const char *before,
                           const char *name, const char *after)
{
    if (snprintf(out, PATH_MAX, "%s/tuned/%s%s%s", folder, before, name, after) >= PATH_MAX)
        return error_set(QRT_E_IO, "%.200s/tuned: the path is too long", folder);
    return QRT_OK;
}

/* A descriptor that holds the lock; -1: none can be had.  Whoever holds it does so for
 * milliseconds: one that is held for LOCK_MS belongs to somebody stopped, and work goes on. */
static int lock(const char *path)
{
    enum { LOCK_MS = 10000, STEP_MS = 5 };
    const struct timespec step = {0, STEP_MS * 1000000};
    const int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    for (int waited = 0; fd >= 0 && waited < LOCK_MS; waited += STEP_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
        if (errno != EWOULDBLOCK && errno != EINTR) break;
        nanosleep(&step, NULL);
    }
    if (fd >= 0) close(fd);
    return -1;
}

static qrt_status read_or_set_aside(const char *path, const char *aside, struct winners *out)
{
    const qrt_status status = winners_read(path, out);
    if (status != QRT_E_FORMAT && status != QRT_E_LIMIT) return status;
    if (rename(path, aside) != 0)
        return error_context(QRT_E_IO, "%s cannot be set aside (%s)", path, strerror(errno));
    *out = (struct winners){0};
    return QRT_OK;
}

static qrt_status compare_text(const struct winners *a, const struct winners *b, int *equal)
{
    char *x, *y = NULL;
    size_t x_bytes, y_bytes = 0;
    TRY(winners_text(a, &x, &x_bytes));
    const qrt_status status = winners_text(b, &y, &y_bytes);
    if (status == QRT_OK) {
        *equal = x_bytes == y_bytes && memcmp(x, y, x_bytes) == 0;
        free(y);
    }
    free(x);
    return status;
}

/* One round of reading, merging and replacing; *held: the file held all rows as it was. */
static qrt_status keep_round(const char *path, const char *aside, const struct winners *rows,
                             int *held)
{
    struct winners now = {0}, merged = {0};
    qrt_status status;
    TRY_DONE(read_or_set_aside(path, aside, &now));
    TRY_DONE(winners_merge(&merged, &now));
    TRY_DONE(winners_merge(&merged, rows));
    TRY_DONE(compare_text(&now, &merged, held));
    if (!*held) TRY_DONE(winners_write(path, &merged));
done:
    winners_free(&now);
    winners_free(&merged);
    return status;
}

/* Rounds go on until the file is seen to hold the rows: should somebody write without the lock, they
 * are merged again. */
static qrt_status keep_arch(const char *folder, const struct winners *rows)
{
    enum { ROUNDS = 32 };
    const char *arch = rows->items[0].arch;
    char path[PATH_MAX], aside[PATH_MAX], lock_path[PATH_MAX];
    TRY(path_set(path, folder, "", arch, ".txt"));
    TRY(path_set(aside, folder, "", arch, ".txt" ASIDE));
    TRY(path_set(lock_path, folder, ".", arch, ".lock"));
    const int fd = lock(lock_path);
    qrt_status status = QRT_OK;
    int held = 0;
    for (int round = 0; round < ROUNDS && status == QRT_OK && !held; round++)
        status = keep_round(path, aside, rows, &held);
    if (fd >= 0) close(fd);
    if (status == QRT_OK && !held)
        return error_set(QRT_E_IO, "%s: somebody else replaced it %d times", path, ROUNDS);
    return status;
}

qrt_status winners_keep(const char *folder, const struct winners *w)
{
    char tuned[PATH_MAX];
    if (w->count == 0) return QRT_OK;
    TRY(path_set(tuned, folder, "", "", ""));
    TRY(file_make_folders(tuned, 0700));
    for (size_t i = 0, next; i < w->count; i = next) { /* an arch's rows are neighbours */
        for (next = i + 1; next < w->count; next++)
            if (strcmp(w->items[next].arch, w->items[i].arch) != 0) break;
        const struct winners rows = {.items = w->items + i, .count = next - i};
        TRY(keep_arch(folder, &rows));
    }
    return QRT_OK;
}

/* ---- all files ---- */

static int ends_with(const char *name, const char *suffix)
{
    const size_t length = strlen(name), end = strlen(suffix);
    return length > end && strcmp(name + length - end, suffix) == 0;
}

static int is_table(const struct dirent *d)
{
    return *d->d_name != '.' &&
           (ends_with(d->d_name, ".txt") || ends_with(d->d_name, ".txt" ASIDE));
}

static qrt_status visit_table(const char *folder, const char *name,
                              int (*visit)(void *user, const struct winners_file *f), void *user,
                              int *stop)
{
    char path[PATH_MAX];
    struct winners w = {0};
    struct winners_file f = {.path = path, .problem = "", .is_aside = ends_with(name, ASIDE)};
    TRY(path_set(path, folder, "", name, ""));
    if (f.is_aside)
        f.problem = "a damaged file that was set aside";
    else if (winners_read(path, &w) == QRT_OK)
        f.rows = &w;
    else
        f.problem = qrt_message();
    *stop = visit(user, &f);
    winners_free(&w);
    return QRT_OK;
}

qrt_status winners_files(const char *folder, int (*visit)(void *user, const struct winners_file *f),
                         void *user)
{
    char tuned[PATH_MAX];
    struct dirent **names;
    int stop = 0;
    TRY(path_set(tuned, folder, "", "", ""));
    const int count = scandir(tuned, &names, is_table, alphasort);
    qrt_status status = QRT_OK;
    for (int i = 0; i < count; i++) {
        if (status == QRT_OK && !stop)
            status = visit_table(folder, names[i]->d_name, visit, user, &stop);
        free(names[i]);
    }
    if (count >= 0) free(names);
    return status;
}

struct loading {
    struct winners rows;
    char *note;
    qrt_status status;
};

static int load_one(void *user, const struct winners_file *f)
{
    struct loading *l = user;
    if (f->rows)
        l->status = winners_merge(&l->rows, f->rows);
    else if (!f->is_aside && !*l->note)
        snprintf(l->note, 256, "%.200s; passed over", f->problem);
    return l->status != QRT_OK;
}

qrt_status winners_load(const char *folder, struct winners *out, char note[256])
{
    struct loading l = {.note = note};
    *note = 0;
    qrt_status status = winners_files(folder, load_one, &l);
    if (status == QRT_OK) status = l.status;
    if (status == QRT_OK)
        *out = l.rows;
    else
        winners_free(&l.rows);
    return status;
}
