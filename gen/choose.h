/* choose.h -- which tune points of a request become kernels, for which rows
 *
 * Templates are asked about each fixed range of M in turn; the best by rank that is made for all of
 * it is taken, or where none is, whoever reaches furthest.  Neighbouring ranges that get the same
 * text become one choice.  When shapes are given, a linear kernel for a GPU has to fill the
 * multiprocessors at each of them, if any of its range does: small matrices then get narrower tiles
 * or a split of K.  All ranges are looked at, so that what is merged does not depend on the
 * rows that are asked for.
 */
#ifndef QGEN_CHOOSE_H
#define QGEN_CHOOSE_H

#include "unit.h"

struct choice {
    struct candidate candidate; /* its record's rows are those it was chosen for */
    struct unit unit;
};

struct choices {
    struct choice *items;
    size_t count, capacity;
};

/* Tune points that turned out bad: kernels by op, arch, template, tune point and rows. */
struct rejected {
    struct entry_record *records;
    size_t count;
};

/* A weight [N, K]. */
struct shape {
    int N, K;
};

struct choose_options {
    int top; /* per range; 0: 1 */
    const struct shape *shapes;
    size_t shape_count;
    const struct rejected *rejected; /* passed over while there are others; or NULL */
};

/* Add what is chosen for a request.  QRT_E_SCHEME when rows of it have no template. */
qrt_status choose(struct template_set *set, const struct request *request,
                  const struct choose_options *options, struct choices *out);
void choices_free(struct choices *c);

/* 1 when it was new; 0 when it was known, or there is no memory to note it. */
int rejected_add(struct rejected *r, const struct entry_record *record);
void rejected_free(struct rejected *r);

#endif
