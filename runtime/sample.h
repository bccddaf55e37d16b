/* sample.h -- choice of a token from logits: the definition that qrt_sample() and ref share */
#ifndef QRT_SAMPLE_H
#define QRT_SAMPLE_H

#include <stdint.h>

/* What qk_sample (kernel_abi.h) asks of one row. */
struct sample_rule {
    float temperature, min_p;
    uint64_t seed;
    uint32_t counter;
};

/* What logit i of N competes with; -infinity when min_p cuts it. */
double sample_score(const struct sample_rule *rule, const float *logit, float max_logit, int i);

/* The smallest i of the largest score; NaN logits never win. */
int sample_row(const struct sample_rule *rule, const float *logit, int N);
float sample_max(const float *logit, int N); /* -infinity when there is no number */

#endif
