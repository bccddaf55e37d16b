/* gpu_table.c -- the table of GPUs that a command works with */
#include "gpu_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "error.h"
#include "file.h"

qrt_status gpu_table_load(const char *file, struct gpus *out)
{
    enum { MOST_BYTES = 1 << 20 };
    void *text;
    size_t bytes;
    if (!file || !*file) file = getenv("QGEN_GPUS");
    if (!file || !*file) {
        const struct embedded_file *f = embed_find("autotune/gpus.txt");
        return gpus_parse(f->text, f->bytes, f->name, out);
    }
    TRY(file_read(file, MOST_BYTES, &text, &bytes));
    const qrt_status status = gpus_parse(text, bytes, file, out);
    free(text);
    return status;
}

qrt_status gpu_table_find(const struct gpus *g, const char *name, const struct gpu **out)
{
    char names[400] = "";
    *out = gpus_find(g, name);
    if (*out) return QRT_OK;
    for (size_t i = 0, used = 0; i < g->count && used < sizeof names - GPU_NAME_BYTES - 2; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 g->items[i].name);
    return error_set(QRT_E_ARGUMENT,
                     "GPU '%s' is not in the table: %s; --gpus FILE or $QGEN_GPUS "
                     "names another table",
                     name, names);
}

/* Whether a text has a word, of letters and digits. */
static int has_word(const char *text, const char *word, size_t length)
{
    for (; *text; text += strcspn(text, " -"), text += strspn(text, " -"))
        if (strcspn(text, " -") == length && strncasecmp(text, word, length) == 0) return 1;
    return 0;
}

/* Words that a device's name shares with a title; 0 unless one of them has a digit: "H100". */
static int words_shared(const char *name, const char *title)
{
    int shared = 0, has_model = 0;
    for (const char *at = name; *at; at += strspn(at, " -")) {
        const size_t length = strcspn(at, " -");
        if (length > 0 && has_word(title, at, length)) {
            shared++;
            has_model |= strcspn(at, "0123456789") < length;
        }
        at += length;
    }
    return has_model ? shared : 0;
}

const struct gpu *gpu_table_of_device(const struct gpus *g, const char *device)
{
    const struct gpu *best = NULL;
    int most = 0;
    for (size_t i = 0; i < g->count; i++) {
        const int shared = words_shared(device, g->items[i].title);
        if (shared > most) best = &g->items[i], most = shared;
    }
    return best;
}
