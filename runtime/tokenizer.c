/* tokenizer.c -- checks a tokenizer's tables, looks things up in them, encodes text */
#include "tokenizer.h"

#include <string.h>

#include "error.h"
#include "merge.h"
#include "pretoken.h"
#include "rt.h"
#include "unicode.h"

/* ---- hashing and look-up ---- */

#define HASH_BASE 0x9E3779B97F4A7C15u /* odd, so that it has an inverse; 2^64 / golden ratio */

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93u;
    return h ^ (h >> 29);
}

/* One more byte; + 1 so that leading NULs count. */
static uint64_t hash_byte(uint64_t h, uint8_t byte) { return h * HASH_BASE + byte + 1; }

static uint64_t polynomial(const uint8_t *text, size_t bytes)
{
    uint64_t h = 0;
    for (size_t i = 0; i < bytes; i++) h = hash_byte(h, text[i]);
    return h;
}

uint64_t tokenizer_hash(const uint8_t *text, size_t bytes) { return mix(polynomial(text, bytes)); }

uint64_t tokenizer_pair_hash(uint32_t left, uint32_t right)
{
    return mix(((uint64_t)left << 32 | right) * HASH_BASE);
}

/* Id of the token in a table that matches `text` and has this (mixed) hash, or -1. */
static int32_t find(const struct tokenizer *t, const struct tokenizer_slot *slots,
                    const struct tokenizer_table *table, uint64_t hash, const uint8_t *text,
                    size_t bytes)
{
    const uint64_t mask = ((uint64_t)1 << table->log2) - 1;
    for (uint32_t i = 0; i < table->probes; i++) {
        const struct tokenizer_slot *slot = &slots[(hash + i) & mask];
        if (!slot->id1) return -1;
        if (slot->tag != (uint32_t)(hash >> 32)) continue;
        const struct tokenizer_token *token = &t->tokens[slot->id1 - 1];
        if (token->match_bytes == bytes && memcmp(t->text + token->match, text, bytes) == 0)
            return (int32_t)(slot->id1 - 1);
    }
    return -1;
}

int32_t tokenizer_word(const struct tokenizer *t, const uint8_t *text, size_t bytes)
{
    if (bytes > t->header->longest_word) return -1;
    return find(t, t->words, &t->header->words, tokenizer_hash(text, bytes), text, bytes);
}

const struct tokenizer_merge *tokenizer_pair(const struct tokenizer *t, uint32_t left,
                                             uint32_t right)
{
    const uint64_t hash = tokenizer_pair_hash(left, right);
    const uint64_t mask = ((uint64_t)1 << t->header->merges.log2) - 1;
    for (uint32_t i = 0; i < t->header->merges.probes; i++) {
        const struct tokenizer_merge *m = &t->merges[(hash + i) & mask];
        if (!m->id1) return NULL;
        if (m->left == left && m->right == right) return m;
    }
    return NULL;
}

/* ---- opening ---- */

static qrt_status bad(const char *what, uint64_t value, uint64_t limit)
{
    return error_set(QRT_E_FORMAT, "tokenizer: %s is %llu, at most %llu; pack the model again",
                     what, (unsigned long long)value, (unsigned long long)limit);
}

/* Point *out at count elements of `size` bytes at `offset`. */
static qrt_status place(const struct tokenizer_header *h, const char *what, uint64_t offset,
                        uint64_t count, size_t size, const void **out)
{
    if (offset < sizeof *h || offset > h->bytes || offset % TOKENIZER_ALIGN)
        return error_set(QRT_E_FORMAT,
                         "tokenizer: %s at offset %llu of %llu: wrong place; pack the model again",
                         what, (unsigned long long)offset, (unsigned long long)h->bytes);
    if (count > (h->bytes - offset) / size) return bad(what, count, (h->bytes - offset) / size);
    *out = (const uint8_t *)h + offset;
    return QRT_OK;
}

static qrt_status place_table(const struct tokenizer_header *h, const char *what,
                              const struct tokenizer_table *table, size_t size, const void **out)
{
    if (table->log2 > 31) return bad(what, table->log2, 31);
    if (table->probes > TOKENIZER_MAX_PROBES) return bad(what, table->probes, TOKENIZER_MAX_PROBES);
    return place(h, what, table->offset, (uint64_t)1 << table->log2, size, out);
}

