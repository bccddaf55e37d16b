/* measure.c -- how long a linear kernel takes on a device, and whether it is right while it does */
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_cases.h"
#include "choice.h"
#include "elem.h"
#include "error.h"
#include "host.h"

enum {
    ALIGN = 256,
    POISON = 0xff,        /* NaN in every float type */
    OTHER = 0x3f,         /* between 0.5 and 2 in every float type */
    PATTERN_ROWS = 7,     /* rows of x that differ: no divisor of a tile */
    PATTERN_OUTPUTS = 48, /* rows of W that differ: whole tiles of 16 */
    LEAST_PAIRS = 3,
    ENOUGH_PAIRS = 7, /* from here on the spread may say that it is enough */
    CALM_SAMPLES = 4, /* without a new best: warmed up */
    MOST_SETS = 1 << 16,
    MOST_RECORDED = 4096, /* launches of a graph */
};
#define BATCH_S      3e-4 /* length of a sample: a thousand times what a clock resolves */
#define WARM_SHARE   0.2  /* of the budget, at most */
#define NEW_BEST     0.99 /* of the best before */
#define MEMORY_SHARE 4    /* no more than this part of the device's memory */

/* A piece of a set, and the pointer of the op's arguments that it is for. */
struct part {
    size_t slot, at, bytes;
};
enum { MOST_PARTS = 12 };

/* What a kernel is held to. */
struct watched {
    const struct measure_subject *subject;
    char *accepted; /* y, as the first launch left it and ref agreed */
    void *graph;    /* a batch, where the device records; else NULL */
};

struct measure {
    struct qrt_device *device;
    struct measure_problem problem;
    struct measure_options options;
    struct trial pattern; /* the small problem that the large one repeats; ref has run */
    union op_args args;   /* of the large one; pointers are a set's */
    struct part parts[MOST_PARTS];
    int part_count, y_part;
    size_t set_bytes, set_count, next; /* next: the set to use */
    char *image;                       /* one set, as it starts */
    char *block;                       /* all sets, on the device */
    char *got;                         /* y of a set */
    void *partial, *flush;             /* on the device; or NULL */
    size_t partial_bytes, flush_bytes;
};

static int min_of(int a, int b) { return a < b ? a : b; }
static size_t rounded_up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* ---- the pattern: a small problem and what ref makes of it ---- */

static qrt_status make_pattern(struct measure *m)
{
    const struct measure_problem *p = &m->problem;
    const struct check_case c = {
        .M = min_of(p->M, PATTERN_ROWS), .N = min_of(p->N, PATTERN_OUTPUTS), .K = p->K, .split = 1};
    qrt_device *ref;
    TRY(check_build(&p->desc, &c, m->device->family, &m->pattern));
    TRY(qrt_device_open(m->device->rt, "ref", &ref));
    const qrt_status status = trial_run_ref(&m->pattern, ref);
    qrt_device_close(ref);
    return status;
}

/* ---- a set ---- */

static void add_part(struct measure *m, size_t slot, size_t bytes)
{
    m->parts[m->part_count++] = (struct part){slot, m->set_bytes, bytes};
    m->set_bytes += rounded_up(bytes);
}

/* Bytes of a row of what goes with x, by its slot; 0: all rows have the same. */
static size_t row_bytes(const struct op_desc *d, const struct qk_linear *a, size_t slot)
{
    const size_t ldx = (size_t)a->ldx, lds = (size_t)a->lds;
    const int is_blocks = d->act == ELEM_I8 && d->quant == QUANT_NONE;
    if (slot == TRIAL_SLOT(linear, x)) return ldx * elem_bytes((enum elem_type)d->act);
    if (slot == TRIAL_SLOT(linear, x_scale)) return sizeof(float) * (is_blocks ? ldx / 32 : lds);
    if (slot == TRIAL_SLOT(linear, x_zero)) return sizeof(int) * lds;
    return sizeof(short) * (ldx / 16); /* x_sum */
}

