/* npy.h -- float32 matrices as NumPy files
 *
 * Layout (version 1.0): "\x93NUMPY" 1 0, header length u16, a Python dict as text padded with
 * spaces so that the data start at a multiple of 64, then rows * columns little-endian float32, row
 * by row.
 */
#ifndef QGEN_NPY_H
#define QGEN_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "outfile.h"

struct npy {
    struct outfile file;
    uint64_t rows, columns, next; /* next: the row that npy_row() writes */
    uint64_t data;                /* offset of row 0 */
};

/* Start a matrix; every row has to be written before npy_commit(). */
qrt_status npy_create(const char *path, uint64_t rows, uint64_t columns, struct npy *out);
qrt_status npy_row(struct npy *n, const float *row);
qrt_status npy_commit(struct npy *n);
void npy_discard(struct npy *n); /* leaves no file; allowed after npy_commit() */

#endif
