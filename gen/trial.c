/* trial.c -- one case of a check: buffers between guards, run on a device and on ref, compared */
#include "trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elem.h"
#include "error.h"

enum { GUARD_BYTE = 0xa5, UNSET_BYTE = 0xff /* NaN in every float type */ };

/* ---- declaring ---- */

static size_t guarded(const struct trial_buffer *b) { return b->bytes + 2 * TRIAL_GUARD_BYTES; }

static size_t extent_bytes(struct extent e)
{
    const int64_t elements = e.rows > 0 ? (e.rows - 1) * e.ld + e.width : 0;
    return (size_t)elements * elem_bytes(e.type);
}

void *trial_raw(struct trial *t, size_t slot, size_t bytes)
{
    struct trial_buffer *b = &t->buffers[t->buffer_count++];
    *b = (struct trial_buffer){.slot = {slot, SIZE_MAX}, .bytes = bytes};
    char **const copies[] = {&b->start, &b->by_ref, &b->by_device};
    for (int i = 0; i < 3; i++) {
        *copies[i] = aligned_alloc(TRIAL_GUARD_BYTES, (guarded(b) + 255) / 256 * 256);
        if (!*copies[i]) return NULL;
        memset(*copies[i], GUARD_BYTE, guarded(b));
        memset(*copies[i] + TRIAL_GUARD_BYTES, UNSET_BYTE, bytes);
    }
    return b->start + TRIAL_GUARD_BYTES;
}

void *trial_in(struct trial *t, size_t slot, struct extent e)
{
    void *contents = trial_raw(t, slot, extent_bytes(e));
    t->buffers[t->buffer_count - 1].extent = e;
    return contents;
}

void trial_also_out(struct trial *t, struct extent e, enum trial_role role)
{
    t->buffers[t->buffer_count - 1].role = role;
    t->buffers[t->buffer_count - 1].extent = e;
}

void *trial_out(struct trial *t, size_t slot, struct extent e, enum trial_role role)
{
    void *contents = trial_in(t, slot, e);
    trial_also_out(t, e, role);
    return contents;
}

void trial_also_at(struct trial *t, size_t slot) { t->buffers[t->buffer_count - 1].slot[1] = slot; }

void trial_free(struct trial *t)
{
    for (int i = 0; i < t->buffer_count; i++) {
        free(t->buffers[i].start);
        free(t->buffers[i].by_ref);
        free(t->buffers[i].by_device);
    }
    t->buffer_count = 0;
}

static const char *contents_at(const struct trial *t, size_t slot, int which)
{
    for (int i = 0; i < t->buffer_count; i++) {
        const struct trial_buffer *b = &t->buffers[i];
        char *const copy[] = {b->start, b->by_ref, b->by_device};
        if (b->slot[0] == slot || b->slot[1] == slot) return copy[which] + TRIAL_GUARD_BYTES;
    }
    return NULL;
}

const void *trial_start(const struct trial *t, size_t slot) { return contents_at(t, slot, 0); }
const void *trial_by_ref(const struct trial *t, size_t slot) { return contents_at(t, slot, 1); }
const void *trial_by_device(const struct trial *t, size_t slot) { return contents_at(t, slot, 2); }

/* ---- running ---- */

static void point_at(union op_args *args, const struct trial_buffer *b, char *block)
{
    void *contents = block + TRIAL_GUARD_BYTES;
    for (int i = 0; i < 2; i++)
        if (b->slot[i] != SIZE_MAX) memcpy((char *)args + b->slot[i], &contents, sizeof contents);
}

union op_args trial_ref_args(const struct trial *t)
{
    union op_args args = t->args;
    for (int i = 0; i < t->buffer_count; i++) point_at(&args, &t->buffers[i], t->buffers[i].by_ref);
    return args;
}

static qrt_status have_memory(const struct trial *t)
{
    for (int i = 0; i < t->buffer_count; i++)
        if (!t->buffers[i].by_device)
            return error_set(QRT_E_MEMORY, "check %s: no %zu bytes", t->name, t->buffers[i].bytes);
    return QRT_OK;
}

qrt_status trial_run_ref(struct trial *t, struct qrt_device *ref)
{
    TRY(have_memory(t));
    const union op_args args = trial_ref_args(t);
    for (int i = 0; i < t->buffer_count; i++) {
        struct trial_buffer *b = &t->buffers[i];
        memcpy(b->by_ref, b->start, guarded(b));
    }
    return ref->ops->launch(ref, NULL, &t->desc, &args);
}

static qrt_status bring_up(struct trial *t, struct qrt_device *device, union op_args *args)
{
    for (int i = 0; i < t->buffer_count; i++) {
        struct trial_buffer *b = &t->buffers[i];
        TRY(device->ops->alloc(device, guarded(b), &b->address));
        TRY(device->ops->upload(device, b->address, b->start, guarded(b)));
        point_at(args, b, b->address);
    }
    return QRT_OK;
}

static qrt_status bring_down(struct trial *t, struct qrt_device *device)
{
    for (int i = 0; i < t->buffer_count; i++) {
        struct trial_buffer *b = &t->buffers[i];
        TRY(device->ops->download(device, b->by_device, b->address, guarded(b)));
    }
    return QRT_OK;
}

static qrt_status run_on_device(struct trial *t, struct qrt_device *device, const struct kernel *k)
{
    union op_args args = t->args;
    qrt_status status = bring_up(t, device, &args);
    if (status == QRT_OK) status = device->ops->launch(device, k, &t->desc, &args);
    if (status == QRT_OK) status = bring_down(t, device);
    for (int i = 0; i < t->buffer_count; i++) {
        if (t->buffers[i].address) device->ops->free(device, t->buffers[i].address);
        t->buffers[i].address = NULL;
    }
    return status;
}

