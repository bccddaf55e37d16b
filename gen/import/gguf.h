/* gguf.h -- reader of GGUF files: key-values and tensors, every byte checked
 *
 * Layout (versions 2 and 3, little-endian):
 *
 *   "GGUF"  version u32  tensors u64  key-values u64
 *   key-values   key {bytes u64, text}  type u32  value;  an array: element type u32, count u64
 *   tensors      name {bytes u64, text}  dims u32  dim u64 ...  type u32  offset u64
 *   padding to general.alignment (32)
 *   data         each tensor's blocks at its offset, in file order, padded to the alignment
 *
 * Rules beyond the format's own: keys and names are printable ASCII and unique, dims are positive,
 * tensors follow each other without gap or overlap, arrays do not nest.  Limits: GGUF_MAX_*.
 * Owns: a struct gguf owns its mapping and its tables; texts and values point into the file.
 * Errors: QRT_E_IO (cannot be read), QRT_E_FORMAT (breaks a rule), QRT_E_LIMIT.  The message has
 * the file, the byte offset, the key or tensor, the numbers and a way out. Sharing: the size is
 * taken once at open and nothing beyond it is touched, but a file that another process cuts short
 * while it is mapped ends this one with SIGBUS: do not write to models in use.
 */
#ifndef QGEN_GGUF_H
#define QGEN_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "gguf_types.h"
#include "qrt.h"

enum {
    GGUF_MAX_KEYS = 65536,
    GGUF_MAX_TENSORS = 262144,
    GGUF_MAX_KEY_BYTES = 65535,
    GGUF_MAX_NAME_BYTES = 63,
    GGUF_MAX_STRING_BYTES = 16 << 20,
    GGUF_MAX_ARRAY = 1 << 24,
    GGUF_MAX_ALIGNMENT = 65536,
    GGUF_MAX_DIMS = 4
};

enum gguf_value {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_VALUE_COUNT
};

/* Text in the file: any bytes, not NUL-terminated. */
struct gguf_text {
    const char *data;
    size_t bytes;
};

struct gguf_kv {
    char *key;           /* NUL-terminated */
    uint8_t type;        /* enum gguf_value */
    uint8_t element;     /* enum gguf_value of an array's elements; else that of type */
    uint64_t count;      /* elements of an array; else 1 */
    const uint8_t *data; /* the first element; strings: the length in front of the first */
    uint64_t at;         /* offset of the key in the file */
};

struct gguf_tensor {
    char *name; /* NUL-terminated */
    const struct gguf_type *type;
    int n_dims;
    int64_t dims[GGUF_MAX_DIMS]; /* as in the file: dims[0] runs fastest; unused ones are 1 */
    int64_t N, K;                /* K = dims[0], N = product of the others */
    const uint8_t *data;         /* [N][K / block] blocks */
    uint64_t offset, bytes;      /* of the data in the file */
};

struct gguf {
    char *path; /* "memory" after gguf_parse() */
    const uint8_t *bytes;
    size_t size;
    uint32_t version;
    uint64_t alignment, data_offset;
    struct gguf_kv *kvs; /* [kv_count], in file order */
    size_t kv_count;
    struct gguf_tensor *tensors; /* [tensor_count], in file order */
    size_t tensor_count;
    uint32_t *kv_order, *tensor_order; /* indices sorted by name, for the look-ups */
    void *mapping;                     /* NULL when the bytes are the caller's */
};

/* Map and check a file. */
qrt_status gguf_open(const char *path, struct gguf **out);
/* Check bytes that the caller keeps until gguf_close(). */
qrt_status gguf_parse(const void *bytes, size_t count, struct gguf **out);
void gguf_close(struct gguf *g); /* NULL is allowed */

/* NULL when there is none. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* A tensor as a matrix [N, K].  QRT_E_MODEL when its type's values are not read; QRT_E_LIMIT when a
 * side exceeds 2^31. */
qrt_status gguf_matrix(const struct gguf *g, const struct gguf_tensor *t,
                       struct generic_matrix *out);

/* Typed values.  A value of another type or outside lo..hi is QRT_E_FORMAT.  A key that is absent
 * is QRT_E_FORMAT when required; else *out stays as it is. */
enum gguf_need { GGUF_OPTIONAL, GGUF_REQUIRED };
qrt_status gguf_int(const struct gguf *g, enum gguf_need need, const char *key, int64_t lo,
                    int64_t hi, int64_t *out); /* any integer type */
qrt_status gguf_real(const struct gguf *g, enum gguf_need need, const char *key, double lo,
                     double hi, double *out); /* f32, f64; never NaN */
qrt_status gguf_bool(const struct gguf *g, enum gguf_need need, const char *key, int *out);
qrt_status gguf_string(const struct gguf *g, enum gguf_need need, const char *key,
                       struct gguf_text *out);
/* An array with exactly these elements; NULL in *out when absent and optional. */
qrt_status gguf_array(const struct gguf *g, enum gguf_need need, const char *key,
                      enum gguf_value element, const struct gguf_kv **out);

/* Element i < count of an array of integers or bools, of reals. */
int64_t gguf_int_at(const struct gguf_kv *array, uint64_t i);
double gguf_real_at(const struct gguf_kv *array, uint64_t i);

/* The strings of a string or an array of strings, in order. */
struct gguf_strings {
    const uint8_t *next;
    uint64_t left;
};
struct gguf_strings gguf_strings(const struct gguf_kv *kv);
int gguf_strings_next(struct gguf_strings *it, struct gguf_text *out); /* 0 at the end */

const char *gguf_value_name(enum gguf_value type); /* "u32" */

#endif
