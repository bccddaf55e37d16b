/* choose.h -- which tune points of a request become kernels by their templates' own order
 *
 * For ops and archs that are not ranked, and where no ranking can be made (decide.h).
 * Templates are asked about each fixed range of M in turn; the best by rank that is made for all of
 * it is taken, or where none is, whoever reaches furthest.  Neighbouring ranges that get the same
 * text become one choice.  All ranges are looked at, so that what is merged does not depend on the
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
    int top;                         /* per range; 0: 1 */
    const struct rejected *rejected; /* passed over while there are others; or NULL */
};

/* Add what is chosen for a request.  QRT_E_SCHEME when rows of it have no template. */
qrt_status choose(struct template_set *set, const struct request *request,
                  const struct choose_options *options, struct choices *out);
void choices_free(struct choices *c);

/* Render a candidate, whose launch is filled in, and add it. */
qrt_status choices_add(struct choices *c, struct template_set *set, const struct candidate *one);

/* 1 when it was new; 0 when it was known, or there is no memory to note it. */
int rejected_add(struct rejected *r, const struct entry_record *record);
void rejected_free(struct rejected *r);
/* Whether a kernel for the same op, scheme, types and arch is among them. */
int rejected_about(const struct rejected *r, const struct request *request);

#endif
