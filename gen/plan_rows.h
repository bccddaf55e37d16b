/* plan_rows.h -- the results of `qgen plan` as JSON: rows, what goes with them, a claim, the article
 *
 * Rates and bytes in JSON are tokens a second, bytes, seconds, US dollars; what is not known is null.
 */
#ifndef QGEN_PLAN_ROWS_H
#define QGEN_PLAN_ROWS_H

#include <jansson.h>

#include "planner.h"
#include "records.h"
#include "table.h"

enum { PLAN_LIST_MOST = 32 };

/* What was asked for. */
struct plan_request {
    struct plan_model model;
    struct gpus table;
    const struct gpu *gpus[PLAN_LIST_MOST]; /* into the table */
    double prices[PLAN_LIST_MOST];          /* of a card of each; 0: not known */
    struct plan_scheme schemes[PLAN_LIST_MOST];
    int batches[PLAN_LIST_MOST];
    int gpu_count, scheme_count, batch_count;
    double context, prompt, utilisation;
    int cards;             /* 0: the fewest that hold it */
    enum plan_split split; /* of more than one card */
    struct records measured;
};

/* {model {..}, rows [..], about [..]}: a row for each GPU, scheme and batch; about each GPU and scheme
 * what does not depend on the batch: cards, crossover, quality, kernels, measurements. */
qrt_status plan_rows(const struct plan_request *q, json_t **result);

/* {claims [..], possible}: whether `tokens_s` can be, at each GPU, scheme and batch on q->cards cards
 * (0: one). */
qrt_status plan_claims(const struct plan_request *q, double tokens_s, json_t **result);

/* {rows [..]}: the cost table of the article that the project answers, beside the ceilings; with
 * sequences of q->context tokens. */
qrt_status plan_article(const struct plan_request *q, json_t **result);

/* For people. */
void plan_rows_print(const json_t *result);
void plan_claims_print(const json_t *result);
void plan_article_print(const json_t *result);

/* Columns of their tables, for other forms. */

extern const struct table_column plan_columns[], plan_claim_columns[], plan_article_columns[];

#endif
