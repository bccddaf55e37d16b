/* command.c -- the program qgen as users run it, in a folder of the test's own */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"

char command_folder[64], command_output[COMMAND_OUTPUT_BYTES], command_errors[COMMAND_OUTPUT_BYTES];

enum { LINE_BYTES = 4096 };

int command_begin(void **state)
{
    char store[96];
    (void)state;
    strcpy(command_folder, "/tmp/qgen-command-XXXXXX");
    if (!mkdtemp(command_folder)) return -1;
    snprintf(store, sizeof store, "%s/store", command_folder);
    return setenv("QGEN_CACHE", store, 1) || setenv("QGEN", BINARY_DIR "/qgen", 1);
}

int command_end(void **state)
{
    char line[128];
    (void)state;
    snprintf(line, sizeof line, "rm -rf %s", command_folder);
    return system(line);
}

static void read_file(const char *name, char text[COMMAND_OUTPUT_BYTES])
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, COMMAND_OUTPUT_BYTES - 1, f)] = 0;
    fclose(f);
}

static int shell(const char *line)
{
    char whole[LINE_BYTES + 128];
    snprintf(whole, sizeof whole, "cd %s && { %s\n} >.stdout 2>.stderr", command_folder, line);
    const int code = system(whole);
    read_file(".stdout", command_output);
    read_file(".stderr", command_errors);
    assert_true(WIFEXITED(code));
    return WEXITSTATUS(code);
}

static void format_line(char line[LINE_BYTES], const char *before, const char *format,
                        va_list arguments)
{
    const int used = snprintf(line, LINE_BYTES, "%s", before);
    assert_true(vsnprintf(line + used, (size_t)(LINE_BYTES - used), format, arguments) <
                LINE_BYTES - used);
}

#define FORMAT(line, before)                      \
    char line[LINE_BYTES];                        \
    va_list arguments;                            \
    va_start(arguments, format);                  \
    format_line(line, before, format, arguments); \
    va_end(arguments)

int command_run(const char *format, ...)
{
    FORMAT(line, "$QGEN ");
    return shell(line);
}

int command_shell(const char *format, ...)
{
    FORMAT(line, "");
    return shell(line);
}

void command_expect(int code, const char *words, const char *format, ...)
{
    FORMAT(line, "$QGEN ");
    const int got = shell(line);
    if (got != code || (!strstr(command_errors, words) && !strstr(command_output, words)))
        fail_msg("%s: exit %d, expected %d and '%s': %s%s", line, got, code, words, command_output,
                 command_errors);
}

json_t *command_json(int code, const char *schema, const char *format, ...)
{
    FORMAT(line, "$QGEN ");
    strcat(line, " --format json");
    const int got = shell(line);
    if (got != code) fail_msg("%s: exit %d, %s", line, got, command_errors);
    json_t *json = json_loads(command_output, JSON_REJECT_DUPLICATES, NULL);
    if (!json) fail_msg("%s: no JSON: %s", line, command_output);
    assert_string_equal(json_string_value(json_object_get(json, "schema")), schema);
    return json;
}

long long command_integer(const json_t *object, const char *key)
{
    if (!json_is_integer(json_object_get(object, key))) fail_msg("no integer '%s'", key);
    return json_integer_value(json_object_get(object, key));
}