/* The section of W that goes to a slot, SECTION_COUNT: none. */
static int section_of(size_t slot)
{
    static const size_t slots[SECTION_COUNT] = {
        TRIAL_SLOT(linear, w.codes), TRIAL_SLOT(linear, w.scales), TRIAL_SLOT(linear, w.zeros),
        TRIAL_SLOT(linear, w.supers)};
    int s = 0;
    while (s < SECTION_COUNT && slots[s] != slot) s++;
    return s;
}

static qrt_status lay_out(struct measure *m)
{
    const struct measure_problem *p = &m->problem;
    size_t section_bytes[SECTION_COUNT];
    TRY(layout_bytes(m->device->family, &p->desc.weight, p->N, p->K, section_bytes));
    m->args = m->pattern.args;
    struct qk_linear *a = &m->args.linear;
    a->M = p->M;
    a->w.N = p->N;
    a->ldy = ((int64_t)p->N + 31) / 32 * 32;
    for (int i = 0; i < m->pattern.buffer_count; i++) {
        const struct trial_buffer *b = &m->pattern.buffers[i];
        const int section = section_of(b->slot[0]);
        if (b->slot[0] == TRIAL_SLOT(linear, y)) {
            m->y_part = m->part_count;
            add_part(m, b->slot[0],
                     (size_t)p->M * (size_t)a->ldy * elem_bytes((enum elem_type)p->desc.out));
        } else if (section < SECTION_COUNT) {
            add_part(m, b->slot[0], section_bytes[section]);
        } else {
            const size_t row = row_bytes(&p->desc, a, b->slot[0]);
            add_part(m, b->slot[0], row ? row * (size_t)p->M : b->bytes);
        }
    }
    return QRT_OK;
}

/* Fill `bytes` with a pattern of `period` bytes, of which the first `have` are given and the rest,
 * the padding of a last row, is poison. */
static void repeat(char *to, size_t bytes, const char *pattern, size_t have, size_t period)
{
    memset(to, POISON, bytes);
    for (size_t at = 0; at < bytes; at += period) {
        const size_t left = bytes - at;
        memcpy(to + at, pattern, left < have ? left : have);
    }
}

static qrt_status fill_image(struct measure *m)
{
    m->image = calloc(1, m->set_bytes);
    m->got = malloc(m->parts[m->y_part].bytes);
    if (!m->image || !m->got)
        return error_set(QRT_E_MEMORY, "measuring: no %zu bytes", m->set_bytes);
    for (int i = 0; i < m->part_count; i++) {
        const struct part *part = &m->parts[i];
        const struct trial_buffer *b = &m->pattern.buffers[i];
        const int is_weight = section_of(part->slot) < SECTION_COUNT;
        const size_t row = row_bytes(&m->problem.desc, &m->args.linear, part->slot);
        const size_t rows = (size_t)m->pattern.args.linear.M;
        const size_t period = is_weight || row == 0 ? b->bytes : row * rows;
        if (i == m->y_part)
            memset(m->image + part->at, POISON, part->bytes);
        else
            repeat(m->image + part->at, part->bytes, trial_start(&m->pattern, part->slot),
                   b->bytes < period ? b->bytes : period, period);
    }
    return QRT_OK;
}

/* ---- all sets ---- */

static size_t count_sets(const struct measure *m)
{
    const uint64_t most_bytes = m->device->info.memory_bytes / MEMORY_SHARE;
    const uint64_t wanted = 2 * m->device->cache_bytes / m->set_bytes + 2;
    uint64_t most = most_bytes / m->set_bytes;
    if (most > MOST_SETS) most = MOST_SETS;
    return m->options.flush || most < 2 ? 2 : (size_t)(wanted < most ? wanted : most);
}

static qrt_status place_sets(struct measure *m)
{
    const struct device_ops *ops = m->device->ops;
    void *block;
    m->set_count = count_sets(m);
    TRY(ops->alloc(m->device, m->set_count * m->set_bytes, &block));
    m->block = block;
    for (size_t i = 0; i < m->set_count; i++)
        TRY(ops->upload(m->device, m->block + i * m->set_bytes, m->image, m->set_bytes));
    if (!m->options.flush) return QRT_OK;
    m->flush_bytes = 2 * m->device->cache_bytes;
    return ops->alloc(m->device, m->flush_bytes, &m->flush);
}

