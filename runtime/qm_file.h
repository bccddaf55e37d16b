/* qm_file.h -- a packed model that is open: the mapped file and its checked tables
 *
 * Why checked once: whoever holds a qrt_model reads its tables and sections without further checks.
 * Owns: the mapping; every pointer below points into it and lives until qrt_model_close().
 * Threads: constant after opening.
 */
#ifndef QRT_QM_FILE_H
#define QRT_QM_FILE_H

#include <stddef.h>

#include "qm.h"
#include "tokenizer.h"

enum { QM_MAX_BUFFERS = 4096, QM_MAX_LAYERS = 4096, QM_MAX_WIDTH = 1 << 24, QM_PATH_BYTES = 1024 };

struct qrt_model {
    struct qrt *rt;
    char path[QM_PATH_BYTES];
    const uint8_t *base; /* the file */
    size_t bytes;
    const struct qm_header *header;
    const struct qm_buffer *buffers;
    const struct qm_op *ops;
    const struct qm_tensor *tensors;
    const char *strings;
    size_t buffer_count, op_count, tensor_count, string_bytes;
    int has_tokenizer; /* a model may come without */
    struct tokenizer tokenizer;
};

/* Whether the tables fit together: buffers, tensors and their sections, and the program (qm.h says
 * what each op wants).  QRT_E_FORMAT names the table, the index and the numbers. */
qrt_status qm_check(const struct qrt_model *m);

#endif
