/* model_cache.h -- packed forms of model files, kept so that a file is packed once
 *
 * Layout: FOLDER/models/HEX.qm, FOLDER the store's (cache/store.h).  HEX is a BLAKE2b-256 over what
 * tells one file's content from another's without reading all of it: the real path, size, time of
 * change, and the bytes in front of the tensor data (keys and the list of tensors); and over what
 * tells one packing from another: this program's version, the format's, the layout families.
 * Deleting anything at any time is safe.
 */
#ifndef QGEN_MODEL_CACHE_H
#define QGEN_MODEL_CACHE_H

#include <stddef.h>

#include "pack.h"

/* The path of `model` packed for options->families: `model` itself when it is a packed model
 * already, else a file of the cache, made now when it is not there.  The caller frees *path. */
qrt_status model_cache_get(const char *model, const struct pack_options *options, char **path);

#endif
