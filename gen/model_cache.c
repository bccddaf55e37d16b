/* model_cache.c -- packed forms of model files, kept so that a file is packed once */
#include "model_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "error.h"
#include "file.h"
#include "filekind.h"
#include "gguf.h"
#include "key.h"
#include "qm.h"
#include "store.h"

static qrt_status add_identity(struct key *k, const char *path)
{
    struct stat st;
    char *real = realpath(path, NULL);
    if (!real || stat(real, &st) != 0) {
        free(real);
        return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    }
    key_add_text(k, "path", real);
    key_add(k, "size", &st.st_size, sizeof st.st_size);
    key_add(k, "changed", &st.st_mtim, sizeof st.st_mtim);
    free(real);
    return QRT_OK;
}

static qrt_status add_head(struct key *k, const char *path)
{
    struct gguf *g;
    TRY(gguf_open(path, &g));
    key_add(k, "head", g->bytes, (size_t)g->data_offset);
    gguf_close(g);
    return QRT_OK;
}

static qrt_status make_key(const char *path, unsigned families, char hex[KEY_HEX_BYTES])
{
    static const uint32_t format = QM_VERSION;
    uint8_t bytes[ENTRY_KEY_BYTES];
    struct key k;
    key_begin(&k);
    key_add_text(&k, "program", QGEN_VERSION);
    key_add(&k, "format", &format, sizeof format);
    key_add(&k, "families", &families, sizeof families);
    TRY(add_identity(&k, path));
    TRY(add_head(&k, path));
    key_end(&k, bytes);
    key_hex(bytes, hex);
    return QRT_OK;
}

/* A file from an interrupted or older program is not taken as it is. */
static int is_sound(const char *path)
{
    qrt *rt = NULL;
    qrt_model *model = NULL;
    const int sound = access(path, R_OK) == 0 && qrt_open(NULL, &rt) == QRT_OK &&
                      qrt_model_open(rt, path, &model) == QRT_OK;
    qrt_model_close(model);
    qrt_close(rt);
    return sound;
}

static qrt_status find_path(const char *model, unsigned families, char **path)
{
    char hex[KEY_HEX_BYTES], *folder, *file;
    struct store *store;
    TRY(make_key(model, families, hex));
    TRY(store_open(NULL, &store));
    const int made = asprintf(&folder, "%s/models", store_folder(store));
    store_close(store);
    if (made < 0) return error_set(QRT_E_MEMORY, "a path");
    qrt_status status = file_make_folders(folder, 0700);
    if (status == QRT_OK && asprintf(&file, "%s/%s.qm", folder, hex) < 0)
        status = error_set(QRT_E_MEMORY, "a path");
    free(folder);
    if (status == QRT_OK) *path = file;
    return status;
}

qrt_status model_cache_get(const char *model, const struct pack_options *options, char **path)
{
    enum filekind kind;
    TRY(filekind_of(model, &kind));
    if (kind == FILE_QM) {
        *path = strdup(model);
        return *path ? QRT_OK : error_set(QRT_E_MEMORY, "a path");
    }
    if (kind != FILE_GGUF)
        return error_set(QRT_E_FORMAT, "%s: a kernel, not a model; `qgen inspect` says more",
                         model);
    char *cached = NULL;
    struct pack_result result;
    TRY(find_path(model, options->families, &cached));
    const qrt_status status =
        is_sound(cached) ? QRT_OK : pack_file(model, cached, options, &result);
    if (status == QRT_OK)
        *path = cached;
    else
        free(cached);
    return status;
}
