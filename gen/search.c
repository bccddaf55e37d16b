/* search.c -- the search space of a request: every kernel that could serve some of its rows */
#include "search.h"

#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "error.h"
#include "pipeline.h" /* pipeline_ranges */

#define NEUTRAL_NAME "qk_kernel"

void search_free(struct search *s)
{
    for (size_t i = 0; i < s->text_count; i++) unit_free(&s->texts[i].unit);
    free(s->texts);
    free(s->items);
    memset(s, 0, sizeof *s);
}

static qrt_status grow(void **items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count < *capacity) return QRT_OK;
    const size_t larger = *capacity ? 2 * *capacity : 64;
    void *moved = realloc(*items, larger * item_bytes);
    if (!moved) return error_set(QRT_E_MEMORY, "no memory for %zu candidates", larger);
    *items = moved;
    *capacity = larger;
    return QRT_OK;
}

/* ---- texts ---- */

/* The kernel behind the comment that says its tune point. */
static const char *code_of(const struct unit *u)
{
    const char *end = strstr(u->rendering.text, "*/\n");
    return end ? end + 3 : u->rendering.text;
}

static void hash_text(struct search_text *t)
{
    const struct entry_record *r = &t->record;
    const char *code = code_of(&t->unit);
    struct blake2b hash;
    blake2b_init(&hash, sizeof t->hash);
    blake2b_update(&hash, r->grid, sizeof r->grid);
    blake2b_update(&hash, r->block, sizeof r->block);
    blake2b_update(&hash, &r->smem_bytes, sizeof r->smem_bytes);
    blake2b_update(&hash, &r->map, sizeof r->map);
    blake2b_update(&hash, code, strlen(code));
    blake2b_final(&hash, t->hash);
}

/* The number of a candidate's text, which becomes one of `s` when it is new. */
static qrt_status find_text(struct template_set *set, struct search *s, const struct candidate *c,
                            size_t *number)
{
    struct candidate neutral = *c;
    struct search_text t;
    memset(neutral.record.symbol, 0, sizeof neutral.record.symbol);
    strcpy(neutral.record.symbol, NEUTRAL_NAME);
    neutral.record.split = 1;
    t.record = neutral.record;
    t.ahead = c->ahead;
    TRY(unit_make(set, &neutral, &t.unit));
    hash_text(&t);
    for (size_t i = 0; i < s->text_count; i++)
        if (memcmp(s->texts[i].hash, t.hash, sizeof t.hash) == 0) {
            unit_free(&t.unit);
            *number = i;
            return QRT_OK;
        }
    const qrt_status status =
        grow((void **)&s->texts, &s->text_capacity, s->text_count, sizeof *s->texts);
    if (status != QRT_OK) {
        unit_free(&t.unit);
        return status;
    }
    *number = s->text_count;
    s->texts[s->text_count++] = t;
    return QRT_OK;
}

/* ---- candidates ---- */

static int is_same_point(const struct entry_record *a, const struct entry_record *b)
{
    return strcmp(a->template_, b->template_) == 0 && strcmp(a->tune, b->tune) == 0;
}

/* Widen a candidate of the range before that has the same point and text. */
static int widen(struct search *s, const struct candidate *c, size_t text)
{
    for (size_t i = 0; i < s->count; i++) {
        struct candidate *old = &s->items[i].candidate;
        if (old->record.m_hi + 1 != c->record.m_lo || s->items[i].text != text) continue;
        if (!is_same_point(&old->record, &c->record)) continue;
        old->request.m_hi = old->record.m_hi = c->record.m_hi;
        return 1;
    }
    return 0;
}

static qrt_status add(struct template_set *set, struct search *s, struct candidate *c)
{
    size_t text;
    TRY(template_launch(c));
    TRY(find_text(set, s, c, &text));
    if (widen(s, c, text)) return QRT_OK;
    TRY(grow((void **)&s->items, &s->capacity, s->count, sizeof *s->items));
    s->items[s->count++] = (struct search_candidate){*c, text};
    return QRT_OK;
}

/* Leave a candidate the rows of the range. */
static void cut(struct candidate *c, const struct request *range)
{
    struct entry_record *r = &c->record;
    if (r->m_lo < range->m_lo) r->m_lo = range->m_lo;
    if (r->m_hi > range->m_hi) r->m_hi = range->m_hi;
    c->request.m_lo = r->m_lo;
    c->request.m_hi = r->m_hi;
}

static qrt_status add_range(struct template_set *set, struct search *s, struct request *r)
{
    struct candidate *found;
    struct template_refusals refused;
    size_t count;
    TRY(template_search(set, r, &found, &count, &refused));
    s->refused.points += refused.points;
    for (int i = 0; i < REFUSED_COUNT; i++) s->refused.by[i] += refused.by[i];
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < count && status == QRT_OK; i++) {
        cut(&found[i], r);
        status = add(set, s, &found[i]);
    }
    free(found);
    return status;
}

qrt_status search_make(struct template_set *set, const struct op_desc *desc,
                       const struct arch *arch, struct search *out)
{
    struct search s = {0};
    size_t range_count;
    const struct pipeline_range *ranges = pipeline_ranges(&range_count);
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < range_count && status == QRT_OK; i++) {
        struct request r = {*desc, arch, ranges[i].lo, ranges[i].hi};
        status = add_range(set, &s, &r);
    }
    if (status == QRT_OK)
        *out = s;
    else
        search_free(&s);
    return status;
}
