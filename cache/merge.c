/* merge.c -- folders of kernels and winners become one */
#include "merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "error.h"
#include "winners.h"

struct merge {
    struct store *into, *from;
    void (*note)(void *user, const char *line);
    void *user;
    struct merge_report *report;
    struct winners winners;
    qrt_status status; /* what stopped a visit */
};

static void note(const struct merge *m, const char *what, const char *path, const char *why)
{
    char line[1024];
    snprintf(line, sizeof line, "%s: %.400s: %.500s", what, path, why);
    m->note(m->user, line);
}

static void note_entry(const struct merge *m, const char *what, const char *name, const char *why)
{
    char path[1024];
    snprintf(path, sizeof path, "%.300s/%s", store_folder(m->from), name);
    note(m, what, path, why);
}

static int compare_bytes(const void *a, size_t a_count, const void *b, size_t b_count)
{
    if (a_count != b_count) return a_count < b_count ? -1 : 1;
    return memcmp(a, b, a_count);
}

/* Put an entry unless a smaller or equal one of its key is there. */
static qrt_status add_entry(const struct merge *m, const struct store_file *f)
{
    struct entry have;
    void *bytes;
    size_t count;
    int found;
    TRY(store_get(m->into, f->entry->key, &have, &bytes, &count, &found));
    if (!found) {
        m->report->added++;
        return store_put(m->into, f->entry->key, f->bytes, f->count);
    }
    const int order = compare_bytes(f->bytes, f->count, bytes, count);
    free(bytes);
    if (order == 0) {
        m->report->same++;
        return QRT_OK;
    }
    m->report->conflicts++;
    note_entry(m, "conflict", f->name,
               order < 0 ? "two entries of one key; the one of this folder stays, it is smaller"
                         : "two entries of one key; the one merged before stays, it is smaller");
    return order < 0 ? store_put(m->into, f->entry->key, f->bytes, f->count) : QRT_OK;
}

static int visit_entry(void *user, const struct store_file *f)
{
    struct merge *m = user;
    if (f->entry) {
        m->status = add_entry(m, f);
    } else {
        m->report->damaged++;
        note_entry(m, "left out", f->name, f->problem);
    }
    return m->status != QRT_OK;
}

static int visit_winners(void *user, const struct winners_file *f)
{
    struct merge *m = user;
    if (f->rows) {
        m->report->winners += f->rows->count;
        m->status = winners_merge(&m->winners, f->rows);
    } else if (!f->is_aside) {
        m->report->damaged++;
        note(m, "left out", f->path, f->problem);
    }
    return m->status != QRT_OK;
}

/* Opening a store makes its folder: one to read from has to be there. */
static qrt_status open_existing(const char *folder, struct store **out)
{
    struct stat st;
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        return error_set(QRT_E_IO, "%s: no such folder", folder);
    return store_open(folder, out);
}

qrt_status merge_folder(struct store *into, const char *from,
                        void (*note_line)(void *user, const char *line), void *user,
                        struct merge_report *report)
{
    struct merge m = {.into = into, .note = note_line, .user = user, .report = report};
    TRY(open_existing(from, &m.from));
    qrt_status status = store_files(m.from, visit_entry, &m);
    if (status == QRT_OK && m.status == QRT_OK) status = winners_files(from, visit_winners, &m);
    if (status == QRT_OK) status = m.status;
    if (status == QRT_OK) status = winners_keep(store_folder(into), &m.winners);
    winners_free(&m.winners);
    store_close(m.from);
    return status;
}
