/* unit.h -- what a compiler gets and gives: a rendered kernel with its includes, and its image
 *
 * Why: NVRTC and the C compiler take the same input, are keyed by the same texts, and their
 * messages are led back to the template the same way.
 */
#ifndef QGEN_UNIT_H
#define QGEN_UNIT_H

#include "template.h"

enum { UNIT_INCLUDES = 32 };

struct unit {
    struct rendering rendering;
    const struct arch *arch;
    const char *origin;  /* "templates/cuda/gemm.cu.in"; the template's */
    const char *backend; /* "cuda" */
    char symbol[ENTRY_SYMBOL_BYTES];
    /* All texts that are included, at any depth, in order of first mention; the set's. */
    const char *include_name[UNIT_INCLUDES], *include_text[UNIT_INCLUDES];
    int includes;
};

/* A compiled kernel; unit_image_free() it. */
struct unit_image {
    void *image; /* cubin or shared object */
    size_t image_bytes;
    char *ptx; /* with its zero byte; NULL for the CPU */
    size_t ptx_bytes;
};

/* Render a candidate and collect what it includes. */
qrt_status unit_make(struct template_set *set, const struct candidate *c, struct unit *out);
void unit_free(struct unit *u);
void unit_image_free(struct unit_image *image);

/* QRT_E_COMPILE with the first error of a compiler's log: the template's file and line, the text,
 * the line itself.  `source` is the name under which the compiler knew the rendering. */
qrt_status unit_error(const struct unit *u, const char *compiler, const char *source,
                      const char *log);

#endif
