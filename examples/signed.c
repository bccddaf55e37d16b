/* signed.c -- kernels from a signed bundle: nothing of it is parsed before a trusted key vouches for it
 *
 *     signed MODEL.qm KERNELS.qk KEY.pub [MIN_COUNTER]
 *
 * Says which kernels the model needs and which the bundle has, loads them, and runs one token.
 * Links libqrt and libqrt_verify.
 */
#include <stdio.h>
#include <stdlib.h>

#include "qrt.h"
#include "qrt_verify.h"

enum { WHY_BYTES = 256 };

struct product {
    qrt *rt;
    qrt_bundle *bundle;
    qrt_device *cpu;
    qrt_model *model;
    qrt_session *session;
};

/* The keys to trust belong into the product; this one comes from a file. */
static qrt_status open_signed(struct product *p, const char *path, const char *key,
                              uint64_t min_counter)
{
    qrt_verifier *verifier;
    char why[WHY_BYTES];
    if (qrt_verify_open(&verifier)) return QRT_E_MEMORY;
    if (qrt_verify_trust_file(verifier, key, why, sizeof why)) {
        fprintf(stderr, "signed: %s\n", why);
        qrt_verify_close(verifier);
        return QRT_E_TRUST;
    }
    const qrt_bundle_options options = {.size = sizeof options,
                                        .verify = qrt_verify_signature,
                                        .verify_user = verifier,
                                        .min_counter = min_counter};
    const qrt_status status = qrt_bundle_open(p->rt, path, &options, &p->bundle);
    qrt_verify_close(verifier);
    return status;
}

static int say_need(void *user, const char *request, int have)
{
    (void)user;
    printf("%-8s %s\n", have ? "have" : "MISSING", request);
    return 0;
}

static qrt_status open_all(struct product *p, char **argv, uint64_t min_counter)
{
    qrt_status status = qrt_open(NULL, &p->rt);
    if (status == QRT_OK) status = qrt_device_open(p->rt, "cpu", &p->cpu);
    if (status == QRT_OK) status = open_signed(p, argv[2], argv[3], min_counter);
    if (status == QRT_OK) status = qrt_kernels_bundle(p->cpu, p->bundle);
    if (status == QRT_OK) status = qrt_model_open(p->rt, argv[1], &p->model);
    if (status == QRT_OK) status = qrt_prepare(p->cpu, p->model, NULL, say_need, NULL);
    if (status == QRT_OK) status = qrt_session_open(p->cpu, p->model, NULL, &p->session);
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

int main(int argc, char **argv)
{
    struct product p = {0};
    const qrt_sampling greedy = {0};
    qrt_bundle_info info;
    int next;
    if (argc < 4) return fprintf(stderr, "signed MODEL.qm KERNELS.qk KEY.pub [MIN_COUNTER]\n"), 2;
    qrt_status status = open_all(&p, argv, argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    if (status == QRT_OK) status = qrt_step(p.session, 1, &greedy, &next);
    if (status == QRT_OK) {
        qrt_bundle_info_get(p.bundle, &info);
        printf("ready with %s %s, release %llu\n", info.name, info.version,
               (unsigned long long)info.counter);
    } else
        fprintf(stderr, "signed: %s\n", qrt_message());
    close_all(&p);
    return status == QRT_OK ? 0 : 1;
}
