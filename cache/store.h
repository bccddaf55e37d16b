/* store.h -- the kernels on this machine, by key
 *
 * Why: a kernel is compiled once per machine and user.
 * Layout: FOLDER/xx/HEX.qk1, one entry file (runtime/entry.h) per key, xx its first byte in hex.
 * FOLDER is $QGEN_CACHE, else $XDG_CACHE_HOME/qgen, else ~/.cache/qgen; created 0700, entries 0600.
 * Sharing: any number of processes and threads of one user.  An entry is written to a private
 * temporary file in the same folder, synced, and renamed: whole or absent.  Deleting anything at
 * any time is safe. Errors: a missing, damaged, foreign or unreadable entry is a miss (found = 0),
 * never an error.  A folder that others may write to, or that is a symbolic link, is refused.  A
 * store that cannot be written (full disk, read-only) returns the error from put; the caller still
 * has its kernel.
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

/* Call `visit` for every sound entry, in order of their keys; stops when it returns non-zero. */
qrt_status store_each(struct store *s, int (*visit)(void *user, const struct entry *e), void *user);

#endif
