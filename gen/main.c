/* main.c -- the program qgen: finds the command and runs it */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define COMMAND(name, help) int cmd_##name(int argc, char **argv);
#include "commands.def"
#undef COMMAND

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
#define COMMAND(name, help) {#name, cmd_##name, help},
#include "commands.def"
#undef COMMAND
    {NULL, NULL, NULL},
};

static const struct command *find(const char *name)
{
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

static void print_help(FILE *to)
{
    fprintf(to,
            "qgen %s -- makes, checks and runs kernels for quantized models\n\n"
            "usage: qgen COMMAND ...       qgen COMMAND --help tells more\n"
            "       qgen --arch A ...      the same as qgen build --arch A ...\n\n",
            QGEN_VERSION);
    for (const struct command *c = commands; c->name; c++)
        if (c->help) fprintf(to, "  %-9s %s\n", c->name, c->help);
    fprintf(to, "\nEvery command takes --format json.  Results go to stdout, progress to stderr.\n"
                "Exit codes: 0 done, 1 a check failed, 2 usage, 3 kernel missing, 4 bad input,\n"
                "5 no such device.\n");
}

static int unknown(const char *name)
{
    const char *names[32] = {0};
    size_t count = 0;
    for (const struct command *c = commands; c->name; c++)
        if (c->help) names[count++] = c->name;
    const char *near = cli_nearest(name, names, count);
    fprintf(stderr, "qgen: there is no command '%s'", name);
    if (near) fprintf(stderr, "; did you mean '%s'?", near);
    fprintf(stderr, "\n      qgen --help lists them\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("qgen %s\n", QGEN_VERSION);
        return EXIT_DONE;
    }
    if (argv[1][0] == '-') { /* the main job needs no command word */
        const struct command *build = find("build");
        return build ? build->run(argc, argv) : unknown("build");
    }
    const struct command *c = find(argv[1]);
    return c ? c->run(argc - 1, argv + 1) : unknown(argv[1]);
}
