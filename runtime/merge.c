/* merge.c -- byte-pair merging with a heap of candidate pairs
 *
 * A pair in the heap is not taken out when one of its sides merges elsewhere; it is recognised when
 * its turn comes, because the bytes of its sides no longer add up.  Sides only grow, so they cannot
 * add up by accident.
 */
#include "merge.h"

#include "error.h"
#include "rt.h"
#include "unicode.h"

struct merge_pair {
    uint32_t order; /* lowest first; then leftmost */
    int32_t left;   /* symbol */
    uint32_t bytes; /* of both sides */
    int32_t id;     /* of the token they make */
};

static qrt_status reserve(struct merge *m, size_t bytes)
{
    if (bytes <= m->capacity) return QRT_OK;
    const size_t capacity = bytes < 64 ? 64 : bytes;
    merge_close(m);
    void *symbols, *heap;
    TRY(rt_alloc(m->rt, capacity * sizeof *m->symbols, &symbols));
    m->symbols = symbols;
    TRY(rt_alloc(m->rt, 2 * capacity * sizeof *m->heap, &heap));
    m->heap = heap;
    m->capacity = capacity;
    return QRT_OK;
}

void merge_close(struct merge *m)
{
    rt_free(m->rt, m->symbols);
    rt_free(m->rt, m->heap);
    m->symbols = NULL;
    m->heap = NULL;
    m->capacity = 0;
}

static int comes_before(struct merge_pair a, struct merge_pair b)
{
    return a.order != b.order ? a.order < b.order : a.left < b.left;
}

static void push(struct merge *m, struct merge_pair pair)
{
    size_t at = m->heap_count++;
    while (at > 0 && comes_before(pair, m->heap[(at - 1) / 2])) {
        m->heap[at] = m->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->heap[at] = pair;
}

static struct merge_pair pop(struct merge *m)
{
    const struct merge_pair best = m->heap[0], last = m->heap[--m->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= m->heap_count) break;
        if (child + 1 < m->heap_count && comes_before(m->heap[child + 1], m->heap[child])) child++;
        if (!comes_before(m->heap[child], last)) break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = last;
    return best;
}

/* BPE starts from bytes, SPM from characters as their lead bytes announce them. */
static void split(struct merge *m, const uint8_t *text, size_t bytes)
{
    const struct tokenizer *t = m->tokenizer;
    const int by_bytes = t->header->kind == TOKENIZER_BPE;
    int32_t n = 0;
    size_t at = 0;
    while (at < bytes) {
        size_t count = by_bytes ? 1 : unicode_lead_bytes(text[at]);
        if (count > bytes - at) count = bytes - at;
        m->symbols[n] = (struct merge_symbol){
            .offset = (uint32_t)at,
            .bytes = (uint32_t)count,
            .previous = n - 1,
            .next = at + count < bytes ? n + 1 : -1,
            .id = by_bytes ? t->header->byte_token[text[at]] : tokenizer_word(t, text + at, count),
        };
        at += count;
        n++;
    }
    m->symbol_count = (size_t)n;
}

/* Find what the symbol and its right neighbour make. */
static int find_pair(const struct merge *m, const uint8_t *text, int32_t left,
                     struct merge_pair *out)
{
    const struct tokenizer *t = m->tokenizer;
    const struct merge_symbol *l = &m->symbols[left];
    if (l->next < 0) return 0;
    const struct merge_symbol *r = &m->symbols[l->next];
    *out = (struct merge_pair){.left = left, .bytes = l->bytes + r->bytes};
    if (t->header->kind == TOKENIZER_BPE) {
        if (l->id < 0 || r->id < 0) return 0;
        const struct tokenizer_merge *pair = tokenizer_pair(t, (uint32_t)l->id, (uint32_t)r->id);
        if (!pair) return 0;
        out->order = pair->order;
        out->id = (int32_t)(pair->id1 - 1);
        return 1;
    }
    out->id = tokenizer_word(t, text + l->offset, out->bytes);
    if (out->id < 0) return 0;
    out->order = t->tokens[out->id].order;
    return 1;
}

static void consider(struct merge *m, const uint8_t *text, int32_t left)
{
    struct merge_pair pair;
    if (left >= 0 && find_pair(m, text, left, &pair)) push(m, pair);
}

static void join(struct merge *m, struct merge_pair pair)
{
    struct merge_symbol *l = &m->symbols[pair.left], *r = &m->symbols[l->next];
    l->bytes = pair.bytes;
    l->id = pair.id;
    l->next = r->next;
    if (r->next >= 0) m->symbols[r->next].previous = pair.left;
    r->bytes = 0;
}

static int is_current(const struct merge *m, struct merge_pair pair)
{
    const struct merge_symbol *l = &m->symbols[pair.left];
    return l->bytes && l->next >= 0 && l->bytes + m->symbols[l->next].bytes == pair.bytes;
}

qrt_status merge_run(struct merge *m, const uint8_t *text, size_t bytes)
{
    TRY(reserve(m, bytes));
    split(m, text, bytes);
    m->heap_count = 0;
    for (size_t i = 0; i < m->symbol_count; i++) consider(m, text, (int32_t)i);
    while (m->heap_count) {
        const struct merge_pair pair = pop(m);
        if (!is_current(m, pair)) continue;
        join(m, pair);
        consider(m, text, m->symbols[pair.left].previous);
        consider(m, text, pair.left);
    }
    return QRT_OK;
}
