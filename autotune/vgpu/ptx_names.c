/* ptx_names.c -- the table of names: a stack with hash chains */
#include "ptx_names.h"

#include <stdlib.h>
#include <string.h>

static size_t bucket_of(const char *text, size_t length)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)text[i]) * 16777619u;
    return (h ^ h >> 15) % NAME_BUCKETS;
}

void ptx_names_open(struct ptx_names *n)
{
    *n = (struct ptx_names){0};
    for (size_t i = 0; i < NAME_BUCKETS; i++) n->bucket[i] = -1;
}

void ptx_names_close(struct ptx_names *n) { free(n->name); }

int ptx_names_add(struct ptx_names *n, const char *text, size_t length, enum ptx_name_kind kind,
                  int32_t index)
{
    if (n->count == n->room) {
        const size_t room = n->room ? n->room * 2 : 256;
        struct ptx_name *more = realloc(n->name, room * sizeof *more);
        if (!more) return 0;
        n->name = more;
        n->room = room;
    }
    int32_t *bucket = &n->bucket[bucket_of(text, length)];
    n->name[n->count] = (struct ptx_name){text, length, kind, index, *bucket};
    *bucket = (int32_t)n->count++;
    return 1;
}

const struct ptx_name *ptx_names_find(const struct ptx_names *n, const char *text, size_t length)
{
    for (int32_t i = n->bucket[bucket_of(text, length)]; i >= 0; i = n->name[i].next)
        if (n->name[i].length == length && memcmp(n->name[i].text, text, length) == 0)
            return &n->name[i];
    return NULL;
}

void ptx_names_cut(struct ptx_names *n, size_t count)
{
    while (n->count > count) {
        const struct ptx_name *top = &n->name[--n->count];
        n->bucket[bucket_of(top->text, top->length)] = top->next;
    }
}
