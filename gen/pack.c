/* pack.c -- a model file becomes a packed model (.qm): weights laid out as kernels read them */
#include "pack.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "layout.h"
#include "outfile.h"
#include "qm_tables.h"
#include "tokenizer_import.h"

enum { MAX_THREADS = 64 };

/* Rows n .. n + count - 1 of a matrix; n is a multiple of LAYOUT_ROWS. */
struct batch {
    const struct program_tensor *tensor;
    const struct qm_tensor *to;
    int n, count;
};

/* What all threads share.  Batches are handed out in file order under the lock. */
struct packing {
    const struct program *program;
    const struct qm_tables *tables;
    struct outfile *file;
    unsigned families;
    pthread_mutex_t lock;
    size_t tensor; /* the next batch: this tensor, from row n on */
    int n;
    qrt_status status; /* of the first that failed */
    char message[512];
    _Atomic uint64_t done_weights;
    uint64_t all_weights;
};

/* ---- handing out work ---- */

static int rows_of_batch(const struct generic_matrix *m)
{
    const int tiles = PACK_BATCH_WEIGHTS / LAYOUT_ROWS / m->K;
    return LAYOUT_ROWS * (tiles > 1 ? tiles : 1);
}

/* 0 when there is none left, or a thread has failed. */
static int next_batch(struct packing *p, struct batch *out)
{
    int found = 0;
    pthread_mutex_lock(&p->lock);
    while (!found && p->status == QRT_OK && p->tensor < p->program->tensor_count) {
        const struct program_tensor *t = &p->program->tensors[p->tensor];
        if (t->vector || p->n >= t->matrix.N) {
            p->tensor++;
            p->n = 0;
            continue;
        }
        const int most = rows_of_batch(&t->matrix), left = t->matrix.N - p->n;
        *out = (struct batch){t, &p->tables->tensors[p->tensor], p->n, left < most ? left : most};
        p->n += out->count;
        found = 1;
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void fail(struct packing *p, qrt_status status)
{
    pthread_mutex_lock(&p->lock);
    if (p->status == QRT_OK) {
        p->status = status;
        memcpy(p->message, qrt_message(), strnlen(qrt_message(), sizeof p->message - 1) + 1);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- one batch ---- */

/* The sections of a batch, as if its rows were the whole matrix. */
struct piece {
    size_t bytes[SECTION_COUNT];
    uint8_t *section[SECTION_COUNT];
};

static qrt_status allocate_piece(enum layout_family family, const struct batch *b,
                                 struct piece *out)
{
    const struct generic_matrix *m = &b->tensor->matrix;
    size_t all = 0;
    TRY(layout_bytes(family, &m->scheme, b->count, m->K, out->bytes));
    for (int s = 0; s < SECTION_COUNT; s++) all += out->bytes[s];
    uint8_t *block = calloc(1, all); /* put ORs into zeros, padding is zero */
    if (!block) return error_set(QRT_E_MEMORY, "no memory for %zu bytes of packed rows", all);
    for (int s = 0; s < SECTION_COUNT; s++) {
        out->section[s] = block;
        block += out->bytes[s];
    }
    return QRT_OK;
}

static void free_piece(struct piece *p) { free(p->section[0]); }

static void put_scales(const struct scheme *s, const struct generic_row *row, int K, int n,
                       struct piece *to)
{
    const int G = scheme_groups(s, K);
    const size_t each = scale_bytes((enum scale_type)s->scale);
    const size_t zero_each = s->zero == ZERO_INT ? 1 : each;
    for (int g = 0; g < G; g++) {
        const size_t index = layout_scale_index(G, n, g);
        memcpy(to->section[SECTION_SCALES] + index * each, (char *)row->scales + (size_t)g * each,
               each);
        if (s->zero != ZERO_NONE)
            memcpy(to->section[SECTION_ZEROS] + index * zero_each,
                   (char *)row->zeros + (size_t)g * zero_each, zero_each);
    }
    if (s->scale == SCALE_E4M3)
        memcpy(to->section[SECTION_SUPERS], &row->matrix, sizeof row->matrix);
    if (s->scale != SCALE_TWO_LEVEL) return;
    uint16_t *supers = (uint16_t *)(void *)to->section[SECTION_SUPERS];
    for (int b = 0; b < K / SUPER_GROUP; b++)
        for (int which = 0; which < 2; which++)
            supers[layout_super_index(K, n, b, which)] = row->supers[2 * b + which];
}

static void put_row(enum layout_family family, const struct scheme *s,
                    const struct generic_row *row, int K, int n, struct piece *to)
{
    if (scheme_is_dense(s)) {
        layout_put_dense(family, s, K, to->section[SECTION_CODES], n, 0, K, row->codes);
        return;
    }
    layout_put_codes(family, s, K, to->section[SECTION_CODES], n, 0, K, row->codes);
    put_scales(s, row, K, n, to);
}

static qrt_status check_finite(const struct batch *b, const struct generic_row *row, int n)
{
    const struct generic_matrix *m = &b->tensor->matrix;
    const int64_t k = generic_not_finite(&m->scheme, row, m->K);
    if (k < 0) return QRT_OK;
    return error_set(
        QRT_E_FORMAT,
        "tensor '%s', row %d, from column %lld on: %s is infinite or not a number; the "
        "model is damaged",
        m->name, n, (long long)k, scheme_is_dense(&m->scheme) ? "a weight" : "a scale");
}

static qrt_status fill(const struct batch *b, unsigned families, struct piece pieces[FAMILY_COUNT])
{
    const struct generic_matrix *m = &b->tensor->matrix;
    struct generic_row row;
    qrt_status status = generic_alloc(&m->scheme, m->K, &row);
    for (int i = 0; i < b->count && status == QRT_OK; i++) {
        m->row(m, b->n + i, &row);
        status = check_finite(b, &row, b->n + i);
        for (int family = 0; family < FAMILY_COUNT; family++)
            if (families >> family & 1)
                put_row((enum layout_family)family, &m->scheme, &row, m->K, i, &pieces[family]);
    }
    generic_free(&row);
    return status;
}

/* Bytes that the rows before this batch take: every section is cut into tiles of equal size, but for
 * the one scale of a matrix, which each batch writes anew. */
static uint64_t bytes_before(const struct batch *b, int section, uint64_t section_bytes)
{
    if (section == SECTION_SUPERS && b->tensor->matrix.scheme.scale == SCALE_E4M3) return 0;
    const uint64_t tiles = (uint64_t)(b->tensor->matrix.N + LAYOUT_ROWS - 1) / LAYOUT_ROWS;
    return section_bytes / tiles * (uint64_t)(b->n / LAYOUT_ROWS);
}

static qrt_status write_piece(struct packing *p, const struct batch *b, int family,
                              const struct piece *piece)
{
    for (int s = 0; s < SECTION_COUNT; s++) {
        const struct qm_range *to = &b->to->section[family][s];
        TRY(outfile_write_at(p->file, to->offset + bytes_before(b, s, to->bytes), piece->section[s],
                             piece->bytes[s]));
    }
    return QRT_OK;
}

static qrt_status pack_batch(struct packing *p, const struct batch *b)
{
    struct piece pieces[FAMILY_COUNT] = {0};
    const struct generic_matrix *m = &b->tensor->matrix;
    qrt_status status = QRT_OK;
    for (int f = 0; f < FAMILY_COUNT && status == QRT_OK; f++)
        if (p->families >> f & 1) status = allocate_piece((enum layout_family)f, b, &pieces[f]);
    if (status == QRT_OK) status = fill(b, p->families, pieces);
    for (int f = 0; f < FAMILY_COUNT && status == QRT_OK; f++)
        if (p->families >> f & 1) status = write_piece(p, b, f, &pieces[f]);
    for (int f = 0; f < FAMILY_COUNT; f++) free_piece(&pieces[f]);
    if (m->release) m->release(m, b->n, b->count);
    atomic_fetch_add(&p->done_weights, (uint64_t)b->count * (uint64_t)m->K);
    return status;
}

/* ---- threads ---- */

static void *work(void *argument)
{
    struct packing *p = argument;
    struct batch b;
    while (next_batch(p, &b)) {
        const qrt_status status = pack_batch(p, &b);
        if (status != QRT_OK) fail(p, status);
    }
    return NULL;
}

static void work_and_report(struct packing *p, const struct pack_options *options)
{
    struct batch b;
    while (next_batch(p, &b)) {
        const qrt_status status = pack_batch(p, &b);
        if (status != QRT_OK) fail(p, status);
        if (options->progress)
            options->progress(options->user, atomic_load(&p->done_weights), p->all_weights);
    }
}

static int thread_count(int asked)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const long wanted = asked > 0 ? asked : processors;
    return wanted < 1 ? 1 : wanted > MAX_THREADS ? MAX_THREADS : (int)wanted;
}

/* Threads that cannot be started only cost speed: this one does all that is left. */
static qrt_status pack_matrices(struct packing *p, const struct pack_options *options)
{
    pthread_t threads[MAX_THREADS];
    int started = 0;
    const int wanted = thread_count(options->threads) - 1;
    while (started < wanted && pthread_create(&threads[started], NULL, work, p) == 0) started++;
    work_and_report(p, options);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return p->status == QRT_OK ? QRT_OK : error_set(p->status, "%s", p->message);
}

/* ---- the whole ---- */

static qrt_status write_vectors(const struct packing *p)
{
    const struct scheme f32 = {.code = CODE_F32, .bits = 32, .group = GROUP_ROW};
    for (size_t i = 0; i < p->program->tensor_count; i++) {
        const struct program_tensor *t = &p->program->tensors[i];
        if (!t->vector) continue;
        const struct generic_row row = {.codes = (uint8_t *)t->vector};
        const int64_t k = generic_not_finite(&f32, &row, t->matrix.K);
        if (k >= 0)
            return error_set(QRT_E_FORMAT, "tensor '%s', element %lld is infinite or not a number",
                             t->name, (long long)k);
        TRY(outfile_write_at(p->file, p->tables->tensors[i].vector.offset, t->vector,
                             (size_t)t->matrix.K * sizeof *t->vector));
    }
    return QRT_OK;
}

static uint64_t count_weights(const struct program *p)
{
    uint64_t weights = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        if (!p->tensors[i].vector)
            weights += (uint64_t)p->tensors[i].matrix.N * (uint64_t)p->tensors[i].matrix.K;
    return weights;
}

static qrt_status write_file(struct packing *p, const char *path,
                             const struct pack_options *options)
{
    struct outfile file;
    qrt_status status;
    TRY(outfile_open(path, &file));
    p->file = &file;
    TRY_DONE(outfile_reserve(&file, p->tables->file_bytes));
    TRY_DONE(outfile_write_at(&file, 0, p->tables->bytes, p->tables->count));
    TRY_DONE(write_vectors(p));
    TRY_DONE(pack_matrices(p, options));
    status = outfile_commit(&file);
done:
    outfile_discard(&file);
    return status;
}

/* A model without a tokenizer can still be packed; it takes and gives token ids. */
static qrt_status build_tables(const struct model *m, const struct program *program,
                               unsigned families, struct qm_tables *out)
{
    void *tokenizer = NULL;
    size_t bytes = 0;
    struct tokenizer_info info;
    struct model known = *m; /* with what its kind of tokenizer wants when the file does not say */
    if (gguf_find(m->gguf, "tokenizer.ggml.model")) {
        TRY(tokenizer_import(m->gguf, &tokenizer, &bytes, &info));
        known.add_bos = info.add_bos;
    }
    const qrt_status status = qm_tables_build(&known, program, families, tokenizer, bytes, out);
    free(tokenizer);
    return status;
}

qrt_status pack_model(const struct model *m, const struct program *program, const char *path,
                      const struct pack_options *options, struct pack_result *out)
{
    struct qm_tables tables;
    TRY(build_tables(m, program, options->families, &tables));
    struct packing p = {.program = program,
                        .tables = &tables,
                        .families = options->families,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .all_weights = count_weights(program)};
    const qrt_status status = write_file(&p, path, options);
    *out = (struct pack_result){program->tensor_count, tables.file_bytes, p.all_weights};
    qm_tables_free(&tables);
    return status;
}

qrt_status pack_file(const char *in, const char *path, const struct pack_options *options,
                     struct pack_result *out)
{
    struct gguf *g = NULL;
    struct model m;
    struct program p = {0};
    qrt_status status;
    TRY(outfile_refuse_input(path, in));
    TRY(gguf_open(in, &g));
    TRY_DONE(model_from_gguf(g, &m));
    TRY_DONE(program_build(&m, &p));
    status = pack_model(&m, &p, path, options, out);
done:
    program_free(&p);
    gguf_close(g);
    return status;
}
