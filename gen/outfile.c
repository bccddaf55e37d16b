/* outfile.c -- a large output file that appears whole or not at all */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli.h"
#include "error.h"

static qrt_status io_error(const char *path, const char *what, int reason)
{
    return error_set(QRT_E_IO, "%s: cannot %s: %s", path, what, strerror(reason));
}

/* The folder of a path, in a block to free(). */
static char *folder_of(const char *path)
{
    char *copy = strdup(path);
    char *folder = copy ? strdup(dirname(copy)) : NULL;
    free(copy);
    return folder;
}

static int open_unnamed(const char *path)
{
    char *folder = folder_of(path);
    int fd = -1;
    /* the name is given through /proc later */
    if (folder && access("/proc/self/fd", X_OK) == 0)
        fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(folder);
    return fd;
}

static qrt_status check_target(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(QRT_E_IO, "%s: exists and is not a regular file", path);
    return QRT_OK;
}

qrt_status outfile_refuse_input(const char *path, const char *input)
{
    struct stat a, b;
    if (stat(path, &a) == 0 && stat(input, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return error_set(QRT_E_ARGUMENT, "%s is the input itself: give the output another name",
                         path);
    return QRT_OK;
}

/* `path` and a temporary name that no other process has. */
static qrt_status name_files(const char *path, struct outfile *out)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return io_error(path, "get a random name beside", errno);
    out->path = strdup(path);
    if (out->path &&
        asprintf(&out->temporary, "%s.%016llx.tmp", path, (unsigned long long)random) >= 0)
        return QRT_OK;
    out->temporary = NULL;
    outfile_discard(out);
    return error_set(QRT_E_MEMORY, "no memory");
}

qrt_status outfile_open(const char *path, struct outfile *out)
{
    *out = (struct outfile){.fd = -1};
    TRY(check_target(path));
    TRY(name_files(path, out));
    out->fd = open_unnamed(path);
    if (out->fd < 0) {
        out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        out->named = out->fd >= 0;
    }
    if (out->fd >= 0) return QRT_OK;
    const qrt_status status = io_error(path, "create", errno);
    outfile_discard(out);
    return status;
}

static qrt_status no_room(const struct outfile *o, uint64_t bytes)
{
    struct statvfs fs;
    char need[16], have[16] = "?";
    cli_bytes(bytes, need);
    if (fstatvfs(o->fd, &fs) == 0) cli_bytes((uint64_t)fs.f_bavail * fs.f_frsize, have);
    return error_set(QRT_E_IO, "%s: the disk is full: %s are needed, %s are free", o->path, need,
                     have);
}

qrt_status outfile_reserve(struct outfile *o, uint64_t bytes)
{
    int result;
    do result = fallocate(o->fd, 0, 0, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    if (result == 0) return QRT_OK;
    if (errno == ENOSPC || errno == EDQUOT) return no_room(o, bytes);
    if (errno == EOPNOTSUPP && ftruncate(o->fd, (off_t)bytes) == 0) return QRT_OK;
    return io_error(o->path, "reserve its size", errno);
}

qrt_status outfile_write_at(struct outfile *o, uint64_t offset, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        const ssize_t n = pwrite(o->fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT)) return no_room(o, bytes);
        if (n <= 0) return io_error(o->path, "write", n < 0 ? errno : EIO);
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return QRT_OK;
}

/* Give an unnamed file the temporary name: link() cannot replace a file, rename() can. */
static int link_temporary(struct outfile *o)
{
    char self[32];
    if (o->named) return 0;
    snprintf(self, sizeof self, "/proc/self/fd/%d", o->fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, o->temporary, AT_SYMLINK_FOLLOW) != 0) return -1;
    o->named = 1;
    return 0;
}

static void sync_folder(const char *path)
{
    char *folder = folder_of(path);
    const int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* the file is whole either way; some file systems refuse this */
        close(fd);
    }
    free(folder);
}

qrt_status outfile_commit(struct outfile *o)
{
    qrt_status status = QRT_OK;
    if (fsync(o->fd) != 0)
        status = io_error(o->path, "sync", errno);
    else if (link_temporary(o) != 0 || rename(o->temporary, o->path) != 0)
        status = io_error(o->path, "take its name", errno);
    if (status == QRT_OK) {
        o->named = 0;
        sync_folder(o->path);
    }
    outfile_discard(o);
    return status;
}

void outfile_discard(struct outfile *o)
{
    if (o->fd >= 0) close(o->fd);
    if (o->named) unlink(o->temporary);
    free(o->path);
    free(o->temporary);
    *o = (struct outfile){.fd = -1};
}
