/* pack.h -- a model file becomes a packed model (.qm): weights laid out as kernels read them
 *
 * How: the file is planned whole (qm_tables.h), then threads take tiles of rows from the source,
 * bring them into generic form once, lay them out for every family, and write each piece to its
 * place.  Equal inputs give equal bytes, whatever the number of threads.
 * Memory: the tables, and per thread one batch of at most PACK_BATCH_WEIGHTS weights (or one tile of
 * 16 rows when that is more); pages of the source are given back as they are used up.
 * Errors: QRT_E_FORMAT when a scale or a value is not finite; QRT_E_IO when the file cannot be
 * written.  On any error no file is left, and an older one of that name stays as it was.
 */
#ifndef QGEN_PACK_H
#define QGEN_PACK_H

#include "program.h"

enum { PACK_BATCH_WEIGHTS = 1 << 18 };

struct pack_options {
    unsigned families; /* bit 1 << enum layout_family each, at least one */
    int threads;       /* 0: one per processor */
    /* Called by the calling thread alone, now and then; NULL: not. */
    void (*progress)(void *user, uint64_t done_weights, uint64_t all_weights);
    void *user;
};

struct pack_result {
    size_t tensors;
    uint64_t bytes;   /* of the packed model */
    uint64_t weights; /* of all matrices */
};

qrt_status pack_model(const struct model *m, const struct program *p, const char *path,
                      const struct pack_options *options, struct pack_result *out);

/* The same from a file of any format that is known: GGUF. */
qrt_status pack_file(const char *in, const char *path, const struct pack_options *options,
                     struct pack_result *out);

#endif
