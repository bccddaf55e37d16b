/* handle.c -- the set of living handles */
#include "handle.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

enum { BUCKETS = 1024 };

struct entry {
    struct entry *next;
    void *memory;
    enum handle_kind kind;
};

static struct entry *buckets[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct entry **bucket_of(const void *p)
{
    return &buckets[((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ull >> 54];
}

void *handle_new(enum handle_kind kind, size_t bytes)
{
    struct entry *e = malloc(sizeof *e);
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!e || !memory) {
        free(e);
        free(memory);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    struct entry **bucket = bucket_of(memory);
    *e = (struct entry){*bucket, memory, kind};
    *bucket = e;
    pthread_mutex_unlock(&lock);
    return memory;
}

int handle_is(const void *p, enum handle_kind kind)
{
    int found = 0;
    pthread_mutex_lock(&lock);
    for (const struct entry *e = *bucket_of(p); e && !found; e = e->next)
        found = e->memory == p && e->kind == kind;
    pthread_mutex_unlock(&lock);
    return found;
}

void handle_free(void *p)
{
    pthread_mutex_lock(&lock);
    for (struct entry **at = bucket_of(p); *at; at = &(*at)->next) {
        struct entry *e = *at;
        if (e->memory != p) continue;
        *at = e->next;
        free(e);
        break;
    }
    pthread_mutex_unlock(&lock);
    free(p);
}