/* ---- comparing ---- */

/* Copy the values of the extent. */
static void copy_extent(const struct trial_buffer *b, char *to, const char *from)
{
    const struct extent *e = &b->extent;
    const size_t size = elem_bytes(e->type);
    for (int64_t r = 0; r < e->rows; r++) {
        const size_t at = TRIAL_GUARD_BYTES + (size_t)(r * e->ld) * size;
        memcpy(to + at, from + at, (size_t)e->width * size);
    }
}

/* Whether a byte outside of the values of the extent was written.  Spoils `start`. */
static int changed_elsewhere(const struct trial_buffer *b, char text[CHECK_TEXT_BYTES])
{
    if (b->role != TRIAL_FIXED) copy_extent(b, b->start, b->by_device);
    size_t i = 0;
    while (i < guarded(b) && b->start[i] == b->by_device[i]) i++;
    if (i == guarded(b)) return 0;
    snprintf(text, CHECK_TEXT_BYTES,
             "byte %lld of a buffer of %zu bytes was written, outside of what the op writes",
             (long long)i - TRIAL_GUARD_BYTES, b->bytes);
    return 1;
}

/* Of what ref left there; NaN, which marks what an op is not to touch, does not count. */
static double rms_of(const struct trial_buffer *b)
{
    const struct extent *e = &b->extent;
    double squares = 0;
    int64_t count = 0;
    for (int64_t r = 0; r < e->rows; r++)
        for (int64_t c = 0; c < e->width; c++) {
            const double v = elem_get(e->type, b->by_ref + TRIAL_GUARD_BYTES, r * e->ld + c);
            if (isnan(v)) continue;
            squares += v * v;
            count++;
        }
    return count > 0 ? sqrt(squares / (double)count) : 0;
}

/* Equal, both NaN, or near enough; below 1e-30 a bounded result is as good as zero. */
static int agrees(double got, double ref, struct check_bound bound, double rms)
{
    if (got == ref || (isnan(got) && isnan(ref))) return 1;
    const double error = fabs(got - ref);
    return error <= bound.relative * fabs(ref) + bound.of_rms * rms ||
           (bound.of_rms > 0 && error < 1e-30);
}

static int values_differ(const struct trial *t, const struct trial_buffer *b,
                         char text[CHECK_TEXT_BYTES])
{
    const struct extent *e = &b->extent;
    const double rms = rms_of(b);
    int64_t wrong = 0, first_row = 0, first_column = 0;
    double got = 0, ref = 0;
    for (int64_t r = 0; r < e->rows; r++)
        for (int64_t c = 0; c < e->width; c++) {
            const double g = elem_get(e->type, b->by_device + TRIAL_GUARD_BYTES, r * e->ld + c);
            const double f = elem_get(e->type, b->by_ref + TRIAL_GUARD_BYTES, r * e->ld + c);
            if (agrees(g, f, t->bound, rms)) continue;
            if (wrong++ == 0) first_row = r, first_column = c, got = g, ref = f;
        }
    if (wrong)
        snprintf(text, CHECK_TEXT_BYTES,
                 "value (%lld, %lld) is %.9g, ref says %.9g, bound %.3g; %lld of %lld differ",
                 (long long)first_row, (long long)first_column, got, ref,
                 t->bound.relative * fabs(ref) + t->bound.of_rms * rms, (long long)wrong,
                 (long long)(e->rows * e->width));
    return wrong > 0;
}

static int is_wrong(const struct trial *t, char text[CHECK_TEXT_BYTES])
{
    if (t->compare && t->compare(t, text)) return 1;
    for (int i = 0; i < t->buffer_count; i++) {
        const struct trial_buffer *b = &t->buffers[i];
        if (b->role == TRIAL_VALUES && values_differ(t, b, text)) return 1;
        if (changed_elsewhere(b, text)) return 1;
    }
    return 0;
}

static int rows_differ(const struct trial_buffer *a, const struct trial_buffer *b,
                       char text[CHECK_TEXT_BYTES])
{
    const size_t size = elem_bytes(a->extent.type);
    const int64_t a_rows = a->extent.rows / a->extent.sets,
                  b_rows = b->extent.rows / b->extent.sets;
    const int64_t rows = a_rows < b_rows ? a_rows : b_rows;
    for (int64_t i = 0; i < rows * a->extent.sets; i++) {
        const int64_t set = i / rows, m = i % rows;
        const size_t at_a = (size_t)((set * a_rows + m) * a->extent.ld) * size;
        const size_t at_b = (size_t)((set * b_rows + m) * b->extent.ld) * size;
        if (memcmp(a->by_device + TRIAL_GUARD_BYTES + at_a, b->by_device + TRIAL_GUARD_BYTES + at_b,
                   (size_t)a->extent.width * size) == 0)
            continue;
        snprintf(text, CHECK_TEXT_BYTES, "row %lld has other bits than among %lld rows",
                 (long long)m, (long long)b_rows);
        return 1;
    }
    return 0;
}

int trial_rows_differ(const struct trial *a, const struct trial *b, char text[CHECK_TEXT_BYTES])
{
    for (int i = 0; i < a->buffer_count; i++)
        if (a->buffers[i].role != TRIAL_FIXED && a->buffers[i].extent.sets > 0 &&
            rows_differ(&a->buffers[i], &b->buffers[i], text))
            return 1;
    return 0;
}

qrt_status trial_run(struct trial *t, struct qrt_device *device, const struct kernel *k,
                     struct qrt_device *ref, int *wrong, char text[CHECK_TEXT_BYTES])
{
    TRY(trial_run_ref(t, ref));
    TRY(run_on_device(t, device, k));
    *wrong = is_wrong(t, text);
    return QRT_OK;
}
