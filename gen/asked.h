/* asked.h -- the kernels that a command line asks for: options that several commands share
 *
 * Archs, then one way to say what for: bits and group, schemes, a model, or requests by name; and
 * for which rows and shapes.  `build` and `bundle` put ASKED_OPTIONS(their struct) into their table
 * of options, look at asked_problem() first, and get requests for the pipeline from asked_collect().
 * Owns: struct asked its requests; the options point into argv.
 */
#ifndef QGEN_ASKED_H
#define QGEN_ASKED_H

#include "cli.h"
#include "pipeline.h"
#include "request_set.h"

enum { ASKED_MAX_ARCHS = 16, ASKED_MAX_SHAPES = 64 };

struct asked_options {
    const char *archs, *schemes, *model, *requests, *zero, *act, *rows, *shapes, *gpu, *gpus;
    int bits, group;
};

/* Rows of a table of struct cli_option; `o` is a struct asked_options. */
/* clang-format off */
#define ASKED_OPTIONS(o) \
    {"arch", 'a', CLI_STRING, &(o).archs, "A[,A]", \
     "what the kernels will run on: sm_75 .. sm_120, x86-64-v3, x86-64-v4,\n" \
     "native (this machine's CPU); `qgen targets` lists them", 0, 0}, \
    {"bits", 'b', CLI_INT, &(o).bits, "B", "bits of a weight: 2 to 8", 0, 0}, \
    {"group", 'g', CLI_INT, &(o).group, "G", \
     "weights that share a scale: 32, 64, 128 .. (a multiple of 16);\n-1: all of a row", 0, 0}, \
    {"zero", 'z', CLI_STRING, &(o).zero, "none|int|float", \
     "zero point: none (symmetric), int per group, or a float minimum (none)", 0, 0}, \
    {"scheme", 's', CLI_STRING, &(o).schemes, "S[,S]", \
     "schemes by name instead: w4g128, w4g32m, w8gc.bf16; `qgen schemes`\nlists them", 0, 0}, \
    {"model", 0, CLI_STRING, &(o).model, "F", \
     "what this model needs instead: a packed model or GGUF", 0, 0}, \
    {"request", 0, CLI_STRING, &(o).requests, "R[,R]", \
     "single ops by name instead: linear.w4g128.f16.f16, glu.silu.f16", 0, 0}, \
    {"act", 0, CLI_STRING, &(o).act, "f16|bf16|i8|e4m3|f32", \
     "activations; i8, e4m3: quantized on the fly\n(GPUs: f16; CPUs: i8 and f32)", 0, 0}, \
    {"m", 'm', CLI_STRING, &(o).rows, "M[..M]", \
     "rows of activations (tokens): 1, or 1..4096 (any)", 0, 0}, \
    {"shape", 0, CLI_STRING, &(o).shapes, "NxK[,..]", \
     "weights [N, K] that linear kernels for a GPU are ranked for (a model's\n" \
     "own; else those of Llama-3-8B, whole and in two parts, and any other)", 0, 0}, \
    {"gpu", 0, CLI_STRING, &(o).gpu, "NAME", \
     "the GPU they are ranked for (the first of the table for the arch)", 0, 0}, \
    {"gpus", 0, CLI_STRING, &(o).gpus, "FILE", "a table of GPUs instead of the program's", 0, 0}
/* clang-format on */

struct asked {
    struct request_set set;
    const struct arch *archs[ASKED_MAX_ARCHS];
    size_t arch_count;
    struct shape shapes[ASKED_MAX_SHAPES];
    size_t shape_count;
    int m_lo, m_hi;
    const char *gpu, *gpus; /* of the options */
};

/* What is wrong with how the options go together; NULL: nothing. */
const char *asked_problem(const struct asked_options *options);
/* The same where archs need not be named. */
const char *asked_what_problem(const struct asked_options *options);

/* Requests for all that is asked for. A model file that is not packed is packed into the cache, by
 * `threads` threads (0: one per processor). */
qrt_status asked_collect(const struct asked_options *options, int threads, struct asked *out);
void asked_free(struct asked *asked);

/* Kernels for them, by `how`, with progress on stderr called `what`; shapes and GPU are those of the
 * options. */
qrt_status asked_make(const struct asked *asked, const struct pipeline_options *how,
                      const struct cli *cli, const char *what, struct pipeline_result *out);

#endif
