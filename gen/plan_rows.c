/* plan_rows.c -- the rows of `qgen plan`: each GPU, scheme and batch, and what goes with them */
#include "plan_rows.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "plan_kernels.h"

static json_t *number(double v) { return v > 0 ? json_real(v) : json_null(); }
static json_t *count(int v) { return v > 0 ? json_integer(v) : json_null(); }

static struct plan_case case_of(const struct plan_request *q, int gpu, int scheme, int batch)
{
    return (struct plan_case){.model = &q->model,
                              .scheme = &q->schemes[scheme],
                              .gpu = q->gpus[gpu],
                              .cards = 1,
                              .batch = batch,
                              .context = q->context,
                              .prompt = q->prompt,
                              .price_hour = q->prices[gpu],
                              .utilisation = q->utilisation};
}

/* The cards that were asked for, else the fewest that hold it; 0: none do. */
static int choose_cards(const struct plan_request *q, struct plan_case *c)
{
    c->cards = q->cards ? q->cards : plan_cards(c, q->split);
    c->split = c->cards > 1 ? q->split : PLAN_ONE;
    return c->cards;
}

static const char *split_name(enum plan_split s)
{
    static const char *const names[] = {"one card", "tensor", "layers"};
    return names[s];
}

/* ---- a row ---- */

static void set_rates(json_t *row, const struct plan_case *c, const struct plan_result *r,
                      const struct efficiency *e)
{
    const double share = e->share > 0 && e->share < 1 ? e->share : 1;
    json_object_set_new(row, "ceiling_tokens_s", number(r->decode));
    json_object_set_new(row, "expected_tokens_s", number(e->share > 0 ? r->decode * share : 0));
    json_object_set_new(row, "sequence_tokens_s", number(r->decode_sequence));
    json_object_set_new(row, "bound", json_string(plan_bound_name(r->bound)));
    json_object_set_new(row, "prefill_tokens_s", number(r->prefill));
    json_object_set_new(row, "first_token_s", number(r->first_token));
    json_object_set_new(row, "price_hour", number(c->price_hour * c->cards));
    json_object_set_new(row, "dollars_out", number(r->dollars_out / share));
    json_object_set_new(row, "dollars_in", number(r->dollars_in));
}

static json_t *row_of(const struct plan_request *q, int gpu, int scheme, int batch)
{
    struct plan_case c = case_of(q, gpu, scheme, batch);
    struct plan_result r;
    const int cards = choose_cards(q, &c);
    const struct efficiency e =
        records_efficiency(&q->measured, &q->table, c.gpu, &c.scheme->weight, batch);
    if (cards == 0) c.cards = 1;
    plan_compute(&c, &r);
    char memory[48];
    snprintf(memory, sizeof memory, "%.1f of %.1f", r.need / 1e9, r.have / 1e9);
    json_t *row =
        json_pack("{ss ss si so ss sb sf sf ss sf sf sf sf}", "gpu", c.gpu->name, "scheme",
                  c.scheme->name, "batch", batch, "cards", count(cards), "split",
                  split_name(c.split), "fits", cards > 0 && r.fits, "need_bytes", r.need,
                  "memory_bytes", r.have, "memory", memory, "weights_bytes", r.weights, "kv_bytes",
                  r.kv, "workspace_bytes", r.workspace, "read_bytes", r.read);
    if (row && cards > 0 && r.fits) set_rates(row, &c, &r, &e);
    return row;
}

/* ---- about a GPU and a scheme ---- */

static json_t *kernels_json(const struct plan_kernels *v)
{
    json_t *missing = json_array();
    for (int i = 0; i < v->missing_count; i++)
        json_array_append_new(missing, json_string(v->missing[i]));
    return json_pack("{si si so ss si si si ss}", "wanted", v->wanted, "stored", v->stored,
                     "missing", missing, "build", v->build, "points", v->points, "measured",
                     v->measured, "chosen", v->chosen, "tune", v->tune);
}

/* The smallest batch at which the ceiling of a scheme that starts lower passes this one's, keys and
 * values aside: it does not depend on the number of cards. */
static void set_passed_by(json_t *about, const struct plan_request *q, int gpu, int scheme)
{
    enum { BATCH_MOST = 1024 };
    for (int other = 0; other < q->scheme_count; other++) {
        struct plan_case a = case_of(q, gpu, scheme, 1), b = case_of(q, gpu, other, 1);
        struct plan_result own, its;
        a.context = b.context = 0;
        plan_compute(&a, &own);
        plan_compute(&b, &its);
        if (its.decode >= own.decode) continue;
        while (its.decode <= own.decode * 1.001 && a.batch < BATCH_MOST) {
            b.batch = ++a.batch;
            plan_compute(&a, &own);
            plan_compute(&b, &its);
        }
        const json_t *known = json_object_get(about, "passed_at_batch");
        if (a.batch == BATCH_MOST || (known && json_integer_value(known) <= a.batch)) continue;
        json_object_set_new(about, "passed_by", json_string(q->schemes[other].name));
        json_object_set_new(about, "passed_at_batch", json_integer(a.batch));
    }
}

/* Rows that kernels are needed for: of the largest batch, and of a prompt. */
static int most_rows(const struct plan_request *q)
{
    int most = (int)q->prompt;
    for (int i = 0; i < q->batch_count; i++)
        if (q->batches[i] > most) most = q->batches[i];
    return most;
}

