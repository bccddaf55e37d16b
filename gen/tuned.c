/* tuned.c -- the winners there are: the user's own, then those carried inside the program */
#include "tuned.h"

#include <string.h>

#include "embed.h"
#include "error.h"

static int gives_way(const struct winner *shipped, const struct winner *own)
{
    return own->how == WINNER_MEASURED && own->m_lo <= shipped->m_hi &&
           shipped->m_lo <= own->m_hi && own->N == shipped->N && own->K == shipped->K &&
           op_desc_equal(&own->desc, &shipped->desc) && strcmp(own->arch, shipped->arch) == 0 &&
           strcmp(own->device, shipped->device) == 0 &&
           strncmp(own->signature, shipped->signature, WINNER_MADE_DIGITS) == 0;
}

qrt_status tuned_add_shipped(struct winners *w, const struct winners *shipped)
{
    struct winners rest = {0};
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < shipped->count && status == QRT_OK; i++) {
        size_t own = 0;
        while (own < w->count && !gives_way(&shipped->items[i], &w->items[own])) own++;
        if (own == w->count) status = winners_add(&rest, &shipped->items[i]);
    }
    if (status == QRT_OK) status = winners_merge(w, &rest);
    winners_free(&rest);
    return status;
}

static qrt_status load_shipped(struct winners *out)
{
    static const char prefix[] = "cache/tuned/";
    for (const struct embedded_file *f = embedded_files; f->name; f++) {
        struct winners w;
        if (strncmp(f->name, prefix, sizeof prefix - 1) != 0) continue;
        TRY(winners_parse(f->text, f->bytes, f->name, &w));
        const qrt_status status = winners_merge(out, &w);
        winners_free(&w);
        TRY(status);
    }
    return QRT_OK;
}

qrt_status tuned_load(const char *folder, struct winners *out, char note[256])
{
    struct winners w = {0}, shipped = {0};
    qrt_status status = QRT_OK;
    *note = 0;
    if (folder) TRY(winners_load(folder, &w, note));
    TRY_DONE(load_shipped(&shipped));
    TRY_DONE(tuned_add_shipped(&w, &shipped));
done:
    winners_free(&shipped);
    if (status == QRT_OK)
        *out = w;
    else
        winners_free(&w);
    return status;
}
