/* fault.c -- calls that fail on purpose: the n-th allocation or file operation of a test
 *
 * The linker's --wrap=f makes f() of the objects __wrap_f() and gives the real one as __real_f().
 */
#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fault fault;
static fault_watch *watch;
static void *watch_user;
static atomic_int is_armed;
static atomic_long calls;

void fault_begin(const struct fault *f, fault_watch *watcher, void *user)
{
    fault = *f;
    watch = watcher;
    watch_user = user;
    atomic_store(&calls, 0);
    atomic_store(&is_armed, 1);
}

long fault_end(void)
{
    atomic_store(&is_armed, 0);
    return atomic_load(&calls);
}

/* ---- whether a call is the one ---- */

static int is_struck(enum fault_target target)
{
    if (!atomic_load(&is_armed) || fault.target != target) return 0;
    const long n = atomic_fetch_add(&calls, 1) + 1;
    if (fault.at == 0 || n < fault.at) return 0;
    const long most = !fault.for_ever ? 1 : fault.error == EINTR ? FAULT_INTERRUPTS : __LONG_MAX__;
    if (n - fault.at >= most) return 0;
    if (fault.effect == FAULT_EXIT) _exit(FAULT_EXITED);
    return 1;
}

static int fails(enum fault_target target)
{
    if (!is_struck(target) || fault.effect != FAULT_FAIL) return 0;
    errno = target == FAULT_MEMORY ? ENOMEM : fault.error;
    return 1;
}

static int file_fails(struct fault_call call)
{
    if (fails(FAULT_FILES)) return 1;
    if (atomic_load(&is_armed) && watch) watch(watch_user, &call);
    return 0;
}

/* How many of `count` bytes to transfer; -1: fail. */
static ssize_t amount(const char *name, int fd, size_t count)
{
    size_t most = count;
    if (is_struck(FAULT_FILES)) {
        errno = fault.error;
        if (fault.effect == FAULT_FAIL) return -1;
        if (count > 1) most = count / 2;
    }
    if (atomic_load(&is_armed) && watch) watch(watch_user, &(struct fault_call){name, fd, 0, 0, 0});
    return (ssize_t)most;
}

/* ---- memory ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);

void *__wrap_malloc(size_t bytes) { return fails(FAULT_MEMORY) ? NULL : __real_malloc(bytes); }

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails(FAULT_MEMORY) ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    return fails(FAULT_MEMORY) ? NULL : __real_realloc(block, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(FAULT_MEMORY) ? NULL : __real_aligned_alloc(alignment, bytes);
}

char *__wrap_strdup(const char *text) { return fails(FAULT_MEMORY) ? NULL : __real_strdup(text); }

__attribute__((format(printf, 2, 3))) int __wrap_asprintf(char **out, const char *format, ...)
{
    if (fails(FAULT_MEMORY)) return -1;
    va_list arguments;
    va_start(arguments, format);
    const int bytes = vasprintf(out, format, arguments);
    va_end(arguments);
    return bytes;
}

/* ---- files ---- */

int __real_open(const char *path, int flags, ...);
int __real_openat(int fd, const char *path, int flags, ...);
ssize_t __real_read(int fd, void *bytes, size_t count);
ssize_t __real_pread(int fd, void *bytes, size_t count, off_t offset);
ssize_t __real_write(int fd, const void *bytes, size_t count);
int __real_close(int fd);
int __real_mkostemp(char *path, int flags);
int __real_scandirat(int fd, const char *path, struct dirent ***out,
                     int (*filter)(const struct dirent *),
                     int (*compare)(const struct dirent **, const struct dirent **));

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    if (file_fails((struct fault_call){"open", -1, path, NULL, flags})) return -1;
    return __real_open(path, flags, mode);
}

int __wrap_openat(int fd, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    if (file_fails((struct fault_call){"openat", fd, path, NULL, flags})) return -1;
    return __real_openat(fd, path, flags, mode);
}

ssize_t __wrap_read(int fd, void *bytes, size_t count)
{
    const ssize_t most = amount("read", fd, count);
    return most < 0 ? -1 : __real_read(fd, bytes, (size_t)most);
}

ssize_t __wrap_pread(int fd, void *bytes, size_t count, off_t offset)
{
    const ssize_t most = amount("pread", fd, count);
    return most < 0 ? -1 : __real_pread(fd, bytes, (size_t)most, offset);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
    const ssize_t most = amount("write", fd, count);
    return most < 0 ? -1 : __real_write(fd, bytes, (size_t)most);
}

int __wrap_close(int fd)
{
    const int bad = file_fails((struct fault_call){"close", fd, NULL, NULL, 0});
    const int reason = errno, closed = __real_close(fd);
    if (bad) errno = reason;
    return bad ? -1 : closed;
}

int __wrap_mkostemp(char *path, int flags)
{
    if (file_fails((struct fault_call){"mkostemp", -1, path, NULL, flags})) return -1;
    return __real_mkostemp(path, flags);
}

int __wrap_scandirat(int fd, const char *path, struct dirent ***out,
                     int (*filter)(const struct dirent *),
                     int (*compare)(const struct dirent **, const struct dirent **))
{
    if (file_fails((struct fault_call){"scandirat", fd, path, NULL, 0})) return -1;
    return __real_scandirat(fd, path, out, filter, compare);
}

/* The rest are alike: parameters, arguments, and what a watcher is told. */
#define WRAP(name, parameters, arguments, fd, path, to)                                           \
    int __real_##name parameters;                                                                 \
    int __wrap_##name parameters                                                                  \
    {                                                                                             \
        return file_fails((struct fault_call){#name, fd, path, to, 0}) ? -1                       \
                                                                       : __real_##name arguments; \
    }
WRAP(fsync, (int fd), (fd), fd, NULL, NULL)
WRAP(fstat, (int fd, struct stat *st), (fd, st), fd, NULL, NULL)
WRAP(fchmod, (int fd, mode_t mode), (fd, mode), fd, NULL, NULL)
WRAP(ftruncate, (int fd, off_t bytes), (fd, bytes), fd, NULL, NULL)
WRAP(rename, (const char *from, const char *to), (from, to), -1, from, to)
WRAP(renameat, (int fd, const char *from, int to_fd, const char *to), (fd, from, to_fd, to), fd,
     from, to)
WRAP(link, (const char *from, const char *to), (from, to), -1, from, to)
WRAP(unlink, (const char *path), (path), -1, path, NULL)
WRAP(unlinkat, (int fd, const char *path, int flags), (fd, path, flags), fd, path, NULL)
WRAP(mkdir, (const char *path, mode_t mode), (path, mode), -1, path, NULL)
WRAP(mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), fd, path, NULL)
