/* winners.c -- which tune point goes with which request, shape and rows: sorted text
 *
 * One table of fields parses, prints and orders lines.  A field's parser may be lax: whatever does
 * not come out of its printer as the same bytes is refused.
 */
#include "winners.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "bundle.h"
#include "error.h"

#define FIRST_LINE "qgen-winners 1"
enum { FIELD_BYTES = ENTRY_TEXT_BYTES, HASH_BYTES = 8, HASH_HEX_BYTES = 2 * HASH_BYTES + 1 };

/* ---- fields ---- */

/* Letters, digits and characters of `more`; at least one. */
static int is_made_of(const char *text, const char *more)
{
    if (!*text) return 0;
    for (const char *at = text; *at; at++)
        if (!isascii(*at) || !(isalnum((unsigned char)*at) || strchr(more, *at))) return 0;
    return 1;
}

static int copy(char *to, size_t room, const char *from)
{
    const size_t length = strlen(from);
    if (length >= room) return 0;
    memcpy(to, from, length + 1);
    return 1;
}

static int parse_arch(const char *text, struct winner *w)
{
    return arch_find(text) && copy(w->arch, sizeof w->arch, text);
}

static void print_arch(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, "%.*s", ARCH_NAME_BYTES, w->arch);
}

static int parse_device(const char *text, struct winner *w)
{
    if (strcmp(text, "-") == 0) return 1;
    return is_made_of(text, "._-") && isalnum((unsigned char)*text) &&
           copy(w->device, sizeof w->device, text);
}

static void print_device(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, "%.*s", WINNER_DEVICE_BYTES, *w->device ? w->device : "-");
}

static int parse_request(const char *text, struct winner *w)
{
    return op_desc_parse(text, &w->desc) == QRT_OK;
}

static void print_request(const struct winner *w, char out[FIELD_BYTES])
{
    if (op_desc_check(&w->desc) == QRT_OK)
        op_desc_name(&w->desc, out);
    else
        strcpy(out, "?");
}

/* A number of 1 .. max at *at, which is moved behind it; 0: there is none. */
static int64_t number_at(const char **at, int64_t max)
{
    char *end;
    if (!isdigit((unsigned char)**at)) return 0;
    errno = 0;
    const long long value = strtoll(*at, &end, 10);
    *at = end;
    return errno == 0 && value <= max ? value : 0;
}

static int parse_shape(const char *text, struct winner *w)
{
    if (strcmp(text, "-") == 0) return 1;
    w->N = (int)number_at(&text, INT_MAX);
    if (*text++ != 'x') return 0;
    w->K = (int)number_at(&text, INT_MAX);
    return w->N > 0 && w->K > 0 && *text == 0;
}

static void print_shape(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, w->N == 0 && w->K == 0 ? "-" : "%dx%d", w->N, w->K);
}

static int parse_range(const char *text, int no_end, int *lo, int *hi)
{
    *lo = (int)number_at(&text, WINNER_ROWS_END - 1);
    if (strncmp(text, "..", 2) != 0) return 0;
    text += 2;
    const int is_open = *text == '*';
    text += is_open;
    *hi = is_open ? no_end : (int)number_at(&text, WINNER_ROWS_END - 1);
    return *lo > 0 && *hi >= *lo && *text == 0;
}

static void print_range(int lo, int hi, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, hi >= WINNER_ROWS_END ? "%d..*" : "%d..%d", lo, hi);
}

static int parse_rows(const char *text, struct winner *w)
{
    return parse_range(text, INT_MAX, &w->m_lo, &w->m_hi);
}

static void print_rows(const struct winner *w, char out[FIELD_BYTES])
{
    print_range(w->m_lo, w->m_hi, out);
}

static int parse_template(const char *text, struct winner *w)
{
    return is_made_of(text, "_/-") && *text != '/' && !strstr(text, "//") &&
           text[strlen(text) - 1] != '/' && copy(w->template_, sizeof w->template_, text);
}

static void print_template(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, "%.*s", ENTRY_SYMBOL_BYTES, w->template_);
}

static int parse_made(const char *text, struct winner *w)
{
    return parse_range(text, WINNER_ROWS_END, &w->made_lo, &w->made_hi) && w->made_lo <= w->m_lo &&
           (w->m_hi <= w->made_hi || w->made_hi == WINNER_ROWS_END);
}

static void print_made(const struct winner *w, char out[FIELD_BYTES])
{
    print_range(w->made_lo, w->made_hi, out);
}

static void replace(char *text, char from, char to)
{
    for (; *text; text++)
        if (*text == from) *text = to;
}