static qrt_status about_of(const struct plan_request *q, const struct plan_stock *stock, int gpu,
                           int scheme, json_t **out)
{
    struct plan_case c = case_of(q, gpu, scheme, q->batches[0]);
    const struct efficiency e =
        records_efficiency(&q->measured, &q->table, c.gpu, &c.scheme->weight, c.batch);
    struct plan_result r;
    struct plan_kernels v;
    char quality[512];
    plan_compute(&c, &r);
    TRY(plan_quality(&q->model, c.scheme, quality, sizeof quality));
    const struct plan_kernels_query kernels = {.model = &q->model,
                                               .scheme = c.scheme,
                                               .table = &q->table,
                                               .gpu = c.gpu,
                                               .batches = q->batches,
                                               .batch_count = q->batch_count,
                                               .rows = most_rows(q)};
    plan_kernels_count(stock, &kernels, &v);
    *out = json_pack(
        "{ss ss ss ss ss so so sf sf sf ss so so si si so ss ss}", "gpu", c.gpu->name, "title",
        c.gpu->title, "source", c.gpu->source, "scheme", c.scheme->name, "multiplies",
        elem_name(plan_act(c.gpu, c.scheme)), "cards_tensor", count(plan_cards(&c, PLAN_TENSOR)),
        "cards_layers", count(plan_cards(&c, PLAN_LAYERS)), "bits", c.scheme->bits, "head_bits",
        c.scheme->head_bits, "crossover_batch", r.crossover, "quality", quality, "kernels",
        kernels_json(&v), "efficiency", number(e.share), "efficiency_shapes", e.shapes,
        "efficiency_m", e.M, "price_card", number(c.price_hour), "price_date",
        c.price_hour == c.gpu->price_hour ? c.gpu->price_date : "", "price_source",
        c.price_hour == c.gpu->price_hour ? c.gpu->price_source : "as given");
    if (!*out) return error_set(QRT_E_MEMORY, "no memory for a plan");
    json_object_set_new(*out, "batch", json_integer(c.batch));
    set_passed_by(*out, q, gpu, scheme);
    return QRT_OK;
}

static json_t *model_json(const struct plan_request *q)
{
    const struct plan_model *m = &q->model;
    return json_pack("{ss ss ss sf sf sf sf sb sf sf sf}", "name", m->name, "title", m->title,
                     "source", m->source, "parameters", plan_model_all(m), "in_linears",
                     plan_model_linears(m), "in_head", plan_model_head(m), "kv_bytes_token",
                     plan_model_kv(m, 1), "tied", m->tied, "context", q->context, "prompt",
                     q->prompt, "utilisation", q->utilisation);
}

qrt_status plan_rows(const struct plan_request *q, json_t **result)
{
    json_t *rows = json_array(), *about = json_array();
    struct plan_stock stock;
    qrt_status status = plan_stock_read(&stock);
    for (int g = 0; g < q->gpu_count && status == QRT_OK; g++)
        for (int s = 0; s < q->scheme_count && status == QRT_OK; s++) {
            json_t *one = NULL;
            for (int b = 0; b < q->batch_count; b++)
                json_array_append_new(rows, row_of(q, g, s, q->batches[b]));
            status = about_of(q, &stock, g, s, &one);
            if (one) json_array_append_new(about, one);
        }
    plan_stock_free(&stock);
    *result = json_pack("{so so so}", "model", model_json(q), "rows", rows, "about", about);
    if (status == QRT_OK && *result) return QRT_OK;
    json_decref(*result);
    return status != QRT_OK ? status : error_set(QRT_E_MEMORY, "no memory for a plan");
}

/* ---- claims ---- */

static json_t *claim_of(const struct plan_request *q, double tokens_s, int gpu, int scheme,
                        int batch)
{
    struct plan_case c = case_of(q, gpu, scheme, batch);
    struct plan_result r;
    c.cards = q->cards ? q->cards : 1;
    c.split = c.cards > 1 ? q->split : PLAN_ONE;
    plan_compute(&c, &r);
    return json_pack("{ss ss si si ss sf sf sf ss sb sb sf sf sb}", "gpu", c.gpu->name, "scheme",
                     c.scheme->name, "batch", batch, "cards", c.cards, "split", split_name(c.split),
                     "claim_tokens_s", tokens_s, "ceiling_tokens_s", r.decode, "ratio",
                     tokens_s / r.decode, "bound", plan_bound_name(r.bound), "reachable",
                     tokens_s <= r.decode, "fits", r.fits, "need_bytes", r.need, "memory_bytes",
                     r.have, "possible", tokens_s <= r.decode && r.fits);
}

qrt_status plan_claims(const struct plan_request *q, double tokens_s, json_t **result)
{
    json_t *claims = json_array();
    int possible = 1;
    for (int g = 0; g < q->gpu_count; g++)
        for (int s = 0; s < q->scheme_count; s++)
            for (int b = 0; b < q->batch_count; b++) {
                json_t *one = claim_of(q, tokens_s, g, s, q->batches[b]);
                possible = possible && json_is_true(json_object_get(one, "possible"));
                json_array_append_new(claims, one);
            }
    *result = json_pack("{ss sf sb so}", "model", q->model.title, "context", q->context, "possible",
                        possible, "claims", claims);
    return *result ? QRT_OK : error_set(QRT_E_MEMORY, "no memory for a claim");
}
