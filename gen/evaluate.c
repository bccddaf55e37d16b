/* evaluate.c -- how well a model predicts, and how far a layer is from its definition */
#include "evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "host.h"
#include "npy.h"

enum { LOGIT_BYTES = 64 << 20 }; /* of one batch */

/* ---- logits, batch by batch ---- */

struct batch {
    const struct engine *engine;
    qrt_session *session;
    float *logits; /* [rows, vocab] */
    int rows;
    struct cli_progress *progress; /* in tokens; NULL: none */
};

static qrt_status batch_open(const struct engine *e, int context, struct batch *b)
{
    const size_t row_bytes = (size_t)e->model_info.vocab * sizeof(float);
    const size_t fit = LOGIT_BYTES / row_bytes;
    *b = (struct batch){.engine = e};
    b->rows = fit < 1 ? 1 : fit > (size_t)e->session.max_m ? e->session.max_m : (int)fit;
    b->logits = malloc((size_t)b->rows * row_bytes);
    if (!b->logits) return error_set(QRT_E_MEMORY, "%d rows of logits", b->rows);
    const qrt_status status = engine_session(e, context, &b->session);
    if (status != QRT_OK) free(b->logits);
    return status;
}

static void batch_close(struct batch *b)
{
    qrt_session_close(b->session);
    free(b->logits);
}

/* Append ids; call row() with the logits behind each, `first` the index of ids[0]. */
static qrt_status batch_run(const struct batch *b, const int *ids, size_t count, size_t first,
                            qrt_status (*row)(void *user, size_t index, const float *logits),
                            void *user)
{
    const size_t vocab = (size_t)b->engine->model_info.vocab;
    for (size_t done = 0; done < count;) {
        const size_t left = count - done, n = left < (size_t)b->rows ? left : (size_t)b->rows;
        TRY(qrt_run(b->session, ids + done, n, b->logits, n));
        for (size_t i = 0; i < n; i++) TRY(row(user, first + done + i, b->logits + i * vocab));
        done += n;
        if (b->progress) cli_progress_update(b->progress, (double)(first + done));
    }
    return QRT_OK;
}

/* ---- perplexity ---- */

struct scores {
    const int *ids; /* the chunk */
    size_t last;    /* index that is not scored */
    int vocab;
    double sum, sum_of_squares; /* of -ln p */
    size_t count;
};

/* -ln of the probability that logits give to `id`. */
static double surprise(const float *logits, int vocab, int id)
{
    float largest = logits[0];
    for (int i = 1; i < vocab; i++) largest = logits[i] > largest ? logits[i] : largest;
    double sum = 0;
    for (int i = 0; i < vocab; i++) sum += exp((double)(logits[i] - largest));
    return log(sum) - (double)(logits[id] - largest);
}

static qrt_status score_row(void *user, size_t index, const float *logits)
{
    struct scores *s = user;
    if (index == s->last) return QRT_OK;
    const double value = surprise(logits, s->vocab, s->ids[index + 1]);
    if (!isfinite(value))
        return error_set(QRT_E_CHECK, "position %zu: the logits are not finite", index);
    s->sum += value;
    s->sum_of_squares += value * value;
    s->count++;
    return QRT_OK;
}

/* Run the chunk from scratch; its second half is scored. */
static qrt_status score_chunk(const struct batch *b, const int *ids, size_t context,
                              struct scores *s)
{
    const qrt_model_info *info = &b->engine->model_info;
    const size_t half = context / 2;
    const int first = info->add_bos ? info->bos : ids[0];
    s->ids = ids;
    s->last = context - 1;
    TRY(qrt_rewind(b->session, 0));
    TRY(qrt_run(b->session, &first, 1, NULL, 0));
    TRY(qrt_run(b->session, ids + 1, half - 1, NULL, 0));
    return batch_run(b, ids + half, context - half, half, score_row, s);
}

static void finish(const struct scores *s, struct perplexity *out)
{
    const double n = (double)s->count, mean = s->sum / n;
    const double variance = s->sum_of_squares / n - mean * mean;
    out->value = exp(mean);
    out->deviation = n > 1 && variance > 0 ? out->value * sqrt(variance / (n - 1)) : 0;
    out->tokens = s->count;
}