static int parse_tune(const char *text, struct winner *w)
{
    if (strcmp(text, "-") == 0) return 1;
    if (!is_made_of(text, "._=,+-") || !copy(w->tune, sizeof w->tune, text)) return 0;
    replace(w->tune, ',', ' ');
    return 1;
}

static void print_tune(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, "%.*s", ENTRY_TEXT_BYTES, *w->tune ? w->tune : "-");
    replace(out, ' ', ',');
}

static const char *const hows[] = {[WINNER_MODEL] = "model", [WINNER_MEASURED] = "measured"};

static int parse_how(const char *text, struct winner *w)
{
    w->how = strcmp(text, hows[WINNER_MODEL]) == 0 ? WINNER_MODEL : WINNER_MEASURED;
    return 1;
}

static void print_how(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, "%s", hows[w->how == WINNER_MEASURED]);
}

#define MAX_US 1e9 /* a quarter of an hour */
static int is_time(double us) { return us >= 0 && us <= MAX_US; }

/* Thousandths: whole ones are what a line holds and what winners are compared by. */
static long long thousandths(double us) { return llround(us * 1000); }

/* "12.345" at *at; -1: none.  Zeros that are missing are found by the printer. */
static double time_at(const char **at)
{
    char *end;
    if (!isdigit((unsigned char)**at)) return -1;
    errno = 0;
    const long long whole = strtoll(*at, &end, 10);
    if (errno || whole > (long long)MAX_US || *end != '.' || !isdigit((unsigned char)end[1]))
        return -1;
    const long long part = strtoll(end + 1, &end, 10);
    *at = end;
    return errno == 0 && part < 1000 ? (double)(whole * 1000 + part) / 1000 : -1;
}

static int parse_time(const char *text, struct winner *w)
{
    if (w->how == WINNER_MODEL) return strcmp(text, "-") == 0;
    w->us = time_at(&text);
    if (*text++ != '~') return 0;
    w->spread_us = time_at(&text);
    return w->us > 0 && is_time(w->us) && is_time(w->spread_us) && *text == 0;
}

static void print_time(const struct winner *w, char out[FIELD_BYTES])
{
    strcpy(out, "-");
    if (w->how == WINNER_MODEL || !is_time(w->us) || !is_time(w->spread_us)) return;
    const long long us = thousandths(w->us), spread = thousandths(w->spread_us);
    snprintf(out, FIELD_BYTES, "%lld.%03lld~%lld.%03lld", us / 1000, us % 1000, spread / 1000,
             spread % 1000);
}

static int parse_signature(const char *text, struct winner *w)
{
    return strlen(text) == WINNER_SIGNATURE_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == WINNER_SIGNATURE_BYTES - 1 &&
           copy(w->signature, sizeof w->signature, text);
}

static void print_signature(const struct winner *w, char out[FIELD_BYTES])
{
    snprintf(out, FIELD_BYTES, "%.*s", WINNER_SIGNATURE_BYTES, w->signature);
}

