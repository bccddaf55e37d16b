/* filekind.c -- which of the formats that qgen reads a file is, by its first bytes */
#include "filekind.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"
#include "error.h"
#include "qm.h"

enum { HEAD_BYTES = 8 };

static const struct {
    const char *magic;
    enum filekind kind;
} kinds[] = {{"GGUF", FILE_GGUF},
             {QM_MAGIC, FILE_QM},
             {"QKENTRY1", FILE_ENTRY},
             {BUNDLE_MAGIC, FILE_BUNDLE}};

static qrt_status read_head(const char *path, char head[HEAD_BYTES + 1], ssize_t *count)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    const int regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    *count = regular ? read(fd, head, HEAD_BYTES) : 0;
    const int reason = errno;
    close(fd);
    if (!regular) return error_set(QRT_E_IO, "%s: not a regular file", path);
    if (*count < 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(reason));
    return QRT_OK;
}

qrt_status filekind_of(const char *path, enum filekind *out)
{
    char head[HEAD_BYTES + 1] = "";
    ssize_t count = 0;
    TRY(read_head(path, head, &count));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(head, kinds[i].magic, strlen(kinds[i].magic)) == 0) {
            *out = kinds[i].kind;
            return QRT_OK;
        }
    return error_set(QRT_E_FORMAT,
                     "%s: %s; qgen reads GGUF models, packed models (.qm), kernel entries (.qk1) "
                     "and bundles (.qk)",
                     path,
                     count ? "its first bytes are of no format that qgen knows" : "it is empty");
}
