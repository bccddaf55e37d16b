/* cli.c -- what all commands of qgen share: options, help, results, progress, exit codes */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "host.h"

/* Options that every command has. */
static const char *format_value;
static int quiet_value, help_value;
static const struct cli_option common[] = {
    {"format", 0, CLI_STRING, &format_value, "text|json", "how results are printed (text)", 0, 0},
    {"quiet", 'q', CLI_FLAG, &quiet_value, NULL, "no progress on stderr", 0, 0},
    {"help", 'h', CLI_FLAG, &help_value, NULL, "this text", 0, 0},
    {.name = NULL},
};

static void print_option(const struct cli_option *o)
{
    char left[64];
    const char letter[] = {'-', o->letter, ',', ' ', 0};
    snprintf(left, sizeof left, "%s--%s%s%s", o->letter ? letter : "    ", o->name,
             o->argument ? " " : "", o->argument ? o->argument : "");
    printf("  %-28s", left);
    const char *line = o->help;
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        printf("  %.*s\n%-30s", (int)(end - line), line, "");
    printf("  %s\n", line);
}

/* The first of them with all formats of the command. */
static void print_common(const struct cli_spec *spec)
{
    char formats[64];
    struct cli_option format = common[0];
    snprintf(formats, sizeof formats, "%s|%s", format.argument, spec->formats ? spec->formats : "");
    if (spec->formats) format.argument = formats;
    print_option(&format);
    for (const struct cli_option *o = common + 1; o->name; o++) print_option(o);
}

static void print_help(const struct cli_spec *spec)
{
    printf("usage: qgen %s\n\n%s\n\noptions:\n", spec->usage, spec->about);
    for (const struct cli_option *o = spec->options; o && o->name; o++) print_option(o);
    print_common(spec);
    if (spec->examples) printf("\nexamples:\n%s\n", spec->examples);
}

int cli_usage(const struct cli_spec *spec, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "qgen: ");
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    const int word = (int)strcspn(spec->usage, " ");
    fprintf(stderr, "\nusage: qgen %s\n       qgen %.*s --help tells more\n", spec->usage, word,
            spec->usage);
    return EXIT_USAGE;
}

static int edit_distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    int row[MAX + 1];
    const int m = (int)strlen(a), n = (int)strlen(b);
    if (m > MAX || n > MAX) return MAX;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; i <= m; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            const int swap = diagonal + (a[i - 1] != b[j - 1]);
            const int shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = swap < shorter + 1 ? swap : shorter + 1;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *name, const char *const *names, size_t count)
{
    const char *best = NULL;
    int least = 4;
    for (size_t i = 0; i < count; i++) {
        const int distance = edit_distance(name, names[i]);
        if (distance < least) least = distance, best = names[i];
    }
    return best;
}

static const struct cli_option *find_in(const struct cli_option *options, const char *name,
                                        size_t length, int is_short)
{
    for (const struct cli_option *o = options; o && o->name; o++) {
        if (is_short && length == 1 && name[0] == o->letter) return o;
        if (!is_short && strlen(o->name) == length && strncmp(o->name, name, length) == 0) return o;
    }
    return NULL;
}

static int unknown_option(const struct cli_spec *spec, const char *text)
{
    const char *names[64];
    size_t count = 0;
    for (const struct cli_option *o = spec->options; o && o->name && count < 60; o++)
        names[count++] = o->name;
    for (const struct cli_option *o = common; o->name; o++) names[count++] = o->name;
    const char *near = cli_nearest(text + strspn(text, "-"), names, count);
    if (near) return cli_usage(spec, "unknown option %s; did you mean --%s?", text, near);
    return cli_usage(spec, "unknown option %s", text);
}

