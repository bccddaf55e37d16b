/* guard.c -- memory that ends at a page nobody may touch: reading one byte too far is a crash */
#include "guard.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helpers.h"

void guard_open(struct guard *g, size_t room)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    g->room = (room + page - 1) / page * page;
    g->mapped = g->room + page;
    g->mapping = mmap(NULL, g->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(g->mapping, MAP_FAILED);
    g->end = (uint8_t *)g->mapping + g->room;
    assert_int_equal(mprotect(g->end, page, PROT_NONE), 0);
}

void guard_close(struct guard *g) { munmap(g->mapping, g->mapped); }

uint8_t *guard_copy(struct guard *g, const void *bytes, size_t count)
{
    assert_true(count <= g->room);
    if (count) memcpy(g->end - count, bytes, count);
    return g->end - count;
}
