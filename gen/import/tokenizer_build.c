/* tokenizer_build.c -- makes the tables of a tokenizer from a vocabulary */
#include "tokenizer_build.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "unicode.h"

struct builder {
    const struct vocabulary *v;
    struct tokenizer_header header;
    struct tokenizer_token *tokens;
    uint8_t *text; /* room for twice the bytes of all tokens */
    struct tokenizer_slot *words, *specials;
    struct tokenizer_merge *merges;
    uint32_t *lengths;
};

static qrt_status no_memory(size_t bytes)
{
    return error_set(QRT_E_MEMORY, "%zu bytes for the tables of the tokenizer", bytes);
}

static qrt_status take(size_t count, size_t size, void **out)
{
    *out = calloc(count ? count : 1, size);
    return *out ? QRT_OK : no_memory(count * size);
}

/* ---- texts ---- */

/* GPT-2's alphabet: bytes that print stand for themselves, the 68 others for U+0100 on. */
static int prints(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The byte that a character of the alphabet stands for, or -1. */
static int alphabet_byte(uint32_t code)
{
    if (code < 256) return prints(code) ? (int)code : -1;
    uint32_t next = 256;
    for (int byte = 0; byte < 256; byte++)
        if (!prints((unsigned)byte) && next++ == code) return byte;
    return -1;
}

/* Write the bytes that text in the alphabet stands for (no more than text.bytes); 0: not in it. */
static int decode_alphabet(struct vocabulary_text text, uint8_t *out, size_t *written)
{
    size_t n = 0;
    for (size_t at = 0; at < text.bytes;) {
        uint32_t code;
        at += unicode_decode(text.data + at, text.bytes - at, &code);
        const int byte = alphabet_byte(code);
        if (byte < 0) return 0;
        out[n++] = (uint8_t)byte;
    }
    *written = n;
    return 1;
}

/* Write the text with each U+2581 as a space. */
static size_t unescape_spaces(struct vocabulary_text text, uint8_t *out)
{
    size_t n = 0;
    for (size_t at = 0; at < text.bytes;) {
        if (text.bytes - at >= 3 && memcmp(text.data + at, "\xE2\x96\x81", 3) == 0) {
            out[n++] = ' ';
            at += 3;
        } else {
            out[n++] = text.data[at++];
        }
    }
    return n;
}

/* The byte of "<0x0A>"; -1: another text. */
static int named_byte(struct vocabulary_text text)
{
    static const char digits[] = "0123456789ABCDEF";
    if (text.bytes != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    const char *high = memchr(digits, text.data[3], 16), *low = memchr(digits, text.data[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

/* ---- tokens ---- */

static uint32_t add_text(struct builder *b, const uint8_t *bytes, size_t count)
{
    const uint32_t at = (uint32_t)b->header.text.count;
    if (count) memcpy(b->text + at, bytes, count);
    b->header.text.count += count;
    return at;
}

static void set_match(struct builder *b, struct tokenizer_token *token, const uint8_t *bytes,
                      size_t count)
{
    token->match = add_text(b, bytes, count);
    token->match_bytes = (uint16_t)count;
}

static void set_piece_to_match(struct tokenizer_token *token)
{
    token->piece = token->match;
    token->piece_bytes = token->match_bytes;
}

/* Map a float to integers whose order is the reverse. */
static uint32_t descending(float score)
{
    const float f = score + 0.0f; /* -0 becomes 0 */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

static void make_normal(struct builder *b, struct vocabulary_text text,
                        struct tokenizer_token *token, uint8_t *scratch)
{
    size_t count = 0;
    if (b->v->kind == TOKENIZER_BPE) {
        if (decode_alphabet(text, scratch, &count)) {
            set_match(b, token, scratch, count);
            set_piece_to_match(token);
        } else { /* can be read, never matched: merges only make texts of the alphabet */
            token->piece = add_text(b, text.data, text.bytes);
            token->piece_bytes = (uint16_t)text.bytes;
        }
        return;
    }
    set_match(b, token, text.data, text.bytes);
    set_piece_to_match(token);
    count = unescape_spaces(text, scratch);
    if (count == text.bytes) return;
    token->piece = add_text(b, scratch, count);
    token->piece_bytes = (uint16_t)count;
}

static qrt_status make_byte(struct builder *b, size_t id, struct tokenizer_token *token)
{
    const struct vocabulary_text text = b->v->tokens[id].text;
    const int value = named_byte(text);
    if (value < 0)
        return error_set(QRT_E_FORMAT,
                         "token %zu is of type byte, but its text '%.*s' is not like <0x0A>", id,
                         (int)(text.bytes < 40 ? text.bytes : 40), (const char *)text.data);
    const uint8_t byte = (uint8_t)value;
    token->piece = add_text(b, &byte, 1);
    token->piece_bytes = 1;
    b->header.byte_token[byte] = (int32_t)id;
    return QRT_OK;
}

static qrt_status make_token(struct builder *b, size_t id, uint8_t *scratch)
{
    const struct vocabulary_token *from = &b->v->tokens[id];
    struct tokenizer_token *token = &b->tokens[id];
    if (from->text.bytes > TOKENIZER_MAX_TOKEN)
        return error_set(QRT_E_LIMIT, "token %zu has %zu bytes, at most %d", id, from->text.bytes,
                         TOKENIZER_MAX_TOKEN);
    if (from->type >= TOKEN_TYPE_COUNT)
        return error_set(QRT_E_FORMAT, "token %zu has type %u, known are 0 to %d", id, from->type,
                         TOKEN_TYPE_COUNT - 1);
    if (isnan(from->score)) return error_set(QRT_E_FORMAT, "token %zu has score NaN", id);
    token->type = from->type;
    token->order = descending(from->score);
    switch ((enum tokenizer_type)from->type) {
    case TOKEN_NORMAL: make_normal(b, from->text, token, scratch); break;
    case TOKEN_USER_DEFINED:
        set_match(b, token, from->text.data, from->text.bytes);
        set_piece_to_match(token);
        break;
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN: set_match(b, token, from->text.data, from->text.bytes); break;
    case TOKEN_BYTE: return b->v->kind == TOKENIZER_SPM ? make_byte(b, id, token) : QRT_OK;
    case TOKEN_UNDEFINED:
    case TOKEN_UNUSED:
    case TOKEN_TYPE_COUNT: break;
    }
    return QRT_OK;
}

static qrt_status make_tokens(struct builder *b)
{
    uint64_t total = 0;
    for (size_t i = 0; i < b->v->count; i++) total += b->v->tokens[i].text.bytes;
    if (total > UINT32_MAX / 2)
        return error_set(QRT_E_LIMIT, "%llu bytes of token texts, at most %u",
                         (unsigned long long)total, UINT32_MAX / 2);
    void *tokens, *text, *scratch;
    TRY(take(b->v->count, sizeof *b->tokens, &tokens));
    b->tokens = tokens;
    b->header.tokens.count = b->v->count;
    TRY(take(2 * total, 1, &text));
    b->text = text;
    for (int i = 0; i < 256; i++) b->header.byte_token[i] = -1;
    TRY(take(TOKENIZER_MAX_TOKEN, 1, &scratch));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < b->v->count && status == QRT_OK; i++) status = make_token(b, i, scratch);
    free(scratch);
    return status;
}

/* ---- tables ---- */

static int is_special(const struct tokenizer_token *token)
{
    return token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN ||
           token->type == TOKEN_USER_DEFINED;
}

/* User-defined tokens are both: text that escaped the cutting can still merge to one. */
static int is_word(const struct tokenizer_token *token)
{
    return token->type == TOKEN_NORMAL || token->type == TOKEN_USER_DEFINED;
}

static uint32_t log2_slots(size_t entries)
{
    uint32_t log2 = 1;
    while (((uint64_t)1 << log2) < entries + entries / 2) log2++;
    return log2;
}

static int same_match(const struct builder *b, uint32_t a, const struct tokenizer_token *token)
{
    const struct tokenizer_token *other = &b->tokens[a];
    return other->match_bytes == token->match_bytes &&
           memcmp(b->text + other->match, b->text + token->match, token->match_bytes) == 0;
}

/* Enter a token; a later one with the same text takes the place.  0: no slot within reach. */
static int enter(const struct builder *b, struct tokenizer_slot *slots,
                 struct tokenizer_table *table, uint32_t id)
{
    const struct tokenizer_token *token = &b->tokens[id];
    const uint64_t hash = tokenizer_hash(b->text + token->match, token->match_bytes);
    const uint32_t tag = (uint32_t)(hash >> 32);
    const uint64_t mask = ((uint64_t)1 << table->log2) - 1;
    for (uint32_t i = 0; i < TOKENIZER_MAX_PROBES && i <= mask; i++) {
        struct tokenizer_slot *slot = &slots[(hash + i) & mask];
        if (slot->id1 && !(slot->tag == tag && same_match(b, slot->id1 - 1, token))) continue;
        *slot = (struct tokenizer_slot){tag, id + 1};
        if (table->probes < i + 1) table->probes = i + 1;
        return 1;
    }
    return 0;
}

/* Enter every token that in() takes and that has a text; a crowded table is made again, larger. */
static qrt_status make_table(struct builder *b, int (*in)(const struct tokenizer_token *),
                             struct tokenizer_table *table, struct tokenizer_slot **slots)
{
    size_t entries = 0;
    for (size_t i = 0; i < b->v->count; i++) entries += in(&b->tokens[i]) != 0;
    const uint32_t first = log2_slots(entries);
    for (uint32_t log2 = first; log2 <= first + 4; log2++) {
        *table = (struct tokenizer_table){.log2 = log2};
        free(*slots);
        *slots = NULL;
        void *block;
        TRY(take((size_t)1 << log2, sizeof **slots, &block));
        *slots = block;
        size_t i = 0;
        while (i < b->v->count && (!in(&b->tokens[i]) || !b->tokens[i].match_bytes ||
                                   enter(b, *slots, table, (uint32_t)i)))
            i++;
        if (i == b->v->count) return QRT_OK;
    }
    return error_set(QRT_E_FORMAT,
                     "the texts of %zu tokens collide in every table up to 2^%u slots", entries,
                     first + 4);
}

static void find_longest_word(struct builder *b)
{
    for (size_t i = 0; i < b->v->count; i++)
        if (is_word(&b->tokens[i]) && b->tokens[i].match_bytes > b->header.longest_word)
            b->header.longest_word = b->tokens[i].match_bytes;
}

static qrt_status make_lengths(struct builder *b)
{
    static const size_t count = TOKENIZER_MAX_TOKEN + 1;
    uint8_t *seen = calloc(count, 1);
    if (!seen) return no_memory(count);
    size_t lengths = 0;
    for (size_t i = 0; i < b->v->count; i++) {
        const uint16_t bytes = b->tokens[i].match_bytes;
        if (!is_special(&b->tokens[i]) || !bytes || seen[bytes]) continue;
        seen[bytes] = 1;
        lengths++;
    }
    void *block;
    const qrt_status status = take(lengths, sizeof *b->lengths, &block);
    if (status == QRT_OK) {
        b->lengths = block;
        for (size_t n = count; n-- > 0;)
            if (seen[n]) b->lengths[b->header.lengths.count++] = (uint32_t)n;
    }
    free(seen);
    return status;
}

/* ---- merges ---- */

/* A view of the tables so far, for look-ups. */
static struct tokenizer view(const struct builder *b)
{
    return (struct tokenizer){.header = &b->header,
                              .tokens = b->tokens,
                              .text = b->text,
                              .words = b->words,
                              .merges = b->merges};
}

static qrt_status bad_merge(const struct builder *b, size_t i, const char *what)
{
    const struct vocabulary_text text = b->v->merges[i];
    return error_set(QRT_E_FORMAT, "merge %zu, '%.*s': %s", i,
                     (int)(text.bytes < 80 ? text.bytes : 80), (const char *)text.data, what);
}

/* Ids of both sides of merge i, and of what they make.  `scratch` holds its text. */
static qrt_status read_merge(const struct builder *b, size_t i, uint8_t *scratch, int32_t id[3])
{
    const struct vocabulary_text text = b->v->merges[i];
    if (text.bytes < 3 || text.bytes > 2 * TOKENIZER_MAX_TOKEN)
        return bad_merge(b, i, "not two texts with a space between");
    const uint8_t *space = memchr(text.data + 1, ' ', text.bytes - 1);
    if (!space) return bad_merge(b, i, "no space between two texts");
    const struct vocabulary_text left = {text.data, (size_t)(space - text.data)};
    const struct vocabulary_text right = {space + 1, text.bytes - left.bytes - 1};
    size_t left_bytes, right_bytes;
    if (!decode_alphabet(left, scratch, &left_bytes) ||
        !decode_alphabet(right, scratch + left_bytes, &right_bytes))
        return bad_merge(b, i, "has a character that stands for no byte");
    const struct tokenizer t = view(b);
    id[0] = tokenizer_word(&t, scratch, left_bytes);
    id[1] = tokenizer_word(&t, scratch + left_bytes, right_bytes);
    id[2] = tokenizer_word(&t, scratch, left_bytes + right_bytes);
    if (id[0] < 0) return bad_merge(b, i, "its left side is no token");
    if (id[1] < 0) return bad_merge(b, i, "its right side is no token");
    if (id[2] < 0) return bad_merge(b, i, "what it makes is no token");
    return QRT_OK;
}

/* 0: no slot within reach. */
static int enter_merge(struct builder *b, const int32_t id[3], uint32_t order)
{
    const uint32_t left = (uint32_t)id[0], right = (uint32_t)id[1];
    const uint64_t hash = tokenizer_pair_hash(left, right);
    const uint64_t mask = ((uint64_t)1 << b->header.merges.log2) - 1;
    for (uint32_t i = 0; i < TOKENIZER_MAX_PROBES && i <= mask; i++) {
        struct tokenizer_merge *m = &b->merges[(hash + i) & mask];
        if (m->id1 && m->left == left && m->right == right) return 1;
        if (m->id1) continue;
        *m = (struct tokenizer_merge){left, right, order, (uint32_t)id[2] + 1};
        if (b->header.merges.probes < i + 1) b->header.merges.probes = i + 1;
        return 1;
    }
    return 0;
}

static qrt_status make_merges(struct builder *b)
{
    const size_t count = b->v->kind == TOKENIZER_BPE ? b->v->merge_count : 0;
    b->header.merges.log2 = log2_slots(count);
    void *merges, *scratch;
    TRY(take((size_t)1 << b->header.merges.log2, sizeof *b->merges, &merges));
    b->merges = merges;
    TRY(take(2 * TOKENIZER_MAX_TOKEN, 1, &scratch));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < count && status == QRT_OK; i++) {
        int32_t id[3] = {-1, -1, -1};
        status = read_merge(b, i, scratch, id);
        if (status == QRT_OK && !enter_merge(b, id, (uint32_t)i))
            status = bad_merge(b, i, "collides with too many others");
    }
    free(scratch);
    return status;
}

/* BPE starts from the tokens of single bytes. */
static void find_byte_tokens(struct builder *b)
{
    const struct tokenizer t = view(b);
    for (int i = 0; i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        b->header.byte_token[i] = tokenizer_word(&t, &byte, 1);
    }
}

/* ---- the blob ---- */

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + TOKENIZER_ALIGN - 1) / TOKENIZER_ALIGN * TOKENIZER_ALIGN;
}

static qrt_status assemble(struct builder *b, void **blob, size_t *bytes)
{
    struct tokenizer_header *h = &b->header;
    const struct {
        uint64_t *offset;
        const void *data;
        uint64_t bytes;
    } sections[] = {
        {&h->tokens.offset, b->tokens, h->tokens.count * sizeof *b->tokens},
        {&h->text.offset, b->text, h->text.count},
        {&h->words.offset, b->words, sizeof *b->words << h->words.log2},
        {&h->specials.offset, b->specials, sizeof *b->specials << h->specials.log2},
        {&h->merges.offset, b->merges, sizeof *b->merges << h->merges.log2},
        {&h->lengths.offset, b->lengths, h->lengths.count * sizeof *b->lengths},
    };
    const size_t count = sizeof sections / sizeof *sections;
    h->bytes = aligned(sizeof *h);
    for (size_t i = 0; i < count; i++) {
        *sections[i].offset = h->bytes;
        h->bytes += aligned(sections[i].bytes);
    }
    uint8_t *out = calloc(1, h->bytes);
    if (!out) return no_memory(h->bytes);
    memcpy(out, h, sizeof *h);
    for (size_t i = 0; i < count; i++)
        memcpy(out + *sections[i].offset, sections[i].data, sections[i].bytes);
    *blob = out;
    *bytes = h->bytes;
    return QRT_OK;
}

static qrt_status build(struct builder *b, void **blob, size_t *bytes)
{
    TRY(make_tokens(b));
    TRY(make_table(b, is_word, &b->header.words, &b->words));
    TRY(make_table(b, is_special, &b->header.specials, &b->specials));
    find_longest_word(b);
    TRY(make_lengths(b));
    TRY(make_merges(b));
    if (b->v->kind == TOKENIZER_BPE) find_byte_tokens(b);
    return assemble(b, blob, bytes);
}

qrt_status tokenizer_build(const struct vocabulary *v, void **blob, size_t *bytes)
{
    if (v->count == 0 || v->count > INT32_MAX)
        return error_set(QRT_E_FORMAT, "a vocabulary of %zu tokens", v->count);
    if (v->unknown < -1 || (v->unknown >= 0 && (size_t)v->unknown >= v->count))
        return error_set(QRT_E_FORMAT, "unknown token %d, the vocabulary has 0 to %zu", v->unknown,
                         v->count - 1);
    struct builder b = {.v = v};
    memcpy(b.header.magic, TOKENIZER_MAGIC, sizeof b.header.magic);
    b.header.kind = v->kind;
    b.header.rule = v->rule;
    b.header.flags = v->flags;
    b.header.unknown = v->unknown;
    const qrt_status status = build(&b, blob, bytes);
    free(b.tokens);
    free(b.text);
    free(b.words);
    free(b.specials);
    free(b.merges);
    free(b.lengths);
    return status;
}
