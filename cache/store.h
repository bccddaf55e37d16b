/* store.h -- the kernels on this machine, by key
 *
 * Why: a kernel is compiled once per machine and user.
 * Layout: FOLDER/xx/HEX.qk1, one entry file (runtime/entry.h) per key, xx its first byte in hex.
 * FOLDER is $QGEN_CACHE, else $XDG_CACHE_HOME/qgen, else ~/.cache/qgen; created 0700, entries 0600.
 * Sharing: any number of processes and threads of one user.  An entry is written to a private
 * temporary file in the same folder, synced, and renamed, then the folder is synced: the old one,
 * the new one or none, after a kill or a loss of power too.  Deleting anything at any time is safe.
 * Errors: a missing, damaged, foreign, linked or unreadable entry is a miss (found = 0), never an
 * error. Refused: a folder that others may write to, whose name they could give to another (a
 * parent that is theirs to write, without the sticky bit), or that is a symbolic link.  A store that
 * cannot be written (full disk, read-only) returns the error from put; the caller still has its
 * kernel.
 */
#ifndef QGEN_STORE_H
#define QGEN_STORE_H

#include "entry.h"

struct store;

/* folder NULL: the default one. */
qrt_status store_open(const char *folder, struct store **out);
void store_close(struct store *s);
const char *store_folder(const struct store *s);

/* The entry, checked by entry_parse() and against the key, and the bytes it points into (free()). */
qrt_status store_get(struct store *s, const uint8_t key[ENTRY_KEY_BYTES], struct entry *entry,
                     void **bytes, size_t *count, int *found);
qrt_status store_put(struct store *s, const uint8_t key[ENTRY_KEY_BYTES], const void *bytes,
                     size_t count);

/* Delete the entries written longest ago until at most `max_bytes` remain, and, whatever their
 * size, temporary files that a process which died left more than a day ago. */
struct store_trimmed {
    uint64_t kept_bytes;
    size_t kept, removed; /* entries */
    size_t stale;         /* temporary files removed */
};
#define STORE_MAX_BYTES ((uint64_t)2 << 30) /* what `qgen` keeps */
qrt_status store_trim(struct store *s, uint64_t max_bytes, struct store_trimmed *out);
/* What store_trim() would do, without doing it. */
qrt_status store_trim_plan(struct store *s, uint64_t max_bytes, struct store_trimmed *out);

/* A file under an entry's name. */
struct store_file {
    char name[4 + 2 * ENTRY_KEY_BYTES + 8]; /* "5a/5a..01.qk1", below the folder */
    const struct entry *entry;              /* NULL: it is no sound entry of that name */
    const void *bytes;                      /* of a sound one */
    size_t count;
    const char *problem; /* what is wrong; "": nothing */
};

/* Call `visit` for each of them in order of their names; stops when it returns non-zero.  What a file
 * points to lives until `visit` returns. */
qrt_status store_files(struct store *s, int (*visit)(void *user, const struct store_file *f),
                       void *user);
/* Delete one, by its name. */
qrt_status store_remove(struct store *s, const char *name);

/* Call `visit` for every sound entry, in order of their keys; stops when it returns non-zero. */
qrt_status store_each(struct store *s, int (*visit)(void *user, const struct entry *e), void *user);

#endif
