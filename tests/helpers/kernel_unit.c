/* kernel_unit.c -- a unit from a few lines of text, for tests of compilers */
#include "kernel_unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kernel_unit(struct unit *u, const char *arch, const char *symbol, const char *text)
{
    memset(u, 0, sizeof *u);
    u->arch = arch_find(arch);
    u->origin = "templates/test.in";
    u->backend = "test";
    snprintf(u->symbol, sizeof u->symbol, "%s", symbol);
    u->rendering.text = strdup(text);
    u->rendering.bytes = strlen(text);
    for (const char *c = text; *c; c++) u->rendering.lines += *c == '\n';
    u->rendering.line = calloc((size_t)u->rendering.lines + 1, sizeof *u->rendering.line);
    for (int i = 0; i < u->rendering.lines; i++) u->rendering.line[i] = i + 11;
}
