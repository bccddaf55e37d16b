/* plan_article.c -- a published cost table of Llama 3 70B, recomputed beside what physics allows
 *
 * The table is a cloud provider's, from its article on quantization for inference; it states neither
 * batch nor context.  Each row is one method on one machine at a price.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "plan_rows.h"

static const struct article_row {
    const char *method, *scheme, *gpu;
    int cards;
    double price_hour, tokens_s, dollars; /* of the machine; said per million tokens */
} article[] = {
    {"FP16", "f16", "a100", 2, 2.98, 180, 4.60},
    {"INT8", "int8", "a100", 1, 1.49, 240, 1.72},
    {"GPTQ 4-bit", "w4g128", "rtx4090", 1, 0.18, 48, 1.04},
    {"AWQ 4-bit", "w4g128z", "a100-40gb", 1, 1.20, 190, 1.75},
    {"FP8", "fp8", "h100", 1, 2.20, 420, 1.45},
};
enum { ARTICLE_ROWS = sizeof article / sizeof *article };

/* Said to the cent: the computed figure may round either way. */
#define CENT 0.0101

static double computed_dollars(const struct article_row *a)
{
    return a->price_hour / 3600 / a->tokens_s * 1e6;
}

/* GPUs of the table that hold it on one card. */
static void single_cards(const struct plan_request *q, const struct plan_case *c, char *out,
                         size_t bytes)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < q->table.count && used + GPU_NAME_BYTES + 2 < bytes; i++) {
        struct plan_case one = *c;
        one.gpu = &q->table.items[i];
        if (plan_cards(&one, PLAN_LAYERS) == 1)
            used +=
                (size_t)snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", one.gpu->name);
    }
}

/* What holds it instead: more of the same cards, or a larger one. */
static void set_instead(json_t *row, const struct plan_request *q, const struct plan_case *c)
{
    char names[400], text[700];
    struct plan_case more = *c;
    struct plan_result layers, tensor;
    more.cards = plan_cards(c, PLAN_LAYERS);
    if (more.cards == 0) return;
    more.split = PLAN_LAYERS;
    plan_compute(&more, &layers);
    more.split = PLAN_TENSOR;
    plan_compute(&more, &tensor);
    single_cards(q, c, names, sizeof names);
    snprintf(text, sizeof text,
             "%d x %s (at batch 1 at most %.1f tokens/s split by layers, %.1f by tensors); on one "
             "card: %s",
             more.cards, c->gpu->name, layers.decode, tensor.decode, names);
    json_object_set_new(row, "instead", json_string(text));
}

/* The least batch that reaches the rate with sequences of `context` tokens, and whether its keys and
 * values fit; null: no batch does. */
static void set_batch(json_t *row, struct plan_case c, double tokens_s, double context,
                      const char *key, const char *fits_key)
{
    struct plan_result r;
    c.context = context;
    c.batch = plan_batch_for(&c, tokens_s);
    const int found = c.batch > 0;
    if (found) plan_compute(&c, &r);
    json_object_set_new(row, key, found ? json_integer(c.batch) : json_null());
    json_object_set_new(row, fits_key, found ? json_boolean(r.fits) : json_null());
}

static qrt_status row_of(const struct plan_request *q, const struct article_row *a, json_t **out)
{
    struct plan_scheme scheme;
    struct plan_case c = {.model = &q->model,
                          .scheme = &scheme,
                          .gpu = gpus_find(&q->table, a->gpu),
                          .split = a->cards > 1 ? PLAN_TENSOR : PLAN_ONE,
                          .cards = a->cards,
                          .batch = 1,
                          .prompt = q->prompt,
                          .utilisation = 1};
    struct plan_result r;
    char machine[64];
    if (!c.gpu) return error_set(QRT_E_ARGUMENT, "--article: the table has no GPU '%s'", a->gpu);
    TRY(plan_scheme_parse(a->scheme, &q->model, &scheme));
    plan_compute(&c, &r);
    snprintf(machine, sizeof machine, "%d x %s", a->cards, a->gpu);
    *out = json_pack(
        "{ss ss ss sf sf sf sf sb sf sf sb sb sf sf}", "method", a->method, "scheme", a->scheme,
        "machine", machine, "price_hour", a->price_hour, "said_tokens_s", a->tokens_s,
        "said_dollars", a->dollars, "computed_dollars", computed_dollars(a), "dollars_agree",
        fabs(computed_dollars(a) - a->dollars) < CENT, "ceiling_tokens_s", r.decode, "ratio",
        a->tokens_s / r.decode, "possible_at_1", r.fits && a->tokens_s <= r.decode, "fits", r.fits,
        "need_bytes", r.need, "memory_bytes", r.have);
    if (!*out) return error_set(QRT_E_MEMORY, "no memory for a table");
    json_object_set_new(*out, "dollars_at_1", json_real(a->price_hour / 3600 / r.decode * 1e6));
    set_batch(*out, c, a->tokens_s, 0, "least_batch", "least_batch_fits");
    set_batch(*out, c, a->tokens_s, q->context, "least_batch_ctx", "least_batch_ctx_fits");
    if (!r.fits) set_instead(*out, q, &c);
    return QRT_OK;
}

qrt_status plan_article(const struct plan_request *q, json_t **result)
{
    json_t *rows = json_array();
    qrt_status status = QRT_OK;
    for (int i = 0; i < ARTICLE_ROWS && status == QRT_OK; i++) {
        json_t *row = NULL;
        status = row_of(q, &article[i], &row);
        if (row) json_array_append_new(rows, row);
    }
    *result = json_pack("{ss sf so}", "model", q->model.title, "context", q->context, "rows", rows);
    if (status == QRT_OK && *result) return QRT_OK;
    json_decref(*result);
    return status != QRT_OK ? status : error_set(QRT_E_MEMORY, "no memory for a table");
}
