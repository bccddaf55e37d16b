/* gguf_maker.h -- GGUF files made in memory, sound by default, with every integer's place noted
 *
 * A maker never checks: tests also make wrong files with it.
 */
#ifndef TESTS_GGUF_MAKER_H
#define TESTS_GGUF_MAKER_H

#include <stddef.h>
#include <stdint.h>

enum { MAKER_MAX_FIELDS = 16384, MAKER_MAX_TENSORS = 1024 };

/* An integer in the file: what a lying file would change. */
struct maker_field {
    size_t at;
    int bytes;
};

struct maker {
    uint8_t *bytes;
    size_t count, capacity;
    struct maker_field fields[MAKER_MAX_FIELDS];
    int field_count;
    struct {
        uint32_t type;
        size_t bytes;
    } tensors[MAKER_MAX_TENSORS]; /* whose data maker_data() appends */
    int tensor_count;
    uint64_t data_offset; /* of the next tensor, in the data section */
    uint64_t random;
};

/* Magic, version and counts. */
void maker_start(struct maker *m, uint32_t version, uint64_t tensors, uint64_t kvs);
void maker_free(struct maker *m);

void maker_raw(struct maker *m, const void *bytes, size_t count);
void maker_u32(struct maker *m, uint32_t value);
void maker_u64(struct maker *m, uint64_t value);
void maker_text(struct maker *m, const char *text); /* length and bytes */

void maker_kv_u32(struct maker *m, const char *key, uint32_t value);
void maker_kv_f32(struct maker *m, const char *key, float value);
void maker_kv_string(struct maker *m, const char *key, const char *value);
/* "t0", "t1", ... */
void maker_kv_strings(struct maker *m, const char *key, uint64_t count);

/* A tensor's entry; its offset is the next free one, aligned to 32. */
void maker_tensor(struct maker *m, const char *name, uint32_t type, int n_dims,
                  const uint64_t *dims);
/* Pad to 32 and append the data of all tensors so far: random bytes with finite scales. */
void maker_data(struct maker *m);

/* Fill blocks of a type with random codes and finite scales. */
void maker_blocks(struct maker *m, uint32_t type, uint8_t *data, size_t bytes);

/* A whole llama-like model: 1 layer, hidden 256, ffn 512, 4 heads of 64, 2 kv heads; its matrices
 * cycle through `types` [count]. */
void maker_llama(struct maker *m, const uint32_t *types, int count, int vocab);

#endif
