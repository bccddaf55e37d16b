/* nvrtc.h -- NVIDIA's runtime compiler as a library opened by name: CUDA C in, cubin and PTX out
 *
 * Hermetic: the source, its includes and the options are all there is; nothing is read from disk
 * and the program's name is constant, so that equal units give equal bytes on every machine.
 *
 * Found in this order: $QGEN_NVRTC (file or folder; then nothing else is tried), .deps/nvrtc beside
 * the program or one folder up, $CUDA_HOME, /usr/local/cuda and /usr/local/cuda-*, the loader's
 * path; libnvrtc.so.13 before libnvrtc.so.12 in each.  The current folder is not searched: a
 * library found there would be run.
 * Threads: nvrtc_compile() may be called by any number of threads.
 */
#ifndef QGEN_NVRTC_H
#define QGEN_NVRTC_H

#include "unit.h"

struct nvrtc;

/* Find the library; it is loaded at the first compilation (110 MB, up to a second from a cold
 * disk).  QRT_E_COMPILE says where it was looked for and how to get it. */
qrt_status nvrtc_open(struct nvrtc **out);
void nvrtc_close(struct nvrtc *n);

/* What a key has to know of the compiler: its major version and a hash that tells builds apart. */
const char *nvrtc_identity(const struct nvrtc *n);
const char *nvrtc_path(const struct nvrtc *n);

/* The options beside -arch, as one text for keys. */
const char *nvrtc_options(void);

/* "13.0"; loads the library. */
qrt_status nvrtc_version(struct nvrtc *n, char out[16]);

/* QRT_E_COMPILE: the first error, at the template's line; or that the arch is refused, and which
 * ones are not. */
qrt_status nvrtc_compile(struct nvrtc *n, const struct unit *u, struct unit_image *out);

/* The PTX of the same unit with a line table (.file and .loc), NUL-terminated; free() it.  Its
 * statements are those of nvrtc_compile()'s PTX. */
qrt_status nvrtc_lines(struct nvrtc *n, const struct unit *u, char **ptx);
/* The name that the rendering has in .file. */
const char *nvrtc_source_name(void);

#endif
