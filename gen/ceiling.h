/* ceiling.h -- what a device could do at best, measured where that is possible: the limits beside speeds
 *
 * Memory is measured on the device itself, in the same run as what is held against it: on a CPU all
 * threads read a block of several caches' size; on a GPU a block is copied, and counted read and
 * written.  Rates of arithmetic are measured on a CPU (the widest multiply-adds it has, in registers,
 * on all threads); a GPU's are its datasheet's, found in the table of GPUs by the device's name.
 */
#ifndef QGEN_CEILING_H
#define QGEN_CEILING_H

#include "device.h"

enum ceiling_unit { CEILING_F32, CEILING_F16, CEILING_I8, CEILING_F8, CEILING_UNITS };

struct ceiling {
    double bytes_s;
    double ops_s[CEILING_UNITS]; /* a multiply-add is two; 0: not known */
    char memory_source[96], ops_source[160];
};

/* `gpus`: a table's file, or NULL (gpu_table.h). */
qrt_status ceiling_measure(struct qrt_device *d, const char *gpus, struct ceiling *out);

/* The higher of two measurements, limit by limit. */
void ceiling_raise(struct ceiling *c, const struct ceiling *other);

/* The unit that linears with these activations use. */
enum ceiling_unit ceiling_unit_of(const struct op_desc *linear);

/* The least seconds for so many bytes and operations; *is_memory: bytes take longer. */
double ceiling_floor(const struct ceiling *c, enum ceiling_unit unit, double bytes, double ops,
                     int *is_memory);

#endif
