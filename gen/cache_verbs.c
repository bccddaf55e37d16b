/* cache_verbs.c -- what the parts of qgen cache share */
#include "cache_verbs.h"

#include <string.h>
#include <sys/stat.h>

#include "error.h"

qrt_status cache_open(const struct cli *cli, struct store **out)
{
    struct stat st;
    const char *folder = cli->operand_count > 0 ? cli->operands[0] : NULL;
    if (folder && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)))
        return error_set(QRT_E_IO, "%s: no such folder", folder);
    return store_open(folder, out);
}

qrt_status cache_count_stale(const char *folder, const struct winners *w, struct stale *out)
{
    const struct pipeline_options how = {.store = folder};
    struct pipeline *p;
    memset(out, 0, sizeof *out);
    if (w->count == 0) return QRT_OK;
    TRY(pipeline_open(&how, &p));
    const qrt_status status = stale_count(p, w, out);
    pipeline_close(p);
    return status;
}

int cache_end(qrt_status status, int code) { return status == QRT_OK ? code : cli_fail(status); }
