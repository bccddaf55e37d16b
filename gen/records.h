/* records.h -- measurements as other commands left them: what `qgen plan` and `qgen report` read
 *
 * Formats, told apart by their schema:
 *   qgen.trial/1   a JSON line per kernel and size that `qgen tune` measured (FOLDER/tuning/ *.jsonl)
 *   qgen.bench/1   a JSON object: device {name, arch, processors}, ceilings {bytes_per_s, ops_per_s},
 *                  rows [] {what, request, n, k, m, median, low, high, bytes, ops, bytes_per_s,
 *                  ops_per_s, ceiling, ratio, bound}
 *   qgen.check/1   a JSON object: what `qgen check --format json` printed
 * Whatever else an object says (versions, date) is kept with its file and shown, never interpreted.
 * Errors: a file that is none of these is QRT_E_FORMAT; lines that are cut or damaged are counted and
 * passed over, because a crash may have left one.
 */
#ifndef QGEN_RECORDS_H
#define QGEN_RECORDS_H

#include <jansson.h>

#include "gpu.h"
#include "op.h"

enum { RECORD_NAME_BYTES = 96, RECORD_TEXT_BYTES = 256 };

enum record_kind { RECORD_TRIAL, RECORD_BENCH };

struct record {
    enum record_kind kind;
    char device[RECORD_NAME_BYTES], arch[RECORD_NAME_BYTES];
    char what[RECORD_NAME_BYTES];    /* bench: what the row is about */
    char request[RECORD_NAME_BYTES]; /* "linear.w4g128.f16.f16" */
    char template_[RECORD_NAME_BYTES], tune[RECORD_NAME_BYTES], key[RECORD_NAME_BYTES];
    char outcome[RECORD_NAME_BYTES]; /* trial: "measured", "wrong", .. */
    char text[RECORD_TEXT_BYTES];
    int N, K, M, repeats;
    int place;                      /* in the model's ranking, from 0; -1: not ranked */
    double median_s, low_s, high_s; /* 0: not measured */
    double default_median_s;        /* trial: of the kernel it was measured beside; 0: alone */
    double ratio, ratio_error;      /* trial: own time over the default's, of pairs; 0: not said */
    double bytes, ops;              /* that the work has to move and do; 0: not known */
    size_t file;                    /* index in records.files */
};

/* A file that was read. */
struct record_file {
    char *path;
    char date[32]; /* its "date", else the day it was last written, UTC */
    json_t *whole; /* bench, check: the object; trials: the first line */
    size_t records, damaged_lines;
};

struct records {
    struct record *items;
    size_t count, capacity;
    struct record_file *files;
    size_t file_count;
};

void records_free(struct records *r);

qrt_status records_add_file(struct records *r, const char *path);
/* All *.jsonl of FOLDER/tuning, by name; none when there is no such folder. */
qrt_status records_add_tuning(struct records *r, const char *folder);

/* Schema of a file's object without the version: "check", "bench", "trial". */
int record_file_is(const struct record_file *f, const char *kind);

/* How near measured linears of a scheme come to a GPU's ceiling: the time that the table's rates allow
 * over the time that the best kernel of each shape took, all shapes together, at the measured M
 * nearest to `batch`. */
struct efficiency {
    double share; /* 0: nothing is known */
    int shapes, M;
};
struct efficiency records_efficiency(const struct records *r, const struct gpus *table,
                                     const struct gpu *gpu, const struct scheme *weight, int batch);

#endif