static qrt_status check_header(const struct tokenizer_header *h, size_t bytes, int vocab)
{
    if (memcmp(h->magic, TOKENIZER_MAGIC, sizeof h->magic) != 0)
        return error_set(QRT_E_FORMAT, "tokenizer: no %s at its start; pack the model again",
                         TOKENIZER_MAGIC);
    if (h->bytes > bytes) return bad("size", h->bytes, bytes);
    if (h->kind >= TOKENIZER_KIND_COUNT) return bad("kind", h->kind, TOKENIZER_KIND_COUNT - 1);
    if (h->rule >= PRETOKEN_RULE_COUNT) return bad("rule", h->rule, PRETOKEN_RULE_COUNT - 1);
    if (h->tokens.count > (uint64_t)vocab) return bad("tokens", h->tokens.count, (uint64_t)vocab);
    if (h->longest_word > TOKENIZER_MAX_TOKEN)
        return bad("longest word", h->longest_word, TOKENIZER_MAX_TOKEN);
    return QRT_OK;
}

static qrt_status check_tokens(const struct tokenizer *t)
{
    const uint64_t text = t->header->text.count;
    for (uint64_t i = 0; i < t->header->tokens.count; i++) {
        const struct tokenizer_token *token = &t->tokens[i];
        const uint64_t match_end = (uint64_t)token->match + token->match_bytes;
        const uint64_t piece_end = (uint64_t)token->piece + token->piece_bytes;
        if (match_end > text) return bad("end of a token's match", match_end, text);
        if (piece_end > text) return bad("end of a token's piece", piece_end, text);
        if (token->type >= TOKEN_TYPE_COUNT)
            return bad("a type", token->type, TOKEN_TYPE_COUNT - 1);
    }
    return QRT_OK;
}

/* Every id that a look-up can give. */
static qrt_status check_ids(const struct tokenizer *t)
{
    const struct tokenizer_header *h = t->header;
    const int64_t count = (int64_t)h->tokens.count;
    uint32_t highest = 0;
    for (uint64_t i = 0; i < (uint64_t)1 << h->words.log2; i++)
        if (t->words[i].id1 > highest) highest = t->words[i].id1;
    for (uint64_t i = 0; i < (uint64_t)1 << h->specials.log2; i++)
        if (t->specials[i].id1 > highest) highest = t->specials[i].id1;
    for (uint64_t i = 0; i < (uint64_t)1 << h->merges.log2; i++)
        if (t->merges[i].id1 > highest) highest = t->merges[i].id1;
    if (highest > count) return bad("an id in a table", highest - 1, (uint64_t)count);
    if (h->unknown < -1 || h->unknown >= count)
        return bad("the unknown token", (uint64_t)h->unknown, (uint64_t)count);
    for (int i = 0; i < 256; i++)
        if (h->byte_token[i] < -1 || h->byte_token[i] >= count)
            return bad("a byte's token", (uint64_t)h->byte_token[i], (uint64_t)count);
    return QRT_OK;
}

static qrt_status check_lengths(const struct tokenizer *t)
{
    uint32_t before = TOKENIZER_MAX_TOKEN + 1;
    for (uint64_t i = 0; i < t->header->lengths.count; i++) {
        if (t->lengths[i] >= before || t->lengths[i] == 0)
            return error_set(QRT_E_FORMAT,
                             "tokenizer: length %u after %u: want descending, above 0; pack the "
                             "model again",
                             t->lengths[i], before);
        before = t->lengths[i];
    }
    return QRT_OK;
}

qrt_status tokenizer_open(const void *blob, size_t bytes, int vocab, struct tokenizer *out)
{
    struct tokenizer t = {.header = blob, .vocab = vocab};
    const struct tokenizer_header *h = blob;
    if (bytes < sizeof *h) return bad("header", sizeof *h, bytes);
    if ((uintptr_t)blob % TOKENIZER_ALIGN)
        return error_set(QRT_E_FORMAT, "tokenizer: not at a multiple of %d; pack the model again",
                         TOKENIZER_ALIGN);
    TRY(check_header(h, bytes, vocab));
    const struct {
        const char *what;
        const struct tokenizer_section *section;
        size_t size;
        const void **out;
    } sections[] = {
        {"tokens", &h->tokens, sizeof *t.tokens, (const void **)&t.tokens},
        {"text", &h->text, sizeof *t.text, (const void **)&t.text},
        {"lengths", &h->lengths, sizeof *t.lengths, (const void **)&t.lengths},
    };
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        TRY(place(h, sections[i].what, sections[i].section->offset, sections[i].section->count,
                  sections[i].size, sections[i].out));
    TRY(place_table(h, "words", &h->words, sizeof *t.words, (const void **)&t.words));
    TRY(place_table(h, "specials", &h->specials, sizeof *t.specials, (const void **)&t.specials));
    TRY(place_table(h, "merges", &h->merges, sizeof *t.merges, (const void **)&t.merges));
    TRY(check_tokens(&t));
    TRY(check_ids(&t));
    TRY(check_lengths(&t));
    *out = t;
    return QRT_OK;
}

