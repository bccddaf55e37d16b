/* evaluate.h -- how well a model predicts, and how far a layer is from its definition
 *
 * Methods:
 *   perplexity   as llama.cpp's: the text's tokens are cut into chunks of `context`; each chunk is
 *                run on its own, its first token replaced by bos when the model wants one; the tokens
 *                of its second half but the last are scored on predicting the token behind them.
 *                exp(mean of -ln p).  Tokens after the last whole chunk are left out.
 *   layer error  one layer run on pseudo-random rows, on the device and on ref.  Compared is what the
 *                layer adds to its input, since the input passes through unchanged.
 */
#ifndef QGEN_EVALUATE_H
#define QGEN_EVALUATE_H

#include "engine.h"

struct perplexity {
    double value;
    double deviation; /* standard error of `value` */
    size_t tokens;    /* scored */
    size_t chunks;
    double seconds;
};

/* `chunks`: at most so many, 0: all.  QRT_E_ARGUMENT when the text has no two chunks' tokens. */
qrt_status evaluate_perplexity(const struct engine *e, const struct cli *cli, const int *ids,
                               size_t count, int context, int chunks, struct perplexity *out);

/* Logits of every token as float32 [count, vocab] in a NumPy file. */
qrt_status evaluate_logits(const struct engine *e, const struct cli *cli, const int *ids,
                           size_t count, const char *path);

struct layer_error {
    int rows;
    double rms;       /* of what the layer adds, by ref */
    double rms_error; /* of the difference */
    double max_error;
};

qrt_status evaluate_layer(const struct engine *e, int layer, int rows, struct layer_error *out);

#endif
