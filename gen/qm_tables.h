/* qm_tables.h -- everything of a packed model but its weights: header, tables, and where data go
 *
 * Why apart from pack.c: a packed model is planned to the last byte before any of it is written, so
 * that its size is known and weights can be written in any order.
 */
#ifndef QGEN_QM_TABLES_H
#define QGEN_QM_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "program.h"
#include "qm.h"

struct qm_tables {
    uint8_t *bytes; /* [count]: header and metadata, as at the start of the file */
    size_t count;
    struct qm_tensor *tensors; /* [tensor count of the program], inside `bytes` */
    uint64_t file_bytes;
};

/* Plan a file with the matrices packed for `families` (bit 1 << enum layout_family each).
 * QRT_E_SCHEME names a tensor that a family has no layout for.  qm_tables_free() *out. */
qrt_status qm_tables_build(const struct model *m, const struct program *p, unsigned families,
                           const void *tokenizer, size_t tokenizer_bytes, struct qm_tables *out);
void qm_tables_free(struct qm_tables *t);

#endif