static int set_int(const struct cli_spec *spec, const struct cli_option *o, const char *text)
{
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    const int bounded = o->lo != 0 || o->hi != 0;
    if (*text == 0 || *end || errno || value < INT32_MIN || value > INT32_MAX)
        return cli_usage(spec, "--%s %s: not a whole number", o->name, text);
    if (bounded && (value < o->lo || value > o->hi))
        return cli_usage(spec, "--%s %s: must be %d to %d", o->name, text, o->lo, o->hi);
    *(int *)o->value = (int)value;
    return 0;
}

static int set_value(const struct cli_spec *spec, const struct cli_option *o, const char *text)
{
    char *end = NULL;
    errno = 0;
    switch (o->type) {
    case CLI_FLAG: *(int *)o->value = 1; return 0;
    case CLI_STRING: *(const char **)o->value = text; return 0;
    case CLI_INT: return set_int(spec, o, text);
    case CLI_U64: *(uint64_t *)o->value = strtoull(text, &end, 10); break;
    case CLI_FLOAT: *(double *)o->value = strtod(text, &end); break;
    }
    if (*text == 0 || *end || errno || *text == '-')
        return cli_usage(spec, "--%s %s: not a number from 0 up", o->name, text);
    return 0;
}

/* One option at argv[*i], with its value from `=` or the next word. */
static int parse_option(const struct cli_spec *spec, int argc, char **argv, int *i)
{
    const char *text = argv[*i], *name = text + 1 + (text[1] == '-');
    const size_t length = strcspn(name, "=");
    const int is_short = text[1] != '-';
    const struct cli_option *o = find_in(spec->options, name, length, is_short);
    if (!o) o = find_in(common, name, length, is_short);
    if (!o) return unknown_option(spec, text);
    if (o->type == CLI_FLAG) {
        if (name[length]) return cli_usage(spec, "--%s takes no value", o->name);
        return set_value(spec, o, "");
    }
    if (name[length] == '=') return set_value(spec, o, name + length + 1);
    if (*i + 1 >= argc) return cli_usage(spec, "--%s needs a value: %s", o->name, o->argument);
    return set_value(spec, o, argv[++*i]);
}

/* Whether a name is one of "a|b|c". */
static int is_among(const char *name, const char *names)
{
    const size_t length = strlen(name);
    for (; names && *names; names += strcspn(names, "|"), names += *names == '|')
        if (strcspn(names, "|") == length && strncmp(names, name, length) == 0) return 1;
    return 0;
}

static int check_common(const struct cli_spec *spec, struct cli *out)
{
    out->format = format_value ? format_value : "text";
    if (!is_among(out->format, "text|json") && !is_among(out->format, spec->formats)) {
        if (!spec->formats) return cli_usage(spec, "--format %s: text or json", out->format);
        return cli_usage(spec, "--format %s: one of text|json|%s", out->format, spec->formats);
    }
    out->json = strcmp(out->format, "json") == 0;
    out->quiet = quiet_value;
    if (out->operand_count < spec->min_operands)
        return cli_usage(spec, "an operand is missing: %d of %d given", out->operand_count,
                         spec->min_operands);
    if (out->operand_count > spec->max_operands)
        return cli_usage(spec, "'%s' is one operand too many", out->operands[spec->max_operands]);
    return 0;
}

int cli_parse(const struct cli_spec *spec, int argc, char **argv, struct cli *out)
{
    *out = (struct cli){.operands = (const char **)argv};
    int only_operands = 0, code = 0, count = 0;
    for (int i = 1; i < argc && !code; i++) {
        if (!only_operands && strcmp(argv[i], "--") == 0)
            only_operands = 1;
        else if (!only_operands && argv[i][0] == '-' && argv[i][1])
            code = parse_option(spec, argc, argv, &i);
        else
            out->operands[count++] = argv[i]; /* count < i: only passed words are overwritten */
    }
    out->operand_count = count;
    if (help_value) {
        print_help(spec);
        return EXIT_DONE + 1;
    }
    if (!code) code = check_common(spec, out);
    return code ? code + 1 : 0;
}

