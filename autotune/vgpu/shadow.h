/* shadow.h -- who touched which byte of shared memory last, and whether that is behind who comes now
 *
 * A touch is the last write of a place and the reads since.  Places are words of 4 bytes, columns of
 * one array each; a word whose bytes are touched apart gets a cell of four touches, one a byte.
 *
 *     flags        byte      | pending 3 2 1 0 | initialised 3 2 1 0 |
 *     write_epoch            epoch of the writer; EPOCH_AGENT + phase when an asynchronous copy wrote;
 *                            EPOCH_OBJECT: an mbarrier lies here; EPOCH_CELL: see cell[write_lanes]
 *     write_lanes, writer    lanes of warp `writer`; or AGENT + number of the copy's clock component
 *     read_epoch             0: not read since; EPOCH_LIST: see reader[read_lanes]
 *     read_lanes, readers    lanes, when `readers` (a set of warps) has one; else only known: all of
 *                            these warps read it since the floor (see clock.h)
 *
 * A column of numbers that are dead when they are below the floor: a new block needs new flags, and
 * nothing else is cleared.  Reads that the columns cannot hold go to a list of (warp, lanes, epoch),
 * as do atomic operations, which are ordered with plain ones and not with each other.
 */
#ifndef VGPU_SHADOW_H
#define VGPU_SHADOW_H

#include <stdint.h>

#include "clock.h"

enum { WORD = 4, WHOLE = 0xf, AGENT = MAX_WARPS, NOBODY = 0xff };
enum {
    EPOCH_AGENT = 0x40000000,
    EPOCH_OBJECT = 0x7ffffffe,
    EPOCH_CELL = 0x7fffffff,
    EPOCH_LIST = 0x7fffffff,
};

struct touch {
    uint32_t write_epoch, write_lanes, writer;
    uint32_t read_epoch, read_lanes, readers;
    uint32_t atomics; /* list, 0: none */
};

struct cell {
    struct touch byte[WORD];
    uint32_t next_free;
};

struct reader {
    uint32_t next, warp, lanes, epoch;
};

struct shadow {
    uint32_t words, room;
    uint8_t *flags;
    uint32_t *write_epoch, *write_lanes, *read_epoch, *read_lanes, *readers;
    uint8_t *writer;
    int special;       /* some epochs are not below the floor of the next block: clear them then */
    struct cell *cell; /* [0] is not used */
    uint32_t cells, cells_room, free_cell;
    struct reader *reader; /* [0] is not used */
    uint32_t reader_count, readers_room, free_reader;
};

/* Who acts, for one instruction. */
struct actor {
    struct shared *s;
    int warp, lane; /* lane CLOCK_ANY_LANE: the warp as a whole */
    enum shared_kind kind;
    int async_proxy;
    uint32_t epoch;    /* of its warp */
    uint32_t reported; /* faults: one finding of a kind is enough for an instruction */
};

int shadow_begin(struct shadow *h, uint32_t words); /* 0: no memory */
void shadow_close(struct shadow *h);
/* Forget every number: time starts anew. */
void shadow_forget(struct shadow *h);

/* Report what is wrong with touching these bytes now; changes nothing. */
void shadow_check(struct actor *a, uint32_t at, uint32_t bytes);
/* The bytes were touched. */
void shadow_update(struct actor *a, uint32_t at, uint32_t bytes);

/* The quick ways of shadow_row.c: 1 when all was clean and is noted, 0 when nothing is done yet. */
int shadow_row(struct actor *a, const uint32_t address[LANES], uint32_t mask, uint32_t bytes);
int shadow_row_pend(struct actor *a, uint32_t at); /* check a write of 16 bytes, then pend */
int shadow_row_land(struct actor *a, uint32_t at);

/* An asynchronous copy owns the bytes until it lands: written by the actor, or by an agent's phase. */
void shadow_pend(struct shadow *h, uint32_t at, uint32_t bytes);
void shadow_land(struct actor *a, uint32_t at, uint32_t bytes);
void shadow_land_agent(struct shared *s, uint32_t agent, uint32_t phase, uint32_t at,
                       uint32_t bytes);

/* The 8 bytes become an mbarrier, or memory again. */
void shadow_object(struct shadow *h, uint32_t at);
void shadow_free_object(struct actor *a, uint32_t at);

void shadow_report(struct actor *a, enum vgpu_fault fault, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