/* ---- encoding ---- */

/* A stretch of the text, or a special token that was found in it. */
struct part {
    size_t offset, bytes;
    int32_t id; /* -1: text */
};

struct parts {
    struct part *list;
    size_t count, capacity;
};

struct encoder {
    const struct tokenizer *t;
    struct qrt *rt;
    const uint8_t *text;
    int parse_special;
    struct parts parts, next; /* before and after the specials of one length are cut out */
    struct merge merge;
    uint8_t *clean; /* a part in the form in which it is merged */
    size_t clean_capacity;
    int *ids;
    size_t capacity, count;
};

static void emit(struct encoder *e, int32_t id)
{
    if (e->count < e->capacity) e->ids[e->count] = id;
    e->count++;
}

static qrt_status add_part(struct encoder *e, struct parts *p, size_t from, size_t to, int32_t id)
{
    if (from == to) return QRT_OK;
    if (p->count == p->capacity) {
        const size_t capacity = p->capacity ? 2 * p->capacity : 16;
        void *list;
        TRY(rt_alloc(e->rt, capacity * sizeof *p->list, &list));
        if (p->count) memcpy(list, p->list, p->count * sizeof *p->list);
        rt_free(e->rt, p->list);
        p->list = list;
        p->capacity = capacity;
    }
    p->list[p->count++] = (struct part){from, to - from, id};
    return QRT_OK;
}

/* The special token that is text[0 .. bytes) with this polynomial hash, and may stand here; or -1. */
static int32_t special_at(const struct encoder *e, const uint8_t *text, size_t bytes, uint64_t hash)
{
    const struct tokenizer *t = e->t;
    const int32_t id = find(t, t->specials, &t->header->specials, mix(hash), text, bytes);
    if (id < 0 || e->parse_special || t->tokens[id].type == TOKEN_USER_DEFINED) return id;
    return -1;
}

/* Append `part` to e->next with the specials of `length` bytes cut out: a window that rolls on. */
static qrt_status cut_part(struct encoder *e, struct part part, size_t length)
{
    const size_t end = part.offset + part.bytes;
    uint64_t leaving = 1; /* HASH_BASE ^ (length - 1): weight of the byte that leaves the window */
    for (size_t i = 1; i < length; i++) leaving *= HASH_BASE;
    size_t from = part.offset, at = from;
    uint64_t hash = 0;
    int fresh = 1; /* the hash is not that of the window at `at` */
    while (end - at >= length) {
        if (fresh) hash = polynomial(e->text + at, length);
        const int32_t id = special_at(e, e->text + at, length, hash);
        fresh = id >= 0;
        if (id >= 0) {
            TRY(add_part(e, &e->next, from, at, -1));
            TRY(add_part(e, &e->next, at, at + length, id));
            at += length;
            from = at;
        } else if (end - at > length) {
            hash -= leaving * ((uint64_t)e->text[at] + 1);
            hash = hash_byte(hash, e->text[at + length]);
            at++;
        } else {
            break;
        }
    }
    return add_part(e, &e->next, from, end, -1);
}

/* Longest specials first: what they leave is searched for shorter ones. */
static qrt_status cut_specials(struct encoder *e, size_t bytes)
{
    TRY(add_part(e, &e->parts, 0, bytes, -1));
    for (uint64_t i = 0; i < e->t->header->lengths.count; i++) {
        const size_t length = e->t->lengths[i];
        if (length > bytes) continue;
        e->next.count = 0;
        for (size_t p = 0; p < e->parts.count; p++) {
            const struct part part = e->parts.list[p];
            if (part.id < 0 && part.bytes >= length)
                TRY(cut_part(e, part, length));
            else
                TRY(add_part(e, &e->next, part.offset, part.offset + part.bytes, part.id));
        }
        const struct parts before = e->parts;
        e->parts = e->next;
        e->next = before;
    }
    return QRT_OK;
}

static qrt_status reserve_clean(struct encoder *e, size_t bytes)
{
    if (bytes <= e->clean_capacity) return QRT_OK;
    void *block;
    TRY(rt_alloc(e->rt, bytes, &block));
    rt_free(e->rt, e->clean);
    e->clean = block;
    e->clean_capacity = bytes;
    return QRT_OK;
}

