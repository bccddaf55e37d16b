/* engine.h -- a model, a device, and the kernels that the one needs on the other
 *
 * What `run`, `eval` and others do first: a model file that is not packed is packed into the cache
 * (model_cache.h); kernels that the model needs come from a bundle, from the store, or are generated
 * now.
 * Owns: all it opens; engine_close() in the end.
 */
#ifndef QGEN_ENGINE_H
#define QGEN_ENGINE_H

#include "bundle_file.h"
#include "cli.h"
#include "qrt.h"

struct engine_options {
    const char *model;  /* path */
    const char *device; /* as for qrt_device_open(); NULL: "cpu" */
    int threads;        /* of the cpu; 0: one per processor */
    int max_m;          /* rows in one pass; 0: 256 */
    int exact;          /* activations stay in f32 where the device can do that */
    int offline;        /* a kernel that is not stored is QRT_E_KERNEL with the command to run */
    /* A bundle to take kernels from, and who vouches for it: then none is stored or generated. */
    const char *kernels;
    struct bundle_trust trust;
    const struct cli *cli;
};

/* Rows of a table of struct cli_option: where kernels come from. */
#define ENGINE_BUNDLE_OPTIONS(path, who)                                                       \
    {"kernels", 0,      CLI_STRING,                                                            \
     &(path),   "K.qk", "take kernels from this bundle; nothing is compiled",                  \
     0,         0},                                                                            \
        {"key", 0, CLI_STRING, &(who).key, "PUB", "with --kernels: who has to have signed it", \
         0,     0},                                                                            \
    {                                                                                          \
        "trust", 0, CLI_FLAG, &(who).is_said, NULL,                                            \
            "with --kernels: run it unsigned, its source is your own", 0, 0                    \
    }

struct engine {
    qrt *rt;
    qrt_device *device;
    qrt_bundle *bundle; /* NULL: kernels come from the store */
    qrt_model *model;
    qrt_model_info model_info;
    qrt_device_info device_info;
    int has_text;                /* the model has a tokenizer; else it takes and gives ids only */
    qrt_session_options session; /* of its sessions, but for the context */
    int compiled, reused;        /* kernels */
};

/* On failure nothing stays open. */
qrt_status engine_open(const struct engine_options *options, struct engine *out);
void engine_close(struct engine *e);

/* A session for `context` positions; 0: the default. */
qrt_status engine_session(const struct engine *e, int context, qrt_session **out);

/* Token ids of a text, in front of it bos when `start` is set and the model wants it; free() *ids. */
qrt_status engine_tokenize(const struct engine *e, const char *text, size_t bytes,
                           int parse_special, int start, int **ids, size_t *count);

/* Token ids from a text file: decimal numbers between white space, commas or brackets. */
qrt_status engine_read_ids(const struct engine *e, const char *path, int **ids, size_t *count);

#endif
