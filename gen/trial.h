/* trial.h -- one case of a check: buffers between guards, run on a device and on ref, compared
 *
 * A trial is built by declaring its buffers; each says which pointer of the op's arguments it is
 * for.  The trial then makes three copies of a buffer: as it starts, as ref leaves it, as the device
 * leaves it.
 */
#ifndef QGEN_TRIAL_H
#define QGEN_TRIAL_H

#include "check.h"

enum { TRIAL_MAX_BUFFERS = 12, TRIAL_GUARD_BYTES = 256, TRIAL_CASE_BYTES = 128 };

/* Rows of values in a buffer; ld >= width, the rest of a row is padding. */
struct extent {
    enum elem_type type;
    int64_t rows, width, ld;
    int sets; /* the rows are this often rows 0 .. M - 1 of the op; 0: they are none of those */
};

enum trial_role {
    TRIAL_FIXED,   /* must not change */
    TRIAL_VALUES,  /* compared by bounds within `extent`, fixed outside */
    TRIAL_CHECKED, /* within `extent` left to the trial's `compare`, fixed outside */
};

struct trial_buffer {
    size_t slot[2]; /* offsets of pointers in union op_args; slot[1] may be SIZE_MAX */
    size_t bytes;   /* between the guards */
    enum trial_role role;
    struct extent extent;
    char *start, *by_ref, *by_device; /* with guards */
    void *address;                    /* on the device, of the guarded block */
};

struct trial {
    struct op_desc desc;
    union op_args args; /* pointers are set when it runs */
    struct trial_buffer buffers[TRIAL_MAX_BUFFERS];
    int buffer_count;
    struct check_bound bound;
    char name[TRIAL_CASE_BYTES]; /* "M=3 N=17 K=576 exact" */
    /* What bounds do not say, or NULL.  0 when `t` is right, else fills `text`. */
    int (*compare)(const struct trial *t, char text[CHECK_TEXT_BYTES]);
};

#define TRIAL_SLOT(op, field) offsetof(union op_args, op.field)

/* Add a buffer of `bytes` bytes, all 0xff (NaN); returns its contents to be filled.  NULL when there
 * is no memory; trial_run() then says so. */
void *trial_raw(struct trial *t, size_t slot, size_t bytes);
/* The same for rows of values; the last row ends after its width. */
void *trial_in(struct trial *t, size_t slot, struct extent e);
void *trial_out(struct trial *t, size_t slot, struct extent e, enum trial_role role);
/* The last buffer is also an output / is also pointed to from another slot. */
void trial_also_out(struct trial *t, struct extent e, enum trial_role role);
void trial_also_at(struct trial *t, size_t slot);

/* Run on both; *wrong gets 1 and `text` the first difference when they do not agree. */
qrt_status trial_run(struct trial *t, struct qrt_device *device, const struct kernel *k,
                     struct qrt_device *ref, int *wrong, char text[CHECK_TEXT_BYTES]);
/* Run on ref alone. */
qrt_status trial_run_ref(struct trial *t, struct qrt_device *ref);
void trial_free(struct trial *t);

/* Whether rows that two runs of the same kernel share (the same inputs up to the smaller M) came out
 * in other bits: then the result of a row depends on how many there are.  Fills `text`. */
int trial_rows_differ(const struct trial *a, const struct trial *b, char text[CHECK_TEXT_BYTES]);

/* Contents of the buffer at a slot after a run. */
const void *trial_by_ref(const struct trial *t, size_t slot);
const void *trial_by_device(const struct trial *t, size_t slot);
const void *trial_start(const struct trial *t, size_t slot);

/* The arguments with which ref ran: for definitions that a comparison asks for more. */
union op_args trial_ref_args(const struct trial *t);

#endif