/* A message may quote a file: what a terminal could obey is printed as '?'. */
static void print_message(const char *message)
{
    for (const char *at = message; *at; at++) {
        const unsigned char c = (unsigned char)*at;
        const int c1 = c >= 0x80 && c < 0xa0 && at > message && (unsigned char)at[-1] == 0xc2;
        fputc((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || c1 ? '?' : c, stderr);
    }
}

int cli_fail(qrt_status status)
{
    static const struct {
        qrt_status status;
        enum exit_code code;
    } table[] = {
        {QRT_E_ARGUMENT, EXIT_USAGE}, {QRT_E_SCHEME, EXIT_USAGE},       {QRT_E_ARCH, EXIT_USAGE},
        {QRT_E_KERNEL, EXIT_KERNEL},  {QRT_E_COMPILE, EXIT_KERNEL},     {QRT_E_IO, EXIT_INPUT},
        {QRT_E_FORMAT, EXIT_INPUT},   {QRT_E_LIMIT, EXIT_INPUT},        {QRT_E_MODEL, EXIT_INPUT},
        {QRT_E_DEVICE, EXIT_DEVICE},  {QRT_E_DEVICE_LOST, EXIT_DEVICE},
    };
    const char *advice = qrt_status_advice(status);
    fprintf(stderr, "qgen: %s: ", qrt_status_text(status));
    print_message(qrt_message());
    fputc('\n', stderr);
    if (*advice) fprintf(stderr, "      %s\n", advice);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) return table[i].code;
    return EXIT_CHECK;
}

void cli_json(json_t *result, const char *schema)
{
    json_t *whole = json_pack("{ss}", "schema", schema);
    json_object_update(whole, result);
    json_dumpf(whole, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(whole);
    json_decref(result);
}

qrt_status cli_list(const char *text, qrt_status (*item)(void *user, const char *piece), void *user)
{
    char piece[256];
    for (const char *at = text;; at++) {
        const size_t length = strcspn(at, ",");
        if (length == 0 || length >= sizeof piece)
            return error_set(QRT_E_ARGUMENT, "'%s' is not a list like a,b,c", text);
        snprintf(piece, sizeof piece, "%.*s", (int)length, at);
        TRY(item(user, piece));
        at += length;
        if (*at == 0) return QRT_OK;
    }
}

void cli_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "qgen: note: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
}

void cli_bytes(uint64_t bytes, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 4; unit++) value /= 1024;
    snprintf(out, 16, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void cli_progress_start(struct cli_progress *p, const struct cli *cli, const char *what,
                        const char *unit, double total)
{
    const double now = host_seconds();
    *p = (struct cli_progress){.what = what,
                               .unit = unit,
                               .total = total,
                               .started = now,
                               .printed = now,
                               .tty = isatty(STDERR_FILENO),
                               .quiet = cli->quiet};
}

void cli_progress_update(struct cli_progress *p, double done)
{
    enum { WIDTH = 30 };
    static const char full[WIDTH + 1] = "##############################";
    const double now = host_seconds(), spent = now - p->started;
    if (p->quiet || now - p->printed < (p->tty ? 0.1 : 5.0)) return;
    p->printed = now;
    const double rate = spent > 0 ? done / spent : 0, share = p->total > 0 ? done / p->total : 0;
    const double left = rate > 0 ? (p->total - done) / rate : 0;
    if (p->tty)
        fprintf(stderr, "\r%s [%-*.*s]", p->what, WIDTH, (int)(share * WIDTH), full);
    else
        fprintf(stderr, "%s", p->what);
    fprintf(stderr, " %.0f of %.0f %s, %.1f/s, %.0f s left%s", done, p->total, p->unit, rate, left,
            p->tty ? "\033[K" : "\n");
    fflush(stderr);
}

void cli_progress_end(struct cli_progress *p)
{
    if (!p->quiet && p->tty && p->printed > p->started) fprintf(stderr, "\r\033[K");
}
