/* ptx_names.h -- names in scopes: what a name of PTX text stands for where it is read */
#ifndef VGPU_PTX_NAMES_H
#define VGPU_PTX_NAMES_H

#include <stddef.h>
#include <stdint.h>

enum ptx_name_kind { NAME_NONE, NAME_REGISTER, NAME_VARIABLE, NAME_LABEL, NAME_FUNCTION };

struct ptx_name {
    const char *text; /* not owned */
    size_t length;
    enum ptx_name_kind kind;
    int32_t index;
    int32_t next; /* of the same bucket */
};

enum { NAME_BUCKETS = 4096 };

struct ptx_names {
    struct ptx_name *name; /* a stack: inner scopes on top */
    size_t count, room;
    int32_t bucket[NAME_BUCKETS];
};

void ptx_names_open(struct ptx_names *n);
void ptx_names_close(struct ptx_names *n);

/* 0: no memory. */
int ptx_names_add(struct ptx_names *n, const char *text, size_t length, enum ptx_name_kind kind,
                  int32_t index);
/* The innermost of that name, NULL: none.  Good until the next add. */
const struct ptx_name *ptx_names_find(const struct ptx_names *n, const char *text, size_t length);
/* Forget all above the first `count`: the end of a scope that began with that many. */
void ptx_names_cut(struct ptx_names *n, size_t count);

#endif