qrt_status measure_open(struct qrt_device *device, const struct measure_problem *problem,
                        const struct measure_options *options, struct measure **out)
{
    if (problem->desc.op != OP_LINEAR || problem->N < 1 || problem->K < 1 || problem->M < 1)
        return error_set(QRT_E_ARGUMENT, "measuring: linears of at least one row, not M = %d of %s",
                         problem->M, op_name((enum op)problem->desc.op));
    struct measure *m = calloc(1, sizeof *m);
    if (!m) return error_set(QRT_E_MEMORY, "measuring: no memory");
    m->device = device;
    m->problem = *problem;
    m->options = *options;
    qrt_status status = make_pattern(m);
    if (status == QRT_OK) status = lay_out(m);
    if (status == QRT_OK) status = fill_image(m);
    if (status == QRT_OK) status = place_sets(m);
    if (status == QRT_OK)
        *out = m;
    else
        measure_close(m);
    return status;
}

void measure_close(struct measure *m)
{
    if (!m) return;
    const struct device_ops *ops = m->device->ops;
    void *const blocks[] = {m->block, m->partial, m->flush};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) ops->free(m->device, blocks[i]);
    trial_free(&m->pattern);
    free(m->image);
    free(m->got);
    free(m);
}

double measure_bytes(const struct measure *m)
{
    double bytes = 0;
    for (int i = 0; i < m->part_count; i++) bytes += (double)m->parts[i].bytes;
    return bytes;
}

double measure_ops(const struct measure *m)
{
    return 2.0 * m->problem.M * m->problem.N * m->problem.K;
}

/* ---- launching ---- */

static char *set_at(const struct measure *m, size_t set) { return m->block + set * m->set_bytes; }

static char *y_of(const struct measure *m, size_t set)
{
    return set_at(m, set) + m->parts[m->y_part].at;
}

static union op_args args_of(const struct measure *m, size_t set)
{
    union op_args args = m->args;
    for (int i = 0; i < m->part_count; i++) {
        void *address = set_at(m, set) + m->parts[i].at;
        memcpy((char *)&args + m->parts[i].slot, &address, sizeof address);
    }
    return args;
}

/* Room for the parts of K. */
static qrt_status need_partial(struct measure *m, int split)
{
    const struct measure_problem *p = &m->problem;
    const size_t bytes = (size_t)split * (size_t)p->M * (size_t)p->N * sizeof(float);
    if (bytes <= m->partial_bytes) return QRT_OK;
    if (m->partial) m->device->ops->free(m->device, m->partial);
    m->partial = NULL;
    m->partial_bytes = 0;
    TRY(m->device->ops->alloc(m->device, bytes, &m->partial));
    m->partial_bytes = bytes;
    return QRT_OK;
}

static qrt_status launch(struct measure *m, const struct measure_subject *s, size_t set)
{
    struct qrt_device *d = m->device;
    union op_args args = args_of(m, set);
    struct qk_linear *a = &args.linear;
    a->split = choice_split(d, s->kernel, &args);
    if (a->split == 1) return d->ops->launch(d, s->kernel, &m->problem.desc, &args);
    if (!s->reduce)
        return error_set(QRT_E_KERNEL, "%s cuts K into %d parts, and there is no reduce",
                         s->kernel->record.symbol, a->split);
    a->partial = m->partial; /* need_partial() was called before the clock ran */
    TRY(d->ops->launch(d, s->kernel, &m->problem.desc, &args));
    const union op_args sum = {.reduce = {.partial = a->partial,
                                          .y = a->y,
                                          .ldy = a->ldy,
                                          .M = a->M,
                                          .N = a->w.N,
                                          .split = a->split}};
    return d->ops->launch(d, s->reduce, &s->reduce->record.desc, &sum);
}

/* ---- right or wrong ---- */

static qrt_status fetch_y(struct measure *m, size_t set)
{
    if (m->options.alive) m->options.alive(m->options.user);
    return m->device->ops->download(m->device, m->got, y_of(m, set), m->parts[m->y_part].bytes);
}

static double rms_of(const float *value, int64_t count)
{
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += (double)value[i] * (double)value[i];
    return sqrt(squares / (double)count);
}

