/* rt.h -- struct qrt: the caller's hooks, and memory taken through them
 *
 * Owns: nothing but itself; devices, models and sessions point to it and are closed before it.
 * Threads: the hooks are called from any thread that calls into the library.
 */
#ifndef QRT_RT_H
#define QRT_RT_H

#include "qrt.h"

enum rt_level { RT_ERROR, RT_WARNING, RT_INFO, RT_DEBUG };
enum { RT_ALIGN = 256 };

struct qrt {
    qrt_options options;
};

/* A block at a multiple of RT_ALIGN, all bytes 0; QRT_E_MEMORY with the number of bytes.  Every
 * block of the library comes from here.  Give it back with rt_free(). */
qrt_status rt_alloc(struct qrt *rt, size_t bytes, void **out);
void rt_free(struct qrt *rt, void *block); /* NULL is allowed */

void rt_log(struct qrt *rt, enum rt_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
