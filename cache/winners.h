/* winners.h -- which tune point goes with which request, shape and rows: sorted text
 *
 * Why text: winners are data.  People read, diff, merge and send them; deleting them costs speed,
 * never correctness, because a winner only picks among kernels that agree with ref.
 *
 * Layout: a first line `qgen-winners 1`, one line a winner, fields separated by one blank, and a
 * last line `end ROWS HASH`:
 *     ARCH DEVICE REQUEST SHAPE ROWS TEMPLATE MADE TUNE HOW TIME SIGNATURE
 *     sm_89 - linear.w4g128.f16.f16 4096x4096 2..3 cuda/gemv 2..8 stages=3,tiles=2,warps=8 model - 8f0c5f5a3c1d2e4b
 *     end 1 4a92e3818b9b4451
 *   DEVICE     "-": any of the arch; else a name of [A-Za-z0-9._-] that opens with none of ._-
 *   SHAPE      NxK; "-": any
 *   ROWS MADE  lo..hi, hi "*": no end.  ROWS is where it wins, MADE what its kernel is made for,
 *              all of ROWS.
 *   TUNE       the tune point, commas for blanks; "-": nothing to tune
 *   HOW TIME   `model -`, or `measured MEDIAN~SPREAD` in microseconds (%.3f)
 *   SIGNATURE  16 hexadecimal digits over templates, compiler, and what it was chosen by
 *              (winners_sign()); a row of another signature is stale and passed over
 *   HASH       BLAKE2b-64 over the lines of the winners: a file that was cut or damaged is noticed.
 *              Against damage, not against people: the message about a wrong last line gives the
 *              right one.
 * Lines are sorted as bytes and no two are equal; `#` lines are comments and are dropped.  A winner
 * has one spelling: what parses comes out as the same bytes.
 *
 * Merging is the union of rows; of rows that differ in HOW, TIME, TEMPLATE, MADE, TUNE only, the
 * better one stays (measured before model, less time, then the smaller line): associative,
 * commutative, idempotent.
 * Lookup: the device's rows before the arch's, the shape's before any shape's, measured before model,
 * fewest rows, then the smaller line.
 * Errors: a file is taken whole or not at all; QRT_E_FORMAT names file, line and field.
 * Sharing: files are replaced by rename; readers need no lock.  Writers of one folder take turns by
 * a lock (.ARCH.lock, never deleted); where locks do not work a file may lose a writer's rows, and
 * is still whole.
 */
#ifndef QGEN_WINNERS_H
#define QGEN_WINNERS_H

#include "entry.h"

/* WINNER_ROWS_END: the least m_hi, made_hi that is printed as "*". */
enum { WINNER_DEVICE_BYTES = 64, WINNER_SIGNATURE_BYTES = 17, WINNER_ROWS_END = 1 << 30 };
#define WINNERS_MAX_BYTES ((size_t)64 << 20)

enum winner_how { WINNER_MODEL, WINNER_MEASURED };

struct winner {
    char arch[ARCH_NAME_BYTES];
    char device[WINNER_DEVICE_BYTES]; /* "": any of the arch */
    struct op_desc desc;
    int N, K;       /* 0, 0: any shape */
    int m_lo, m_hi; /* no end: INT_MAX */
    char template_[ENTRY_SYMBOL_BYTES];
    int made_lo, made_hi;        /* entry_record.m_lo, m_hi; no end: WINNER_ROWS_END */
    char tune[ENTRY_TEXT_BYTES]; /* as entry_record.tune, with blanks */
    enum winner_how how;
    double us, spread_us; /* measured: whole thousandths; us > 0 */
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

/* As merging does; `one` is rounded and its ends are made as above first.  QRT_E_FORMAT names the
 * field that no line can hold. */
qrt_status winners_add(struct winners *w, const struct winner *one);
qrt_status winners_merge(struct winners *into, const struct winners *from);

/* What to look for.  device "": only rows of the arch.  signature NULL: any; else a row's has to
 * open with it: WINNER_MADE_DIGITS of one leave out what a row was chosen by. */
struct winner_query {
    const char *arch, *device, *signature;
    const struct op_desc *desc;
    int N, K, M;
};
const struct winner *winners_find(const struct winners *w, const struct winner_query *q);

/* The line of one winner, without the end of line. */
enum { WINNER_LINE_BYTES = 640 };
void winners_line(const struct winner *w, char out[WINNER_LINE_BYTES]);

/* Read a file; replace one. A missing file reads as no rows. */
qrt_status winners_read(const char *path, struct winners *out);
qrt_status winners_write(const char *path, const struct winners *w);

/* Merge rows into FOLDER/tuned/ARCH.txt under a lock of its own; FOLDER as in store.h.  A damaged
 * file is set aside as ARCH.txt.damaged. */
qrt_status winners_keep(const char *folder, const struct winners *w);
/* All FOLDER/tuned/ *.txt.  A bad file is passed over; *note gets one line about it, or "". */
qrt_status winners_load(const char *folder, struct winners *out, char note[256]);

/* A file of FOLDER/tuned. */
struct winners_file {
    const char *path;
    const struct winners *rows; /* NULL: none can be had of it */
    const char *problem;        /* what is wrong; "": nothing */
    int is_aside;               /* a damaged one that winners_keep() set aside */
};
/* Call `visit` for each in order of their names; stops when it returns non-zero. */
qrt_status winners_files(const char *folder, int (*visit)(void *user, const struct winners_file *f),
                         void *user);

/* A device's name as a field: "NVIDIA H200" -> "NVIDIA_H200". */
void winners_device_name(const char *name, char out[WINNER_DEVICE_BYTES]);

/* 5 digits over the first text (templates), 5 over the second (compiler), 6 over all others (what a
 * winner was chosen by); `texts` ends with NULL.  So that a stale row can say why it is stale. */
enum { WINNER_TEMPLATE_DIGITS = 5, WINNER_MADE_DIGITS = 10 };
void winners_sign(const char *const *texts, char out[WINNER_SIGNATURE_BYTES]);

/* Which of the three parts of two signatures differ: "templates, compiler"; "": none. */
void winners_sign_difference(const char *a, const char *b, char out[64]);

#endif