/* What ref has for the pattern's y, [rows, outputs]. */
static float *expected_of(const struct measure *m)
{
    const struct qk_linear *a = &m->pattern.args.linear;
    const void *y = trial_by_ref(&m->pattern, TRIAL_SLOT(linear, y));
    float *value = malloc((size_t)a->M * (size_t)a->w.N * sizeof *value);
    for (int r = 0; value && r < a->M; r++)
        for (int n = 0; n < a->w.N; n++)
            value[r * a->w.N + n] =
                elem_get((enum elem_type)m->problem.desc.out, y, r * a->ldy + n);
    return value;
}

/* Whether `got` is what ref says, and untouched behind its rows. */
static int differs_from_ref(const struct measure *m, const float *expected,
                            char text[CHECK_TEXT_BYTES])
{
    const struct qk_linear *a = &m->args.linear, *small = &m->pattern.args.linear;
    const enum elem_type type = (enum elem_type)m->problem.desc.out;
    const struct check_bound bound = check_bound(&m->problem.desc);
    const double slack = bound.of_rms * rms_of(expected, (int64_t)small->M * small->w.N);
    for (int r = 0; r < a->M; r++)
        for (int n = 0; n < a->w.N; n++) {
            const double got = elem_get(type, m->got, r * a->ldy + n);
            const double ref = expected[r % small->M * small->w.N + n % small->w.N];
            if (fabs(got - ref) <= bound.relative * fabs(ref) + slack) continue;
            snprintf(text, CHECK_TEXT_BYTES,
                     "M=%d N=%d K=%d: value (%d, %d) is %.9g, ref says %.9g", a->M, a->w.N, a->w.K,
                     r, n, got, ref);
            return 1;
        }
    const size_t size = elem_bytes(type);
    for (int r = 0; r < a->M; r++)
        for (size_t i = (size_t)a->w.N * size; i < (size_t)a->ldy * size; i++)
            if ((unsigned char)m->got[(size_t)r * (size_t)a->ldy * size + i] != POISON) {
                snprintf(text, CHECK_TEXT_BYTES,
                         "M=%d N=%d K=%d: row %d was written behind its end", a->M, a->w.N, a->w.K,
                         r);
                return 1;
            }
    return 0;
}

static int is_accepted(const struct measure *m, const struct watched *w)
{
    return memcmp(m->got, w->accepted, m->parts[m->y_part].bytes) == 0;
}

static void say_changed(const struct measure *m, const char *when, char text[CHECK_TEXT_BYTES])
{
    snprintf(text, CHECK_TEXT_BYTES, "M=%d N=%d K=%d: computes something else %s", m->problem.M,
             m->problem.N, m->problem.K, when);
}

/* Launch on outputs filled with `byte`. */
static qrt_status launch_over(struct measure *m, const struct watched *w, size_t set, int byte)
{
    TRY(m->device->ops->fill(m->device, y_of(m, set), byte, m->parts[m->y_part].bytes));
    TRY(launch(m, w->subject, set));
    return fetch_y(m, set);
}

/* Compare with ref, and keep the bits. */
static qrt_status keep_y(struct measure *m, struct watched *w, int *wrong,
                         char text[CHECK_TEXT_BYTES])
{
    const size_t bytes = m->parts[m->y_part].bytes;
    float *expected = expected_of(m);
    w->accepted = malloc(bytes);
    const int have_memory = expected && w->accepted;
    if (have_memory) {
        memcpy(w->accepted, m->got, bytes);
        *wrong = differs_from_ref(m, expected, text);
    }
    free(expected);
    return have_memory ? QRT_OK : error_set(QRT_E_MEMORY, "measuring: no %zu bytes", bytes);
}

/* Launch on poisoned outputs; then on other values, which must make no difference: a kernel that adds
 * to what is there, or leaves it when it looks done, is none.  Padding then holds those: it is
 * poisoned again before the two are compared. */
