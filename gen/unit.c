/* unit.c -- what a compiler gets and gives: a rendered kernel with its includes, and its image */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static int has_include(const struct unit *u, const char *name)
{
    for (int i = 0; i < u->includes; i++)
        if (strcmp(u->include_name[i], name) == 0) return 1;
    return 0;
}

/* The name in a line  # include "name" ; its length, 0 for any other line. */
static size_t include_of(const char *line, const char **name)
{
    line += strspn(line, " \t");
    if (*line++ != '#') return 0;
    line += strspn(line, " \t");
    if (strncmp(line, "include", 7) != 0) return 0;
    line += 7 + strspn(line + 7, " \t");
    if (*line++ != '"') return 0;
    *name = line;
    return strcspn(line, "\"\n");
}

static qrt_status add_include(const struct template_set *set, struct unit *u, const char *from,
                              const char *name)
{
    if (has_include(u, name)) return QRT_OK;
    if (u->includes == UNIT_INCLUDES)
        return error_set(QRT_E_LIMIT, "%s: more than %d includes", u->origin, UNIT_INCLUDES);
    const char *text = template_include(set, u->backend, name, &name);
    if (!text)
        return error_set(QRT_E_TEMPLATE, "%s: #include \"%s\": no such file beside the template",
                         from, name);
    u->include_name[u->includes] = name;
    u->include_text[u->includes++] = text;
    return QRT_OK;
}

static qrt_status scan(const struct template_set *set, struct unit *u, const char *from,
                       const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *at;
        char name[96];
        const size_t length = include_of(line, &at);
        if (length == 0) continue;
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        TRY(add_include(set, u, from, name));
    }
    return QRT_OK;
}

qrt_status unit_make(struct template_set *set, const struct candidate *c, struct unit *out)
{
    struct unit u = {.arch = c->request.arch,
                     .origin = template_origin(c->template),
                     .backend = template_backend(c->template)};
    memcpy(u.symbol, c->record.symbol, sizeof u.symbol);
    TRY(template_render(set, c, &u.rendering));
    qrt_status status = scan(set, &u, u.origin, u.rendering.text);
    for (int i = 0; i < u.includes && status == QRT_OK; i++)
        status = scan(set, &u, u.include_name[i], u.include_text[i]);
    if (status == QRT_OK)
        *out = u;
    else
        unit_free(&u);
    return status;
}

void unit_free(struct unit *u) { rendering_free(&u->rendering); }

void unit_image_free(struct unit_image *image)
{
    free(image->image);
    free(image->ptx);
    memset(image, 0, sizeof *image);
}

/* ---- messages ---- */

struct place {
    const char *file;
    int file_bytes, line;
    const char *text; /* of the message, to the end of its line */
};

/* "file(12): error: text" of NVRTC, "file:12:34: error: text" of cc. */
static int parse_place(const char *line, struct place *out)
{
    const char *end = line + strcspn(line, "\n");
    const char *error = strstr(line, "error");
    if (!error || error > end) return 0;
    const size_t name = strcspn(line, "(:");
    char *after = NULL;
    const long number = line + name < error ? strtol(line + name + 1, &after, 10) : 0;
    if (number <= 0 || number > 1 << 24 || !strchr("):", *after)) return 0;
    *out = (struct place){line, (int)name, (int)number, error};
    return 1;
}

static int count_errors(const char *log)
{
    int count = 0;
    struct place ignored;
    for (const char *line = log; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        count += parse_place(line, &ignored);
    }
    return count;
}

/* Line `number` of a text, without leading blanks; its length. */
static int line_of(const char *text, int number, const char **line)
{
    for (int n = 1; n < number && text; n++) {
        text = strchr(text, '\n');
        if (text) text++;
    }
    if (!text) return 0;
    *line = text + strspn(text, " \t");
    return (int)strcspn(*line, "\n");
}

static qrt_status error_at(const struct unit *u, const char *source, const struct place *at,
                           int others)
{
    const struct rendering *r = &u->rendering;
    const char *quoted = "", *text = r->text;
    char place[ENTRY_TEXT_BYTES], more[32] = "";
    snprintf(place, sizeof place, "%.*s:%d", at->file_bytes, at->file, at->line);
    if (strncmp(at->file, source, (size_t)at->file_bytes) == 0) {
        const int known = at->line <= r->lines && r->line[at->line - 1] > 0;
        snprintf(place, sizeof place, "%s:%d", u->origin, known ? r->line[at->line - 1] : 1);
    } else {
        text = NULL;
        for (int i = 0; i < u->includes; i++) {
            const char *name = u->include_name[i];
            if (strncmp(name, at->file, (size_t)at->file_bytes) != 0 || name[at->file_bytes])
                continue;
            text = u->include_text[i];
        }
    }
    const int quoted_bytes = text ? line_of(text, at->line, &quoted) : 0;
    if (others > 0) snprintf(more, sizeof more, " (and %d more)", others);
    return error_set(QRT_E_COMPILE, "%s: %.*s%s%.*s%s", place, (int)strcspn(at->text, "\n"),
                     at->text, quoted_bytes ? ": " : "", quoted_bytes < 120 ? quoted_bytes : 120,
                     quoted, more);
}

qrt_status unit_error(const struct unit *u, const char *compiler, const char *source,
                      const char *log)
{
    struct place at;
    for (const char *line = log; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (parse_place(line, &at)) return error_at(u, source, &at, count_errors(log) - 1);
    }
    /* ptxas and the linker have no place to tell. */
    const char *error = strstr(log, "error");
    const char *line = error ? error : log;
    while (line > log && line[-1] != '\n') line--;
    return error_set(QRT_E_COMPILE, "%s: %s on %s: %.*s", u->origin, compiler, u->arch->name,
                     (int)strcspn(line, "\n"), *line ? line : "failed without a word");
}
