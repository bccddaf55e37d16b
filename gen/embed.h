/* embed.h -- the templates, headers and tables carried inside the program (cmake/embed.cmake) */
#ifndef QGEN_EMBED_H
#define QGEN_EMBED_H

#include <stddef.h>

struct embedded_file {
    const char *name; /* "templates/cuda/gemm.cu.in", "runtime/kernel_abi.h" */
    const char *text; /* NUL-terminated */
    size_t bytes;     /* without the NUL */
};

extern const struct embedded_file embedded_files[]; /* sorted by name, ended by a NULL name */

/* NULL when there is none of that name. */
const struct embedded_file *embed_find(const char *name);

#endif
