/* cli.h -- what all commands of qgen share: options, help, results, progress, exit codes
 *
 * A command is `int cmd_NAME(int argc, char **argv)` in gen/cmd_NAME.c, listed in commands.def;
 * argv[0] is its name.  It describes itself with a struct cli_spec, calls cli_parse(), does its
 * work through library functions that return qrt_status, and ends with cli_done() or cli_fail().
 * Results go to stdout, everything else to stderr.
 */
#ifndef QGEN_CLI_H
#define QGEN_CLI_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "qrt.h"

/* Exit codes: the contract with scripts. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_CHECK = 1,  /* a check or comparison failed */
    EXIT_USAGE = 2,  /* wrong usage */
    EXIT_KERNEL = 3, /* a kernel is missing and may not be made */
    EXIT_INPUT = 4,  /* a bad or unreadable input file */
    EXIT_DEVICE = 5, /* no such device, or it failed */
};

/* Where an option's value goes. */
enum cli_type {
    CLI_FLAG,   /* int *: set to 1 */
    CLI_INT,    /* int *: decimal, within [lo, hi] of the option */
    CLI_U64,    /* uint64_t * */
    CLI_FLOAT,  /* double * */
    CLI_STRING, /* const char ** */
};

struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form, or 0 */
    enum cli_type type;
    void *value;
    const char *argument; /* what help calls the value, "N"; NULL for flags */
    const char *help;     /* one or two lines; '\n' continues indented */
    int lo, hi;           /* CLI_INT; both 0: any */
};

struct cli_spec {
    const char *usage;                /* after "qgen ": "pack IN -o OUT.qm --arch A[,A]" */
    const char *about;                /* paragraphs that teach */
    const char *examples;             /* lines "  qgen ...  what it does" */
    const struct cli_option *options; /* ended by a NULL name */
    int min_operands, max_operands;
    const char *formats; /* of results, beside text and json: "md|csv"; or NULL */
};

/* What every command is told. */
struct cli {
    int json;              /* --format json */
    const char *format;    /* "text", "json", or one of the spec's formats */
    int quiet;             /* --quiet: no progress */
    const char **operands; /* in order */
    int operand_count;
};

/* Parse; handles --help, --format, --quiet itself.  Returns 0 to go on, else the command ends with
 * (returned value - 1), for example after --help or a usage error with a did-you-mean. */
int cli_parse(const struct cli_spec *spec, int argc, char **argv, struct cli *out);

/* Usage error in a command's own checks: prints it with the command's usage line; EXIT_USAGE. */
int cli_usage(const struct cli_spec *spec, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Report a failed status on stderr (message, then advice); the exit code that belongs to it. */
int cli_fail(qrt_status status);

/* Print a JSON result and give it up. `schema` is put first: "qgen.build/1". */
void cli_json(json_t *result, const char *schema);

/* Split "a,b,c"; calls `item` for each piece; stops at the first status that is not QRT_OK. */
qrt_status cli_list(const char *text, qrt_status (*item)(void *user, const char *piece),
                    void *user);

/* The nearest of `count` names within edit distance 3, or NULL: for did-you-mean. */
const char *cli_nearest(const char *name, const char *const *names, size_t count);

/* A note on stderr: "qgen: note: ...". */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Progress on stderr: a bar with rate and time left on a terminal, a line every few seconds
 * elsewhere. */
struct cli_progress {
    const char *what, *unit;
    double total, started, printed;
    int tty, quiet;
};
void cli_progress_start(struct cli_progress *p, const struct cli *cli, const char *what,
                        const char *unit, double total);
void cli_progress_update(struct cli_progress *p, double done); /* from one thread */
void cli_progress_end(struct cli_progress *p);

/* "12.3 MiB" in a static-free way. */
void cli_bytes(uint64_t bytes, char out[16]);

#endif
