/* merge.h -- folders of kernels and winners become one
 *
 * Why: many machines fill folders of their own (`qgen work`), and one is wanted.
 * What a folder holds is as in store.h and winners.h.  The result depends on which folders were
 * merged, not on their order or on how often: entries go by key; of two of one key with different
 * bytes (a conflict) the shorter one stays, then the smaller by its bytes; winners merge as their
 * header says.  Damaged files are left out.
 */
#ifndef QGEN_MERGE_H
#define QGEN_MERGE_H

#include "store.h"

struct merge_report {
    size_t added, same, conflicts; /* entries */
    size_t winners;                /* rows read */
    size_t damaged;                /* files left out */
};

/* Add what the folder `from` holds to a store; the numbers are added to *report.  `note` is called
 * with a line for each conflict and each damaged file.  QRT_E_IO: there is no such folder, or the
 * store cannot be written. */
qrt_status merge_folder(struct store *into, const char *from,
                        void (*note)(void *user, const char *line), void *user,
                        struct merge_report *report);

#endif
