/* generate.c -- continues a text with the runtime alone
 *
 *     generate MODEL.qm KERNELS TEXT [N] [DEVICE]
 *
 * KERNELS is a folder made by `qgen build --out KERNELS`, or - for the device ref, which needs none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qrt.h"

enum { MAX_IDS = 4096 };

/* Everything that is open; closed in reverse order. */
struct state {
    qrt *rt;
    qrt_device *device;
    qrt_model *model;
    qrt_session *session;
};

static qrt_status open_all(struct state *s, const char *model, const char *kernels,
                           const char *device)
{
    qrt_status status = qrt_open(NULL, &s->rt);
    if (status == QRT_OK) status = qrt_device_open(s->rt, device, &s->device);
    if (status == QRT_OK && strcmp(kernels, "-") != 0)
        status = qrt_kernels_load(s->device, kernels, QRT_TRUST_CALLER);
    if (status == QRT_OK) status = qrt_model_open(s->rt, model, &s->model);
    if (status == QRT_OK) status = qrt_session_open(s->device, s->model, NULL, &s->session);
    return status;
}

static void close_all(struct state *s)
{
    qrt_session_close(s->session);
    qrt_model_close(s->model);
    qrt_device_close(s->device);
    qrt_close(s->rt);
}

static qrt_status print_token(const struct state *s, int id)
{
    const char *bytes;
    size_t count;
    const qrt_status status = qrt_token_bytes(s->model, id, &bytes, &count);
    if (status == QRT_OK) fwrite(bytes, 1, count, stdout);
    fflush(stdout);
    return status;
}

/* The text's ids, with the model's first token in front where it expects one. */
static qrt_status read_prompt(const struct state *s, const char *text, int *ids, size_t *count)
{
    qrt_model_info info;
    qrt_model_info_get(s->model, &info);
    const size_t first = info.add_bos && info.bos >= 0;
    if (first) ids[0] = info.bos;
    const qrt_status status =
        qrt_tokenize(s->model, text, strlen(text), 1, ids + first, MAX_IDS - first, count);
    if (*count > MAX_IDS - first) *count = MAX_IDS - first;
    *count += first;
    return status;
}

/* All of the prompt but its last token, then one token after the other. */
static qrt_status generate(const struct state *s, const char *text, int n)
{
    static int ids[MAX_IDS];
    const qrt_sampling greedy = {0};
    qrt_model_info info;
    size_t count = 0;
    qrt_model_info_get(s->model, &info);
    qrt_status status = read_prompt(s, text, ids, &count);
    if (status != QRT_OK || count == 0) return status;
    status = qrt_run(s->session, ids, count - 1, NULL, 0);
    fputs(text, stdout);
    for (int id = ids[count - 1]; n > 0 && status == QRT_OK; n--) {
        status = qrt_step(s->session, id, &greedy, &id);
        if (status == QRT_OK && id == info.eos) break;
        if (status == QRT_OK) status = print_token(s, id);
    }
    putchar('\n');
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: generate MODEL.qm KERNELS TEXT [N] [DEVICE]\n");
        return 2;
    }
    struct state s = {0};
    const char *device = argc > 5 ? argv[5] : strcmp(argv[2], "-") == 0 ? "ref" : "cpu";
    qrt_status status = open_all(&s, argv[1], argv[2], device);
    if (status == QRT_OK) status = generate(&s, argv[3], argc > 4 ? atoi(argv[4]) : 32);
    if (status != QRT_OK)
        fprintf(stderr, "generate: %s (%s)\n", qrt_message(), qrt_status_advice(status));
    close_all(&s);
    return status == QRT_OK ? 0 : 1;
}