/* SPM: the bytes of a character that no token has. */
static void emit_bytes(struct encoder *e, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int32_t id = e->t->header->byte_token[bytes[i]];
        const int32_t any = id >= 0 ? id : e->t->header->unknown;
        if (any >= 0) emit(e, any);
    }
}

static qrt_status encode_merged(struct encoder *e, const uint8_t *text, size_t bytes)
{
    TRY(merge_run(&e->merge, text, bytes));
    for (int32_t i = 0; i >= 0; i = e->merge.symbols[i].next) {
        const struct merge_symbol *symbol = &e->merge.symbols[i];
        if (symbol->id >= 0)
            emit(e, symbol->id);
        else if (e->t->header->kind == TOKENIZER_SPM)
            emit_bytes(e, text + symbol->offset, symbol->bytes);
    }
    return QRT_OK;
}

static qrt_status encode_word(void *user, const uint8_t *word, size_t bytes)
{
    struct encoder *e = user;
    if (e->t->header->flags & TOKENIZER_WHOLE_WORDS) {
        const int32_t id = tokenizer_word(e->t, word, bytes);
        if (id >= 0) {
            emit(e, id);
            return QRT_OK;
        }
    }
    return encode_merged(e, word, bytes);
}

static qrt_status encode_bpe(struct encoder *e, const uint8_t *text, size_t bytes)
{
    if (!unicode_is_clean(text, bytes)) {
        TRY(reserve_clean(e, 3 * bytes));
        bytes = unicode_repair(text, bytes, e->clean);
        text = e->clean;
    }
    return pretoken_split((enum pretoken_rule)e->t->header->rule, text, bytes, encode_word, e);
}

/* U+2581, what SentencePiece writes for a space. */
static const uint8_t space_mark[3] = {0xE2, 0x96, 0x81};

static qrt_status encode_spm(struct encoder *e, const uint8_t *text, size_t bytes, int prefix)
{
    TRY(reserve_clean(e, sizeof space_mark * (bytes + 1)));
    uint8_t *to = e->clean;
    if (prefix) to = (uint8_t *)memcpy(to, space_mark, sizeof space_mark) + sizeof space_mark;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == ' ')
            to = (uint8_t *)memcpy(to, space_mark, sizeof space_mark) + sizeof space_mark;
        else
            *to++ = text[i];
    }
    return encode_merged(e, e->clean, (size_t)(to - e->clean));
}

static qrt_status encode_parts(struct encoder *e)
{
    int prefix = (e->t->header->flags & TOKENIZER_SPACE_PREFIX) != 0;
    for (size_t p = 0; p < e->parts.count; p++) {
        const struct part part = e->parts.list[p];
        if (part.id >= 0)
            emit(e, part.id);
        else if (e->t->header->kind == TOKENIZER_BPE)
            TRY(encode_bpe(e, e->text + part.offset, part.bytes));
        else
            TRY(encode_spm(e, e->text + part.offset, part.bytes,
                           prefix && (p == 0 || e->parts.list[p - 1].id >= 0)));
    }
    return QRT_OK;
}

qrt_status tokenizer_encode(const struct tokenizer *t, struct qrt *rt, const char *text,
                            size_t bytes, int parse_special, int *ids, size_t capacity,
                            size_t *count)
{
    if (bytes > TOKENIZER_MAX_TEXT)
        return error_set(QRT_E_LIMIT, "text of %zu bytes, at most %d: cut it into pieces", bytes,
                         TOKENIZER_MAX_TEXT);
    struct encoder e = {.t = t,
                        .rt = rt,
                        .text = (const uint8_t *)text,
                        .parse_special = parse_special,
                        .merge = {.rt = rt, .tokenizer = t},
                        .ids = ids,
                        .capacity = capacity};
    qrt_status status;
    TRY_DONE(cut_specials(&e, bytes));
    TRY_DONE(encode_parts(&e));
    *count = e.count;
done:
    rt_free(rt, e.parts.list);
    rt_free(rt, e.next.list);
    rt_free(rt, e.clean);
    merge_close(&e.merge);
    return status;
}

qrt_status tokenizer_bytes(const struct tokenizer *t, int id, const char **bytes, size_t *count)
{
    if (id < 0 || id >= t->vocab)
        return error_set(QRT_E_ARGUMENT, "token id %d: the vocabulary has ids 0 to %d", id,
                         t->vocab - 1);
    *bytes = "";
    *count = 0;
    if ((uint64_t)id >= t->header->tokens.count) return QRT_OK;
    const struct tokenizer_token *token = &t->tokens[id];
    *bytes = (const char *)t->text + token->piece;
    *count = token->piece_bytes;
    return QRT_OK;
}
