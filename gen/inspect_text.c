/* inspect_text.c -- what a file holds, for people: members, lists and tables out of one JSON object */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect.h"

enum { VALUE_WIDTH = 88, SENTENCE_WIDTH = 600, COLUMNS = 16 };

json_t *inspect_text(const char *data, size_t bytes)
{
    json_t *text = json_stringn(data, bytes);
    if (text) return text;
    char *escaped = malloc(4 * bytes + 1), *at = escaped;
    if (!escaped) return NULL;
    for (size_t i = 0; i < bytes; i++)
        if (data[i] >= 0x20 && data[i] < 0x7f)
            *at++ = data[i];
        else
            at += sprintf(at, "\\x%02x", (unsigned char)data[i]);
    *at = 0;
    text = json_string(escaped);
    free(escaped);
    return text;
}

/* Whether a terminal may obey what is at `text`: C0 controls, DEL, and C1 controls in UTF-8. */
static int is_control(const char *text)
{
    const unsigned char c = (unsigned char)text[0], next = (unsigned char)text[1];
    return c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

/* A copy to free(), with the bytes of control characters as \xNN. */
static char *without_controls(const char *text)
{
    char *copy = malloc(4 * strlen(text) + 1), *at = copy;
    for (int left = 0; copy && *text; text++) {
        if (is_control(text)) left = (unsigned char)*text == 0xc2 ? 2 : 1;
        if (left > 0)
            left--, at += sprintf(at, "\\x%02x", (unsigned char)*text);
        else
            *at++ = *text;
    }
    if (copy) *at = 0;
    return copy;
}

/* One line of text for a value, to free(). */
static char *line_of(const json_t *value)
{
    char *line = NULL;
    if (json_is_string(value)) return without_controls(json_string_value(value));
    if (json_is_real(value)) return asprintf(&line, "%g", json_real_value(value)) < 0 ? NULL : line;
    line = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    char *clean = line ? without_controls(line) : NULL;
    free(line);
    return clean;
}

/* Print at most `width` characters of the line of a value; of one in UTF-8 the first byte counts. */
static void print_value(const json_t *value, int width)
{
    char *line = line_of(value), *end = line ? line : "";
    for (; *end && (width > 0 || ((unsigned char)*end & 0xc0) == 0x80); end++)
        width -= ((unsigned char)*end & 0xc0) != 0x80;
    if (line) printf("%.*s%s", (int)(end - line), line, *end ? " ..." : "");
    free(line);
    printf("\n");
}

static void print_object(const json_t *object)
{
    const char *key;
    json_t *value;
    size_t width = 0;
    json_object_foreach((json_t *)object, key, value) if (strlen(key) > width) width = strlen(key);
    json_object_foreach((json_t *)object, key, value)
    {
        printf("  %-*s  ", (int)width, key);
        print_value(value, VALUE_WIDTH);
    }
}

/* Print one line of a table: the values of a row, or its keys when `heads`. */
static void print_row(const json_t *row, const size_t width[COLUMNS], int heads)
{
    const char *key;
    json_t *value;
    size_t column = 0;
    json_object_foreach((json_t *)row, key, value)
    {
        char *line = heads ? without_controls(key) : line_of(value);
        const int last = column + 1 == json_object_size(row);
        printf("  %-*s", last ? 0 : (int)width[column % COLUMNS], line ? line : "");
        free(line);
        column++;
    }
    printf("\n");
}

static void widen(const json_t *row, size_t width[COLUMNS])
{
    const char *key;
    json_t *value;
    size_t column = 0;
    json_object_foreach((json_t *)row, key, value)
    {
        char *line = line_of(value);
        size_t *w = &width[column++ % COLUMNS];
        if (line && strlen(line) > *w) *w = strlen(line);
        if (strlen(key) > *w) *w = strlen(key);
        free(line);
    }
}

/* Rows are objects with the same members. */
static void print_table(const json_t *rows)
{
    size_t width[COLUMNS] = {0}, i;
    json_t *row;
    json_array_foreach(rows, i, row) widen(row, width);
    print_row(json_array_get(rows, 0), width, 1);
    json_array_foreach(rows, i, row) print_row(row, width, 0);
}

static void print_list(const json_t *list)
{
    size_t i;
    json_t *item;
    if (json_is_object(json_array_get(list, 0))) {
        print_table(list);
        return;
    }
    json_array_foreach(list, i, item)
    {
        printf("  - ");
        print_value(item, SENTENCE_WIDTH);
    }
}

void inspect_print(const json_t *result)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)result, key, value)
    {
        if (json_is_object(value) || json_is_array(value)) {
            printf("\n%s\n", key);
            json_is_object(value) ? print_object(value) : print_list(value);
        } else {
            printf("%-12s  ", key);
            print_value(value, SENTENCE_WIDTH);
        }
    }
}
