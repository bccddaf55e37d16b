/* check_sums.h -- what the virtual GPU counted while kernels were proved, by family of kernels
 *
 * A family is an op, and for linears the kind of activations that they meet.
 */
#ifndef QGEN_CHECK_SUMS_H
#define QGEN_CHECK_SUMS_H

#include <jansson.h>

#include "entry.h"
#include "vgpu/vgpu.h"

/* An op is a family, but linears are three. */
enum { FAMILY_INT8 = OP_COUNT, FAMILY_FP8, CHECK_SUMS_FAMILIES };
int check_family(const struct op_desc *d); /* OP_LINEAR: activations of 16 bits */

struct check_sums {
    struct check_sum {
        int kernels, failed, cases, points; /* points: different tune points of a template */
        struct vgpu_counts counts;
        double worst_sectors, worst_wavefronts; /* of any kernel: as many as its ideal */
    } family[CHECK_SUMS_FAMILIES];
    struct {
        char (*name)[ENTRY_SYMBOL_BYTES + ENTRY_TEXT_BYTES]; /* template and tune point seen */
        size_t count;
    } points;
};

void check_sums_add(struct check_sums *s, const struct entry *e, int cases, int failed,
                    const struct vgpu_counts *counts);
void check_sums_print(const struct check_sums *s); /* a table on stdout */
json_t *check_sums_json(const struct check_sums *s);
void check_sums_free(struct check_sums *s);

#endif
