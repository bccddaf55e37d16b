/* trials.h -- what measuring kernels gave: one JSON line a trial, kept so that nothing is done twice
 *
 * Layout: FOLDER/tuning/DEVICE.jsonl, FOLDER the store's (cache/store.h), DEVICE as in winners.h.
 *   {"schema":"qgen.trial/1","device":"AMD_EPYC","processors":2,"arch":"x86-64-v4",
 *    "request":"linear.w4g128.f32.f32","n":4096,"k":4096,"m":1,"template":"x86/linear_f32",
 *    "made":[1,1073741824],"tune":"rows=12","key":"HEX","default_key":"HEX","outcome":"measured",
 *    "text":"","median_s":1e-3,"low_s":..,"high_s":..,"repeats":21,"default_median_s":1.1e-3,
 *    "ratio":0.91,"ratio_error":0.002,"place":3}
 * low and high: a quarter of the times lie below and above.  ratio: of pairs, kernel / default.
 * place: in the ranking, from 0.  n = k = m = 0: it ended while it was checked.
 * A key is the hash of all that can change a kernel's bytes; so a line with the same keys, sizes and
 * processors says what measuring again would say.
 * Sharing: lines are appended whole; lines that are cut or not understood are passed over.
 */
#ifndef QGEN_TRIALS_H
#define QGEN_TRIALS_H

#include "key.h"
#include "measure_child.h"

struct trial_line {
    struct entry_record record; /* arch, desc, template, made, tune */
    int processors, N, K, M, place;
    char key[KEY_HEX_BYTES], default_key[KEY_HEX_BYTES]; /* default_key "": it was measured alone */
    enum measure_outcome outcome;
    char text[MEASURE_CHILD_TEXT_BYTES];
    struct measure_times
        times; /* own: count, median, low, high; other: median; ratio: median, error */
};

struct trials {
    struct trial_line *items;
    size_t count, capacity;
    char path[4096];
    char device[64]; /* as in the file's name */
    int fd;          /* to append; -1: not opened yet */
};

/* FOLDER/tuning/DEVICE.jsonl; nothing is read or written yet. */
qrt_status trials_open(const char *folder, const char *device, struct trials *out);
void trials_close(struct trials *t);

/* All lines there are; no file: none. */
qrt_status trials_read(struct trials *t);

/* Append a line, and keep it in memory. */
qrt_status trials_add(struct trials *t, const struct trial_line *line);

/* The last line about a kernel at a point beside a default, or NULL. */
const struct trial_line *trials_find(const struct trials *t, const char *key, int N, int K, int M,
                                     const char *default_key, int processors);
/* The last line that says that a kernel is wrong, crashes or hangs, or NULL. */
const struct trial_line *trials_find_bad(const struct trials *t, const char *key);

#endif
