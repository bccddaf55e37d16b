/* choose.c -- which tune points of a request become kernels, for which rows */
#include "choose.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "pipeline.h"

/* One row is a matrix-vector product; up to 8 fill the narrow side of an mma; then the tiles. */
static const struct pipeline_range ranges[] = {
    {1, 1}, {2, 8}, {9, 16}, {17, 32}, {33, 64}, {65, 128}, {129, PIPELINE_M_MAX},
};
enum { RANGE_COUNT = sizeof ranges / sizeof *ranges };

const struct pipeline_range *pipeline_ranges(size_t *count)
{
    *count = RANGE_COUNT;
    return ranges;
}

/* What choosing for one request needs. */
struct chooser {
    struct template_set *set;
    const struct request *request;
    const struct choose_options *options;
    struct choices *out;
    size_t first; /* of this request's choices */
};

static int max_of(int a, int b) { return a > b ? a : b; }
static int min_of(int a, int b) { return a < b ? a : b; }

static int overlaps(int lo, int hi, const struct request *r)
{
    return lo <= r->m_hi && hi >= r->m_lo;
}

/* ---- rejections ---- */

static int is_same_point(const struct entry_record *a, const struct entry_record *b)
{
    return op_desc_equal(&a->desc, &b->desc) && strcmp(a->arch, b->arch) == 0 &&
           strcmp(a->template_, b->template_) == 0 && strcmp(a->tune, b->tune) == 0;
}

static int is_rejected(const struct rejected *rejected, const struct candidate *c, int lo, int hi)
{
    for (size_t i = 0; rejected && i < rejected->count; i++) {
        const struct entry_record *r = &rejected->records[i];
        if (lo <= r->m_hi && hi >= r->m_lo && is_same_point(r, &c->record)) return 1;
    }
    return 0;
}

int rejected_add(struct rejected *r, const struct entry_record *record)
{
    for (size_t i = 0; i < r->count; i++)
        if (is_same_point(&r->records[i], record) && r->records[i].m_lo <= record->m_lo &&
            r->records[i].m_hi >= record->m_hi)
            return 0;
    struct entry_record *more = realloc(r->records, (r->count + 1) * sizeof *more);
    if (!more) return 0;
    r->records = more;
    r->records[r->count++] = *record;
    return 1;
}

int rejected_about(const struct rejected *r, const struct request *request)
{
    for (size_t i = 0; i < r->count; i++)
        if (op_desc_equal(&r->records[i].desc, &request->desc) &&
            strcmp(r->records[i].arch, request->arch->name) == 0)
            return 1;
    return 0;
}

void rejected_free(struct rejected *r)
{
    free(r->records);
    memset(r, 0, sizeof *r);
}

/* ---- choices ---- */

void choices_free(struct choices *c)
{
    for (size_t i = 0; i < c->count; i++) unit_free(&c->items[i].unit);
    free(c->items);
    memset(c, 0, sizeof *c);
}

/* Two texts that are the same kernel but for the rows it was chosen for. */
static int is_same_kernel(const struct choice *a, const struct choice *b)
{
    struct entry_record x = a->candidate.record, y = b->candidate.record;
    x.m_lo = y.m_lo = x.m_hi = y.m_hi = 0;
    x.rank = y.rank = 0;
    return memcmp(&x, &y, sizeof x) == 0 && a->unit.rendering.bytes == b->unit.rendering.bytes &&
           memcmp(a->unit.rendering.text, b->unit.rendering.text, a->unit.rendering.bytes) == 0;
}

/* Widen a choice of this request that has the same text and ends where `new` begins. */
static int merge(const struct chooser *ch, const struct choice *new)
{
    for (size_t i = ch->first; i < ch->out->count; i++) {
        struct entry_record *r = &ch->out->items[i].candidate.record;
        if (r->m_hi + 1 != new->candidate.record.m_lo) continue;
        if (!is_same_kernel(&ch->out->items[i], new)) continue;
        r->m_hi = new->candidate.record.m_hi;
        r->rank = min_of(r->rank, new->candidate.record.rank);
        return 1;
    }
    return 0;
}

