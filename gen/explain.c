/* explain.c -- a ranking in words and numbers: what was tried, what won, and why */
#include "explain.h"

#include <stdio.h>

enum { WHY_BYTES = 512 };

void explain_shape(int N, int K, char out[EXPLAIN_NAME_BYTES])
{
    if (N > 0)
        snprintf(out, EXPLAIN_NAME_BYTES, "%dx%d", N, K);
    else
        snprintf(out, EXPLAIN_NAME_BYTES, "any");
}

void explain_rows(int m_lo, int m_hi, char out[EXPLAIN_NAME_BYTES])
{
    if (m_hi >= SEARCH_M_MAX)
        snprintf(out, EXPLAIN_NAME_BYTES, m_lo == 1 ? "any" : "%d..", m_lo);
    else if (m_lo == m_hi)
        snprintf(out, EXPLAIN_NAME_BYTES, "%d", m_lo);
    else
        snprintf(out, EXPLAIN_NAME_BYTES, "%d..%d", m_lo, m_hi);
}

static const struct entry_record *record_of(const struct ranking *r, size_t candidate)
{
    return &r->search.items[candidate].candidate.record;
}

/* ---- text ---- */

static void print_head(const struct ranking *r)
{
    char name[OP_NAME_BYTES];
    op_desc_name(&r->desc, name);
    printf("%s on %s, ranked for %s without a device: orders, no claims about times\n", name,
           r->arch->name, r->gpu.title);
    printf("  %zu candidates of %zu texts, all ranked, %zu of the texts counted now, in %.1f s\n",
           r->search.count, r->search.text_count, r->compiled, r->seconds);
    printf("  of %zu tune points in all ranges of rows, not tried:", r->search.refused.points);
    for (int i = 0; i < REFUSED_COUNT; i++)
        printf(" %zu by %s%s", r->search.refused.by[i],
               template_refusal_name((enum template_refusal)i), i + 1 < REFUSED_COUNT ? "," : "");
    printf("; %zu spill registers\n", r->spilling);
}

static void print_row(const struct ranking *r, const struct ranking_row *row)
{
    char shape[EXPLAIN_NAME_BYTES], rows[EXPLAIN_NAME_BYTES], why[WHY_BYTES];
    const struct entry_record *winner = record_of(r, row->winner);
    explain_shape(row->N, row->K, shape);
    explain_rows(row->m_lo, row->m_hi, rows);
    ranking_explain(r, row, why, sizeof why);
    printf("  %-12s %-10s  %s %s\n", shape, rows, winner->template_, winner->tune);
    printf("      %s\n", why);
    if (row->second != SIZE_MAX)
        printf("      next: %s %s, %+.1f %%; at worst %.1f %% behind the best of its rows\n",
               record_of(r, row->second)->template_, record_of(r, row->second)->tune,
               100 * row->second_loss, 100 * row->loss);
}

void explain_print(const struct ranking *r)
{
    print_head(r);
    for (size_t i = 0; i < r->row_count; i++) print_row(r, &r->rows[i]);
}

/* ---- JSON ---- */

static json_t *refused_json(const struct template_refusals *refused)
{
    json_t *object = json_object();
    for (int i = 0; i < REFUSED_COUNT; i++)
        json_object_set_new(object, template_refusal_name((enum template_refusal)i),
                            json_integer((json_int_t)refused->by[i]));
    return object;
}

static json_t *cost_json(const struct cost *c)
{
    json_t *units = json_object();
    for (int u = 0; u < COST_UNITS; u++)
        json_object_set_new(units, cost_unit_name((enum cost_unit)u), json_real(c->by_unit[u]));
    return json_pack("{sf ss so sI si sf sf sf}", "model_seconds", c->seconds, "bound",
                     cost_unit_name(c->bound), "by_unit", units, "blocks", (json_int_t)c->blocks,
                     "resident", c->resident, "waves", c->waves, "filled", c->filled, "fixed",
                     c->fixed);
}

static json_t *candidate_json(const struct ranking *r, size_t candidate, const struct cost *cost,
                              int has_cost)
{
    const struct entry_record *record = record_of(r, candidate);
    return json_pack("{ss ss so*}", "template", record->template_, "tune", record->tune, "cost",
                     has_cost ? cost_json(cost) : NULL);
}

static json_t *row_json(const struct ranking *r, const struct ranking_row *row)
{
    char shape[EXPLAIN_NAME_BYTES], why[WHY_BYTES];
    explain_shape(row->N, row->K, shape);
    ranking_explain(r, row, why, sizeof why);
    json_t *object = json_pack("{ss s[ii] so sf ss}", "shape", shape, "m", row->m_lo, row->m_hi,
                               "winner", candidate_json(r, row->winner, &row->cost, row->N > 0),
                               "loss", row->loss, "why", why);
    if (object && row->second != SIZE_MAX) {
        json_object_set_new(object, "second",
                            candidate_json(r, row->second, &row->second_cost, row->N > 0));
        json_object_set_new(object, "second_loss", json_real(row->second_loss));
    }
    return object;
}

json_t *explain_json(const struct ranking *r)
{
    char name[OP_NAME_BYTES];
    json_t *rows = json_array();
    op_desc_name(&r->desc, name);
    for (size_t i = 0; i < r->row_count; i++) json_array_append_new(rows, row_json(r, &r->rows[i]));
    return json_pack("{ss ss ss sI sI sI sI sI so sf so}", "request", name, "arch", r->arch->name,
                     "gpu", r->gpu.name, "candidates", (json_int_t)r->search.count, "texts",
                     (json_int_t)r->search.text_count, "counted", (json_int_t)r->compiled,
                     "spilling", (json_int_t)r->spilling, "points",
                     (json_int_t)r->search.refused.points, "refused",
                     refused_json(&r->search.refused), "seconds", r->seconds, "winners", rows);
}