static qrt_status accept(struct measure *m, struct watched *w, int *wrong,
                         char text[CHECK_TEXT_BYTES])
{
    const union op_args args = args_of(m, 0);
    const struct qk_linear *a = &m->args.linear;
    const size_t size = elem_bytes((enum elem_type)m->problem.desc.out);
    TRY(need_partial(m, choice_split(m->device, w->subject->kernel, &args)));
    TRY(launch_over(m, w, 0, POISON));
    TRY(keep_y(m, w, wrong, text));
    if (*wrong) return QRT_OK;
    TRY(launch_over(m, w, 1, OTHER));
    for (int r = 0; r < a->M; r++)
        memset(m->got + ((size_t)r * (size_t)a->ldy + (size_t)a->w.N) * size, POISON,
               (size_t)(a->ldy - a->w.N) * size);
    *wrong = !is_accepted(m, w);
    if (*wrong) say_changed(m, "when y held other values before", text);
    return QRT_OK;
}

/* ---- time ---- */

/* A batch of launches on the sets from `first` on. */
struct batch {
    struct measure *m;
    const struct watched *w;
    size_t first, count;
};

static qrt_status launch_batch(void *user)
{
    const struct batch *b = user;
    for (size_t i = 0; i < b->count; i++)
        TRY(launch(b->m, b->w->subject, (b->first + i) % b->m->set_count));
    return QRT_OK;
}

static qrt_status poison_batch(const struct batch *b)
{
    struct measure *m = b->m;
    const size_t sets = b->count < m->set_count ? b->count : m->set_count;
    for (size_t i = 0; i < sets; i++)
        TRY(m->device->ops->fill(m->device, y_of(m, (b->first + i) % m->set_count), POISON,
                                 m->parts[m->y_part].bytes));
    if (!m->flush) return QRT_OK;
    return m->device->ops->fill(m->device, m->flush, (int)(b->first % 2), m->flush_bytes);
}

static qrt_status time_batch(struct batch *b, double *seconds)
{
    const struct device_ops *ops = b->m->device->ops;
    TRY(poison_batch(b));
    TRY(ops->mark(b->m->device, 0));
    if (b->w->graph)
        TRY(ops->play(b->m->device, b->w->graph));
    else
        TRY(launch_batch(b));
    TRY(ops->mark(b->m->device, 1));
    return ops->elapsed(b->m->device, 0, 1, seconds);
}

/* `batch` launches on the next sets, a recorded batch on its own; seconds of one launch. */
static qrt_status sample(struct measure *m, const struct watched *w, size_t batch, double *seconds,
                         int *wrong, char text[CHECK_TEXT_BYTES])
{
    struct batch b = {m, w, w->graph ? 0 : m->next, batch};
    double took;
    TRY(time_batch(&b, &took));
    *seconds = took / (double)batch;
    m->next = (b.first + batch) % m->set_count;
    TRY(fetch_y(m, (b.first + batch - 1) % m->set_count));
    *wrong = !is_accepted(m, w);
    if (*wrong) say_changed(m, "than at its first launch", text);
    return QRT_OK;
}

/* Times of one comparison. */
struct series {
    struct watched watched[2];
    int count; /* kernels, 1 or 2 */
    size_t batch;
    double seconds[2][MEASURE_MOST], ratio[MEASURE_MOST];
    size_t repeats;
    double until; /* by the clock */
    int wrong;    /* 1, 2: the first, the second of them; 0: none */
    char *text;   /* CHECK_TEXT_BYTES: why */
};

static qrt_status sample_of(struct measure *m, struct series *s, int which, double *seconds)
{
    int wrong = 0;
    TRY(sample(m, &s->watched[which], s->batch, seconds, &wrong, s->text));
    if (wrong) s->wrong = which + 1;
    return QRT_OK;
}

/* As many launches as last BATCH_S, each on a set of its own.  Where they are recorded, whole rounds
 * through all sets: each batch is the same graph, and finds nothing of the last one in the cache. */
static size_t batch_for(const struct measure *m, double seconds)
{
    const double sets = (double)m->set_count;
    const double wanted = seconds > 0 ? BATCH_S / seconds : sets;
    if (m->options.flush) return 1;
    if (!m->device->ops->record) return (size_t)fmax(1, fmin(wanted, sets));
    return (size_t)fmax(1, fmin(ceil(wanted / sets) * sets, MOST_RECORDED));
}

