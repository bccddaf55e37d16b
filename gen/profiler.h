/* profiler.h -- a compiled linear kernel becomes a profile: one block of it, run and counted
 *
 * The virtual GPU runs a launch of exactly one block, over two lengths of K, without its checks; what
 * the block does once and what it does for each chunk of columns follow from the two counts.  What
 * is multiplied does not matter to them: all operands are zero.
 *
 *     length of K   2048 ......... 4096         rows, columns: those of one block
 *     counted       once + 32 step   once + 64 step
 *
 * Profiles are kept as text files of a folder, by a key of the caller's, so that a ranking that was
 * interrupted goes on where it was.
 * Threads: profiler_run() from any, one at a time inside.
 */
#ifndef QGEN_PROFILER_H
#define QGEN_PROFILER_H

#include "entry.h"
#include "profile.h"

struct profiler;

qrt_status profiler_open(struct profiler **out); /* QRT_E_DEVICE: there is no virtual GPU */
void profiler_close(struct profiler *p);         /* NULL is allowed */

/* `ahead`: chunks that the block has under way (struct candidate).  A kernel that needs stack is not
 * run: its counts are 0.  QRT_E_CHECK: the virtual GPU does not know its PTX. */
qrt_status profiler_run(struct profiler *p, const struct entry *e, int ahead, struct profile *out);

/* FOLDER/HEX of the key.  A file that is missing, damaged or of another version is not found. */
int profiler_find(const char *folder, const uint8_t key[ENTRY_KEY_BYTES], struct profile *out);
qrt_status profiler_keep(const char *folder, const uint8_t key[ENTRY_KEY_BYTES],
                         const struct profile *p);

/* What a profile depends on besides the kernel: part of its key. */
extern const char profiler_version[];

#endif
