/* npy.c -- float32 matrices as NumPy files */
#include "npy.h"

#include <stdio.h>
#include <string.h>

#include "checked.h"
#include "error.h"

enum { HEADER_BYTES = 128, PREFIX_BYTES = 10 };

static void write_header(char header[HEADER_BYTES], uint64_t rows, uint64_t columns)
{
    static const char magic[] = "\x93NUMPY\x01\x00";
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, magic, 8);
    header[8] = (char)(HEADER_BYTES - PREFIX_BYTES);
    header[9] = 0;
    char text[HEADER_BYTES - PREFIX_BYTES];
    const int n = snprintf(text, sizeof text,
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
                           (unsigned long long)rows, (unsigned long long)columns);
    memcpy(header + PREFIX_BYTES, text, (size_t)n);
    header[HEADER_BYTES - 1] = '\n';
}

static qrt_status start(struct npy *n, const char *path)
{
    char header[HEADER_BYTES];
    uint64_t bytes;
    if (!checked_mul(n->rows, n->columns, &bytes) || !checked_mul(bytes, sizeof(float), &bytes) ||
        bytes > INT64_MAX - HEADER_BYTES)
        return error_set(QRT_E_LIMIT, "%s: %llu x %llu values are too many for a file", path,
                         (unsigned long long)n->rows, (unsigned long long)n->columns);
    write_header(header, n->rows, n->columns);
    TRY(outfile_reserve(&n->file, HEADER_BYTES + bytes));
    return outfile_write_at(&n->file, 0, header, sizeof header);
}

qrt_status npy_create(const char *path, uint64_t rows, uint64_t columns, struct npy *out)
{
    *out = (struct npy){.rows = rows, .columns = columns, .data = HEADER_BYTES};
    TRY(outfile_open(path, &out->file));
    const qrt_status status = start(out, path);
    if (status != QRT_OK) outfile_discard(&out->file);
    return status;
}

qrt_status npy_row(struct npy *n, const float *row)
{
    const uint64_t bytes = n->columns * sizeof *row;
    if (n->next >= n->rows)
        return error_set(QRT_E_ARGUMENT, "a row beyond the %llu of the matrix",
                         (unsigned long long)n->rows);
    TRY(outfile_write_at(&n->file, n->data + n->next * bytes, row, bytes));
    n->next++;
    return QRT_OK;
}

qrt_status npy_commit(struct npy *n)
{
    if (n->next == n->rows) return outfile_commit(&n->file);
    npy_discard(n);
    return error_set(QRT_E_ARGUMENT, "only %llu of %llu rows were written",
                     (unsigned long long)n->next, (unsigned long long)n->rows);
}

void npy_discard(struct npy *n) { outfile_discard(&n->file); }