/* Until no sample is faster than all before it: the clock has settled. */
static qrt_status settle(struct measure *m, struct series *s, double end, double *best)
{
    int calm = 0;
    *best = INFINITY;
    for (int i = 0; !s->wrong && (i < 2 || (calm < CALM_SAMPLES && host_seconds() < end)); i++) {
        double seconds;
        TRY(sample_of(m, s, i % s->count, &seconds));
        calm = seconds < NEW_BEST * *best ? 0 : calm + 1;
        if (seconds < *best) *best = seconds;
    }
    return QRT_OK;
}

static qrt_status record_batches(struct measure *m, struct series *s)
{
    for (int i = 0; i < s->count; i++) {
        struct batch b = {m, &s->watched[i], 0, s->batch};
        if (!m->device->ops->record || s->batch == 1) continue;
        TRY(m->device->ops->record(m->device, launch_batch, &b, &s->watched[i].graph));
    }
    return QRT_OK;
}

/* First launch by launch, then in batches of the length that follows from it. */
static qrt_status warm_up(struct measure *m, struct series *s)
{
    const double end = host_seconds() + WARM_SHARE * m->options.budget_s;
    double best;
    s->batch = 1;
    TRY(settle(m, s, end, &best));
    s->batch = batch_for(m, best);
    TRY(record_batches(m, s));
    return s->wrong ? QRT_OK : settle(m, s, end, &best);
}

/* The ratio of a comparison; of one kernel alone its time over the median. */
static struct noise ratio_of(const struct series *s)
{
    double value[MEASURE_MOST];
    memcpy(value, s->count == 2 ? s->ratio : s->seconds[0], s->repeats * sizeof *value);
    struct noise n = noise_of(value, s->repeats);
    if (s->count == 2 || n.median <= 0) return n;
    return (struct noise){
        n.count, 1, n.spread / n.median, n.low / n.median, n.high / n.median, n.error / n.median};
}

static int is_enough(const struct series *s)
{
    if (s->repeats < LEAST_PAIRS) return 0;
    if (s->repeats == MEASURE_MOST || host_seconds() > s->until) return 1;
    if (s->repeats < ENOUGH_PAIRS) return 0;
    const struct noise ratio = ratio_of(s);
    return noise_is_small(&ratio);
}

static qrt_status take_turns(struct measure *m, struct series *s)
{
    for (; !s->wrong && !is_enough(s); s->repeats++) {
        const size_t at = s->repeats;
        for (int turn = 0; turn < s->count && !s->wrong; turn++) {
            const int which = (turn + (int)at) % s->count; /* A B B A */
            TRY(sample_of(m, s, which, &s->seconds[which][at]));
        }
        if (s->count == 2) s->ratio[at] = s->seconds[0][at] / s->seconds[1][at];
    }
    return QRT_OK;
}

static qrt_status run_series(struct measure *m, struct series *s)
{
    for (int i = 0; i < s->count && !s->wrong; i++) {
        int wrong = 0;
        TRY(accept(m, &s->watched[i], &wrong, s->text));
        if (wrong) s->wrong = i + 1;
    }
    s->until = host_seconds() + m->options.budget_s;
    if (!s->wrong) TRY(warm_up(m, s));
    return take_turns(m, s);
}

qrt_status measure_run(struct measure *m, const struct measure_subject *own,
                       const struct measure_subject *other, struct measure_times *out, int *wrong,
                       char text[CHECK_TEXT_BYTES])
{
    struct series s = {
        .watched = {{.subject = own}, {.subject = other}}, .count = other ? 2 : 1, .text = text};
    const qrt_status status = run_series(m, &s);
    *wrong = s.wrong;
    if (status == QRT_OK && !s.wrong) {
        *out = (struct measure_times){.ratio = ratio_of(&s)};
        out->own = noise_of(s.seconds[0], s.repeats);
        if (other) out->other = noise_of(s.seconds[1], s.repeats);
    }
    for (int i = 0; i < 2; i++) {
        if (s.watched[i].graph) m->device->ops->forget(m->device, s.watched[i].graph);
        free(s.watched[i].accepted);
    }
    return status;
}
