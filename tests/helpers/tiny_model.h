/* tiny_model.h -- packed models small enough to check by hand, written by the test itself
 *
 * Independent of the toolchain's packer: it follows qm.h alone.
 */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include "qm.h"

struct tiny_options {
    struct scheme weight; /* of all matrices; zero: w4g32m */
    unsigned families;    /* bit per enum layout_family; 0: x86 */
    int layers, window;   /* 0: 2 layers, no window */
    int context;          /* 0: TINY_CONTEXT */
    int qk_norm;          /* norms on q and k, post-norms, GELU: Gemma's shape */
};

/* hidden 48, 4 heads of 16 over 2 kv heads, ffn 80, 50 tokens, context 64: no size is a multiple of
 * 32 but the heads' sum. */
enum {
    TINY_HIDDEN = 48,
    TINY_HEADS = 4,
    TINY_KV = 2,
    TINY_HEAD = 16,
    TINY_FFN = 80,
    TINY_VOCAB = 50,
    TINY_CONTEXT = 64
};

/* The file's bytes (free()). */
uint8_t *tiny_model(const struct tiny_options *options, size_t *bytes);

/* Hash the metadata again after a change. */
void tiny_rehash(uint8_t *file);

/* Write bytes to a new temporary file; its path is left in `path`. */
void tiny_write(const void *bytes, size_t count, char path[64]);

/* A random matrix in a packed section each; free() all four. */
struct packed {
    struct scheme scheme;
    struct qk_weight w;
    void *section[SECTION_COUNT];
    size_t bytes[SECTION_COUNT];
};
struct packed packed_random(enum layout_family family, const struct scheme *s, int N, int K,
                            uint64_t seed);
void packed_free(struct packed *p);

#endif
