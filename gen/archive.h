/* archive.h -- bytes become a static library: one const table, no code
 *
 *   libNAME.a    "!<arch>\n"
 *                symbol table: NAME_bundle_data, NAME_bundle_bytes
 *                NAME.o: ELF, .rodata with the bytes at a multiple of 64 and their count (u64)
 *
 * Why written here, not by a compiler and ar: an object without code needs neither, the machine that
 * makes it may have neither, and the same bytes give the same library whatever is installed.
 * No constructor, no relocation, nothing that runs: the program says when the bundle is opened.  The
 * symbols are hidden, so that a shared library made of it does not offer them to others.
 */
#ifndef QGEN_ARCHIVE_H
#define QGEN_ARCHIVE_H

#include <stddef.h>

#include "qrt.h"

enum { ARCHIVE_PREFIX_BYTES = 48 };
#define ARCHIVE_MAX_BYTES ((size_t)1 << 30) /* beyond, addresses of the small code model end */

/* A static library for this machine's architecture; free() *library.  `prefix` is a C identifier. */
qrt_status archive_library(const char *prefix, const void *bytes, size_t count, void **library,
                           size_t *library_bytes);

/* The header that goes with it: `const void *PREFIX_bundle(size_t *bytes)`; free() *text. */
qrt_status archive_header(const char *prefix, const char *file_name, char **text);

#endif
