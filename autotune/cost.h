/* cost.h -- predicted time of a linear kernel on a GPU: a model that ranks and claims nothing
 *
 * Method: a launch is rounds of resident blocks; a round takes about as long as the unit that it asks
 * most of (memory, second-level cache, tensor cores, issue slots, shared memory), or as the latency
 * that its copies in flight do not hide; the launch adds what happens once.
 * cost.c says each term's formula and the source of its constants, docs/cost-model.md how good it is.
 * Figures are seconds of an imaginary GPU of the table at boost clock: good for order and for
 * crossovers, not for quoting.
 */
#ifndef QGEN_COST_H
#define QGEN_COST_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "gpu.h"
#include "profile.h"

enum cost_unit {
    COST_MEMORY,  /* DRAM: each byte of W, x, y once */
    COST_L2,      /* all that blocks load, tiles of x and W read by several blocks included */
    COST_TENSOR,  /* matrix instructions */
    COST_ISSUE,   /* instruction slots, or warps too few to use them */
    COST_SHARED,  /* shared-memory wavefronts */
    COST_LATENCY, /* round trips that too few bytes in flight leave bare */
    COST_UNITS
};

struct cost {
    double seconds;             /* of everything, a second kernel that adds parts included */
    double by_unit[COST_UNITS]; /* seconds that each unit alone would take */
    enum cost_unit bound;       /* the largest of them */
    int64_t blocks;
    int resident;  /* blocks on a multiprocessor */
    double waves;  /* blocks over what the GPU holds at a time */
    double filled; /* share of the multiprocessors' time that has a block: tails */
    double fixed;  /* launch, prologue and epilogue, adding parts */
};

/* bytes_per_weight: of packed W with its scales, per element.  Limits of residency are those of the
 * GPU's arch, of `a`, the kernel's, where the table has none. */
void cost_linear(const struct gpu *g, const struct arch *a, const struct entry_record *r,
                 const struct profile *p, int64_t M, int64_t N, int64_t K, double bytes_per_weight,
                 struct cost *out);

const char *cost_unit_name(enum cost_unit u); /* "memory", "tensor cores" .. */

/* One or two sentences with numbers: what bounds it, waves, occupancy, and why it beats `other`
 * (NULL: nobody). */
void cost_explain(const struct cost *c, const struct cost *other, char *text, size_t bytes);

#endif
