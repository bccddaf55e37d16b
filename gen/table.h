/* table.h -- rows of JSON as a table that people read: aligned text, Markdown, CSV
 *
 * Why: a result is built once, as JSON; its other forms show the same values.
 */
#ifndef QGEN_TABLE_H
#define QGEN_TABLE_H

#include <jansson.h>

enum table_form { TABLE_TEXT, TABLE_MARKDOWN, TABLE_CSV };

struct table_column {
    const char *key;    /* of a row's object; CSV's heading */
    const char *title;  /* heading of the other forms */
    const char *number; /* printf format of one double, "%.1f"; NULL: texts */
    double unit;        /* numbers are divided by it; 0: not.  CSV has them undivided */
};

/* Print to stdout: the columns, ended by a NULL key, of an array of objects; absent and null values
 * are "-".  Numbers are aligned right, texts left. */
void table_print(const json_t *rows, const struct table_column *columns, enum table_form form);

/* A number as the column shows it. */
void table_number(const struct table_column *c, double value, char *out, size_t bytes);

#endif
