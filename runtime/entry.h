/* entry.h -- one kernel in one file: launch record, image, and hash of all of it
 *
 * The unit that the store keeps, `qgen build --out` writes (NAME.qk1) and the runtime loads.
 *
 *   0    magic "QKENTRY1"                    8
 *   8    version u32, header bytes u32       8
 *   16   total bytes u64                     8
 *   24   key: BLAKE2b-256 of all inputs     32
 *   56   struct entry_record
 *   ...  parts[ENTRY_PART_COUNT] {offset u64, bytes u64}
 *   ...  the parts, each at a multiple of 16, zero-padded
 *   end  BLAKE2b-256 of every byte before   32
 * Little-endian; fields as on x86-64.  Any damage is QRT_E_FORMAT: nothing of a damaged entry is
 * used.
 */
#ifndef QRT_ENTRY_H
#define QRT_ENTRY_H

#include <stdint.h>

#include "arch.h"
#include "op.h"

enum { ENTRY_KEY_BYTES = 32, ENTRY_SYMBOL_BYTES = 64, ENTRY_TEXT_BYTES = 128 };
#define ENTRY_MAX_BYTES ((size_t)64 << 20)

/* IMAGE: cubin, or ELF shared object (x86). PTX: NUL-terminated, CUDA only. SOURCE: what was
 * compiled. */
enum entry_part { ENTRY_IMAGE, ENTRY_PTX, ENTRY_SOURCE, ENTRY_PART_COUNT };

/* grid[i] = ceil(dim / div) */
struct entry_grid {
    uint32_t dim; /* enum dim */
    uint32_t div; /* >= 1 */
};

/* The tensor map of x that a linear for sm_90 on takes as its second argument (struct qk_map): a
 * copy brings `rows` rows of `bytes` bytes, permuted as a swizzle of that many bytes does.  0 rows:
 * it takes none. */
struct entry_map {
    uint32_t rows;  /* 1..256 */
    uint32_t bytes; /* 32, 64 or 128 */
};

struct entry_record {
    struct op_desc desc;
    char arch[ARCH_NAME_BYTES];
    char symbol[ENTRY_SYMBOL_BYTES];    /* the function in the image */
    char template_[ENTRY_SYMBOL_BYTES]; /* "cuda/gemm" */
    char tune[ENTRY_TEXT_BYTES];        /* the tune point as text, "bm=64 bn=128 stages=4" */
    int32_t m_lo, m_hi;                 /* rows it was made for, inclusive */
    int32_t split; /* CUDA: parts of K (linear), of the context (attention) it wants, >= 1; 0:
                      runtime's choice */
    int32_t rank;  /* among equals the runtime takes the smallest */
    struct entry_grid grid[3];                     /* CUDA */
    uint32_t block[3];                             /* CUDA: threads */
    uint32_t smem_bytes;                           /* CUDA: dynamic shared memory */
    struct entry_map map;                          /* CUDA */
    uint32_t smem_static_bytes, regs, stack_bytes; /* as the compiler reported */
};

struct entry {
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry_record record;
    struct {
        const void *data;
        size_t bytes;
    } part[ENTRY_PART_COUNT]; /* point into the bytes that were parsed */
};

/* Check everything (sizes, hash, enum ranges, strings, grid) and fill *out. */
qrt_status entry_parse(const void *bytes, size_t count, struct entry *out);

/* The part of entry_parse() that is not about bytes: enum ranges, strings, grid, end of the PTX. */
qrt_status entry_check(const struct entry *e);

/* Serialize into a block of alloc'd memory (free()). */
qrt_status entry_serialize(const struct entry *e, void **bytes, size_t *count);

#endif
