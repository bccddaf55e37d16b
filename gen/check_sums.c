/* check_sums.c -- what the virtual GPU counted while kernels were proved, by family of kernels */
#include "check_sums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int check_family(const struct op_desc *d)
{
    if (d->op != OP_LINEAR) return d->op;
    return d->act == ELEM_I8 ? FAMILY_INT8 : d->act == ELEM_E4M3 ? FAMILY_FP8 : OP_LINEAR;
}

static const char *family_name(int family)
{
    if (family == FAMILY_INT8) return "linear, int8 activations";
    if (family == FAMILY_FP8) return "linear, fp8 activations";
    return family == OP_LINEAR ? "linear, 16-bit activations" : op_name((enum op)family);
}

/* 1 when no kernel before had this template and tune point. */
static int is_new_point(struct check_sums *s, const struct entry_record *r)
{
    char name[ENTRY_SYMBOL_BYTES + ENTRY_TEXT_BYTES];
    snprintf(name, sizeof name, "%s %s", r->template_, r->tune);
    for (size_t i = 0; i < s->points.count; i++)
        if (strcmp(s->points.name[i], name) == 0) return 0;
    void *grown = realloc(s->points.name, (s->points.count + 1) * sizeof *s->points.name);
    if (!grown) return 0;
    s->points.name = grown;
    memcpy(s->points.name[s->points.count++], name, sizeof name);
    return 1;
}

static double ratio(uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 0; }

static double larger(double a, double b) { return a > b ? a : b; }

void check_sums_add(struct check_sums *s, const struct entry *e, int cases, int failed,
                    const struct vgpu_counts *counts)
{
    struct check_sum *sum = &s->family[check_family(&e->record.desc)];
    sum->kernels++;
    sum->cases += cases;
    sum->failed += failed;
    sum->points += is_new_point(s, &e->record);
    vgpu_counts_add(&sum->counts, counts);
    sum->worst_sectors =
        larger(sum->worst_sectors, ratio(counts->global_sectors, counts->global_ideal_sectors));
    sum->worst_wavefronts = larger(
        sum->worst_wavefronts, ratio(counts->shared_wavefronts, counts->shared_ideal_wavefronts));
}

void check_sums_print(const struct check_sums *s)
{
    printf("%-27s %7s %6s %6s %6s %8s %6s %8s %6s %7s\n", "family", "kernels", "points", "cases",
           "failed", "sectors", "worst", "wavefr.", "worst", "tensor");
    for (int i = 0; i < CHECK_SUMS_FAMILIES; i++) {
        const struct check_sum *f = &s->family[i];
        if (f->kernels == 0) continue;
        printf("%-27s %7d %6d %6d %6d %8.2f %6.2f %8.2f %6.2f %6.1f%%\n", family_name(i),
               f->kernels, f->points, f->cases, f->failed,
               ratio(f->counts.global_sectors, f->counts.global_ideal_sectors), f->worst_sectors,
               ratio(f->counts.shared_wavefronts, f->counts.shared_ideal_wavefronts),
               f->worst_wavefronts,
               100 * ratio(f->counts.by_class[VGPU_TENSOR], f->counts.warp_instructions));
    }
}

static json_int_t number(uint64_t value) { return (json_int_t)value; }

json_t *check_sums_json(const struct check_sums *s)
{
    json_t *families = json_array();
    for (int i = 0; i < CHECK_SUMS_FAMILIES; i++) {
        const struct check_sum *f = &s->family[i];
        const struct vgpu_counts *c = &f->counts;
        if (f->kernels == 0) continue;
        json_array_append_new(
            families,
            json_pack("{ss si si si si sI sI sI sI sI sI sI sI sI sf sf}", "family", family_name(i),
                      "kernels", f->kernels, "tune_points", f->points, "cases", f->cases, "failed",
                      f->failed, "warp_instructions", number(c->warp_instructions),
                      "tensor_instructions", number(c->by_class[VGPU_TENSOR]), "global_requests",
                      number(c->global_requests), "global_sectors", number(c->global_sectors),
                      "shared_requests", number(c->shared_requests), "shared_wavefronts",
                      number(c->shared_wavefronts), "tensor_ops", number(c->tensor_ops),
                      "global_ideal_sectors", number(c->global_ideal_sectors),
                      "shared_ideal_wavefronts", number(c->shared_ideal_wavefronts),
                      "worst_sectors", f->worst_sectors, "worst_wavefronts", f->worst_wavefronts));
    }
    return families;
}

void check_sums_free(struct check_sums *s)
{
    free(s->points.name);
    memset(s, 0, sizeof *s);
}
