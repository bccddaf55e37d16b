/* ptx_lex.h -- tokens of PTX text */
#ifndef VGPU_PTX_LEX_H
#define VGPU_PTX_LEX_H

#include <stddef.h>
#include <stdint.h>

enum ptx_token_kind {
    TOKEN_END,
    TOKEN_NAME,    /* %r1, $L_2, foo, %tid.x, ld.global.u32, _ */
    TOKEN_DOT,     /* a directive or type: .reg, .b32 (text without the dot) */
    TOKEN_INT,     /* value */
    TOKEN_FLOAT32, /* value: bits; 0f3f800000 */
    TOKEN_FLOAT64,
    TOKEN_STRING, /* text between the quotes */
    TOKEN_PUNCT,  /* one character */
    TOKEN_BAD
};

struct ptx_token {
    enum ptx_token_kind kind;
    const char *text;
    size_t length;
    uint64_t value;
};

struct ptx_lexer {
    const char *at;
    int line;
};

/* The next token.  An opcode is one name with its dots: the lexer takes dots into a name when what
 * follows the dot can be part of it. */
struct ptx_token ptx_lex(struct ptx_lexer *l);

#endif
