/* decide.h -- by which winners the kernels of a request are made: tables, or a ranking made now
 *
 *     winners of this signature (tuned.h) for all shapes and rows asked for?    those
 *     else, where that is allowed, a ranking (ranking.h), kept for the next time
 *     else, winners for any shape, if there are some
 *     else none: the caller goes by the templates' own order (choose.h)
 *
 * A row of a table is only believed when a template has its tune point.  Rows that are stale, and a
 * ranking that cannot be made, are one note and never a failure.
 * Threads: one caller.
 */
#ifndef QGEN_DECIDE_H
#define QGEN_DECIDE_H

#include "ranking.h"

enum decide_rank {
    DECIDE_NEVER,   /* tables only */
    DECIDE_MISSING, /* rank what tables lack */
    DECIDE_ALWAYS,  /* whatever they have */
};

struct decide_options {
    struct ranking_options ranking; /* its folder is the decider's business */
    enum decide_rank rank;
    const char *store;  /* the store's folder */
    const char *device; /* rows measured on it are taken too: its name, "*": any; NULL: none; where
                           nothing is ranked, rows ranked for its GPU go before those for the arch */
    int top;            /* candidates per fixed range of M that become kernels; above 1: rank */
};

struct decider;

/* The set and the compiler are the caller's; they outlive the decider. */
qrt_status decide_open(const struct decide_options *o, struct template_set *set,
                       struct compiler *compiler, struct decider **out);
void decide_close(struct decider *d); /* NULL is allowed */

/* Kernels of a request, each once, and the rows that send work to them. */
struct decision {
    struct choices choices;
    struct decision_row {
        struct winner winner;
        size_t choice;
    } * rows;
    size_t row_count;
};

/* choices.count 0: nothing was decided. */
qrt_status decide(struct decider *d, const struct request *r, struct decision *out);
void decision_free(struct decision *d);

/* What there is to say: "", or one line about what was passed over. */
const char *decide_note(const struct decider *d);

/* The rankings that were made, in the order of requests; the caller takes them over. */
struct ranking *decide_rankings(struct decider *d, size_t *count);

#endif
