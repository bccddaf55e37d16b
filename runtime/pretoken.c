/* pretoken.c -- the rules by which text is cut into words */
#include "pretoken.h"

#include <string.h>

#include "error.h"
#include "unicode.h"

struct glyph {
    uint32_t code;
    enum unicode_class class;
    size_t next; /* where the following character starts */
};

/* The character at `at`; at the end of the piece one of class UNICODE_END. */
static struct glyph look(const uint8_t *text, size_t at, size_t end)
{
    struct glyph g = {UNICODE_LIMIT, UNICODE_END, at};
    if (at >= end) return g;
    g.next = at + unicode_decode(text + at, end - at, &g.code);
    g.class = unicode_class(g.code);
    return g;
}

/* Letters; numbers; or, with all that is neither these nor space, symbols. */
static enum unicode_class kind(struct glyph g)
{
    return g.class == UNICODE_PUNCTUATION ? UNICODE_OTHER : g.class;
}

static int is_newline(struct glyph g) { return g.code == '\n' || g.code == '\r'; }

/* End of the run of characters of one kind, of `most` at most, that starts at `at`. */
static size_t run_end(const uint8_t *text, size_t at, size_t end, enum unicode_class run, int most)
{
    struct glyph g = look(text, at, end);
    for (int n = 0; kind(g) == run && n < most; n++) {
        at = g.next;
        g = look(text, at, end);
    }
    return at;
}

enum { ANY_NUMBER = 0x7fffffff };

/* 's 't 'm 'd 're 've 'll: their end, or 0 when there is none at `at`. */
static size_t contraction_end(const uint8_t *text, size_t at, size_t end, int any_case)
{
    static const char *const endings[] = {"s", "t", "m", "d", "re", "ve", "ll"};
    if (text[at] != '\'') return 0;
    for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
        const size_t count = strlen(endings[e]);
        if (count > end - at - 1) continue;
        size_t same = 0;
        while (same < count) {
            const uint8_t c = text[at + 1 + same];
            const uint8_t lower = any_case && c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
            if (lower != (uint8_t)endings[e][same]) break;
            same++;
        }
        if (same == count) return at + 1 + count;
    }
    return 0;
}

/* End of the white space at `at`.  In front of a word its last character is left to the word. */
static size_t space_end(const uint8_t *text, size_t at, size_t end)
{
    size_t last = at, stop = at;
    struct glyph g = look(text, at, end);
    while (g.class == UNICODE_SPACE) {
        last = stop;
        stop = g.next;
        g = look(text, stop, end);
    }
    return g.class != UNICODE_END && last > at ? last : stop;
}

/* ---- stages: the end of the first piece of text[at .. end), at < end ---- */

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t gpt2_word(const uint8_t *text, size_t at, size_t end)
{
    const size_t contraction = contraction_end(text, at, end, 0);
    if (contraction) return contraction;
    const struct glyph first = look(text, at, end);
    const size_t body_at = first.code == ' ' ? first.next : at;
    const struct glyph body = look(text, body_at, end);
    if (body.class != UNICODE_SPACE && body.class != UNICODE_END)
        return run_end(text, body_at, end, kind(body), ANY_NUMBER);
    return space_end(text, at, end);
}

