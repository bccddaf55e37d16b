/* command.h -- the program qgen as users run it, in a folder of the test's own
 *
 * One folder a test program: command_begin() and command_end() are its group's set-up and tear-down.
 * The store ($QGEN_CACHE) is FOLDER/store.
 */
#ifndef TESTS_COMMAND_H
#define TESTS_COMMAND_H

#include <jansson.h>

enum { COMMAND_OUTPUT_BYTES = 1 << 20 };

extern char command_folder[64];
/* Of the last command. */
extern char command_output[COMMAND_OUTPUT_BYTES], command_errors[COMMAND_OUTPUT_BYTES];

int command_begin(void **state);
int command_end(void **state);

/* `qgen ARGUMENTS` in the folder; its exit code. */
int command_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, which has to end with `code` and say `words` on stdout or stderr. */
void command_expect(int code, const char *words, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with --format json, which has to succeed or, `code` 1, to find something. */
json_t *command_json(int code, const char *schema, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The integer member of an object; it has to be there. */
long long command_integer(const json_t *object, const char *key);

/* A shell command in the folder; its exit code.  $QGEN is the program. */
int command_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