qrt_status evaluate_perplexity(const struct engine *e, const struct cli *cli, const int *ids,
                               size_t count, int context, int chunks, struct perplexity *out)
{
    struct batch b;
    struct cli_progress progress;
    struct scores s = {.vocab = e->model_info.vocab};
    struct perplexity result = {.chunks = count / (size_t)context};
    if (result.chunks < 2)
        return error_set(QRT_E_ARGUMENT,
                         "the text has %zu tokens, two chunks of %d are wanted at least; take a "
                         "longer text or a smaller --ctx",
                         count, context);
    if (chunks && (size_t)chunks < result.chunks) result.chunks = (size_t)chunks;
    TRY(batch_open(e, context, &b));
    cli_progress_start(&progress, cli, "perplexity", "chunks", (double)result.chunks);
    const double started = host_seconds();
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < result.chunks && status == QRT_OK; i++) {
        status = score_chunk(&b, ids + i * (size_t)context, (size_t)context, &s);
        cli_progress_update(&progress, (double)(i + 1));
    }
    cli_progress_end(&progress);
    batch_close(&b);
    if (status != QRT_OK) return status;
    finish(&s, &result);
    result.seconds = host_seconds() - started;
    *out = result;
    return QRT_OK;
}

/* ---- logits ---- */

static qrt_status write_row(void *user, size_t index, const float *logits)
{
    (void)index;
    return npy_row(user, logits);
}

qrt_status evaluate_logits(const struct engine *e, const struct cli *cli, const int *ids,
                           size_t count, const char *path)
{
    struct batch b;
    struct npy file;
    struct cli_progress progress;
    if (count > INT32_MAX) return error_set(QRT_E_LIMIT, "%zu tokens", count);
    TRY(batch_open(e, (int)count, &b));
    b.progress = &progress;
    cli_progress_start(&progress, cli, "logits", "tokens", (double)count);
    qrt_status status = npy_create(path, count, (uint64_t)e->model_info.vocab, &file);
    if (status == QRT_OK) {
        status = batch_run(&b, ids, count, 0, write_row, &file);
        if (status == QRT_OK) status = npy_commit(&file);
        npy_discard(&file);
    }
    cli_progress_end(&progress);
    batch_close(&b);
    return status;
}

/* ---- a layer ---- */

/* About normal numbers of a fixed generator: the sum of 12 uniform ones, less 6. */
static void fill(float *x, size_t count)
{
    uint64_t state = 0x2545F4914F6CDD1Du;
    for (size_t i = 0; i < count; i++) {
        double sum = -6;
        for (int j = 0; j < 12; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (double)(state >> 11) * 0x1p-53;
        }
        x[i] = (float)sum;
    }
}

static qrt_status run_layer(const struct engine *e, qrt_device *device, int layer, int rows,
                            float *x)
{
    qrt_session *session;
    qrt_session_options options = e->session;
    options.context = rows;
    TRY(qrt_session_open(device, e->model, &options, &session));
    const qrt_status status = qrt_run_layer(session, layer, x, (size_t)rows);
    qrt_session_close(session);
    return status;
}

static void compare(const float *x, const float *got, const float *reference, size_t count,
                    struct layer_error *out)
{
    double sum = 0, sum_error = 0;
    for (size_t i = 0; i < count; i++) {
        const double added = (double)reference[i] - (double)x[i];
        const double error = fabs((double)got[i] - (double)reference[i]);
        sum += added * added;
        sum_error += error * error;
        if (!(error <= out->max_error)) out->max_error = error; /* NaN counts */
    }
    out->rms = sqrt(sum / (double)count);
    out->rms_error = sqrt(sum_error / (double)count);
}

qrt_status evaluate_layer(const struct engine *e, int layer, int rows, struct layer_error *out)
{
    const size_t count = (size_t)rows * (size_t)e->model_info.hidden;
    float *x = malloc(3 * count * sizeof *x);
    qrt_device *ref = NULL;
    qrt_status status;
    if (!x) return error_set(QRT_E_MEMORY, "%d rows", rows);
    float *got = x + count, *reference = got + count;
    fill(x, count);
    memcpy(got, x, count * sizeof *x);
    memcpy(reference, x, count * sizeof *x);
    TRY_DONE(qrt_device_open(e->rt, "ref", &ref));
    TRY_DONE(run_layer(e, e->device, layer, rows, got));
    TRY_DONE(run_layer(e, ref, layer, rows, reference));
    *out = (struct layer_error){.rows = rows};
    compare(x, got, reference, count, out);
done:
    qrt_device_close(ref);
    free(x);
    return status;
}
