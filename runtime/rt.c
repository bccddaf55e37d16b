/* rt.c -- struct qrt: the caller's hooks, and memory taken through them */
#include "rt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* A raw block of the hook or of calloc, whose address is kept in front of the aligned one.  calloc,
 * not malloc and memset: a large KV cache then costs no memory before it is filled. */
static void *take(const qrt_options *o, size_t bytes)
{
    size_t raw_bytes;
    if (__builtin_add_overflow(bytes, RT_ALIGN + sizeof(void *), &raw_bytes)) return NULL;
    char *raw = o->alloc ? o->alloc(o->user, raw_bytes) : calloc(1, raw_bytes);
    if (!raw) return NULL;
    if (o->alloc) memset(raw, 0, raw_bytes);
    const uintptr_t first = (uintptr_t)raw + sizeof(void *) + RT_ALIGN - 1;
    void **block = (void **)(first & ~(uintptr_t)(RT_ALIGN - 1));
    block[-1] = raw;
    return block;
}

qrt_status rt_alloc(struct qrt *rt, size_t bytes, void **out)
{
    void *block = take(&rt->options, bytes);
    if (!block) return error_set(QRT_E_MEMORY, "%zu bytes of host memory", bytes);
    *out = block;
    return QRT_OK;
}

static void give_back(const qrt_options *o, void *block)
{
    void *raw = ((void **)block)[-1];
    if (o->free)
        o->free(o->user, raw);
    else
        free(raw);
}

void rt_free(struct qrt *rt, void *block)
{
    if (block) give_back(&rt->options, block);
}

void rt_log(struct qrt *rt, enum rt_level level, const char *format, ...)
{
    if (!rt->options.log) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    rt->options.log(rt->options.user, (int)level, line);
}

qrt_status qrt_open(const qrt_options *options, qrt **out)
{
    qrt_options o;
    memset(&o, 0, sizeof o);
    if (options) {
        if (options->size < sizeof(size_t) || options->size > sizeof o)
            return error_set(QRT_E_ARGUMENT,
                             "qrt_options.size is %zu: set it to sizeof(qrt_options), %zu",
                             options->size, sizeof o);
        memcpy(&o, options, options->size);
    }
    if (!o.alloc != !o.free)
        return error_set(QRT_E_ARGUMENT, "qrt_options: alloc and free go together, one is NULL");
    if (o.threads < 0)
        return error_set(QRT_E_ARGUMENT, "qrt_options.threads is %d: 0 or more", o.threads);
    o.size = sizeof o;
    qrt *rt = take(&o, sizeof *rt);
    if (!rt) return error_set(QRT_E_MEMORY, "%zu bytes of host memory", sizeof *rt);
    rt->options = o;
    *out = rt;
    return QRT_OK;
}

void qrt_close(qrt *rt)
{
    if (!rt) return;
    const qrt_options o = rt->options;
    give_back(&o, rt);
}
