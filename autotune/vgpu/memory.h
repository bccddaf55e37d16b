/* memory.h -- the global memory of the virtual GPU: allocations in windows, and who touched them
 *
 * Each allocation has a window of addresses of its own, never given out again, so that a miss by
 * any distance and a use after free are seen:
 *
 *     address   | window         | offset                 |
 *                63            40 39                     0
 *     window    | .. nothing .. | the bytes | .. nothing .. |     the bytes start at START_OFFSET
 *
 * Beside the bytes, made when first needed:
 *     written   a byte per byte: 1 when something wrote it.  Gone when all are.
 *     touched   a word per 4 bytes: who wrote and who read in this launch
 *
 *     touched   | reader | writer |       each  | launch | bytes | block + 1 |
 *                63    32 31     0                31   24 23   20 19        0
 *
 * A block number is kept modulo 2^20 - 2; 2^20 - 1 stands for several readers: races may be missed,
 * never invented.
 *
 * Threads: allocation and freeing are locked; accesses are not, the notes of concurrent ones may get
 * lost.
 */
#ifndef VGPU_MEMORY_H
#define VGPU_MEMORY_H

#include <stddef.h>
#include <stdint.h>

enum { MEMORY_BLOCKS = 1 << 20 };
enum { MEMORY_WINDOW_BITS = 40, MEMORY_FIRST_WINDOW = 16, MEMORY_START_OFFSET = 1 << 20 };

struct memory_block {
    uint64_t base; /* device address of the first byte */
    size_t bytes;
    uint8_t *host;     /* NULL: freed */
    uint8_t *written;  /* NULL: all bytes are */
    uint64_t *touched; /* NULL: nothing noted yet */
    int device;
    int maybe_written; /* by a copy, since it was last looked whether all bytes are */
};

/* A device address; 0: no memory.  zeroed: bytes count as written (variables of a module). */
uint64_t memory_alloc(int device, size_t bytes, int zeroed);
/* 0: it is no address of an allocation. */
int memory_free(uint64_t address);
size_t memory_used(int device); /* bytes */

/* The allocation of the window that the address is in, freed ones too, or NULL. */
struct memory_block *memory_window(uint64_t address);
/* Where `bytes` bytes at the address are, or NULL when they are not all in one allocation. */
uint8_t *memory_host(uint64_t address, size_t bytes);

/* The host wrote these bytes (or a copy whose source was all written). */
void memory_mark_written(uint64_t address, size_t bytes);
/* Copy the marks of one range to another. */
void memory_copy_marks(uint64_t to, uint64_t from, size_t bytes);

/* Start of a launch: forget marks that say nothing any more; returns the launch's number for
 * `touched`, 1 .. 255. */
uint32_t memory_begin_launch(void);

/* Note an access of the block with that tag to `bytes` at `offset` of an allocation; returns the note
 * of another block's access that conflicts, or 0. */
uint32_t memory_touch(struct memory_block *m, uint64_t offset, uint32_t bytes, uint32_t tag,
                      int write);
/* The tag of a block in a launch. */
uint32_t memory_tag(uint32_t launch, uint64_t block);
/* The block of a tag or note, 1 .. MEMORY_BLOCKS - 1; the last one: several. */
uint32_t memory_block_of(uint32_t tag);

/* Free everything: the tests' and the library's end. */
void memory_close(void);

#endif
