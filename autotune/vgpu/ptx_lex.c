/* ptx_lex.c -- cuts PTX text into tokens */
#include "ptx_lex.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int is_name_start(char c) { return isalpha((unsigned char)c) || strchr("_$%", c); }
static int is_name_part(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$'; }

static void skip_block_comment(struct ptx_lexer *l)
{
    l->at += 2;
    while (*l->at && !(l->at[0] == '*' && l->at[1] == '/')) {
        if (*l->at == '\n') l->line++;
        l->at++;
    }
    if (*l->at) l->at += 2;
}

static void skip_space(struct ptx_lexer *l)
{
    for (;;) {
        const char c = *l->at;
        if (c == '\n') {
            l->line++;
            l->at++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            l->at++;
        } else if (c == '/' && l->at[1] == '/') {
            l->at += strcspn(l->at, "\n");
        } else if (c == '/' && l->at[1] == '*') {
            skip_block_comment(l);
        } else {
            return;
        }
    }
}

/* ".x" and "::x" continue a name, so that opcodes and %tid.x are one token. */
static const char *name_end(const char *p)
{
    p++;
    for (;;) {
        if (is_name_part(*p))
            p++;
        else if (*p == '.' && is_name_part(p[1]))
            p += 2;
        else if (p[0] == ':' && p[1] == ':' && is_name_part(p[2]))
            p += 3;
        else
            return p;
    }
}

/* 0f and 0d are followed by exactly 8 and 16 digits of the bits. */
static int lex_bits(const char *p, struct ptx_token *t)
{
    const int is_double = p[1] == 'd' || p[1] == 'D';
    if (p[0] != '0' || (!is_double && p[1] != 'f' && p[1] != 'F')) return 0;
    const size_t digits = is_double ? 16 : 8;
    if (strspn(p + 2, "0123456789abcdefABCDEF") < digits) return 0;
    t->kind = is_double ? TOKEN_FLOAT64 : TOKEN_FLOAT32;
    t->value = strtoull(p + 2, NULL, 16);
    t->length = digits + 2;
    return 1;
}

/* A decimal number with a point or exponent is a double. */
static int lex_decimal_float(const char *p, struct ptx_token *t)
{
    const size_t digits = strspn(p, "0123456789");
    if (p[digits] != '.' && p[digits] != 'e' && p[digits] != 'E') return 0;
    char *end;
    const double value = strtod(p, &end);
    if (end == p + digits) return 0;
    t->kind = TOKEN_FLOAT64;
    memcpy(&t->value, &value, sizeof value);
    t->length = (size_t)(end - p);
    return 1;
}

static void lex_number(const char *p, struct ptx_token *t)
{
    if (lex_bits(p, t)) return;
    const int is_hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
    const int is_binary = p[0] == '0' && (p[1] == 'b' || p[1] == 'B');
    if (!is_hex && !is_binary && lex_decimal_float(p, t)) return;
    char *end;
    t->kind = TOKEN_INT;
    t->value = is_binary ? strtoull(p + 2, &end, 2) : strtoull(p, &end, 0);
    if (*end == 'U' || *end == 'u') end++;
    t->length = (size_t)(end - p);
}

static struct ptx_token lex_string(const char *p)
{
    const size_t length = strcspn(p + 1, "\"\n");
    if (p[1 + length] != '"') return (struct ptx_token){TOKEN_BAD, p, 1, 0};
    return (struct ptx_token){TOKEN_STRING, p + 1, length, 0};
}

static struct ptx_token lex_here(const char *p)
{
    struct ptx_token t = {TOKEN_PUNCT, p, 1, 0};
    if (*p == 0)
        t = (struct ptx_token){TOKEN_END, p, 0, 0};
    else if (isdigit((unsigned char)*p))
        lex_number(p, &t);
    else if (is_name_start(*p))
        t = (struct ptx_token){TOKEN_NAME, p, (size_t)(name_end(p) - p), 0};
    else if (*p == '.' && is_name_part(p[1]))
        t = (struct ptx_token){TOKEN_DOT, p + 1, (size_t)(name_end(p + 1) - p) - 1, 0};
    else if (*p == '"')
        t = lex_string(p);
    return t;
}

struct ptx_token ptx_lex(struct ptx_lexer *l)
{
    skip_space(l);
    const struct ptx_token t = lex_here(l->at);
    l->at = t.text + t.length + (t.kind == TOKEN_STRING);
    return t;
}
