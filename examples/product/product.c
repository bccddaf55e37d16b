/* product.c -- a product in one binary: the runtime and the kernels are inside, the model is its file
 *
 *     product MODEL.qm ID [ID ..]     prints the eight token ids that follow
 *
 * Made by build.sh.  It reads no other file, needs no compiler and asks no environment variable.
 */
#include <stdio.h>
#include <stdlib.h>

#include <kernels.h> /* of `qgen link`; build.sh says where */

#include "qrt.h"

enum { MAX_IDS = 64, ANSWER = 8 };

struct product {
    qrt *rt;
    qrt_bundle *bundle;
    qrt_device *cpu;
    qrt_model *model;
    qrt_session *session;
};

/* The table in the program is as trusted as the program. */
static qrt_status open_kernels(struct product *p)
{
    size_t bytes;
    const void *table = kernels_bundle(&bytes);
    const qrt_bundle_options own = {.size = sizeof own, .trust = QRT_TRUST_CALLER};
    const qrt_status status = qrt_bundle_open_memory(p->rt, table, bytes, &own, &p->bundle);
    return status == QRT_OK ? qrt_kernels_bundle(p->cpu, p->bundle) : status;
}

static qrt_status open_all(struct product *p, const char *model)
{
    const qrt_session_options options = {.size = sizeof options, .context = MAX_IDS + ANSWER};
    qrt_status status = qrt_open(NULL, &p->rt);
    if (status == QRT_OK) status = qrt_device_open(p->rt, "cpu", &p->cpu);
    if (status == QRT_OK) status = open_kernels(p);
    if (status == QRT_OK) status = qrt_model_open(p->rt, model, &p->model);
    if (status == QRT_OK) status = qrt_session_open(p->cpu, p->model, &options, &p->session);
    return status;
}

static void close_all(struct product *p)
{
    qrt_session_close(p->session);
    qrt_model_close(p->model);
    qrt_device_close(p->cpu);
    qrt_bundle_close(p->bundle);
    qrt_close(p->rt);
}

static qrt_status answer(const struct product *p, const int *ids, size_t count)
{
    const qrt_sampling greedy = {0};
    qrt_status status = qrt_run(p->session, ids, count - 1, NULL, 0);
    int id = ids[count - 1];
    for (int i = 0; i < ANSWER && status == QRT_OK; i++) {
        status = qrt_step(p->session, id, &greedy, &id);
        if (status == QRT_OK) printf("%d\n", id);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct product p = {0};
    int ids[MAX_IDS];
    if (argc < 4 || argc > MAX_IDS + 2) return fprintf(stderr, "product MODEL.qm ID ID ..\n"), 2;
    for (int i = 2; i < argc; i++) ids[i - 2] = atoi(argv[i]);
    qrt_status status = open_all(&p, argv[1]);
    if (status == QRT_OK) status = answer(&p, ids, (size_t)argc - 2);
    if (status != QRT_OK) fprintf(stderr, "product: %s\n", qrt_message());
    close_all(&p);
    return status == QRT_OK ? 0 : 1;
}
