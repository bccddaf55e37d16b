/* kernel_unit.h -- a unit from a few lines of text, for tests of compilers */
#ifndef TESTS_KERNEL_UNIT_H
#define TESTS_KERNEL_UNIT_H

#include "unit.h"

/* `text` as if a template templates/test.in had rendered it, each line n from line n + 10. */
void kernel_unit(struct unit *u, const char *arch, const char *symbol, const char *text);

#endif
