/* guard.h -- memory that ends at a page nobody may touch: reading one byte too far is a crash */
#ifndef TESTS_GUARD_H
#define TESTS_GUARD_H

#include <stddef.h>
#include <stdint.h>

struct guard {
    uint8_t *end; /* the first byte that may not be touched */
    size_t room;  /* bytes in front of it */
    void *mapping;
    size_t mapped;
};

void guard_open(struct guard *g, size_t room);
void guard_close(struct guard *g);

/* The `count` bytes in front of the end, copied from `bytes`. */
uint8_t *guard_copy(struct guard *g, const void *bytes, size_t count);

#endif
