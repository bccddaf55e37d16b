/* file.h -- whole files in and out
 *
 * Errors: QRT_E_IO with the path and the system's reason.
 */
#ifndef QGEN_FILE_H
#define QGEN_FILE_H

#include <stddef.h>

#include "qrt.h"

/* A regular file of at most `limit` bytes, in a block with a zero byte behind it (free()). */
qrt_status file_read(const char *path, size_t limit, void **bytes, size_t *count);

/* Replace or create a file, whole or not at all: a temporary one beside it, synced and renamed. */
qrt_status file_write(const char *path, const void *bytes, size_t count);

/* Create a folder and its parents. */
qrt_status file_make_folders(const char *path, unsigned mode);

/* Write all of it, whatever write() takes at a time.  -1 and errno on failure. */
int file_write_all(int fd, const void *bytes, size_t count);

#endif
