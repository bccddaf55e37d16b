/* winners.h -- which tune point goes with which request, shape and rows: sorted text
 *
 * Why text: winners are data.  People read, diff, merge and send them; deleting them costs speed,
 * never correctness, because a winner only picks among kernels that agree with ref.
 *
 * Layout: a first line `qgen-winners 1`, then one line a winner, fields separated by one blank:
 *     ARCH DEVICE REQUEST SHAPE ROWS TEMPLATE MADE TUNE HOW TIME SIGNATURE
 *     sm_89 - linear.w4g128.f16.f16 4096x4096 2..3 cuda/gemv 2..8 stages=3,tiles=2,warps=8 model - 8f0c5f5a3c1d2e4b
 *   DEVICE     "-": any of the arch; else a name of [A-Za-z0-9._-], blanks and others made "_"
 *   SHAPE      NxK; "-": any
 *   ROWS MADE  lo..hi, hi "*": no end.  ROWS is where it wins, MADE what its kernel is made for.
 *   TUNE       the tune point, commas for blanks; "-": nothing to tune
 *   HOW TIME   `model -`, or `measured MEDIAN~SPREAD` in microseconds (%.3f)
 *   SIGNATURE  16 hexadecimal digits over templates, compiler, and what it was chosen by
 *              (winners_sign()); a row of another signature is stale and passed over
 * Lines are sorted as bytes and no two are equal; `#` lines are comments and are dropped.
 *
 * Merging is the union of rows; of rows that differ in HOW, TIME, TEMPLATE, MADE, TUNE only, the
 * better one stays (measured before model, less time, then the smaller line): associative,
 * commutative, idempotent.
 * Lookup: the device's rows before the arch's, the shape's before any shape's, measured before model,
 * fewest rows, then the smaller line.
 * Errors: a file is taken whole or not at all; QRT_E_FORMAT names file, line and field.
 * Sharing: files are replaced by rename; readers need no lock.
 */
#ifndef QGEN_WINNERS_H
#define QGEN_WINNERS_H

#include "entry.h"

enum { WINNER_DEVICE_BYTES = 64, WINNER_SIGNATURE_BYTES = 17 };
#define WINNERS_MAX_BYTES ((size_t)64 << 20)

enum winner_how { WINNER_MODEL, WINNER_MEASURED };

struct winner {
    char arch[ARCH_NAME_BYTES];
    char device[WINNER_DEVICE_BYTES]; /* "": any of the arch */
    struct op_desc desc;
    int N, K;       /* 0, 0: any shape */
    int m_lo, m_hi; /* INT_MAX: no end */
    char template_[ENTRY_SYMBOL_BYTES];
    int made_lo, made_hi;        /* rows that its kernel is made for: entry_record.m_lo, m_hi */
    char tune[ENTRY_TEXT_BYTES]; /* as entry_record.tune, with blanks */
    enum winner_how how;
    double us, spread_us; /* measured */
    char signature[WINNER_SIGNATURE_BYTES];
};

/* Rows in the order of their lines. */
struct winners {
    struct winner *items;
    size_t count, capacity;
};

qrt_status winners_parse(const char *text, size_t bytes, const char *origin, struct winners *out);
qrt_status winners_text(const struct winners *w, char **text, size_t *bytes); /* free() */
void winners_free(struct winners *w);

qrt_status winners_add(struct winners *w, const struct winner *one); /* as merging does */
qrt_status winners_merge(struct winners *into, const struct winners *from);

/* What to look for. device "": only rows of the arch; signature NULL: any. */
struct winner_query {
    const char *arch, *device, *signature;
    const struct op_desc *desc;
    int N, K, M;
};
const struct winner *winners_find(const struct winners *w, const struct winner_query *q);

/* Read a file; replace one. A missing file reads as no rows. */
qrt_status winners_read(const char *path, struct winners *out);
qrt_status winners_write(const char *path, const struct winners *w);

/* Merge rows into FOLDER/tuned/ARCH.txt under a lock of its own; FOLDER as in store.h. */
qrt_status winners_keep(const char *folder, const struct winners *w);
/* All FOLDER/tuned/ *.txt.  A bad file is passed over; *note gets one line about it, or "". */
qrt_status winners_load(const char *folder, struct winners *out, char note[256]);

/* A device's name as a field: "NVIDIA H200" -> "NVIDIA_H200". */
void winners_device_name(const char *name, char out[WINNER_DEVICE_BYTES]);

/* 16 digits over texts, each with its length; `texts` ends with NULL. */
void winners_sign(const char *const *texts, char out[WINNER_SIGNATURE_BYTES]);

#endif