qrt_status choices_add(struct choices *out, struct template_set *set, const struct candidate *c)
{
    struct choice new = {.candidate = *c};
    if (out->count == out->capacity) {
        const size_t capacity = out->capacity ? 2 * out->capacity : 16;
        struct choice *items = realloc(out->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "no memory for %zu kernels", capacity);
        out->items = items;
        out->capacity = capacity;
    }
    TRY(unit_make(set, c, &new.unit));
    out->items[out->count++] = new;
    return QRT_OK;
}

static qrt_status add(const struct chooser *ch, const struct candidate *c, int lo, int hi)
{
    struct choices *out = ch->out;
    struct candidate new = *c;
    new.record.m_lo = lo;
    new.record.m_hi = hi;
    TRY(template_launch(&new));
    TRY(choices_add(out, ch->set, &new));
    if (merge(ch, &out->items[out->count - 1])) unit_free(&out->items[--out->count].unit);
    return QRT_OK;
}

/* ---- ranges ---- */

/* Take the best of the candidates that reach from lo as far as any does, at most to hi. `covered`
 * gets the last row that has one, 0 when none starts at lo. */
static qrt_status choose_from(const struct chooser *ch, struct candidate *c, size_t count, int lo,
                              int hi, int *covered)
{
    int furthest = 0, left = max_of(ch->options->top, 1), taken = 0;
    for (size_t i = 0; i < count; i++)
        if (c[i].record.m_lo <= lo) furthest = max_of(furthest, min_of(hi, c[i].record.m_hi));
    *covered = furthest;
    if (furthest < lo) return QRT_OK;
    for (int any = 0; any <= 1 && taken == 0; any++) /* a bad kernel is better than none */
        for (size_t i = 0; i < count && left > taken; i++) {
            if (c[i].record.m_lo > lo || c[i].record.m_hi < furthest) continue;
            if (!any && is_rejected(ch->options->rejected, &c[i], lo, furthest)) continue;
            TRY(add(ch, &c[i], lo, furthest));
            taken++;
        }
    return QRT_OK;
}

static qrt_status choose_rows(const struct chooser *ch, struct candidate *c, size_t count,
                              const struct pipeline_range *range)
{
    for (int lo = range->lo; lo <= range->hi;) {
        int covered;
        char name[OP_NAME_BYTES];
        TRY(choose_from(ch, c, count, lo, range->hi, &covered));
        if (covered < lo) {
            if (!overlaps(lo, range->hi, ch->request)) return QRT_OK;
            op_desc_name(&ch->request->desc, name);
            return error_set(QRT_E_SCHEME, "%s on %s: no template is made for M = %d", name,
                             ch->request->arch->name, lo);
        }
        lo = covered + 1;
    }
    return QRT_OK;
}

static qrt_status choose_range(const struct chooser *ch, const struct pipeline_range *range)
{
    struct request r = *ch->request;
    struct candidate *candidates;
    size_t count;
    r.m_lo = range->lo;
    r.m_hi = range->hi;
    qrt_status status = template_shortlist(ch->set, &r, &candidates, &count);
    if (status == QRT_E_SCHEME && !overlaps(range->lo, range->hi, ch->request)) return QRT_OK;
    TRY(status);
    status = choose_rows(ch, candidates, count, range);
    free(candidates);
    return status;
}

static void drop_unwanted(const struct chooser *ch)
{
    struct choices *out = ch->out;
    size_t kept = ch->first;
    for (size_t i = ch->first; i < out->count; i++) {
        const struct entry_record *r = &out->items[i].candidate.record;
        if (overlaps(r->m_lo, r->m_hi, ch->request))
            out->items[kept++] = out->items[i];
        else
            unit_free(&out->items[i].unit);
    }
    out->count = kept;
}

qrt_status choose(struct template_set *set, const struct request *request,
                  const struct choose_options *options, struct choices *out)
{
    const struct chooser ch = {
        .set = set, .request = request, .options = options, .out = out, .first = out->count};
    for (size_t i = 0; i < RANGE_COUNT; i++) TRY(choose_range(&ch, &ranges[i]));
    drop_unwanted(&ch);
    return QRT_OK;
}
