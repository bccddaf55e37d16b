/* search.h -- the search space of a request: every kernel that could serve some of its rows
 *
 * Every template that takes the request, every legal tune point of it, in each of the fixed ranges of
 * M (pipeline_ranges).  Points whose text is the same in neighbouring ranges are one candidate, made
 * for all of them; so what a kernel is made for does not depend on who asks.
 *
 *   candidates  gemv warps=8 .. M 1 | gemv warps=8 .. M 2..8 | gemm bm=16 .. split=1 | .. split=2
 *   texts            a                      b                          c                  c
 *
 * Candidates that are the same code launched alike, but for the parts of K, share a text: it is
 * compiled and counted once.  Owns: candidates and texts; a text's includes are the template set's.
 */
#ifndef QGEN_SEARCH_H
#define QGEN_SEARCH_H

#include "template.h"
#include "unit.h"

enum { SEARCH_M_MAX = 1 << 30 }; /* from here on rows have no end */

struct search_candidate {
    struct candidate candidate; /* its request's and its record's rows are all it is made for */
    size_t text;
};

/* A rendering under a name of no one candidate, and a launch with one part of K. */
struct search_text {
    struct unit unit;
    struct entry_record record; /* of the first candidate that has it, but for name and split */
    int ahead;                  /* struct candidate */
    uint8_t hash[ENTRY_KEY_BYTES];
};

struct search {
    struct search_candidate *items; /* by range of M, then by the template's rank */
    size_t count, capacity;
    struct search_text *texts;
    size_t text_count, text_capacity;
    struct template_refusals refused; /* in all ranges together */
};

/* QRT_E_SCHEME: no template makes some of the rows. */
qrt_status search_make(struct template_set *set, const struct op_desc *desc,
                       const struct arch *arch, struct search *out);
void search_free(struct search *s);

#endif
