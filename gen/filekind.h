/* filekind.h -- which of the formats that qgen reads a file is, by its first bytes */
#ifndef QGEN_FILEKIND_H
#define QGEN_FILEKIND_H

#include "qrt.h"

enum filekind { FILE_GGUF, FILE_QM, FILE_ENTRY, FILE_BUNDLE };

/* QRT_E_IO when it cannot be read, QRT_E_FORMAT when it is none of them. */
qrt_status filekind_of(const char *path, enum filekind *out);

#endif
