/* file.c -- whole files in and out */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

static qrt_status io_error(const char *path, const char *what)
{
    return error_set(QRT_E_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* Bytes read, at most `limit`; -1 and errno on failure. */
static ssize_t read_all(int fd, char *bytes, size_t limit)
{
    size_t count = 0;
    while (count < limit) {
        const ssize_t n = read(fd, bytes + count, limit - count);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        count += (size_t)n;
    }
    return (ssize_t)count;
}

static qrt_status read_open(int fd, const char *path, size_t limit, void **bytes, size_t *count)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return io_error(path, "cannot be examined");
    if (!S_ISREG(st.st_mode)) return error_set(QRT_E_IO, "%s: not a regular file", path);
    if ((size_t)st.st_size > limit)
        return error_set(QRT_E_LIMIT, "%s: %lld bytes, at most %zu are read", path,
                         (long long)st.st_size, limit);
    char *block = malloc((size_t)st.st_size + 1);
    if (!block) return error_set(QRT_E_MEMORY, "%s: no %lld bytes", path, (long long)st.st_size);
    const ssize_t n = read_all(fd, block, (size_t)st.st_size);
    if (n < 0) {
        free(block);
        return io_error(path, "cannot be read");
    }
    block[n] = 0;
    *bytes = block;
    *count = (size_t)n;
    return QRT_OK;
}

qrt_status file_read(const char *path, size_t limit, void **bytes, size_t *count)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    if (fd < 0) return io_error(path, "cannot be opened");
    const qrt_status status = read_open(fd, path, limit, bytes, count);
    close(fd);
    return status;
}

int file_write_all(int fd, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        const ssize_t n = write(fd, at, count);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        at += n;
        count -= (size_t)n;
    }
    return 0;
}

/* The folder of a path, so that a new name in it outlives a loss of power.  What cannot be synced
 * (EINVAL, a folder that may not be read) is left to the system. */
static int sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return 0;
    const int bad = fsync(fd) != 0 && errno != EINVAL;
    const int reason = errno;
    close(fd);
    errno = reason;
    return bad ? -1 : 0;
}

qrt_status file_write(const char *path, const void *bytes, size_t count)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return error_set(QRT_E_IO, "%.200s...: the path is too long", path);
    const int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return io_error(path, "cannot be created");
    const mode_t mask = umask(0);
    umask(mask);
    int bad =
        fchmod(fd, 0666 & ~mask) != 0 || file_write_all(fd, bytes, count) != 0 || fsync(fd) != 0;
    int reason = errno;
    if (close(fd) != 0 && !bad) bad = 1, reason = errno;
    if (!bad && rename(temporary, path) != 0) bad = 1, reason = errno;
    if (bad) {
        unlink(temporary);
        errno = reason;
    } else if (sync_folder_of(path) == 0) {
        return QRT_OK;
    }
    return io_error(path, "cannot be written");
}

qrt_status file_make_folders(const char *path, unsigned mode)
{
    char prefix[PATH_MAX];
    if (snprintf(prefix, sizeof prefix, "%s", path) >= (int)sizeof prefix || !*path)
        return error_set(QRT_E_IO, "'%.200s': a folder's path is empty or too long", path);
    for (char *at = prefix + 1;; at++) {
        if (*at && *at != '/') continue;
        const char end = *at;
        *at = 0;
        if (mkdir(prefix, (mode_t)mode) != 0 && errno != EEXIST)
            return io_error(prefix, "the folder cannot be created");
        *at = end;
        if (!end) return QRT_OK;
    }
}
