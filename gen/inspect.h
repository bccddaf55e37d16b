/* inspect.h -- what a file holds, as one JSON object; text is printed from the same object
 *
 * Every object has "file", "format" ("gguf", "qm", "entry", "bundle") and "bytes"; model files have "tensors"
 * [] {name, shape [N, K], scheme, bytes} and "believes" [], what qgen concluded and why.
 */
#ifndef QGEN_INSPECT_H
#define QGEN_INSPECT_H

#include <jansson.h>

#include "qrt.h"

/* Add to `result` what the file holds. */
qrt_status inspect_gguf(const char *path, json_t *result);
qrt_status inspect_qm(const char *path, json_t *result);
qrt_status inspect_entry(const char *path, json_t *result);
qrt_status inspect_bundle(const char *path, json_t *result);

/* A JSON string of any bytes: what is not UTF-8 is written as \xNN. Never NULL but out of memory. */
json_t *inspect_text(const char *data, size_t bytes);

/* Print the object for people: members, lists and tables; no byte of a file reaches the terminal raw. */
void inspect_print(const json_t *result);

#endif
