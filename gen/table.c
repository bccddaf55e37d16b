/* table.c -- rows of JSON as a table that people read: aligned text, Markdown, CSV */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL_BYTES = 256, COLUMNS_MOST = 32 };

/* A format known at compile time would tell nothing: columns say theirs. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

void table_number(const struct table_column *c, double value, char *out, size_t bytes)
{
    snprintf(out, bytes, c->number, c->unit > 0 ? value / c->unit : value);
}

static void cell(const json_t *row, const struct table_column *c, enum table_form form,
                 char out[CELL_BYTES])
{
    const json_t *v = json_object_get(row, c->key);
    const struct table_column exact = {.number = "%.9g"};
    if (json_is_string(v))
        snprintf(out, CELL_BYTES, "%s", json_string_value(v));
    else if (json_is_boolean(v))
        snprintf(out, CELL_BYTES, "%s", json_is_true(v) ? "yes" : "no");
    else if (json_is_number(v) && isfinite(json_number_value(v)))
        table_number(form == TABLE_CSV || !c->number ? &exact : c, json_number_value(v), out,
                     CELL_BYTES);
    else
        snprintf(out, CELL_BYTES, "%s", form == TABLE_CSV ? "" : "-");
}

/* What would end a cell early is written as the form wants it. */
static void print_escaped(const char *text, enum table_form form)
{
    const int quoted = form == TABLE_CSV && strpbrk(text, ",\"\n") != NULL;
    if (quoted) putchar('"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' && quoted) putchar('"');
        if (*p == '|' && form == TABLE_MARKDOWN) putchar('\\');
        putchar(*p);
    }
    if (quoted) putchar('"');
}

static int width_of(const json_t *rows, const struct table_column *c)
{
    char text[CELL_BYTES];
    size_t i, width = strlen(c->title);
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        cell(row, c, TABLE_TEXT, text);
        if (strlen(text) > width) width = strlen(text);
    }
    return (int)width;
}

static void print_text_line(const json_t *row, const struct table_column *columns,
                            const int *widths)
{
    char text[CELL_BYTES];
    for (int i = 0; columns[i].key; i++) {
        if (row)
            cell(row, &columns[i], TABLE_TEXT, text);
        else
            snprintf(text, sizeof text, "%s", columns[i].title);
        const int is_last = columns[i + 1].key == NULL;
        printf("%s%*s", i ? "  " : "",
               columns[i].number ? widths[i]
               : is_last         ? 0
                                 : -widths[i],
               text);
    }
    printf("\n");
}

static void print_text(const json_t *rows, const struct table_column *columns)
{
    int widths[COLUMNS_MOST];
    size_t i;
    const json_t *row;
    for (int c = 0; columns[c].key; c++) widths[c] = width_of(rows, &columns[c]);
    print_text_line(NULL, columns, widths);
    json_array_foreach(rows, i, row) print_text_line(row, columns, widths);
}

static void print_separated(const json_t *rows, const struct table_column *columns,
                            enum table_form form)
{
    const char *const open = form == TABLE_CSV ? "" : "| ", *const between =
                                                                form == TABLE_CSV ? "," : " | ";
    const char *const close = form == TABLE_CSV ? "\n" : " |\n";
    char text[CELL_BYTES];
    size_t i;
    const json_t *row;
    for (int c = 0; columns[c].key; c++)
        printf("%s%s", c ? between : open, form == TABLE_CSV ? columns[c].key : columns[c].title);
    printf("%s", close);
    if (form == TABLE_MARKDOWN) {
        for (int c = 0; columns[c].key; c++) printf(columns[c].number ? "|--:" : "|---");
        printf("|\n");
    }
    json_array_foreach(rows, i, row)
    {
        for (int c = 0; columns[c].key; c++) {
            printf("%s", c ? between : open);
            cell(row, &columns[c], form, text);
            print_escaped(text, form);
        }
        printf("%s", close);
    }
}

void table_print(const json_t *rows, const struct table_column *columns, enum table_form form)
{
    if (form == TABLE_TEXT)
        print_text(rows, columns);
    else
        print_separated(rows, columns, form);
}
