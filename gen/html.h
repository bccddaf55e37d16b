/* html.h -- HTML and SVG written into memory, with everything from outside escaped
 *
 * Why: what a page shows comes from files that anybody may have written.  Markup is only ever literal
 * text of this program; what a file said goes through html_text() and stays text.
 * Errors: kept until html_take(); after one nothing more is written.
 */
#ifndef QGEN_HTML_H
#define QGEN_HTML_H

#include <stddef.h>

#include "qrt.h"

struct html {
    char *text; /* NUL-terminated; NULL before the first byte */
    size_t bytes, capacity;
    int failed; /* out of memory */
};

/* Markup of this program; the arguments are numbers or texts of this program. */
void html_markup(struct html *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Text from anywhere: & < > " ' as entities, control characters and broken UTF-8 as U+FFFD. Right in
 * elements and in quoted attributes. */
void html_text(struct html *h, const char *text);

/* The same for text that is put together. */
void html_textf(struct html *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Give the text away (free()), or QRT_E_MEMORY; *h is empty again. */
qrt_status html_take(struct html *h, char **text, size_t *bytes);

#endif
