/* stale.c -- winners that are for other templates or another compiler than this program has */
#include "stale.h"

#include <string.h>

#include "error.h"

/* The signature that rows of an arch and op have to have, but for what they were chosen by. */
struct wanted {
    const struct winner *like; /* NULL: none yet */
    int is_known;              /* 0: there is no compiler to ask */
    char signature[WINNER_SIGNATURE_BYTES];
};

static qrt_status want(struct pipeline *p, const struct winner *w, struct wanted *out)
{
    if (out->like && strcmp(out->like->arch, w->arch) == 0 && out->like->desc.op == w->desc.op)
        return QRT_OK;
    out->like = w;
    const qrt_status status = pipeline_sign(p, &w->desc, arch_find(w->arch), "", out->signature);
    out->is_known = status == QRT_OK;
    return status == QRT_E_MEMORY ? status : QRT_OK;
}

qrt_status stale_count(struct pipeline *p, const struct winners *w, struct stale *out)
{
    struct wanted wanted = {0};
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < w->count; i++) {
        char made[WINNER_SIGNATURE_BYTES];
        TRY(want(p, &w->items[i], &wanted));
        if (!wanted.is_known) {
            out->unjudged++;
            continue;
        }
        /* What it was chosen by is no matter of this program's state. */
        memcpy(made, wanted.signature, WINNER_MADE_DIGITS);
        strcpy(made + WINNER_MADE_DIGITS, w->items[i].signature + WINNER_MADE_DIGITS);
        if (strcmp(made, w->items[i].signature) == 0) continue;
        if (out->rows++ == 0) winners_sign_difference(made, w->items[i].signature, out->why);
    }
    return QRT_OK;
}
