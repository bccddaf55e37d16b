/* sample.c -- choice of a token from logits: the definition that qrt_sample() and ref share */
#include "sample.h"

#include <math.h>

#include "kernel_abi.h"
#include "qrt.h"

float sample_max(const float *logit, int N)
{
    float max = -INFINITY;
    for (int i = 0; i < N; i++)
        if (logit[i] > max) max = logit[i];
    return max;
}

double sample_score(const struct sample_rule *rule, const float *logit, float max_logit, int i)
{
    if (rule->temperature <= 0) return logit[i];
    const double value = (double)logit[i] / rule->temperature;
    const double cut = (double)max_logit / rule->temperature + log((double)rule->min_p);
    if (!(value >= cut)) return -INFINITY; /* ln 0 = -infinity: min_p 0 cuts nothing */
    const double u = (qk_hash(rule->seed, rule->counter, (unsigned)i) + 0.5) * 0x1p-32;
    return value - log(-log(u));
}

int sample_row(const struct sample_rule *rule, const float *logit, int N)
{
    const float max = sample_max(logit, N);
    int best = 0;
    double best_score = -INFINITY;
    for (int i = 0; i < N; i++) {
        const double score = sample_score(rule, logit, max, i);
        if (score > best_score) best = i, best_score = score;
    }
    return best;
}

int qrt_sample(const float *logits, int vocab, const qrt_sampling *sampling, uint32_t counter)
{
    const struct sample_rule rule = {
        .temperature = sampling->temperature,
        .min_p = sampling->min_p,
        .seed = sampling->seed,
        .counter = counter,
    };
    return sample_row(&rule, logits, vocab);
}