/* In the order of a line; the first PLACE_FIELDS say what is looked up. */
enum { PLACE_FIELDS = 5 };
static const struct field {
    const char *name, *like;                          /* for messages */
    int (*parse)(const char *text, struct winner *w); /* 0: no such field */
    void (*print)(const struct winner *w, char out[FIELD_BYTES]);
} fields[] = {
    {"ARCH", "one that `qgen targets` lists", parse_arch, print_arch},
    {"DEVICE", "- or a name of letters, digits, . _ and -", parse_device, print_device},
    {"REQUEST", "linear.w4g128.f16.f16", parse_request, print_request},
    {"SHAPE", "- or 4096x4096", parse_shape, print_shape},
    {"ROWS", "1..8 or 9..*", parse_rows, print_rows},
    {"TEMPLATE", "cuda/gemv", parse_template, print_template},
    {"MADE", "a range like 1..8 that holds ROWS", parse_made, print_made},
    {"TUNE", "- or stages=3,warps=8", parse_tune, print_tune},
    {"HOW", "model or measured", parse_how, print_how},
    {"TIME", "- for model, 12.345~0.100 for measured", parse_time, print_time},
    {"SIGNATURE", "16 hexadecimal digits", parse_signature, print_signature},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void winners_line(const struct winner *w, char out[WINNER_LINE_BYTES])
{
    char text[FIELD_BYTES];
    int used = 0;
    for (int f = 0; f < FIELDS; f++) {
        fields[f].print(w, text);
        used += snprintf(out + used, WINNER_LINE_BYTES - (size_t)used, f ? " %s" : "%s", text);
    }
}

/* The order of their lines' first `count` fields: a blank is below all that a field holds. */
static int compare_fields(const struct winner *a, const struct winner *b, int count)
{
    char x[FIELD_BYTES], y[FIELD_BYTES];
    for (int f = 0; f < count; f++) {
        fields[f].print(a, x);
        fields[f].print(b, y);
        const int order = strcmp(x, y);
        if (order) return order;
    }
    return 0;
}

static int compare(const struct winner *a, const struct winner *b)
{
    return compare_fields(a, b, FIELDS);
}

/* ---- tables ---- */

void winners_free(struct winners *w)
{
    free(w->items);
    memset(w, 0, sizeof *w);
}

/* Whether `a` replaces `b`, which is of the same place and signature. */
static int is_better(const struct winner *a, const struct winner *b)
{
    const long long x = thousandths(a->us), y = thousandths(b->us);
    if (a->how != b->how) return a->how == WINNER_MEASURED;
    if (x != y) return x < y;
    return compare(a, b) < 0;
}

/* The first row that is not below `row`. */
static size_t lower_bound(const struct winners *w, const struct winner *row)
{
    size_t lo = 0, hi = w->count;
    if (hi > 0 && compare(&w->items[hi - 1], row) < 0) return hi; /* rows come in order mostly */
    while (lo < hi) {
        const size_t middle = lo + (hi - lo) / 2;
        if (compare(&w->items[middle], row) < 0)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

/* The row of the same place and signature, among the neighbours of position `at`; count: none. */
static size_t find_rival(const struct winners *w, const struct winner *row, size_t at)
{
    while (at > 0 && compare_fields(&w->items[at - 1], row, PLACE_FIELDS) == 0) at--;
    for (; at < w->count && compare_fields(&w->items[at], row, PLACE_FIELDS) == 0; at++)
        if (strcmp(w->items[at].signature, row->signature) == 0) return at;
    return w->count;
}

static qrt_status reserve(struct winners *w)
{
    if (w->count < w->capacity) return QRT_OK;
    const size_t capacity = w->capacity ? 2 * w->capacity : 64;
    struct winner *items = realloc(w->items, capacity * sizeof *items);
    if (!items) return error_set(QRT_E_MEMORY, "winners: no memory for %zu rows", capacity);
    w->items = items;
    w->capacity = capacity;
    return QRT_OK;
}

/* Put a row where it belongs, unless a better one is there. */
static qrt_status insert(struct winners *w, const struct winner *row)
{
    size_t at = lower_bound(w, row);
    const size_t rival = find_rival(w, row, at);
    if (rival < w->count) {
        if (!is_better(row, &w->items[rival])) return QRT_OK;
        memmove(&w->items[rival], &w->items[rival + 1], (w->count - rival - 1) * sizeof *w->items);
        w->count--;
        if (rival < at) at--;
    }
    TRY(reserve(w));
    memmove(&w->items[at + 1], &w->items[at], (w->count - at) * sizeof *w->items);
    w->items[at] = *row;
    w->count++;
    return QRT_OK;
}

qrt_status winners_merge(struct winners *into, const struct winners *from)
{
    struct winners merged = {0};
    qrt_status status = QRT_OK;
    for (size_t i = 0, j = 0; (i < into->count || j < from->count) && status == QRT_OK;) {
        const int first =
            j == from->count || (i < into->count && compare(&into->items[i], &from->items[j]) <= 0);
        status = insert(&merged, first ? &into->items[i++] : &from->items[j++]);
    }
    if (status != QRT_OK) {
        winners_free(&merged);
        return status;
    }
    winners_free(into);
    *into = merged;
    return QRT_OK;
}

/* ---- text in ---- */

struct reader {
    const char *at, *end, *origin;
    int line; /* number of the line read last */
};

/* The next line without its end, which it must have. */
static qrt_status next_line(struct reader *r, const char **line, size_t *length)
{
    const char *end = memchr(r->at, '\n', (size_t)(r->end - r->at));
    r->line++;
    if (!end)
        return error_set(QRT_E_FORMAT, "%s:%d: the file is cut short: its last line is `end ..`",
                         r->origin, r->line);
    *line = r->at;
    *length = (size_t)(end - r->at);
    r->at = end + 1;
    return QRT_OK;
}

static qrt_status parse_first_line(struct reader *r)
{
    const char *line;
    size_t length;
    TRY(next_line(r, &line, &length));
    if (length == strlen(FIRST_LINE) && memcmp(line, FIRST_LINE, length) == 0) return QRT_OK;
    return error_set(QRT_E_FORMAT, "%s:1: the first line is not `" FIRST_LINE "`", r->origin);
}

static qrt_status bad_field(const struct reader *r, const struct field *field, const char *text,
                            int length)
{
    return error_set(QRT_E_FORMAT, "%s:%d: %s '%.*s': expected %s", r->origin, r->line, field->name,
                     length < 80 ? length : 80, text, field->like);
}

/* A field is taken when it prints as the bytes it was read from. */
static int parse_field(const struct field *field, const char *text, size_t length, struct winner *w)
{
    char given[FIELD_BYTES], printed[FIELD_BYTES];
    if (length >= sizeof given || memchr(text, 0, length)) return 0;
    memcpy(given, text, length);
    given[length] = 0;
    if (!field->parse(given, w)) return 0;
    field->print(w, printed);
    return strcmp(given, printed) == 0;
}

static qrt_status parse_row(const struct reader *r, const char *line, size_t length,
                            struct winner *out)
{
    memset(out, 0, sizeof *out);
    const char *at = line, *end = line + length;
    for (int f = 0; f < FIELDS; f++) {
        const char *blank = f + 1 < FIELDS ? memchr(at, ' ', (size_t)(end - at)) : end;
        if (!blank)
            return error_set(QRT_E_FORMAT, "%s:%d: %d of %d fields, no %s", r->origin, r->line,
                             f + 1, FIELDS, fields[f + 1].name);
        if (!parse_field(&fields[f], at, (size_t)(blank - at), out))
            return bad_field(r, &fields[f], at, (int)(blank - at));
        at = blank + 1;
    }
    return QRT_OK;
}

static qrt_status append_row(const struct reader *r, const char *line, size_t length,
                             struct winners *w)
{
    struct winner row;
    TRY(parse_row(r, line, length, &row));
    if (w->count > 0 && compare(&w->items[w->count - 1], &row) >= 0)
        return error_set(QRT_E_FORMAT, "%s:%d: lines are not in order, or one appears twice",
                         r->origin, r->line);
    if (find_rival(w, &row, w->count) < w->count)
        return error_set(QRT_E_FORMAT, "%s:%d: a second winner of the same rows and signature",
                         r->origin, r->line);
    return insert(w, &row);
}

static void hash_hex(struct blake2b *hash, char out[HASH_HEX_BYTES])
{
    uint8_t bytes[HASH_BYTES];
    blake2b_final(hash, bytes);
    for (int i = 0; i < HASH_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* The last line, `line` as read; nothing may follow. */
static qrt_status check_end(const struct reader *r, const char *line, size_t length, size_t rows,
                            struct blake2b *hash)
{
    char hex[HASH_HEX_BYTES], right[64];
    hash_hex(hash, hex);
    snprintf(right, sizeof right, "end %zu %s", rows, hex);
    if (strlen(right) != length || memcmp(right, line, length) != 0)
        return error_set(QRT_E_FORMAT,
                         "%s:%d: `%.*s`, but the lines above make `%s`: the file was cut, damaged "
                         "or edited; if it is as you want it, make that its last line",
                         r->origin, r->line, (int)(length < 80 ? length : 80), line, right);
    if (r->at != r->end)
        return error_set(QRT_E_FORMAT, "%s:%d: bytes behind the last line", r->origin, r->line);
    return QRT_OK;
}

static int starts_with(const char *line, size_t length, const char *word)
{
    return length >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

static qrt_status parse_all(struct reader *r, struct winners *out)
{
    struct blake2b hash;
    blake2b_init(&hash, HASH_BYTES);
    TRY(parse_first_line(r));
    for (;;) {
        const char *line;
        size_t length;
        TRY(next_line(r, &line, &length));
        if (starts_with(line, length, "end ")) return check_end(r, line, length, out->count, &hash);
        if (starts_with(line, length, "#")) continue;
        TRY(append_row(r, line, length, out));
        blake2b_update(&hash, line, length + 1);
    }
}

qrt_status winners_parse(const char *text, size_t bytes, const char *origin, struct winners *out)
{
    struct winners w = {0};
    struct reader r = {.at = text, .end = text + bytes, .origin = origin};
    if (bytes > WINNERS_MAX_BYTES)
        return error_set(QRT_E_LIMIT, "%s: %zu bytes of winners, at most %zu are read", origin,
                         bytes, WINNERS_MAX_BYTES);
    const qrt_status status = parse_all(&r, &w);
    if (status == QRT_OK)
        *out = w;
    else
        winners_free(&w);
    return status;
}

qrt_status winners_add(struct winners *w, const struct winner *one)
{
    char line[WINNER_LINE_BYTES];
    struct winner row;
    const struct reader r = {.origin = "a winner", .line = 1};
    winners_line(one, line);
    TRY(parse_row(&r, line, strlen(line), &row));
    return insert(w, &row);
}

/* ---- text out ---- */

qrt_status winners_text(const struct winners *w, char **text, size_t *bytes)
{
    struct blake2b hash;
    char line[WINNER_LINE_BYTES], hex[HASH_HEX_BYTES];
    FILE *f = open_memstream(text, bytes);
    if (!f) return error_set(QRT_E_MEMORY, "winners: no memory for their text");
    blake2b_init(&hash, HASH_BYTES);
    fprintf(f, FIRST_LINE "\n");
    for (size_t i = 0; i < w->count; i++) {
        winners_line(&w->items[i], line);
        strcat(line, "\n");
        fputs(line, f);
        blake2b_update(&hash, line, strlen(line));
    }
    hash_hex(&hash, hex);
    fprintf(f, "end %zu %s\n", w->count, hex);
    const int failed = ferror(f);
    if (fclose(f) == 0 && !failed) return QRT_OK;
    free(*text);
    return error_set(QRT_E_MEMORY, "winners: no memory for their text");
}

/* ---- look-up ---- */

static int is_match(const struct winner *w, const struct winner_query *q)
{
    return q->M >= w->m_lo && q->M <= w->m_hi && ((w->N == q->N && w->K == q->K) || w->N == 0) &&
           op_desc_equal(&w->desc, q->desc) && strcmp(w->arch, q->arch) == 0 &&
           (*w->device == 0 || strcmp(w->device, q->device) == 0) &&
           (!q->signature || strncmp(w->signature, q->signature, strlen(q->signature)) == 0);
}

/* Whether `a` goes before `b`, a row of an earlier line that matches as well. */
static int goes_before(const struct winner *a, const struct winner *b)
{
    if (!*a->device != !*b->device) return *a->device != 0;
    if ((a->N == 0) != (b->N == 0)) return a->N != 0;
    if (a->how != b->how) return a->how == WINNER_MEASURED;
    return a->m_hi - a->m_lo < b->m_hi - b->m_lo;
}

const struct winner *winners_find(const struct winners *w, const struct winner_query *q)
{
    const struct winner *best = NULL;
    for (size_t i = 0; i < w->count; i++)
        if (is_match(&w->items[i], q) && (!best || goes_before(&w->items[i], best)))
            best = &w->items[i];
    return best;
}

/* ---- names and signatures ---- */

/* A name that is too long ends with digits of its hash, so that two do not become one. */
void winners_device_name(const char *name, char out[WINNER_DEVICE_BYTES])
{
    _Static_assert((int)WINNER_DEVICE_BYTES == (int)BUNDLE_NAME_BYTES, "one rule for both");
    bundle_device_name(name, out);
}

/* Lengths go in, so that no two lists of texts are one stream. */
static const char *const *sign_part(const char *const *texts, int all, int digits, char *out)
{
    uint8_t hash[HASH_BYTES];
    struct blake2b b;
    blake2b_init(&b, sizeof hash);
    for (int first = 1; *texts && (first || all); texts++, first = 0) {
        const uint64_t length = strlen(*texts);
        blake2b_update(&b, &length, sizeof length);
        blake2b_update(&b, *texts, length);
    }
    blake2b_final(&b, hash);
    for (int i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[i % 2 ? hash[i / 2] & 15 : hash[i / 2] >> 4];
    out[digits] = 0;
    return texts;
}

void winners_sign(const char *const *texts, char out[WINNER_SIGNATURE_BYTES])
{
    texts = sign_part(texts, 0, WINNER_TEMPLATE_DIGITS, out);
    texts = sign_part(texts, 0, WINNER_MADE_DIGITS - WINNER_TEMPLATE_DIGITS,
                      out + WINNER_TEMPLATE_DIGITS);
    sign_part(texts, 1, WINNER_SIGNATURE_BYTES - 1 - WINNER_MADE_DIGITS, out + WINNER_MADE_DIGITS);
}

void winners_sign_difference(const char *a, const char *b, char out[64])
{
    static const struct {
        const char *name;
        int from, to;
    } parts[] = {
        {"templates", 0, WINNER_TEMPLATE_DIGITS},
        {"compiler", WINNER_TEMPLATE_DIGITS, WINNER_MADE_DIGITS},
        {"what it was chosen by", WINNER_MADE_DIGITS, WINNER_SIGNATURE_BYTES - 1},
    };
    *out = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strncmp(a + parts[i].from, b + parts[i].from, (size_t)(parts[i].to - parts[i].from)) ==
            0)
            continue;
        if (*out) strcat(out, ", ");
        strcat(out, parts[i].name);
    }
}
