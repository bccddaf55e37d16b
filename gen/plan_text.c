/* plan_text.c -- the results of `qgen plan` for people: tables and sentences */
#include <stdio.h>
#include <string.h>

#include "plan_rows.h"
#include "table.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}
static double number_of(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}
static int is_true(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

/* ---- rows ---- */

const struct table_column plan_columns[] = {
    {"gpu", "gpu", NULL, 0},
    {"scheme", "scheme", NULL, 0},
    {"batch", "batch", "%.0f", 0},
    {"cards", "cards", "%.0f", 0},
    {"split", "split", NULL, 0},
    {"fits", "fits", NULL, 0},
    {"memory", "GB a card", NULL, 0},
    {"ceiling_tokens_s", "ceiling tok/s", "%.1f", 0},
    {"expected_tokens_s", "expected", "%.1f", 0},
    {"bound", "bound by", NULL, 0},
    {"prefill_tokens_s", "prefill tok/s", "%.0f", 0},
    {"first_token_s", "first token s", "%.3f", 0},
    {"dollars_out", "$/M out", "%.2f", 0},
    {"dollars_in", "$/M in", "%.3f", 0},
    {.key = NULL},
};

static void print_gpu(const json_t *a)
{
    printf("\n%s: %s", text_of(a, "title"), text_of(a, "source"));
    if (number_of(a, "price_card") > 0)
        printf("\n  $%.2f a card and hour (%s%s%s)", number_of(a, "price_card"),
               text_of(a, "price_date"), *text_of(a, "price_date") ? ", " : "",
               text_of(a, "price_source"));
    printf("\n");
}

static void print_cards(const json_t *a)
{
    const json_t *tensor = json_object_get(a, "cards_tensor"),
                 *layers = json_object_get(a, "cards_layers");
    if (json_is_null(layers))
        printf("more cards than layers");
    else if (json_number_value(layers) == 1)
        printf("one card holds it");
    else if (json_is_null(tensor))
        printf("%.0f cards split by layers, none by tensors", json_number_value(layers));
    else
        printf("%.0f cards split by layers, %.0f by tensors", json_number_value(layers),
               json_number_value(tensor));
}

/* The lines below a scheme's first begin under its text. */
#define NEXT "\n          "

static void print_kernels(const json_t *k)
{
    const int wanted = (int)number_of(k, "wanted"), stored = (int)number_of(k, "stored");
    if (wanted == 0) {
        printf("kernels not counted: `qgen build --model FILE` makes a file's own");
        return;
    }
    printf("%d of %d kernels are in the store", stored, wanted);
    if (*text_of(k, "build")) printf("; the rest: %s", text_of(k, "build"));
    printf(NEXT "of %.0f linears (shapes at these batches) %.0f are measured on it, %.0f chosen by "
                "the model",
           number_of(k, "points"), number_of(k, "measured"), number_of(k, "chosen"));
    if (*text_of(k, "tune")) printf(";" NEXT "there: %s", text_of(k, "tune"));
}

static void print_about(const json_t *a)
{
    printf("  %-8s%.4g bits a weight, products in %s; ", text_of(a, "scheme"), number_of(a, "bits"),
           text_of(a, "multiplies"));
    print_cards(a);
    printf(" at batch %.0f" NEXT "up to %.0f rows a linear is bound by memory, above by compute",
           number_of(a, "batch"), number_of(a, "crossover_batch"));
    if (*text_of(a, "passed_by"))
        printf("; from batch %.0f on the ceiling of %s is higher", number_of(a, "passed_at_batch"),
               text_of(a, "passed_by"));
    if (number_of(a, "efficiency") > 0)
        printf(NEXT "expected: %.0f %% of the ceiling, as %d shapes measured at %d rows",
               100 * number_of(a, "efficiency"), (int)number_of(a, "efficiency_shapes"),
               (int)number_of(a, "efficiency_m"));
    else
        printf(NEXT "no measurement: ceiling only");
    printf(NEXT);
    print_kernels(json_object_get(a, "kernels"));
    printf("\n");
}

/* Of each scheme once: the list has them for every GPU. */
static void print_quality(const json_t *about)
{
    const json_t *a, *first = json_array_get(about, 0);
    size_t i;
    printf("\nquality\n");
    json_array_foreach(about, i, a) if (strcmp(text_of(a, "gpu"), text_of(first, "gpu")) == 0)
        printf("  %-8s%s\n", text_of(a, "scheme"), text_of(a, "quality"));
}

void plan_rows_print(const json_t *result)
{
    const json_t *m = json_object_get(result, "model"), *a;
    const char *gpu = "";
    size_t i;
    printf("%s: %.4g G weights, %.4g G of them in linears; KV %.0f bytes a token\n",
           text_of(m, "title"), number_of(m, "parameters") / 1e9, number_of(m, "in_linears") / 1e9,
           number_of(m, "kv_bytes_token"));
    printf("sequences of %.0f tokens, prompts of %.0f, utilisation %.0f %%; sizes: %s\n\n",
           number_of(m, "context"), number_of(m, "prompt"), 100 * number_of(m, "utilisation"),
           text_of(m, "source"));
    table_print(json_object_get(result, "rows"), plan_columns, TABLE_TEXT);
    json_array_foreach(json_object_get(result, "about"), i, a)
    {
        if (strcmp(gpu, text_of(a, "gpu")) != 0) print_gpu(a);
        gpu = text_of(a, "gpu");
        print_about(a);
    }
    print_quality(json_object_get(result, "about"));
    printf("\nCeilings are what datasheet rates allow; nothing runs faster, most run slower.  "
           "Without a\n"
           "measurement dollars are at the ceiling: at least that much.\n");
}

/* ---- claims ---- */

const struct table_column plan_claim_columns[] = {
    {"gpu", "gpu", NULL, 0},
    {"cards", "cards", "%.0f", 0},
    {"scheme", "scheme", NULL, 0},
    {"batch", "batch", "%.0f", 0},
    {"claim_tokens_s", "claim tok/s", "%.1f", 0},
    {"ceiling_tokens_s", "ceiling tok/s", "%.1f", 0},
    {"ratio", "of ceiling", "%.2f", 0},
    {"bound", "bound by", NULL, 0},
    {"fits", "fits", NULL, 0},
    {"possible", "possible", NULL, 0},
    {.key = NULL},
};

/* Enough to tell a ratio from 1, and not more. */
static int decimals(double ratio) { return ratio < 1.1 ? 3 : ratio < 10 ? 1 : 0; }

static void print_claim(const json_t *c)
{
    const char *roof = strcmp(text_of(c, "bound"), "compute") == 0 ? "compute" : "memory";
    printf("%g tokens/s at batch %.0f on %.0f x %s, %s: ", number_of(c, "claim_tokens_s"),
           number_of(c, "batch"), number_of(c, "cards"), text_of(c, "gpu"), text_of(c, "scheme"));
    if (is_true(c, "reachable"))
        printf("%.0f %% of the %s roofline of %.4g", 100 * number_of(c, "ratio"), roof,
               number_of(c, "ceiling_tokens_s"));
    else
        printf("impossible, %.*fx above the %s roofline of %.4g", decimals(number_of(c, "ratio")),
               number_of(c, "ratio"), roof, number_of(c, "ceiling_tokens_s"));
    if (!is_true(c, "fits"))
        printf("; and it does not fit: %.1f GB for a card of %.1f GB",
               number_of(c, "need_bytes") / 1e9, number_of(c, "memory_bytes") / 1e9);
    printf("\n");
}

void plan_claims_print(const json_t *result)
{
    const json_t *claim;
    size_t i;
    printf("%s, sequences of %.0f tokens\n", text_of(result, "model"),
           number_of(result, "context"));
    json_array_foreach(json_object_get(result, "claims"), i, claim) print_claim(claim);
}

/* ---- the article ---- */

const struct table_column plan_article_columns[] = {
    {"method", "method", NULL, 0},
    {"machine", "machine", NULL, 0},
    {"price_hour", "$/h", "%.2f", 0},
    {"said_tokens_s", "said tok/s", "%.0f", 0},
    {"said_dollars", "said $/M", "%.2f", 0},
    {"computed_dollars", "computed $/M", "%.2f", 0},
    {"ceiling_tokens_s", "ceiling at batch 1", "%.1f", 0},
    {"ratio", "said / ceiling", "%.1f", 0},
    {"dollars_at_1", "$/M at batch 1", "%.2f", 0},
    {"fits", "fits", NULL, 0},
    {"least_batch", "least batch", "%.0f", 0},
    {"least_batch_ctx", "at context", "%.0f", 0},
    {.key = NULL},
};

static void print_finding(const json_t *r, double context)
{
    const json_t *batch = json_object_get(r, "least_batch_ctx");
    printf("%s on %s: ", text_of(r, "method"), text_of(r, "machine"));
    if (!is_true(r, "fits"))
        printf("does not fit, %.1f GB for a card of %.1f GB; what holds it: %s",
               number_of(r, "need_bytes") / 1e9, number_of(r, "memory_bytes") / 1e9,
               text_of(r, "instead"));
    else if (is_true(r, "possible_at_1"))
        printf("possible at batch 1");
    else
        printf("not at batch 1 (%.1fx the ceiling); at batch %.0f or more with short contexts",
               number_of(r, "ratio"), number_of(r, "least_batch"));
    if (is_true(r, "fits") && json_is_null(batch))
        printf(", at none with sequences of %.0f tokens", context);
    else if (is_true(r, "fits"))
        printf(", %.0f with sequences of %.0f tokens%s", json_number_value(batch), context,
               is_true(r, "least_batch_ctx_fits") ? "" : ", which do not fit its memory");
    if (!is_true(r, "dollars_agree"))
        printf("; its price and rate make $%.2f, not $%.2f", number_of(r, "computed_dollars"),
               number_of(r, "said_dollars"));
    printf("\n");
}

void plan_article_print(const json_t *result)
{
    const json_t *row;
    size_t i;
    printf("A cloud provider's cost table of %s (it states neither batch nor context), beside\n"
           "ceilings from datasheets; at context: sequences of %.0f tokens\n\n",
           text_of(result, "model"), number_of(result, "context"));
    table_print(json_object_get(result, "rows"), plan_article_columns, TABLE_TEXT);
    printf("\n");
    int agree = 1;
    json_array_foreach(json_object_get(result, "rows"), i, row)
    {
        print_finding(row, number_of(result, "context"));
        agree = agree && is_true(row, "dollars_agree");
    }
    if (agree) printf("Its dollars per million follow from its own prices and rates.\n");
}
