/* handle.h -- objects that the driver's caller holds pointers to, and whether a pointer is one */
#ifndef VGPU_HANDLE_H
#define VGPU_HANDLE_H

#include <stddef.h>

enum handle_kind {
    HANDLE_CONTEXT,
    HANDLE_STREAM,
    HANDLE_EVENT,
    HANDLE_MODULE,
    HANDLE_FUNCTION,
    HANDLE_GRAPH,
    HANDLE_GRAPH_EXEC,
    HANDLE_PINNED
};

/* Zeroed memory of `bytes`, known as a handle of that kind; NULL: no memory.  Threads: any. */
void *handle_new(enum handle_kind kind, size_t bytes);
/* Whether the pointer is a living handle of that kind. */
int handle_is(const void *p, enum handle_kind kind);
/* Forget it and free its memory. */
void handle_free(void *p);

#endif
