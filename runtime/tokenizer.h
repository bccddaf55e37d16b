/* tokenizer.h -- the tokenizer of a packed model: text to token ids and back
 *
 * Why a blob: opening a model must not sort, hash or allocate for a vocabulary of 262144 tokens.
 * The toolchain builds the tables (gen/import/tokenizer_import.h); the runtime checks and uses them
 * where they are mapped.
 *
 * Layout, little-endian; offsets count from the start of the blob, which lies at a multiple of
 * TOKENIZER_ALIGN, and so does every section:
 *
 *   0    struct tokenizer_header
 *   ...  tokens   struct tokenizer_token [count]       by id
 *   ...  text     bytes [count]                        what tokens point into
 *   ...  words    struct tokenizer_slot [1 << log2]    ordinary tokens by their text
 *   ...  specials struct tokenizer_slot [1 << log2]    control, unknown, user-defined ones
 *   ...  merges   struct tokenizer_merge [1 << log2]   by the pair of ids (TOKENIZER_BPE)
 *   ...  lengths  u32 [count]                          bytes of specials, each once, descending
 *
 * Tables are open-addressed: an entry lies in one of the `probes` slots from tokenizer_hash() of its
 * key on, wrapping around; no empty slot comes before it.
 *
 * How text is encoded (equal to llama.cpp for any bytes):
 *   1. Specials are cut out: longest first, then from left to right.  Control and unknown tokens only
 *      when the caller lets text stand for them; user-defined ones always.
 *   2. TOKENIZER_SPM: a space becomes U+2581 (one more in front with TOKENIZER_SPACE_PREFIX), and
 *      neighbouring pieces merge, best score first, as long as a token has their text.  What is no
 *      token falls apart into its bytes' tokens.
 *      TOKENIZER_BPE: pretoken.h cuts words; in each, starting from bytes, the pair that comes first
 *      in the list of merges merges first.  A byte without token is dropped.
 *
 * Owns: nothing; the blob stays the caller's and must outlive the struct.
 * Threads: any number may use one struct tokenizer.
 */
#ifndef QRT_TOKENIZER_H
#define QRT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "qrt.h"

#define TOKENIZER_MAGIC "QGEN.TK1"
enum {
    TOKENIZER_ALIGN = 8,
    TOKENIZER_MAX_PROBES = 256,
    TOKENIZER_MAX_TEXT = 1 << 28, /* bytes of one text to encode */
    TOKENIZER_MAX_TOKEN = 65535,  /* bytes of one token */
};

enum tokenizer_kind { TOKENIZER_BPE, TOKENIZER_SPM, TOKENIZER_KIND_COUNT };

enum tokenizer_flag {
    TOKENIZER_SPACE_PREFIX = 1, /* SPM: text at the start and after a special gets a space */
    TOKENIZER_WHOLE_WORDS = 2,  /* BPE: a word that is a token is not built by merges */
};

/* The numbers are those of tokenizer.ggml.token_type. */
enum tokenizer_type {
    TOKEN_UNDEFINED,
    TOKEN_NORMAL,
    TOKEN_UNKNOWN,
    TOKEN_CONTROL,
    TOKEN_USER_DEFINED,
    TOKEN_UNUSED,
    TOKEN_BYTE,
    TOKEN_TYPE_COUNT
};

struct tokenizer_section {
    uint64_t offset, count; /* count of elements */
};

struct tokenizer_table {
    uint64_t offset;
    uint32_t log2, probes; /* slots = 1 << log2 */
};

struct tokenizer_header {
    char magic[8];
    uint64_t bytes; /* of the blob */
    uint32_t kind, rule, flags;
    int32_t unknown; /* SPM: id for what has no byte token, -1: drop it */
    struct tokenizer_section tokens, text, lengths;
    struct tokenizer_table words, specials, merges;
    uint32_t longest_word; /* bytes of the longest text in `words` */
    uint32_t reserved;
    int32_t byte_token[256]; /* id of the token for one byte, -1: none */
};

struct tokenizer_token {
    uint32_t match, piece; /* offsets in text: what it matches, what it stands for */
    uint16_t match_bytes, piece_bytes;
    uint32_t order; /* SPM: of merging, lowest first */
    uint32_t type;  /* enum tokenizer_type */
};

struct tokenizer_slot {
    uint32_t tag; /* high half of the hash */
    uint32_t id1; /* id + 1; 0: empty */
};

struct tokenizer_merge {
    uint32_t left, right; /* ids */
    uint32_t order;       /* lowest first */
    uint32_t id1;         /* of the result, + 1; 0: empty */
};

struct tokenizer {
    const struct tokenizer_header *header;
    const struct tokenizer_token *tokens;
    const uint8_t *text;
    const uint32_t *lengths;
    const struct tokenizer_slot *words, *specials;
    const struct tokenizer_merge *merges;
    int vocab;
};

/* Check a blob completely and point into it. `vocab`: ids that the model has, at least as many as
 * tokens; the others stand for no text.  QRT_E_FORMAT names the field and its numbers. */
qrt_status tokenizer_open(const void *blob, size_t bytes, int vocab, struct tokenizer *out);

/* As qrt_tokenize(); working memory comes from `rt`, about 60 bytes for one of the longest word
 * (TOKENIZER_SPM: of the text).  Time grows as n log n at most. */
qrt_status tokenizer_encode(const struct tokenizer *t, struct qrt *rt, const char *text,
                            size_t bytes, int parse_special, int *ids, size_t capacity,
                            size_t *count);

/* As qrt_token_bytes(). */
qrt_status tokenizer_bytes(const struct tokenizer *t, int id, const char **bytes, size_t *count);

/* ---- shared with the builder of the blob ---- */

/* Hash of a text: polynomial, so that it can roll, then mixed.  tag = hash >> 32, first slot =
 * hash & (slots - 1). */
uint64_t tokenizer_hash(const uint8_t *text, size_t bytes);
uint64_t tokenizer_pair_hash(uint32_t left, uint32_t right);

/* ---- shared with merge.c ---- */

/* Id of the ordinary token with this text, or -1. */
int32_t tokenizer_word(const struct tokenizer *t, const uint8_t *text, size_t bytes);
/* What two neighbours merge to, or NULL. */
const struct tokenizer_merge *tokenizer_pair(const struct tokenizer *t, uint32_t left,
                                             uint32_t right);

#endif
