/* outfile.h -- a large output file that appears whole or not at all
 *
 * Why: results of gigabytes are written piece by piece, by several threads; a reader must never see
 * half of one, and a failure or a signal must leave nothing behind.
 * How: the file has no name (O_TMPFILE) until outfile_commit() has synced it; where the file system
 * cannot do that it has a temporary name beside the final one.
 * Errors: QRT_E_IO with the path and the reason; a full disk says how much is missing.
 * Threads: outfile_write_at() may be called by many, on disjoint ranges.
 */
#ifndef QGEN_OUTFILE_H
#define QGEN_OUTFILE_H

#include <stddef.h>
#include <stdint.h>

#include "qrt.h"

struct outfile {
    int fd; /* -1: closed */
    char *path;
    char *temporary; /* the name to rename from */
    int named;       /* the temporary name exists */
};

/* Start a file that will replace `path` (a regular file or nothing). */
qrt_status outfile_open(const char *path, struct outfile *out);

/* QRT_E_ARGUMENT when `path` is the same file as `input`, which would be replaced by what is made of
 * it. */
qrt_status outfile_refuse_input(const char *path, const char *input);

/* Make the file `bytes` long and claim the room on disk. */
qrt_status outfile_reserve(struct outfile *o, uint64_t bytes);

qrt_status outfile_write_at(struct outfile *o, uint64_t offset, const void *data, size_t bytes);

/* Sync, and take the final name.  On failure nothing is left; either way *o is closed. */
qrt_status outfile_commit(struct outfile *o);

/* Give up: nothing is left.  Does nothing after outfile_commit() or a failed outfile_open(). */
void outfile_discard(struct outfile *o);

#endif