/* End of \s*[\r\n]+ at `at`, or `at`. */
static size_t lines_end(const uint8_t *text, size_t at, size_t end)
{
    size_t stop = at;
    for (struct glyph g = look(text, at, end); g.class == UNICODE_SPACE; g = look(text, at, end)) {
        at = g.next;
        if (is_newline(g)) stop = at;
    }
    return stop;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
 *  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t modern_word(const uint8_t *text, size_t at, size_t end, int digits)
{
    const size_t contraction = contraction_end(text, at, end, 1);
    if (contraction) return contraction;
    const struct glyph first = look(text, at, end);
    if (first.class == UNICODE_NUMBER) return run_end(text, at, end, UNICODE_NUMBER, digits);
    const struct glyph second = look(text, first.next, end);
    if (first.class == UNICODE_LETTER || (second.class == UNICODE_LETTER && !is_newline(first)))
        return run_end(text, first.next, end, UNICODE_LETTER, ANY_NUMBER);
    const size_t body_at = first.code == ' ' ? first.next : at;
    if (kind(look(text, body_at, end)) == UNICODE_OTHER) {
        size_t stop = run_end(text, body_at, end, UNICODE_OTHER, ANY_NUMBER);
        for (struct glyph g = look(text, stop, end); is_newline(g); g = look(text, stop, end))
            stop = g.next;
        return stop;
    }
    const size_t lines = lines_end(text, at, end);
    return lines > at ? lines : space_end(text, at, end);
}

static size_t llama3_word(const uint8_t *text, size_t at, size_t end)
{
    return modern_word(text, at, end, 3);
}

static size_t qwen2_word(const uint8_t *text, size_t at, size_t end)
{
    return modern_word(text, at, end, 1);
}

/* What in() takes, at most `most` in a piece, apart from what it does not take. */
static size_t alternate(const uint8_t *text, size_t at, size_t end, int (*in)(struct glyph),
                        int most)
{
    struct glyph g = look(text, at, end);
    const int inside = in(g);
    for (int n = 0; g.class != UNICODE_END && in(g) == inside && (!inside || n < most); n++) {
        at = g.next;
        g = look(text, at, end);
    }
    return at;
}

static int is_number(struct glyph g) { return g.class == UNICODE_NUMBER; }

static int is_mark(struct glyph g)
{
    return g.class == UNICODE_PUNCTUATION ||
           (g.code < 0x80 && g.code && strchr("$+<=>^~|", (int)g.code));
}

static size_t one_digit(const uint8_t *text, size_t at, size_t end)
{
    return alternate(text, at, end, is_number, 1);
}

static size_t all_digits(const uint8_t *text, size_t at, size_t end)
{
    return alternate(text, at, end, is_number, ANY_NUMBER);
}

static size_t all_marks(const uint8_t *text, size_t at, size_t end)
{
    return alternate(text, at, end, is_mark, ANY_NUMBER);
}

static int is_three_digits(const uint8_t *text, size_t at, size_t end)
{
    int n = 0;
    while (n < 3 && at < end && text[at] >= '0' && text[at] <= '9') n++, at++;
    return n == 3;
}

static size_t three_digits(const uint8_t *text, size_t at, size_t end)
{
    if (is_three_digits(text, at, end)) return at + 3;
    while (at < end && !is_three_digits(text, at, end)) at++;
    return at;
}

typedef size_t stage(const uint8_t *text, size_t at, size_t end);

enum { MAX_STAGES = 5 }; /* the last one NULL */
static stage *const rules[PRETOKEN_RULE_COUNT][MAX_STAGES] = {
    [PRETOKEN_DEFAULT] = {all_marks, gpt2_word, all_digits, three_digits},
    [PRETOKEN_GPT2] = {gpt2_word},
    [PRETOKEN_SMOLLM] = {one_digit, gpt2_word},
    [PRETOKEN_LLAMA3] = {llama3_word},
    [PRETOKEN_QWEN2] = {qwen2_word},
};

struct splitter {
    const uint8_t *text;
    qrt_status (*word)(void *user, const uint8_t *bytes, size_t count);
    void *user;
};

static qrt_status split(const struct splitter *s, stage *const *stages, size_t at, size_t end)
{
    if (!*stages) return s->word(s->user, s->text + at, end - at);
    while (at < end) {
        const size_t next = (*stages)(s->text, at, end);
        TRY(split(s, stages + 1, at, next));
        at = next;
    }
    return QRT_OK;
}

qrt_status pretoken_split(enum pretoken_rule rule, const uint8_t *text, size_t bytes,
                          qrt_status (*word)(void *user, const uint8_t *bytes, size_t count),
                          void *user)
{
    const struct splitter s = {text, word, user};
    return split(&s, rules[rule], 0, bytes);
}
