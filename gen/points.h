/* points.h -- linears to measure: what a command line asks for, at each of its weights and rows
 *
 * The requests are asked.h's, of them the linears; the weights those of --shape, of the model, or of
 * a layer of Llama-3-8B; the rows those of --m.
 */
#ifndef QGEN_POINTS_H
#define QGEN_POINTS_H

#include "asked.h"
#include "tuner.h"

struct points {
    struct tuner_point *items;
    size_t count, capacity;
};

/* Rows of a table of struct cli_option that asked.h has in other words; `o` is a struct
 * asked_options, `list` a const char *. */
/* clang-format off */
#define POINTS_OPTIONS(o, list) \
    {"bits", 'b', CLI_INT, &(o).bits, "B", "bits of a weight: 2 to 8", 0, 0}, \
    {"group", 'g', CLI_INT, &(o).group, "G", \
     "weights that share a scale: 32, 64, 128 .. ; -1: all of a row", 0, 0}, \
    {"zero", 'z', CLI_STRING, &(o).zero, "none|int|float", "zero point of --bits (none)", 0, 0}, \
    {"scheme", 's', CLI_STRING, &(o).schemes, "S[,S]", "schemes by name instead: w4g128 ..", 0, 0}, \
    {"request", 0, CLI_STRING, &(o).requests, "R[,R]", \
     "linears by name instead: linear.w4g128.f16.f16 ..", 0, 0}, \
    {"act", 0, CLI_STRING, &(o).act, "f16|bf16|i8|e4m3|f32", "activations", 0, 0}, \
    {"shape", 0, CLI_STRING, &(o).shapes, "NxK[,..]", \
     "weights [N, K] (those of a layer of Llama-3-8B)", 0, 0}, \
    {"m", 'm', CLI_STRING, &(list), "M[,M]", "rows of activations (1,2,4,8,16,32,64,256)", 0, 0}
/* clang-format on */

/* `asked` without archs and rows: they are filled in. `rows`: NULL, the default ones. */
qrt_status points_collect(struct asked_options *asked, const char *rows, const struct arch *arch,
                          struct points *out);
void points_free(struct points *p);

#endif
